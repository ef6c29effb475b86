"""Reading members back from Orbit: one by one or by the list, by every kind of match, and what counts as held."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from destinations.standins.orbit import Member
from destinations.standins.server import HTML, Answer
from syncer.change import Held, Value, Wanted
from syncer.errors import DestinationUnusable, ServiceUnavailable
from syncer.mapping import Field, Sync
from tests.destinations.orbit_workplace import ACTIVATION, Bench, at_work, change_of, sync_of

FIELDS = (ACTIVATION, Field(name="tag:plan", column="plan", type="text"), Field(name="company", column="company"))


@pytest.fixture
def bench() -> Iterator[Bench]:
    with at_work() as bench:
        yield bench


def wanted(values: Iterable[str], by: str = "email") -> list[Wanted]:
    return [Wanted(f"key of {value}", {by: value}) for value in values]


def read(bench: Bench, records: Iterable[Wanted], sync: Sync) -> dict[str, Any]:
    """Key without its prefix → fields, or the code."""
    found = list(bench.orbit().read(sync, records))

    assert len({held.key for held in found}) == len(found)
    return {held.key.removeprefix("key of "): held.code or held.fields for held in found}


def crowd(bench: Bench, count: int) -> list[Member]:
    """Members who joined one after another."""
    members = [bench.standin.add(email=f"p{number}@example.com", company=f"C {number}") for number in range(count)]
    for number, member in enumerate(members):
        member.created_at = f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.000Z"
    return members


def held(company: str | None = None, activation: str | None = None, plan: str | None = None) -> dict[str, Any]:
    return {"tag:activation": activation, "tag:plan": plan, "company": company}


# What is held.


def test_few_are_asked_for_one_by_one(bench: Bench) -> None:
    """One or two members cost a request each; tags are shown as the step of their prefix, and nobody is None."""
    bench.standin.add(email="ada@example.com", company="ACME", tags=["vip", "Activation:Hot", "plan:a:b"])
    found = read(bench, wanted(["ada@example.com", "nobody@example.com"]), sync_of(*FIELDS))

    assert {"ada@example.com": held("ACME", "Hot", "a:b"), "nobody@example.com": None} == found
    assert ["GET /members/find"] * 2 == bench.asked()


@pytest.mark.parametrize("is_listed", [False, True], ids=["asked for", "listed"])
def test_several_steps_of_one_prefix_equal_none(bench: Bench, is_listed: bool) -> None:
    """Two tags of one prefix are given back joined, which is no step of ours, so a push puts them right."""
    bench.standin.add(email="ada@example.com", tags=["activation:warm", "activation:cold"])
    sync = sync_of(*FIELDS)
    others = [f"n{number}@example.com" for number in range(9)] if is_listed else []
    found = read(bench, wanted(["ada@example.com", *others]), sync)["ada@example.com"]

    assert "cold, warm" == found["tag:activation"]
    orbit = bench.orbit()
    assert [False] * 4 == [
        orbit.holds(sync, "tag:activation", step, found["tag:activation"]) for step in ("cold", "warm", None, "hot")
    ]
    assert is_listed == ("GET /members" in bench.asked())


@pytest.mark.parametrize(
    ("name", "value", "found", "is_held"),
    [
        ("tag:activation", "hot", "Hot", True),
        ("tag:activation", " hot ", "hot", True),
        ("tag:activation", None, None, True),
        ("tag:activation", "", None, True),
        ("tag:activation", False, "false", True),
        ("tag:activation", "hot", None, False),
        ("tag:activation", None, "hot", False),
        ("bio", None, "", True),
        ("bio", "", None, True),
        ("bio", "x", "X", False),
        ("bio", datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC), "2026-01-02T03:04:05Z", True),
        ("bio", datetime.datetime(2026, 1, 2, 3, 4, 6, tzinfo=datetime.UTC), "2026-01-02T03:04:05Z", False),
        ("birthday", datetime.date(1815, 12, 10), "1815-12-10", True),
        ("birthday", datetime.date(1815, 12, 11), "1815-12-10", False),
        ("teammate", True, True, True),
        ("teammate", False, None, True),
        ("teammate", None, False, True),
        ("teammate", True, False, False),
    ],
)
def test_holding(bench: Bench, name: str, value: Value, found: object, is_held: bool) -> None:
    """Tags are compared without case, and empty, absent and null are one; times as they are written there."""

    assert is_held == bench.orbit().holds(sync_of(), name, value, found)


@pytest.mark.parametrize("switch", ["kept", "lowered"])
def test_what_was_pushed_is_held(bench: Bench, switch: Any) -> None:
    """What a push has written is read back as held, also where the service lowers the case of tags."""
    bench.standin.unverified.tags_case = switch
    bench.standin.add(email="ada@example.com", tags=["vip"])
    sync = sync_of(*FIELDS)
    fields: dict[str, Value] = {"tag:activation": "Hot", "tag:plan": None, "company": "ACME"}
    bench.push(change_of("ada@example.com", fields), sync=sync)
    found = read(bench, wanted(["ada@example.com"]), sync)["ada@example.com"]
    orbit = bench.orbit()

    assert [True] * 3 == [orbit.holds(sync, name, value, found[name]) for name, value in fields.items()]


# The list.


def test_many_are_read_from_the_list(bench: Bench) -> None:
    """When there are more records than pages, the list is read once, and everybody is in it or nowhere."""
    crowd(bench, 250)
    people = [f"p{number}@example.com" for number in range(0, 250, 50)]
    found = read(bench, wanted([*people, "nobody@example.com"]), sync_of(*FIELDS))

    assert {who: held(f"C {who[1:].split('@')[0]}") for who in people} | {"nobody@example.com": None} == found
    assert ["GET /workspaces/acme", *["GET /members"] * 3] == bench.asked()
    pages = [exchange.request.query for exchange in bench.standin.log][1:]
    assert [
        {"items": ["100"], "sort": ["created_at"], "direction": ["ASC"], "page": [str(number)]} for number in (1, 2, 3)
    ] == pages


def test_list_is_not_read_when_asking_costs_less(bench: Bench) -> None:
    """As many records as the list has pages are asked for one by one; the count is one request more."""
    crowd(bench, 401)
    found = read(bench, wanted([f"p{number}@example.com" for number in range(5)]), sync_of(*FIELDS))

    assert {f"p{number}@example.com": held(f"C {number}") for number in range(5)} == found
    assert ["GET /workspaces/acme", *["GET /members/find"] * 5] == bench.asked()


def test_records_are_taken_as_they_come(bench: Bench) -> None:
    """Of records without end no more are taken than it needs to decide, and then one for each that is given back."""
    crowd(bench, 150)
    taken: list[int] = []

    def endless() -> Iterator[Wanted]:
        for number in range(10**9):
            taken.append(number)
            yield Wanted(str(number), {"email": f"p{number}@example.com"})

    found = bench.orbit().read(sync_of(*FIELDS), endless())
    first = [next(found) for _ in range(5)]

    assert [Held(str(number), held(f"C {number}")) for number in range(5)] == first
    assert len(taken) <= 6


@pytest.mark.parametrize(
    ("by", "values"),
    [
        ("email", ["Ada@Example.com", "second@example.com"]),
        ("github", ["ADA"]),
        ("github:uid", ["4711"]),
        ("discourse", ["ada l&n", "ada.there"]),
        ("discourse@there.example.com", ["ada.there"]),
        ("warehouse:uid", ["u_42/ü"]),
        ("warehouse@eu:uid", ["u_42/ü"]),
        ("slack:username", ["ada_l"]),
    ],
)
@pytest.mark.parametrize("is_listed", [False, True], ids=["asked for", "listed"])
def test_every_kind_of_match(bench: Bench, by: str, values: list[str], is_listed: bool) -> None:
    """Whatever identity a member is matched by, asking and the list find the same; another host or case of ours not."""
    member = bench.standin.add(name="Ada", company="ACME")
    for identity in (
        {"source": "email", "email": "ada@example.com"},
        {"source": "email", "email": "second@example.com"},
        {"source": "github", "username": "ada", "uid": "4711"},
        {"source": "discourse", "username": "ada l&n"},
        {"source": "discourse", "username": "ada.there", "source_host": "there.example.com"},
        {"source": "warehouse", "uid": "u_42/ü", "source_host": "eu"},
        {"source": "slack", "username": "ada_l"},
    ):
        bench.standin.attach(member, **identity)
    strangers = [f"stranger{number}" for number in range(20)] if is_listed else []
    sync = sync_of(*FIELDS, match={by: "column"})
    found: dict[str, Any] = {}
    for value in values:
        found |= read(bench, wanted([value, *strangers], by), sync)

    assert dict.fromkeys(values, held("ACME")) | dict.fromkeys(strangers) == found
    assert is_listed != ("GET /members/find" in bench.asked())


def test_match_by_id(bench: Bench) -> None:
    """Orbit's own ids are found in the list as they are, in this case only."""
    ids = [member.id for member in crowd(bench, 3)]
    found = read(bench, wanted([*ids, ids[0].swapcase()], "id"), sync_of(*FIELDS, match={"id": "orbit_id"}))

    assert {name: held(f"C {number}") for number, name in enumerate(ids)} | {ids[0].swapcase(): None} == found
    assert ["GET /workspaces/acme", "GET /members"] == bench.asked()


