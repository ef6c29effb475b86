"""How a plan would move the values that a destination has accepted: what the brakes on distributions judge.

Everything is an aggregate in DuckDB. What changes is read from the plan's rows, what is known from the state; the
state is read only for fields of which something changes, and once: the mean after a plan follows from the mean before
it and the differences. Quantiles need the values themselves. They are taken from a sample of the state, and only
where more values change than `TOLERANCE`: below that no quantile can leave its neighbourhood (`plan.Quantile`).

Compared are records that are known, with what they held: a night of many new people moves nothing here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import duckdb

from syncer import sql
from syncer.mapping import Sync
from syncer.plan import Plan, Quantile, Shift, Slot

EDGES = (0, 100)
"""Where scores go when what they are made of is missing, or added up twice."""
QUANTILES = (0.1, 0.5, 0.9)
TOLERANCE = 0.05
"""Share of a field's values that a quantile may pass without having moved: values lie in heaps, and where two heaps
meet, a few records decide which of them the quantile is in."""
SAMPLE = 20_000
"""Records of the state, or a few more, from which quantiles are taken where it has many."""
LEAST_OF_MEAN, LEAST_OF_RANGE = 1 / 10, 1 / 20
"""A spread is at least these shares of the mean and of the range: values that are nearly all the same have no spread
of their own, and the first people who use something new break nothing."""


class Stock(Protocol):
    """What a state holds, in sum. A value counts when its column is not null, whatever is in doubt."""

    def spreads(self, slots: Sequence[Slot]) -> dict[Slot, tuple[float, ...]]:
        """Of numbers: how many, sum, sum of squares, least, most, and how many are at each of `EDGES`."""

    def sent(self, slots: Sequence[Slot]) -> dict[Slot, int]:
        """Of how many records a field was ever sent."""

    def values(self, slots: Sequence[Slot]) -> dict[Slot, int]:
        """How many values a field has."""

    def sample(self, slots: Mapping[Slot, int]) -> str:
        """SQL of records, in DuckDB: their key, and of each field about `SAMPLE` of its so many values, else null.

        Every look at a state chooses the same records.
        """


class Here:
    """The stock of a state that is the view `state` of a DuckDB connection."""

    def __init__(self, db: duckdb.DuckDBPyConnection) -> None:
        self._db = db

    def spreads(self, slots: Sequence[Slot]) -> dict[Slot, tuple[float, ...]]:
        """See `Stock`."""
        return _rows(self._db, {slot: _spread(slot) for slot in slots}, "state")

    def sent(self, slots: Sequence[Slot]) -> dict[Slot, int]:
        """See `Stock`."""
        asked = {slot: [f"count(*) FILTER (_sent & {slot.bit} <> 0)"] for slot in slots}
        return {slot: int(n) for slot, (n,) in _rows(self._db, asked, "state").items()}

    def values(self, slots: Sequence[Slot]) -> dict[Slot, int]:
        """See `Stock`."""
        found = _rows(self._db, {slot: [f"count({sql.name(slot.column)})"] for slot in slots}, "state")
        return {slot: int(n) for slot, (n,) in found.items()}

    def sample(self, slots: Mapping[Slot, int]) -> str:
        """See `Stock`."""
        columns = [
            f"CASE WHEN hash(key) % {max(1, values // SAMPLE)} = 0 THEN {sql.name(slot.column)} END "
            f"AS {sql.name(slot.column)}"
            for slot, values in slots.items()
        ]
        return f"SELECT key, {', '.join(columns)} FROM state"


def measure(db: duckdb.DuckDBPyConnection, plan: Plan, moved: str, stock: Stock) -> None:
    """Fill in `shifts`, `bands_moved` and `unmapped` of a plan from its changes (the relation `moved`, rows as in a
    plan file) and from what the state holds."""
    sync, slots = plan.sync, plan.slots
    numeric = [slot for slot in slots if _is_number(sync, slot)]
    banded = [slot for slot in slots if sync.field(slot.name).bands and sync.field(slot.name).compare]
    mapped = [slot for slot in slots if sync.field(slot.name).map and sync.field(slot.name).default is not None]
    number_of = _rows(db, {slot: _changed(slot) for slot in numeric}, moved)
    bands_of = _rows(db, {slot: [f"count(*) FILTER ({_has_other_band(slot)})"] for slot in banded}, moved)
    hidden_of = _rows(db, {slot: [f"count(*) FILTER ({_hides(slot)})"] for slot in mapped}, moved)

    numeric = [slot for slot in numeric if number_of[slot][0]]
    known_of = stock.spreads(numeric)
    numeric = [slot for slot in numeric if known_of[slot][0]]
    plan.shifts = {slot.name: _shift(number_of[slot], known_of[slot]) for slot in numeric}
    wide = {
        slot: plan.shifts[slot.name].values
        for slot in numeric
        if number_of[slot][0] > TOLERANCE * plan.shifts[slot.name].values
    }
    for slot, quantiles in _quantiles(db, wide, moved, stock).items():
        plan.shifts[slot.name] = replace(plan.shifts[slot.name], quantiles=quantiles)

    banded = [slot for slot in banded if bands_of[slot][0]]
    records_of = stock.sent(banded)
    plan.bands_moved = {slot.name: (int(bands_of[slot][0]), records_of[slot]) for slot in banded}
    mapped = [slot for slot in mapped if hidden_of[slot][0]]
    values_of = stock.values(mapped)
    plan.unmapped = {slot.name: (int(hidden_of[slot][0]), values_of[slot]) for slot in mapped}


def _is_number(sync: Sync, slot: Slot) -> bool:
    """Whether a field holds numbers that have a distribution: neither codes, nor a constant, nor what rides along."""
    field = sync.field(slot.name)
    return slot.sql_type in ("BIGINT", "DOUBLE") and bool(field.column) and not field.map and field.compare


def _rows(
    db: duckdb.DuckDBPyConnection, asked: Mapping[Slot, Sequence[str]], relation: str
) -> dict[Slot, tuple[float, ...]]:
    """The aggregates asked for each slot, in one query."""
    if not asked:
        return {}
    listed = ", ".join(one for several in asked.values() for one in several)
    found = iter(db.execute(f"SELECT {listed} FROM {relation}").fetchall()[0])
    return {slot: tuple(next(found) or 0 for _ in several) for slot, several in asked.items()}


# --- in the plan's rows: N is what a field becomes, and bN what it was ---------------------------------------------


def _is_in_both(slot: Slot) -> str:
    return f"_mask & {slot.bit} <> 0 AND {sql.name(slot.column)} IS NOT NULL AND b{slot.number} IS NOT NULL"


def _changed(slot: Slot) -> list[str]:
    """How many values change, by how much in all, and how many more there are at each edge."""
    new, old = f"{sql.name(slot.column)}::DOUBLE", f"b{slot.number}::DOUBLE"
    pairs = _is_in_both(slot)
    edges = [
        f"count(*) FILTER ({pairs} AND {new} = {edge}) - count(*) FILTER ({pairs} AND {old} = {edge})" for edge in EDGES
    ]
    return [f"count(*) FILTER ({pairs} AND {new} <> {old})", f"sum({new} - {old}) FILTER ({pairs})", *edges]


def _has_other_band(slot: Slot) -> str:
    """A record in no band may come into one; one that falls out of all is counted by the brake on nulls."""
    new, old = sql.name(slot.column), f"b{slot.number}"
    return f"_mask & _sent & {slot.bit} <> 0 AND {new} IS NOT NULL AND {new} IS DISTINCT FROM {old}"


def _hides(slot: Slot) -> str:
    return f"_unmapped & {slot.bit} <> 0 AND b{slot.number} IS NOT NULL"


# --- in the state ------------------------------------------------------------------------------------------------


def _spread(slot: Slot) -> list[str]:
    """Number of values, sum, sum of squares, range, and how many are at each edge."""
    column = sql.name(slot.column)
    value = f"{column}::DOUBLE"
    edges = [f"count(*) FILTER ({column} = {edge})" for edge in EDGES]
    return [f"count({column})", f"sum({value})", f"sum({value} * {value})", f"min({value})", f"max({value})", *edges]


def _shift(changed: Sequence[float], known: Sequence[float]) -> Shift:
    values, total, squares, least, most, *there = known
    _, difference, *more = changed
    mean = total / values
    # Where the squares cancel out, the least share of the mean is more than what is left of them.
    variance = squares / values - mean * mean
    deviation = math.sqrt(variance) if variance > 0 else 0.0
    return Shift(
        values=int(values),
        spread=max(deviation, abs(mean) * LEAST_OF_MEAN, (most - least) * LEAST_OF_RANGE),
        mean_before=mean,
        mean_after=mean + difference / values,
        edges=tuple((edge, int(n), int(n + m)) for edge, n, m in zip(EDGES, there, more, strict=True)),
    )


def _quantiles(
    db: duckdb.DuckDBPyConnection, slots: Mapping[Slot, int], moved: str, stock: Stock
) -> dict[Slot, tuple[Quantile, ...]]:
    """Quantiles before and after, of fields with so many values. Both are of the same records, which their keys
    choose: every look at a plan chooses the same ones."""
    if not slots:
        return {}
    ranks = [share + away for away in (0, -TOLERANCE, TOLERANCE) for share in QUANTILES]
    columns, chosen, asked = [], [], {}
    for slot in slots:
        old, number = f"s.{sql.name(slot.column)}", slot.number
        new = f"CASE WHEN m._mask & {slot.bit} <> 0 THEN m.{sql.name(slot.column)} ELSE {old} END"
        chosen.append(f"{old} IS NOT NULL")
        columns.append(f"CASE WHEN {new} IS NOT NULL THEN {old} END AS before{number}")
        columns.append(f"CASE WHEN {old} IS NOT NULL THEN {new} END AS after{number}")
        asked[slot] = [f"quantile_disc(before{number}, {rank:.2f})" for rank in ranks]
        asked[slot] += [f"quantile_disc(after{number}, {share})" for share in QUANTILES]
    pairs = (
        f"SELECT {', '.join(columns)} FROM ({stock.sample(slots)}) s "
        f"LEFT JOIN (SELECT * FROM {moved}) m ON m.key = s.key "
        f"WHERE {' OR '.join(chosen)}"
    )
    return {slot: _quantiles_of(found) for slot, found in _rows(db, asked, f"({pairs})").items()}


def _quantiles_of(found: Sequence[float]) -> tuple[Quantile, ...]:
    number = len(QUANTILES)
    before, low, high, after = (found[place * number : (place + 1) * number] for place in range(4))
    return tuple(Quantile(*one) for one in zip(QUANTILES, before, low, high, after, strict=True))
