"""The Orbit adapter against its strict stand-in: tags under our prefix, other people's tags, and a closed service."""

from __future__ import annotations

import datetime
import socket
import tomllib
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

import mappings
from destinations.orbit import CLOSED, Orbit, OrbitSettings
from destinations.orbit_parts.values import difference, retagged
from destinations.standins.orbit import Member
from destinations.standins.server import HTML, Answer
from syncer.change import Change, Outcome, Value
from syncer.destination import Pace
from syncer.errors import DestinationUnusable, ServiceUnavailable, Stopping
from syncer.mapping import Field, Sync
from tests.destinations.orbit_workplace import ACTIVATION, Bench, at_work, change_of, is_put, sync_of


@pytest.fixture
def bench() -> Iterator[Bench]:
    with at_work() as bench:
        yield bench


def problems(orbit: Orbit, sync: Sync) -> list[tuple[str, str]]:
    return [(problem.place, problem.sentence) for problem in orbit.refuse(sync)]


# Tags.


def test_step_is_added_without_touching_others(bench: Bench) -> None:
    """A member without a tag of ours gets one by `tags_to_add`, which can lose nothing."""
    member = bench.standin.add(email="ada@example.com", tags=["vip", "speaker"])
    outcomes = bench.push(change_of("ada@example.com", {"tag:activation": "hot"}))

    assert ["accepted"] == [outcome.result for outcome in outcomes]
    assert ["vip", "speaker", "activation:hot"] == member.tags
    assert [("PUT", {"tags_to_add": ["activation:hot"]})] == bench.writes()


def test_new_step_replaces_the_old_one(bench: Bench) -> None:
    """A member that moves up a step carries exactly the new tag of the prefix, and everybody else's as before."""
    member = bench.standin.add(
        email="ada@example.com", tags=["vip", "activation:warm", "Activation:cold", "activations"]
    )
    bench.push(change_of("ada@example.com", {"tag:activation": "hot"}))

    assert ["vip", "activations", "activation:hot"] == member.tags


def test_step_in_other_case_is_the_same(bench: Bench) -> None:
    """A service that lowers the case of tags is not written to again and again."""
    bench.standin.unverified.tags_case = "lowered"
    member = bench.standin.add(email="ada@example.com")
    change = change_of("ada@example.com", {"tag:activation": "Hot"})
    first, second = bench.push(change), bench.push(change)

    assert ["accepted", "accepted"] == [outcome.result for outcome in first + second]
    assert ["activation:hot"] == member.tags
    assert 1 == len(bench.writes())


def test_null_takes_our_tag_off(bench: Bench) -> None:
    """None leaves no tag of the prefix, also when it was the member's only one."""
    ada = bench.standin.add(email="ada@example.com", tags=["vip", "activation:warm"])
    bob = bench.standin.add(email="bob@example.com", tags=["activation:warm"])
    bench.push(*(change_of(who, {"tag:activation": None}) for who in ("ada@example.com", "bob@example.com")))

    assert (["vip"], []) == (ada.tags, bob.tags)


def test_two_prefixes_in_one_write(bench: Bench) -> None:
    """Steps of two prefixes and a text go out in a single write."""
    member = bench.standin.add(email="ada@example.com", tags=["activation:warm", "vip"])
    bench.push(change_of("ada@example.com", {"tag:activation": "hot", "tag:plan": "team", "title": "CTO"}))

    assert ["vip", "activation:hot", "plan:team"] == member.tags
    assert "CTO" == member.attributes["title"]
    assert 1 == len(bench.writes())


def test_equal_member_is_not_written(bench: Bench) -> None:
    """A member that holds all of it already costs one request and no write."""
    bench.standin.add(email="ada@example.com", tags=["activation:hot"], title="CTO")
    outcomes = bench.push(change_of("ada@example.com", {"tag:activation": "hot", "title": "CTO", "bio": None}))

    assert ["accepted"] == [outcome.result for outcome in outcomes]
    assert 1 == bench.standin.count


