"""What every test of the Salesforce adapter needs: a stand-in, the adapter on it, syncs, changes, and what was sent."""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from destinations.salesforce import Salesforce
from destinations.salesforce_parts.settings import SalesforceSettings
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Request, Server
from syncer.change import Change, Job, Outcome, Value, Wanted
from syncer.mapping import Brakes, Field, Sync
from syncer.transport import Gate, Transport

SECRET = "a-secret-that-nobody-may-see"
SCORE = Field(name="Activation_Score__c", column="score", type="number", digits=1)
BAND = Field(name="Activation_Band__c", column="band", type="text")
BY_USER_ID = {"Product_User_Id__c": "user_id"}
BY_EMAIL = {"Email": "email"}
BY_ID = {"Id": "salesforce_id"}

Open = Callable[..., Salesforce]


def a_standin() -> Iterator[SalesforceStandIn]:
    """For a fixture: a stand-in that is served while the test runs."""
    service = SalesforceStandIn()
    service.tokens.client_secret = SECRET
    with Server({"": service}):
        yield service


def openings(
    standin: SalesforceStandIn, adapter: type[Salesforce] = Salesforce, pace: int | None = None
) -> Iterator[Open]:
    """For a fixture: opens an adapter on the stand-in; keywords are settings, `stop`, `attempts` and `kind`."""
    opened: list[Transport] = []

    def make(
        *,
        stop: threading.Event | None = None,
        attempts: int = 3,
        kind: type[Salesforce] = adapter,
        **settings: Any,
    ) -> Salesforce:
        parsed = SalesforceSettings.model_validate(tomllib.loads(standin.settings()) | settings)
        transport = Transport(
            Gate(kind.pace(parsed.model_copy(update={"pace": pace}) if pace else parsed)),
            title=kind.title,
            stop=stop or threading.Event(),
            timeout=5,
            attempts=attempts,
            wait_first=0.001,
            wait_max=0.002,
        )
        opened.append(transport)
        return kind("salesforce", parsed, transport)

    yield make
    for transport in opened:
        transport.close()


def a_sync(
    object_name: str = "Contact",
    match: dict[str, str] | None = None,
    fields: tuple[Field, ...] = (SCORE,),
    **options: Any,
) -> Sync:
    return Sync(
        name="salesforce.contacts",
        destination="salesforce",
        source="activation.users",
        key="user_id",
        object=object_name,
        match=match or BY_USER_ID,
        fields=fields,
        brakes=Brakes(),
        file=Path("salesforce.toml"),
        **options,
    )


def a_change(key: str, match: dict[str, str], kind: Any = "changed", **fields: Value) -> Change:
    return Change(key, kind, match, fields or {"Activation_Score__c": 41.5}, {})


def for_user(number: int, kind: Any = "changed", **fields: Value) -> Change:
    return a_change(f"u_{number}", {"Product_User_Id__c": f"u_{number}"}, kind, **fields)


def wanted_user(number: int) -> Wanted:
    return Wanted(f"u_{number}", {"Product_User_Id__c": f"u_{number}"})


def put_contacts(standin: SalesforceStandIn, count: int) -> list[str]:
    return [
        standin.put("Contact", LastName=f"Person {number}", Product_User_Id__c=f"u_{number}") for number in range(count)
    ]


def results(outcomes: Iterable[Outcome | Job]) -> dict[str, str]:
    return {
        outcome.key: " ".join(filter(None, (outcome.result, outcome.code)))
        for outcome in outcomes
        if isinstance(outcome, Outcome)
    }


def messages(outcomes: Iterable[Outcome | Job]) -> dict[str, str]:
    return {outcome.key: outcome.message for outcome in outcomes if isinstance(outcome, Outcome)}


def sent(standin: SalesforceStandIn, method: str, part: str) -> list[Request]:
    return [
        exchange.request
        for exchange in standin.log
        if exchange.request.method == method and part in exchange.request.path
    ]


def written(standin: SalesforceStandIn) -> list[dict[str, Any]]:
    """The records of all updates so far, without type and Id."""
    return [
        {name: value for name, value in record.items() if name not in ("attributes", "id")}
        for request in sent(standin, "PATCH", "/composite/")
        for record in request.json()["records"]
    ]


def data_requests(standin: SalesforceStandIn) -> int:
    """Requests that `Salesforce.requests` counts: look-ups and writes."""
    return (
        len(sent(standin, "GET", "/query"))
        + len(sent(standin, "PATCH", "/"))
        + len(sent(standin, "POST", "/composite/"))
    )


def writes(request: Request) -> bool:
    return "/composite/" in request.path


def scores(standin: SalesforceStandIn, object_name: str = "Contact") -> list[Any]:
    return [record["Activation_Score__c"] for record in standin.records(object_name)]


def problems_of(destination: Salesforce, sync: Sync) -> dict[str, str]:
    """Place → the sentences of a check there."""
    found: dict[str, str] = {}
    for problem in destination.check(sync):
        found[problem.place] = f"{found.get(problem.place, '')} {problem.sentence}".strip()
    return found
