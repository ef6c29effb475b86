"""Columns of BigQuery: their Arrow types, the ones that a sync reads, and the SQL that names them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from google.cloud.bigquery import SchemaField

from syncer.errors import Problem, ServiceUnavailable, UserError
from syncer.mapping import Sync

_ARROW: dict[str, pa.DataType] = {
    "BOOL": pa.bool_(),
    "BOOLEAN": pa.bool_(),
    "BYTES": pa.binary(),
    "DATE": pa.date32(),
    "DATETIME": pa.timestamp("us"),
    "FLOAT": pa.float64(),
    "FLOAT64": pa.float64(),
    "GEOGRAPHY": pa.string(),
    "INT64": pa.int64(),
    "INTEGER": pa.int64(),
    "JSON": pa.string(),
    "STRING": pa.string(),
    "TIME": pa.time64("us"),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
}
"""As the Storage Read API sends them: docs.cloud.google.com/bigquery/docs/reference/storage#arrow_schema_details."""

_STRUCTS = ("RECORD", "STRUCT")


@dataclass(frozen=True, slots=True)
class Column:
    """One column that is read: its name in the mapping, the way to it inside the rows, and its Arrow type."""

    name: str
    path: tuple[str, ...]
    type: pa.DataType


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL of ours around SQL of a mapping file; the lines (from 1) tell which of the two a position means."""

    text: str
    query_line: int | None = None
    where_line: int | None = None

    def place(self, line: int) -> tuple[str, int]:
        """The setting that a line of the text came from, and the line within it; no setting when it is ours."""
        if self.where_line is not None and line >= self.where_line:
            return "where", line - self.where_line + 1
        if self.query_line is not None and line >= self.query_line:
            return "query", line - self.query_line + 1
        return "", line


def arrow_type(field: SchemaField) -> pa.DataType:
    """The Arrow type in which a column arrives; null for types that Syncer does not know."""
    if field.mode == "REPEATED":
        return pa.list_(_single(field))
    return _single(field)


def _single(field: SchemaField) -> pa.DataType:
    kind = field.field_type.upper()
    if kind in _STRUCTS:
        return pa.struct([pa.field(part.name, arrow_type(part)) for part in field.fields])
    if kind == "NUMERIC":
        return pa.decimal128(int(field.precision or 38), _scale(field, 9))
    if kind == "BIGNUMERIC":
        return pa.decimal256(int(field.precision or 76), _scale(field, 38))
    if kind == "RANGE" and field.range_element_type is not None:
        end = _ARROW[field.range_element_type.element_type.upper()]
        return pa.struct([("start", end), ("end", end)])
    return _ARROW.get(kind, pa.null())


def _scale(field: SchemaField, default: int) -> int:
    # NUMERIC(10) means NUMERIC(10, 0); only a type without any parameter has the default scale.
    return default if field.precision is None else int(field.scale or 0)


def arrow_schema(fields: Iterable[SchemaField]) -> pa.Schema:
    """All columns, and after each STRUCT its parts under the names by which a mapping reads them: `a.b`."""
    return pa.schema([pa.field(".".join(path), arrow_type(field)) for path, field in paths(fields)])


def paths(fields: Iterable[SchemaField], above: tuple[str, ...] = ()) -> Iterable[tuple[tuple[str, ...], SchemaField]]:
    """Every column with the way to it, parts of a STRUCT after it. Raises ServiceUnavailable for what is none."""
    for field in fields:
        if not (isinstance(field.name, str) and isinstance(field.field_type, str)):
            raise ServiceUnavailable(
                "BigQuery tells of a column whose name or type is no text. The next run tries again.", doubt=False
            )
        path = (*above, field.name)
        yield path, field
        if field.field_type.upper() in _STRUCTS and field.mode != "REPEATED":
            yield from paths(field.fields, path)


def chosen(fields: Sequence[SchemaField], names: Sequence[str], sync: Sync) -> list[Column]:
    """The columns of these names. Raises UserError naming every one that cannot be read."""
    known = {".".join(path): (path, field) for path, field in paths(fields)}
    columns, problems = [], []
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f" Did you mean `{near[0]}`?" if near else ""
            problems.append(f"There is no column `{name}` in {title(sync)}.{hint or ' Look at the mapping.'}")
            continue
        path, field = known[name]
        kind = field.field_type.upper()
        if field.mode == "REPEATED":
            problems.append(
                f"The column `{name}` is an ARRAY, and a field holds one value. "
                "Make text of it in a `query`, as with ARRAY_TO_STRING or TO_JSON_STRING."
            )
        elif kind in _STRUCTS:
            problems.append(
                f"The column `{name}` is a STRUCT, and a field holds one value. Name a part of it: `{name}.…`."
            )
        elif kind not in (*_ARROW, "NUMERIC", "BIGNUMERIC"):
            problems.append(f"The column `{name}` is of type {kind}, which cannot be mapped. CAST it in a `query`.")
        else:
            columns.append(Column(name, path, arrow_type(field)))
    if problems:
        raise UserError([Problem(place(sync), problem) for problem in problems])
    return columns


def place(sync: Sync) -> str:
    """What of a sync says which rows it reads, for problems."""
    return "query" if sync.query else "source"


def title(sync: Sync) -> str:
    """What a sync reads, for sentences."""
    return sync.source or "the query's result"


def quoted(name: str, sync: Sync) -> str:
    """A name in backquotes. Raises UserError for one that could end them."""
    if "`" in name or "\\" in name or "\n" in name:
        raise UserError(
            [Problem(place(sync), f"{name!r} has a character that no name in BigQuery may have. Look at it.")]
        )
    return f"`{name}`"


def query_of(sync: Sync) -> str:
    """The sync's query, without the semicolon that would end it inside ours."""
    return (sync.query or "").rstrip().removesuffix(";")


def statement(sync: Sync, columns: Sequence[Column], table: str | None) -> Statement:
    """One SELECT of these columns, named c1, c2, … because a part of a STRUCT has no name that may be an alias.

    `table` is the whole name of a view or table, None for the sync's query. Line breaks keep a trailing comment
    in a query or condition from swallowing what follows.
    """
    wanted = ", ".join(
        ".".join(quoted(part, sync) for part in column.path) + f" AS c{number}"
        for number, column in enumerate(columns, 1)
    )
    inner = f"(\n{query_of(sync)}\n)" if table is None else quoted(table, sync)
    text = f"SELECT {wanted}\nFROM {inner}"
    where_line = None
    if sync.where:
        where_line = text.count("\n") + 3
        text += f"\nWHERE (\n{sync.where}\n)"
    return Statement(text, 3 if table is None else None, where_line)


def renamed(columns: Sequence[Column]) -> list[Column]:
    """The same columns as they lie in the result of `statement`."""
    return [Column(column.name, (f"c{number}",), column.type) for number, column in enumerate(columns, 1)]


def picked(batch: pa.RecordBatch, columns: Sequence[Column], schema: pa.Schema) -> pa.RecordBatch:
    """The batch with these columns only, under the mapping's names and types; a part of a null STRUCT is null."""
    arrays = []
    for column in columns:
        array = batch.column(column.path[0])
        if len(column.path) > 1:
            array = pc.struct_field(array, list(column.path[1:]))
        # Pages of the REST interface come as NUMERIC(38, 9) whatever the column declares.
        arrays.append(array if array.type == column.type else array.cast(column.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