@pytest.mark.parametrize(
    ("tags", "steps", "body"),
    [
        ([], {"tag:a": "x"}, {"tags_to_add": ["a:x"]}),
        (["a:x"], {"tag:a": "x"}, {}),
        (["A:X"], {"tag:a": "x"}, {}),
        (["a:x", "a:y"], {"tag:a": "x"}, {"tags": ["a:x"]}),
        (["a:x"], {"tag:a": None}, {"tags": []}),
        (["ab:x"], {"tag:a": None}, {}),
        (["a:b:x", "a:y"], {"tag:a:b": "z"}, {"tags": ["a:y", "a:b:z"]}),
        ([], {"tag:a": ""}, {}),
        ([], {"tag:a": " x "}, {"tags_to_add": ["a:x"]}),
        ([], {"tag:a": False}, {"tags_to_add": ["a:false"]}),
        (["b:1"], {}, {}),
    ],
)
def test_retagging(tags: list[str], steps: dict[str, Value], body: dict[str, list[str]]) -> None:
    """What is written for tags depends on what is there, and never names a tag of others as ours."""

    assert body == retagged(tags, steps)


def test_keys_differ_only_where_they_do() -> None:
    """Absent, null and empty are the same at a member; dates and instants go as RFC 3339."""
    member = {"id": "a", "tags": [], "bio": None, "title": "CTO", "teammate": False, "url": ""}
    instant = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    fields: dict[str, Value] = {
        "bio": instant,
        "title": None,
        "teammate": None,
        "url": None,
        "birthday": datetime.date(1815, 12, 10),
    }

    assert {"bio": "2026-01-02T03:04:05Z", "title": None, "birthday": "1815-12-10"} == difference(member, fields)


def test_clearing_what_is_true_or_false_sends_false(bench: Bench) -> None:
    """`teammate` knows no null, so clearing it says false; at a member that is none there is nothing to say."""
    member = bench.standin.add(email="ada@example.com", teammate=True, bio="Mathematician")
    bench.standin.add(email="bob@example.com", teammate=False)
    cleared: dict[str, Value] = {"teammate": None, "bio": None}
    outcomes = bench.push(
        change_of("ada@example.com", cleared, kind="removed"), change_of("bob@example.com", cleared, kind="removed")
    )

    assert ["accepted", "accepted"] == [outcome.result for outcome in outcomes]
    assert [("PUT", {"teammate": False, "bio": None})] == bench.writes()
    assert False is member.attributes["teammate"]


def test_new_member_without_an_answer_is_no_teammate(bench: Bench) -> None:
    """A new member whose `teammate` is null is made with false."""
    sync = sync_of(Field(name="teammate", column="is_ours"), missing="create")
    bench.push(change_of("new@example.com", {"teammate": None}, kind="new"), sync=sync)
    ((method, body),) = bench.writes()

    assert "POST" == method
    assert {"teammate": False} == body["member"]


# Somebody else at the same moment.


def test_tag_of_somebody_else_survives_an_addition(bench: Bench) -> None:
    """A tag that somebody adds between our reading and our adding is still there."""
    member = bench.standin.add(email="ada@example.com")
    bench.standin.before_put = lambda member: member.tags.append("vip")
    bench.push(change_of("ada@example.com", {"tag:activation": "hot"}))

    assert ["vip", "activation:hot"] == member.tags


def once(deed: Callable[[Member], None]) -> Callable[[Member], None]:
    done: list[bool] = []

    def act(member: Member) -> None:
        if not done:
            done.append(True)
            deed(member)

    return act


def test_tag_of_ours_that_was_written_over_is_put_back(bench: Bench) -> None:
    """Somebody who writes an older list over ours does not win, and what they added stays."""
    member = bench.standin.add(email="ada@example.com", tags=["activation:warm"])

    def overwrite(member: Member) -> None:
        member.tags = ["activation:warm", "vip"]

    bench.standin.after_put = once(overwrite)
    outcomes = bench.push(change_of("ada@example.com", {"tag:activation": "hot"}))

    assert ["accepted"] == [outcome.result for outcome in outcomes]
    assert ["vip", "activation:hot"] == member.tags


