"""Finding Orbit members by any identity, and the pace that all destinations at one address share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from destinations.orbit_parts.rules import Identifier, is_identifier
from destinations.standins.server import Answer
from syncer.destination import Pace
from syncer.mapping import Field
from tests.destinations.orbit_workplace import ACTIVATION, Bench, at_work, change_of, is_put, sync_of

HOT: dict[str, Any] = {"tag:activation": "hot"}


@pytest.fixture
def bench() -> Iterator[Bench]:
    with at_work() as bench:
        yield bench


@pytest.mark.parametrize(
    ("name", "identity", "is_caseless"),
    [
        ("email", {"source": "email", "email": "x"}, True),
        ("github", {"source": "github", "username": "x"}, True),
        ("github:username", {"source": "github", "username": "x"}, True),
        ("github:uid", {"source": "github", "uid": "x"}, False),
        ("discourse@forum.acme.dev", {"source": "discourse", "source_host": "forum.acme.dev", "username": "x"}, True),
        ("discourse@forum.acme.dev:uid", {"source": "discourse", "source_host": "forum.acme.dev", "uid": "x"}, False),
        ("warehouse:uid", {"source": "warehouse", "uid": "x"}, False),
        ("my-app_2.0:email", {"source": "my-app_2.0", "email": "x"}, False),
        ("slack@acme.slack.com:username", {"source": "slack", "source_host": "acme.slack.com", "username": "x"}, False),
    ],
)
def test_identifier_is_any_identity(bench: Bench, name: str, identity: dict[str, str], is_caseless: bool) -> None:
    """A match names a source, its host where there are several, and which of its words counts."""
    sync = sync_of(match={name: "column"})

    assert [] == [str(problem) for problem in bench.orbit().refuse(sync)]
    assert identity == Identifier.of(name).identity("x")
    assert (frozenset({name}) if is_caseless else frozenset()) == bench.orbit().limits(sync).caseless


@pytest.mark.parametrize(
    "name", ["", "warehouse", "warehouse:id", "a b:uid", "x@", "@host:uid", "a@b@c:uid", "slack@h"]
)
def test_what_is_no_identifier_is_refused(bench: Bench, name: str) -> None:
    """A source of one's own needs the word that counts; the sentence shows the forms."""
    ((place, sentence),) = [(one.place, one.sentence) for one in bench.orbit().refuse(sync_of(match={name: "x"}))]

    assert not is_identifier(name)
    assert "match" == place
    assert '"SOURCE:uid"' in sentence
    assert '"SOURCE@HOST"' in sentence


def test_host_tells_two_members_of_one_name_apart(bench: Bench) -> None:
    """The same user name at two hosts of Discourse is two members, and the host in the match says which."""
    here, there = bench.standin.add(name="Ada"), bench.standin.add(name="Another Ada")
    for member, host in ((here, "here.example.com"), (there, "there.example.com")):
        bench.standin.attach(member, source="discourse", username="ada", source_host=host)
    sync = sync_of(match={"discourse@there.example.com": "forum_name"})
    bench.push(change_of("ada", HOT, by="discourse@there.example.com"), sync=sync)

    assert ([], ["activation:hot"]) == (here.tags, there.tags)


def test_member_is_made_with_the_host(bench: Bench) -> None:
    """A member that is made has the identity that the match names, and is found by it the next time."""
    by = "github@github.acme.dev:uid"
    sync = sync_of(ACTIVATION, Field(name="name", column="name"), match={by: "gh"}, missing="create")
    change = change_of("4711", {**HOT, "name": "Ada"}, by=by, kind="new")

    assert ["accepted", "accepted"] == [one.result for one in bench.push(change, change, sync=sync)]
    (member,) = bench.standin.members.values()
    assert [("github", "github.acme.dev", "4711")] == [
        (one["source"], one["source_host"], one["uid"]) for one in member.identities
    ]


@pytest.mark.parametrize("by", ["warehouse:uid", "warehouse@eu:uid", "discourse@forum.example.com"])
def test_stranger_is_missing_by_any_identity(bench: Bench, by: str) -> None:
    """Whoever has no such identity is missing, also after the list was read, and whoever has one is found."""
    member = bench.standin.add(name="Ada")
    source, _, rest = by.partition("@") if "@" in by else (by.removesuffix(":uid"), "", "")
    host = rest.removesuffix(":uid")
    key = "uid" if by.endswith(":uid") else "username"
    bench.standin.attach(member, source=source, source_host=host or None, **{key: "ada"})
    changes = [change_of(f"stranger-{number}", HOT, by=by) for number in range(25)]
    outcomes = bench.push(*changes, change_of("ada", HOT, by=by), sync=sync_of(match={by: "x"}))

    assert [*["missing"] * 25, ""] == [outcome.code for outcome in outcomes]
    assert ["activation:hot"] == member.tags


