"""Two daemons over one control store: one runs, the other stands by and takes over."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import requests

from destinations.standins.server import Server
from tests.crash.standins import SlowCustomerio
from tests.crash.test_kill import PEOPLE, night
from tests.postgres import PostgresServer
from tests.workplace import NO_BRAKES, Process, Workplace, until

SYNC = "customerio.people"
SERVICE = '\n[service]\nlisten = "127.0.0.1:0"\n\n[schedule]\nevery = "1h"\n'


def events(process: Process) -> list[str]:
    """What a daemon has told so far."""
    return [json.loads(line)["event"] for line in process.err.splitlines(keepends=True) if line.endswith("\n")]


def state(process: Process) -> Any:
    """Where the sync stands, as a daemon says that has looked at its clock."""
    until(lambda: "serving" in events(process), "it serves")
    address = json.loads(process.err.splitlines()[0])["address"]
    return requests.get(f"{address}/api/syncs/{SYNC}", timeout=30).json()


def test_one_runs_and_the_other_takes_over(tmp_path: Path, postgres: PostgresServer) -> None:
    """While one daemon runs a sync the other stands by; when the first is killed the other takes over as soon as the
    lease has run out; and who comes later finds that there is nothing to do yet."""
    workplace, standin = Workplace(tmp_path, postgres.url()), SlowCustomerio()
    standin.held_back = threading.Event()
    processes: list[Process] = []

    def serve() -> Process:
        processes.append(workplace.start("serve"))
        return processes[-1]

    with Server({"": standin}):
        try:
            workplace.write({"customerio": standin.settings()}, {"customerio": PEOPLE}, NO_BRAKES + SERVICE)
            workplace.sql(night(0, is_growing=False))
            first = serve()
            until(lambda: standin.applied, "the first sends", seconds=90)
            second = serve()
            assert "running" == state(second)["state"]
            assert "run" not in events(second)
            first.kill()
            standin.held_back.set()
            until(lambda: "run" in events(second), "the second takes over", seconds=90)
            third = serve()
            waits = state(third)
            assert ("ok", 2) == (waits["state"], len(waits["runs"]))
            assert waits["next_run"] > waits["last_run"]["finished"]
            assert "run" not in events(third)
        finally:
            for one in processes:
                one.kill()
        done, killed = workplace.journal(SYNC)
        assert ("done", "failed", "schedule", "schedule") == (
            done.result,
            killed.result,
            done.facts["trigger"],
            killed.facts["trigger"],
        )
        assert len(standin.people) == done.accepted
        assert postgres.url() not in "".join(one.err for one in processes)
