"""The tables behind the BigQuery stand-in: Arrow for what is stored, DuckDB for what is asked.

What it cannot show: whether GoogleSQL accepts a statement. DuckDB accepts more, and its own dialect; only
backquotes are rewritten. Literals such as 1.5 are DECIMAL there and FLOAT64 in GoogleSQL; JSON and GEOGRAPHY
come out of a query as STRING; BIGNUMERIC beyond 38 digits, INTERVAL and RANGE can be stored and read but not
queried. Bytes scanned are a setting and not computed; there is no time travel and no row access policy.
"""

from __future__ import annotations

import base64
import datetime
import math
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

Schema = list[dict[str, Any]]

SCALARS: dict[str, pa.DataType] = {
    "INTEGER": pa.int64(),
    "FLOAT": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "STRING": pa.string(),
    "JSON": pa.string(),
    "GEOGRAPHY": pa.string(),
    "BYTES": pa.binary(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "DATETIME": pa.timestamp("us"),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    "INTERVAL": pa.month_day_nano_interval(),
}


class Refused(Exception):
    """An answer that is an error: HTTP status, BigQuery's reason, message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


@dataclass
class Stored:
    """A table or view. `kind` is BigQuery's own word: TABLE, VIEW, EXTERNAL, MATERIALIZED_VIEW."""

    project: str
    dataset: str
    name: str
    fields: Schema
    rows: pa.Table
    kind: str = "TABLE"
    version: int = 1
    modified: datetime.datetime = field(
        default_factory=lambda: datetime.datetime(2026, 11, 1, 5, 0, 0, 250_000, datetime.UTC)
    )
    is_streamed_into: bool = False

    @property
    def full_name(self) -> str:
        return f"{self.project}.{self.dataset}.{self.name}"


class Warehouse:
    """One project in one location."""

    def __init__(self, project: str = "acme", location: str = "EU") -> None:
        self.project = project
        self.location = location
        self.tables: dict[str, Stored] = {}
        self.datasets: set[str] = set()
        """Those that are there without a table in them."""
        self._views: dict[str, str] = {}
        self._lock = threading.RLock()
        self._connection = duckdb.connect(":memory:")
        self._connection.execute("SET TimeZone = 'UTC'")

    def close(self) -> None:
        self._connection.close()

    def put(self, name: str, rows: pa.Table, fields: Schema | None = None, kind: str = "TABLE") -> Stored:
        """Store a table under DATASET.TABLE, replacing one that is there; `fields` default to what Arrow says."""
        dataset, table = name.split(".")
        fields = fields or [field_of(column) for column in rows.schema]
        rows = rows.cast(pa.schema([arrow_field(column) for column in fields]))
        stored = Stored(self.project, dataset, table, fields, rows, kind)
        with self._lock:
            before = self.tables.get(stored.full_name)
            if before is not None:
                stored.version = before.version + 1
                stored.modified = before.modified + datetime.timedelta(hours=1)
            self.tables[stored.full_name] = stored
            self._register(stored)
        return stored

    def append(self, full_name: str, rows: pa.Table, fields: Schema) -> Stored:
        """What a load job does with a file's rows: a table that is not there is made. Raises Refused."""
        project, dataset, table = full_name.split(".")
        with self._lock:
            if dataset not in self.datasets and not any(one.dataset == dataset for one in self.tables.values()):
                raise Refused(404, "notFound", f"Not found: Dataset {project}:{dataset} was not found in location EU")
            stored = self.tables.get(full_name)
            known = {column["name"]: column["type"] for column in (stored.fields if stored else fields)}
            for column in fields:
                if known.get(column["name"]) != column["type"]:
                    message = f"Provided Schema does not match Table {project}:{dataset}.{table}."
                    raise Refused(400, "invalid", f"{message} Field {column['name']} is not there, or of another type")
            for column in fields:
                arrived = (
                    field_of(rows.schema.field(column["name"]))["type"] if column["name"] in rows.schema.names else ""
                )
                if arrived != column["type"]:
                    message = f"Error while reading data, error message: Parquet column '{column['name']}' has type"
                    raise Refused(400, "invalid", f"{message} {arrived or 'nothing'}, which is not {column['type']}")
            schema = pa.schema([arrow_field(column) for column in fields])
            loaded = rows.select(schema.names).cast(schema)
            if stored is not None:
                loaded = pa.concat_tables([stored.rows, loaded], promote_options="default")
            return self.put(f"{dataset}.{table}", loaded, stored.fields if stored else fields)

    def view(self, name: str, sql: str) -> Stored:
        """Store a view under DATASET.TABLE."""
        dataset, table = name.split(".")
        result = self.run(sql)
        fields = [field_of(column) for column in result.schema]
        stored = Stored(self.project, dataset, table, fields, result.slice(0, 0), "VIEW")
        with self._lock:
            self.tables[stored.full_name] = stored
            self._views[stored.full_name] = sql
            self._connection.execute(f'CREATE OR REPLACE VIEW "{stored.full_name}" AS {_rewritten(sql)}')
        return stored

    def find(self, full_name: str) -> Stored:
        with self._lock:
            stored = self.tables.get(full_name)
        if stored is None:
            project, dataset, table = full_name.split(".")
            raise Refused(
                404,
                "notFound",
                f"Not found: Table {project}:{dataset}.{table} was not found in location {self.location}",
            )
        return stored

    def analyse(self, sql: str) -> tuple[Schema, str]:
        """Result columns and statement type. Raises Refused."""
        kind = (re.findall(r"[A-Za-z]+", sql) or [""])[0].upper()
        if kind not in ("SELECT", "WITH"):
            return [], kind
        empty = self._execute(f"SELECT * FROM (\n{_rewritten(sql)}\n) LIMIT 0", shift=1)
        return [field_of(column) for column in empty.schema], "SELECT"

    def referenced(self, sql: str) -> list[Stored]:
        """The tables behind a statement, also those behind its views."""
        found: dict[str, Stored] = {}
        for stored in list(self.tables.values()):
            if re.search(rf"\b{stored.dataset}\W+{stored.name}\b", sql):
                behind = self.referenced(self._views[stored.full_name]) if stored.kind == "VIEW" else [stored]
                found |= {one.full_name: one for one in behind}
        return list(found.values())

    def run(self, sql: str) -> pa.Table:
        """The rows, in the Arrow types that BigQuery would send. Raises Refused."""
        result = self._execute(_rewritten(sql))
        return result.cast(pa.schema([arrow_field(field_of(column)) for column in result.schema]))

    def keep_result(self, rows: pa.Table) -> Stored:
        """A result table as jobs have it, in a dataset whose name begins with an underscore."""
        with self._lock:
            return self.put(f"_results.anon{len(self.tables)}", rows)

    def selected(self, stored: Stored, paths: Sequence[str], where: str = "") -> tuple[Schema, pa.Table]:
        """These columns (`a.b` for a part), in the table's own order, of the rows that meet the condition."""
        known = {".".join(path) for path in _all_paths(stored.fields)}
        for path in paths:
            if path not in known:
                raise Refused(
                    400,
                    "invalid",
                    f"request failed: The following selected fields do not exist in the table schema: {path}",
                )
        rows = stored.rows
        if where:
            rows = self._execute(f'SELECT * FROM "{stored.full_name}" WHERE ({_rewritten(where)})').cast(rows.schema)
        fields = _pruned(stored.fields, [tuple(path.split(".")) for path in paths]) if paths else stored.fields
        schema = pa.schema([arrow_field(column) for column in fields])
        return fields, pa.table([_cut(rows[column["name"]], column) for column in fields], schema=schema)

    def _register(self, stored: Stored) -> None:
        # DuckDB holds no decimal of more than 38 digits, and no other interval than its own.
        columns = [column.name for column in stored.rows.schema if not _is_beyond_duckdb(column.type)]
        stored_rows = stored.rows.select(columns)
        self._connection.register("incoming", stored_rows)
        self._connection.execute(f'CREATE OR REPLACE TABLE "{stored.full_name}" AS SELECT * FROM incoming')
        self._connection.unregister("incoming")
        self._connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{stored.dataset}"')
        self._connection.execute(
            f'CREATE OR REPLACE VIEW "{stored.dataset}"."{stored.name}" AS SELECT * FROM "{stored.full_name}"'
        )

    def _execute(self, sql: str, shift: int = 0) -> pa.Table:
        try:
            with self._lock:
                return self._connection.sql(sql).to_arrow_table()
        except duckdb.CatalogException as error:
            found = re.search(r"(?:Table|View) with name (\S+) does not exist", str(error))
            if found:
                raise Refused(
                    404, "notFound", f"Not found: Table {found[1]} was not found in location {self.location}"
                ) from None
            raise Refused(400, "invalidQuery", _first_line(error)) from None
        except (duckdb.ParserException, duckdb.BinderException) as error:
            raise Refused(400, "invalidQuery", _first_line(error) + self._position(sql, shift)) from None
        except duckdb.Error as error:
            raise Refused(400, "invalidQuery", _first_line(error)) from None

    def _position(self, sql: str, shift: int) -> str:
        """DuckDB's caret as GoogleSQL's `at [line:column]`, where it shows one on a line that it did not shorten."""
        text = ""
        try:
            # Only this way of asking says where.
            self._connection.execute(sql)
        except duckdb.Error as error:
            text = str(error)
        found = re.search(r"^(LINE (\d+): )(.*)\n( *)\^", text, re.MULTILINE)
        if found is None or found[3].startswith("..."):
            return ""
        return f" at [{int(found[2]) - shift}:{len(found[4]) - len(found[1]) + 1}]"


def arrow_field(column: dict[str, Any]) -> pa.Field:
    """How a column arrives in Arrow, by the Storage Read API's own table."""
    kind = column["type"]
    if kind == "RECORD":
        single = pa.struct([arrow_field(part) for part in column["fields"]])
    elif kind == "NUMERIC":
        single = pa.decimal128(
            int(column.get("precision", 38)), int(column.get("scale", 0 if "precision" in column else 9))
        )
    elif kind == "BIGNUMERIC":
        single = pa.decimal256(
            int(column.get("precision", 76)), int(column.get("scale", 0 if "precision" in column else 38))
        )
    elif kind == "RANGE":
        end = SCALARS[column["rangeElementType"]["type"]]
        single = pa.struct([("start", end), ("end", end)])
    else:
        single = SCALARS[kind]
    if column.get("mode") == "REPEATED":
        single = pa.list_(pa.field("item", single))
    metadata = {
        "JSON": {"ARROW:extension:name": "google:sqlType:json"},
        "GEOGRAPHY": {"ARROW:extension:name": "google:sqlType:geography"},
    }
    return pa.field(column["name"], single, metadata=metadata.get(kind))


def field_of(column: pa.Field) -> dict[str, Any]:
    """BigQuery's column for one of Arrow, or of a result of DuckDB."""
    kind = column.type
    made: dict[str, Any] = {"name": column.name, "mode": "NULLABLE"}
    if pa.types.is_list(kind):
        return made | {**field_of(kind.value_field), "name": column.name, "mode": "REPEATED"}
    if pa.types.is_struct(kind):
        return made | {"type": "RECORD", "fields": [field_of(part) for part in kind]}
    if pa.types.is_decimal(kind):
        if (kind.precision, kind.scale) == (38, 0):
            return made | {"type": "INTEGER"}  # DuckDB's sum of integers.
        if (kind.precision, kind.scale) == (38, 9):
            return made | {"type": "NUMERIC"}
        if (kind.precision, kind.scale) == (76, 38):
            return made | {"type": "BIGNUMERIC"}
        return made | {"type": "NUMERIC", "precision": str(kind.precision), "scale": str(kind.scale)}
    tests = {
        "INTEGER": pa.types.is_integer,
        "FLOAT": pa.types.is_floating,
        "BOOLEAN": pa.types.is_boolean,
        "STRING": lambda t: pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_string_view(t),
        "BYTES": lambda t: pa.types.is_binary(t) or pa.types.is_large_binary(t) or pa.types.is_binary_view(t),
        "DATE": pa.types.is_date,
        "TIME": pa.types.is_time,
        "DATETIME": lambda t: pa.types.is_timestamp(t) and t.tz is None,
        "TIMESTAMP": pa.types.is_timestamp,
        "INTERVAL": pa.types.is_interval,
    }
    return made | {"type": next(name for name, is_it in tests.items() if is_it(kind))}


def encoded(value: Any, column: dict[str, Any], *, timestamps_are_integers: bool) -> Any:
    """A value as the REST interface writes it."""
    if column.get("mode") == "REPEATED":
        single = {**column, "mode": "NULLABLE"}
        return [{"v": encoded(one, single, timestamps_are_integers=timestamps_are_integers)} for one in value or []]
    if value is None:
        return None
    kind = column["type"]
    if kind == "RECORD":
        return {
            "f": [
                {"v": encoded(value[part["name"]], part, timestamps_are_integers=timestamps_are_integers)}
                for part in column["fields"]
            ]
        }
    if kind == "BOOLEAN":
        return "true" if value else "false"
    if kind == "FLOAT":
        if math.isnan(value):
            return "NaN"
        return repr(value) if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")
    if kind == "BYTES":
        return base64.b64encode(value).decode()
    if kind == "TIMESTAMP":
        micros = (value - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)
        return str(micros) if timestamps_are_integers else repr(micros / 1e6)
    if kind in ("DATE", "DATETIME", "TIME"):
        return value.isoformat()
    return str(value)


def _rewritten(sql: str) -> str:
    return re.sub(r"`([^`]*)`", r'"\1"', sql)


def _all_paths(fields: Schema, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for column in fields:
        path = (*above, column["name"])
        found.append(path)
        if column["type"] == "RECORD":
            found += _all_paths(column["fields"], path)
    return found


def _pruned(fields: Schema, paths: Sequence[tuple[str, ...]]) -> Schema:
    kept = []
    for column in fields:
        below = [path[1:] for path in paths if path[0] == column["name"]]
        if not below:
            continue
        kept.append(column if () in below else {**column, "fields": _pruned(column["fields"], below)})
    return kept


def _cut(values: pa.ChunkedArray, column: dict[str, Any]) -> pa.ChunkedArray:
    wanted = arrow_field(column).type
    if values.type == wanted:
        return values
    return pa.chunked_array([pa.array(chunk.to_pylist(), wanted) for chunk in values.chunks], wanted)


def _is_beyond_duckdb(kind: pa.DataType) -> bool:
    return pa.types.is_decimal256(kind) or pa.types.is_interval(kind)


def _first_line(error: BaseException) -> str:
    return re.sub(r"^[\w ]+ Error: ", "", str(error).splitlines()[0])
