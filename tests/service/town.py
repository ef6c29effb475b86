"""Three people, customer.io and Orbit, and a daemon of them in this process that is asked over real HTTP."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import requests
import structlog

import destinations
from destinations.standins.orbit import OrbitStandIn
from syncer.config import Config, load
from syncer.run import Engine
from syncer.service import Daemon
from syncer.service.api import application
from syncer.service.listening import listen, port_of
from syncer.sources import source_of
from tests.crash.standins import SlowCustomerio
from tests.workplace import Result, Workplace, in_process, until

VALUE = "canary-plan"
PEOPLE = """
[[sync]]
name = "people"
source = "people"
key = "user_id"
object = "person"
match = { id = "user_id" }
missing = "create"
SCHEDULE

[sync.fields]
user = "user_id"
score = "score"
plan = { column = "plan", sensitive = true }
"""
MEMBERS = """
[[sync]]
name = "members"
source = "people"
key = "user_id"
object = "member"
match = { email = "email" }

[sync.fields]
name = "user_id"
company = { column = "score", type = "text" }
bio = { column = "plan", sensitive = true }
"""
LISTEN = '\n[service]\nlisten = "127.0.0.1:0"\n'
NEVER = '\n[schedule]\ncron = "0 0 1 1 *"\n'
"""A schedule that nothing waits for: what runs has been asked for."""
ROWS = 3
JSON = {"Content-Type": "application/json"}


class Town(Workplace):
    """Three people, customer.io that takes them all, and Orbit that knows two of them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.customerio = SlowCustomerio()
        self.orbit = OrbitStandIn()
        self.sql(
            "CREATE TABLE people AS SELECT 'u' || i AS user_id, 'u' || i || '@example.com' AS email, i AS score, "
            f"'{VALUE}' AS plan FROM range({ROWS}) t(i)"
        )
        for number in range(ROWS - 1):
            self.orbit.add(email=f"u{number}@example.com")

    def settle(self, *, more: str = LISTEN, schedule: str = "", settings: str = "") -> None:
        """Write the files."""
        people = PEOPLE.replace("SCHEDULE", schedule)
        # Three syncs of one destination: more than one of them may be due at an instant.
        others = "".join(_other(people, number) for number in (2, 3))
        self.write(
            {"customerio": self.customerio.settings() + settings, "orbit": self.orbit.settings()},
            {"customerio": people + others, "orbit": MEMBERS},
            more,
        )

    def config(self) -> Config:
        """The files as they are."""
        return load(self.folder / "config.toml", destinations.adapter, destinations.kinds)

    def engine(self, **options: Any) -> Engine:
        """The engine of a daemon in this process."""
        config = self.config()
        return Engine(config, source_of(config.source), destinations.adapter, **options)

    def command(self, *words: str) -> Result:
        """Run a command in this process, which is quicker than in one of its own."""
        with in_process():
            return self.here(*words)

    def results(self, sync: str) -> list[str]:
        """Results of its runs, oldest first."""
        return [run.result for run in reversed(self.journal(sync))]


def _other(people: str, number: int) -> str:
    """A sync of the same people with fields of its own."""
    head, fields = people.replace('"people"\nsource', f'"people{number}"\nsource').split("[sync.fields]")
    return f"{head}[sync.fields]" + re.sub(r"^(\w+) =", rf"\g<1>{number} =", fields, flags=re.MULTILINE)


@dataclass(slots=True)
class Face:
    """Asks a daemon, and holds every request that it takes and every answer to the description of the API."""

    url: str
    daemon: Daemon
    api: dict[str, Any] = field(default_factory=dict)

    def __call__(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> requests.Response:
        """An answer; a body that is no text goes as JSON."""
        data = body if body is None or isinstance(body, str) else json.dumps(body)
        if body is not None and not isinstance(body, str):
            headers = JSON | headers
        answer = requests.request(method, self.url + path, headers=headers, data=data, timeout=30)
        self._hold(answer, method.lower(), path.partition("?")[0], data)
        return answer

    def ask(self, path: str, body: Any = None) -> Any:
        """What a good answer says: to a GET, or to a POST where there is a body."""
        answer = self(path, "GET" if body is None else "POST", body)
        assert answer.ok, answer.text
        return answer.json()

    def ended(self, request: int) -> dict[str, Any]:
        """What became of a request, once it is over."""
        found: dict[str, Any] = {}

        def is_over() -> bool:
            found.update(self.ask(f"/api/requests/{request}"))
            return found["state"] not in ("queued", "running")

        until(is_over, "a request is never over")
        return found

    def _hold(self, answer: requests.Response, method: str, path: str, data: str | None) -> None:
        if not self.api:
            self.api = requests.get(f"{self.url}/openapi.json", timeout=30).json()
        operation = self._operation(path, method)
        if operation is None:
            assert answer.status_code in (404, 405)
            return
        responses = operation["responses"]
        status = str(answer.status_code)
        described = responses.get(status) or responses.get(f"{status[0]}XX")
        assert described, f"{method} {path} answers {status}, which nobody describes"
        if answer.content:
            self._validate(answer.json(), described["content"]["application/json"]["schema"])
        if answer.ok and data:
            self._validate(json.loads(data), operation["requestBody"]["content"]["application/json"]["schema"])

    def _operation(self, path: str, method: str) -> dict[str, Any] | None:
        for template, operations in self.api["paths"].items():
            if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
                found: dict[str, Any] | None = operations.get(method)
                return found
        return None

    def _validate(self, document: Any, schema: dict[str, Any]) -> None:
        whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": self.api["components"]}
        jsonschema.validate(document, whole | schema)


@contextlib.contextmanager
def face_of(town: Town, *, runs: bool = True, is_ticking: bool = False) -> Iterator[Face]:
    """A daemon in this process that runs what is asked for, unless it is not to; with `is_ticking`, by schedule too."""
    engine = town.engine()
    daemon = Daemon(engine, town.config)
    daemon.watch()
    server = listen(application(daemon), engine.config.service)
    timekeeper = threading.Thread(target=daemon.keep_time)
    if runs or is_ticking:
        daemon.desk.open(engine)
    if is_ticking:
        timekeeper.start()
        daemon.watchman.open()
    try:
        yield Face(f"http://127.0.0.1:{port_of(server)}", daemon)
    finally:
        server.should_exit = True
        town.customerio.held_back = None
        engine.stop.set()
        daemon.desk.close()
        daemon.watchman.close()
        if is_ticking:
            timekeeper.join()
        engine.close()
        structlog.reset_defaults()
