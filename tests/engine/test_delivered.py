"""The log of delivered changes in the warehouse: complete, once, and never at the cost of a run."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from syncer import documents
from syncer.change import Change, Outcome, accepted, rejected
from syncer.delivered import COLUMNS, DuckDBTable
from syncer.errors import ServiceUnavailable
from syncer.forgetting import erase
from syncer.sources.duckdb import DuckDB
from tests.engine.moody import PEOPLE, ROWS, SECRET, Moody, Stage
from tests.engine.test_jobs import Died

OWN = '[delivered]\ntable = "syncer.delivered"\npath = "log.duckdb"\n'
BESIDE = '[delivered]\ntable = "syncer.delivered"\n'
FIELDS = 2
"""Fields that are not sensitive."""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path, OWN)
    yield made
    made.engine.close()


def rows(stage: Stage, query: str = "SELECT * FROM syncer.delivered ORDER BY ALL", file: str = "log.duckdb") -> Any:
    with duckdb.connect(str(stage.workplace.folder / file), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(query).fetchall()


def count(stage: Stage, file: str = "log.duckdb") -> tuple[int, int]:
    """Rows, and different ids among them."""
    (found,) = rows(stage, "SELECT count(*), count(DISTINCT id) FROM syncer.delivered", file)
    return tuple(found)


def score(stage: Stage, value: Any) -> None:
    stage.workplace.sql(f"UPDATE people SET score = {value} WHERE user_id = 'u7'")


def test_every_accepted_value_is_a_row(stage: Stage) -> None:
    """A row for each field, with both values as text, type, time and run; what is sensitive is left out."""
    stage.run()
    score(stage, 70.25)
    stage.run(trigger="schedule")
    wanted = "run, sync, destination, object, key, kind, field, type, before, before_known, after, trigger, request"
    found = rows(stage, f"SELECT {wanted} FROM syncer.delivered WHERE key = 'u7' ORDER BY run, field")
    fixed = ("memory.people", "memory", "person", "u7")

    assert [
        (1, *fixed, "new", "score", "number", None, False, "3.5", "command", None),
        (1, *fixed, "new", "user", "text", None, False, "u7", "command", None),
        (2, *fixed, "changed", "score", "number", "3.5", True, "70.25", "schedule", None),
    ] == found
    assert (ROWS * FIELDS + 1,) * 2 == count(stage)
    assert SECRET not in str(rows(stage))
    assert [(0,)] == rows(stage, "SELECT count(*) FROM syncer.delivered WHERE abs(epoch(now() - accepted_at)) > 600")


def test_columns_are_those_that_are_described(stage: Stage) -> None:
    """The page for analysts names each column of the table, in its order."""
    stage.run()
    page = (Path(__file__).parents[2] / "docs" / "delivered.md").read_text()
    described = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    made = rows(stage, "SELECT column_name FROM information_schema.columns ORDER BY ordinal_position")

    assert list(COLUMNS) == described == [name for (name,) in made]


def test_values_are_written_as_diff_shows_them(tmp_path: Path) -> None:
    """Times are RFC 3339, and a type of each kind is named as in the mapping."""
    mapping = PEOPLE.split("[sync.fields]")[0] + '[sync.fields]\na = "a"\nb = "b"\nc = "c"\nd = "d"\ne = "e"\n'
    stage = Stage(tmp_path, OWN, mapping=mapping)
    stage.workplace.sql(
        "CREATE OR REPLACE TABLE people AS SELECT 'u1' AS user_id, TIMESTAMP '2026-01-02 03:04:05' AS a, "
        "TIMESTAMP '2026-01-02 03:04:05.25' AS b, DATE '2026-01-02' AS c, true AS d, 7 AS e"
    )
    stage.run()
    stage.engine.close()

    assert [
        ("a", "timestamp", "2026-01-02T03:04:05Z"),
        ("b", "timestamp", "2026-01-02T03:04:05.250000Z"),
        ("c", "date", "2026-01-02"),
        ("d", "boolean", "true"),
        ("e", "integer", "7"),
    ] == rows(stage, "SELECT field, type, after FROM syncer.delivered ORDER BY field")


def test_what_was_refused_is_not_delivered(stage: Stage) -> None:
    """Only accepted changes are rows."""

    def refusing(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
        for change in changes:
            yield rejected(change, "NO", "No.") if change.key == "u7" else accepted(change)

    stage.run(refusing)

    assert ((ROWS - 1) * FIELDS,) * 2 == count(stage)


def test_log_in_the_warehouse_itself(tmp_path: Path) -> None:
    """Without a path it is in the file of the source, which does not look newer for it."""
    stage = Stage(tmp_path, BESIDE)
    before = stage.workplace.warehouse.stat().st_mtime_ns
    report = stage.run()
    after = stage.workplace.warehouse.stat().st_mtime_ns
    stage.engine.close()

    assert [] == report.warnings
    assert (ROWS * FIELDS,) * 2 == count(stage, "warehouse.duckdb")
    assert before == after


def test_file_of_its_own_is_private(stage: Stage) -> None:
    """Nobody else may read the file that is made for the log."""
    stage.run()

    assert 0o600 == stat.S_IMODE((stage.workplace.folder / "log.duckdb").stat().st_mode)


def test_failure_is_a_sentence_and_is_caught_up(stage: Stage) -> None:
    """A log that cannot be written costs the run nothing, and the next run brings all that is missing."""
    (stage.workplace.folder / "log.duckdb").write_bytes(b"this is no database " * 500)
    first = stage.run()
    document = documents.sync(first)

    assert ("done", ROWS) == (first.result, first.delivered.accepted)
    (warning,) = document["warnings"]
    assert warning.startswith("The log of delivered changes was not written: ")
    assert warning.endswith("The next run catches up.")
    (stage.workplace.folder / "log.duckdb").unlink()
    score(stage, 70)
    second = stage.run()

    assert [] == second.warnings
    assert (ROWS * FIELDS + 1,) * 2 == count(stage)


def test_table_with_other_columns(stage: Stage) -> None:
    """A table of that name that is somebody else's is left as it is, and told."""
    with duckdb.connect(str(stage.workplace.folder / "log.duckdb")) as connection:
        connection.execute("CREATE SCHEMA syncer; CREATE TABLE syncer.delivered(mine INTEGER)")
    report = stage.run()

    assert "look at its columns" in report.warnings[0]
    assert [] == rows(stage)


