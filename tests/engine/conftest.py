"""The stage on which the engine is tested."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from destinations.standins.server import Server
from tests.engine.stage import Stage
from tests.sources.bigquery_here import BigQueryHere
from tests.standins.bigquery import BigQueryStandIn, Storage


@pytest.fixture(params=["local", "bigquery"])
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    there = request.getfixturevalue("bigquery") if request.param == "bigquery" else None
    with Stage(tmp_path, there=there) as made:
        yield made


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
