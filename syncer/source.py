"""The contract of a source: where scores come from, as Arrow batches of the mapped columns only."""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import pyarrow as pa

from syncer.mapping import Sync

RUN: ContextVar[int | None] = ContextVar("run", default=None)
"""The run on whose behalf the warehouse is asked, by which it can say what each one cost; None when there is none."""


@contextmanager
def asked_by(run: int) -> Iterator[None]:
    """Whatever is asked within is asked on behalf of this run."""
    before = RUN.set(run)
    try:
        yield
    finally:
        RUN.reset(before)


@dataclass(slots=True)
class Reading:
    """One read of one sync's rows.

    `batches` streams; it may be iterated once, and the reading must be closed, early or at its end. `bytes_read`
    and `price` (in `currency`) are what the warehouse says that it cost, None where it says nothing; they are
    final once the batches are. An error of the source ends the batches early, as UserError or ServiceUnavailable;
    who takes them through Arrow's C interface, as DuckDB does, sees only its text.
    """

    batches: pa.RecordBatchReader
    bytes_read: int | None = None
    price: float | None = None
    currency: str | None = None
    ending: Callable[[], None] | None = None
    """Ends what feeds the batches (threads, connections): closing an Arrow reader does not reach a generator."""

    def close(self) -> None:
        """End the read and what feeds it; harmless when repeated."""
        self.batches.close()
        if self.ending is not None:
            self.ending()


class Source(ABC):
    """A warehouse that syncs read from. Making one opens nothing.

    The place of a problem is a path inside the sync (`source`, `query`, `where`), or a setting of the source's own
    (`source.path`); the engine finds file and line.
    """

    title: str
    """For sentences: `the DuckDB file warehouse.duckdb`."""

    @abstractmethod
    def schema(self, sync: Sync) -> pa.Schema:
        """All columns that the sync's table, view or query has, with their Arrow types; reads no rows.

        Raises UserError when the warehouse cannot be read or does not know the table.
        """

    @abstractmethod
    def read(self, sync: Sync, columns: Sequence[str]) -> Reading:
        """The rows of these columns, after `where`, in any order. Raises UserError as `schema` does."""

    @abstractmethod
    def modified(self, sync: Sync) -> datetime.datetime | None:
        """When the rows last changed, aware; None where the warehouse cannot tell. Reads no rows, and costs nothing."""

    def untold(self, sync: Sync) -> str | None:
        """Why the warehouse can never tell when the sync's rows change, as a sentence; None when it can."""
        return None
