"""`python -m tests.standins.bigquery.demo [DIR]`: the demo's story, with tables and state in the stand-in of BigQuery.

The program reaches them with Google's own clients and does not know that it is not the service. When the story is
told the stand-in is gone, and its tables with it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from destinations.standins.server import Server
from syncer import report
from syncer.demo import story, warehouse
from syncer.errors import UserError
from tests.standins.bigquery import BigQueryStandIn, Storage

PRICE = 6.25
"""Dollars for a TiB that is billed, on demand, in the US: cloud.google.com/bigquery/pricing."""


class InBigQuery:
    """The tables are copied into the dataset of the stand-in."""

    title = f"The dataset {warehouse.SCHEMA} of a stand-in of BigQuery"
    is_left = False

    state = '[state]\ntype = "bigquery"\ndataset = "syncer_state"\npath = "state"'

    def __init__(self, standin: BigQueryStandIn, storage: Storage) -> None:
        self.standin = standin
        self.storage = storage
        self.source = f'[source]\n{standin.settings()}storage_endpoint = "{storage.url}"'

    def night(self, path: Path) -> None:
        """The file's tables are rebuilt in the dataset, as a nightly job does."""
        with duckdb.connect(str(path), read_only=True) as connection:
            for table in warehouse.TABLES:
                name = f"{warehouse.SCHEMA}.{table}"
                self.standin.warehouse.put(name, connection.table(name).to_arrow_table())

    def end(self) -> str:
        """What BigQuery did, and what it would have cost."""
        jobs = self.standin.jobs.values()
        queries = [job for job in jobs if job.kind == "query"]
        billed = sum(job.bytes_billed for job in queries)
        return (
            f"The state lies in BigQuery too, beside the scores, and BigQuery compared the two: in {len(queries)} "
            f"queries, billed as {billed / 2**30:.2f} GiB or ${billed / 2**40 * PRICE:.4f}, and "
            f"{len(jobs) - len(queries)} load jobs, which cost nothing. {self.storage.rows_sent:,} rows were read."
        )


@contextmanager
def opened() -> Iterator[InBigQuery]:
    """A stand-in that answers as long as the story is told."""
    standin = BigQueryStandIn()
    with Storage(standin.warehouse) as storage, Server({"": standin}):
        # Tables of some thousand rows, in messages of the size that the service sends.
        storage.batch_rows = 1_000
        yield InBigQuery(standin, storage)
    standin.warehouse.close()


def main(folder: Path) -> int:
    """Tell the story in a folder, and return the exit code."""
    try:
        with opened() as place:
            return story.tell(folder, report.console(), place=place)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-bigquery")))
