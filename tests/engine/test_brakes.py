"""The judge of plans: pure, so a plan is made up and asked about."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from syncer.brakes import judge
from syncer.mapping import Brakes, Sync
from syncer.plan import Hold, Plan
from tests.engine.stage import field

NOW = datetime.datetime(2026, 3, 1, 6, tzinfo=datetime.UTC)


def holds(plan: dict[str, Any], *, age_hours: float | None = 1, **brakes: Any) -> list[Hold]:
    """What holds a plan of these numbers."""
    sync = Sync(
        name="memory.people",
        destination="memory",
        source="people",
        key="user_id",
        object="person",
        match={"id": "user_id"},
        fields=(field("x"),),
        brakes=Brakes(),
        file=Path("memory.toml"),
    )
    modified = None if age_hours is None else NOW - datetime.timedelta(hours=age_hours)
    return judge(Plan(sync, Path("plan"), (), **plan), Brakes(**brakes), modified, NOW)


@pytest.mark.parametrize(
    ("plan", "brakes", "expected"),
    [
        ({"rows": 1000, "known": 1000, "moved": 300}, {}, []),
        ({"rows": 1000, "known": 1000, "moved": 301}, {}, ["changed_max"]),
        ({"rows": 1000, "known": 1000, "moved": 301}, {"changed_max": 1.0}, []),
        ({"rows": 1000, "known": 1000, "moved": 1}, {"changed_max": 0.0}, ["changed_max"]),
        ({"rows": 1000, "known": 1000, "changed": 1000, "rescored": 1000, "new": 9000}, {}, []),
        ({"rows": 950, "known": 1000, "removed": 50}, {}, []),
        ({"rows": 949, "known": 1000, "removed": 51}, {}, ["removed_max"]),
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
