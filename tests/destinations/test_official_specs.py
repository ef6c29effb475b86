"""A second judge: what the adapters send, held against the vendors' own documents.

The stand-ins are ours, and could share a misunderstanding with the adapters. Parts of the vendors' OpenAPI documents
are in tests/data/specs, with their origins. They are stricter than life in two places and laxer in one; each is
said where it is adapted.
"""

from __future__ import annotations

import datetime
import itertools
import json
import re
import threading
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from destinations.customerio import Customerio
from destinations.customerio_parts.relations import RELATED_PEOPLE
from destinations.customerio_parts.settings import CustomerioSettings
from destinations.orbit import Orbit, OrbitSettings
from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.orbit import OrbitStandIn
from destinations.standins.server import Answer, Request, Server, StandIn
from syncer.change import Change, Kind, Outcome, Relation, Value, Wanted
from syncer.destination import Destination, Pace
from syncer.mapping import Brakes, Field, Sync
from syncer.transport import Gate, Transport

SPECS = Path(__file__).parents[1] / "data" / "specs"

MOMENT = datetime.datetime(2026, 2, 28, 23, 59, 58, tzinfo=datetime.UTC)
VALUES: Sequence[Value] = (
    None, "", "hot", "Zoë 🚀 \\ \"'<&>\n", 0, -7, 2**53 + 1, 0.5, 41.0, True, False, MOMENT.date(), MOMENT,
)  # fmt: skip


class Judge:
    """One document. Requests are matched to its paths and methods, and everything else follows from those."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.operations = {(path, method) for path, methods in document["paths"].items() for method in methods}
        self.seen: set[tuple[str, str]] = set()

    def objections(self, request: Request) -> list[str]:
        """What the document has against a request."""
        path, names = self._path(request.path)
        operation = self.document["paths"].get(path, {}).get(request.method.lower())
        if operation is None:
            return [f"there is no {request.method} {request.path}"]
        self.seen.add((path, request.method.lower()))
        return [
            *self._about_parameters(operation, names, request.query),
            *self._about_credentials(operation, request),
            *self._about_body(operation, request),
        ]

    def objections_to_answer(self, request: Request, status: int, answer: bytes) -> list[str]:
        """What the document has against an answer of that status; an answer that it does not describe is none."""
        path, _ = self._path(request.path)
        responses = self.document["paths"][path][request.method.lower()]["responses"]
        if str(status) not in responses:
            return [f"{request.method} {path} never answers {status}"]
        schema = responses[str(status)].get("content", {}).get("application/json", {}).get("schema", {})
        return self._against(schema, json.loads(answer))

    def _path(self, path: str) -> tuple[str, dict[str, str]]:
        """The path of the document and the names in it; one without names comes before one with them."""
        for candidate in sorted(self.document["paths"], key=lambda one: one.count("{")):
            pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(candidate))
            if found := re.fullmatch(pattern, path):
                return candidate, found.groupdict()
        return "", {}

    def _about_parameters(
        self, operation: Mapping[str, Any], names: Mapping[str, str], query: Mapping[str, list[str]]
    ) -> Iterator[str]:
        known = {(one["in"], one["name"]): one for one in operation.get("parameters", [])}
        given = [("path", name, value) for name, value in names.items()]
        given += [("query", name, value) for name, values in query.items() for value in values]
        for place, name, value in given:
            if (place, name) not in known:
                yield f"there is no {name} in the {place}"
            else:
                yield from self._against(known[place, name]["schema"], value)
        for place, name in known.keys() - {(place, name) for place, name, _ in given}:
            if known[place, name].get("required"):
                yield f"{name} is missing in the {place}"

    def _about_credentials(self, operation: Mapping[str, Any], request: Request) -> Iterator[str]:
        [(name, _)] = operation["security"][0].items()
        scheme = self.document["components"]["securitySchemes"][name]["scheme"]
        if not request.headers.get("authorization", "").lower().startswith(f"{scheme} "):
            yield f"the credentials are not {scheme}"

    def _about_body(self, operation: Mapping[str, Any], request: Request) -> Iterator[str]:
        if "requestBody" not in operation:
            if request.body:
                yield "there is a body"
            return
        kind = request.headers.get("content-type", "").partition(";")[0]
        if kind not in operation["requestBody"]["content"]:
            yield f"the body is {kind or 'of no kind'}"
            return
        yield from self._against(operation["requestBody"]["content"][kind]["schema"], request.json())

    def _against(self, schema: Mapping[str, Any], value: Any) -> list[str]:
        # The schema points into the document, so both have to be one.
        whole = {**self.document, "$defs": {"judged": schema}, "$ref": "#/$defs/judged"}
        return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(whole).iter_errors(value)]


def customerio_document() -> dict[str, Any]:
    """Customer.io's document, closed: as it is, it would let a misspelt key of an operation pass.

    Open, it is stricter in one place too: a person in a relationship is one of three schemas that all fit any person.
    """
    document: dict[str, Any] = json.loads((SPECS / "customerio-track.json").read_text())
    schema = document["paths"]["/api/v2/batch"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    schema |= {"additionalProperties": False, "required": ["batch"]}
    for operation in schema["properties"]["batch"]["items"]["anyOf"]:
        operation["unevaluatedProperties"] = False
    schemas = document["components"]["schemas"]
    for related in (schemas["object_relationships"], schemas["v2_cio_relationships"]):
        # Nothing at all would do as a relationship, and as a person in one.
        related["items"] |= {"unevaluatedProperties": False, "required": ["identifiers"]}
    for person in schemas["v2_cio_relationships"]["items"]["properties"]["identifiers"]["oneOf"]:
        person |= {"additionalProperties": False, "required": list(person["properties"])}
    return document


def orbit_document() -> dict[str, Any]:
    """Orbit's document, closed as well, and with two schemas as wide as the document itself says elsewhere."""
    document: dict[str, Any] = json.loads((SPECS / "orbit.json").read_text())
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        # One that only says which of two others it is has no keys of its own to close.
        if "properties" in schema:
            schema["additionalProperties"] = False
    member = schemas["member"]["properties"]
    for name in ("tags", "tags_to_add"):
        # The schema says text; the description beside it says "comma-separated string or array".
        assert member[name]["description"].endswith("comma-separated string or array")
        member[name] = {"anyOf": [member[name], {"type": "array", "items": {"type": "string"}}]}
    for name, schema in member.items():
        # The schemas know no null, and the sample answers are full of it: that is how an empty text looks there.
        # A boolean is never null in them, so `teammate` stays as it is.
        if schema.get("type") == "string":
            member[name] = {**schema, "type": ["string", "null"]}
    return document


