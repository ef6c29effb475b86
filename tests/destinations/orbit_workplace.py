"""What the tests of the Orbit adapter work with: a stand-in, adapters made for it, mappings and changes."""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from destinations.orbit import Orbit, OrbitSettings
from destinations.standins.orbit import OrbitStandIn
from destinations.standins.server import Request, Server
from syncer.change import Change, Outcome, Value
from syncer.destination import Pace
from syncer.mapping import Brakes, Field, Sync
from syncer.transport import Gate, Transport

BANDS = (("cold", 0.0), ("warm", 40.0), ("hot", 75.0))
ACTIVATION = Field(name="tag:activation", column="score", bands=BANDS)


def sync_of(*fields: Field, **options: Any) -> Sync:
    whole: dict[str, Any] = {
        "name": "orbit.members",
        "destination": "orbit",
        "source": "activation.users",
        "key": "user_id",
        "object": "member",
        "match": {"email": "email"},
        "fields": fields or (ACTIVATION,),
        "brakes": Brakes(),
        "file": Path("mappings/orbit.toml"),
    }
    return Sync(**(whole | options))


def change_of(
    who: str,
    fields: dict[str, Value],
    *,
    by: str = "email",
    kind: Any = "changed",
    before: Mapping[str, Value] | None = None,
) -> Change:
    return Change(key=f"key of {who}", kind=kind, match={by: who}, fields=fields, before=before or {})


def is_put(request: Request) -> bool:
    return request.method == "PUT"


class Bench:
    """One stand-in, and adapters made for it."""

    def __init__(self, standin: OrbitStandIn) -> None:
        self.standin = standin
        self.stop = threading.Event()

    def settings(self, **options: Any) -> OrbitSettings:
        whole = tomllib.loads(self.standin.settings()) | options
        return OrbitSettings(**(whole | {"api_key": SecretStr(str(whole["api_key"]))}))

    def orbit(self, *, attempts: int = 3, **options: Any) -> Orbit:
        settings = self.settings(**options)
        transport = Transport(
            Gate(Pace(100_000, 1.0)), title="Orbit", stop=self.stop, attempts=attempts, wait_first=0.01, wait_max=0.02
        )
        return Orbit("orbit", settings, transport)

    def push(self, *changes: Change, sync: Sync | None = None, **options: Any) -> list[Outcome]:
        return list(self.orbit(**options).push(sync or sync_of(), changes))

    def asked(self) -> list[str]:
        """The requests so far: method and path without the workspace."""
        requests = [exchange.request for exchange in self.standin.log]
        return [f"{one.method} {one.path.removeprefix('/acme')}" for one in requests]

    def writes(self) -> list[tuple[str, Any]]:
        exchanges = [exchange for exchange in self.standin.log if exchange.request.method != "GET"]
        return [(exchange.request.method, exchange.request.json()) for exchange in exchanges]


@contextmanager
def at_work() -> Iterator[Bench]:
    with Server({"": OrbitStandIn()}) as server:
        standin = server.standins[""]
        assert isinstance(standin, OrbitStandIn)
        yield Bench(standin)
