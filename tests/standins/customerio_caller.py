"""Somebody who asks the customer.io stand-in without any adapter between: both keys, a clock, and operations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import requests

from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.server import Server


class Clock:
    """Time that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1_767_225_600.0

    def __call__(self) -> float:
        return self.now


class Caller:
    """Somebody with both keys."""

    def __init__(self, standin: CustomerioStandIn) -> None:
        self.url = standin.url
        self.track = requests.Session()
        self.track.auth = (standin.site_id, standin.api_key)
        self.app = requests.Session()
        self.app.headers["Authorization"] = f"Bearer {standin.app_key}"

    def batch(self, *operations: Any) -> requests.Response:
        return self.post("/api/v2/batch", {"batch": list(operations)})

    def post(self, path: str, body: Any) -> requests.Response:
        return self.track.post(self.url + path, json=body, allow_redirects=False)

    def put(self, identifier: str, **attributes: Any) -> requests.Response:
        address = f"{self.url}/api/v1/customers/{requests.utils.quote(identifier, safe='')}"
        return self.track.put(address, json=attributes)

    def ask(self, path: str, body: Any) -> requests.Response:
        return self.app.post(self.url + path, json=body)

    def get(self, path: str) -> requests.Response:
        return self.app.get(self.url + path)


def served(clock: Clock) -> Iterator[CustomerioStandIn]:
    """For a fixture: a stand-in that answers, below a prefix."""
    service = CustomerioStandIn(clock=clock)
    with Server({"/cio": service}):
        yield service


def calling(standin: CustomerioStandIn) -> Iterator[Caller]:
    """For a fixture: a caller whose connections are closed in the end."""
    made = Caller(standin)
    with made.track, made.app:
        yield made


def person(user_id: str = "u_1", **attributes: Any) -> dict[str, Any]:
    return {"type": "person", "action": "identify", "identifiers": {"id": user_id}, "attributes": attributes}


def thing(object_id: str = "o_1", type_id: Any = "1", **attributes: Any) -> dict[str, Any]:
    identifiers = {"object_type_id": type_id, "object_id": object_id}
    return {"type": "object", "action": "identify", "identifiers": identifiers, "attributes": attributes}
