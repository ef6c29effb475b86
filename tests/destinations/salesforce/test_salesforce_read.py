"""Reading records back, and whether what is there is ours."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest

from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import HTML, Answer
from syncer.change import Held, Value, Wanted
from syncer.errors import DestinationUnusable, ServiceUnavailable
from syncer.mapping import Field
from tests.destinations.salesforce.rig import (
    BAND,
    BY_EMAIL,
    BY_ID,
    SCORE,
    Open,
    a_change,
    a_sync,
    for_user,
    put_contacts,
    results,
    sent,
    wanted_user,
)

AT = Field(name="Score_Computed_At__c", column="computed_at", type="timestamp")


def by_key(held: Iterator[Held]) -> dict[str, Any]:
    return {one.key: one.code or one.fields for one in held}


# Look-ups


def test_a_batch_of_short_keys_needs_one_query(standin: SalesforceStandIn, open_destination: Open) -> None:
    """200 records are found with one request and written with another, as was foretold."""
    put_contacts(standin, 200)
    changes = [for_user(number) for number in range(200)]
    destination = open_destination()

    assert 2 == destination.requests(a_sync(), changes)
    assert {"accepted"} == set(results(destination.push(a_sync(), changes)).values())
    assert 1 == len(sent(standin, "GET", "/query"))


# Records


def test_reads_what_is_there(standin: SalesforceStandIn, open_destination: Open) -> None:
    """One answer for each record that was asked for, with the mapped fields alone, as the service gives them."""
    instant = "2026-01-01T00:00:00.000Z"
    standin.put("Contact", LastName="A", Product_User_Id__c="u_0", Activation_Score__c=41, Score_Computed_At__c=instant)
    standin.put("Contact", LastName="B", Product_User_Id__c="u_1", Activation_Band__c="hot")
    sync = a_sync(fields=(SCORE, BAND, AT))

    assert {
        "u_0": {
            "Activation_Score__c": 41.0,
            "Activation_Band__c": None,
            "Score_Computed_At__c": "2026-01-01T00:00:00.000+0000",
        },
        "u_1": {"Activation_Score__c": None, "Activation_Band__c": "hot", "Score_Computed_At__c": None},
        "u_2": None,
    } == by_key(open_destination().read(sync, map(wanted_user, range(3))))


def test_reads_many_in_few_requests(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Records are read by the hundreds, page by page, whatever their number; nothing is asked before it is wanted."""
    put_contacts(standin, 450)
    standin.page_size = 150
    reading = open_destination().read(a_sync(), map(wanted_user, range(500)))

    assert [] == sent(standin, "GET", "/query")

    held = list(reading)

    assert 450 == sum(one.fields is not None for one in held)
    assert [f"u_{number}" for number in range(500)] == sorted((one.key for one in held), key=lambda key: int(key[2:]))
    assert 3 + 2 == len(sent(standin, "GET", "/query"))


def test_reads_nothing(standin: SalesforceStandIn, open_destination: Open) -> None:
    """For no records nothing is looked up."""

    assert [] == list(open_destination().read(a_sync(), []))
    assert [] == sent(standin, "GET", "/query")


def test_reads_by_id(standin: SalesforceStandIn, open_destination: Open) -> None:
    """By Id in both spellings; a deleted record, and a text that is no Id, is none."""
    first, second, third = put_contacts(standin, 3)
    standin.org.delete("Contact", third)
    wanted = [Wanted(key, {"Id": text}) for key, text in zip("abcd", (first, second[:15], third, "x"), strict=True)]

    empty = {"Activation_Score__c": None}

    assert {"a": empty, "b": empty, "c": None, "d": None} == by_key(
        open_destination().read(a_sync(match=BY_ID), wanted)
    )


@pytest.mark.parametrize("also", [(), ("Lead",)], ids=["contacts", "people"])
def test_several_records_are_ambiguous(
    also: tuple[str, ...], standin: SalesforceStandIn, open_destination: Open
) -> None:
    """Of several records with one match none is read."""
    for _ in range(2):
        standin.put("Contact", LastName="Twin", Email="twin@example.com")
    (held,) = open_destination().read(a_sync(match=BY_EMAIL, also=also), [Wanted("a", {"Email": "Twin@example.com"})])

    assert Held("a", None, "ambiguous") == held


