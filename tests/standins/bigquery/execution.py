"""Statements carried out: analysed by GoogleSQL, translated, computed by DuckDB over the stored Arrow tables."""

from __future__ import annotations

import datetime
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from tests.standins.bigquery.analysis import Analysed, defined
from tests.standins.bigquery.catalog import KEPT, TICK, Catalog, Refused, Stored, Version
from tests.standins.bigquery.columns import Schema, arrow_field, arrow_schema, fitted, weight
from tests.standins.bigquery.options import layout, look_at_layout, options_of
from tests.standins.bigquery.shapes import analysed_once
from tests.standins.bigquery.translation import (
    Parameter,
    mentions,
    moment_of,
    parsed,
    path_of,
    placed,
    translated,
)

LOS_ANGELES = "America/Los_Angeles"
"""The zone of a moment without an offset after FOR SYSTEM_TIME AS OF, and only there."""


@dataclass(frozen=True)
class Outcome:
    """What a statement came to."""

    fields: Schema = field(default_factory=list)
    rows: pa.Table | None = None
    target: str | None = None
    rows_affected: int | None = None


class Warehouse(Catalog):
    """A catalog that can be asked in SQL."""

    may_parameters_travel = False
    """Whether a query parameter may stand after FOR SYSTEM_TIME AS OF, which nobody has told."""
    clustering_max = 4
    """By how many columns a table clusters at most, as far as we know."""

    def __init__(self, project: str = "acme", location: str = "EU") -> None:
        super().__init__(project, location)
        self._connection = duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"})
        self._connection.execute("SET TimeZone = 'UTC'")
        self._numbers = itertools.count(1)

    def close(self) -> None:
        """Give back DuckDB's memory."""
        self._connection.close()

    # --- asking ------------------------------------------------------------------------------------------------------

    def analyse(self, sql: str, parameters: Mapping[str, Parameter] | None = None) -> Analysed:
        """What GoogleSQL makes of a statement. Raises Refused."""
        columns = {name: one.column for name, one in (parameters or {}).items()}
        with self.lock:
            altered = [path_of(parsed(sql).this).split(".")] if re.match(r"\s*ALTER\s+TABLE\b", sql, re.I) else []
            made = analysed_once(sql, self.find, self.project, columns, altered)
            self._look_at_moments(made, parsed(sql), parameters or {})
            return made

    def run(self, sql: str, parameters: Mapping[str, Parameter] | None = None) -> Outcome:
        """Carry out a statement. Raises Refused."""
        with self.lock:
            made = self.analyse(sql, parameters)
            method = getattr(self, f"_{made.kind.lower()}", None)
            if method is None:
                raise Refused(400, "invalidQuery", f"Statements of the kind {made.kind} are not carried out here.")
            outcome: Outcome = method(made, parsed(sql), parameters or {})
            return outcome

    def view(self, name: str, sql: str) -> Stored:
        """Store a view under DATASET.TABLE. Raises Refused."""
        with self.lock:
            made = self.analyse(sql)
            stored = self.put(name, arrow_schema(made.fields).empty_table(), made.fields, "VIEW")
            stored.sql = sql
            return stored

    def restricted(self, stored: Stored, where: str, moment: datetime.datetime | None = None) -> pa.Table:
        """The rows of a table that meet a condition, in all its columns, now or at a moment. Raises Refused."""
        if not where:
            return stored.at(moment).rows
        then = f"FOR SYSTEM_TIME AS OF TIMESTAMP '{moment.isoformat()}'" if moment else ""
        rows = self.run(f"SELECT * FROM `{stored.full_name}` {then} WHERE ({where})").rows
        assert rows is not None
        return rows

    def bytes_scanned(self, made: Analysed) -> dict[str, int]:
        """Table → bytes that the statement reads of it: whole columns, and of the target of a DELETE all."""
        found: dict[str, dict[str, int]] = {}
        targets = itertools.count()
        for scan in made.scans:
            if scan.table == made.target and next(targets) == 0:
                # The first mention is the target itself, which an INSERT does not read and a DELETE reads whole.
                if made.kind not in ("DELETE", "UPDATE", "MERGE"):
                    continue
                columns = frozenset(column["name"] for column in self.find(scan.table).fields)
            else:
                columns = scan.columns
            for table, part in self._weighed(scan.table, columns).items():
                found.setdefault(table, {}).update(part)
        return {table: sum(columns.values()) for table, columns in found.items()}

    def _weighed(self, full_name: str, columns: frozenset[str]) -> dict[str, dict[str, int]]:
        stored = self.find(full_name)
        if stored.kind == "VIEW":
            named = ", ".join(f"`{name}`" for name in sorted(columns)) or "1 AS one"
            below: dict[str, dict[str, int]] = {}
            for scan in self.analyse(f"SELECT {named} FROM (\n{stored.sql}\n)").scans:
                for table, part in self._weighed(scan.table, scan.columns).items():
                    below.setdefault(table, {}).update(part)
            return below
        weights = {
            column["name"]: weight(stored.rows[column["name"]], column)
            for column in stored.fields
            if column["name"] in columns
        }
        return {full_name: weights}

    # --- statements --------------------------------------------------------------------------------------------------

    def _select(self, made: Analysed, tree: exp.Expression, parameters: Mapping[str, Parameter]) -> Outcome:
        return Outcome(made.fields, self._computed(made, tree, parameters, made.fields))

    def _create_table_as_select(
        self, made: Analysed, tree: exp.Expression, parameters: Mapping[str, Parameter]
    ) -> Outcome:
        assert made.target is not None
        resource, expires = options_of(tree, self._moment)
        look_at_layout(resource, made.fields, self.clustering_max)
        if not self._may_create(made.target, tree, resource):
            return Outcome(target=made.target)
        rows = self._computed(made, tree.expression, parameters, made.fields)
        stored = self.replace(made.target, made.fields, rows)
        stored.resource, stored.expires = resource, expires
        return Outcome(target=made.target)

    def _create_table(self, made: Analysed, tree: exp.Expression, parameters: Mapping[str, Parameter]) -> Outcome:
        assert made.target is not None
        resource, expires = options_of(tree, self._moment)
        look_at_layout(resource, made.fields, self.clustering_max)
        if self._may_create(made.target, tree, resource):
            stored = self.create(made.target, made.fields)
            stored.resource, stored.expires = resource, expires
        return Outcome(target=made.target)

    def _insert(self, made: Analysed, tree: exp.Expression, parameters: Mapping[str, Parameter]) -> Outcome:
        assert made.target is not None
        stored = self.find(made.target)
        names = [column.name for column in made.node.insert_column_list]
        fields = [next(column for column in stored.fields if column["name"] == name) for name in names]
        query = tree.expression
        if isinstance(query, exp.Values):
            query = exp.select("*").from_(query.copy().as_("v"))
        incoming = self._computed(made, query, parameters, fields)
        whole = [
            incoming[column["name"]]
            if column["name"] in names
            else fitted(pa.chunked_array([pa.nulls(incoming.num_rows, arrow_field(column).type)]), column)
            for column in stored.fields
        ]
        added = pa.table(whole, schema=stored.rows.schema)
        self.write(stored, pa.concat_tables([stored.rows, added]))
        return Outcome(target=made.target, rows_affected=incoming.num_rows)

    def _delete(self, made: Analysed, tree: exp.Expression, parameters: Mapping[str, Parameter]) -> Outcome:
        assert made.target is not None
        stored = self.find(made.target)
        if stored.is_streamed_into:
            raise Refused(
                400,
                "invalidQuery",
                f"UPDATE or DELETE statement over table {made.target} would affect rows in the streaming buffer, "
                "which is not supported",
            )
        condition = tree.args["where"].this.copy()
        kept = exp.select("*").from_(tree.this.copy()).where(exp.not_(exp.func("COALESCE", condition, exp.false())))
        rows = self._computed(made, kept, parameters, stored.fields)
        affected = stored.rows.num_rows - rows.num_rows
        if affected:
            self.write(stored, rows)
        return Outcome(target=made.target, rows_affected=affected)

    def _truncate_table(self, made: Analysed, tree: exp.Expression, parameters: Mapping[str, Parameter]) -> Outcome:
        assert made.target is not None
        stored = self.find(made.target)
        affected = stored.rows.num_rows
        self.write(stored, stored.rows.slice(0, 0))
        return Outcome(target=made.target, rows_affected=affected)

    def _drop_table(self, made: Analysed, tree: exp.Expression, parameters: Mapping[str, Parameter]) -> Outcome:
        assert made.target is not None
        try:
            self.drop(made.target)
        except Refused:
            if not made.node.is_if_exists:
                raise
        return Outcome(target=made.target)

    def _alter_table(self, made: Analysed, tree: exp.Expression, parameters: Mapping[str, Parameter]) -> Outcome:
        assert made.target is not None
        stored = self.find(made.target)
        fields = list(stored.fields)
        for action in made.node.parent.alter_action_list:
            added = getattr(action, action.WhichOneof("node"))
            if added.DESCRIPTOR.name != "ResolvedAddColumnActionProto":
                raise Refused(400, "invalidQuery", "ALTER TABLE does nothing here but ADD COLUMN.")
            column = defined(added.column_definition)
            if any(one["name"].lower() == column["name"].lower() for one in fields):
                continue  # GoogleSQL refuses it without IF NOT EXISTS.
            fields.append(column)
        self.write(stored, stored.rows, fields)
        return Outcome(target=made.target)

    # --- how ---------------------------------------------------------------------------------------------------------

    def _may_create(self, full_name: str, tree: exp.Expression, resource: dict[str, Any]) -> bool:
        """Whether the table is to be made; one that is there may stay. Raises Refused."""
        project, dataset, table = full_name.split(".")
        self.find_dataset(project, dataset)
        if full_name not in self.tables:
            return True
        if tree.args.get("replace"):
            new, old = layout(resource), layout(self.tables[full_name].resource)
            if new != old:
                raise Refused(
                    400,
                    "invalidQuery",
                    "Cannot replace a table with a different partitioning spec. Instead, DROP the table, and then "
                    f"recreate it. New partitioning spec is {new} and existing spec is {old}",
                )
            return True
        if tree.args.get("exists"):
            return False
        raise Refused(409, "duplicate", f"Already Exists: Table {project}:{dataset}.{table}")

    def _computed(
        self, made: Analysed, query: exp.Expression, parameters: Mapping[str, Parameter], fields: Schema
    ) -> pa.Table:
        """The rows of a query, in the types that GoogleSQL says. Raises Refused."""
        query = query.copy()
        registered: dict[tuple[str, datetime.datetime | None], str] = {}
        try:
            self._place(query, made.tables, registered, parameters)
            sql = translated(query, parameters, self._now)
            result = self._fetched(sql)
        finally:
            for name in registered.values():
                self._connection.execute(f'DROP VIEW IF EXISTS "{name}"')
                self._connection.unregister(f"{name}_rows")
        try:
            columns = [fitted(result.column(number), column) for number, column in enumerate(fields)]
        except pa.ArrowException as error:
            raise Refused(400, "invalidQuery", f"A value does not fit its type: {type(error).__name__}") from None
        return pa.table(columns, schema=arrow_schema(fields))

    def _place(
        self,
        query: exp.Expression,
        tables: Mapping[str, str],
        registered: dict[tuple[str, datetime.datetime | None], str],
        parameters: Mapping[str, Parameter],
    ) -> None:
        for table, full_name in mentions(query, tables):
            stored = self.find(full_name)
            if stored.kind == "VIEW":
                inner = parsed(stored.sql).copy()
                self._place(inner, self.analyse(stored.sql).tables, registered, {})
                table.replace(inner.subquery(exp.to_identifier(table.alias or table.name, quoted=True)))
                continue
            expression = moment_of(table)
            moment = None if expression is None else self._moment(expression, parameters, LOS_ANGELES)
            place = (full_name, moment)
            if place not in registered:
                registered[place] = self._registered(stored.at(moment))
            placed(table, registered[place])

    def _registered(self, version: Version) -> str:
        """A version as a view of DuckDB's, which has JSON as a type and no decimals beyond 38 digits."""
        name = f"t{next(self._numbers)}"
        wanted, columns = [], {}
        for column in version.fields:
            values = version.rows[column["name"]]
            if pa.types.is_decimal256(values.type):
                try:
                    values = values.cast(pa.decimal128(38, min(values.type.scale, 18)))
                except pa.ArrowInvalid:
                    continue
            elif pa.types.is_interval(values.type):
                continue
            columns[column["name"]] = values
            quoted = '"' + column["name"].replace('"', '""') + '"'
            is_json = column["type"] == "JSON" and column.get("mode") != "REPEATED"
            wanted.append(f"{quoted}::JSON AS {quoted}" if is_json else quoted)
        self._connection.register(f"{name}_rows", pa.table(columns))
        self._connection.execute(f'CREATE TEMP VIEW "{name}" AS SELECT {", ".join(wanted)} FROM "{name}_rows"')
        return name

    def _look_at_moments(self, made: Analysed, tree: exp.Expression, parameters: Mapping[str, Parameter]) -> None:
        """One point in time for a table in a statement, within what is kept, and not of a view. Raises Refused."""
        moments: dict[str, set[datetime.datetime | None]] = {}
        for table, full_name in mentions(tree, made.tables):
            expression = moment_of(table)
            moment = None if expression is None else self._moment(expression, parameters, LOS_ANGELES)
            stored = self.find(full_name)
            if moment is not None and stored.kind != "TABLE":
                raise Refused(400, "invalidQuery", f"FOR SYSTEM_TIME AS OF is not for views: {path_of(table)}")
            moments.setdefault(full_name, set()).add(moment)
        for full_name, found in moments.items():
            if len(found) > 1:
                raise Refused(400, "invalidQuery", f"Table {full_name} is read at more than one point in time.")
            (moment,) = found
            stored = self.find(full_name)
            if moment is None:
                continue
            present = self.clock()
            if moment > max(present, stored.modified + TICK) or moment < present - KEPT:
                said = "in the future" if moment > present else "more than 7 days ago"
                raise Refused(400, "invalidQuery", f"Invalid snapshot time for {full_name}: {moment:%F %T} is {said}.")
            stored.at(moment)

    def _moment(
        self, expression: exp.Expression, parameters: Mapping[str, Parameter] | None = None, zone: str = "UTC"
    ) -> datetime.datetime:
        """The time that a constant expression means. Raises Refused."""
        if expression.find(exp.Column, exp.Subquery, exp.Select):
            raise Refused(400, "invalidQuery", "FOR SYSTEM_TIME AS OF must be a constant expression.")
        if expression.find(exp.Parameter) and not self.may_parameters_travel:
            raise Refused(400, "invalidQuery", "FOR SYSTEM_TIME AS OF must be a constant expression, not a parameter.")
        self._connection.execute(f"SET TimeZone = '{zone}'")
        try:
            sql = translated(expression.copy(), parameters or {}, self._now)
            found = self._fetched(f"SELECT ({sql})::TIMESTAMPTZ AS m")
        finally:
            self._connection.execute("SET TimeZone = 'UTC'")
        moment: datetime.datetime = found.column(0).cast(pa.timestamp("us", "UTC"))[0].as_py()
        return moment

    def _now(self) -> str:
        return self.clock().isoformat()

    def _fetched(self, sql: str) -> pa.Table:
        try:
            return self._connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise Refused(400, "invalidQuery", _first_line(error)) from None


def _first_line(error: BaseException) -> str:
    return re.sub(r"^[\w ]+ Error: ", "", str(error).splitlines()[0])
