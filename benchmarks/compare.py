"""Rows compared: ours, beside a plain loop over dictionaries, and beside the limit of one pass over aligned columns.

The source is an Arrow file that is mapped into memory, as batches come from a warehouse; it is in another order than
the state. A grid of sizes and shares shows what a row costs and what a change costs.
"""

from __future__ import annotations

import shutil
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import children, nights
from benchmarks.meter import watched
from syncer.calculator import calculator
from syncer.canonical import canon
from syncer.compare import compare
from syncer.config_file import LocalState
from syncer.control import Code, Control, Settled
from syncer.destination import Limits
from syncer.plan import Plan, identity_text
from syncer.state import Inputs, State

LIMITS = Limits(records=1_000)
BATCH_ROWS = 65_536
SIZES = (100_000, 1_000_000, 10_000_000)
SHARES = {"0.1 %": 0.001, "1 %": 0.01, "30 %": 0.3}
FIRST = "first run"
WAYS = ("ours", "limit", "loop")
TIMES = 3
"""Measurements of ours and of the limit, whose median counts; a loop is measured once."""
LOOP_ROWS_MAX = 1_000_000
"""Of more rows a loop is measured at one share only: it takes minutes and many GiB."""


def measure(folder: Path, options: Namespace) -> dict[str, Any]:
    """The grid: size → share → way → figures. `--rows` is the largest size."""
    home = folder / "compare"
    found: dict[str, Any] = {}
    for rows in [size for size in SIZES if size <= options.rows] or [options.rows]:
        of_size = found[str(rows)] = {}
        home.mkdir()
        children.run("compare", "prepare", home, rows)
        for share in (*SHARES, FIRST):
            ways = [way for way in WAYS if way != "loop" or rows <= LOOP_ROWS_MAX or share == "1 %"]
            of_size[share] = {way: _median(way, home, share) for way in ways}
        shutil.rmtree(home)
    return found


def _median(way: str, home: Path, share: str) -> dict[str, Any]:
    every = [children.run("compare", way, home, share) for _ in range(1 if way == "loop" else TIMES)]
    return {name: median(one[name] for one in every) for name in every[0]}


def child(words: list[str]) -> dict[str, Any]:
    """The nights made, or one way measured."""
    way, home, rest = words
    if way == "prepare":
        prepare(Path(home), int(rest))
        return {}
    return {"ours": ours, "loop": loop, "limit": limit}[way](Path(home), rest)


def table(figures: dict[str, Any]) -> list[str]:
    """The figures as Markdown."""
    columns = ("rows", "changed", "changes", "wall s", "CPU s", "own MiB", "peak MiB", "limit, s", "ours / limit")
    columns += ("loop, s", "loop / ours", "loop, own MiB")
    lines = ["Comparing tables of 16 fields, with a durable plan of old and new values:", ""]
    lines += [f"| {' | '.join(columns)} |", f"|{' ---: |' * len(columns)}"]
    for rows, shares in figures.items():
        for share, ways in shares.items():
            ours, limit, loop = (ways.get(way) for way in WAYS)
            numbers = [
                f"{int(rows):,}", share, f"{ours['changes']:,.0f}",
                *(f"{ours[name]:.2f}" for name in ("wall_seconds", "cpu_seconds")),
                *(f"{ours[name]:,.0f}" for name in ("own_mib", "peak_mib")),
                f"{limit['wall_seconds']:.2f}", f"{ours['wall_seconds'] / limit['wall_seconds']:.2f}",
            ]  # fmt: skip
            numbers += ["", "", ""]
            if loop:
                slower = loop["wall_seconds"] / ours["wall_seconds"]
                numbers[-3:] = [f"{loop['wall_seconds']:.2f}", f"{slower:.1f}", f"{loop['own_mib']:,.0f}"]
            lines.append(f"| {' | '.join(numbers)} |")
    lines += ["", "What a row and a change cost of CPU, out of the nights with the fewest and the most changes:", ""]
    lines += ["| rows | µs a row | µs a change |", "| ---: | ---: | ---: |"]
    for rows, shares in figures.items():
        few, many = (shares[share]["ours"] for share in ("0.1 %", "30 %"))
        change = (many["cpu_seconds"] - few["cpu_seconds"]) / (many["changes"] - few["changes"])
        row = (few["cpu_seconds"] - change * few["changes"]) / int(rows)
        lines.append(f"| {int(rows):,} | {row * 1e6:.2f} | {change * 1e6:.2f} |")
    return lines


def prepare(folder: Path, rows: int) -> None:
    """Make the nights as Arrow files, and a state that holds the first as accepted."""
    nights.make_arrow(folder, rows, SHARES)
    sync = nights.sync("first")
    state = State(folder / "state", sync.name)
    state.folder.mkdir(parents=True, exist_ok=True)
    control = Control.open(LocalState(path=str(folder / "state")))
    standing = control.register(sync.name, identity_text(sync), [field.name for field in sync.fields])
    assert standing.sync_id is not None
    with calculator(state.folder) as connection:
        plan = _plan(connection, folder / "first.arrow", Inputs(standing, None, [], []), state.fresh("plan"))
        run = control.begin_run(sync.name, identity_text(sync))
        number = control.begin_plan(run, standing.sync_id, plan.file.name, plan.total, plan.sendable, plan.digest, [])
        control.commit(standing.sync_id, [], (number, 0, plan.total))
        control.commit(standing.sync_id, [Settled(number, 0, bytes([Code.ACCEPTED]) * plan.total)], None)
        counts = {"planned": plan.total, "accepted": plan.total, "rejected": 0, "deferred": 0, "unsent": 0}
        control.finish_run(run, result="done", counts=counts, plan_id=number)
        standing = control.standing(sync.name)
        state.fold(control, Inputs(standing, *state.known_files(standing), []), list(plan.slots), 1, connection)
    control.close()


