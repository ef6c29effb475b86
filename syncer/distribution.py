"""How the values of a field lie before and after: of what one run changed, or of what a plan would change. Reads only.

Counted are the changes in which the field is, and no value is kept apart from its count. What was never accepted, or is
in doubt, is no value before; what a removal takes away is no value after.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from syncer import history, sql
from syncer.calculator import calculator, temporary_folder
from syncer.canonical import FAMILY
from syncer.control import Control
from syncer.errors import UserError
from syncer.history import Layout
from syncer.mapping import Sync
from syncer.plan import REMOVED, Plan
from syncer.run import Engine
from syncer.state import State, StateFile, look_again, state_is_readable

BINS = 25
"""About so many columns; their borders are round numbers."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: how many values each column has, how many there are in all, and their mean."""

    counts: tuple[int, ...]
    values: int
    mean: float | None


@dataclass(frozen=True, slots=True)
class Distribution:
    """Values of a field from edge to edge: a column has its left edge, and the last one its right edge too."""

    field: str
    edges: tuple[float, ...]
    before: Side
    after: Side


def of_plan(plan: Plan) -> list[Distribution]:
    """Of each field that holds numbers and is not sensitive, in the mapping's order, where any of it would change."""
    found = []
    with temporary_folder("syncer-") as folder, calculator(folder) as connection:
        for slot in plan.slots:
            if FAMILY[slot.sql_type] != "number" or plan.sync.field(slot.name).sensitive:
                continue
            after = f"p.{sql.name(slot.column)}"
            moved = _planned(sql.literal(str(plan.file)), slot.bit, f"p.b{slot.number}", after)
            if one := _measured(connection, slot.name, moved):
                found.append(one)
    return found


def of_run(engine: Engine, sync: Sync, run_id: int, field: str | None) -> tuple[list[str], Distribution | None]:
    """The fields of a run that can be looked at, and how this one lies, or the first of them; None where there is none.

    Raises UserError for a field that holds no numbers, or is sensitive, and StateDamaged.
    """
    state = engine.state(sync.name)

    def look() -> tuple[list[str], Distribution | None]:
        control = Control.look(engine.config.state)
        if control is None:
            return [], None
        with contextlib.closing(control), temporary_folder("syncer-") as folder, calculator(folder) as connection:
            return _look(connection, state, control, sync, run_id, field)

    return look_again(look)


def _look(
    connection: duckdb.DuckDBPyConnection,
    state: State,
    control: Control,
    sync: Sync,
    run_id: int,
    field: str | None,
) -> tuple[list[str], Distribution | None]:
    layouts = history.layouts(state, control)
    planned = control.plan_of_run(run_id)
    file = state.file(planned.file) if planned else None
    slots = _numbers(layouts, file, sync, control.standing(sync.name).slots)
    if field is not None and field not in slots:
        raise UserError(
            f"The field {field!r} of {sync.name} has no distribution to look at: it holds no numbers, or is sensitive. "
            + (f"Those that have one are {', '.join(slots)}." if slots else "No field of it has one.")
        )
    if not slots:
        return [], None
    chosen = field or next(iter(slots))
    paths = [path for layout in layouts for path in layout.files]
    with history.readable(state.sync, paths), state_is_readable(state.sync, [file] if file else []):
        return list(slots), _measured(connection, chosen, _of_run(layouts, file, run_id, slots[chosen]))


def _numbers(layouts: Sequence[Layout], file: StateFile | None, sync: Sync, slots: dict[str, int]) -> dict[str, int]:
    """Field → slot, of mapped fields that hold numbers wherever they are kept, and were never sensitive there."""
    found = {}
    for field in sync.fields:
        slot = slots.get(field.name)
        if slot is None or field.sensitive:
            continue
        kept = [layout.fields[slot] for layout in layouts if slot in layout.fields]
        kinds = {one.sql_type for one in kept} | ({file.columns[slot][1]} if file and slot in file.columns else set())
        if kinds and {FAMILY[kind] for kind in kinds} == {"number"} and not any(one.is_sensitive for one in kept):
            found[field.name] = slot
    return found


