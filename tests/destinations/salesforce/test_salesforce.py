"""The Salesforce adapter: settings, mappings, and which record is written by which request."""

from __future__ import annotations

import datetime
from typing import Any
from urllib.parse import quote_plus

import pytest
from pydantic import ValidationError

from destinations import adapter
from destinations.salesforce import Salesforce
from destinations.salesforce_parts.collections import wire
from destinations.salesforce_parts.settings import SalesforceSettings
from destinations.salesforce_parts.soql import QUERY_BYTES_MAX, VALUES_MAX, Identifier, id_key, lookups
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Answer
from syncer.change import Change, Value
from syncer.errors import ServiceUnavailable
from syncer.mapping import Field, Sync
from tests.destinations.salesforce.rig import (
    BY_EMAIL,
    BY_ID,
    SCORE,
    SECRET,
    Open,
    a_change,
    a_sync,
    data_requests,
    for_user,
    put_contacts,
    results,
    scores,
    sent,
)

# Settings


def test_is_found_as_a_kind() -> None:
    """The adapter is registered under its name, and its parts are not taken for adapters."""

    assert adapter("salesforce") is Salesforce


@pytest.mark.parametrize(
    ("login", "needed"),
    [
        ("client_credentials", "`client_secret`"),
        ("jwt", "`username` and `private_key`"),
        ("refresh_token", "`refresh_token`"),
        ("password", "`client_secret` and `username` and `password`"),
    ],
)
def test_says_what_a_login_needs(login: str, needed: str) -> None:
    """Every setting that a login lacks is named at once."""
    with pytest.raises(ValidationError) as caught:
        SalesforceSettings.model_validate(
            {"login_url": "https://acme.my.salesforce.com", "client_id": "id", "login": login}
        )

    assert f"needs {needed} too" in str(caught.value)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("http://acme.my.salesforce.com", "loopback hosts only"),
        ("acme.my.salesforce.com", "whole address"),
        ("https://login.salesforce.com", "My Domain"),
        ("https://user:secret@acme.my.salesforce.com", "no user, password"),
        ("https://acme.my.salesforce.com?a=b", "no user, password, query"),
    ],
)
def test_refuses_a_wrong_login_url(address: str, sentence: str) -> None:
    """An address that cannot work is refused before anything is asked of it."""
    with pytest.raises(ValidationError, match=sentence):
        SalesforceSettings.model_validate({"login_url": address, "client_id": "id", "client_secret": "secret"})


def test_settings_keep_their_secrets() -> None:
    """No secret is in the text of the settings, nor in what the pace is shared by."""
    settings = SalesforceSettings.model_validate(
        {"login_url": "https://acme.my.salesforce.com/", "client_id": "id", "client_secret": SECRET}
    )

    assert SECRET not in repr(settings) + Salesforce.account(settings)
    assert "https://acme.my.salesforce.com" == settings.login_url


def test_accounts_are_shared_by_org_and_user() -> None:
    """The same org and app share a pace; another app does not."""

    def account(client_id: str, secret: str) -> str:
        return Salesforce.account(
            SalesforceSettings.model_validate(
                {"login_url": "https://acme.my.salesforce.com", "client_id": client_id, "client_secret": secret}
            )
        )

    assert account("one", "new") == account("one", "old")
    assert account("one", "new") != account("two", "new")


# Mapping


def test_refuses_what_a_mapping_cannot_mean(open_destination: Open) -> None:
    """Every problem that the file alone shows is told at once, each with its place."""
    sync = a_sync(
        "Contact; DROP",
        {"Id": "salesforce_id", "E-mail": "email"},
        (SCORE, Field(name="Account.Name", column="a"), Field(name="Id", column="b")),
        missing="create",
        removed="delete",
    )

    found = [problem.place for problem in open_destination().refuse(sync)]

    assert ["object", "match", "match", "missing", "removed", "fields.Account.Name", "fields.Id"] == found


def test_accepts_a_good_mapping(open_destination: Open) -> None:
    """A mapping without mistakes has no problems."""

    assert [] == list(open_destination().refuse(a_sync()))


