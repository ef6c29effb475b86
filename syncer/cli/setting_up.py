"""Commands before the first run: files to start from, the demo, and whether everything fits."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from syncer.cli.frame import counted, load, open_engine, print_json, sentences, stop_on_signals
from syncer.cli.group import DONE, FAILED, as_json, cli, names

if TYPE_CHECKING:
    from syncer.errors import Problem
    from syncer.mapping import Sync
    from syncer.run import Engine


@cli.command()
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path), default=".")
def init(folder: Path) -> None:
    """Write a commented config and mapping files to start from."""
    from syncer import starter

    with sentences():
        written = starter.write(folder)
    for path in written:
        click.echo(f"wrote {path}")
    click.echo("Fill in config.toml, then run `syncer check`.")


@cli.command()
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path), default="demo")
def demo(folder: Path) -> None:
    """The whole story on this machine, no account needed: two nights of scores, three stand-ins."""
    from syncer import report
    from syncer.demo import story

    with sentences():
        sys.exit(story.tell(folder, report.console()))


@cli.command()
@names
@click.option("--offline", is_flag=True, help="Stop after the files.")
@as_json
@click.pass_obj
def check(file: Path, syncs: Sequence[str], offline: bool, is_json: bool) -> None:
    """Look at files, source columns, credentials and destination fields; change nothing."""
    from syncer.errors import UserError

    checked: list[str] = []
    problems: list[Problem] = []
    try:
        config = load(file)
        chosen = config.choose(syncs)
        checked.append(f"{config.file.name} and {counted(len(chosen), 'sync')}")
        problems += config.shared_fields()
        if not offline:
            with open_engine(config) as engine:
                problems += _check_online(engine, chosen, checked)
    except UserError as error:
        problems += error.problems
    from syncer import documents, report

    document = {"ok": not problems, "checked": checked, "problems": [documents.problem(one) for one in problems]}
    if is_json:
        print_json(document)
    else:
        report.check(document, report.console())
    sys.exit(FAILED if problems else DONE)


def _check_online(engine: Engine, chosen: Iterable[Sync], checked: list[str]) -> list[Problem]:
    from syncer.canonical import with_types
    from syncer.control import Control
    from syncer.errors import Problem, StateDamaged, SyncerError, UserError

    problems: dict[Problem, None] = {}
    wrong = Control.wrong(engine.config.state)
    if wrong:
        problems[engine.config.setting_problem("state.control", wrong)] = None
    elif engine.config.state.control is not None:
        checked.append("the control store")
    try:
        if state := engine.states.check():
            checked.append(state)
    except UserError as error:
        problems |= {engine.config.setting_problem(one.place, one.sentence): None for one in error.problems}
    except SyncerError as error:
        problems[Problem("state", str(error))] = None
    for sync in chosen:
        typed = sync
        try:
            engine.prepare(sync)
            typed = with_types(sync, engine.source.schema(sync))
            checked.append(f"{sync.name}: source columns")
            problems |= dict.fromkeys(_check_polling(engine, sync))
        except UserError as error:
            problems |= dict.fromkeys(error.problems)
        except StateDamaged as error:
            if not wrong:
                problems[Problem("state", str(error))] = None
        destination = engine.destination(sync.destination)
        try:
            found = [engine.problem(sync, one) for one in destination.check(typed)]
            problems |= dict.fromkeys(found)
            if not found:
                checked.append(f"{sync.name}: {destination.title} {sync.record}")
        except SyncerError as error:
            problems[Problem(f"destinations.{sync.destination}", str(error))] = None
    return list(problems)


def _check_polling(engine: Engine, sync: Sync) -> list[Problem]:
    """A sync that waits for a change of its source, which can never be seen."""
    from syncer.errors import Problem
    from syncer.overview import schedule_of

    plan = schedule_of(engine, sync)
    untold = engine.source.untold(sync) if plan.when else None
    if untold is None:
        return []
    sentence = (
        f'{untold} With `when = "{plan.when}"` it would be read at every look; write `every` or `cron` for this sync.'
    )
    return [engine.problem(sync, Problem("query" if sync.query else "source", sentence))]


@cli.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=None,
    help="Port of the page; 8090 when left out, 0 for a free one.",
)
@click.pass_obj
def sandbox(file: Path, port: int | None) -> None:
    """Serve the local stand-ins of the services, with a page that shows their records."""
    from syncer import report
    from syncer import sandbox as stage

    stop = threading.Event()
    stop_on_signals(stop)
    with sentences():
        stage.serve(port, file.parent if file.exists() else None, stop, report.console())


@cli.command()
def schema() -> None:
    """Print the JSON Schema of config and mapping files, for editors."""
    import destinations
    from syncer.schema import config_schema, mapping_schema

    print_json({"config": config_schema(destinations.adapter, destinations.kinds), "mapping": mapping_schema()})
