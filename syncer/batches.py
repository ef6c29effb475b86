"""A plan cut into batches, as full as the destination's limits allow, in its order; and what sending it costs."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast, overload

import pyarrow as pa

from syncer.change import Change, Kind
from syncer.destination import Destination, Limits
from syncer.mapping import Sync
from syncer.plan import KINDS, REMOVED, Cost, Plan, Slot, values_of
from syncer.stretch import HELD_MAX, Column, Columnar, Piece, Stretch

PIECE_ROWS = 4_096
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
class Range(Stretch):
    """The same of a range of a plan that is no objects: it is read from the file as often as it is needed, or held as
    columns where it is small."""

    plan: Plan
    lo: int
    hi: int
    leaving: tuple[Slot, ...]
    """The fields that leave in any of the changes that are sent with these."""
    columns: tuple[pa.RecordBatch, ...] = ()
    made: tuple[Columnar, ...] = ()

    @property
    def changes(self) -> Stretch:
        """Itself, as the adapter gets it."""
        return self

    def __len__(self) -> int:
        return self.hi - self.lo

    def __iter__(self) -> Iterator[Change]:
        for first, rows in self._read():
            position = self.lo + first
            yield from (change for _, change in self.plan.of(rows, range(position, position + len(rows))))

    @overload
    def __getitem__(self, place: int) -> Change: ...
    @overload
    def __getitem__(self, place: slice) -> list[Change]: ...
    def __getitem__(self, place: int | slice) -> Change | list[Change]:
        chosen = range(len(self))[place]
        if isinstance(chosen, int):
            return next(self.at([chosen]))
        return list(self.at(chosen)) if chosen.step > 0 else list(self.at(chosen[::-1]))[::-1]

    @property
    def texts(self) -> Sequence[Columnar]:
        """As every `Stretch`."""
        return self.made

    def at(self, places: Sequence[int]) -> Iterator[Change]:
        """As every `Stretch`."""
        return (change for _, change in self.picked(places))

    def picked(self, places: Sequence[int]) -> Iterator[tuple[str, Change]]:
        """(payload, change) at these places, which ascend."""
        taken = 0
        for first, rows in self._read() if places else ():
            until = bisect_left(places, first + rows.num_rows, taken)
            if until > taken:
                here = places[taken:until]
                picked = rows.take(pa.array([place - first for place in here], pa.int64()))
                yield from self.plan.of(picked, [self.lo + place for place in here])
            taken = until

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
        for first, rows in self._read(["key"]) if keys else ():
            here: Any = compute.indices_nonzero(compute.is_in(rows.column(0), value_set=wanted))
            names = values_of(rows.take(here), "key")
            found.update(zip(names, (first + place for place in here.to_pylist()), strict=True))
        return found

    def pieces(self) -> Iterator[Piece]:
        """As every `Stretch`. A record that is deleted has fields here all the same."""
        from pyarrow import compute  # As above.

        match = {identifier: f"m{number}" for number, identifier in enumerate(self.plan.sync.match)}
        wanted = ["key", "_op", "_mask", *match.values(), *(slot.column for slot in self.leaving)]
        for _, rows in self._read(wanted):
            mask = rows.column("_mask")
            yield Piece(
                rows.column("key"),
                compute.equal(rows.column("_op"), pa.scalar(REMOVED)),
                {identifier: rows.column(column) for identifier, column in match.items()},
                {
                    slot.name: Column(
                        compute.not_equal(compute.bit_wise_and(mask, pa.scalar(slot.bit)), pa.scalar(0)),
                        _whole(rows.column(slot.column)) if slot.is_whole else rows.column(slot.column),
                    )
                    for slot in self.leaving
                },
            )

    def _column(self, name: str) -> Iterator[list[Any]]:
        return (values_of(rows, name) for _, rows in self._read([name]))

    def _read(self, wanted: Sequence[str] | None = None) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(place of the first, rows): these columns, or all that changes are made of."""
        if self.columns:
            places = itertools.accumulate(map(len, self.columns), initial=0)
            yield from zip(places, self.columns, strict=False)
            return
        for position, rows in self.plan.read(self.lo, self.hi, PIECE_ROWS, wanted):
            yield position - self.lo, rows


def _whole(values: Columnar) -> Columnar:
    """Whole numbers that are stored as doubles; as they are, where one of them is none after all."""
    try:
        return values.cast(pa.int64())
    except pa.ArrowInvalid:
        return values


AnyBatch: TypeAlias = Batch | Range


