"""A custom activity at Orbit for each step that changes: once, before the tag, and only where it was asked for."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from destinations.orbit import OrbitSettings
from destinations.orbit_parts.activities import Crossing, Telling, crossings
from destinations.standins.server import Answer, Request
from syncer.change import Outcome, Value
from syncer.errors import DestinationUnusable, ServiceUnavailable
from syncer.mapping import Field
from tests.destinations.orbit_workplace import ACTIVATION, Bench, at_work, change_of, is_put, sync_of

KIND = "activation:step_changed"
HOT: dict[str, Value] = {"tag:activation": "hot"}
ADA = "ada@example.com"


@pytest.fixture
def bench() -> Iterator[Bench]:
    with at_work() as bench:
        yield bench


def told(bench: Bench) -> list[tuple[Any, ...]]:
    """What the timeline holds: title, type, weight and properties."""
    activities = reversed(bench.standin.timeline.of())
    return [
        (one.values["title"], one.type, one.values["weight"], *one.values["properties"].values()) for one in activities
    ]


def is_telling(request: Request) -> bool:
    return request.path.endswith("/activities")


def results(outcomes: list[Outcome]) -> list[tuple[str, bool]]:
    return [(outcome.result, outcome.doubt) for outcome in outcomes]


def test_nothing_is_told_unless_asked_for(bench: Bench) -> None:
    """Without the setting a step that changes leaves no activity."""
    bench.standin.add(email=ADA, tags=["activation:warm"])
    bench.push(change_of(ADA, HOT))

    assert [] == told(bench)


@pytest.mark.parametrize(
    ("tags", "title", "before"),
    [
        ([], "activation: hot", ""),
        (["vip", "activation:warm"], "activation: warm → hot", "warm"),
        (["Activation:cold", "activation:warm"], "activation: cold, warm → hot", "cold, warm"),
    ],
    ids=["first", "from another", "from two"],
)
def test_step_that_changes_is_told(bench: Bench, tags: list[str], title: str, before: str) -> None:
    """What is told is taken from the member's tags as they were read, and weighs nothing by default."""
    member = bench.standin.add(email=ADA, tags=tags)
    outcomes = bench.push(change_of(ADA, HOT), activity=KIND)

    assert [("accepted", False)] == results(outcomes)
    assert [(title, KIND, "0", "activation", before, "hot")] == told(bench)
    assert ["activation:hot"] == [tag for tag in member.tags if tag != "vip"]
    assert (0.0, 1) == (member.love, len(member.activities))


@pytest.mark.parametrize(
    ("tags", "fields"),
    [
        (["activation:hot"], {"tag:activation": "hot", "title": "CTO"}),
        (["Activation:HOT", "activation:warm"], HOT),
        (["activation:hot"], {"tag:activation": None}),
        (["activation:hot"], {"title": "CTO"}),
    ],
    ids=["same step", "tidied", "taken off", "no tag"],
)
def test_what_is_no_crossing_is_not_told(bench: Bench, tags: list[str], fields: dict[str, Value]) -> None:
    """A step that stays, one that is tidied, one that is taken off, and other fields leave no activity."""
    bench.standin.add(email=ADA, tags=tags)

    assert [("accepted", False)] == results(bench.push(change_of(ADA, fields), activity=KIND))
    assert [] == told(bench)


def test_two_prefixes_are_told_apart(bench: Bench) -> None:
    """Each prefix whose step changes has an activity of its own."""
    bench.standin.add(email=ADA, tags=["activation:warm", "plan:free"])
    sync = sync_of(ACTIVATION, Field(name="tag:plan", column="plan", type="text"))
    bench.push(change_of(ADA, {"tag:activation": "hot", "tag:plan": "team"}), sync=sync, activity=KIND)

    assert ["activation: warm → hot", "plan: free → team"] == [title for title, *_ in told(bench)]


def test_step_is_told_before_its_tag_is_written(bench: Bench) -> None:
    """The activity leaves before the comparing reading, so that nothing lies between that and the tags."""
    member = bench.standin.add(email=ADA, tags=["activation:warm"])
    bench.push(change_of(ADA, HOT), activity=KIND)
    one = f"/members/{member.id}"

    assert ["GET /members/find", f"POST {one}/activities", f"GET {one}", f"PUT {one}", f"GET {one}"] == bench.asked()


