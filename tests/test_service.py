"""The daemon: runs by schedule without overlap, a face over HTTP, one line a run, and a polite end."""

from __future__ import annotations

import datetime
import json
import logging
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

import destinations
from destinations.standins.orbit import OrbitStandIn
from destinations.standins.server import Answer, Server
from syncer.config import load
from syncer.errors import SyncBusy, UserError
from syncer.run import Engine
from syncer.service import http_of, port_of, scheduler_of
from syncer.sources import source_of
from tests.crash.standins import SlowCustomerio
from tests.workplace import Process, Workplace, until

VALUE = "canary-plan"
PEOPLE = """
[[sync]]
name = "people"
source = "people"
key = "user_id"
object = "person"
match = { id = "user_id" }
missing = "create"
SCHEDULE

[sync.fields]
user = "user_id"
score = "score"
plan = "plan"
"""
MEMBERS = """
[[sync]]
name = "members"
source = "people"
key = "user_id"
object = "member"
match = { email = "email" }
missing = "create"

[sync.fields]
name = "user_id"
"""
LISTEN = '\n[service]\nlisten = "127.0.0.1:0"\n'
ROWS = 3


class Town(Workplace):
    """Three people, customer.io, and Orbit."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.customerio = SlowCustomerio()
        self.orbit = OrbitStandIn()
        self.sql(
            "CREATE TABLE people AS SELECT 'u' || i AS user_id, 'u' || i || '@example.com' AS email, i AS score, "
            f"'{VALUE}' AS plan FROM range({ROWS}) t(i)"
        )

    def settle(self, *, more: str = LISTEN, schedule: str = "", settings: str = "") -> None:
        """Write the files."""
        people = PEOPLE.replace("SCHEDULE", schedule)
        # Three syncs of one destination: more than one of them may be due at an instant.
        others = "".join(_other(people, number) for number in (2, 3))
        self.write(
            {"customerio": self.customerio.settings() + settings, "orbit": self.orbit.settings()},
            {"customerio": people + others, "orbit": MEMBERS},
            more,
        )

    def engine(self) -> Engine:
        """The engine of a daemon in this process."""
        config = load(self.folder / "config.toml", destinations.adapter, destinations.kinds)
        return Engine(config, source_of(config.source), destinations.adapter)

    def results(self, sync: str) -> list[str]:
        """Results of its runs, oldest first."""
        return [run.result for run in reversed(self.journal(sync))]


def _other(people: str, number: int) -> str:
    """A sync of the same people with fields of its own."""
    head, fields = people.replace('"people"\nsource', f'"people{number}"\nsource').split("[sync.fields]")
    return f"{head}[sync.fields]{fields.replace(' =', f'{number} =')}"


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path)
    with Server({"/customerio": town.customerio, "/orbit": town.orbit}):
        town.settle()
        yield town


@pytest.fixture
def scheduler(town: Town) -> Iterator[BackgroundScheduler]:
    """The scheduler of a daemon whose syncs have a schedule each of their own; it is not started."""
    town.settle(more=LISTEN + '\n[schedule]\nevery = "20m"\n', schedule='schedule = "30 6 * * * Europe/Berlin"')
    engine = town.engine()
    scheduler = scheduler_of(engine)
    yield scheduler
    if scheduler.running:
        engine.stop.set()
        scheduler.shutdown(wait=True)
    engine.close()
    logging.getLogger("apscheduler").setLevel(logging.NOTSET)


# The schedule.


def test_every_sync_has_a_job_with_its_schedule(scheduler: BackgroundScheduler) -> None:
    """A span begins with a run at once, so a daemon that is restarted often still runs; a cron waits for its hour."""
    scheduler.start(paused=True)
    now = datetime.datetime.now(datetime.UTC)
    jobs = {job.id: job for job in scheduler.get_jobs()}

    assert {"customerio.people", "customerio.people2", "customerio.people3", "orbit.members"} == set(jobs)
    assert datetime.timedelta(minutes=20) == jobs["orbit.members"].trigger.interval
    assert jobs["orbit.members"].next_run_time <= now
    first = jobs["customerio.people"].next_run_time.astimezone(jobs["customerio.people"].trigger.timezone)
    assert first > now
    assert (6, 30, "Europe/Berlin") == (first.hour, first.minute, str(first.tzinfo))


def test_lateness_and_overlap_are_decided(scheduler: BackgroundScheduler) -> None:
    """Missed starts become one, no start is dropped for being late, no sync overlaps itself, and each destination has
    a thread of its own."""
    scheduler.start(paused=True)
    for job in scheduler.get_jobs():
        assert (True, 1, None) == (job.coalesce, job.max_instances, job.misfire_grace_time)
        assert job.executor == job.id.split(".")[0]
    executors: dict[str, Any] = scheduler._executors
    assert {"customerio", "orbit", "default"} == set(executors)
    assert all(isinstance(executors[name], ThreadPoolExecutor) for name in ("customerio", "orbit"))
    assert [1, 1] == [executors[name]._pool._max_workers for name in ("customerio", "orbit")]


def test_an_outage_delays_only_its_own_destination(town: Town) -> None:
    """While all syncs of one destination hang or wait their turn, the other destination's runs are done."""
    town.customerio.held_back = threading.Event()
    engine = town.engine()
    scheduler = scheduler_of(engine)
    scheduler.start()
    try:
        until(lambda: town.customerio.applied == 1, "the slow destination is not asked")
        until(lambda: "done" in town.results("orbit.members"), "the other destination waits too")
        # The run is in the journal a moment before its job is over, and a job that is not over is not started.
        until(lambda: not scheduler._executors["orbit"]._instances["orbit.members"], "the first job never ends")
        for job in scheduler.get_jobs():
            job.modify(next_run_time=datetime.datetime.now(datetime.UTC))
        until(lambda: ["done", "done"] == town.results("orbit.members"), "the other destination waits too")

        begun = [name for name in ("people", "people2", "people3") if town.results(f"customerio.{name}")]
        assert 1 == len(begun)
        assert ["running"] == town.results(f"customerio.{begun[0]}")
    finally:
        town.customerio.held_back.set()
        until(lambda: ["done"] == town.results("customerio.people3")[:1], "the others never get their turn")
        engine.stop.set()
        scheduler.shutdown(wait=True)
        engine.close()
        logging.getLogger("apscheduler").setLevel(logging.NOTSET)
        structlog.reset_defaults()


