"""Rows that pass by once: what is kept of them, and what becomes of a source that breaks off."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from syncer.account import Report
from syncer.errors import ServiceUnavailable, StateDamaged
from syncer.source import Reading
from syncer.spool import ROW, Spool
from tests.engine.stage import Stage, field

SCHEMA = pa.schema([("user_id", pa.string()), ("x", pa.float64())])


def batch(*keys: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"user_id": list(keys), "x": [1.0] * len(keys)}, schema=SCHEMA)


def reader(*batches: pa.RecordBatch) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(SCHEMA, batches)


def test_rows_pass_whole_and_few_columns_stay(tmp_path: Path) -> None:
    """Every column of a row passes, numbered over all batches, and only those that were asked for can be seen again."""
    spool = Spool(tmp_path, SCHEMA, ["user_id", ROW])
    passed = [one.to_pydict() for one in spool.passing(reader(batch("a", "b"), batch("c")))]

    with spool.again() as table:
        assert {"user_id": ["a", "b", "c"], ROW: [0, 1, 2]} == table.to_pydict()
    assert [{"user_id": ["a", "b"], "x": [1.0, 1.0], ROW: [0, 1]}, {"user_id": ["c"], "x": [1.0], ROW: [2]}] == passed
    assert 3 == spool.rows


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """Where the rows cannot be kept, the sentence names the folder and asks for the disk."""
    spool = Spool(tmp_path / "gone", SCHEMA, ["user_id"])

    with pytest.raises(StateDamaged, match=r"could not be written to .* Is the disk full"):
        list(spool.passing(reader(batch("a"))))


def _broken_off(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Report:
    """A run whose source fails after its first batch."""

    def batches() -> Iterator[pa.RecordBatch]:
        yield batch("u_1", "u_9")
        raise ServiceUnavailable("The warehouse is away.", doubt=False)

    reading = Reading(pa.RecordBatchReader.from_batches(SCHEMA, batches()))
    with monkeypatch.context() as patched:
        patched.setattr(stage.source, "read", lambda *_: reading)
        return stage.run()


def test_a_source_that_breaks_off_is_told_in_its_own_words(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """While rows are held against the state as they come, an error of the source stays its own, and nothing leaves."""
    stage.map(field("x"))
    stage.put("user_id VARCHAR, x DOUBLE", ("u_1", 2.0), ("u_2", 2.0))
    stage.run()
    report = _broken_off(stage, monkeypatch)
    stage.put("user_id VARCHAR, x DOUBLE", ("u_1", 2.0), ("u_2", 3.0))
    after = stage.run()

    assert ("failed", True) == (report.result, "The warehouse is away." in str(report.error))
    assert {"u_2": {"x": 3.0}, "u_1": {"x": 2.0}} == stage.records
    assert 1 == after.delivered.accepted


def test_what_is_no_number_is_counted_whether_or_not_its_row_differs(stage: Stage) -> None:
    """NaN and infinities are counted in numbers of every width and in texts, in a first run and in the next ones."""
    columns = "user_id VARCHAR, x DOUBLE, y FLOAT, z VARCHAR"
    rows = [("u_1", math.nan, 1.0, "nan"), ("u_2", math.inf, -math.inf, "2.5"), ("u_3", 1.0, None, None)]
    stage.map(field("x"), field("y"), field("z", type="number"))
    stage.put(columns, *rows)
    first = stage.plan().plan.not_finite
    stage.run()
    stage.put(columns, *rows[:2], ("u_3", 7.0, math.nan, "inf"))
    again = stage.plan()

    assert (4, 6) == (first, again.plan.not_finite)
    assert {"u_3": {"x": 7.0}} == again.fields


def test_rows_that_cannot_go_out_are_told_apart_from_their_doubles(stage: Stage) -> None:
    """A key that is there twice, once in a row that cannot go out, makes two invalid rows, each with its own reason."""
    stage.map(field("x", type="integer"))
    stage.put("user_id VARCHAR, x VARCHAR", ("u_1", "1"), ("u_2", "1"))
    stage.run()
    stage.put("user_id VARCHAR, x VARCHAR", ("u_1", "2"), ("u_2", "2"), ("u_2", "two"), (None, "1"), ("", "1"))
    plan = stage.plan().plan

    assert (5, 4, 1, 0) == (plan.rows, plan.invalid, plan.changed, plan.unchanged)
    assert [(None, "null_key"), ("", "empty_key"), ("u_2", "bad_value"), ("u_2", "duplicate_key")] == [
        (one.key, one.reason) for one in plan.invalid_rows
    ]


def test_a_column_of_the_source_may_be_called_as_one_likes(stage: Stage) -> None:
    """A mapped column `_row`, as loaders of spreadsheets make them, is a column like others also when rows stream."""
    stage.map(field("x", "_row"))
    stage.put("user_id VARCHAR, _row INTEGER", ("u_1", 7), ("u_2", 8))
    stage.run()
    stage.put("user_id VARCHAR, _row INTEGER", ("u_1", 7), ("u_2", 9))

    assert {"u_2": {"x": 9}} == stage.plan().fields
