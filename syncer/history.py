"""The history of a sync: what its destination accepted and refused, record by record, for as long as the config says.

It is a set of immutable Parquet files beside the state. When a run ends, one more is written from its plan file and
the outcome bytes; small ones are merged now and then. Each is sorted by key, so that a look-up of one key reads one
row group of it. A row is one record in one run:

    key, answered_at     the record, and when its outcome was remembered (UTC)
    run, trigger         the run in which it was, and who started that
    note                 number of the writing; the rows of one note are in one file, for good
    kind                 new, changed or removed
    result               accepted or rejected; found: read at the destination (adopt, verify) and not sent
    code, message        what the destination said when it rejected; private, never logged
    request              the service's own id of the request, where it gives one
    _mask                bit per slot: the fields that left, or were found
    _known               bit per slot: the value before is one that was accepted
    m0…                  how the record was found
    fN_…, bN             the value after and before of each field in the mask, by slot

Which slots a file has, the file's metadata say, and the control store: files of one *layout* have the same columns.
"""

from __future__ import annotations

import contextlib
import datetime
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from syncer import sql
from syncer.calculator import calculator
from syncer.change import Value
from syncer.control import Code, Control, HistoryPart, Unnoted
from syncer.errors import StateDamaged
from syncer.mapping import Sync
from syncer.plan import values_of
from syncer.state import State, StateFile, Vanished, write_parquet

FILES_MAX = 16
"""More files than this of about one size are merged into one."""
MERGED_ROWS_MAX = 4_000_000
"""A file as large as that is merged with no other any more: the time for it would be felt at the end of a run."""
OVERDUE = 1 / 16
"""A file is rewritten for the rows that it has kept too long when they are that share of the time overdue; look-ups
do not show them from the first moment on."""
PACKED = "COMPRESSION zstd, PARQUET_VERSION v2"
"""A history lies for long, so it is worth a little more time than a plan."""

_arrow: Any = pa  # Its stubs know neither `arange` nor run-end encoding.


@dataclass(frozen=True, slots=True)
class Kept:
    """A field as a file of the history has it."""

    name: str
    sql_type: str
    is_sensitive: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Files with the same columns, which can be read as one."""

    fields: Mapping[int, Kept]
    """Slot → field; `fN_NAME` and `bN` are its columns."""
    identity: str
    """How the records are keyed and found (`plan.identity_text`), and so what m0… are."""
    files: tuple[Path, ...]

    @property
    def relation(self) -> str:
        """SQL of all rows."""
        return f"read_parquet([{', '.join(sql.literal(str(file)) for file in self.files)}])"

    @property
    def with_names(self) -> str:
        """SQL of all rows, each with the file that it is in."""
        return f"{self.relation[:-1]}, filename = true)"

    def column(self, slot: int) -> str:
        """The column of a field's values after."""
        return f"f{slot}_{self.fields[slot].name}"


@dataclass(frozen=True, slots=True)
class Step:
    """What one run did to one field; `before` is known only if it was accepted once."""

    before: Value
    after: Value
    is_known: bool
    is_sensitive: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """What one run did to one record."""

    key: str
    answered_at: datetime.datetime
    run: int
    trigger: str
    kind: str
    result: str
    code: str | None
    message: str | None
    request: str | None
    fields: Mapping[str, Step]


# --- writing -------------------------------------------------------------------------------------------------------


def note(state: State, control: Control, sync: Sync, *, is_kept: bool) -> None:
    """Write down what the history does not have yet; where none is kept, only let go of it.

    The caller holds the sync. Any instant may be the last one: a file counts from the commit on that names it and
    marks its batches, and no sooner. Raises StateDamaged, and what DuckDB raises.
    """
    unnoted = control.unnoted(sync.name)
    if not is_kept:
        for plan in unnoted:
            control.noted(sync.name, plan, None)
    elif unnoted:
        with calculator(state.folder) as connection:
            for plan in unnoted:
                control.noted(sync.name, plan, _written(connection, state, control, sync, plan))