def test_endless_quarrel_is_deferred_in_doubt(bench: Bench) -> None:
    """After three rounds against somebody who keeps rewriting the tags, the record waits for the next run."""
    bench.standin.add(email="ada@example.com", tags=["activation:warm"])
    bench.standin.add(email="bob@example.com")

    def overwrite(member: Member) -> None:
        if member.username("email") == "ada@example.com":
            member.tags = ["activation:warm"]

    bench.standin.after_put = overwrite
    outcomes = bench.push(
        *(change_of(who, {"tag:activation": "hot"}) for who in ("ada@example.com", "bob@example.com"))
    )

    assert [("deferred", "contended", True), ("accepted", "", False)] == [
        (outcome.result, outcome.code, outcome.doubt) for outcome in outcomes
    ]
    assert 3 + 1 == len(bench.writes())


def test_two_syncs_of_one_workspace_do_not_undo_each_other(bench: Bench) -> None:
    """Adapters of two syncs that retag the same members at once leave both steps on each."""
    people = [f"p{number}@example.com" for number in range(12)]
    members = [bench.standin.add(email=one, tags=["vip", "a:old", "b:old"]) for one in people]

    def push(prefix: str) -> list[Outcome]:
        field = Field(name=f"tag:{prefix}", column="step", type="text")
        changes = [change_of(one, {f"tag:{prefix}": "new"}) for one in people]
        return list(bench.orbit().push(sync_of(field), changes))

    with ThreadPoolExecutor(2) as pool:
        outcomes = [outcome for found in pool.map(push, "ab") for outcome in found]

    assert {"accepted"} == {outcome.result for outcome in outcomes}
    assert [{"vip", "a:new", "b:new"}] * 12 == [set(member.tags) for member in members]


# Finding and making members.


@pytest.mark.parametrize(
    ("identifier", "who", "identity"),
    [
        ("email", "ada+1@example.com", {"source": "email", "email": "ada+1@example.com"}),
        ("github", "ada", {"source": "github", "username": "ada"}),
        ("discourse", "ada l&n", {"source": "discourse", "username": "ada l&n"}),
        ("warehouse:uid", "u_42/ü", {"source": "warehouse", "uid": "u_42/ü"}),
    ],
)
def test_member_is_found_by_its_identity(bench: Bench, identifier: str, who: str, identity: dict[str, str]) -> None:
    """Networks find by address or user name, a source of one's own by its uid; signs in them are quoted."""
    member = bench.standin.add(name="Ada")
    bench.standin.attach(member, **identity)
    bench.standin.add(name="Somebody else", email="else@example.com")
    sync = sync_of(match={identifier: "column"})

    assert [] == problems(bench.orbit(), sync)
    assert ["accepted"] == [
        outcome.result for outcome in bench.push(change_of(who, {"tag:activation": "hot"}, by=identifier), sync=sync)
    ]
    assert ["activation:hot"] == member.tags


def test_member_is_found_by_id_and_never_by_slug(bench: Bench) -> None:
    """An id is exact: a slug that reads like one, another case of it, and a path in it find nobody."""
    member = bench.standin.add(name="Ada", slug="ada")
    sync = sync_of(match={"id": "orbit_id"})
    names = [member.id, "ada", member.id.swapcase(), f"x/../{member.id}", "find", ""]
    outcomes = bench.push(*(change_of(name, {"tag:activation": "hot"}, by="id") for name in names), sync=sync)

    assert ["", *["missing"] * 5] == [outcome.code for outcome in outcomes]
    assert ["activation:hot"] == member.tags


@pytest.mark.parametrize("shown", ["shown", "gone"])
def test_merged_member_is_missing(bench: Bench, shown: Any) -> None:
    """An id that was merged into another member is not written to, however the service answers for it."""
    member = bench.standin.add(name="Ada")
    member.merged_at = "2026-01-01T00:00:00.000Z"
    bench.standin.unverified.merged = shown
    outcomes = bench.push(
        change_of(member.id, {"tag:activation": "hot"}, by="id"), sync=sync_of(match={"id": "orbit_id"})
    )

    assert ["missing"] == [outcome.code for outcome in outcomes]
    assert [] == bench.writes()


