"""The command line: what a person asks for, in their words, and the exit code of the answer.

Modules are imported by the command that needs them, when it runs: `syncer --help` must be there at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from syncer import __version__

if TYPE_CHECKING:
    from syncer.config import Config
    from syncer.errors import Problem
    from syncer.mapping import Sync
    from syncer.run import Engine, Options, Prepared
    from syncer.saved import SavedPlan

DONE, FAILED, SOME_REFUSED, HELD = 0, 1, 2, 3
DRIFTED = 2
"""Exit codes of `sync`; `diff --exit-code` says 2 for changes."""
# The library says 2 for a word that it does not know, which here would read as records that were refused.
click.UsageError.exit_code = FAILED
SHOWN_CHANGES = 20
"""Changes that `diff` shows to people unless they ask for more."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    envvar="SYNCER_CONFIG",
    default="config.toml",
    show_default=True,
    help="The config file.",
)
@click.version_option(__version__, prog_name="syncer")
@click.pass_context
def cli(context: click.Context, file: Path) -> None:
    """Push activation scores to where people work: only what changed, and the plan first."""
    context.obj = file


as_json = click.option("--json", "is_json", is_flag=True, help="Print the result as JSON.")
names = click.argument("syncs", metavar="[SYNC]...", nargs=-1)


@cli.command()
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path), default=".")
def init(folder: Path) -> None:
    """Write a commented config and mapping files to start from."""
    from syncer import starter

    with _sentences():
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

    with _sentences():
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
        config = _load(file)
        chosen = config.choose(syncs)
        checked.append(f"{config.file.name} and {_count(len(chosen), 'sync')}")
        problems += config.shared_fields()
        if not offline:
            with _engine(config) as engine:
                problems += _check_online(engine, chosen, checked)
    except UserError as error:
        problems += error.problems
    from syncer import documents, report

    document = {"ok": not problems, "checked": checked, "problems": [documents.problem(one) for one in problems]}
    if is_json:
        _print_json(document)
    else:
        report.check(document, report.console())
    sys.exit(FAILED if problems else DONE)


def _check_online(engine: Engine, chosen: Iterable[Sync], checked: list[str]) -> list[Problem]:
    from syncer.canonical import with_types
    from syncer.errors import Problem, SyncerError, UserError

    problems: dict[Problem, None] = {}
    for sync in chosen:
        typed = sync
        try:
            engine.prepare(sync)
            typed = with_types(sync, engine.source.schema(sync))
            checked.append(f"{sync.name}: source columns")
        except UserError as error:
            problems |= dict.fromkeys(error.problems)
        destination = engine.destination(sync.destination)
        try:
            found = [engine.problem(sync, one) for one in destination.check(typed)]
            problems |= dict.fromkeys(found)
            if not found:
                checked.append(f"{sync.name}: {destination.title} {sync.record}")
        except SyncerError as error:
            problems[Problem(f"destinations.{sync.destination}", str(error))] = None
    return list(problems)


@cli.command()
@names
@click.option("--key", "keys", multiple=True, help="Show only this key; may be repeated.")
@click.option("--limit", type=click.IntRange(min=0), help="Show no more than so many changes of a sync.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Save the plan, for `sync --plan`.")
@click.option("--exit-code", is_flag=True, help="Exit 2 when there are changes.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown"]),
    default="text",
    help="text, or a short summary in markdown for a pull request.",
)
@as_json
@click.pass_obj
def diff(
    file: Path,
    syncs: Sequence[str],
    keys: Sequence[str],
    limit: int | None,
    out: Path | None,
    exit_code: bool,
    form: str,
    is_json: bool,
) -> None:
    """Show the plan: what a sync would send. Nothing is sent and no state moves."""
    import datetime

    from syncer import documents, report, saved

    found, whole = [], []
    shown = limit if limit is not None or is_json else SHOWN_CHANGES
    with _sentences(is_json=is_json):
        config = _load(file)
        with _engine(config) as engine:
            for prepared in engine.prepare_all(config.choose(syncs)):
                with engine.diff(prepared) as plan:
                    title = prepared.destination.title
                    found.append(documents.diff(plan, title, limit=shown, keys=keys))
                    if out:
                        # What is saved is what will be sent, whatever was asked to be shown of it.
                        whole.append(saved.document(plan, title, engine.source.modified(prepared.sync)))
        if out:
            saved.write(out, whole, datetime.datetime.now(datetime.UTC))
    has_changes = any(sum(one["counts"][kind] for kind in ("new", "changed", "removed", "rescored")) for one in found)
    if is_json:
        _print_json({"syncs": found})
    elif form == "markdown":
        click.echo(report.markdown({"syncs": found}))
    else:
        report.diff({"syncs": found}, report.console(), SHOWN_CHANGES if limit is None else limit)
    sys.exit(2 if exit_code and has_changes else DONE)


