"""What the customer.io stand-in does with people besides writing them: suppressing, merging, segments, filters."""

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


@pytest.mark.parametrize("version", [1, 2])
def test_suppression(standin: CustomerioStandIn, caller: Caller, version: int) -> None:
    """Who is suppressed goes, and comes back by none of their identifiers until each is released."""

    def deed(name: str, identifier: str) -> int:
        if version == 1:
            return caller.post(f"/api/v1/customers/{identifier}/{name}", None).status_code
        kind = "email" if "@" in identifier else "id"
        return caller.batch({"type": "person", "action": name, "identifiers": {kind: identifier}}).status_code

    caller.put("u_1", email="Ada@example.com", a=1)

    assert 200 == deed("suppress", "u_1")
    assert {} == standin.people
    assert [200, 200] == [caller.put("u_1", a=1).status_code, caller.put("ada@EXAMPLE.com", a=1).status_code]
    assert {} == standin.people
    assert ["Ignored: this identifier is suppressed"] * 2 == standin.activity
    assert 200 == deed("unsuppress", "u_1")
    caller.put("u_1", a=2)
    assert {"a": "2"} == standin.person("u_1")
    # Somebody who never was there can be suppressed as well.
    assert 200 == deed("suppress", "nobody")


def test_merging_in_version_1(standin: CustomerioStandIn, caller: Caller) -> None:
    """The second person goes into the first, whose values win, and brings along what the first has not."""
    caller.put("u_1", a=1)
    caller.put("u_2", email="two@example.com", a=2, b=2)

    answer = caller.post("/api/v1/merge_customers", {"primary": {"id": "u_1"}, "secondary": {"id": "u_2"}})

    assert (200, {}) == (answer.status_code, answer.json())
    assert {"a": "1", "b": "2"} == standin.person("u_1") == standin.person("two@example.com", "email")
    assert 1 == len(standin.people)


@pytest.mark.parametrize(
    "body",
    [None, [], {}, {"primary": {"id": "u_1"}}, {"primary": {"id": "u_1"}, "secondary": {"id": "a", "email": "b"}}],
)
def test_mergers_that_are_refused(standin: CustomerioStandIn, caller: Caller, body: Any) -> None:
    """Two people are needed, each by one identifier; the refusal has the form of version 1."""
    answer = caller.post("/api/v1/merge_customers", body)

    assert (400, {"meta"}) == (answer.status_code, set(answer.json()))


def test_manual_segments(standin: CustomerioStandIn, caller: Caller) -> None:
    """People are put into a segment and taken out, by any identifier; strangers are passed over."""
    standin.segments[4] = set()
    caller.put("u_1", email="one@example.com")
    caller.put("u_2")
    [u_1, u_2] = standin.people
    path = "/api/v1/segments/4"

    assert 200 == caller.post(f"{path}/add_customers", {"ids": ["u_2", "nobody"]}).status_code
    assert 200 == caller.post(f"{path}/add_customers?id_type=email", {"ids": ["ONE@example.com"]}).status_code
    assert {u_1, u_2} == standin.segments[4]
    assert 200 == caller.post(f"{path}/remove_customers?id_type=cio_id", {"ids": [u_2]}).status_code
    assert {u_1} == standin.segments[4]
    caller.track.delete(standin.url + "/api/v1/customers/u_1")
    assert set() == standin.segments[4]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("4/add_customers", {"ids": []}),
        ("4/add_customers", {"ids": ["u"] * 1001}),
        ("4/add_customers", {"ids": [1]}),
        ("4/add_customers", {"ids": ["u"], "more": 1}),
        ("4/add_customers", []),
        ("4/add_customers?id_type=phone", {"ids": ["u"]}),
        ("5/add_customers", {"ids": ["u"]}),
        ("x/add_customers", {"ids": ["u"]}),
    ],
)
def test_segments_that_are_refused(standin: CustomerioStandIn, caller: Caller, path: str, body: Any) -> None:
    """One to a thousand texts go into a segment that is there."""
    standin.segments[4] = set()

    assert 400 == caller.post(f"/api/v1/segments/{path}", body).status_code
    assert 200 == caller.post("/api/v1/segments/4/add_customers", {"ids": ["u"] * 1000}).status_code


# Filters.


def has(field: str) -> dict[str, Any]:
    return {"attribute": {"field": field, "operator": "exists"}}


