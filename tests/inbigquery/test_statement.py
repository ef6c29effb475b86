"""The statement and its tables: GoogleSQL's own evaluator agrees, only what matters travels, and nothing gets lost."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from syncer.config_file import DatasetState
from syncer.errors import UserError
from syncer.inbigquery import version
from syncer.mapping import Brakes
from tests.engine.stage import Stage, field
from tests.inbigquery.test_same_plans import COLUMNS, FIELDS, LIMITS, night
from tests.sources.bigquery_here import BigQueryHere
from tests.standins.bigquery.judged import judged

ONE = "user_id VARCHAR, score DOUBLE, plan VARCHAR"


@pytest.fixture
def stage(tmp_path: Path, bigquery: BigQueryHere) -> Iterator[Stage]:
    state = DatasetState(type="bigquery", dataset="syncer_state", path=tmp_path / "state")
    with Stage(tmp_path, state=state, there=bigquery) as made:
        yield made


def asked(here: BigQueryHere) -> list[str]:
    """Every statement that ran, in order."""
    bodies = [job.body["configuration"] for job in here.rest.jobs.values()]
    return [body["query"]["query"] for body in bodies if "query" in body]


def people(count: int) -> list[tuple[str, float, str]]:
    return [(f"u{number:05}", number / 7, f"plan {number % 3}") for number in range(count)]


@pytest.mark.parametrize(("seed", "removed"), [(11, "keep"), (12, "delete")])
def test_googlesql_itself_gives_the_same_rows(stage: Stage, bigquery: BigQueryHere, seed: int, removed: str) -> None:
    """The comparison, the sums for the brakes and the fold mean the same by GoogleSQL's own evaluator."""
    chance = random.Random(seed)
    stage.limits = LIMITS
    stage.map(*FIELDS, match={"email": "email"}, removed=removed, version="version", brakes=Brakes(known_min=10**9))
    rows: dict[str, list[Any]] = {}
    for _ in range(3):
        # Rows without a key stand for each other, and which one comes is nobody's business.
        stage.put(COLUMNS, *[row for row in night(chance, rows) if row[0]])
        bigquery.rest.jobs.clear()
        stage.plan()
        compared = asked(bigquery)
        tables = {name: one.rows for name, one in bigquery.warehouse.tables.items()}
        judgements = [judged(one, tables) for one in compared if "FARM_FINGERPRINT" not in one]

        assert compared
        assert all(judgements)
        for judgement in judgements:
            assert judgement.is_equal, str(judgement)
        stage.run(release=True)


def test_only_rows_that_may_differ_travel(stage: Stage, bigquery: BigQueryHere) -> None:
    """Of two thousand rows of which three changed, one is new and one came twice, five travel, and a row of counts."""
    stage.map(field("score", digits=2), field("plan"), brakes=Brakes(invalid_max=1.0))
    rows = people(2000)
    stage.put(ONE, *rows)
    stage.run()
    rows[10], rows[20], rows[30] = ("u00010", 99.0, "plan 1"), ("u00020", 20 / 7, "other"), ("u00030", 1.0, "none")
    stage.put(ONE, *rows, ("new", 1.0, "plan 1"), rows[40])
    bigquery.rest.jobs.clear()

    seen = stage.plan()

    (job,) = [one for one in bigquery.rest.jobs.values() if "joined AS" in one.body["configuration"]["query"]["query"]]
    assert job.result is not None
    assert 6 == job.result.rows.num_rows
    assert {"new": 1, "changed": 3, "unchanged": 1996, "invalid": 2} == {
        kind: seen.document["counts"][kind] for kind in ("new", "changed", "unchanged", "invalid")
    }
    assert 2002 == seen.plan.rows


def test_nothing_is_asked_of_a_view_twice(stage: Stage, bigquery: BigQueryHere) -> None:
    """A view's rows are put aside once and compared from there, and what was put aside is deleted."""
    stage.map(field("score"))
    stage.put(ONE, *people(3))
    bigquery.warehouse.view("activation.all", "SELECT * FROM `acme.activation.people`")
    stage.map(source="activation.all")

    stage.run()

    assert {"u00000", "u00001", "u00002"} == set(stage.records)
    assert 1 == sum("activation.all" in one for one in asked(bigquery))
    assert [] == [name for name in bigquery.warehouse.tables if "_stage_" in name]


