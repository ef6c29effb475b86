"""A daemon that is never restarted: files read anew, secrets that change, pauses and requests that outlive a kill."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import structlog

from syncer.account import Options
from syncer.errors import UserError
from syncer.logs import configure
from tests.service.town import LISTEN, NEVER, ROWS, Face, Town, face_of
from tests.workplace import Process, until

PEOPLE = "/api/syncs/customerio.people"


@pytest.fixture
def ticking(town: Town, monkeypatch: pytest.MonkeyPatch) -> Iterator[Face]:
    """A daemon that looks at its files twenty times a second."""
    monkeypatch.setattr("syncer.service.daemon.TICK_SECONDS", 0.05)
    town.settle(more=LISTEN + NEVER)
    with face_of(town, is_ticking=True) as face:
        yield face


def test_a_changed_mapping_counts_at_once(town: Town, ticking: Face) -> None:
    """A sync that is taken out, one that is new, and another schedule are taken up without a restart."""
    mapping = town.folder / "mappings" / "orbit.toml"
    text = mapping.read_text()
    mapping.write_text(text.replace('name = "members"', 'name = "fans"\nschedule = "1h"'))
    until(lambda: ticking("/api/syncs/orbit.fans").ok, "the new sync is not there")
    until(lambda: ["done"] == town.results("orbit.fans"), "the new sync does not run")

    assert 404 == ticking("/api/syncs/orbit.members").status_code
    assert "1h" == ticking.ask("/api/syncs/orbit.fans")["schedule"]


def test_a_broken_edit_keeps_the_old_config(town: Town, ticking: Face) -> None:
    """What was read before goes on to run, what is wrong is told with file and line, and mending it is enough."""
    mapping = town.folder / "mappings" / "orbit.toml"
    text = mapping.read_text()
    loaded = ticking.ask("/api/syncs")["config"]["loaded_at"]
    mapping.write_text(text.replace('key = "user_id"', 'kee = "user_id"'))
    until(lambda: ticking.ask("/api/syncs")["config"]["error"], "nobody is told")
    config = ticking.ask("/api/syncs")["config"]
    ended = ticking.ended(ticking.ask("/api/syncs/orbit.members/runs", {})["request"])
    mapping.write_text(text)
    until(lambda: not ticking.ask("/api/syncs")["config"]["error"], "it is not taken back")

    assert (
        "mappings/orbit.toml:7 sync members, kee: `kee` is not a setting here. Did you mean `key`?" in config["error"]
    )
    assert (loaded, "done") == (config["loaded_at"], ended["state"])


def test_a_run_under_way_finishes_with_what_it_began_with(town: Town, ticking: Face) -> None:
    """The next run is the first of the new config."""
    town.customerio.held_back = threading.Event()
    first = ticking.ask(f"{PEOPLE}/runs", {})["request"]
    until(lambda: town.customerio.applied == 1, "the run never sends")
    mapping = town.folder / "mappings" / "customerio.toml"
    mapping.write_text(mapping.read_text().replace('score = "score"', 'score = "score"\nmail = "email"', 1))
    ticking.daemon.ask_for_reload()
    until(lambda: len(ticking.daemon.engine.config.syncs[0].fields) == 4, "the new field is not there")
    town.customerio.held_back.set()
    ended = [ticking.ended(first), ticking.ended(ticking.ask(f"{PEOPLE}/runs", {})["request"])]
    changes = [ticking.ask(f"/api/runs/{one['run']}/changes")["changes"] for one in ended]

    assert [{"user", "score", "plan"}, {"mail"}] == [set(one[0]["fields"]) for one in changes]
    assert [ROWS, ROWS] == [len(one) for one in changes]


def test_a_secret_in_a_file_changes_without_a_restart(town: Town) -> None:
    """A run that begins after the file was changed brings the new secret; the token of the API changes as well."""
    (town.folder / "key").write_text("standin-track-key\n")
    (town.folder / "token").write_text("open-sesame\n")
    town.settle(more=f'{LISTEN}token = "file:token"\n{NEVER}')
    config = town.folder / "config.toml"
    config.write_text(config.read_text().replace('"standin-track-key"', '"file:key"'))
    with face_of(town) as face:

        def run(token: str) -> str:
            given = {"Authorization": f"Bearer {token}"}
            request = face(f"{PEOPLE}/runs", "POST", {}, **given).json()["request"]
            ended: dict[str, Any] = {}

            def is_over() -> bool:
                ended.update(face(f"/api/requests/{request}", **given).json())
                return ended["state"] not in ("queued", "running")

            until(is_over, "the request is never over")
            return str(ended["state"])

        assert "done" == run("open-sesame")
        town.customerio.api_key = "another-track-key"
        town.sql("UPDATE people SET score = 9")
        assert "failed" == run("open-sesame")
        (town.folder / "key").write_text("another-track-key\n")
        assert "done" == run("open-sesame")
        (town.folder / "token").write_text("sesame-open\n")
        face.daemon.reload()
        assert 401 == face("/api/syncs", Authorization="Bearer open-sesame").status_code
        assert 200 == face("/api/syncs", Authorization="Bearer sesame-open").status_code


def test_what_needs_a_restart_says_so(town: Town, ticking: Face) -> None:
    """Another address and another place of the state count from the next start on; the rest counts now."""
    config = town.folder / "config.toml"
    text = config.read_text().replace('listen = "127.0.0.1:0"', 'listen = "127.0.0.1:1"\nkeep_runs = 10')
    config.write_text(text + '\n[state]\npath = "elsewhere"\n')
    until(lambda: ticking.ask("/api/syncs")["config"]["restart"], "nobody is told")
    ended = ticking.ended(ticking.ask(f"{PEOPLE}/runs", {})["request"])

    assert ["service.listen", "state"] == ticking.ask("/api/syncs")["config"]["restart"]
    assert ("done", 10, ["done"]) == (
        ended["state"], ticking.daemon.engine.config.service.keep_runs, town.results("customerio.people")
    )  # fmt: skip


def lines(process: Process) -> list[dict[str, Any]]:
    """Log lines so far; every whole line is JSON."""
    return [json.loads(line) for line in process.err.splitlines(keepends=True) if line.endswith("\n")]


def serving(town: Town) -> tuple[Process, str]:
    """A daemon of its own process, and its address."""
    process = town.start("serve")
    until(lambda: lines(process) or not process.is_running, "it never serves", 120)
    return process, str(lines(process)[0]["address"])


def test_a_trigger_that_was_accepted_outlives_a_kill(town: Town) -> None:
    """A request that waits, and one that a killed daemon was running, are run by the next one; pauses stay, and a
    hang-up signal reads the files anew."""
    town.settle(more=LISTEN + NEVER)
    town.customerio.held_back = threading.Event()
    process, address = serving(town)

    def ask(path: str, body: dict[str, Any]) -> Any:
        return requests.post(f"{address}/api/syncs/{path}", json=body, timeout=30).json()

    running = ask("customerio.people/runs", {"by": "Ada"})["request"]
    until(lambda: town.customerio.applied == 1, "the first run never sends", 120)
    waiting = [ask(f"customerio.{name}/runs", {"by": "Bo"})["request"] for name in ("people2", "people3")]
    ask("customerio.people3/pause", {"by": "Cy"})
    process.kill()
    town.customerio.held_back.set()

    process, address = serving(town)
    until(lambda: ["failed", "done"] == town.results("customerio.people"), "the run that was killed is lost", 120)
    until(lambda: ["done"] == town.results("customerio.people2"), "the request that waited is lost", 120)

    def states() -> list[str]:
        numbers = (running, *waiting)
        return [requests.get(f"{address}/api/requests/{one}", timeout=30).json()["state"] for one in numbers]

    until(lambda: ["done", "done", "queued"] == states(), "the requests do not tell")
    mapping = town.folder / "mappings" / "orbit.toml"
    mapping.write_text("nonsense")
    process.signal(signal.SIGHUP)
    until(lambda: any(one["event"] == "config_refused" for one in lines(process)), "the log does not tell")
    process.signal(signal.SIGTERM)

    assert 0 == process.end().code
    assert [] == town.results("customerio.people3")
    (refused,) = [one for one in lines(process) if one["event"] == "config_refused"]
    assert "mappings/orbit.toml:1" in refused["problems"][0]


@pytest.mark.parametrize("outcome", ["done", "held"])
def test_a_run_that_had_ended_is_not_run_again_for_its_request(town: Town, outcome: str) -> None:
    """A daemon that dies between the end of a run and its word about the request leaves a request that is over: who let
    one run go over the brakes did not ask for two."""
    town.settle(more=LISTEN + NEVER + ("[plans]\napprove = true\n" if outcome == "held" else ""))
    engine = town.engine()
    (sync,) = engine.config.choose(["customerio.people"])
    asked = engine.control().ask(sync.name, "Ada", {"release": True})["request"]
    taken = engine.control().take_request(sync.name)
    assert taken
    report = engine.run(engine.prepare(sync), Options(release=True, trigger="request", request=taken.id))
    engine.close()
    town.sql("UPDATE people SET score = 50")
    with face_of(town) as face:
        ended = face.ended(asked)

    assert (outcome, str(report.run)) == (ended["state"], ended["run"])
    assert (outcome == "held") == ("approve" in (ended["error"] or ""))
    assert [outcome] == town.results(sync.name)


def test_pause_and_resume_by_command(town: Town) -> None:
    """A pause of a whole destination holds the daemon off its syncs; `status` says by whom, and `sync` still runs."""
    town.settle(more=LISTEN + '[schedule]\nevery = "10s"\n')
    paused = town.command("pause", "customerio", "--by", "Ada", "--reason", "moving house")
    with face_of(town, is_ticking=True):
        until(lambda: ["done"] == town.results("orbit.members"), "the other destination does not run")
    status = town.command("status", "customerio.people")
    by_hand = town.command("sync", "customerio.people")
    resumed = town.command("resume", "customerio.people", "--by", "Ada", "--json")
    again = town.command("resume", "customerio.people")

    assert (0, 3) == (paused.code, paused.out.count("paused by Ada"))
    assert "By Ada (moving house); syncer resume customerio.people ends it." in " ".join(status.out.split())
    assert [0, ["done"]] == [by_hand.code, town.results("customerio.people")]
    assert {"resumed": {"customerio.people": True}} == resumed.json
    assert "was not paused" in again.out


def test_the_journal_is_kept_for_as_long_as_the_config_says(town: Town) -> None:
    """Old requests, acts and answers go, and runs beyond the limit; what waits, pauses and parked records stay."""
    town.settle(more=LISTEN + 'keep = "1d"\nkeep_runs = 10\n' + NEVER)
    now = [1_700_000_000.0]
    engine = town.engine(clock=lambda: now[0])
    control = engine.control()
    (sync,) = engine.config.choose(["orbit.members"])
    for _ in range(12):
        engine.refused(sync, UserError("no"), "command")
    engine.run(engine.prepare(sync))
    control.ask("a.b", "Ada", {}, ("key", "body"))
    control.ask_in_vain("a.b", "Ada", {}, "No.")
    control.ask("a.c", "Ada", {})
    request = control.take_request("a.b")
    assert request
    control.end_request(request.id, "done", 1, None)
    control.pause("a.d", "Ada")
    now[0] += 86_400.0 + 1
    control.prune_asked(86_400.0)
    again = control.ask("a.b", "Ada", {}, ("key", "body"))

    assert 10 == len(control.runs("orbit.members", 100))
    assert ["a.c", "a.b"] == [one.sync for one in control.waiting()]
    assert (None, {"a.d"}, 1) == (
        control.request(request.id),
        set(control.pauses()),
        control.parked_count("orbit.members"),
    )
    assert [("run", "a.b")] == [(one.what, one.sync) for one in control.acts(10)]
    assert not again["coalesced"]
    engine.close()


def test_the_log_may_be_a_file_of_each_day(tmp_path: Path) -> None:
    """A day's lines are put aside at midnight, and deleted when they are too old; what cannot be written is told."""
    file = tmp_path / "logs" / "syncer.log"
    file.parent.mkdir()
    for day in (3, 2, 1):
        file.write_text(f"{day} days ago\n")
        before = time.time() - day * 86_400
        os.utime(file, (before, before))
        configure(is_service=True, file=file, keep_seconds=2 * 86_400.0)
        structlog.get_logger("test").info("midnight_is_over", day=day)
        os.utime(file, (before, before))
    kept = sorted(one.name for one in file.parent.iterdir())
    with pytest.raises(UserError, match="cannot be written"):
        configure(file=tmp_path / "logs" / "syncer.log" / "below", keep_seconds=1.0)
    configure()
    structlog.reset_defaults()

    assert ["syncer.log", *kept[1:]] == kept
    assert 3 == len(kept)
    assert {"event": "midnight_is_over", "day": 1}.items() <= json.loads(file.read_text().splitlines()[-1]).items()
