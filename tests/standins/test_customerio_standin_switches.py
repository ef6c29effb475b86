"""What no document of customer.io settles is a switch on its stand-in, and each position does what it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from destinations.standins.customerio import CustomerioStandIn
from tests.standins.customerio_caller import Caller, Clock, calling, person, served, thing


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def standin(clock: Clock) -> Iterator[CustomerioStandIn]:
    yield from served(clock)


@pytest.fixture
def caller(standin: CustomerioStandIn) -> Iterator[Caller]:
    yield from calling(standin)


@pytest.mark.parametrize(("takes", "status"), [(False, 400), (True, 200)])
def test_empty_batches(standin: CustomerioStandIn, caller: Caller, takes: bool, status: int) -> None:
    """A batch of nothing is refused, or is nothing."""
    standin.takes_empty_batches = takes

    assert status == caller.batch().status_code


@pytest.mark.parametrize("bad", ["item", "request"])
def test_object_types_that_are_not_there(standin: CustomerioStandIn, caller: Caller, bad: Any) -> None:
    """An unknown object type is an item of a 207, a whole 400, or taken and dropped with a line in the activity log."""
    standin.bad_items = bad
    refused = caller.batch(person("u_1"), thing(type_id="9"))

    assert {"item": 207, "request": 400}[bad] == refused.status_code
    assert "object_type_id" == refused.json()["errors"][0]["field"]

    standin.unknown_object_types = "ignored"
    assert [200, 200] == [
        caller.batch(person("u_1"), thing(type_id="9")).status_code,
        caller.post("/api/v2/entity", thing(type_id="9")).status_code,
    ]
    assert ({}, ["Dropped: there is no such object type"] * 2) == (standin.objects, standin.activity)


def test_limits_of_objects(standin: CustomerioStandIn, caller: Caller) -> None:
    """Too much in an object's attributes is refused, or taken and dropped; of a person it is always refused."""
    long = "x" * 1001
    assert 207 == caller.batch(thing(plan=long), person()).status_code

    standin.object_limits = "ignored"

    assert 200 == caller.batch(thing(plan=long), person()).status_code
    assert 207 == caller.batch(person(plan=long), person()).status_code
    # What is wrong besides is refused all the same.
    assert 207 == caller.batch(thing(" ", plan=long), person()).status_code
    assert 207 == caller.batch([], person()).status_code
    assert {} == standin.objects
    assert 1 == len(standin.activity)


@pytest.mark.parametrize(("removes", "expected"), [(True, {"b": ""}), (False, {"a": "1", "b": ""})])
def test_nulls_of_people(standin: CustomerioStandIn, caller: Caller, removes: bool, expected: dict[str, str]) -> None:
    """A null in v2 removes a person's attribute or says nothing; in v1 and on objects it always removes."""
    standin.null_removes_from_people = removes
    caller.batch(person(a=1, b=2), thing(a=1, b=2))

    caller.batch(person(a=None, b=""), thing(a=None, b=""))

    assert (expected, {}) == (standin.person("u_1"), standin.object("1", "o_1"))
    caller.put("u_1", a=None)
    assert {"b": ""} == standin.person("u_1")


@pytest.mark.parametrize(
    ("floats", "half", "tiny"),
    [
        ("shortest", "0.5", "1e-05"),
        ("fixed", "0.5000000000000000000000000", "0.0000100000000000000008180"),
        ("exponent", "5.0000000000000000e-01", "1.0000000000000001e-05"),
    ],
)
def test_how_fractions_are_printed(
    standin: CustomerioStandIn, caller: Caller, floats: Any, half: str, tiny: str
) -> None:
    """A fraction comes back in one of three forms, which all mean the same number."""
    standin.floats = floats
    caller.batch(person(half=0.5, tiny=1e-05, whole=1))

    assert {"half": half, "tiny": tiny, "whole": "1"} == standin.person("u_1")
    assert (0.5, 1e-05) == (float(half), float(tiny))


def test_nothing_is_applied(standin: CustomerioStandIn, caller: Caller) -> None:
    """Everything is answered as if it went well, refusals included, and nothing is there afterwards."""
    standin.applies_nothing = True

    assert [200, 207, 200] == [
        caller.batch(person()).status_code,
        caller.batch(person(), person(" ")).status_code,
        caller.put("u_2", a=1).status_code,
    ]
    assert {} == standin.people


@pytest.mark.parametrize("retry_after", [None, "1", "86400", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_the_header_of_a_429(standin: CustomerioStandIn, caller: Caller, retry_after: str | None) -> None:
    """A 429 says how long to wait, or does not."""
    standin.track_requests_max = standin.app_requests_max = 0
    standin.retry_after = retry_after

    answers = [caller.batch(person()), caller.get("/v1/object_types")]

    assert [(429, retry_after)] * 2 == [(one.status_code, one.headers.get("Retry-After")) for one in answers]


def test_the_eleventh_reading_of_a_second(standin: CustomerioStandIn, caller: Caller, clock: Clock) -> None:
    """Ten readings in a second are documented, and the next one has to wait."""
    assert [200] * 10 + [429] == [caller.get("/v1/object_types").status_code for _ in range(11)]
    clock.now += 1
    assert 200 == caller.get("/v1/object_types").status_code


@pytest.mark.parametrize(("is_text", "status"), [(True, "404"), (False, 404)])
def test_the_status_in_a_404(standin: CustomerioStandIn, caller: Caller, is_text: bool, status: Any) -> None:
    """What is not there is told with the status as text or as a number."""
    standin.not_found_status_is_text = is_text

    for path in ("/v1/customers/no/attributes", "/v1/objects/1/no/attributes", "/v1/customers/no/relationships"):
        answer = caller.get(path)
        assert (404, status) == (answer.status_code, answer.json()["errors"][0]["status"])


@pytest.mark.parametrize(("are_numbers", "expected"), [(False, ["1", "2"]), (True, [1, 2])])
def test_ids_of_object_types(
    standin: CustomerioStandIn, caller: Caller, are_numbers: bool, expected: list[Any]
) -> None:
    """Object types are listed with ids as text or as numbers."""
    standin.type_ids_are_numbers = are_numbers

    assert expected == [one["id"] for one in caller.get("/v1/object_types").json()["types"]]


def test_the_unit_of_a_kilobyte(standin: CustomerioStandIn, caller: Caller) -> None:
    """The sizes of a batch and of an item are numbers that may be set to the other reading of kb."""
    item = person("large", **{f"a_{n}": "x" * 960 for n in range(33)})
    batch = [person(f"u_{n}", a="x" * 900) for n in range(505)]

    assert [400, 400] == [caller.post("/api/v2/entity", item).status_code, caller.batch(*batch).status_code]
    standin.item_bytes_max, standin.batch_bytes_max = 32 * 1024, 500 * 1024
    assert [200, 200] == [caller.post("/api/v2/entity", item).status_code, caller.batch(*batch).status_code]
