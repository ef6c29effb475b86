"""The process of the daemon: what it runs, logs and refuses, and a polite end."""

from __future__ import annotations

import json
import shutil
import signal
import socket
from typing import Any

import pytest
import requests

from destinations.standins.server import Answer
from syncer.errors import SyncBusy, UserError
from tests.service.town import LISTEN, NEVER, ROWS, VALUE, Town, face_of
from tests.workplace import Process, until


@pytest.mark.parametrize("breaks", ["missing", "dropped", "damaged"])
def test_a_run_that_cannot_begin_is_in_the_journal(town: Town, breaks: str) -> None:
    """A source that is out of reach, or a column that is gone, is a failed run of the daemon's, also for `status`."""
    town.settle(more=LISTEN + NEVER)
    with face_of(town) as face:
        assert "done" == face.ended(face.ask("/api/syncs/customerio.people/runs", {})["request"])["state"]
        if breaks == "dropped":
            town.sql("ALTER TABLE people DROP COLUMN score")
        elif breaks == "missing":
            town.warehouse.unlink()
        else:
            town.warehouse.write_bytes(town.warehouse.read_bytes()[:20_000])
        ended = face.ended(face.ask("/api/syncs/customerio.people/runs", {})["request"])
        status = face.ask("/api/syncs/customerio.people")
    newest = town.journal("customerio.people")[0]

    assert ("failed", "failed", ROWS) == (ended["state"], status["state"], status["known"])
    assert ("failed", "request", 0) == (newest.result, newest.facts["trigger"], newest.planned)
    sentence = {"missing": "There is no file", "dropped": "There is no column score", "damaged": "is damaged"}[breaks]
    assert sentence in status["last_run"]["error"] == ended["error"]
    place = "mappings/customerio.toml" if breaks == "dropped" else "config.toml"
    assert place in status["last_run"]["error"].split(": ")[0]


def test_a_command_that_cannot_begin_is_in_the_journal(town: Town) -> None:
    """`sync` writes a failed run for each sync that cannot begin; `diff` and `check` write nothing."""
    town.warehouse.rename(town.folder / "elsewhere")
    assert [1, 1] == [town.command(command).code for command in ("diff", "check")]
    assert not town.state.exists()

    result = town.command("sync")

    assert (1, 1) == (result.code, result.err.count("There is no file"))
    assert ["failed"] == town.results("customerio.people") == town.results("orbit.members")
    assert 1 == town.command("status").code


def test_a_refusal_waits_for_nobody(town: Town) -> None:
    """While another process has the sync, or when the state cannot be written, a run that cannot begin is only told."""
    town.warehouse.unlink()
    engine = town.engine()
    (sync,) = engine.config.choose(["customerio.people"])
    with engine.control().exclusively(sync.name):
        engine.refused(sync, UserError("no"), "command")
    engine.refused(sync, SyncBusy("busy"), "command")
    assert [] == town.results("customerio.people")

    engine.close()
    shutil.rmtree(town.state)
    town.state.write_text("")
    engine.refused(sync, UserError("no"), "command")
    engine.close()

    assert "" == town.state.read_text()


def lines(process: Process) -> list[dict[str, Any]]:
    """Log lines so far; every whole line is JSON."""
    return [json.loads(line) for line in process.err.splitlines(keepends=True) if line.endswith("\n")]


def test_serve(town: Town) -> None:
    """Runs at once, tells each run in one JSON line without values, answers over HTTP, and goes when asked to."""
    town.orbit.trouble("status", times=None, answer=Answer(401, {"errors": ["no"]}))
    process = town.start("serve")

    def has_run() -> bool:
        return len([one for one in lines(process) if one["event"] == "run"]) == 4 or not process.is_running

    until(has_run, "runs", 90)
    address = lines(process)[0]["address"]
    health = requests.get(f"{address}/healthz", timeout=10).json()
    syncs = requests.get(f"{address}/api/syncs", timeout=10).json()["syncs"]
    reading = town.run("status", "--json")
    process.signal(signal.SIGTERM)
    result = process.end(30)

    assert (0, "") == (result.code, result.out)
    told = lines(process)
    assert ["serving", *["run"] * 4, "stopping", "stopped"] == [one["event"] for one in told]
    runs = {one["sync"]: one for one in told if one["event"] == "run"}
    good = runs["customerio.people2"]
    assert ("done", "info", ROWS, ROWS) == tuple(good[name] for name in ("result", "level", "planned", "accepted"))
    assert ("failed", "warning") == tuple(runs["orbit.members"][name] for name in ("result", "level"))
    assert "ok" == health["status"]
    by_name = {one["sync"]: one for one in syncs}
    assert ("ok", "schedule", ROWS) == (
        by_name["customerio.people"]["state"],
        by_name["customerio.people"]["last_run"]["trigger"],
        by_name["customerio.people"]["known"],
    )
    assert ("failed", 1) == (by_name["orbit.members"]["state"], reading.code)
    assert [] == [
        text for text in (VALUE, "u1@example.com", "orbit-api-key", "standin-track-key") if text in result.err
    ]


def test_serve_on_a_port_that_is_taken(town: Town) -> None:
    """A sentence, exit 1, and no run."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        town.settle(more=f'\n[service]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n')
        result = town.run("serve")

    assert 1 == result.code
    assert "cannot be listened on; another program may have it. Write another `service.listen`." in " ".join(
        result.err.split()
    )
    assert "Traceback" not in result.err
    assert 0 == town.customerio.count
