"""What a run is asked, and what it comes to: for whoever asked, for the journal, for the log and for the trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from syncer.change import MISSING
from syncer.destination import Destination, Limits
from syncer.mapping import Sync
from syncer.stages import Stages

if TYPE_CHECKING:
    from syncer.canonical import Canon
    from syncer.control import Control
    from syncer.plan import Hold, Plan
    from syncer.state import Inputs, State
    from syncer.tally import Delivered

log = structlog.get_logger(__name__)


class Planner(Protocol):
    """Makes a plan that does not come from the source; everything else about its run is as always."""

    undoes: int
    """The run whose changes the plan takes back, for the journal."""

    def plan(self, prepared: Prepared, inputs: Inputs, state: State, control: Control, file: Path) -> Plan:
        """The plan, written to `file`. The caller holds the sync. Raises SyncerError."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a person can ask of one run."""

    release: bool = False
    """Over the brakes, this once; it is written into the journal."""
    only: tuple[str, ...] = ()
    """Just these keys."""
    records_max: int | None = None
    """A canary: send no more than so many."""
    digest: str | None = None
    """The plan that was saved; any other is refused."""
    saved: str | None = None
    """The name of the saved plan, which is used once."""
    continues: bool = False
    """Send the rest of the plan that the last canary began, and nothing else."""
    trigger: str = "command"
    """What started the run, for the journal."""
    by: str | None = None
    """Who asked for it, for the journal."""
    request: int | None = None
    """What asked for it, of what the daemon was asked."""
    planner: Planner | None = None
    """Makes another plan than the one from the source."""
    is_due: Callable[[Control], bool] | None = None
    """Asked when the sync is held: whether nobody else has done meanwhile what the run is for."""
    modified: str | None = None
    """When the source had changed, for a run that was started by that; for the journal."""


@dataclass(slots=True)
class Report:
    """What a run came to. `result` is done, held or failed; the counts of `delivered` add up."""

    sync: Sync
    run: int | None
    result: str
    delivered: Delivered
    requests: int = 0
    seconds: float = 0.0
    holds: list[Hold] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    error: str | None = None
    warnings: list[str] = field(default_factory=list)
    """Sentences about what went wrong beside the run."""
    expense: dict[str, int | float | str | None] = field(default_factory=dict)
    """What reading the source came to, as `Plan.expense`; empty where nothing was read."""
    cause: str | None = None
    """One word for `error`, as errors have it."""
    stages: Stages = field(default_factory=Stages)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A sync whose files, source columns and mapping fit together; nothing of the rows is read yet."""

    sync: Sync
    canon: Canon
    destination: Destination
    limits: Limits


def facts_of(plan: Plan, options: Options) -> dict[str, object]:
    """What the journal keeps of a plan beside its outcomes."""
    undoes = {} if plan.undoes is None else {"undoes": plan.undoes}
    by = {} if options.by is None else {"by": options.by}
    modified = {} if options.modified is None else {"modified": options.modified}
    return {
        "trigger": options.trigger,
        **undoes,
        **by,
        **modified,
        "rows": plan.rows,
        "known": plan.known,
        "counts": plan.counts,
        **plan.expense,
    }


def measures_of(prepared: Prepared, report: Report) -> dict[str, object]:
    """What the journal keeps of how a run went: where the time went, what the service counts, why it failed."""
    quota = prepared.destination.quota()
    missing = report.delivered.reasons["rejected", MISSING]
    return {
        "stages": report.stages.seconds,
        **({} if quota is None else {"quota": {"used": quota.used, "allowed": quota.allowed, "left": quota.left}}),
        **({} if report.cause is None else {"cause": report.cause}),
        **({"missing": missing} if missing else {}),
    }


def count_unsent(plan: Plan, delivered: Delivered) -> None:
    """Tell by kind what of a plan did not leave, which is the rest of it."""
    for kind, number in (("new", plan.new), ("changed", plan.changed + plan.rescored), ("removed", plan.removed)):
        told = sum(delivered.kinds[kind, outcome] for outcome in ("accepted", "rejected", "deferred"))
        if number > told:
            delivered.kinds[kind, "unsent"] = number - told


def tell_span(span: Any, report: Report) -> None:
    """What a run came to, for its span: numbers and one word."""
    if span is not None:
        span.set_attributes({"syncer.run": report.run or 0, "syncer.result": report.result})
        span.set_attributes({f"syncer.{name}": number for name, number in report.delivered.counts.items()})


def log_line(report: Report) -> None:
    """One line a run, without any value."""
    counts = report.delivered.counts
    write = log.info if report.result == "done" else log.warning
    write(
        "run", sync=report.sync.name, run=report.run, result=report.result, **counts,
        requests=report.requests, seconds=round(report.seconds, 2), error=report.error,
        holds=[hold.brake for hold in report.holds], released=report.released,
        bytes_read=report.expense.get("bytes_read"), price=report.expense.get("price"),
    )  # fmt: skip
