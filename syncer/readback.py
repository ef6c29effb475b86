"""Reading a destination back: adopting what it holds, and verifying that it still holds what it accepted.

Both read through the adapter (`Destination.read`) and leave the judgement whether a value is ours to it (`holds`).
What is found becomes part of the state as a file of rows that count as accepted, in one commit: a kill before it
leaves the state as it was.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from syncer import sql
from syncer.account import Prepared
from syncer.calculator import calculator
from syncer.change import Change, Held, LastWrite, Value, Wanted
from syncer.compare import slots_of
from syncer.control import EMPTY, Control, Standing
from syncer.destination import Destination
from syncer.errors import Stopping, SyncerError
from syncer.mapping import RELATE, Sync
from syncer.plan import Plan, Slot, field_values_of, identity_text, values_of
from syncer.pushing import BrokenPromise
from syncer.relations import SEPARATOR, ids_of, is_relation
from syncer.run import Engine
from syncer.state import Relation, state_is_readable, write_parquet
from syncer.tally import Delivered

PIECE = 10_000
"""Records that are in memory at once."""
DRIFTS_LISTED_MAX = 1_000

_ARROW: Mapping[str, pa.DataType] = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
}


@dataclass(slots=True)
class Adopted:
    """What adopting came to. Counts are of records, except `equal` and `other`, which are of their fields."""

    sync: Sync
    read: int = 0
    found: int = 0
    absent: int = 0
    ambiguous: int = 0
    equal: int = 0
    """Fields that hold what the source says: nothing will be sent for them."""
    other: int = 0
    """Fields that hold something else: the next plan shows it, old → new."""
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Drift:
    """A field that does not hold what the destination accepted last; `field` is empty when the record is gone."""

    key: str
    field: str
    ours: Any
    theirs: Any
    last_write: LastWrite | None = None


@dataclass(slots=True)
class Verified:
    """What verifying came to."""

    sync: Sync
    known: int = 0
    """Records in the state."""
    read: int = 0
    gone: int = 0
    drifted: int = 0
    """Records with at least one field that drifted."""
    fields: Counter[str] = field(default_factory=Counter)
    drifts: list[Drift] = field(default_factory=list)
    """The first of them."""
    repaired: int = 0
    """Records that the next sync will put right."""
    requests: int = 0


def adopt(engine: Engine, prepared: Prepared) -> Adopted:
    """Fill the state from what the destination holds of the source's records, sending nothing.

    What is equal is known from then on, what differs is planned with the destination's value before it, and a record
    that is not there stays new. A sync whose match or object has changed begins anew with what is found.

    Raises SyncBusy, UserError, DestinationUnusable (also where the service cannot be read), ServiceUnavailable and
    Stopping; the state is then as it was.
    """
    sync, destination = prepared.sync, prepared.destination
    state = engine.state(sync.name)
    adopted = Adopted(sync)
    with (
        engine.control().exclusively(sync.name) as control,
        _journal(engine, control, sync, "adopt", destination) as run_id,
    ):
        state.clean(control)
        engine.note(state, control, sync)
        standing = control.standing(sync.name)
        has_moved = bool(standing.identity) and standing.identity != identity_text(sync)
        standing = EMPTY if has_moved else standing
        slots, _ = slots_of(prepared.canon, engine.inputs(state, control, standing))
        file = state.fresh("spool-source")
        with calculator(state.folder) as connection:
            plan = engine.everything(prepared, standing, file)
            rows = [_adopted(piece, destination, slots, adopted) for piece in pieces(plan.changes(), engine)]
            connection.register("found", pa.Table.from_batches(rows, _schema(slots)))
            fresh = state.fresh("plan")
            adopted.found = write_parquet(connection, _as_adopted(plan, slots), fresh, _facts(sync, slots))
        file.unlink(missing_ok=True)
        state.keep(fresh)
        if has_moved:
            control.forget(sync.name)
        _take_over(control, sync, run_id, fresh.name, adopted.found)
        engine.fold(state, control, prepared)
        adopted.requests = destination.transport.requests
    return adopted


def verify(engine: Engine, prepared: Prepared, *, sample: int | None = None, repair: bool = False) -> Verified:
    """Compare what the destination holds with what it accepted, whole or for so many records taken by chance.

    With `repair` the state takes over what is there, so that the next plan puts our values back; a field with
    `on_drift = "theirs"` is told and left. Nothing is sent. Raises what `adopt` raises.
    """
    sync, destination = prepared.sync, prepared.destination
    state = engine.state(sync.name)
    verified = Verified(sync)
    with (
        engine.control().exclusively(sync.name) as control,
        _journal(engine, control, sync, "verify", destination) as run_id,
    ):
        state.clean(control)
        standing = control.standing(sync.name)
        inputs = state.opened(engine.inputs(state, control, standing))
        slots, retired = slots_of(prepared.canon, inputs)
        with calculator(state.folder) as connection, state_is_readable(sync.name, inputs.files):
            relation = Relation(connection, len(sync.match))
            relation.attach(inputs.base, inputs.plans, [*slots, *retired])
            verified.known = int(connection.execute("SELECT count(*) FROM state").fetchall()[0][0])
            records = pieces(_known(connection, sync, slots, sample), engine)
            rows = [_verified(piece, destination, slots, verified) for piece in records]
            connection.register("found", pa.Table.from_batches(rows, _schema(slots)))
            if repair and verified.drifts:
                fresh = state.fresh("plan")
                query = _as_repaired(sync, slots, retired)
                verified.repaired = write_parquet(connection, query, fresh, _facts(sync, [*slots, *retired]))
                state.keep(fresh)
                _take_over(control, sync, run_id, fresh.name, verified.repaired)
        engine.fold(state, control, prepared)
        verified.requests = destination.transport.requests
    return verified


@contextlib.contextmanager
def _journal(engine: Engine, control: Control, sync: Sync, trigger: str, destination: Destination) -> Iterator[int]:
    """A line of the journal around reading back, which plans and sends nothing; the caller holds the sync."""
    control.recover(sync.name)
    run_id = control.begin_run(sync.name, identity_text(sync), trigger, is_partial=True)
    facts, counts = {"trigger": trigger}, Delivered(planned=0).counts

    def finish(result: str, error: str | None) -> None:
        control.finish_run(
            run_id, result=result, counts=counts, requests=destination.transport.requests, error=error, facts=facts
        )

    try:
        yield run_id
    except SyncerError as error:
        finish("failed", str(error))
        raise
    else:
        finish("done", None)
    finally:
        destination.transport.close()


# --- records, and what is found of them ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Ours:
    """What we say of a record: field → value, without those that were never accepted or of which nobody knows."""

    key: str
    match: Mapping[str, str]
    values: Mapping[str, Value]


def pieces(records: Iterable[Any], engine: Engine) -> Iterator[list[Any]]:
    """As many records at once as may be in memory. Raises Stopping."""
    source = iter(records)
    while piece := list(itertools.islice(source, PIECE)):
        if engine.stop.is_set():
            raise Stopping
        yield piece


def readings(destination: Destination, sync: Sync, records: Sequence[Any]) -> Iterator[Held]:
    """What is held of a piece. An answer for a record that nobody asked for is the adapter's fault."""
    wanted = {one.key for one in records}
    for held in destination.read(sync, [Wanted(one.key, one.match) for one in records]):
        if held.key not in wanted:
            raise BrokenPromise(
                f"the adapter {destination.kind} read a record that nobody asked for, or read one twice"
            )
        wanted.remove(held.key)
        yield held


