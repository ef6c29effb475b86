"""What the conformance kit has to know about each of our destinations."""

from __future__ import annotations

import datetime
import json
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from destinations.customerio import Customerio
from destinations.customerio_parts.settings import CustomerioSettings
from destinations.orbit import Orbit, OrbitSettings
from destinations.orbit_parts.rules import TAG
from destinations.salesforce import Salesforce
from destinations.salesforce_parts.settings import SalesforceSettings
from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.orbit import OrbitStandIn
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Answer, Request, StandIn
from syncer.change import Change, Value
from syncer.destination import Destination
from syncer.mapping import FieldType, Sync
from syncer.testing import Bench, Decision, HttpBench, Memory, MemorySettings
from syncer.testing.bench import STRANGE_TEXTS, DelayKind
from syncer.transport import Transport


class MemoryBench(Bench):
    object: ClassVar[str] = "record"
    text: ClassVar[str] = "step"
    other: ClassVar[str] = "plan"
    typed: ClassVar[Mapping[FieldType, str]] = {
        name: f"a_{name}" for name in ("integer", "number", "boolean", "date", "timestamp")
    }

    memory_type: ClassVar[type[Memory]] = Memory

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Value]] = {}

    def adapter(self, transport: Transport) -> Destination:
        memory = self.memory_type("memory", MemorySettings(batch=40), transport, decide=self._decide)
        # Records outlive an adapter, as they would at a service.
        memory.records = self.records
        return memory

    def put(self, number: int, fields: Mapping[str, Value]) -> None:
        self.records[self.who(number)] = dict(fields)

    def held(self, number: int) -> Mapping[str, Any] | None:
        return self.records.get(self.who(number))

    def shown(self, value: Value) -> Any:
        return value

    def refused(self) -> tuple[str, Value]:
        return self.text, "refuse me"

    def _decide(self, change: Change) -> Decision:
        return "rejected" if change.fields.get(self.text) == "refuse me" else "accepted"


class StandInBench(HttpBench):
    """What is the same for every stand-in."""

    standin: StandIn

    def is_write(self, request: Request) -> bool:
        return request.method not in ("GET", "HEAD")

    def requests(self) -> int:
        return self.standin.count

    def writes(self) -> Sequence[bytes]:
        return [exchange.request.body for exchange in self.standin.log if self.is_write(exchange.request)]

    def trouble(
        self,
        kind: str,
        *,
        status: int = 503,
        content: Any = None,
        headers: Mapping[str, str] | None = None,
        times: int | None = 1,
        only_writes: bool = True,
    ) -> None:
        self.standin.trouble(
            kind,
            when=self.is_write if only_writes else lambda request: True,
            times=times,
            answer=Answer(status, content, headers or {}),
        )

    def delay(self, kind: DelayKind, seconds: float, *, times: int | None = 1) -> bool:
        self.standin.trouble(kind, when=self.is_write, times=times, seconds=seconds)
        return True

    def expire(self, after: int) -> bool:
        self.standin.trouble("status", skip=after, times=None, answer=Answer(401, {}))
        return True


class OrbitBench(StandInBench):
    """Orbit's plain keys."""

    object: ClassVar[str] = "member"
    text: ClassVar[str] = "bio"
    other: ClassVar[str] = "company"
    typed: ClassVar[Mapping[FieldType, str]] = {"boolean": "teammate", "date": "birthday", "timestamp": "title"}
    secrets: ClassVar[Sequence[str]] = ("orbit-key-of-the-kit",)
    cannot: ClassVar[Mapping[str, str]] = {
        "integer": "Orbit keeps no numbers; steps of a score go into tags.",
        "number": "Orbit keeps no numbers; steps of a score go into tags.",
    }

    adapter_type: ClassVar[type[Orbit]] = Orbit
    more: ClassVar[Mapping[str, str]] = {}
    """Settings besides."""

    def __init__(self, standin: OrbitStandIn) -> None:
        self.standin: OrbitStandIn = standin

    def adapter(self, transport: Transport) -> Destination:
        settings = OrbitSettings.model_validate(tomllib.loads(self.standin.settings()) | self.more)
        return self.adapter_type("orbit", settings, transport)

    def put(self, number: int, fields: Mapping[str, Value]) -> None:
        self.standin.add(email=self.who(number), tags=["vip"], **fields)

    def held(self, number: int) -> Mapping[str, Any] | None:
        member = self.standin.named(self.who(number))
        return member and {**member.attributes, "email": member.username("email")}

    def refused(self) -> tuple[str, Value]:
        return "email", "not an address"