def test_two_keys_of_one_record_are_both_told(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Two spellings of one match are asked for once, and answered for each key."""
    standin.put("Contact", LastName="Ada", Email="ada@example.com", Activation_Score__c=7)
    wanted = [Wanted("a", {"Email": "ada@example.com"}), Wanted("b", {"Email": "Ada@example.com"})]

    assert {"a": {"Activation_Score__c": 7.0}, "b": {"Activation_Score__c": 7.0}} == by_key(
        open_destination().read(a_sync(match=BY_EMAIL), wanted)
    )


def test_reads_people(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Contacts first, then leads, and the Contact of a converted lead, which may have another match by now."""
    standin.put("Contact", LastName="Ada", Email="ada@example.com", Activation_Score__c=1)
    standin.put("Lead", LastName="Ada", Company="X", Email="ada@example.com", Activation_Score__c=2)
    standin.put("Lead", LastName="Bob", Company="X", Email="bob@example.com", Activation_Score__c=3)
    for name in ("cyd", "dan"):
        lead = standin.put("Lead", LastName=name, Company="X", Email=f"{name}@example.com", Activation_Score__c=4)
        contact = standin.org.convert(lead)
        standin.org.update("Contact", contact, {"Email": f"{name}@elsewhere.example", "Activation_Score__c": 5})
    standin.org.delete("Contact", contact)
    wanted = [Wanted(name, {"Email": f"{name}@example.com"}) for name in ("ada", "bob", "cyd", "dan", "eve")]
    found = by_key(open_destination().read(a_sync(match=BY_EMAIL, also=("Lead",)), wanted))

    assert {"ada": 1.0, "bob": 3.0, "cyd": 5.0} == {
        key: fields["Activation_Score__c"] for key, fields in found.items() if fields is not None
    }
    assert [{"Activation_Score__c": 1.0}, None, None] == [found["ada"], found["dan"], found["eve"]]


def test_a_lead_alone_is_read_until_it_is_converted(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A sync of leads does not hold the values of a converted one for the lead's."""
    lead = standin.put("Lead", LastName="A", Company="X", Email="a@example.com", Activation_Score__c=4)
    destination, sync = open_destination(), a_sync("Lead", BY_EMAIL)
    wanted = [Wanted("a", {"Email": "a@example.com"})]

    assert {"a": {"Activation_Score__c": 4.0}} == by_key(destination.read(sync, wanted))

    standin.org.convert(lead)

    assert {"a": None} == by_key(destination.read(sync, wanted))


# What cannot be read


@pytest.mark.parametrize("also", [(), ("Lead",)], ids=["contacts", "people"])
def test_fields_that_cannot_be_read_are_named(also: tuple[str, ...], open_destination: Open) -> None:
    """A field that is hidden or not there is told before anything is asked for, with its object."""
    fields = (SCORE, Field(name="Nothing__c", column="a"), Field(name="Neither__c", column="b"))

    with pytest.raises(DestinationUnusable, match=r"Contact\.Nothing__c, Contact\.Neither__c"):
        list(open_destination().read(a_sync(match=BY_EMAIL, fields=fields, also=also), [wanted_user(1)]))


def test_a_field_hidden_since_the_describe_is_a_sentence(standin: SalesforceStandIn, open_destination: Open) -> None:
    """INVALID_FIELD of a query stops the reading."""
    fault = [{"errorCode": "INVALID_FIELD", "message": "No such column"}]
    standin.trouble("status", when=lambda request: "/query" in request.path, answer=Answer(400, fault))

    with pytest.raises(DestinationUnusable, match="or a mapped field"):
        list(open_destination().read(a_sync(), [wanted_user(1)]))


@pytest.mark.parametrize("also", [(), ("Lead",)], ids=["contacts", "people"])
def test_a_refused_look_up_is_not_taken_for_nothing(
    also: tuple[str, ...], standin: SalesforceStandIn, open_destination: Open
) -> None:
    """A page that is gone ends the reading, and none of its records is told as absent."""
    for number in range(3):
        standin.put("Contact", LastName="A", Email=f"{number}@example.com")
    standin.page_size, standin.locators_expire = 1, True
    wanted = [Wanted(str(number), {"Email": f"{number}@example.com"}) for number in range(3)]

    with pytest.raises(ServiceUnavailable, match="INVALID_QUERY_LOCATOR"):
        list(open_destination().read(a_sync(match=BY_EMAIL, also=also), wanted))


def test_an_unreadable_answer_ends_the_reading(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A page in the place of records is no answer."""
    standin.trouble("status", when=lambda request: "/query" in request.path, answer=Answer(200, HTML), times=None)

    with pytest.raises(ServiceUnavailable, match="a query"):
        list(open_destination().read(a_sync(), [wanted_user(1)]))


# Values


UTC = datetime.UTC
WINTER = datetime.datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "value", "held", "expected"),
    [
        ("string", None, None, True),
        ("string", None, "", True),
        ("string", "", None, True),
        ("string", "", "", True),
        ("string", "x", None, False),
        ("string", None, "x", False),
        ("double", None, 0, False),
        ("double", 0, None, False),
        ("boolean", None, False, False),
        ("boolean", False, None, False),
        ("boolean", False, False, True),
        ("boolean", True, False, False),
        ("boolean", True, 1, False),
        ("double", 1, True, False),
        ("double", 41, 41.0, True),
        ("double", 41.0, 41, True),
        ("double", 41.5, 41.25, False),
        ("double", 41.0, "41", False),
        ("double", 41.456, 41.46, True),
        ("double", 41.454, 41.46, False),
        ("string", "hot", "hot", True),
        ("string", " hot ", "hot", True),
        ("string", "hot", "Hot", False),
        ("string", "41", 41, False),
        ("multipicklist", "a;b", "b;a", True),
        ("multipicklist", "a;b", "a", False),
        ("string", "a;b", "b;a", False),
        ("reference", "001D000000IRFma", "001D000000IRFmaIAH", True),
        ("reference", "001D000000IRFma", "001D000000IRFmAIAX", False),
        ("string", "001D000000IRFma", "001D000000IRFmaIAH", False),
        ("date", datetime.date(2026, 1, 1), "2026-01-01", True),
        ("date", datetime.date(2026, 1, 1), "2026-01-02", False),
        ("datetime", WINTER, "2026-01-01T00:00:00.000+0000", True),
        ("datetime", WINTER, "2026-01-01T01:00:00.000+0100", True),
        ("datetime", WINTER, "2026-01-01T00:00:01.000+0000", False),
        ("datetime", WINTER, "2026-01-01T00:00:00", False),
        ("datetime", WINTER, "soon", False),
        ("datetime", WINTER.replace(microsecond=123456), "2026-01-01T00:00:00.123+0000", True),
        ("datetime", WINTER.replace(microsecond=123456), "2026-01-01T00:00:00.000+0000", True),
        ("datetime", WINTER.replace(microsecond=123456), "2026-01-01T00:00:00.124+0000", False),
    ],
)
def test_what_is_there_is_compared_with_ours(
    kind: str, value: Value, held: object, expected: bool, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """A value in the service's own form is ours, and another is not."""
    standin.add_field("Contact", "Field__c", kind)
    sync = a_sync(fields=(Field(name="Field__c", column="a"),))
    destination = open_destination()
    list(destination.read(sync, [wanted_user(1)]))

    assert expected is destination.holds(sync, "Field__c", value, held)


@pytest.mark.parametrize("keeps", [True, False], ids=["kept", "cut"])
def test_what_was_written_is_held(keeps: bool, standin: SalesforceStandIn, open_destination: Open) -> None:
    """What was pushed is ours when it is read back, whether the service keeps all of its digits or not."""
    standin.org.keeps_precision = keeps
    standin.add_field("Contact", "Is_Active__c", "boolean")
    fields: dict[str, Value] = {
        "Activation_Score__c": 41.456,
        "Activation_Band__c": "hot",
        "Score_Computed_At__c": WINTER.replace(microsecond=123000),
        "Is_Active__c": True,
        "Birthdate": datetime.date(1815, 12, 10),
        "Source__c": "",
    }
    put_contacts(standin, 1)
    destination, sync = open_destination(), a_sync(fields=tuple(Field(name=name, column="a") for name in fields))

    assert {"u_0": "accepted"} == results(
        destination.push(sync, [a_change("u_0", {"Product_User_Id__c": "u_0"}, **fields)])
    )

    (held,) = destination.read(sync, [wanted_user(0)])

    assert held.fields is not None
    assert fields.keys() == held.fields.keys()
    assert [] == [name for name, value in fields.items() if not destination.holds(sync, name, value, held.fields[name])]
    assert (41.456 if keeps else 41.46) == held.fields["Activation_Score__c"]
