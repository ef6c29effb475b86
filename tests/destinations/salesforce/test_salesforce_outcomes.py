"""What becomes of each record at Salesforce, and of the run, when the service refuses or is in trouble."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from destinations.salesforce_parts.collections import CULPRITS_MAX
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import HTML, Answer
from syncer.change import Outcome
from syncer.errors import DestinationUnusable, ServiceUnavailable, Stopping
from tests.destinations.salesforce.rig import (
    BY_EMAIL,
    BY_ID,
    Open,
    a_change,
    a_sync,
    for_user,
    put_contacts,
    results,
    scores,
    sent,
    writes,
)

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
