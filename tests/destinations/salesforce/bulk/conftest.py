"""The adapter that sends every batch as jobs, held ones and such as are too large for that, for every test of jobs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from destinations.standins.salesforce import SalesforceStandIn
from tests.destinations.salesforce.bulk.rig import Bulky, Stretched
from tests.destinations.salesforce.rig import Open, openings


@pytest.fixture(params=[Bulky, Stretched], ids=["held", "stretch"])
def open_destination(standin: SalesforceStandIn, request: pytest.FixtureRequest) -> Iterator[Open]:
    yield from openings(standin, request.param, pace=10_000)
