"""How a field's values lay before a run and after it, and how a plan would move them."""

from __future__ import annotations

import pytest

from syncer import distribution
from syncer.distribution import Distribution, Side
from syncer.errors import UserError
from tests.engine.stage import SHARES, Stage, deciding, field

SCORES = "user_id VARCHAR, score DOUBLE, logins INTEGER, plan VARCHAR, salary DOUBLE"
OTHERS = [50.0] * 30
"""So many that a plan of three changes is not folded away at once."""
FIELDS = (field("score"), field("logins"), field("plan"), field("salary", sensitive=True))


def people(stage: Stage, *scores: float | None) -> None:
    """A person for each score."""
    stage.put(SCORES, *((f"u_{number}", score, number, "free", 9000.0 + number) for number, score in enumerate(scores)))


def lies(stage: Stage, run: int, name: str = "score") -> Distribution:
    """The distribution of a run's field."""
    _, found = distribution.of_run(stage.engine, stage.sync, run, name)
    assert found is not None
    return found


@pytest.fixture
def night(stage: Stage) -> Stage:
    """Ten people with scores of 0, 10, … 90 that were accepted, among others of 50; and tonight three have moved."""
    stage.map(*FIELDS, brakes=SHARES)
    people(stage, *(10.0 * number for number in range(10)), *OTHERS)
    stage.run()
    people(stage, 0.0, 100.0, 20.0, None, 40.0, 50.0, 60.0, 70.0, 80.0, 5.0, *OTHERS)
    return stage


def test_what_a_run_changed_is_counted_before_and_after(night: Stage) -> None:
    """Only changes in which the field is are counted: each once before, if something was accepted, and once after."""
    run = night.run()
    found = lies(night, run.run or 0)

    assert (3, 2) == (found.before.values, found.after.values)
    assert (130 / 3, 52.5) == (pytest.approx(found.before.mean), found.after.mean)
    assert (5.0, 100.0) == (found.edges[0], found.edges[-1])
    assert len(found.edges) == len(found.before.counts) + 1 == len(found.after.counts) + 1
    assert (1, 1) == (found.after.counts[0], found.after.counts[-1])


def test_a_first_run_has_nothing_before(night: Stage) -> None:
    """New records have values after, and none before."""
    found = lies(night, 1, "logins")

    assert Distribution("logins", tuple(range(0, 42, 2)), Side((0,) * 20, 0, None), Side((2,) * 20, 40, 19.5)) == found


def test_what_was_left_counts_too(night: Stage) -> None:
    """A run's changes are those that it planned: accepted, refused and deferred ones, in the history or in its plan."""
    night.decide = deciding({"u_1": "rejected", "u_3": "deferred"})
    run = night.run()

    assert (1, 1, 1) == (run.delivered.accepted, run.delivered.rejected, run.delivered.deferred)
    assert (3, 2) == (lies(night, run.run or 0).before.values, lies(night, run.run or 0).after.values)


def test_it_stays_after_the_plan_is_folded_away(night: Stage) -> None:
    """The history tells what the plan file does not any more."""
    run = night.run()
    before = lies(night, run.run or 0)
    for score in (1.0, 2.0, 3.0):
        people(night, *[score] * 40)
        night.run()

    assert before == lies(night, run.run or 0)


def test_only_numbers_that_may_be_shown_can_be_looked_at(night: Stage) -> None:
    """Texts have none and sensitive fields have none, also when only the mapping of today says that they are."""
    run = night.run().run or 0
    assert ["score", "logins"] == distribution.of_run(night.engine, night.sync, run, None)[0]
    for name in ("plan", "salary", "lacking"):
        with pytest.raises(UserError, match=f"'{name}' of memory.people has no distribution"):
            lies(night, run, name)
    night.map(field("score", sensitive=True), *FIELDS[1:])
    with pytest.raises(UserError, match="Those that have one are logins"):
        lies(night, run)
    # What was sensitive when it was sent stays so.
    night.map(*FIELDS[:3], field("salary"))
    with pytest.raises(UserError, match="'salary'"):
        lies(night, run, "salary")


def test_a_run_that_sent_nothing_has_none(night: Stage) -> None:
    """A run without changes, or one of which nothing is kept, is no error."""
    night.run()
    again = night.run()

    assert 0 == again.delivered.planned
    assert None is distribution.of_run(night.engine, night.sync, again.run or 0, None)[1]
    assert None is distribution.of_run(night.engine, night.sync, 77, None)[1]


def test_a_first_plan_has_nothing_before(stage: Stage) -> None:
    """Of fields that were never sent all values are after; sensitive ones and texts have none."""
    stage.map(*FIELDS)
    people(stage, 10.0, 20.0, None)
    with stage.engine.diff(stage.prepare()) as plan:
        planned = distribution.of_plan(plan)

    assert [("score", 0, 2), ("logins", 0, 3)] == [(one.field, one.before.values, one.after.values) for one in planned]


def test_a_plan_shows_how_it_would_move_them(night: Stage) -> None:
    """The same as of the run that sends it, for each field that changes; and nothing is sent."""
    with night.engine.diff(night.prepare()) as plan:
        planned = distribution.of_plan(plan)
    assert 0 == len(night.engine.control().runs("memory.people", 9)) - 1

    assert [lies(night, night.run().run or 0)] == planned


@pytest.mark.parametrize(
    ("low", "high", "is_whole", "edges"),
    [
        (0.0, 100.0, False, (0.0, 5.0, 100.0, 21)),
        (0.0, 5.0, True, (0.0, 1.0, 6.0, 7)),
        (41.5, 41.5, False, (41.0, 41.05, 42.0, 21)),
        (-3.0, -3.0, True, (-3.0, -2.0, -2.0, 2)),
        (0.001, 0.002, False, (0.001, 0.00105, 0.002, 21)),
        (0.0, 1e9, True, (0.0, 5e7, 1e9, 21)),
    ],
)
def test_borders_are_round(low: float, high: float, is_whole: bool, edges: tuple[float, float, float, int]) -> None:
    """Columns are about as many as can be told apart, and begin and end at round numbers."""
    found = distribution._edges(low, high, is_whole=is_whole)

    assert edges == (found[0], found[1], found[-1], len(found))
