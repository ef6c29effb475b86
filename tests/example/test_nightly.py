"""The night as a Prefect flow, on a server of its own: what came of it is read from that server's database."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest

pytest.importorskip("dbt.cli.main", reason="dbt is not installed here: `make test-example`.")

from tests.example.site import Site

SCRIPT = """
import json, sys
from pathlib import Path
from activation.nightly import nightly
from prefect.client.schemas.objects import State

def night(as_of):
    state = nightly(Path("config.toml"), as_of, return_state=True)
    print(json.dumps([state.type.value, state.message, state.result(raise_on_failure=False)]), flush=True)

night("2026-04-20 00:00:00+00")
mapping = Path("mappings/customerio.toml")
text = mapping.read_text().replace('name = "people"', 'name = "people"\\nbrakes = { changed_max = 0.01 }')
mapping.unlink()
mapping.write_text(text)
night("2026-04-27 00:00:00+00")
seed = Path("dbt/seeds/weights.csv")
seed.write_text(seed.read_text().replace("usage_days,usage,15", "usage_days,usage,16"))
night("2026-04-27 00:00:00+00")
"""


class Nights:
    """Three nights in one process: the first, one with a tight brake on people, and one whose weights do not add up."""

    def __init__(self, site: Site) -> None:
        with site.services():
            output = site.python("-c", SCRIPT)
        self.states = [json.loads(line) for line in output.splitlines() if line.startswith("[")]
        self.database = site.home / ".prefect" / "prefect.db"
        self.status = site.syncer("status", known=(0, 1))

    def asked(self, query: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def nights(made: Site, tmp_path_factory: pytest.TempPathFactory) -> Nights:
    from tests.example.site import copied

    site = copied(tmp_path_factory.mktemp("nights"))
    site.warehouse.write_bytes(made.warehouse.read_bytes())
    # The history begins with the first of these nights.
    import duckdb

    with duckdb.connect(str(site.warehouse)) as connection:
        connection.execute("DROP SCHEMA activation_history CASCADE")
    return Nights(site)


def test_a_good_night_is_completed(nights: Nights) -> None:
    """dbt builds, every sync of every destination runs, and the counts are in the summary."""
    kind, message, text = nights.states[0]

    assert ("COMPLETED", "Every sync has run.") == (kind, message)
    for sync in ("customerio.people", "customerio.workspaces", "customerio.accounts", "salesforce.contacts"):
        assert f"| {sync} | done |" in text


def test_a_held_plan_is_a_failed_task_with_its_reason(nights: Nights) -> None:
    """A destination whose plan a brake holds fails its task and the flow, says why, and keeps no other from its run."""
    kind, message, text = nights.states[1]
    tasks = nights.asked("SELECT name, state_type FROM task_run WHERE name LIKE 'syncer sync%' ORDER BY start_time")

    assert "FAILED" == kind
    assert "customerio.people is held, nothing of it was sent." in message
    assert "changed_max" in message
    assert "| customerio.people | held |" in text
    assert "| customerio.workspaces | done |" in text
    assert "| salesforce.contacts | done |" in text
    assert [("syncer sync customerio", "COMPLETED"), ("syncer sync salesforce", "COMPLETED"),
            ("syncer sync customerio", "FAILED"), ("syncer sync salesforce", "COMPLETED")] == tasks  # fmt: skip


def test_nothing_is_sent_when_dbt_fails(nights: Nights) -> None:
    """A test of the project that fails is the flow's reason, and no sync has run after it."""
    kind, message, _ = nights.states[2]
    runs = nights.asked("SELECT count(*) FROM task_run WHERE name LIKE 'syncer sync%'")

    assert "FAILED" == kind
    assert "dbt failed, so nothing was sent: weights_are_half_and_half" in message
    assert [(4,)] == runs


def test_the_summary_is_an_artifact(nights: Nights) -> None:
    """Each night has left its summary at the server, under one key."""
    found = nights.asked("SELECT data FROM artifact WHERE key = 'activation-night' ORDER BY created")

    assert [json.dumps(text) for _, _, text in nights.states] == [json.dumps(json.loads(data)) for (data,) in found]


def test_the_journal_says_who_started_the_runs(nights: Nights) -> None:
    """Syncer's own status knows these runs, and the held ones as held."""
    results = {one["sync"]: one["holds"] for one in nights.status["syncs"]}

    assert results["customerio.people"]
    assert not results["salesforce.contacts"]
