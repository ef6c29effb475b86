"""A plan: all changes of one sync, with counts, cost and a digest, and the file that holds them.

The file is Parquet, one row per change, sorted: first what may be sent (the ordinary changes, then the
re-scored ones, each by key), last the parked records, which are only listed. Its columns:

    key, m0…             the record, and how it is found at the destination
    _op                  1 new, 2 changed, 3 removed
    _mask                bit per slot: the fields that leave
    _sent, _doubt        bits of the state before this plan
    _version, _rescored  the row's version, and whether the change is a re-score
    _moved               an accepted value differs now, or the match moved: what the brake on changes counts
    _unmapped            bit per slot: the fields in the mask that `default` stands for, as `map` does not know theirs
    _parked              true for a record that is parked and not due
    _payload             digest of what made the record go; equal payloads are equally refused
    fN_…                 every field as it will be once the change is accepted, by slot
    bN                   the value before, for the fields in the mask
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from syncer.change import NOTHING, Change, Kind, Relation, Value
from syncer.mapping import RELATE, Sync
from syncer.relations import is_relation, relation
from syncer.relations import shown as shown_relation

FORMAT = 1
NEW, CHANGED, REMOVED = 1, 2, 3
KINDS: dict[int, Kind] = {NEW: "new", CHANGED: "changed", REMOVED: "removed"}
ROWS_AT_ONCE = 4_096
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
NOT_SENT = frozenset({"_version", "_moved", "_unmapped", "_parked"})
"""Columns that no change is made of."""
HIDDEN = "•••"
"""Stands for a sensitive value wherever values are shown."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A field's place in the state: its number (a bit), its column, and its canonical SQL type."""

    number: int
    name: str
    sql_type: str
    is_whole: bool = False
    """The mapped column holds whole numbers, although the state has them as doubles because it once held others."""

    @property
    def column(self) -> str:
        """The column's name: the number keeps it unique, the name is for people who open the file."""
        return f"f{self.number}_{self.name}"

    @property
    def bit(self) -> int:
        """The slot's bit."""
        return 1 << self.number


