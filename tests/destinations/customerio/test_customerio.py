"""The customer.io adapter: the vendor's client over real HTTP against the strict stand-in."""

from __future__ import annotations

import datetime
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from destinations import adapter
from destinations.customerio import Customerio
from destinations.customerio_parts.operations import ITEM_BYTES_MAX
from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.server import Server
from syncer.change import Outcome, Value
from tests.destinations.customerio.world import (
    CREATING,
    PEOPLE,
    WORKSPACES,
    Open,
    bodies,
    change_of,
    people_known,
    push,
    results,
    sync_of,
)


def test_the_registry_finds_the_adapter() -> None:
    """The kind in the config leads to the class."""

    assert Customerio is adapter("customerio")


# What is sent.


def test_a_change_leaves_as_it_is(standin: CustomerioStandIn, destination: Customerio) -> None:
    """Exactly the changed fields are sent, null for a clear, with the time of writing and never creating anybody."""
    people_known(standin, "u_1")

    outcomes = push(destination, PEOPLE, change_of("u_1", activation_score=87.5, plan=None))

    [[operation]] = bodies(standin)
    timestamp = operation.pop("timestamp")
    assert {"u_1": Outcome("u_1", "accepted")} == outcomes
    assert {
        "type": "person",
        "action": "identify",
        "identifiers": {"id": "u_1"},
        "attributes": {"activation_score": 87.5, "plan": None, "_update": True},
    } == operation
    assert isinstance(timestamp, int)
    assert abs(timestamp - standin.log[0].at) < 60


def test_fields_that_are_absent_keep_their_value(standin: CustomerioStandIn, destination: Customerio) -> None:
    """What a change does not name stays as it is at customer.io, and a null takes an attribute away."""
    people_known(standin, "u_1")
    push(destination, PEOPLE, change_of("u_1", activation_score=40, plan="free", country="AT"))

    push(destination, PEOPLE, change_of("u_1", activation_score=41, country=None))

    assert {"activation_score": "41", "plan": "free"} == standin.person("u_1")


def test_missing_skip_creates_nobody(standin: CustomerioStandIn, destination: Customerio) -> None:
    """An unknown person stays unknown, although customer.io answers as if all were well."""
    outcomes = push(destination, PEOPLE, change_of("u_1", "new", activation_score=1))

    assert {"u_1": "accepted"} == results(outcomes)
    assert standin.person("u_1") is None
    assert 1 == len(standin.activity)


def test_missing_create_creates(standin: CustomerioStandIn, destination: Customerio) -> None:
    """With missing = "create" there is no `_update`, and an unknown person is made."""
    push(destination, CREATING, change_of("u_1", "new", activation_score=1))

    assert {"activation_score": "1"} == standin.person("u_1")
    assert "_update" not in bodies(standin)[0][0]["attributes"]


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (datetime.datetime(2026, 1, 1, 12, 0, 0, 999_999, tzinfo=datetime.UTC), 1767268800),
        (datetime.datetime(1969, 12, 31, 23, 59, 59, tzinfo=datetime.UTC), -1),
        (datetime.date(2026, 1, 1), "2026-01-01"),
        (0.5, 0.5),
        (12, 12),
        (2**53 + 1, 2**53 + 1),
        (True, True),
        ("", ""),
        ("Zoë 🚀", "Zoë 🚀"),
        ('"quoted" \\ \u2028 \x00', '"quoted" \\ \u2028 \x00'),
    ],
)
def test_values_on_the_wire(standin: CustomerioStandIn, destination: Customerio, value: Value, wire: Any) -> None:
    """Timestamps are whole Unix seconds, dates are ISO text, everything else keeps its JSON type."""
    push(destination, CREATING, change_of("u_1", plan=value))

    sent = bodies(standin)[0][0]["attributes"]["plan"]
    assert wire == sent
    assert type(wire) is type(sent)


def test_removed_and_cleared(standin: CustomerioStandIn, destination: Customerio) -> None:
    """A removed row with removed = "clear" empties our fields of a known person, and makes no unknown one."""
    sync = sync_of(missing="create", removed="clear")
    people_known(standin, "u_1")
    push(destination, sync, change_of("u_1", activation_score=1, plan="free", country="AT"))

    push(
        destination,
        sync,
        change_of("u_1", "removed", activation_score=None, plan=None),
        change_of("u_2", "removed", activation_score=None, plan=None),
    )

    assert {"country": "AT"} == standin.person("u_1")
    assert standin.person("u_2") is None


