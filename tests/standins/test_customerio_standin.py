"""The stand-in of customer.io is as strict, and as silent, as customer.io's documents say."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from destinations.standins.customerio import STAND_IN, CustomerioStandIn
from destinations.standins.customerio_parts.records import as_text
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


def test_it_is_the_one_that_is_found() -> None:
    """The sandbox finds the class by its name in the module, and needs nothing to make one."""

    assert CustomerioStandIn is STAND_IN
    assert "customerio" == STAND_IN().kind


def test_its_settings_are_toml(standin: CustomerioStandIn) -> None:
    """The settings lead back to this stand-in, both APIs under its prefix."""
    settings = tomllib.loads(standin.settings())

    assert standin.url == settings["track_url"] == settings["app_url"]
    assert standin.url.endswith("/cio")
    assert {"workspace": "1", "account": "2"} == settings["object_types"]


def test_its_seed(standin: CustomerioStandIn) -> None:
    """Nine of ten people are there with their email, and are no news; nobody without an id, and no object."""
    people = [{"user_id": f"u_{n}", "email": f"u_{n}@example.com", "name": None, "github": None} for n in range(100)]
    people[3]["user_id"] = None
    people[0]["name"] = "Ada"

    standin.seed(people, [{"workspace_id": "w", "name": "W"}], [{"account_id": "a", "name": "A", "domain": "a.io"}])

    assert 89 == len(standin.people)
    assert standin.person("u_0@EXAMPLE.com", "email") is not None
    assert {} == standin.objects
    assert "Ada" in [row.get("name") for row in standin.tables()[0].rows]
    assert not any(standin.tables()[0].changed)


def test_its_tables(standin: CustomerioStandIn, caller: Caller) -> None:
    """Newest change first, with the columns that it changed; a write without a change moves nothing."""
    caller.batch(person("u_1", plan="free", score=1), person("u_2", plan="free"), thing("w_1", name="Acme"))
    caller.batch(person("u_1", plan="free", score=2))
    caller.batch(person("u_2", plan="free"))

    people, workspaces, accounts = standin.tables()

    assert ["people", "workspaces", "accounts"] == [people.title, workspaces.title, accounts.title]
    assert ["id", "email", "plan", "score"] == people.columns
    assert [{"id": "u_1", "email": "", "plan": "free", "score": "2"}, {"id": "u_2", "email": "", "plan": "free"}] == (
        people.rows
    )
    assert [{"score"}, {"plan"}] == people.changed
    assert [{"object_id": "w_1", "name": "Acme"}] == workspaces.rows
    assert [] == accounts.rows


# Credentials and regions.


def test_keys_do_not_work_in_each_others_place(standin: CustomerioStandIn, caller: Caller) -> None:
    """A wrong key, or the other API's, is 401 on either side."""
    caller.track.auth = (standin.site_id, standin.app_key)
    caller.app.headers["Authorization"] = f"Bearer {standin.api_key}"

    assert 401 == caller.batch(person()).status_code
    assert 401 == caller.put("u_1").status_code
    assert 401 == caller.get("/v1/object_types").status_code
    assert {} == standin.people


def test_unknown_paths(caller: Caller) -> None:
    """What is not there is 404, with the status as text."""
    answer = caller.get("/v1/nothing")

    assert (404, "404") == (answer.status_code, answer.json()["errors"][0]["status"])


@pytest.mark.parametrize(
    ("lives_in", "host", "status", "location"),
    [
        ("us", "us", 200, None),
        ("eu", "eu", 200, None),
        ("eu", "us", 307, "https://track-eu.customer.io/api/v2/batch"),
        ("us", "eu", 401, None),
    ],
)
def test_regions(
    standin: CustomerioStandIn, caller: Caller, lives_in: Any, host: Any, status: int, location: str | None
) -> None:
    """An EU account is redirected from the US host, a US account fails in the EU, and the look-up always answers."""
    standin.region, standin.host_region, standin.redirect_status = lives_in, host, 307

    answer = caller.batch(person())
    look_up = caller.track.get(standin.url + "/api/v1/accounts/region")

    assert (status, location) == (answer.status_code, answer.headers.get("Location"))
    assert (200, lives_in) == (look_up.status_code, look_up.json()["region"])


