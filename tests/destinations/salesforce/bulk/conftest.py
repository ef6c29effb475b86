"""The adapter that sends every batch as jobs, for every test of bulk jobs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from destinations.standins.salesforce import SalesforceStandIn
from tests.destinations.salesforce.bulk.rig import Bulky
from tests.destinations.salesforce.rig import Open, openings


@pytest.fixture
def open_destination(standin: SalesforceStandIn) -> Iterator[Open]:
    yield from openings(standin, Bulky, pace=10_000)
