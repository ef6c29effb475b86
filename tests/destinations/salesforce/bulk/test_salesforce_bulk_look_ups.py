"""Look-ups of the Salesforce adapter as query jobs of Bulk API 2.0."""

from __future__ import annotations

import pytest

from destinations.salesforce_parts.bulk_query import QUERIES_WORTH
from destinations.salesforce_parts.soql import VALUES_MAX
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import HTML, Answer
from syncer.errors import ServiceUnavailable
from syncer.mapping import Field
from tests.destinations.salesforce.bulk.rig import BOTH, CREATING, NAME, TITLE, Pushed, accepted, people
from tests.destinations.salesforce.rig import (
    BY_EMAIL,
    Open,
    a_change,
    a_sync,
    sent,
)

MANY = QUERIES_WORTH * VALUES_MAX + 1
"""Addresses that need one query more than a query job with all that belongs to it."""


def put_people(standin: SalesforceStandIn, count: int) -> None:
    for number in range(count):
        standin.put("Contact", LastName="P", Email=f"P{number}@example.com")


def queries(standin: SalesforceStandIn) -> list[str]:
    """What was asked in SOQL, shortened to its kind."""
    found = []
    for request in sent(standin, "GET", "/query"):
        if "/jobs/" not in request.path:
            found.append("count" if "COUNT" in request.query["q"][0] else "values")
    return found + ["job" for _ in sent(standin, "POST", "/jobs/query")]


@pytest.mark.parametrize(("count", "asked"), [(MANY - 1, ["values"] * QUERIES_WORTH), (MANY, ["count", "job"])])
def test_many_look_ups_become_one_job(
    standin: SalesforceStandIn, open_destination: Open, count: int, asked: list[str]
) -> None:
    """From so many values on that a query job needs fewer requests, all records are read, and ours are kept."""
    standin.bulk_query.page_rows = 100
    put_people(standin, count - 1)
    standin.put("Contact", LastName="Twin", Email="p0@example.com")
    standin.put("Contact", LastName="Stranger", Email="stranger@example.com")
    found = Pushed(open_destination().push(a_sync(match=BY_EMAIL, fields=BOTH), people(count)))

    assert {"u_0": "rejected ambiguous", f"u_{count - 1}": "rejected missing"} == {
        key: result for key, result in found.results.items() if result != "accepted"
    }
    assert count == len(found.results)
    assert asked == queries(standin)


def test_large_object_is_not_read_whole(standin: SalesforceStandIn, open_destination: Open) -> None:
    """When the object holds so many records that reading them needs more requests, the values are asked for."""
    put_people(standin, MANY)
    answer = Answer(200, {"totalSize": 10_000_000, "done": True, "records": []})
    standin.trouble("status", when=lambda request: "COUNT" in request.query_text, answer=answer)
    changes = people(MANY)

    assert accepted(changes) == Pushed(open_destination().push(a_sync(match=BY_EMAIL, fields=BOTH), changes)).results
    assert ["count", *["values"] * (QUERIES_WORTH + 1)] == queries(standin)


@pytest.mark.parametrize("trouble", ["fails", "cut", "gone", "page", "refused", "same page"])
def test_queries_stand_in_for_a_job_in_vain(standin: SalesforceStandIn, open_destination: Open, trouble: str) -> None:
    """When a query job comes to nothing, or lacks a row, the values are asked for, and nobody is made twice."""
    put_people(standin, MANY)
    at_results = lambda request: request.path.endswith("/results")  # noqa: E731 - a predicate.
    at_creation = lambda request: request.method == "POST" and "/jobs/query" in request.path  # noqa: E731 - as above.
    header = {"Content-Type": "text/csv", "Sforce-Locator": "7"}
    match trouble:
        case "fails":
            standin.bulk_query.fails = True
        case "cut":
            standin.bulk_query.results_cut = 1
        case "gone":
            answer = Answer(404, [{"errorCode": "NOT_FOUND", "message": "gone"}])
            standin.trouble("status", when=at_results, answer=answer)
        case "page":
            standin.trouble("status", when=at_results, answer=Answer(200, HTML))
        case "refused":
            answer = Answer(400, [{"errorCode": "API_ERROR", "message": "no"}])
            standin.trouble("status", when=at_creation, answer=answer)
        case _:
            standin.trouble("status", when=at_results, times=None, answer=Answer(200, b'"Id","Email"\n', header))
    changes = people(MANY)
    found = Pushed(open_destination().push(a_sync(match=BY_EMAIL, **CREATING), changes))

    assert accepted(changes) == found.results
    assert MANY == len(standin.records("Contact"))
    assert (QUERIES_WORTH + 1) == queries(standin).count("values")


def test_leads_are_read_whole_too(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Of leads one job reads those that can be changed, and another those that were converted."""
    fields = (NAME, TITLE, Field(name="Company", column="company", type="text"))
    for number in range(2):
        standin.put("Lead", LastName="A", Company="C", Email=f"p{number}@example.com")
    with standin.lock:
        standin.org.convert(standin.records("Lead")[0]["Id"])
    changes = [
        a_change(f"u_{n}", {"Email": f"p{n}@example.com"}, "new", LastName="L", Company="C") for n in range(MANY + 1)
    ]
    found = Pushed(open_destination().push(a_sync("Lead", BY_EMAIL, fields, missing="create"), changes))

    assert {"u_0": "rejected converted"} == {k: v for k, v in found.results.items() if v != "accepted"}
    assert MANY + 1 == len(standin.records("Lead"))
    assert ["count", "count", "job", "job"] == queries(standin)


def test_many_look_ups_are_foretold(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A batch whose look-ups become a query job costs as many requests as was said, when one look is enough."""
    standin.ingest.delay = standin.bulk_query.delay = 0
    put_people(standin, MANY)
    destination, sync, changes = open_destination(), a_sync(match=BY_EMAIL, fields=BOTH), people(MANY)
    Pushed(destination.push(sync, changes[:1]))
    before = standin.count
    Pushed(destination.push(sync, changes))

    assert destination.requests(sync, changes) == standin.count - before


def test_look_up_that_is_never_answered_leaves_no_doubt(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A query job that does not end in time has written nothing."""
    put_people(standin, MANY)
    standin.bulk_query.delay = 10**6
    destination = open_destination(bulk_patience=10)
    found = Pushed(destination.push(a_sync(match=BY_EMAIL, **CREATING), people(MANY)))

    assert ([], []) == (found.outcomes, found.jobs)
    assert isinstance(found.error, ServiceUnavailable)
    assert not found.error.doubt