# Validation.


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"batch": [', "application/json"),
        (b'{"batch": NaN}', "application/json"),
        (b"[]", "application/json"),
        (b"{}", "application/json"),
        (b'{"batch": []}', "application/json"),
        (b'{"batch": {}}', "application/json"),
        (b'{"batch": [1], "more": 1}', "application/json"),
        (json.dumps({"batch": [person()]}).encode(), "text/plain"),
    ],
)
def test_bodies_that_are_refused(standin: CustomerioStandIn, caller: Caller, body: bytes, content_type: str) -> None:
    """A batch has to be JSON, said to be JSON, and hold a list with something in it."""
    answer = caller.track.post(standin.url + "/api/v2/batch", data=body, headers={"Content-Type": content_type})

    assert 400 == answer.status_code
    assert {"reason", "field", "message"} == set(answer.json()["errors"][0])


BAD_OPERATIONS: list[tuple[Any, str, str]] = [
    ("text", "invalid", "batch"),
    ({"type": "person"}, "invalid", "action"),
    ({"type": "alien", "action": "identify"}, "invalid", "action"),
    ({"type": "person", "action": "identify"}, "required", "identifiers"),
    ({"type": "person", "action": "event", "identifiers": {"id": "1"}}, "required", "name"),
    (person() | {"colour": "red"}, "invalid", "colour"),
    (thing() | {"timestamp": 1}, "invalid", "timestamp"),
    (person() | {"timestamp": 1.5}, "invalid", "timestamp"),
    (person() | {"timestamp": True}, "invalid", "timestamp"),
    (person() | {"identifiers": "u_1"}, "invalid", "identifiers"),
    (person() | {"identifiers": {}}, "invalid", "identifiers"),
    (person() | {"identifiers": {"id": "1", "email": "a@example.com"}}, "invalid", "identifiers"),
    (person() | {"identifiers": {"user_id": "1"}}, "invalid", "identifiers"),
    (person() | {"identifiers": {"id": 1}}, "invalid", "identifiers"),
    (person(" "), "invalid", "identifiers"),
    (person("é" * 75 + "x"), "invalid", "identifiers"),
    (thing(type_id=1), "invalid", "identifiers"),
    (thing(type_id="9"), "invalid", "object_type_id"),
    (thing() | {"identifiers": {"object_id": "1"}}, "invalid", "identifiers"),
    (person() | {"attributes": []}, "invalid", "attributes"),
    (person(**{"é" * 75 + "x": 1}), "invalid", "attributes"),
    (person(plan="é" * 500 + "x"), "invalid", "attributes.plan"),
    (person(plan=["a"]), "invalid", "attributes.plan"),
    (person(plan={"a": 1}), "invalid", "attributes.plan"),
    (person(_update="yes"), "invalid", "attributes._update"),
    (person(**{f"a_{n}": n for n in range(301)}), "invalid", "attributes"),
    (person() | {"cio_relationships": {}}, "invalid", "cio_relationships"),
    (person() | {"cio_relationships": [{"identifiers": {"id": "1"}}]}, "invalid", "cio_relationships"),
    ({"type": "person", "action": "merge", "primary": {"id": "1"}, "secondary": {}}, "invalid", "secondary"),
]


@pytest.mark.parametrize(("operation", "reason", "place"), BAD_OPERATIONS)
def test_operations_that_are_refused(
    standin: CustomerioStandIn, caller: Caller, operation: Any, reason: str, place: str
) -> None:
    """A bad operation is named in a 207 with reason and field, and its neighbours are taken; alone it is a 400."""
    answer = caller.batch(person("before"), operation, person("after"))
    alone = caller.post("/api/v2/entity", operation)

    [error] = answer.json()["errors"]
    assert (207, 1, reason, place) == (answer.status_code, error["batch_index"], error["reason"], error["field"])
    assert ["before", "after"] == [one.identifiers["id"] for one in standin.people.values()]
    assert 400 == alone.status_code


