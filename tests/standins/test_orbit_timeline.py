"""The Orbit stand-in beyond members: activities, notes, organizations, lists that shift, and what nobody knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from destinations.standins.orbit import Member, OrbitStandIn
from destinations.standins.server import Server


@pytest.fixture
def orbit() -> Iterator[OrbitStandIn]:
    with Server({"/orbit": OrbitStandIn()}) as server:
        standin = server.standins["/orbit"]
        assert isinstance(standin, OrbitStandIn)
        yield standin


def ask(orbit: OrbitStandIn, method: str, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {orbit.api_key}"}
    response = requests.request(method, f"{orbit.url}/acme{path}", json=body, params=query, headers=headers, timeout=10)
    return response.status_code, response.json() if response.content else None


EMAIL = {"source": "email", "email": "ada@x.co"}


# Activities.


def test_activity_happens_to_a_known_member(orbit: OrbitStandIn) -> None:
    """The flat form is for a member that is there, and answers with the activity, its type and the member."""
    ada = orbit.add(email="ada@x.co")
    values = {"title": "Did a thing", "activity_type_key": "warehouse:did", "key": "k-1", "properties": {"a": "b"}}
    status, made = ask(orbit, "POST", f"/members/{ada.id}/activities", values)
    attributes = made["data"]["attributes"]

    assert 201 == status
    assert ("custom_activity", "Did a thing", "warehouse:did", "k-1", "1.0", {"a": "b"}) == (
        made["data"]["type"],
        *(attributes[name] for name in ("custom_title", "custom_type", "key", "weight", "properties")),
    )
    assert ["activity_type", "member"] == [one["type"] for one in made["included"]]
    assert ada.id == made["data"]["relationships"]["member"]["data"]["id"]
    assert 404 == ask(orbit, "POST", "/members/nobody/activities", values)[0]


def test_activity_of_the_workspace_makes_the_member(orbit: OrbitStandIn) -> None:
    """The nested form creates whoever the identity does not find, and the next one finds them."""
    body = {"activity": {"title": "Came"}, "identity": EMAIL}
    first, _ = ask(orbit, "POST", "/activities", body)
    second, again = ask(orbit, "POST", "/activities", body)

    assert (201, 201, 1) == (first, second, len(orbit.members))
    assert "CustomActivity" == again["data"]["attributes"]["type"]
    by_key = {"activity": {"title": "Came", "member": {"github": "ada"}}}
    assert 201 == ask(orbit, "POST", "/activities", by_key)[0]
    assert 2 == len(orbit.members)


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({}, {"custom_title"}),
        ({"title": "x", "weight": 0.2}, {"weight"}),
        ({"title": "x", "weight": "much"}, {"weight"}),
        ({"title": "x", "properties": ["a"]}, {"properties"}),
        ({"title": "x", "occurred_at": "yesterday"}, {"occurred_at"}),
        ({"title": "x", "key": 7}, {"key"}),
    ],
)
def test_bad_activity_is_refused(orbit: OrbitStandIn, values: dict[str, Any], keys: set[str]) -> None:
    """A title is needed, and the other values have to be of their kind."""
    ada = orbit.add(email="ada@x.co")
    status, answer = ask(orbit, "POST", f"/members/{ada.id}/activities", values)

    assert (422, keys) == (status, set(answer["errors"]))
    assert {} == orbit.timeline.activities


def test_activity_of_nobody_is_refused(orbit: OrbitStandIn) -> None:
    """Without an identity and without a member's keys nobody can be meant."""
    status, answer = ask(orbit, "POST", "/activities", {"activity": {"title": "x", "member": {"bio": "x"}}})

    assert (422, {"base"}) == (status, set(answer["errors"]))
    assert 422 == ask(orbit, "POST", "/activities", {"activity": {}, "identity": EMAIL})[0]
    assert {} == orbit.members


@pytest.mark.parametrize(("switch", "status"), [("refused", 422), ("conflict", 409), ("found", 200)])
def test_key_of_an_activity_is_used_once(orbit: OrbitStandIn, switch: Any, status: int) -> None:
    """A key is unique in the workspace; how the second one is answered is a switch."""
    orbit.unverified.used_key = switch
    ada, bob = orbit.add(email="ada@x.co"), orbit.add(email="bob@x.co")
    values = {"title": "x", "key": "k-1"}

    assert 201 == ask(orbit, "POST", f"/members/{ada.id}/activities", values)[0]
    assert status == ask(orbit, "POST", f"/members/{bob.id}/activities", values)[0]
    assert 1 == len(orbit.timeline.activities)


