"""Commands of the daemon: the daemon itself, and what it leaves alone."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from syncer.cli.frame import load, open_engine, print_json, sentences, stop_on_signals
from syncer.cli.group import as_json, cli

whose = click.option("--by", metavar="NAME", help="Who says so; the user of this machine when left out.")


@cli.command()
@click.pass_obj
def serve(file: Path) -> None:
    """The daemon: runs every sync by its schedule and by request, and answers over HTTP."""
    from syncer import service

    with sentences():
        config = load(file)
        with open_engine(config) as engine:
            stop_on_signals(engine.stop, said="")  # Its log says it.
            service.serve(engine, lambda: load(file))


@cli.command()
@click.argument("name", metavar="SYNC")
@whose
@click.option("--reason", default="", help="Why; `status` shows it.")
@as_json
@click.pass_obj
def pause(file: Path, name: str, by: str | None, reason: str, is_json: bool) -> None:
    """Let the daemon leave a sync alone until `syncer resume`; `syncer sync` still runs it."""
    import getpass

    from syncer import documents
    from syncer.control import Control

    with sentences(is_json=is_json):
        config = load(file)
        with closing(Control.open(config.state)) as control:
            found = [control.pause(one.name, by or getpass.getuser(), reason) for one in config.choose([name])]
    if is_json:
        print_json({"paused": {one.sync: documents.paused(one) for one in found}})
        return
    for one in found:
        click.echo(f"{one.sync}: paused by {one.by}. The daemon runs it again after: syncer resume {one.sync}")


@cli.command()
@click.argument("name", metavar="SYNC")
@whose
@as_json
@click.pass_obj
def resume(file: Path, name: str, by: str | None, is_json: bool) -> None:
    """Let the daemon run a paused sync again; what is due by then runs at once."""
    import getpass

    from syncer.control import Control

    with sentences(is_json=is_json):
        config = load(file)
        with closing(Control.open(config.state)) as control:
            found = {one.name: control.resume(one.name, by or getpass.getuser()) for one in config.choose([name])}
    if is_json:
        print_json({"resumed": found})
        return
    for sync, was_paused in found.items():
        click.echo(f"{sync}: {'resumed' if was_paused else 'was not paused'}.")