def test_operations_that_are_taken(standin: CustomerioStandIn, caller: Caller) -> None:
    """Each type and action of the document is taken in its smallest form, at the limits of its values."""
    who = {"identifiers": {"id": "u_1"}}
    what = {"identifiers": {"object_type_id": "1", "object_id": "o_1"}}
    related_to_person, related_to_object = {"cio_relationships": [who]}, {"cio_relationships": [what]}
    operations = [
        person("é" * 75, **{"é" * 75: "é" * 500}, none=None, yes=True, half=0.5),
        person(**{f"a_{n}": n for n in range(300)}),
        {"type": "person", "action": "identify", **who, "timestamp": 1, **related_to_object},
        *({"type": "person", "action": action, **who} for action in ("delete", "suppress", "unsuppress")),
        *({"type": "person", "action": action, **who, "name": "n"} for action in ("event", "screen", "page")),
        *(
            {"type": "person", "action": f"{verb}_relationships", **who, **related_to_object}
            for verb in ("add", "delete")
        ),
        *({"type": "person", "action": f"{verb}_device", **who, "device": {}} for verb in ("add", "delete")),
        {"type": "person", "action": "merge", "primary": {"id": "u_1"}, "secondary": {"cio_id": "x"}},
        thing(name="Acme"),
        {"type": "object", "action": "identify_anonymous", **what},
        *(
            {"type": "object", "action": f"{verb}_relationships", **what, **related_to_person}
            for verb in ("add", "delete")
        ),
        {"type": "object", "action": "delete", **what},
        {"type": "delivery", "action": "event", "identifiers": {"id": "d"}, "name": "opened", "attributes": {}},
    ]

    answer = caller.batch(*operations)

    assert (200, {}) == (answer.status_code, answer.json())


def test_sizes(standin: CustomerioStandIn, caller: Caller) -> None:
    """A body above 500,000 bytes, and an item above 32,000, are refused; how is a switch."""
    large = person("large", **{f"a_{n}": "x" * 950 for n in range(35)})
    batch = [person(f"u_{n}", a="x" * 900) for n in range(600)]

    assert [0] == [one["batch_index"] for one in caller.batch(large, person()).json()["errors"]]
    assert 400 == caller.post("/api/v2/entity", large).status_code
    assert 400 == caller.batch(*batch).status_code
    standin.large_items, standin.too_large_status, standin.records_max = "request", 413, 10
    assert 400 == caller.batch(large, person()).status_code
    assert 413 == caller.batch(*batch).status_code
    assert 413 == caller.batch(*[person()] * 11).status_code
    assert 1 == len(standin.people)


def test_attributes_add_up(standin: CustomerioStandIn, caller: Caller) -> None:
    """A person has 300 attributes at most over all writes, and an object 100 KB of them."""
    caller.batch(person(**{f"a_{n}": n for n in range(200)}))
    for part in range(4):
        caller.batch(thing(**{f"a_{part}_{n}": "x" * 990 for n in range(25)}))

    assert 200 == caller.batch(person(**{f"a_{n}": n for n in range(100, 300)})).status_code
    assert 207 == caller.batch(person(one_more=1)).status_code
    assert 207 == caller.batch(thing(one_more="x" * 990)).status_code


# Behaviour.


def test_values_come_back_as_text(standin: CustomerioStandIn, caller: Caller) -> None:
    """Whatever went in, text comes out; null takes a person's attribute away, and an empty text does not."""
    caller.batch(person(n=30, half=0.5, yes=True, text="é", gone="x", empty="x"))
    caller.batch(person(gone=None, empty="", never=None))

    assert {"n": "30", "half": "0.5", "yes": "true", "text": "é", "empty": ""} == standin.person("u_1")
    assert ["", "1e-05", "null"] == [as_text(None), as_text(1e-05), as_text("null")]


def test_objects_lose_attributes_by_an_empty_text_too(standin: CustomerioStandIn, caller: Caller) -> None:
    """Null or "" removes an attribute of an object."""
    caller.batch(thing(a="x", b="x", c="x"))
    caller.batch(thing(a=None, b=""))

    assert {"c": "x"} == standin.object("1", "o_1")


