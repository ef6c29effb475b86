"""Weights and cohorts: what is computed is what it is called, and finds what was put into the world."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytest.importorskip("dbt.cli.main", reason="dbt is not installed here: `make test-example`.")

import numpy as np
import pandas as pd

from activation import cohorts, weights
from tests.example.site import HOUSE, Site


def times(**steps: list[int | None]) -> pd.DataFrame:
    """Days of steps by workspace; steps that are not named were never taken."""
    given = {name.replace("_", " "): days for name, days in steps.items()}
    size = len(next(iter(given.values())))
    start = pd.Timestamp("2026-01-01", tz="UTC")
    return pd.DataFrame({
        name: start + pd.to_timedelta(pd.Series(given.get(name, [None] * size), dtype="float"), "D")
        for name in (f"{step} {order}" for step in weights.STEPS for order in (1, 2))
    })  # fmt: skip


def test_first_and_second_order_are_what_they_are_called() -> None:
    """Did X, did X twice, did Y after X: by the times of the steps."""
    found = times(flow_1=[1, 1, None], flow_2=[2, None, None], deployment_1=[5, None, 3], key_1=[4, 9, None])
    one, two = weights.first_order(found), weights.second_order(found)

    assert [1, 1, 0] == list(one["flow"])
    assert [1, 0, 0] == list(two["flow twice"])
    assert [1, 0, 0] == list(two["deployment after flow"])
    assert [1, 0, 0] == list(two["deployment after key"])
    # Whoever made a key had written a flow before: that says nothing more than the key does.
    assert "key after flow" not in two


def test_correlation_is_by_rank_and_leaves_out_what_never_varies() -> None:
    """A step that goes with more spend has a positive r within its band; one that everybody took has none."""
    spend = pd.Series([0.0, 1, 2, 3, 1_000_000, 0, 0, 5])
    found = weights.correlations(pd.DataFrame({"pays": (spend > 1).astype(float), "all": 1.0}), spend)

    assert ["pays"] == list(found.index)
    assert found["low"]["pays"] < found["r"]["pays"] < found["high"]["pays"]
    assert 0.8 < found["r"]["pays"] < 1


def test_suggested_points_add_up_and_reach_the_seed(tmp_path: Path) -> None:
    """Suggestions follow the correlations, add up to 50, and change nothing else in the file."""
    seed = tmp_path / "weights.csv"
    shutil.copy(weights.SEED_FILE, seed)
    before = seed.read_text().splitlines()
    found = pd.DataFrame(
        {
            "r": {
                "flow": 0.1,
                "deployment": 0.2,
                "schedule": 0.3,
                "queue": -0.5,
                "automation": 0.33,
                "collaborator": 0.2,
                "key": 0.1,
            }
        }
    )
    table = weights.suggested(found, weights.current_points(seed))
    weights.write_points(table["suggested"], seed)
    after = seed.read_text().splitlines()

    assert weights.POINTS == table["suggested"].sum()
    assert 0 == table["suggested"]["queue"]
    assert table["suggested"]["workspace"] == table["now"]["workspace"]
    assert table["suggested"]["automation"] == table["suggested"].max()
    assert table["suggested"].to_dict() == weights.current_points(seed).to_dict()
    assert [line for line in before if ",milestone," not in line] == [
        line for line in after if ",milestone," not in line
    ]


def test_what_does_nothing_correlates_all_the_same(made: Site) -> None:
    """In the invented world invitations earn nothing and go with money: the page warns of what can be seen here."""
    found = weights.correlations(
        weights.first_order((taken := weights.steps_of_workspaces(made.warehouse))[0]), taken[1]
    )

    assert found["low"]["automation"] > 0
    assert found["low"]["collaborator"] > 0
    assert found["r"].is_monotonic_decreasing


def users(size: int, start: datetime) -> pd.DataFrame:
    arms = ["control", "experiment"] * (size // 2)
    return pd.DataFrame({"user_id": [f"u_{number:04}" for number in range(size)], "arm": arms, "assigned_at": start})


def test_a_score_is_valid_until_the_next_one() -> None:
    """On each day counts the last score up to it; before the first there is none."""
    start = datetime(2026, 5, 4, tzinfo=UTC)
    people = users(2, start)
    steps = pd.DataFrame({
        "user_id": ["u_0000", "u_0000", "u_0001"],
        "from": [start, start + pd.Timedelta(7, "D"), start + pd.Timedelta(3, "D")],
        "score": [10.0, 20.0, 5.0],
    })  # fmt: skip
    found = cohorts.panel(people, steps, np.array([0, 3, 6, 7, 9]))

    assert [10, 10, 10, 20, 20] == list(found.loc["u_0000"])
    assert np.isnan(found.loc["u_0001", 0])
    assert [5, 5, 5, 5] == list(found.loc["u_0001"])[1:]


def test_the_band_covers_the_truth_as_often_as_it_says() -> None:
    """Of two hundred invented experiments with a true effect of 3, the band of the difference has it in about 95 %."""
    chance = np.random.default_rng(1)
    people = users(200, datetime(2026, 5, 4, tzinfo=UTC))
    is_led = (people["arm"] == "experiment").to_numpy()
    covered = 0
    for seed in range(200):
        scores = pd.DataFrame({0: chance.normal(30, 15, 200) + 3 * is_led}, index=people["user_id"])
        found = cohorts.curves(people, scores, seed).iloc[0]
        covered += found["difference low"] <= 3 <= found["difference high"]

    assert 180 <= covered <= 199


def test_history_and_log_tell_the_same_when_every_night_was_sent(site: Site) -> None:
    """After two nights the curves out of the history and out of the delivered log agree to a digit, from day 0 on."""
    with site.services():
        site.python("-m", "activation.nights", "--first", "2026-05-18", "--last", "2026-05-25")
    people, computed = cohorts.from_history(site.warehouse, "guided-deployment")
    delivered = cohorts.from_delivered(site.home / "delivered.duckdb")
    start = people["assigned_at"].min()
    found = [
        cohorts.curves(people, cohorts.panel(people, steps, cohorts.nights(steps, start)))
        for steps in (computed, delivered)
    ]

    assert [14, 21] == list(found[0].index) == list(found[1].index)
    assert np.allclose(found[0]["experiment"], found[1]["experiment"], atol=0.3)
    assert (found[0]["control users"] == found[1]["control users"]).all()


def test_without_marts_the_next_step_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both programs end with a sentence, and no traceback, when there is nothing to measure yet."""
    for program in (weights, cohorts):
        assert 1 == program.main(["--warehouse", str(tmp_path / "none.duckdb")])
    told = capsys.readouterr().err

    assert "dbt build" in told
    assert "python -m activation.nights" in told
    assert HOUSE.exists()