@cli.command()
@names
@click.option(
    "--plan", "plan_file", type=click.Path(path_type=Path, dir_okay=False), help="Send exactly this saved plan."
)
@click.option("--only", "only", multiple=True, metavar="KEY", help="Only this key; may be repeated.")
@click.option(
    "--max", "records_max", type=click.IntRange(min=1), metavar="N", help="A canary: send no more than N records."
)
@click.option("--continue", "continues", is_flag=True, help="Send the rest of the last canary's plan.")
@click.option("--release", is_flag=True, help="Over the brakes, this once.")
@as_json
@click.pass_obj
def sync(
    file: Path,
    syncs: Sequence[str],
    plan_file: Path | None,
    only: Sequence[str],
    records_max: int | None,
    continues: bool,
    release: bool,
    is_json: bool,
) -> None:
    """Run once: send what differs and remember what was accepted.

    Exit 0: all accepted, or nothing to do. 1: a run failed. 2: some records were rejected or deferred.
    3: a brake holds.
    """
    from syncer import report, saved
    from syncer.errors import UserError
    from syncer.run import Options

    with _sentences(is_json=is_json):
        config = _load(file)
        plan = saved.read(plan_file) if plan_file else None
        chosen = config.choose(syncs or (list(plan.syncs) if plan else []))
        if (plan or continues) and only:
            raise UserError("A plan is sent as it is; leave --only out, or make a new plan.")
        if continues and records_max:
            raise UserError("--continue sends all that is left of the canary's plan; leave --max out.")
        if plan and (strange := [one.name for one in chosen if one.name not in plan.syncs]):
            raise UserError(f"{plan_file} holds no plan of {', '.join(strange)}; it has {', '.join(plan.syncs)}.")
        with _engine(config) as engine:
            _stop_on_signals(engine.stop)
            if plan and not continues:
                _refuse_used(plan, engine, plan_file)
            prepared = engine.prepare_all(chosen, trigger="command")
            options = {
                one.name: Options(
                    release=release,
                    only=tuple(only),
                    records_max=records_max,
                    digest=plan.digest(one.name) if plan else None,
                    saved=plan.id if plan else None,
                    continues=continues,
                )
                for one in chosen
            }
            moved = _moved(plan, engine, prepared) if plan and not continues else {}
            # A run whose plan has moved refuses itself, and says so in the journal; the others then stay at home.
            found = _run_all(engine, [one for one in prepared if one.sync.name in moved] or prepared, options)
            if moved:
                found = [{**one, "moved": moved[one["sync"]]} for one in found] + _stayed(moved, prepared)
    document = {"syncs": found}
    if is_json:
        _print_json(document)
    else:
        report.sync(document, report.console())
    sys.exit(_sync_code(found))


def _run_all(engine: Engine, prepared: Sequence[Prepared], options: dict[str, Options]) -> list[dict[str, Any]]:
    """Run all; destinations side by side, the syncs of one destination one after the other."""
    from concurrent.futures import ThreadPoolExecutor

    from syncer import documents
    from syncer.errors import SyncerError
    from syncer.progress import progress

    by_destination: dict[str, list[Prepared]] = {}
    for one in prepared:
        by_destination.setdefault(one.sync.destination, []).append(one)
    results: dict[str, dict[str, Any]] = {}
    with progress() as advance:

        def several(group: list[Prepared]) -> None:
            for one in group:
                name = one.sync.name
                try:
                    report = engine.run(one, options[name], lambda records, name=name: advance(name, records))  # type: ignore[misc]
                    results[name] = documents.sync(report)
                except SyncerError as error:
                    results[name] = documents.failed(name, str(error))

        with ThreadPoolExecutor(max_workers=max(1, len(by_destination))) as pool:
            for future in [pool.submit(several, group) for group in by_destination.values()]:
                future.result()
    return [results[one.sync.name] for one in prepared]


def _sync_code(found: Sequence[dict[str, Any]]) -> int:
    if any(one["result"] == "failed" for one in found):
        return FAILED
    if any(one["result"] == "held" for one in found):
        return HELD
    return SOME_REFUSED if any(one["rejected"] or one["deferred"] for one in found) else DONE


