"""Rules 9 to 11: refused records, the latest value, and plans that are held."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from syncer.mapping import Brakes
from tests.engine.stage import DAY, HOUR, SHARES, Stage, deciding, field

ONE = "user_id VARCHAR, x DOUBLE"
TWO = "user_id VARCHAR, a DOUBLE, b VARCHAR"


def test_a_refused_record_waits_longer_each_time(stage: Stage) -> None:
    """With the same values it is tried again after 1 h, 4 h, 1 d, 3 d and 7 d, then only on request."""
    stage.map(field("x"))
    stage.put(ONE, ("u_1", 1.0))
    stage.decide = deciding({"u_1": "rejected"})
    stage.run()
    for wait in (1 * HOUR, 4 * HOUR, 1 * DAY, 3 * DAY, 7 * DAY):
        stage.now += wait - 1
        seen = stage.plan()

        assert ({}, 1, 0) == (seen.fields, seen.plan.parked, seen.plan.unchanged)

        stage.now += 1
        stage.run()

        assert ["u_1"] == list(stage.sent)

    stage.now += 1000 * DAY

    assert {} == stage.plan().fields

    stage.engine.control().retry(stage.sync.name, ["u_1"])

    assert {"u_1": {"x": 1.0}} == stage.plan().fields

    stage.decide = deciding({})
    stage.run()

    assert ([], {"u_1": {"x": 1.0}}) == (stage.parked(), stage.records)


def test_a_refused_record_with_other_values_goes_at_once(stage: Stage) -> None:
    """Other values are another question: they go with the next run, and refused they begin to wait anew."""
    stage.map(field("x"))
    stage.decide = deciding({"u_1": "rejected"})
    for value in (1.0, 2.0):
        stage.put(ONE, ("u_1", value))
        stage.run()

        assert {"u_1": {"x": value}} == stage.sent

    (parked,) = stage.engine.control().parked(stage.sync.name)

    assert (1, HOUR) == (parked.attempts, (parked.next_at or 0) - stage.now)


@pytest.mark.parametrize("other", ["INTEGER", "DECIMAL(9, 2)"])
def test_the_same_refused_value_may_have_another_type(stage: Stage, other: str) -> None:
    """72 was refused, so 72.0 waits as well, and so it does when the mapping's lines are in another order."""
    stage.map(field("a"), field("b"))
    stage.decide = deciding({"u_1": "rejected"})
    stage.put(TWO, ("u_1", 72.0, "x"))
    stage.run()
    stage.map(field("b"), field("a"))
    stage.put(TWO.replace("DOUBLE", other), ("u_1", 72, "x"))

    assert {} == stage.plan().fields


def test_what_rides_along_is_no_new_question(stage: Stage) -> None:
    """A time that is sent along and moves each night does not bring a refused record back."""
    stage.map(field("a"), field("at", "b", compare=False))
    stage.decide = deciding({"u_1": "rejected"})
    stage.put(TWO, ("u_1", 1.0, "Monday"))
    stage.run()
    stage.put(TWO, ("u_1", 1.0, "Tuesday"))

    assert {} == stage.plan().fields


def test_a_refused_record_that_went_back_is_forgotten(stage: Stage) -> None:
    """Back at the accepted value there is nothing to send, and the refusal is forgotten."""
    stage.map(field("x"))
    for value, decision in ((1.0, "accepted"), (2.0, "rejected"), (1.0, "accepted")):
        stage.put(ONE, ("u_1", value))
        stage.decide = deciding({"u_1": decision})  # type: ignore[dict-item] # one of the decisions
        stage.run()

    assert ([], {"u_1": {"x": 1.0}}, {}) == (stage.parked(), stage.records, stage.sent)


def test_an_invalid_night_does_not_end_the_wait(stage: Stage) -> None:
    """A row that is there twice tonight says nothing about the refusal, which waits on."""
    stage.map(field("x"))
    stage.decide = deciding({"u_1": "rejected"})
    for rows in ([("u_1", 1.0)], [("u_1", 1.0), ("u_1", 1.0)], [("u_1", 1.0)]):
        stage.put(ONE, *rows)
        stage.run()

    assert ({}, ["u_1"]) == (stage.sent, stage.parked())


def test_one_bad_record_never_delays_another(stage: Stage) -> None:
    """Around refused, deferred and doubtful records all others of the batch are accepted, and the counts add up."""
    stage.map(field("x"))
    stage.put(ONE, *((f"u_{number}", 1.0) for number in range(6)))
    stage.decide = deciding({"u_1": "rejected", "u_2": "deferred", "u_3": "doubt-lost", "u_4": "doubt-applied"})
    report = stage.run()

    assert {"planned": 6, "accepted": 2, "rejected": 1, "deferred": 3, "unsent": 0} == report.delivered.counts
    assert ["u_2", "u_3", "u_4"] == list(stage.plan().fields)


