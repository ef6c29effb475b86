"""What one run did to each record: its changes with their outcomes, a page at a time. Reads only, and needs no lock.

What a destination accepted and refused is in the history; what was left (deferred, unsent) is in the run's plan file,
as long as that is there, and so is everything until the history has it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from syncer import history, sql
from syncer.calculator import calculator, temporary_folder
from syncer.change import Change
from syncer.control import Code, Control, PlanFile
from syncer.history import Entry
from syncer.mapping import Sync
from syncer.plan import KINDS
from syncer.run import Engine
from syncer.state import State, StateFile, look_again, state_is_readable

OUTCOMES = ("accepted", "rejected", "deferred", "unsent")
_OUTCOMES = {
    Code.ACCEPTED: "accepted",
    Code.REJECTED: "rejected",
    # As the journal counts it: nobody knows yet, and the record goes again.
    Code.UNKNOWN: "deferred",
    Code.DEFERRED: "deferred",
    Code.UNSENT: "unsent",
}
_PLANNED = "planned"
_arrow: Any = pa  # Its stubs do not know `arange`.


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which changes of a run are asked for; None means any."""

    kind: str | None = None
    field: str | None = None
    outcome: str | None = None
    key: str | None = None
    offset: int = 0
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Outcome:
    """A change, and what became of it: an entry of the history, or a change of the plan that is not in it."""

    key: str
    outcome: str
    entry: Entry | None
    change: Change | None


@dataclass(slots=True)
class Changes:
    """A page of the changes of a run, sorted by key, and how many fit in all."""

    total: int = 0
    listed: list[Outcome] = field(default_factory=list)


def changes_of_run(engine: Engine, sync: Sync, run_id: int, wanted: Wanted) -> Changes:
    """The changes of a run that are wanted. Memory is bounded by the page. Raises StateDamaged."""
    state = engine.state(sync.name)

    def look() -> Changes:
        control = Control.look(engine.config.state)
        if control is None:
            return Changes()
        with contextlib.closing(control), temporary_folder("syncer-") as folder, calculator(folder) as connection:
            return _look(connection, state, control, sync, run_id, wanted)

    return look_again(look)


def _look(
    connection: duckdb.DuckDBPyConnection, state: State, control: Control, sync: Sync, run_id: int, wanted: Wanted
) -> Changes:
    layouts = history.layouts(state, control)
    planned = control.plan_of_run(run_id)
    file = state.file(planned.file) if planned else None
    paths = [path for layout in layouts for path in layout.files]
    columns = "key, kind, result AS outcome, _mask"
    parts = [f"SELECT {columns} FROM {layout.relation} WHERE run = {run_id}" for layout in layouts]
    noted = " UNION ALL BY NAME ".join(parts) or f"SELECT {_EMPTY} WHERE FALSE"
    connection.execute(f"CREATE TEMP TABLE noted AS {noted}")
    if planned and file:
        _register(connection, planned)
    with history.readable(state.sync, paths), state_is_readable(state.sync, [file] if file else []):
        everything = f"SELECT *, 'noted' AS origin FROM noted{_not_noted(file) if file else ''}"
        conditions, values = _conditions(wanted, control.standing(sync.name).slots)
        fitting = f"FROM ({everything}) WHERE {conditions}"
        ((total,),) = connection.execute(f"SELECT count(*) {fitting}", values).fetchall()
        listed = connection.execute(
            f"SELECT key, outcome, origin {fitting} ORDER BY key LIMIT ? OFFSET ?",
            [*values, wanted.limit, wanted.offset],
        ).fetchall()
    entries = history.of_run(state, control, run_id, [key for key, _, origin in listed if origin == "noted"])
    changes = _planned(state, file, sync, [key for key, _, origin in listed if origin == _PLANNED])
    return Changes(total, [Outcome(key, outcome, entries.get(key), changes.get(key)) for key, outcome, _ in listed])


_EMPTY = "NULL::VARCHAR AS key, NULL::VARCHAR AS kind, NULL::VARCHAR AS outcome, NULL::BIGINT AS _mask"


def _register(connection: duckdb.DuckDBPyConnection, planned: PlanFile) -> None:
    codes = pa.Array.from_buffers(pa.uint8(), len(planned.codes), [None, pa.py_buffer(planned.codes)])
    positions = _arrow.arange(0, len(planned.codes))
    connection.register("outcomes", pa.table({"position": positions, "code": codes}))


def _not_noted(file: StateFile) -> str:
    """SQL of what of a plan is not in the history."""
    kinds = " ".join(f"WHEN {op} THEN {sql.literal(kind)}" for op, kind in KINDS.items())
    outcomes = " ".join(f"WHEN {code} THEN {sql.literal(outcome)}" for code, outcome in _OUTCOMES.items())
    return (
        f" UNION ALL BY NAME SELECT p.key, CASE p._op {kinds} END AS kind, CASE o.code {outcomes} END AS outcome, "
        f"p._mask, {sql.literal(_PLANNED)} AS origin "
        f"FROM read_parquet({sql.literal(str(file.path))}, file_row_number = true) AS p "
        "JOIN outcomes o ON o.position = p.file_row_number ANTI JOIN noted n ON n.key = p.key WHERE NOT p._parked"
    )


def _conditions(wanted: Wanted, slots: dict[str, int]) -> tuple[str, list[object]]:
    conditions, values = ["TRUE"], list[object]()
    for column, value in (("kind", wanted.kind), ("outcome", wanted.outcome), ("key", wanted.key)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    if wanted.field is not None:
        slot = slots.get(wanted.field)
        conditions.append("FALSE" if slot is None else f"_mask & {1 << slot}::BIGINT <> 0")
    return " AND ".join(conditions), values


def _planned(state: State, file: StateFile | None, sync: Sync, keys: Sequence[str]) -> dict[str, Change]:
    if not file or not keys:
        return {}
    return {change.key: change for change in state.plan_of(file.path.name, sync, ()).changes_of(keys)}
