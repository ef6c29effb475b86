"""What a comparison costs grows with what changed, and not with the table: shown by counting, not by the clock."""

from __future__ import annotations

import contextlib
import gc
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from syncer import run
from syncer.calculator import calculator
from syncer.candidates import Candidates, HashesCollide
from syncer.change import Change
from syncer.compare import slots_of
from syncer.state import Inputs, State
from tests.engine.stage import Stage, field


def many(stage: Stage, rows: int, changed: str = "FALSE") -> None:
    stage.put("user_id VARCHAR, x DOUBLE, y INTEGER")
    stage.sql(f"INSERT INTO people SELECT 'u_' || i, CASE WHEN {changed} THEN -1 ELSE i END, i FROM range({rows}) t(i)")


def inputs_of(stage: Stage) -> Inputs:
    control = stage.engine.control()
    standing = control.standing(stage.sync.name)
    base, plans = State(stage.folder / "state", stage.sync.name).known_files(standing)
    return Inputs(standing, base, plans, [])


def test_the_state_is_the_side_that_is_held(stage: Stage, tmp_path: Path) -> None:
    """The join of candidates holds the state's few columns, and streams the wide source past them."""
    stage.map(field("x"), field("y", min_change=2.0))
    many(stage, 20_000)
    stage.run()
    many(stage, 50)
    prepared, inputs = stage.prepare(), inputs_of(stage)
    with calculator(tmp_path) as connection:
        candidates = Candidates(connection, prepared.canon, prepared.limits, inputs, *slots_of(prepared.canon, inputs))
        batches = stage.source.read(stage.sync, stage.sync.columns).batches
        rows = batches.read_all()
        with candidates.taken_in(rows.to_reader(), tmp_path, exact=False):
            connection.register("arriving", rows)
            connection.execute("SET disabled_optimizers = 'build_side_probe_side,join_order'")
            query = candidates.query(prepared.canon.select("arriving"), exact=False)
            plan = json.loads(connection.execute(f"EXPLAIN (FORMAT json) {query}").fetchall()[0][1])
    joins = [node for node in nodes(plan[0]) if "HASH_JOIN" in node["name"]]
    probed, held = joins[0]["children"]

    assert 1 == len(joins)
    assert "FULL" in json.dumps(joins[0]["extra_info"])
    assert [] == [node["name"] for node in nodes(probed) if "PARQUET" in node["name"].upper()]
    assert [] != [node["name"] for node in nodes(held) if "PARQUET" in node["name"].upper()]


def nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    """A plan's node and all below it."""
    return [node, *(below for child in node.get("children", []) for below in nodes(child))]


def test_unchanged_rows_are_no_python_objects(stage: Stage) -> None:
    """Among 200,000 rows of which three changed, three changes are made, and memory stays that of three."""
    stage.map(field("x"), field("y"))
    many(stage, 200_000)
    stage.limits = stage.limits.__class__(records=50_000, in_flight=1, timestamp_unit="microsecond")
    stage.run()
    many(stage, 200_000, "i IN (5, 50, 500)")
    prepared = stage.prepare()
    gc.collect()
    # Other tests of this process may still hold some of theirs.
    before = sum(isinstance(one, Change) for one in gc.get_objects())
    tracemalloc.start()
    try:
        with stage.engine.diff(prepared) as plan:
            gc.collect()
            made = sum(isinstance(one, Change) for one in gc.get_objects()) - before
            changes = list(plan.changes())
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (0, 3) == (made, len(changes))
    assert (200_000, 199_997) == (plan.known, plan.unchanged)
    # A Python object for each row would be 10 MB and more.
    assert peak < 8_000_000


def test_keys_whose_hashes_collide_are_paired_by_key(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """When all keys have one hash the source is read once more, and the comparison says the same."""
    stage.map(field("x"), field("y"))
    stage.put("user_id VARCHAR, x DOUBLE, y INTEGER", ("u_1", 1, 1), ("u_2", 2, 2), ("u_3", 3, 3))
    stage.run()
    stage.put("user_id VARCHAR, x DOUBLE, y INTEGER", ("u_2", 2, 2), ("u_3", 4, 3), ("u_4", 5, 5))
    collided = []

    @contextlib.contextmanager
    def colliding(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
        with calculator(folder) as connection:
            # A function of that name before DuckDB's own: one hash for every key, others for every row and its payload.
            connection.execute(
                "CREATE TEMP MACRO hash(a) AS 7::UBIGINT, (a, b, c) AS md5_number_lower(concat(a, b, c)), "
                "(a, b, c, d, e, f, g) AS md5_number_lower(concat(a, b, c, d, f))"
            )
            try:
                yield connection
            except HashesCollide:
                collided.append(folder)
                raise

    monkeypatch.setattr(run, "calculator", colliding)
    with stage.engine.diff(stage.prepare()) as plan:
        changes = {one.key: dict(one.fields) for one in plan.changes()}

    assert 1 == len(collided)
    assert {"u_3": {"x": 4.0}, "u_4": {"x": 5.0, "y": 5}} == changes
    assert (1, 1, 1) == (plan.new, plan.changed, plan.unchanged)


def test_the_sql_names_no_value_unquoted(stage: Stage) -> None:
    """Names of fields and columns may hold quotes, blanks, commas and line breaks."""
    odd = "a \"b' c,\n;--"
    stage.map(field(odd, 'x "y'), field(odd.upper(), 'x "y'), match={"i'd": "user_id"})
    stage.put('user_id VARCHAR, "x ""y" VARCHAR', ("u_1", "v'; DROP TABLE state"))
    stage.run()
    stage.put('user_id VARCHAR, "x ""y" VARCHAR', ("u_1", "w"))
    stage.run()

    assert {"u_1": {odd: "w", odd.upper(): "w"}} == stage.records
    assert {} == stage.plan().fields