def test_the_log_is_folded_into_a_new_base(
    stage: Stage, bigquery: BigQueryHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the log is large beside the base, both become a new one; nothing is sent for it, and old tables go."""
    monkeypatch.setattr(version, "FOLD_ROWS", 3)
    stage.map(field("score"), removed="delete", brakes=Brakes(known_min=10**9))
    stage.put(ONE, *people(10))
    stage.run()
    first = version.Version.of(stage.engine.control().standing(stage.sync.name).base_file)
    assert (10, None) == (first.base_rows, first.log)

    stage.put(ONE, ("u00003", 70.0, "x"), *people(3))
    stage.run()
    assert {} == stage.plan().fields
    assert {"u00000", "u00001", "u00002", "u00003"} == set(stage.records)

    standing = stage.engine.control().standing(stage.sync.name)
    now = version.Version.of(standing.base_file)
    assert (4, 4, None, ()) == (standing.base_rows, now.base_rows, now.log, now.marks)
    state = stage.engine.state(stage.sync.name)
    state.clean(stage.engine.control(), garbage_seconds=0.0)
    left = [name for name in bigquery.warehouse.tables if "_base_" in name or "_log_" in name or "_plan_" in name]
    assert [f"acme.syncer_state.{now.base}"] == left


def test_an_answer_that_is_lost_appends_nothing_twice(stage: Stage, bigquery: BigQueryHere) -> None:
    """A load whose answer was lost is found again by its id, so the log has each row once."""
    stage.map(field("score"))
    stage.put(ONE, *people(4))
    bigquery.rest.trouble("lost", when=lambda request: request.path.startswith("/upload/"))

    report = stage.run()

    assert "done" == report.result, report.error
    (log,) = [one for name, one in bigquery.warehouse.tables.items() if "_log_" in name]
    assert ["u00000", "u00001", "u00002", "u00003"] == sorted(log.rows["key"].to_pylist())


def test_no_send_before_the_plan_is_durable(stage: Stage, bigquery: BigQueryHere) -> None:
    """When BigQuery does not take the plan nothing leaves, and the run says why; the next one sends it."""
    stage.map(field("score"))
    stage.put(ONE, *people(4))
    bigquery.rest.switches.denied.add("bigquery.tables.updateData")

    report = stage.run()

    assert ("failed", []) == (report.result, stage.arrived)
    assert "BigQuery Data Editor" in (report.error or "")
    bigquery.rest.switches.denied.clear()
    assert "done" == stage.run().result
    assert 4 == len(stage.records)


def test_a_dataset_elsewhere_is_refused(stage: Stage, bigquery: BigQueryHere, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset in another location than the source is a sentence of `check`; one that is not there yet is none."""
    assert "the dataset acme.syncer_state" == stage.engine.states.check()

    bigquery.warehouse.datasets.add("syncer_state")
    monkeypatch.setattr(bigquery.warehouse, "location", "US")

    with pytest.raises(UserError, match="lies in US, and the source in EU"):
        stage.engine.states.check()


def test_a_dataset_whose_tables_expire_is_refused(
    stage: Stage, bigquery: BigQueryHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dataset that deletes its tables after a while would forget the state: it is refused before anything leaves."""
    stage.map(field("score"))
    stage.put(ONE, *people(1))
    bigquery.warehouse.datasets.add("syncer_state")
    monkeypatch.setattr(bigquery.warehouse, "default_expiration_ms", 60 * 86_400_000)

    with pytest.raises(UserError, match="deletes its tables after 60 days"):
        stage.engine.states.check()
    report = stage.run()
    assert ("failed", []) == (report.result, stage.arrived)


def test_what_a_diff_has_put_aside_stays_for_an_hour(stage: Stage, bigquery: BigQueryHere) -> None:
    """A run that begins beside a `diff` leaves what that has put aside, and deletes it when it is old."""
    stage.map(field("score"))
    stage.put(ONE, *people(1))
    stage.run()
    prefix = next(name for name in bigquery.warehouse.tables if "_log_" in name).partition("_log_")[0]
    for name, hours in (("young", 0), ("old", 2)):
        made = bigquery.warehouse.create(f"{prefix}_stage_{name}", [{"name": "c1", "type": "STRING"}])
        made.created -= datetime.timedelta(hours=hours)

    stage.run()

    assert [f"{prefix}_stage_young"] == [name for name in bigquery.warehouse.tables if "_stage_" in name]


def test_a_table_that_is_gone_is_a_sentence(stage: Stage, bigquery: BigQueryHere) -> None:
    """When a table of the state was deleted the run fails with what to do, and nothing is sent again by mistake."""
    stage.map(field("score"))
    stage.put(ONE, *people(2))
    stage.run()
    (log,) = [name for name in bigquery.warehouse.tables if "_log_" in name]
    bigquery.warehouse.drop(log)

    report = stage.run()

    assert ("failed", []) == (report.result, stage.arrived)
    assert "is missing, and the state needs it" in (report.error or "")


def test_status_asks_bigquery_nothing_of_the_state(stage: Stage, bigquery: BigQueryHere) -> None:
    """How many records are known is what the control store says: no query, no read."""
    stage.map(field("score"))
    stage.put(ONE, *people(5))
    stage.run()
    bigquery.rest.log.clear()

    assert 5 == stage.engine.state(stage.sync.name).known(stage.engine.control(), 1)
    assert [] == list(bigquery.rest.log)


def test_a_passing_failure_is_no_loss(stage: Stage, bigquery: BigQueryHere) -> None:
    """A comparison that BigQuery could not finish fails the run, and the next one does all of it."""
    stage.map(field("score"))
    stage.put(ONE, *people(3))
    bigquery.rest.switches.failures.extend([{"reason": "backendError", "message": "try again"}] * 8)

    report = stage.run()

    assert ("failed", []) == (report.result, stage.arrived)
    bigquery.rest.switches.failures.clear()
    assert "done" == stage.run().result
