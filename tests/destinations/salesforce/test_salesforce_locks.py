"""Rows that somebody else holds: children of one account travel together, and a locked one is tried again."""

from __future__ import annotations

import random
from itertools import groupby

import pytest

from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Answer
from syncer.change import Outcome
from tests.destinations.salesforce.rig import (
    BY_EMAIL,
    BY_ID,
    Open,
    a_change,
    a_sync,
    data_requests,
    for_user,
    results,
    scores,
    sent,
    writes,
)


def put_children(standin: SalesforceStandIn, count: int, accounts: int) -> list[str]:
    """Contacts of some accounts in turn, as u_0, u_1 …; the Ids of the accounts."""
    ids = [standin.put("Account", Name=f"Account {number}") for number in range(accounts)]
    for number in range(count):
        who = {"Product_User_Id__c": f"u_{number}", "Email": f"u_{number}@example.com"}
        standin.put("Contact", LastName=f"Person {number}", AccountId=ids[number % accounts], **who)
    return ids


def accounts_in_order(standin: SalesforceStandIn) -> list[str]:
    """The accounts of the records of the last update, in the order in which they travelled."""
    parents = {record["Id"]: record["AccountId"] for record in standin.records("Contact")}
    records = sent(standin, "PATCH", "/composite/")[-1].json()["records"]
    return [parents[record["id"]] or "" for record in records if record["id"] in parents]


def test_children_of_one_account_travel_together(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Whatever the order of the changes, one request holds the children of an account side by side."""
    put_children(standin, 40, 4)
    changes = [for_user(number) for number in range(40)]
    random.Random(7).shuffle(changes)

    assert {"accepted"} == set(results(open_destination().push(a_sync(), changes)).values())
    assert 4 == len(list(groupby(accounts_in_order(standin))))


def test_contacts_of_one_account_travel_together_beside_leads(
    standin: SalesforceStandIn, open_destination: Open
) -> None:
    """Contacts and Leads go in one request, one type after the other, and Contacts by account."""
    put_children(standin, 12, 3)
    changes = [a_change(f"u_{number}", {"Email": f"u_{number}@example.com"}) for number in range(12)]
    for number in range(4):
        email = f"lead_{number}@example.com"
        standin.put("Lead", LastName="Lead", Company="Unknown", Email=email)
        changes.insert(number * 3, a_change(f"l_{number}", {"Email": email}))

    sync = a_sync(match=BY_EMAIL, also=("Lead",))

    assert {"accepted"} == set(results(open_destination().push(sync, changes)).values())

    (request,) = sent(standin, "PATCH", "/composite/")
    types = [record["attributes"]["type"] for record in request.json()["records"]]

    assert ["Contact"] * 12 + ["Lead"] * 4 == types
    assert 3 == len(list(groupby(accounts_in_order(standin))))


@pytest.mark.parametrize("also", [(), ("Lead",)], ids=["contacts", "people"])
def test_a_locked_account_defers_its_children_together(
    also: tuple[str, ...], standin: SalesforceStandIn, open_destination: Open
) -> None:
    """Each child of a held account is to be tried again, with the account's Id; the others are accepted."""
    held, _ = put_children(standin, 6, 2)
    standin.org.locked[held] = 3
    destination, sync = open_destination(), a_sync(match=BY_EMAIL, also=also)
    changes = [a_change(f"u_{number}", {"Email": f"u_{number}@example.com"}) for number in range(6)]
    outcomes = [one for one in destination.push(sync, changes) if isinstance(one, Outcome)]
    locked = [outcome for outcome in outcomes if outcome.result == "deferred"]

    assert {"u_0", "u_2", "u_4"} == {outcome.key for outcome in locked}
    assert {("UNABLE_TO_LOCK_ROW", held, False)} == {(one.code, one.again, one.doubt) for one in locked}
    assert {None} == {outcome.again for outcome in outcomes if outcome.result == "accepted"}

    again = [change for change in changes if change.key in {outcome.key for outcome in locked}]

    assert {"accepted"} == set(results(destination.push(sync, again)).values())
    assert [41.5] * 6 == scores(standin)


def test_a_locked_row_without_an_account_is_tried_again_too(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Where no account is known, as with a match by Id or an upsert, the record is tried again all the same."""
    record_id = standin.put("Contact", LastName="Ada", Product_User_Id__c="u_0")
    standin.org.locked[record_id] = 3
    destination = open_destination()
    pushed = [
        *destination.push(a_sync(), [for_user(0)]),
        *destination.push(a_sync(match=BY_ID), [a_change("u_0", {"Id": record_id})]),
        *destination.push(a_sync(missing="create"), [for_user(0, LastName="Ada")]),
    ]

    assert [("UNABLE_TO_LOCK_ROW", "")] * 3 == [(one.code, one.again) for one in pushed if isinstance(one, Outcome)]


def test_a_lock_told_of_a_whole_request_is_tried_again(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A request that is refused as a whole for a lock has all its records tried again, each with its account."""
    accounts = put_children(standin, 2, 2)
    fault = [{"errorCode": "UNABLE_TO_LOCK_ROW", "message": "unable to obtain exclusive access"}]
    standin.trouble("status", when=writes, answer=Answer(400, fault))
    outcomes = [
        one for one in open_destination().push(a_sync(), [for_user(0), for_user(1)]) if isinstance(one, Outcome)
    ]

    assert {"u_0": accounts[0], "u_1": accounts[1]} == {one.key: one.again for one in outcomes}


def test_other_passing_faults_wait_for_the_next_run(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Only a lock is worth another try in seconds."""
    put_children(standin, 1, 1)
    fault = {"statusCode": "SERVER_UNAVAILABLE", "message": "busy"}
    standin.trouble("status", when=writes, answer=Answer(200, [{"success": False, "errors": [fault]}]))
    (outcome,) = open_destination().push(a_sync(), [for_user(0)])

    assert isinstance(outcome, Outcome)
    assert ("deferred", "SERVER_UNAVAILABLE", None) == (outcome.result, outcome.code, outcome.again)


def test_an_account_that_may_not_be_seen_is_not_asked_for(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A user without rights on the account of a Contact can write its scores all the same."""
    del standin.org.objects["Contact"].fields["AccountId"]
    standin.put("Contact", LastName="Ada", Product_User_Id__c="u_0")
    destination = open_destination()

    assert {"u_0": "accepted"} == results(destination.push(a_sync(), [for_user(0)]))
    assert data_requests(standin) == destination.requests(a_sync(), [for_user(0)])
