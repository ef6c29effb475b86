"""The customer.io adapter: the vendor's client over real HTTP against the strict stand-in."""

from __future__ import annotations

import datetime
import math
import threading
import tomllib
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import mappings
from destinations import adapter
from destinations.customerio import Customerio
from destinations.customerio_parts.operations import ITEM_BYTES_MAX
from destinations.customerio_parts.settings import CustomerioSettings
from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.server import HTML, Answer, Request, Server
from syncer.change import Change, Outcome, Value
from syncer.errors import DestinationUnusable, ServiceUnavailable, Stopping
from syncer.mapping import Field, FieldType
from tests.destinations.customerio_world import (
    API_KEY,
    APP_KEY,
    CREATING,
    PEOPLE,
    WORKSPACES,
    Open,
    bodies,
    change_of,
    opener,
    people_known,
    push,
    results,
    served,
    sync_of,
)

PRIVATE_ID = "ada-lovelace"
PRIVATE_VALUE = "a-private-value"


@pytest.fixture
def standin() -> Iterator[CustomerioStandIn]:
    yield from served()


@pytest.fixture
def open_destination(standin: CustomerioStandIn) -> Iterator[Open]:
    yield from opener(standin)


@pytest.fixture
def destination(open_destination: Open) -> Customerio:
    return open_destination()


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
            assert len(standin.log[-1].request.body) == weighed - 2 + (480_000 - limit)


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

    assert (4000, 4, "second") == (limits.records, limits.in_flight, limits.timestamp_unit)
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


# Answers.

LONG = "x" * 1001
"""A value that customer.io refuses; the engine's own limit would have kept it back."""


def five(bad: set[int]) -> list[Change]:
    return [change_of(f"u_{n}", plan=LONG if n in bad else "pro") for n in range(5)]


@pytest.mark.parametrize(
    ("errors", "requests"),
    [
        ("named", 1),
        ("in_200", 1),
        ("twice", 1),
        # The whole, its halves, and halves of these: nothing is believed until a culprit stands alone.
        ("nameless", 9),
        ("out_of_range", 9),
    ],
)
def test_bad_items_of_a_batch(standin: CustomerioStandIn, destination: Customerio, errors: Any, requests: int) -> None:
    """However customer.io reports bad items, exactly those are rejected, with its reason and words."""
    standin.errors = errors

    outcomes = push(destination, CREATING, *five({1, 4}))

    assert ["accepted", "rejected", "accepted", "accepted", "rejected"] == list(results(outcomes).values())
    assert "invalid" == outcomes["u_4"].code
    assert "attributes.plan: value for attribute 'plan' cannot be longer than 1000 bytes" in outcomes["u_4"].message
    assert (errors == "twice") == ("and once more" in outcomes["u_4"].message)
    assert {"u_0", "u_2", "u_3"} == {person.identifiers["id"] for person in standin.people.values()}
    assert requests == standin.count


@pytest.mark.parametrize("index", [-1, 5, "1", 1.0, True, None])
def test_indexes_that_are_none(standin: CustomerioStandIn, destination: Customerio, index: Any) -> None:
    """An index that is no position in the batch is never taken for one."""
    answer = Answer(207, {"errors": [{"batch_index": index, "reason": "invalid", "message": "no"}]})
    standin.trouble("after", answer=answer)

    outcomes = push(destination, CREATING, *five(set()))

    assert {"accepted"} == set(results(outcomes).values())
    assert 3 == standin.count


@pytest.mark.parametrize("body", [{}, {"errors": []}, {"errors": None}])
def test_a_207_that_names_nothing(standin: CustomerioStandIn, destination: Customerio, body: Any) -> None:
    """Something failed and nobody says what: asked again with less, and at last deferred with doubt."""
    standin.trouble("after", answer=Answer(207, body), times=None, when=lambda request: b"u_3" in request.body)

    outcomes = push(destination, CREATING, *five(set()))

    assert ["accepted", "accepted", "accepted", "deferred", "accepted"] == list(results(outcomes).values())
    assert outcomes["u_3"].doubt