def batch_of(plan: Plan, lo: int, hi: int) -> AnyBatch:
    """The batch of the plan's rows lo to hi."""
    if hi - lo > HELD_MAX:
        return Range(plan, lo, hi, leaving(plan, lo, hi))
    batch = Batch(lo)
    for payload, change in plan.rows_of(lo, hi):
        batch.payloads.append(payload)
        batch.changes.append(change)
    return batch


def leaving(plan: Plan, lo: int, hi: int) -> tuple[Slot, ...]:
    """The fields that leave in any of the plan's rows lo to hi."""
    read = plan.read(lo, hi, PIECE_ROWS, ["_mask"])
    masks = {mask for _, rows in read for mask in rows.column(0).unique().to_pylist()}
    every = functools.reduce(operator.or_, masks, 0)
    return tuple(slot for slot in plan.slots if slot.bit & every)


def cut(plan: Plan, hi: int, destination: Destination, limits: Limits) -> Iterator[AnyBatch]:
    """The first `hi` rows of a plan as batches: of objects, unless they may be too many or are made by columns."""
    whole = Range(plan, 0, hi, leaving(plan, 0, hi))
    if limits.records > HELD_MAX:
        for lo, end in _ranges(_weights(destination, whole, limits), limits):
            yield replace(whole, lo=lo, hi=end)
        return
    texts = None if limits.utf8_bytes is None else _texts(destination, whole)
    if texts is None:
        yield from held(plan.rows_of(0, hi), destination, plan.sync, limits)
        return
    kept = deque[Columnar]()
    rows, made = _Feed(rows for _, rows in plan.read(0, hi, PIECE_ROWS)), _Feed(iter(kept.popleft, None))

    def weights() -> Iterator[int]:
        for piece in texts:
            kept.append(piece)
            yield from _lengths(piece)

    for lo, end in _ranges(weights(), limits):
        yield replace(whole, lo=lo, hi=end, columns=rows.take(end - lo), made=made.take(end - lo))


class _Feed:
    """Columns that come in pieces, and are taken in others."""

    def __init__(self, pieces: Iterator[Any]) -> None:
        self._pieces = pieces
        self._rest: Any = ()

    def take(self, number: int) -> tuple[Any, ...]:
        """So many more rows."""
        taken = []
        while number:
            piece = self._rest if len(self._rest) else next(self._pieces)
            taken.append(piece.slice(0, number))
            self._rest = piece.slice(len(taken[-1]))
            number -= len(taken[-1])
        return tuple(taken)


def _texts(destination: Destination, whole: Range) -> Iterator[Columnar] | None:
    """What the destination makes of the changes by columns, a piece at a time; None when it makes nothing."""
    texts = (destination.texts(whole.plan.sync, piece) for piece in whole.pieces())
    first = next(texts, None)
    return None if first is None else cast("Iterator[Columnar]", itertools.chain([first], texts))


def _weights(destination: Destination, whole: Range, limits: Limits) -> Iterable[int]:
    if limits.utf8_bytes is None:
        return itertools.repeat(0, len(whole))
    texts = _texts(destination, whole)
    if texts is None:
        return (destination.weigh(whole.plan.sync, change) for change in whole)
    return itertools.chain.from_iterable(map(_lengths, texts))


def _lengths(texts: Columnar) -> list[int]:
    from pyarrow import compute  # As above.

    lengths: Any = compute.binary_length(texts)
    return list(lengths.to_pylist())


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


def _ranges(weights: Iterable[int], limits: Limits) -> Iterator[tuple[int, int]]:
    """(first row, one past the last) of each batch that the limits allow."""
    heaviest = math.inf if limits.utf8_bytes is None else limits.utf8_bytes
    lo = hi = size = 0
    for weight in weights:
        if hi - lo >= limits.records or (hi > lo and size + weight > heaviest):
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
            count = _batches(plan, most, destination, limits)
            whole = Range(plan, 0, -(-most // count), leaving(plan, 0, most))
            requests = count * destination.requests(plan.sync, whole)
        else:
            requests = -(-requests * most // looked_at)
    return Cost(requests, limits.way if most else "")


def _batches(plan: Plan, most: int, destination: Destination, limits: Limits) -> int:
    """How many batches so many changes will be, by the weights of some thousand here and there."""
    count = -(-most // limits.records)
    if limits.utf8_bytes is None:
        return count
    whole, piece = Range(plan, 0, most, leaving(plan, 0, most)), SAMPLED // SAMPLES
    starts = [most * number // SAMPLES for number in range(SAMPLES)]
    parts = [replace(whole, lo=lo, hi=lo + piece) for lo in starts]
    weight = sum(sum(_weights(destination, part, limits)) for part in parts)
    return max(count, -(-weight * most // (SAMPLES * piece * limits.utf8_bytes)))
