"""A small world for the engine: a warehouse, one sync, and a destination in memory that outlives each run.

stage.put("user_id VARCHAR, score DOUBLE", ("u_1", 72.0))
stage.map(field("score"))
stage.run()
assert {"u_1": {"score": 72.0}} == stage.records
"""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa
import pytest

from syncer import documents, sql
from syncer.account import Options, Prepared, Report
from syncer.change import Change, Value
from syncer.config import Config, Configured
from syncer.config_file import DatasetState, Delivery, DuckDBSource, LocalState, Service
from syncer.destination import Limits
from syncer.mapping import Brakes, Field, Sync
from syncer.plan import Plan
from syncer.run import Engine
from syncer.schedule import Schedule
from syncer.source import Reading, Source
from syncer.testing import Arrival, Decision, Memory, MemorySettings
from tests.sources.bigquery_here import BigQueryHere

SHARES = Brakes(mean_shift_max=1e9, quantile_shift_max=1e9, edge_share_max=1.0)
"""Only the brakes on shares of records: for tests whose scores jump on purpose."""

HOUR = 3600.0
DAY = 24 * HOUR


class Warehouse(Source):
    """One table, `people`, typed by DuckDB and kept in memory: a file would cost each test more than all the rest."""

    title = "the warehouse"

    def __init__(self) -> None:
        self._rows = _SHARED.cursor()
        self._lock = threading.Lock()
        self.changed_at: datetime.datetime | None = None

    def put(self, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        """Replace the table."""
        with self._lock:
            self._rows.execute(f"CREATE OR REPLACE TEMP TABLE people ({columns})")
            if rows:
                self._rows.executemany(f"INSERT INTO people VALUES ({', '.join('?' for _ in rows[0])})", rows)

    def load(self, table: pa.Table) -> None:
        """Replace the table by a large one."""
        with self._lock:
            self._rows.register("arriving", table)
            self._rows.execute("CREATE OR REPLACE TEMP TABLE people AS SELECT * FROM arriving")
            self._rows.unregister("arriving")

    def change(self, statement: str) -> None:
        """Run a statement on the table."""
        self._rows.execute(statement)

    def schema(self, sync: Sync) -> pa.Schema:
        with self._lock:
            return self._rows.sql("SELECT * FROM people LIMIT 0").to_arrow_table().schema

    def read(self, sync: Sync, columns: Sequence[str]) -> Reading:
        chosen = ", ".join(sql.name(column) for column in columns)
        with self._lock:
            return Reading(self._rows.sql(f"SELECT {chosen} FROM people").to_arrow_table().to_reader())

    def modified(self, sync: Sync) -> datetime.datetime | None:
        return self.changed_at


class There(Warehouse):
    """The same table in BigQuery, put there anew whenever it changes, as the types that BigQuery has."""

    def __init__(self, here: BigQueryHere) -> None:
        super().__init__()
        self._here = here

    def put(self, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        super().put(columns, rows)
        self._arrive()

    def load(self, table: pa.Table) -> None:
        super().load(table)
        self._arrive()

    def change(self, statement: str) -> None:
        super().change(statement)
        self._arrive()

    def _arrive(self) -> None:
        with self._lock:
            # Through text, so that 41.1 stays 41.1, as it would on its way into BigQuery.
            table = self._rows.sql("SELECT * FROM people").to_arrow_table()
            narrow = [sql.name(one.name) for one in table.schema if one.type == pa.float32()]
            if narrow:
                wide = ", ".join(f"{name}::VARCHAR::DOUBLE AS {name}" for name in narrow)
                table = self._rows.sql(f"SELECT * REPLACE ({wide}) FROM people").to_arrow_table()
        fields = [one.with_type(_google(one.type)) for one in table.schema]
        self._here.warehouse.put("activation.people", table.cast(pa.schema(fields)))


def _google(kind: pa.DataType) -> pa.DataType:
    """The type that a column of this type would have in BigQuery. Skips for one that could not go there."""
    if pa.types.is_nested(kind):
        pytest.skip("BigQuery's ARRAY and STRUCT are refused with a sentence, which tests/sources has.")
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if kind == pa.uint64():
        return pa.decimal128(38, 9)
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_floating(kind):
        return pa.float64()
    if pa.types.is_decimal(kind):
        return pa.decimal128(38, 9)
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return kind


_SHARED = duckdb.connect(":memory:")
"""Connecting costs more than a test's queries; each warehouse has a cursor, and a table of its own."""
_SHARED.execute("SET TimeZone = 'UTC'")


def field(name: str, column: str | None = None, **options: Any) -> Field:
    """A field of a mapping; its column is its own name unless it is a constant."""
    if column is None and "value" not in options:
        column = name
    return Field(name=name, column=column, **options)


@dataclass(frozen=True)
class Seen:
    """A plan that was looked at; its file is gone by now."""

    plan: Plan
    changes: list[Change]
    document: dict[str, Any]

    @property
    def fields(self) -> dict[str, dict[str, Value]]:
        """Key → what would leave."""
        return {change.key: dict(change.fields) for change in self.changes}

    @property
    def kinds(self) -> dict[str, str]:
        """Key → kind of its change."""
        return {change.key: change.kind for change in self.changes}

    @property
    def brakes(self) -> list[str]:
        """The brakes that hold."""
        return [hold.brake for hold in self.plan.holds]

    @property
    def invalid(self) -> list[tuple[str | None, str]]:
        """(key, reason) of the rows that never go out as they are."""
        return [(one.key, one.reason) for one in self.plan.invalid_rows]


class Stage:
    """Everything that one test of the engine needs. `now` is the engine's time and only moves by hand."""

    def __init__(
        self,
        folder: Path,
        *,
        batch: int = 100,
        source: Source | None = None,
        state: LocalState | DatasetState | None = None,
        there: BigQueryHere | None = None,
    ) -> None:
        self.folder = folder
        self.state = state or LocalState(path=str(folder / "state"))
        self.warehouse = There(there) if there else Warehouse()
        self.source = source or self.warehouse
        if there:
            self.source = there.source()
            # When the table changed is what a test says, as on disk; that BigQuery tells it is shown in tests/sources.
            self.source.modified = self.warehouse.modified  # type: ignore[method-assign]
        self.now = time.time()
        self.limits = Limits(records=batch, in_flight=1, timestamp_unit="microsecond")
        self.records: dict[str, dict[str, Value]] = {}
        self.arrived: list[Arrival] = []
        self.decide: Callable[[Change], Decision] = lambda change: "accepted"
        self.stop = threading.Event()
        self.options: dict[str, Any] = {
            "name": "memory.people",
            "destination": "memory",
            "source": "activation.people" if there else "people",
            "key": "user_id",
            "object": "person",
            "match": {"id": "user_id"},
            "missing": "create",
            "brakes": Brakes(),
            "file": folder / "memory.toml",
        }
        self._engine: Engine | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.restart()

    # --- what a test arranges ----------------------------------------------------------------------------------

    def put(self, columns: str, *rows: Sequence[Any]) -> None:
        """Replace the table `people`; `columns` as in CREATE TABLE."""
        self.warehouse.put(columns, rows)

    def sql(self, statement: str) -> None:
        """Change the table by a statement."""
        self.warehouse.change(statement)

    def map(self, *fields: Field, **options: Any) -> None:
        """Replace the mapping; options of the sync stay as they were unless they are given."""
        self.options |= options
        if fields:
            self.options["fields"] = fields

    def restart(self) -> None:
        """What another process would be: nothing is remembered but the files."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        self.stop = threading.Event()

    # --- what the engine does ----------------------------------------------------------------------------------

    @property
    def sync(self) -> Sync:
        """The sync as the mapping says it now."""
        return Sync(**self.options)

    @property
    def engine(self) -> Engine:
        """One process's engine."""
        if self._engine is None:
            config = Config(
                file=self.folder / "config.toml",
                folder=self.folder,
                source=DuckDBSource(type="duckdb", path="warehouse.duckdb"),
                state=self.state,
                destinations={"memory": Configured("memory", "memory", MemorySettings())},
                syncs=(),
                schedule=Schedule(),
                brakes=Brakes(),
                service=Service(),
                delivery=Delivery(),
            )
            self._engine = Engine(config, self.source, lambda kind: self._adapter(), self.stop, lambda: self.now)
        return self._engine

    def prepare(self) -> Prepared:
        """The sync, fitted to the source."""
        return self.engine.prepare(self.sync)

    def plan(self, only: Sequence[str] = ()) -> Seen:
        """What a run would send."""
        with self.engine.diff(self.prepare(), only) as plan:
            return Seen(plan, list(plan.changes()), documents.diff(plan, "Memory"))

    def run(self, **options: Any) -> Report:
        """One run; what arrived in it is in `arrived`."""
        self.arrived.clear()
        return self.engine.run(self.prepare(), Options(**options))

    @property
    def sent(self) -> dict[str, dict[str, Value]]:
        """Value of the match → what arrived for it in the last run."""
        return {"/".join(arrival.match.values()): dict(arrival.fields) for arrival in self.arrived}

    @property
    def state_folder(self) -> Path:
        """Where the sync's state files are."""
        return self.folder / "state" / "memory.people"

    def parked(self) -> list[str]:
        """Keys of the parked records."""
        return [one.key for one in self.engine.control().parked(self.sync.name)]

    def _adapter(self) -> type[Memory]:
        stage = self

        class Shared(Memory):
            """Memory whose records belong to the stage, because a run makes its own destination object."""

            def __init__(self, name: str, settings: MemorySettings, transport: Any) -> None:
                super().__init__(name, settings, transport, decide=lambda change: stage.decide(change))
                self.records = stage.records
                self.log = stage.arrived

            def limits(self, sync: Sync) -> Limits:
                return stage.limits

        return Shared


def deciding(decisions: Mapping[str, Decision]) -> Callable[[Change], Decision]:
    """What becomes of some keys; the others are accepted."""
    return lambda change: decisions.get(change.key, "accepted")
