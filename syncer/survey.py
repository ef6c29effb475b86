"""How every sync is, for machines: what metrics show and what alerts judge. Reads the journal, and no row of a source.

Everything that is a state is read from the journal, and not remembered from what was seen: so a restart forgets
nothing, and runs of other processes (`syncer sync` of a cron) count too.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from syncer.config import Adapters, Config
from syncer.control import Control, Run
from syncer.mapping import Sync

RUNS_LOOKED_AT = 10
"""Newest runs of a sync among which the last one with outcomes is looked for."""


@dataclass(frozen=True, slots=True)
class Health:
    """One sync, as the journal has it."""

    sync: Sync
    parked: int = 0
    last: Run | None = None
    """The newest run that has ended, and not because the process was asked to stop."""
    delivered: Run | None = None
    """The newest run in which records were accepted or rejected."""
    quota: Run | None = None
    """The newest run in which the service said how many requests are left."""
    success: float | None = None
    """When the newest run that was done ended, in seconds since 1970."""

    @property
    def brakes(self) -> list[str]:
        """The brakes that hold its last plan."""
        if self.last is None or self.last.result != "held":
            return []
        return [str(hold["brake"]) for hold in self.last.facts.get("holds", [])]

    @property
    def rejected_share(self) -> float:
        """Share of the records that the last run with outcomes was refused; those that are not there on purpose
        (`missing = "skip"`) are left out."""
        run = self.delivered
        if run is None:
            return 0.0
        refused = run.rejected - int(run.facts.get("missing", 0))
        total = run.accepted + refused
        return refused / total if total else 0.0


@dataclass(frozen=True, slots=True)
class Survey:
    """All syncs of a config at one moment."""

    healths: Sequence[Health]
    expires: dict[str, datetime.date] = field(default_factory=dict)
    """Destination → the last day of its credentials, where that is known."""
    modified: dict[str, datetime.datetime | None] = field(default_factory=dict)
    """Sync → when its source last changed, where it was asked and told."""


def survey(config: Config, control: Control | None) -> list[Health]:
    """Every sync as the journal has it; nothing else is asked."""
    return [_health(sync, control) for sync in config.syncs]


def _health(sync: Sync, control: Control | None) -> Health:
    if control is None:
        return Health(sync)
    runs = control.runs(sync.name, RUNS_LOOKED_AT)
    return Health(
        sync,
        parked=control.parked_count(sync.name),
        last=_first(one for one in runs if one.result != "running" and one.facts.get("cause") != "stopped"),
        delivered=_first(one for one in runs if one.result != "running" and one.accepted + one.rejected),
        quota=_first(one for one in runs if "quota" in one.facts),
        success=control.last_success(sync.name),
    )


def _first(runs: Iterable[Run]) -> Run | None:
    return next(iter(runs), None)


def expiries(config: Config, adapters: Adapters) -> dict[str, datetime.date]:
    """Destination → the last day of its credentials, where it is known."""
    found = {
        name: adapters(configured.kind).expires(configured.settings) for name, configured in config.destinations.items()
    }
    return {name: day for name, day in found.items() if day is not None}


def quotas(healths: Iterable[Health]) -> dict[str, dict[str, int]]:
    """Destination → used, allowed and left, as the newest run of any of its syncs was told."""
    newest: dict[str, Run] = {}
    for health in healths:
        run = health.quota
        if run is not None and run.id > (newest[name].id if (name := health.sync.destination) in newest else 0):
            newest[health.sync.destination] = run
    return {name: run.facts["quota"] for name, run in newest.items()}
