"""The invented product: the same seed gives the same rows, and people behave as people do."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

pytest.importorskip("dbt.cli.main", reason="dbt is not installed here: `make test-example`.")

import duckdb
import numpy as np

from activation import generate, world

TABLES = tuple(generate.ROWS)


def rows(path: Path, table: str, where: str = "true") -> list[tuple[object, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.sql(f"SELECT * FROM raw.{table} WHERE {where} ORDER BY ALL").fetchall()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw tables of three hundred users."""
    path = tmp_path_factory.mktemp("world") / "warehouse.duckdb"
    generate.into_warehouse(path, users=300)
    return path


@pytest.mark.parametrize("table", TABLES)
def test_the_same_seed_gives_the_same_rows(whole: Path, tmp_path: Path, table: str) -> None:
    """Rows that are generated again, as Parquet files, are the same, and others of another seed are not."""
    generate.into_parquet(tmp_path / "same", users=300)
    generate.into_parquet(tmp_path / "other", seed=8, users=300)
    again, other = (
        duckdb.sql(f"SELECT * FROM read_parquet('{tmp_path}/{name}/{table}/*.parquet') ORDER BY ALL").fetchall()
        for name in ("same", "other")
    )

    assert rows(whole, table) == again
    assert again != other


@pytest.mark.parametrize(
    ("table", "moment"), [("users", "created_at"), ("events", "occurred_at"), ("payments", "paid_at")]
)
def test_what_comes_later_changes_nothing_of_what_was(whole: Path, tmp_path: Path, table: str, moment: str) -> None:
    """Tables up to a day are the rows of the whole tables that are older than it."""
    path = tmp_path / "early.duckdb"
    generate.into_warehouse(path, users=300, until=date(2026, 4, 1))

    assert rows(whole, table, f"{moment} < TIMESTAMPTZ '2026-04-01 00:00:00+00'") == rows(path, table)


def test_chunks_are_worlds_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """People of several chunks have keys of their own, and every reference finds its row."""
    monkeypatch.setattr(world, "CHUNK_USERS", 200)
    path = tmp_path / "warehouse.duckdb"
    generate.into_warehouse(path, users=500)
    with duckdb.connect(str(path), read_only=True) as connection:
        for table, key in (
            ("users", "user_id"),
            ("workspaces", "workspace_id"),
            ("events", "event_id"),
            ("payments", "payment_id"),
        ):
            count, distinct = connection.sql(f"SELECT count(*), count(DISTINCT {key}) FROM raw.{table}").fetchall()[0]

            assert count == distinct
        orphans = connection.sql("""
            SELECT count(*) FROM raw.events LEFT JOIN raw.users USING (user_id)
            LEFT JOIN raw.workspaces AS w ON events.workspace_id = w.workspace_id
            WHERE users.user_id IS NULL OR (events.workspace_id IS NOT NULL AND w.workspace_id IS NULL)
        """).fetchall()

    assert [(0,)] == orphans


def test_nobody_takes_a_step_before_the_one_that_it_needs() -> None:
    """No flow before the workspace, no deployment before a flow, no schedule and no queue before a deployment."""
    made = world.chunk(7, 0, 2_000)
    events = made.events
    kinds = {name: number for number, name in enumerate(world.EVENTS)}

    def first(kind: str) -> np.ndarray:
        times = np.full(2_001, np.inf)
        chosen = events["kind"] == kinds[kind]
        np.minimum.at(times, events["user_no"][chosen], events["moment"][chosen])
        return times

    joined = np.full(2_001, np.inf)
    joined[made.memberships["user_no"]] = made.memberships["moment"]
    steps = {kind: first(kind) for kind in world.EVENTS}
    for later, earlier in (
        (steps["flow_created"], joined),
        (steps["flow_run"], steps["flow_created"]),
        (steps["deployment_created"], steps["flow_created"]),
        (steps["scheduled_run"], steps["deployment_created"]),
        (steps["work_queue_created"], steps["deployment_created"]),
        (steps["automation_created"], steps["scheduled_run"]),
    ):
        taken = np.isfinite(later)

        assert taken.any()
        assert (later[taken] >= earlier[taken]).all()


def test_the_funnel_narrows_and_machines_know_no_weekend() -> None:
    """Fewer people reach each step, people come less at weekends, and schedules run all the same."""
    made = world.chunk(7, 0, 5_000)
    events = made.events

    def reached(kind: str) -> float:
        return len(np.unique(events["user_no"][events["kind"] == world.EVENTS.index(kind)])) / 5_000

    def weekend(kind: str) -> float:
        days = events["moment"][events["kind"] == world.EVENTS.index(kind)].astype(int) % 7
        return float((days >= 5).mean())

    shares = [
        reached(kind)
        for kind in ("logged_in", "flow_created", "deployment_created", "scheduled_run", "automation_created")
    ]

    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.9
    assert 0.05 < shares[-1] < 0.3
    assert weekend("logged_in") < 0.15
    assert abs(weekend("scheduled_run") - 2 / 7) < 0.03


def test_a_mistake_on_the_command_line_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """A day outside of the invented world is refused with what would be right."""
    with pytest.raises(SystemExit):
        generate.main(["--until", "2027-01-01"])

    assert "not after 2026-07-06" in capsys.readouterr().err
