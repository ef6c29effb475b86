"""What is fuzzed: files of users, saved plans, and the answers of every service, each as a function of bytes.

A target raises when something is not as it should be. What an adapter may raise is in `syncer.errors`.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.orbit import OrbitStandIn
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Answer, Request, StandIn
from syncer import documents, saved
from syncer.errors import SyncerError, UserError
from syncer.sources.bigquery import Patience
from tests.destinations.benches import CustomerioBench, OrbitBench, SalesforceBench, StandInBench
from tests.destinations.test_conformance_webhook import WebhookBench
from tests.engine.stage import Stage, field
from tests.fuzz.meddling import Meddler, changed
from tests.fuzz.test_files import CONFIG, MAPPING, WORDS, look, spoiled
from tests.sources.bigquery_here import BigQueryHere
from tests.sources.test_bigquery import sync as bigquery_sync
from tests.sources.test_bigquery import taken
from tests.standins.bigquery import BigQueryStandIn, Storage
from tests.standins.webhook import WebhookStandIn

Target = Callable[[bytes], None]
HASTY = Patience(
    repeat_seconds=0.02,
    wait_first_seconds=0.001,
    wait_max_seconds=0.002,
    conflict_seconds=0.02,
    job_seconds=0.1,
    job_attempts=2,
    stream_resumes=1,
)


class Drawn(random.Random):
    """Chance that is drawn from bytes, so that whoever chooses the bytes decides; when they are used up it says 0."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._left = io.BytesIO(data)

    def getrandbits(self, count: int, /) -> int:
        """So many bits."""
        size = -(-count // 8)
        return int.from_bytes(self._left.read(size).ljust(size, b"\0"), "little") >> (size * 8 - count)

    def random(self) -> float:
        """A number from 0 to 1, of one byte's precision."""
        return self.getrandbits(8) / 256


class Wire:
    """In place of a network: requests go to a stand-in in this process, and somebody meddles with its answers."""

    def __init__(self, standin: StandIn) -> None:
        self.standin = standin
        self.meddler = Meddler(random.Random(0))
        standin.url = "http://127.0.0.1:9"

    @contextmanager
    def spliced(self) -> Iterator[Wire]:
        """Beneath every session, with all that is above the socket in place."""
        real, HTTPAdapter.send = HTTPAdapter.send, self._sender()  # type: ignore[method-assign]
        try:
            yield self
        finally:
            HTTPAdapter.send = real  # type: ignore[method-assign]

    def _sender(self) -> Any:
        def send(adapter: HTTPAdapter, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
            address = urlsplit(str(request.url))
            headers = {name.lower(): str(value) for name, value in request.headers.items()}
            asked = Request(str(request.method), unquote(address.path), address.query, headers, _whole(request.body))
            with self.standin.lock:
                answer = self.meddler(asked, self.standin.handle(asked))
            return adapter.build_response(request, _raw(answer))

        return send


def _whole(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytes):
        return body
    return bytes(body.read()) if hasattr(body, "read") else b"".join(body)


def _raw(answer: Answer) -> urllib3.HTTPResponse:
    body, kind = answer.encoded()
    return urllib3.HTTPResponse(
        io.BytesIO(body), {"Content-Type": kind} | answer.headers, answer.status, preload_content=False
    )


@contextmanager
def files(text: str) -> Iterator[Target]:
    """This config or mapping file, spoiled."""

    def target(data: bytes) -> None:
        chance = Drawn(data)
        words = [chance.choice((*WORDS, chr(chance.getrandbits(7)))) for _ in range(chance.randrange(5))]
        look(spoiled(text, chance, words))

    yield target


@contextmanager
def raw_files() -> Iterator[Target]:
    """A config and a mapping of these very bytes."""
    yield lambda data: look(data.decode("utf-8", "replace"))


@contextmanager
def plans() -> Iterator[Target]:
    """A saved plan in which one thing was changed: it is read, and held against the plan as it is now."""
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder)) as stage:
        stage.map(field("score", "number"))
        stage.put("user_id VARCHAR, number DOUBLE", ["u1", 1.0], ["u2", 2.0])
        stage.run()
        stage.put("user_id VARCHAR, number DOUBLE", ["u1", 3.0], ["u3", 2.0])
        file = Path(folder) / "plan.json"
        with stage.engine.diff(stage.prepare()) as plan:
            saved.write(file, [saved.document(plan, "Memory", None)], datetime.datetime.now(datetime.UTC))
            document = json.loads(file.read_text())
            # Whatever moved is told change by change.
            document["syncs"][0]["plan"] = "sha256:another"

            def target(data: bytes) -> None:
                chance = Drawn(data)
                content = json.dumps(changed(document, chance)).encode()
                if chance.random() < 0.2:
                    place = chance.randrange(len(content))
                    content = content[:place] + data + content[place + len(data) :]
                file.write_bytes(content)
                with contextlib.suppress(UserError):
                    found = saved.read(file)
                    documents.moment(found.made.timestamp())
                    stage.engine.control().use_of(found.id)
                    for one in found.syncs.values():
                        saved.moved(one, plan)

            yield target


