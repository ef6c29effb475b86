"""The calculator: one engine after another, and nothing that passes from one calculation to the next."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from syncer.calculator import calculator


def names(connection: duckdb.DuckDBPyConnection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]


def test_a_calculation_sees_nothing_of_another(tmp_path: Path) -> None:
    """Tables and relations of one are not there in the next, nor in one at the same time."""
    with calculator(tmp_path) as first:
        first.execute("CREATE TEMP TABLE mine AS SELECT 1 AS x")
        with calculator(tmp_path) as second:
            assert [] == names(second)
            second.execute("CREATE TEMP TABLE mine AS SELECT 2 AS x")
        assert [(1,)] == first.execute("SELECT x FROM mine").fetchall()
    with calculator(tmp_path) as third:
        assert [] == names(third)


def test_a_calculation_goes_on_while_others_begin_elsewhere(tmp_path: Path) -> None:
    """Another folder's engine does not end the one that is at work."""
    (tmp_path / "other").mkdir()
    with calculator(tmp_path) as first:
        with calculator(tmp_path / "other") as second:
            (spills,) = second.execute("SELECT current_setting('temp_directory')").fetchall()
        assert (str(tmp_path / "other"),) == spills
        assert [(str(tmp_path),)] == first.execute("SELECT current_setting('temp_directory')").fetchall()


def test_times_are_in_utc(tmp_path: Path) -> None:
    """Also in a connection whose engine was started by another one."""
    for _ in range(2):
        with calculator(tmp_path) as connection:
            assert [("UTC",)] == connection.execute("SELECT current_setting('TimeZone')").fetchall()


def test_an_engine_that_failed_is_left(tmp_path: Path) -> None:
    """After an error the next calculation starts one anew."""
    with calculator(tmp_path) as connection:
        connection.execute("SET GLOBAL memory_limit = '5MB'")
    with pytest.raises(duckdb.Error), calculator(tmp_path) as connection:
        connection.execute("SELECT error('no')")
    with calculator(tmp_path) as connection:
        assert [("953.6 MiB",)] == connection.execute("SELECT current_setting('memory_limit')").fetchall()


def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    """Nothing of a file is remembered, were it written again under its name and in the same second."""
    file = tmp_path / "x.parquet"
    for number in range(3):
        with calculator(tmp_path) as connection:
            connection.execute(f"COPY (SELECT {number} AS x) TO '{file}' (FORMAT parquet)")
        with calculator(tmp_path) as connection:
            assert [(number,)] == connection.execute(f"SELECT x FROM '{file}'").fetchall()