def transport_in_a_hurry() -> Transport:
    return Transport(Gate(Pace(100_000, 1.0)), title="The service", stop=threading.Event(), timeout=10, attempts=1)


def sync_of(fields: Iterable[str], **settings: Any) -> Sync:
    return Sync.model_validate(
        {
            "name": "service.judged",
            "destination": "service",
            "source": "activation.users",
            "key": "user_id",
            "fields": tuple(
                Field(name=name, column=name, type="text" if name.startswith("tag:") else None) for name in fields
            ),
            "brakes": Brakes(),
            "file": Path("service.toml"),
        }
        | settings
    )


def pushed(adapter: Destination, sync: Sync, changes: Sequence[Change]) -> list[Outcome]:
    """Pushes one batch of a mapping that the adapter has nothing against."""
    assert [] == [str(problem) for problem in adapter.refuse(sync)]
    return list(adapter.push(sync, changes))


def judged(judge: Judge, standin: StandIn) -> dict[str, list[str]]:
    """Requests that the judge objects to, with the objections."""
    found = {}
    for number, exchange in enumerate(standin.log):
        if objections := judge.objections(exchange.request):
            found[f"{number} {exchange.request.method} {exchange.request.path}"] = objections
    return found


# customer.io.


@pytest.fixture
def customerio() -> Iterator[CustomerioStandIn]:
    standin = CustomerioStandIn()
    with Server({"": standin}):
        yield standin


def customerio_adapter(standin: CustomerioStandIn) -> Customerio:
    settings = tomllib.loads(standin.settings())
    # The App API, which the other key is for, has a document of its own.
    del settings["app_key"]
    return Customerio("customerio", CustomerioSettings.model_validate(settings), transport_in_a_hurry())


