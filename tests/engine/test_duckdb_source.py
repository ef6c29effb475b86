"""The source `duckdb`: a file that is read while it is whole, and sentences when it is not."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from syncer.config import load
from syncer.errors import UserError
from syncer.mapping import Brakes, Sync
from syncer.sources.duckdb import BATCH_ROWS, DuckDB
from tests.engine.stage import Stage, field
from tests.standins import paper


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as warehouse:
        warehouse.execute("CREATE SCHEMA activation")
        warehouse.execute('CREATE TABLE activation.users (user_id VARCHAR, score DOUBLE, "odd ""name" INTEGER)')
        warehouse.execute("INSERT INTO activation.users VALUES ('u_1', 1, 10), ('u_2', 2, 20)")
        warehouse.execute("CREATE VIEW activation.top AS SELECT * FROM activation.users WHERE score > 1")
    return path


def sync(**options: Any) -> Sync:
    """A sync that reads users; `source` unless a query is given."""
    given: dict[str, Any] = {} if "query" in options else {"source": "activation.users"}
    given |= {"name": "memory.people", "destination": "memory", "key": "user_id", "object": "person"}
    given |= {"match": {"id": "user_id"}, "fields": (field("score"),), "brakes": Brakes(), "file": Path("memory.toml")}
    return Sync(**(given | options))


def rows(path: Path, one: Sync) -> list[dict[str, Any]]:
    """Everything that one read gives, by key."""
    reading = DuckDB(path).read(one, one.columns)
    found = reading.batches.read_all().to_pylist()
    reading.close()
    return sorted(found, key=lambda row: str(row["user_id"]))


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({"source": "activation.users"}, ["u_1", "u_2"]),
        ({"source": "activation.top"}, ["u_2"]),
        ({"source": "warehouse.activation.users"}, ["u_1", "u_2"]),
        ({"query": "SELECT user_id || '!' AS user_id, score FROM activation.users"}, ["u_1!", "u_2!"]),
        ({"query": "SELECT * FROM activation.users -- all of them"}, ["u_1", "u_2"]),
        ({"query": "WITH a AS (FROM activation.users) SELECT * FROM a", "where": "score < 2 -- low"}, ["u_1"]),
        ({"where": "score < 2 OR score > 9"}, ["u_1"]),
    ],
)
def test_tables_views_and_queries(file: Path, options: dict[str, Any], keys: list[str]) -> None:
    """Rows come from a table, a view or a query, after `where`; a comment at the end swallows nothing."""
    one = sync(**options)

    assert keys == [row["user_id"] for row in rows(file, one)]
    assert ["user_id", "score"] == DuckDB(file).schema(one).names[:2]


def test_a_query_file_is_read_with_the_mapping(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`query_file` is a path beside the mapping file, and its text is the query."""
    monkeypatch.setenv("PAPER_API_KEY", "x")
    folder = file.parent
    (folder / "mappings").mkdir()
    (folder / "mappings" / "users.sql").write_text("SELECT * FROM activation.top -- the best\n")
    (folder / "mappings" / "paper.toml").write_text(
        'destination = "paper"\n[[sync]]\nname = "people"\nquery_file = "users.sql"\nkey = "user_id"\n'
        'object = "letter"\nmatch = { id = "user_id" }\n[sync.fields]\nscore = "score"\n'
    )
    (folder / "config.toml").write_text(
        f'[source]\ntype = "duckdb"\npath = "{file.name}"\n'
        '[destinations.paper]\nbase_url = "http://127.0.0.1:9"\napi_key = "env:PAPER_API_KEY"\n'
    )
    config = load(folder / "config.toml", paper.adapter, paper.kinds)

    assert [{"user_id": "u_2", "score": 2.0}] == rows(file, config.syncs[0])


def test_only_mapped_columns_are_read(file: Path) -> None:
    """A column that no field needs is not asked for, and names may be odd."""
    one = sync(fields=(field("x", 'odd "name'),))

    assert [{"user_id": "u_1", 'odd "name': 10}, {"user_id": "u_2", 'odd "name': 20}] == rows(file, one)


def test_rows_stream_in_batches(file: Path) -> None:
    """A large table comes in many batches, and closing early lets go of the file."""
    with duckdb.connect(str(file)) as warehouse:
        warehouse.execute(
            "CREATE TABLE many AS SELECT 'u_' || i AS user_id, i::DOUBLE AS score FROM range(300000) t(i)"
        )
    one = sync(source="many")
    reading = DuckDB(file).read(one, one.columns)
    first = reading.batches.read_next_batch()
    reading.close()
    with duckdb.connect(str(file)) as warehouse:
        warehouse.execute("DROP TABLE many")

    assert 0 < first.num_rows <= 2 * BATCH_ROWS


def test_the_whole_way_from_a_file(file: Path, tmp_path: Path) -> None:
    """A run reads the file, and lets go of it for whoever writes the next scores."""
    with Stage(tmp_path, source=DuckDB(file)) as stage:
        stage.map(field("score"), source="activation.users")
        stage.run()
        with duckdb.connect(str(file)) as warehouse:
            warehouse.execute("UPDATE activation.users SET score = 3 WHERE user_id = 'u_2'")
        stage.run()

        assert {"u_1": {"score": 1.0}, "u_2": {"score": 3.0}} == stage.records
        assert {"u_2": {"score": 3.0}} == stage.sent


