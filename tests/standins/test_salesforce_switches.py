"""The switches of the Salesforce stand-in, asked over plain HTTP and without our adapter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Server
from tests.standins.test_salesforce_standin import COLLECTION, CONTACT, Caller, code, item_codes


@pytest.fixture
def caller() -> Iterator[Caller]:
    service = SalesforceStandIn()
    with Server({"": service}):
        made = Caller(service)
        yield made
        made.session.close()


def test_a_refresh_token_may_be_good_once(caller: Caller) -> None:
    """Without the switch a refresh token stays; with it the answer brings the next one, and the old one is spent."""
    door = caller.standin.tokens

    def refreshed(token: str) -> dict[str, Any]:
        answer: dict[str, Any] = caller.token(grant_type="refresh_token", refresh_token=token).json()
        return answer

    first = door.refresh_token

    assert "refresh_token" not in refreshed(first)

    door.rotates_refresh_tokens = True
    second = refreshed(first)["refresh_token"]

    assert "invalid_grant" == refreshed(first)["error"]
    assert second != refreshed(second)["refresh_token"]


def test_every_login_may_be_refused(caller: Caller) -> None:
    """An error that is set stands in for a locked user, or for too many logins in an hour."""
    caller.standin.tokens.unwilling = ("invalid_grant", "login rate exceeded")
    answer = caller.token()

    assert (400, {"error": "invalid_grant", "error_description": "login rate exceeded"}) == (
        answer.status_code,
        answer.json(),
    )


def test_all_tokens_may_be_invalid_for_ever(caller: Caller) -> None:
    """A token that is good for no request is given out all the same."""
    caller.standin.tokens.requests_per_token = 0
    caller.session.headers["Authorization"] = f"Bearer {caller.token().json()['access_token']}"

    assert (401, "INVALID_SESSION_ID") == code(caller.ask("GET", "/limits"))


def test_a_new_token_may_name_another_instance(caller: Caller) -> None:
    """The instance is named by each token anew."""
    before = caller.token().json()["instance_url"]
    caller.standin.instance_url = "https://elsewhere.my.salesforce.com"

    assert caller.standin.url == before
    assert "https://elsewhere.my.salesforce.com" == caller.token().json()["instance_url"]


def test_converted_leads_may_be_edited_by_right(caller: Caller) -> None:
    """A converted lead refuses unless the user has the right."""
    lead = caller.standin.put("Lead", LastName="A", Company="C")
    caller.standin.org.convert(lead)

    def written() -> requests.Response:
        return caller.ask("PATCH", f"/sobjects/Lead/{lead}", json={"Title": "Dr"})

    assert (400, "CANNOT_UPDATE_CONVERTED_LEAD") == code(written())

    caller.standin.org.edits_converted_leads = True

    assert 204 == written().status_code


def test_blocking_rules_are_not_overruled(caller: Caller) -> None:
    """The header overrules a rule that alerts, and not one that blocks."""
    caller.standin.org.duplicate_emails.add("alerts@example.com")
    caller.standin.org.blocked_emails.add("blocks@example.com")

    def created(email: str) -> int:
        headers = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}
        return caller.ask("POST", CONTACT, json={"LastName": "A", "Email": email}, headers=headers).status_code

    assert (201, 400) == (created("alerts@example.com"), created("blocks@example.com"))


@pytest.mark.parametrize(("heeds", "header"), [(True, "FALSE"), (True, ""), (False, "FALSE")])
def test_assignment_rules(heeds: bool, header: str, caller: Caller) -> None:
    """A lead that is written goes to the rule's owner, unless the header forbids it and is heeded."""
    lead = caller.standin.put("Lead", LastName="A", Company="C")
    caller.standin.heeds_auto_assign, caller.standin.org.assigned_to = heeds, "005000000000009AAA"
    record = {"attributes": {"type": "Lead"}, "id": lead, "Title": "Dr"}
    caller.ask(
        "PATCH",
        COLLECTION,
        json={"allOrNone": False, "records": [record]},
        headers={"Sforce-Auto-Assign": header} if header else {},
    )
    kept = heeds and header == "FALSE"

    assert ("005000000000001AAA" if kept else "005000000000009AAA") == caller.standin.records("Lead")[0]["OwnerId"]


@pytest.mark.parametrize("keeps", [True, False])
def test_digits_and_milliseconds(keeps: bool, caller: Caller) -> None:
    """What a field has no room for is kept or cut."""
    caller.standin.org.keeps_precision = keeps
    record_id = caller.standin.put(
        "Contact", LastName="A", Usage_Score__c=1.239, Score_Computed_At__c="2026-01-01T00:00:00.123Z"
    )
    fields = {"fields": "Usage_Score__c,Score_Computed_At__c"}
    answer = caller.ask("GET", f"{CONTACT}/{record_id}", params=fields).json()

    assert ((1.239, "2026-01-01T00:00:00.123+0000") if keeps else (1.24, "2026-01-01T00:00:00.000+0000")) == (
        answer["Usage_Score__c"],
        answer["Score_Computed_At__c"],
    )


@pytest.mark.parametrize("keeps", [True, False])
def test_empty_texts(keeps: bool, caller: Caller) -> None:
    """An empty text becomes null, or stays; an empty number is null in any case."""
    caller.standin.org.objects["Contact"].keeps_empty_text = keeps
    record_id = caller.standin.put("Contact", LastName="A")

    assert [""] == item_codes(caller.collect("PATCH", COLLECTION, {"id": record_id, "Title": "", "Usage_Score__c": ""}))
    assert ("" if keeps else None, None) == tuple(
        caller.standin.records("Contact")[0][name] for name in ("Title", "Usage_Score__c")
    )


@pytest.mark.parametrize(
    ("header", "expected"), [("api-usage={used}/{allowed}; x=1", "api-usage=1/100000; x=1"), (None, None)]
)
def test_the_use_may_be_told_otherwise(header: str | None, expected: str | None, caller: Caller) -> None:
    """The header that tells the use of the day has another form on demand, or is not there."""
    caller.standin.limit_info = header

    assert expected == caller.ask("GET", "/limits").headers.get("Sforce-Limit-Info")
