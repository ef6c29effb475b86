"""Rows compared: ours, beside a plain loop over dictionaries, and beside the limit of one pass over aligned columns."""

from __future__ import annotations

import resource
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import children, nights
from syncer.canonical import canon
from syncer.compare import calculator, compare
from syncer.config_file import LocalState
from syncer.control import Code, Control, Settled
from syncer.destination import Limits
from syncer.plan import identity_text
from syncer.sources.duckdb import DuckDB
from syncer.state import Inputs, State

LIMITS = Limits(records=1_000)


def measure(folder: Path, options: Namespace) -> dict[str, Any]:
    """Three ways to compare the second night."""
    home = folder / "compare"
    home.mkdir()
    children.run("compare", "prepare", home, options.rows)
    return {way: children.run("compare", way, home) for way in ("ours", "loop", "limit")}


def child(words: list[str]) -> dict[str, Any]:
    """Both nights made, or one way measured."""
    way, home, *rest = words
    if way == "prepare":
        prepare(Path(home), int(rest[0]))
        return {}
    return {"ours": ours, "loop": loop, "limit": limit}[way](Path(home))


def table(figures: dict[str, Any]) -> list[str]:
    """The figures as Markdown."""
    ours, loop, limit = figures["ours"], figures["loop"], figures["limit"]
    rows = ours["rows"]
    lines = [
        f"Comparing {rows:,} rows x 16 fields, of which {ours['changed']:,} changed:",
        "",
        "| | wall s | CPU s | peak MiB | rows/s | time, as a ratio to ours |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    ways = (
        ("Syncer, durable plan included", ours),
        ("a loop over dictionaries", loop),
        ("one pass, columns in line", limit),
    )
    for name, one in ways:
        lines.append(
            f"| {name} | {one['wall_seconds']:.2f} | {one['cpu_seconds']:.2f} | {one['peak_mib']:,.0f} "
            f"| {rows / one['wall_seconds']:,.0f} | {one['wall_seconds'] / ours['wall_seconds']:.2f} |"
        )
    return lines


def prepare(folder: Path, rows: int) -> None:
    """Make both nights, and a state that holds the first as accepted."""
    nights.make(folder / "warehouse.duckdb", rows)
    control, state = Control.open(LocalState(path=str(folder / "state"))), State(folder / "state", "memory.people")
    state.folder.mkdir(parents=True, exist_ok=True)
    sync = nights.sync("first")
    source = DuckDB(folder / "warehouse.duckdb")
    standing = control.register(sync.name, identity_text(sync), [field.name for field in sync.fields])
    made, _ = canon(sync, source.schema(sync), LIMITS)
    assert made is not None
    assert standing.sync_id is not None
    reading = source.read(sync, sync.columns)
    with calculator(state.folder) as connection:
        plan = compare(connection, made, LIMITS, reading.batches, Inputs(standing, None, [], []), state.fresh("plan"))
    reading.close()
    run = control.begin_run(sync.name, identity_text(sync))
    number = control.begin_plan(run, standing.sync_id, plan.file.name, plan.total, plan.sendable, plan.digest, [])
    control.commit(standing.sync_id, [], (number, 0, plan.total))
    control.commit(standing.sync_id, [Settled(number, 0, bytes([Code.ACCEPTED]) * plan.total)], None)
    counts = {"planned": plan.total, "accepted": plan.total, "rejected": 0, "deferred": 0, "unsent": 0}
    control.finish_run(run, result="done", counts=counts, plan_id=number)
    with calculator(state.folder) as connection:
        standing = control.standing(sync.name)
        inputs = Inputs(standing, *state.known_files(standing), [])
        state.fold(control, inputs, list(plan.slots), 1, connection)
    control.close()


def ours(folder: Path) -> dict[str, Any]:
    """Plan the second night: read, map, compare, and a durable plan file with old and new values."""
    control, state = Control.open(LocalState(path=str(folder / "state"))), State(folder / "state", "memory.people")
    sync = nights.sync("second")
    source = DuckDB(folder / "warehouse.duckdb")
    made, _ = canon(sync, source.schema(sync), LIMITS)
    assert made is not None
    standing = control.standing(sync.name)
    started, spent = time.perf_counter(), time.process_time()
    base, plans = state.known_files(standing)
    reading = source.read(sync, sync.columns)
    with calculator(state.folder) as connection:
        plan = compare(
            connection, made, LIMITS, reading.batches, Inputs(standing, base, plans, []), state.fresh("plan")
        )
    reading.close()
    return _figures(started, spent) | {"changed": plan.changed, "rows": plan.rows}


def loop(folder: Path) -> dict[str, Any]:
    """The plain way: both nights as dictionaries, compared field by field in Python."""
    names = nights.columns()
    started, spent = time.perf_counter(), time.process_time()
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        chosen = ", ".join(
            ["user_id", *(name if not name.startswith("at_") else f"epoch_us({name})" for name in names)]
        )
        old = {row[0]: row[1:] for row in connection.execute(f"SELECT {chosen} FROM first").fetchall()}
        rows = changed = 0
        for row in connection.execute(f"SELECT {chosen} FROM second").fetchall():
            rows += 1
            before = old.get(row[0])
            fields = {name: new for name, new, was in zip(names, row[1:], before or (), strict=False) if new != was}
            changed += bool(fields)
    return _figures(started, spent) | {"changed": changed, "rows": rows}


def limit(folder: Path) -> dict[str, Any]:
    """The floor: read the source as Arrow once, decode the state's Parquet once, compare columns that lie in line.

    The lining up is done before the clock starts; no real comparison gets that for free.
    """
    (base,) = (folder / "state" / "memory.people").glob("base-*.parquet")
    state_keys = pq.read_table(base, columns=["key"])
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        connection.register("state_keys", state_keys.append_column("n", pa.arange(0, state_keys.num_rows)))
        aligned = connection.sql(
            "SELECT s.* FROM second s JOIN state_keys k ON k.key = s.user_id ORDER BY k.n"
        ).to_arrow_table()
        columns = [name for name in pq.read_schema(base).names if name[:1] == "f" and name[1:2].isdigit()]
        started, spent = time.perf_counter(), time.process_time()
        for batch in connection.sql("SELECT * FROM second").to_arrow_reader(65_536):
            batch.num_rows  # noqa: B018 - reading is the work
        decoded = pq.read_table(base, columns=columns)
        different = 0
        for column in columns:
            new = aligned.column(column.split("_", 1)[1])
            old = decoded.column(column)
            if pa.types.is_timestamp(old.type):
                new, old = new.cast(pa.int64()), old.cast(pa.int64())
            different += pc.sum(pc.not_equal(new, old)).as_py() or 0
        return _figures(started, spent) | {"changed": different, "rows": aligned.num_rows}


def _figures(started: float, spent: float) -> dict[str, float]:
    """Wall and CPU seconds since then, and the peak memory of this process in MiB."""
    return {
        "wall_seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - spent,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
