"""Bulk API 2.0 of the Salesforce adapter: the vendor's client over real HTTP against the strict stand-in."""

from __future__ import annotations

import datetime
import json
import threading
import tomllib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from destinations.salesforce import Salesforce
from destinations.salesforce_parts.bulk import RECORDS_MAX, UPLOADS_MAX, fault_of
from destinations.salesforce_parts.bulk_query import QUERIES_WORTH
from destinations.salesforce_parts.collections import wire
from destinations.salesforce_parts.csv_rows import cells, encoded, header_bytes
from destinations.salesforce_parts.settings import SalesforceSettings
from destinations.salesforce_parts.soql import VALUES_MAX
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.salesforce_parts.bulk import HARD_ERROR
from destinations.standins.server import HTML, Answer, Request, Server
from syncer.change import Change, Job, Outcome
from syncer.errors import DestinationUnusable, ServiceUnavailable, Stopping, SyncerError
from syncer.mapping import Field, Sync
from syncer.transport import Gate, Transport
from tests.destinations.salesforce_rig import (
    BY_EMAIL,
    BY_ID,
    BY_USER_ID,
    SCORE,
    a_change,
    a_sync,
    for_user,
    put_contacts,
    results,
    scores,
    sent,
)

TITLE = Field(name="Title", column="title", type="text")
NAME = Field(name="LastName", column="name", type="text")
BOTH = (SCORE, TITLE, NAME)
CREATING: dict[str, Any] = {"missing": "create", "fields": BOTH}


class Bulky(Salesforce):
    """Sends every batch as jobs, also those that would be too small for it."""

    collections_max: ClassVar[int] = 0


@pytest.fixture
def standin() -> Iterator[SalesforceStandIn]:
    service = SalesforceStandIn()
    with Server({"": service}):
        yield service


Open = Callable[..., Salesforce]


@pytest.fixture
def open_destination(standin: SalesforceStandIn) -> Iterator[Open]:
    """Opens the adapter on the stand-in; keyword arguments are settings, `stop`, `attempts` and `kind`."""
    opened: list[Transport] = []

    def make(
        *,
        stop: threading.Event | None = None,
        attempts: int = 3,
        kind: type[Salesforce] = Bulky,
        **settings: Any,
    ) -> Salesforce:
        parsed = SalesforceSettings.model_validate(tomllib.loads(standin.settings()) | settings)
        transport = Transport(
            Gate(kind.pace(parsed.model_copy(update={"pace": 10_000}))),
            title=kind.title,
            stop=stop or threading.Event(),
            timeout=5,
            attempts=attempts,
            wait_first=0.001,
            wait_max=0.002,
        )
        opened.append(transport)
        return kind("salesforce", parsed, transport)

    yield make
    for transport in opened:
        transport.close()


class Pushed:
    """What a batch yielded until it ended, and the error that ended it."""

    def __init__(self, found: Iterator[Outcome | Job]) -> None:
        self.outcomes: list[Outcome] = []
        self.jobs: list[str] = []
        self.error: SyncerError | None = None
        try:
            for one in found:
                if isinstance(one, Job):
                    self.jobs.append(one.text)
                else:
                    self.outcomes.append(one)
        except SyncerError as error:
            self.error = error
        keys = [outcome.key for outcome in self.outcomes]

        assert sorted(set(keys)) == sorted(keys)

    @property
    def results(self) -> dict[str, str]:
        return results(self.outcomes)

    @property
    def doubts(self) -> dict[str, bool]:
        return {outcome.key: outcome.doubt for outcome in self.outcomes}


def steps(standin: SalesforceStandIn) -> list[str]:
    """The requests about jobs so far, as words."""
    found = []
    for exchange in standin.log:
        request = exchange.request
        if "/jobs/ingest" not in request.path:
            continue
        match request.method:
            case "POST":
                found.append(f"create {request.json()['operation']}")
            case "PUT":
                found.append("upload")
            case "PATCH":
                found.append(request.json()["state"])
            case _:
                last = request.parts[-1]
                found.append("look" if last.startswith("750") else last)
    return found


def is_step(name: str) -> Callable[[Request], bool]:
    """Picks the requests that do this step of an ingest job."""

    def when(request: Request) -> bool:
        if "/jobs/ingest" not in request.path:
            return False
        last = request.parts[-1]
        return {
            "create": request.method == "POST",
            "upload": request.method == "PUT",
            "close": request.method == "PATCH" and b"UploadComplete" in request.body,
            "look": request.method == "GET" and last.startswith("750"),
        }.get(name, last == name)

    return when


RESULTS = ["successfulResults", "failedResults", "unprocessedrecords"]
STEPS = ["create", "upload", "close", "look", *RESULTS]
WHOLE_JOB = ["upload", "UploadComplete", "look", "look", *RESULTS]


def uploads(standin: SalesforceStandIn) -> list[str]:
    return [request.body.decode() for request in sent(standin, "PUT", "/batches")]


def accepted(changes: Sequence[Change]) -> dict[str, str]:
    return {change.key: "accepted" for change in changes}


def people(count: int) -> list[Change]:
    """New people by their address, as a nightly run has them."""
    return [
        a_change(f"u_{n}", {"Email": f"p{n}@example.com"}, "new", LastName=f"P {n}", Title=f"T {n}")
        for n in range(count)
    ]


# Settings and limits


def test_patience_is_seconds_or_a_span() -> None:
    """The patience is a number of seconds or a span of time, and anything else is refused."""
    needed = {"login_url": "https://acme.my.salesforce.com", "client_id": "id", "client_secret": "secret"}

    def seconds(**given: Any) -> float:
        return SalesforceSettings.model_validate(needed | given).bulk_patience_seconds

    assert (14_400, 90, 5_400) == (seconds(), seconds(bulk_patience=90), seconds(bulk_patience="90m"))
    for wrong in ("soon", 0, 1.5):
        with pytest.raises(ValidationError):
            seconds(bulk_patience=wrong)


