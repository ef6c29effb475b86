"""The source `duckdb`: a DuckDB file, opened read-only for as long as one read lasts.

A process can have a DuckDB file open for reading or for writing and not both, so in this one they take turns.
"""

from __future__ import annotations

import contextlib
import datetime
import difflib
import os
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from syncer import sql
from syncer.errors import Problem, ServiceUnavailable, UserError
from syncer.mapping import Sync
from syncer.source import Reading, Source

BATCH_ROWS = 65_536


class DuckDB(Source):
    """Scores in a DuckDB file. The file is locked for writers only while it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.title = f"the DuckDB file {path.name}"
        self._turns = threading.Condition()
        self._readers = 0
        self._is_written = False

    def schema(self, sync: Sync) -> pa.Schema:
        """The columns of the sync's rows; see `Source.schema`."""
        with self._reading() as connection:
            return self._reader(connection, sync, f"SELECT * FROM ({_rows(sync)}) LIMIT 0").schema

    def read(self, sync: Sync, columns: Sequence[str]) -> Reading:
        """The rows as Arrow batches; see `Source.read`."""
        chosen = ", ".join(sql.name(column) for column in columns)
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(self._reading())
            reader = self._reader(connection, sync, f"SELECT {chosen} FROM ({_rows(sync)})")
            # A result that is read in part keeps the file open although the connection is closed, and DuckDB would
            # wait for that for ever when the same process opens the file again.
            stack.callback(reader.close)
            ending = stack.pop_all().close
        batches = pa.RecordBatchReader.from_batches(reader.schema, self._batches(sync, reader))
        return Reading(batches, ending=ending)

    def modified(self, sync: Sync) -> datetime.datetime | None:
        """When the file was last written: DuckDB keeps no time per table."""
        files = [self.path, self.path.with_name(self.path.name + ".wal")]
        times = [file.stat().st_mtime for file in files if file.exists()]
        return datetime.datetime.fromtimestamp(max(times), datetime.UTC) if times else None

    @contextlib.contextmanager
    def writing(self, patience_seconds: float) -> Iterator[duckdb.DuckDBPyConnection]:
        """The file, open for writing while nobody of this process reads it; then it is as old as it was before.

        What is written here is not what the scores are made of, so nobody may take it for a new night of scores.
        Raises ServiceUnavailable when readers do not end in time, and UserError when the file cannot be written.
        """
        with self._turns:
            if not self._turns.wait_for(lambda: not (self._readers or self._is_written), patience_seconds):
                raise ServiceUnavailable(f"{self.path.name} is being read.", doubt=True)
            self._is_written = True
        try:
            times = self.path.stat() if self.path.exists() else None
            with self._open(read_only=False) as connection:
                yield connection
                connection.execute("CHECKPOINT")
                if times is not None:
                    os.utime(self.path, ns=(times.st_atime_ns, times.st_mtime_ns))
        finally:
            with self._turns:
                self._is_written = False
                self._turns.notify_all()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._turns:
            self._turns.wait_for(lambda: not self._is_written)
            self._readers += 1
        try:
            with self._open() as connection:
                yield connection
        finally:
            with self._turns:
                self._readers -= 1
                self._turns.notify_all()

    def _reader(self, connection: duckdb.DuckDBPyConnection, sync: Sync, query: str) -> pa.RecordBatchReader:
        try:
            reader: pa.RecordBatchReader = connection.sql(query).to_arrow_reader(BATCH_ROWS)
        except duckdb.Error as error:
            raise self._refusal(sync, _culprit(connection, sync), error) from None
        return reader

    def _batches(self, sync: Sync, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise self._refusal(sync, _rows_of(sync), error) from None

    def _open(self, *, read_only: bool = True) -> duckdb.DuckDBPyConnection:
        if not self.path.exists():
            raise UserError(
                [Problem("source.path", f"There is no file {self.path}. Write the path of your DuckDB file.")]
            )
        try:
            connection = duckdb.connect(str(self.path), read_only=read_only)
            connection.execute("SET TimeZone = 'UTC'")
        except duckdb.Error as error:
            raise UserError([Problem("source.path", _opening(self.path, error))]) from None
        return connection

    def _refusal(self, sync: Sync, place: str, error: BaseException) -> UserError:
        text = str(error).strip()
        name = self.path.name
        if _is_damaged(text):
            return UserError([Problem("source.path", _damaged(self.path))])
        if "Catalog Error" in text and place == "source":
            sentence = f"There is no table or view {sync.source} in {name}.{_hint(sync, text) or ' Look at `source`.'}"
        elif "Binder Error" in text or "Parser Error" in text or "Catalog Error" in text:
            first = re.sub(r"^\w+ Error: ", "", text.splitlines()[0])
            sentence = f"{name} does not understand this sync's rows: {first} Mend `{place}`."
        elif isinstance(error, duckdb.IOException | OSError):
            sentence = f"Reading {name} failed: {text.splitlines()[0]}. Nothing was sent; look at the file."
        else:
            # Other texts may quote a value, as a cast that fails does.
            sentence = (
                f"Reading {name} failed with {type(error).__name__}. Nothing was sent. "
                "Run `source`, `query` or `where` in DuckDB itself to see why."
            )
        return UserError([Problem(place, sentence)])


def _opening(path: Path, error: duckdb.Error) -> str:
    text = str(error)
    if "Could not set lock" in text or "Conflicting lock" in text:
        holder = re.search(r"PID (\d+)", text)
        who = f"process {holder[1]}" if holder else "another process"
        return f"{path} is locked: {who} has it open for writing. Run this again when it has finished."
    if _is_damaged(text):
        return _damaged(path)
    if "not a valid DuckDB" in text or "Cannot launch in-memory" in text:
        return f"{path} is not a DuckDB file. Write the path of your DuckDB file."
    if "version" in text.lower() and "storage" in text.lower():
        return (
            f"{path} was written by another version of DuckDB than {duckdb.__version__} can read. "
            "Write it anew, or update Syncer."
        )
    if "ermission" in text:
        return f"{path} may not be read by this user. Give it the right to read the file."
    return f"{path} cannot be opened: {text.splitlines()[0]}. Look whether it is a whole DuckDB file."


def _is_damaged(text: str) -> bool:
    """Whether DuckDB found a block with another checksum than it was written with, or the file's end too early."""
    return "Corrupt database file" in text or "Could not read enough bytes" in text


def _damaged(path: Path) -> str:
    return f"{path} is damaged. Build it anew, or restore it from a backup; nothing was sent."


def _hint(sync: Sync, text: str) -> str:
    """DuckDB's nearest name, which it also tells when nothing is near."""
    near = re.search(r"Did you mean \"([^\"]+)\"", text)
    if near is None or sync.source is None:
        return ""
    last, found = sync.source.lower().rpartition(".")[2], near[1].lower().rpartition(".")[2]
    return f' Did you mean "{near[1]}"?' if difflib.get_close_matches(last, [found], 1) else ""


def _rows(sync: Sync) -> str:
    return _unfiltered(sync) + (f"\nWHERE (\n{sync.where}\n)" if sync.where else "")


def _unfiltered(sync: Sync) -> str:
    # Line breaks keep a trailing `-- comment` in a query or condition from swallowing what follows.
    inner = f"(\n{sync.query}\n)" if sync.query else sql.table(sync.source or "")
    return f"SELECT * FROM {inner} AS source"


def _rows_of(sync: Sync) -> str:
    """What of the sync says which rows it reads."""
    return "query" if sync.query else "source"


def _culprit(connection: duckdb.DuckDBPyConnection, sync: Sync) -> str:
    """What of the sync DuckDB does not understand: `where`, when all is well without it. Reads no rows."""
    if sync.where:
        try:
            connection.sql(_unfiltered(sync))
        except duckdb.Error:
            return _rows_of(sync)
        return "where"
    return _rows_of(sync)