def test_sources_that_the_list_does_not_show_are_asked_for(bench: Bench) -> None:
    """When the list shows no identity of the source at all, it may never do, so each is looked for."""
    bench.standin.unverified.listed_identities = "networks"
    member = bench.standin.add(name="Ada", company="ACME")
    bench.standin.attach(member, source="warehouse", uid="u_7")
    values = [f"u_{number}" for number in range(9)]
    found = read(bench, wanted(values, "warehouse:uid"), sync_of(*FIELDS, match={"warehouse:uid": "user_id"}))

    assert dict.fromkeys(values) | {"u_7": held("ACME")} == found


def test_two_members_of_one_name_are_ambiguous(bench: Bench) -> None:
    """Where the service tells cases apart and we do not, two members with one address are neither's."""
    bench.standin.unverified.identities_case = "kept"
    bench.standin.add(email="ada@example.com")
    bench.standin.add(email="Ada@example.com")
    found = read(bench, wanted(["ada@example.com", "b@example.com", "c@example.com"]), sync_of(*FIELDS))

    assert "ambiguous" == found["ada@example.com"]


@pytest.mark.parametrize("is_listed", [False, True], ids=["asked for", "listed"])
def test_merged_member_is_nobody(bench: Bench, is_listed: bool) -> None:
    """A member that was merged into another holds nothing any more."""
    member = bench.standin.add(email="ada@example.com")
    member.merged_at = "2026-01-01T00:00:00.000Z"
    values = ["ada@example.com", *(f"n{number}@example.com" for number in range(5 if is_listed else 0))]

    assert dict.fromkeys(values) == read(bench, wanted(values), sync_of(*FIELDS))