def _adopted(changes: Sequence[Change], destination: Destination, slots: Sequence[Slot], adopted: Adopted) -> Any:
    """Rows of `found`: of each record that is there, the fields of which something is known."""
    by_key = {change.key: change for change in changes}
    rows = _Rows(slots)
    adopted.read += len(changes)
    for held in readings(destination, adopted.sync, changes):
        if held.fields is None:
            adopted.absent += held.code != "ambiguous"
            adopted.ambiguous += held.code == "ambiguous"
            continue
        change = by_key[held.key]
        known: dict[str, Value] = {}
        for slot in slots:
            ours = _ours_of(change, slot)
            if ours is not None and is_same(destination, adopted.sync, slot, ours, held):
                known[slot.name] = ours
                adopted.equal += 1
            elif (theirs := _theirs(slot, held)) is not None:
                known[slot.name] = theirs
                adopted.other += 1
        rows.add(held.key, known, slots, is_gone=False)
    return rows.batch()


def _verified(records: Sequence[_Ours], destination: Destination, slots: Sequence[Slot], verified: Verified) -> Any:
    """Rows of `found`: of each record that drifted, the fields that did and are to be put right."""
    by_key = {one.key: one for one in records}
    by_name = {slot.name: slot for slot in slots}
    rows = _Rows(slots)
    verified.read += len(records)
    for held in readings(destination, verified.sync, records):
        ours = by_key[held.key]
        if held.fields is None:
            if any(value is not None for value in ours.values.values()):
                verified.gone += 1
                _list(verified, Drift(held.key, "", None, held.code or None))
                rows.add(held.key, {}, [], is_gone=True)
            continue
        drifted = [
            by_name[name]
            for name, value in ours.values.items()
            if is_readable(by_name[name], held) and not is_same(destination, verified.sync, by_name[name], value, held)
        ]
        if not drifted:
            continue
        verified.drifted += 1
        for slot in drifted:
            verified.fields[slot.name] += 1
            _list(
                verified,
                Drift(held.key, slot.name, ours.values[slot.name], raw(slot, held), held.last_writes.get(slot.name)),
            )
        repaired = [slot for slot in drifted if verified.sync.field(slot.name).on_drift == "ours"]
        if repaired:
            rows.add(held.key, {slot.name: _theirs(slot, held) for slot in repaired}, repaired, is_gone=False)
    return rows.batch()


