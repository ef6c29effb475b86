"""`grace`: a row that is gone counts as removed only when it was gone in several runs in a row."""

from __future__ import annotations

import pytest

from syncer.change import Change
from syncer.testing import Decision
from tests.engine.stage import Stage, deciding, field

ONE = "user_id VARCHAR, a DOUBLE"
BOTH = (("u_1", 1.0), ("u_2", 2.0))


def furnish(stage: Stage, removed: str = "delete", grace: int = 3) -> None:
    """Two records are known, and then one row is gone."""
    stage.map(field("a"), removed=removed, grace=grace)
    stage.put(ONE, *BOTH)
    stage.run()
    stage.put(ONE, BOTH[0])


@pytest.mark.parametrize("removed", ["clear", "delete"])
def test_a_row_counts_as_removed_after_so_many_runs(stage: Stage, removed: str) -> None:
    """Gone in the third run in a row it is removed, once; until then it is told as waiting, and stays known."""
    furnish(stage, removed)
    seen = stage.plan()

    assert ({}, 0, 1, 1) == (seen.kinds, seen.plan.removed, seen.plan.waiting, seen.document["waiting"])

    assert [0, 0, 1, 0] == [stage.run().delivered.accepted for _ in range(4)]
    assert "a" not in stage.records.get("u_2", {})
    assert {} == stage.engine.control().gone(stage.sync.name)


def test_a_row_that_returns_begins_anew(stage: Stage) -> None:
    """Back in one run, it has to be gone as often again."""
    furnish(stage)
    stage.run()
    stage.run()
    stage.put(ONE, *BOTH)
    stage.run()
    stage.put(ONE, BOTH[0])

    assert [0, 0, 1] == [stage.run().delivered.accepted for _ in range(3)]


def test_looking_does_not_count(stage: Stage) -> None:
    """However often `diff` looks, and however often some keys are run, only whole runs count."""
    furnish(stage, grace=2)
    for _ in range(3):
        assert {} == stage.plan().kinds
        stage.run(only=("u_2",))
    stage.run()

    assert {"u_2": "removed"} == stage.plan().kinds
    assert {"u_2": "removed"} == stage.plan(only=["u_2"]).kinds


def test_a_held_run_does_not_count(stage: Stage) -> None:
    """A source that a brake does not trust makes nobody gone, and a held plan stays the plan that can be released."""
    furnish(stage, grace=2)
    stage.put(ONE)

    assert ["held"] * 3 == [stage.run().result for _ in range(3)]
    assert {} == stage.engine.control().gone(stage.sync.name)
    assert 2 == stage.plan().plan.waiting


class Killed(BaseException):
    """The process is gone in the middle of a request."""


def test_a_killed_run_counts_once_when_it_read_the_source(stage: Stage) -> None:
    """A run that dies before it has read the source is none; one that dies later is one, whatever it sent."""
    furnish(stage, grace=3)
    stage.put(ONE, ("u_1", 5.0))
    read = stage.warehouse.read

    def die(*_: object) -> None:
        raise Killed

    stage.warehouse.read = die  # type: ignore[method-assign,assignment] # the kill is no reading
    for _ in range(4):
        with pytest.raises(Killed):
            stage.run()
        stage.restart()
    stage.warehouse.read = read  # type: ignore[method-assign] # as it was

    assert {} == stage.engine.control().gone(stage.sync.name)

    def die_at(change: Change) -> Decision:
        raise Killed

    stage.decide = die_at
    with pytest.raises(Killed):
        stage.run()
    stage.restart()

    assert {"u_2": 1} == stage.engine.control().gone(stage.sync.name)

    stage.decide = deciding({})
    stage.run()

    assert {"u_2": "removed"} == stage.plan().kinds


@pytest.mark.parametrize("decision", ["rejected", "deferred", "doubt-lost"])
def test_a_removal_that_did_not_arrive_waits_no_second_time(stage: Stage, decision: Decision) -> None:
    """What was refused, or got no answer, goes again as any change does."""
    furnish(stage, grace=2)
    stage.run()
    stage.decide = deciding({"u_2": decision})
    stage.run()
    stage.engine.control().retry(stage.sync.name, None)

    assert {"u_2": "removed"} == stage.plan().kinds


def test_a_parked_record_whose_row_is_gone_stays_parked(stage: Stage) -> None:
    """As long as a row may come back, a refusal of its values is remembered."""
    stage.map(field("a"), removed="delete", grace=3)
    stage.put(ONE, *BOTH)
    stage.run()
    stage.put(ONE, BOTH[0], ("u_2", 9.0))
    stage.decide = deciding({"u_2": "rejected"})
    stage.run()
    stage.put(ONE, BOTH[0])
    stage.run()

    assert ["u_2"] == stage.parked()

    stage.put(ONE, BOTH[0], ("u_2", 9.0))

    assert ({}, 1) == (stage.plan().kinds, stage.plan().plan.parked)


def test_what_was_counted_is_forgotten_with_its_reason(stage: Stage) -> None:
    """Another grace, or none, or a sync that is forgotten, leaves no old counts behind."""
    furnish(stage)
    stage.run()
    stage.map(removed="keep")
    stage.run()

    assert {} == stage.engine.control().gone(stage.sync.name)

    stage.map(removed="delete")
    stage.run()
    assert {"u_2": 1} == stage.engine.control().gone(stage.sync.name)
    stage.engine.control().forget(stage.sync.name)

    assert {} == stage.engine.control().gone(stage.sync.name)


def test_the_grace_is_not_in_the_digest(stage: Stage) -> None:
    """A plan is what it sends: with equal changes it is the same plan, whatever waits."""
    stage.map(field("a"), removed="delete")
    stage.put(ONE, *BOTH)
    digests = {stage.plan().plan.digest}
    stage.map(grace=5)
    digests.add(stage.plan().plan.digest)

    assert 1 == len(digests)
