"""The Salesforce adapter: the vendor's client over real HTTP against the strict stand-in."""

from __future__ import annotations

import datetime
import threading
import tomllib
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import ValidationError

from destinations import adapter
from destinations.salesforce import Salesforce
from destinations.salesforce_parts.collections import CULPRITS_MAX, wire
from destinations.salesforce_parts.settings import SalesforceSettings
from destinations.salesforce_parts.soql import QUERY_BYTES_MAX, VALUES_MAX, Identifier, id_key, lookups
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import HTML, Answer, Request, Server
from syncer.change import Change, Outcome, Value
from syncer.errors import DestinationUnusable, ServiceUnavailable, Stopping
from syncer.mapping import Brakes, Field, Sync
from syncer.transport import Gate, Transport

SECRET = "a-secret-that-nobody-may-see"
SCORE = Field(name="Activation_Score__c", column="score", type="number", digits=1)
BY_USER_ID = {"Product_User_Id__c": "user_id"}
BY_EMAIL = {"Email": "email"}
BY_ID = {"Id": "salesforce_id"}


@pytest.fixture
def standin() -> Iterator[SalesforceStandIn]:
    service = SalesforceStandIn()
    service.tokens.client_secret = SECRET
    with Server({"": service}):
        yield service


Open = Callable[..., Salesforce]


@pytest.fixture
def open_destination(standin: SalesforceStandIn) -> Iterator[Open]:
    """Opens the adapter on the stand-in; keyword arguments are settings, `stop` and `attempts`."""
    opened: list[Transport] = []

    def make(*, stop: threading.Event | None = None, attempts: int = 3, **settings: Any) -> Salesforce:
        parsed = SalesforceSettings.model_validate(tomllib.loads(standin.settings()) | settings)
        transport = Transport(
            Gate(Salesforce.pace(parsed)),
            title=Salesforce.title,
            stop=stop or threading.Event(),
            timeout=5,
            attempts=attempts,
            wait_first=0.01,
            wait_max=0.02,
        )
        opened.append(transport)
        return Salesforce("salesforce", parsed, transport)

    yield make
    for transport in opened:
        transport.close()


def a_sync(
    object_name: str = "Contact",
    match: dict[str, str] | None = None,
    fields: tuple[Field, ...] = (SCORE,),
    **options: Any,
) -> Sync:
    return Sync(
        name="salesforce.contacts",
        destination="salesforce",
        source="activation.users",
        key="user_id",
        object=object_name,
        match=match or BY_USER_ID,
        fields=fields,
        brakes=Brakes(),
        file=Path("salesforce.toml"),
        **options,
    )


def a_change(key: str, match: dict[str, str], kind: Any = "changed", **fields: Value) -> Change:
    return Change(key, kind, match, fields or {"Activation_Score__c": 41.5}, {})


def for_user(number: int, kind: Any = "changed", **fields: Value) -> Change:
    return a_change(f"u_{number}", {"Product_User_Id__c": f"u_{number}"}, kind, **fields)


def put_contacts(standin: SalesforceStandIn, count: int) -> list[str]:
    return [
        standin.put("Contact", LastName=f"Person {number}", Product_User_Id__c=f"u_{number}") for number in range(count)
    ]


def results(outcomes: Iterator[Outcome] | list[Outcome]) -> dict[str, str]:
    return {outcome.key: " ".join(filter(None, (outcome.result, outcome.code))) for outcome in outcomes}


def sent(standin: SalesforceStandIn, method: str, part: str) -> list[Request]:
    return [
        exchange.request
        for exchange in standin.log
        if exchange.request.method == method and part in exchange.request.path
    ]


def data_requests(standin: SalesforceStandIn) -> int:
    """Requests that `Salesforce.requests` counts: look-ups and writes."""
    return (
        len(sent(standin, "GET", "/query"))
        + len(sent(standin, "PATCH", "/"))
        + len(sent(standin, "POST", "/composite/"))
    )


def writes(request: Request) -> bool:
    return "/composite/" in request.path


def scores(standin: SalesforceStandIn, object_name: str = "Contact") -> list[Any]:
    return [record["Activation_Score__c"] for record in standin.records(object_name)]


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


# Outcomes