def test_a_batch_refused_as_a_whole_is_halved(standin: CustomerioStandIn, destination: Customerio) -> None:
    """A 400 for the whole request costs only its culprits, each found alone, and the others are accepted."""
    standin.bad_items = "request"

    outcomes = push(destination, CREATING, *[change_of(f"u_{n}", plan=LONG if n == 77 else "x") for n in range(100)])

    assert ["u_77"] == [key for key, outcome in outcomes.items() if outcome.result != "accepted"]
    assert ("rejected", "invalid") == (outcomes["u_77"].result, outcomes["u_77"].code)
    assert standin.count <= 15
    assert 99 == len(standin.people)


@pytest.mark.parametrize("errors_are_a_list", [False, True])
def test_a_refusal_in_the_old_form(
    standin: CustomerioStandIn, destination: Customerio, errors_are_a_list: bool
) -> None:
    """A 400 in the form of v1 is read too: its words are kept."""
    meta = {"errors": ["no such thing"]} if errors_are_a_list else {"error": "no such thing"}
    standin.trouble("status", answer=Answer(400, {"meta": meta}))

    outcomes = push(destination, CREATING, change_of("u_1", plan="pro"))

    assert {"u_1": Outcome("u_1", "rejected", "http_400", "no such thing")} == outcomes


def test_a_batch_that_is_too_large_is_halved(standin: CustomerioStandIn, destination: Customerio) -> None:
    """A 413 splits until it fits, also when a proxy says it in HTML; a record that never fits is rejected."""

    def is_too_large(request: Request) -> bool:
        return len(request.body) > 700

    standin.trouble("status", answer=Answer(413, HTML), times=None, when=is_too_large)

    outcomes = push(destination, CREATING, *five(set()), change_of("u_9", plan="x" * 800))

    assert {"u_9"} == {key for key, result in results(outcomes).items() if result == "rejected"}
    assert ("http_413", "") == (outcomes["u_9"].code, outcomes["u_9"].message)
    assert 5 == len(standin.people)


def test_a_reason_that_is_a_sentence_is_no_code(standin: CustomerioStandIn, destination: Customerio) -> None:
    """Codes are counted and shown, so the vendor's words only become one when they are a word."""
    error = {"batch_index": 0, "reason": "ada@example.com is bad", "field": "identifiers"}
    standin.trouble("status", answer=Answer(207, {"errors": [error, "and a bare text"]}))

    outcomes = push(destination, CREATING, change_of("u_1", plan="pro"))

    assert {
        "u_1": Outcome("u_1", "rejected", "refused", "identifiers: ada@example.com is bad; and a bare text")
    } == outcomes


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, HTML),
        Answer(200, b""),
        Answer(200, []),
        Answer(204),
        Answer(202, {}),
        Answer(207, HTML),
        Answer(400, HTML),
        Answer(404, {"errors": []}),
        Answer(405, HTML),
        Answer(501, HTML),
    ],
)
def test_answers_that_customerio_does_not_give(
    standin: CustomerioStandIn, destination: Customerio, answer: Answer
) -> None:
    """What is no answer to a batch (a proxy's page with status 200) is never taken for an acceptance.

    The records are in doubt when the status says that something was taken.
    """
    standin.trouble("dropped", answer=answer)
    outcomes: list[Outcome] = []

    with pytest.raises(DestinationUnusable, match=rf"answered {answer.status} .*Check `track_url`"):
        outcomes.extend(destination.push(CREATING, five(set())))

    expected = [("deferred", True)] * 5 if answer.status < 300 else []
    assert expected == [(outcome.result, outcome.doubt) for outcome in outcomes]