@cli.command()
@click.argument("run", metavar="RUN", type=int)
@click.option("--by", metavar="NAME", help="Who approves; the user of this machine when left out.")
@as_json
@click.pass_obj
def approve(file: Path, run: int, by: str | None, is_json: bool) -> None:
    """Let exactly the plan that this run held pass, once."""
    import getpass

    from syncer import documents
    from syncer.errors import UserError

    with _sentences(is_json=is_json):
        config = _load(file)
        with _engine(config) as engine:
            approval = engine.control().approve(run, by or getpass.getuser())
        if approval is None:
            raise UserError(
                f"Run {run} holds no plan that waits: it was not held, or its sync has run since. `syncer status` "
                "names the last run of each sync."
            )
    if is_json:
        _print_json({"approved": documents.approval(approval)})
        return
    click.echo(
        f"{approval.sync}: the plan of run {run} is approved by {approval.by}, for {config.plans.max_age}. "
        f"The next run sends it: syncer sync {approval.sync}"
    )


@cli.command()
@click.pass_obj
def serve(file: Path) -> None:
    """The daemon: runs every sync by its schedule, and answers over HTTP."""
    from syncer import service

    with _sentences():
        config = _load(file)
        with _engine(config) as engine:
            _stop_on_signals(engine.stop)
            service.serve(engine)


@cli.command()
@names
@as_json
@click.pass_obj
def status(file: Path, syncs: Sequence[str], is_json: bool) -> None:
    """Last run, next run, freshness, counts, parked records and holds of each sync."""
    from syncer import report
    from syncer.overview import overview

    with _sentences(is_json=is_json):
        config = _load(file)
        with _engine(config) as engine:
            document = overview(engine, config.choose(syncs))
    if is_json:
        _print_json(document)
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

    with _sentences(is_json=is_json):
        config = _load(file)
        chosen = config.choose([name] if name else [])
        found = []
        if is_retry:
            control = Control.open(config.state.path)
            with closing(control):
                number = sum(control.retry(one.name, list(keys) or None) for one in chosen)
            if keys and not number:
                raise UserError(f"None of {', '.join(keys)} is parked. `syncer rejected` lists the records that are.")
            click.echo(f"{_count(number, 'record')} will be tried again by the next run.", err=is_json)
        looked = Control.look(config.state.path)
        if looked:
            with closing(looked):
                found = [
                    documents.parked(one, record)
                    for one in chosen
                    for record in looked.parked(one.name)
                    if not keys or record.key in keys
                ]
    if is_json:
        _print_json({"parked": found})
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
        _print_json({"syncs": found})
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
        _print_json({"syncs": found})
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
    with _sentences(is_json=is_json):
        config = _load(file)
        with _engine(config) as engine:
            _stop_on_signals(engine.stop)
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

    with _sentences(is_json=is_json):
        config = _load(file)
        with _engine(config) as engine:
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
        _print_json({"syncs": found})
    else:
        report.explained({"syncs": found}, report.console())


@cli.command()
@click.argument("run", metavar="RUN", type=click.IntRange(min=1))
@click.option("--dry-run", "is_dry", is_flag=True, help="Show the plan; nothing is sent.")
@click.option("--release", is_flag=True, help="Over the brakes, this once.")
@as_json
@click.pass_obj
def undo(file: Path, run: int, is_dry: bool, release: bool, is_json: bool) -> None:
    """Put back what a run replaced, where the destination still holds what it wrote; the rest is listed.

    Exit codes are those of `sync`.
    """
    from syncer import documents, report
    from syncer.run import Options
    from syncer.undo import Undoing, looked_at, undoable

    with _sentences(is_json=is_json):
        config = _load(file)
        with _engine(config) as engine:
            _stop_on_signals(engine.stop)
            chosen = config.choose([undoable(engine, run).sync])
            (prepared,) = engine.prepare_all(chosen, trigger=None if is_dry else "undo")
            undoing = Undoing(engine, run)
            if is_dry:
                with looked_at(engine, prepared, undoing) as plan:
                    limit = None if is_json else SHOWN_CHANGES
                    found = documents.diff(plan, prepared.destination.title, limit=limit)
            else:
                options = Options(release, trigger="undo", planner=undoing)
                (found,) = _run_all(engine, [prepared], {prepared.sync.name: options})
            document = {"syncs": [documents.undone(found, prepared.sync, undoing)]}
    if is_json:
        _print_json(document)
    else:
        report.undone(document, report.console(), SHOWN_CHANGES)
    sys.exit(DONE if is_dry else _sync_code([found]))


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
    with _sentences(is_json=is_json):
        config = _load(file)
        with _engine(config) as engine:
            for one in config.choose([name]):
                if is_erase:
                    erased = forgetting.erase(engine, one.name, keys)
                    dropped[one.name], entries[one.name] = erased.records, erased.entries
                else:
                    dropped[one.name] = forgetting.forget(engine, one.name, keys)
        if keys and not any(dropped.values()) and not any(entries.values()):
            raise UserError(f"Nothing is remembered of {', '.join(keys)}, so there is nothing to forget.")
    if is_json:
        _print_json({"forgotten": dropped} | ({"erased": entries} if is_erase else {}))
        return
    for sync_name, number in dropped.items():
        them = "them" if number != 1 else "it"
        told = f"{_count(number, 'record')} forgotten; the next sync sends {them} again."
        if is_erase:
            entries_told = f"{entries[sync_name]:,} {'entry' if entries[sync_name] == 1 else 'entries'} of the history"
            told = f"{_count(number, 'record')} and {entries_told} erased; what the source has of {them} is sent again."
        click.echo(f"{sync_name}: {told}")


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
    _stop_on_signals(stop)
    with _sentences():
        stage.serve(port, file.parent if file.exists() else None, stop, report.console())


