"""What several folders of tests share: a PostgreSQL server, and a BigQuery."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from destinations.standins.server import Server
from tests.postgres import PostgresServer, running
from tests.sources.bigquery_here import BigQueryHere
from tests.standins.bigquery import BigQueryStandIn, Storage


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: tests wait for servers and processes about a quarter of their time."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of the page share a daemon with a month of runs, so one worker has them all."""
    for item in items:
        if "tests/page/" in item.nodeid:
            item.add_marker(pytest.mark.xdist_group("page"))


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
