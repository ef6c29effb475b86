"""A person at Salesforce from lead to contact, through files, engine and adapter; nothing is sent twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import destinations
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Server
from syncer.account import Report
from syncer.config import load
from syncer.run import Engine
from syncer.sources import source_of
from tests.workplace import NO_BRAKES, Workplace

MAPPING = """
[[sync]]
name = "people"
source = "people"
key = "user_id"
object = ["Contact", "Lead"]
match = { Email = "email" }

[sync.fields]
Activation_Score__c = "score"
Usage_Score__c = "usage"
"""


class Sales:
    """Salesforce with one lead, and the engine over a warehouse that knows the same person."""

    def __init__(self, folder: Path) -> None:
        self.org = SalesforceStandIn()
        self.workplace = Workplace(folder)
        self.workplace.sql(
            "CREATE TABLE people AS SELECT 'u1' AS user_id, 'ada@example.com' AS email, 41.5 AS score, 7.5 AS usage"
        )

    def run(self, statement: str | None = None) -> Report:
        if statement:
            self.workplace.sql(statement)
        self.org.log.clear()
        config = load(self.workplace.folder / "config.toml", destinations.adapter, destinations.kinds)
        engine = Engine(config, source_of(config.source), destinations.adapter)
        try:
            return engine.run(engine.prepare(config.syncs[0]))
        finally:
            engine.close()

    def scores(self, object_name: str) -> list[tuple[Any, Any]]:
        return [(one["Activation_Score__c"], one["Usage_Score__c"]) for one in self.org.records(object_name)]

    def writes(self) -> list[bytes]:
        return [one.request.body for one in self.org.log if "/composite/" in one.request.path]


@pytest.fixture
def sales(tmp_path: Path) -> Iterator[Sales]:
    made = Sales(tmp_path)
    with Server({"": made.org}):
        made.workplace.write({"salesforce": made.org.settings()}, {"salesforce": MAPPING}, NO_BRAKES)
        yield made


def test_a_lead_that_becomes_a_contact(sales: Sales) -> None:
    """The lead's scores arrive; after its conversion the next change brings the contact everything that it lacks, and
    from then on only what changes."""
    lead = sales.org.put("Lead", LastName="Lovelace", Company="Engines", Email="ada@example.com")
    first = sales.run()
    assert ("done", 1, [(41.5, 7.5)]) == (first.result, first.delivered.accepted, sales.scores("Lead"))

    with sales.org.lock:
        sales.org.org.convert(lead)
    assert 0 == sales.run().delivered.planned
    assert [] == sales.writes()

    second = sales.run("UPDATE people SET score = 50")
    assert ("done", 1, [(50.0, 7.5)]) == (second.result, second.delivered.accepted, sales.scores("Contact"))

    third = sales.run("UPDATE people SET score = 60")
    assert ("done", [(60.0, 7.5)]) == (third.result, sales.scores("Contact"))
    assert [] == [body for body in sales.writes() if b"Usage_Score__c" in body]
    assert [(41.5, 7.5)] == sales.scores("Lead")


def test_nobody_is_made_where_nobody_is(sales: Sales) -> None:
    """With missing = "skip" a person who is neither is parked as missing, by a sentence that names both."""
    report = sales.run()

    assert {("rejected", "missing"): 1} == dict(report.delivered.reasons)
    assert ([], []) == (sales.org.records("Lead"), sales.org.records("Contact"))
