"""A process that is asked to stop finishes what it has in hand, and remembers it; asked twice, it leaves at once."""

from __future__ import annotations

import ctypes
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from destinations.standins.server import Server
from tests.crash.standins import SlowCustomerio
from tests.crash.test_kill import PEOPLE
from tests.workplace import NO_BRAKES, Workplace, until

ROWS = 400
HEARD = {"sync": "Stopping when what is in flight is remembered", "serve": '"stopping"'}
"""What each command says on stderr at the first signal; two at one instant may reach a process as one."""
SERVICE = '\n[service]\nlisten = "127.0.0.1:0"\n'


@pytest.fixture
def standin() -> SlowCustomerio:
    return SlowCustomerio()


@pytest.fixture
def workplace(tmp_path: Path, standin: SlowCustomerio) -> Iterator[Workplace]:
    """Four hundred people in four batches, one in flight at a time, and a stand-in that does not answer yet."""
    workplace = Workplace(tmp_path)
    standin.held_back = threading.Event()
    with Server({"": standin}):
        settings = standin.settings() + "in_flight = 1\n"
        workplace.write({"customerio": settings}, {"customerio": PEOPLE}, NO_BRAKES + SERVICE)
        workplace.sql(
            "CREATE TABLE people AS SELECT 'u' || i AS user_id, i AS score, 'x' AS label, repeat('x', 900) AS pad "
            f"FROM range({ROWS}) t(i)"
        )
        yield workplace
        standin.held_back.set()


@pytest.mark.parametrize(
    ("command", "number", "code"),
    [("sync", signal.SIGTERM, 1), ("sync", signal.SIGINT, 1), ("serve", signal.SIGTERM, 0)],
)
def test_first_signal_lets_the_request_in_flight_finish(
    workplace: Workplace, standin: SlowCustomerio, command: str, number: signal.Signals, code: int
) -> None:
    """What was in flight is remembered, nothing new starts, and the journal says so."""
    process = workplace.start(*([command, "--json"] if command == "sync" else [command]))
    until(lambda: standin.applied == 1, "the first batch never arrives")
    process.signal(number)
    until(lambda: HEARD[command] in process.err, "it does not hear")
    assert process.is_running
    standin.held_back.set()
    asked = time.monotonic()
    result = process.end(30)

    assert time.monotonic() - asked < 30
    assert code == result.code, result.err
    assert 1 == standin.applied
    (run,) = workplace.journal("customerio.people")
    assert "failed" == run.result
    assert "The process was asked to stop; the next run goes on where this one ended." == run.error
    assert (ROWS, standin.batch_records) == (run.planned, run.accepted)
    assert (0, 0, ROWS - standin.batch_records) == (run.rejected, run.deferred, run.unsent)
    if command == "sync":
        assert run.error == result.sync["error"]
    else:
        events = [json.loads(line)["event"] for line in result.err.splitlines()]
        assert ["serving", "stopping", "run", "stopped"] == events


@pytest.mark.parametrize("command", ["sync", "serve"])
def test_second_signal_leaves_at_once(workplace: Workplace, standin: SlowCustomerio, command: str) -> None:
    """What was in flight is then in doubt, and the next run sends it again."""
    process = workplace.start(command)
    until(lambda: standin.applied == 1, "the first batch never arrives")
    process.signal(signal.SIGTERM)
    until(lambda: HEARD[command] in process.err, "it does not hear")
    process.signal(signal.SIGTERM)
    result = process.end(10)

    assert 128 + signal.SIGTERM == result.code
    standin.held_back.set()
    standin.drained()
    done = workplace.run("sync", "--json")
    assert (0, ROWS) == (done.code, done.sync["accepted"])
    assert standin.batch_records == standin.repeats
    told = [(run.result, run.planned, run.deferred) for run in workplace.journal("customerio.people")]
    assert [("done", ROWS, 0), ("failed", ROWS, standin.batch_records)] == told


@pytest.mark.parametrize("command", ["sync", "serve"])
def test_a_signal_to_any_thread_is_heard(workplace: Workplace, standin: SlowCustomerio, command: str) -> None:
    """The system may give a signal to whichever thread it likes, also to one that never looks for any."""
    process = workplace.start(command)
    until(lambda: standin.applied == 1, "the first batch never arrives")
    mine = process.popen.pid
    listening = [
        int(one.parent.name)
        for one in Path(f"/proc/{mine}/task").glob("*/status")
        if "SigBlk:\t" + "0" * 16 in one.read_text()
    ]
    other = max(listening)
    assert mine != other
    assert 0 == ctypes.CDLL(None).tgkill(mine, other, int(signal.SIGTERM))
    until(lambda: HEARD[command] in process.err, "it does not hear")
    standin.held_back.set()

    assert {"sync": 1, "serve": 0}[command] == process.end(30).code
    assert 1 == standin.applied


def test_stop_before_anything_left(workplace: Workplace, standin: SlowCustomerio) -> None:
    """A run that is asked to stop early counts what it has planned as unsent, but for a request in flight."""
    process = workplace.start("sync", "--json")
    until(lambda: workplace.journal("customerio.people") or not process.is_running, "the run never begins")
    assert process.is_running, process.err
    process.signal(signal.SIGTERM)
    until(lambda: HEARD["sync"] in process.err, "it does not hear")
    standin.held_back.set()
    result = process.end(30)
    (run,) = workplace.journal("customerio.people")

    assert 1 == result.code
    assert "failed" == run.result
    assert run.planned == run.accepted + run.unsent
    assert "asked to stop" in (run.error or "")