@pytest.mark.parametrize(
    ("answer", "error"), [(Answer(401, {}), DestinationUnusable), (Answer(429, {}), ServiceUnavailable)]
)
@pytest.mark.parametrize("halves_answered", [0, 1])
def test_what_an_unclear_answer_left_open_is_in_doubt(
    standin: CustomerioStandIn,
    destination: Customerio,
    answer: Answer,
    error: type[Exception],
    halves_answered: int,
) -> None:
    """When asking again fails, records of a batch that was partly taken are in doubt, and do not count as unsent."""
    standin.errors = "nameless"
    # The whole batch is answered without an index, its first half perhaps well, and then comes trouble.
    standin.trouble("status", answer=answer, times=None, skip=1 + halves_answered)
    outcomes: list[Outcome] = []

    with pytest.raises(error):
        outcomes.extend(destination.push(CREATING, five({4})))

    taken = 2 * halves_answered
    assert [("accepted", False)] * taken + [("deferred", True)] * (5 - taken) == [
        (one.result, one.doubt) for one in outcomes
    ]


def test_indexes_are_not_believed_after_an_impossible_one(standin: CustomerioStandIn, destination: Customerio) -> None:
    """A service that counts from 1 gives itself away once; after that the culprit is looked for without its help."""
    standin.trouble("after", answer=Answer(207, {"errors": [{"batch_index": 5, "reason": "invalid"}]}))
    standin.trouble("after", answer=Answer(207, {"errors": [{"batch_index": 1, "reason": "invalid"}]}))

    outcomes = push(destination, CREATING, *five({0}))

    assert ["u_0"] == [key for key, outcome in outcomes.items() if outcome.result == "rejected"]


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_end_in_the_middle(standin: CustomerioStandIn, destination: Customerio, status: int) -> None:
    """A key that is taken away in the middle of a run stops the destination and says which settings to look at."""
    standin.bad_items = "request"
    standin.trouble("status", answer=Answer(status, {}), times=None, skip=3)

    outcomes = destination.push(CREATING, five({4}))

    assert ["u_0", "u_1"] == [next(outcomes).key, next(outcomes).key]
    with pytest.raises(DestinationUnusable, match=rf"\({status}\).*`site_id`, `api_key` and `region`"):
        list(outcomes)


# Trouble on the way.


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("status", {"answer": Answer(429, {})}),
        ("status", {"answer": Answer(429, {}, {"Retry-After": "86400"})}),
        ("status", {"answer": Answer(429, {}, {"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"})}),
        ("status", {"answer": Answer(500, {})}),
        ("status", {"answer": Answer(502, HTML)}),
        ("status", {"answer": Answer(503, HTML)}),
        ("status", {"answer": Answer(503, HTML, {"Retry-After": "86400"})}),
        ("status", {"answer": Answer(504, HTML)}),
        ("after", {"answer": Answer(502, HTML)}),
        ("close", {}),
        ("lost", {}),
        ("cut", {}),
        ("stall", {"seconds": 0.8}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(str(one) for one in value.values())[:50],
)
def test_trouble_that_passes(
    standin: CustomerioStandIn, open_destination: Open, kind: str, options: dict[str, Any]
) -> None:
    """What a second attempt mends is repeated by the transport, once, and ends in the same state."""
    destination = open_destination(transport_options={"timeout": 0.6} if kind == "stall" else {})
    standin.trouble(kind, **options)

    outcomes = push(destination, CREATING, change_of("u_1", plan="pro"), change_of("u_2", plan=LONG))

    assert {"u_1": "accepted", "u_2": "rejected"} == results(outcomes)
    assert {"plan": "pro"} == standin.person("u_1")
    assert 2 == standin.count
    assert 1 == len(standin.people)


@pytest.mark.parametrize(
    ("kind", "answer", "doubt"),
    [
        ("status", Answer(429, {}), False),
        ("status", Answer(503, HTML), True),
        ("close", Answer(200), True),
        ("lost", Answer(200), True),
        ("cut", Answer(200), True),
    ],
)
def test_trouble_that_stays(
    standin: CustomerioStandIn, destination: Customerio, kind: str, answer: Answer, doubt: bool
) -> None:
    """After the allowed attempts the transport's own error comes out, and says whether the write may have arrived."""
    standin.trouble(kind, answer=answer, times=None)

    with pytest.raises(ServiceUnavailable) as caught:
        push(destination, CREATING, change_of("u_1", plan="pro"))

    assert doubt == caught.value.doubt
    assert 3 == standin.count


