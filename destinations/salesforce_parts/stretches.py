"""Jobs for a stretch of a plan, which is read again for each of them: of a million changes there are in memory their
folded keys, and a byte each."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

import pyarrow as pa

from destinations.salesforce_parts import lines
from destinations.salesforce_parts.collections import Row
from destinations.salesforce_parts.csv_rows import header, unfit
from destinations.salesforce_parts.ingest import ERROR, NEEDED, Kind, Task
from destinations.salesforce_parts.loads import Awaited, HeldAwaited, Load, Refused, Told, fold_id
from destinations.salesforce_parts.matching import claimed_twice
from destinations.salesforce_parts.soql import ID, Identifier
from syncer.change import Alike, Change, Outcome, rejected
from syncer.mapping import Sync
from syncer.scratch import Scratch
from syncer.stretch import Columnar, Piece, Stretch


@dataclass(frozen=True, slots=True)
class Keyed:
    """Changes, and what the record of each is found by: its match, or an Id that was looked up."""

    sync: Sync
    identifier: Identifier
    changes: Stretch
    keys: Any
    """What tells the record of each, folded, as Arrow's chunked array; empty where there is none."""
    ids: Columnar | None = None
    """The Ids that were looked up."""
    parents: Columnar | None = None
    """The accounts of these records, which the service locks with them."""

    @classmethod
    def of(cls, sync: Sync, identifier: Identifier, changes: Stretch) -> Keyed:
        """These changes by their match."""
        folded = [lines.folded(identifier, piece.match[identifier.name]) for piece in changes.pieces()]
        return cls(sync, identifier, changes, pa.chunked_array(folded, pa.string()))

    def by_id(self, ids: Columnar, parents: Columnar | None) -> Keyed:
        """The same by Ids that were looked up."""
        keys = pa.chunked_array([lines.folded(Identifier(ID), ids)])
        return replace(self, identifier=Identifier(ID), keys=keys, ids=ids, parents=parents)

    def cells(self, piece: Piece, first: int) -> Columnar:
        """What stands in the key column of a piece's changes, the first of which has this place."""
        return lines.cells(self.identifier, piece) if self.ids is None else self.ids.slice(first, len(piece))

    def rows(self, places: list[int]) -> Iterator[tuple[int, Row]]:
        """(place, row) of these changes; the places ascend."""
        for place, change in zip(places, self.changes.at(places), strict=True):
            yield place, self._row(change, place)

    def _row(self, change: Change, place: int) -> Row:
        name, fields = self.sync.object, change.fields
        if self.ids is not None:
            parent = "" if self.parents is None else self.parents[place].as_py()
            return Row(change, name, fields, record_id=self.ids[place].as_py(), was_looked_up=True, parent=parent)
        text = change.match[self.identifier.name]
        if self.identifier.name == ID:
            return Row(change, name, fields, record_id=text)
        return Row(change, name, fields, {self.identifier.name: self.identifier.value(text)})


@dataclass(slots=True)
class StretchAwaited(Awaited):
    """Those of the changes whose byte is 1."""

    keyed: Keyed
    waiting: bytearray

    @property
    def left(self) -> int:
        """As every `Awaited`."""
        return self.waiting.count(1)

    def told(self, kind: Kind, file: BinaryIO, same: Outcome | None) -> Iterator[Outcome | Alike | Refused]:
        """As every `Awaited`."""
        for found in lines.table(file, (self.keyed.identifier.name, *NEEDED[kind])):
            taken = array("q")
            rows = []
            for row, place in enumerate(self._places(found)):
                if place is not None and self.waiting[place]:
                    self.waiting[place] = 0
                    taken.append(place)
                    rows.append(row)
            if same is not None:
                yield Alike(same, taken)
            else:
                errors = dict(zip(taken, found.column(ERROR).take(pa.array(rows, pa.int64())).to_pylist(), strict=True))
                yield from ((row, errors[place]) for place, row in self.keyed.rows(sorted(taken)))

    def _places(self, found: Any) -> list[int | None]:
        identifier = self.keyed.identifier
        return lines.places(identifier, found.column(identifier.name), self.keyed.keys)

    def rest(self, same: Outcome) -> Iterator[Outcome | Alike]:
        """As every `Awaited`."""
        if self.left:
            yield Alike(same, array("q", (place for place, is_waiting in enumerate(self.waiting) if is_waiting)))


