"""Commands that plan and send: the plan, a run, an approval, an undoing."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from syncer.cli.frame import load, open_engine, print_json, sentences, stop_on_signals
from syncer.cli.group import DONE, FAILED, HELD, SHOWN_CHANGES, SOME_REFUSED, as_json, cli, names

if TYPE_CHECKING:
    from syncer.account import Options, Prepared
    from syncer.mapping import Sync
    from syncer.run import Engine
    from syncer.saved import SavedPlan


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
    with sentences(is_json=is_json):
        config = load(file)
        with open_engine(config) as engine:
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
        print_json({"syncs": found})
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
@click.option(
    "--dbt-run-results",
    "dbt_results",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Only if what dbt made of the source succeeded, with its tests; may be repeated (dbt run, dbt test).",
)
@click.option(
    "--dbt-manifest",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The manifest.json that goes with it; the one beside it when left out.",
)
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
    dbt_results: Sequence[Path],
    dbt_manifest: Path | None,
    is_json: bool,
) -> None:
    """Run once: send what differs and remember what was accepted.

    Exit 0: all accepted, or nothing to do. 1: a run failed. 2: some records were rejected or deferred.
    3: a brake holds.
    """
    from syncer import report, saved
    from syncer.account import Options
    from syncer.alerts.watch import after_runs
    from syncer.errors import UserError

    with sentences(is_json=is_json):
        config = load(file)
        plan = saved.read(plan_file) if plan_file else None
        chosen = config.choose(syncs or (list(plan.syncs) if plan else []))
        if (plan or continues) and only:
            raise UserError("A plan is sent as it is; leave --only out, or make a new plan.")
        if continues and records_max:
            raise UserError("--continue sends all that is left of the canary's plan; leave --max out.")
        if plan and (strange := [one.name for one in chosen if one.name not in plan.syncs]):
            raise UserError(f"{plan_file} holds no plan of {', '.join(strange)}; it has {', '.join(plan.syncs)}.")
        with open_engine(config) as engine, after_runs(engine):
            stop_on_signals(engine.stop)
            if plan and not continues:
                _refuse_used(plan, engine, plan_file)
            failed = _failed_in_dbt(engine, chosen, dbt_results, dbt_manifest)
            chosen = tuple(one for one in chosen if one.name not in failed)
            trigger = "dbt" if dbt_results else "command"
            prepared = engine.prepare_all(chosen, trigger=trigger)
            options = {
                one.name: Options(
                    release=release,
                    only=tuple(only),
                    records_max=records_max,
                    digest=plan.digest(one.name) if plan else None,
                    saved=plan.id if plan else None,
                    continues=continues,
                    trigger=trigger,
                )
                for one in chosen
            }
            moved = _moved(plan, engine, prepared) if plan and not continues else {}
            # A run whose plan has moved refuses itself, and says so in the journal; the others then stay at home.
            found = _run_all(engine, [one for one in prepared if one.sync.name in moved] or prepared, options)
            found += failed.values()
            if moved:
                found = [{**one, "moved": moved[one["sync"]]} for one in found] + _stayed(moved, prepared)
    document = {"syncs": found}
    if is_json:
        print_json(document)
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


def _failed_in_dbt(
    engine: Engine, syncs: Sequence[Sync], files: Sequence[Path], manifest: Path | None
) -> dict[str, dict[str, Any]]:
    """Results of the syncs that dbt's results do not allow, by name; the journal has them as failed runs.

    Raises UserError when a file of dbt's cannot be read.
    """
    from syncer import dbt, documents
    from syncer.errors import UserError

    if not files:
        if manifest:
            raise UserError("--dbt-manifest goes with --dbt-run-results; name both.")
        return {}
    results = [dbt.run_results(dbt.read_json(file), str(file)) for file in files]
    beside = manifest or files[0].with_name("manifest.json")
    made = dbt.manifest(dbt.read_json(beside), str(beside))
    failed = {}
    for one in syncs:
        try:
            dbt.refuse_failed(one, results, made, engine.config.source.type)
        except UserError as error:
            engine.refused(one, error, "dbt")
            failed[one.name] = documents.failed(one.name, str(error))
    return failed


def _sync_code(found: Sequence[dict[str, Any]]) -> int:
    """The exit code of results of runs: the worst of them."""
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

    from syncer import documents, verdict

    with sentences(is_json=is_json):
        config = load(file)
        with open_engine(config) as engine:
            approval = verdict.approve(engine.control(), run, by or getpass.getuser())
    if is_json:
        print_json({"approved": documents.approval(approval)})
        return
    click.echo(
        f"{approval.sync}: the plan of run {run} is approved by {approval.by}, for {config.plans.max_age}. "
        f"The next run sends it: syncer sync {approval.sync}"
    )


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
    from syncer.account import Options
    from syncer.alerts.watch import after_runs
    from syncer.undo import Undoing, looked_at, undoable

    with sentences(is_json=is_json):
        config = load(file)
        with open_engine(config) as engine, after_runs(engine):
            stop_on_signals(engine.stop)
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
        print_json(document)
    else:
        report.undone(document, report.console(), SHOWN_CHANGES)
    sys.exit(DONE if is_dry else _sync_code([found]))


def _refuse_used(plan: SavedPlan, engine: Engine, file: Path | None) -> None:
    """Raises UserError when a saved plan was sent before, or is too old."""
    import time

    from syncer import documents
    from syncer.errors import UserError
    from syncer.spans import seconds_of

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
