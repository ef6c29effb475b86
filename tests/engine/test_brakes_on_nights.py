"""The brakes with their defaults on generated nights: a normal one is never held, a broken one always, by its brake."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from syncer.mapping import Brakes
from tests.engine.stage import Stage, field

PEOPLE = 2_000
FIRST_NIGHTS = 3
PLANS = {"free": "F", "team": "T", "business": "B"}
BANDS = {"cold": 0, "warm": 40, "hot": 75}
FIELDS = (
    field("score", digits=1, min_change=0.5),
    field("usage_score", digits=1),
    field("milestone_score", digits=1, default=0.0),
    field("band", "score", bands=BANDS, hysteresis=2.0),
    field("plan", map=PLANS, default="other"),
    field("logins_7d"),
    field("seats"),
    field("invites"),
    field("night", compare=False),
)

Row = dict[str, Any]


class Company:
    """A product's people, night after night; the same seed lives the same life.

    Each night some two of a hundred get other scores, a few are gone, new ones come with little use, the whole drifts
    upwards, and the week has a rhythm: on weekends few log in.
    """

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.nights = 0
        self.born = 0
        self.rows: dict[str, Row] = {}
        self._come(PEOPLE)

    def sleep(self) -> list[Row]:
        """One night."""
        self.nights += 1
        for row in self._some(self.chance.uniform(0.01, 0.04)):
            self._score(row, row["usage_score"] + self.chance.gauss(1.0, 15.0))
        for row in self._some(0.15):
            # Those of the last seven days; more than one in seven people do something else than a week before.
            busy = 0.4 if self.nights % 7 in (5, 6) else 1.0
            row["logins_7d"] = int(self.chance.expovariate(1.0) * row["usage_score"] / 5 * busy)
        for row in self._some(0.005):
            row["plan"] = self.chance.choice(["free", "free", "team", "business", "partner"])
        for row in self._some(0.003):
            row["invites"] += self.chance.randint(1, 5)
        for row in self._some(0.003):
            del self.rows[row["user_id"]]
        # Now and then a campaign brings as many in a night as else in a month.
        self._come(int(len(self.rows) * (0.15 if self.nights % 10 == 4 else self.chance.uniform(0.0, 0.02))))
        return list(self.rows.values())

    def _some(self, share: float) -> list[Row]:
        return self.chance.sample(list(self.rows.values()), int(len(self.rows) * share))

    def _come(self, number: int) -> None:
        for _ in range(number):
            self.born += 1
            row = {"user_id": f"u_{self.born:05}", "seats": int(self.chance.paretovariate(0.9) * 4), "invites": 0}
            row["plan"] = self.chance.choice(["free"] * 7 + ["team", "business", "partner"])
            self._score(row, 100 * self.chance.betavariate(0.8, 2.2))
            row["logins_7d"] = int(self.chance.expovariate(1.0) * row["usage_score"] / 5)
            self.rows[row["user_id"]] = row

    def _score(self, row: Row, usage: float) -> None:
        usage = min(100.0, max(0.0, usage))
        reached = min(8, int((usage / 100) ** 0.7 * 8 + self.chance.random() * 2))
        row |= {"usage_score": round(usage, 4), "milestone_score": 12.5 * reached}
        row["score"] = round((row["usage_score"] + row["milestone_score"]) / 2, 4)


def put(stage: Stage, rows: list[Row], night: int) -> None:
    stage.warehouse.load(pa.Table.from_pylist([{**row, "night": night} for row in rows]))


def live(stage: Stage, company: Company, nights: int) -> list[list[str]]:
    """So many nights, each delivered; gives the brakes that held each of them."""
    held = []
    for _ in range(nights):
        put(stage, company.sleep(), company.nights)
        held.append([hold.sentence for hold in stage.run().holds])
    return held


def furnish(stage: Stage) -> None:
    stage.limits = stage.limits.__class__(records=2_000, in_flight=1, timestamp_unit="microsecond")
    stage.map(*FIELDS, removed="clear")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_normal_nights_are_not_held(stage: Stage, seed: int) -> None:
    """Drift, growth, a campaign and the rhythm of a week pass with the defaults, and so does the first night."""
    furnish(stage)

    assert [[]] * 10 == live(stage, Company(seed), 10)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, list[Row], int]]:
    """A stage after some normal nights, and the rows of the next one, which nobody has seen yet."""
    with Stage(tmp_path_factory.mktemp("nights")) as stage:
        furnish(stage)
        company = Company(7)
        live(stage, company, FIRST_NIGHTS)
        yield stage, company.sleep(), company.nights


BROKEN = {
    "half of the rows are gone": ("DELETE FROM people WHERE hash(user_id) % 2 = 0", "removed_max"),
    "a column is null": ("UPDATE people SET score = NULL", "cleared_max"),
    "a column with a default is null": ("UPDATE people SET milestone_score = NULL", "edge_share_max"),
    "scores in another unit": ("UPDATE people SET score = score * 100", "mean_shift_max"),
    "scores as shares of one": ("UPDATE people SET score = score / 100", "mean_shift_max"),
    "some scores in another unit": ("UPDATE people SET score = score * 100 WHERE plan = 'team'", "mean_shift_max"),
    "scores are 0": ("UPDATE people SET score = 0", "edge_share_max"),
    "scores are 100": ("UPDATE people SET score = 100", "edge_share_max"),
    "a part of the scores is 0": ("UPDATE people SET usage_score = 0 WHERE hash(user_id) % 4 = 0", "edge_share_max"),
    "a sum is 0": ("UPDATE people SET logins_7d = 0", "edge_share_max"),
    "two columns are swapped": (
        "UPDATE people SET usage_score = logins_7d, logins_7d = usage_score::INTEGER",
        "mean_shift_max",
    ),
    "everybody has the average": (
        "UPDATE people SET usage_score = (SELECT avg(usage_score) FROM people)",
        "quantile_shift_max",
    ),
    "everybody is in another band": (
        "UPDATE people SET score = CASE WHEN score < 40 THEN score + 40 ELSE score - 40 END",
        "bands_moved_max",
    ),
    "words have other names": ("UPDATE people SET plan = upper(plan)", "unmapped_max"),
    "one word has another name": ("UPDATE people SET plan = 'Team' WHERE plan = 'team'", "unmapped_max"),
    "a join doubles rows": ("INSERT INTO people SELECT * FROM people WHERE hash(user_id) % 3 = 0", "invalid_max"),
    "a join finds others' scores": (
        "UPDATE people SET usage_score = (hash(user_id) % 10000) / 100 WHERE hash(user_id) % 3 > 0",
        "changed_max",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_night_is_held(lived: tuple[Stage, list[Row], int], name: str) -> None:
    """Each break is held by the brake that names it, and nothing of the night is sent."""
    stage, rows, night = lived
    statement, brake = BROKEN[name]
    put(stage, rows, night)

    assert [] == stage.plan().brakes

    stage.sql(statement)
    report = stage.run()

    assert ("held", {}) == (report.result, stage.sent)
    assert brake in [hold.brake for hold in report.holds]


@pytest.mark.parametrize("name", [name for name, (_, brake) in BROKEN.items() if brake != "changed_max"])
def test_a_broken_night_is_held_where_every_row_changes_each_night(
    lived: tuple[Stage, list[Row], int], name: str
) -> None:
    """Where scores tremble, `changed_max` has to be off; the other brakes see the break without it."""
    stage, rows, night = lived
    statement, brake = BROKEN[name]
    trembling = [{**row, "score": row["score"] + random.Random(row["user_id"]).uniform(-1, 1)} for row in rows]
    put(stage, trembling, night)
    stage.map(brakes=Brakes(changed_max=1.0))
    try:
        assert [] == stage.plan().brakes

        stage.sql(statement)

        assert brake in stage.plan().brakes
    finally:
        stage.map(brakes=Brakes())
