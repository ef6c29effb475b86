"""The Orbit stand-in is as strict as the service was, and answers in its shapes."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from destinations.orbit_parts.rules import WRITABLE
from destinations.standins import orbit as standin_module
from destinations.standins.orbit import OrbitStandIn
from destinations.standins.server import Server


@pytest.fixture
def orbit() -> Iterator[OrbitStandIn]:
    with Server({"/orbit": OrbitStandIn()}) as server:
        standin = server.standins["/orbit"]
        assert isinstance(standin, OrbitStandIn)
        yield standin


def ask(orbit: OrbitStandIn, method: str, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {orbit.api_key}"}
    response = requests.request(method, orbit.url + path, json=body, params=query, headers=headers, timeout=10)
    return response.status_code, response.json() if response.content else None


def test_key_and_workspace_are_asked_for(orbit: OrbitStandIn) -> None:
    """A wrong key, an unknown workspace and one of others are told apart."""
    wrong = requests.get(orbit.url + "/user", headers={"Authorization": "Bearer nobody"}, timeout=10)
    query = requests.get(orbit.url + "/user", params={"api_key": orbit.api_key}, timeout=10)

    assert (401, 401) == (wrong.status_code, query.status_code)
    assert 200 == ask(orbit, "GET", "/user")[0]
    assert 200 == ask(orbit, "GET", "/workspaces/acme")[0]
    assert 404 == ask(orbit, "GET", "/nowhere/members")[0]
    assert 403 == ask(orbit, "GET", "/rival/members")[0]


def test_member_is_made_once_per_identity(orbit: OrbitStandIn) -> None:
    """The first POST with an identity makes a member (201), the second finds it (200)."""
    body = {"member": {"name": "Ada", "tags_to_add": "a, b ,a"}, "identity": {"source": "email", "email": "ada@x.co"}}
    first, made = ask(orbit, "POST", "/acme/members", body)
    second, found = ask(orbit, "POST", "/acme/members", body)

    assert (201, 200) == (first, second)
    assert (True, False) == (made["data"]["attributes"]["created"], found["data"]["attributes"]["created"])
    assert made["data"]["id"] == found["data"]["id"]
    assert ["a", "b"] == found["data"]["attributes"]["tags"]
    assert ["email_identity"] == [one["type"] for one in found["included"]]
    assert 6 == len(made["data"]["id"])


def test_member_is_found_by_an_identity_among_its_keys(orbit: OrbitStandIn) -> None:
    """A key like `github` finds the member as well, and the identity that came along becomes the member's own."""
    ada = orbit.add(name="Ada", github="ada")
    body = {"member": {"github": "ada", "title": "CTO"}, "identity": {"source": "email", "email": "ada@x.co"}}

    assert 200 == ask(orbit, "POST", "/acme/members", body)[0]
    assert ("CTO", "ada@x.co") == (ada.attributes["title"], ada.username("email"))
    assert 1 == len(orbit.members)


def test_member_without_identity_is_made_each_time(orbit: OrbitStandIn) -> None:
    """Without an identity each POST makes another member, as the service did."""
    for _ in range(2):
        assert 201 == ask(orbit, "POST", "/acme/members", {"member": {"name": "Ada"}})[0]

    assert 2 == len(orbit.members)


@pytest.mark.parametrize(
    ("body", "keys"),
    [
        ({"member": {"bio": "x"}}, {"name"}),
        ({"identity": {"email": "ada@x.co"}}, {"source"}),
        ({"identity": {"source": "email", "email": "nonsense"}}, {"email"}),
        ({"identity": {"source": "warehouse", "uid": "u_1"}}, {"name"}),
        ({"member": {"name": "Ada", "bio": 41, "teammate": "yes"}}, {"bio", "teammate"}),
        ({"member": {"name": "Ada", "tags": [1]}}, {"tags"}),
        (["not", "a", "map"], {"base"}),
    ],
)
def test_bad_member_is_refused(orbit: OrbitStandIn, body: Any, keys: set[str]) -> None:
    """What the service could not take is a 422 with the keys at fault, and makes no member."""
    status, answer = ask(orbit, "POST", "/acme/members", body)

    assert 422 == status
    assert keys == set(answer["errors"])
    assert {} == orbit.members