def test_outcomes_are_told_record_by_record(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Bad records are refused with the service's code; the good ones beside them are accepted."""
    put_contacts(standin, 5)
    standin.add_field("Contact", "Birthday_Mail__c", "email", length=80)
    changes = [
        for_user(0),
        for_user(1, Source__c="x" * 81),
        for_user(2, Activation_Band__c="lukewarm"),
        for_user(3, Activation_Score__c=1e17),
        for_user(4, Birthday_Mail__c="no mail"),
    ]

    assert {
        "u_0": "accepted",
        "u_1": "rejected STRING_TOO_LONG",
        "u_2": "rejected INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        "u_3": "rejected NUMBER_OUTSIDE_VALID_RANGE",
        "u_4": "rejected INVALID_EMAIL_ADDRESS",
    } == results(open_destination().push(a_sync(), changes))


def test_a_locked_row_waits_for_the_next_run(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A record that somebody else holds is deferred without doubt, and goes through later."""
    ids = put_contacts(standin, 2)
    standin.org.locked[ids[0]] = 1
    destination = open_destination()
    outcomes = list(destination.push(a_sync(), [for_user(0), for_user(1)]))

    assert {"u_0": "deferred UNABLE_TO_LOCK_ROW", "u_1": "accepted"} == results(outcomes)
    assert [False, False] == [outcome.doubt for outcome in outcomes]
    assert {"u_0": "accepted"} == results(destination.push(a_sync(), [for_user(0)]))


def test_empty_text_is_sent_as_null(standin: SalesforceStandIn, open_destination: Open) -> None:
    """The service keeps no empty text, so one leaves as null; a blank that means something is not touched."""
    put_contacts(standin, 1)
    standin.put("Contact", LastName="Other", Product_User_Id__c="u_1")
    changes = [for_user(0, Source__c=""), for_user(1, Source__c="a b")]

    assert {"u_0": "accepted", "u_1": "accepted"} == results(open_destination().push(a_sync(), changes))

    (request,) = sent(standin, "PATCH", "/composite/")

    assert [None, "a b"] == [record["Source__c"] for record in request.json()["records"]]


def test_a_record_at_which_the_service_broke_waits(standin: SalesforceStandIn, open_destination: Open) -> None:
    """UNKNOWN_EXCEPTION at one record may pass, so that record alone is deferred, without doubt, and not parked."""
    ids = put_contacts(standin, 2)
    broken = {"success": False, "errors": [{"statusCode": "UNKNOWN_EXCEPTION", "message": "unexpected"}]}
    standin.trouble("status", when=writes, answer=Answer(200, [broken, {"success": True, "id": ids[1], "errors": []}]))
    destination = open_destination()
    outcomes = list(destination.push(a_sync(), [for_user(0), for_user(1)]))

    assert {"u_0": "deferred UNKNOWN_EXCEPTION", "u_1": "accepted"} == results(outcomes)
    assert [False, False] == [outcome.doubt for outcome in outcomes]
    assert {"u_0": "accepted"} == results(destination.push(a_sync(), [for_user(0)]))


def test_a_service_that_broke_at_a_whole_request_is_asked_in_halves(
    standin: SalesforceStandIn, open_destination: Open
) -> None:
    """UNKNOWN_EXCEPTION of a whole request defers the record that brings it about, and no other."""
    put_contacts(standin, 8)
    fault = [{"errorCode": "UNKNOWN_EXCEPTION", "message": "unexpected"}]
    standin.trouble(
        "status",
        when=lambda request: writes(request) and b"unlucky" in request.body,
        answer=Answer(400, fault),
        times=None,
    )
    changes = [for_user(number) for number in range(8)]
    changes[5] = for_user(5, Source__c="unlucky")

    outcomes = results(open_destination().push(a_sync(), changes))

    assert "deferred UNKNOWN_EXCEPTION" == outcomes.pop("u_5")
    assert {"accepted"} == set(outcomes.values())


def test_a_record_deleted_after_the_look_up_waits(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A record deleted between look-up and write is looked up again in the next run."""
    (record_id,) = put_contacts(standin, 1)
    gone = {"success": False, "errors": [{"statusCode": "ENTITY_IS_DELETED", "message": "entity is deleted"}]}
    standin.trouble("status", when=writes, answer=Answer(200, [gone]))
    destination = open_destination()

    assert {"u_0": "deferred ENTITY_IS_DELETED"} == results(destination.push(a_sync(), [for_user(0)]))

    standin.org.delete("Contact", record_id)

    assert {"u_0": "rejected missing"} == results(destination.push(a_sync(), [for_user(0)]))
    assert {"a": "rejected ENTITY_IS_DELETED"} == results(
        destination.push(a_sync(match=BY_ID), [a_change("a", {"Id": record_id})])
    )


@pytest.mark.parametrize("content", [HTML, [], {}], ids=["HTML", "list", "object"])
@pytest.mark.parametrize(("part", "call"), [("/describe", "a describe call"), ("/query", "a query")])
def test_an_unreadable_answer_says_to_which_call(
    part: str, call: str, content: Any, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """What cannot be read is told with the kind of the call, and with no address."""
    put_contacts(standin, 1)
    standin.trouble("status", when=lambda request: part in request.path, answer=Answer(200, content), times=None)

    with pytest.raises(ServiceUnavailable) as caught:
        list(open_destination().push(a_sync(), [for_user(0)]))

    assert f"Salesforce gave an answer to {call} that cannot be read." == str(caught.value)


def test_an_unreadable_list_of_objects_is_named(standin: SalesforceStandIn, open_destination: Open) -> None:
    """The list that a mistyped object is looked for in is told apart from the describe call before it."""
    standin.trouble("status", when=lambda request: request.path.endswith("/sobjects"), answer=Answer(200, HTML))

    with pytest.raises(ServiceUnavailable, match="to the list of objects that cannot be read"):
        list(open_destination().check(a_sync("Contct")))


def test_an_unreadable_login_is_named(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A page in the place of a token is told as the login's, and with no address."""
    standin.trouble("status", when=lambda request: "/oauth2/" in request.path, answer=Answer(200, HTML))

    with pytest.raises(DestinationUnusable, match="answered the login with something that is not a token") as caught:
        list(open_destination().push(a_sync(), [for_user(0)]))

    assert standin.url not in str(caught.value)


def test_an_unreadable_answer_to_a_write_is_named(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A page in the place of the outcomes says that it stood behind a write."""
    put_contacts(standin, 1)
    standin.trouble("after", when=writes, answer=Answer(200, HTML))
    (outcome,) = open_destination().push(a_sync(), [for_user(0)])

    assert "Salesforce gave an answer to a write that cannot be read." == outcome.message


def test_a_short_answer_leaves_the_rest_in_doubt(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Records beyond the end of the answer are deferred with doubt, and the answered ones are settled."""
    put_contacts(standin, 3)
    standin.answers_cut = 1
    outcomes = list(open_destination().push(a_sync(), [for_user(number) for number in range(3)]))

    assert [("accepted", False), ("accepted", False), ("deferred", True)] == [
        (outcome.result, outcome.doubt) for outcome in outcomes
    ]


@pytest.mark.parametrize(
    "content",
    [
        HTML,
        {},
        [],
        [{"success": True, "id": "003000000000001AAA"}] * 2,
        [{"success": True, "id": "003000000000009AAA"}],
        [None],
        42,
    ],
    ids=["HTML", "object", "empty", "too long", "another record", "null", "number"],
)
def test_an_answer_that_makes_no_sense_is_doubt(
    content: Any, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """Success that is not told of exactly our record is believed of none."""
    put_contacts(standin, 1)
    standin.trouble("after", when=writes, answer=Answer(200, content))
    (outcome,) = open_destination().push(a_sync(), [for_user(0)])

    assert ("deferred", True) == (outcome.result, outcome.doubt)


def test_a_refusal_without_reason_is_a_refusal(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A record refused with no error at all is rejected and not accepted."""
    put_contacts(standin, 1)
    standin.trouble("status", when=writes, answer=Answer(200, [{"success": False, "errors": []}]))

    assert {"u_0": "rejected UNKNOWN"} == results(open_destination().push(a_sync(), [for_user(0)]))


@pytest.mark.parametrize("refuses_all", [True, False])
def test_an_unknown_field_stops_and_is_named(
    refuses_all: bool, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """A field that the org does not have stops the destination, in both forms that the service may tell it."""
    put_contacts(standin, 4)
    standin.unknown_field_refuses_all = refuses_all
    changes = [for_user(0), for_user(1, Shoe_Size__c=43.0), for_user(2)]
    outcomes: list[Outcome] = []

    with pytest.raises(DestinationUnusable, match=r"Shoe_Size__c of Contact .*INVALID_FIELD"):
        outcomes.extend(open_destination().push(a_sync(), changes))

    assert 1 == len(sent(standin, "PATCH", "/composite/"))


def test_a_stop_keeps_what_is_known(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Records answered beside a read-only field are told before the stop."""
    put_contacts(standin, 2)
    outcomes: list[Outcome] = []

    with pytest.raises(DestinationUnusable, match="IsEmailBounced"):
        outcomes.extend(open_destination().push(a_sync(), [for_user(0), for_user(1, IsEmailBounced=True)]))

    assert {"u_0": "accepted", "u_1": "deferred INVALID_FIELD_FOR_INSERT_UPDATE"} == results(outcomes)
    assert [False, False] == [outcome.doubt for outcome in outcomes]


def test_one_spoilt_record_does_not_refuse_the_others(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A request refused as a whole is halved until the culprit stands alone."""
    put_contacts(standin, 20)
    changes = [for_user(number) for number in range(20)]
    changes[13] = for_user(13, Activation_Score__c="not a number")

    outcomes = results(open_destination().push(a_sync(), changes))

    assert "rejected JSON_PARSER_ERROR" == outcomes.pop("u_13")
    assert {"accepted"} == set(outcomes.values())
    assert 19 == scores(standin).count(41.5)


def test_too_many_culprits_stop(standin: SalesforceStandIn, open_destination: Open) -> None:
    """When request after request is refused as a whole, no record is to blame and the destination stops."""
    put_contacts(standin, 200)
    changes = [for_user(number, Activation_Score__c="text") for number in range(200)]
    outcomes: list[Outcome] = []

    with pytest.raises(DestinationUnusable, match="JSON_PARSER_ERROR"):
        outcomes.extend(open_destination().push(a_sync(), changes))

    assert CULPRITS_MAX == len(outcomes)
    assert len(sent(standin, "PATCH", "/composite/")) < 40


def test_bad_html_refusal_is_a_refusal(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A refusal in HTML still has its status as code."""
    put_contacts(standin, 1)
    standin.trouble("status", when=writes, answer=Answer(400, HTML))

    assert {"u_0": "rejected 400"} == results(open_destination().push(a_sync(), [for_user(0)]))


def test_a_conflict_waits(standin: SalesforceStandIn, open_destination: Open) -> None:
    """409 leaves the records for the next run."""
    put_contacts(standin, 1)
    conflict = [{"errorCode": "CONFLICT", "message": "conflict"}]
    standin.trouble("status", when=writes, answer=Answer(409, conflict))

    assert {"u_0": "deferred CONFLICT"} == results(open_destination().push(a_sync(), [for_user(0)]))


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (Answer(403, [{"errorCode": "API_DISABLED_FOR_ORG", "message": "x"}]), "edition of Salesforce has no API"),
        (Answer(403, HTML), "lacks a right"),
        (Answer(404, [{"errorCode": "NOT_FOUND", "message": "x"}]), "does not exist"),
        (Answer(405, [{"errorCode": "METHOD_NOT_ALLOWED", "message": "x"}]), "405, METHOD_NOT_ALLOWED"),
        (Answer(431, HTML), "431"),
    ],
)
def test_refusals_that_no_record_is_to_blame_for(
    answer: Answer, sentence: str, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """Rights, versions and our own faults stop the destination with a sentence."""
    put_contacts(standin, 1)
    standin.trouble("status", when=writes, answer=answer)

    with pytest.raises(DestinationUnusable, match=sentence):
        list(open_destination().push(a_sync(), [for_user(0)]))


def test_a_retired_version_is_named(standin: SalesforceStandIn, open_destination: Open) -> None:
    """410 says that the version is to be set higher."""
    standin.trouble("status", when=lambda request: "describe" in request.path, answer=Answer(410, HTML))

    with pytest.raises(DestinationUnusable, match="api_version"):
        list(open_destination().push(a_sync(), [for_user(0)]))


def test_used_up_requests_stop(standin: SalesforceStandIn, open_destination: Open) -> None:
    """The daily limit stops the destination, and the sentence says how much was used."""
    put_contacts(standin, 1)
    standin.requests_used = standin.requests_allowed = 2

    with pytest.raises(DestinationUnusable, match=r"REQUEST_LIMIT_EXCEEDED.*\(2 of 2\)"):
        list(open_destination().push(a_sync(), [for_user(0)]))


def test_used_up_requests_of_one_record_stop(standin: SalesforceStandIn, open_destination: Open) -> None:
    """The daily limit told beside a record stops as well."""
    put_contacts(standin, 1)
    fault = {"statusCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}
    standin.trouble("status", when=writes, answer=Answer(200, [{"success": False, "errors": [fault]}]))

    with pytest.raises(DestinationUnusable, match="REQUEST_LIMIT_EXCEEDED"):
        list(open_destination().push(a_sync(), [for_user(0)]))


def test_an_invisible_match_field_stops(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Without its match field a sync cannot find anybody."""
    with pytest.raises(DestinationUnusable, match="Nothing__c"):
        list(open_destination().push(a_sync(match={"Nothing__c": "x"}), [a_change("a", {"Nothing__c": "x"})]))


def test_a_match_field_hidden_since_the_describe_stops(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A look-up refused for its field names it."""
    fault = [{"errorCode": "INVALID_FIELD", "message": "No such column"}]
    standin.trouble("status", when=lambda request: "/query" in request.path, answer=Answer(400, fault))

    with pytest.raises(DestinationUnusable, match="Contact by Product_User_Id__c"):
        list(open_destination().push(a_sync(), [for_user(0)]))


# Troubles on the way


def test_a_page_of_html_is_repeated(standin: SalesforceStandIn, open_destination: Open) -> None:
    """503 with HTML is passing trouble: at the login, at the describe, at the look-up and at the write."""
    put_contacts(standin, 1)
    for part in ("/oauth2/", "/describe", "/query", "/composite/"):
        standin.trouble("status", when=lambda request, part=part: part in request.path)

    assert {"u_0": "accepted"} == results(open_destination().push(a_sync(), [for_user(0)]))


@pytest.mark.parametrize(("part", "doubt"), [("/oauth2/", False), ("/query", False), ("/composite/", True)])
def test_a_lasting_outage_comes_out_as_itself(
    part: str, doubt: bool, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """An outage is ServiceUnavailable; only a write leaves doubt, and a login is no write."""
    put_contacts(standin, 1)
    standin.trouble("status", when=lambda request: part in request.path, times=None)

    with pytest.raises(ServiceUnavailable) as caught:
        list(open_destination().push(a_sync(), [for_user(0)]))

    assert doubt is caught.value.doubt


@pytest.mark.parametrize("kind", ["close", "lost", "cut"])
def test_a_broken_connection_repeats_an_update(kind: str, standin: SalesforceStandIn, open_destination: Open) -> None:
    """An update is harmless when repeated, so it is, before and after it was applied."""
    put_contacts(standin, 1)
    standin.trouble(kind, when=writes)

    assert {"u_0": "accepted"} == results(open_destination().push(a_sync(), [for_user(0)]))
    assert 2 == len(sent(standin, "PATCH", "/composite/"))


@pytest.mark.parametrize("kind", ["close", "lost", "cut", "after", "status"])
def test_a_create_is_never_doubled(kind: str, standin: SalesforceStandIn, open_destination: Open) -> None:
    """A create whose fate is unknown is sent once, deferred with doubt, and found by the next run's look-up."""
    sync = a_sync(match=BY_EMAIL, missing="create")
    changes = [a_change("a", {"Email": "new@example.com"}, "new", LastName="New", Activation_Score__c=2.0)]
    standin.trouble(kind, when=writes)
    (outcome,) = open_destination().push(sync, changes)

    assert ("deferred", True) == (outcome.result, outcome.doubt)
    assert 1 == len(sent(standin, "POST", "/composite/"))
    assert {"a": "accepted"} == results(open_destination().push(sync, changes))
    assert [2.0] == scores(standin)


def test_the_marker_of_a_create_stays_here(standin: SalesforceStandIn, open_destination: Open) -> None:
    """The engine's own marker never leaves this machine."""
    sync = a_sync(match=BY_EMAIL, missing="create")
    list(open_destination().push(sync, [a_change("a", {"Email": "new@example.com"}, "new", LastName="New")]))

    assert 1 == len(sent(standin, "POST", "/composite/"))
    assert all("syncer-repeat" not in exchange.request.headers for exchange in standin.log)


def test_a_stop_comes_out_as_itself(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A process that was asked to stop starts no request."""
    stop = threading.Event()
    stop.set()

    with pytest.raises(Stopping) as caught:
        list(open_destination(stop=stop).push(a_sync(), [for_user(0)]))

    assert not caught.value.doubt
    assert 0 == standin.count


# Tokens


def test_an_expired_token_is_renewed_once(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A token that ends in the middle of a run is renewed, and the request repeated with all its headers."""
    put_contacts(standin, 1)
    destination = open_destination(duplicate_rule_header="allowSave=true")
    list(destination.push(a_sync(), [for_user(0)]))
    standin.tokens.revoke()

    assert {"u_0": "accepted"} == results(
        destination.push(a_sync(match=BY_ID), [a_change("u_0", {"Id": standin.records("Contact")[0]["Id"]})])
    )

    refused, repeated = sent(standin, "PATCH", "/composite/")[1:]
    drop = {"authorization"}

    assert 2 == standin.tokens.logins
    assert {name: text for name, text in refused.headers.items() if name not in drop} == {
        name: text for name, text in repeated.headers.items() if name not in drop
    }
    assert refused.body == repeated.body


def test_tokens_that_last_two_requests_are_enough(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Renewal works again and again, as long as each token is good at all."""
    put_contacts(standin, 1)
    standin.tokens.requests_per_token = 2
    destination = open_destination()
    outcomes = [results(destination.push(a_sync(), [for_user(0)])) for _ in range(4)]

    assert [{"u_0": "accepted"}] * 4 == outcomes


def test_an_expired_token_at_a_create_creates_once(standin: SalesforceStandIn, open_destination: Open) -> None:
    """401 says that nothing was applied, so a create is repeated after it, and its own marker with it."""
    sync = a_sync(match=BY_EMAIL, missing="create")
    expired = Answer(401, [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}])
    standin.trouble("status", when=writes, answer=expired)
    standin.trouble("lost", when=writes)
    (outcome,) = open_destination().push(sync, [a_change("a", {"Email": "new@example.com"}, "new", LastName="New")])

    assert ("deferred", True) == (outcome.result, outcome.doubt)
    assert 1 == len(standin.records("Contact"))


def test_endless_401_ends(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A new token that is refused as well ends it: two logins, also over several threads and batches."""
    standin.tokens.requests_per_token = 0
    destination = open_destination()

    def push(_: int) -> str:
        with pytest.raises(DestinationUnusable) as caught:
            list(destination.push(a_sync(), [for_user(0)]))
        return str(caught.value)

    with ThreadPoolExecutor(4) as threads:
        sentences = set(threads.map(push, range(12)))

    assert 1 == len(sentences)
    assert standin.tokens.logins <= 5

    logins = standin.tokens.logins
    push(0)

    assert logins == standin.tokens.logins


@pytest.mark.parametrize("content", [HTML, {"error": "x"}, [], "", [42]])
def test_401_in_any_form_is_401(content: Any, standin: SalesforceStandIn, open_destination: Open) -> None:
    """401 renews the token whatever its body looks like."""
    put_contacts(standin, 1)
    standin.trouble("status", when=lambda request: "/query" in request.path, answer=Answer(401, content))

    assert {"u_0": "accepted"} == results(open_destination().push(a_sync(), [for_user(0)]))
    assert 2 == standin.tokens.logins


def test_threads_share_one_token(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Several batches at once log in once, and renew once."""
    put_contacts(standin, 8)
    destination = open_destination()

    def push(number: int) -> dict[str, str]:
        return results(destination.push(a_sync(), [for_user(number)]))

    with ThreadPoolExecutor(4) as threads:
        assert {"accepted"} == {result for one in threads.map(push, range(8)) for result in one.values()}
        assert 1 == standin.tokens.logins

        standin.tokens.revoke()

        assert {"accepted"} == {result for one in threads.map(push, range(8)) for result in one.values()}
        assert 2 == standin.tokens.logins

    assert 1 == len(sent(standin, "GET", "/describe"))


@pytest.mark.parametrize(
    ("status", "error", "sentence"),
    [
        (400, {"error": "invalid_grant", "error_description": SECRET}, r"\(400, invalid_grant\)"),
        (401, {"error": "invalid_client"}, "client_secret"),
        (403, HTML, "no reason given"),
        (200, HTML, "not a token"),
        (200, {"access_token": SECRET, "instance_url": "http://evil.example"}, "no https address"),
        (200, {"access_token": SECRET, "instance_url": f"https://{SECRET}@evil.example"}, "no https address"),
    ],
)
def test_a_refused_login_is_a_sentence_without_secrets(
    status: int, error: Any, sentence: str, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """A login that cannot work stops the destination at once, says why, and is not tried again."""
    standin.trouble("status", times=None, answer=Answer(status, error))
    destination = open_destination()
    for _ in range(2):
        with pytest.raises(DestinationUnusable, match=sentence) as caught:
            list(destination.push(a_sync(), [for_user(0)]))

        assert SECRET not in "".join(traceback.format_exception(caught.value))

    assert 1 == standin.count


def test_wrong_secret(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A wrong secret says which setting to look at."""
    with pytest.raises(DestinationUnusable, match="client_secret"):
        list(open_destination(client_secret="wrong").push(a_sync(), [for_user(0)]))


@pytest.mark.parametrize("login", ["refresh_token", "password"])
def test_other_logins(login: str, standin: SalesforceStandIn, open_destination: Open) -> None:
    """A refresh token, and user name and password with the security token, log in as well."""
    door = standin.tokens
    settings = {
        "refresh_token": {"refresh_token": door.refresh_token},
        "password": {
            "username": door.username,
            "password": door.password,
            "security_token": door.security_token,
        },
    }

    assert [] == list(open_destination(login=login, **settings[login]).check(a_sync()))


def test_jwt_login(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A signed assertion logs in without any secret of the app; a key that is none is a sentence."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    standin.tokens.public_key = public.decode()

    assert [] == list(
        open_destination(login="jwt", username=standin.tokens.username, private_key=private).check(a_sync())
    )
    with pytest.raises(DestinationUnusable, match="private_key") as caught:
        list(open_destination(login="jwt", username="x", private_key=SECRET).check(a_sync()))

    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_the_token_goes_to_the_instance_that_it_names(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Data requests go to `instance_url`, also when a new token names another one; the old one hears no more."""
    other = SalesforceStandIn()
    other.org, other.tokens = standin.org, standin.tokens
    put_contacts(standin, 1)
    destination = open_destination()
    with Server({"/na2": other}):
        list(destination.push(a_sync(), [for_user(0, Activation_Score__c=1.0)]))
        standin.tokens.revoke()
        standin.instance_url = other.url

        before = standin.count
        list(destination.push(a_sync(), [for_user(0, Activation_Score__c=2.0)]))

    assert [2.0] == scores(standin)
    assert 2 == standin.count - before
    assert 2 == other.count


def test_a_redirect_does_not_take_the_token_along(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A redirect to another host stops the destination, and that host hears nothing."""
    put_contacts(standin, 1)
    evil = SalesforceStandIn()
    with Server({"": evil}):
        answer = Answer(307, None, {"Location": f"{evil.url}/services/data/v66.0/query"})
        for part in ("/query", "/composite/"):
            standin.trouble("status", when=lambda request, part=part: part in request.path, answer=answer)
            with pytest.raises(DestinationUnusable, match="redirect"):
                list(open_destination().push(a_sync(), [for_user(0)]))

    assert 0 == evil.count


def test_a_next_page_elsewhere_does_not_take_the_token_along(
    standin: SalesforceStandIn, open_destination: Open
) -> None:
    """Of the address of a next page only the locator is believed."""
    evil = SalesforceStandIn()
    with Server({"": evil}):
        page = {"totalSize": 2, "done": False, "records": [], "nextRecordsUrl": f"{evil.url}/x/query/01g"}
        standin.trouble("status", when=lambda request: "/query" in request.path, answer=Answer(200, page))

        assert {"u_0": "deferred INVALID_QUERY_LOCATOR"} == results(open_destination().push(a_sync(), [for_user(0)]))

    assert 0 == evil.count


def test_no_secret_and_no_value_in_any_exception(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Whatever fails, the whole traceback shows neither token nor secret nor value."""
    private = "private@example.com"
    put_contacts(standin, 1)
    sync, change = a_sync(match=BY_EMAIL), a_change("a", {"Email": private}, Source__c=private)
    texts = []
    for part in ("/oauth2/", "/describe", "/query"):
        for status in (400, 403, 404, 500):
            echo = [{"errorCode": private, "message": f"{private} {SECRET}"}]
            made = standin.trouble(
                "status", when=lambda request, part=part: part in request.path, times=None, answer=Answer(status, echo)
            )
            with pytest.raises((DestinationUnusable, ServiceUnavailable)) as caught:
                list(open_destination(attempts=1).push(sync, [change]))
            texts.append("".join(traceback.format_exception(caught.value)))
            made.times = 0

    assert 12 == len(texts)
    assert not any(secret in text for text in texts for secret in (SECRET, private, "00D000000000001"))


# Under a prefix


def test_works_below_a_path_prefix() -> None:
    """Login and instance may both lie below a path, as in the sandbox."""
    standin = SalesforceStandIn()
    with Server({"/salesforce": standin}) as server:
        settings = SalesforceSettings.model_validate(tomllib.loads(standin.settings()))
        transport = Transport(Gate(Salesforce.pace(settings)), title="Salesforce", stop=threading.Event())
        put_contacts(standin, 30)
        standin.page_size = 10
        destination = Salesforce("salesforce", settings, transport)

        outcomes = results(destination.push(a_sync(), [for_user(number) for number in range(30)]))
        transport.close()

    assert f"{server.url}/salesforce" == settings.login_url
    assert {"accepted"} == set(outcomes.values())


# Check


def problems_of(destination: Salesforce, sync: Sync) -> dict[str, str]:
    return {problem.place: problem.sentence for problem in destination.check(sync)}


def test_check_finds_nothing_wrong_with_the_shipped_mapping(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Every sync that ships fits the objects as they are after the described preparation."""
    text = (Path(__file__).parents[2] / "mappings" / "salesforce.toml").read_text(encoding="utf-8")
    shipped = tomllib.loads(text)
    destination = open_destination()
    found = {}
    for one in shipped["sync"]:
        fields = tuple(
            Field(name=name, **({"column": option} if isinstance(option, str) else option))
            for name, option in one["fields"].items()
        )
        sync = a_sync(one["object"], one["match"], fields, missing=one["missing"], removed=one["removed"])
        found[one["name"]] = [*destination.refuse(sync), *destination.check(sync)]

    assert {"contacts": [], "leads": [], "accounts": []} == found


def test_check_asks_and_changes_nothing(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A check is a login and a description."""
    list(open_destination().check(a_sync()))

    assert ["/services/oauth2/token", "/services/data/v66.0/sobjects/Contact/describe"] == [
        exchange.request.path for exchange in standin.log
    ]


def test_check_guesses_an_object(standin: SalesforceStandIn, open_destination: Open) -> None:
    """An object that is not there is told with the one that was meant."""
    found = problems_of(open_destination(), a_sync("Contct"))

    assert ["object"] == list(found)
    assert "Did you mean Contact?" in found["object"]


def test_check_tells_everything_about_fields_at_once(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Unknown, read-only and unfit fields are all found in one check."""
    standin.add_field("Contact", "Address__c", "address")
    sync = a_sync(
        fields=(
            Field(name="Activation_Scor__c", column="score"),
            Field(name="IsEmailBounced", column="bounced", type="boolean"),
            Field(name="Usage_Score__c", column="usage", type="text"),
            Field(name="Milestone_Score__c", column="milestone", digits=4),
            Field(name="Activation_Band__c", column="score", bands=(("cold", 0.0), ("Boiling", 40.0))),
            Field(name="Source__c", value="x" * 81),
            Field(name="Score_Computed_At__c", column="at", type="date"),
            Field(name="Title", column="title", map={"a": "b" * 129}),
            Field(name="Birthdate", column="born", type="date"),
            Field(name="Address__c", column="address"),
            Field(name="Department", value=7),
        )
    )

    found = problems_of(open_destination(), sync)

    assert {
        "fields.Activation_Scor__c": "Did you mean Activation_Score__c?",
        "fields.IsEmailBounced": "read-only",
        "fields.Usage_Score__c": "takes integer or number",
        "fields.Milestone_Score__c": "set digits = 2",
        "fields.Activation_Band__c": "'Boiling'; it has 'cold', 'warm', 'hot'",
        "fields.Source__c": "81 characters",
        "fields.Score_Computed_At__c": "takes timestamp",
        "fields.Title": "129 characters",
        "fields.Address__c": "cannot be written",
        "fields.Department": "takes text",
    }.keys() == found.keys()
    assert "Did you mean Activation_Score__c?" in found["fields.Activation_Scor__c"]
    assert "read-only" in found["fields.IsEmailBounced"]
    assert "takes integer or number" in found["fields.Usage_Score__c"]
    assert "set digits = 2" in found["fields.Milestone_Score__c"]
    assert "'Boiling'; it has 'cold', 'warm', 'hot'" in found["fields.Activation_Band__c"]
    assert "81 characters" in found["fields.Source__c"]
    assert "129 characters" in found["fields.Title"]


HOLDERS = {
    "string": "Text__c",
    "picklist": "Picklist__c",
    "double": "Double__c",
    "currency": "Currency__c",
    "percent": "Percent__c",
    "int": "Int__c",
    "boolean": "Boolean__c",
    "date": "Date__c",
    "datetime": "Datetime__c",
}
"""Type of a field at Salesforce → a field of that type."""


def problem_of(standin: SalesforceStandIn, destination: Salesforce, kind: str, **options: Any) -> str:
    """The sentence on one field of that type, without its place; empty when there is none."""
    name = HOLDERS[kind]
    standin.add_field("Contact", name, kind)
    found = problems_of(destination, a_sync(fields=(Field(name=name, **options),)))

    assert {f"fields.{name}"} >= found.keys()
    return found.get(f"fields.{name}", "")


@pytest.mark.parametrize(
    ("ours", "takers"),
    [
        ("text", {"string", "picklist"}),
        ("integer", {"int", "double", "currency", "percent"}),
        ("number", {"double", "currency", "percent"}),
        ("boolean", {"boolean"}),
        ("date", {"date"}),
        ("timestamp", {"datetime"}),
    ],
)
def test_check_holds_types_of_columns_against_fields(
    ours: Any, takers: set[str], standin: SalesforceStandIn, open_destination: Open
) -> None:
    """A column goes into fields of its own type; for each other type both types and a way out are told."""
    destination = open_destination()
    for kind in HOLDERS:
        standin.add_field("Contact", HOLDERS[kind], kind)
    sync = a_sync(fields=tuple(Field(name=name, column="c", type=ours) for name in HOLDERS.values()))
    found = problems_of(destination, sync)

    assert {f"fields.{name}" for kind, name in HOLDERS.items() if kind not in takers} == found.keys()
    for kind in HOLDERS.keys() - takers:
        sentence = found[f"fields.{HOLDERS[kind]}"]

        assert f"sends {ours}, and {HOLDERS[kind]} ({kind}) takes" in sentence
        assert any(way in sentence for way in ("set `type = ", "set `digits = 0`", "cast the column in SQL"))


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        (
            "datetime",
            {"type": "date"},
            'sends date, and Datetime__c (datetime) takes timestamp; set `type = "timestamp"`',
        ),
        ("date", {"type": "timestamp"}, 'sends timestamp, and Date__c (date) takes date; set `type = "date"`'),
        ("double", {"type": "text"}, 'takes integer or number; set `type = "number"`'),
        ("int", {"type": "text"}, 'takes integer; set `type = "integer"`'),
        ("string", {"type": "number"}, 'takes text; set `type = "text"`'),
        ("string", {"type": "number", "digits": 1}, 'take `digits` out and set `type = "text"`'),
        ("string", {"type": "number", "digits": 1, "min_change": 2.0}, "take `digits` and `min_change` out"),
        ("double", {"type": "boolean"}, "cast the column in SQL"),
        ("boolean", {"type": "number"}, "cast the column in SQL"),
        ("int", {"type": "number"}, "sends number, and Int__c (int) takes integer; set `digits = 0`"),
        ("int", {"type": "number", "digits": 1}, "set `digits = 0`"),
        ("int", {"type": "number", "digits": 0}, ""),
        ("int", {"type": "number", "digits": 0, "default": 2.5}, "write `default` as integer"),
        ("int", {"type": "number", "digits": 0, "default": 2}, ""),
        ("int", {"type": "text", "map": {"a": 1, "b": 2.5}}, "write the replacements in `map`"),
        ("int", {"type": "text", "map": {"a": 1, "b": 2.0}}, ""),
        ("double", {"type": "text", "map": {"a": 1, "b": 2.5}}, ""),
        ("double", {"type": "number", "digits": 4, "map": {"1.5": 2}}, ""),
        ("double", {"type": "text", "map": {"a": "1"}}, "sends text, and Double__c (double) takes integer or number"),
        ("string", {"type": "number", "map": {"1": "one"}}, ""),
        ("boolean", {"type": "text", "map": {"a": True}}, ""),
        ("string", {"type": "number", "bands": (("cold", 0.0),)}, ""),
        ("double", {"type": "number", "bands": (("cold", 0.0),)}, "give the bands a `map` to number"),
        ("double", {"type": "number", "bands": (("cold", 0.0),), "map": {"cold": 1}}, ""),
    ],
)
def test_check_judges_what_is_sent(
    kind: str, options: dict[str, Any], sentence: str, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """Not the column's type counts but that of what leaves, after rounding, bands, map and default."""
    found = problem_of(standin, open_destination(), kind, column="c", **options)

    assert sentence in found
    assert bool(sentence) is bool(found)


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        ("int", 2.5, "write `value` as integer"),
        ("int", 2.0, ""),
        ("double", "2", "write `value` as number"),
        ("boolean", 1, "write `value` as boolean"),
        ("date", datetime.date(2026, 1, 2), ""),
        ("datetime", datetime.date(2026, 1, 2), "write `value` as timestamp"),
        ("date", datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), "write `value` as date"),
    ],
)
def test_check_judges_constants(
    kind: str, value: Any, sentence: str, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """A constant is judged by its own type."""
    found = problem_of(standin, open_destination(), kind, value=value)

    assert sentence in found
    assert bool(sentence) is bool(found)


@pytest.mark.parametrize(
    ("options", "strangers"),
    [
        ({"value": "lukewarm"}, "'lukewarm'"),
        ({"column": "c", "type": "text", "default": "none"}, "'none'"),
        ({"column": "c", "type": "text", "map": {"a": "hot", "b": "tepid"}, "default": "cold"}, "'tepid'"),
        ({"column": "c", "type": "number", "bands": (("icy", 0.0), ("hot", 9.0))}, "'icy'"),
        ({"column": "c", "type": "number", "bands": (("icy", 0.0), ("hot", 9.0)), "map": {"icy": "cold"}}, ""),
        ({"column": "c", "type": "text", "default": ""}, ""),
    ],
)
def test_check_of_restricted_picklists(
    options: dict[str, Any], strangers: str, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """Every text that the mapping names has to be a value of the picklist; an empty one is null."""
    sync = a_sync(fields=(Field(name="Activation_Band__c", **options),))
    found = problems_of(open_destination(), sync)

    assert ({"fields.Activation_Band__c"} if strangers else set()) == found.keys()
    assert all(f"does not have {strangers}; it has" in sentence for sentence in found.values())


def test_check_of_a_picklist_with_several_values(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A text for a field that takes several values names them between semicolons."""
    standin.add_field("Contact", "Topics__c", "multipicklist", restrictedPicklist=True, choices=("api", "cli", "sdk"))
    destination = open_destination()

    def problems(text: str) -> dict[str, str]:
        return problems_of(destination, a_sync(fields=(Field(name="Topics__c", value=text),)))

    assert {} == problems("api;sdk")

    destination = open_destination()

    assert ["fields.Topics__c"] == list(problems("api;gui"))


@pytest.mark.parametrize(
    "options",
    [
        {"value": "x" * 81},
        {"column": "c", "type": "text", "default": "x" * 81},
        {"column": "c", "type": "number", "map": {"1": "x" * 81}},
        {"column": "c", "type": "number", "bands": (("x" * 81, 0.0),)},
    ],
    ids=["value", "default", "map", "bands"],
)
def test_check_of_lengths(options: dict[str, Any], standin: SalesforceStandIn, open_destination: Open) -> None:
    """Every text that the mapping names has to fit into the field; one that just fits is none too long."""
    found = problems_of(open_destination(), a_sync(fields=(Field(name="Source__c", **options),)))

    assert ["fields.Source__c"] == list(found)
    assert "81 characters and Source__c holds 80" in found["fields.Source__c"]
    assert {} == problems_of(open_destination(), a_sync(fields=(Field(name="Source__c", value="x" * 80),)))


def test_check_of_the_match(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A match by a field that is not there, or cannot be searched, is a problem; by Id and by Email it is none."""
    destination = open_destination()

    assert "Did you mean Email?" in problems_of(destination, a_sync(match={"Emial": "email"}))["match"]
    assert "cannot be looked up" in problems_of(destination, a_sync(match={"Description": "d"}))["match"]
    assert "type boolean" in problems_of(destination, a_sync(match={"IsEmailBounced": "d"}))["match"]
    assert {} == problems_of(destination, a_sync(match=BY_ID)) | problems_of(destination, a_sync(match=BY_EMAIL))


def test_check_of_creating(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Records that are to be created need what the object requires, and the right to create."""
    destination = open_destination()

    assert ["fields.LastName", "fields.Company"] == list(problems_of(destination, a_sync("Lead", missing="create")))

    standin.org.objects["Contact"].is_createable = False
    found = problems_of(destination, a_sync(fields=(SCORE, Field(name="LastName", column="n")), missing="create"))

    assert ["object"] == list(found)


def test_check_of_clearing(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A field that may not be empty cannot be cleared."""
    sync = a_sync(fields=(SCORE, Field(name="LastName", column="name", type="text")), removed="clear")

    assert ["fields.LastName"] == list(problems_of(open_destination(), sync))


def test_check_says_that_the_login_fails(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A check with a wrong client id stops with the setting's name."""
    with pytest.raises(DestinationUnusable, match="client_id"):
        list(open_destination(client_id="wrong").check(a_sync()))