def test_order_is_by_timestamp(standin: CustomerioStandIn, caller: Caller) -> None:
    """An older write does not win, not even over a removal; an equal one does; an unchanged value keeps its second."""
    caller.batch(person(a="new", b="new", c="same") | {"timestamp": 20})
    caller.batch(person(b=None, c="same") | {"timestamp": 30})
    caller.batch(person(a="old", b="old") | {"timestamp": 10})

    assert {"a": "new", "c": "same"} == standin.person("u_1")
    caller.batch(person(a="equal") | {"timestamp": 20})
    caller.batch(person(c="newer than the value, older than the write") | {"timestamp": 25})
    assert {"a": "equal", "c": "newer than the value, older than the write"} == standin.person("u_1")
    assert {"a": 20, "b": 30, "c": 25} == next(iter(standin.people.values())).timestamps


def test_update_only(standin: CustomerioStandIn, caller: Caller) -> None:
    """`_update` makes nobody, says 200, and leaves a line in the activity log, in v1 and v2."""
    statuses = [caller.batch(person(a=1, _update=True)).status_code, caller.put("u_2", a=1, _update=True).status_code]

    assert [200, 200] == statuses
    assert {} == standin.people
    assert 2 == len(standin.activity)


def test_an_id_joins_the_person_of_an_email(standin: CustomerioStandIn, caller: Caller) -> None:
    """An unknown id with a known email is that person from then on; emails have no case."""
    caller.put("Ada@example.com", a=1)

    caller.batch(person("u_1", email="ada@EXAMPLE.com", b=2))

    assert 1 == len(standin.people)
    assert {"a": "1", "b": "2"} == standin.person("u_1")


def test_two_people_in_one_write(standin: CustomerioStandIn, caller: Caller) -> None:
    """An id and an email of two people: 200, and nothing but a line in the activity log."""
    caller.put("u_1", email="one@example.com")
    caller.put("u_2", email="two@example.com")

    answer = caller.put("u_1", email="two@example.com", a=1)

    assert (200, {}, {}) == (answer.status_code, standin.person("u_1"), standin.person("u_2"))
    assert 1 == len(standin.activity)


@pytest.mark.parametrize("may_change", [False, True])
def test_an_email_that_changes(standin: CustomerioStandIn, caller: Caller, may_change: bool) -> None:
    """A new email by id needs a setting of the workspace; by cio_id it needs none."""
    standin.email_may_change_by_id = may_change
    caller.put("u_1", email="one@example.com")
    [cio_id] = standin.people

    caller.put("u_1", email="two@example.com", a=1)

    assert may_change == (standin.person("two@example.com", "email") is not None)
    caller.put(f"cio_{cio_id}", email="three@example.com")
    assert standin.person("three@example.com", "email") is not None
    assert standin.person("two@example.com", "email") is None


def test_people_by_phone(standin: CustomerioStandIn, caller: Caller) -> None:
    """A phone number finds its person in v2; in a v1 path it is taken for an id. A null email says nothing."""
    who = {"identifiers": {"phone": "+4312345"}}

    caller.batch(person(a=1, email=None) | who, person(b=2) | who)
    caller.put("+4312345", c=3)

    assert {"a": "1", "b": "2"} == standin.person("+4312345", "phone")
    assert {"c": "3"} == standin.person("+4312345")


def test_unknown_ids_of_its_own(standin: CustomerioStandIn, caller: Caller) -> None:
    """A cio_id or cio_object_id that does not exist is dropped behind a 200."""
    answer = caller.batch(
        person() | {"identifiers": {"cio_id": "none"}}, thing() | {"identifiers": {"cio_object_id": "none"}}
    )

    assert 200 == answer.status_code
    assert {} == standin.people | standin.objects
    assert 2 == len(standin.activity)


def test_relationships(standin: CustomerioStandIn, caller: Caller) -> None:
    """People and objects are related from either end, and what is deleted is related no more."""
    related = {"cio_relationships": [{"identifiers": {"id": "u_1"}, "relationship_attributes": {"role": "admin"}}]}
    caller.batch(person("u_1"), person("u_2"), thing() | related)
    [u_1, u_2] = standin.people
    other_end = {"cio_relationships": [{"identifiers": {"object_type_id": "1", "object_id": "o_1"}}]}
    caller.batch({"type": "person", "action": "add_relationships", "identifiers": {"id": "u_2"}, **other_end})

    assert {(u_1, ("1", "o_1")): {"role": "admin"}, (u_2, ("1", "o_1")): {}} == standin.relationships
    caller.track.delete(standin.url + "/api/v1/customers/u_1")
    assert [(u_2, ("1", "o_1"))] == list(standin.relationships)
    caller.batch({"type": "object", "action": "delete", "identifiers": thing()["identifiers"]})
    assert {} == standin.relationships