@contextmanager
def answers(bench: StandInBench) -> Iterator[Target]:
    """Answers to checks, writes and readings of one adapter."""
    with Wire(bench.standin).spliced() as wire:
        for number in range(3):
            bench.put(number, {bench.text: "held"})
        syncs = [bench.sync(missing="create"), bench.sync(missing="skip")]
        fields = {bench.text: "warm", bench.other: "free"} | bench.needed

        def target(data: bytes) -> None:
            chance = Drawn(data)
            wire.meddler = Meddler(chance)
            adapter, sync = bench.adapter(bench.transport(attempts=2)), chance.choice(syncs)
            with contextlib.suppress(SyncerError):
                match chance.choice(("push", "push", "read", "check")):
                    case "push":
                        changes = [bench.change(number, fields, chance.choice(("new", "changed"))) for number in (0, 5)]
                        told = [outcome.key for outcome in adapter.push(sync, changes)]

                        assert set(told) <= {change.key for change in changes}
                    case "read":
                        list(adapter.read(sync, [bench.wanted(number) for number in (0, 1, 5)]))
                    case "check":
                        list(adapter.check(sync))

        yield target


@contextmanager
def bigquery() -> Iterator[Target]:
    """Answers of BigQuery's REST interface to its own client: of tables, jobs and pages of rows."""
    rest = BigQueryStandIn()
    with Storage(rest.warehouse) as storage, Wire(rest).spliced() as wire:
        storage.denied = "bigquery.readsessions.create"
        here = BigQueryHere(rest, storage)
        here.users(5)
        source = here.source(HASTY)
        asked = [bigquery_sync(), bigquery_sync(None, query="SELECT user_id, score FROM activation.users")]

        def target(data: bytes) -> None:
            chance = Drawn(data)
            wire.meddler = Meddler(chance)
            sync = chance.choice(asked)
            with contextlib.suppress(SyncerError):
                match chance.choice(("read", "read", "schema", "modified")):
                    case "read":
                        taken(source.read(sync, ("user_id", "score")))
                    case "schema":
                        source.schema(sync)
                    case "modified":
                        source.modified(sync)

        yield target
    rest.warehouse.close()


TARGETS: dict[str, Callable[[], AbstractContextManager[Target]]] = {
    "config": lambda: files(CONFIG),
    "mapping": lambda: files(MAPPING),
    "bytes": raw_files,
    "plan": plans,
    "customerio": lambda: answers(CustomerioBench(CustomerioStandIn())),
    "orbit": lambda: answers(OrbitBench(OrbitStandIn())),
    "salesforce": lambda: answers(SalesforceBench(SalesforceStandIn())),
    "webhook": lambda: answers(WebhookBench(WebhookStandIn())),
    "bigquery": bigquery,
}


@contextmanager
def one_of(*names: str) -> Iterator[Target]:
    """Several of them: the first byte decides which."""
    with ExitStack() as stack:
        chosen = [stack.enter_context(TARGETS[name]()) for name in names]

        def target(data: bytes) -> None:
            if data:
                chosen[data[0] % len(chosen)](data[1:])

        yield target
