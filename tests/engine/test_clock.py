"""A clock that jumps: by hours at a change of time, by years on a machine without a battery, and back again."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from syncer.explain import explain
from tests.engine.stage import DAY, HOUR, Stage, deciding, field

YEAR = 365 * DAY


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    made = Stage(tmp_path)
    made.map(field("score"))
    made.put("user_id VARCHAR, score DOUBLE", ("u1", 1.0), ("u2", 2.0))
    return made


def test_a_refusal_of_the_future_waits_for_nothing(stage: Stage) -> None:
    """What was refused while the clock was ten years ahead is tried again by the first run after it is set right."""
    with stage:
        stage.decide = deciding({"u1": "rejected"})
        stage.now += 10 * YEAR
        stage.run()
        stage.now -= 10 * YEAR
        stage.decide = deciding({})
        stage.run()

        assert {"u1": {"score": 1.0}} == stage.sent
        assert [] == stage.parked()


def test_a_clock_that_is_behind_delays_a_refusal_by_no_more(stage: Stage) -> None:
    """What was refused while the clock was behind is tried when its time has come by the right clock, or before."""
    with stage:
        stage.decide = deciding({"u1": "rejected"})
        stage.now -= YEAR
        stage.run()
        stage.now += YEAR
        stage.decide = deciding({})

        assert 1 == stage.run().delivered.accepted


def test_a_life_is_told_in_the_order_of_its_runs(stage: Stage) -> None:
    """A value that was sent after the clock was set back is the present one, and told as the last."""
    with stage:
        stage.now += 3 * HOUR
        stage.run()
        stage.now -= 2 * HOUR
        stage.put("user_id VARCHAR, score DOUBLE", ("u1", 7.0), ("u2", 2.0))
        stage.run()
        life = explain(stage.engine, stage.sync, "u1", is_offline=True)

        assert [1, 2] == [entry.run for entry in life.entries]
        assert [1.0, 7.0] == [entry.fields["score"].after for entry in life.entries]


def test_garbage_of_the_future_is_collected(stage: Stage) -> None:
    """Files that were let go of while the clock was ahead do not lie there until that time comes."""
    with stage:
        for number in range(4):
            with pytest.MonkeyPatch.context() as clock:
                clock.setattr("time.time", lambda: stage.now + 10 * YEAR)
                stage.put("user_id VARCHAR, score DOUBLE", ("u1", 10.0 + number), ("u2", 2.0 * number))
                stage.run()
        left = set(stage.engine.control().garbage(-20 * YEAR))
        stage.now = time.time()
        stage.run()

        assert left
        assert left.isdisjoint(stage.engine.control().garbage(-20 * YEAR))
        assert left.isdisjoint(file.name for file in stage.state_folder.iterdir())