def test_unknown_person_is_missing_and_never_made(bench: Bench) -> None:
    """Who is in no community stays out of it; and whose row is gone has nothing to clear."""
    outcomes = bench.push(
        change_of("nobody@example.com", {"tag:activation": "hot"}),
        change_of("gone@example.com", {"tag:activation": None}, kind="removed"),
        change_of("no address", {"tag:activation": "hot"}),
    )

    assert [("rejected", "missing"), ("accepted", ""), ("rejected", "missing")] == [
        (outcome.result, outcome.code) for outcome in outcomes
    ]
    assert {} == bench.standin.members
    assert [] == bench.writes()


def test_creating_twice_makes_one_member(bench: Bench) -> None:
    """A creation whose answer was lost is repeated and finds the member that it made."""
    bench.standin.trouble("lost", when=lambda request: request.method == "POST")
    sync = sync_of(ACTIVATION, Field(name="name", column="name"), missing="create")
    outcomes = bench.push(change_of("ada@example.com", {"tag:activation": "hot", "name": "Ada"}, kind="new"), sync=sync)

    assert ["accepted"] == [outcome.result for outcome in outcomes]
    assert [("Ada", ["activation:hot"])] == [
        (member.attributes["name"], member.tags) for member in bench.standin.members.values()
    ]


def test_creating_somebody_who_came_meanwhile_retags_them(bench: Bench) -> None:
    """A member that appears between our search and our creation ends with one step, not two."""
    bench.standin.trouble("status", when=lambda request: request.path.endswith("/find"), answer=Answer(404, {}))
    member = bench.standin.add(email="ada@example.com", tags=["vip", "activation:cold"])
    bench.push(change_of("ada@example.com", {"tag:activation": "hot"}, kind="new"), sync=sync_of(missing="create"))

    assert ["vip", "activation:hot"] == member.tags


# Strangers.


def strangers(count: int) -> list[Change]:
    return [change_of(f"stranger-{number}@example.com", {"tag:activation": "hot"}) for number in range(count)]


def test_many_strangers_cost_one_list(bench: Bench) -> None:
    """After twenty searches in vain the members are listed, and from then on strangers cost nothing."""
    member = bench.standin.add(email="Ada@example.com")
    outcomes = bench.push(*strangers(49), change_of("ada@example.com", {"tag:activation": "hot"}))

    assert {"rejected"} == {outcome.result for outcome in outcomes[:-1]}
    assert "accepted" == outcomes[-1].result
    assert ["activation:hot"] == member.tags
    assert 20 + 2 + 3 == bench.standin.count


def test_long_list_is_read_when_it_pays(bench: Bench) -> None:
    """A list of more pages than searches in vain waits until there are as many; then all of it is read."""
    for number in range(2_150):
        bench.standin.add(email=f"p{number}@example.com")
    orbit = bench.orbit()
    list(orbit.push(sync_of(), strangers(21)))

    assert 21 + 1 == bench.standin.count
    list(orbit.push(sync_of(), strangers(50)[21:]))
    assert 22 + 1 + 22 == bench.standin.count
    (last,) = orbit.push(sync_of(), [change_of("p2149@example.com", {"tag:activation": "hot"})])
    assert "accepted" == last.result


def test_identities_of_ones_own_are_always_searched_for(bench: Bench) -> None:
    """Nobody knows whether the list holds identities of other sources, so nobody is taken for a stranger by it."""
    sync = sync_of(match={"warehouse:uid": "user_id"})
    changes = [change_of(f"u_{number}", {"tag:activation": "hot"}, by="warehouse:uid") for number in range(30)]
    member = bench.standin.add(name="Ada")
    bench.standin.attach(member, source="warehouse", uid="u_29")
    outcomes = bench.push(*changes, sync=sync)

    assert [*["rejected"] * 29, "accepted"] == [outcome.result for outcome in outcomes]