def test_only_some_keys_leave_the_others_parked(stage: Stage) -> None:
    """A run for one key forgets nothing of the others."""
    stage.map(field("x"))
    stage.put(ONE, ("u_1", 1.0), ("u_2", 2.0), ("u_3", 3.0))
    stage.decide = deciding({"u_1": "rejected"})
    stage.run(only=("u_1", "u_2"))

    assert (["u_1"], {"u_2": {"x": 2.0}}) == (stage.parked(), stage.records)

    stage.run(only=("u_3",))

    assert (["u_1"], ["u_3"]) == (stage.parked(), list(stage.sent))


def test_a_value_that_changes_twice_goes_once(stage: Stage) -> None:
    """The latest value goes, whatever it was while the destination could not be asked."""
    stage.map(field("x"))
    stage.put(ONE, ("u_1", 1.0))
    stage.run()
    stage.decide = deciding({"u_1": "deferred"})
    for value in (2.0, 3.0):
        stage.put(ONE, ("u_1", value))
        stage.run()
    stage.decide = deciding({})
    stage.run()

    assert {"u_1": {"x": 3.0}} == stage.sent


def test_a_value_that_changes_back_does_not_go(stage: Stage) -> None:
    """From A to B and back to A before B was delivered, nothing is sent."""
    stage.map(field("x"))
    stage.put(ONE, ("u_1", 1.0))
    stage.run()
    stage.put(ONE, ("u_1", 2.0))
    stage.decide = deciding({"u_1": "deferred"})
    stage.run()
    stage.put(ONE, ("u_1", 1.0))
    stage.run()

    assert {} == stage.sent


def people(stage: Stage, number: int, change: str = "FALSE", value: str = "-1") -> None:
    """A table of so many people, of whom some have another score."""
    stage.put("user_id VARCHAR, x INTEGER")
    stage.sql(
        f"INSERT INTO people SELECT format('u_{{:04d}}', i), CASE WHEN {change} THEN {value} ELSE i END "
        f"FROM range({number}) t(i)"
    )


def test_a_plan_within_the_limits_is_not_held(stage: Stage) -> None:
    """At exactly the share nothing holds; one record more holds the plan, which sends nothing."""
    stage.map(field("x"), brakes=Brakes(changed_max=0.3, removed_max=0.05))
    people(stage, 100)
    stage.run()
    people(stage, 100, "i < 30")

    assert [] == stage.plan().brakes

    people(stage, 100, "i < 31")
    report = stage.run()

    assert ("held", ["changed_max"], {}) == (report.result, [hold.brake for hold in report.holds], stage.sent)
    assert {"planned": 31, "accepted": 0, "rejected": 0, "deferred": 0, "unsent": 31} == report.delivered.counts
    assert ("changed_max", 0.3, 0.31) == (report.holds[0].brake, report.holds[0].limit, report.holds[0].found)


def test_a_held_plan_stays_held_until_released(stage: Stage) -> None:
    """On each run it is held again; released it goes, this once, and the journal says so."""
    stage.map(field("x"), brakes=SHARES)
    people(stage, 100)
    stage.run()
    people(stage, 100, "i < 50")

    assert ["held", "held"] == [stage.run().result, stage.run().result]

    digest = stage.plan().plan.digest
    report = stage.run(release=True, digest=digest)

    assert ("done", ["changed_max"], 50) == (report.result, report.released, len(stage.sent))
    assert ["changed_max"] == stage.engine.control().runs(stage.sync.name)[0].released

    people(stage, 100, "i < 50", "-2")

    assert "held" == stage.run().result


def test_a_held_plan_is_let_go_by_a_later_one_within_the_limits(stage: Stage) -> None:
    """What is wrong in the warehouse is mended there, and the next run goes by itself."""
    stage.map(field("x"))
    people(stage, 100)
    stage.run()
    people(stage, 100, "i < 50")
    stage.run()
    people(stage, 100, "i < 5")

    assert ("done", 5) == (stage.run().result, len(stage.sent))


def test_a_release_is_for_exactly_that_plan(stage: Stage) -> None:
    """When the source moves between the look and the release, nothing is sent."""
    stage.map(field("x"))
    people(stage, 100)
    stage.run()
    people(stage, 100, "i < 50")
    digest = stage.plan().plan.digest
    people(stage, 100, "i < 51")
    report = stage.run(release=True, digest=digest)

    assert ("failed", {}) == (report.result, stage.sent)
    assert "the plan is not the one that was saved" in (report.error or "")


def test_removals_and_clearings_are_held(stage: Stage) -> None:
    """Each share has a brake of its own."""
    stage.map(field("x"), removed="delete")
    people(stage, 100)
    stage.run()
    people(stage, 94)

    assert ["removed_max", "deleted_max"] == stage.plan().brakes

    stage.map(removed="clear")

    assert ["removed_max"] == stage.plan().brakes

    people(stage, 100, "i >= 94", "NULL")
    seen = stage.plan()

    assert (["cleared_max"], {"x": (6, 100)}) == (seen.brakes, seen.plan.cleared)


def test_few_records_are_never_held_by_a_share(stage: Stage) -> None:
    """Below `known_min` records no share says anything."""
    stage.map(field("x"), removed="delete", brakes=Brakes(known_min=100))
    people(stage, 99)
    stage.run()
    people(stage, 50, "TRUE")

    assert [] == stage.plan().brakes


