"""What the brakes on distributions are told: measured on the state and the plan, and compared with plain Python."""

from __future__ import annotations

import random
import statistics

import pytest

from tests.engine.stage import Stage, deciding, field

ONE = "user_id VARCHAR, x DOUBLE, v VARCHAR"


def put(stage: Stage, values: list[float | None], version: str = "1") -> None:
    stage.put(ONE, *((f"u_{place:04}", value, version) for place, value in enumerate(values)))


def test_mean_spread_and_edges_are_those_of_the_values(stage: Stage) -> None:
    """They are as if all values before and after had been looked at, although only the changes were."""
    chance = random.Random(1)
    before = [float(chance.choice([0, 0, 100, chance.randint(1, 99)])) for _ in range(300)]
    after = [chance.choice([0.0, 100.0, 7.5]) if place % 10 == 0 else value for place, value in enumerate(before)]
    stage.map(field("x"))
    put(stage, [*before])
    stage.run()
    put(stage, [*after])
    shift = stage.plan().plan.shifts["x"]

    assert 300 == shift.values
    assert pytest.approx(statistics.pstdev(before)) == shift.spread
    assert pytest.approx((statistics.fmean(before), statistics.fmean(after))) == (shift.mean_before, shift.mean_after)
    assert ((0, before.count(0), after.count(0)), (100, before.count(100), after.count(100))) == shift.edges
    assert before.count(0) != after.count(0)


def test_quantiles_are_those_of_the_values(stage: Stage) -> None:
    """Before and after, and their neighbours; where at most one value in twenty changes nothing has to be looked at."""
    before = [float(number) for number in range(200)]
    stage.map(field("x"))
    put(stage, [*before])
    stage.run()
    put(stage, [*before[:190], *(0.0 for _ in range(10))])

    assert () == stage.plan().plan.shifts["x"].quantiles

    put(stage, [*before[:100], *(1000.0 + number for number in range(100))])
    tenth, median, ninetieth = stage.plan().plan.shifts["x"].quantiles

    assert [(0.1, 19.0, 9.0, 29.0, 19.0), (0.5, 99.0, 89.0, 109.0, 99.0), (0.9, 179.0, 169.0, 189.0, 1079.0)] == [
        (one.share, one.before, one.low, one.high, one.after) for one in (tenth, median, ninetieth)
    ]
    assert [0.0, 0.0, 1079.0 - 189.0] == [one.distance for one in (tenth, median, ninetieth)]


def test_a_median_between_two_heaps_has_not_moved(stage: Stage) -> None:
    """Where half of the people have 0 and half 100, a few of them decide what the median is, and that is no break."""
    stage.map(field("x"))
    put(stage, [0.0] * 51 + [100.0] * 49)
    stage.run()
    put(stage, [0.0] * 45 + [100.0] * 55)
    seen = stage.plan()

    assert ([], 0.0, 100.0) == (
        seen.brakes,
        seen.plan.shifts["x"].quantiles[1].before,
        seen.plan.shifts["x"].quantiles[1].after,
    )


def test_new_records_move_nothing(stage: Stage) -> None:
    """As many new people as known ones, all with a score of 0, are growth."""
    stage.map(field("x"))
    put(stage, [50.0 + place for place in range(100)])
    stage.run()
    put(stage, [50.0 + place for place in range(100)] + [0.0] * 100)
    seen = stage.plan()

    assert (100, [], {}) == (seen.plan.new, seen.brakes, seen.plan.shifts)


def test_a_field_that_is_new_moves_nothing(stage: Stage) -> None:
    """A field of which nothing was accepted yet has no distribution to move, and one that fills up has little."""
    stage.map(field("x"))
    put(stage, [float(place) for place in range(200)])
    stage.run()
    stage.map(field("x"), field("y", "x"))

    assert ({}, []) == (stage.plan().plan.shifts, stage.plan().brakes)


def test_rescored_records_move_nothing(stage: Stage) -> None:
    """A new formula may move mean, quantiles and bands; people who changed in the same night are judged alone."""
    stage.map(field("x"), field("band", "x", bands={"low": 0, "high": 100}), version="v")
    put(stage, [float(place) for place in range(200)])
    stage.run()
    put(stage, [1000.0 + place for place in range(200)], "2")
    seen = stage.plan()

    assert (200, [], {}, {}) == (seen.plan.rescored, seen.brakes, seen.plan.shifts, seen.plan.bands_moved)

    stage.sql("UPDATE people SET v = '1' WHERE user_id < 'u_0050'")
    seen = stage.plan()

    assert (150, 50) == (seen.plan.rescored, seen.plan.changed)
    assert ["mean_shift_max", "quantile_shift_max"] == seen.brakes
    assert {"band": (50, 200)} == seen.plan.bands_moved
    assert pytest.approx(99.5 + 50 * 1000 / 200) == seen.plan.shifts["x"].mean_after


