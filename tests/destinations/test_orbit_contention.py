"""Other people's tags at Orbit, which change while ours are being written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from destinations.standins.orbit import Member
from syncer.change import Outcome, Value
from tests.destinations.orbit_workplace import Bench, at_work, change_of, sync_of

HOT: dict[str, Value] = {"tag:activation": "hot"}


@pytest.fixture
def bench() -> Iterator[Bench]:
    with at_work() as bench:
        yield bench


def told(outcomes: list[Outcome]) -> list[tuple[str, str, bool]]:
    return [(outcome.result, outcome.code, outcome.doubt) for outcome in outcomes]


@pytest.mark.parametrize("times", [1, 2])
def test_tag_that_somebody_adds_after_our_reading_is_kept(bench: Bench, times: int) -> None:
    """Tags that others add between our readings are in the list that replaces all tags."""
    member = bench.standin.add(email="ada@example.com", tags=["vip", "activation:warm"])

    def add(member: Member, number: int) -> None:
        if number <= times:
            member.tags.append(f"added-{number}")

    bench.standin.after_get = add
    outcomes = bench.push(change_of("ada@example.com", HOT))

    assert [("accepted", "", False)] == told(outcomes)
    assert ["vip", *(f"added-{number + 1}" for number in range(times)), "activation:hot"] == member.tags
    assert 1 == len(bench.writes())


def test_tag_that_somebody_takes_off_is_not_put_back(bench: Bench) -> None:
    """A tag that somebody removes between our readings stays removed."""
    member = bench.standin.add(email="ada@example.com", tags=["vip", "activation:warm"])

    def remove(member: Member, number: int) -> None:
        if number == 1:
            member.tags.remove("vip")

    bench.standin.after_get = remove
    bench.push(change_of("ada@example.com", HOT))

    assert ["activation:hot"] == member.tags


def test_tags_that_never_rest_are_left_alone(bench: Bench) -> None:
    """When the tags moved with each of three readings, nothing is written, the record waits, and the next one goes."""
    member = bench.standin.add(email="ada@example.com", tags=["activation:warm"])
    bench.standin.add(email="bob@example.com", tags=["activation:warm"])

    def add(member: Member, number: int) -> None:
        if member.username("email") == "ada@example.com":
            member.tags.append(f"added-{number}")

    bench.standin.after_get = add
    outcomes = bench.push(*(change_of(who, HOT) for who in ("ada@example.com", "bob@example.com")))

    assert [("deferred", "contended", False), ("accepted", "", False)] == told(outcomes)
    assert ["activation:warm", "added-1", "added-2", "added-3", "added-4"] == member.tags
    assert 1 == len(bench.writes())


def test_quarrel_after_our_own_writing_is_in_doubt(bench: Bench) -> None:
    """When ours were written once and the tags never rest after that, the last accepted value is no longer certain."""
    bench.standin.add(email="ada@example.com", tags=["activation:warm"])

    def overwrite(member: Member) -> None:
        member.tags = ["activation:warm"]

    def add(member: Member, number: int) -> None:
        if number > 2:
            member.tags.append(f"added-{number}")

    bench.standin.after_put, bench.standin.after_get = overwrite, add

    assert [("deferred", "contended", True)] == told(bench.push(change_of("ada@example.com", HOT)))
    assert 1 == len(bench.writes())


def test_third_writing_that_stays_is_accepted(bench: Bench) -> None:
    """Ours that are written over twice and stay the third time are accepted."""
    member = bench.standin.add(email="ada@example.com", tags=["activation:warm"])
    overwritten: list[int] = []

    def overwrite(member: Member) -> None:
        if len(overwritten) < 2:
            overwritten.append(1)
            member.tags = ["activation:warm"]

    bench.standin.after_put = overwrite

    assert [("accepted", "", False)] == told(bench.push(change_of("ada@example.com", HOT)))
    assert (["activation:hot"], 3) == (member.tags, len(bench.writes()))


@pytest.mark.parametrize("order", ["kept", "turning"])
def test_one_request_lies_between_comparing_and_replacing(bench: Bench, order: str) -> None:
    """The list is written right after it was compared, in whatever order the service gives tags back."""
    bench.standin.unverified.tags_order = order  # type: ignore[assignment]
    member = bench.standin.add(email="ada@example.com", tags=["vip", "speaker", "activation:warm"])
    bench.push(change_of("ada@example.com", HOT))
    one = f"/members/{member.id}"

    assert ["GET /members/find", f"GET {one}", f"PUT {one}", f"GET {one}"] == bench.asked()
    assert {"vip", "speaker", "activation:hot"} == set(member.tags)


def test_addition_is_not_compared(bench: Bench) -> None:
    """Where none of our tags has to go, adding loses nothing and needs no second reading."""
    member = bench.standin.add(email="ada@example.com", tags=["vip"])
    bench.standin.after_get = lambda member, number: member.tags.append(f"added-{number}")
    bench.push(change_of("ada@example.com", HOT))

    assert ["GET /members/find", f"PUT /members/{member.id}", f"GET /members/{member.id}"] == bench.asked()
    assert ["vip", "added-1", "activation:hot", "added-2"] == member.tags


@pytest.mark.parametrize(
    ("kind", "fields", "outcome"),
    [
        ("changed", HOT, ("rejected", "missing", False)),
        ("removed", {"tag:activation": None}, ("accepted", "", False)),
    ],
)
def test_member_that_goes_between_two_readings(
    bench: Bench, kind: str, fields: dict[str, Value], outcome: tuple[str, str, bool]
) -> None:
    """A member that is deleted meanwhile is missing, and has nothing left to clear."""
    bench.standin.add(email="ada@example.com", tags=["activation:warm"])
    bench.standin.after_get = lambda member, number: bench.standin.members.clear()

    assert [outcome] == told(bench.push(change_of("ada@example.com", fields, kind=kind), sync=sync_of()))
    assert [] == bench.writes()


@pytest.mark.parametrize(
    ("switch", "tags", "outcome", "left", "writes"),
    [
        ("emptied", ["activation:warm"], ("accepted", "", False), [], 1),
        ("text only", ["activation:warm"], ("accepted", "", False), [], 2),
        ("ignored", ["activation:warm"], ("rejected", "last_tag", False), ["activation:warm"], 3),
        ("ignored", ["activation:warm", "vip"], ("accepted", "", False), ["vip"], 1),
    ],
)
def test_last_tag_is_taken_off_in_either_form(
    bench: Bench, switch: Any, tags: list[str], outcome: tuple[str, str, bool], left: list[str], writes: int
) -> None:
    """No tags at all are written as a list, then as a text; a service that takes neither keeps the tag, and says so."""
    bench.standin.unverified.empty_tags = switch
    member = bench.standin.add(email="ada@example.com", tags=tags)
    outcomes = bench.push(change_of("ada@example.com", {"tag:activation": None}, kind="removed"))

    assert [outcome] == told(outcomes)
    assert (left, writes) == (member.tags, len(bench.writes()))
