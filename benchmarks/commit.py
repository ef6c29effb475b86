"""Acknowledgements that are durable in a second: the control store's, beside a file that is only appended to, and
beside one table of last values.

Ours is what a delivery does between two batches: one commit says what became of the batch before and that the next one
leaves. The floor appends the same facts to a file and waits for the disk once a batch; it can neither be asked nor
found in halves. The plain reference keeps the last values of every key in one SQLite table, with the same settings.
They take turns, a few commits each, since a disk that others use too is not as fast in one second as in the next.
"""

from __future__ import annotations

import json
import os
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from benchmarks import children
from syncer.config_file import LocalState
from syncer.control import Code, Control, Settled, answers_text

BATCHES = (1, 200, 1_000, 10_000)
WAYS = {
    "ours": "Syncer: outcomes, and the next intent",
    "append": "a file, appended and synced",
    "table": "a table of last values, upserted",
}
TURN = 10
"""Commits of one way before the next one has its turn."""
ACKNOWLEDGEMENTS_MAX = 1_000_000
"""Fewer commits are made of large batches."""
VALUES = json.dumps({f"field_{number}": number * 1.25 for number in range(16)})
ANSWERS = answers_text([], [(0, "01JAB7Q2V4M7Y3J5T1X9N6C8DE")])
"""What is kept of a batch that was accepted whole: the name of its request."""


def measure(folder: Path, options: Namespace) -> dict[str, Any]:
    """Every size of batch, in all ways."""
    return children.run("commit", folder, options.commits)


def child(words: list[str]) -> dict[str, Any]:
    """All sizes: memory is not looked at, so they share a process."""
    sizes = {batch: min(int(words[1]), ACKNOWLEDGEMENTS_MAX // batch) for batch in BATCHES}
    return {str(batch): taken(Path(words[0]) / f"commit-{batch}", batch, commits) for batch, commits in sizes.items()}


def taken(folder: Path, batch: int, commits: int) -> dict[str, Any]:
    """Seconds of each commit, in each way."""
    folder.mkdir()
    control = Control.open(LocalState(path=folder / "state"))
    file = os.open(folder / "appended", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    table = apsw.Connection(str(folder / "table.db"))
    table.pragma("journal_mode", "wal")
    table.pragma("synchronous", "full")
    table.execute("CREATE TABLE last (key TEXT PRIMARY KEY, fields TEXT) WITHOUT ROWID")
    ways = {"ours": _ours(control, batch, commits), "append": _append(file, batch), "table": _table(table, batch)}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for first in range(0, commits, TURN):
        for way, commit in ways.items():
            for number in range(first, min(first + TURN, commits)):
                started = time.perf_counter()
                commit(number)
                seconds[way].append(time.perf_counter() - started)
    control.close()
    table.close()
    os.close(file)
    return {way: _figures(batch, taken) for way, taken in seconds.items()}


def _ours(control: Control, batch: int, commits: int) -> Callable[[int], None]:
    run = control.begin_run("memory.people", "identity")
    sync_id = control.register("memory.people", "identity", ["score"]).sync_id
    assert sync_id is not None
    total = batch * (commits + 1)
    plan = control.begin_plan(run, sync_id, "plan.parquet", total, total, "sha256:0", [])
    control.commit(sync_id, [], (plan, 0, batch))
    codes = bytes([Code.ACCEPTED]) * batch

    def commit(number: int) -> None:
        lo, hi = number * batch, (number + 1) * batch
        control.commit(sync_id, [Settled(plan, lo, codes, answers=ANSWERS)], (plan, hi, hi + batch))

    return commit


def _append(file: int, batch: int) -> Callable[[int], None]:
    codes = bytes([Code.ACCEPTED]) * batch

    def commit(number: int) -> None:
        os.write(file, f"{number} {batch} {ANSWERS}\n".encode() + codes)
        os.fdatasync(file)

    return commit


def _table(table: apsw.Connection, batch: int) -> Callable[[int], None]:
    upsert = "INSERT INTO last VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET fields = excluded.fields"

    def commit(number: int) -> None:
        keys = range(number * batch, (number + 1) * batch)
        table.execute("BEGIN IMMEDIATE")
        # Keys come in no order, as they do where somebody else has made them.
        table.executemany(upsert, ((f"usr_{key * 2_654_435_761 % 2**32:08x}", VALUES) for key in keys))
        table.execute("COMMIT")

    return commit


def _figures(batch: int, seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "commits": len(ordered),
        "per_second": batch * len(ordered) / sum(ordered),
        "p50_ms": ordered[len(ordered) // 2] * 1000,
        "p99_ms": ordered[len(ordered) * 99 // 100] * 1000,
    }


def table(figures: dict[str, Any]) -> list[str]:
    """The figures as Markdown."""
    lines = [
        "Acknowledgements made durable, batch by batch:",
        "",
        "| batch | | acknowledgements/s | ms a commit, median | 99 % | median, as a ratio to the file |",
        "| ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for batch, ways in figures.items():
        for way, name in WAYS.items():
            one = ways[way]
            lines.append(
                f"| {int(batch):,} | {name} | {one['per_second']:,.0f} | {one['p50_ms']:.2f} "
                f"| {one['p99_ms']:.2f} | {one['p50_ms'] / ways['append']['p50_ms']:.2f} |"
            )
    return lines
