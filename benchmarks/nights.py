"""Two nights of a table of 16 metrics: the second has 1 % changed rows, in another order."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from benchmarks import children
from syncer.mapping import Brakes, Field, Sync

FLOATS, INTEGERS, BOOLEANS, TIMESTAMPS, TEXTS = 4, 4, 4, 2, 2


def columns() -> list[str]:
    """Names of the 16 metrics."""
    return [
        *(f"score_{number}" for number in range(FLOATS)),
        *(f"count_{number}" for number in range(INTEGERS)),
        *(f"flag_{number}" for number in range(BOOLEANS)),
        *(f"at_{number}" for number in range(TIMESTAMPS)),
        *(f"text_{number}" for number in range(TEXTS)),
    ]


def make(path: Path, rows: int, changed: float = 0.01) -> None:
    """A DuckDB file with the tables `first` and `second`; `changed` is the share of rows with another score_0."""
    metrics = ", ".join(
        [
            *(f"round(hash(i, {number}) % 10000 / 100.0, 2)::DOUBLE AS score_{number}" for number in range(FLOATS)),
            *(f"(hash(i, {number + 10}) % 1000)::BIGINT AS count_{number}" for number in range(INTEGERS)),
            *(f"hash(i, {number + 20}) % 2 = 0 AS flag_{number}" for number in range(BOOLEANS)),
            *(
                f"TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_seconds((hash(i, {number + 30}) % 10000000)::BIGINT)"
                f" AS at_{number}"
                for number in range(TIMESTAMPS)
            ),
            "'segment ' || (hash(i, 40) % 5)::VARCHAR AS text_0",
            "'plan ' || (hash(i, 41) % 50000)::VARCHAR AS text_1",
        ]
    )
    with duckdb.connect(str(path)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f"CREATE TABLE first AS SELECT 'usr_' || lower(hex(hash(i, 99))) AS user_id, {metrics} "
            f"FROM range({rows}) t(i)"
        )
        every = max(1, round(1 / changed))
        connection.execute(
            "CREATE TABLE second AS SELECT * REPLACE ("
            f"CASE WHEN hash(user_id) % {every} = 0 THEN score_0 + 1 ELSE score_0 END AS score_0"
            ") FROM first ORDER BY hash(user_id, 7)"
        )


def make_arrow(folder: Path, rows: int, shares: Mapping[str, float]) -> None:
    """Arrow files: `first.arrow`, and for each name a night in another order, in which that share of the rows has
    another score, one in a thousand is gone, and one in a thousand is new."""
    names = ", ".join(["user_id", *columns()])
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "nights.duckdb"
        make(path, rows + rows // 1000, 1.0)
        with duckdb.connect(str(path)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"SET temp_directory = '{temporary}'")
            _write(connection, f"SELECT {names} FROM first LIMIT {rows}", folder / "first.arrow")
            for name, share in shares.items():
                _write(
                    connection,
                    f"SELECT {names} FROM (SELECT * REPLACE (CASE WHEN hash(user_id) % 1000000 < {share * 1e6:.0f} "
                    "THEN score_0 + 1 ELSE score_0 END AS score_0), row_number() OVER () AS place FROM first) "
                    f"WHERE place > {rows // 1000} ORDER BY hash(user_id, 7)",
                    folder / f"{name}.arrow",
                )


def _write(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    reader = connection.sql(query).to_arrow_reader(65_536)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)


def ready(folder: Path, rows: int) -> Path:
    """A folder with such a file, `warehouse.duckdb`, which parts of one run share; made when it is not there yet."""
    home = folder / f"nights-{rows}"
    if not home.exists():
        children.run("nights", home, rows)
    return home


def child(words: list[str]) -> dict[str, Any]:
    """Make it in a process of its own: what starts the others stays small."""
    home = Path(words[0])
    home.mkdir()
    make(home / "warehouse.duckdb", int(words[1]))
    return {}


def sync(table: str, destination: str = "memory", object_: str = "person", identifier: str = "id") -> Sync:
    """The sync of one of the two tables; both have one name, so the second meets the state of the first."""
    return Sync(
        name=f"{destination}.people",
        destination=destination,
        source=table,
        key="user_id",
        object=object_,
        match={identifier: "user_id"},
        missing="create",
        brakes=Brakes(max_age=None),
        file=Path("benchmark.toml"),
        fields=tuple(Field(name=column, column=column) for column in columns()),
    )
