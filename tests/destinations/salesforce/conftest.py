"""A stand-in of Salesforce, and the adapter on it, for every test of the adapter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from destinations.standins.salesforce import SalesforceStandIn
from tests.destinations.salesforce.rig import Open, a_standin, openings


@pytest.fixture
def standin() -> Iterator[SalesforceStandIn]:
    yield from a_standin()


@pytest.fixture
def open_destination(standin: SalesforceStandIn) -> Iterator[Open]:
    yield from openings(standin)
