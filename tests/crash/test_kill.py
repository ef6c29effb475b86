"""Kill -9 at any moment: nothing is lost, little is repeated, nothing is doubled, and the journal knows.

The real command line runs against stand-ins over HTTP. Between two kills the source changes: some rows blip and go
back, some values turn null and return, some rows come and go.
"""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from destinations.standins.server import Server
from syncer.control import Control
from tests.crash.standins import Slow, SlowCustomerio, SlowSalesforce
from tests.postgres import PostgresServer
from tests.sources.bigquery_here import BigQueryHere
from tests.workplace import NO_BRAKES, Process, Workplace, until

ROWS = 600
IN_FLIGHT = 2
PHASES = ("start", "plan", "in flight", "committing", "folding")
RUNS_MAX = 6
"""Runs after the last kill until everything is where it belongs; one is enough unless a record was deferred."""

PEOPLE = """
[[sync]]
name = "people"
source = "people"
key = "user_id"
object = "person"
match = { id = "user_id" }
missing = "create"
removed = "delete"

[sync.fields]
user = "user_id"
score = "score"
label = "label"
# Padding makes a batch of a hundred records out of one of a thousand; it goes along and is never the reason to go.
pad1 = { column = "pad", compare = false }
pad2 = { column = "pad", compare = false }
pad3 = { column = "pad", compare = false }
pad4 = { column = "pad", compare = false }
pad5 = { column = "pad", compare = false }
"""

CONTACTS = """
[[sync]]
name = "contacts"
source = "people"
key = "user_id"
object = "Contact"
match = { Email = "email" }
missing = "create"

[sync.fields]
LastName = "user_id"
Activation_Score__c = "score"
Title = "label"
"""


def night(number: int, *, is_growing: bool) -> str:
    """SQL of the source's table in one version. `is_growing`: 60 rows more each time, and none ever goes."""
    rows = f"range({ROWS // 2 + 60 * number})" if is_growing else f"range({ROWS})"
    gone = "" if is_growing else f"WHERE i % 50 <> {number} % 50"
    return f"""
    CREATE OR REPLACE TABLE people AS
    SELECT 'u' || i AS user_id, 'u' || i || '@example.com' AS email,
      -- Half of the rows move for good, a tenth blips to another value and goes back.
      CASE WHEN i % 10 = {number} % 10 THEN 1000 + {number} ELSE (i * 7 + ({number} + i % 2) // 2) % 100 END AS score,
      -- A twentieth turns null and comes back.
      CASE WHEN i % 20 = {number} % 20 THEN NULL ELSE 'label ' || i % 3 END AS label,
      repeat('x', 900) AS pad
    FROM {rows} t(i) {gone}
    """


