"""The plan is the same wherever the values lie: night after night of random rows, with every option of a field."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from syncer.config_file import DatasetState
from syncer.destination import Limits, ValueLimit
from syncer.mapping import Brakes
from tests.engine.stage import HOUR, Seen, Stage, deciding, field
from tests.sources.bigquery_here import BigQueryHere

COLUMNS = (
    "user_id VARCHAR, email VARCHAR, score DOUBLE, ratio DOUBLE, visits BIGINT, spent DECIMAL(18, 2), plan VARCHAR, "
    "active BOOLEAN, born DATE, seen TIMESTAMPTZ, counted VARCHAR, version VARCHAR"
)
FIELDS = (
    field("score", digits=1),
    field("ratio", digits=2, min_change=0.05),
    field("raw", "ratio"),
    field("visits", min_change=3),
    field("visits_text", "visits", type="text"),
    field("spent"),
    field("band", "score", bands={"cold": 0, "warm": 40, "hot": 75}, hysteresis=2),
    field("rounded_band", "score", digits=0, bands={"low": 10, "high": 60}, map={"low": "L", "high": "H"}, default="-"),
    field("plan", map={"free": "Free", "pro": "Pro"}, default="Other"),
    field("plan_kept", "plan", null="skip"),
    field("active"),
    field("born"),
    field("seen", type="timestamp"),
    field("day", "seen", type="date"),
    field("counted", type="integer"),
    field("counted_number", "counted", type="number"),
    field("note", "email", compare=False),
    field("origin", value="warehouse"),
)
LIMITS = Limits(
    records=7,
    in_flight=1,
    timestamp_unit="millisecond",
    values={"plan_kept": ValueLimit(characters=12)},
    identifiers={"email": ValueLimit(characters=24)},
    caseless=frozenset({"email"}),
)
NUMBERS = (0.0, -0.0, 0.05, 0.25, 9.95, 10.0, 39.95, 40.0, 41.04, 41.05, 59.5, 60.5, 74.99, 75.0, 99.999, 1e6 + 0.05)


@pytest.fixture
def places(tmp_path: Path, bigquery: BigQueryHere) -> Iterator[tuple[Stage, Stage]]:
    """The same stage with its state on disk, and with it in BigQuery."""
    state = DatasetState(type="bigquery", dataset="syncer_state", path=tmp_path / "there" / "state")
    with (
        Stage(tmp_path / "here", there=bigquery) as here,
        Stage(tmp_path / "there", state=state, there=bigquery) as there,
    ):
        there.now = here.now
        yield here, there


def night(chance: random.Random, rows: dict[str, list[Any]]) -> list[list[Any]]:
    """The table in the next version: some values move, some rows come, go, double, or lose their key or address."""
    for key in list(rows):
        if chance.random() < 0.05:
            del rows[key]
        elif chance.random() < 0.4:
            rows[key][chance.randrange(2, len(rows[key]))] = None
            rows[key] = _filled(chance, rows[key])
    while len(rows) < 25:
        key = f"u{chance.randrange(60):02}"
        rows.setdefault(key, _filled(chance, [key, f"{key}@Example.com", *[None] * 10]))
    listed = [list(row) for row in rows.values()]
    if chance.random() < 0.5:
        listed.append(list(chance.choice(listed)))
    if chance.random() < 0.4:
        listed.append(_filled(chance, [None, "nobody@example.com", *[None] * 10]))
        listed.append(_filled(chance, [None, "nobody@example.com", *[None] * 10]))
    if chance.random() < 0.4:
        listed.append(_filled(chance, ["", "empty@example.com", *[None] * 10]))
    if chance.random() < 0.5:
        listed[0][1] = listed[1][1].upper() + " "
    if chance.random() < 0.3:
        listed[2][1] = None
    if chance.random() < 0.3:
        listed[3][1] = "a-very-long-address@example.com"
    chance.shuffle(listed)
    return listed


def _filled(chance: random.Random, row: list[Any]) -> list[Any]:
    """Each value that is null becomes one, mostly."""
    second = datetime.timedelta(milliseconds=chance.choice([0, 0, 250, 999]), microseconds=chance.choice([0, 1]))
    moment = datetime.datetime(2026, 3, chance.randint(1, 3), 23, 59, 59, tzinfo=datetime.UTC) + second
    choices: list[Any] = [
        None,
        None,
        chance.choice([*NUMBERS, float("nan"), float("inf")]),
        chance.choice([*NUMBERS, -0.05]),
        chance.choice([1, 2, 3, 4, 7, 2**53 + 1, -5]),
        chance.choice(["0.10", "12.00", "12.5", "1234567.89"]),
        chance.choice(["free", "pro", "Pro", "a plan of the longest name", ""]),
        chance.choice([True, False]),
        datetime.date(2026, 1, chance.randint(1, 3)),
        moment,
        chance.choice(["7", " 7", "7.0", "07", "7.5", "7e0", "+7", "seven", ""]),
        chance.choice(["v1", "v1", "v2"]),
    ]
    return [
        value if value is not None or number < 2 else None if chance.random() < 0.1 else choices[number]
        for number, value in enumerate(row)
    ]


def told(seen: Seen) -> dict[str, Any]:
    """What `diff --json` says of a plan, but for what reading came to."""
    return {name: value for name, value in seen.document.items() if name not in ("bytes_read", "price", "currency")}


@pytest.mark.parametrize(
    ("seed", "removed"),
    [
        (1, "keep"),
        (3, "delete"),
        (4, "clear"),
        *(pytest.param(n, "clear", marks=pytest.mark.slow) for n in range(5, 15)),
    ],
)
def test_plans_are_the_same_in_both_places(places: tuple[Stage, Stage], seed: int, removed: str) -> None:
    """Counts, changes, invalid rows and digest agree each night, also after refusals, doubts and forgotten keys."""
    chance = random.Random(seed)
    rows: dict[str, list[Any]] = {}
    for stage in places:
        stage.limits = LIMITS
        stage.map(
            *FIELDS,
            match={"email": "email"},
            removed=removed,
            version="version",
            grace=2 if seed == 4 else 1,
            brakes=Brakes(known_min=10**9, changed_max=1.0),
        )
    changed = 0
    for _ in range(5):
        table = night(chance, rows)
        refused = {key: "rejected" for key in rows if chance.random() < 0.1}
        refused |= {key: "deferred" for key in rows if chance.random() < 0.1}
        seen = []
        for stage in places:
            stage.put(COLUMNS, *table)
            stage.decide = deciding(refused)  # type: ignore[arg-type] # decisions by key
            seen.append(stage.plan())

        assert told(seen[0]) == told(seen[1])
        assert seen[0].plan.digest == seen[1].plan.digest
        for stage in places:
            stage.now += 2 * HOUR
            report = stage.run(release=True)
            assert "failed" != report.result, report.error

        here, there = places
        assert here.records == there.records
        assert here.parked() == there.parked()
        changed += len(seen[0].changes)

    assert changed > 10
