"""A plan cut into batches, as full as the destination's limits allow, in its order; and what sending it costs."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, overload

import pyarrow as pa

from syncer.change import Change, Kind
from syncer.destination import Destination, Limits
from syncer.mapping import Sync
from syncer.plan import KINDS, REMOVED, Cost, Plan, Slot, values_of
from syncer.stretch import HELD_MAX, Column, Piece, Stretch

PIECE_ROWS = 16_384
"""Changes that are columns at once."""
SAMPLED = 20_000
"""Changes of a plan that are cut into batches to learn its cost; more where that is not a whole batch."""
SAMPLED_MAX = 50_000
SAMPLES = 8
"""Places of a plan at which changes are weighed, where not even that is a whole batch."""


@dataclass(slots=True)
class Batch:
    """Changes that leave together; lo and hi are their rows in the plan."""

    lo: int
    changes: list[Change] = field(default_factory=list)
    payloads: list[str] = field(default_factory=list)

    @property
    def hi(self) -> int:
        """One past the last row."""
        return self.lo + len(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def keys(self) -> Iterator[str]:
        """The key of each change."""
        return (change.key for change in self.changes)

    def kinds(self) -> Iterator[Kind]:
        """The kind of each change."""
        return (change.kind for change in self.changes)

    def picked(self, places: Sequence[int]) -> Iterator[tuple[str, Change]]:
        """(payload, change) at these places, which ascend."""
        return ((self.payloads[place], self.changes[place]) for place in places)


@dataclass(frozen=True, slots=True, eq=False)
class LargeBatch(Stretch):
    """The same of a range of a plan, which is read from its file as often as it is needed."""

    plan: Plan
    lo: int
    hi: int
    leaving: tuple[Slot, ...]

    @property
    def changes(self) -> Stretch:
        """Itself, as the adapter gets it."""
        return self

    def __len__(self) -> int:
        return self.hi - self.lo

    def __iter__(self) -> Iterator[Change]:
        return self.plan.changes(self.lo, self.hi)

    @overload
    def __getitem__(self, place: int) -> Change: ...
    @overload
    def __getitem__(self, place: slice) -> list[Change]: ...
    def __getitem__(self, place: int | slice) -> Change | list[Change]:
        chosen = range(len(self))[place]
        if isinstance(chosen, int):
            return next(self.at([chosen]))
        return list(self.at(chosen)) if chosen.step > 0 else list(self.at(chosen[::-1]))[::-1]

    def at(self, places: Sequence[int]) -> Iterator[Change]:
        """As every `Stretch`."""
        return (change for _, change in self.picked(places))

    def picked(self, places: Sequence[int]) -> Iterator[tuple[str, Change]]:
        """(payload, change) at these places, which ascend."""
        return self.plan.picked([self.lo + place for place in places])

    def keys(self) -> Iterator[str]:
        """The key of each change."""
        return itertools.chain.from_iterable(self._column("key"))

    def kinds(self) -> Iterator[Kind]:
        """The kind of each change."""
        return (KINDS[op] for ops in self._column("_op") for op in ops)

    def places(self, keys: Sequence[str]) -> dict[str, int]:
        """As every `Stretch`."""
        from pyarrow import compute  # It takes time to load, and only large batches need it.

        wanted, found = pa.array(keys, pa.string()), dict[str, int]()
        for first, rows in self.plan.read(self.lo, self.hi, PIECE_ROWS, ["key"]) if keys else ():
            here: Any = compute.indices_nonzero(compute.is_in(rows.column(0), value_set=wanted))
            names = values_of(rows.take(here), "key")
            found.update(zip(names, (first + place - self.lo for place in here.to_pylist()), strict=True))
        return found

    def pieces(self) -> Iterator[Piece]:
        """As every `Stretch`. A record that is deleted has fields here all the same."""
        from pyarrow import compute  # As above.

        match = {identifier: f"m{number}" for number, identifier in enumerate(self.plan.sync.match)}
        wanted = ["key", "_op", "_mask", *match.values(), *(slot.column for slot in self.leaving)]
        for _, rows in self.plan.read(self.lo, self.hi, PIECE_ROWS, wanted):
            mask = rows.column("_mask")
            yield Piece(
                rows.column("key"),
                compute.equal(rows.column("_op"), pa.scalar(REMOVED)),
                {identifier: rows.column(column) for identifier, column in match.items()},
                {
                    slot.name: Column(
                        compute.not_equal(compute.bit_wise_and(mask, pa.scalar(slot.bit)), pa.scalar(0)),
                        rows.column(slot.column),
                    )
                    for slot in self.leaving
                },
            )

    def _column(self, name: str) -> Iterator[list[Any]]:
        return (values_of(rows, name) for _, rows in self.plan.read(self.lo, self.hi, PIECE_ROWS, [name]))


AnyBatch: TypeAlias = Batch | LargeBatch


def batch_of(plan: Plan, lo: int, hi: int) -> AnyBatch:
    """The batch of the plan's rows lo to hi."""
    if hi - lo > HELD_MAX:
        return LargeBatch(plan, lo, hi, leaving(plan))
    return _held(plan, lo, hi)