def test_member_made_after_the_list_is_not_doubled(bench: Bench) -> None:
    """With "create" a person that the list lacks is made once, and changed when met again."""
    sync = sync_of(missing="create")
    orbit = bench.orbit()
    list(orbit.push(sync, strangers(25)))
    (again,) = orbit.push(sync, [change_of("stranger-24@example.com", {"tag:activation": "cold"})])

    assert "accepted" == again.result
    assert 25 == len(bench.standin.members)
    member = bench.standin.named("stranger-24@example.com")
    assert member is not None
    assert ["activation:cold"] == member.tags


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"data": [], "included": [], "links": {}},
        {"data": [], "included": [], "links": {"next": "https://else.example"}},
    ],
)
def test_list_that_cannot_be_trusted_is_not_used(bench: Bench, content: Any) -> None:
    """A list of another shape, or without an end, makes nobody a stranger, and its links are not followed."""
    bench.standin.add(email="ada@example.com")
    bench.standin.trouble(
        "status", times=None, when=lambda request: request.path == "/acme/members", answer=Answer(200, content)
    )
    outcomes = bench.push(*strangers(30), change_of("ada@example.com", {"tag:activation": "hot"}))

    assert "accepted" == outcomes[-1].result


# Refusals, outages and the key.


@pytest.mark.parametrize(
    ("errors", "code", "message"),
    [
        (
            {"email": ["is invalid"], "name": ["can't be blank"]},
            "422_email_name",
            "email is invalid; name can't be blank",
        ),
        ("Not like this", "422", "Not like this"),
        (["One thing", "Another"], "422", "One thing; Another"),
        (None, "422", "No reason given."),
    ],
)
def test_refusal_in_every_form(bench: Bench, errors: Any, code: str, message: str) -> None:
    """`errors` is read as a map, a text or a list; the next record goes on."""
    bench.standin.add(email="ada@example.com")
    bench.standin.add(email="bob@example.com")
    bench.standin.trouble("status", when=is_put, answer=Answer(422, {"errors": errors}))
    first, second = bench.push(*(change_of(who, {"title": "CTO"}) for who in ("ada@example.com", "bob@example.com")))

    assert ("rejected", code, message) == (first.result, first.code, first.message)
    assert "accepted" == second.result


def test_number_is_refused_before_any_request(bench: Bench) -> None:
    """A number that only shows at run time is refused record by record, and nothing is asked for it."""
    bench.standin.add(email="ada@example.com")
    outcomes = bench.push(
        change_of("ada@example.com", {"title": 41.5}), change_of("ada@example.com", {"teammate": True})
    )

    assert [("rejected", "number"), ("accepted", "")] == [(outcome.result, outcome.code) for outcome in outcomes]
    assert 2 == bench.standin.count


@pytest.mark.parametrize("status", [401, 403, 418])
def test_destination_stops(bench: Bench, status: int) -> None:
    """A refused key, a missing right and an answer without sense end the destination, and the key is in no text."""
    bench.standin.add(email="ada@example.com")
    bench.standin.trouble("status", times=None, answer=Answer(status))

    with pytest.raises(DestinationUnusable) as caught:
        bench.push(change_of("ada@example.com", {"tag:activation": "hot"}))
    assert str(status) in str(caught.value)
    assert bench.standin.api_key not in str(caught.value)


def test_page_instead_of_an_answer_is_not_missing(bench: Bench) -> None:
    """A 404 from something that is not Orbit's API stops the destination and parks nobody."""
    bench.standin.trouble("status", times=None, answer=Answer(404, HTML))

    with pytest.raises(DestinationUnusable, match="not as Orbit's API"):
        bench.push(change_of("ada@example.com", {"tag:activation": "hot"}))


def test_answer_that_is_no_member_stops(bench: Bench) -> None:
    """JSON of another shape stops the destination rather than being written over."""
    bench.standin.trouble("status", times=None, answer=Answer(200, {"ok": True}))

    with pytest.raises(DestinationUnusable, match="not a member"):
        bench.push(change_of("ada@example.com", {"tag:activation": "hot"}))