def test_removed_and_deleted(standin: CustomerioStandIn, destination: Customerio) -> None:
    """With removed = "delete" the person or object goes, also when it is gone already."""
    people_known(standin, "u_1")
    push(destination, WORKSPACES, change_of("w_1", match={"object_id": "w_1"}, activation_score=1))

    people = push(destination, sync_of(removed="delete"), change_of("u_1", "removed"), change_of("u_2", "removed"))
    things = push(
        destination,
        WORKSPACES.model_copy(update={"removed": "delete"}),
        change_of("w_1", "removed", match={"object_id": "w_1"}),
    )

    assert {"u_1": "accepted", "u_2": "accepted"} == results(people)
    assert {"w_1": "accepted"} == results(things)
    assert {} == standin.people
    assert {} == standin.objects


@pytest.mark.parametrize("name", ["workspace", "1", "object:1"])
def test_objects(standin: CustomerioStandIn, destination: Customerio, name: str) -> None:
    """An object is named in the mapping by name or by type id; it has neither `_update` nor a timestamp."""
    sync = WORKSPACES.model_copy(update={"object": name})

    push(destination, sync, change_of("w_1", "new", match={"object_id": "acme/1"}, activation_score=61))

    assert [
        {
            "type": "object",
            "identifiers": {"object_id": "acme/1", "object_type_id": "1"},
            "action": "identify",
            "attributes": {"activation_score": 61},
        }
    ] == bodies(standin)[0]
    assert {"activation_score": "61"} == standin.object("1", "acme/1")


def test_people_by_email(standin: CustomerioStandIn, destination: Customerio) -> None:
    """An email finds its person in whatever case it is written."""
    people_known(standin, "u_1")

    push(
        destination, sync_of(match={"email": "email"}), change_of("u_1", match={"email": "U_1@Example.COM"}, plan="pro")
    )

    assert {"plan": "pro"} == standin.person("u_1")


def test_records_by_the_ids_that_customerio_gives(standin: CustomerioStandIn, destination: Customerio) -> None:
    """A person is found by cio_id and an object by cio_object_id, without a prefix and without an object type."""
    push(destination, CREATING, change_of("u_1", plan="free"))
    push(destination, WORKSPACES, change_of("w_1", match={"object_id": "w_1"}, plan="free"))
    [person], [thing] = standin.people.values(), standin.objects.values()

    push(destination, sync_of(match={"cio_id": "c"}), change_of("u_1", match={"cio_id": person.cio_id}, plan="pro"))
    push(
        destination,
        sync_of(object="workspace", match={"cio_object_id": "c"}),
        change_of("w_1", match={"cio_object_id": thing.cio_id}, plan="pro"),
    )

    assert {"plan": "pro"} == standin.person("u_1")
    assert {"plan": "pro"} == standin.object("1", "w_1")


@pytest.mark.parametrize("slash", ["", "/"])
def test_an_address_with_a_path(standin: CustomerioStandIn, open_destination: Open, slash: str) -> None:
    """Both APIs may live below a path, with or without a slash at its end."""
    with Server({"/customerio": standin}):
        destination = open_destination(track_url=standin.url + slash, app_url=standin.url + slash)

        outcomes = push(destination, CREATING, change_of("u_1", plan="pro"))

        assert {"u_1": "accepted"} == results(outcomes)
        assert [] == list(destination.check(WORKSPACES))
        assert ["/api/v2/batch", "/api/v1/accounts/region", "/v1/object_types"] == [
            one.request.path for one in standin.log
        ]


def test_a_late_write_of_an_earlier_run_does_not_win(
    standin: CustomerioStandIn, open_destination: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All batches of a run carry the second in which it began, so what is held up on its way is older."""
    monkeypatch.setattr("time.time", lambda: 1_767_225_600.9)
    earlier = open_destination()
    monkeypatch.setattr("time.time", lambda: 1_767_225_660.1)
    later = open_destination()
    push(later, CREATING, change_of("u_1", plan="new"))

    push(earlier, CREATING, change_of("u_1", plan="old"))
    push(earlier, CREATING, change_of("u_2", plan="old"))

    assert {"plan": "new"} == standin.person("u_1")
    assert [1_767_225_660, 1_767_225_600, 1_767_225_600] == [batch[0]["timestamp"] for batch in bodies(standin)]


def test_an_empty_batch_asks_nothing(standin: CustomerioStandIn, destination: Customerio) -> None:
    """Nothing to send is no request, because customer.io refuses an empty batch."""
    assert {} == push(destination, PEOPLE)
    assert 0 == destination.requests(PEOPLE, [])
    assert 0 == standin.count


def test_many_threads(standin: CustomerioStandIn, destination: Customerio) -> None:
    """Batches in flight at once do not take each other's answers."""
    batches = [
        [change_of(f"u_{batch}_{n}", plan="x" * (1001 if n == batch else 1)) for n in range(8)] for batch in range(8)
    ]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda batch: push(destination, CREATING, *batch), batches))

    assert [[f"u_{batch}_{batch}"] for batch in range(8)] == [
        [key for key, outcome in outcomes.items() if outcome.result == "rejected"] for outcomes in found
    ]
    assert 56 == len(standin.people)


