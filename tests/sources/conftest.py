"""What the tests of the BigQuery source share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from destinations.standins.server import Server
from tests.sources.bigquery_here import BigQueryHere, reading_threads
from tests.standins.bigquery import BigQueryStandIn, Storage


@pytest.fixture
def here() -> Iterator[BigQueryHere]:
    rest = BigQueryStandIn()
    with Storage(rest.warehouse) as storage, Server({"": rest}):
        yield BigQueryHere(rest, storage)
    rest.warehouse.close()
    left = reading_threads()

    assert [] == left
