"""A comparison that BigQuery begins: its one statement is run, and what comes is parted into the two sides again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from google.cloud import bigquery

from syncer.inbigquery.statement import SEPARATOR, VERSIONS_MAX, Comparison
from syncer.inbigquery.stock import There
from syncer.inbigquery.tables import Dataset
from syncer.inbigquery.values import Source
from syncer.mapping import Sync
from syncer.narrowed import Totals
from syncer.source import Reading
from syncer.sources.bigquery.columns import query_of, quoted
from syncer.sources.bigquery.source import Described
from syncer.state import Inputs, StateFile

ARROW: dict[str, pa.DataType] = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
}
_compute: Any = pc


class Narrowing:
    """See `narrowed.Narrowed`. The rows of the state that come along are written into a file as they pass by."""

    def __init__(self, dataset: Dataset, comparison: Comparison, sync: Sync, folder: Path) -> None:
        self.comparison = comparison
        self._dataset = dataset
        self._sync = sync
        self._file = folder / f"spool-base-{time.time_ns():x}.parquet"
        self._totals: Totals | None = None
        self._slots = [*comparison.slots, *comparison.retired]

    def begin(self, only: Sequence[str], inputs: Inputs) -> tuple[Reading, Inputs]:
        """Run the statement. The reading's batches are the source's side; closing it deletes the file.

        Raises UserError and ServiceUnavailable, also while the batches are taken.
        """
        parameters = [bigquery.ArrayQueryParameter("only", "STRING", list(only))] if only else []
        inner = self._dataset.ask(self._sync, self.comparison.text, "compare", parameters)

        def end() -> None:
            inner.close()
            self._file.unlink(missing_ok=True)

        columns = self.comparison.columns
        schema = pa.schema(
            [*((name, one.kind) for name, one in columns.items()), ("_weight", pa.int64()), ("_key", pa.string())]
        )
        batches = pa.RecordBatchReader.from_batches(schema, self._source_side(inner, schema))
        self._reading = Reading(batches, inner.bytes_read, inner.price, ending=end)
        return self._reading, replace(inputs, base=self._base if self.comparison.stored.version.tables else None)

    def stock(self, connection: duckdb.DuckDBPyConnection) -> There:
        """See `Narrowed`."""
        return There(self._dataset, self._sync, self.comparison.stored, self._reading, connection)

    def finish(self) -> Totals:
        """See `Narrowed`."""
        assert self._totals is not None  # noqa: S101 - the row of counts is always there
        return self._totals

    @property
    def _base(self) -> StateFile:
        columns = {slot.number: (slot.column, slot.sql_type) for slot in self._slots}
        return StateFile(self._file, columns, frozenset(), 0, has_foreign=True)

    def _source_side(self, inner: Reading, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        matches = [(f"o_m{number}", f"m{number}") for number in range(self.comparison.stored.matches)]
        names = [("o_key", "key"), *matches, ("o_version", "_version"), ("o_sent", "_sent"), ("o_doubt", "_doubt")]
        names += [("o_foreign", "_foreign"), *((f"o{slot.number}", slot.column) for slot in self._slots)]
        bits: dict[str, pa.DataType] = {name: pa.int64() for name in ("_sent", "_doubt", "_foreign")}
        kinds: dict[str, pa.DataType] = bits | {slot.column: ARROW[slot.sql_type] for slot in self._slots}
        ours = pa.schema([(name, kinds.get(name, pa.string())) for _, name in names])
        theirs = [*(one.sql for one in self.comparison.columns.values()), "_weight", "_key"]
        with pq.ParquetWriter(self._file, ours) as writer:
            for batch in inner.batches:
                if batch.num_rows == 0:
                    continue
                self._look_for_counts(batch)
                known = batch.filter(_compute.fill_null(batch.column("_in_state"), False))
                if known.num_rows:
                    writer.write_batch(pa.RecordBatch.from_arrays(
                        [_cast(known.column(there), ours.field(here).type) for there, here in names], schema=ours
                    ))  # fmt: skip
                rows = batch.filter(_compute.fill_null(batch.column("_in_source"), False))
                if rows.num_rows:
                    arrays = [_cast(rows.column(name), one.type) for name, one in zip(theirs, schema, strict=True)]
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _look_for_counts(self, batch: pa.RecordBatch) -> None:
        counted = batch.filter(_compute.is_valid(batch.column("_rows")))
        if not counted.num_rows:
            return
        (row,) = counted.to_pylist()
        versions: tuple[str, ...] | None = None
        if self._sync.version:
            found = sorted(filter(None, (row["_versions"] or "").split(chr(SEPARATOR))))
            versions = tuple(found) if len(found) < VERSIONS_MAX else None
        self._totals = Totals(row["_rows"], row["_not_finite"] or 0, row["_known"], versions)


def _cast(array: Any, kind: pa.DataType) -> Any:
    return array if array.type == kind else array.cast(kind)


def source_rows(sync: Sync, described: Described) -> tuple[str, dict[str, Source]]:
    """SQL of the source's rows with the columns c1, c2, …, and what they are."""
    selected, made = [], {}
    for number, column in enumerate(described.columns, 1):
        path = ".".join(quoted(part, sync) for part in column.path)
        kind = described.kinds[column.name].upper()
        if kind == "JSON":
            path = f"IF({path} IS NULL, NULL, TO_JSON_STRING({path}))"
        elif kind == "GEOGRAPHY":
            path = f"ST_ASTEXT({path})"
        selected.append(f"{path} AS c{number}")
        made[column.name] = Source(f"c{number}", column.type)
    inner = f"(\n{query_of(sync)}\n)" if described.table is None else quoted(described.table, sync)
    where = f"\nWHERE (\n{sync.where}\n)" if sync.where else ""
    return f"SELECT {', '.join(selected)}\nFROM {inner}{where}", made
