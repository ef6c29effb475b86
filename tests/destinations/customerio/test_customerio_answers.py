"""What becomes of each change at customer.io, and of the run, by its answers and in trouble."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from destinations.customerio import Customerio
from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.server import HTML, Answer, Request, Server
from syncer.change import Change, Outcome
from syncer.errors import DestinationUnusable, ServiceUnavailable, Stopping
from tests.destinations.customerio.world import (
    CREATING,
    LONG,
    ByColumns,
    Open,
    change_of,
    opener,
    push,
    results,
)


@pytest.fixture(params=[Customerio, ByColumns], ids=["objects", "columns"])
def open_destination(standin: CustomerioStandIn, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Whichever way the operations were made."""
    yield from opener(standin, request.param)


# Answers.


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
