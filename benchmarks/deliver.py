"""Records delivered in fast mode: ours beside plain hand-written senders of the same batches, into a reader of bytes.

The plain sender is measured with one request at a time, and with as many under way as ours has at first; the faster of
the two is what ours is held against. It plans nothing and remembers nothing, so the push stage of ours, intents and
outcomes included, is held against it too.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import duckdb
import requests

import destinations
from benchmarks import children, meter, nights, readers
from benchmarks.services import customerio, salesforce
from syncer.cli.frame import open_engine
from syncer.config import load

KINDS = {"customerio": customerio, "salesforce": salesforce}
PLAIN = {"in turn": 1, "at once": 4}
"""Way of the plain sender → how many of its requests are under way at once."""
TITLES = {
    "ours": "Syncer",
    "in turn": "a plain sender, one request at a time",
    "at once": "a plain sender, four at a time",
}
RUNS = 3
"""Of each way, in turns; the one of median length is told, since others use the machine too. A million goes once."""
LATENCIES = (0.0, 0.05, 0.2)
PACE = 15
"""Requests a second that customer.io is asked for where answers take their time: so many full ones this side can make
in any case."""


def measure(folder: Path, options: Namespace) -> dict[str, Any]:
    """Each way at each of `options.records`, and ours with slow answers."""
    figures: dict[str, Any] = {kind: {} for kind in KINDS}
    homes = {records: nights.ready(folder, records) for records in options.records}
    for kind, service in KINDS.items():
        for records, home in homes.items():
            runs: dict[str, list[dict[str, Any]]] = {way: [] for way in TITLES}
            for _ in range(RUNS if records < 1_000_000 else 1):
                runs["ours"].append(children.run("deliver", "ours", kind, home, 0, 0))
                batch = -(-records // service.batches(runs["ours"][0]["requests"]))
                for way, in_flight in PLAIN.items():
                    runs[way].append(children.run("deliver", "plain", kind, home, in_flight, batch))
            figures[kind][str(records)] = {way: _median(ones) for way, ones in runs.items()}
    home = homes[min(options.records)]
    figures["latency"] = {
        str(latency): children.run("deliver", "ours", "customerio", home, latency, PACE) for latency in LATENCIES
    }
    return figures


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return sorted(runs, key=lambda one: float(one["wall_seconds"]))[len(runs) // 2]


def child(words: list[str]) -> dict[str, Any]:
    """One delivery, or the reader that it goes to."""
    what, kind, *rest = words
    if what == "serve":
        readers.serve(kind, float(rest[0]), Path(rest[1]))
        return {}
    home, first, second = Path(rest[0]), rest[1], int(rest[2])
    latency = first if what == "ours" else "0"
    port_file = home / f"{kind}-{time.monotonic_ns()}.json"
    with children.serving(port_file, "deliver", "serve", kind, latency) as told:
        return ours(kind, home, told, second) if what == "ours" else plain(kind, home, told, int(first), second)


def table(figures: dict[str, Any]) -> list[str]:
    """The figures as Markdown."""
    lines = [
        "Delivering new records x 16 fields into a reader of bytes in a process of its own:",
        "",
        "| | records | records/s | ratio to the faster plain | push alone | CPU s | own MiB | sending | requests |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind in KINDS:
        for records, ways in figures[kind].items():
            best = max(ways[way]["records_per_second"] for way in PLAIN)
            for way, one in ways.items():
                push = f"{int(records) / one['push_seconds'] / best:.2f}" if way == "ours" else ""
                sending = f"{one['sending_mib']:.0f}" if way == "ours" else ""
                lines.append(
                    f"| {kind}, {TITLES[way]} | {int(records):,} | {one['records_per_second']:,.0f} "
                    f"| {one['records_per_second'] / best:.2f} | {push} | {one['cpu_seconds']:.2f} "
                    f"| {one['own_mib']:.0f} | {sending} | {one['requests']} |"
                )
    lines += [
        "",
        f"customer.io at a pace of {PACE} requests a second, with answers that take their time:",
        "",
        "| latency | requests a second while sending | share of the pace |",
        "| ---: | ---: | ---: |",
    ]
    for latency, one in figures["latency"].items():
        rate = one["requests"] / one["push_seconds"]
        lines.append(f"| {float(latency) * 1000:.0f} ms | {rate:.1f} | {rate / PACE:.2f} |")
    return lines


def ours(kind: str, home: Path, told: dict[str, Any], pace: int) -> dict[str, Any]:
    """A first run as the command makes it: plan, intents, batches, outcomes, history. A pace of 0 is the service's."""
    engine_home = home / f"engine-{kind}-{time.monotonic_ns()}"
    (engine_home / "mappings").mkdir(parents=True)
    settings = told["settings"] | ({"pace": pace} if pace else {})
    (engine_home / "config.toml").write_text(
        f'[source]\ntype = "duckdb"\npath = {json.dumps(str(home / "warehouse.duckdb"))}\n\n'
        '[brakes]\nmax_age = "3650d"\n\n[delivery]\nwait_first = 0.05\nwait_max = 0.05\n\n'
        f"[destinations.{kind}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
    )
    (engine_home / "mappings" / f"{kind}.toml").write_text(KINDS[kind].mapping(nights.columns()))
    config = load(engine_home / "config.toml", destinations.adapter, destinations.kinds)
    sending: list[float] = []
    with open_engine(config) as engine:
        prepared = engine.prepare(config.syncs[0])
        before = meter.status_mib("RssAnon")
        with meter.watched() as figures:
            report = engine.run(prepared, progress=lambda done: sending.append(meter.status_mib("RssAnon") - before))
    assert report.result == "done", (report.error, report.delivered)
    stages = report.stages.seconds
    more = {"push_seconds": stages["push"] + stages["commit"], "sending_mib": max(sending)}
    return _told(figures | more, report.delivered.accepted, report.requests)


def plain(kind: str, home: Path, told: dict[str, Any], in_flight: int, batch: int) -> dict[str, Any]:
    """A loop as one would write it: fetch rows, build a request of them, post it, look at the answer.

    Rows are fetched by one thread; with several requests under way each is built and posted by a thread of a pool.
    """
    names = nights.columns()
    chosen = ", ".join(["user_id", *(f"epoch({name})::BIGINT" if name.startswith("at_") else name for name in names)])
    with (
        duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection,
        requests.Session() as session,
        meter.watched() as figures,
        ThreadPoolExecutor(in_flight) as pool,
    ):
        send = KINDS[kind].sender(session, told["url"], told["settings"], names)
        cursor = connection.execute(f"SELECT {chosen} FROM first")
        calls = records = 0
        flying: set[Future[int]] = set()
        while rows := cursor.fetchmany(batch):
            records += len(rows)
            if in_flight == 1:
                calls += send(rows)
                continue
            flying.add(pool.submit(send, rows))
            if len(flying) >= in_flight:
                landed, flying = wait(flying, return_when=FIRST_COMPLETED)
                calls += sum(one.result() for one in landed)
        calls += sum(one.result() for one in flying)
    return _told(figures, records, calls)


def _told(figures: dict[str, float], records: int, calls: int) -> dict[str, Any]:
    rate = records / figures["wall_seconds"]
    return figures | {"records": records, "requests": calls, "records_per_second": rate}
