"""Two daemons on one state folder, by mistake: they take turns, and nothing is sent twice."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path

import pytest

from destinations.standins.server import Server
from syncer.control import Control
from tests.crash.standins import SlowCustomerio
from tests.crash.test_kill import PEOPLE
from tests.workplace import NO_BRAKES, Workplace, until

ROWS = 300
SYNC = "customerio.people"


def race(folder: Path, rounds: int) -> Counter[str]:
    """In each round both start at one instant over a source that has changed, a command comes in between, and each is
    stopped when it has had its turn. How often which event was logged."""
    workplace, standin = Workplace(folder), SlowCustomerio()
    events: Counter[str] = Counter()
    with Server({"": standin}):
        # The shortest span there is, after which the sync is due in the next round.
        more = NO_BRAKES + '\n[service]\nlisten = "127.0.0.1:0"\n[schedule]\nevery = "10s"\n'
        workplace.write({"customerio": standin.settings() + "in_flight = 2\n"}, {"customerio": PEOPLE}, more)
        for number in range(rounds):
            workplace.sql(
                f"CREATE OR REPLACE TABLE people AS SELECT 'u' || i AS user_id, i + {number} AS score, 'x' AS label, "
                f"repeat('x', 900) AS pad FROM range({ROWS}) t(i)"
            )
            standin.slow_down(0.02, 0.02)
            daemons = [workplace.start("serve") for _ in range(2)]
            try:
                # One that comes when the other has finished finds nothing due, and says nothing.
                until(lambda: all('"serving"' in one.err for one in daemons), "a daemon never serves", 90)  # noqa: B023
                until(lambda: any('"run"' in one.err for one in daemons), "neither runs", 90)  # noqa: B023
                for one in daemons:
                    one.signal(signal.SIGTERM)
                results = [one.end(60) for one in daemons]
            finally:
                for one in daemons:
                    one.kill()
            for result in results:
                assert 0 == result.code, result.err
                assert "Traceback" not in result.err
                told = [json.loads(line) for line in result.err.splitlines()]
                events += Counter(line["event"] for line in told)
                refused = [line["error"] for line in told if line["event"] == "run_failed"]
                assert [] == [error for error in refused if f"{SYNC} is being run by process" not in error]

            assert {f"u{i}": (str(i + number),) for i in range(ROWS)} == standin.held("score")
        assert 0 == standin.repeats
        control = Control.look(workplace.kept)
        assert control is not None
        runs = control.runs(SYNC, 1_000)
        control.close()

        # Whoever came second found nothing left to do, or was told who was at it.
        assert rounds == sum(run.planned > 0 for run in runs)
        assert [] == [run for run in runs if run.result == "running" or run.planned != run.accepted]
    return events


def test_two_daemons_take_turns(tmp_path: Path) -> None:
    """Both start at once over one folder: every record goes out once, and the journal has one run that sent it."""
    assert race(tmp_path, rounds=1)["serving"] == 2


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_two_daemons_take_turns_for_long(tmp_path: Path) -> None:
    """The same fifty times, over a folder that grows."""
    events = race(tmp_path, rounds=50)
    print(events)

    assert events["serving"] == 100