# Limits.


def test_weights_are_what_is_sent(standin: CustomerioStandIn, open_destination: Open) -> None:
    """The weights of a batch and what `limits` keeps for the envelope are the body's length, to the byte."""
    destination = open_destination()
    for sync, match in ((PEOPLE, "id"), (WORKSPACES, "object_id")):
        for count in (1, 7):
            changes = [
                change_of(f"ü{n}", match={match: f"ü{n}"}, plan='Zoë 🚀 "x" \n', activation_score=n / 3)
                for n in range(count)
            ]
            limit = destination.limits(sync).utf8_bytes
            push(destination, sync, *changes)

            weighed = sum(destination.weigh(sync, change) for change in changes)
            assert limit is not None
            # One comma less than there are operations.
            assert len(standin.log[-1].request.body) == weighed - 1 + (480_000 - limit)


def test_a_full_batch_is_taken(standin: CustomerioStandIn, destination: Customerio) -> None:
    """The largest batch that the limits allow is one request, and customer.io takes it."""
    limits = destination.limits(CREATING)
    one = change_of("u_1000", plan="x" * 330)
    number = (limits.utf8_bytes or 0) // destination.weigh(CREATING, one)
    changes = [change_of(f"u_{1000 + n}", plan="x" * 330) for n in range(number)]
    assert 450_000 < sum(destination.weigh(CREATING, change) for change in changes) <= (limits.utf8_bytes or 0)

    outcomes = push(destination, CREATING, *changes)

    assert {"accepted"} == set(results(outcomes).values())
    assert 1 == standin.count == destination.requests(CREATING, changes)


def test_a_record_that_is_too_large_is_not_sent(standin: CustomerioStandIn, destination: Customerio) -> None:
    """An operation above 30,000 bytes is rejected here, and the others go."""
    names = [f"field_{n}" for n in range(31)]
    large = change_of("u_1", **dict.fromkeys(names, "x" * 1000))

    outcomes = push(destination, CREATING, large, change_of("u_2", plan="pro"))

    assert {"u_1": "rejected", "u_2": "accepted"} == results(outcomes)
    assert "too_large" == outcomes["u_1"].code
    assert [["u_2"]] == [[operation["identifiers"]["id"] for operation in batch] for batch in bodies(standin)]
    assert 0 == standin.count - 1
    assert destination.weigh(CREATING, large) > ITEM_BYTES_MAX


def test_limits(destination: Customerio) -> None:
    """Batches, values and identifiers have the documented limits, counted in bytes."""
    limits = destination.limits(sync_of(match={"email": "email"}))

    assert (4000, 16, "second") == (limits.records, limits.in_flight, limits.timestamp_unit)
    assert {"activation_score": 1000, "plan": 1000} == {name: one.utf8_bytes for name, one in limits.values.items()}
    assert {"email": 150} == {name: one.utf8_bytes for name, one in limits.identifiers.items()}
    assert {"email"} == limits.caseless


def test_values_at_the_limit(standin: CustomerioStandIn, destination: Customerio) -> None:
    """1,000 bytes are a value, also when they are 500 characters; one byte more is refused by customer.io."""
    outcomes = push(destination, CREATING, change_of("u_1", plan="é" * 500), change_of("u_2", plan="é" * 500 + "x"))

    assert {"u_1": "accepted", "u_2": "rejected"} == results(outcomes)


def test_pace_and_account(standin: CustomerioStandIn, open_destination: Open) -> None:
    """1,000 requests a second unless the config says otherwise, shared by a site id that is not shown."""
    settings = open_destination().settings

    assert (1000, 1.0) == (Customerio.pace(settings).requests, Customerio.pace(settings).seconds)
    assert 5 == Customerio.pace(open_destination(pace=5).settings).requests
    assert Customerio.account(settings) == Customerio.account(open_destination(api_key="other").settings)
    assert Customerio.account(settings) != Customerio.account(open_destination(site_id="other").settings)
    assert settings.site_id not in Customerio.account(settings)
