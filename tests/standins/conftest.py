"""A BigQuery on loopback, and Google's own clients that talk to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pyarrow as pa
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

from destinations.standins.server import Server
from tests.standins.bigquery import BigQueryStandIn, Storage, Warehouse


@dataclass
class Here:
    """The stand-in and its clients. `score.users` has three people, `st` is empty."""

    rest: BigQueryStandIn
    storage: Storage
    client: bigquery.Client
    reader: BigQueryReadClient

    @property
    def warehouse(self) -> Warehouse:
        return self.rest.warehouse

    def query(self, sql: str, **options: Any) -> bigquery.QueryJob:
        """A finished job. Raises what the client raises."""
        parameters = options.pop("parameters", [])
        job = self.client.query(
            sql,
            job_config=bigquery.QueryJobConfig(query_parameters=parameters, **options),
            job_retry=None,
            retry=None,
            timeout=10,
        )
        job.result(timeout=20, job_retry=None, retry=None)
        return job

    def rows(self, sql: str, **options: Any) -> list[dict[str, Any]]:
        """What a query returns."""
        return [dict(row) for row in self.query(sql, **options).result(retry=None)]


@pytest.fixture
def here() -> Iterator[Here]:
    rest = BigQueryStandIn()
    rest.warehouse.put("scores.users", USERS, USERS_FIELDS)
    rest.warehouse.datasets.add("st")
    with Storage(rest.warehouse) as storage, Server({"": rest}):
        client = bigquery.Client(
            project="acme",
            location="EU",
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": rest.url},
        )
        channel = grpc.insecure_channel(storage.url.removeprefix("http://"))
        with channel:
            yield Here(rest, storage, client, BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel)))
        client.close()
    rest.warehouse.close()


USERS_FIELDS = [
    {"name": "user_id", "type": "STRING", "mode": "NULLABLE"},
    {"name": "score", "type": "FLOAT", "mode": "NULLABLE"},
    {"name": "visits", "type": "INTEGER", "mode": "NULLABLE"},
    {"name": "tags", "type": "STRING", "mode": "REPEATED"},
    {"name": "props", "type": "JSON", "mode": "NULLABLE"},
]
USERS = pa.table(
    {
        "user_id": ["ada", "ben", "cleo"],
        "score": [41.5, 72.0, None],
        "visits": pa.array([3, None, 5], pa.int64()),
        "tags": [["new"], [], None],
        "props": ['{"b": 1, "a": 2}', None, "null"],
    }
)