@pytest.mark.parametrize("record", [False, True])
@pytest.mark.parametrize("related", [False, True])
def test_relating_what_is_not_there(standin: CustomerioStandIn, caller: Caller, record: bool, related: bool) -> None:
    """Whether relating makes the record, or the one it is related to, are two switches; `_update` makes neither."""
    standin.relating_makes_record, standin.relating_makes_related = record, related
    what = {"cio_relationships": [{"identifiers": {"object_type_id": "1", "object_id": "o_1"}}]}

    caller.batch(person("u_1", _update=True) | what)
    assert ({}, {}) == (standin.people, standin.objects)

    caller.batch({"type": "person", "action": "add_relationships", "identifiers": {"id": "u_1"}, **what})
    assert (record, related) == (len(standin.people) == 1, len(standin.objects) == 1)
    assert ({"u_1"} if record and related else set()) == standin.related("1", "o_1")


def test_merging(standin: CustomerioStandIn, caller: Caller) -> None:
    """The second person goes, and the first keeps what it has and gains the rest."""
    caller.batch(person("u_1", a=1), person("u_2", a=2, b=2))

    caller.batch({"type": "person", "action": "merge", "primary": {"id": "u_1"}, "secondary": {"id": "u_2"}})

    assert {"a": "1", "b": "2"} == standin.person("u_1")
    assert standin.person("u_2") is None


def test_writes_are_applied_later(standin: CustomerioStandIn, caller: Caller, clock: Clock) -> None:
    """With a delay a read right after a write still finds what was."""
    standin.applies_after_seconds = 10

    assert 200 == caller.batch(person(a=1)).status_code
    assert standin.person("u_1") is None
    clock.now += 10
    assert {"a": "1"} == standin.person("u_1")


def test_the_rate(standin: CustomerioStandIn, caller: Caller, clock: Clock) -> None:
    """Requests of a second are counted over v1 and v2 together, and apart for the App API."""
    standin.track_requests_max = standin.app_requests_max = 2

    assert [200, 200, 429] == [
        caller.put("u_1").status_code,
        caller.batch(person()).status_code,
        caller.put("u_1").status_code,
    ]
    assert [200, 200, 429] == [caller.get("/v1/object_types").status_code for _ in range(3)]
    clock.now += 1
    assert 200 == caller.put("u_1").status_code


# Track v1.


@pytest.mark.parametrize(
    ("identifier", "attributes"),
    [
        (" ", {}),
        ("x" * 151, {}),
        ("u_1", {"id": 7}),
        ("u_1", {"a": "x" * 1001}),
        ("u_1", {"x" * 151: 1}),
        ("u_1", {f"a_{n}": n for n in range(301)}),
        ("u_1", {"_timestamp": "now"}),
    ],
)
@pytest.mark.parametrize("is_list", [False, True])
def test_v1_refusals(
    standin: CustomerioStandIn, caller: Caller, identifier: str, attributes: dict[str, Any], is_list: bool
) -> None:
    """v1 refuses with a text in `meta`, in either of its two forms."""
    standin.v1_errors_are_a_list = is_list

    answer = caller.put(identifier, **attributes)

    assert (400, {"errors" if is_list else "error"}) == (answer.status_code, set(answer.json()["meta"]))
    assert {} == standin.people


def test_v1_writes_and_deletes(standin: CustomerioStandIn, caller: Caller) -> None:
    """A person is made, changed with an order, and deleted, also twice; floats are a switch."""
    caller.put("u/1", a=1, _timestamp=20)
    caller.put("u/1", a=2, _timestamp=10)

    assert {"a": "1"} == standin.person("u/1")
    assert 200 == caller.put("u/1", b=0.5).status_code
    standin.v1_takes_floats = False
    assert 400 == caller.put("u/1", b=0.5).status_code
    for _ in range(2):
        assert 200 == caller.track.delete(standin.url + "/api/v1/customers/u%2F1").status_code
    assert {} == standin.people


# App API.


