"""Memory: a process that reads from BigQuery needs as much for a large table as for a small one."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pytest

from tests.sources.bigquery_here import BigQueryHere
from tests.workplace import PROJECT

TEXT_BYTES = 10_000
ROWS = 500
"""Rows of one chunk, which lies in memory once however often the table has it: 5 MB."""
SMALL = 2
"""Chunks of the small table."""
MIB = 2**20

READER = """
import sys
from pathlib import Path
from syncer.config_file import BigQuerySource
from syncer.mapping import Brakes, Field, Sync
from syncer.sources.bigquery import BigQuery, source

source.PAGE_ROWS = 200
addresses = {"endpoint": sys.argv[1], "storage_endpoint": sys.argv[2]}
bigquery = BigQuery(BigQuerySource(type="bigquery", project="acme", location="EU", **addresses))

def most():
    # Not getrusage, whose maximum begins with that of the process that started this one.
    told = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in told if line.startswith("VmHWM:")).split()[1]) * 1024

for table in ("activation.small", "activation.large"):
    sync = Sync(name="a.b", destination="a", source=table, key="user_id", object="o", match={"id": "user_id"},
                fields=(Field(name="text", column="text"),), brakes=Brakes(), file=Path("a.toml"))
    reading = bigquery.read(sync, ("user_id", "text"))
    rows = sum(batch.num_rows for batch in reading.batches)
    reading.close()
    print("read", rows, most())
"""


def put(here: BigQueryHere, name: str, chunks: int) -> None:
    """A table of so many chunks, which are one chunk many times over."""
    noise = random.Random(0).randbytes(ROWS * TEXT_BYTES // 2).hex()
    texts = [noise[number * TEXT_BYTES :][:TEXT_BYTES] for number in range(ROWS)]
    chunk: Any = pa.table({"user_id": [str(number) for number in range(ROWS)], "text": texts})
    rows = pa.concat_tables([chunk] * chunks)
    here.warehouse.put(f"activation.{name}", rows)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says how much memory was held at most")
@pytest.mark.parametrize(
    ("way", "chunks", "spare"), [("streams", 20, 50 * MIB), pytest.param("pages", 8, 20 * MIB, marks=pytest.mark.slow)]
)
def test_memory_does_not_grow_with_the_table(here: BigQueryHere, way: str, chunks: int, spare: int) -> None:
    """A table many times as large needs no more memory than what its buffers take (`spare`); by pages, too."""
    here.storage.batch_rows = 100
    if way == "pages":
        here.storage.denied = "bigquery.readsessions.create"
    put(here, "small", SMALL)
    put(here, "large", chunks)

    words = [sys.executable, "-c", READER, here.rest.url, here.storage.url]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True, cwd=PROJECT)
    told = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("read ")]
    (small_rows, small), (large_rows, large) = ((int(rows), int(most)) for rows, most in told)

    assert (SMALL * ROWS, chunks * ROWS) == (small_rows, large_rows)
    assert large - small < spare, f"{small:,} bytes for {SMALL} chunks, {large:,} for {chunks}"
    assert chunks * ROWS * TEXT_BYTES > 1.9 * spare