def customerio_changes(match: Mapping[str, str], removed: str) -> list[Change]:
    """New, changed and gone, with a field for each of the values."""
    fields = {f"field_{number}": value for number, value in enumerate(VALUES)}
    gone: dict[str, Value] = {} if removed == "delete" else dict.fromkeys(fields)
    kinds: list[tuple[Kind, dict[str, Value]]] = [("new", fields), ("changed", fields), ("removed", gone)]
    return [Change(f"key-{number}", kind, match, sent, {}) for number, (kind, sent) in enumerate(kinds)]


IDENTIFIERS = {"id": "u_1", "email": "ada@example.com", "cio_id": "a3000001"}
PEOPLE = [
    ({identifier: value}, missing)
    for (identifier, value), missing in itertools.product(IDENTIFIERS.items(), ("skip", "create"))
    # Nobody can be created by an id that customer.io gives itself.
    if (identifier, missing) != ("cio_id", "create")
]


@pytest.mark.parametrize("removed", ["clear", "delete"])
def test_customerio_would_take_our_requests(customerio: CustomerioStandIn, removed: str) -> None:
    """Everything that is sent for people and objects is what the vendor's document describes, to the last key."""
    judge = Judge(customerio_document())
    fields = [f"field_{number}" for number in range(len(VALUES))]
    customerio.seed([{"user_id": "u_1", "email": "ada@example.com"}], [], [])
    adapter = customerio_adapter(customerio)
    for match, missing in PEOPLE:
        sync = sync_of(fields, object="person", match=dict.fromkeys(match, "x"), missing=missing, removed=removed)
        pushed(adapter, sync, customerio_changes(match, removed))
    for match, missing in (({"object_id": "acme"}, "create"), ({"cio_object_id": "ob000001"}, "skip")):
        sync = sync_of(fields, object="1", match=dict.fromkeys(match, "x"), missing=missing, removed=removed)
        pushed(adapter, sync, customerio_changes(match, removed))
    list(adapter.check(sync))

    assert {} == judged(judge, customerio)
    assert judge.operations == judge.seen


def customerio_relation_changes(match: Mapping[str, str], name: str, related: str) -> list[Change]:
    """Each way in which relationships may come and go, with attributes and without."""
    both = Relation((related, f"{related}2"), (f"{related}3",))
    comes, goes = Relation(add=(related,)), Relation(remove=(related,))
    kinds: list[tuple[Kind, Relation, dict[str, Value]]] = [
        (kind, relation, fields)
        for kind in ("new", "changed", "removed")
        for relation in (both, comes, goes)
        for fields in ({}, {"band": None if kind == "removed" else "hot"})
    ]
    return [
        Change(f"key-{number}", kind, match, fields, {}, relations={name: relation})
        for number, (kind, relation, fields) in enumerate(kinds)
    ]


@pytest.mark.parametrize("removed", ["clear", "delete"])
def test_customerio_would_take_our_relationships(customerio: CustomerioStandIn, removed: str) -> None:
    """Relationships from either end, of records by every identifier, are what the document describes."""
    judge = Judge(customerio_document())
    adapter = customerio_adapter(customerio)
    people = [(match, missing, name) for match, missing in PEOPLE for name in ("workspace", "2", "object:2")]
    for match, missing, name in people:
        changes = customerio_relation_changes(match, name, "acme")
        settings = {"object": "person", "match": dict.fromkeys(match, "x"), "missing": missing, "removed": removed}
        pushed(adapter, sync_of(["band"], relate={name: "x"}, **settings), changes)
    for match, missing in (({"object_id": "acme"}, "create"), ({"cio_object_id": "ob000001"}, "skip")):
        for name, identifier in RELATED_PEOPLE.items():
            changes = customerio_relation_changes(match, name, IDENTIFIERS[identifier])
            settings = {"object": "1", "match": dict.fromkeys(match, "x"), "missing": missing, "removed": removed}
            pushed(adapter, sync_of(["band"], relate={name: "x"}, **settings), changes)

    assert {} == judged(judge, customerio)
    actions = {(one["type"], one["action"]) for exchange in customerio.log for one in exchange.request.json()["batch"]}
    expected = {(kind, action) for kind in ("person", "object") for action in ("identify", "delete_relationships")}
    # A person without attributes gets an object by `add_relationships` only where people may be made.
    expected |= {("person", "add_relationships"), ("object", "add_relationships")}
    expected |= {("person", "delete"), ("object", "delete")} if removed == "delete" else set()
    assert expected == actions