@pytest.mark.parametrize("kind", ["lost", "close", "status"])
def test_poisoned_record_is_deferred_in_doubt(bench: Bench, kind: str) -> None:
    """A write that never gets an answer leaves its own record in doubt, and the next one goes on."""
    ada = bench.standin.add(email="ada@example.com")
    bench.standin.add(email="bob@example.com")
    bench.standin.trouble(kind, times=None, when=lambda request: is_put(request) and ada.id in request.path)
    outcomes = bench.push(*(change_of(who, {"title": "CTO"}) for who in ("ada@example.com", "bob@example.com")))

    assert [("deferred", True), ("accepted", False)] == [(outcome.result, outcome.doubt) for outcome in outcomes]


def test_refused_rate_leaves_no_doubt(bench: Bench) -> None:
    """A write that was only ever answered 429 was not applied, and the error says so."""
    bench.standin.add(email="ada@example.com")
    bench.standin.trouble("status", times=None, when=is_put, answer=Answer(429))

    with pytest.raises(ServiceUnavailable) as caught:
        bench.push(change_of("ada@example.com", {"title": "CTO"}))
    assert not caught.value.doubt


@pytest.mark.parametrize(("answer", "ends"), [(Answer(401), True), (Answer(503, HTML), False), (Answer(429), False)])
def test_failure_after_a_write_leaves_doubt(bench: Bench, answer: Answer, ends: bool) -> None:
    """When the tags were written and cannot be looked at again, the record is in doubt, whatever the reason; a reason
    that is nothing about a record ends the destination after that."""
    bench.standin.add(email="ada@example.com")
    bench.standin.trouble("status", times=None, skip=1, when=lambda request: request.method == "GET", answer=answer)
    outcomes = bench.orbit().push(sync_of(), [change_of("ada@example.com", {"tag:activation": "hot"})])
    one = next(outcomes)

    assert ("deferred", "unanswered", True) == (one.result, one.code, one.doubt)
    with pytest.raises(DestinationUnusable if ends else StopIteration):
        next(outcomes)


def test_stop_between_two_members(bench: Bench) -> None:
    """After a stop the member in hand is done and the next one is not begun."""
    bench.standin.add(email="ada@example.com")
    bench.standin.add(email="bob@example.com")
    outcomes = bench.orbit().push(
        sync_of(), [change_of(who, {"tag:activation": "hot"}) for who in ("ada@example.com", "bob@example.com")]
    )

    assert "accepted" == next(outcomes).result
    count = bench.standin.count
    bench.stop.set()
    with pytest.raises(Stopping):
        next(outcomes)
    assert count == bench.standin.count


def test_requests_are_foretold(bench: Bench) -> None:
    """The number of requests of a batch is what it takes when all goes well."""
    for number in range(4):
        bench.standin.add(email=f"p{number}@example.com", tags=["activation:cold"] if number % 2 else [])
    befores: list[dict[str, Value]] = [{}, {"tag:activation": "cold"}, {"tag:activation": None}]
    changes = [
        change_of(f"p{number}@example.com", {"tag:activation": "hot"}, before=before)
        for number, before in enumerate(befores)
    ]
    changes.append(change_of("p3@example.com", {"title": "CTO"}))
    orbit = bench.orbit()
    list(orbit.push(sync_of(), changes))

    assert orbit.requests(sync_of(), changes) == bench.standin.count


# Check, and the closed service.


def test_check_asks_and_finds_nothing(bench: Bench) -> None:
    """With a good key and workspace there is no problem, and nothing was written."""

    assert [] == list(bench.orbit().check(sync_of()))
    assert ["/user", "/workspaces/acme"] == [exchange.request.path for exchange in bench.standin.log]


