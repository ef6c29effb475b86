"""What lies in the warehouse: datasets, and tables with all their versions, as Arrow."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tests.standins.bigquery.columns import (
    Schema,
    all_paths,
    arrow_field,
    arrow_schema,
    cut,
    field_of,
    fitted,
    pruned,
    wrong_names,
)

KEPT = datetime.timedelta(days=7)
"""How far back a table can be read: docs.cloud.google.com/bigquery/docs/time-travel."""

TICK = datetime.timedelta(milliseconds=1)


class Refused(Exception):
    """An answer that is an error: HTTP status, BigQuery's reason, message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


def now() -> datetime.datetime:
    """The time, as far as nobody sets another clock."""
    return datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True)
class Version:
    """What a table held from a moment on."""

    since: datetime.datetime
    fields: Schema
    rows: pa.Table


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
    """Moves with every write, also of what is said about the table: it is the etag."""
    modified: datetime.datetime = field(default_factory=now)
    created: datetime.datetime = field(default_factory=now)
    is_streamed_into: bool = False
    sql: str = ""
    """Of a view."""
    resource: dict[str, Any] = field(default_factory=dict)
    """What the REST interface tells of a table besides: description, labels, partitioning, clustering."""
    expires: datetime.datetime | None = None
    past: list[Version] = field(default_factory=list)

    @property
    def full_name(self) -> str:
        return f"{self.project}.{self.dataset}.{self.name}"

    @property
    def title(self) -> str:
        """As messages of the service name it."""
        return f"{self.project}:{self.dataset}.{self.name}"

    def at(self, moment: datetime.datetime | None) -> Version:
        """What the table holds, or held at a moment. Raises Refused before its time."""
        current = Version(self.modified, self.fields, self.rows)
        if moment is None or moment >= self.modified:
            return current
        held = [one for one in self.past if one.since <= moment]
        if not held:
            raise Refused(
                400,
                "invalidQuery",
                f"Invalid snapshot time {round(moment.timestamp() * 1000)} for table {self.title}@"
                f"{round(moment.timestamp() * 1000)}. Cannot read before {round(self.created.timestamp() * 1000)}",
            )
        return held[-1]


class Catalog:
    """The tables of one location. Every method takes the lock."""

    def __init__(self, project: str = "acme", location: str = "EU") -> None:
        self.project = project
        self.location = location
        self.tables: dict[str, Stored] = {}
        self.datasets: set[str] = set()
        """Those that are there without a table in them."""
        self.default_expiration_ms: int | None = None
        """What every dataset says of the tables to come; none is deleted for it here."""
        self.clock: Callable[[], datetime.datetime] = now
        self.lock = threading.RLock()

    def put(self, name: str, rows: pa.Table, fields: Schema | None = None, kind: str = "TABLE") -> Stored:
        """Store a table under DATASET.TABLE, replacing one that is there; `fields` default to what Arrow says."""
        dataset, table = name.split(".")
        return self.replace(
            f"{self.project}.{dataset}.{table}", fields or [field_of(one) for one in rows.schema], rows, kind
        )

    def replace(self, full_name: str, fields: Schema, rows: pa.Table, kind: str = "TABLE") -> Stored:
        """A new table, or in place of what was there another: other columns, other rows, the same history."""
        project, dataset, table = full_name.split(".")
        with self.lock:
            moment = self._instant()
            shaped = _shaped(rows, fields)
            stored = Stored(project, dataset, table, fields, shaped, kind, created=moment, modified=moment)
            before = self.tables.get(full_name)
            if before is not None:
                self._follow(stored, before)
            self.tables[full_name] = stored
            return stored

    def create(self, full_name: str, fields: Schema) -> Stored:
        """A new table without rows."""
        return self.replace(full_name, fields, arrow_schema(fields).empty_table())

    def write(self, stored: Stored, rows: pa.Table, fields: Schema | None = None) -> None:
        """Other rows for a table that is there, and columns when it gets more."""
        with self.lock:
            before = Version(stored.modified, stored.fields, stored.rows)
            fields = fields or stored.fields
            stored.rows = _shaped(rows, fields)
            stored.fields = fields
            stored.past.append(before)
            stored.modified = max(self._instant(), before.since + TICK)
            self.touch(stored)

    def stream(self, stored: Stored, rows: pa.Table) -> None:
        """Rows that arrive by streaming: they are seen at once, and the table's time does not move.

        That it lags is documented, by how much is not.
        """
        with self.lock:
            stored.rows = pa.concat_tables([stored.rows, _shaped(rows, stored.fields)])
            stored.is_streamed_into = True

    def touch(self, stored: Stored) -> None:
        """Something about the table is other than before."""
        stored.version += 1

    def drop(self, full_name: str) -> None:
        """Forget a table that is there. Raises Refused."""
        with self.lock:
            self.datasets.add(self.find(full_name).dataset)
            del self.tables[full_name]

    def find(self, full_name: str) -> Stored:
        """The table or view of this name. Raises Refused."""
        project, dataset, table = full_name.split(".")
        with self.lock:
            stored = self.tables.get(full_name)
            if stored is not None and stored.expires is not None and stored.expires <= self.clock():
                self.datasets.add(dataset)
                del self.tables[full_name]
                stored = None
        if stored is None:
            raise Refused(
                404,
                "notFound",
                f"Not found: Table {project}:{dataset}.{table} was not found in location {self.location}",
            )
        return stored

    def find_dataset(self, project: str, dataset: str) -> None:
        """Nothing, if the dataset is there. Raises Refused."""
        with self.lock:
            if dataset not in self.datasets and not any(
                (one.project, one.dataset) == (project, dataset) for one in self.tables.values()
            ):
                raise Refused(
                    404,
                    "notFound",
                    f"Not found: Dataset {project}:{dataset} was not found in location {self.location}",
                )

    def cut(self, stored: Stored, rows: pa.Table, paths: Sequence[str]) -> tuple[Schema, pa.Table]:
        """These columns (`a.b` for a part), in the table's own order, of rows of the table. Raises Refused."""
        known = {".".join(path) for path in all_paths(stored.fields)}
        for path in paths:
            if path not in known:
                raise Refused(
                    400,
                    "invalid",
                    f"request failed: The following selected fields do not exist in the table schema: {path}",
                )
        fields = pruned(stored.fields, [tuple(path.split(".")) for path in paths]) if paths else stored.fields
        columns = [cut(rows[column["name"]], column) for column in fields]
        return fields, pa.table(columns, schema=arrow_schema(fields))

    def _instant(self) -> datetime.datetime:
        """Now, as exact as a table tells its time: in milliseconds."""
        present = self.clock()
        return present.replace(microsecond=present.microsecond // 1000 * 1000)

    def _follow(self, stored: Stored, before: Stored) -> None:
        stored.version = before.version + 1
        stored.created = before.created
        stored.modified = max(self._instant(), before.modified + TICK)
        stored.past = [*before.past, Version(before.modified, before.fields, before.rows)]


def _shaped(rows: pa.Table, fields: Schema) -> pa.Table:
    """The rows in the columns' own types; columns that the rows lack are null. Raises Refused for a wrong name."""
    if wrong := wrong_names(fields):
        raise Refused(400, "invalid", f'Invalid field name "{wrong[0]}".')
    columns = []
    for column in fields:
        if column["name"] in rows.schema.names:
            columns.append(fitted(rows[column["name"]], column))
        else:
            empty = [] if column.get("mode") == "REPEATED" else None
            columns.append(pa.chunked_array([pa.array([empty] * rows.num_rows, arrow_field(column).type)]))
    return pa.table(columns, schema=arrow_schema(fields))