def test_customerio_stand_in_answers_as_documented(customerio: CustomerioStandIn) -> None:
    """The stand-in's answers to good, bad and partly bad batches have the form that the document gives them."""
    judge = Judge(customerio_document())
    adapter = customerio_adapter(customerio)
    sync = sync_of(["band"], object="person", match={"id": "x"}, missing="create")
    good, bad = (Change(key, "new", {"id": key}, {"band": key * 300}, {}) for key in ("ok", "too long"))
    pushed(adapter, sync, [good])
    pushed(adapter, sync, [good, bad])
    statuses = [exchange.status for exchange in customerio.log]

    assert [200, 207] == statuses
    assert [[], []] == [judge.objections_to_answer(one.request, one.status, one.answer) for one in customerio.log]


# Orbit.


@pytest.fixture
def orbit() -> Iterator[OrbitStandIn]:
    standin = OrbitStandIn()
    with Server({"": standin}):
        yield standin


def orbit_adapter(standin: OrbitStandIn) -> Orbit:
    settings = tomllib.loads(standin.settings()) | {"activity": "activation:step_changed"}
    return Orbit("orbit", OrbitSettings.model_validate(settings), transport_in_a_hurry())


ORBIT_TEXTS = (
    "bio", "birthday", "company", "location", "name", "pronouns", "shipping_address", "slug", "title", "tshirt", "url",
)  # fmt: skip
ORBIT_IDENTIFIERS = (
    "email", "github", "twitter", "discourse", "linkedin", "devto", "warehouse:uid", "discourse@forum.acme.dev",
    "github:uid",
)  # fmt: skip


def orbit_changes(identifier: str, value: str) -> list[Change]:
    """One member's life: made with tags and texts, changed, and emptied."""
    texts: dict[str, Value] = {name: f"{name} of it" for name in ORBIT_TEXTS}
    texts |= {"birthday": MOMENT.date(), "title": MOMENT, "slug": f"slug-{identifier}"}
    emptied: dict[str, Value] = {name: None for name in texts if name not in ("name", "slug")}
    steps: list[tuple[Kind, dict[str, Value]]] = [
        ("new", {**texts, "teammate": True, "tag:activation": "cold", "tag:plan": "free"}),
        ("changed", {"teammate": False, "tag:activation": "hot", "company": "ACME"}),
        ("removed", {**emptied, "tag:activation": None, "tag:plan": None}),
    ]
    return [
        Change(f"{identifier}-{n}", kind, {identifier: value}, fields, {}) for n, (kind, fields) in enumerate(steps)
    ]


def test_orbit_would_take_our_requests(orbit: OrbitStandIn) -> None:
    """Finding, making, telling, changing, emptying, listing and checking are what the vendor's document describes."""
    judge = Judge(orbit_document())
    adapter = orbit_adapter(orbit)
    fields = (*ORBIT_TEXTS, "teammate", "tag:activation", "tag:plan")
    known = orbit.add(name="Ada", email="ada@example.com", tags=["vip"])
    for identifier in ORBIT_IDENTIFIERS:
        value = "eve+1@example.com" if identifier == "email" else "Eve & Ørsted/1"
        sync = sync_of(fields, object="member", match={identifier: "x"}, missing="create", removed="clear")
        outcomes = pushed(adapter, sync, orbit_changes(identifier, value))
        assert {"accepted"} == {outcome.result for outcome in outcomes}
    by_id = sync_of(fields, object="member", match={"id": "x"}, removed="clear")
    pushed(adapter, by_id, orbit_changes("id", known.id)[1:])
    # So many strangers that the list of members is read instead of asking for each.
    strangers = [Change(f"s-{n}", "new", {"email": f"s{n}@example.com"}, {"bio": "x"}, {}) for n in range(25)]
    by_email = sync_of(["bio"], object="member", match={"email": "x"})
    pushed(adapter, by_email, strangers)
    # Reading back: one by one, and by the list.
    for count in (1, 25):
        list(adapter.read(by_email, [Wanted(change.key, change.match) for change in strangers[:count]]))
    list(adapter.read(by_id, [Wanted("k", {"id": known.id})]))
    assert [] == list(adapter.check(by_id))

    assert {} == judged(judge, orbit)
    assert judge.operations == judge.seen