def test_check_is_indifferent_to_the_types_of_columns(bench: Bench) -> None:
    """Members have fixed fields, which are judged before any request; types that were filled in change nothing."""
    fields = (
        ACTIVATION.model_copy(update={"type": "number"}),
        Field(name="tag:plan", column="plan", type="integer", map={"1": "team"}),
        Field(name="bio", column="score", type="number"),
        Field(name="teammate", column="is_ours", type="boolean"),
        Field(name="birthday", column="born", type="date"),
        Field(name="tag:source", value="warehouse"),
    )

    assert [] == list(bench.orbit().check(sync_of(*fields)))


@pytest.mark.parametrize(
    ("options", "setting", "words"),
    [
        ({"api_key": "mistyped"}, "api_key", "Put a valid one"),
        ({"workspace": "nowhere"}, "workspace", "no workspace 'nowhere'"),
        ({"workspace": "rival"}, "workspace", "no right"),
    ],
)
def test_check_names_the_mistake(bench: Bench, options: dict[str, str], setting: str, words: str) -> None:
    """A wrong key, an unknown workspace and one of others are told apart, and are not the closed service."""
    (problem,) = bench.orbit(**options).check(sync_of())

    assert f"destinations.orbit.{setting}" == problem.place
    assert words in problem.sentence
    assert CLOSED not in problem.sentence
    assert "mistyped" not in problem.sentence


def test_broken_encryption_tells_no_address(bench: Bench) -> None:
    """The error about a connection that is not encrypted, with its traceback, does not hold who was asked for."""
    orbit = bench.orbit(base_url=bench.standin.url.replace("http://", "https://"))
    who = "somebody" + "@example.com"

    with pytest.raises(ServiceUnavailable, match="encrypted") as caught:
        list(orbit.push(sync_of(), [change_of(who, {"tag:activation": "hot"})]))
    assert "somebody" + "%40" not in "".join(traceback.format_exception(caught.value))


