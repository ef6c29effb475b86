"""Two daemons over one control store: one runs, the other stands by and takes over."""

from __future__ import annotations

import datetime
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from destinations.standins.server import Server
from syncer import schedule
from syncer.config_file import LocalState
from syncer.service import Job
from tests.crash.standins import SlowCustomerio
from tests.crash.test_kill import PEOPLE, night
from tests.engine.stage import Stage, field
from tests.postgres import PostgresServer
from tests.workplace import NO_BRAKES, Process, Workplace, until

SYNC = "customerio.people"
SERVICE = '\n[service]\nlisten = "127.0.0.1:0"\n\n[schedule]\nevery = "1h"\n'


def events(process: Process) -> list[str]:
    """What a daemon has told so far."""
    return [json.loads(line)["event"] for line in process.err.splitlines(keepends=True) if line.endswith("\n")]


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
            until(lambda: standin.applied, "the first sends")
            second = serve()
            until(lambda: "standing_by" in events(second), "the second stands by")
            assert "run" not in events(second)
            first.kill()
            standin.held_back.set()
            until(lambda: "run" in events(second), "the second takes over")
            third = serve()
            until(lambda: "left_to_another" in events(third), "the third has nothing to do")

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


class Daemon:
    """One daemon's job for a sync, called by hand."""

    def __init__(self, stage: Stage, plan: schedule.Schedule) -> None:
        self.stage = stage
        self.wakes: list[datetime.datetime] = []
        self.job = Job(stage.engine, stage.sync, plan, self.wakes.append)

    def call(self) -> int:
        """Wake up; how many runs the journal has then."""
        self.job()
        return len(self.stage.engine.control().runs(self.stage.sync.name, 100))


@pytest.fixture
def stages(tmp_path: Path, postgres: PostgresServer) -> Any:
    """Two processes over one store and one source."""
    state = LocalState.model_validate({"path": str(tmp_path / "state"), "control": postgres.url(), "lease_seconds": 60})
    with Stage(tmp_path, state=state) as first, Stage(tmp_path, state=state) as second:
        second.warehouse = second.source = first.warehouse
        for one in (first, second):
            one.map(field("score"))
        first.put("user_id VARCHAR, score DOUBLE", ("u_1", 1.0))
        yield first, second


def started(postgres: PostgresServer, seconds_ago: float) -> None:
    """Let the newest run have been started then."""
    postgres.query(
        f"UPDATE syncer.run SET started = {time.time() - seconds_ago} WHERE id = (SELECT max(id) FROM syncer.run)"
    )


def test_a_span_counts_from_the_last_run_whoever_ran(stages: tuple[Stage, Stage], postgres: PostgresServer) -> None:
    """Two daemons with one span run no oftener than one: the second wakes up again when it is over."""
    plan = schedule.Schedule(every="1h")
    first, second = (Daemon(stage, plan) for stage in stages)
    assert (1, 1) == (first.call(), second.call())
    (run,) = stages[0].engine.control().runs("memory.people")
    (due,) = second.wakes
    assert run.started + 3600 == pytest.approx(due.timestamp(), abs=0.01)
    # By its own schedule, which began a little earlier, the first goes on.
    started(postgres, 3599.0)
    assert (2, 2) == (first.call(), second.call())
    started(postgres, 3601.0)
    assert 3 == second.call()


def test_a_cron_is_for_one_of_them(stages: tuple[Stage, Stage], postgres: PostgresServer) -> None:
    """Of two that wake up at the same minute one runs; a run from before that minute is none for it."""
    hour = datetime.datetime.now(datetime.UTC).hour
    first, second = (Daemon(stage, schedule.Schedule(cron=f"0 {hour} * * *")) for stage in stages)
    assert (1, 1) == (first.call(), second.call())
    started(postgres, 3600.0)
    assert (2, 2) == (second.call(), first.call())


def test_a_change_of_the_source_is_for_one_of_them(stages: tuple[Stage, Stage]) -> None:
    """What one daemon has sent of a changed source the other does not read again; the next change is new to both."""
    plan = schedule.Schedule(when="source changed")
    first, second = (Daemon(stage, plan) for stage in stages)
    now = datetime.datetime.now(datetime.UTC)
    stages[0].warehouse.changed_at = now - datetime.timedelta(hours=1)
    assert (1, 1, 1) == (first.call(), second.call(), second.call())
    stages[0].warehouse.changed_at = now
    assert (2, 2) == (second.call(), first.call())


def test_a_run_whose_process_died_is_due(stages: tuple[Stage, Stage]) -> None:
    """A run that nobody ended and nobody holds is taken up by whoever wakes up, whatever the schedule says."""
    control = stages[0].engine.control()
    control.begin_run("memory.people", "{}", "schedule")

    assert 2 == Daemon(stages[1], schedule.Schedule(every="1h")).call()
    assert ["done", "failed"] == [run.result for run in control.runs("memory.people", 2)]


def test_who_comes_second_looks_again_when_the_lease_can_have_run_out(stages: tuple[Stage, Stage]) -> None:
    """A daemon that finds the sync held does nothing, and wakes up a lease later."""
    daemon = Daemon(stages[1], schedule.Schedule(every="1h"))
    with stages[0].engine.control().exclusively("memory.people"):
        assert 0 == daemon.call()
    (again,) = daemon.wakes

    assert 60 == pytest.approx(again.timestamp() - time.time(), abs=10)
    assert 1 == daemon.call()


def test_one_daemon_alone_runs_at_every_start(tmp_path: Path) -> None:
    """Where no other process shares the store every start runs, as it always did."""
    with Stage(tmp_path) as stage:
        stage.put("user_id VARCHAR, score DOUBLE", ("u_1", 1.0))
        stage.map(field("score"))
        plan = schedule.Schedule(every="1h")

        assert (1, 2) == (Daemon(stage, plan).call(), Daemon(stage, plan).call())