def orbit_sample(path: str, method: str, status: int) -> Answer:
    """An answer that the vendor's document shows."""
    responses = orbit_document()["paths"][path][method]["responses"]
    return Answer(status, responses[str(status)]["content"]["application/json"]["example"])


MEMBERS = "/{workspace_slug}/members"


def test_orbit_adapter_reads_the_sample_of_a_member(orbit: OrbitStandIn) -> None:
    """The document's own sample answers, real ones of the service, are understood: who it is, and what it holds."""
    found = orbit_sample(f"{MEMBERS}/find", "get", 200)
    orbit.trouble("dropped", when=lambda request: "find" in request.path, answer=found)
    orbit.trouble("dropped", when=lambda request: request.method == "PUT", answer=Answer(204))
    change = Change("k", "changed", {"github": "dzello"}, {"company": "orbit", "bio": "Hello"}, {})
    sync = sync_of(["company", "bio"], object="member", match={"github": "x"})

    assert [Outcome("k", "accepted")] == pushed(orbit_adapter(orbit), sync, [change])
    written = orbit.log[-1].request
    # What the sample holds already is not written.
    assert ("/acme/members/rRxS6X", {"bio": "Hello"}) == (written.path, written.json())


def test_orbit_adapter_reads_the_sample_of_nobody(orbit: OrbitStandIn) -> None:
    """The document's 404 is a missing member, and its 422 is a refusal with its words."""
    orbit.trouble(
        "dropped", when=lambda request: "find" in request.path, answer=orbit_sample(f"{MEMBERS}/find", "get", 404)
    )
    change = Change("k", "new", {"github": "dzello"}, {"bio": "Hello"}, {})
    sync = sync_of(["bio"], object="member", match={"github": "x"})

    assert ["missing"] == [outcome.code for outcome in pushed(orbit_adapter(orbit), sync, [change])]

    orbit.trouble("dropped", when=lambda request: request.method == "POST", answer=orbit_sample(MEMBERS, "post", 422))
    [refusal] = pushed(orbit_adapter(orbit), sync.model_copy(update={"missing": "create"}), [change])
    assert ("rejected", "422_email_name") == (refusal.result, refusal.code)
    assert "email is invalid" in refusal.message


def test_orbit_adapter_reads_the_sample_of_a_refused_activity(orbit: OrbitStandIn) -> None:
    """The document's 422 to an activity is a refusal of the record with its words, and no tag is written."""
    path = f"{MEMBERS}/{{member_slug}}/activities"
    orbit.trouble("status", when=lambda request: "activities" in request.path, answer=orbit_sample(path, "post", 422))
    member = orbit.add(email="ada@example.com")
    change = Change("k", "new", {"email": "ada@example.com"}, {"tag:activation": "hot"}, {})
    [refusal] = pushed(
        orbit_adapter(orbit), sync_of(["tag:activation"], object="member", match={"email": "x"}), [change]
    )

    assert ("rejected", "custom_title can't be blank") == (refusal.result, refusal.message)
    assert [] == member.tags


# The judge.


def request_of(method: str, path: str, query: str = "", body: Any = None, **headers: str) -> Request:
    sent = {"authorization": "Bearer x", "content-type": "application/json"} | headers
    return Request(method, path, query, sent, b"" if body is None else json.dumps(body).encode())


def customerio_batch(**changed: Any) -> Request:
    operation = {"type": "person", "action": "identify", "identifiers": {"id": "1"}, "attributes": {}} | changed
    return request_of("POST", "/api/v2/batch", body={"batch": [operation]}, authorization="Basic x")


def customerio_relating(related: Any, **changed: Any) -> Request:
    whose = {"type": "object", "identifiers": {"object_type_id": "1", "object_id": "1"}}
    operation = {**whose, "action": "add_relationships", "cio_relationships": related} | changed
    return request_of("POST", "/api/v2/batch", body={"batch": [operation]}, authorization="Basic x")