def _written(
    connection: duckdb.DuckDBPyConnection, state: State, control: Control, sync: Sync, plan: Unnoted
) -> HistoryPart | None:
    """A durable file with the settled batches of one plan; None when nothing in them is worth telling."""
    file = state.file(plan.file)
    fields = _fields_of(file, sync)
    layout = _text(fields, plan.identity)
    number = control.next_note(sync.name)
    _register(connection, plan)
    path = state.fresh("history")
    facts = {"sync": sync.name, "kind": "history", **json.loads(layout)}
    with readable(sync.name, [file.path]):
        rows = write_parquet(connection, _rows_of(plan, file, fields, number), path, facts, PACKED)
    if not rows:
        path.unlink()
        return None
    state.keep(path)
    times = [batch.at for batch in plan.batches]
    return HistoryPart(path.name, rows, min(times), max(times), layout)


def _fields_of(file: StateFile, sync: Sync) -> dict[int, Kept]:
    """The fields that a plan can tell of: those that were mapped, or all that were found."""
    sensitive = {one.name for one in sync.fields if one.sensitive}
    slots = sorted(file.before or file.columns)
    named = {slot: (file.columns[slot][0].partition("_")[2], file.columns[slot][1]) for slot in slots}
    return {slot: Kept(name, kind, name in sensitive) for slot, (name, kind) in named.items()}


def _register(connection: duckdb.DuckDBPyConnection, plan: Unnoted) -> None:
    """The outcome bytes and what was said beside them, as relations; no object for a record that was accepted."""
    codes = bytearray([Code.UNSENT]) * plan.rows
    times: list[tuple[int, int | None]] = []
    requests: list[tuple[int, str | None]] = []
    rejections: list[tuple[int, str, str]] = []
    for batch in plan.batches:
        hi = batch.lo + len(batch.codes)
        codes[batch.lo : hi] = batch.codes
        times += [(batch.lo, round(batch.at * 1e6)), (hi, None)]
        requests += [(batch.lo, None), *((batch.lo + place, one or None) for place, one in batch.requests), (hi, None)]
        rejections += [(batch.lo + place, code, message) for place, code, message in batch.rejections]
    columns = {
        "position": _arrow.arange(0, plan.rows),
        "code": pa.Array.from_buffers(pa.uint8(), plan.rows, [None, pa.py_buffer(bytes(codes))]),
        "answered_at": _spread(times, plan.rows, pa.int64()),
        "request": _spread(requests, plan.rows, pa.string()),
    }
    connection.register("outcomes", pa.table(columns))
    places, reasons, messages = zip(*rejections, strict=True) if rejections else ((), (), ())
    connection.register(
        "answers",
        pa.table(
            {
                "position": pa.array(places, pa.int64()),
                "code": pa.array(reasons, pa.string()),
                "message": pa.array(messages, pa.string()),
            }
        ),
    )


def _spread(runs: Sequence[tuple[int, Any]], rows: int, kind: pa.DataType) -> Any:
    """A column of so many rows, from (row, value): the value holds from that row on. Null before the first."""
    ends: list[int] = []
    values: list[Any] = []
    current: Any = None
    for row, value in [*runs, (rows, None)]:
        if row > (ends[-1] if ends else 0):
            ends.append(row)
            values.append(current)
        current = value
    import pyarrow.compute  # It takes time to load, and only who writes needs it.

    compute: Any = pyarrow.compute  # Its stubs do not know `run_end_decode`.
    encoded = _arrow.RunEndEncodedArray.from_arrays(pa.array(ends, pa.int64()), pa.array(values, kind))
    return compute.run_end_decode(encoded)


