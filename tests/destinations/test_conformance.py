"""The conformance kit on our own adapters and on the destination in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.orbit import OrbitStandIn
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Server
from syncer.testing import AdapterTests, Bench, RecordTests
from tests.destinations.benches import (
    CustomerioBench,
    MemoryBench,
    OrbitBench,
    OrbitTagBench,
    OrbitTellingBench,
    SalesforceBench,
    SalesforceBulkBench,
    SalesforceByEmailBench,
    SalesforcePersonBench,
)


class TestMemory(RecordTests):
    @pytest.fixture
    def bench(self) -> Bench:
        return MemoryBench()


class TestOrbit(AdapterTests):
    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        standin = OrbitStandIn(api_key=OrbitBench.secrets[0])
        with Server({"": standin}):
            yield OrbitBench(standin)


class TestOrbitTags(AdapterTests):
    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        standin = OrbitStandIn(api_key=OrbitBench.secrets[0])
        with Server({"": standin}):
            yield OrbitTagBench(standin)


class TestOrbitTagsThatAreTold(AdapterTests):
    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        standin = OrbitStandIn(api_key=OrbitBench.secrets[0])
        with Server({"": standin}):
            yield OrbitTellingBench(standin)


class TestCustomerio(AdapterTests):
    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        api_key, app_key = CustomerioBench.secrets
        standin = CustomerioStandIn(api_key=api_key, app_key=app_key)
        with Server({"": standin}):
            yield CustomerioBench(standin)


class TestSalesforce(AdapterTests):
    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        standin = SalesforceStandIn()
        with Server({"": standin}):
            yield SalesforceBench(standin)


class TestSalesforceByEmail(AdapterTests):
    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        standin = SalesforceStandIn()
        with Server({"": standin}):
            yield SalesforceByEmailBench(standin)


class TestSalesforcePerson(AdapterTests):
    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        standin = SalesforceStandIn()
        with Server({"": standin}):
            yield SalesforcePersonBench(standin)


class TestSalesforceBulk(AdapterTests):
    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        standin = SalesforceStandIn()
        with Server({"": standin}):
            yield SalesforceBulkBench(standin)
