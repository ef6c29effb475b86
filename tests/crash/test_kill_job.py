"""Kill -9 at each step of a bulk job: the next run goes on with it, and no plain create is doubled."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Request, Server
from syncer.stretch import HELD_MAX
from tests.sources.bigquery_here import BigQueryHere
from tests.workplace import NO_BRAKES, Workplace, until

ROWS = 1_500
"""So many that a job needs fewer requests than 200 records each."""
KEPT = ("", ".parquet", ".db", ".db-wal", ".db-shm")
"""Ends of the names that the files of a state have."""
STEPS = 7
"""Create, upload, close, a look, and three files of results."""
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
"""


UPSERTED = CONTACTS.replace('Email = "email"', 'Product_User_Id__c = "user_id"')


class Org:
    """Salesforce, and people of whom each night brings so many more."""

    def __init__(self, folder: Path, there: BigQueryHere | None = None) -> None:
        self.service = SalesforceStandIn()
        self.service.ingest.delay = 0
        self.workplace = Workplace(folder, there=there)
        self.workplace.sql("CREATE TABLE people(user_id VARCHAR, email VARCHAR, score DOUBLE)")
        self.rows = 0

    def map(self, mapping: str) -> None:
        """Let people be sent so from now on."""
        more = NO_BRAKES + "\n[delivery]\nwait_first = 0.01\nwait_max = 0.05\n"
        self.workplace.write(
            {"salesforce": self.service.settings() + "bulk_from = 1000\n"}, {"salesforce": mapping}, more
        )

    def grow(self, number: int = ROWS) -> None:
        """More people."""
        rows = f"range({self.rows}, {self.rows + number}) t(i)"
        self.workplace.sql(f"INSERT INTO people SELECT 'u' || i, 'u' || i || '@example.com', i % 100 FROM {rows}")
        self.rows += number

    def killed_at(self, step: int) -> None:
        """A run that is killed when its so-many-th request about a job has arrived."""
        arrived = 0

        def when(request: Request) -> bool:
            nonlocal arrived
            arrived += "/jobs/ingest" in request.path
            return arrived == step and "/jobs/ingest" in request.path

        trouble = self.service.trouble("slow", when=when, seconds=0.3)
        process = self.workplace.start("sync")
        until(lambda: arrived >= step or not process.is_running, f"step {step} is never reached")
        process.kill()
        assert trouble.times == 0, "the run was over before it could be killed"
        until(lambda: self.service.count == len(self.service.log), "a request is never handled")
        self.service.troubles.clear()

    def is_closed(self) -> bool:
        """Whether a job was let go."""
        return any(b"UploadComplete" in one.request.body for one in list(self.service.log))

    def contacts(self) -> list[str]:
        """Everybody's name, as often as there is a contact of them."""
        return sorted(one["LastName"] for one in self.service.records("Contact"))

    def everybody(self) -> list[str]:
        """Everybody's name, once."""
        return sorted(f"u{number}" for number in range(self.rows))


@pytest.fixture
def org(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Org]:
    """With the state on disk, or where the test says."""
    there = request.getfixturevalue("bigquery") if getattr(request, "param", "on disk") == "in bigquery" else None
    made = Org(tmp_path, there)
    with Server({"": made.service}):
        made.map(CONTACTS)
        yield made


def test_a_job_that_is_killed_at_any_step_is_gone_on_with(org: Org) -> None:
    """Whatever step a kill finds the job at, the next run ends with each person there once, and nothing left to do."""
    for step in range(1, STEPS + 1):
        org.grow()
        org.killed_at(step)
        result = org.workplace.run("sync", "--json")

        assert 0 == result.code, f"step {step}: {result.out}{result.err}"
        assert org.everybody() == org.contacts(), f"step {step}"
        assert 0 == org.workplace.run("sync", "--json").sync["planned"], f"step {step}"
    runs = org.workplace.journal("salesforce.contacts")

    assert [] == [one for one in runs if one.planned != one.accepted + one.rejected + one.deferred + one.unsent]
    # What the killed runs' jobs did is told of those runs once it is known.
    assert org.rows == sum(one.accepted for one in runs)


@pytest.mark.parametrize("org", ["on disk", "in bigquery"], indirect=True)
def test_a_job_that_was_closed_is_not_sent_again(org: Org) -> None:
    """After a kill behind the close, the next run makes no job of its own: it reads what the first one did."""
    org.grow()
    org.killed_at(4)
    org.service.log.clear()
    result = org.workplace.run("sync", "--json")
    made = [one for one in org.service.log if (one.request.method, one.request.path[-12:]) == ("POST", "/jobs/ingest")]

    assert (0, 0, []) == (result.code, result.sync["planned"], made)


@pytest.mark.parametrize("step", [2, 5], ids=["at the upload", "at the results"])
def test_a_job_too_large_to_be_held_is_gone_on_with(org: Org, step: int) -> None:
    """A kill in the middle of a job of many thousands leaves no file behind, and the next run ends with each person
    there once; when the job had been closed, without a job of its own."""
    org.map(UPSERTED)
    org.grow(HELD_MAX + 1_000)
    org.killed_at(step)
    left = [path for path in org.workplace.state.rglob("*") if path.suffix not in KEPT and path.is_file()]
    result = org.workplace.run("sync", "--json")

    assert [] == left
    assert 0 == result.code, result.out + result.err
    assert org.everybody() == org.contacts()
    assert (org.rows if step == 2 else 0) == result.sync["planned"]
    assert 0 == org.workplace.run("sync", "--json").sync["planned"]


def test_a_stop_leaves_the_job_to_the_next_run(org: Org) -> None:
    """A signal while the service is at work ends the run at once; the next one takes the job up."""
    org.grow()
    org.service.ingest.delay = 10**6
    process = org.workplace.start("sync")
    until(lambda: org.is_closed(), "no job is closed")
    process.signal(signal.SIGTERM)
    stopped = process.end()
    org.service.ingest.delay = 0
    result = org.workplace.run("sync", "--json")

    assert 1 == stopped.code
    assert (0, 0) == (result.code, result.sync["planned"])
    assert org.everybody() == org.contacts()
