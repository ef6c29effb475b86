"""What the tests of the customer.io adapter have in common: the stand-in, the adapter on it, syncs and changes."""

from __future__ import annotations

import json
import threading
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from destinations.customerio import Customerio
from destinations.customerio_parts.settings import CustomerioSettings
from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.server import Server
from syncer.change import Change, Outcome, Relation, Value
from syncer.mapping import Brakes, Field, Sync
from syncer.testing.stretches import each, stretch
from syncer.transport import Gate, Transport

LONG = "x" * 1001
"""A value that customer.io refuses; the engine's own limit would have kept it back."""
API_KEY = "a-track-key-that-nobody-may-see"
APP_KEY = "an-app-key-that-nobody-may-see"

Open = Callable[..., Customerio]
"""Opens the adapter on the stand-in; keyword arguments are settings, `stop` and the transport's options."""


def served() -> Iterator[CustomerioStandIn]:
    """For a fixture: a stand-in that answers."""
    service = CustomerioStandIn(api_key=API_KEY, app_key=APP_KEY)
    with Server({"": service}):
        yield service


class ByColumns(Customerio):
    """Gets every batch as one whose operations were made by columns."""

    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        with stretch(sync, changes, self) as columns:
            for one in each(changes, super().push(sync, columns)):
                assert isinstance(one, Outcome)
                yield one


def opener(standin: CustomerioStandIn, kind: type[Customerio] = Customerio) -> Iterator[Open]:
    """For a fixture: a way to open adapters, whose connections are closed in the end."""
    opened: list[Transport] = []

    def make(
        *,
        stop: threading.Event | None = None,
        transport_options: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Customerio:
        parsed = CustomerioSettings.model_validate(tomllib.loads(standin.settings()) | settings)
        options: dict[str, Any] = {"timeout": 5, "attempts": 3, "wait_first": 0.01, "wait_max": 0.02}
        transport = Transport(
            Gate(Customerio.pace(parsed)),
            title=Customerio.title,
            stop=stop or threading.Event(),
            **(options | {"retry_after_max": 0.02} | (transport_options or {})),
        )
        opened.append(transport)
        return kind("customerio", parsed, transport)

    yield make
    for transport in opened:
        transport.close()


def sync_of(**changed: Any) -> Sync:
    """A sync of people by id, creating none, with other settings put over it; `fields` may be names."""
    names = changed.pop("fields", ("activation_score", "plan"))
    return Sync.model_validate(
        {
            "name": "customerio.people",
            "destination": "customerio",
            "source": "activation.users",
            "key": "user_id",
            "object": "person",
            "match": {"id": "user_id"},
            "fields": tuple(Field(name=name, column="score") for name in names),
            "brakes": Brakes(),
            "file": Path("customerio.toml"),
        }
        | changed
    )


PEOPLE = sync_of()
CREATING = sync_of(missing="create")
WORKSPACES = sync_of(object="workspace", match={"object_id": "workspace_id"}, missing="create")


def change_of(
    key: str,
    kind: Any = "changed",
    match: dict[str, str] | None = None,
    relations: dict[str, Relation] | None = None,
    **fields: Value,
) -> Change:
    return Change(key=key, kind=kind, match=match or {"id": key}, fields=fields, before={}, relations=relations or {})


def people_known(standin: CustomerioStandIn, *ids: str) -> None:
    """Puts these people there."""
    standin.seed([{"user_id": one, "email": f"{one}@example.com"} for one in ids], [], [])


def push(destination: Customerio, sync: Sync, *changes: Change) -> dict[str, Outcome]:
    """Pushes one batch; every change has exactly one outcome."""
    outcomes = [one for one in destination.push(sync, list(changes)) if isinstance(one, Outcome)]

    assert sorted(change.key for change in changes) == sorted(outcome.key for outcome in outcomes)
    return {outcome.key: outcome for outcome in outcomes}


def results(outcomes: dict[str, Outcome]) -> dict[str, str]:
    return {key: outcome.result for key, outcome in outcomes.items()}


def bodies(standin: CustomerioStandIn) -> list[list[dict[str, Any]]]:
    """The batches that arrived."""
    return [json.loads(one.request.body)["batch"] for one in standin.log if one.request.path == "/api/v2/batch"]