def _rows_of(plan: Unnoted, file: StateFile, fields: Mapping[int, Kept], number: int) -> str:
    """SQL of the rows of a plan's settled batches, sorted by key."""
    listed = sum(1 << slot for slot in fields)
    accepted = "found" if plan.is_found else "accepted"
    columns = [
        "p.key",
        "make_timestamp(o.answered_at) AS answered_at",
        f"{plan.run_id}::BIGINT AS run",
        f"{sql.literal(plan.trigger)} AS trigger",
        f"{number}::BIGINT AS note",
        "CASE p._op WHEN 1 THEN 'new' WHEN 2 THEN 'changed' ELSE 'removed' END AS kind",
        f"CASE o.code WHEN {Code.ACCEPTED} THEN {sql.literal(accepted)} ELSE 'rejected' END AS result",
        "a.code AS code",
        "a.message AS message",
        "o.request AS request",
        f"p._mask & {listed}::BIGINT AS _mask",
        f"p._mask & p._sent & ~p._doubt & {listed}::BIGINT AS _known",
        *(f"p.m{number}" for number in range(matches_of(plan.identity))),
    ]
    for slot, field in fields.items():
        column, is_told = sql.name(file.columns[slot][0]), f"p._mask & {1 << slot}::BIGINT <> 0"
        before = f"p.b{slot}" if slot in file.before else "NULL"
        columns.append(f"CASE WHEN {is_told} THEN p.{column} END::{field.sql_type} AS {column}")
        columns.append(f"CASE WHEN {is_told} THEN {before} END::{field.sql_type} AS b{slot}")
    # What was looked for and found without anything that could be said of it is nothing to tell.
    told = f" AND (p._op = 3 OR p._mask & {listed}::BIGINT <> 0)" if plan.is_found else ""
    return (
        f"SELECT {', '.join(columns)} FROM read_parquet({sql.literal(str(file.path))}, file_row_number = true) AS p "
        "JOIN outcomes o ON o.position = p.file_row_number LEFT JOIN answers a ON a.position = p.file_row_number "
        f"WHERE o.code IN ({Code.ACCEPTED}, {Code.REJECTED}){told} ORDER BY p.key"
    )


# --- old and small files -------------------------------------------------------------------------------------------


def tidy(state: State, control: Control, sync: str, keep_seconds: float, now: float) -> None:
    """Drop files that are older than `keep_seconds`, and write anew those that are too many of one size, or partly too
    old. As safe as `note`, for whoever holds the sync; raises what it raises."""
    limit = now - keep_seconds
    parts = control.history(sync)
    expired = [part for part in parts if part.newest < limit or not keep_seconds]
    if expired:
        control.rewrite_history(sync, [part.file for part in expired], None)
    groups: dict[tuple[str, int], list[HistoryPart]] = {}
    for part in parts:
        if part in expired:
            continue
        if part.oldest < limit - keep_seconds * OVERDUE:
            _rewrite(state, control, sync, [part], _since(limit))
        elif part.rows < MERGED_ROWS_MAX:
            groups.setdefault((part.layout, len(str(part.rows))), []).append(part)
    for group in groups.values():
        if len(group) > FILES_MAX:
            _rewrite(state, control, sync, group, _since(limit))


def without(state: State, control: Control, keys: Sequence[str]) -> int:
    """Write the files anew that tell of these keys, without them; returns how many entries there were.

    As safe as `note`, for whoever holds the sync. The old files are garbage, and still there. Raises what it raises.
    """
    listed = f"({', '.join(sql.literal(key) for key in keys)})"
    entries: dict[str, int] = {}
    parts = control.history(state.sync)
    with duckdb.connect(":memory:") as connection:
        for layout in _layouts(state, parts):
            query = f"SELECT filename, count(*) FROM {layout.with_names} WHERE key IN {listed} GROUP BY filename"
            with readable(state.sync, layout.files):
                entries |= {Path(name).name: number for name, number in connection.execute(query).fetchall()}
    for part in parts:
        if part.file in entries:
            _rewrite(state, control, state.sync, [part], f"key NOT IN {listed}")
    return sum(entries.values())


def _rewrite(state: State, control: Control, sync: str, parts: Sequence[HistoryPart], wanted: str) -> None:
    """One file in the place of some of one layout, with the rows that are wanted."""
    (layout,) = _layouts(state, parts)
    path = state.fresh("history")
    facts = {"sync": sync, "kind": "history", **json.loads(parts[0].layout)}
    with calculator(state.folder) as connection, readable(sync, layout.files):
        query = f"SELECT * FROM {layout.relation} WHERE {wanted} ORDER BY key, answered_at"
        rows = write_parquet(connection, query, path, facts, PACKED)
        span = f"SELECT epoch(min(answered_at)), epoch(max(answered_at)) FROM read_parquet({sql.literal(str(path))})"
        oldest, newest = connection.execute(span).fetchall()[0]
    if rows:
        state.keep(path)
    else:
        path.unlink()
    part = HistoryPart(path.name, rows, oldest, newest, parts[0].layout) if rows else None
    control.rewrite_history(sync, [one.file for one in parts], part)