def ours(folder: Path, share: str) -> dict[str, Any]:
    """Plan a night: map, compare, and a durable plan file with old and new values."""
    control, state = Control.open(LocalState(path=str(folder / "state"))), State(folder / "state", "memory.people")
    known = control.standing("memory.people")
    with watched() as figures:
        if share == FIRST:
            inputs, night = Inputs(known, None, [], []), "first"
        else:
            inputs, night = Inputs(known, *state.known_files(known), []), share
        with calculator(state.folder) as connection:
            plan = _plan(connection, folder / f"{night}.arrow", inputs, state.fresh("plan"))
    control.close()
    plan.file.unlink()
    return figures | {"changes": plan.total, "rows": plan.rows}


def _plan(connection: duckdb.DuckDBPyConnection, night: Path, inputs: Inputs, file: Path) -> Plan:
    sync = nights.sync("any")
    with pa.memory_map(str(night)) as mapped:
        source = pa.ipc.open_file(mapped)
        made, _ = canon(sync, source.schema, LIMITS)
        assert made is not None
        batches = (source.get_batch(number) for number in range(source.num_record_batches))
        return compare(
            connection, made, LIMITS, pa.RecordBatchReader.from_batches(source.schema, batches), inputs, file
        )


def loop(folder: Path, share: str) -> dict[str, Any]:
    """The plain way: both nights as dictionaries, compared field by field in Python."""
    names = nights.columns()
    with watched() as figures:
        old: dict[str, tuple[Any, ...]] = {}
        if share != FIRST:
            old = {key: values for key, *values in _rows(folder / "first.arrow", names)}
        rows = changes = 0
        for key, *values in _rows(folder / f"{'first' if share == FIRST else share}.arrow", names):
            rows += 1
            before = old.pop(key, None)
            fields = {name: new for name, new, was in zip(names, values, before or (), strict=False) if new != was}
            changes += before is None or bool(fields)
    return figures | {"changes": changes, "rows": rows}


def _rows(night: Path, names: list[str]) -> Iterator[tuple[Any, ...]]:
    """Key and values of every row, times as whole microseconds, as the fastest plain readers give them."""
    with pa.memory_map(str(night)) as mapped:
        source = pa.ipc.open_file(mapped)
        for number in range(source.num_record_batches):
            batch = source.get_batch(number)
            columns = [
                column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
                for name in ["user_id", *names]
                for column in [batch.column(name)]
            ]
            yield from zip(*(column.to_pylist() for column in columns), strict=True)


def limit(folder: Path, share: str) -> dict[str, Any]:
    """The floor: decode the state's Parquet once, and compare once with columns of the source that lie in line.

    The lining up is done before the clock starts; no real comparison gets that for free, nor maps nothing, nor writes
    nothing. For a first run, which compares with nothing, it is writing the source's columns once.
    """
    if share == FIRST:
        return _written(folder)
    (base,) = (folder / "state" / "memory.people").glob("base-*.parquet")
    columns = [name for name in pq.read_schema(base).names if name[:1] == "f" and name[1:2].isdigit()]
    line = folder / "line.arrow"
    _line_up(folder / f"{share}.arrow", base, line)
    with watched() as figures, pa.memory_map(str(line)) as mapped:
        aligned = pa.ipc.open_file(mapped).read_all()
        decoded = pq.read_table(base, columns=columns)
        different = 0
        for column in columns:
            new, old = aligned.column(column.split("_", 1)[1]), decoded.column(column)
            if pa.types.is_timestamp(old.type):
                new, old = new.cast(pa.int64()), old.cast(pa.int64())
            different += pc.sum(pc.not_equal(new, old)).as_py() or 0
    line.unlink()
    return figures | {"changes": different, "rows": aligned.num_rows}


def _line_up(night: Path, base: Path, line: Path) -> None:
    """The night's rows in the state's order, whatever is not in it left out, as a file that can be mapped."""
    keys = pq.read_table(base, columns=["key"])
    with duckdb.connect() as connection, pa.memory_map(str(night)) as mapped:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("source", pa.ipc.open_file(mapped).read_all())
        connection.register("state_keys", keys.append_column("n", pa.array(range(keys.num_rows))))
        reader = connection.sql(
            "SELECT s.* FROM state_keys k LEFT JOIN source s ON s.user_id = k.key ORDER BY k.n"
        ).to_arrow_reader(BATCH_ROWS)
        with pa.OSFile(str(line), "wb") as sink, pa.ipc.new_file(sink, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)


def _written(folder: Path) -> dict[str, Any]:
    with watched() as figures, duckdb.connect() as connection, pa.memory_map(str(folder / "first.arrow")) as mapped:
        connection.register("source", pa.ipc.open_file(mapped).read_all())
        file = folder / "written.parquet"
        options = "FORMAT parquet, COMPRESSION lz4_raw, PARQUET_VERSION v2"
        (rows,) = connection.execute(f"COPY source TO '{file}' ({options})").fetchall()[0]
        file.unlink()
    return figures | {"changes": rows, "rows": rows}
