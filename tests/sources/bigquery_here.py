"""Both halves of the BigQuery stand-in, and sources that read from them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from syncer.config_file import BigQuerySource
from syncer.errors import UserError
from syncer.mapping import Brakes, Field, Sync
from syncer.source import Reading
from syncer.sources.bigquery import BigQuery, Patience
from tests.standins.bigquery import BigQueryStandIn, Storage, Stored

PATIENCE = Patience(
    repeat_seconds=5.0,
    wait_first_seconds=0.01,
    wait_max_seconds=0.05,
    conflict_seconds=5.0,
    job_seconds=20.0,
    job_attempts=3,
    stream_resumes=3,
)


def settings(**options: Any) -> BigQuerySource:
    return BigQuerySource(**({"type": "bigquery", "project": "acme", "location": "EU", "timeout": 20.0} | options))


class BigQueryHere:
    """Both halves of the stand-in, and sources that read from them."""

    def __init__(self, rest: BigQueryStandIn, storage: Storage) -> None:
        self.rest = rest
        self.storage = storage
        self.warehouse = rest.warehouse

    def source(self, patience: Patience = PATIENCE, **options: Any) -> BigQuery:
        addresses = {"endpoint": self.rest.url, "storage_endpoint": self.storage.url}
        return BigQuery(settings(**(addresses | options)), patience=patience)

    def users(self, count: int = 1000, **options: Any) -> Stored:
        """Put `activation.users` there: user_0000 …, with score = its number."""
        return self.warehouse.put("activation.users", users(count), **options)

    def empty(self) -> None:
        """As if it had just been started, which takes longer."""
        self.warehouse.tables.clear()
        self.warehouse.datasets.clear()
        self.rest.jobs.clear()
        self.rest.log.clear()

    @property
    def paths(self) -> list[str]:
        return [f"{exchange.request.method} {exchange.request.path}" for exchange in self.rest.log]


def users(count: int) -> pa.Table:
    numbers = list(range(count))
    return pa.table(
        {
            "user_id": pa.array([f"user_{number:04}" for number in numbers], pa.string()),
            "score": pa.array([float(number) for number in numbers], pa.float64()),
            "is_active": pa.array([number % 2 == 0 for number in numbers], pa.bool_()),
            "note": pa.array(["never read"] * count, pa.string()),
        }
    )


def reading_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("bigquery-")]


def sync(source: str | None = "activation.users", **options: Any) -> Sync:
    made: dict[str, Any] = {
        "name": "salesforce.contacts",
        "destination": "salesforce",
        "source": source,
        "key": "user_id",
        "object": "Contact",
        "match": {"Product_User_Id__c": "user_id"},
        "fields": (Field(name="Score__c", column="score"),),
        "brakes": Brakes(),
        "file": Path("mappings/salesforce.toml"),
    }
    return Sync(**(made | options))


def query(text: str, **options: Any) -> Sync:
    return sync(None, query=text, **options)


def taken(reading: Reading) -> pa.Table:
    """All rows of a reading, sorted by the first column."""
    try:
        table = reading.batches.read_all()
    finally:
        reading.close()
    return table.sort_by(table.schema.names[0])


def refused(source: BigQuery, one: Sync, columns: tuple[str, ...] = ("user_id",)) -> str:
    with pytest.raises(UserError) as caught:
        taken(source.read(one, columns))
    return str(caught.value)
