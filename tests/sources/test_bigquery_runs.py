"""Whole runs whose source is BigQuery: what its types mean at a destination, what a run cost, and idle nights."""

from __future__ import annotations

import dataclasses
import datetime
import io
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.server import Server
from syncer import documents, report
from syncer.errors import UserError
from syncer.overview import overview
from syncer.schedule import Schedule
from syncer.service import Daemon
from tests.engine.stage import HOUR, Stage, field
from tests.sources.bigquery_here import BigQueryHere
from tests.workplace import Workplace, until

QUERY = "SELECT user_id, score FROM activation.users"


@pytest.fixture
def stage(here: BigQueryHere, tmp_path: Path) -> Iterator[Stage]:
    """A world whose source is the stand-in, read by Google's own clients."""
    with Stage(tmp_path, source=here.source()) as made:
        made.map(field("score"), source="activation.users")
        yield made


TYPES = (
    ("STRING", pa.string(), "é", "é"),
    ("JSON", pa.string(), '{"a":1}', '{"a":1}'),
    ("INTEGER", pa.int64(), 2**53 + 1, 2**53 + 1),
    ("FLOAT", pa.float64(), 41.5, 41.5),
    ("NUMERIC", pa.decimal128(38, 9), Decimal("1.500000001"), 1.500000001),
    ("BIGNUMERIC", pa.decimal256(76, 38), Decimal("72.25"), 72.25),
    ("BIGNUMERIC", pa.decimal256(76, 38), Decimal("1e-30"), 1e-30),
    ("BIGNUMERIC", pa.decimal256(76, 38), Decimal(0), 0.0),
    ("BOOLEAN", pa.bool_(), True, True),
    ("DATE", pa.date32(), datetime.date(2026, 11, 22), datetime.date(2026, 11, 22)),
    ("TIME", pa.time64("us"), datetime.time(1, 2, 3), "01:02:03"),
    (
        "DATETIME",
        pa.timestamp("us"),
        datetime.datetime(2026, 11, 22, 1, 2, 3),  # noqa: DTZ001 - DATETIME has no zone; it is taken as UTC.
        datetime.datetime(2026, 11, 22, 1, 2, 3, tzinfo=datetime.UTC),
    ),
    (
        "TIMESTAMP",
        pa.timestamp("us", tz="UTC"),
        datetime.datetime(2026, 11, 22, 1, 2, 3, tzinfo=datetime.UTC),
        datetime.datetime(2026, 11, 22, 1, 2, 3, tzinfo=datetime.UTC),
    ),
)


def test_every_type_has_its_meaning_at_the_destination(here: BigQueryHere, stage: Stage) -> None:
    """Each type of BigQuery arrives as the text, number, boolean, date or instant that it means; null is null."""
    columns = {f"c{number}": (kind, arrow, value) for number, (kind, arrow, value, _) in enumerate(TYPES)}
    fields = [{"name": "user_id", "type": "STRING"}]
    fields += [{"name": name, "type": kind, "mode": "NULLABLE"} for name, (kind, _, _) in columns.items()]
    rows = {"user_id": pa.array(["a", "b"])}
    rows |= {name: pa.array([value, None], arrow) for name, (_, arrow, value) in columns.items()}
    here.warehouse.put("activation.users", pa.table(rows), fields)
    stage.map(*(field(name) for name in columns))

    stage.run()

    assert {"a": {name: TYPES[number][3] for number, name in enumerate(columns)}} == stage.sent
    assert 0 == stage.run().delivered.planned


def test_bytes_are_refused_with_what_to_write(here: BigQueryHere, stage: Stage) -> None:
    """A field holds no BYTES, and the sentence names the column and the way out, before a row is read."""
    here.warehouse.put("activation.users", pa.table({"user_id": ["a"], "score": [b"x"]}))

    with pytest.raises(UserError, match=r"column score has the type binary.*make a text or a number of it in SQL"):
        stage.prepare()

    assert [] == here.storage.sessions


def test_large_numbers_that_identify_stay_exact(here: BigQueryHere, stage: Stage) -> None:
    """A BIGNUMERIC is no double when it is a key, a match or a text: 30 digits stay 30 digits, and zero is 0."""
    numbers = [Decimal(10**29 + 1), Decimal(10**29 + 2), Decimal(0), Decimal("7.50")]
    columns = {name: pa.array(numbers, pa.decimal256(76, 38)) for name in ("user_id", "score")}
    here.warehouse.put("activation.users", pa.table(columns | {"note": ["never read"] * len(numbers)}))
    stage.map(field("score", type="text"))

    stage.run()

    texts = [f"1{'0' * 28}1", f"1{'0' * 28}2", "0", "7.5"]
    assert {text: {"score": text} for text in texts} == stage.sent


