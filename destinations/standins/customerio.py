"""A strict stand-in of customer.io: Track API v1 and v2 for writing, and the reading part of the App API.

It keeps people and objects, refuses what customer.io's documents refuse (counting bytes, not characters), and
passes in silence over what customer.io passes over in silence; such silence is written to `activity`, as
customer.io writes it to its activity log. Where the documents leave open what happens, an attribute of the
stand-in says which way it goes, with the likelier one as default. Devices, events, suppression and deliveries are
checked and have no effect.

Documents: https://docs.customer.io/integrations/api/track/ · https://docs.customer.io/integrations/api/app/ ·
https://docs.customer.io/journeys/invalid-api-requests · https://docs.customer.io/journeys/people/manage/attributes
"""

from __future__ import annotations

import base64
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal

from destinations.standins.customerio_parts.records import Record, as_text
from destinations.standins.customerio_parts.validation import (
    IDENTIFIER_BYTES_MAX,
    Refusal,
    Validation,
    is_larger,
    refuse_attributes,
)
from destinations.standins.server import Answer, Request, StandIn, Table

IDS_MAX = 100
"""People that one reading request may name."""
TRACK_HOSTS = {"us": "https://track.customer.io", "eu": "https://track-eu.customer.io"}


class CustomerioStandIn(StandIn):
    """One workspace of customer.io, Track and App API under one address."""

    kind: ClassVar[str] = "customerio"
    title: ClassVar[str] = "customer.io"

    def __init__(
        self,
        *,
        site_id: str = "standin-site",
        api_key: str = "standin-track-key",
        app_key: str = "standin-app-key",
        object_types: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.site_id = site_id
        self.api_key = api_key
        self.app_key = app_key
        self.object_types = dict(object_types or {"workspace": "1", "account": "2"})
        self.clock = clock

        # Regions: where the account lives, which region's host this plays, and what an EU account meets in the US.
        self.region: Literal["us", "eu"] = "us"
        self.host_region: Literal["us", "eu"] = "us"
        self.redirect_status = 301
        self.redirect_to = ""
        """Address instead of the right region's own."""
        self.region_look_up_redirects = False

        # Limits that the documents give without saying exactly what happens, or exactly how much it is.
        self.batch_bytes_max = 500_000
        self.item_bytes_max = 32_000
        self.records_max: int | None = None
        self.too_large_status: Literal[400, 413] = 400
        self.large_items: Literal["item", "request"] = "item"
        """Whether an item that is too large is named in a 207, or has the whole request refused."""
        self.bad_items: Literal["item", "request"] = "item"
        """Whether any other bad item is named in a 207, or has the whole request refused."""
        self.track_requests_max: int | None = None
        self.app_requests_max: int | None = None
        """Requests in a second; the App API's documented limit is 10, and it is off because tests read quickly."""

        # Behaviour that no document settles.
        self.errors: Literal["named", "nameless", "in_200", "twice", "out_of_range"] = "named"
        self.v1_takes_floats = True
        self.v1_errors_are_a_list = False
        self.email_may_change_by_id = False
        self.bulk_is_wrapped = True
        self.applies_after_seconds = 0.0

        self.activity: list[str] = []
        """What customer.io took with a 200 and did not do."""
        self.people: dict[str, Record] = {}
        """cio_id → person."""
        self.objects: dict[tuple[str, str], Record] = {}
        """Object type id and object id → object."""
        self.relationships: dict[tuple[str, tuple[str, str]], dict[str, str]] = {}
        """cio_id of a person, and an object → attributes of their relationship."""
        self._ids: dict[str, dict[str, str]] = {"id": {}, "email": {}, "phone": {}}
        """Kind of identifier → its value, emails in lower case → cio_id."""
        self._validation = Validation(self.object_types, self._record)
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        self._arrivals: dict[str, deque[float]] = {"track": deque(), "app": deque()}
        self._touches = 0
        self._made = 0

    # What the owner of a sandbox or a test sees.

    def settings(self) -> str:
        """TOML lines of a `[destinations.NAME]` section."""
        types = ", ".join(f"{json.dumps(name)} = {json.dumps(type_id)}" for name, type_id in self.object_types.items())
        return "".join(
            f"{name} = {value}\n"
            for name, value in {
                "region": json.dumps(self.region),
                "site_id": json.dumps(self.site_id),
                "api_key": json.dumps(self.api_key),
                "app_key": json.dumps(self.app_key),
                "track_url": json.dumps(self.url),
                "app_url": json.dumps(self.url),
                "object_types": f"{{ {types} }}",
            }.items()
        )

    def seed(
        self,
        people: Iterable[Mapping[str, Any]],
        workspaces: Iterable[Mapping[str, Any]],
        accounts: Iterable[Mapping[str, Any]],
    ) -> None:
        """Nine of ten people are known already; workspaces and accounts are left for the first sync to create."""
        with self.lock:
            for number, row in enumerate(people):
                if row["user_id"] is None or number % 10 == 9:
                    continue
                if self._person("id", str(row["user_id"])) is None:
                    attributes = {name: row[name] for name in ("email", "name") if row.get(name) is not None}
                    self._identify_person("id", str(row["user_id"]), attributes, None)
            # What was there before the first sync is no news.
            for person in self.people.values():
                person.changed = set()

    def tables(self) -> list[Table]:
        """People, and one table for each object type."""
        with self.lock:
            self._apply_what_is_due()
            tables = [_table("people", ["id", "email"], self.people.values())]
            for name, type_id in self.object_types.items():
                objects = [record for (of_type, _), record in self.objects.items() if of_type == type_id]
                tables.append(_table(f"{name}s", ["object_id"], objects))
            return tables

    def person(self, identifier: str, kind: str = "id") -> dict[str, str] | None:
        """A person's attributes as they are now, or None when there is no such person."""
        with self.lock:
            self._apply_what_is_due()
            found = self._person(kind, identifier)
            return dict(found.attributes) if found else None

    def object(self, type_id: str, object_id: str) -> dict[str, str] | None:
        """An object's attributes as they are now, or None when there is no such object."""
        with self.lock:
            self._apply_what_is_due()
            found = self.objects.get((type_id, object_id))
            return dict(found.attributes) if found else None

    # Requests.

    def handle(self, request: Request) -> Answer:
        """Credentials, region and pace first; then the endpoint."""
        self._apply_what_is_due()
        match request.method, request.parts:
            case "GET", ["api", "v1", "accounts", "region"]:
                return self._track(request, self._region, is_look_up=True)
            case "PUT" | "DELETE", ["api", "v1", "customers", identifier]:
                return self._track(request, lambda: self._v1_customer(request, identifier))
            case "POST", ["api", "v2", "entity"]:
                return self._track(request, lambda: self._entity(request))
            case "POST", ["api", "v2", "batch"]:
                return self._track(request, lambda: self._batch(request))
            case "GET", ["v1", "object_types"]:
                return self._app(request, self._object_types)
            case "GET", ["v1", "customers"]:
                return self._app(request, lambda: self._customers_by_email(request))
            case "GET", ["v1", "customers", identifier, "attributes"]:
                return self._app(request, lambda: self._customer_attributes(request, identifier))
            case "POST", ["v1", "customers", "attributes"]:
                return self._app(request, lambda: self._many_customer_attributes(request))
            case "GET", ["v1", "objects", type_id, identifier, "attributes"]:
                return self._app(request, lambda: self._object_attributes(request, type_id, identifier))
        return _not_found()

    def _track(self, request: Request, endpoint: Callable[[], Answer], *, is_look_up: bool = False) -> Answer:
        pair = base64.b64encode(f"{self.site_id}:{self.api_key}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {pair}":
            return _unauthorized()
        if self.region != self.host_region and (self.region_look_up_redirects or not is_look_up):
            if self.region == "us":
                return _unauthorized()
            address = (self.redirect_to or TRACK_HOSTS[self.region]) + request.path
            return Answer(self.redirect_status, {}, {"Location": address})
        if self._too_many("track", self.track_requests_max):
            return Answer(429, {"errors": [{"reason": "rate_limited", "message": "too many requests"}]})
        return endpoint()

    def _app(self, request: Request, endpoint: Callable[[], Answer]) -> Answer:
        if request.headers.get("authorization") != f"Bearer {self.app_key}":
            return _unauthorized()
        if self._too_many("app", self.app_requests_max):
            return Answer(429, {"errors": [{"detail": "too many requests", "status": 429}]})
        return endpoint()

    def _too_many(self, door: str, requests_max: int | None) -> bool:
        now, arrivals = self.clock(), self._arrivals[door]
        while arrivals and arrivals[0] <= now - 1:
            arrivals.popleft()
        arrivals.append(now)
        return requests_max is not None and len(arrivals) > requests_max

    # Track API.

    def _region(self) -> Answer:
        return Answer(200, {"url": TRACK_HOSTS[self.region], "region": self.region, "environment_id": 3})

    def _v1_customer(self, request: Request, identifier: str) -> Answer:
        kind, value = _v1_identifier(identifier)
        if request.method == "DELETE":
            return self._take([lambda: self._delete_person(kind, value)])
        body = _json_object(request)
        if body is None:
            return self._v1_refused("the body has to be a JSON object")
        if not value.strip():
            return self._v1_refused("id attribute cannot be an empty string")
        if "id" in body and not isinstance(body["id"], str):
            return self._v1_refused("id attribute must be a string value")
        if len(value.encode()) > IDENTIFIER_BYTES_MAX:
            return self._v1_refused("id attribute cannot be longer than 150 bytes")
        if not self.v1_takes_floats and (floats := [name for name, one in body.items() if isinstance(one, float)]):
            return self._v1_refused(f"value for attribute '{floats[0]}' cannot be a float")
        timestamp = body.pop("_timestamp", None)
        if timestamp is not None and type(timestamp) is not int:
            return self._v1_refused("_timestamp must be an integer")
        refusals = refuse_attributes(body, self._person(kind, value))
        if refusals:
            return self._v1_refused(refusals[0].message)
        return self._take([lambda: self._identify_person(kind, value, body, timestamp)])

    def _v1_refused(self, message: str) -> Answer:
        return Answer(400, {"meta": {"errors": [message]} if self.v1_errors_are_a_list else {"error": message}})

    def _entity(self, request: Request) -> Answer:
        operation = _json_object(request)
        if operation is None:
            return _v2_refused([Refusal("invalid", "body", "the body has to be a JSON object")])
        if len(request.body) > self.item_bytes_max:
            return _v2_refused([Refusal("invalid", "body", "the request is larger than 32kb")])
        if refusals := self._validation.refuse(operation):
            return _v2_refused(refusals)
        return self._take([partial(self._perform, operation)])

    def _batch(self, request: Request) -> Answer:
        if len(request.body) > self.batch_bytes_max:
            large = Refusal("invalid", "batch", "the request is larger than 500kb")
            return _v2_refused([large], self.too_large_status)
        body = _json_object(request)
        if body is None:
            return _v2_refused([Refusal("invalid", "body", "the body has to be a JSON object")])
        batch = body.get("batch")
        if not isinstance(batch, list) or not batch:
            return _v2_refused([Refusal("required", "batch", "batch has to be a list with something in it")])
        if unknown := sorted(set(body) - {"batch"}):
            return _v2_refused([Refusal("invalid", unknown[0], "unknown key")])
        if self.records_max is not None and len(batch) > self.records_max:
            return _v2_refused([Refusal("invalid", "batch", "too many operations")], self.too_large_status)

        errors: list[dict[str, Any]] = []
        good: list[Callable[[], None]] = []
        may_hold_large_items = len(request.body) > self.item_bytes_max
        for index, operation in enumerate(batch):
            if may_hold_large_items and is_larger(operation, self.item_bytes_max):
                large = Refusal("invalid", "batch", "the operation is larger than 32kb")
                if self.large_items == "request":
                    return _v2_refused([large])
                refusals = [large]
            else:
                refusals = self._validation.refuse(operation)
                if refusals and self.bad_items == "request":
                    return _v2_refused(refusals)
            if refusals:
                errors += [{"batch_index": index, **_as_json(refusal)} for refusal in refusals]
            else:
                good.append(partial(self._perform, operation))
        self._take(good)
        if not errors:
            return Answer(200, {})
        return Answer(200 if self.errors == "in_200" else 207, {"errors": self._garbled(errors, len(batch))})

    def _garbled(self, errors: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
        """The errors of a batch as this stand-in is told to report them."""
        if self.errors == "nameless":
            return [{name: value for name, value in error.items() if name != "batch_index"} for error in errors]
        if self.errors == "out_of_range":
            return [{**error, "batch_index": error["batch_index"] + count} for error in errors]
        if self.errors == "twice":
            return [*errors, *({**error, "message": "and once more"} for error in errors)]
        return errors

    # What operations do.

    def _take(self, effects: Iterable[Callable[[], None]]) -> Answer:
        """Into the queue, from where it is applied at once or after a while; answered before either."""
        due = self.clock() + self.applies_after_seconds
        self._waiting.extend((due, effect) for effect in effects)
        self._apply_what_is_due()
        return Answer(200, {})

    def _apply_what_is_due(self) -> None:
        now = self.clock()
        while self._waiting and self._waiting[0][0] <= now:
            self._waiting.popleft()[1]()

    def _perform(self, operation: dict[str, Any]) -> None:
        identifiers = operation.get("identifiers", {})
        related = operation.get("cio_relationships", [])
        match operation["type"], operation["action"]:
            case "person", "identify":
                kind, value = next(iter(identifiers.items()))
                attributes = dict(operation.get("attributes", {}))
                self._identify_person(kind, value, attributes, operation.get("timestamp"))
                self._relate(operation, related)
            case "person", "delete":
                self._delete_person(*next(iter(identifiers.items())))
            case "person", "merge":
                self._merge(operation["primary"], operation["secondary"])
            case "object", "identify" | "identify_anonymous":
                self._identify_object(identifiers, operation.get("attributes", {}))
                self._relate(operation, related)
            case "object", "delete":
                self._delete_object(identifiers)
            case _, "add_relationships":
                self._relate(operation, related)
            case _, "delete_relationships":
                for one in related:
                    if key := self._relationship(operation, one):
                        self.relationships.pop(key, None)

    def _identify_person(self, kind: str, value: str, attributes: dict[str, Any], timestamp: int | None) -> None:
        is_update_only = attributes.pop("_update", False)
        found = self._person(kind, value)
        wanted = {kind: value}
        for name in ("id", "email"):
            if name in attributes and (text := attributes.pop(name)) is not None:
                wanted.setdefault(name, str(text))
        for name, text in wanted.items():
            owner = found if name == kind else self._person(name, text)
            if owner is not None and found is not None and owner is not found:
                self.activity.append(f"Attribute Update Failure: {name} belongs to another person")
                return
            found = found or owner
        if found is None and kind == "cio_id":
            self.activity.append("Dropped: there is no person with this cio_id")
            return
        if found is None and is_update_only:
            self.activity.append("Failed Attribute Change: there is no such person, and _update is true")
            return
        if found is None:
            found = Record(self._new_cio_id(), {})
            self.people[found.cio_id] = found
        for name, text in wanted.items():
            held = found.identifiers.get(name)
            if name == "cio_id" or (held is not None and _comparable(name, held) == _comparable(name, text)):
                continue
            is_allowed = held is None or kind == "cio_id" or (name == "email" and self.email_may_change_by_id)
            if not is_allowed:
                self.activity.append(f"Attribute Update Failure: {name} cannot be changed this way")
                return
        for name, text in wanted.items():
            if name != "cio_id" and found.identifiers.get(name) != text:
                self._index(found, name, text)
        self._write(found, attributes, timestamp, removes_empty=False)

    def _identify_object(self, identifiers: dict[str, str], attributes: dict[str, Any]) -> None:
        found = self._record("object", identifiers)
        if found is None and "cio_object_id" in identifiers:
            self.activity.append("Dropped: there is no object with this cio_object_id")
            return
        if found is None:
            found = Record(self._new_cio_id("ob"), dict(identifiers))
            self.objects[identifiers["object_type_id"], identifiers["object_id"]] = found
        self._write(found, attributes, None, removes_empty=True)

    def _write(self, record: Record, attributes: dict[str, Any], timestamp: int | None, *, removes_empty: bool) -> None:
        second = int(self.clock()) if timestamp is None else timestamp
        held, seconds = record.attributes, record.timestamps
        changed = set()
        for name, value in attributes.items():
            text = None if value is None or (removes_empty and value == "") else as_text(value)
            if text == held.get(name):
                continue
            if second < seconds.get(name, second):
                self.activity.append(f"Older than what is held: {name}")
                continue
            if text is None:
                del held[name]
            else:
                held[name] = text
            seconds[name] = second
            changed.add(name)
        if changed or not record.touched:
            self._touches += 1
            record.touched, record.changed = self._touches, changed

    def _delete_person(self, kind: str, value: str) -> None:
        found = self._person(kind, value)
        if found is None:
            return
        del self.people[found.cio_id]
        for name, held in found.identifiers.items():
            self._ids[name].pop(_comparable(name, held), None)
        self.relationships = {key: held for key, held in self.relationships.items() if key[0] != found.cio_id}

    def _delete_object(self, identifiers: dict[str, str]) -> None:
        found = self._record("object", identifiers)
        if found is None:
            return
        key = (found.identifiers["object_type_id"], found.identifiers["object_id"])
        del self.objects[key]
        self.relationships = {pair: held for pair, held in self.relationships.items() if pair[1] != key}

    def _merge(self, primary: dict[str, str], secondary: dict[str, str]) -> None:
        kept, gone = self._record("person", primary), self._record("person", secondary)
        if kept is None or gone is None or kept is gone:
            self.activity.append("Failed Merge: both people have to exist, and to be two")
            return
        self._delete_person("cio_id", gone.cio_id)
        for name, value in gone.identifiers.items():
            if name not in kept.identifiers:
                self._index(kept, name, value)
        self._write(kept, gone.attributes | kept.attributes, None, removes_empty=False)

    def _relate(self, operation: dict[str, Any], related: list[dict[str, Any]]) -> None:
        for one in related:
            if key := self._relationship(operation, one):
                attributes = one.get("relationship_attributes") or {}
                held = self.relationships.setdefault(key, {})
                held |= {name: as_text(value) for name, value in attributes.items() if value not in (None, "")}
                for name in [name for name, value in attributes.items() if value in (None, "")]:
                    held.pop(name, None)

    def _relationship(self, operation: dict[str, Any], related: dict[str, Any]) -> tuple[str, tuple[str, str]] | None:
        ends = {operation["type"]: operation["identifiers"]}
        ends["object" if operation["type"] == "person" else "person"] = related["identifiers"]
        person, thing = self._record("person", ends["person"]), self._record("object", ends["object"])
        if person is None or thing is None:
            self.activity.append("Failed Relationship: one of its ends does not exist")
            return None
        return person.cio_id, (thing.identifiers["object_type_id"], thing.identifiers["object_id"])

    # Finding.

    def _record(self, kind: str, identifiers: dict[str, str]) -> Record | None:
        if kind == "person":
            return self._person(*next(iter(identifiers.items())))
        if "cio_object_id" in identifiers:
            return next((one for one in self.objects.values() if one.cio_id == identifiers["cio_object_id"]), None)
        return self.objects.get((identifiers["object_type_id"], identifiers["object_id"]))

    def _person(self, kind: str, value: str) -> Record | None:
        if kind == "cio_id":
            return self.people.get(value)
        cio_id = self._ids[kind].get(_comparable(kind, value))
        return self.people[cio_id] if cio_id else None

    def _index(self, person: Record, name: str, value: str) -> None:
        if name in person.identifiers:
            self._ids[name].pop(_comparable(name, person.identifiers[name]))
        self._ids[name][_comparable(name, value)] = person.cio_id
        person.identifiers[name] = value

    def _new_cio_id(self, prefix: str = "") -> str:
        self._made += 1
        return f"{prefix}a3{self._made:010x}"

    # App API.

    def _object_types(self) -> Answer:
        return Answer(
            200,
            {
                "types": [
                    {"id": type_id, "name": f"{name.capitalize()}s", "slug": f"{name}s", "singular_name": name}
                    for name, type_id in self.object_types.items()
                ]
            },
        )

    def _customers_by_email(self, request: Request) -> Answer:
        # A plus that is not encoded arrives as a blank, and so finds nobody, as in life.
        emails = request.query.get("email", [])
        if len(emails) != 1:
            return _app_refused(400, "email is needed once")
        found = self._person("email", emails[0])
        return Answer(200, {"results": [_identifiers(found)] if found else []})

    def _customer_attributes(self, request: Request, identifier: str) -> Answer:
        kind = request.query.get("id_type", ["id"])[0]
        if kind not in ("id", "email", "cio_id"):
            return _app_refused(400, "this kind of identifier is not enabled")
        found = self._person(kind, identifier.removeprefix("cio_") if kind == "cio_id" else identifier)
        return Answer(200, {"customer": _customer(found)}) if found else _not_found()

    def _many_customer_attributes(self, request: Request) -> Answer:
        kind = request.query.get("id_type", ["id"])[0]
        body = _json_object(request)
        ids = body.get("ids") if body else None
        if kind not in ("id", "email", "cio_id"):
            return _app_refused(400, "this kind of identifier is not enabled")
        if not isinstance(ids, list) or not 1 <= len(ids) <= IDS_MAX or not all(isinstance(one, str) for one in ids):
            return _app_refused(400, f"ids has to be a list of 1 to {IDS_MAX} texts")
        found = [person for one in ids if (person := self._person(kind, one))]
        customers = [_customer(person) for person in found]
        return Answer(
            200, {"customers": [{"customer": one} for one in customers] if self.bulk_is_wrapped else customers}
        )

    def _object_attributes(self, request: Request, type_id: str, identifier: str) -> Answer:
        if request.query.get("id_type", ["object_id"])[0] == "cio_object_id":
            found = self._record("object", {"cio_object_id": identifier})
        else:
            found = self.objects.get((type_id, identifier))
        if found is None:
            return _not_found()
        return Answer(
            200,
            {
                "object": {
                    "attributes": found.attributes,
                    "timestamps": _held_timestamps(found),
                    "identifiers": {**found.identifiers, "cio_object_id": found.cio_id},
                    "object_type_id": type_id,
                }
            },
        )


def _json_object(request: Request) -> dict[str, Any] | None:
    if not request.headers.get("content-type", "").startswith("application/json"):
        return None
    try:
        body = request.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _v1_identifier(text: str) -> tuple[str, str]:
    if text.startswith("cio_"):
        return "cio_id", text.removeprefix("cio_")
    return ("email", text) if "@" in text else ("id", text)


def _comparable(name: str, value: str) -> str:
    return value.lower() if name == "email" else value


def _as_json(refusal: Refusal) -> dict[str, str]:
    return {"reason": refusal.reason, "field": refusal.place, "message": refusal.message}


def _v2_refused(refusals: Iterable[Refusal], status: int = 400) -> Answer:
    return Answer(status, {"errors": [_as_json(refusal) for refusal in refusals]})


def _app_refused(status: int, detail: str) -> Answer:
    return Answer(status, {"errors": [{"detail": detail, "status": status}]})


def _unauthorized() -> Answer:
    return _app_refused(401, "unauthorized")


def _not_found() -> Answer:
    # The status is text here and a number elsewhere; so it was recorded.
    return Answer(404, {"errors": [{"detail": "not found (reference 01FC8Z2Q4E9T3M)", "status": "404"}]})


def _identifiers(person: Record) -> dict[str, str | None]:
    held = person.identifiers
    return {"email": held.get("email"), "id": held.get("id"), "cio_id": person.cio_id}


def _customer(person: Record) -> dict[str, Any]:
    return {
        "id": person.identifiers.get("id", ""),
        "identifiers": _identifiers(person),
        "attributes": person.attributes,
        "timestamps": _held_timestamps(person),
        "unsubscribed": person.attributes.get("unsubscribed") == "true",
        "devices": [],
    }


def _held_timestamps(record: Record) -> dict[str, int]:
    return {name: second for name, second in record.timestamps.items() if name in record.attributes}


def _table(title: str, identifiers: list[str], records: Iterable[Record]) -> Table:
    newest_first = sorted(records, key=lambda record: -record.touched)
    names = dict.fromkeys(name for record in newest_first for name in record.attributes)
    rows = [
        {name: record.identifiers.get(name, "") for name in identifiers} | record.attributes for record in newest_first
    ]
    return Table(title, [*identifiers, *names], rows, [record.changed for record in newest_first])


STAND_IN = CustomerioStandIn
