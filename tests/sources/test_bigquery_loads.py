"""Rows that are appended to a table of BigQuery: by load jobs under ids of our own, never twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from google.cloud.bigquery import client as library

from destinations.standins.server import Answer, Server
from syncer.config_file import DeliveredLog
from syncer.delivered import COLUMNS, PACKED, BigQueryTable, delivered_log
from syncer.errors import ServiceUnavailable, UserError
from syncer.sources.bigquery import BigQuery, Patience
from syncer.sources.bigquery.loads import Loads
from tests.engine.moody import Stage
from tests.sources.bigquery_here import settings
from tests.standins.bigquery import BigQueryStandIn

TABLE = "syncer.delivered"
ROWS = 30
PATIENCE = Patience(
    repeat_seconds=2.0,
    wait_first_seconds=0.01,
    wait_max_seconds=0.02,
    conflict_seconds=2.0,
    job_seconds=1.0,
    job_attempts=3,
)


@pytest.fixture
def here() -> Iterator[BigQueryStandIn]:
    rest = BigQueryStandIn()
    rest.warehouse.datasets.add("syncer")
    with Server({"": rest}):
        yield rest
    rest.warehouse.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Rows as the log writes them."""
    return written(tmp_path / "rows.parquet", ROWS)


def written(made: Path, rows: int) -> Path:
    values = {"VARCHAR": "md5(i::VARCHAR)", "BIGINT": "i", "BOOLEAN": "i > 3", "TIMESTAMPTZ": "now()"}
    listed = ", ".join(f"({values[kind]})::{kind} AS {name}" for name, kind in COLUMNS.items())
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"COPY (SELECT {listed} FROM range({rows}) t(i)) TO '{made}' (FORMAT parquet, {PACKED})")
    return made


def table(here: BigQueryStandIn, **options: Any) -> BigQueryTable:
    source = BigQuery(settings(endpoint=here.url, **options), patience=PATIENCE)
    return BigQueryTable(Loads(source, PATIENCE), TABLE)


def count(here: BigQueryStandIn) -> int:
    stored = here.warehouse.tables.get(f"acme.{TABLE}")
    return 0 if stored is None else stored.rows.num_rows


def is_upload(request: Any) -> bool:
    return request.path.startswith("/upload/")


def test_rows_are_appended_by_a_load_job(here: BigQueryStandIn, file: Path) -> None:
    """The table is made with the columns that are described, partitioned and clustered; a second append adds to it."""
    table(here).append(file, "first", is_repeat=False)
    table(here).append(file, "second", is_repeat=False)
    stored = here.warehouse.tables[f"acme.{TABLE}"]
    load = here.jobs["syncer-delivered-first-1"].body["configuration"]["load"]

    assert 2 * ROWS == count(here)
    assert list(COLUMNS) == [column["name"] for column in stored.fields]
    assert pa.timestamp("us", "UTC") == stored.rows.schema.field("accepted_at").type
    assert ("accepted_at", ["sync", "key"]) == (load["timePartitioning"]["field"], load["clustering"]["fields"])
    assert ["syncer-delivered-first-1", "syncer-delivered-second-1"] == list(here.jobs)


def test_repeated_append_appends_nothing(here: BigQueryStandIn, file: Path) -> None:
    """An append that is repeated under its id finds its job, and adds no row."""
    for is_repeat in (False, True):
        table(here).append(file, "one", is_repeat=is_repeat)

    assert ROWS == count(here)


def test_answer_that_gets_lost(here: BigQueryStandIn, file: Path) -> None:
    """A job whose answer was lost is in doubt, and repeating the append finds it and adds nothing."""
    here.trouble("lost", when=is_upload)
    with pytest.raises(ServiceUnavailable) as raised:
        table(here).append(file, "one", is_repeat=False)

    assert raised.value.doubt
    assert ROWS == count(here)
    here.switches.hidden_polls = 2
    table(here).append(file, "one", is_repeat=True)
    assert ROWS == count(here)


@pytest.mark.parametrize("failures", [1, 2])
def test_passing_failure_of_a_job(here: BigQueryStandIn, file: Path, failures: int) -> None:
    """A job that fails for a passing reason has appended nothing; another one does, under the next id."""
    here.switches.failures.extend([{"reason": "backendError", "message": "Try again."}] * failures)
    table(here).append(file, "one", is_repeat=False)

    assert (ROWS, failures + 1) == (count(here), len(here.jobs))