def test_a_run_is_named_in_the_jobs_that_it_makes(here: BigQueryHere, stage: Stage) -> None:
    """The job of a run has its sync and its number in the journal as labels, so its cost can be found there."""
    here.users(10)
    stage.map(source=None, query=QUERY)

    run = stage.run().run

    ((_, job),) = here.rest.jobs.items()
    assert {"syncer-sync": "memory_people", "syncer-run": str(run)} == job.body["configuration"]["labels"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"source": None, "query": QUERY}, {"bytes_read": 190, "price": 10 * 6.25 / 2**20, "currency": "USD"}),
        ({}, {"bytes_read": 210, "price": 0.0, "currency": "USD"}),
    ],
)
def test_documents_have_what_reading_came_to(
    here: BigQueryHere, stage: Stage, options: dict[str, Any], told: dict[str, Any]
) -> None:
    """Plan, run and status have the bytes that were read, and the price of those billed: of a query 10 MiB at least."""
    here.users(10)
    stage.map(**options)

    plan = stage.plan().document
    run = documents.sync(stage.run())
    (status,) = overview(stage.engine, [stage.sync])["syncs"]

    for document in (plan, run, status["last_run"]):
        assert told == {name: document[name] for name in told}


@pytest.mark.parametrize("options", [{}, {"source": "activation.all"}, {"source": None, "query": QUERY}])
def test_a_source_that_did_not_change_for_too_long_holds_the_run(
    here: BigQueryHere, stage: Stage, options: dict[str, Any]
) -> None:
    """`max_age` counts from the table's own time of change, or that of the tables behind a view or query."""
    here.users(10)
    here.warehouse.view("activation.all", "SELECT * FROM activation.users")
    stage.map(**options)
    fresh = stage.plan().brakes
    stage.now += 37 * HOUR

    assert ([], ["max_age"]) == (fresh, stage.plan().brakes)


def test_people_are_told_bytes_and_price(here: BigQueryHere, stage: Stage) -> None:
    """`diff` says what reading came to, of each sync and of all; `status` says it of the last run."""
    here.users(10)
    here.rest.switches.bytes_processed = 2**31
    stage.map(source=None, query=QUERY)

    diff = _printed(report.diff, stage.plan().document)
    stage.run()
    status = _printed(report.status, *overview(stage.engine, [stage.sync])["syncs"])

    assert "  read: 2.1 GB, 0.01 USD" in diff.splitlines()
    assert "Read: 2.1 GB, 0.01 USD. Nothing was sent." in diff
    assert ["memory.people", "2.1 GB, 0.01 USD"] == status.splitlines()[-1].strip().split("  ")


def test_check_tells_of_a_change_that_can_never_be_seen(here: BigQueryHere, tmp_path: Path) -> None:
    """A sync that is to run when its source changed, of which BigQuery says nothing, is a problem with its place."""
    here.warehouse.put("activation.sheet", pa.table({"user_id": ["a"], "score": [1.0]}), kind="EXTERNAL")
    shop, customerio = Workplace(tmp_path), CustomerioStandIn()
    mapping = """[[sync]]
name = "people"
source = "activation.sheet"
key = "user_id"
object = "person"
match = { id = "user_id" }
schedule = "source changed"
fields = { score = "score" }
"""
    with Server({"/customerio": customerio}):
        shop.write({"customerio": customerio.settings()}, {"customerio": mapping})
        file = shop.folder / "config.toml"
        here_is = f'{here.rest.settings()}storage_endpoint = "{here.storage.url}"\n'
        file.write_text(file.read_text().replace('type = "duckdb"\npath = "warehouse.duckdb"\n', here_is))
        checked = shop.run("check", "--json")

    (problem,) = checked.json["problems"]
    assert 1 == checked.code
    assert "mappings/customerio.toml:5" in problem["place"]
    assert (
        "It cannot be told when activation.sheet changes: activation.sheet is of the kind external, and BigQuery does "
        'not say when its rows change. With `when = "source changed"` it would be read at every look; write `every` or '
        "`cron` for this sync."
    ) == problem["sentence"]


def _printed(render: Any, document: dict[str, Any]) -> str:
    paper = io.StringIO()
    render({"syncs": [document]}, report.console(paper))
    return paper.getvalue()


@pytest.mark.parametrize("options", [{}, {"source": "activation.all"}, {"source": None, "query": QUERY}])
def test_an_idle_daemon_asks_for_metadata_and_nothing_else(
    here: BigQueryHere, stage: Stage, options: dict[str, Any]
) -> None:
    """With `when = "source changed"`, polls of a source at rest query and read nothing; a change makes one run."""
    here.users(10)
    here.warehouse.view("activation.all", "SELECT * FROM activation.users")
    stage.map(**options)
    engine = stage.engine
    engine.config = dataclasses.replace(
        engine.config, syncs=(stage.sync,), schedule=Schedule(when="source changed", every="5m")
    )
    daemon = Daemon(engine, lambda: engine.config)
    metadata = "GET /bigquery/v2/projects/acme/datasets/activation/tables/"

    def ticks(number: int) -> int:
        """How many runs there are after so many times ten minutes."""
        for _ in range(number):
            stage.now += 600
            daemon.tick()
            until(daemon.desk.is_idle, "the end of what was due")
        return len(engine.control().runs("memory.people", 99))

    daemon.desk.open(engine)
    try:
        first = ticks(1)
        before = (len(here.rest.jobs), len(here.storage.sessions), len(here.rest.dry_runs))
        begun = len(here.paths)
        idle = ticks(6)
        polls = here.paths[begun:]
        after = (len(here.rest.jobs), len(here.storage.sessions), len(here.rest.dry_runs))
        here.users(11)
        changed = ticks(1)
    finally:
        stage.stop.set()
        daemon.desk.close()

    assert (1, 1, 2) == (first, idle, changed)
    assert before == after
    assert len(polls) >= 6
    assert [] == [path for path in polls if not path.startswith(metadata)]