def test_limits_fold_everything_but_ids(open_destination: Open) -> None:
    """Identifiers are compared without case, except Ids, in which case matters."""
    destination = open_destination()

    assert {"Email"} == destination.limits(a_sync(match=BY_EMAIL)).caseless
    assert destination.limits(a_sync(match=BY_ID)).caseless == frozenset()
    assert 200 == destination.limits(a_sync()).records
    assert "millisecond" == destination.limits(a_sync()).timestamp_unit


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (41.5, 41.5),
        (7, 7),
        (True, True),
        ("Zoë", "Zoë"),
        ("", None),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "2026-01-01T00:00:00.000Z"),
        (
            datetime.datetime(2026, 1, 1, 1, 2, 3, 456789, datetime.timezone(datetime.timedelta(hours=1))),
            "2026-01-01T00:02:03.456Z",
        ),
    ],
)
def test_values_on_the_wire(value: Value, expected: Any) -> None:
    """Values leave in the service's own form, timestamps in UTC with milliseconds."""

    assert expected == wire(value)


# Matching and writing


def test_whole_numbers_fit_whole_number_fields(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A number rounded to no digits goes into a field for whole numbers; a fraction does not."""
    ids = [standin.put("Account", Name=f"Account {number}") for number in range(2)]
    seats = (Field(name="NumberOfEmployees", column="seats", digits=0),)
    changes = [
        a_change("a", {"Id": ids[0]}, NumberOfEmployees=41.0),
        a_change("b", {"Id": ids[1]}, NumberOfEmployees=41.5),
    ]
    destination, sync = open_destination(), a_sync("Account", BY_ID, seats)

    assert [] == list(destination.check(sync))
    assert {"a": "accepted", "b": "rejected JSON_PARSER_ERROR"} == results(destination.push(sync, changes))


def test_updates_by_external_id_without_creating(standin: SalesforceStandIn, open_destination: Open) -> None:
    """With missing = "skip" an external id is looked up: what is there is updated, the rest refused and not created."""
    put_contacts(standin, 2)
    outcomes = list(open_destination().push(a_sync(), [for_user(0), for_user(1), for_user(2, "new")]))

    assert {"u_0": "accepted", "u_1": "accepted", "u_2": "rejected missing"} == results(outcomes)
    assert [41.5, 41.5] == scores(standin)
    assert 'No Contact with Product_User_Id__c = u_2; missing = "skip" never creates one.' == (outcomes[0].message)


def test_updates_by_id(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A match by Id asks nothing and takes both spellings."""
    first, second = put_contacts(standin, 2)
    changes = [a_change("a", {"Id": first}), a_change("b", {"Id": second[:15]}), a_change("c", {"Id": "nonsense"})]

    outcomes = results(open_destination().push(a_sync(match=BY_ID), changes))

    assert {"a": "accepted", "b": "accepted", "c": "rejected MALFORMED_ID"} == outcomes
    assert [] == sent(standin, "GET", "")


def test_two_spellings_of_one_id_are_refused(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Two rows for one record would overwrite each other, so neither goes."""
    (record_id,) = put_contacts(standin, 1)
    changes = [a_change("a", {"Id": record_id}), a_change("b", {"Id": record_id[:15]})]

    assert {
        "a": "rejected ambiguous",
        "b": "rejected ambiguous",
    } == results(open_destination().push(a_sync(match=BY_ID), changes))
    assert [None] == scores(standin)


def test_upserts_by_external_id(standin: SalesforceStandIn, open_destination: Open) -> None:
    """With missing = "create" an external id needs no look-up: one request updates and creates."""
    put_contacts(standin, 1)
    changes = [
        for_user(0, LastName="Known", Activation_Score__c=1.0),
        for_user(1, "new", LastName="New", Activation_Score__c=2.0),
    ]

    assert {"u_0": "accepted", "u_1": "accepted"} == results(open_destination().push(a_sync(missing="create"), changes))
    assert [1.0, 2.0] == scores(standin)
    assert 1 == data_requests(standin)


def test_match_by_email_updates_and_creates(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A match by any other field looks up first; case and blanks do not matter, and what is missing is created."""
    standin.put("Contact", LastName="Lovelace", Email="ada@example.com")
    changes = [
        a_change("a", {"Email": " Ada@Example.com "}, LastName="Lovelace", Activation_Score__c=1.0),
        a_change("b", {"Email": "bob@example.com"}, "new", LastName="Bob", Activation_Score__c=2.0),
    ]

    outcomes = results(open_destination().push(a_sync(match=BY_EMAIL, missing="create"), changes))

    assert {"a": "accepted", "b": "accepted"} == outcomes
    assert [("ada@example.com", 1.0), ("bob@example.com", 2.0)] == [
        (record["Email"], record["Activation_Score__c"]) for record in standin.records("Contact")
    ]


def test_several_matches_are_refused(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Several records with one email are not guessed at; the message lists their Ids."""
    ids = [standin.put("Lead", LastName="Twin", Company="C", Email="twin@example.com") for _ in range(2)]
    (outcome,) = open_destination().push(a_sync("Lead", BY_EMAIL), [a_change("a", {"Email": "twin@example.com"})])

    assert "ambiguous" == outcome.code
    assert all(record_id in outcome.message for record_id in ids)
    assert [None, None] == scores(standin, "Lead")


def test_converted_leads_are_left_alone(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A converted lead is not found, so nothing is sent for it."""
    lead = standin.put("Lead", LastName="Moved", Company="C", Email="moved@example.com")
    standin.org.convert(lead)

    outcomes = results(
        open_destination().push(a_sync("Lead", BY_EMAIL), [a_change("a", {"Email": "moved@example.com"})])
    )

    assert {"a": "rejected missing"} == outcomes
    assert "IsConverted = false" in sent(standin, "GET", "/query")[0].query["q"][0]


def test_a_converted_lead_is_not_created_again(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A person whose lead was converted does not become a second lead; others do."""
    standin.org.convert(standin.put("Lead", LastName="Moved", Company="C", Email="moved@example.com"))
    sync = a_sync("Lead", BY_EMAIL, missing="create")
    changes = [
        a_change("a", {"Email": "moved@example.com"}, "new", LastName="Moved", Company="C"),
        a_change("b", {"Email": "fresh@example.com"}, "new", LastName="Fresh", Company="C"),
    ]
    destination = open_destination()
    counted = destination.requests(sync, changes)

    assert {"a": "rejected converted", "b": "accepted"} == results(destination.push(sync, changes))
    assert counted == data_requests(standin)
    assert 2 == len(standin.records("Lead"))


def test_a_lead_converted_under_our_hands_is_refused(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A converted lead that is written by Id is refused with the service's own code."""
    lead = standin.put("Lead", LastName="Moved", Company="C", Email="moved@example.com")
    standin.org.convert(lead)

    assert {"a": "rejected CANNOT_UPDATE_CONVERTED_LEAD"} == results(
        open_destination().push(a_sync("Lead", BY_ID), [a_change("a", {"Id": lead})])
    )


def test_custom_objects_and_number_keys(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Any object works, and a number field matches by its number and not by its text."""
    standin.org.add_object("Workspace__c", "a00")
    standin.add_field("Workspace__c", "Number__c", "double", externalId=True, idLookup=True, scale=0)
    standin.add_field("Workspace__c", "Score__c", "double")
    standin.put("Workspace__c", Name="W", Number__c=7)
    changes = [
        a_change("a", {"Number__c": "7"}, Score__c=1.0),
        a_change("b", {"Number__c": "8"}, Score__c=1.0),
        a_change("c", {"Number__c": "9"}, "new", Score__c=2.0),
    ]
    sync = a_sync("Workspace__c", {"Number__c": "number"}, (Field(name="Score__c", column="score"),))

    assert {"a": "accepted", "b": "rejected missing"} == results(open_destination().push(sync, changes[:2]))

    creating = sync.model_copy(update={"missing": "create"})

    assert {"c": "accepted"} == results(open_destination().push(creating, changes[2:]))
    assert [(7, 1.0), (9, 2.0)] == [
        (record["Number__c"], record["Score__c"]) for record in standin.records("Workspace__c")
    ]


def test_case_matters_where_the_field_says_so(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A case-sensitive key is compared as it is."""
    standin.add_field("Contact", "Key__c", "string", externalId=True, idLookup=True, caseSensitive=True)
    standin.put("Contact", LastName="Upper", Key__c="AB")
    standin.put("Contact", LastName="Lower", Key__c="ab")
    changes = [
        a_change("a", {"Key__c": "AB"}, Activation_Score__c=1.0),
        a_change("b", {"Key__c": "ab"}, Activation_Score__c=2.0),
        a_change("c", {"Key__c": "Ab"}, Activation_Score__c=3.0),
    ]

    assert {"a": "accepted", "b": "accepted", "c": "rejected missing"} == results(
        open_destination().push(a_sync(match={"Key__c": "key"}), changes)
    )
    assert [1.0, 2.0] == scores(standin)


@pytest.mark.parametrize(
    "text", ["o'neil", 'say "hi"', "back\\slash", "line\nbreak", "a\tb", "żółć 東京 🚀", "') OR (Id != '"]
)
def test_texts_cannot_break_out_of_a_query(text: str, standin: SalesforceStandIn, open_destination: Open) -> None:
    """Quotes, backslashes and every other sign in a value find exactly the record that has it."""
    standin.put("Contact", LastName="Other", Product_User_Id__c="other")
    standin.put("Contact", LastName="Odd", Product_User_Id__c=text)

    assert {"a": "accepted"} == results(
        open_destination().push(a_sync(), [a_change("a", {"Product_User_Id__c": text})])
    )
    assert [None, 41.5] == scores(standin)


def test_only_what_changed_is_sent(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Absent fields are not sent, and None clears."""
    standin.put(
        "Contact", LastName="Ada", Product_User_Id__c="u_0", Activation_Score__c=9.0, Source__c="old", Title="Countess"
    )
    changes = [for_user(0, Activation_Score__c=None, Source__c="Zoë 東京")]

    assert {"u_0": "accepted"} == results(open_destination().push(a_sync(), changes))

    (request,) = sent(standin, "PATCH", "/composite/")
    (record,) = standin.records("Contact")

    assert {"attributes", "id", "Activation_Score__c", "Source__c"} == set(request.json()["records"][0])
    assert (None, "Zoë 東京", "Countess") == (record["Activation_Score__c"], record["Source__c"], record["Title"])


@pytest.mark.parametrize("missing", ["skip", "create"])
@pytest.mark.parametrize("match", ["Product_User_Id__c", "Email"])
def test_removed_rows_clear_and_never_create(
    match: str, missing: str, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """A removed row empties our fields where the record is, and is done where there is none."""
    standin.put("Contact", LastName="Ada", **{match: "ada@example.com"}, Activation_Score__c=9.0)
    changes = [
        a_change("a", {match: "ada@example.com"}, "removed", Activation_Score__c=None),
        a_change("b", {match: "gone@example.com"}, "removed", Activation_Score__c=None),
    ]
    sync = a_sync(match={match: "key"}, missing=missing, removed="clear")

    assert {"a": "accepted", "b": "accepted"} == results(open_destination().push(sync, changes))
    assert [None] == scores(standin)


def test_headers_of_writes(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Writes never set off assignment rules, and carry the duplicate-rule header only if it is configured."""
    put_contacts(standin, 1)
    list(open_destination().push(a_sync(), [for_user(0)]))
    list(open_destination(duplicate_rule_header="allowSave=true").push(a_sync(), [for_user(0)]))
    plain, ruled = sent(standin, "PATCH", "/composite/")

    assert "FALSE" == plain.headers["sforce-auto-assign"]
    assert None is plain.headers.get("sforce-duplicate-rule-header")
    assert "allowSave=true" == ruled.headers["sforce-duplicate-rule-header"]


def test_duplicate_rules_refuse_a_record_alone(standin: SalesforceStandIn, open_destination: Open) -> None:
    """An alerting duplicate rule refuses its record, unless the configured header lets it pass."""
    standin.org.duplicate_emails.add("twin@example.com")
    sync = a_sync(match=BY_EMAIL, missing="create")
    changes = [a_change("a", {"Email": "twin@example.com"}, "new", LastName="Twin")]

    assert {"a": "rejected DUPLICATES_DETECTED"} == results(open_destination().push(sync, changes))
    assert {"a": "accepted"} == results(open_destination(duplicate_rule_header="allowSave=true").push(sync, changes))


@pytest.mark.parametrize(
    ("sync", "changes"),
    [
        (a_sync(), [for_user(number) for number in range(200)]),
        (a_sync(match=BY_ID), [a_change("a", {"Id": "003000000000001AAA"})]),
        (a_sync(missing="create"), [for_user(0, LastName="A"), for_user(1, "removed")]),
        (
            a_sync(match=BY_EMAIL, missing="create"),
            [
                a_change("a", {"Email": "a@example.com"}, LastName="A"),
                a_change("b", {"Email": "b@example.com"}, "new", LastName="B"),
            ],
        ),
    ],
    ids=["look-up", "id", "upsert and clear", "update and create"],
)
def test_counts_its_requests(
    sync: Sync, changes: list[Change], standin: SalesforceStandIn, open_destination: Open
) -> None:
    """`requests` tells what `push` needs, before and after the object was described."""
    put_contacts(standin, 200)
    standin.put("Contact", LastName="A", Email="a@example.com")
    destination = open_destination()
    before = destination.requests(sync, changes)
    list(destination.push(sync, changes))

    assert data_requests(standin) == before
    assert data_requests(standin) == destination.requests(sync, changes)


def test_look_ups_stay_within_both_limits() -> None:
    """At most 200 values and 8,000 encoded bytes go into a query, and each value is asked for once."""
    short = lookups("Contact", Identifier("Email"), [f"{number}@example.com" for number in range(450)])
    wide = lookups("Contact", Identifier("Email"), [f"{'東' * 100}{number}" for number in range(100)])
    same = lookups("Contact", Identifier("Email"), ["A@b.co", "a@B.CO"])

    assert [VALUES_MAX, VALUES_MAX, 50] == [len(lookup.texts) for lookup in short]
    assert 100 == sum(len(lookup.texts) for lookup in wide)
    assert max(len(quote_plus(lookup.soql)) for lookup in wide) in range(QUERY_BYTES_MAX - 1000, QUERY_BYTES_MAX + 1)
    assert 1 == len(same[0].texts)


def test_reads_every_page_of_a_look_up(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A record on the last page is found like one on the first."""
    put_contacts(standin, 25)
    standin.page_size = 10

    outcomes = results(open_destination().push(a_sync(), [for_user(number) for number in range(25)]))

    assert {"accepted"} == set(outcomes.values())
    assert 3 == len(sent(standin, "GET", "/query"))


def test_an_old_page_defers(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A query whose next page is gone leaves its records for the next run; none is taken for missing."""
    put_contacts(standin, 25)
    standin.page_size, standin.locators_expire = 10, True

    outcomes = results(open_destination().push(a_sync(), [for_user(number) for number in range(25)]))

    assert {"deferred INVALID_QUERY_LOCATOR"} == set(outcomes.values())


def test_missing_pages_are_not_taken_for_missing_records(standin: SalesforceStandIn, open_destination: Open) -> None:
    """An answer that holds fewer records than it counts creates nothing."""
    short = {"totalSize": 1, "done": True, "records": []}
    standin.trouble("status", when=lambda request: "/query" in request.path, answer=Answer(200, short))
    sync = a_sync(match=BY_EMAIL, missing="create")

    with pytest.raises(ServiceUnavailable) as caught:
        list(open_destination().push(sync, [a_change("a", {"Email": "a@example.com"}, LastName="A")]))

    assert not caught.value.doubt
    assert [] == standin.records("Contact")


@pytest.mark.parametrize(
    ("short", "whole"),
    [("001D000000IRFma", "001D000000IRFmaIAH"), ("003000000000001", "003000000000001AAA")],
)
def test_ids_are_equal_in_both_spellings(short: str, whole: str) -> None:
    """The 15 and the 18 character spelling of an Id are one; the long one survives lost case."""

    assert id_key(short) == id_key(whole)
    assert id_key(short) == id_key(whole.lower())
    assert id_key("no Id") is None
