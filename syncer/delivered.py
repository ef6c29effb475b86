"""The log of delivered changes in the warehouse: every accepted value, one row a field, for analysts.

It is made of the history, so a warehouse that is out of reach loses nothing: what is missing goes with the next run.
An append has an id that is durable before the first try, and that the warehouse knows it by, so none arrives twice.
The columns are described for their readers in docs/delivered.md.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from syncer import sql
from syncer.calculator import calculator, temporary_folder
from syncer.config import Config
from syncer.config_file import BigQuerySource
from syncer.control import Append, Control
from syncer.errors import ServiceUnavailable, SyncerError, UserError
from syncer.history import Kept, Layout, layouts, readable
from syncer.mapping import Sync
from syncer.relations import SEPARATOR, is_relation
from syncer.source import Source
from syncer.state import State, write_parquet

if TYPE_CHECKING:
    from syncer.sources.bigquery.loads import Loads

WAIT_SECONDS = 5.0
"""How long an append waits for readers of the same file; then it waits for the next run."""

PACKED = "COMPRESSION snappy, PARQUET_VERSION v1"
"""Warehouses read these rows, and not every one reads newer pages."""

COLUMNS = {
    "id": "VARCHAR",
    "sync": "VARCHAR",
    "destination": "VARCHAR",
    "object": "VARCHAR",
    "key": "VARCHAR",
    "kind": "VARCHAR",
    "field": "VARCHAR",
    "type": "VARCHAR",
    "before": "VARCHAR",
    "before_known": "BOOLEAN",
    "after": "VARCHAR",
    "accepted_at": "TIMESTAMPTZ",
    "run": "BIGINT",
    "trigger": "VARCHAR",
    "request": "VARCHAR",
    "append": "VARCHAR",
}
"""Column of the table → type in DuckDB."""

_TYPES = {
    "VARCHAR": "text",
    "BIGINT": "integer",
    "DOUBLE": "number",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
}


class Table(ABC):
    """A table of a warehouse. `append` puts the rows of a Parquet file into it, all or none.

    `is_repeat` says that an append of this id was begun before: when it has arrived, nothing is done. Raises
    ServiceUnavailable, in doubt unless it has certainly not arrived, now or before, and UserError.
    """

    @abstractmethod
    def append(self, file: Path, append_id: str, *, is_repeat: bool) -> None:
        """Append the rows, once."""


class DeliveredLog:
    """The log of one config. One append at a time, whatever runs beside each other."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._lock = threading.Lock()

    def catch_up(self, state: State, control: Control, sync: Sync) -> None:
        """Append what the log does not have yet of a sync. The caller holds the sync. Raises SyncerError."""
        with self._lock:
            while append := control.next_append(sync.name):
                try:
                    self._append(state, control, sync, append)
                except SyncerError as error:
                    # A refusal says nothing of what was begun before.
                    is_refused = not isinstance(error, ServiceUnavailable) and not append.is_begun
                    if is_refused or (isinstance(error, ServiceUnavailable) and not error.doubt):
                        control.withdraw_append(sync.name)
                    raise
                control.appended(sync.name, append)

    def _append(self, state: State, control: Control, sync: Sync, append: Append) -> None:
        with temporary_folder("spool-", state.folder) as folder, calculator(folder) as connection:
            parts = [
                _rows(layout, slot, kept, sync, append)
                for layout in layouts(state, control)
                for slot, kept in layout.fields.items()
                if not _is_sensitive(kept, sync)
            ]
            if not parts:
                return
            file = folder / "rows.parquet"
            files = [path for layout in layouts(state, control) for path in layout.files]
            # Rows of a table have no order, and without one all processors write.
            connection.execute("SET preserve_insertion_order = false")
            with readable(sync.name, files):
                rows = write_parquet(connection, " UNION ALL ".join(parts), file, {"kind": "delivered"}, PACKED)
            if rows:
                self._table.append(file, append.id, is_repeat=append.is_begun)


def delivered_log(config: Config, source: Source) -> DeliveredLog | None:
    """The log that the config asks for, if it does; asks nothing of the warehouse."""
    if config.delivered is None:
        return None
    if config.delivered.path is None and isinstance(config.source, BigQuerySource):
        from syncer.sources.bigquery.loads import Loads

        return DeliveredLog(BigQueryTable(Loads.of(source), config.delivered.table))
    path = None if config.delivered.path is None else config.folder / config.delivered.path
    return DeliveredLog(DuckDBTable(source if path is None else path, config.delivered.table))