@pytest.mark.parametrize("instant", ["before", "after"])
def test_kill_around_the_append(stage: Stage, monkeypatch: pytest.MonkeyPatch, instant: str) -> None:
    """A process that dies before the append, or after it and before it knows, leaves nothing out and nothing twice."""
    original = DuckDBTable.append

    def dead(self: DuckDBTable, *words: Any, **options: Any) -> None:
        if instant == "after":
            original(self, *words, **options)
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(DuckDBTable, "append", dead)
        with pytest.raises(Died):
            stage.run()
    assert instant == "before" or (ROWS * FIELDS,) * 2 == count(stage)
    score(stage, 70)
    stage.run()

    assert (ROWS * FIELDS + 1,) * 2 == count(stage)


def test_first_append_brings_the_history(tmp_path: Path) -> None:
    """A log that is asked for later begins with all that the history has."""
    stage = Stage(tmp_path)
    stage.run()
    stage.engine.close()
    (tmp_path / "config.toml").write_text((tmp_path / "config.toml").read_text() + OWN)
    stage.restart()
    stage.run()
    stage.engine.close()

    assert (ROWS * FIELDS,) * 2 == count(stage)


def test_readers_and_the_writer_of_one_file_take_turns(tmp_path: Path) -> None:
    """In one process a read waits for an append, and an append for reads, no longer than it is told."""
    source = DuckDB(tmp_path / "w.duckdb")
    duckdb.connect(str(source.path)).close()
    with source._reading(), pytest.raises(ServiceUnavailable, match="is being read"), source.writing(0.01):
        pass
    seen: list[str] = []

    def read() -> None:
        with source._reading() as connection:
            seen.extend(name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall())

    with source.writing(1.0) as connection:
        reader = threading.Thread(target=read)
        reader.start()
        reader.join(0.05)
        assert reader.is_alive()
        connection.execute("CREATE TABLE made(i INTEGER)")
    reader.join()

    assert ["made"] == seen


def test_erased_records_are_not_appended_later(stage: Stage) -> None:
    """What was erased before the log could be written does not come to it."""
    (stage.workplace.folder / "log.duckdb").write_bytes(b"this is no database " * 500)
    stage.run()
    erase(stage.engine, "memory.people", ["u7"])
    (stage.workplace.folder / "log.duckdb").unlink()
    stage.workplace.sql("DELETE FROM people WHERE user_id = 'u7'")
    stage.run()

    assert ((ROWS - 1) * FIELDS,) * 2 == count(stage)