def equals(field: str, value: Any) -> dict[str, Any]:
    return {"attribute": {"field": field, "operator": "eq", "value": value}}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (has("a"), ["u_1", "u_2"]),
        (equals("a", 1), ["u_1"]),
        (equals("email", "three@example.com"), ["u_3"]),
        ({"segment": {"id": 4}}, ["u_2"]),
        ({"not": has("a")}, ["u_3"]),
        ({"and": [has("a"), {"segment": {"id": 4}}]}, ["u_2"]),
        ({"or": [equals("a", 1), {"not": has("a")}]}, ["u_1", "u_3"]),
        (equals("a", 3), []),
    ],
)
def test_filters(standin: CustomerioStandIn, caller: Caller, condition: Any, expected: list[str]) -> None:
    """People are picked by attributes and segments, combined by and, or and not."""
    caller.batch(person("u_1", a=1), person("u_2", a=2), person("u_3", email="three@example.com"))
    standin.segments[4] = {list(standin.people)[1]}

    answer = caller.ask("/v1/customers", {"filter": condition}).json()

    assert (expected, "") == (answer["ids"], answer["next"])
    assert expected == [one["id"] for one in answer["identifiers"]]


def test_pages_of_a_filter(standin: CustomerioStandIn, caller: Caller) -> None:
    """A page has as many as were asked for, up to a thousand, and the last one names no next."""
    caller.batch(*[person(f"u_{n}", a=1) for n in range(5)])
    ids, start = [], ""
    while True:
        answer = caller.ask(f"/v1/customers?limit=2&start={start}", {"filter": has("a")}).json()
        ids.append(answer["ids"])
        if not (start := answer["next"]):
            break

    assert [["u_0", "u_1"], ["u_2", "u_3"], ["u_4"]] == ids
    for query in ("limit=1001", "limit=0", "limit=x", "start=-1"):
        assert 400 == caller.ask(f"/v1/customers?{query}", {"filter": has("a")}).status_code


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"filter": {}},
        {"filter": []},
        {"filter": {"and": []}},
        {"filter": {"segment": {"id": 5}}},
        {"filter": {"attribute": {"field": "a", "operator": "like"}}},
        {"filter": {"attribute": {"field": "a", "operator": "eq"}}},
        {"filter": {"nor": [has("a")]}},
        {"filter": has("a"), "more": 1},
    ],
)
def test_filters_that_are_refused(caller: Caller, body: Any) -> None:
    """What is no filter is a 400."""
    caller.batch(person("u_1", a=1))

    assert 400 == caller.ask("/v1/customers", body).status_code


# Relationships and descriptions.


def test_reading_relationships(standin: CustomerioStandIn, caller: Caller) -> None:
    """What a person is related to comes with its attributes, a page at a time, by any identifier."""
    related = {"cio_relationships": [{"identifiers": {"id": "u_1"}, "relationship_attributes": {"role": "admin"}}]}
    caller.batch(person("u_1", email="a+b@example.com"), *[thing(f"o_{n}") | related for n in range(3)])
    [cio_id] = standin.people

    first = caller.get("/v1/customers/u_1/relationships?limit=2").json()
    last = caller.get(f"/v1/customers/cio_{cio_id}/relationships?id_type=cio_id&start={first['next']}").json()

    assert [["o_0", "o_1"], ["o_2"]] == [
        [one["identifiers"]["object_id"] for one in page["cio_relationships"]] for page in (first, last)
    ]
    assert ("1", {"role": "admin"}) == (
        first["cio_relationships"][0]["object_type_id"],
        first["cio_relationships"][0]["relationship_attributes"],
    )
    assert "" == last["next"]
    by_email = caller.get("/v1/customers/A%2Bb@example.com/relationships?id_type=email").json()
    assert 3 == len(by_email["cio_relationships"])
    assert 404 == caller.get("/v1/customers/nobody/relationships").status_code
    for query in ("limit=101", "id_type=phone", "start=x"):
        assert 400 == caller.get(f"/v1/customers/u_1/relationships?{query}").status_code


def test_describing_attributes(standin: CustomerioStandIn, caller: Caller) -> None:
    """Descriptions of attributes are taken by the hundred, and kept."""
    path = "/v1/data_index/attributes"

    assert 204 == caller.ask(path, {"attributes": [{"name": "score", "description": "x" * 255}]}).status_code
    assert {"score": "x" * 255} == standin.described
    assert [400, 400, 400] == [
        caller.ask(path, body).status_code
        for body in ({}, {"attributes": []}, {"attributes": [{"name": f"a_{n}"} for n in range(101)]})
    ]
    for entry in ({"name": "a", "description": "x" * 256}, {"description": "x"}, "text"):
        answer = caller.ask(path, {"attributes": [{"name": "b"}, entry]})
        assert (422, "/attributes/1") == (answer.status_code, answer.json()["errors"][0]["source"]["pointer"])
    assert ["score"] == list(standin.described)