@pytest.mark.parametrize(("switch", "status"), [("taken", 201), ("refused", 422)])
def test_weight_of_zero_is_a_switch(orbit: OrbitStandIn, switch: Any, status: int) -> None:
    """Nobody knows whether an activity could weigh nothing, so both can be had."""
    orbit.unverified.zero_weight = switch
    ada = orbit.add(email="ada@x.co")

    assert status == ask(orbit, "POST", f"/members/{ada.id}/activities", {"title": "x", "weight": "0"})[0]


def test_love_and_counts_grow_with_activities(orbit: OrbitStandIn) -> None:
    """A member's own numbers follow what happened, so that a test can see the side effect."""
    ada = orbit.add(email="ada@x.co")

    def numbers() -> tuple[Any, ...]:
        attributes = ask(orbit, "GET", f"/members/{ada.id}")[1]["data"]["attributes"]
        names = ("love", "activities_count", "activities_score", "first_activity_occurred_at")
        return tuple(attributes[name] for name in (*names, "last_activity_occurred_at"))

    assert (None, 0, 0, None, None) == numbers()
    days = ["2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"]
    for day, weight in zip(days, ("0.5", "2"), strict=True):
        values = {"title": "x", "weight": weight, "occurred_at": day}
        assert 201 == ask(orbit, "POST", f"/members/{ada.id}/activities", values)[0]
    assert ("2.5", 2, 2.5, days[1], days[0]) == numbers()


def test_activities_are_listed_changed_and_deleted(orbit: OrbitStandIn) -> None:
    """Lists show the newest first; a change needs a title; deleting a custom one is a switch."""
    ada, bob = orbit.add(email="ada@x.co"), orbit.add(email="bob@x.co")
    for member, title in ((ada, "first"), (bob, "other")):
        ask(orbit, "POST", f"/members/{member.id}/activities", {"title": title, "activity_type_key": "a:b"})
    (own,) = ask(orbit, "GET", f"/members/{ada.id}/activities")[1]["data"]
    path = f"/members/{ada.id}/activities/{own['id']}"

    assert 2 == len(ask(orbit, "GET", "/activities")[1]["data"])
    assert own["id"] == ask(orbit, "GET", f"/activities/{own['id']}")[1]["data"]["id"]
    assert ["a:b"] == [one["attributes"]["key"] for one in ask(orbit, "GET", "/activity_types")[1]["data"]]
    assert 422 == ask(orbit, "PUT", path, {"title": ""})[0]
    assert 204 == ask(orbit, "PUT", path, {"title": "second", "weight": "3"})[0]
    assert 3.0 == ada.love
    orbit.unverified.custom_activities = "kept"
    assert 403 == ask(orbit, "DELETE", path)[0]
    orbit.unverified.custom_activities = "deletable"
    assert 204 == ask(orbit, "DELETE", path)[0]
    assert 404 == ask(orbit, "DELETE", path)[0]
    assert ([], 1) == (ada.activities, len(bob.activities))


# Notes.


def test_notes_are_made_listed_and_changed(orbit: OrbitStandIn) -> None:
    """A note is text on a member, can be written over, and each POST makes another."""
    ada, bob = orbit.add(email="ada@x.co"), orbit.add(email="bob@x.co")
    status, made = ask(orbit, "POST", f"/members/{ada.id}/notes", {"body": "score 41"})
    ask(orbit, "POST", f"/members/{ada.id}/notes", {"body": "score 42"})
    name = made["data"]["id"]

    assert (201, "note", "score 41") == (status, made["data"]["type"], made["data"]["attributes"]["body"])
    assert 204 == ask(orbit, "PUT", f"/members/{ada.id}/notes/{name}", {"body": "score 43"})[0]
    listed = ask(orbit, "GET", f"/members/{ada.id}/notes")[1]
    assert ["score 43", "score 42"] == [note["attributes"]["body"] for note in listed["data"]]
    assert {"first", "last", "prev", "next"} == set(listed["links"])
    assert [] == ask(orbit, "GET", f"/members/{bob.id}/notes")[1]["data"]
    assert 404 == ask(orbit, "PUT", f"/members/{bob.id}/notes/{name}", {"body": "x"})[0]
    assert 422 == ask(orbit, "POST", f"/members/{ada.id}/notes", {"body": ""})[0]


# Organizations.


NEEDED = {"lifecycle_stage": "customer", "crm_url": "https://crm.example/1", "source": "Fake CRM"}


