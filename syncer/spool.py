"""Rows that pass by once, and what of them may have to be looked at again: that much lies in an Arrow file meanwhile.

A file and not the heap, for the rows of a table may be more than there is memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from syncer.canonical import carried
from syncer.errors import StateDamaged

ROW = "_syncer_row"
"""The column that numbers the rows from 0, in the order in which they come. Sources have columns `_row` themselves."""


class Spool:
    """One reading's rows. `kept` are the columns that stay; ROW may be one of them."""

    def __init__(self, folder: Path, schema: pa.Schema, kept: Sequence[str]) -> None:
        self._folder = folder
        self._path = folder / "rows.arrow"
        self._carried = carried(schema)
        self.schema = self._carried.append(pa.field(ROW, pa.int64()))
        """Of what passes: the source's columns, and the rows' numbers."""
        self._kept = pa.schema([self.schema.field(name) for name in kept])
        self.rows = 0
        """How many have passed."""

    def passing(self, batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        """The batches, each kept before it is passed on. Raises StateDamaged when the disk refuses, and whatever the
        source raises."""
        arrow: Any = pa  # Its stubs do not know `arange`.
        with self._disk_takes():
            sink = pa.OSFile(str(self._path), "wb")
        with sink:
            with self._disk_takes():
                # A stream, because in a file all batches must share one dictionary.
                writer = pa.ipc.new_stream(sink, self._kept)
            for batch in batches:
                rows = batch if batch.schema == self._carried else batch.cast(self._carried)
                numbers = arrow.arange(self.rows, self.rows + rows.num_rows)
                numbered = pa.RecordBatch.from_arrays([*rows.columns, numbers], schema=self.schema)
                with self._disk_takes():
                    writer.write_batch(numbered.select(self._kept.names))
                self.rows += rows.num_rows
                yield numbered
            with self._disk_takes():
                writer.close()

    @contextlib.contextmanager
    def again(self) -> Iterator[pa.Table]:
        """What was kept of the rows, mapped into memory, so they cost no heap."""
        with pa.memory_map(str(self._path)) as mapped:
            yield pa.ipc.open_stream(mapped).read_all()

    @contextlib.contextmanager
    def _disk_takes(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            # Only what the disk says is passed on: other texts may quote a value.
            told = str(error).splitlines()[0] if isinstance(error, OSError) else type(error).__name__
            raise StateDamaged(
                f"The rows could not be written to {self._folder.parent} ({told}). Is the disk full? Nothing was sent."
            ) from None


class Passage:
    """Batches on their way through a query, which takes whatever exports an Arrow stream, once."""

    def __init__(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        self._schema = schema
        self._batches = batches
        self.error: BaseException | None = None
        """What has ended the batches. The query only knows its text, and that may quote a value."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The Arrow PyCapsule interface: https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html"""
        reader: Any = pa.RecordBatchReader.from_batches(self._schema, self._watched())
        return reader.__arrow_c_stream__(requested_schema)

    def _watched(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._batches
        except BaseException as error:
            self.error = error
            raise