def test_nested_update_changes_nothing(orbit: OrbitStandIn) -> None:
    """An update with `member` around its keys is answered 204 and ignored; with the switch it is refused."""
    member = orbit.add(name="Ada")
    nested = {"member": {"name": "Bob"}}

    assert 204 == ask(orbit, "PUT", f"/acme/members/{member.id}", nested)[0]
    orbit.unverified.unknown_keys = "refused"
    assert 422 == ask(orbit, "PUT", f"/acme/members/{member.id}", nested)[0]
    assert "Ada" == member.attributes["name"]


def test_tags_replace_and_tags_to_add_add(orbit: OrbitStandIn) -> None:
    """`tags` puts exactly its own in place, `tags_to_add` keeps what was there, and a comma parts a tag."""
    member = orbit.add(name="Ada", tags=["x"])
    ask(orbit, "PUT", f"/acme/members/{member.id}", {"tags_to_add": ["y,z"]})

    assert ["x", "y", "z"] == member.tags
    ask(orbit, "PUT", f"/acme/members/{member.id}", {"tags": ["q"]})
    assert ["q"] == member.tags
    assert {"tags"} == member.changed


@pytest.mark.parametrize(
    ("switch", "after_list", "after_text"),
    [("emptied", [], []), ("text only", ["x"], []), ("ignored", ["x"], ["x"])],
)
def test_emptying_all_tags_is_a_switch(
    orbit: OrbitStandIn, switch: Any, after_list: list[str], after_text: list[str]
) -> None:
    """Nobody knows whether an empty list or an empty text took all tags off, so each can be had."""
    orbit.unverified.empty_tags = switch
    member = orbit.add(name="Ada", tags=["x"])
    left = []
    for nothing in ([], ""):
        ask(orbit, "PUT", f"/acme/members/{member.id}", {"tags": nothing})
        left.append(member.tags)

    assert [after_list, after_text] == left


def test_absent_keys_stay_and_null_clears(orbit: OrbitStandIn) -> None:
    """An update touches the keys it names; an identity among them moves with it."""
    member = orbit.add(name="Ada", title="CTO", bio="x", github="ada")
    ask(orbit, "PUT", f"/acme/members/{member.id}", {"title": None, "github": "ada2"})

    assert (None, "x", "ada2") == (member.attributes["title"], member.attributes["bio"], member.username("github"))
    assert 404 == ask(orbit, "GET", "/acme/members/find", source="github", username="ada")[0]
    assert 200 == ask(orbit, "GET", "/acme/members/find", source="github", username="ada2")[0]


def test_identity_belongs_to_one_member(orbit: OrbitStandIn) -> None:
    """A second member cannot take an identity, and only its owner can give it up."""
    ada, bob = orbit.add(name="Ada", github="ada"), orbit.add(name="Bob")
    identity = {"source": "github", "username": "ada"}

    assert 422 == ask(orbit, "PUT", f"/acme/members/{bob.id}", {"github": "ada"})[0]
    status, answer = ask(orbit, "POST", f"/acme/members/{bob.id}/identities", identity)
    assert (422, {"identity_id": ["has already been taken"]}) == (status, answer["errors"])
    assert 422 == ask(orbit, "DELETE", f"/acme/members/{bob.id}/identities", identity)[0]
    assert 204 == ask(orbit, "DELETE", f"/acme/members/{ada.id}/identities", identity)[0]
    assert 201 == ask(orbit, "POST", f"/acme/members/{bob.id}/identities", identity)[0]
    assert bob is orbit.named("ada")


@pytest.mark.parametrize(("switch", "status"), [("ignored", 200), ("kept", 404)])
def test_case_of_identities_is_a_switch(orbit: OrbitStandIn, switch: Any, status: int) -> None:
    """Nobody knows whether an address was found in another case, so both can be had."""
    orbit.unverified.identities_case = switch
    orbit.add(email="Ada@x.co")

    assert status == ask(orbit, "GET", "/acme/members/find", source="email", email="ada@x.co")[0]


