"""The bytes on the page about scale are those that the statements scan, by the sizes that BigQuery gives its types."""

from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks import scale
from syncer.config_file import DatasetState
from syncer.inbigquery import version
from tests.engine.stage import Stage, field
from tests.sources.bigquery_here import BigQueryHere

ROWS = 1_000
FIELDS = [
    *(f"n{number}" for number in range(scale.NUMBERS)),
    *(f"at{number}" for number in range(scale.MOMENTS)),
    *(f"s{number}" for number in range(scale.TEXTS)),
]


def night(number: int) -> pa.Table:
    """A table as the page has it; each night every field of one row in a hundred is another."""
    moved = [number if row % round(1 / scale.CHANGED) == 0 else 0 for row in range(ROWS)]
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    columns = {"user_id": pa.array([f"{row:019}" for row in range(ROWS)])}
    columns |= {name: pa.array([50.0 + one for one in moved]) for name in FIELDS if name[0] == "n"}
    moments = [start + datetime.timedelta(days=one) for one in moved]
    columns |= {name: pa.array(moments, pa.timestamp("us", "UTC")) for name in FIELDS if name[0] == "a"}
    columns |= {name: pa.array([f"{one:010}" for one in moved]) for name in FIELDS if name[0] == "s"}
    return pa.table(columns)


def test_the_bytes_on_the_page_are_those_of_the_statements(
    bigquery: BigQueryHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Night by night: what the comparison, the sums and a fold read, with the log as large as it is by then."""
    monkeypatch.setattr(version, "FOLD_ROWS", 0)
    state = DatasetState.model_validate({"type": "bigquery", "dataset": "syncer_state", "path": str(tmp_path / "s")})
    changed = round(ROWS * scale.CHANGED)
    with Stage(tmp_path, state=state, there=bigquery) as stage:
        stage.map(*(field(name) for name in FIELDS), source="activation.people")
        read = []
        for number in range(3):
            bigquery.warehouse.put("activation.people", night(number))
            before = set(bigquery.rest.jobs)
            assert "done" == stage.run(release=True).result
            new = [job for job_id, job in bigquery.rest.jobs.items() if job_id not in before]
            read.append([job.bytes_processed for job in new if "query" in job.body["configuration"]])

    first = [ROWS * scale.SOURCE, ROWS * scale.LOG]  # All of it is new, and the log is made the base.
    # Without a log nobody has to know which keys it has.
    second = [ROWS * (scale.SOURCE + scale.BASE), ROWS * (scale.SUMS_OF_BASE - scale.KEY)]
    third = [
        ROWS * (scale.SOURCE + scale.BASE) + changed * scale.LOG,
        ROWS * scale.SUMS_OF_BASE + changed * scale.SUMS_OF_LOG,
    ]
    assert [first, second, third] == read