@dataclass(frozen=True, slots=True)
class StretchLoad(Load):
    """Those of the changes, from one place to another, whose byte is 1."""

    task: Task
    keyed: Keyed
    chosen: bytes
    lo: int
    hi: int

    def __len__(self) -> int:
        return self.chosen.count(1, self.lo, self.hi)

    def content(self, scratch: Scratch) -> Iterator[bytes]:
        """As every `Load`. The columns are those of all the plan, as nobody knows yet which occur.

        The children of one account stand side by side: each locks it, and apart they would lock each other out.
        """
        names = next(self.keyed.changes.pieces()).fields
        yield f"{header(self.task.key, names)}\n".encode()
        if self.keyed.parents is None:
            yield from map(lines.content, self._lines())
            return
        lengths = array("i", [0])

        def noted() -> Iterator[bytes]:
            for made in self._lines():
                lengths.extend(lines.lengths(made))
                yield lines.content(made)

        parents = lines.chosen(self.keyed.parents, self._bytes())
        with scratch.file(noted()) as file:
            yield from lines.sorted_by(parents, file, lengths)

    def _lines(self) -> Iterator[Columnar]:
        first = 0
        for piece in self.keyed.changes.pieces():
            begin, end = max(self.lo - first, 0), min(self.hi - first, len(piece))
            if begin < end:
                made = lines.lines(self.keyed.cells(piece, first), piece).slice(begin, end - begin)
                yield lines.chosen(made, self.chosen[first + begin : first + end])
            first += len(piece)

    def _bytes(self) -> bytes:
        flags = bytearray(len(self.chosen))
        flags[self.lo : self.hi] = self.chosen[self.lo : self.hi]
        return bytes(flags)

    def awaited(self) -> Awaited:
        """As every `Load`."""
        return StretchAwaited(self.keyed, bytearray(self._bytes()))

    def halves(self) -> list[Load]:
        """As every `Load`."""
        middle, left = self.lo, len(self) // 2
        while left:
            left -= self.chosen[middle]
            middle += 1
        parts = ((middle, self.hi), (self.lo, middle))
        return [StretchLoad(self.task, self.keyed, self.chosen, lo, hi) for lo, hi in parts]

    def first(self) -> Change:
        """As every `Load`."""
        return self.keyed.changes[self.chosen.index(1, self.lo, self.hi)]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a stretch comes to before anything is sent."""

    load: StretchLoad
    refused: list[Outcome]
    sought: list[int]
    """Places of removed rows, whose record is to be looked up: an upsert would make one."""


def _fold(keyed: Keyed, change: Change) -> str:
    return keyed.identifier.fold(change.match[keyed.identifier.name])


def loaded(task: Task, keyed: Keyed) -> Loaded:
    """The load of one job for all the changes that can go without a look-up."""
    chosen, doubtful = bytearray(), list[int]()
    for piece in keyed.changes.pieces():
        doubtful += [len(chosen) + place for place in lines.doubtful(lines.cells(keyed.identifier, piece), piece)]
        chosen += bytes(b"\1" * len(piece))
        if task.operation == "upsert":
            for place in lines.flagged(piece.is_removed):
                chosen[len(chosen) - len(piece) + place] = 0
    sought = [place for place, is_chosen in enumerate(chosen) if not is_chosen]
    refused = []
    twice = set(lines.repeated(keyed.keys))
    claims = Counter(_fold(keyed, row.change) for _, row in keyed.rows(sorted(twice)))
    for place, row in keyed.rows(sorted(twice.union(doubtful))):
        reason = unfit(row)
        if place in twice:
            refused.append(claimed_twice(keyed.sync, row.change, claims[_fold(keyed, row.change)]))
        elif reason is not None and chosen[place]:
            refused.append(rejected(row.change, *reason))
        else:
            continue
        chosen[place] = 0
    sought = [place for place in sought if place not in twice]
    return Loaded(StretchLoad(task, keyed, bytes(chosen), 0, len(chosen)), refused, sought)


@dataclass(frozen=True, slots=True)
class StretchTold(Told):
    """Of a stretch that another process began to send."""

    keyed: Keyed
    waiting: bytearray
    _keys: set[str] = field(default_factory=set)
    """Of what has an outcome of its own."""

    @classmethod
    def of(cls, sync: Sync, identifier: Identifier, changes: Stretch) -> StretchTold:
        """Nothing was heard of these yet."""
        return cls(Keyed.of(sync, identifier, changes), bytearray(b"\1") * len(changes))

    def by_match(self) -> Awaited:
        """As every `Told`."""
        self._note()
        return StretchAwaited(self.keyed, self.waiting)

    def by_id(self, rows: Sequence[Row] | Keyed) -> Awaited:
        """As every `Told`; also of a stretch that was looked up by columns."""
        if isinstance(rows, Keyed):
            self._note()
            return StretchAwaited(rows, self.waiting)
        left = (row for row in rows if row.change.key not in self._keys)
        return HeldAwaited(ID, fold_id, {fold_id(row.record_id): row for row in left})

    def add(self, found: Outcome | Alike) -> None:
        """As every `Told`."""
        if isinstance(found, Outcome):
            self._keys.add(found.key)

    def rest(self, same: Outcome) -> Iterator[Outcome | Alike]:
        """As every `Told`."""
        self._note()
        return StretchAwaited(self.keyed, self.waiting).rest(same)

    def _note(self) -> None:
        for place in self.keyed.changes.places(list(self._keys)).values():
            self.waiting[place] = 0