@pytest.mark.parametrize("used_key", ["refused", "conflict", "found"])
def test_crash_between_telling_and_tagging_tells_once(bench: Bench, used_key: Any) -> None:
    """A run that told and could not tag is repeated with the same key, however the service answers to that."""
    bench.standin.unverified.used_key = used_key
    member = bench.standin.add(email=ADA, tags=["activation:warm"])
    bench.standin.trouble("status", when=is_put, times=3, answer=Answer(429))
    with pytest.raises(ServiceUnavailable) as caught:
        bench.push(change_of(ADA, HOT), activity=KIND)
    outcomes = bench.push(change_of(ADA, HOT), activity=KIND)

    assert not caught.value.doubt
    assert [("accepted", False)] == results(outcomes)
    assert 2 == sum(1 for asked in bench.asked() if asked.endswith("/activities"))
    assert 1 == len(told(bench))
    assert ["activation:hot"] == member.tags


@pytest.mark.parametrize("errors", ["Key has already been taken", ["key: already taken"]])
def test_used_key_is_recognised_in_every_form(bench: Bench, errors: Any) -> None:
    """`errors` may say as a text or as a list that the key was used before."""
    bench.standin.add(email=ADA)
    bench.standin.trouble("status", when=is_telling, answer=Answer(422, {"errors": errors}))

    assert [("accepted", False)] == results(bench.push(change_of(ADA, HOT), activity=KIND))


@pytest.mark.parametrize("kind", ["lost", "cut", "after"])
def test_lost_answer_to_an_activity_tells_once(bench: Bench, kind: str) -> None:
    """An activity whose answer was lost is repeated, is there already, and the tag follows."""
    bench.standin.add(email=ADA, tags=["activation:warm"])
    bench.standin.trouble(kind, when=is_telling)

    assert [("accepted", False)] == results(bench.push(change_of(ADA, HOT), activity=KIND))
    assert 1 == len(told(bench))


def test_activity_that_is_never_answered_leaves_doubt_and_the_next_goes_on(bench: Bench) -> None:
    """A telling of unknown fate defers its own record; its tag was not written."""
    ada = bench.standin.add(email=ADA, tags=["activation:warm"])
    bench.standin.add(email="bob@example.com")
    bench.standin.trouble("lost", times=None, when=lambda request: is_telling(request) and ada.id in request.path)
    outcomes = bench.push(change_of(ADA, HOT), change_of("bob@example.com", HOT), activity=KIND)

    assert [("deferred", True), ("accepted", False)] == results(outcomes)
    assert ["activation:warm"] == ada.tags


@pytest.mark.parametrize(
    ("zero_weight", "weight", "love"), [("taken", "0", 0.0), ("refused", "0.5", 0.5), ("taken", "2", 2.0)]
)
def test_weight_is_what_was_set(bench: Bench, zero_weight: Any, weight: str, love: float) -> None:
    """The weight goes out as it was written, and the member's love grows by it."""
    bench.standin.unverified.zero_weight = zero_weight
    member = bench.standin.add(email=ADA)
    bench.push(change_of(ADA, HOT), activity=KIND, activity_weight=weight)

    assert love == member.love


def test_refused_weight_ends_the_destination_with_the_setting(bench: Bench) -> None:
    """A service that takes no weight of 0 is told in one sentence that names the setting, and nothing is tagged."""
    bench.standin.unverified.zero_weight = "refused"
    member = bench.standin.add(email=ADA)

    with pytest.raises(DestinationUnusable, match=r"refuses the activity_weight .* Correct activity_weight\."):
        bench.push(change_of(ADA, HOT), activity=KIND)
    assert ([], []) == (member.tags, told(bench))


def test_refused_weight_makes_one_member_at_most(bench: Bench) -> None:
    """When members are made, the first one meets the refused setting in doubt, and no other is made for it."""
    bench.standin.unverified.zero_weight = "refused"
    outcomes = bench.orbit(activity=KIND).push(
        sync_of(missing="create"), [change_of(f"p{number}@example.com", HOT, kind="new") for number in range(3)]
    )

    assert [("deferred", True)] == results([next(outcomes)])
    with pytest.raises(DestinationUnusable, match=r"Correct activity_weight\."):
        next(outcomes)
    assert 1 == len(bench.standin.members)