def test_organizations_are_found_and_not_made(orbit: OrbitStandIn) -> None:
    """They are listed by name, found by their website, show who belongs to them, and cannot be made."""
    ada = orbit.add(email="ada@x.co")
    name = orbit.organizations.add("X", "x.co", [ada])
    orbit.organizations.add("Another", "another.example")
    ask(orbit, "POST", f"/members/{ada.id}/activities", {"title": "Came"})

    assert ["Another", "X"] == [one["attributes"]["name"] for one in ask(orbit, "GET", "/organizations")[1]["data"]]
    (found,) = ask(orbit, "GET", "/organizations", query="x.co")[1]["data"]
    assert (name, 1) == (found["id"], found["attributes"]["members_count"])
    assert 422 == ask(orbit, "GET", "/organizations", sort="shoe_size")[0]
    assert 404 == ask(orbit, "POST", "/organizations", NEEDED)[0]
    assert [ada.id] == [one["id"] for one in ask(orbit, "GET", f"/organizations/{name}/members")[1]["data"]]
    assert 1 == len(ask(orbit, "GET", f"/organizations/{name}/activities")[1]["data"])
    links = ask(orbit, "GET", f"/members/{ada.id}")[1]["data"]["relationships"]["organizations"]["data"]
    assert [{"id": name, "type": "organization"}] == links


@pytest.mark.parametrize(
    ("values", "status"),
    [
        (NEEDED, 204),
        (NEEDED | {"price_plan": "team", "deal_closed_date": "2026-02-28", "name": "ignored"}, 204),
        ({"price_plan": "team"}, 422),
        (NEEDED | {"lifecycle_stage": ""}, 422),
        (NEEDED | {"deal_closed_date": "soon"}, 422),
        (NEEDED | {"price_plan": 7}, 422),
    ],
)
def test_organization_takes_a_few_keys(orbit: OrbitStandIn, values: dict[str, Any], status: int) -> None:
    """Three keys are needed in each update, a date has to be one, and what cannot be written is ignored."""
    name = orbit.organizations.add("X", "x.co")

    assert status == ask(orbit, "PUT", f"/organizations/{name}", values)[0]
    shown = ask(orbit, "GET", f"/organizations/{name}")[1]["data"]["attributes"]
    stored = {key: value for key, value in values.items() if key != "name"} if status == 204 else {}
    assert ("X", stored) == (shown["name"], {key: shown[key] for key in stored})


# Lists that shift.


def listed(orbit: OrbitStandIn) -> list[str]:
    """A pass over the list, ten a page, as an honest client would do it."""
    found: list[str] = []
    for page in range(1, 10):
        answer = ask(orbit, "GET", "/members", items="10", sort="created_at", direction="ASC", page=str(page))[1]
        found += [one["id"] for one in answer["data"]]
        if answer["links"]["next"] is None:
            return found
    raise AssertionError("The list never ends.")


def test_pages_shift_while_they_are_read(orbit: OrbitStandIn) -> None:
    """Who leaves between two pages makes another slip past; who comes in before makes one come twice."""
    members = [orbit.add(email=f"p{number}@x.co") for number in range(25)]
    for number, member in enumerate(members):
        member.created_at = f"2026-01-01T00:00:{number:02}.000Z"

    def leave(page: int) -> None:
        if page == 1:
            del orbit.members[members[0].id]

    orbit.after_page = leave
    found = listed(orbit)
    assert {members[10].id} == {member.id for member in members} - set(found)

    def come(page: int) -> None:
        if page == 1:
            orbit.add(email="new@x.co").created_at = "2025-01-01T00:00:00.000Z"

    orbit.after_page = come
    found = listed(orbit)
    assert 1 == len(found) - len(set(found))


def test_link_to_the_next_page_may_name_another_host(orbit: OrbitStandIn) -> None:
    """The samples show whatever host the server believed in, so a test can have another one."""
    orbit.next_host = "elsewhere.example"
    for number in range(11):
        orbit.add(email=f"p{number}@x.co")
    links = ask(orbit, "GET", "/members")[1]["links"]

    assert links["next"].startswith("https://elsewhere.example/orbit/acme/members?")
    assert links["first"].startswith(orbit.url)


# What nobody knows.


@pytest.mark.parametrize(("switch", "status", "merged_at"), [("shown", 200, "2026"), ("gone", 404, None)])
def test_merged_member_is_a_switch(orbit: OrbitStandIn, switch: Any, status: int, merged_at: str | None) -> None:
    """The old id of a merged member answers with the time of it, or not at all."""
    orbit.unverified.merged = switch
    ada = orbit.add(email="ada@x.co")
    ada.merged_at = "2026"
    found, answer = ask(orbit, "GET", f"/members/{ada.id}")

    assert status == found
    assert merged_at == answer.get("data", {}).get("attributes", {}).get("merged_at")


