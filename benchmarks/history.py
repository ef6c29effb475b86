"""What remembering costs at the end of a run, and how long a look at one record takes in a long history.

`note` writes down a first run of many records, all fields new: the dearest there is. The run that it belongs to is
measured beside it: planning it (read, map, compare, a durable plan), and remembering its outcomes batch by batch.
`life` looks up single records among ten million entries, in files as a year of runs leaves them.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import duckdb

from benchmarks import children, nights
from benchmarks.compare import LIMITS
from benchmarks.meter import Meter, peak_mib
from syncer import history
from syncer.calculator import calculator
from syncer.canonical import canon
from syncer.compare import compare
from syncer.config_file import LocalState
from syncer.control import Code, Control, HistoryPart, Settled
from syncer.plan import identity_text
from syncer.sources.duckdb import DuckDB
from syncer.state import Inputs, State

BATCH = 1_000
FILES = 10
"""Files of a long history, beside the one of the last run."""


def measure(folder: Path, options: Namespace) -> dict[str, Any]:
    """A run that is remembered, and looks at single records of what it left."""
    home = nights.ready(folder, options.noted)
    return {
        "note": children.run("history", "note", home),
        "life": children.run("history", "life", home, options.entries),
    }


def child(words: list[str]) -> dict[str, Any]:
    """One of both."""
    return note(Path(words[1])) if words[0] == "note" else life(Path(words[1]), int(words[2]))


def table(figures: dict[str, Any]) -> list[str]:
    """The figures as Markdown."""
    note, life = figures["note"], figures["life"]
    lines = [
        f"Remembering a first run of {note['records']:,} records x 16 fields, all of them new:",
        "",
        "| | wall s | CPU s |",
        "| --- | ---: | ---: |",
    ]
    steps = {
        "plan": "planning it",
        "remember": "remembering its outcomes, batch by batch",
        "note": f"writing its history, {note['bytes_per_record']:.0f} bytes a record",
    }
    for step, text in steps.items():
        lines.append(f"| {text} | {note[step]['wall_seconds']:.2f} | {note[step]['cpu_seconds']:.2f} |")
    lines.append("")
    lines.append(
        f"One record's life among {life['entries']:,} entries: {life['median_seconds'] * 1000:.0f} ms, at worst "
        f"{life['worst_seconds'] * 1000:.0f} ms; a key that nobody knows {life['unknown_key_seconds'] * 1000:.0f} ms."
    )
    return lines


def note(folder: Path) -> dict[str, Any]:
    """Plan, remember and note a first run of the table `first`; figures of each step."""
    control, state = Control.open(LocalState(path=str(folder / "noted"))), State(folder / "noted", "memory.people")
    state.folder.mkdir(parents=True, exist_ok=True)
    sync = nights.sync("first")
    source = DuckDB(folder / "warehouse.duckdb")
    made, _ = canon(sync, source.schema(sync), LIMITS)
    assert made is not None
    standing = control.register(sync.name, identity_text(sync), [field.name for field in sync.fields])
    assert standing.sync_id is not None
    figures = {}
    meter = Meter()
    reading = source.read(sync, sync.columns)
    with calculator(state.folder) as connection:
        plan = compare(connection, made, LIMITS, reading.batches, Inputs(standing, None, [], []), state.fresh("plan"))
    reading.close()
    figures["plan"] = meter.seconds()
    run = control.begin_run(sync.name, identity_text(sync))
    number = control.begin_plan(run, standing.sync_id, plan.file.name, plan.total, plan.sendable, plan.digest, [])
    meter = Meter()
    settled: list[Settled] = []
    for lo in range(0, plan.total, BATCH):
        hi = min(lo + BATCH, plan.total)
        control.commit(standing.sync_id, settled, (number, lo, hi))
        settled = [Settled(number, lo, bytes([Code.ACCEPTED]) * (hi - lo))]
    control.commit(standing.sync_id, settled, None)
    figures["remember"] = meter.seconds()
    counts = {"planned": plan.total, "accepted": plan.total, "rejected": 0, "deferred": 0, "unsent": 0}
    control.finish_run(run, result="done", counts=counts, plan_id=number)
    meter = Meter()
    history.note(state, control, sync, is_kept=True)
    figures["note"] = meter.seconds()
    (part,) = control.history(sync.name)
    control.close()
    size = (state.folder / part.file).stat().st_size
    return figures | {"records": part.rows, "bytes_per_record": size / part.rows, "peak_mib": peak_mib()}


def life(folder: Path, entries: int) -> dict[str, Any]:
    """Look up records in a history of so many entries, made of the one that `note` left behind."""
    state = State(folder / "noted", "memory.people")
    control = Control.open(LocalState(path=str(folder / "noted")))
    (template,) = control.history("memory.people")
    each = entries // FILES
    for number in range(FILES):
        _fill(state, control, template, number, each)
    total = sum(part.rows for part in control.history("memory.people"))
    keys = [f"u_{number * each // 7 + 3:09d}" for number in range(FILES)]
    seconds, found = [], 0
    for key in keys:
        started = time.perf_counter()
        found += len(history.life(state, control, key, 0.0))
        seconds.append(time.perf_counter() - started)
    started = time.perf_counter()
    assert history.life(state, control, "nobody", 0.0) == []
    unknown = time.perf_counter() - started
    control.close()
    return {
        "entries": total,
        "found": found,
        "median_seconds": statistics.median(seconds),
        "worst_seconds": max(seconds),
        "unknown_key_seconds": unknown,
        "peak_mib": peak_mib(),
    }


def _fill(state: State, control: Control, template: HistoryPart, number: int, rows: int) -> None:
    """One file more, as merging leaves it: sorted by key, every record several times."""
    path = state.fresh("history")
    source = state.folder / template.file
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET memory_limit = '2GB'")
        connection.execute(f"SET temp_directory = '{state.folder}'")
        connection.execute(
            "COPY (SELECT t.* REPLACE (printf('u_%09d', (i // 7 + "
            f"{number * rows // 7})::BIGINT) AS key, t.answered_at - to_days((i % 7)::INTEGER) AS answered_at) "
            f"FROM range({rows}) r(i) JOIN (SELECT *, row_number() OVER () - 1 AS n FROM read_parquet('{source}')) t "
            f"ON t.n = i % {min(template.rows, 100_000)} ORDER BY key, answered_at) "
            f"TO '{path}' (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2)"
        )
    part = dataclasses.replace(template, file=path.name, rows=rows)
    control.rewrite_history("memory.people", [], part)