@pytest.mark.parametrize(
    ("planned", "bulk_from", "way"),
    [
        (1_999, 2_000, "Collections"),
        (2_000, 2_000, "Bulk API 2.0"),
        (1_400, 1, "Collections"),
        (1_401, 1, "Bulk API 2.0"),
        (1_000_000, 2_000, "Bulk API 2.0"),
    ],
)
def test_way_depends_on_the_plan(open_destination: Open, planned: int, bulk_from: int, way: str) -> None:
    """Bulk is for plans from `bulk_from` on, where it needs fewer requests than Collections."""
    limits = open_destination(bulk_from=bulk_from).cut(a_sync(), planned)

    assert way == limits.way
    assert ((50_000, 1) if way == "Bulk API 2.0" else (200, 4)) == (limits.records, limits.in_flight)


def test_ways_keep_the_other_limits(open_destination: Open) -> None:
    """What a value may be is the same for both ways."""
    destination, sync = open_destination(), a_sync()
    bulk, own = destination.cut(sync, 10_000), destination.limits(sync)

    assert (own.identifiers, own.caseless, own.timestamp_unit) == (bulk.identifiers, bulk.caseless, bulk.timestamp_unit)
    assert own.utf8_bytes is None
    assert 100_000_000 - header_bytes(sync) == bulk.utf8_bytes