# Lists that shift, and lists that are none.


def test_member_that_slips_past_is_found_by_a_second_pass(bench: Bench) -> None:
    """Who leaves while the list is read makes another slip past between two pages; all of it is then read again."""
    members = crowd(bench, 250)
    people = [f"p{number}@example.com" for number in range(250)]

    def leave(page: int) -> None:
        if page == 1:
            bench.standin.members.pop(members[0].id, None)

    bench.standin.after_page = leave
    found = read(bench, wanted(people), sync_of(*FIELDS))

    assert held("C 100") == found["p100@example.com"]
    assert [] == [who for who in people[1:] if found[who] is None]
    assert 6 == bench.asked().count("GET /members")


def test_member_that_slips_past_is_no_stranger(bench: Bench) -> None:
    """A push that has read the list while somebody left takes nobody for a stranger who slipped past."""
    members = crowd(bench, 250)

    def leave(page: int) -> None:
        if page == 1:
            bench.standin.members.pop(members[0].id, None)

    bench.standin.after_page = leave
    strangers = [change_of(f"stranger-{number}@example.com", {"company": "ACME"}) for number in range(25)]
    outcomes = bench.push(*strangers, change_of("p100@example.com", {"company": "ACME"}))

    assert [*["missing"] * 25, ""] == [outcome.code for outcome in outcomes]
    assert 6 == bench.asked().count("GET /members")


