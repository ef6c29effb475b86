"""GoogleSQL into DuckDB's SQL, through sqlglot, and what sqlglot leaves different put right."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

import sqlglot
import sqlglot.errors
from sqlglot import exp

from tests.standins.bigquery.catalog import Refused
from tests.standins.bigquery.columns import Column

CASTS = {
    "BOOLEAN": "BOOLEAN",
    "DATE": "DATE",
    "DATETIME": "TIMESTAMP",
    "FLOAT": "DOUBLE",
    "INTEGER": "BIGINT",
    "JSON": "JSON",
    "NUMERIC": "DECIMAL(38, 9)",
    "STRING": "VARCHAR",
    "TIME": "TIME",
    "TIMESTAMP": "TIMESTAMPTZ",
}
"""BigQuery's type → DuckDB's, for the values of parameters."""

VALUES: dict[str, Callable[[str], Any]] = {
    "BOOLEAN": lambda text: text == "true",
    "BYTES": base64.b64decode,
    "DATE": datetime.date.fromisoformat,
    "DATETIME": datetime.datetime.fromisoformat,
    "FLOAT": float,
    "INTEGER": int,
    "JSON": str,
    "NUMERIC": Decimal,
    "STRING": str,
    "TIME": datetime.time.fromisoformat,
    "TIMESTAMP": datetime.datetime.fromisoformat,
}
"""Type → a parameter's text as a value."""


@dataclass(frozen=True)
class Parameter:
    """A named value of a query, as text; a list for an array."""

    column: Column
    value: Any

    def python(self) -> Any:
        """The value as Python has it."""
        if self.column.get("mode") == "REPEATED":
            return [VALUES[self.column["type"]](one) for one in self.value]
        return None if self.value is None else VALUES[self.column["type"]](self.value)

    def literal(self) -> exp.Expression:
        """The value as DuckDB writes it."""
        if self.column.get("mode") == "REPEATED":
            kind = f"{CASTS.get(self.column['type'], 'BLOB')}[]"
            return exp.cast(exp.Array(expressions=[self._single(one) for one in self.value]), kind, dialect="duckdb")
        return self._single(self.value)

    def _single(self, value: Any) -> exp.Expression:
        if self.column["type"] == "BYTES":
            hexed = None if value is None else base64.b64decode(value).hex()
            return exp.func("UNHEX", exp.null() if hexed is None else exp.Literal.string(hexed))
        one = exp.null() if value is None else exp.Literal.string(str(value))
        return exp.cast(one, CASTS[self.column["type"]], dialect="duckdb")


@lru_cache(maxsize=256)
def parsed(sql: str) -> exp.Expression:
    """The statement as sqlglot reads it: shared, so to be copied before it is changed.

    Raises Refused for what only GoogleSQL reads.
    """
    try:
        return sqlglot.parse_one(sql, read="bigquery")
    except sqlglot.errors.SqlglotError as error:
        said = str(error).splitlines()[0]
        raise Refused(400, "invalidQuery", f"GoogleSQL accepts this and the stand-in cannot: {said}") from None


def mentions(tree: exp.Expression, tables: Mapping[str, str]) -> Iterator[tuple[exp.Table, str]]:
    """Every place where a statement names a table of the warehouse, and the table's whole name."""
    for one in list(tree.find_all(exp.Table)):
        path = path_of(one)
        if path in tables:
            yield one, tables[path]


def path_of(table: exp.Table) -> str:
    """The name as it is written."""
    return ".".join(part.name for part in table.parts)


def moment_of(table: exp.Table) -> exp.Expression | None:
    """The expression after FOR SYSTEM_TIME AS OF."""
    version = table.args.get("version")
    return version.expression if version is not None else None


def placed(table: exp.Table, name: str) -> None:
    """Let a mention speak of DuckDB's table of this name, and keep the name by which its columns are called."""
    alias = table.alias or table.name
    table.replace(exp.to_table(exp.to_identifier(name, quoted=True)).as_(exp.to_identifier(alias, quoted=True)))


def translated(
    tree: exp.Expression, parameters: Mapping[str, Parameter], now: Callable[[], str], *, dialect: str = "duckdb"
) -> str:
    """DuckDB's text of a query or an expression, which is changed."""

    def mended(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Parameter):
            return parameters[node.name].literal()
        if isinstance(node, exp.CountIf):
            # Over no rows DuckDB's own is null.
            return exp.Count(this=exp.Case().when(node.this, exp.Literal.number(1)))
        if isinstance(node, exp.JSONFormat):
            # Of null DuckDB's own is null, and GoogleSQL's the text.
            return exp.func("COALESCE", node, exp.Literal.string("null"))
        if isinstance(node, exp.Div):
            # DuckDB's own is infinite.
            zero = exp.EQ(this=node.expression.copy(), expression=exp.Literal.number(0))
            return exp.Case().when(zero, exp.func("ERROR", exp.Literal.string("division by zero"))).else_(node)
        if isinstance(node, exp.FarmFingerprint):
            # Another hash, as good for choosing rows.
            return exp.cast(
                exp.Mod(this=exp.func("HASH", *node.expressions), expression=exp.Literal.number(2**62)),
                "BIGINT",
                dialect="duckdb",
            )
        if isinstance(node, exp.ByteLength):
            # DuckDB's OCTET_LENGTH takes no texts.
            return exp.func("STRLEN", node.this)
        if isinstance(node, exp.CurrentTimestamp):
            return exp.cast(exp.Literal.string(now()), "TIMESTAMPTZ", dialect="duckdb")
        return node

    return tree.transform(mended, copy=False).sql(dialect)
