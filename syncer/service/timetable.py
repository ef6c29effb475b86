"""Which syncs are due, as their schedules, the journal and the clock say.

Nothing of it has to be remembered over a restart: a schedule counts from the last run that the journal knows, so starts
that were missed while nobody watched become one.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from syncer.control import Latest
from syncer.mapping import Sync
from syncer.overview import schedule_of
from syncer.run import Engine
from syncer.schedule import next_start, quiet_until


@dataclass(frozen=True, slots=True)
class Start:
    """A run that a schedule asks for."""

    sync: str
    trigger: str
    """`schedule`, or `after` others."""
    at: float
    """Since when, in seconds since 1970."""


class Timetable:
    """What it has offered already is not due again, whether a run came of it or not."""

    def __init__(self) -> None:
        self._offered: dict[str, float] = {}
        self._first_seen: dict[str, float] = {}

    def due(self, engine: Engine, latest: Mapping[str, Latest], paused: Collection[str], now: float) -> Iterator[Start]:
        """The syncs that are due now and were not before."""
        for sync in engine.config.syncs:
            first = self._first_seen.setdefault(sync.name, now)
            if sync.name in paused:
                continue
            if trigger := self._trigger(engine, sync, latest, first, now):
                self._offered[sync.name] = now
                yield Start(sync.name, trigger, now)

    def _trigger(
        self, engine: Engine, sync: Sync, latest: Mapping[str, Latest], first: float, now: float
    ) -> str | None:
        schedule = schedule_of(engine, sync)
        own = latest.get(sync.name)
        offered = self._offered.get(sync.name, 0.0)
        if own and own.is_open and offered <= own.started and _is_lost(engine, sync.name):
            # Its process was killed, or that of another daemon, for which this one stands by: the run is due again.
            return "schedule"
        begun = max(own.started if own else 0.0, offered)
        moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
        if schedule.after is not None:
            parents = [latest.get(name) for name in schedule.after]
            is_due = all(one is not None and one.done is not None and one.done > begun for one in parents)
            return "after" if is_due and not quiet_until(schedule, moment) else None
        if begun:
            start = next_start(schedule, sync.name, datetime.datetime.fromtimestamp(begun, datetime.UTC))
        elif schedule.cron:
            # A sync that never ran waits for its hour; a span begins at once.
            start = next_start(schedule, sync.name, datetime.datetime.fromtimestamp(first, datetime.UTC))
        else:
            start = moment
        is_due = start is not None and start <= moment and not quiet_until(schedule, moment)
        return "schedule" if is_due else None


def _is_lost(engine: Engine, sync: str) -> bool:
    """Whether nobody holds a sync whose run has not ended; it may have ended while we were looking."""
    control = engine.control()
    return control.holder(sync) is None and control.latest()[sync].is_open
