"""A strict stand-in of customer.io: Track API v1 and v2 for writing, and the reading part of the App API.

It keeps people and objects, refuses what customer.io's documents refuse (counting bytes, not characters), and
passes in silence over what customer.io passes over in silence; such silence is written to `activity`, as
customer.io writes it to its activity log. Where the documents leave open what happens, an attribute of the
stand-in says which way it goes, with the likelier one as default. Devices, events and deliveries are checked and
have no effect.

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

from destinations.standins.customerio_parts import first_version, reading
from destinations.standins.customerio_parts.answers import (
    as_json,
    json_object,
    not_found,
    unauthorized,
    v2_refused,
)
from destinations.standins.customerio_parts.records import Record
from destinations.standins.customerio_parts.validation import (
    Refusal,
    Validation,
    is_larger,
)
from destinations.standins.customerio_parts.workspace import Workspace
from destinations.standins.server import Answer, Request, Table

TRACK_HOSTS = {"us": "https://track.customer.io", "eu": "https://track-eu.customer.io"}


class CustomerioStandIn(Workspace):
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
        super().__init__(object_types or {"workspace": "1", "account": "2"}, clock)
        self.site_id = site_id
        self.api_key = api_key
        self.app_key = app_key

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
        """Requests in a second; a thousand are documented, and not enforced strictly."""
        self.app_requests_max: int | None = 10
        self.retry_after: str | None = None
        """The header of a 429; no document names one."""

        # Behaviour that no document settles.
        self.errors: Literal["named", "nameless", "in_200", "twice", "out_of_range"] = "named"
        self.takes_empty_batches = False
        self.unknown_object_types: Literal["refused", "ignored"] = "refused"
        self.object_limits: Literal["refused", "ignored"] = "refused"
        """What becomes of an object of a type that is not there, or with too much in its attributes: refused, or taken
        and passed over."""
        self._validation = Validation(self.object_types, self.find)
        self._arrivals: dict[str, deque[float]] = {"track": deque(), "app": deque()}

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
                if self.find_person("id", str(row["user_id"])) is None:
                    attributes = {name: row[name] for name in ("email", "name") if row.get(name) is not None}
                    self.identify_person("id", str(row["user_id"]), attributes, None)
            # What was there before the first sync is no news.
            for person in self.people.values():
                person.changed = set()

    def tables(self) -> list[Table]:
        """People, and one table for each object type."""
        with self.lock:
            self.apply_what_is_due()
            tables = [_table("people", ["id", "email"], self.people.values())]
            for name, type_id in self.object_types.items():
                objects = [record for (of_type, _), record in self.objects.items() if of_type == type_id]
                tables.append(_table(f"{name}s", ["object_id"], objects))
            return tables

    # Requests.

    def handle(self, request: Request) -> Answer:
        """Credentials, region and pace first; then the endpoint."""
        self.apply_what_is_due()
        match request.method, request.parts:
            case "GET", ["api", "v1", "accounts", "region"]:
                return self._track(request, self._region, is_look_up=True)
            case "PUT" | "DELETE", ["api", "v1", "customers", identifier]:
                return self._track(request, lambda: first_version.customer(self, request, identifier))
            case "POST", ["api", "v1", "customers", identifier, "suppress" | "unsuppress" as deed]:
                return self._track(request, lambda: first_version.suppress(self, identifier, deed))
            case "POST", ["api", "v1", "merge_customers"]:
                return self._track(request, lambda: first_version.merge_customers(self, self._validation, request))
            case "POST", ["api", "v1", "segments", segment_id, "add_customers" | "remove_customers" as deed]:
                return self._track(request, lambda: first_version.segment(self, request, segment_id, deed))
            case "POST", ["api", "v2", "entity"]:
                return self._track(request, lambda: self._entity(request))
            case "POST", ["api", "v2", "batch"]:
                return self._track(request, lambda: self._batch(request))
            case "GET", ["v1", "object_types"]:
                return self._app(request, partial(reading.object_types, self))
            case "GET", ["v1", "customers"]:
                return self._app(request, lambda: reading.customers_by_email(self, request))
            case "POST", ["v1", "customers"]:
                return self._app(request, lambda: reading.customers_by_filter(self, request))
            case "GET", ["v1", "customers", identifier, "relationships"]:
                return self._app(request, lambda: reading.customer_relationships(self, request, identifier))
            case "POST", ["v1", "data_index", "attributes"]:
                return self._app(request, lambda: reading.describe_attributes(self, request))
            case "GET", ["v1", "customers", identifier, "attributes"]:
                return self._app(request, lambda: reading.customer_attributes(self, request, identifier))
            case "POST", ["v1", "customers", "attributes"]:
                return self._app(request, lambda: reading.many_customer_attributes(self, request))
            case "GET", ["v1", "objects", type_id, identifier, "attributes"]:
                return self._app(request, lambda: reading.object_attributes(self, request, type_id, identifier))
        return not_found()

    def _track(self, request: Request, endpoint: Callable[[], Answer], *, is_look_up: bool = False) -> Answer:
        pair = base64.b64encode(f"{self.site_id}:{self.api_key}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {pair}":
            return unauthorized()
        if self.region != self.host_region and (self.region_look_up_redirects or not is_look_up):
            if self.region == "us":
                return unauthorized()
            address = (self.redirect_to or TRACK_HOSTS[self.region]) + request.path
            return Answer(self.redirect_status, {}, {"Location": address})
        if self._too_many("track", self.track_requests_max):
            return self._rate_limited({"reason": "rate_limited", "message": "too many requests"})
        return endpoint()

    def _app(self, request: Request, endpoint: Callable[[], Answer]) -> Answer:
        if request.headers.get("authorization") != f"Bearer {self.app_key}":
            return unauthorized()
        if self._too_many("app", self.app_requests_max):
            return self._rate_limited({"detail": "too many requests", "status": 429})
        return endpoint()

    def _rate_limited(self, error: dict[str, Any]) -> Answer:
        return Answer(429, {"errors": [error]}, {"Retry-After": self.retry_after} if self.retry_after else {})

    def _too_many(self, door: str, requests_max: int | None) -> bool:
        now, arrivals = self.clock(), self._arrivals[door]
        while arrivals and arrivals[0] <= now - 1:
            arrivals.popleft()
        arrivals.append(now)
        return requests_max is not None and len(arrivals) > requests_max

    # Track API.

    def _taken(self, effects: Iterable[Callable[[], Any]]) -> Answer:
        self.take(effects)
        return Answer(200, {})

    def _region(self) -> Answer:
        return Answer(200, {"url": TRACK_HOSTS[self.region], "region": self.region, "environment_id": 3})

    def _entity(self, request: Request) -> Answer:
        operation = json_object(request)
        if operation is None:
            return v2_refused([Refusal("invalid", "body", "the body has to be a JSON object")])
        if len(request.body) > self.item_bytes_max:
            return v2_refused([Refusal("invalid", "body", "the request is larger than 32kb")])
        refusals = self._validation.refuse(operation)
        if refusals and not self._passes_over(operation, refusals):
            return v2_refused(refusals)
        return self._taken([] if refusals else [partial(self.perform, operation)])

    def _passes_over(self, operation: Any, refusals: list[Refusal]) -> bool:
        """Whether something bad is taken all the same, and goes to the activity log instead of into the answer."""
        silent = {"object_type_id"} if self.unknown_object_types == "ignored" else set()
        if self.object_limits == "ignored" and isinstance(operation, dict) and operation.get("type") == "object":
            silent.add("attributes")
        if not {refusal.place.partition(".")[0] for refusal in refusals} <= silent:
            return False
        self.activity += [f"Dropped: {refusal.message}" for refusal in refusals]
        return True

    def _batch(self, request: Request) -> Answer:
        if len(request.body) > self.batch_bytes_max:
            large = Refusal("invalid", "batch", "the request is larger than 500kb")
            return v2_refused([large], self.too_large_status)
        body = json_object(request)
        if body is None:
            return v2_refused([Refusal("invalid", "body", "the body has to be a JSON object")])
        batch = body.get("batch")
        if batch == [] and self.takes_empty_batches:
            return Answer(200, {})
        if not isinstance(batch, list) or not batch:
            return v2_refused([Refusal("required", "batch", "batch has to be a list with something in it")])
        if unknown := sorted(set(body) - {"batch"}):
            return v2_refused([Refusal("invalid", unknown[0], "unknown key")])
        if self.records_max is not None and len(batch) > self.records_max:
            return v2_refused([Refusal("invalid", "batch", "too many operations")], self.too_large_status)

        errors: list[dict[str, Any]] = []
        good: list[Callable[[], Any]] = []
        may_hold_large_items = len(request.body) > self.item_bytes_max
        for index, operation in enumerate(batch):
            if may_hold_large_items and is_larger(operation, self.item_bytes_max):
                large = Refusal("invalid", "batch", "the operation is larger than 32kb")
                if self.large_items == "request":
                    return v2_refused([large])
                refusals = [large]
            else:
                refusals = self._validation.refuse(operation)
                if refusals and self._passes_over(operation, refusals):
                    continue
                if refusals and self.bad_items == "request":
                    return v2_refused(refusals)
            if refusals:
                errors += [{"batch_index": index, **as_json(refusal)} for refusal in refusals]
            else:
                good.append(partial(self.perform, operation))
        self.take(good)
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


def _table(title: str, identifiers: list[str], records: Iterable[Record]) -> Table:
    newest_first = sorted(records, key=lambda record: -record.touched)
    names = dict.fromkeys(name for record in newest_first for name in record.attributes)
    rows = [
        {name: record.identifiers.get(name, "") for name in identifiers} | record.attributes for record in newest_first
    ]
    return Table(title, [*identifiers, *names], rows, [record.changed for record in newest_first])


STAND_IN = CustomerioStandIn