@pytest.mark.parametrize(("switch", "status"), [("ignored", 422), ("taken", 201)])
def test_flat_member_is_a_switch(orbit: OrbitStandIn, switch: Any, status: int) -> None:
    """Keys of a new member without `member` around them are ignored or taken; nested ones always are."""
    orbit.unverified.flat_member = switch

    assert status == ask(orbit, "POST", "/members", {"name": "Ada"})[0]
    assert 201 == ask(orbit, "POST", "/members", {"member": {"name": "Bob"}})[0]


@pytest.mark.parametrize("status", [422, 400])
def test_status_of_a_refusal_is_a_switch(orbit: OrbitStandIn, status: Any) -> None:
    """A refusal has one form under either status."""
    orbit.unverified.refusal = status

    assert (status, {"errors": {"name": ["can't be blank"]}}) == ask(orbit, "POST", "/members", {"member": {}})


@pytest.mark.parametrize("status", [404, 403])
def test_status_of_an_unknown_workspace_is_a_switch(orbit: OrbitStandIn, status: Any) -> None:
    """A workspace that does not exist is told apart from one of others, or not."""
    orbit.unverified.unknown_workspace = status
    headers = {"Authorization": f"Bearer {orbit.api_key}"}

    assert status == requests.get(f"{orbit.url}/workspaces/nowhere", headers=headers, timeout=10).status_code


@pytest.mark.parametrize(("path", "body"), [("/activities", {"title": "x", "mood": "y"}), ("", {"mood": "y"})])
def test_unknown_keys_are_a_switch(orbit: OrbitStandIn, path: str, body: dict[str, Any]) -> None:
    """An unknown key is ignored, or refused by its name."""
    ada = orbit.add(email="ada@x.co")
    method = "POST" if path else "PUT"

    assert ask(orbit, method, f"/members/{ada.id}{path}", body)[0] in (201, 204)
    orbit.unverified.unknown_keys = "refused"
    status, answer = ask(orbit, method, f"/members/{ada.id}{path}", body)
    assert (422, {"mood"}) == (status, set(answer["errors"]))


@pytest.mark.parametrize("spelling", ["RateLimit", "X-RateLimit"])
def test_spelling_of_the_rate_is_a_switch(orbit: OrbitStandIn, spelling: Any) -> None:
    """The headers about the rate are spelled as the vendor's page has them, or as others write."""
    orbit.unverified.rate_spelling, orbit.rate_max = spelling, 5
    headers = {"Authorization": f"Bearer {orbit.api_key}"}
    answer = requests.get(f"{orbit.url}/user", headers=headers, timeout=10)

    assert ("5", "4", "60") == tuple(answer.headers[f"{spelling}-{name}"] for name in ("Limit", "Remaining", "Reset"))


@pytest.mark.parametrize(("switch", "found"), [("all", ["warehouse"]), ("networks", [])])
def test_listed_identities_are_a_switch(orbit: OrbitStandIn, switch: Any, found: list[str]) -> None:
    """Whether a list holds identities of other sources is not known; a single member always shows them."""
    orbit.unverified.listed_identities = switch
    ada = orbit.add(email="ada@x.co")
    orbit.attach(ada, source="warehouse", uid="u_1")

    def sources(path: str) -> list[str]:
        beside = ask(orbit, "GET", path)[1]["included"]
        return [one["attributes"]["source"] for one in beside if one["type"] == "other_identity"]

    assert (found, ["warehouse"]) == (sources("/members"), sources(f"/members/{ada.id}"))


def test_order_of_tags_is_a_switch(orbit: OrbitStandIn) -> None:
    """Tags come back in the order they were written in, or in another one each time."""
    ada = orbit.add(email="ada@x.co", tags=["a", "b"])

    def tags() -> list[str]:
        found: list[str] = ask(orbit, "GET", f"/members/{ada.id}")[1]["data"]["attributes"]["tags"]
        return found

    assert ["a", "b"] == tags() == tags()
    orbit.unverified.tags_order = "turning"
    assert {("a", "b"), ("b", "a")} == {tuple(tags()), tuple(tags())}


def test_somebody_else_acts_after_a_reading(orbit: OrbitStandIn) -> None:
    """The hook runs after the answer was made, with the number of that member's reading, found or addressed."""
    ada, bob = orbit.add(email="ada@x.co"), orbit.add(email="bob@x.co")
    seen: list[tuple[str, int]] = []

    def note(member: Member, number: int) -> None:
        seen.append((member.id, number))
        member.tags.append(f"t{number}")

    orbit.after_get = note
    first = ask(orbit, "GET", "/members/find", **EMAIL)[1]
    ask(orbit, "GET", f"/members/{bob.id}")
    ask(orbit, "GET", f"/members/{ada.id}")

    assert [] == first["data"]["attributes"]["tags"]
    assert [(ada.id, 1), (bob.id, 1), (ada.id, 2)] == seen