@cli.command()
def schema() -> None:
    """Print the JSON Schema of config and mapping files, for editors."""
    import destinations
    from syncer.schema import config_schema, mapping_schema

    _print_json({"config": config_schema(destinations.adapter, destinations.kinds), "mapping": mapping_schema()})


# --- what commands share -----------------------------------------------------------------------------------------


def _load(file: Path) -> Config:
    import destinations
    from syncer.config import load

    return load(file, destinations.adapter, destinations.kinds)


@contextmanager
def _engine(config: Config) -> Iterator[Engine]:
    """An engine for the config, closed in the end."""
    import structlog

    import destinations
    from syncer.logs import configure
    from syncer.run import Engine
    from syncer.sources import source_of

    configure()
    for shared in config.shared_fields():
        structlog.get_logger(__name__).warning("fields_shared", place=shared.place, sentence=shared.sentence)
    engine = Engine(config, source_of(config.source), destinations.adapter)
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def _sentences(*, is_json: bool = False) -> Iterator[None]:
    """A user's mistake is a list of sentences on stderr and exit code 1; ours keeps its traceback."""
    from syncer.errors import Problem, SyncerError, UserError

    try:
        yield
    except SyncerError as error:
        problems = error.problems if isinstance(error, UserError) else (Problem("", str(error)),)
        _fail(problems, is_json=is_json)


def _fail(problems: Sequence[Problem], *, is_json: bool) -> NoReturn:
    from syncer import documents, report

    if is_json:
        _print_json({"problems": [documents.problem(one) for one in problems]})
    report.problems(problems, report.console(sys.stderr))
    sys.exit(FAILED)


def _stop_on_signals(stop: threading.Event) -> None:
    """The first signal lets the step in hand finish and be remembered; the second leaves at once."""

    def handle(number: int, _: object) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


def _refuse_used(plan: SavedPlan, engine: Engine, file: Path | None) -> None:
    """Raises UserError when a saved plan was sent before, or is too old."""
    import time

    from syncer import documents
    from syncer.errors import UserError
    from syncer.mapping import seconds_of

    if used := engine.control().use_of(plan.id):
        run, at = used
        raise UserError(
            f"{file} was sent before, by run {run} at {documents.moment(at)}, and a saved plan is used once. Make "
            "a new one with `syncer diff --out`; `--continue` sends what a canary of it left."
        )
    if time.time() - plan.made.timestamp() > seconds_of(max_age := engine.config.plans.max_age):
        raise UserError(
            f"{file} was made at {documents.moment(plan.made.timestamp())}, and `max_age` of [plans] is {max_age}. "
            "Make a new one with `syncer diff --out`."
        )


def _moved(plan: SavedPlan, engine: Engine, prepared: Sequence[Prepared]) -> dict[str, list[str]]:
    """The syncs whose plan is not the one that was saved, with what has moved."""
    from syncer import saved

    found = {}
    for one in prepared:
        with engine.diff(one) as now:
            if moved := saved.moved(plan.syncs[one.sync.name], now):
                found[one.sync.name] = moved
    return found


def _stayed(moved: Collection[str], prepared: Sequence[Prepared]) -> list[dict[str, Any]]:
    """Results of the syncs of a saved plan that were not sent because the plan of another one has moved."""
    from syncer import documents

    sentence = f"Nothing was sent, because the plan of {', '.join(moved)} is not the one that was saved."
    return [documents.failed(one.sync.name, sentence) for one in prepared if one.sync.name not in moved]


def _print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
