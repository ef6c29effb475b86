"""The story of the demo: two nights of an invented company, told by the real commands and their real output.

The files that it leaves behind (a config, mappings, a warehouse, the state) are those of any installation, so
that everything shown can be done again by hand.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from syncer import sandbox
from syncer.demo import warehouse
from syncer.errors import UserError
from syncer.report.layout import indented
from syncer.sandbox import replay

WIDTH_MAX = 100
SECONDS_MAX = 120
"""For one command; on any machine they take a few seconds."""

OURS = ("config.toml", "mappings", "state", sandbox.WAREHOUSE, sandbox.WAREHOUSE + ".wal", replay.FILE)
"""Everything that a demo leaves in its folder, besides the memo by which a demo's folder is recognised."""

ALL_ACCEPTED, SOME_REJECTED, HELD = 0, 2, 3
"""Exit codes of `sync` that are no failure."""

CONFIG = """\
# The demo's config: an invented warehouse, and stand-ins of the services on this machine.
# They answer while `syncer --config {folder}/config.toml sandbox` is running; `diff` does not need them.

{source}

{state}

[brakes]
# Scores of an installation that works are hours old; a demo may be looked at again next week.
max_age = "30d"

{sections}
"""


BY_ADDRESS = '\nmatch = { email = "email" }\n'
FEWER = """\
# This line is the demo's own. Looking somebody up by address takes a request each, so only those are looked up
# who are likely to be there. Take it away, and see in `diff` what that would cost.
where = "github is not null"
"""


class Place(Protocol):
    """Where the story's commands find the tables; every night they are computed in a DuckDB file first."""

    title: str
    """The place's name at the beginning of a sentence."""
    source: str
    """The section `[source]` of the config."""
    state: str
    """The section `[state]`."""
    is_left: bool
    """Whether the tables are still there when the story is told."""

    def night(self, path: Path) -> None:
        """The file holds the tables of another night."""

    def end(self) -> str:
        """A paragraph on what happened in this place; may be empty."""


class InFile:
    """The tables are read where they were computed."""

    state = '[state]\npath = "state"'
    source = f'[source]\ntype = "duckdb"\npath = "{sandbox.WAREHOUSE}"'
    is_left = True

    def __init__(self, folder: Path) -> None:
        self.title = f"{folder}/{sandbox.WAREHOUSE}"

    def night(self, path: Path) -> None:
        """Nothing: the tables are where they belong."""

    def end(self) -> str:
        """Nothing that a person does not see in the folder."""
        return ""


class _CommandFailedError(Exception):
    """A command of the story ended with an exit code that the story does not know."""


def tell(folder: Path, console: Console, *, open_port: int = 0, place: Place | None = None) -> int:
    """Make the demo in `folder`, tell its two nights, and return the exit code.

    The stand-ins listen at `open_port` of this machine, a free port unless given; the tables are in a file of the
    folder unless they have another place. Raises UserError when the folder holds something that is not a demo, or
    the port is taken.
    """
    started = time.monotonic()
    place = place or InFile(folder)
    _make_room(folder)
    warehouse.first_night(folder / sandbox.WAREHOUSE)
    place.night(folder / sandbox.WAREHOUSE)
    with sandbox.opened(open_port) as server:
        sandbox.remember(folder, server.port)
        _write_files(folder, place, sandbox.sections(server))
        titles = [standin.title for standin in server.standins.values()]
        teller = _Teller(folder, place, console)
        try:
            teller.first_night(titles, server.url)
            first_count = sum(standin.count for standin in server.standins.values())
            teller.second_night()
            second_count = sum(standin.count for standin in server.standins.values()) - first_count
        except _CommandFailedError as error:
            console.print(Text(f"The demo ends here: {error}", "bold red"))
            return 1
        finally:
            replay.save(folder, server)
    teller.end(first_count, second_count, time.monotonic() - started)
    return 0


