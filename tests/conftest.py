"""What several folders of tests share: a PostgreSQL server, and a BigQuery."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from destinations.standins.server import Server
from tests.postgres import PostgresServer, running
from tests.sources.bigquery_here import BigQueryHere
from tests.standins.bigquery import BigQueryStandIn, Storage


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One for each worker, started when the first test asks for it."""
    with running() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> PostgresServer:
    """The server, with an empty store."""
    postgres_server.emptied()
    return postgres_server


@pytest.fixture(scope="session")
def bigquery_server() -> Iterator[BigQueryHere]:
    rest = BigQueryStandIn()
    with Storage(rest.warehouse) as storage, Server({"": rest}):
        yield BigQueryHere(rest, storage)
    rest.warehouse.close()


@pytest.fixture
def bigquery(bigquery_server: BigQueryHere) -> BigQueryHere:
    """A BigQuery in which nothing lies: the server is the session's, because it takes seconds to start."""
    bigquery_server.empty()
    return bigquery_server
