"""Whether a query gives the same rows by GoogleSQL's own reference evaluator and by DuckDB through sqlglot.

The evaluator is what GoogleSQL means, and slow: joins are quadratic, so tables stay small (some hundred rows).
It takes queries only; of a CREATE TABLE AS SELECT or an INSERT … SELECT its query is judged. All tables are read as
they are: FOR SYSTEM_TIME AS OF is left out on both sides.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
from sqlglot.dialects import BigQuery
from sqlglot.tokens import TokenType

from tests.standins.bigquery.analysis import analyser_options, described_tables
from tests.standins.bigquery.columns import EPOCH, Column, Schema, field_of
from tests.standins.bigquery.execution import Warehouse
from tests.standins.bigquery.googlesql import SHARED
from tests.standins.bigquery.translation import Parameter

NOTHING = Decimal(10**9)


@dataclass(frozen=True)
class Verdict:
    """The rows of both, each row a tuple; in the order of the text if it has one, else sorted."""

    sql: str
    reference: list[tuple[Any, ...]]
    computed: list[tuple[Any, ...]]

    @property
    def is_equal(self) -> bool:
        """Whether both say the same; floats may differ in their last digits."""
        return len(self.reference) == len(self.computed) and all(
            is_same(one, other) for one, other in zip(self.reference, self.computed, strict=True)
        )

    def __str__(self) -> str:
        lines = [f"{len(self.reference)} rows by GoogleSQL, {len(self.computed)} by DuckDB"]
        for one, other in zip(self.reference, self.computed, strict=False):
            if not is_same(one, other):
                lines += [f"  GoogleSQL {one}", f"  DuckDB    {other}"]
        return "\n".join(lines[:20])


def judged(
    sql: str,
    tables: Mapping[str, pa.Table],
    fields: Mapping[str, Schema] | None = None,
    parameters: Mapping[str, Parameter] | None = None,
) -> Verdict:
    """Run the query of a statement both ways over tables by whole name (`proj.ds.t`). Raises Refused, Complaint.

    `fields` describe tables with columns that Arrow does not tell, as JSON ones. The statement writes each table's
    name as one identifier in backquotes.
    """
    parameters = parameters or {}
    query = query_of(sql)
    warehouse = Warehouse()
    try:
        for name, rows in tables.items():
            columns = (fields or {}).get(name) or [field_of(column) for column in rows.schema]
            warehouse.replace(name, columns, rows)
        outcome = warehouse.run(query, parameters)
        assert outcome.rows is not None
        computed = [tuple(row.values()) for row in outcome.rows.to_pylist()]
        reference = _evaluated(query, warehouse, parameters, outcome.fields)
    finally:
        warehouse.close()
    if not re.search(r"\bORDER\s+BY\b(?!.*\bOVER\b)[^()]*$", query, re.IGNORECASE | re.DOTALL):
        computed.sort(key=_rank)
        reference.sort(key=_rank)
    return Verdict(query, reference, computed)


def query_of(sql: str) -> str:
    """The query of a statement, without points in time."""
    depth, start = 0, 0
    for token in BigQuery().tokenize(sql):
        depth += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
        if depth == 0 and token.token_type in (TokenType.SELECT, TokenType.WITH):
            start = token.start
            break
    return re.sub(r"FOR\s+SYSTEM_TIME\s+AS\s+OF\s+TIMESTAMP\s*'[^']*'", "", sql[start:])


def _evaluated(
    sql: str, warehouse: Warehouse, parameters: Mapping[str, Parameter], fields: Schema
) -> list[tuple[Any, ...]]:
    from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service

    options = analyser_options({name: one.column for name, one in parameters.items()})
    # The evaluator reads the columns by their place in the table.
    options.prune_unused_columns = False
    stored = list(warehouse.tables.values())
    request = service.EvaluateQueryRequest(
        sql=sql, options=options, simple_catalog=described_tables(options, [([one.full_name], one) for one in stored])
    )
    for one in stored:
        content = request.table_content[one.full_name]
        content.table_data.SetInParent()
        for row in one.rows.to_pylist():
            cells = content.table_data.row.add()
            for column in one.fields:
                _write(cells.cell.add(), row[column["name"]], column)
    for name, parameter in parameters.items():
        _write(request.params.add(name=name).value, parameter.python(), parameter.column)
    answer = SHARED.ask("EvaluateQuery", request, service.EvaluateQueryResponse)
    return [
        tuple(_read(cell, column) for cell, column in zip(row.cell, fields, strict=True))
        for row in answer.content.table_data.row
    ]


# --- values ---------------------------------------------------------------------------------------------------------


def _write(cell: Any, value: Any, column: Column) -> None:
    if column.get("mode") == "REPEATED":
        cell.array_value.SetInParent()
        for one in value or []:
            _write(cell.array_value.element.add(), one, {**column, "mode": "NULLABLE"})
        return
    if value is None:
        return
    match column["type"]:
        case "RECORD":
            for part in column["fields"]:
                _write(cell.struct_value.field.add(), value[part["name"]], part)
        case "DATE":
            cell.date_value = (value - EPOCH.date()).days
        case "TIMESTAMP":
            cell.timestamp_value.FromDatetime(value)
        case "DATETIME":
            cell.datetime_value.bit_field_datetime_seconds = _seconds(value) | (
                value.year << 26 | value.month << 22 | value.day << 17
            )
            cell.datetime_value.nanos = value.microsecond * 1000
        case "TIME":
            cell.time_value = _seconds(value) << 30 | value.microsecond * 1000
        case "NUMERIC":
            scaled = int(value * NOTHING)
            cell.numeric_value = scaled.to_bytes((scaled.bit_length() + 8) // 8, "little", signed=True)
        case kind:
            setattr(cell, CELLS[kind], value)


def _read(cell: Any, column: Column) -> Any:
    name = cell.WhichOneof("value")
    if column.get("mode") == "REPEATED":
        return [_read(one, {**column, "mode": "NULLABLE"}) for one in cell.array_value.element]
    if name is None:
        return None
    match column["type"]:
        case "RECORD":
            return {
                part["name"]: _read(one, part)
                for part, one in zip(column["fields"], cell.struct_value.field, strict=True)
            }
        case "DATE":
            return EPOCH.date() + datetime.timedelta(days=cell.date_value)
        case "TIMESTAMP":
            return cell.timestamp_value.ToDatetime(datetime.UTC)
        case "DATETIME":
            bits = cell.datetime_value.bit_field_datetime_seconds
            return datetime.datetime(  # noqa: DTZ001 - DATETIME has no zone.
                bits >> 26, bits >> 22 & 15, bits >> 17 & 31, bits >> 12 & 31, bits >> 6 & 63, bits & 63,
                cell.datetime_value.nanos // 1000,
            )  # fmt: skip
        case "TIME":
            bits = cell.time_value >> 30
            return datetime.time(bits >> 12, bits >> 6 & 63, bits & 63, (cell.time_value & (1 << 30) - 1) // 1000)
        case "NUMERIC":
            return int.from_bytes(cell.numeric_value, "little", signed=True) / NOTHING
        case kind:
            return getattr(cell, CELLS[kind])


CELLS = {
    "BOOLEAN": "bool_value",
    "BYTES": "bytes_value",
    "FLOAT": "double_value",
    "INTEGER": "int64_value",
    "JSON": "json_value",
    "STRING": "string_value",
}
"""Type → where a value of it stands."""


def _seconds(value: Any) -> int:
    return int(value.hour << 12 | value.minute << 6 | value.second)


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are equal, as a query's reader would say."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9) or (math.isnan(one) and math.isnan(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(is_same(*pair) for pair in zip(one, other, strict=True))
    return type(one) is type(other) and bool(one == other)


def _rank(row: tuple[Any, ...]) -> list[str]:
    return list(_texts(row))


def _texts(row: tuple[Any, ...]) -> Iterator[str]:
    for value in row:
        yield f"{value:.9g}" if isinstance(value, float) else repr(value)