def test_modified_is_when_the_file_was_written(file: Path) -> None:
    """The newest of the file and its log counts; without a file nobody can tell."""
    os.utime(file, (1_000_000, 1_000_000))
    source = DuckDB(file)

    assert datetime.datetime.fromtimestamp(1_000_000, datetime.UTC) == source.modified(sync())

    log = file.with_name(file.name + ".wal")
    log.touch()
    os.utime(log, (2_000_000, 2_000_000))

    assert datetime.datetime.fromtimestamp(2_000_000, datetime.UTC) == source.modified(sync())
    assert None is DuckDB(file.with_name("other.duckdb")).modified(sync())


def refusal(path: Path, one: Sync) -> str:
    """The one sentence that both questions end with."""
    told = []
    for ask in (lambda: DuckDB(path).schema(one), lambda: rows(path, one)):
        with pytest.raises(UserError) as raised:
            ask()
        told.append(str(raised.value))

    assert told[0] == told[1]
    return told[0]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"source": "activation.user"},
            'source: There is no table or view activation.user in warehouse.duckdb. Did you mean "users"?',
        ),
        (
            {"source": "nowhere.at_all"},
            "source: There is no table or view nowhere.at_all in warehouse.duckdb. Look at `source`.",
        ),
        ({"where": "scor > 1"}, "where: warehouse.duckdb does not understand this sync's rows: … Mend `where`."),
        ({"where": "nofunction(1)"}, "where: warehouse.duckdb does not understand this sync's rows: … Mend `where`."),
        ({"query": "SELEC 1"}, "query: warehouse.duckdb does not understand this sync's rows: … Mend `query`."),
        (
            {"query": "FROM activation.nothing", "where": "score > 1"},
            "query: warehouse.duckdb does not understand this sync's rows: … Mend `query`.",
        ),
    ],
)
def test_what_the_file_does_not_have(file: Path, options: dict[str, Any], told: str) -> None:
    """A missing table, a wrong column and a broken query are told with the place, and a name that is near."""
    head, _, tail = told.partition("…")
    found = refusal(file, sync(**options))

    assert (head, tail) == (found[: len(head)], found[len(found) - len(tail) :])
    assert len(told) <= len(found)
    assert 1 == len(found.splitlines())


def test_a_value_is_never_in_the_sentence(file: Path) -> None:
    """When reading fails over a value, the value is not told."""
    one = sync(where="user_id::INTEGER > 1")
    with pytest.raises(UserError) as raised:
        rows(file, one)

    assert "u_1" not in str(raised.value)
    assert "Nothing was sent" in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A wrong path is told as one."""
    path = tmp_path / "nothing.duckdb"

    assert f"source.path: There is no file {path}. Write the path of your DuckDB file." == refusal(path, sync())


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    """A file of another kind is told as one."""
    path = tmp_path / "people.csv"
    path.write_text("user_id,score\n" * 1000)

    assert f"source.path: {path} is not a DuckDB file. Write the path of your DuckDB file." == refusal(path, sync())


@pytest.mark.parametrize(("begin", "end"), [(4_096, 12_288), (8_192, 12_288), (12_288, None), (12_288, 16_384)])
def test_a_file_with_zeroed_blocks(file: Path, begin: int, end: int | None) -> None:
    """A damaged file is not taken for a locked one, whether it shows when it is opened or when it is read."""
    with duckdb.connect(str(file)) as warehouse:
        warehouse.execute(
            "CREATE OR REPLACE TABLE activation.users AS SELECT 'u_' || i AS user_id, i::DOUBLE AS score, "
            "md5(i::VARCHAR) AS text FROM range(100_000) t(i)"
        )
        warehouse.execute("CHECKPOINT")
    content = bytearray(file.read_bytes())
    content[begin:end] = bytes(len(content[begin:end]))
    file.write_bytes(content)
    with pytest.raises(UserError) as raised:
        rows(file, sync(fields=(field("score"), field("text"))))

    assert f"source.path: {file} is damaged. Build it anew, or restore it from a backup; nothing was sent." == str(
        raised.value
    )


def test_a_file_that_ends_early(file: Path) -> None:
    """A copy that was not finished is damaged."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    assert refusal(file, sync()).endswith("is damaged. Build it anew, or restore it from a backup; nothing was sent.")


def test_a_file_that_another_process_writes(file: Path) -> None:
    """While dbt has it open, the sentence says which process that is, and what to do."""
    program = (
        "import duckdb, sys; connection = duckdb.connect(sys.argv[1]); connection.execute('CREATE TABLE t (i INT)');"
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert "open\n" == writer.stdout.readline()
        told = refusal(file, sync())
        writer.communicate("")

    assert (
        f"source.path: {file} is locked: process {writer.pid} has it open for writing. "
        "Run this again when it has finished." == told
    )
    assert 2 == len(rows(file, sync()))
