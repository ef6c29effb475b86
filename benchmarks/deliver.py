"""Records delivered: ours, beside a plain hand-written sender of the same batches, into the same stand-in."""

from __future__ import annotations

import importlib
import json
import resource
import time
import tomllib
from argparse import Namespace
from pathlib import Path
from typing import Any

import duckdb
import requests

import destinations
from benchmarks import children, nights
from destinations.standins import standins
from destinations.standins.server import Server
from syncer.config import load
from syncer.run import Engine
from syncer.sources.duckdb import DuckDB

KINDS = ("customerio", "salesforce")


def measure(folder: Path, options: Namespace) -> dict[str, Any]:
    """Both ways into each stand-in."""
    home = nights.ready(folder, options.records)
    return {
        kind: {way: children.run("deliver", kind, way, home, options.records) for way in ("plain", "ours")}
        for kind in KINDS
    }


def child(words: list[str]) -> dict[str, Any]:
    """One delivery, or the stand-in that it goes to."""
    if words[0] == "serve":
        serve(words[1], Path(words[2]))
        return {}
    kind, way, home, records = words
    return with_standin(kind, way, Path(home), int(records))


def table(figures: dict[str, Any]) -> list[str]:
    """The figures as Markdown."""
    records = figures[KINDS[0]]["ours"]["records"]
    lines = [
        f"Delivering {records:,} new records x 16 fields into a stand-in in a process of its own:",
        "",
        "| | wall s | CPU s | peak MiB | requests | records/s | rate, as a ratio to the plain sender |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind, measured in figures.items():
        for name, way in ((f"{kind}, a plain sender", "plain"), (f"{kind}, Syncer: plan, intents, outcomes", "ours")):
            one = measured[way]
            ratio = one["records_per_second"] / measured["plain"]["records_per_second"]
            lines.append(
                f"| {name} | {one['wall_seconds']:.2f} | {one['cpu_seconds']:.2f} | {one['peak_mib']:,.0f} "
                f"| {one['requests']} | {one['records_per_second']:,.0f} | {ratio:.2f} |"
            )
    return lines


def serve(kind: str, port_file: Path) -> None:
    """Serve one stand-in, ready for the benchmark's records, until this process is ended."""
    standin = standins()[kind]()
    importlib.import_module(f"benchmarks.services.{kind}").prepare(standin)
    with Server({"": standin}) as server:
        children.serve(port_file, {"url": server.url, "settings": standin.settings()})


def with_standin(kind: str, way: str, folder: Path, rows: int) -> dict[str, Any]:
    """Start the stand-in in a process of its own, so that its work is not measured as ours, and deliver into it."""
    with children.serving(folder / f"{kind}-{way}.json", "deliver", "serve", kind) as told:
        return (ours if way == "ours" else plain)(kind, folder, rows, told)


def ours(kind: str, folder: Path, rows: int, told: dict[str, str]) -> dict[str, Any]:
    """A first run through the engine: plan, intents, batches, outcomes."""
    home = folder / f"engine-{kind}"
    (home / "mappings").mkdir(parents=True, exist_ok=True)
    (home / "config.toml").write_text(
        f'[source]\ntype = "duckdb"\npath = {json.dumps(str(folder / "warehouse.duckdb"))}\n\n'
        f'[brakes]\nmax_age = "3650d"\n\n[destinations.{kind}]\n{told["settings"]}\n'
    )
    service = importlib.import_module(f"benchmarks.services.{kind}")
    (home / "mappings" / f"{kind}.toml").write_text(service.mapping(nights.columns()))
    config = load(home / "config.toml", destinations.adapter, destinations.kinds)
    engine = Engine(config, DuckDB(folder / "warehouse.duckdb"), destinations.adapter)
    prepared = engine.prepare(config.syncs[0])
    started, spent = time.perf_counter(), time.process_time()
    report = engine.run(prepared)
    engine.close()
    assert report.delivered.accepted == rows, (report.error, report.delivered)
    return _figures(started, spent, rows, report.requests)


def plain(kind: str, folder: Path, rows: int, told: dict[str, str]) -> dict[str, Any]:
    """A loop as one would write it: fetch rows, fill a batch, post it, look at the answer, go on."""
    service = importlib.import_module(f"benchmarks.services.{kind}")
    names = nights.columns()
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection, requests.Session() as session:
        started, spent = time.perf_counter(), time.process_time()
        sent = calls = 0
        send = service.sender(session, told["url"], tomllib.loads(told["settings"]), names)
        chosen = ", ".join(
            ["user_id", *(name if not name.startswith("at_") else f"epoch({name})::BIGINT" for name in names)]
        )
        cursor = connection.execute(f"SELECT {chosen} FROM first LIMIT {rows}")
        while batch := cursor.fetchmany(service.BATCH):
            calls += send(batch)
            sent += len(batch)
    return _figures(started, spent, sent, calls)


def _figures(started: float, spent: float, records: int, calls: int) -> dict[str, Any]:
    wall = time.perf_counter() - started
    return {
        "records": records,
        "requests": calls,
        "wall_seconds": wall,
        "cpu_seconds": time.process_time() - spent,
        "records_per_second": records / wall,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
