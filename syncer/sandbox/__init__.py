"""The sandbox: local stand-ins of the services, and one page that shows their records as their people would.

It serves invented records on a loopback port only. A demo's folder remembers the port (`sandbox.json`) and what
was written (`requests.jsonl.gz`), so that the addresses in the demo's config are true again whenever its sandbox
is open, and the records are there.
"""

from __future__ import annotations

import json
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from syncer.demo import warehouse
from syncer.errors import UserError
from syncer.report.layout import indented
from syncer.sandbox import replay
from syncer.sandbox.page import Page

if TYPE_CHECKING:
    from destinations.standins.server import Server, StandIn

PORT = 8090
MEMO = "sandbox.json"
"""In a demo's folder: the port under which its config expects the stand-ins."""
WAREHOUSE = "warehouse.duckdb"


Records = tuple[list[warehouse.Row], list[warehouse.Row], list[warehouse.Row]]
"""People, workspaces and accounts, as `StandIn.seed` takes them."""


def opened(port: int, records: Records | None = None) -> Server:
    """A server, not yet started, with every stand-in below `/KIND` and the page at `/`; 0 takes a free port.

    The stand-ins know `records`; when left out the people of the first night, always the same ones, so that what a
    demo saved can be replayed over them. Raises UserError when the port is taken.
    """
    from destinations.standins import standins
    from destinations.standins.server import Server

    made: dict[str, StandIn] = {f"/{kind}": standin() for kind, standin in sorted(standins().items())}
    try:
        server = Server(made, port=port, page=Page(made))
    except OSError as error:
        raise UserError(
            f"Port {port} of this machine cannot be opened ({error.strerror}). "
            "End what uses it, or choose another with --port."
        ) from None
    known = records or _first_night()
    for standin in made.values():
        standin.seed(*known)
        standin.hurry()
    return server


def _first_night() -> Records:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / WAREHOUSE
        warehouse.first_night(path)
        return warehouse.records(path)


def sections(server: Server) -> str:
    """The `[destinations.…]` sections of a config that reaches these stand-ins."""
    return "\n\n".join(
        f"[destinations.{prefix.strip('/')}]\n{standin.settings().strip()}"
        for prefix, standin in server.standins.items()
    )


def remember(folder: Path, port: int) -> None:
    """Write the port down for the next time this demo's sandbox opens."""
    (folder / MEMO).write_text(json.dumps({"port": port}) + "\n")


def remembered(folder: Path) -> int:
    """The port of a demo's sandbox. Raises UserError when the memo is damaged."""
    try:
        port = json.loads((folder / MEMO).read_text())["port"]
    except (OSError, ValueError, KeyError, TypeError):
        port = None
    if not isinstance(port, int) or not 0 <= port < 65536:
        raise UserError(f"{folder / MEMO} cannot be read. Make the demo anew with `syncer demo`.")
    return port


def serve(port: int | None, folder: Path | None, stop_event: threading.Event, console: Console) -> None:
    """Serve until `stop_event` is set.

    With a demo's `folder` the stand-ins hold what that demo wrote, and keep there what is written to them; they
    open at its port unless `port` says otherwise. Without one, or with a folder that no demo made, they know
    invented people without scores, and the config sections to paste are printed.
    """
    if folder is not None and not (folder / MEMO).exists():
        folder = None
    if port is None:
        port = PORT if folder is None else remembered(folder)
    server = opened(port)
    if folder is not None:
        replay.restore(folder, server)
    with server:
        _welcome(server, folder, console)
        # A signal may reach another thread, and is heard in this one once it wakes up.
        while not stop_event.wait(1.0):
            pass
        if folder is not None:
            replay.save(folder, server)
    console.print("The sandbox is closed.")


def _welcome(server: Server, folder: Path | None, console: Console) -> None:
    titles = [standin.title for standin in server.standins.values()]
    listed = ", ".join(titles[:-1]) + " and " + titles[-1] if len(titles) > 1 else "".join(titles)
    people, workspaces, accounts = warehouse.USERS, warehouse.WORKSPACES, warehouse.ACCOUNTS
    console.print(Text.assemble("The sandbox is open at ", (server.url, "bold"), " until you press Ctrl-C."))
    if folder is not None:
        config = folder / "config.toml"
        indented(console, f"Stand-ins of {listed} hold what the demo wrote there, and keep what you write.", 0)
        console.print()
        console.print("What you can do now, in another terminal:")
        for command in ("diff", "check", "sync", "status"):
            console.print(Text(f"  syncer --config {config} {command}", "bold"), soft_wrap=True)
        return
    indented(
        console,
        f"Stand-ins of {listed} know about {people:,} people, {workspaces:,} workspaces and {accounts:,} accounts, "
        "all invented, and no scores yet. To send some, put these sections into a config.toml:",
        0,
    )
    console.print()
    # Text that somebody will copy is never wrapped.
    console.print(Text(sections(server)), soft_wrap=True)