def _held(plan: Plan, lo: int, hi: int) -> Batch:
    batch = Batch(lo)
    for payload, change in plan.rows_of(lo, hi):
        batch.payloads.append(payload)
        batch.changes.append(change)
    return batch


def leaving(plan: Plan) -> tuple[Slot, ...]:
    """The fields that leave in any of the changes that may be sent."""
    read = plan.read(0, plan.sendable, PIECE_ROWS, ["_mask"])
    masks = {mask for _, rows in read for mask in rows.column(0).unique().to_pylist()}
    every = functools.reduce(operator.or_, masks, 0)
    return tuple(slot for slot in plan.slots if slot.bit & every)


def cut(plan: Plan, hi: int, destination: Destination, limits: Limits) -> Iterator[AnyBatch]:
    """The plan's first `hi` rows as batches: held ones, unless they may be of more than `HELD_MAX` changes."""
    if limits.records <= HELD_MAX:
        yield from held(plan.rows_of(0, hi), destination, plan.sync, limits)
        return
    whole = LargeBatch(plan, 0, hi, leaving(plan))
    for lo, end in _ranges(whole, destination, plan.sync, limits):
        yield replace(whole, lo=lo, hi=end) if end - lo > HELD_MAX else _held(plan, lo, end)


def held(rows: Iterable[tuple[str, Change]], destination: Destination, sync: Sync, limits: Limits) -> Iterator[Batch]:
    """Batches of these (payload, change)."""
    batch, size = Batch(0), 0
    heaviest, records_max = limits.utf8_bytes, limits.records
    for payload, change in rows:
        weight = 0 if heaviest is None else destination.weigh(sync, change)
        is_full = len(batch.changes) >= records_max
        is_heavy = heaviest is not None and batch.changes and size + weight > heaviest
        if is_full or is_heavy:
            yield batch
            batch, size = Batch(batch.hi), 0
        batch.changes.append(change)
        batch.payloads.append(payload)
        size += weight
    if batch.changes:
        yield batch


def _ranges(whole: Stretch, destination: Destination, sync: Sync, limits: Limits) -> Iterator[tuple[int, int]]:
    """(first place, one past the last) of each batch that the limits allow."""
    heaviest = limits.utf8_bytes
    weights = itertools.repeat(0, len(whole)) if heaviest is None else destination.weights(sync, whole)
    lo = hi = size = 0
    for weight in weights:
        if hi - lo >= limits.records or (heaviest is not None and hi > lo and size + weight > heaviest):
            yield lo, hi
            lo, size = hi, 0
        hi += 1
        size += weight
    if hi > lo:
        yield lo, hi


def sendable(plan: Plan, records_max: int | None) -> int:
    """How many records of a plan one run sends at most."""
    most = plan.sendable - plan.later
    return most if records_max is None else min(records_max, most)


def estimate(plan: Plan, destination: Destination, records_max: int | None = None) -> Cost:
    """What one run of a plan (a canary of it: `records_max` records) costs: its batches are cut as they will be, and a
    very large plan is extrapolated. Asks nothing of the service."""
    most = sendable(plan, records_max)
    limits = destination.cut(plan.sync, most)
    looked_at = min(most, max(SAMPLED, min(limits.records, SAMPLED_MAX)))
    made = list(cut(plan, looked_at, destination, limits))
    requests = sum(destination.requests(plan.sync, batch.changes) for batch in made)
    if looked_at < most:
        if len(made) == 1 and looked_at < limits.records:
            requests *= _batches(plan, most, destination, limits)
        else:
            requests = -(-requests * most // looked_at)
    return Cost(requests, limits.way if most else "")


def _batches(plan: Plan, most: int, destination: Destination, limits: Limits) -> int:
    """How many batches so many changes will be, by the weights of some thousand here and there."""
    count = -(-most // limits.records)
    if limits.utf8_bytes is None:
        return count
    whole, piece = LargeBatch(plan, 0, most, leaving(plan)), SAMPLED // SAMPLES
    starts = [most * number // SAMPLES for number in range(SAMPLES)]
    weight = sum(sum(destination.weights(plan.sync, replace(whole, lo=lo, hi=lo + piece))) for lo in starts)
    return max(count, -(-weight * most // (SAMPLES * piece * limits.utf8_bytes)))
