"""Look-ups for a stretch: the records of all its changes out of one query job, without an object for any of them."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa

from destinations.salesforce_parts import lines
from destinations.salesforce_parts.bulk_query import WholeObject
from destinations.salesforce_parts.ingest import Task
from destinations.salesforce_parts.matching import PARENT, ambiguous, missing
from destinations.salesforce_parts.soql import ID, VALUES_MAX
from destinations.salesforce_parts.stretches import Keyed, StretchLoad
from syncer.change import Alike, Outcome
from syncer.stretch import Columnar

NOWHERE = -1


@dataclass(slots=True)
class Sought:
    """The records of a stretch's changes."""

    keyed: Keyed
    fields: Sequence[str]
    counts: bytearray
    """For each change how many there are: none, one, or several, which are 2."""
    several: dict[int, list[str]] = field(default_factory=dict)
    """Place → the Ids of all but the first, where there are several."""
    _where: array[int] = field(default_factory=lambda: array("q"))
    """For each change the row of its first record among those that were taken."""
    _taken: list[Any] = field(default_factory=list)
    """Tables of Ids and fields."""
    _rows: int = 0

    def take(self, page: BinaryIO) -> int:
        """The records of a page that are wanted; gives how many the page has."""
        rows, identifier = 0, self.keyed.identifier
        for found in lines.table(page, (ID, identifier.name, *self.fields)):
            rows += len(found)
            kept = array("q")
            for row, place in enumerate(lines.places(identifier, found.column(identifier.name), self.keyed.keys)):
                if place is None:
                    continue
                if self.counts[place]:
                    self.counts[place] = 2
                    self.several.setdefault(place, []).append(found.column(ID)[row].as_py())
                else:
                    self.counts[place] = 1
                    self._where[place] = self._rows + len(kept)
                    kept.append(row)
            self._taken.append(found.select([ID, *self.fields]).take(pa.array(kept, pa.int64())))
            self._rows += len(kept)
        return rows

    def column(self, name: str) -> Columnar:
        """A field of the first record of each change; empty where there is none."""
        taken = pa.concat_tables(self._taken).column(name) if self._taken else pa.chunked_array([], pa.string())
        return lines.scattered(taken.combine_chunks(), self._where)

    def by_id(self) -> Keyed:
        """The changes by the Ids of these records."""
        return self.keyed.by_id(self.column(ID), self.column(PARENT) if PARENT in self.fields else None)


def sought(whole: WholeObject, keyed: Keyed, fields: Sequence[str]) -> Sought | None:
    """The records of these changes; None when they are to be asked for in pieces. Raises what the client raises."""
    size = len(keyed.changes)
    found = Sought(keyed, fields, bytearray(size), _where=array("q", [NOWHERE]) * size)
    lookups = -(-size // VALUES_MAX)
    if not whole.read(keyed.sync.object, keyed.identifier, lookups, fields, False, found.take):
        return None
    return found


def settled(found: Sought, chosen: bytes) -> Iterator[Outcome | Alike]:
    """What is known of the chosen changes once their records are: of those that have several, or none to be made."""
    keyed = found.keyed
    sync, changes = keyed.sync, keyed.changes
    several = sorted(place for place in found.several if chosen[place])
    if several:
        ids = found.column(ID)
        for place, change in zip(several, changes.at(several), strict=True):
            yield ambiguous(sync.object, change, [ids[place].as_py(), *found.several[place]])
    removed = set(lines.removed(changes))
    absent = [place for place, is_chosen in enumerate(chosen) if is_chosen and not found.counts[place]]
    # There is no record any more, so there is nothing of ours left to clear.
    yield Alike(Outcome("", "accepted"), [place for place in absent if place in removed])
    if sync.missing == "skip":
        for change in changes.at([place for place in absent if place not in removed]):
            yield missing(sync, change)


def loads(found: Sought, chosen: bytes) -> list[StretchLoad]:
    """The jobs for the chosen changes: what is there already goes first, then what is to be made."""
    keyed = found.keyed
    sync, size = keyed.sync, len(chosen)
    there = bytes(is_chosen and count == 1 for is_chosen, count in zip(chosen, found.counts, strict=True))
    made = [StretchLoad(Task("update", sync.object, ID), found.by_id(), there, 0, size)]
    if sync.missing == "create":
        fresh = bytearray(is_chosen and not count for is_chosen, count in zip(chosen, found.counts, strict=True))
        for place in lines.removed(keyed.changes):
            fresh[place] = 0
        made.append(StretchLoad(Task("insert", sync.object, keyed.identifier.name), keyed, bytes(fresh), 0, size))
    return made