def test_stopping_comes_out_as_itself(standin: CustomerioStandIn, open_destination: Open) -> None:
    """A stop asked for before the request lets nothing leave."""
    stop = threading.Event()
    stop.set()

    with pytest.raises(Stopping):
        push(open_destination(stop=stop), CREATING, change_of("u_1", plan="pro"))

    assert 0 == standin.count


def test_a_service_that_is_not_there(standin: CustomerioStandIn, open_destination: Open) -> None:
    """A refused connection is the transport's error without doubt, because nothing left."""
    with Server({}) as gone:
        pass

    with pytest.raises(ServiceUnavailable, match="cannot be reached") as caught:
        push(open_destination(track_url=gone.url), CREATING, change_of("u_1", plan="pro"))

    assert not caught.value.doubt


# What check finds.


def test_check_of_a_good_configuration(standin: CustomerioStandIn, open_destination: Open) -> None:
    """Right keys and known object types are no problem, with and without an App API key, and nothing is written."""
    assert [] == list(open_destination().check(WORKSPACES))
    assert [] == list(open_destination(app_key=None).check(WORKSPACES))
    assert {"GET"} == {one.request.method for one in standin.log}
    assert 3 == standin.count


def test_check_is_indifferent_to_the_types_of_columns(destination: Customerio) -> None:
    """Attributes take every type, so types that were filled in change nothing."""
    types: tuple[FieldType, ...] = ("text", "integer", "number", "boolean", "date", "timestamp")
    fields = [Field(name=f"attribute_{name}", column="c", type=name) for name in types]
    fields.append(Field(name="band", column="c", type="number", bands=(("cold", 0.0),), map={"cold": "low"}))

    assert [] == list(destination.check(PEOPLE.model_copy(update={"fields": tuple(fields)})))


def test_check_tells_every_problem_at_once(standin: CustomerioStandIn, open_destination: Open) -> None:
    """Two wrong keys are two problems, each with its setting."""
    problems = list(open_destination(api_key=APP_KEY, app_key=API_KEY).check(PEOPLE))

    assert ["destinations.customerio.api_key", "destinations.customerio.app_key"] == [one.place for one in problems]
    assert all("401" in problem.sentence for problem in problems)


def test_check_of_an_object_type(standin: CustomerioStandIn, open_destination: Open) -> None:
    """An object type that customer.io does not have is told with those that it has."""
    destination = open_destination(object_types={"workspace": "7"})

    [problem] = destination.check(WORKSPACES)

    assert "object" == problem.place
    assert "no object type 7; there are: 1 (Workspaces), 2 (Accounts)" in problem.sentence


@pytest.mark.parametrize(
    ("path", "setting", "answer"),
    [
        ("/api/v1/accounts/region", "track_url", Answer(404, HTML)),
        ("/api/v1/accounts/region", "track_url", Answer(200, HTML)),
        ("/api/v1/accounts/region", "track_url", Answer(200, {"region": "mars"})),
        ("/api/v1/accounts/region", "track_url", Answer(200, {"region": ["us"]})),
        ("/v1/object_types", "app_url", Answer(404, HTML)),
        ("/v1/object_types", "app_url", Answer(200, HTML)),
        ("/v1/object_types", "app_url", Answer(200, {"types": "none"})),
    ],
)
def test_check_of_answers_that_customerio_does_not_give(
    standin: CustomerioStandIn, destination: Customerio, path: str, setting: str, answer: Answer
) -> None:
    """An address where something else answers is a problem of the address."""
    standin.trouble("status", answer=answer, when=lambda request: request.path == path)

    [problem] = destination.check(PEOPLE)

    assert f"destinations.customerio.{setting}" == problem.place
    assert f"answered {answer.status}" in problem.sentence