def _list(verified: Verified, drift: Drift) -> None:
    if len(verified.drifts) < DRIFTS_LISTED_MAX:
        verified.drifts.append(drift)


def _known(
    connection: duckdb.DuckDBPyConnection, sync: Sync, slots: Sequence[Slot], sample: int | None
) -> Iterator[_Ours]:
    """The records of the state with what the destination accepted of their mapped fields."""
    taken = "" if sample is None else f" USING SAMPLE reservoir({sample} ROWS)"
    for batch in connection.sql(f"SELECT * FROM state{taken}").to_arrow_reader(PIECE):
        keys, sents, doubts = (values_of(batch, name) for name in ("key", "_sent", "_doubt"))
        foreign = values_of(batch, "_foreign")
        match = [(name, values_of(batch, f"m{number}")) for number, name in enumerate(sync.match)]
        columns = [(slot, field_values_of(batch, slot.column, slot)) for slot in slots]
        for row, key in enumerate(keys):
            accepted = sents[row] & ~(doubts[row] | foreign[row])
            yield _Ours(
                key,
                {name: values[row] for name, values in match},
                {slot.name: values[row] for slot, values in columns if accepted & slot.bit},
            )


def _ours_of(change: Change, slot: Slot) -> Value:
    if is_relation(slot.name):
        related = change.relations.get(slot.name.removeprefix(RELATE))
        return SEPARATOR.join(related.after) if related and related.after else None
    return change.fields.get(slot.name)


def is_readable(slot: Slot, held: Held) -> bool:
    """Whether the destination says anything of it: relations cannot be read everywhere."""
    return not is_relation(slot.name) or slot.name.removeprefix(RELATE) in held.relations


def is_same(destination: Destination, sync: Sync, slot: Slot, ours: Value, held: Held) -> bool:
    """Whether the record holds this value of ours; of a relation, whether all of ours are among what is there."""
    if is_relation(slot.name):
        return set(ids_of(ours)) <= held.relations.get(slot.name.removeprefix(RELATE), frozenset())
    return destination.holds(sync, slot.name, ours, (held.fields or {}).get(slot.name))


def raw(slot: Slot, held: Held) -> Any:
    """What is there, as the destination gives it."""
    if is_relation(slot.name):
        return sorted(held.relations.get(slot.name.removeprefix(RELATE), ())) or None
    return (held.fields or {}).get(slot.name)


def _theirs(slot: Slot, held: Held) -> Value:
    """What is there as a value of ours, for the state; None when nothing is, or nothing that could be one.

    Of relations nobody can say which are ours, so those of others are never taken for it.
    """
    if is_relation(slot.name):
        return None
    return _typed(raw(slot, held), slot.sql_type)


def _typed(value: Any, sql_type: str) -> Value:
    """A value as a destination gives it, in a canonical type; None for what is no such value."""
    try:
        match sql_type, value:
            case _, None | "":
                return None
            case "BOOLEAN", bool():
                return value
            case _, bool():
                return None
            case "VARCHAR", str():
                return value
            case "BIGINT", int() | float() | str() if float(value) == int(float(value)):
                return int(float(value))
            case "DOUBLE", int() | float() | str() if math.isfinite(float(value)):
                return float(value)
            case "BOOLEAN", "true" | "false":
                return bool(value == "true")
            case "DATE", str():
                return datetime.date.fromisoformat(value)
            case "TIMESTAMP", str():
                return datetime.datetime.fromisoformat(value).astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        pass
    return None