def test_reading_a_person(standin: CustomerioStandIn, caller: Caller) -> None:
    """Attributes as text with their seconds, by each kind of identifier; 404 for nobody."""
    caller.batch(person("u/1", email="a+b@example.com", a=1, gone=1) | {"timestamp": 20})
    caller.batch(person("u/1", gone=None) | {"timestamp": 21})
    [cio_id] = standin.people

    found = caller.get("/v1/customers/u%2F1/attributes").json()["customer"]

    assert {"email": "a+b@example.com", "id": "u/1", "cio_id": cio_id} == found["identifiers"]
    assert ({"a": "1"}, {"a": 20}) == (found["attributes"], found["timestamps"])
    for identifier, kind in (("A%2Bb@example.com", "email"), (cio_id, "cio_id"), (f"cio_{cio_id}", "cio_id")):
        assert found == caller.get(f"/v1/customers/{identifier}/attributes?id_type={kind}").json()["customer"]
    assert 404 == caller.get("/v1/customers/nobody/attributes?id_type=id").status_code
    assert 400 == caller.get("/v1/customers/1/attributes?id_type=phone").status_code


def test_looking_for_an_email(caller: Caller) -> None:
    """An email is found without its case; a plus that is not encoded finds nobody, in silence."""
    caller.batch(person("u_1", email="a+b@example.com"))

    assert ["u_1"] == [one["id"] for one in caller.get("/v1/customers?email=A%2Bb@example.com").json()["results"]]
    assert [] == caller.get("/v1/customers?email=a+b@example.com").json()["results"]
    assert 400 == caller.get("/v1/customers").status_code


@pytest.mark.parametrize("is_wrapped", [True, False])
def test_reading_many_people(standin: CustomerioStandIn, caller: Caller, is_wrapped: bool) -> None:
    """Up to a hundred at once, unknown ones left out, in either of the two forms that are known."""
    standin.bulk_is_wrapped = is_wrapped
    caller.batch(person("u_1", a=1), person("u_2", a=2))

    def read(ids: Any) -> requests.Response:
        return caller.app.post(standin.url + "/v1/customers/attributes?id_type=id", json={"ids": ids})

    found = read(["u_1", "nobody", "u_2"]).json()["customers"]
    assert ["1", "2"] == [(one["customer"] if is_wrapped else one)["attributes"]["a"] for one in found]
    assert [400, 400, 400] == [read(ids).status_code for ids in (["u_1"] * 101, [], [1])]
    assert 200 == read(["u_1"] * 100).status_code


def test_reading_an_object(standin: CustomerioStandIn, caller: Caller) -> None:
    """An object is read by its type and id, or by customer.io's own id; 404 when there is none."""
    caller.batch(thing("o/1", "2", a=1))
    [made] = standin.objects.values()

    found = caller.get("/v1/objects/2/o%2F1/attributes?id_type=object_id").json()["object"]

    assert ({"a": "1"}, "2") == (found["attributes"], found["object_type_id"])
    assert {"object_type_id": "2", "object_id": "o/1", "cio_object_id": made.cio_id} == found["identifiers"]
    assert found == caller.get(f"/v1/objects/2/{made.cio_id}/attributes?id_type=cio_object_id").json()["object"]
    assert 404 == caller.get("/v1/objects/1/o%2F1/attributes").status_code


def test_object_types(caller: Caller) -> None:
    """The object types are listed with id and name."""
    types = caller.get("/v1/object_types").json()["types"]

    assert [("1", "Workspaces"), ("2", "Accounts")] == [(one["id"], one["name"]) for one in types]


@pytest.mark.parametrize(
    "value", ["\x01" * 4, "\U0001f600", "é", '"', False, None, 1e15, -(10**18), [], {}, [False] * 9]
)
def test_items_are_measured_to_the_character(value: Any, standin: CustomerioStandIn, caller: Caller) -> None:
    """Whatever an item is made of, it may have as many characters as is allowed, and not one more."""
    item = person("u_1", cio_subscription_preferences={"few": [value] * 12})
    standin.item_bytes_max = len(json.dumps(item))

    assert 200 == caller.batch(item).status_code

    standin.item_bytes_max -= 1

    assert ["the operation is larger than 32kb"] == [one["message"] for one in caller.batch(item).json()["errors"]]