class OrbitTagBench(OrbitBench):
    """Orbit's tags, which are where scores go."""

    text: ClassVar[str] = "tag:step"
    other: ClassVar[str] = "tag:plan"
    typed: ClassVar[Mapping[FieldType, str]] = {}
    texts: ClassVar[Sequence[str]] = [text for text in STRANGE_TEXTS if "," not in text]
    cannot: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("integer", "number", "boolean", "date", "timestamp"), "A tag is text."
    )

    def put(self, number: int, fields: Mapping[str, Value]) -> None:
        tags = [f"{name.removeprefix(TAG)}:{value}" for name, value in fields.items()]
        self.standin.add(email=self.who(number), tags=["vip", *tags])

    def held(self, number: int) -> Mapping[str, Any] | None:
        member = self.standin.named(self.who(number))
        if member is None:
            return None
        pairs = [tag.split(":", 1) for tag in member.tags if ":" in tag]
        assert len(pairs) == len({prefix for prefix, _ in pairs}), "One prefix has two tags."
        return {TAG + prefix: step for prefix, step in pairs}


class OrbitTellingBench(OrbitTagBench):
    """Orbit's tags, with an activity for each step that changes."""

    more: ClassVar[Mapping[str, str]] = {"activity": "activation:step_changed"}


class CustomerioBench(StandInBench):
    """People at customer.io, by email."""

    object: ClassVar[str] = "person"
    text: ClassVar[str] = "activation_band"
    other: ClassVar[str] = "plan"
    typed: ClassVar[Mapping[FieldType, str]] = {
        name: f"kit_{name}" for name in ("integer", "number", "boolean", "date", "timestamp")
    }
    characters_max: ClassVar[int] = 800
    secrets: ClassVar[Sequence[str]] = ("track-key-of-the-kit", "app-key-of-the-kit")
    cannot: ClassVar[Mapping[str, str]] = {
        "unknown_record_is_reported": "customer.io answers for a person it does not know as for one it knows.",
    }

    def __init__(self, standin: CustomerioStandIn) -> None:
        self.standin: CustomerioStandIn = standin

    def adapter(self, transport: Transport) -> Destination:
        settings = CustomerioSettings.model_validate(tomllib.loads(self.standin.settings()))
        return Customerio("customerio", settings, transport)

    def put(self, number: int, fields: Mapping[str, Value]) -> None:
        self.standin.seed([{"user_id": f"id-{number}", "email": self.who(number)}], [], [])
        person = next(one for one in self.standin.people.values() if one.identifiers["email"] == self.who(number))
        person.attributes |= {name: self.shown(value) for name, value in fields.items()}

    def held(self, number: int) -> Mapping[str, Any] | None:
        return self.standin.person(self.who(number), "email")

    def shown(self, value: Value) -> Any:
        # customer.io keeps instants as seconds, and gives everything back as text.
        shown = int(value.timestamp()) if isinstance(value, datetime.datetime) else super().shown(value)
        return shown if isinstance(shown, str) else json.dumps(shown)

    def refused(self) -> tuple[str, Value]:
        return self.text, "x" * 1001

    def is_write(self, request: Request) -> bool:
        return request.path == "/api/v2/batch"


