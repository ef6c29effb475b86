"""What no public document settles, in both positions, and what others do at the org while we write."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Answer
from syncer.errors import DestinationUnusable
from syncer.mapping import Field
from tests.destinations.salesforce.rig import (
    BY_EMAIL,
    BY_ID,
    SECRET,
    Open,
    a_change,
    a_sync,
    for_user,
    put_contacts,
    results,
    scores,
    sent,
    wanted_user,
    written,
)

# Logins


@pytest.mark.parametrize("status", [400, 401])
def test_a_refused_login_under_either_status(status: int, standin: SalesforceStandIn, open_destination: Open) -> None:
    """Whether a wrong secret is answered with 400 or 401, it is the login's fault and no expired token."""
    standin.tokens.refusal_status = status

    with pytest.raises(DestinationUnusable, match=rf"refused the login \({status}, invalid_client\)"):
        list(open_destination(client_secret="wrong").push(a_sync(), [for_user(0)]))

    assert 1 == standin.count


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("inactive_user", "Activate the user"),
        ("inactive_org", "The org itself is not active"),
        ("unsupported_grant_type", "Switch this flow on"),
        ("invalid_grant", "Check `login_url`, the user"),
    ],
)
def test_each_reason_of_a_refused_login_has_its_next_step(
    error: str, sentence: str, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """The service's code decides what to look at; its description, which may repeat what was sent, is not shown."""
    standin.tokens.unwilling = (error, f"login rate exceeded {SECRET}")

    with pytest.raises(DestinationUnusable, match=sentence) as caught:
        list(open_destination().check(a_sync()))

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("is_my_domain", [True, False], ids=["my domain", "another host"])
def test_client_credentials_need_my_domain(
    is_my_domain: bool, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """At a host that cannot tell the org, client credentials are refused with the setting to look at."""
    standin.tokens.is_my_domain = is_my_domain
    if is_my_domain:
        assert [] == list(open_destination().check(a_sync()))
        return

    with pytest.raises(DestinationUnusable, match="`login_url`"):
        list(open_destination().check(a_sync()))


@pytest.mark.parametrize(("seconds", "is_long_enough"), [(300, True), (190, True), (60, False)])
def test_the_longest_life_of_an_assertion(
    seconds: int, is_long_enough: bool, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """Our assertion ends after three minutes, which an org that allows less refuses with a sentence."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    standin.tokens.public_key, standin.tokens.jwt_seconds_max = public.decode(), seconds
    destination = open_destination(login="jwt", username=standin.tokens.username, private_key=private)
    if is_long_enough:
        assert [] == list(destination.check(a_sync()))
        return

    with pytest.raises(DestinationUnusable, match="this machine's clock"):
        list(destination.check(a_sync()))


@pytest.mark.parametrize("rotates", [False, True], ids=["kept", "rotated"])
def test_a_refresh_token_that_is_good_once(rotates: bool, standin: SalesforceStandIn, open_destination: Open) -> None:
    """A login that spends the configured refresh token is told at once, and not found out by the next run."""
    standin.tokens.rotates_refresh_tokens = rotates
    destination = open_destination(login="refresh_token", refresh_token=standin.tokens.refresh_token)
    if not rotates:
        assert [] == list(destination.check(a_sync()))
        return

    for _ in range(2):
        with pytest.raises(DestinationUnusable, match="Switch refresh token rotation off") as caught:
            list(destination.check(a_sync()))

        assert standin.tokens.refresh_token not in str(caught.value)
    assert 1 == standin.tokens.logins


# Records


@pytest.mark.parametrize("may_edit", [False, True], ids=["usual", "with the right"])
def test_a_converted_lead_by_its_id(may_edit: bool, standin: SalesforceStandIn, open_destination: Open) -> None:
    """A converted lead refuses, unless the user has the right to edit such leads."""
    lead = standin.put("Lead", LastName="A", Company="C")
    standin.org.convert(lead)
    standin.org.edits_converted_leads = may_edit
    outcome = "accepted" if may_edit else "rejected CANNOT_UPDATE_CONVERTED_LEAD"

    assert {"a": outcome} == results(open_destination().push(a_sync("Lead", BY_ID), [a_change("a", {"Id": lead})]))
    assert [41.5 if may_edit else None] == scores(standin, "Lead")


@pytest.mark.parametrize("heeds", [True, False], ids=["heeded", "not heeded"])
def test_a_score_hands_no_lead_to_somebody_else(
    heeds: bool, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """Where the header is heeded the lead keeps its owner; where it is not, the score arrives all the same."""
    standin.put("Lead", LastName="A", Company="C", Email="a@example.com")
    standin.heeds_auto_assign = heeds
    standin.org.assigned_to = "005000000000009AAA"
    (before,) = standin.records("Lead")

    assert {"a": "accepted"} == results(
        open_destination().push(a_sync("Lead", BY_EMAIL), [a_change("a", {"Email": "a@example.com"})])
    )

    (after,) = standin.records("Lead")

    assert heeds == (before["OwnerId"] == after["OwnerId"])
    assert 41.5 == after["Activation_Score__c"]


@pytest.mark.parametrize("header", [{}, {"duplicate_rule_header": "allowSave=true"}], ids=["plain", "allowSave"])
@pytest.mark.parametrize("rule", ["duplicate_emails", "blocked_emails"])
def test_duplicate_rules(rule: str, header: dict[str, str], standin: SalesforceStandIn, open_destination: Open) -> None:
    """The configured header lets an alerting rule pass, and never a blocking one."""
    getattr(standin.org, rule).add("a@example.com")
    sync = a_sync(match=BY_EMAIL, missing="create")
    change = a_change("a", {"Email": "a@example.com"}, "new", LastName="A")
    passes = rule == "duplicate_emails" and bool(header)

    assert {"a": "accepted" if passes else "rejected DUPLICATES_DETECTED"} == results(
        open_destination(**header).push(sync, [change])
    )
    assert passes == bool(standin.records("Contact"))


@pytest.mark.parametrize("keeps", [False, True], ids=["null", "empty"])
def test_empty_text_is_nothing(keeps: bool, standin: SalesforceStandIn, open_destination: Open) -> None:
    """Whether the org keeps an empty text or null, it is what our null and our empty text are compared with."""
    standin.org.objects["Contact"].keeps_empty_text = keeps
    standin.put("Contact", LastName="A", Product_User_Id__c="u_0", Source__c="")
    destination, sync = open_destination(), a_sync(fields=(Field(name="Source__c", column="a"),))
    (held,) = destination.read(sync, [wanted_user(0)])

    assert held.fields == {"Source__c": "" if keeps else None}
    assert destination.holds(sync, "Source__c", None, held.fields["Source__c"])
    assert destination.holds(sync, "Source__c", "", held.fields["Source__c"])


@pytest.mark.parametrize("is_key", [False, True], ids=["external ids only", "Email too"])
def test_no_upsert_by_email(is_key: bool, standin: SalesforceStandIn, open_destination: Open) -> None:
    """An address is looked up, whether Collections would take it as a key or not."""
    standin.email_is_key = is_key
    sync = a_sync(match=BY_EMAIL, missing="create")
    change = a_change("a", {"Email": "a@example.com"}, LastName="A", Activation_Score__c=1.0)
    for _ in range(2):
        assert {"a": "accepted"} == results(open_destination().push(sync, [change]))

    assert [1.0] == scores(standin)


# Somebody else


def test_somebody_else_changes_a_field_meanwhile(standin: SalesforceStandIn, open_destination: Open) -> None:
    """What others write between our look-up and our write stays, but for the field that we write."""
    (record_id,) = put_contacts(standin, 1)
    theirs: dict[str, Any] = {"Title": "Dr", "Activation_Score__c": 1, "Usage_Score__c": 2}
    standin.meanwhile = lambda: standin.org.update("Contact", record_id, theirs)

    assert {"u_0": "accepted"} == results(open_destination().push(a_sync(), [for_user(0)]))

    (record,) = standin.records("Contact")

    assert ("Dr", 41.5, 2) == (record["Title"], record["Activation_Score__c"], record["Usage_Score__c"])
    assert [{"Activation_Score__c": 41.5}] == written(standin)


def test_somebody_else_takes_the_key_meanwhile(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A person who is made by somebody else between our look-up and our write is not made a second time."""
    standin.org.objects["Contact"].fields["Email"]["unique"] = True
    standin.meanwhile = lambda: standin.put("Contact", LastName="Theirs", Email="a@example.com")
    sync = a_sync(match=BY_EMAIL, missing="create")
    change = a_change("a", {"Email": "a@example.com"}, "new", LastName="Ours", Activation_Score__c=1.0)
    destination = open_destination()

    assert {"a": "rejected DUPLICATE_VALUE"} == results(destination.push(sync, [change]))
    assert {"a": "accepted"} == results(destination.push(sync, [change]))
    assert ["Ours"] == [record["LastName"] for record in standin.records("Contact")]


@pytest.mark.parametrize(
    ("used", "sentence"), [(5, "long requests run at the org at the same time"), (100, "(100 of 100)")]
)
def test_too_many_at_the_same_time_is_not_a_used_up_day(
    used: int, sentence: str, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """One code stands for two limits; the use beside it tells which."""
    put_contacts(standin, 1)
    fault = [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "limit exceeded"}]
    header = {"Sforce-Limit-Info": f"api-usage={used}/100"}
    standin.trouble("status", when=lambda request: "/query" in request.path, answer=Answer(403, fault, header))

    with pytest.raises(DestinationUnusable) as caught:
        list(open_destination().push(a_sync(), [for_user(0)]))

    assert sentence in str(caught.value)


def too_long(standin: SalesforceStandIn, values_max: int) -> None:
    """Let every query for more values than that run into its time limit."""
    fault = [{"errorCode": "QUERY_TIMEOUT", "message": "Your query request was running for too long."}]
    standin.trouble(
        "status",
        when=lambda request: "/query" in request.path and request.query["q"][0].count("'u_") > values_max,
        answer=Answer(400, fault),
        times=None,
    )


def test_a_look_up_that_takes_too_long_is_asked_in_halves(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A query of many values that ran into its time limit is asked again in halves, to write and to read."""
    put_contacts(standin, 120)
    too_long(standin, 30)
    destination, numbers = open_destination(), range(120)

    assert {"accepted"} == set(results(destination.push(a_sync(), [for_user(number) for number in numbers])).values())
    assert 7 == len(sent(standin, "GET", "/query"))

    held = list(destination.read(a_sync(), map(wanted_user, numbers)))

    assert [(f"u_{number}", {"Activation_Score__c": 41.5}) for number in numbers] == [
        (one.key, one.fields) for one in held
    ]


def test_halving_ends(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Where few values take too long as well, the records wait for the next run."""
    put_contacts(standin, 120)
    too_long(standin, 0)
    changes = [for_user(number) for number in range(120)]

    assert {"deferred QUERY_TIMEOUT"} == set(results(open_destination().push(a_sync(), changes)).values())
    assert 7 == len(sent(standin, "GET", "/query"))
