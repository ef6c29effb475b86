"""Columns as BigQuery describes them, and the same ones in Arrow, in GoogleSQL, on the wire and by weight."""

from __future__ import annotations

import base64
import datetime
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

Column = dict[str, Any]
Schema = list[Column]

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
"""How a column arrives in Arrow: docs.cloud.google.com/bigquery/docs/reference/storage#arrow_schema_details."""

SHORT = {
    "BOOL": "BOOLEAN",
    "FLOAT64": "FLOAT",
    "INT64": "INTEGER",
    "STRUCT": "RECORD",
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
}
"""GoogleSQL's word → the one of the REST interface, which takes both and answers with its own."""

WEIGHTS = {
    "INTEGER": 8,
    "FLOAT": 8,
    "DATE": 8,
    "DATETIME": 8,
    "TIME": 8,
    "TIMESTAMP": 8,
    "BOOLEAN": 1,
    "NUMERIC": 16,
    "BIGNUMERIC": 32,
    "INTERVAL": 16,
    "RANGE": 16,
}
"""Bytes of a value that is not null, for what a query is billed; texts weigh two and their length."""

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")
RESERVED = ("_COLIDENTIFIER", "_FILE_", "_PARTITION", "_ROW_TIMESTAMP", "_TABLE_", "__ROOT__")
"""Beginnings that no column's name may have: docs.cloud.google.com/bigquery/docs/schemas#column_names."""


def wrong_names(fields: Iterable[Column]) -> list[str]:
    """The names of columns that the service does not take, also because another is the same but for its case."""
    seen: set[str] = set()
    wrong = []
    for column in fields:
        name = column["name"]
        if not NAME.fullmatch(name) or name.upper().startswith(RESERVED) or name.lower() in seen:
            wrong.append(name)
        seen.add(name.lower())
        wrong += wrong_names(column.get("fields", []))
    return wrong


def arrow_field(column: Column) -> pa.Field:
    """How a column arrives in Arrow."""
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


def arrow_schema(fields: Iterable[Column]) -> pa.Schema:
    """All columns in Arrow."""
    return pa.schema([arrow_field(column) for column in fields])


def field_of(column: pa.Field) -> Column:
    """BigQuery's column for one of Arrow, or of a file."""
    kind = column.type
    made: Column = {"name": column.name, "mode": "NULLABLE"}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return made | {**field_of(kind.value_field), "name": column.name, "mode": "REPEATED"}
    if pa.types.is_struct(kind):
        return made | {"type": "RECORD", "fields": [field_of(part) for part in kind]}
    if pa.types.is_decimal(kind):
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


def described(columns: Iterable[Column]) -> Schema:
    """Columns of a request in the words that the service answers with."""
    made = []
    for column in columns:
        kind = column["type"].upper()
        one = {"mode": "NULLABLE", **column, "type": SHORT.get(kind, kind)}
        if "fields" in column:
            one["fields"] = described(column["fields"])
        made.append(one)
    return made


def fitted(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    """Values as the column has them: in its Arrow type, lists never null, JSON in its canonical spelling.

    Raises pyarrow.ArrowException for values that the type cannot hold.
    """
    wanted = arrow_field(column).type
    if isinstance(values.type, pa.ExtensionType):
        values = pa.chunked_array([chunk.storage for chunk in values.chunks], values.type.storage_type)
    if column.get("mode") != "REPEATED" and column["type"] != "JSON":
        try:
            return values.cast(wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            if column["type"] != "RECORD":
                raise
    listed = [_fitted(value, column) for value in values.to_pylist()]
    return pa.chunked_array([pa.array(listed, wanted)], wanted)


def _fitted(value: Any, column: Column) -> Any:
    if column.get("mode") == "REPEATED":
        single = {**column, "mode": "NULLABLE"}
        return [_fitted(one, single) for one in value or []]
    if value is None:
        return None
    if column["type"] == "JSON":
        # The service keeps neither blanks nor the order of members.
        return json.dumps(json.loads(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if column["type"] == "RECORD":
        parts = list(value.values())
        return {part["name"]: _fitted(parts[number], part) for number, part in enumerate(column["fields"])}
    return value


def encoded(value: Any, column: Column, *, timestamps_are_integers: bool) -> Any:
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
        micros = (value - EPOCH) // datetime.timedelta(microseconds=1)
        return str(micros) if timestamps_are_integers else repr(micros / 1e6)
    if kind in ("DATE", "DATETIME", "TIME"):
        return value.isoformat()
    return str(value)


def weight(values: pa.ChunkedArray | pa.Array, column: Column) -> int:
    """Bytes that reading these values is billed as."""
    if column.get("mode") == "REPEATED":
        single = {**column, "mode": "NULLABLE"}
        return sum(weight(chunk.flatten(), single) for chunk in _chunks(values))
    if column["type"] == "RECORD":
        return sum(
            weight(part, below)
            for chunk in _chunks(values)
            for part, below in zip(chunk.flatten(), column["fields"], strict=True)
        )
    filled = len(values) - values.null_count
    if column["type"] in WEIGHTS:
        return WEIGHTS[column["type"]] * filled
    return 2 * filled + int(pc.sum(pc.binary_length(values)).as_py() or 0)


def _chunks(values: pa.ChunkedArray | pa.Array) -> list[pa.Array]:
    return values.chunks if isinstance(values, pa.ChunkedArray) else [values]


def all_paths(fields: Schema, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The way to every column and to every part of one."""
    found = []
    for column in fields:
        path = (*above, column["name"])
        found.append(path)
        if column["type"] == "RECORD":
            found += all_paths(column["fields"], path)
    return found


def pruned(fields: Schema, paths: Sequence[tuple[str, ...]]) -> Schema:
    """The columns at these paths, in the table's own order."""
    kept = []
    for column in fields:
        below = [path[1:] for path in paths if path[0] == column["name"]]
        if below:
            kept.append(column if () in below else {**column, "fields": pruned(column["fields"], below)})
    return kept


def cut(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    """A STRUCT's values with the parts that are left of it."""
    wanted = arrow_field(column).type
    if values.type == wanted:
        return values
    return pa.chunked_array([pa.array(chunk.to_pylist(), wanted) for chunk in values.chunks], wanted)