def _of_run(layouts: Sequence[Layout], file: StateFile | None, run_id: int, slot: int) -> str:
    """SQL of (key, before, after) of a run's changes: from the history, and from the plan what is not in it."""
    bit = f"{1 << slot}::BIGINT <> 0"
    noted = [
        f"SELECT key, CASE WHEN _known & {bit} THEN b{slot} END::DOUBLE AS before, "
        f"CASE WHEN kind <> 'removed' THEN {sql.name(layout.column(slot))} END::DOUBLE AS after, "
        f"_mask & {bit} AS is_in "
        f"FROM {layout.relation} WHERE run = {run_id}"
        for layout in layouts
        if slot in layout.fields
    ]
    everything = " UNION ALL ".join(noted) or "SELECT NULL::VARCHAR AS key, NULL, NULL, FALSE AS is_in WHERE FALSE"
    query = f"SELECT before, after FROM ({everything}) AS t(key, before, after, is_in) WHERE is_in"
    if file is None or slot not in file.columns:
        return query
    before = f"p.b{slot}" if slot in file.before else "NULL"
    left = _planned(sql.literal(str(file.path)), 1 << slot, before, f"p.{sql.name(file.columns[slot][0])}")
    return f"{query} UNION ALL {left} AND p.key NOT IN (SELECT key FROM ({everything}) AS t(key, b, a, i))"


def _planned(path: str, bit: int, before: str, after: str) -> str:
    """SQL of (before, after) of a plan file's changes that may be sent."""
    return (
        f"SELECT CASE WHEN p._sent & ~p._doubt & {bit}::BIGINT <> 0 THEN {before} END::DOUBLE AS before, "
        f"CASE WHEN p._op <> {REMOVED} THEN {after} END::DOUBLE AS after "
        f"FROM read_parquet({path}) AS p WHERE NOT p._parked AND p._mask & {bit}::BIGINT <> 0"
    )


def _measured(connection: duckdb.DuckDBPyConnection, field: str, moved: str) -> Distribution | None:
    connection.execute(f"CREATE OR REPLACE TEMP TABLE moved AS {moved}")
    low, high, is_whole = connection.execute(
        "SELECT least(min(before), min(after)), greatest(max(before), max(after)), "
        "bool_and((before IS NULL OR before = floor(before)) AND (after IS NULL OR after = floor(after))) FROM moved"
    ).fetchall()[0]
    if low is None:
        return None
    edges = _edges(low, high, is_whole=is_whole)
    return Distribution(field, edges, *(_side(connection, column, edges) for column in ("before", "after")))


def _side(connection: duckdb.DuckDBPyConnection, column: str, edges: tuple[float, ...]) -> Side:
    last, step = len(edges) - 2, edges[1] - edges[0]
    counts = [0] * (last + 1)
    rows = connection.execute(
        f"SELECT least(floor(({column} - ?) / ?)::BIGINT, ?) AS place, count(*), sum({column}) FROM moved "
        f"WHERE {column} IS NOT NULL GROUP BY place",
        [edges[0], step, last],
    ).fetchall()
    for place, count, _ in rows:
        counts[max(0, place)] += count
    values = sum(counts)
    return Side(tuple(counts), values, sum(total for _, _, total in rows) / values if values else None)


def _edges(low: float, high: float, *, is_whole: bool) -> tuple[float, ...]:
    """Round borders from `low` to `high`. Whole numbers that are few have a column each."""
    if low == high and not is_whole:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / BINS
    power = 10.0 ** math.floor(math.log10(rough)) if rough else 1.0
    step = next((one * power for one in (1, 2, 2.5, 5, 10) if one * power >= rough * 0.999), power)
    if is_whole and step <= 1:
        first, end = math.floor(low), math.floor(high) + 1
        return tuple(float(edge) for edge in range(first, end + 1))
    first = math.floor(low / step)
    end = max(first + 1, math.ceil(high / step - 1e-9))
    return tuple(float(f"{place * step:.12g}") for place in range(first, end + 1))