# --- looking -------------------------------------------------------------------------------------------------------


def layouts(state: State, control: Control) -> list[Layout]:
    """The whole history as it stands, file by file that can be read together."""
    return _layouts(state, control.history(state.sync))


def life(state: State, control: Control, key: str, since: float) -> list[Entry]:
    """Everything that is remembered of one record since then (seconds since 1970), the oldest first.

    Raises Vanished when a file was merged away meanwhile: look again. Raises StateDamaged.
    """
    entries = _found(state, control, f"key = {sql.literal(key)} AND {_since(since)}")
    # By the number of the run, which only rises; a clock may have been ahead, or behind.
    return sorted(entries, key=lambda entry: (entry.run, entry.answered_at))


def of_run(state: State, control: Control, run_id: int, keys: Sequence[str]) -> dict[str, Entry]:
    """What one run did to each of these records, as far as the history has it. Raises what `life` does."""
    if not keys:
        return {}
    listed = ", ".join(sql.literal(key) for key in keys)
    return {entry.key: entry for entry in _found(state, control, f"run = {run_id} AND key IN ({listed})")}


def _found(state: State, control: Control, wanted: str) -> list[Entry]:
    entries: list[Entry] = []
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for layout in layouts(state, control):
            with readable(state.sync, layout.files):
                found = connection.sql(f"SELECT * FROM {layout.relation} WHERE {wanted}").to_arrow_table()
            for batch in found.to_batches():
                entries += _entries(batch, layout)
    return entries


def _entries(batch: pa.RecordBatch, layout: Layout) -> Iterator[Entry]:
    names = ("key", "answered_at", "run", "trigger", "kind", "result", "code", "message", "request")
    columns = {name: values_of(batch, name) for name in (*names, "_mask", "_known")}
    values = {slot: (values_of(batch, f"b{slot}"), values_of(batch, layout.column(slot))) for slot in layout.fields}
    for row in range(batch.num_rows):
        mask, known = columns["_mask"][row], columns["_known"][row]
        steps = {
            field.name: Step(values[slot][0][row], values[slot][1][row], bool(known & 1 << slot), field.is_sensitive)
            for slot, field in layout.fields.items()
            if mask & 1 << slot
        }
        yield Entry(**{name: columns[name][row] for name in names}, fields=steps)


def _since(seconds: float) -> str:
    """SQL of whether a row is not older than that (seconds since 1970)."""
    return f"answered_at >= make_timestamp({round(seconds * 1e6)})"


def matches_of(identity: str) -> int:
    """By how many identifiers a record is found."""
    return len(json.loads(identity)["match"])


def _text(fields: Mapping[int, Kept], identity: str) -> str:
    """A layout as the control store keeps it."""
    slots = {str(slot): [one.name, one.sql_type, one.is_sensitive] for slot, one in fields.items()}
    return json.dumps({"slots": slots, "identity": identity})


def _layouts(state: State, parts: Iterable[HistoryPart]) -> list[Layout]:
    files: dict[str, list[Path]] = {}
    for part in parts:
        files.setdefault(part.layout, []).append(state.here(part.file))
    found = []
    for text, paths in files.items():
        facts = json.loads(text)
        fields = {int(slot): Kept(*one) for slot, one in facts["slots"].items()}
        found.append(Layout(fields, facts["identity"], tuple(paths)))
    return found


@contextlib.contextmanager
def readable(sync: str, paths: Sequence[Path]) -> Iterator[None]:
    """Turn what DuckDB says of files that it cannot read into Vanished and StateDamaged."""
    try:
        yield
    except duckdb.Error as error:
        gone = next((path for path in paths if not path.exists()), None)
        if gone is not None:
            sentence = f"The history file {gone} is missing. Restore it from a backup; only the history depends on it."
            raise Vanished(gone, sentence) from None
        if isinstance(error, duckdb.IOException | duckdb.InvalidInputException):
            # Its text may quote a value, but for what it says of files.
            raise StateDamaged(
                f"{sync}: a file of the history cannot be read, or is damaged; they are the files history-… in "
                f"{paths[0].parent}. Restore it from a backup; only the history depends on it."
            ) from None
        raise
