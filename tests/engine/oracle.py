"""What the rules say must happen, in plain Python, one record and one field at a time.

It is written from the rules and shares nothing with the engine but the mapping's own classes: no SQL, no files, no
hashes. It knows what was accepted, what is in doubt and what is parked, says what a run has to send, and is told what
became of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from syncer.change import Change, Value
from syncer.mapping import Field

HOUR = 3600.0
DELAYS = (1 * HOUR, 4 * HOUR, 24 * HOUR, 72 * HOUR, 168 * HOUR)

Row = Mapping[str, Any]


@dataclass
class Known:
    """What is known of one record: of each field the value that was accepted last, or left last."""

    match: str
    held: dict[str, Value] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)

    def copy(self) -> Known:
        return Known(self.match, dict(self.held), set(self.doubtful))


@dataclass(frozen=True)
class Expected:
    """A change that has to be in the plan, and what is to be known once it is accepted, or in doubt."""

    change: Change
    reasons: Mapping[str, Value]
    after: Known | None
    unsure: Known

    @property
    def payload(self) -> tuple[Any, ...]:
        """What a refusal is a refusal of."""
        return (self.change.kind == "removed", self.change.match["id"], tuple(sorted(self.reasons.items())))


@dataclass
class Waiting:
    """A parked record."""

    payload: tuple[Any, ...]
    attempts: int
    at: float
    next_at: float | None


@dataclass
class Oracle:
    """Everything that a perfect memory would know of one sync."""

    known: dict[str, Known] = field(default_factory=dict)
    parked: dict[str, Waiting] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)
    """Key → in how many runs in a row its row was gone, as far as runs count."""
    gone_now: dict[str, int] = field(default_factory=dict)
    """The same with the run that is planned."""

    # --- what has to be sent -----------------------------------------------------------------------------------

    def plan(
        self, rows: Sequence[Row], fields: Sequence[Field], removed: str, grace: int, now: float
    ) -> list[Expected]:
        """The changes of a run over these rows, in the order in which they leave."""
        expected = []
        self.gone_now = {}
        waiting = set()
        usable = usable_rows(rows, fields)
        for key, row in usable.items():
            expected += self._changed(key, row, fields)
        if removed != "keep":
            taken = {row["who"] for row in rows if row["user_id"]}
            for key in set(self.known) - {row["user_id"] for row in rows}:
                if self.known[key].match not in taken and (change := self._removed(key, fields, removed)):
                    self.gone_now[key] = self.gone.get(key, 0) + 1
                    if self.gone_now[key] < grace:
                        waiting.add(key)
                    else:
                        expected += change
        expected.sort(key=lambda one: one.change.key)
        seen = {one.change.key for one in expected}
        # What is parked and has nothing to send any more is forgotten; a row that is invalid, or gone for a while,
        # says nothing.
        invalid = {row["user_id"] for row in rows} - set(usable) | waiting
        self.parked = {key: one for key, one in self.parked.items() if key in seen or key in invalid}
        return [one for one in expected if not self._waits(one, now)]

    def _waits(self, one: Expected, now: float) -> bool:
        waiting = self.parked.get(one.change.key)
        if waiting is None or waiting.payload != one.payload:
            return False
        # A refusal of the future is the work of a clock that was ahead, and waits for nothing.
        return waiting.next_at is None or (waiting.next_at > now and waiting.at <= now)

    def _changed(self, key: str, row: Row, fields: Sequence[Field]) -> list[Expected]:
        known = self.known.get(key)
        is_new = known is None or known.match != row["who"]
        if known is None or is_new:
            known = Known(row["who"])
        reasons: dict[str, Value] = {}
        riders: dict[str, Value] = {}
        for one in fields:
            value = canonical(one, row, known.held.get(one.name))
            if value is None and one.null == "skip":
                continue
            if one.compare and differs(one, value, known):
                reasons[one.name] = value
            elif rides(one, value, known):
                riders[one.name] = value
        if not reasons:
            return []
        leaving = reasons | riders
        before = {name: known.held[name] for name in leaving if name in known.held and name not in known.doubtful}
        change = Change(key, "new" if is_new else "changed", {"id": row["who"]}, leaving, before)
        after = Known(row["who"], known.held | leaving, known.doubtful - set(leaving))
        unsure = Known(row["who"], known.held | leaving, known.doubtful | set(leaving))
        return [Expected(change, reasons, after, unsure)]

    def _removed(self, key: str, fields: Sequence[Field], removed: str) -> list[Expected]:
        known = self.known[key]
        unsure = known.copy()
        if removed == "delete":
            unsure.doubtful |= set(known.held)
            unsure.held |= {one.name: None for one in fields if one.name in known.held}
            change = Change(key, "removed", {"id": known.match}, {}, {})
            reasons: dict[str, Value] = {one.name: None for one in fields if one.name in known.held}
            return [Expected(change, reasons, None, unsure)]
        cleared = [
            one
            for one in fields
            if one.null == "clear" and (known.held.get(one.name) is not None or one.name in known.doubtful)
        ]
        reasons = {one.name: None for one in cleared if one.compare}
        if not reasons:
            return []
        leaving: dict[str, Value] = {one.name: None for one in cleared}
        before = {name: known.held[name] for name in leaving if name not in known.doubtful}
        unsure.held |= leaving
        unsure.doubtful |= set(leaving)
        return [Expected(Change(key, "removed", {"id": known.match}, leaving, before), reasons, None, unsure)]

    # --- what became of it -------------------------------------------------------------------------------------

    def ran(self, grace: int) -> None:
        """The run that was planned was not held, so it counts."""
        self.gone = self.gone_now if grace > 1 else {}

    def accepted(self, one: Expected) -> None:
        """The destination holds it now."""
        self.parked.pop(one.change.key, None)
        if one.after is None:
            del self.known[one.change.key]
        else:
            self.known[one.change.key] = one.after

    def in_doubt(self, one: Expected) -> None:
        """It left, and nobody knows whether it arrived."""
        self.known[one.change.key] = one.unsure

    def rejected(self, one: Expected, now: float) -> None:
        """The destination refuses it."""
        before = self.parked.get(one.change.key)
        attempts = before.attempts + 1 if before is not None and before.payload == one.payload else 1
        next_at = now + DELAYS[attempts - 1] if attempts <= len(DELAYS) else None
        self.parked[one.change.key] = Waiting(one.payload, attempts, now, next_at)

    def retry(self) -> None:
        """Somebody asks for all parked records to be tried again."""
        for one in self.parked.values():
            one.next_at = 0.0


def usable_rows(rows: Sequence[Row], fields: Sequence[Field]) -> dict[str, Row]:
    """Key → row, of the rows that may go out."""
    keys = Counter(row["user_id"] for row in rows)
    sound = [row for row in rows if row["user_id"] and row["who"] and all(fits(one, row) for one in fields)]
    matches = Counter(row["who"] for row in sound)
    return {row["user_id"]: row for row in sound if keys[row["user_id"]] == 1 and matches[row["who"]] == 1}


def fits(one: Field, row: Row) -> bool:
    """Whether the row's value can be brought to the field's type."""
    value = row[one.column] if one.column else None
    return not (one.type == "integer" and value is not None and value != int(value))


def canonical(one: Field, row: Row, held: Value) -> Value:
    """The value that the destination should hold, where it holds `held` now."""
    if one.column is None:
        return one.value
    value = row[one.column]
    if value is not None and one.digits is not None:
        value = round(value, one.digits)
    if one.bands is not None:
        value = band(one, value, held)
    if value is not None and one.map is not None:
        value = one.map.get(str(value), one.default)
    return one.default if value is None else value


def band(one: Field, number: float | None, held: Value) -> str | None:
    """The band of a number; the one that is held is only left by the hysteresis."""
    bands = one.bands or ()
    if number is None:
        return None
    for place, (name, floor) in enumerate(bands):
        ceiling = bands[place + 1][1] if place + 1 < len(bands) else float("inf")
        margin = one.hysteresis or 0.0
        stays_below = number < ceiling or number - ceiling < margin
        stays_above = number >= floor or floor - number < margin
        if name == held and stays_below and stays_above:
            return name
    inside = [name for name, floor in bands if number >= floor]
    return inside[-1] if inside else None


def differs(one: Field, value: Value, known: Known) -> bool:
    """Whether a field is a reason for its record to go."""
    if one.name in known.doubtful:
        return True
    if one.name not in known.held:
        return value is not None
    held = known.held[one.name]
    if one.min_change is not None and value is not None and held is not None:
        return abs(value - held) >= one.min_change  # type: ignore[operator] # both are numbers here
    return value != held


def rides(one: Field, value: Value, known: Known) -> bool:
    """Whether a field goes along with its record."""
    if not one.compare:
        return value is not None or known.held.get(one.name) is not None or one.name in known.doubtful
    return one.min_change is not None and value != known.held.get(one.name)