def test_a_source_that_has_not_changed_is_not_read(town: Town) -> None:
    """With `when = "source changed"` a job runs once for each change, and again after a run that was not whole."""
    town.settle(more=LISTEN + '\n[schedule]\nwhen = "source changed"\n')
    engine = town.engine()
    (job,) = [job for job in scheduler_of(engine).get_jobs() if job.id == "customerio.people"]
    town.customerio.api_key, key = "changed", town.customerio.api_key
    job.func()
    town.customerio.api_key = key
    for _ in range(3):
        job.func()
    assert ["failed", "done"] == town.results("customerio.people")

    town.sql("UPDATE people SET score = 7 WHERE user_id = 'u1'")
    for _ in range(3):
        job.func()
    assert ["failed", "done", "done"] == town.results("customerio.people")
    engine.stop.set()
    town.sql("UPDATE people SET score = 8 WHERE user_id = 'u1'")
    job.func()
    assert 3 == len(town.results("customerio.people"))
    engine.close()
    structlog.reset_defaults()


def test_a_fault_in_one_run_is_told_without_its_text(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    """The daemon outlives what it did not expect, and says kind and place of it, and no value."""
    engine = town.engine()
    (job,) = [job for job in scheduler_of(engine).get_jobs() if job.id == "customerio.people"]

    def broken(*_: Any) -> None:
        raise KeyError(VALUE)

    engine.prepare = broken  # type: ignore[method-assign,assignment]
    structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory())
    job.func()
    structlog.reset_defaults()
    line = json.loads(capsys.readouterr().out)
    engine.close()

    assert ("run_failed", "customerio.people") == (line["event"], line["sync"])
    assert line["error"].startswith("Syncer's fault: KeyError in test_service.py:")
    assert VALUE not in str(line)


# HTTP.


@contextmanager
def face_of(town: Town) -> Iterator[Callable[..., requests.Response]]:
    """Asks the HTTP side of a daemon that runs no syncs."""
    engine = town.engine()
    server = http_of(engine)
    url = f"http://127.0.0.1:{port_of(server)}"
    try:
        yield lambda path, method="GET", body=None, **headers: requests.request(
            method, url + path, headers=headers, data=body, timeout=10
        )
    finally:
        server.should_exit = True
        engine.close()


def test_http_without_a_token(town: Town) -> None:
    """On this machine no token is needed; the document is that of `status --json`."""
    with face_of(town) as ask:
        health, syncs = ask("/healthz"), ask("/api/syncs")
        others = [ask("/api").status_code, ask("/api/syncs", "POST").status_code]

    assert (200, "ok") == (health.status_code, health.json()["status"])
    assert json.loads(town.run("status", "--json").out)["syncs"][0].keys() == syncs.json()["syncs"][0].keys()
    assert ["never run"] * 4 == [one["state"] for one in syncs.json()["syncs"]]
    assert [404, 405] == others


@pytest.mark.parametrize(
    ("header", "status"),
    [(None, 401), ("Bearer wrong", 401), ("Bearer ", 401), ("Basic open-sesame", 401), ("Bearer open-sesame", 200)],
)
def test_http_with_a_token(town: Town, header: str | None, status: int) -> None:
    """With a token, what is remembered is for those who bring it; that the process lives is for everybody."""
    town.settle(more=LISTEN + 'token = "open-sesame"\n')
    with face_of(town) as ask:
        answer = ask("/api/syncs", **({"Authorization": header} if header else {}))
        health = ask("/healthz")

    assert (status, 200) == (answer.status_code, health.status_code)
    assert (status == 401) == ("www-authenticate" in answer.headers)


