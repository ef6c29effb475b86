"""How long commands take from nothing, as whole processes, and what a daemon needs that has nothing to do.

Commands take turns with the two references: a Python that does nothing, and one that only loads the two libraries that
planning cannot do without. Each is started by a small process of its own, since a process counts what the one that
started it had resident as its own peak.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from benchmarks import children, meter, nights

ROWS = 5_000
SYNCS = 3
SETTLE_SECONDS = 10.0
"""After its runs a daemon tidies up."""
COMMANDS = {
    "nothing": "`python -c pass`",
    "libraries": '`python -c "import duckdb, pyarrow"`',
    "help": "`syncer --help`",
    "version": "`syncer --version`",
    "status": f"`syncer status`, {SYNCS} syncs",
    "diff": f"`syncer diff`, {ROWS:,} rows x 16 fields, 1 % changed",
}
_STARTED = """
import json, os, sys, time
began = time.perf_counter()
if not (child := os.fork()):
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.execv(sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(child, 0)
wall = time.perf_counter() - began
print(json.dumps([status, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""
"""Starts a command, and says how it ended and what it took."""


def measure(folder: Path, options: Namespace) -> dict[str, Any]:
    """A daemon that sends the first night and then has nothing to do; then commands, on what it left."""
    home = folder / "start"
    (home / "mappings").mkdir(parents=True)
    with children.serving(home / "standin.json", "start", "serve") as told:
        warehouse = nights.ready(folder, ROWS) / "warehouse.duckdb"
        (home / "config.toml").write_text(
            f'[source]\ntype = "duckdb"\npath = {json.dumps(str(warehouse))}\n\n[brakes]\nmax_age = "3650d"\n\n'
            '[schedule]\nevery = "1d"\n\n[service]\nlisten = "127.0.0.1:0"\n\n'
            f"[destinations.customerio]\n{told['settings']}\n"
        )
        _write_mapping(home, "first")
        idle = children.run("start", "idle", home, options.idle)
    _write_mapping(home, "second")
    return {"commands": children.run("start", "commands", home, options.starts), "idle": idle}


def child(words: list[str]) -> dict[str, Any]:
    """One of the two measurements, or the stand-in."""
    what, place, *rest = words
    if what == "serve":
        serve(Path(place))
        return {}
    return commands(Path(place), int(rest[0])) if what == "commands" else idle(Path(place), float(rest[0]))


def serve(port_file: Path) -> None:
    """Serve customer.io until this process is ended."""
    from destinations.standins.customerio import CustomerioStandIn
    from destinations.standins.server import Server

    standin = CustomerioStandIn()
    with Server({"": standin}):
        children.serve(port_file, {"settings": standin.settings()})


def _write_mapping(home: Path, table: str) -> None:
    syncs = []
    for number in range(SYNCS):
        fields = "\n".join(f'{name}_of_{number} = "{name}"' for name in nights.columns())
        syncs.append(
            f'[[sync]]\nname = "people_{number}"\nsource = "{table}"\nkey = "user_id"\nobject = "person"\n'
            f'match = {{ id = "user_id" }}\nmissing = "create"\n\n[sync.fields]\n{fields}\n'
        )
    (home / "mappings" / "customerio.toml").write_text("\n".join(['destination = "customerio"\n', *syncs]))


def commands(home: Path, rounds: int) -> dict[str, Any]:
    """Medians of so many starts of each."""
    python, syncer = sys.executable, [sys.executable, "-m", "syncer", "--config", str(home / "config.toml")]
    words = {
        "nothing": [python, "-c", "pass"],
        "libraries": [python, "-c", "import duckdb, pyarrow"],
        "help": [*syncer, "--help"],
        "version": [*syncer, "--version"],
        "status": [*syncer, "status"],
        "diff": [*syncer, "diff", "customerio.people_0"],
    }
    taken: dict[str, list[list[float]]] = {name: [] for name in words}
    for _ in range(rounds):
        for name, command in words.items():
            starter = [python, "-I", "-S", "-c", _STARTED, *command]
            status, *figures = json.loads(subprocess.run(starter, check=True, stdout=subprocess.PIPE).stdout)
            assert status == 0, (name, status)
            taken[name].append(figures)
    return {name: _medians(figures) for name, figures in taken.items()}


def _medians(figures: list[list[float]]) -> dict[str, float]:
    wall, cpu, peak = map(statistics.median, zip(*figures, strict=True))
    return {"wall_seconds": wall, "cpu_seconds": cpu, "peak_mib": peak}


def idle(home: Path, seconds: float) -> dict[str, Any]:
    """What a daemon uses that has run each sync once."""
    command = [sys.executable, "-m", "syncer", "--config", str(home / "config.toml"), "serve"]
    with (home / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        while _done(home) < SYNCS:
            assert process.poll() is None, (home / "log").read_text()
            time.sleep(0.2)
        time.sleep(min(SETTLE_SECONDS, seconds))
        cpu, wakes = _cpu_seconds(process.pid), _wakes(process.pid)
        time.sleep(seconds)
        figures = {
            "seconds": seconds,
            "cpu_seconds": _cpu_seconds(process.pid) - cpu,
            "wakes": _wakes(process.pid) - wakes,
            "rss_mib": meter.status_mib("VmRSS", process.pid),
            "anonymous_mib": meter.status_mib("RssAnon", process.pid),
            "threads": len([*Path(f"/proc/{process.pid}/task").iterdir()]),
        }
        process.terminate()
    assert process.returncode == 0, process.returncode
    return figures


def _done(home: Path) -> int:
    """How many syncs have run."""
    from syncer.config_file import LocalState
    from syncer.control import Control

    control = Control.look(LocalState(path=home / "state"))
    if control is None:
        return 0
    done = sum(one.done is not None for one in control.latest().values())
    control.close()
    return done


def _cpu_seconds(pid: int) -> float:
    """What a process has spent so far, to the hundredth that the kernel counts in."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _wakes(pid: int) -> int:
    """How often its threads have waited for something; those that are gone do not count."""
    statuses = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for text in statuses)


def table(figures: dict[str, Any]) -> list[str]:
    """The figures as Markdown."""
    measured, idle = figures["commands"], figures["idle"]
    lines = [
        "Commands from nothing, as whole processes:",
        "",
        "| | wall s | CPU s | peak MiB | CPU, as a ratio to nothing | to the two libraries |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, title in COMMANDS.items():
        one = measured[name]
        ratios = [one["cpu_seconds"] / measured[reference]["cpu_seconds"] for reference in ("nothing", "libraries")]
        lines.append(
            f"| {title} | {one['wall_seconds']:.3f} | {one['cpu_seconds']:.3f} | {one['peak_mib']:,.0f} "
            f"| {ratios[0]:.1f} | {ratios[1]:.2f} |"
        )
    lines.append("")
    lines.append(
        f"A daemon that has sent {SYNCS} syncs of {ROWS:,} rows and waits for the next night: "
        f"{idle['rss_mib']:,.0f} MiB resident, of which {idle['anonymous_mib']:,.0f} MiB are its own; "
        f"{idle['threads']} threads, which wake {idle['wakes'] / idle['seconds']:.0f} times a second and take "
        f"{idle['cpu_seconds'] / idle['seconds']:.2%} of a processor."
    )
    return lines