class Killer:
    """Runs `syncer sync` and kills it at a moment that a seed chooses among all phases of a run."""

    def __init__(self, workplace: Workplace, standin: Slow, sync: str, seed: int) -> None:
        self.workplace = workplace
        self.standin = standin
        self.sync = sync
        self.random = random.Random(seed)
        self.kills: Counter[str] = Counter()
        """Phase → kills."""
        self.writers = 0
        """Processes that sent anything."""
        self.folder = workplace.state / sync

    def moments(self) -> Iterator[tuple[str, Callable[[Process], bool]]]:
        """Name and condition of each moment, phase after phase, for ever."""
        while True:
            late = time.monotonic() + self.random.uniform(0.02, 1.0)
            yield "start", lambda process, late=late: time.monotonic() > late
            files = self.files("plan-*.tmp", "spool-*")
            yield "plan", lambda process, files=files: self.files("plan-*.tmp", "spool-*") - files
            for _ in range(2):
                received = self.standin.received + self.random.randint(1, 4)
                yield "in flight", lambda process, number=received: self.standin.received >= number
                applied = self.standin.applied + self.random.randint(1, 4)
                yield "committing", lambda process, number=applied: self.standin.applied >= number
            folds = self.folds()
            yield "folding", lambda process, folds=folds: self.folds() - folds

    def files(self, *patterns: str) -> set[str]:
        """Files of the sync's state."""
        return {file.name for pattern in patterns for file in self.folder.glob(pattern)}

    def folds(self) -> set[str]:
        """What folding has left so far: bases here, or in BigQuery each version of the log."""
        if self.workplace.there is None:
            return self.files("base-*")
        tables = list(self.workplace.there.warehouse.tables.values())
        return {f"{one.name}@{one.version}" for one in tables if "_log_" in one.name}

    def kill_once(self, moment: str, is_here: Callable[[Process], bool]) -> None:
        """One run that is killed, unless it is quicker."""
        self.standin.slow_down(self.random.uniform(0, 0.03), self.random.uniform(0, 0.03))
        received, began = self.standin.received, time.time()
        process = self.workplace.start("sync")
        while process.is_running and not is_here(process):
            time.sleep(0.001)
        time.sleep(self.random.choice([0, 0, 0.002, 0.01, 0.03]))
        was_running = process.is_running
        process.kill()
        self.kills[moment] += was_running
        self.standin.drained()
        if self.workplace.there is not None:
            # A container without a disk: the next process finds nothing here.
            shutil.rmtree(self.workplace.state, ignore_errors=True)
        self.workplace.outlast(self.sync)
        # The state opens, and knows of the run if it sent anything.
        runs = self.workplace.journal(self.sync)
        has_written = self.standin.received > received
        self.writers += has_written
        if has_written:
            assert began <= runs[0].started, f"the journal does not know of a run that was killed: {moment}"
            if was_running and moment == "in flight":
                assert runs[0].result in ("running", "done")

    def finish(self) -> None:
        """Run until nothing is left to do."""
        self.standin.slow_down(0, 0)
        for _ in range(RUNS_MAX):
            result = self.workplace.run("sync", "--json")

            assert 0 == result.code, result.out + result.err
            self.writers += result.sync["requests"] > 0
            if result.sync["planned"] == 0:
                return
            assert result.sync["planned"] == result.sync["accepted"]
        raise AssertionError("there is always something left to send")

    def check_journal(self) -> None:
        """Every run is named, its counts add up, and every killed one is told as such."""
        runs = self.workplace.journal(self.sync)

        assert self.writers <= len(runs)
        assert [] == [one for one in runs if one.result == "running"]
        for one in runs:
            assert one.planned == one.accepted + one.rejected + one.deferred + one.unsent
            assert one.finished is not None
            assert (one.result == "done") == (one.error is None)
        told = self.workplace.run("status", "--json").sync["runs"]
        assert [str(one.id) for one in runs[:10]] == [one["run"] for one in told]

    def check_history(self) -> None:
        """Everything that was accepted or refused is in the history, once, whoever was killed in between."""
        control = Control.look(self.workplace.kept)
        assert control is not None
        names = [part.file for part in control.history(self.sync)]
        control.close()
        if there := self.workplace.there:
            stems = [name.removesuffix(".parquet").replace("-", "_") for name in names]
            tables = [
                one.rows.select(["run", "key", "result"])
                for one in there.warehouse.tables.values()
                if any(one.name.endswith(stem) for stem in stems)
            ]
            entries = [tuple(row.values()) for table in tables for row in table.to_pylist()]
        else:
            with duckdb.connect(":memory:") as connection:
                query = "SELECT run, key, result FROM read_parquet(?, union_by_name = true)"
                entries = connection.execute(query, [[str(self.folder / name) for name in names]]).fetchall()
        told = Counter((run, result) for run, _, result in entries)

        assert len(entries) == len(set(entries))
        for one in self.workplace.journal(self.sync):
            assert (one.accepted, one.rejected) == (told[one.id, "accepted"], told[one.id, "rejected"])