def test_unknown_member_is_not_found(orbit: OrbitStandIn) -> None:
    """An identity that nobody has, and a search without any, are a 404 with a text in `errors`."""
    member = orbit.add(name="Ada", slug="ada")
    unknown = {"errors": "No member matching this identity was found"}

    assert (404, unknown) == ask(orbit, "GET", "/acme/members/find", source="email", email="a@x.co")
    assert (404, unknown) == ask(orbit, "GET", "/acme/members/find", source="email")
    assert 404 == ask(orbit, "GET", f"/acme/members/{member.id.swapcase()}")[0]
    assert 200 == ask(orbit, "GET", "/acme/members/ada")[0]
    assert 204 == ask(orbit, "DELETE", f"/acme/members/{member.id}")[0]
    assert 404 == ask(orbit, "GET", f"/acme/members/{member.id}")[0]


def test_list_is_read_page_by_page(orbit: OrbitStandIn) -> None:
    """Following `links.next` meets every member once; a page size that the service did not know is refused."""
    made = {orbit.add(email=f"p{number}@x.co").id for number in range(25)}
    headers = {"Authorization": f"Bearer {orbit.api_key}"}
    address: str | None = f"{orbit.url}/acme/members?items=10&sort=id&direction=ASC"
    seen: list[str] = []
    while address:
        answer = requests.get(address, headers=headers, timeout=10).json()
        seen += [one["id"] for one in answer["data"]]
        address = answer["links"]["next"]

    assert sorted(made) == seen
    assert 422 == ask(orbit, "GET", "/acme/members", items="20")[0]
    assert 422 == ask(orbit, "GET", "/acme/members", sort="shoe_size")[0]


@pytest.mark.parametrize("retry_after", [None, 7])
def test_rate_is_counted(orbit: OrbitStandIn, retry_after: int | None) -> None:
    """The request after the last allowed one in a minute is a 429, with or without Retry-After."""
    orbit.rate_max, orbit.retry_after = 2, retry_after
    headers = {"Authorization": f"Bearer {orbit.api_key}"}
    answers = [requests.get(orbit.url + "/user", headers=headers, timeout=10) for _ in range(3)]

    assert [200, 200, 429] == [answer.status_code for answer in answers]
    assert "0" == answers[1].headers["RateLimit-Remaining"]
    assert (None if retry_after is None else str(retry_after)) == answers[2].headers.get("Retry-After")


def test_settings_fit_the_adapter(orbit: OrbitStandIn) -> None:
    """The section that the stand-in gives out names its address, workspace and key, and a pace for loopback."""
    settings = tomllib.loads(orbit.settings())

    assert {"workspace": "acme", "api_key": orbit.api_key, "base_url": orbit.url, "pace": 60000} == settings


def test_seed_and_tables(orbit: OrbitStandIn) -> None:
    """About a fifth of those who can be reached are members, the same ones each time, with tags of other people."""
    people = [
        {"user_id": f"u_{n}", "email": f"p{n}@x.co", "name": f"P {n}", "github": f"p{n}" if n % 2 else None}
        for n in range(50)
    ]
    orbit.seed(people, [], [])
    (table,) = orbit.tables()

    assert {f"p{n}@x.co" for n in range(0, 50, 5)} == {row["email"] for row in table.rows}
    assert {"newsletter", "speaker, vip", "", "contributor, meetup:berlin"} == {row["tags"] for row in table.rows}
    assert "p5" == next(row for row in table.rows if row["email"] == "p5@x.co")["github"]
    assert [set()] * 10 == table.changed


def test_newest_write_is_on_top_and_marked(orbit: OrbitStandIn) -> None:
    """The page shows the member that was written last first, with the columns that its last write changed."""
    ada = orbit.add(name="Ada", email="ada@x.co")
    orbit.add(name="Bob", email="bob@x.co")
    ada.updated_at = "2026-01-01T00:00:00.000Z"

    assert ["Bob", "Ada"] == [row["name"] for row in orbit.tables()[0].rows]
    ask(orbit, "PUT", f"/acme/members/{ada.id}", {"company": "Analytical Engines"})
    assert "Ada" == orbit.tables()[0].rows[0]["name"]
    assert {"company"} == orbit.tables()[0].changed[0]


def test_adapter_and_stand_in_know_the_same_keys() -> None:
    """Every key that the adapter lets be mapped is one that the stand-in takes."""

    assert standin_module.WRITABLE - {"tags", "tags_to_add", "tag_list"} == set(WRITABLE)
