"""The simplest destination that keeps the contract: records in a dict of this process, no HTTP.

It is the reference for authors of adapters, and stands in for a destination wherever HTTP is beside the point.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field as Setting

from syncer.change import Change, Held, Kind, Outcome, Value, Wanted, accepted, deferred, rejected
from syncer.destination import Destination, DestinationSettings, Limits, Pace
from syncer.errors import DestinationUnusable, Problem
from syncer.mapping import Sync

Decision = Literal["accepted", "rejected", "deferred", "doubt-applied", "doubt-lost", "unusable"]
"""What is to become of a change. The doubtful two end as deferred in doubt, having arrived or not."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One change as it arrived, also when it was then refused."""

    kind: Kind
    match: Mapping[str, str]
    fields: Mapping[str, Value]


class MemorySettings(DestinationSettings):
    """`batch` is how many changes a batch may hold."""

    batch: int = Setting(default=100, ge=1, description="Changes in a batch.")


def accept(change: Change) -> Decision:
    """The decision of a destination in good health."""
    return "accepted"


class Memory(Destination):
    """`records` is what it holds: value of the match → field → value. Thread-safe.

    `decide` is asked once for each change and may misbehave; `log` holds what arrived, in order.
    """

    kind: ClassVar[str] = "memory"
    title: ClassVar[str] = "Memory"
    settings_type: ClassVar[type[DestinationSettings]] = MemorySettings
    settings: MemorySettings

    def __init__(
        self,
        name: str = "memory",
        settings: MemorySettings | None = None,
        transport: Any = None,
        *,
        decide: Callable[[Change], Decision] = accept,
    ) -> None:
        super().__init__(name, settings or MemorySettings(), transport)
        self.decide = decide
        self.records: dict[str, dict[str, Value]] = {}
        self.log: list[Arrival] = []
        self._lock = threading.Lock()

    @classmethod
    def pace(cls, settings: MemorySettings) -> Pace:
        """Nothing leaves the process, so nothing has to wait."""
        return Pace(settings.pace or 1_000_000, 1.0)

    def refuse(self, sync: Sync) -> Iterable[Problem]:
        """A record is kept under one value, so one identifier finds it."""
        if len(sync.match) != 1:
            yield Problem("match", "A record is found by exactly one identifier. Keep one of them.")

    def limits(self, sync: Sync) -> Limits:
        """As set; timestamps are kept whole."""
        return Limits(records=self.settings.batch, timestamp_unit="microsecond")

    def check(self, sync: Sync) -> Iterable[Problem]:
        """Takes every object and every field."""
        return ()

    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        """One outcome per change, in order."""
        for change in changes:
            decision = self.decide(change)
            if decision == "unusable":
                raise DestinationUnusable("Memory was told to be unusable.")
            with self._lock:
                outcome = self._arrive(sync, change, decision)
            yield outcome

    def read(self, sync: Sync, records: Iterable[Wanted]) -> Iterator[Held]:
        """As it is held, with null for a field that is not there."""
        for wanted in records:
            (who,) = wanted.match.values()
            with self._lock:
                record = self.records.get(who)
                fields = None if record is None else {field.name: record.get(field.name) for field in sync.fields}
            yield Held(wanted.key, fields)

    def requests(self, sync: Sync, changes: Sequence[Change]) -> int:
        """One for a batch."""
        return 1

    def _arrive(self, sync: Sync, change: Change, decision: Decision) -> Outcome:
        if decision == "deferred":
            return deferred(change, "busy", "Memory was told not to take it now.")
        if decision == "doubt-lost":
            return deferred(change, "unanswered", "Memory was told to lose it.", doubt=True)
        self.log.append(Arrival(change.kind, dict(change.match), dict(change.fields)))
        if decision == "rejected":
            return rejected(change, "refused", "Memory was told to refuse it.")
        outcome = self._apply(sync, change)
        if decision == "doubt-applied":
            return deferred(change, "unanswered", "Memory was told to keep its answer to itself.", doubt=True)
        return outcome

    def _apply(self, sync: Sync, change: Change) -> Outcome:
        (who,) = change.match.values()
        if change.kind == "removed" and sync.removed == "delete":
            self.records.pop(who, None)
            return accepted(change)
        if who not in self.records:
            if change.kind == "removed":
                return accepted(change)
            if sync.missing == "skip":
                return rejected(change, "missing", "There is no such record.")
        record = self.records.setdefault(who, {})
        for name, value in change.fields.items():
            if value is None:
                record.pop(name, None)
            else:
                record[name] = value
        return accepted(change)