def test_http_with_a_damaged_store(town: Town) -> None:
    """What cannot be read is a sentence and a 503."""
    town.state.mkdir()
    (town.state / "control.db").write_bytes(b"no database at all. " * 300)
    with face_of(town) as ask:
        answer = ask("/api/syncs")

    assert 503 == answer.status_code
    assert "is not a control store" in answer.json()["error"]


JSON = {"Content-Type": "application/json"}
ADA = '{"by": "Ada"}'


@pytest.fixture
def held(town: Town) -> tuple[Town, str]:
    """A town with a plan that waits for approval, and the path at which it is approved."""
    town.settle(more=LISTEN + "[plans]\napprove = true\n")
    result = town.run("sync", "customerio.people", "--json")

    assert 3 == result.code
    return town, f"/api/runs/{result.sync['run']}/approval"


def test_a_plan_is_approved_over_http_once(held: tuple[Town, str]) -> None:
    """Who approves is kept; exactly the plan that was held goes out, and cannot be approved again after that."""
    town, path = held
    with face_of(town) as ask:
        word = ask(path, "POST", ADA, **JSON)
        sent = town.run("sync", "customerio.people", "--json").sync
        again = ask(path, "POST", ADA, **JSON)

    assert (200, "Ada", "customerio.people") == (
        word.status_code,
        *(word.json()["approved"][key] for key in ("by", "sync")),
    )
    assert ("done", ROWS, ["approval"]) == (sent["result"], sent["accepted"], sent["released"])
    assert 409 == again.status_code
    assert "holds no plan that waits" in again.json()["error"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (ADA, {"Content-Type": "text/plain"}, 415),
        (ADA, {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (ADA, {}, 415),
        (ADA, JSON | {"Host": "rebound.example"}, 403),
        ("", JSON, 400),
        ("[]", JSON, 400),
        ('{"by": "  "}', JSON, 400),
        ('{"by": 7}', JSON, 400),
        ('{"by": "Ada", "release": true}', JSON, 400),
    ],
)
def test_an_approval_that_nobody_gave(held: tuple[Town, str], body: str, headers: dict[str, str], status: int) -> None:
    """What a page of another site could make a browser send approves nothing, nor does a body without a name."""
    town, path = held
    with face_of(town) as ask:
        answer = ask(path, "POST", body, **headers)

    assert status == answer.status_code
    assert answer.json()["error"]
    assert 3 == town.run("sync", "customerio.people").code


def test_approval_needs_the_token(held: tuple[Town, str]) -> None:
    """With a token nobody approves without it, and who brings it may ask by any name that leads here."""
    town, path = held
    town.settle(more=LISTEN + 'token = "open-sesame"\n[plans]\napprove = true\n')
    with face_of(town) as ask:
        refused = ask(path, "POST", ADA, **JSON)
        approved = ask(path, "POST", ADA, **JSON, Host="syncer.example", Authorization="Bearer open-sesame")

    assert (401, 200) == (refused.status_code, approved.status_code)


# The process.


@pytest.mark.parametrize("breaks", ["missing", "dropped", "damaged"])
def test_a_run_that_cannot_begin_is_in_the_journal(town: Town, breaks: str) -> None:
    """A source that is out of reach, or a column that is gone, is a failed run of the daemon's, also for `status`."""
    assert 0 == town.run("sync", "customerio.people").code
    if breaks == "dropped":
        town.sql("ALTER TABLE people DROP COLUMN score")
    elif breaks == "missing":
        town.warehouse.unlink()
    else:
        town.warehouse.write_bytes(town.warehouse.read_bytes()[:20_000])
    engine = town.engine()
    (job,) = [job for job in scheduler_of(engine).get_jobs() if job.id == "customerio.people"]
    job.func()
    engine.close()
    structlog.reset_defaults()
    status = town.run("status", "customerio.people", "--json")
    newest = town.journal("customerio.people")[0]

    assert (1, "failed", ROWS) == (status.code, status.sync["state"], status.sync["known"])
    assert ("failed", "schedule", 0) == (newest.result, newest.facts["trigger"], newest.planned)
    sentence = {"missing": "There is no file", "dropped": "There is no column score", "damaged": "is damaged"}[breaks]
    assert sentence in status.sync["last_run"]["error"]
    place = "mappings/customerio.toml" if breaks == "dropped" else "config.toml"
    assert place in status.sync["last_run"]["error"].split(": ")[0]


def test_a_command_that_cannot_begin_is_in_the_journal(town: Town) -> None:
    """`sync` writes a failed run for each sync that cannot begin; `diff` and `check` write nothing."""
    town.warehouse.rename(town.folder / "elsewhere")
    assert [1, 1] == [town.run(command).code for command in ("diff", "check")]
    assert not town.state.exists()

    result = town.run("sync")

    assert (1, 1) == (result.code, result.err.count("There is no file"))
    assert ["failed"] == town.results("customerio.people") == town.results("orbit.members")
    assert 1 == town.run("status").code


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
    until(lambda: len([one for one in lines(process) if one["event"] == "run"]) == 4 or not process.is_running, "runs")
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