@pytest.mark.parametrize("status", [400, 422])
def test_refusal_under_either_status_is_the_records(bench: Bench, status: Any) -> None:
    """A record that is refused is rejected under 422 and under 400 alike, and the next one goes on."""
    bench.standin.unverified.refusal = status
    bench.standin.add(email="ada@example.com")
    outcomes = bench.push(
        change_of("ada@example.com", {"email": "nonsense"}), change_of("ada@example.com", {"title": "CTO"})
    )

    assert [("rejected", f"{status}_email"), ("accepted", "")] == [(one.result, one.code) for one in outcomes]


@pytest.mark.parametrize("unknown_keys", ["ignored", "refused"])
@pytest.mark.parametrize("flat_member", ["ignored", "taken"])
def test_strict_service_takes_what_we_send(bench: Bench, unknown_keys: Any, flat_member: Any) -> None:
    """Making, changing and telling use known keys only, in the form that is taken whatever nobody knows."""
    bench.standin.unverified.unknown_keys, bench.standin.unverified.flat_member = unknown_keys, flat_member
    sync = sync_of(ACTIVATION, Field(name="name", column="name"), missing="create", removed="clear")
    steps: list[tuple[Any, dict[str, Any]]] = [
        ("new", {**HOT, "name": "Ada"}),
        ("changed", {"tag:activation": "warm"}),
        ("removed", {"tag:activation": None}),
    ]
    changes = [change_of("ada@example.com", fields, kind=kind) for kind, fields in steps]

    assert ["accepted"] * 3 == [one.result for one in bench.push(*changes, sync=sync, activity="a:b")]
    (member,) = bench.standin.members.values()
    assert ("Ada", [], 2) == (member.attributes["name"], member.tags, len(member.activities))


@pytest.mark.parametrize(("status", "words"), [(404, "There is no workspace"), (403, "no right to the workspace")])
def test_unknown_workspace_is_told_either_way(bench: Bench, status: Any, words: str) -> None:
    """However the service answers for a workspace that it does not have, check names the setting."""
    bench.standin.unverified.unknown_workspace = status
    (problem,) = bench.orbit(workspace="nowhere").check(sync_of())

    assert "destinations.orbit.workspace" == problem.place
    assert words in problem.sentence


@pytest.mark.parametrize(("switch", "outcome"), [("ignored", ""), ("kept", "missing")])
def test_address_in_another_case(bench: Bench, switch: Any, outcome: str) -> None:
    """An address is found as the service finds it: where case counts there, another case is nobody."""
    bench.standin.unverified.identities_case = switch
    bench.standin.add(email="Ada@example.com")

    assert [outcome] == [one.code for one in bench.push(change_of("ada@example.com", HOT))]


# Pace.


def test_pace_leaves_a_sixth_to_others(bench: Bench) -> None:
    """Of 120 requests a minute and address 100 are used."""

    assert Pace(100, 60.0) == bench.orbit().pace(bench.settings(pace=None))


@pytest.mark.parametrize("spelling", ["RateLimit", "X-RateLimit"])
@pytest.mark.parametrize("retry_after", [None, 0])
def test_reset_is_not_relied_on(bench: Bench, spelling: Any, retry_after: int | None) -> None:
    """After a 429 the pause is the engine's own, whatever the headers about the rate claim and however they are
    spelled: here they ask for an hour, and one request later there is room."""
    bench.standin.unverified.rate_spelling = spelling
    bench.standin.rate_max, bench.standin.rate_reset, bench.standin.retry_after = 1_000, 3_600, retry_after
    bench.standin.add(email="ada@example.com")
    headers = {f"{spelling}-Reset": "3600", f"{spelling}-Remaining": "0"}
    headers |= {} if retry_after is None else {"Retry-After": str(retry_after)}
    bench.standin.trouble("status", when=is_put, times=2, answer=Answer(429, {"errors": "Slow down"}, headers))
    started = time.monotonic()
    outcomes = bench.push(change_of("ada@example.com", HOT))

    assert ["accepted"] == [outcome.result for outcome in outcomes]
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("retry_after", [None, 1])
@pytest.mark.parametrize("rate_headers", ["always", "when refused"])
def test_minute_that_is_used_up_defers_without_doubt(bench: Bench, retry_after: int | None, rate_headers: Any) -> None:
    """When the minute's requests are gone in mid-batch, what was answered stays, and nothing is in doubt."""
    bench.standin.unverified.rate_headers = rate_headers
    bench.standin.rate_max, bench.standin.retry_after = 4, retry_after
    for number in range(3):
        bench.standin.add(email=f"p{number}@example.com")
    orbit = bench.orbit(attempts=2)
    outcomes = orbit.push(sync_of(), [change_of(f"p{number}@example.com", {"title": "CTO"}) for number in range(3)])

    assert ["accepted", "accepted"] == [next(outcomes).result for _ in range(2)]
    with pytest.raises(Exception, match="answered 429") as caught:
        next(outcomes)
    assert not caught.value.doubt  # type: ignore[attr-defined]