def test_check_lets_an_outage_pass(standin: CustomerioStandIn, destination: Customerio) -> None:
    """An outage is nobody's mistake in a file, so it is raised and no problem."""
    standin.trouble("status", answer=Answer(503, HTML), times=None)

    with pytest.raises(ServiceUnavailable):
        list(destination.check(PEOPLE))


# What a mapping may say.


def test_good_mappings_are_not_refused(destination: Customerio) -> None:
    """People by each identifier, and objects by name, by id and by customer.io's own id."""
    syncs = [
        PEOPLE,
        CREATING,
        sync_of(match={"email": "email"}, missing="create"),
        sync_of(match={"cio_id": "cio_id"}),
        WORKSPACES,
        WORKSPACES.model_copy(update={"object": "object:12"}),
        WORKSPACES.model_copy(
            update={"fields": (Field(name="name", column="name"), Field(name="created_at", column="x"))}
        ),
        sync_of(object="2", match={"cio_object_id": "id"}),
        sync_of(fields=["é" * 75]),
    ]

    assert [] == [problem for sync in syncs for problem in destination.refuse(sync)]


@pytest.mark.parametrize(
    ("changed", "place", "sentence"),
    [
        ({"object": "Person"}, "object", "did you mean `person`?"),
        ({"object": "workspaces"}, "object", "did you mean `workspace`?"),
        ({"object": "0"}, "object", "Possible are `person`, `workspace`, `account`"),
        ({"match": {}}, "match", "exactly one identifier"),
        ({"match": {"id": "user_id", "email": "email"}}, "match", "exactly one identifier"),
        ({"match": {"e-mail": "email"}}, "match.e-mail", "did you mean `email`?"),
        ({"match": {"object_id": "id"}}, "match.object_id", "cannot find a person by 'object_id'"),
        ({"match": {"phone": "phone"}}, "match.phone", "Use one of `id`, `email`, `cio_id`"),
        ({"match": {"cio_id": "c"}, "missing": "create"}, "missing", 'write missing = "skip"'),
        ({"object": "account", "missing": "create"}, "match.id", "cannot find an object by 'id'"),
        ({"object": "account", "match": {"object_id": "id"}}, "missing", '"create"'),
        (
            {"object": "account", "match": {"cio_object_id": "id"}, "missing": "create"},
            "missing",
            'write missing = "skip"',
        ),
        ({"fields": ["email"]}, "fields.email", "meaning of its own"),
        ({"fields": ["unsubscribed"]}, "fields.unsubscribed", "meaning of its own"),
        ({"fields": ["_update"]}, "fields._update", "begin with _"),
        ({"fields": ["é" * 75 + "x"]}, "fields." + "é" * 75 + "x", "at most 150 bytes"),
        ({"fields": [f"field_{n}" for n in range(301)]}, "fields", "takes 300 attributes"),
        (
            {"object": "1", "match": {"object_id": "id"}, "missing": "create", "fields": ["object_id"]},
            "fields.object_id",
            "meaning of its own",
        ),
    ],
)
def test_mappings_that_are_refused(destination: Customerio, changed: dict[str, Any], place: str, sentence: str) -> None:
    """What customer.io cannot do is refused at its place, with what is possible."""
    [problem] = destination.refuse(sync_of(**changed))

    assert place == problem.place
    assert sentence in problem.sentence


def test_every_problem_of_a_mapping_at_once(destination: Customerio) -> None:
    """A mapping with three mistakes gets three sentences."""
    problems = destination.refuse(sync_of(match={"mail": "m"}, fields=["id", "plan", "_x"]))

    assert ["match.mail", "fields.id", "fields._x"] == [problem.place for problem in problems]