class DuckDBTable(Table):
    """In the file of a source, or in a file of its own."""

    def __init__(self, place: Source | Path, table: str) -> None:
        self._place = place
        self._table = table

    def append(self, file: Path, append_id: str, *, is_repeat: bool) -> None:
        """In one transaction with whatever is to be made for it."""
        table = sql.table(self._table)
        schema, dot, _ = self._table.rpartition(".")
        rows = f"SELECT * REPLACE ({sql.literal(append_id)} AS append) FROM read_parquet({sql.literal(str(file))})"
        try:
            with self._open() as connection:
                connection.execute("SET preserve_insertion_order = false")
                connection.execute("BEGIN")
                if dot:
                    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {sql.name(schema)}")
                columns = ", ".join(f"{sql.name(name)} {kind}" for name, kind in COLUMNS.items())
                connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
                if not (is_repeat and self._has(connection, append_id)):
                    connection.execute(f"INSERT INTO {table} BY NAME {rows}")
                connection.execute("COMMIT")
        except duckdb.Error as error:
            # Other texts may quote a value.
            told = str(error).splitlines()[0] if isinstance(error, duckdb.IOException) else type(error).__name__
            raise ServiceUnavailable(
                f"the table {self._table} could not be written ({told}); look at its columns and its file.", doubt=True
            ) from None

    def _has(self, connection: duckdb.DuckDBPyConnection, append_id: str) -> bool:
        query = f"SELECT 1 FROM {sql.table(self._table)} WHERE append = ? LIMIT 1"
        return bool(connection.execute(query, [append_id]).fetchall())

    def _open(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        from syncer.sources.duckdb import DuckDB

        if isinstance(self._place, DuckDB):
            return self._place.writing(WAIT_SECONDS)
        if isinstance(self._place, Path):
            return _own(self._place)
        raise UserError("`delivered` needs a `path` when the source is no DuckDB file.")


@contextmanager
def _own(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A file of the log's own; nobody else is to read what people's values are in."""
    is_new = not path.exists()
    with duckdb.connect(str(path)) as connection:
        if is_new:
            path.chmod(0o600)
        yield connection


class BigQueryTable(Table):
    """A table of BigQuery, filled by load jobs, which cost nothing."""

    def __init__(self, loads: Loads, table: str) -> None:
        self._loads = loads
        self._table = table

    def append(self, file: Path, append_id: str, *, is_repeat: bool) -> None:
        """The job has the append's id, so whether it arrived before is BigQuery's to say."""
        self._loads.append(file, self._table, append_id, COLUMNS)


def _is_sensitive(kept: Kept, sync: Sync) -> bool:
    return kept.is_sensitive or any(one.sensitive for one in sync.fields if one.name == kept.name)


def _rows(layout: Layout, slot: int, kept: Kept, sync: Sync, append: Append) -> str:
    """SQL of the rows of one field."""
    after, before = _text(kept, sql.name(layout.column(slot))), _text(kept, f"b{slot}")
    name = sql.literal(kept.name)
    columns = {
        "id": f"md5(concat_ws(chr(31), {sql.literal(sync.name)}, run, key, {name}, kind, epoch_us(answered_at)))",
        "sync": sql.literal(sync.name),
        "destination": sql.literal(sync.destination),
        "object": sql.literal(sync.record),
        "key": "key",
        "kind": "kind",
        "field": name,
        "type": sql.literal(_TYPES[kept.sql_type]),
        "before": before,
        "before_known": f"_known & {1 << slot}::BIGINT <> 0",
        "after": after,
        "accepted_at": "answered_at AT TIME ZONE 'UTC'",
        "run": "run",
        "trigger": "trigger",
        "request": "request",
        "append": sql.literal(append.id),
    }
    listed = ", ".join(f"({text})::{COLUMNS[column]} AS {sql.name(column)}" for column, text in columns.items())
    return (
        f"SELECT {listed} FROM {layout.relation} WHERE note > {append.after} AND note <= {append.upto} "
        f"AND result = 'accepted' AND _mask & {1 << slot}::BIGINT <> 0"
    )


def _text(kept: Kept, column: str) -> str:
    """SQL of a value as text, as the JSON of `diff` has it."""
    if kept.sql_type == "TIMESTAMP":
        whole, exact = (f"strftime({column}, '%Y-%m-%dT%H:%M:%S{end}')" for end in ("Z", ".%fZ"))
        return f"CASE WHEN epoch_us({column}) % 1000000 = 0 THEN {whole} ELSE {exact} END"
    if is_relation(kept.name):
        return f"replace({column}, {sql.literal(SEPARATOR)}, ',')"
    return f"{column}::VARCHAR"


def not_logged(reason: str) -> str:
    """One sentence for a run whose changes could not be appended."""
    return f"The log of delivered changes was not written: {reason} The next run catches up."