def _make_room(folder: Path) -> None:
    """An empty place for the demo; what an earlier demo left is taken away, and nothing else."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UserError(f"{folder} is not a folder. Move it away, or name another folder for the demo.")
    if folder.exists() and any(folder.iterdir()) and not (folder / sandbox.MEMO).is_file():
        raise UserError(
            f"{folder} holds files that no demo made, so it is left alone. Move it away, or name another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    # Written before anything else is touched, so that a demo which was cut short is recognised too.
    sandbox.remember(folder, 0)
    for name in OURS:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _write_files(folder: Path, place: Place, sections: str) -> None:
    config = CONFIG.format(folder=folder, source=place.source, state=place.state, sections=sections)
    (folder / "config.toml").write_text(config, "utf-8")
    (folder / "mappings").mkdir()
    for shipped in importlib.resources.files("mappings").iterdir():
        if shipped.name.endswith(".toml"):
            text = shipped.read_text("utf-8").replace(BY_ADDRESS, BY_ADDRESS + FEWER)
            (folder / "mappings" / shipped.name).write_text(text, "utf-8")


class _Teller:
    """Says something, runs a command, shows what it printed."""

    def __init__(self, folder: Path, place: Place, console: Console) -> None:
        self.folder = folder
        self.place = place
        self.console = console
        self.width = console.width = min(console.width, WIDTH_MAX)
        self.has_told_rejected = False

    def first_night(self, titles: Sequence[str], url: str) -> None:
        """Everything is new."""
        self.headline("An invented company, two nights")
        self.say(
            f"{self.place.title} holds the activation scores of {warehouse.USERS:,} users, "
            f"{warehouse.WORKSPACES:,} workspaces and {warehouse.ACCOUNTS:,} accounts. Stand-ins of "
            f"{_listed(titles)} answer at {url}. Nothing leaves this machine."
        )
        self.headline("The first night: everything is new")
        self.say("What would be sent, and what would it cost? Asking sends nothing.")
        self.run("diff", "--limit", "1")
        self.say("That is what we want.")
        self.sync()

    def second_night(self) -> None:
        """A little has changed, and somebody wants one more number."""
        warehouse.second_night(self.folder / sandbox.WAREHOUSE)
        self.place.night(self.folder / sandbox.WAREHOUSE)
        users = warehouse.SECOND_NIGHT["users"]
        self.headline("The second night: a little has changed")
        self.say(
            f"The tables were rebuilt. Every row has a new time, but only {users.changed} users scored differently; "
            f"{users.new} signed up, {users.gone} are gone. Only what differs is sent, field by field."
        )
        self.run("diff", "--limit", "2")
        sync_name, file, line = self.add_metric()
        self.say(
            f"Somebody would like one more number on each person: how many others they invited. "
            f"That is one more line in {file}:"
        )
        self.console.print(Text(f"    + {line}", "green"))
        self.console.print()
        self.run("diff", sync_name, "--limit", "2")
        self.sync()
        self.say("Where does everything stand?")
        self.run("status")

    def end(self, first_count: int, second_count: int, seconds: float) -> None:
        """What happened, and where to look next."""
        self.headline("What happened")
        users = warehouse.SECOND_NIGHT["users"]
        self.say(
            f"The first night took {first_count:,} requests, the second {second_count:,}. Both times only what differs "
            "from what each service has last accepted was sent: a record that did not change cost nothing, and a "
            "new field travelled without the old ones."
        )
        self.say(
            "Rows with a null or doubled key stayed here, and records that a service does not know are parked. "
            f"The {users.gone} users who are gone keep their last scores, "
            'because the mappings say removed = "keep".'
        )
        if particular := self.place.end():
            self.say(particular)
        self.headline("Where to look next")
        looks = [
            (("sandbox",), "the services' records in a browser, as this demo left them"),
            (("diff",), "nothing to do; edit a mapping or the warehouse, and look again"),
            (("rejected",), "who is parked, and why"),
        ]
        for arguments, meaning in looks if self.place.is_left else looks[::2]:
            self.console.print(Text.assemble("  ", (self.command(*arguments), "bold")), soft_wrap=True)
            self.console.print(Text(f"      {meaning}", "dim"))
        self.console.print()
        self.say(f"The files are in {self.folder}/: config.toml and mappings/ are the whole set-up. ({seconds:.0f} s)")

    def add_metric(self) -> tuple[str, str, str]:
        """Map the new column where its elder sister is mapped; returns the sync, the file, and the line."""
        for path in sorted((self.folder / "mappings").glob("*.toml")):
            text = path.read_text("utf-8")
            found = re.search(r'^(\w*)logins_7d\s*=\s*"logins_7d"\n', text, re.MULTILINE)
            if found:
                line = f'{found[1]}{warehouse.NEW_METRIC} = "{warehouse.NEW_METRIC}"'
                path.write_text(f"{text[: found.end()]}{line}\n{text[found.end() :]}", "utf-8")
                name = re.findall(r'^name\s*=\s*"(\w+)"', text[: found.start()], re.MULTILINE)[-1]
                return f"{path.stem}.{name}", f"{self.folder}/mappings/{path.name}", line
        raise _CommandFailedError("no mapping has the column logins_7d, so there is no place for a new metric.")

    def sync(self) -> None:
        """One run; a hold is explained and released, as a person would who has seen the plan."""
        code = self.run("sync", known=(ALL_ACCEPTED, SOME_REJECTED, HELD))
        if code == SOME_REJECTED and not self.has_told_rejected:
            self.has_told_rejected = True
            self.say(
                'Rejected as "missing": the service knows no such record, and the mappings say missing = "skip", so '
                "nobody is made up. They are parked, and tried again when their values change or some time has passed."
            )
        if code != HELD:
            return
        held = [one["sync"] for one in self.json("status")["syncs"] if one["holds"]]
        self.say(
            "A brake has held what touches more records than a usual night does, before anything of it was sent. "
            "We have seen the plan and want it, so we let it pass, this once."
        )
        self.run("sync", *held, "--release", known=(ALL_ACCEPTED, SOME_REJECTED))

    def headline(self, text: str) -> None:
        """A line across the page."""
        self.console.print()
        self.console.print(Rule(Text(text, "bold"), align="left", style="dim"))
        self.console.print()

    def say(self, text: str) -> None:
        """A paragraph."""
        indented(self.console, text, 0)
        self.console.print()

    def command(self, *arguments: str) -> str:
        """The command line as the user would write it."""
        return " ".join(("syncer", "--config", f"{self.folder}/config.toml", *arguments))

    def run(self, *arguments: str, known: Sequence[int] = (0,)) -> int:
        """Show a command line, run it, show what it printed, and return its exit code."""
        # A command that somebody may copy is never wrapped.
        self.console.print(Text.assemble(("$ ", "dim"), (self.command(*arguments), "bold cyan")), soft_wrap=True)
        self.console.print()
        with self.console.status("…"):
            done = self._process(*arguments)
        self.console.file.write(done.stdout.rstrip() + "\n\n")
        self.console.file.flush()
        if done.returncode not in known:
            self.console.file.write(done.stderr)
            raise _CommandFailedError(f"`{' '.join(arguments)}` ended with exit code {done.returncode}.")
        return done.returncode

    def json(self, *arguments: str) -> dict[str, Any]:
        """What a command says to machines, for the teller's own sentences."""
        document: dict[str, Any] = json.loads(self._process(*arguments, "--json").stdout)
        return document

    def _process(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            name: value for name, value in os.environ.items() if name not in ("SYNCER_CONFIG", "FORCE_COLOR")
        }
        environment |= {"COLUMNS": str(self.width), "PYTHONIOENCODING": "utf-8"}
        if self.console.is_terminal and not self.console.no_color:
            environment["FORCE_COLOR"] = "1"
        command = [sys.executable, "-m", "syncer", "--config", str(self.folder / "config.toml"), *arguments]
        return subprocess.run(  # noqa: S603 - our own program, with arguments that are written above.
            command, env=environment, capture_output=True, encoding="utf-8", timeout=SECONDS_MAX, check=False
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else "".join(names)