def test_the_shipped_mapping(destination: Customerio) -> None:
    """The three syncs that ship are ones that customer.io can do."""
    shipped = tomllib.loads((Path(mappings.__path__[0]) / "customerio.toml").read_text())
    syncs = [
        sync_of(
            **{name: one[name] for name in ("object", "match", "missing", "removed")},
            fields=one["fields"],
        )
        for one in shipped["sync"]
    ]

    assert "customerio" == shipped["destination"]
    assert ["people", "workspaces", "accounts"] == [one["name"] for one in shipped["sync"]]
    assert [] == [problem for sync in syncs for problem in destination.refuse(sync)]


# Settings and secrets.


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"track_url": "http://track.example.com"}, "allowed for loopback hosts only"),
        ({"app_url": "http://10.0.0.1"}, "allowed for loopback hosts only"),
        ({"track_url": "track.customer.io"}, "whole address"),
        ({"track_url": "ftp://localhost"}, "whole address"),
        ({"track_url": "https://me:secret@example.com"}, "keys belong in"),
        ({"track_url": "https://example.com/?key=1"}, "keys belong in"),
        ({"region": "asia"}, "'us' or 'eu'"),
        ({"site_id": ""}, "at least 1 character"),
        ({"object_types": {"person": "1"}}, "people are not objects"),
        ({"object_types": {"workspace": "one"}}, 'as "1"'),
        ({"api_token": "x"}, "Extra inputs"),
    ],
)
def test_settings_that_are_refused(changed: dict[str, Any], sentence: str) -> None:
    """A wrong setting is a sentence before anything is asked."""
    with pytest.raises(ValidationError, match=sentence):
        CustomerioSettings.model_validate({"site_id": "s", "api_key": "k"} | changed)


@pytest.mark.parametrize(
    ("region", "track", "app"),
    [
        ("us", "https://track.customer.io", "https://api.customer.io"),
        ("eu", "https://track-eu.customer.io", "https://api-eu.customer.io"),
    ],
)
def test_the_hosts_of_the_regions(region: Any, track: str, app: str) -> None:
    """Without an address of one's own the region's hosts are used."""
    settings = CustomerioSettings.model_validate({"site_id": "s", "api_key": "k", "region": region})

    assert (track, app) == (settings.track, settings.app)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(400, HTML),
        Answer(401, {}),
        Answer(403, {}),
        Answer(404, HTML),
        Answer(301, {}, {"Location": "https://elsewhere.example.com/"}),
        Answer(429, {}),
        Answer(503, HTML),
        None,
    ],
)
def test_no_exception_shows_a_secret_or_a_value(
    standin: CustomerioStandIn, destination: Customerio, answer: Answer | None
) -> None:
    """Neither keys nor people's data are in any exception, nor in what it came from."""
    standin.trouble("status" if answer else "close", answer=answer or Answer(200), times=None)

    with pytest.raises((DestinationUnusable, ServiceUnavailable)) as caught:
        push(destination, CREATING, change_of(PRIVATE_ID, plan=PRIVATE_VALUE))

    assert_nothing_private(caught.value)


def test_a_fault_of_the_library_shows_no_value(standin: CustomerioStandIn, destination: Customerio) -> None:
    """What the client library cannot encode is an error without the library's text, and nothing is sent."""
    with pytest.raises(DestinationUnusable, match="InvalidJSONError") as caught:
        push(destination, CREATING, change_of(PRIVATE_ID, plan=PRIVATE_VALUE, activation_score=math.inf))

    assert_nothing_private(caught.value)
    assert 0 == standin.count


def assert_nothing_private(error: BaseException) -> None:
    text = "".join(traceback.format_exception(error)) + repr(error)
    seen: list[BaseException] = [error]
    while (next_one := seen[-1].__cause__ or seen[-1].__context__) is not None:
        seen.append(next_one)
        text += str(next_one) + repr(next_one)

    assert [] == [one for one in (API_KEY, APP_KEY, PRIVATE_ID, PRIVATE_VALUE) if one in text]


def test_settings_do_not_show_their_secrets(destination: Customerio) -> None:
    """Settings may end up in a log by accident, and their keys do not."""
    text = f"{destination.settings!r} {destination.settings}"

    assert API_KEY not in text
    assert APP_KEY not in text