def test_other_refusals_of_an_activity_are_the_records(bench: Bench) -> None:
    """An activity that is refused for something else rejects its record, and nothing is tagged."""
    member = bench.standin.add(email=ADA)
    answer = Answer(422, {"errors": {"custom_title": ["can't be blank"]}})
    bench.standin.trouble("status", when=is_telling, answer=answer)
    (outcome,) = bench.push(change_of(ADA, HOT), activity=KIND)

    assert ("rejected", "422", "custom_title can't be blank") == (outcome.result, outcome.code, outcome.message)
    assert [] == member.tags


def test_member_that_goes_before_it_is_told(bench: Bench) -> None:
    """A member that is deleted after it was found is missing, and no other is made for the activity."""
    bench.standin.add(email=ADA)
    bench.standin.after_get = lambda member, number: bench.standin.members.clear()
    (outcome,) = bench.push(change_of(ADA, HOT), activity=KIND)

    assert ("rejected", "missing") == (outcome.result, outcome.code)
    assert {} == bench.standin.members


def test_new_member_is_told_before_it_is_tagged(bench: Bench) -> None:
    """A member that is made has its tags written after the activity, so that a crash in between repeats that."""
    sync = sync_of(missing="create")
    bench.standin.trouble("status", when=is_put, times=3, answer=Answer(429))
    first = bench.push(change_of(ADA, HOT, kind="new"), sync=sync, activity=KIND)
    second = bench.push(change_of(ADA, HOT, kind="new"), sync=sync, activity=KIND)
    (member,) = bench.standin.members.values()

    assert [("deferred", True), ("accepted", False)] == results(first) + results(second)
    assert [("activation: hot", KIND, "0", "activation", "", "hot")] == told(bench)
    assert ["activation:hot"] == member.tags


def test_requests_count_what_is_told(bench: Bench) -> None:
    """The cost of a plan has a request for each step that is told."""
    befores: list[dict[str, Value]] = [{}, {"tag:activation": "cold"}, {"tag:activation": "hot"}]
    for number, before in enumerate(befores):
        bench.standin.add(email=f"p{number}@example.com", tags=[f"activation:{step}" for step in before.values()])
    steps = ["hot", "warm", None]
    changes = [
        change_of(f"p{number}@example.com", {"tag:activation": step}, before=before)
        for number, (before, step) in enumerate(zip(befores, steps, strict=True))
    ]
    orbit = bench.orbit(activity=KIND)
    list(orbit.push(sync_of(), changes))

    assert 4 + 5 + 4 == orbit.requests(sync_of(), changes) == bench.standin.count


def test_key_says_which_crossing_it_is() -> None:
    """Sync, record, prefix, both steps and the day are in the key, and nothing of them can be read from it."""
    telling = Telling(KIND, "0", "orbit.members", datetime.date(2026, 2, 28))
    change, crossing = change_of(ADA, HOT), Crossing("activation", "warm", "hot")
    others = [
        Telling(KIND, "0", "orbit.others", telling.date).activity(change, crossing),
        Telling(KIND, "0", telling.sync, datetime.date(2026, 3, 1)).activity(change, crossing),
        telling.activity(change_of("bob@example.com", HOT), crossing),
        telling.activity(change, Crossing("plan", "warm", "hot")),
        telling.activity(change, Crossing("activation", "cold", "hot")),
        telling.activity(change, Crossing("activation", "warm", "cold")),
    ]
    key = telling.activity(change, crossing)["key"]

    assert key == telling.activity(change, crossing)["key"]
    assert 7 == len({key, *(other["key"] for other in others)})
    assert "ada" not in key


def test_crossings_are_of_the_prefix_alone() -> None:
    """A tag of another prefix, even one that begins alike, is no step of this one."""

    assert [Crossing("a", "", "x")] == list(crossings(["ab:x", "b:y", "a"], {"tag:a": " x ", "tag:b": "", "bio": "z"}))


@pytest.mark.parametrize("options", [{"activity": ""}, {"activity": "two words"}, {"activity_weight": "none"}])
def test_settings_that_cannot_be_are_refused(options: dict[str, str]) -> None:
    """A type without a word, or a weight that is no number, is told before anything is asked."""
    with pytest.raises(ValidationError, match=next(iter(options))):
        OrbitSettings.model_validate({"workspace": "acme", "api_key": SecretStr("k"), **options})
