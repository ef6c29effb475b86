"""A whole night: many users of whom few have changed, into three services side by side, and where the time goes.

What runs is `syncer sync`, as a process of its own, on a state that holds the night before as accepted; each stand-in
is another process, strict, and paced no slower than it can answer. Seconds of stages are those of the journal: of the
thread that runs a sync, and exclusive. The same night is then sent to one service after the other, each from the same
state again, to tell what doing it side by side is worth.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from benchmarks import children, meter, nights

KINDS = ("customerio", "salesforce", "orbit")
STAGES = ("read", "map", "compare", "judge", "push", "commit")
LOOK_SECONDS = 0.02
"""How often a process's memory is looked at."""


def measure(folder: Path, options: Namespace) -> dict[str, Any]:
    """One night to all at once, and the same one to each alone; of several nights the one of median length."""
    home, warehouse = folder / "night", nights.ready(folder, options.users)
    home.mkdir()
    with _standins(warehouse, home, KINDS) as told:
        children.run("night", "accept", home, told)
    ways = {"together": KINDS, **{kind: (kind,) for kind in KINDS}}
    taken: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for _ in range(options.nights):
        for way, kinds in ways.items():
            # New ones each time: what is written once more might cost a service less.
            with _standins(warehouse, home, kinds) as told:
                taken[way].append(children.run("night", "send", home, told))
    median = {way: sorted(all_, key=lambda one: one["wall_seconds"])[len(all_) // 2] for way, all_ in taken.items()}
    return {"users": options.users, "together": median.pop("together"), "alone": median}


def child(words: list[str]) -> dict[str, Any]:
    """A stand-in, the night before, or this one."""
    what, *rest = words
    if what == "serve":
        serve(rest[0], Path(rest[1]), Path(rest[2]))
        return {}
    home, told = Path(rest[0]), json.loads(rest[1])
    if what == "accept":
        accept(home, told)
        return {}
    return send(home, told)


@contextlib.contextmanager
def _standins(warehouse: Path, home: Path, kinds: Sequence[str]) -> Iterator[str]:
    """One of each kind; what its section of the config is, and where the warehouse is, as JSON."""
    with contextlib.ExitStack() as stack:
        settings = {}
        for kind in kinds:
            port_file = home / f"{kind}.json"
            told = stack.enter_context(children.serving(port_file, "night", "serve", kind, warehouse))
            settings[kind] = told["settings"]
        yield json.dumps({"warehouse": str(warehouse / "warehouse.duckdb"), "settings": settings})


def serve(kind: str, warehouse: Path, port_file: Path) -> None:
    """Serve one stand-in, in which those are known who have changed, until this process is ended."""
    from destinations.standins import standins
    from destinations.standins.server import Server

    standin: Any = standins()[kind]()
    with duckdb.connect(str(warehouse / "warehouse.duckdb"), read_only=True) as connection:
        query = "SELECT user_id FROM first JOIN second USING (user_id) WHERE first.score_0 <> second.score_0"
        changed = [key for (key,) in connection.execute(query).fetchall()]
    _service(kind).prepare(standin)
    _service(kind).know(standin, changed)
    with Server({"": standin}):
        children.serve(port_file, {"settings": standin.settings()})


def _files(home: Path, told: dict[str, Any], table: str, state: str) -> Path:
    """The config and its mappings; its file."""
    sections = [f"[destinations.{kind}]\n{settings}\n" for kind, settings in told["settings"].items()]
    config = home / "config.toml"
    config.write_text(
        f'[source]\ntype = "duckdb"\npath = {json.dumps(told["warehouse"])}\n\n[state]\ntype = "local"\n'
        f'path = "{state}"\n\n[brakes]\nmax_age = "3650d"\n\n' + "\n".join(sections)
    )
    shutil.rmtree(home / "mappings", ignore_errors=True)
    (home / "mappings").mkdir()
    for kind in told["settings"]:
        made = _service(kind).mapping(nights.columns())
        text = made.replace("FROM first", f"FROM {table}").replace('source = "first"', f'source = "{table}"')
        (home / "mappings" / f"{kind}.toml").write_text(text)
    return config


def _service(kind: str) -> Any:
    return importlib.import_module(f"benchmarks.services.{kind}")


def accept(home: Path, told: dict[str, Any]) -> None:
    """Plan the first night for each, and remember all of it as accepted. Nothing is sent."""
    import destinations
    from syncer.config import load
    from syncer.control import Code, Settled
    from syncer.plan import identity_text
    from syncer.run import Engine
    from syncer.sources import source_of

    config = load(_files(home, told, "first", "state"), destinations.adapter, destinations.kinds)
    engine = Engine(config, source_of(config.source), destinations.adapter)
    for sync in config.syncs:
        prepared, state = engine.prepare(sync), engine.state(sync.name)
        with engine.control().exclusively(sync.name) as control:
            state.clean(control)
            run = control.begin_run(sync.name, identity_text(sync))
            standing = control.register(sync.name, identity_text(sync), [field.name for field in sync.compared])
            assert standing.sync_id is not None
            plan = engine.everything(prepared, standing, state.fresh("plan"))
            total = plan.total
            number = control.begin_plan(run, standing.sync_id, plan.file.name, total, total, plan.digest, [])
            control.commit(standing.sync_id, [], (number, 0, total))
            control.commit(standing.sync_id, [Settled(number, 0, bytes([Code.ACCEPTED]) * total)], None)
            counts = {"planned": total, "accepted": total, "rejected": 0, "deferred": 0, "unsent": 0}
            control.finish_run(run, result="done", counts=counts, plan_id=number)
            engine.fold(state, control, prepared)
    engine.close()


def send(home: Path, told: dict[str, Any]) -> dict[str, Any]:
    """`syncer sync` of the destinations that are there, on a copy of the state."""
    from syncer.config_file import LocalState
    from syncer.control import Control

    shutil.rmtree(home / "sent", ignore_errors=True)
    shutil.copytree(home / "state", home / "sent")
    config = _files(home, told, "second", "sent")
    words = ["--config", str(config), "--log-format", "json", "sync", "--json"]
    meter_ = meter.Meter()
    with (home / "told.json").open("w") as out, (home / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "syncer", *words], stdout=out, stderr=log)
        anonymous = 0.0
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            with contextlib.suppress(LookupError):  # A process that has ended has no memory.
                anonymous = max(anonymous, meter.status_mib("RssAnon", process.pid))
            time.sleep(LOOK_SECONDS)
    figures = {"wall_seconds": meter_.seconds()["wall_seconds"], "anonymous_mib": anonymous}
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    assert process.returncode == 0, (home / "log").read_text()[-2000:] + (home / "told.json").read_text()
    control = Control.look(LocalState(path=home / "sent"))
    assert control is not None
    syncs = {}
    for one in json.loads((home / "told.json").read_text())["syncs"]:
        (run,) = control.runs(one["sync"])
        syncs[one["sync"]] = {
            "accepted": one["accepted"],
            "requests": one["requests"],
            "seconds": one["seconds"],
            "stages": run.facts["stages"],
        }
    control.close()
    used = ended[2]
    return figures | {"cpu_seconds": used.ru_utime + used.ru_stime, "syncs": syncs}


def table(figures: dict[str, Any]) -> list[str]:
    """The figures as Markdown."""
    together, alone = figures["together"], figures["alone"]
    lines = [
        f"A night of {figures['users']:,} users, 1 % of them changed, into three stand-ins; seconds of each stage:",
        "",
        f"| | changes | requests | {' | '.join(STAGES)} | the rest | run |",
        "| --- | ---: | ---: |" + " ---: |" * (len(STAGES) + 2),
    ]
    for title, runs in (("side by side", [together]), ("alone", alone.values())):
        for one in runs:
            lines += [_row(f"{sync}, {title}", told) for sync, told in one["syncs"].items()]
    walls = [one["wall_seconds"] for one in alone.values()]
    lines += [
        "",
        "| `syncer sync`, whole | wall s | CPU s | own memory, MiB at most | wall, as a ratio to all at once |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, wall, cpu, memory in (
        ("all three at once", together["wall_seconds"], together["cpu_seconds"], together["anonymous_mib"]),
        (
            "one after the other",
            sum(walls),
            sum(one["cpu_seconds"] for one in alone.values()),
            max(one["anonymous_mib"] for one in alone.values()),
        ),
        *((kind, one["wall_seconds"], one["cpu_seconds"], one["anonymous_mib"]) for kind, one in alone.items()),
    ):
        lines.append(f"| {name} | {wall:.2f} | {cpu:.2f} | {memory:,.0f} | {wall / together['wall_seconds']:.2f} |")
    return lines


def _row(title: str, told: dict[str, Any]) -> str:
    stages = [told["stages"].get(stage, 0.0) for stage in STAGES]
    seconds = " | ".join(f"{one:.2f}" for one in [*stages, max(0.0, told["seconds"] - sum(stages)), told["seconds"]])
    return f"| {title} | {told['accepted']:,} | {told['requests']:,} | {seconds} |"
