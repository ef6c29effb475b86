"""Rows read from BigQuery: through the Storage Read API as Arrow, and by pages of the REST interface.

The stand-in has a process of its own, and what is compared is the reader's CPU: how fast a stand-in makes JSON or
Arrow says nothing of the service.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb

from benchmarks import nights

WAYS = {"streams": 10, "pages": 1}
"""Way → how often the table's rows are read, in one table: by pages a tenth is enough to know the pace."""
DENIED = "bigquery.readsessions.create"


def serve(way: str, warehouse: Path, told: Path) -> None:
    """Serve the rows of the warehouse's first night until this process is ended."""
    import pyarrow as pa

    from destinations.standins.server import Server
    from tests.standins.bigquery import BigQueryStandIn, Storage

    with duckdb.connect(str(warehouse), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        once = connection.sql("SELECT * FROM first").to_arrow_table()
    rows = pa.concat_tables([once] * WAYS[way])
    rest = BigQueryStandIn()
    rest.warehouse.put("activation.users", rows)
    with Storage(rest.warehouse) as storage, Server({"": rest}):
        storage.batch_rows = 10_000
        storage.denied = DENIED if way == "pages" else None
        told.write_text(json.dumps({"endpoint": rest.url, "storage_endpoint": storage.url}))
        while os.getppid() != 1:
            time.sleep(0.1)


def read(way: str, folder: Path, rows: int) -> dict[str, Any]:
    """Read a table of `rows` rows, or by streams of ten times as many, in a process of its own."""
    from syncer.config_file import BigQuerySource
    from syncer.sources.bigquery import BigQuery

    warehouse, told = folder / f"reading-{rows}.duckdb", folder / f"reading-{way}.json"
    if not warehouse.exists():
        nights.make(warehouse, rows)
    told.unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, "-m", "benchmarks", "serve-bigquery", way, str(warehouse), str(told)])
    try:
        while not told.exists() or not told.read_text():
            time.sleep(0.05)
        source = BigQuery(
            BigQuerySource(type="bigquery", project="acme", location="EU", **json.loads(told.read_text()))
        )
        spent = time.process_time()
        reading = source.read(nights.sync("activation.users"), ["user_id", *nights.columns()])
        found = sum(batch.num_rows for batch in reading.batches)
        reading.close()
        return {"rows": found, "cpu_seconds": time.process_time() - spent}
    finally:
        process.kill()
        process.wait()


def table(figures: dict[str, dict[str, Any]]) -> list[str]:
    """The figures as Markdown."""
    pace = {way: one["rows"] / one["cpu_seconds"] for way, one in figures.items()}
    names = {"streams": "Storage Read API, Arrow", "pages": "pages of REST, JSON"}
    lines = [
        "| | rows | reader's CPU s | rows per CPU second | ratio |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for way, one in figures.items():
        lines.append(
            f"| {names[way]} | {one['rows']:,} | {one['cpu_seconds']:.2f} "
            f"| {pace[way]:,.0f} | {pace[way] / pace['pages']:.0f} |"
        )
    return lines