def test_what_was_judged_before_moves_nothing(stage: Stage) -> None:
    """A jump that was released and refused, or lost on the way, is not held again when it is tried again."""
    stage.map(field("x"))
    put(stage, [float(place) for place in range(200)])
    stage.run()
    put(stage, [1000.0 + place for place in range(200)])
    assert "mean_shift_max" in stage.plan().brakes
    stage.decide = deciding({f"u_{place:04}": "doubt-lost" if place % 2 else "rejected" for place in range(200)})
    stage.run(release=True)
    stage.engine.control().retry(stage.sync.name, None)
    seen = stage.plan()

    assert (200, []) == (seen.plan.changed, seen.brakes)


def test_only_what_is_compared_and_is_no_code_is_a_distribution(stage: Stage) -> None:
    """Numbers that stand for words, constants, and fields that ride along are not judged."""
    stage.map(
        field("x"),
        field("code", "v", map={"1": 0, "2": 5000}),
        field("along", "x", compare=False),
        field("fixed", value=1),
    )
    put(stage, [float(place) for place in range(100)])
    stage.run()
    put(stage, [float(place) + place % 2 for place in range(100)], "2")
    stage.map(*stage.sync.fields[:3], field("fixed", value=9000))

    assert ["x"] == list(stage.plan().plan.shifts)


def test_huge_numbers_do_no_harm(stage: Stage) -> None:
    """Numbers whose squares no double can hold are judged by their range."""
    stage.map(field("x"))
    put(stage, [place * 1e200 for place in range(100)])
    stage.run()
    put(stage, [place * 1e200 + 1e190 for place in range(100)])
    seen = stage.plan()

    assert ([], ["changed_max"]) == ([hold for hold in seen.brakes if hold != "changed_max"], seen.brakes)
    assert pytest.approx(99e200 / 20) == seen.plan.shifts["x"].spread


def test_values_that_are_all_the_same_have_a_spread(stage: Stage) -> None:
    """A tenth of the mean: the first people who differ are no break, and another unit is."""
    stage.map(field("x"))
    put(stage, [40.0] * 200)
    stage.run()
    put(stage, [45.0] * 20 + [40.0] * 180)
    seen = stage.plan()

    assert (4.0, []) == (seen.plan.shifts["x"].spread, seen.brakes)

    put(stage, [4000.0] * 20 + [40.0] * 180)

    assert ["mean_shift_max"] == stage.plan().brakes


def test_the_first_who_use_something_new_break_nothing(stage: Stage) -> None:
    """Where all have 0 there is nothing to measure with, and where nearly all have it the range is the measure."""
    stage.map(field("x"))
    stage.put("user_id VARCHAR, x DOUBLE")
    stage.sql("INSERT INTO people SELECT 'u_' || i, 0 FROM range(1000) t(i)")
    stage.run()
    stage.sql("UPDATE people SET x = 9 WHERE user_id = 'u_7'")

    assert [] == stage.plan().brakes

    stage.run()
    stage.sql("UPDATE people SET x = 9 WHERE user_id LIKE 'u_7_'")
    stage.sql("UPDATE people SET x = 9 WHERE user_id LIKE 'u_8_'")
    seen = stage.plan()

    assert (20, 9 / 20, []) == (seen.plan.changed, seen.plan.shifts["x"].spread, seen.brakes)


def test_a_record_that_gets_its_first_band_has_moved(stage: Stage) -> None:
    """Into a band counts, out of all of them is a null; a band that was never sent is no move."""
    stage.map(field("band", "x", bands={"low": 10, "high": 100}), field("x", min_change=1e9))
    put(stage, [5.0] * 20 + [50.0] * 90)
    stage.run()
    put(stage, [50.0] * 20 + [5.0] * 10 + [50.0] * 40 + [150.0] * 40)
    seen = stage.plan()

    # The twenty were in no band, so nothing was ever sent for them.
    assert {"band": (40, 90)} == seen.plan.bands_moved
    assert {"band": (10, 90)} == seen.plan.cleared

    stage.run(release=True)
    put(stage, [50.0] * 30 + [50.0] * 40 + [150.0] * 40)

    assert {"band": (10, 110)} == stage.plan().plan.bands_moved


def test_a_value_that_map_does_not_know_is_told_from_a_default(stage: Stage) -> None:
    """Known values that `default` hides are counted; nulls, new records, and what was the default before are not."""
    columns = "user_id VARCHAR, plan VARCHAR"
    stage.map(field("plan", map={"free": "F", "team": "T", "none": "other"}, default="other"))
    stage.put(columns, *((f"u_{place:03}", ["free", "team", "partner", None][place % 4]) for place in range(120)))
    stage.run()
    words = ["Free", "team", "reseller", None]
    stage.put(columns, *((f"u_{place:03}", words[place % 4]) for place in range(160)))
    seen = stage.plan()

    assert ({"plan": (30, 120)}, ["unmapped_max"]) == (seen.plan.unmapped, seen.brakes)

    words = ["none", "team", "partner", None]
    stage.put(columns, *((f"u_{place:03}", words[place % 4]) for place in range(120)))
    seen = stage.plan()

    assert (30, {}, []) == (seen.plan.changed, seen.plan.unmapped, seen.brakes)
