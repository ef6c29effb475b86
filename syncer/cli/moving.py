"""What is remembered, as a whole: moving it to another place."""

from __future__ import annotations

from pathlib import Path

import click

from syncer.cli.frame import counted, load, open_engine, print_json, sentences
from syncer.cli.group import as_json, cli


@cli.group()
def state() -> None:
    """What each destination accepted last, as a whole."""


@state.command()
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path),
    required=True,
    metavar="CONFIG",
    help="A config file whose [state] says where to; everything else in it is as in the present one.",
)
@as_json
@click.pass_obj
def move(file: Path, target: Path, is_json: bool) -> None:
    """Move the state to where another config says, and send nothing. Use that config from then on."""
    from syncer.moving import move as move_all

    with sentences(is_json=is_json):
        old, new = load(file), load(target)
        with open_engine(old) as source, open_engine(new) as goal:
            moved = move_all(source, goal)
    if is_json:
        print_json({"syncs": [{"sync": one.sync, "records": one.records} for one in moved]})
        return
    for one in moved:
        is_there = "is there already" if one.records is None else counted(one.records, "record")
        click.echo(f"{one.sync}  {is_there}")
    click.echo(f"Use {target} from now on: `syncer --config {target} diff` shows what would be sent.")
