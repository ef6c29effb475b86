"""The judge of plans: pure, so a plan is made up and asked about."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from syncer.brakes import judge
from syncer.mapping import Brakes, Sync
from syncer.plan import Hold, Plan, Quantile, Shift
from tests.engine.stage import field

NOW = datetime.datetime(2026, 3, 1, 6, tzinfo=datetime.UTC)


def holds(
    plan: dict[str, Any], *, age_hours: float | None = 1, is_sensitive: bool = False, **brakes: Any
) -> list[Hold]:
    """What holds a plan of these numbers."""
    sync = Sync(
        name="memory.people",
        destination="memory",
        source="people",
        key="user_id",
        object="person",
        match={"id": "user_id"},
        fields=(field("x", sensitive=is_sensitive),),
        brakes=Brakes(),
        removed=plan.get("removal", "clear"),
        file=Path("memory.toml"),
    )
    plan = {name: value for name, value in plan.items() if name != "removal"}
    modified = None if age_hours is None else NOW - datetime.timedelta(hours=age_hours)
    return judge(Plan(sync, Path("plan"), (), **plan), Brakes(**brakes), modified, NOW)


OPEN = {"changed_max": 1.0, "removed_max": 1.0, "cleared_max": 1.0}
"""The shares of somebody who wants no amounts to be judged."""


def deleting(number: int) -> dict[str, Any]:
    """A plan that deletes so many of 1,000 records."""
    return {"rows": 1000 - number, "known": 1000, "removed": number, "removal": "delete"}


def shift(
    mean: float = 50.0, zeros: int = 0, median: float = 50.0, *, values: int = 1000, spread: float = 20.0
) -> dict[str, Any]:
    """A plan that moves the values of x from a mean of 50, none at 0, and a median of 50 between 45 and 55."""
    quantiles = (Quantile(0.1, 20, 15, 25, 20), Quantile(0.5, 50, 45, 55, median))
    moved = Shift(values, spread, 50.0, mean, ((0, 0, zeros), (100, 5, 5)), quantiles)
    return {"rows": 1000, "known": 1000, "shifts": {"x": moved}}


@pytest.mark.parametrize(
    ("plan", "brakes", "expected"),
    [
        (shift(mean=60.0), {}, []),
        (shift(mean=60.1), {}, ["mean_shift_max"]),
        (shift(mean=39.9), {}, ["mean_shift_max"]),
        (shift(mean=39.9), {"mean_shift_max": 2.0}, []),
        (shift(mean=39.9, values=99), {}, []),
        (shift(mean=39.9, spread=0.0), {}, []),
        (shift(median=65.0), {}, []),
        (shift(median=65.1), {}, ["quantile_shift_max"]),
        (shift(median=34.9), {}, ["quantile_shift_max"]),
        (shift(median=34.9), {"quantile_shift_max": 1.0}, []),
        (shift(zeros=200), {}, []),
        (shift(zeros=201), {}, ["edge_share_max"]),
        (shift(zeros=201, values=99), {}, []),
        (shift(zeros=201, spread=0.0), {}, ["edge_share_max"]),
        ({"rows": 1000, "known": 1000, "bands_moved": {"x": (300, 1000)}}, {}, []),
        ({"rows": 1000, "known": 1000, "bands_moved": {"x": (301, 1000)}}, {}, ["bands_moved_max"]),
        ({"rows": 1000, "known": 1000, "bands_moved": {"x": (99, 99)}}, {}, []),
        ({"rows": 1000, "known": 1000, "unmapped": {"x": (50, 1000)}}, {}, []),
        ({"rows": 1000, "known": 1000, "unmapped": {"x": (51, 1000)}}, {}, ["unmapped_max"]),
        ({"rows": 1000, "invalid": 200}, {}, []),
        ({"rows": 1000, "invalid": 201}, {}, ["invalid_max"]),
        ({"rows": 1000, "invalid": 201, "known": 1000}, {"invalid_max": 0.5}, []),
        ({"rows": 99, "invalid": 90}, {}, []),
        ({"rows": 1000, "known": 1000, "moved": 300}, {}, []),
        ({"rows": 1000, "known": 1000, "moved": 301}, {}, ["changed_max"]),
        ({"rows": 1000, "known": 1000, "moved": 301}, {"changed_max": 1.0}, []),
        ({"rows": 1000, "known": 1000, "moved": 1}, {"changed_max": 0.0}, ["changed_max"]),
        ({"rows": 1000, "known": 1000, "changed": 1000, "rescored": 1000, "new": 9000}, {}, []),
        ({"rows": 950, "known": 1000, "removed": 50}, {}, []),
        ({"rows": 949, "known": 1000, "removed": 51}, {}, ["removed_max"]),
        (deleting(50), {}, []),
        (deleting(11), {"deleted_max": 0.01}, ["deleted_max"]),
        (shift(mean=5_000.0), OPEN, []),
        (shift(mean=5_000.0), {**OPEN, "mean_shift_max": 0.5}, ["mean_shift_max"]),
        (shift(mean=5_000.0, values=99), {"known_min": 1}, []),
        (deleting(51), {}, ["removed_max", "deleted_max"]),
        (deleting(51), {"removed_max": 0.1}, []),
        (deleting(51), {"removed_max": 0.1, "deleted_max": 0.05}, ["deleted_max"]),
        (deleting(51), {"removed_max": 0.02}, ["removed_max", "deleted_max"]),
        (deleting(51), {"deleted_max": 1.0}, ["removed_max"]),
        ({"rows": 99, "known": 99, "removed": 99, "removal": "delete"}, {}, []),
        ({"rows": 1000, "known": 1000, "cleared": {"x": (5, 100)}}, {}, []),
        ({"rows": 1000, "known": 1000, "cleared": {"y": (6, 100), "x": (1, 1)}}, {}, ["cleared_max", "cleared_max"]),
        ({"rows": 99, "known": 99, "moved": 99, "removed": 99, "cleared": {"x": (9, 9)}}, {}, []),
        ({"rows": 1, "known": 1, "moved": 1}, {"known_min": 0}, ["changed_max"]),
        ({"rows": 5, "known": 0, "new": 5}, {"known_min": 0}, []),
        ({"rows": 0, "known": 1}, {}, ["empty_source"]),
        ({"rows": 7, "invalid": 7, "known": 1}, {}, ["empty_source"]),
        ({"rows": 7, "invalid": 6, "known": 1}, {}, []),
        ({"rows": 0, "known": 0}, {}, []),
        ({"rows": 0, "known": 500, "removed": 500}, {}, ["empty_source", "removed_max"]),
    ],
)
def test_each_brake_holds_above_its_limit(plan: dict[str, Any], brakes: dict[str, Any], expected: list[str]) -> None:
    """A share holds when it is more than its limit, and all that hold are told."""

    assert expected == [hold.brake for hold in holds(plan, **brakes)]


@pytest.mark.parametrize(
    ("age_hours", "max_age", "expected"),
    [(36, "36h", []), (36.01, "36h", ["max_age"]), (99, None, []), (None, "36h", []), (-1, "36h", [])],
)
def test_a_stale_source_holds(age_hours: float | None, max_age: str | None, expected: list[str]) -> None:
    """Older than `max_age` holds, unless there is no limit, or the source cannot tell."""
    plan = {"rows": 5, "known": 5}

    assert expected == [hold.brake for hold in holds(plan, age_hours=age_hours, max_age=max_age)]


@pytest.mark.parametrize(
    ("plan", "age_hours", "sentence"),
    [
        (
            {"rows": 12_000, "known": 10_000, "moved": 4_000},
            1,
            "4,000 of 10,000 known records would change: 40 %, and changed_max is 30 %.",
        ),
        (
            {"rows": 10_000, "known": 10_000, "removed": 777},
            1,
            "777 of 10,000 known records would be removed: 7.77 %, and removed_max is 5 %.",
        ),
        (
            {"rows": 10_000, "known": 10_000, "cleared": {"x": (600, 6_000)}},
            1,
            "600 of 6,000 values of x would turn null: 10 %, and cleared_max is 5 %.",
        ),
        (
            {"rows": 10_000, "known": 10_000, "unmapped": {"x": (600, 6_000)}},
            1,
            (
                "`map` does not know what 600 of 6,000 values of x have become, so `default` would stand for them: "
                "10 %, and unmapped_max is 5 %."
            ),
        ),
        (
            {"rows": 10_000, "known": 10_000, "bands_moved": {"x": (5_000, 9_000)}},
            1,
            "5,000 of 9,000 known records would move to another band of x: 55.56 %, and bands_moved_max is 30 %.",
        ),
        (
            {"rows": 4_000, "invalid": 1_000},
            1,
            "1,000 of the source's 4,000 rows are invalid: 25 %, and invalid_max is 20 %.",
        ),
        (
            shift(mean=5_000.0),
            1,
            "The mean of x would move from 50 to 5,000: 248 times its spread of 20, and mean_shift_max is 0.5.",
        ),
        (
            shift(median=0.5),
            1,
            "The median of x would move from 50 to 0.5: 2.23 times its spread of 20, and quantile_shift_max is 0.5.",
        ),
        (
            shift(zeros=900),
            1,
            "900 of 1,000 values of x would be exactly 0, 0 are now: 90 % more, and edge_share_max is 20 %.",
        ),
        ({"rows": 0, "known": 10_000}, 1, "The source has no rows, and 10,000 records are known."),
        ({"rows": 0, "known": 1}, 1, "The source has no rows, and 1 record is known."),
        (
            {"rows": 1, "invalid": 1, "known": 1},
            1,
            "The source has 1 row, none usable, and 1 record is known.",
        ),
        (
            {"rows": 7, "invalid": 7, "known": 10_000},
            1,
            "The source has 7 rows, none usable, and 10,000 records are known.",
        ),
        (
            {"rows": 7, "known": 7},
            49,
            "The source last changed 2 days ago, and max_age is 36h. Look whether the models were built.",
        ),
    ],
)
def test_a_hold_says_what_was_found_and_the_way_out(plan: dict[str, Any], age_hours: float, sentence: str) -> None:
    """The sentence has the numbers, the limit, and the two commands that go on from here."""
    way_out = (
        "Look at it with `syncer diff memory.people`; if it is right, `syncer sync memory.people --release` "
        "sends it this once."
    )

    assert [f"{sentence} {way_out}"] == [hold.sentence for hold in holds(plan, age_hours=age_hours)]


def test_a_hold_of_deletions_says_what_is_at_stake() -> None:
    """Its sentence says deleted, where a removal only clears."""
    (hold,) = holds(deleting(20), deleted_max=0.01)

    assert hold.sentence.startswith(
        "20 of 1,000 known records would be deleted at the destination: 2 %, and deleted_max is 1 %."
    )


def test_a_sensitive_field_is_judged_and_not_quoted() -> None:
    """Of a sensitive field the sentence says how far it moves, and neither a mean nor anybody's value."""
    found = holds(shift(mean=5_000.0, median=7_777.0), is_sensitive=True)

    assert ["The mean of x would move: 248 times its spread,", "The median of x would move: 386 times its spread,"] == [
        hold.sentence.split(" and ")[0] for hold in found
    ]