@pytest.mark.parametrize(
    "bad",
    [
        customerio_batch(type="persons"),
        customerio_batch(action="identity"),
        customerio_batch(identifiers={}),
        customerio_batch(identifiers={"id": 1}),
        customerio_batch(identifiers={"id": "1", "email": "ada@example.com"}),
        customerio_batch(attributes=[]),
        customerio_batch(attributes={"_update": "true"}),
        customerio_batch(timestamp="2026-02-28T00:00:00Z"),
        customerio_batch(attribute={}),
        customerio_batch(type="object", identifiers={"object_id": "1"}),
        customerio_batch(cio_relationships={}),
        customerio_batch(cio_relationships=[{"identifiers": {"id": "1"}}]),
        customerio_batch(cio_relationships=[{"identifiers": {"object_id": "1"}}]),
        customerio_batch(cio_relationships=[{"identifiers": {"object_type_id": 1, "object_id": "1"}}]),
        customerio_batch(cio_relationships=[{"identifiers": {"object_type_id": "1", "object_id": "1"}, "to": "x"}]),
        customerio_relating([{"identifiers": {"phone": "1"}}]),
        customerio_relating([{"identifiers": {"id": "1", "email": "ada@example.com"}}]),
        customerio_relating([{"identifiers": {}}]),
        customerio_relating([{}]),
        customerio_relating("u_1"),
        customerio_relating([{"identifiers": {"id": "1"}}], timestamp=1),
        customerio_relating([{"identifiers": {"id": "1"}}], attributes={}),
        request_of("POST", "/api/v2/batch", body=[], authorization="Basic x"),
        request_of("POST", "/api/v2/batch", body={}, authorization="Basic x"),
        request_of("POST", "/api/v2/batch", body={"batch": []}),
        request_of("PUT", "/api/v2/batch", body={"batch": []}, authorization="Basic x"),
        request_of("POST", "/api/v2/batches", body={"batch": []}, authorization="Basic x"),
        request_of("GET", "/api/v1/accounts/region", "site=1", authorization="Basic x"),
    ],
)
def test_judge_of_customerio_objects(bad: Request) -> None:
    """A request with one thing wrong is objected to; the same one with nothing wrong is not."""
    judge = Judge(customerio_document())

    assert [] == judge.objections(customerio_batch())
    assert [] == judge.objections(customerio_relating([{"identifiers": {"id": "1"}}]))
    assert judge.objections(bad)


def orbit_put(**member: Any) -> Request:
    return request_of("PUT", "/acme/members/abc", body=member)


def orbit_activity(**changed: Any) -> Request:
    activity = {"title": "x", "activity_type_key": "a:b", "key": "k", "weight": "0", "properties": {"from": ""}}
    return request_of("POST", "/acme/members/abc/activities", body=activity | changed)


@pytest.mark.parametrize(
    "bad",
    [
        orbit_put(score=41),
        orbit_put(bio=41),
        orbit_put(teammate="true"),
        orbit_put(teammate=None),
        orbit_put(tags=[1]),
        orbit_put(member={"bio": "x"}),
        request_of("PATCH", "/acme/members/abc", body={"bio": "x"}),
        request_of("PUT", "/acme/members/abc", body={"bio": "x"}, authorization="Token x"),
        request_of("PUT", "/acme/members/abc", body={"bio": "x"}, **{"content-type": "text/plain"}),
        request_of("POST", "/acme/members", body={"member": {}, "identity": {"email": "ada@example.com"}}),
        request_of("POST", "/acme/members", body={"bio": "x"}),
        request_of("GET", "/acme/members/find", "mail=x"),
        request_of("GET", "/acme/members", "items=25"),
        orbit_activity(weight=0),
        orbit_activity(mood="good"),
        orbit_activity(properties="warm"),
        orbit_activity(title=None),
        request_of("POST", "/acme/members/abc/activities", body={"activity": {"title": "x"}}),
        request_of("POST", "/acme/members/abc/activities", body={"key": "k"}),
        request_of("GET", "/acme/members", body={}),
    ],
)
def test_judge_of_orbit_objects(bad: Request) -> None:
    """A request with one thing wrong is objected to; the same one with nothing wrong is not."""
    judge = Judge(orbit_document())

    assert [] == judge.objections(orbit_put(bio="x", company=None, teammate=True, tags=["a"], tags_to_add="a,b"))
    assert [] == judge.objections(orbit_activity())
    assert judge.objections(bad)