def test_job_that_fails_for_good(here: BigQueryStandIn, file: Path) -> None:
    """Rows that do not fit the table are told, and it is certain that none arrived."""
    here.warehouse.put(TABLE, pa.table({"id": pa.array([1], pa.int64())}))
    with pytest.raises(ServiceUnavailable, match="Provided Schema does not match") as raised:
        table(here).append(file, "one", is_repeat=False)

    assert (False, 1) == (raised.value.doubt, count(here))


def test_job_that_takes_too_long(here: BigQueryStandIn, file: Path) -> None:
    """A job that does not end in time is cancelled, and in doubt."""
    here.switches.running_polls = 10_000
    with pytest.raises(ServiceUnavailable, match="timeout") as raised:
        table(here).append(file, "one", is_repeat=False)

    assert raised.value.doubt


def test_large_file_goes_in_pieces(here: BigQueryStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beyond what goes in one piece is uploaded piece by piece, and loaded once."""
    monkeypatch.setattr(library, "_MAX_MULTIPART_SIZE", 100)
    monkeypatch.setattr(library, "_DEFAULT_CHUNKSIZE", 256 * 1024)
    large = written(tmp_path / "large.parquet", 20_000)
    table(here).append(large, "one", is_repeat=False)
    pieces = large.stat().st_size // (256 * 1024) + 1

    assert ["POST", *["PUT"] * pieces] == [one.request.method for one in here.log if is_upload(one.request)]
    assert pieces > 1
    assert 20_000 == count(here)


def test_missing_rights_and_missing_datasets(here: BigQueryStandIn, file: Path) -> None:
    """What has to be granted or made is told with its name."""
    here.switches.denied.add("bigquery.tables.updateData")
    with pytest.raises(UserError, match="BigQuery Data Editor"):
        table(here).append(file, "one", is_repeat=False)
    here.switches.denied.clear()
    here.warehouse.datasets.clear()
    with pytest.raises(UserError, match=r"Make the dataset of syncer\.delivered, in EU"):
        table(here).append(file, "one", is_repeat=False)

    assert 0 == count(here)


def test_service_that_is_out(here: BigQueryStandIn, file: Path) -> None:
    """An answer without sense is in doubt."""
    here.trouble("status", when=is_upload, times=None, answer=Answer(503, "<html>"))
    with pytest.raises(ServiceUnavailable, match="did not take the rows") as raised:
        table(here).append(file, "one", is_repeat=False)

    assert raised.value.doubt


def test_log_whose_table_did_not_fit_is_caught_up(here: BigQueryStandIn, tmp_path: Path) -> None:
    """A job that failed for good is not asked for again: once the table fits, all that is missing arrives."""
    stage = logging_stage(here, tmp_path)
    here.warehouse.put(TABLE, pa.table({"id": pa.array([1], pa.int64())}))
    first = stage.run()
    del here.warehouse.tables[f"acme.{TABLE}"]
    second = stage.run()
    stage.engine.close()

    assert "Provided Schema does not match" in first.warnings[0]
    assert ([], 100) == (second.warnings, count(here))


def logging_stage(here: BigQueryStandIn, folder: Path) -> Stage:
    stage = Stage(folder)
    config = dataclasses.replace(stage.engine.config, source=settings(), delivered=DeliveredLog(table=TABLE))
    stage.engine._delivered = delivered_log(config, BigQuery(settings(endpoint=here.url), patience=PATIENCE))
    return stage


def test_whole_log_comes_to_bigquery(here: BigQueryStandIn, tmp_path: Path) -> None:
    """A run's accepted changes arrive in BigQuery, one row a field, and after a lost answer still once."""
    stage = logging_stage(here, tmp_path)
    here.trouble("lost", when=is_upload)
    first = stage.run()
    second = stage.run()
    stage.engine.close()

    assert (1, []) == (len(first.warnings), second.warnings)
    assert 100 == count(here) == len(here.warehouse.tables[f"acme.{TABLE}"].rows["id"].unique())