@pytest.mark.parametrize("removed", ["keep", "delete"])
def test_an_empty_source_is_always_held(stage: Stage, removed: str) -> None:
    """No usable row over a state that is not empty is held, however few records are known."""
    stage.map(field("x"), removed=removed)
    people(stage, 3)
    stage.run()
    stage.put("user_id VARCHAR, x INTEGER")

    assert ["empty_source"] == stage.plan().brakes

    stage.put("user_id VARCHAR, x INTEGER", (None, 1), ("u_1", 1), ("u_1", 2))

    assert (["empty_source"], "held", 3) == (stage.plan().brakes, stage.run().result, len(stage.records))


def test_an_empty_source_over_an_empty_state_is_nothing_to_do(stage: Stage) -> None:
    """Before the first row was sent an empty table is just empty."""
    stage.map(field("x"))
    people(stage, 0)

    assert ([], "done") == (stage.plan().brakes, stage.run().result)


def test_a_stale_source_is_held(stage: Stage) -> None:
    """Older than `max_age`, the scores are of a night that somebody has to look at."""
    stage.map(field("x"), brakes=Brakes(max_age="36h"))
    people(stage, 3)
    stage.warehouse.changed_at = datetime.datetime.fromtimestamp(stage.now, datetime.UTC)

    assert [] == stage.plan().brakes

    stage.now += 37 * HOUR

    assert (["max_age"], "held") == (stage.plan().brakes, stage.run().result)


def test_an_added_field_is_no_change_of_records(stage: Stage) -> None:
    """A field that is sent for the first time does not count for the brake, nor does the same value in doubt."""
    stage.map(field("x"))
    people(stage, 100)
    stage.run()
    stage.map(field("x"), field("y", "x"))

    assert (100, []) == (stage.plan().plan.changed, stage.plan().brakes)

    stage.decide = lambda change: "doubt-lost"
    stage.run()

    assert (100, 0, []) == (stage.plan().plan.changed, stage.plan().plan.moved, stage.plan().brakes)


@pytest.mark.parametrize("options", [{}, {"min_change": 5}])
def test_what_is_in_doubt_is_judged_by_what_left_last(stage: Stage, options: dict[str, Any]) -> None:
    """After a night of outage the same scores go again unheld; a source that broke since is held like any other."""
    stage.map(field("x", **options), brakes=SHARES)
    people(stage, 200)
    stage.run()
    stage.decide = lambda change: "doubt-lost"
    people(stage, 200, "TRUE", "i + 1000")
    stage.run(release=True)

    assert (200, 0, []) == (stage.plan().plan.changed, stage.plan().plan.moved, stage.plan().brakes)

    people(stage, 200, "TRUE", "0")

    assert (200, ["changed_max"]) == (stage.plan().plan.moved, stage.plan().brakes)
    assert "held" == stage.run().result

    people(stage, 200, "TRUE", "NULL")

    assert ["changed_max", "cleared_max"] == stage.plan().brakes


def test_nearly_the_value_that_left_last_is_no_change(stage: Stage) -> None:
    """A doubtful number that trembles below its threshold goes again and is not counted."""
    stage.map(field("x", min_change=5))
    people(stage, 200)
    stage.run()
    stage.decide = lambda change: "doubt-lost"
    people(stage, 200, "TRUE", "i + 1000")
    stage.run(release=True)
    people(stage, 200, "TRUE", "i + 1004")

    assert (200, 0, []) == (stage.plan().plan.changed, stage.plan().plan.moved, stage.plan().brakes)


@pytest.mark.parametrize(("value", "brake"), [("i + 1000", "changed_max"), ("NULL", "cleared_max")])
def test_what_is_tried_again_was_judged_before(stage: Stage, value: str, brake: str) -> None:
    """Refused records that go again, when they are due or on request, are not held for what was released then."""
    stage.map(field("x"), brakes=SHARES)
    people(stage, 200)
    stage.run()
    people(stage, 200, "TRUE", value)
    assert brake in stage.plan().brakes
    stage.decide = lambda change: "rejected"
    stage.run(release=True)
    stage.engine.control().retry(stage.sync.name, None)

    assert (200, []) == (stage.plan().plan.changed, stage.plan().brakes)
    assert (200, []) == (stage.run().delivered.counts["rejected"], stage.plan().brakes)

    stage.now += 4 * HOUR

    assert (200, []) == (stage.plan().plan.changed, stage.plan().brakes)

    people(stage, 200, "TRUE", "i + 2000")

    assert ["changed_max"] == stage.plan().brakes


def test_a_column_of_another_type_is_held(stage: Stage) -> None:
    """When a column of numbers becomes one of texts every accepted value differs, and the brake says so."""
    stage.map(field("x"))
    people(stage, 100)
    stage.run()
    stage.sql("CREATE OR REPLACE TEMP TABLE people AS SELECT user_id, x::VARCHAR AS x FROM people")

    assert (100, ["changed_max"]) == (stage.plan().plan.moved, stage.plan().brakes)