def test_member_that_comes_twice_is_one(bench: Bench) -> None:
    """A member on two pages is one member, as the later page shows it."""
    members = crowd(bench, 150)

    def come(page: int) -> None:
        if page == 1:
            bench.standin.add(email="new@example.com").created_at = "2025-01-01T00:00:00.000Z"
            members[99].attributes["company"] = "Moved"

    bench.standin.after_page = come
    people = [f"p{number}@example.com" for number in range(150)]

    assert {who: held("Moved" if who == "p99@example.com" else f"C {n}") for n, who in enumerate(people)} == read(
        bench, wanted(people), sync_of(*FIELDS)
    )
    assert 2 == bench.asked().count("GET /members")


def test_link_to_another_host_is_not_followed(bench: Bench) -> None:
    """Of a link to the next page it only counts that there is one: the key stays with the address in the config."""
    bench.standin.next_host = "elsewhere.example.com"
    crowd(bench, 150)
    people = [f"p{number}@example.com" for number in range(150)]
    found = read(bench, wanted(people), sync_of(*FIELDS))

    assert [] == [who for who in people if found[who] is None]
    assert 2 == bench.asked().count("GET /members")


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"data": [], "included": [], "links": {}},
        {"data": [{"id": "x"}], "included": [], "links": {"next": None}},
        {"data": [{"id": ["x"], "attributes": {}}], "included": [], "links": {"next": None}},
        {
            "data": [
                {"id": "x", "attributes": {}, "relationships": {"identities": {"data": [{"type": "i", "id": "1"}]}}}
            ],
            "included": [{"type": "i", "id": "1", "attributes": "none"}],
            "links": {"next": None},
        },
        {"data": [], "included": [], "links": {"next": "https://else.example"}},
    ],
    ids=["nothing", "no links", "no attributes", "an id that is none", "an identity that is none", "no end"],
)
def test_list_that_cannot_be_trusted_is_not_used(bench: Bench, content: Any) -> None:
    """A list of another shape, or without an end, is left, and everybody is asked for."""
    bench.standin.add(email="ada@example.com", company="ACME")
    bench.standin.trouble(
        "status", times=None, when=lambda request: request.path == "/acme/members", answer=Answer(200, content)
    )
    people = ["ada@example.com", "b@example.com", "c@example.com", "d@example.com"]

    assert dict.fromkeys(people) | {"ada@example.com": held("ACME")} == read(bench, wanted(people), sync_of(*FIELDS))


def test_workspace_that_tells_no_count_is_asked_for_each(bench: Bench) -> None:
    """Without the number of members nobody knows what the list costs."""
    bench.standin.add(email="ada@example.com", company="ACME")
    bench.standin.trouble(
        "status", when=lambda request: "workspaces" in request.path, answer=Answer(200, {"data": {"attributes": {}}})
    )
    people = ["ada@example.com", "b@example.com", "c@example.com", "d@example.com"]
    read(bench, wanted(people), sync_of(*FIELDS))

    assert ["GET /workspaces/acme", *["GET /members/find"] * 4] == bench.asked()


@pytest.mark.parametrize(
    ("answer", "error"),
    [(Answer(401), DestinationUnusable), (Answer(200, HTML), DestinationUnusable), (Answer(429), ServiceUnavailable)],
)
@pytest.mark.parametrize("count", [1, 9], ids=["asked for", "listed"])
def test_what_cannot_be_read_is_told(bench: Bench, answer: Answer, error: type[Exception], count: int) -> None:
    """A refused key, a page and a service that never answers end the reading; nobody is taken for missing."""
    bench.standin.add(email="p0@example.com")
    bench.standin.trouble("status", times=None, answer=answer)

    with pytest.raises(error):
        list(bench.orbit().read(sync_of(), wanted(f"p{number}@example.com" for number in range(count))))


def test_reading_changes_nothing(bench: Bench) -> None:
    """Whatever way is taken, only GETs are sent."""
    crowd(bench, 20)
    read(bench, wanted(f"p{number}@example.com" for number in range(9)), sync_of(*FIELDS))

    assert {"GET"} == {asked.split()[0] for asked in bench.asked()}