def test_orbits_own_address_is_never_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the default address the mapping is fine, check says closed, and neither key nor addresses leave."""

    def connect(*_: Any, **__: Any) -> Any:
        raise AssertionError("Something was about to leave.")

    monkeypatch.setattr(socket, "getaddrinfo", connect)
    orbit = bench.orbit(base_url="https://app.orbit.love/api/v1")

    assert [] == problems(orbit, sync_of())
    assert [CLOSED] == [problem.sentence for problem in orbit.check(sync_of())]
    with pytest.raises(DestinationUnusable, match="closed on 11 July 2024"):
        list(orbit.push(sync_of(), [change_of("ada@example.com", {"tag:activation": "hot"})]))


# Settings and mappings.


@pytest.mark.parametrize(
    "base_url",
    [
        "http://orbit.example.com",
        "ftp://127.0.0.1",
        "https://u:p@orbit.example.com",
        "https://",
        "https://a.example?x=1",
    ],
)
def test_unsafe_address_is_refused(base_url: str) -> None:
    """The key goes out over https only, or to this machine, and to an address that is only an address."""
    with pytest.raises(ValidationError, match="base_url"):
        OrbitSettings(workspace="acme", api_key=SecretStr("k"), base_url=base_url)


def test_addresses_are_tidied_and_share_a_pace_by_host() -> None:
    """A slash at the end does not matter; workspaces and paths at one host share one pace of 100 a minute."""
    one = OrbitSettings(workspace="acme", api_key=SecretStr("secret-1"), base_url="https://Orbit.example.com/a/")
    two = OrbitSettings(workspace="b", api_key=SecretStr("secret-2"), base_url="https://orbit.example.com/b", pace=7)
    far = OrbitSettings(workspace="acme", api_key=SecretStr("secret-1"))

    assert "https://Orbit.example.com/a" == one.base_url
    assert Orbit.account(one) == Orbit.account(two) != Orbit.account(far)
    assert (Pace(100, 60.0), Pace(7, 60.0)) == (Orbit.pace(one), Orbit.pace(two))


@pytest.mark.parametrize(
    ("sync", "place", "words"),
    [
        (sync_of(object="organization"), "object", 'object = "member"'),
        (sync_of(match={"email": "a", "github": "b"}), "match", "exactly one"),
        (sync_of(match={"emial": "a"}), "match", "did you mean 'email'?"),
        (sync_of(match={"warehouse": "a"}), "match", "SOURCE:uid"),
        (sync_of(removed="delete"), "removed", 'removed = "clear"'),
        (sync_of(missing="create", match={"id": "a"}), "missing", "ids"),
        (sync_of(missing="create", match={"warehouse:uid": "a"}), "missing", "Map one of these fields"),
        (sync_of(Field(name="tags", column="tags")), "fields.tags", "tag:PREFIX"),
        (sync_of(Field(name="love", column="score")), "fields.love", "calculates"),
        (sync_of(Field(name="compnay", column="company")), "fields.compnay", "'company'"),
        (sync_of(Field(name="Score", column="score")), "fields.Score", "no free ones"),
        (sync_of(Field(name="title", column="score", type="number")), "fields.title", "no numbers"),
        (sync_of(Field(name="title", column="score", digits=1)), "fields.title", "no numbers"),
        (sync_of(Field(name="teammate", column="is_ours", type="text")), "fields.teammate", "boolean"),
        (sync_of(Field(name="tag:score", column="score")), "fields.tag:score", "steps, not values"),
        (sync_of(Field(name="tag:score", column="score", min_change=5.0)), "fields.tag:score", "steps, not values"),
        (sync_of(Field(name="tag:score", value=5)), "fields.tag:score", "steps, not values"),
        (sync_of(Field(name="tag:score", column="plan", map={"a": 1})), "fields.tag:score", "steps, not values"),
        (sync_of(Field(name="tag:", value="x")), "fields.tag:", "prefix"),
        (sync_of(Field(name="tag:a,b", value="x")), "fields.tag:a,b", "prefix"),
        (sync_of(Field(name="tag:a", column="s", bands=(("a,b", 0.0),))), "fields.tag:a", "comma"),
        (sync_of(ACTIVATION, Field(name="tag:Activation:x", value="y")), "fields.tag:Activation:x", "Rename one"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mapping_that_cannot_be_is_refused(bench: Bench, sync: Sync, place: str, words: str) -> None:
    """Each thing that Orbit cannot hold is refused from the file alone, at its place, with what to write instead."""
    ((found, sentence),) = problems(bench.orbit(), sync)

    assert place == found
    assert words in sentence
    assert 0 == bench.standin.count


def test_mapping_that_can_be_is_not_refused(bench: Bench) -> None:
    """Bands, maps, constants, words and every writable key are fine, and so are prefixes that only look alike."""
    sync = sync_of(
        ACTIVATION,
        Field(name="tag:activations", column="plan", map={"t": "team"}),
        Field(name="tag:plan", column="plan", type="text"),
        Field(name="tag:source", value="warehouse"),
        Field(name="company", column="company"),
        Field(name="title", column="score", type="text"),
        Field(name="teammate", column="is_ours"),
        missing="create",
        removed="clear",
    )

    assert [] == problems(bench.orbit(), sync)


def test_commas_are_forbidden_in_tags_only(bench: Bench) -> None:
    """A comma would part a tag in two; in a text it is a comma."""
    sync = sync_of(ACTIVATION, Field(name="company", column="company"))

    assert {"tag:activation": ","} == {name: limit.without for name, limit in bench.orbit().limits(sync).values.items()}


def test_shipped_mapping_is_fine(bench: Bench) -> None:
    """The mapping that ships is one that Orbit can do, and makes nobody a member."""
    shipped = tomllib.loads((Path(mappings.__path__[0]) / "orbit.toml").read_text(encoding="utf-8"))
    (one,) = shipped["sync"]
    fields = [Field.model_validate(table | {"name": name}) for name, table in one["fields"].items()]
    sync = sync_of(*fields, object=one["object"], match=one["match"], missing=one["missing"])

    assert "orbit" == shipped["destination"]
    assert [ACTIVATION.model_copy(update={"hysteresis": 2.0})] == fields
    assert "skip" == sync.missing
    assert [] == problems(bench.orbit(), sync)
