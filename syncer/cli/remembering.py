"""Commands about what is known: of runs, of records, and of what destinations hold."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from syncer.cli.frame import counted, load, open_engine, open_workshop, print_json, sentences, stop_on_signals
from syncer.cli.group import DONE, DRIFTED, FAILED, as_json, cli, names

if TYPE_CHECKING:
    from syncer.account import Prepared
    from syncer.run import Engine


@cli.command()
@names
@as_json
@click.pass_obj
def status(file: Path, syncs: Sequence[str], is_json: bool) -> None:
    """Last run, next run, freshness, counts, parked records and holds of each sync."""
    from syncer import report
    from syncer.overview import overview

    with sentences(is_json=is_json):
        config = load(file)
        with open_workshop(config) as workshop:
            document = overview(workshop, config.choose(syncs))
    if is_json:
        print_json(document)
    else:
        report.status(document, report.console())
    sys.exit(FAILED if any(one["state"] == "failed" for one in document["syncs"]) else DONE)


@cli.command()
@click.argument("name", metavar="[SYNC]", required=False)
@click.option("--retry", "is_retry", is_flag=True, help="Let them go with the next run: the KEYs, or all.")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@as_json
@click.pass_obj
def rejected(file: Path, name: str | None, is_retry: bool, keys: Sequence[str], is_json: bool) -> None:
    """Parked records with the destination's reason; `--retry` lets them go with the next run."""
    from syncer import documents, report
    from syncer.control import Control
    from syncer.errors import UserError

    with sentences(is_json=is_json):
        config = load(file)
        chosen = config.choose([name] if name else [])
        found = []
        if is_retry:
            control = Control.open(config.state)
            with closing(control):
                number = sum(control.retry(one.name, list(keys) or None) for one in chosen)
            if keys and not number:
                raise UserError(f"None of {', '.join(keys)} is parked. `syncer rejected` lists the records that are.")
            click.echo(f"{counted(number, 'record')} will be tried again by the next run.", err=is_json)
        looked = Control.look(config.state)
        if looked:
            with closing(looked):
                found = [
                    documents.parked(one, record)
                    for one in chosen
                    for record in looked.parked(one.name)
                    if not keys or record.key in keys
                ]
    if is_json:
        print_json({"parked": found})
    elif not is_retry:
        report.rejected({"parked": found}, report.console())


@cli.command()
@click.argument("name", metavar="SYNC")
@as_json
@click.pass_obj
def adopt(file: Path, name: str, is_json: bool) -> None:
    """Read the destination and fill the state with what it holds; nothing is sent."""
    from syncer import documents, readback, report

    def one(engine: Engine, prepared: Prepared) -> dict[str, Any]:
        return documents.adopted(readback.adopt(engine, prepared))

    found = _read_back(file, name, one, is_json=is_json, may_have_moved=True)
    if is_json:
        print_json({"syncs": found})
    else:
        report.adopted({"syncs": found}, report.console())
    sys.exit(FAILED if any(one.get("error") for one in found) else DONE)


@cli.command()
@click.argument("name", metavar="SYNC")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Only so many records, taken by chance.")
@click.option("--repair", is_flag=True, help="Plan to put our values back; the next sync sends it.")
@as_json
@click.pass_obj
def verify(file: Path, name: str, sample: int | None, repair: bool, is_json: bool) -> None:
    """Read the destination and report what it does not hold any more; exit 2 on drift."""
    from syncer import documents, readback, report

    def one(engine: Engine, prepared: Prepared) -> dict[str, Any]:
        verified = readback.verify(engine, prepared, sample=sample, repair=repair)
        return documents.verified(verified, prepared.destination.title)

    found = _read_back(file, name, one, is_json=is_json)
    if is_json:
        print_json({"syncs": found})
    else:
        report.verified({"syncs": found}, report.console())
    if any(one.get("error") for one in found):
        sys.exit(FAILED)
    sys.exit(DRIFTED if any(one["gone"] or one["drifted"] for one in found) else DONE)


def _read_back(
    file: Path,
    name: str,
    one: Callable[[Engine, Prepared], dict[str, Any]],
    *,
    is_json: bool,
    may_have_moved: bool = False,
) -> list[dict[str, Any]]:
    """A document for each sync of a name; what ends one sync does not end the others."""
    from syncer.errors import SyncerError

    found = []
    with sentences(is_json=is_json):
        config = load(file)
        with open_engine(config) as engine:
            stop_on_signals(engine.stop)
            prepared = [engine.prepare(sync, may_have_moved=may_have_moved) for sync in config.choose([name])]
            for each in prepared:
                try:
                    found.append(one(engine, each))
                except SyncerError as error:
                    found.append({"sync": each.sync.name, "error": str(error)})
    return found


@cli.command()
@click.argument("name", metavar="SYNC")
@click.argument("key", metavar="KEY")
@click.option("--offline", is_flag=True, help="Do not read the source for what comes next.")
@as_json
@click.pass_obj
def explain(file: Path, name: str, key: str, offline: bool, is_json: bool) -> None:
    """One record's life: its values, when, by which run, the destination's answers, and what comes next."""
    from syncer import documents, report
    from syncer.errors import UserError
    from syncer.explain import explain as look

    with sentences(is_json=is_json):
        config = load(file)
        with open_engine(config) as engine:
            lives = [look(engine, sync, key, is_offline=offline) for sync in config.choose([name])]
            if not any(life.is_known for life in lives):
                where = " and the source was not asked" if offline else " and no usable row of the source has it"
                raise UserError(f"Nothing is known of {key} in {name}: nothing is remembered of it,{where}.")
            found = [
                documents.explained(life, engine.destination(life.sync.destination).title)
                for life in lives
                if life.is_known
            ]
    if is_json:
        print_json({"syncs": found})
    else:
        report.explained({"syncs": found}, report.console())


@cli.command()
@click.argument("name", metavar="SYNC")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option("--erase", "is_erase", is_flag=True, help="With their history, from every file of the state.")
@as_json
@click.pass_obj
def forget(file: Path, name: str, keys: Sequence[str], is_erase: bool, is_json: bool) -> None:
    """Drop remembered values, of a whole sync or of some keys, so that they are sent again."""
    from syncer import forgetting
    from syncer.errors import UserError

    dropped, entries = {}, {}
    with sentences(is_json=is_json):
        config = load(file)
        with open_engine(config) as engine:
            for one in config.choose([name]):
                if is_erase:
                    erased = forgetting.erase(engine, one.name, keys)
                    dropped[one.name], entries[one.name] = erased.records, erased.entries
                else:
                    dropped[one.name] = forgetting.forget(engine, one.name, keys)
        if keys and not any(dropped.values()) and not any(entries.values()):
            raise UserError(f"Nothing is remembered of {', '.join(keys)}, so there is nothing to forget.")
    if is_json:
        print_json({"forgotten": dropped} | ({"erased": entries} if is_erase else {}))
        return
    for sync_name, number in dropped.items():
        them = "them" if number != 1 else "it"
        told = f"{counted(number, 'record')} forgotten; the next sync sends {them} again."
        if is_erase:
            entries_told = f"{entries[sync_name]:,} {'entry' if entries[sync_name] == 1 else 'entries'} of the history"
            told = (
                f"{counted(number, 'record')} and {entries_told} erased; what the source has of {them} is sent again."
            )
        click.echo(f"{sync_name}: {told}")