@dataclass(frozen=True, slots=True)
class Invalid:
    """A row that never goes out as it is."""

    key: str | None
    reason: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Hold:
    """A brake that holds the plan, with the numbers and the way out."""

    brake: str
    limit: float | str | None
    found: float | str | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What sending a plan costs: requests, and the way they go where the destination has several."""

    requests: int
    way: str = ""


@dataclass(frozen=True, slots=True)
class Quantile:
    """Where a share of a field's values ends, before a plan and after it.

    `low` and `high` are where slightly smaller and larger shares ended before: so far a quantile moves by itself when
    values lie in heaps.
    """

    share: float
    before: float
    low: float
    high: float
    after: float

    @property
    def distance(self) -> float:
        """How far it is beyond where it moves by itself."""
        return max(0.0, self.low - self.after, self.after - self.high)


@dataclass(frozen=True, slots=True)
class Shift:
    """How a plan would move the accepted values of one numeric field.

    Counted are known records with a value before and after. New ones have nothing to be compared with, values that
    turn null have a brake of their own, and re-scored records are meant to move.
    """

    values: int
    """Accepted values that are not null."""
    spread: float
    """What is little for this field; 0 when all of its values are 0."""
    mean_before: float
    mean_after: float
    edges: tuple[tuple[int, int, int], ...]
    """(0 or 100, how many values are exactly that, how many would be)."""
    quantiles: tuple[Quantile, ...] = ()


@dataclass(slots=True)
class Plan:
    """What a run would send, or sends. Counts are of rows of the source, except `removed`."""

    sync: Sync
    file: Path
    slots: tuple[Slot, ...]
    """The sync's mapped fields, in the mapping's order."""
    rows: int = 0
    known: int = 0
    new: int = 0
    changed: int = 0
    rescored: int = 0
    removed: int = 0
    waiting: int = 0
    """Records that are gone from the source and not for so many runs as the sync's `grace` wants."""
    gone: dict[str, int] = field(default_factory=dict)
    """Key → in how many runs in a row it was gone, this one counted; of what is or will be removed, with a `grace`."""
    moved: int = 0
    """Records of which an accepted value differs now, or whose match moved; re-scored ones apart. For the brakes."""
    parked: int = 0
    invalid: int = 0
    unchanged: int = 0
    not_finite: int = 0
    total: int = 0
    """Rows of the file."""
    sendable: int = 0
    """How many of them may be sent: new + changed + rescored + removed."""
    digest: str = ""
    cleared: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Field → (values that would turn null, values that are not null now), where the first is not 0."""
    unmapped: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Field → (values that `default` would replace, as `map` does not know the new one; values now), likewise."""
    bands_moved: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Banded field → (known records that would have another band, records whose band is known), likewise."""
    shifts: dict[str, Shift] = field(default_factory=dict)
    """Numeric field → how its values would move, where any does."""
    invalid_rows: list[Invalid] = field(default_factory=list)
    """The first of them; `invalid` counts all."""
    holds: list[Hold] = field(default_factory=list)
    cost: Cost = Cost(0)
    is_whole: bool = False
    """Whether changes carry the fields that do not leave too."""
    forgotten: list[str] = field(default_factory=list)
    """Keys of parked records that have nothing to send any more."""
    parked_keys: frozenset[str] = frozenset()
    """Keys of all parked records, due or not."""
    versions: tuple[str, ...] | None = None
    undoes: int | None = None
    """The run that it takes back; None for a plan that comes from the source."""
    bytes_read: int | None = None
    price: float | None = None
    currency: str | None = None

    @property
    def expense(self) -> dict[str, int | float | str | None]:
        """What reading the source came to, as documents and the journal have it."""
        return {"bytes_read": self.bytes_read, "price": self.price, "currency": self.currency}

    @property
    def later(self) -> int:
        """How many of the re-scored records, which come last, the sync's `rescore_rate` leaves to the next runs."""
        rate = self.sync.rescore_rate
        return 0 if rate is None else max(0, self.rescored - rate)

    @property
    def counts(self) -> dict[str, int]:
        """The counts of the JSON form."""
        return {
            "new": self.new,
            "changed": self.changed,
            "removed": self.removed,
            "unchanged": self.unchanged,
            "parked": self.parked,
            "invalid": self.invalid,
            "rescored": self.rescored,
        }

    def changes(self, lo: int = 0, hi: int | None = None) -> Iterator[Change]:
        """The changes of the file's rows lo to hi (the sendable ones by default), in order."""
        for _, change in self.rows_of(lo, self.sendable if hi is None else hi):
            yield change

    def changes_of(self, keys: Sequence[str]) -> Iterator[Change]:
        """The changes of these keys that may be sent."""
        wanted: list[Any] = [("key", "in", list(keys)), ("_parked", "==", False)]
        for batch in pq.read_table(self.file, filters=wanted).to_batches():
            for _, change in self.of(batch, range(batch.num_rows)):
                yield change

    def deletions(self, limit: int) -> list[Change]:
        """The first records that would be deleted at the destination, in order."""
        if self.sync.removed != "delete" or not self.removed:
            return []
        from pyarrow import dataset  # It takes time to load, and few need it.

        wanted = (dataset.field("_op") == REMOVED) & ~dataset.field("_parked")
        table = dataset.dataset(self.file).scanner(filter=wanted).head(limit)
        return [change for batch in table.to_batches() for _, change in self.of(batch, range(batch.num_rows))]

    def rows_of(self, lo: int, hi: int) -> Iterator[tuple[str, Change]]:
        """(payload, change) of the file's rows lo to hi; only a few thousand are in memory at once."""
        for position, batch in self.read(lo, hi):
            yield from self.of(batch, range(position, position + batch.num_rows))

    def read(
        self, lo: int, hi: int, at_once: int = ROWS_AT_ONCE, wanted: Sequence[str] | None = None
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(number of the first, rows) of the file's rows lo to hi: these columns, or all that changes are made of."""
        position = 0
        with pq.ParquetFile(self.file) as file:
            columns = list(wanted or []) or [name for name in file.schema_arrow.names if name not in NOT_SENT]
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if position + rows <= lo:
                    position += rows
                    continue
                for batch in file.iter_batches(at_once, row_groups=[group], columns=columns):
                    if position >= hi:
                        return
                    if position + batch.num_rows > lo:
                        first, last = max(lo - position, 0), min(hi - position, batch.num_rows)
                        yield position + first, batch.slice(first, last - first)
                    position += batch.num_rows

    def of(self, batch: pa.RecordBatch, positions: Sequence[int]) -> Iterator[tuple[str, Change]]:
        """(payload, change) of rows that were read, which have these numbers in the file.

        Python objects are for changed records only: this is the one place where they are made.
        """
        keys, payloads, rescored = (values_of(batch, name) for name in ("key", "_payload", "_rescored"))
        kinds = [KINDS[op] for op in values_of(batch, "_op")]
        masks = values_of(batch, "_mask")
        sents, doubts = values_of(batch, "_sent"), values_of(batch, "_doubt")
        # What is in doubt was never accepted, so it is no value before.
        accepted = [sent & ~doubt for sent, doubt in zip(sents, doubts, strict=True)]
        match = [(identifier, values_of(batch, f"m{number}")) for number, identifier in enumerate(self.sync.match)]
        every = [
            (
                slot.bit,
                slot.name,
                field_values_of(batch, slot.column, slot),
                field_values_of(batch, f"b{slot.number}", slot),
            )
            for slot in self.slots
        ]
        fields = [one for one in every if not is_relation(one[1])]
        relations = [one for one in every if is_relation(one[1])]
        # Many rows have the mask of another one, and looking at each bit of each row took longer than all the rest.
        after_by_mask = {mask: [(name, after) for bit, name, after, _ in fields if mask & bit] for mask in {*masks, 0}}
        for row in range(batch.num_rows):
            is_deleted = kinds[row] == "removed" and self.sync.removed == "delete"
            mask, known = 0 if is_deleted else masks[row], accepted[row]
            change = Change(
                keys[row],
                kinds[row],
                {identifier: values[row] for identifier, values in match},
                {name: after[row] for name, after in after_by_mask[mask]},
                {name: before[row] for bit, name, _, before in fields if mask & known & bit} if known else NOTHING,
                positions[row],
                rescored[row],
            )
            if relations:
                related = [one for one in relations if mask & one[0]]
                change.relations = self._relations(related, row, sents[row], doubts[row])
            if self.is_whole:
                change.held = {name: after[row] for bit, name, after, _ in fields if known & bit & ~masks[row]}
            yield payloads[row], change

    def _relations(
        self, related: Sequence[tuple[int, str, list[Any], list[Any]]], row: int, sent: int, doubt: int
    ) -> dict[str, Relation]:
        """What leaves of `relate` in one row; of each of those there are its bit, its name, and columns."""
        return {
            name.removeprefix(RELATE): relation(
                before[row], after[row], is_doubtful=bool(doubt & bit), is_new=not sent & bit
            )
            for bit, name, after, before in related
        }

    def digest_of_file(self, mapping: str, lo: int = 0) -> str:
        """`sha256:…` over the sync, its mapping and every change that may be sent, in order, from the row `lo` on.

        A plan that is the rest of another one, and nothing else, has the digest of that rest.
        """
        from syncer.digest import digest_of  # It loads what takes time, and only who plans needs it.

        head = f"{self.sync.name}\n{mapping}"
        return digest_of(head, self.file, self.slots, len(self.sync.match), lo, self.sendable)


def mapping_text(sync: Sync) -> str:
    """The mapping as one canonical text: equal mappings have equal texts, whatever the file looks like."""
    settings = {"file", "schedule", "brakes", "approve", "rescore_rate", "grace"}
    facts = sync.model_dump(mode="json", exclude=settings)
    facts["fields"] = [
        {"name": one.name, **one.model_dump(mode="json", exclude_defaults=True)}
        for one in sorted(sync.fields, key=lambda one: one.name)
    ]
    return json.dumps(facts, sort_keys=True, ensure_ascii=False)


def identity_text(sync: Sync) -> str:
    """What makes a sync the same sync: its object, and how records are keyed and found."""
    record = list(sync.objects) if sync.also else sync.object
    return json.dumps({"object": record, "key": sync.key, "match": dict(sync.match)}, sort_keys=True)


def shown(value: Value) -> Any:
    """A value as JSON shows it: RFC 3339 in UTC for timestamps."""
    if isinstance(value, datetime.datetime):
        text = value.astimezone(datetime.UTC).isoformat(timespec="microseconds" if value.microsecond else "seconds")
        return text.replace("+00:00", "Z")
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value


def change_document(sync: Sync, change: Change) -> dict[str, Any]:
    """A change in the JSON form; sensitive fields are named and never shown.

    A field of which nothing was accepted yet, or of which nobody knows what the destination holds, has a null before
    and `"known": false`.
    """
    hidden = {one.name for one in sync.fields if one.sensitive}
    fields: dict[str, Any] = {}
    for name, after in change.fields.items():
        entry: dict[str, Any] = {}
        if name in change.before:
            entry["before"] = HIDDEN if name in hidden else shown(change.before[name])
        else:
            entry |= {"before": None} if change.kind == "new" else {"before": None, "known": False}
        entry["after"] = HIDDEN if name in hidden else shown(after)
        fields[name] = entry
    for name, one in change.relations.items():
        fields[f"{RELATE}{name}"] = {"before": shown_relation(one.before), "after": shown_relation(one.after)}
        if one.before is None:
            fields[f"{RELATE}{name}"]["known"] = False
    document: dict[str, Any] = {"key": change.key, "kind": change.kind, "fields": fields}
    if change.rescored:
        document["rescored"] = True
    return document


def values_of(batch: pa.RecordBatch, column: str) -> list[Any]:
    """A column as Python values; timestamps are aware and in UTC."""
    values: Any = batch.column(column)
    if pa.types.is_timestamp(values.type):
        # Arrow's own way looks the zone up for each value, which takes eight times as long.
        ticks = values.cast(pa.timestamp("us", values.type.tz)).cast(pa.int64()).to_pylist()
        return [None if tick is None else EPOCH + datetime.timedelta(0, 0, tick) for tick in ticks]
    return list(values.to_pylist())


def field_values_of(batch: pa.RecordBatch, column: str, slot: Slot) -> list[Value]:
    """A field's column as values of its slot: whole numbers where the mapping has whole ones."""
    values = values_of(batch, column)
    if slot.is_whole:
        return [int(value) if value is not None and value.is_integer() else value for value in values]
    return values