def harry(killer: Killer, kills: int, *, is_growing: bool) -> None:
    """Kill so many runs, with a new source every second time, and in the end let it finish."""
    moments = killer.moments()
    for number in range(kills * 3):
        if killer.kills.total() >= kills:
            break
        if number % 2 == 0:
            killer.workplace.sql(night(number // 2, is_growing=is_growing))
        killer.kill_once(*next(moments))
    killer.finish()

    assert kills <= killer.kills.total()
    assert [] == [phase for phase in PHASES if not killer.kills[phase]]
    killer.check_journal()
    killer.check_history()


def people_survive(
    folder: Path, kills: int, seed: int, control: str | None = None, there: BigQueryHere | None = None
) -> None:
    workplace, standin = Workplace(folder, control, there), SlowCustomerio()
    with Server({"": standin}):
        more = f"in_flight = {IN_FLIGHT}\n"
        workplace.write({"customerio": standin.settings() + more}, {"customerio": PEOPLE}, NO_BRAKES)
        killer = Killer(workplace, standin, "customerio.people", seed)
        harry(killer, kills, is_growing=False)
        wanted = workplace.rows("SELECT user_id, score, coalesce(label, '') AS label FROM people")

        assert {row["user_id"]: (str(row["score"]), row["label"]) for row in wanted} == standin.held("score", "label")
        assert standin.batch_records < ROWS / 4, "batches are too large for anything to be in flight beside them"
        assert standin.repeats <= killer.kills.total() * IN_FLIGHT * standin.batch_records


def contacts_survive(folder: Path, kills: int, seed: int) -> None:
    workplace, standin = Workplace(folder), SlowSalesforce()
    with Server({"": standin}):
        more = f"in_flight = {IN_FLIGHT}\n"
        workplace.write({"salesforce": standin.settings() + more}, {"salesforce": CONTACTS}, NO_BRAKES)
        killer = Killer(workplace, standin, "salesforce.contacts", seed)
        harry(killer, kills, is_growing=True)
        wanted = workplace.rows("SELECT email, score, label FROM people")

        assert [] == standin.doubled()
        held = standin.held("Activation_Score__c", "Title")
        assert {row["email"]: (row["score"], row["label"]) for row in wanted} == held


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_people_survive_kills(tmp_path: Path, seed: int) -> None:
    """After ten kills in all phases the people at customer.io are those of the source, and little came twice."""
    people_survive(tmp_path, kills=10, seed=seed)


def test_plain_creates_survive_kills(tmp_path: Path) -> None:
    """After twelve kills every contact that the source names is there, once, although each was a plain create."""
    contacts_survive(tmp_path, kills=12, seed=3)


@pytest.mark.slow  # What is killed without a disk has its control store there too.
@pytest.mark.parametrize("seed", [6])
def test_people_survive_kills_on_a_server(tmp_path: Path, postgres: PostgresServer, seed: int) -> None:
    """So it is when runs and intents are kept by PostgreSQL, where a killed process holds its sync until the lease
    runs out."""
    people_survive(tmp_path, kills=10, seed=seed, control=postgres.url())


def test_people_survive_kills_without_a_disk(tmp_path: Path, postgres: PostgresServer, bigquery: BigQueryHere) -> None:
    """So it is with the state in BigQuery and the control store in PostgreSQL, when each process that was killed took
    its disk with it."""
    people_survive(tmp_path, kills=7, seed=9, control=postgres.url(), there=bigquery)


@pytest.fixture(params=["on disk", "in bigquery"])
def people(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Workplace, SlowCustomerio]]:
    """Three people whom customer.io holds at A, and a config in which every request is tried once."""
    there = request.getfixturevalue("bigquery") if request.param == "in bigquery" else None
    workplace, standin = Workplace(tmp_path, there=there), SlowCustomerio()
    with Server({"": standin}):
        workplace.write({"customerio": standin.settings() + "attempts = 1\n"}, {"customerio": PEOPLE}, NO_BRAKES)
        labels_become(workplace, A)

        assert 0 == workplace.run("sync").code
        assert held(A) == standin.held("label")
        yield workplace, standin


A = {"value": "warm", "cleared": "warm", "filled": None}
B = {"value": "hot", "cleared": None, "filled": "hot"}


def labels_become(workplace: Workplace, labels: dict[str, str | None]) -> None:
    workplace.sql(
        "CREATE OR REPLACE TABLE people(user_id VARCHAR, score INTEGER, label VARCHAR, pad VARCHAR)",
        *(
            f"INSERT INTO people VALUES ('{who}', 1, {'NULL' if label is None else repr(label)}, 'x')"
            for who, label in labels.items()
        ),
    )


def held(labels: dict[str, str | None]) -> dict[str, tuple[str]]:
    return {who: (label or "",) for who, label in labels.items()}


def test_a_to_b_and_back_with_a_kill_in_between(people: tuple[Workplace, SlowCustomerio]) -> None:
    """B was applied, the process was killed before it knew, and the source went back to A: A is sent again.

    So it is for a value that became another, for one that was cleared, and for one that was not there before.
    """
    workplace, standin = people
    labels_become(workplace, B)
    standin.held_back = threading.Event()
    applied = standin.applied
    process = workplace.start("sync")
    until(lambda: standin.applied > applied, "B is not applied")
    process.kill()
    standin.held_back.set()
    standin.drained()
    assert held(B) == standin.held("label")
    status = workplace.run("status", "--json")
    assert (1, "failed", None) == (status.code, status.sync["state"], status.sync["running"])
    assert "killed" in status.sync["last_run"]["error"]

    labels_become(workplace, A)
    assert 3 == workplace.run("sync", "--json").sync["accepted"]
    assert held(A) == standin.held("label")


def test_a_to_b_and_back_with_a_lost_answer(people: tuple[Workplace, SlowCustomerio]) -> None:
    """B was applied and its answer lost; the source goes back to A, and A is sent again."""
    workplace, standin = people
    labels_become(workplace, B)
    standin.trouble("lost", when=standin.is_write)
    result = workplace.run("sync", "--json")
    assert (1, 3, 3) == (result.code, result.sync["planned"], result.sync["deferred"])
    assert held(B) == standin.held("label")

    labels_become(workplace, A)
    assert 3 == workplace.run("sync", "--json").sync["accepted"]
    assert held(A) == standin.held("label")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_people_survive_many_kills(tmp_path: Path) -> None:
    """The same after three hundred kills."""
    people_survive(tmp_path, kills=300, seed=4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_people_survive_many_kills_on_a_server(tmp_path: Path, postgres: PostgresServer) -> None:
    """The same after a hundred kills, with PostgreSQL."""
    people_survive(tmp_path, kills=100, seed=8, control=postgres.url())


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_people_survive_many_kills_without_a_disk(
    tmp_path: Path, postgres: PostgresServer, bigquery: BigQueryHere
) -> None:
    """The same after a hundred kills, with BigQuery and PostgreSQL, and nothing left on the disk."""
    people_survive(tmp_path, kills=100, seed=10, control=postgres.url(), there=bigquery)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_plain_creates_survive_many_kills(tmp_path: Path) -> None:
    """The same after two hundred kills."""
    contacts_survive(tmp_path, kills=200, seed=5)