def test_weights_add_up_to_the_file(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A file is never larger than its header and the weights of its changes, and hardly smaller."""
    put_contacts(standin, 4)
    destination, sync = open_destination(), a_sync(fields=BOTH, missing="create")
    changes = [
        for_user(0, Title='Zoë, "Chief"\n of all', LastName=" x ", Activation_Score__c=0.1),
        for_user(1, Title=None, LastName="東京", Activation_Score__c=41.0),
        for_user(2, LastName="", Title="r\r", Activation_Score__c=1e-7),
        for_user(3, LastName="plain", Title="t", Activation_Score__c=-5),
    ]
    Pushed(destination.push(sync, changes))
    weights = header_bytes(sync) + sum(destination.weigh(sync, change) for change in changes)
    (file,) = uploads(standin)

    assert len(file.encode()) <= weights <= len(file.encode()) + 4 * 18


# Files


def test_values_are_written_as_the_service_reads_them() -> None:
    """Null and an empty text are #N/A, what is absent is empty, and every value has its one form."""
    moment = datetime.datetime(2026, 2, 28, 23, 59, 58, 500_000, tzinfo=datetime.UTC)
    rows = [
        {"K": "u_1", "A": None, "B": "", "C": True, "D": moment},
        {"K": "u_2", "E": datetime.date(2026, 2, 28), "F": 41.0, "G": 0.0000001, "C": False},
    ]
    file = encoded("K", [cells({name: wire(value) for name, value in row.items()}) for row in rows])

    assert (
        "K,A,B,C,D,E,F,G\n"
        "u_1,#N/A,#N/A,true,2026-02-28T23:59:58.500Z,,,\n"
        "u_2,,,false,,2026-02-28,41,0.0000001\n" == file.decode()
    )


def test_texts_are_quoted_where_they_must_be() -> None:
    """Commas, quotes, line ends and blanks at an end are quoted, quotes are doubled, and nothing else is touched."""
    texts = ["plain", "a,b", 'a"b', "a\nb", "a\rb", " a", "Zoë"]
    file = encoded("K", [{"K": text} for text in texts])

    assert 'K\nplain\n"a,b"\n"a""b"\n"a\nb"\n"a\rb"\n" a"\nZoë\n' == file.decode()


@pytest.mark.parametrize("names_charset", [True, False])
def test_strange_texts_arrive(standin: SalesforceStandIn, open_destination: Open, names_charset: bool) -> None:
    """Texts that like to break a file arrive, and their rows are found again, whatever the results say of UTF-8."""
    standin.ingest.names_charset = names_charset
    strange = ["a,b", 'say "no"', "one\ntwo", "=SUM(A1)", "#N/A ?", "Zoë Ångström, 東京", "null", "a;b", "'", "a\tb"]
    sync = a_sync(match={"Title": "title"}, fields=(NAME,), missing="create")
    standin.add_field("Contact", "Title", "string", externalId=True, idLookup=True)
    changes = [a_change(f"k{n}", {"Title": text}, "new", LastName=text) for n, text in enumerate(strange)]

    assert accepted(changes) == Pushed(open_destination().push(sync, changes)).results
    assert strange == [record["LastName"] for record in standin.records("Contact")]


def test_absent_fields_stay_and_null_clears(standin: SalesforceStandIn, open_destination: Open) -> None:
    """In one file, a field that is absent from a change stays as it is, and one that is None is emptied."""
    for number in range(3):
        standin.put("Contact", LastName="P", Product_User_Id__c=f"u_{number}", Title="boss", Activation_Score__c=1)
    changes = [
        for_user(0, Title=None),
        for_user(1, Activation_Score__c=2),
        for_user(2, Title="", Activation_Score__c=None),
    ]

    assert accepted(changes) == Pushed(open_destination().push(a_sync(fields=BOTH), changes)).results
    found = [(record["Title"], record["Activation_Score__c"]) for record in standin.records("Contact")]
    assert [(None, 1), ("boss", 2), (None, None)] == found


def test_what_a_file_cannot_say_is_rejected(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A text that is the word for null, and one that is too long, are refused by us; the others go on."""
    put_contacts(standin, 4)
    standin.add_field("Contact", "Long__c", "textarea", length=131_072)
    changes = [
        for_user(0, Title="#N/A"),
        for_user(1, Long__c="x" * 32_001),
        for_user(2, Long__c="x" * 32_000),
        for_user(3, Title="hot"),
    ]
    found = Pushed(open_destination().push(a_sync(fields=BOTH), changes))

    assert {
        "u_0": "rejected reserved_text",
        "u_1": "rejected too_long",
        "u_2": "accepted",
        "u_3": "accepted",
    } == found.results
    assert not [outcome for outcome in found.outcomes if "xxx" in outcome.message]


# Ways of writing


def test_upsert_job_updates_and_creates(standin: SalesforceStandIn, open_destination: Open) -> None:
    """With an external id and missing = "create" one upsert job does it all, without a look-up."""
    put_contacts(standin, 2)
    changes = [for_user(number, LastName=f"N {number}", Activation_Score__c=number) for number in range(4)]
    found = Pushed(open_destination().push(a_sync(**CREATING), changes))

    assert accepted(changes) == found.results
    assert [0, 1, 2, 3] == scores(standin)
    assert ["create upsert", *WHOLE_JOB] == steps(standin)
    assert [] == sent(standin, "GET", "/query")
    assert [{"jobs": [next(iter(standin.ingest.jobs))]}] == [json.loads(text) for text in found.jobs]


def test_job_is_told_before_its_upload(standin: SalesforceStandIn, open_destination: Open) -> None:
    """The job's Id is with the engine before the first byte of a record leaves."""
    first = next(open_destination().push(a_sync(**CREATING), [for_user(0, LastName="N")]))

    assert isinstance(first, Job)
    assert ["create upsert"] == steps(standin)


def test_update_job_goes_by_id(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A match by Id needs no look-up, also in the short spelling, and an Id that is none is the record's fault."""
    ids = put_contacts(standin, 2)
    texts = [ids[0], ids[1][:15], "003000000000999AAA", "nonsense", "nonsense, too"]
    changes = [a_change(f"k{n}", {"Id": text}) for n, text in enumerate(texts)]
    found = Pushed(open_destination().push(a_sync(match=BY_ID), changes)).results

    assert {
        "k0": "accepted",
        "k1": "accepted",
        "k2": "rejected INVALID_CROSS_REFERENCE_KEY",
        "k3": "rejected MALFORMED_ID",
        "k4": "rejected MALFORMED_ID",
    } == found
    assert [41.5, 41.5] == scores(standin)
    assert ["create update", *WHOLE_JOB] == steps(standin)


def test_other_fields_are_looked_up_first(standin: SalesforceStandIn, open_destination: Open) -> None:
    """By an address the Ids are looked up, then one job updates what is there, and nothing is created."""
    standin.put("Contact", LastName="A", Email="P0@example.com")
    for _ in range(2):
        standin.put("Contact", LastName="Twin", Email="p1@example.com")
    found = Pushed(open_destination().push(a_sync(match=BY_EMAIL, fields=BOTH), people(3)))

    assert {"u_0": "accepted", "u_1": "rejected ambiguous", "u_2": "rejected missing"} == found.results
    assert ["create update", *WHOLE_JOB] == steps(standin)
    assert ["T 0", None, None] == [record["Title"] for record in standin.records("Contact")]


def test_update_and_insert_jobs_follow_each_other(standin: SalesforceStandIn, open_destination: Open) -> None:
    """With missing = "create" an update job comes first, then an insert job; the text of the second names both."""
    standin.put("Contact", LastName="A", Email="p0@example.com")
    changes = people(3)
    found = Pushed(open_destination().push(a_sync(match=BY_EMAIL, **CREATING), changes))
    ids = list(standin.ingest.jobs)

    assert accepted(changes) == found.results
    assert ["create update", *WHOLE_JOB, "create insert", *WHOLE_JOB] == steps(standin)
    assert [{"jobs": ids[:1]}, {"jobs": ids}] == [json.loads(text) for text in found.jobs]
    assert ["T 0", "T 1", "T 2"] == [record["Title"] for record in standin.records("Contact")]


def test_removed_rows_never_create(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A row that is gone clears what is there and makes nothing, beside others that may be created."""
    standin.put("Contact", LastName="P", Product_User_Id__c="u_0", Activation_Score__c=1)
    changes = [
        for_user(0, "removed", Activation_Score__c=None),
        for_user(1, "removed", Activation_Score__c=None),
        for_user(2, "new", LastName="N"),
    ]

    assert accepted(changes) == Pushed(open_destination().push(a_sync(removed="clear", **CREATING), changes)).results
    assert ["u_0", "u_2"] == [record["Product_User_Id__c"] for record in standin.records("Contact")]
    assert [None, None] == scores(standin)


def test_converted_leads_are_not_made_again(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A new lead whose address belongs to a converted one is refused, and the others are made."""
    lead = standin.put("Lead", LastName="A", Company="C", Email="p0@example.com")
    with standin.lock:
        standin.org.convert(lead)
    fields = (NAME, TITLE, Field(name="Company", column="company", type="text"))
    changes = [a_change(f"u_{n}", {"Email": f"p{n}@example.com"}, "new", LastName="L", Company="C") for n in range(2)]
    sync = a_sync("Lead", BY_EMAIL, fields, missing="create")

    assert {"u_0": "rejected converted", "u_1": "accepted"} == Pushed(open_destination().push(sync, changes)).results
    assert 2 == len(standin.records("Lead"))


@pytest.mark.parametrize(("count", "is_bulk"), [(200, False), (201, True)])
def test_small_last_part_goes_with_collections(
    standin: SalesforceStandIn, open_destination: Open, count: int, is_bulk: bool
) -> None:
    """Only a batch of more than 200 changes is a job's."""
    put_contacts(standin, count)
    changes = [for_user(number, Title="hot") for number in range(count)]
    found = Pushed(open_destination(kind=Salesforce).push(a_sync(fields=BOTH), changes))

    assert accepted(changes) == found.results
    assert is_bulk == bool(steps(standin))
    assert is_bulk == (not sent(standin, "PATCH", "/composite/"))


def test_duplicate_rule_header_goes_with_the_job(standin: SalesforceStandIn, open_destination: Open) -> None:
    """The header of the settings goes along where a job is made; without it, an alerting rule refuses the record."""
    standin.org.duplicate_emails.update(change.match["Email"] for change in people(2))
    sync = a_sync(match=BY_EMAIL, **CREATING)
    refused = Pushed(open_destination().push(sync, people(1)))
    taken = Pushed(open_destination(duplicate_rule_header="allowSave=true").push(sync, people(2)[1:]))

    assert {"u_0": "rejected DUPLICATES_DETECTED"} == refused.results
    assert {"u_1": "accepted"} == taken.results


@pytest.mark.parametrize("match", [BY_USER_ID, BY_EMAIL])
@pytest.mark.parametrize("missing", ["skip", "create"])
def test_requests_are_foretold(
    standin: SalesforceStandIn, open_destination: Open, match: dict[str, str], missing: str
) -> None:
    """A batch of jobs costs as many requests as the adapter said beforehand, when one look is enough."""
    standin.ingest.delay = 0
    destination, sync = open_destination(), a_sync(match=match, fields=BOTH, missing=missing)
    name = next(iter(match))
    for number in range(5):
        standin.put("Contact", LastName="P", **{name: f"p{number}@example.com"})
    kinds = ["changed"] * 5 + ["new"] * 5
    changes = [a_change(f"k{n}", {name: f"p{n}@example.com"}, kind, LastName="N") for n, kind in enumerate(kinds)]
    Pushed(destination.push(sync, changes[:1]))
    before = standin.count
    Pushed(destination.push(sync, changes))

    assert destination.requests(sync, changes) == standin.count - before


# Look-ups


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


# Rows


def test_rows_are_told_by_their_key(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Whatever the order of the results, each record gets its own outcome, in the service's words."""
    put_contacts(standin, 40)
    changes = [
        for_user(number, Title="x" * 129 if number % 3 == 0 else f"T {number}", LastName="N") for number in range(40)
    ]
    found = Pushed(open_destination().push(a_sync(**CREATING), changes))
    refused = next(outcome for outcome in found.outcomes if outcome.key == "u_0")

    assert {
        f"u_{number}": "rejected STRING_TOO_LONG" if number % 3 == 0 else "accepted" for number in range(40)
    } == found.results
    assert refused.message.startswith("Title: data value too large: xxx")


def test_keys_are_folded(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A result row whose key is spelled otherwise is still that record's."""
    put_contacts(standin, 1)
    answer = Answer(
        200, b'"sf__Id","sf__Created","Product_User_Id__c"\n"003","false"," U_0 "\n', {"Content-Type": "text/csv"}
    )
    standin.trouble("after", when=is_step("successfulResults"), answer=answer)

    assert {"u_0": "accepted"} == Pushed(
        open_destination().push(a_sync(**CREATING), [for_user(0, LastName="N")])
    ).results


def test_locked_rows_are_tried_again_in_this_run(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A row whose record is locked is put off for a smaller batch of the same run, without doubt."""
    ids = put_contacts(standin, 2)
    standin.org.locked[ids[0]] = 1
    found = Pushed(open_destination().push(a_sync(), [for_user(0), for_user(1)]))
    locked = next(outcome for outcome in found.outcomes if outcome.key == "u_0")

    assert {"u_0": "deferred UNABLE_TO_LOCK_ROW", "u_1": "accepted"} == found.results
    assert ("", False) == (locked.again, locked.doubt)


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("INVALID_FIELD_FOR_INSERT_UPDATE", "does not let Title of Contact be written"),
        ("API_DISABLED_FOR_ORG", "has no API"),
    ],
)
def test_rows_that_stop_the_destination(
    standin: SalesforceStandIn, open_destination: Open, code: str, result: str
) -> None:
    """An error that no record is to blame for ends the destination, after the outcomes of all rows."""
    put_contacts(standin, 2)
    body = f'"sf__Id","sf__Error","Product_User_Id__c","Title"\n"","{code}:Title: no:Title --","u_1","x"\n'
    answer = Answer(200, body.encode(), {"Content-Type": "text/csv"})
    standin.trouble("after", when=is_step("failedResults"), answer=answer)
    standin.ingest.fails_after = 1
    found = Pushed(open_destination().push(a_sync(**CREATING), [for_user(0, Title="a"), for_user(1, Title="b")]))

    assert {"u_0": "accepted", "u_1": f"deferred {code}"} == found.results
    assert isinstance(found.error, DestinationUnusable)
    assert result in str(found.error)


def test_errors_of_rows_are_taken_apart() -> None:
    """The code ends at the first colon and the fields stand at the end; what is in between is the message."""
    whole = fault_of("STRING_TOO_LONG:Title: too large: a:b\nc (max length=2):Title, Name__c --")
    bare = fault_of("UNABLE_TO_LOCK_ROW:unable to obtain: 003: --")
    odd = fault_of("something else")

    assert ("STRING_TOO_LONG", "Title: too large: a:b\nc (max length=2)", ("Title", "Name__c")) == (
        whole.code,
        whole.message,
        whole.fields,
    )
    assert ("UNABLE_TO_LOCK_ROW", "unable to obtain: 003", ()) == (bare.code, bare.message, bare.fields)
    assert ("UNKNOWN", "something else") == (odd.code, odd.message)


def test_results_may_come_in_pieces(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A result file that comes in pieces is read to its end."""
    put_contacts(standin, 7)
    standin.ingest.piece_rows = 2
    changes = [for_user(number, Title="x" * 129 if number > 3 else "hot") for number in range(7)]
    found = Pushed(open_destination().push(a_sync(fields=BOTH), changes))

    assert {f"u_{n}": "rejected STRING_TOO_LONG" if n > 3 else "accepted" for n in range(7)} == found.results
    assert (2, 2) == (steps(standin).count("successfulResults"), steps(standin).count("failedResults"))


def test_strangers_in_the_results_are_ignored(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Rows that were not sent, second ones, and halves of rows accept nothing."""
    put_contacts(standin, 2)
    lines = [
        '"sf__Id","sf__Created","Product_User_Id__c","LastName"',
        *['"003","false","u_0","N"'] * 2,
        '"003","false","u_99","N"',
        '"003","false","u_1"',
    ]
    body = "\n".join(lines) + "\n"
    answer = Answer(200, body.encode(), {"Content-Type": "text/csv"})
    standin.trouble("after", when=is_step("successfulResults"), answer=answer)
    found = Pushed(open_destination().push(a_sync(**CREATING), [for_user(0, LastName="N"), for_user(1, LastName="N")]))

    assert {"u_0": "accepted", "u_1": "deferred unanswered"} == found.results
    assert {"u_0": False, "u_1": True} == found.doubts


# Ends


def test_unknown_field_is_named(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A job that failed for a column tells which, and every row waits, without doubt."""
    put_contacts(standin, 2)
    changes = [for_user(number, Nothing__c="x") for number in range(2)]
    found = Pushed(open_destination().push(a_sync(fields=(Field(name="Nothing__c", column="n"),)), changes))

    assert dict.fromkeys(("u_0", "u_1"), "deferred unprocessed") == found.results
    assert not any(found.doubts.values())
    assert isinstance(found.error, DestinationUnusable)
    assert "no field Nothing__c" in str(found.error)


def test_failed_job_has_rows_of_all_kinds(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Of a job that failed on its way, what was done is told as it is, and the rest is deferred without doubt."""
    put_contacts(standin, 4)
    standin.ingest.fails_after = 3
    changes = [for_user(number, Title="x" * 129 if number == 1 else "hot") for number in range(4)]
    found = Pushed(open_destination().push(a_sync(fields=BOTH), changes))

    assert {
        "u_0": "accepted",
        "u_1": "rejected STRING_TOO_LONG",
        "u_2": "accepted",
        "u_3": "deferred unprocessed",
    } == found.results
    assert not any(found.doubts.values())
    assert found.error is None
    assert HARD_ERROR in {outcome.message for outcome in found.outcomes if outcome.key == "u_3"}


def test_short_results_leave_doubt(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A row that no file mentions is in doubt, and is never taken for accepted."""
    put_contacts(standin, 3)
    standin.ingest.results_cut = 1
    found = Pushed(open_destination().push(a_sync(**CREATING), [for_user(n, LastName="N") for n in range(3)]))

    assert ["accepted", "accepted", "deferred unanswered"] == sorted(found.results.values())
    assert ["unanswered"] == [outcome.code for outcome in found.outcomes if outcome.doubt]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, HTML),
        Answer(200, b"\xff\xfe", {"Content-Type": "text/csv"}),
        Answer(200, b'"sf__Id","Other"\n"1","u_0"\n', {"Content-Type": "text/csv"}),
        Answer(404, [{"errorCode": "NOT_FOUND", "message": "gone"}]),
    ],
    ids=["page", "bytes", "other columns", "gone"],
)
def test_results_that_cannot_be_read_leave_doubt(
    standin: SalesforceStandIn, open_destination: Open, answer: Answer
) -> None:
    """Results that are none, or not there any more, leave their records in doubt, and do not end the destination."""
    put_contacts(standin, 1)
    standin.trouble("status", when=is_step("successfulResults"), answer=answer)
    found = Pushed(open_destination().push(a_sync(**CREATING), [for_user(0, LastName="N")]))

    assert ({"u_0": "deferred unanswered"}, {"u_0": True}, None) == (found.results, found.doubts, found.error)


def test_job_that_is_gone_leaves_doubt(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A job that vanishes while it is waited for leaves its records in doubt."""
    put_contacts(standin, 1)
    answer = Answer(404, [{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}])
    standin.trouble("status", when=is_step("look"), answer=answer)
    found = Pushed(open_destination().push(a_sync(**CREATING), [for_user(0, LastName="N")]))

    assert ({"u_0": "deferred unanswered"}, {"u_0": True}, None) == (found.results, found.doubts, found.error)


# Troubles on the way


@pytest.mark.parametrize("match", [BY_USER_ID, BY_EMAIL], ids=["upsert", "insert"])
@pytest.mark.parametrize(
    ("kind", "answer"),
    [("close", None), ("lost", None), ("cut", None), ("status", 503), ("after", 503), ("status", 429)],
    ids=["closed before", "closed after", "cut", "503", "503 after", "429"],
)
def test_passing_trouble_is_overcome(
    standin: SalesforceStandIn, open_destination: Open, match: dict[str, str], kind: str, answer: int | None
) -> None:
    """One bad answer at any step is overcome: all is accepted, nothing is there twice, and no job at work is ended."""
    name = next(iter(match))
    names = []
    for step in STEPS:
        names += [f"{step} {number}" for number in range(3)]
        changes = [
            a_change(text, {name: text.replace(" ", "@") + ".example.com"}, "new", LastName=text) for text in names[-3:]
        ]
        trouble = standin.trouble(kind, when=is_step(step), answer=Answer(answer or 503, HTML))
        found = Pushed(open_destination().push(a_sync(match=match, **CREATING), changes))

        assert 0 == trouble.times
        assert (accepted(changes), None) == (found.results, found.error)
    assert names == [record["LastName"] for record in standin.records("Contact")]
    assert {"JobComplete"} == {job.state for job in standin.ingest.jobs.values() if job.looks}


@pytest.mark.parametrize("requests_per_token", range(1, 10))
def test_tokens_may_end_between_any_two_steps(
    standin: SalesforceStandIn, open_destination: Open, requests_per_token: int
) -> None:
    """A token that ends before an upload, a close, a look or a result is renewed, and the step is done once."""
    standin.tokens.requests_per_token = requests_per_token
    changes = people(3)
    found = Pushed(open_destination().push(a_sync(match=BY_EMAIL, **CREATING), changes))

    assert (accepted(changes), None) == (found.results, found.error)
    assert 3 == len(standin.records("Contact"))
    assert 1 == len(standin.ingest.jobs)
    assert standin.tokens.logins > 1


def test_lost_close_with_nobody_to_ask_is_in_doubt(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A close whose answer was lost, whose repeat is refused, and after which no look is answered, may have begun."""
    standin.trouble("lost", when=is_step("close"))
    standin.trouble("status", when=is_step("look"), times=None)
    sync, changes = a_sync(**CREATING), [for_user(0, LastName="N")]
    found = Pushed(open_destination().push(sync, changes))

    assert ["UploadComplete", "UploadComplete"] == steps(standin)[2:4]
    assert isinstance(found.error, ServiceUnavailable)
    assert found.error.doubt
    standin.troubles.clear()
    assert accepted(changes) == Pushed(open_destination().resume(sync, found.jobs[-1], changes)).results


@pytest.mark.parametrize("step", ["look", *RESULTS])
@pytest.mark.parametrize(
    "answer",
    [
        Answer(503, HTML),
        Answer(403, [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]),
        Answer(401, HTML),
        Answer(302, None, {"Location": "https://elsewhere.example/"}),
    ],
    ids=["503", "quota", "401", "redirect"],
)
def test_lasting_trouble_after_the_close_is_in_doubt(
    standin: SalesforceStandIn, open_destination: Open, step: str, answer: Answer
) -> None:
    """Whatever ends our questions about a closed job, the job is not aborted, and its records are no unsent ones."""
    put_contacts(standin, 1)
    standin.trouble("status", when=is_step(step), times=None, answer=answer)
    destination, sync, changes = open_destination(), a_sync(**CREATING), [for_user(0, LastName="N")]
    found = Pushed(destination.push(sync, changes))
    told = {key for key, result in found.results.items() if result == "accepted"}

    assert isinstance(found.error, ServiceUnavailable)
    assert found.error.doubt
    assert "Aborted" not in steps(standin)
    assert (set() if step in ("look", "successfulResults") else {"u_0"}) == told
    standin.troubles.clear()
    assert accepted(changes) == Pushed(open_destination().resume(sync, found.jobs[-1], changes)).results


def test_looks_that_tell_nothing_are_passed_over(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A page instead of a look, under a 200 or a 404, says nothing of the job; the next look does."""
    put_contacts(standin, 1)
    standin.trouble("status", when=is_step("look"), answer=Answer(200, HTML))
    standin.trouble("status", when=is_step("look"), answer=Answer(404, HTML))
    found = Pushed(open_destination().push(a_sync(**CREATING), [for_user(0, LastName="N")]))

    assert {"u_0": "accepted"} == found.results


def test_patience_ends_and_the_job_goes_on(standin: SalesforceStandIn, open_destination: Open) -> None:
    """When the patience is over the records are in doubt and the job is left alone; a later run reads its results."""
    standin.ingest.delay = 10**6
    sync, changes = a_sync(match=BY_EMAIL, **CREATING), people(2)
    found = Pushed(open_destination(bulk_patience="1m").push(sync, changes))

    # 2 + 4 + 8 + 16 + 30 s pass the minute.
    assert 5 == steps(standin).count("look")
    assert isinstance(found.error, ServiceUnavailable)
    assert found.error.doubt
    assert "Aborted" not in steps(standin)
    standin.ingest.run()
    assert accepted(changes) == Pushed(open_destination().resume(sync, found.jobs[-1], changes)).results
    assert 2 == len(standin.records("Contact"))


def test_stop_while_waiting_leaves_the_job(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A process that is to stop does not wait for the job; the next one takes it up again."""
    stop = threading.Event()

    def at_look(request: Request) -> bool:
        if is_step("look")(request):
            stop.set()
        return False

    standin.trouble("close", when=at_look)
    sync, changes = a_sync(match=BY_EMAIL, **CREATING), people(2)
    found = Pushed(open_destination(stop=stop).push(sync, changes))

    assert isinstance(found.error, Stopping)
    assert found.error.doubt
    assert ["create insert", "upload", "UploadComplete", "look"] == steps(standin)
    assert accepted(changes) == Pushed(open_destination().resume(sync, found.jobs[-1], changes)).results
    assert 2 == len(standin.records("Contact"))


@pytest.mark.parametrize("answer", [Answer(503, HTML), Answer(200, HTML), Answer(400, [])], ids=["503", "page", "400"])
def test_upload_is_begun_anew_a_few_times(standin: SalesforceStandIn, open_destination: Open, answer: Answer) -> None:
    """An upload that never has a good answer is tried with another job, then given up, and nothing is in doubt."""
    standin.trouble("after", when=is_step("upload"), times=None, answer=answer)
    found = Pushed(open_destination(attempts=1).push(a_sync(**CREATING), [for_user(0, LastName="N")]))

    assert [] == found.outcomes
    assert not getattr(found.error, "doubt", False)
    assert UPLOADS_MAX == len(found.jobs) == len(set(found.jobs)) == len(standin.ingest.jobs)
    assert {"Aborted"} == {job.state for job in standin.ingest.jobs.values()}
    assert [] == standin.records("Contact")


@pytest.mark.parametrize("limit", [50, 90])
def test_upload_that_is_too_large_is_halved(standin: SalesforceStandIn, open_destination: Open, limit: int) -> None:
    """A file over the service's limit goes in smaller ones; a record that alone is too large is refused."""
    put_contacts(standin, 4)
    standin.ingest.upload_bytes_max = limit
    changes = [for_user(number, Title="x" * (number + 10)) for number in range(3)] + [for_user(3, Title="x" * 100)]
    found = Pushed(open_destination().push(a_sync(fields=BOTH, missing="create"), changes))

    assert {"u_0": "accepted", "u_1": "accepted", "u_2": "accepted", "u_3": "rejected too_long"} == found.results
    assert {"Aborted", "JobComplete"} == {job.state for job in standin.ingest.jobs.values()}


@pytest.mark.parametrize("step", ["create", "upload", "close"])
@pytest.mark.parametrize("code", ["REQUEST_LIMIT_EXCEEDED", "API_DISABLED_FOR_ORG"])
def test_refusal_before_the_job_began_stops_the_destination(
    standin: SalesforceStandIn, open_destination: Open, step: str, code: str
) -> None:
    """A refusal that no record is to blame for, before anything was applied, leaves the records unsent."""
    standin.trouble("status", when=is_step(step), answer=Answer(403, [{"errorCode": code, "message": "no"}]))
    found = Pushed(open_destination().push(a_sync(**CREATING), [for_user(0, LastName="N")]))

    assert [] == found.outcomes
    assert isinstance(found.error, DestinationUnusable)
    assert code in str(found.error)


def test_busy_service_is_no_end_of_the_destination(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A job that is not taken at this moment is for the next run, without doubt."""
    answer = Answer(400, [{"errorCode": "SERVER_UNAVAILABLE", "message": "later"}])
    standin.trouble("status", when=is_step("create"), answer=answer)
    found = Pushed(open_destination().push(a_sync(**CREATING), [for_user(0, LastName="N")]))

    assert isinstance(found.error, ServiceUnavailable)
    assert not found.error.doubt


# Taking up again


@pytest.mark.parametrize("match", [BY_USER_ID, BY_EMAIL], ids=["upsert", "insert and update"])
@pytest.mark.parametrize("kind", ["close", "lost"])
@pytest.mark.parametrize("goes_on", [False, True], ids=["as it was", "gone on"])
def test_process_may_die_at_any_request(
    standin: SalesforceStandIn, open_destination: Open, match: dict[str, str], kind: str, goes_on: bool
) -> None:
    """Cut off before or after any request is applied, a batch is taken up by another process: nothing is doubled."""
    name = next(iter(match))
    sync = a_sync(match=match, **CREATING)
    names: list[str] = []
    deaths = 0
    while True:
        texts = [f"{deaths} of {number}" for number in range(4)]
        names += texts
        changes = [
            a_change(text, {name: text.replace(" of ", "@") + ".example.com"}, "new", LastName=text) for text in texts
        ]
        standin.put("Contact", LastName="Old", **changes[0].match)
        if kind == "lost":
            standin.trouble("lost", when=is_data, skip=deaths)
        standin.trouble("close", when=is_data, times=None, skip=deaths)
        first = Pushed(open_destination(attempts=1).push(sync, changes))
        standin.troubles.clear()
        if goes_on:
            standin.ingest.run()
        left = [change for change in changes if first.doubts.get(change.key, True)]
        begun = len(sent(standin, "POST", "/jobs/ingest"))
        again = first.results
        if first.jobs and left:
            found = Pushed(open_destination().resume(sync, first.jobs[-1], left))
            again |= found.results

            assert found.error is None
            assert begun == len(sent(standin, "POST", "/jobs/ingest"))
        rest = [change for change in changes if again.get(change.key) != "accepted"]

        assert accepted(rest) == Pushed(open_destination().push(sync, rest)).results
        assert sorted(names) == sorted(record["LastName"] for record in standin.records("Contact"))
        if first.error is None:
            break
        deaths += 1
    assert deaths >= (9 if match is BY_USER_ID else 18)


def is_data(request: Request) -> bool:
    return "/oauth2/" not in request.path


def test_process_may_die_where_a_job_is_told(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A process that dies as soon as a job's Id is kept leaves an empty job, which the next one ends."""
    standin.put("Contact", LastName="Old", Email="p0@example.com")
    sync, changes = a_sync(match=BY_EMAIL, **CREATING), people(3)
    for _ in range(2):
        found = open_destination().push(sync, changes)
        job = next(one for one in found if isinstance(one, Job))
        found.close()  # type: ignore[attr-defined]
        again = Pushed(open_destination().resume(sync, job.text, changes))

        assert dict.fromkeys(("u_0", "u_1", "u_2"), "deferred unsent") == again.results
        assert not any(again.doubts.values())
    assert {"Aborted"} == {job.state for job in standin.ingest.jobs.values()}
    assert "upload" not in steps(standin)


def closed_job(standin: SalesforceStandIn, destination: Salesforce, sync: Sync, changes: Sequence[Change]) -> str:
    """The text of a job that was closed before its process died."""
    standin.trouble("close", when=is_step("look"), times=None)
    found = Pushed(destination.push(sync, changes))
    standin.troubles.clear()

    assert isinstance(found.error, ServiceUnavailable)
    assert found.error.doubt
    return found.jobs[-1]


@pytest.mark.parametrize("state", ["UploadComplete", "InProgress", "JobComplete", "Failed", "Aborted"])
def test_resume_reads_what_a_job_did(standin: SalesforceStandIn, open_destination: Open, state: str) -> None:
    """A job that was closed is waited for, in whatever state it is, and its results are what became of the batch."""
    put_contacts(standin, 4)
    sync, changes = a_sync(**CREATING), [for_user(n, Title="hot") for n in range(4)]
    text = closed_job(standin, open_destination(attempts=1), sync, changes)
    (job,) = standin.ingest.jobs.values()
    standin.ingest.delay = {"UploadComplete": 4}.get(state, 1)
    if state == "InProgress":
        standin.ingest._look(job)
    if state == "JobComplete":
        standin.ingest.run()
    if state == "Failed":
        standin.ingest.fails_after = 2
        standin.ingest.run()
    if state == "Aborted":
        standin.ingest._look(job)
        job.state = state
    assert state == job.state
    found = Pushed(open_destination().resume(sync, text, changes))
    is_half = state in ("Failed", "Aborted")

    expected = accepted(changes[:2]) | (
        {"u_2": "deferred unprocessed", "u_3": "deferred unprocessed"} if is_half else accepted(changes)
    )
    assert expected == accepted(changes) | found.results
    assert sorted(expected) == sorted(found.results)
    assert not any(found.doubts.values())
    assert ["hot", "hot", *([None, None] if is_half else ["hot", "hot"])] == [
        one["Title"] for one in standin.records("Contact")
    ]


def test_resume_of_a_job_that_cannot_be_aborted_knows_nothing(
    standin: SalesforceStandIn, open_destination: Open
) -> None:
    """An open job that the service does not let us end is not waited for, and its records stay in doubt."""
    sync, changes = a_sync(**CREATING), [for_user(0, LastName="N")]
    job = next(one for one in open_destination().push(sync, changes) if isinstance(one, Job))
    answer = Answer(403, [{"errorCode": "INSUFFICIENT_ACCESS", "message": "no"}])
    standin.trouble("status", when=lambda request: request.method == "PATCH", times=None, answer=answer)

    assert [] == list(open_destination().resume(sync, job.text, changes))


def test_resume_that_is_not_answered_is_in_doubt(standin: SalesforceStandIn, open_destination: Open) -> None:
    """When nobody can be asked about a job, its records are not said to be unsent."""
    sync, changes = a_sync(**CREATING), [for_user(0, LastName="N")]
    text = closed_job(standin, open_destination(attempts=1), sync, changes)
    standin.trouble("status", when=is_step("look"), times=None)
    found = Pushed(open_destination().resume(sync, text, changes))

    assert [] == found.outcomes
    assert isinstance(found.error, ServiceUnavailable)
    assert found.error.doubt


def test_resume_of_a_job_that_is_gone_knows_nothing(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A job that the service has forgotten says nothing: its records stay in doubt."""
    sync, changes = a_sync(match=BY_EMAIL, **CREATING), people(2)
    text = closed_job(standin, open_destination(attempts=1), sync, changes)
    standin.ingest.expire()

    assert [] == list(open_destination().resume(sync, text, changes))
    assert accepted(changes) == Pushed(open_destination().push(sync, changes)).results
    assert 2 == len(standin.records("Contact"))


def test_resume_does_not_trust_short_results(standin: SalesforceStandIn, open_destination: Open) -> None:
    """What the results of a first job lack stays in doubt, although the second job never began."""
    standin.put("Contact", LastName="Old", Email="p0@example.com")
    sync, changes = a_sync(match=BY_EMAIL, **CREATING), people(3)
    jobs = list(until_second_job(open_destination().push(sync, changes)))
    standin.ingest.results_cut = 1

    assert [] == list(open_destination().resume(sync, jobs[-1], changes))
    standin.ingest.results_cut = 0
    assert ["JobComplete", "Aborted"] == [job.state for job in standin.ingest.jobs.values()]


def until_second_job(found: Iterator[Outcome | Job]) -> Iterator[str]:
    count = 0
    for one in found:
        if isinstance(one, Job):
            yield one.text
            count += 1
            if count == 2:
                return


def test_resume_matches_by_id(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A batch that was matched by Id is found again by it, without a look-up."""
    ids = put_contacts(standin, 2)
    sync = a_sync(match=BY_ID)
    changes = [a_change("a", {"Id": ids[0][:15]}), a_change("b", {"Id": ids[1]})]
    text = closed_job(standin, open_destination(attempts=1), sync, changes)

    assert accepted(changes) == Pushed(open_destination().resume(sync, text, changes)).results
    assert [] == sent(standin, "GET", "/query")


def test_whole_batch(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Thousands of changes go with one job, and each has its outcome."""
    put_contacts(standin, 3_000)
    changes = [for_user(number, Activation_Score__c=number) for number in range(3_000)]
    destination, sync = open_destination(kind=Salesforce), a_sync(missing="create")
    found = Pushed(destination.push(sync, changes))

    assert RECORDS_MAX == destination.cut(sync, len(changes)).records
    assert accepted(changes) == found.results
    assert list(range(3_000)) == scores(standin)
    assert ["create upsert", *WHOLE_JOB] == steps(standin)