class SalesforceBench(StandInBench):
    """Contacts at Salesforce, by an external id."""

    object: ClassVar[str] = "Contact"
    identifier: ClassVar[str] = "Product_User_Id__c"
    text: ClassVar[str] = "Title"
    other: ClassVar[str] = "Department"
    typed: ClassVar[Mapping[FieldType, str]] = {
        name: f"Kit_{name}__c" for name in ("integer", "number", "boolean", "date", "timestamp")
    }
    needed: ClassVar[Mapping[str, str]] = {"LastName": "Lovelace"}
    characters_max: ClassVar[int] = 128
    adapter_type: ClassVar[type[Salesforce]] = Salesforce
    secrets: ClassVar[Sequence[str]] = ("client-secret-of-the-kit",)

    def __init__(self, standin: SalesforceStandIn) -> None:
        self.standin: SalesforceStandIn = standin
        standin.tokens.client_secret = self.secrets[0]
        for name, kind in (("integer", "double"), ("number", "double"), ("boolean", "boolean"), ("date", "date")):
            standin.add_field("Contact", f"Kit_{name}__c", kind)
        standin.add_field("Contact", "Kit_timestamp__c", "datetime")

    def adapter(self, transport: Transport) -> Destination:
        settings = SalesforceSettings.model_validate(tomllib.loads(self.standin.settings()))
        return self.adapter_type("salesforce", settings, transport)

    def put(self, number: int, fields: Mapping[str, Value]) -> None:
        self.standin.put("Contact", LastName=f"Person {number}", **{self.identifier: self.who(number)}, **fields)

    def held(self, number: int) -> Mapping[str, Any] | None:
        records = self.standin.records("Contact")
        return next((record for record in records if record[self.identifier] == self.who(number)), None)

    def shown(self, value: Value) -> Any:
        shown = super().shown(value)
        return shown.replace("Z", ".000+0000") if isinstance(value, datetime.datetime) else shown

    def refused(self) -> tuple[str, Value]:
        return self.text, "x" * 129

    def answer_short(self) -> bool:
        self.trouble("after", status=200, content=[])
        return True

    def is_write(self, request: Request) -> bool:
        return "/composite/" in request.path


class SalesforceByEmailBench(SalesforceBench):
    """Contacts at Salesforce by their address, which has to be looked up first."""

    identifier: ClassVar[str] = "Email"


class SalesforcePersonBench(SalesforceByEmailBench):
    """People at Salesforce, who are Contacts or, every other one, Leads."""

    needed: ClassVar[Mapping[str, str]] = {"LastName": "Lovelace", "Company": "Unknown"}

    def __init__(self, standin: SalesforceStandIn) -> None:
        super().__init__(standin)
        for one in (*self.typed.values(), self.other):
            kind = standin.org.objects["Contact"].fields[one]["type"]
            standin.add_field("Lead", one, kind)

    def sync(self, *, missing: Literal["skip", "create"] = "skip", removed: Literal["keep", "clear"] = "clear") -> Sync:
        made = super().sync(missing=missing, removed=removed)
        return made.model_copy(update={"also": ("Lead",), "create_as": "Lead" if missing == "create" else None})

    def put(self, number: int, fields: Mapping[str, Value]) -> None:
        if number % 2:
            who = {self.identifier: self.who(number)}
            self.standin.put("Lead", LastName=f"Person {number}", Company="Unknown", **who, **fields)
        else:
            super().put(number, fields)

    def held(self, number: int) -> Mapping[str, Any] | None:
        records = [*self.standin.records("Contact"), *self.standin.records("Lead")]
        return next((record for record in records if record[self.identifier] == self.who(number)), None)


class BulkSalesforce(Salesforce):
    """Writes through jobs, however few the changes are."""

    collections_max: ClassVar[int] = 0


class SalesforceBulkBench(SalesforceBench):
    """Contacts at Salesforce through jobs. What writes is the request that lets a job begin, and nothing before it."""

    adapter_type: ClassVar[type[Salesforce]] = BulkSalesforce

    def __init__(self, standin: SalesforceStandIn) -> None:
        super().__init__(standin)
        standin.ingest.delay = 0

    def answer_short(self) -> bool:
        self.standin.ingest.results_cut = 1
        return True

    def is_write(self, request: Request) -> bool:
        is_close = request.method == "PATCH" and b"UploadComplete" in request.body
        return is_close or request.path.endswith(("Results", "records"))

    def writes(self) -> Sequence[bytes]:
        return [exchange.request.body for exchange in self.standin.log if exchange.request.path.endswith("/batches")]
