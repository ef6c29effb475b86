"""Bulk API 2.0 of the Salesforce adapter: when a batch becomes a job, its files, and how it writes."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from pydantic import ValidationError

from destinations.salesforce import Salesforce
from destinations.salesforce_parts.collections import Row
from destinations.salesforce_parts.csv_rows import encoded, header_bytes
from destinations.salesforce_parts.settings import SalesforceSettings
from destinations.standins.salesforce import SalesforceStandIn
from syncer.change import Change, Job, Value
from syncer.mapping import Field
from tests.destinations.salesforce.bulk.rig import (
    BOTH,
    CREATING,
    NAME,
    TITLE,
    WHOLE_JOB,
    Pushed,
    accepted,
    people,
    steps,
    uploads,
)
from tests.destinations.salesforce.rig import (
    BY_EMAIL,
    BY_ID,
    BY_USER_ID,
    Open,
    a_change,
    a_sync,
    for_user,
    put_contacts,
    scores,
    sent,
)

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
    assert ((2_000_000, 1) if way == "Bulk API 2.0" else (200, 4)) == (limits.records, limits.in_flight)


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


def a_row(key: str, **fields: Value) -> Row:
    return Row(Change(key, "changed", {"K": key}, fields, {}), "Contact", fields, {"K": key})


def test_values_are_written_as_the_service_reads_them() -> None:
    """Null and an empty text are #N/A, what is absent is empty, and every value has its one form."""
    moment = datetime.datetime(2026, 2, 28, 23, 59, 58, 500_000, tzinfo=datetime.UTC)
    rows: dict[str, dict[str, Value]] = {
        "u_1": {"A": None, "B": "", "C": True, "D": moment},
        "u_2": {"E": datetime.date(2026, 2, 28), "F": 41.0, "G": 0.0000001, "C": False},
    }
    file = encoded("K", [a_row(key, **fields) for key, fields in rows.items()])

    assert (
        "K,A,B,C,D,E,F,G\n"
        "u_1,#N/A,#N/A,true,2026-02-28T23:59:58.500Z,,,\n"
        "u_2,,,false,,2026-02-28,41,0.0000001\n" == file.decode()
    )


def test_texts_are_quoted_where_they_must_be() -> None:
    """Commas, quotes, line ends and blanks at an end are quoted, quotes are doubled, and nothing else is touched."""
    texts = ["plain", "a,b", 'a"b', "a\nb", "a\rb", " a", "Zoë"]
    file = encoded("K", [a_row(text) for text in texts])

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
