"""A stand-in of customer.io, and the adapter on it, for every test of the adapter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from destinations.customerio import Customerio
from destinations.standins.customerio import CustomerioStandIn
from tests.destinations.customerio.world import Open, opener, served


@pytest.fixture
def standin() -> Iterator[CustomerioStandIn]:
    yield from served()


@pytest.fixture
def open_destination(standin: CustomerioStandIn) -> Iterator[Open]:
    yield from opener(standin)


@pytest.fixture
def destination(open_destination: Open) -> Customerio:
    return open_destination()
