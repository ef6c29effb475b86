"""A plan of one night with the state on disk, and with the state in BigQuery: what leaves the warehouse for each.

Both compare the same two nights out of the stand-in of the tests, which computes with DuckDB on this machine. So the
bytes are what they would be, our own CPU seconds too, and the wall seconds say nothing of BigQuery.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import duckdb
import requests
import structlog

from benchmarks import children, nights
from benchmarks.meter import Meter
from destinations.standins.server import Answer, Request, Server
from syncer.account import Options
from syncer.config import Config, Configured
from syncer.config_file import BigQuerySource, DatasetState, Delivery, LocalState, Service
from syncer.destination import Limits
from syncer.mapping import Brakes
from syncer.run import Engine
from syncer.schedule import Schedule
from syncer.sources.bigquery import BigQuery
from syncer.testing import Memory, MemorySettings
from tests.standins.bigquery import BigQueryStandIn, Storage

WAYS = {"disk": "state on disk: every row travels", "there": "state in BigQuery: what may differ travels"}


def measure(folder: Path, options: Namespace) -> dict[str, Any]:
    """The same plan in every way."""
    home = nights.ready(folder, options.planned)
    return {way: children.run("inwarehouse", way, home) for way in WAYS}


def child(words: list[str]) -> dict[str, Any]:
    """One way, or the stand-in that is planned out of."""
    if words[0] == "serve":
        serve(Path(words[1]), Path(words[2]))
        return {}
    return plan(words[0], Path(words[1]))


class Counting(Storage):
    """Counts the bytes of the messages that leave."""

    sent_bytes = 0

    def _serialized(self, *words: Any) -> bytes:
        message = super()._serialized(*words)
        self.sent_bytes += len(message)
        return message


class Telling(BigQueryStandIn):
    """Says how many bytes left through the other half."""

    storage: Counting

    def handle(self, request: Request) -> Answer:
        if request.path == "/counted":
            return Answer(200, {"bytes": self.storage.sent_bytes})
        return super().handle(request)


class Taking(Memory):
    """Takes everything, ten thousand records at once."""

    def limits(self, sync: Any) -> Limits:
        return Limits(records=10_000, in_flight=1, timestamp_unit="microsecond")


def serve(folder: Path, port_file: Path) -> None:
    """Serve both nights until this process is ended."""
    standin = Telling()
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        for name in ("first", "second"):
            standin.warehouse.put(f"activation.{name}", connection.table(name).to_arrow_table())
    with Counting(standin.warehouse) as storage, Server({"": standin}):
        standin.storage = storage
        children.serve(port_file, {"endpoint": standin.url, "storage_endpoint": storage.url})


def plan(way: str, folder: Path) -> dict[str, Any]:
    """Accept the first night, then plan the second, out of a stand-in that nobody else has written to."""
    with children.serving(folder / f"inwarehouse-{way}.json", "inwarehouse", "serve", folder) as told:
        return _plan(way, folder, told)


def _plan(way: str, folder: Path, told: dict[str, str]) -> dict[str, Any]:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    settings = BigQuerySource(type="bigquery", project="acme", location="EU", timeout=300.0, **told)
    path = folder / f"state-{way}"
    state = LocalState(path=path) if way == "disk" else DatasetState(type="bigquery", dataset="syncer_state", path=path)
    config = Config(
        file=folder / "config.toml", folder=folder, source=settings, state=state, syncs=(), schedule=Schedule(),
        destinations={"memory": Configured("memory", "memory", MemorySettings())}, brakes=Brakes(), service=Service(),
        delivery=Delivery(),
    )  # fmt: skip
    engine = Engine(config, BigQuery(settings), lambda kind: Taking)
    first, second = nights.sync("activation.first"), nights.sync("activation.second")
    report = engine.run(engine.prepare(first), Options())
    assert report.result == "done", report.error
    before = _counted(told)
    meter = Meter()
    with engine.diff(engine.prepare(second)) as seen:
        figures = meter.figures() | {"rows": seen.known, "changed": seen.changed}
    engine.close()
    return figures | {"bytes_left": _counted(told) - before}


def _counted(told: dict[str, str]) -> int:
    return int(requests.get(f"{told['endpoint']}/counted", timeout=30).json()["bytes"])


def table(figures: dict[str, Any]) -> list[str]:
    """The figures as Markdown."""
    disk = figures["disk"]
    lines = [
        f"Planning {disk['rows']:,} rows x 16 fields out of BigQuery's stand-in, of which {disk['changed']:,} changed:",
        "",
        "| | bytes that left the warehouse | as a ratio to the disk | our CPU s | wall s, stand-in included |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for way, name in WAYS.items():
        one = figures[way]
        lines.append(
            f"| {name} | {one['bytes_left']:,} | {one['bytes_left'] / disk['bytes_left']:.3f} "
            f"| {one['cpu_seconds']:.2f} | {one['wall_seconds']:.2f} |"
        )
    return lines