# --- as part of the state ------------------------------------------------------------------------------------------


class _Rows:
    """Rows of the relation `found`: key, whether the record is gone, a bit for each field that is told, its values."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = slots
        self._columns: dict[str, list[Any]] = {name: [] for name in _schema(slots).names}

    def add(self, key: str, values: Mapping[str, Value], told: Sequence[Slot], *, is_gone: bool) -> None:
        """One record. A field that is told without a value of ours is nothing that anybody knows."""
        self._columns["key"].append(key)
        self._columns["is_gone"].append(is_gone)
        self._columns["mask"].append(sum(slot.bit for slot in told if values.get(slot.name) is not None))
        self._columns["doubt"].append(sum(slot.bit for slot in told if values.get(slot.name) is None))
        for slot in self._slots:
            value = values.get(slot.name)
            if isinstance(value, datetime.datetime):
                value = value.replace(tzinfo=None)
            self._columns[slot.column].append(value)

    def batch(self) -> Any:
        """What was added."""
        return pa.RecordBatch.from_pydict(self._columns, _schema(self._slots))


def _schema(slots: Sequence[Slot]) -> pa.Schema:
    fixed: list[tuple[str, pa.DataType]] = [("key", pa.string()), ("is_gone", pa.bool_())]
    fixed += [("mask", pa.int64()), ("doubt", pa.int64())]
    return pa.schema([*fixed, *((slot.column, _ARROW[slot.sql_type]) for slot in slots)])


def _as_adopted(plan: Plan, slots: Sequence[Slot]) -> str:
    """SQL of state rows that hold what was found and nothing else."""
    rows = f"read_parquet({sql.literal(str(plan.file))})"
    columns = [*_fixed(len(plan.sync.match), "p"), "2::TINYINT AS _op", "f.mask AS _mask"]
    columns += ["0::BIGINT AS _sent", "0::BIGINT AS _doubt", *_judged()]
    columns += [f"f.{sql.name(slot.column)}" for slot in slots]
    return f"SELECT {', '.join(columns)} FROM found f JOIN {rows} p ON p.key = f.key ORDER BY f.key"


def _as_repaired(sync: Sync, slots: Sequence[Slot], retired: Sequence[Slot]) -> str:
    """SQL of the state rows of what drifted, as it is there; a record that is gone is forgotten."""
    columns = [*_fixed(len(sync.match), "s"), "CASE WHEN f.is_gone THEN 3 ELSE 2 END::TINYINT AS _op"]
    # The mask says what was found, for the history; these bits are in `_sent` already and never in doubt.
    columns += ["f.mask AS _mask", "s._sent", "(s._doubt | s._foreign | f.doubt) AS _doubt", *_judged()]
    for slot in slots:
        name = sql.name(slot.column)
        columns.append(f"CASE WHEN f.mask & {slot.bit} <> 0 THEN f.{name} ELSE s.{name} END AS {name}")
    columns += [f"s.{sql.name(slot.column)}" for slot in retired]
    return f"SELECT {', '.join(columns)} FROM found f JOIN state s ON s.key = f.key ORDER BY f.key"


def _fixed(matches: int, prefix: str) -> list[str]:
    return ["f.key", *(f"{prefix}.m{number}" for number in range(matches)), f"{prefix}._version"]


def _judged() -> list[str]:
    """Columns of a plan that say why a record goes; nothing goes here."""
    return ["FALSE AS _rescored", "FALSE AS _moved", "FALSE AS _parked", "'' AS _payload"]


def _facts(sync: Sync, slots: Sequence[Slot]) -> dict[str, object]:
    return {"sync": sync.name, "kind": "plan", "slots": {str(slot.number): slot.name for slot in slots}}


def _take_over(control: Control, sync: Sync, run_id: int, file: str, rows: int) -> None:
    standing: Standing = control.register(sync.name, identity_text(sync), [one.name for one in sync.compared])
    if standing.sync_id is not None:
        control.take_over(run_id, standing.sync_id, file, rows)
