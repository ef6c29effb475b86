"""What the daemon runs: what is due, once, and each destination beside the others."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import structlog

from syncer.service.timetable import Start
from tests.service.town import LISTEN, NEVER, Town, face_of
from tests.workplace import until

PEOPLE = "/api/syncs/customerio.people"


def test_an_outage_delays_only_its_own_destination(town: Town) -> None:
    """While all syncs of one destination hang or wait their turn, the other's run on, by schedule and by request."""
    town.customerio.held_back = threading.Event()
    with face_of(town, is_ticking=True) as face:
        until(lambda: town.customerio.applied == 1, "the slow destination is not asked")
        until(lambda: ["done"] == town.results("orbit.members"), "the other destination waits too")
        face.ended(face.ask("/api/syncs/orbit.members/runs", {})["request"])
        begun = [name for name in ("people", "people2", "people3") if town.results(f"customerio.{name}")]
        assert 1 == len(begun)
        assert ["running"] == town.results(f"customerio.{begun[0]}")
        town.customerio.held_back.set()
        until(lambda: ["done"] == town.results("customerio.people3"), "the others never get their turn")

    assert ["done", "done"] == town.results("orbit.members")


def test_a_source_that_has_not_changed_is_not_read(town: Town) -> None:
    """With `when = "source changed"` a sync runs once for each change, again after a run that was not whole, and
    whenever somebody asks for it."""
    town.settle(more=LISTEN + '\n[schedule]\nwhen = "source changed"\n')
    with face_of(town) as face:

        def due(times: int = 1) -> list[str]:
            for _ in range(times):
                face.daemon.desk.offer(Start("customerio.people", "schedule", face.daemon.engine.now()))
                until(face.daemon.desk.is_idle, "the desk is never done")
            return town.results("customerio.people")

        town.customerio.api_key, key = "changed", town.customerio.api_key
        assert ["failed"] == due()
        town.customerio.api_key = key
        assert ["failed", "done"] == due(3)
        town.sql("UPDATE people SET score = 7 WHERE user_id = 'u1'")
        assert ["failed", "done", "done"] == due(3)
        assert "done" == face.ended(face.ask(f"{PEOPLE}/runs", {})["request"])["state"]
        assert 4 == len(due())


def test_one_sync_after_another(town: Town) -> None:
    """A sync that waits for another one runs when that is done, and not when it has failed."""
    text = (town.folder / "mappings" / "orbit.toml").read_text()
    (town.folder / "mappings" / "orbit.toml").write_text(
        text.replace("[sync.fields]", 'schedule = { after = ["customerio.people"] }\n\n[sync.fields]')
    )
    config = town.folder / "config.toml"
    config.write_text(config.read_text() + NEVER)
    town.customerio.api_key, key = "changed", town.customerio.api_key
    with face_of(town, is_ticking=True) as face:
        assert "failed" == face.ended(face.ask(f"{PEOPLE}/runs", {})["request"])["state"]
        assert [] == town.results("orbit.members")
        town.customerio.api_key = key
        face.ended(face.ask(f"{PEOPLE}/runs", {})["request"])
        until(lambda: ["done"] == town.results("orbit.members"), "it never follows")
        schedule = face.ask("/api/syncs/orbit.members")

    assert ("after customerio.people", None, "after") == (
        schedule["schedule"], schedule["next_run"], schedule["last_run"]["trigger"]
    )  # fmt: skip


def test_a_fault_in_one_run_is_told_without_its_text(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    """The daemon outlives what it did not expect, and says kind and place of it, and no value."""
    town.settle(more=LISTEN + NEVER)
    with face_of(town) as face:

        def broken(*_: Any) -> None:
            raise KeyError("canary-plan")

        face.daemon.engine.prepare = broken  # type: ignore[method-assign,assignment]
        structlog.configure(
            processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory()
        )
        ended = face.ended(face.ask(f"{PEOPLE}/runs", {})["request"])
        del face.daemon.engine.prepare
        again = face.ended(face.ask(f"{PEOPLE}/runs", {})["request"])
    line = json.loads(capsys.readouterr().out.splitlines()[0])

    assert ("run_failed", "customerio.people", ended["error"]) == (line["event"], line["sync"], line["error"])
    assert line["error"].startswith("Syncer's fault: KeyError in test_running.py:")
    assert "canary-plan" not in str(line)
    assert ("failed", "done") == (ended["state"], again["state"])


def test_a_sync_that_another_process_runs_is_waited_for(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is not refused: it runs when the other process is done."""
    monkeypatch.setattr("syncer.service.desk.BUSY_SECONDS", 0.05)
    monkeypatch.setattr("syncer.service.desk.LOOK_SECONDS", 0.05)
    town.settle(more=LISTEN + NEVER)
    town.customerio.held_back = threading.Event()
    process = town.start("sync", "customerio.people")
    until(lambda: town.customerio.applied == 1, "the command never sends")
    with face_of(town) as face:
        request = face.ask(f"{PEOPLE}/runs", {})["request"]
        holder = face.ask(PEOPLE)["running"]["holder"]
        town.customerio.held_back.set()
        ended = face.ended(request)

    assert f"process {process.popen.pid}" in holder
    assert (0, "done") == (process.end().code, ended["state"])


@pytest.mark.parametrize("triggers", [40])
def test_a_storm_of_triggers_is_a_few_runs(town: Town, triggers: int) -> None:
    """However many triggers come, one run follows the one under way; each trigger is answered, and durable."""
    town.settle(more=LISTEN + NEVER)
    with face_of(town) as face:
        answers = [face.ask(f"{PEOPLE}/runs", {"by": "storm"}) for _ in range(triggers)]
        last = face.ended(answers[-1]["request"])

    runs = town.results("customerio.people")
    assert "done" == last["state"]
    assert len({one["request"] for one in answers}) == len(runs)
    assert {"done"} == set(runs)


def test_a_run_of_some_keys_is_not_the_one_that_is_due(town: Town) -> None:
    """What somebody asks for of one record, by command or over HTTP, moves no start of the schedule."""
    town.settle(more=LISTEN + NEVER)
    with face_of(town) as face:
        whole = face.ended(face.ask(f"{PEOPLE}/runs", {})["request"])
        started = face.daemon.engine.control().latest()["customerio.people"]
        assert "done" == face.ended(face.ask(f"{PEOPLE}/runs", {"only": ["u1"]})["request"])["state"]
        assert 0 == town.command("sync", "customerio.people", "--only", "u2").code

        assert started == face.daemon.engine.control().latest()["customerio.people"]
        assert 3 == len(face.ask(f"{PEOPLE}/runs")["runs"])
        assert whole["run"] == face.ask(f"{PEOPLE}/runs?limit=1&before=2")["runs"][0]["run"]


def test_what_another_process_has_done_is_not_done_again(town: Town) -> None:
    """A start that waited while a command ran the sync is over with it."""
    town.settle(more=LISTEN + NEVER)
    with face_of(town) as face:
        now = face.daemon.engine.now()
        assert 0 == town.command("sync", "customerio.people").code
        face.daemon.desk.offer(Start("customerio.people", "schedule", now))
        until(face.daemon.desk.is_idle, "the desk is never done")
        assert ["done"] == town.results("customerio.people")
        face.daemon.desk.offer(Start("customerio.people", "schedule", face.daemon.engine.now()))
        until(lambda: ["done", "done"] == town.results("customerio.people"), "a start after it does not run")
