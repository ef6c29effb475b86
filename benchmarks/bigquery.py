"""Rows read from BigQuery: by streams of Arrow and by pages of REST, from the stand-in of the tests.

Everything is encoded before the clock runs, and the stand-in is a process of its own: what is measured is our side
and the loopback. How fast the service itself is nobody can measure without it.
"""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from benchmarks import children, nights
from benchmarks.meter import Meter
from destinations.standins.server import Answer, Request, Server
from syncer.config_file import BigQuerySource
from syncer.sources.bigquery import BigQuery, source
from tests.standins.bigquery import BigQueryStandIn, Storage, Warehouse

WAYS = {
    "streams": "the Storage Read API, all 16",
    "four": "the Storage Read API, 4 of the 16",
    "pages": "REST, all 16, without the role for the other",
}
MESSAGE_ROWS = 8_192


def measure(folder: Path, options: Namespace) -> dict[str, Any]:
    """The first night, read in every way."""
    home = nights.ready(folder, options.read)
    return {"rows": options.read} | {way: children.run("bigquery", way, home, options.read) for way in WAYS}


def child(words: list[str]) -> dict[str, Any]:
    """One way, or the stand-in that is read."""
    if words[0] == "serve":
        serve(words[1], Path(words[2]), Path(words[3]))
        return {}
    return read(words[0], Path(words[1]), int(words[2]))


class Ready(BigQueryStandIn):
    """Pages that lie there as bytes, by the row at which they begin."""

    def __init__(self, warehouse: Warehouse) -> None:
        super().__init__(warehouse)
        self.pages: dict[str, bytes] = {}

    def prepare(self) -> None:
        """Encode the pages of the table, as the client asks for them."""
        stored = self.warehouse.find("acme.activation.first")
        for start in range(0, stored.rows.num_rows, source.PAGE_ROWS):
            asked = f"maxResults={source.PAGE_ROWS}&startIndex={start}&formatOptions.useInt64Timestamp=True"
            page = self._data(stored, Request("GET", "", asked, {}, b""))
            self.pages[str(start)] = json.dumps(page).encode()

    def handle(self, request: Request) -> Answer:
        if self.pages and request.parts[-1] == "data":
            start = (request.query.get("pageToken") or ["0"])[0]
            return Answer(200, self.pages[start], {"Content-Type": "application/json"})
        return super().handle(request)


class Packed(Storage):
    """Messages that lie there as bytes, once they have been sent."""

    def __init__(self, warehouse: Warehouse) -> None:
        super().__init__(warehouse)
        self.batch_rows = MESSAGE_ROWS
        self._kept: dict[tuple[str, int, int], bytes] = {}

    def _serialized(self, name: str, sent: int, batch: pa.RecordBatch, compression: str | None) -> bytes:
        key = (name.rsplit("/", 1)[1], sent, batch.num_columns)
        if key not in self._kept:
            self._kept[key] = super()._serialized(name, sent, batch, compression)
        return self._kept[key]


def serve(way: str, folder: Path, port_file: Path) -> None:
    """Serve the first night until this process is ended."""
    warehouse = Warehouse()
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        warehouse.put("activation.first", connection.table("first").to_arrow_table())
    standin = Ready(warehouse)
    with Packed(warehouse) as storage, Server({"": standin}):
        if way == "pages":
            storage.denied = "bigquery.readsessions.create"
            standin.prepare()
        children.serve(port_file, {"endpoint": standin.url, "storage_endpoint": storage.url})


def read(way: str, folder: Path, rows: int) -> dict[str, Any]:
    """Read the table one way, after the server has it ready."""
    with children.serving(folder / f"bigquery-{way}.json", "bigquery", "serve", way, folder) as told:
        if way != "pages":
            _read(way, told, rows)  # Once for the server, which then has its messages.
        return _read(way, told, rows)


def _read(way: str, told: dict[str, str], rows: int) -> dict[str, Any]:
    columns = ("user_id", *nights.columns())
    reader = BigQuery(BigQuerySource(type="bigquery", project="acme", location="EU", timeout=300.0, **told))
    meter = Meter()
    reading = reader.read(nights.sync("activation.first"), columns[:4] if way == "four" else columns)
    seen = sum(batch.num_rows for batch in reading.batches)
    reading.close()
    figures = meter.figures()
    assert seen == rows, (seen, rows)
    return figures | {"rows_per_second": rows / figures["wall_seconds"]}


def table(figures: dict[str, Any]) -> list[str]:
    """The figures as Markdown."""
    lines = [
        f"Reading {figures['rows']:,} rows x 16 fields and their key from BigQuery's stand-in, its encoding left out:",
        "",
        "| | wall s | CPU s | peak MiB | rows/s | rate, as a ratio to REST | CPU, as a ratio to REST |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for way, name in WAYS.items():
        one = figures[way]
        lines.append(
            f"| {name} | {one['wall_seconds']:.2f} | {one['cpu_seconds']:.2f} | {one['peak_mib']:,.0f} "
            f"| {one['rows_per_second']:,.0f} | {one['rows_per_second'] / figures['pages']['rows_per_second']:.1f} "
            f"| {one['cpu_seconds'] / figures['pages']['cpu_seconds']:.3f} |"
        )
    return lines
