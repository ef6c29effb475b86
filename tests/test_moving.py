"""`syncer state move`: the state goes to another place, and nothing is sent again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from destinations.standins.server import Server
from tests.crash.standins import SlowCustomerio
from tests.postgres import PostgresServer
from tests.sources.bigquery_here import BigQueryHere
from tests.workplace import DATASET, LEASE_SECONDS, NO_BRAKES, Workplace

PEOPLE = """
[[sync]]
name = "people"
source = "people"
key = "user_id"
object = "person"
match = { id = "user_id" }
missing = "create"

[sync.fields]
user = "user_id"
score = "score"
since = "since"
"""


@pytest.fixture
def place(tmp_path: Path, bigquery: BigQueryHere) -> Iterator[Workplace]:
    """Thirty people in BigQuery, twenty-eight accepted by customer.io, one in doubt and one parked; all on disk."""
    standin, workplace = SlowCustomerio(), Workplace(tmp_path, there=bigquery)
    with Server({"": standin}):
        workplace.write({"customerio": standin.settings() + "attempts = 1\n"}, {"customerio": PEOPLE}, NO_BRAKES)
        written = workplace.folder / "config.toml"
        there = written.read_text()
        (workplace.folder / "there.toml").write_text(there)
        written.write_text(there.replace(f'[state]\ntype = "bigquery"\ndataset = "{DATASET}"\n', ""))
        workplace.sql(
            "CREATE TABLE people AS SELECT 'u' || i AS user_id, i::DOUBLE AS score, "
            "CASE WHEN i % 3 > 0 THEN TIMESTAMPTZ '2026-03-01 06:00:00+00' END AS since FROM range(30) t(i)"
        )
        assert 0 == workplace.run("sync").code
        workplace.sql("UPDATE people SET score = score + 0.5 WHERE user_id IN ('u1', 'u2')")
        assert 0 == workplace.run("sync").code
        workplace.sql("UPDATE people SET score = 99 WHERE user_id = 'u7'")
        standin.trouble("lost", when=standin.is_write)
        assert 1 == workplace.run("sync").code
        workplace.sql("UPDATE people SET score = 7 WHERE user_id = 'u7'")
        yield workplace


def sent(workplace: Workplace, config: str) -> dict[str, object]:
    """What a sync by this config comes to."""
    result = workplace.run("--config", str(workplace.folder / config), "sync", "--json")

    assert 0 == result.code, result.err
    return {name: result.sync[name] for name in ("planned", "accepted", "requests")}


def told(workplace: Workplace, config: str, key: str) -> list[tuple[str, dict[str, object]]]:
    """The life of a record: run, and what it did."""
    life = workplace.run("--config", str(workplace.folder / config), "explain", "customerio.people", key, "--json")

    assert 0 == life.code, life.err
    return [(one["run"], one["fields"]) for one in life.json["syncs"][0]["history"]]


def test_state_goes_to_bigquery_and_back_without_sending_anything_again(place: Workplace) -> None:
    """Moved, only what was in doubt is sent, as it would have been where it was; the history comes along."""
    before = told(place, "config.toml", "u1")
    moved = place.run("state", "move", "--to", str(place.folder / "there.toml"), "--json")

    assert (0, [{"sync": "customerio.people", "records": 30}]) == (moved.code, moved.json["syncs"]), moved.err
    assert {"planned": 1, "accepted": 1, "requests": 1} == sent(place, "there.toml")
    assert {"planned": 0, "accepted": 0, "requests": 0} == sent(place, "there.toml")
    assert before == told(place, "there.toml", "u1")

    refused = place.run("sync")

    assert 1 == refused.code
    assert "lie in BigQuery" in refused.err

    back = place.run("--config", str(place.folder / "there.toml"), "state", "move", "--to", "config.toml")

    assert 0 == back.code, back.err
    assert {"planned": 0, "accepted": 0, "requests": 0} == sent(place, "config.toml")
    assert before == told(place, "config.toml", "u1")
    assert [] == [name for name in place.there.warehouse.tables if DATASET in name]  # type: ignore[union-attr]


def test_a_move_begun_again_goes_on(place: Workplace) -> None:
    """A second move to the same place finds the sync there, and changes nothing."""
    words = ("state", "move", "--to", str(place.folder / "there.toml"), "--json")
    first, second = place.run(*words), place.run(*words)

    assert (0, 0) == (first.code, second.code), second.err
    assert [{"sync": "customerio.people", "records": None}] == second.json["syncs"]
    assert 1 == sent(place, "there.toml")["planned"]


def test_state_goes_to_a_server_with_its_journal(
    place: Workplace, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another control store the journal goes along, and new runs get new numbers; a store in use is refused."""
    text = (place.folder / "there.toml").read_text()
    control = f'[state]\ncontrol = "{postgres.url()}"\nlease_seconds = {LEASE_SECONDS}\npath = "other"\n'
    (place.folder / "server.toml").write_text(text.replace("[state]\n", control))
    words = ("state", "move", "--to", str(place.folder / "server.toml"))
    runs = [one.id for one in place.journal("customerio.people")]

    (place.folder / "same.toml").write_text((place.folder / "server.toml").read_text().replace('path = "other"', ""))
    same = place.run("state", "move", "--to", str(place.folder / "same.toml"))

    assert (1, True) == (same.code, "Name another `state.path`" in same.err)
    assert 0 == (moved := place.run(*words)).code, moved.err
    assert {"planned": 1, "accepted": 1, "requests": 1} == sent(place, "server.toml")
    status = place.run("--config", str(place.folder / "server.toml"), "status", "--json").sync
    assert [str(max(runs) + 1), *map(str, runs)] == [one["run"] for one in status["runs"]]
    refused = place.run(*words)
    assert (1, True) == (refused.code, "knows syncs already" in refused.err)
