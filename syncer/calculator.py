"""DuckDB as the calculator, which is never the database: what it holds is gone when a calculation is over."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb

from syncer import sql
from syncer.errors import StateDamaged

MEMORY_LIMIT = "1GB"


class _Kept:
    """The engine that calculated last. To start one takes as long as to compare a small table, so the next calculation
    in the same folder goes on with it, in a connection of its own, which shares nothing of what others hold."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._engine: duckdb.DuckDBPyConnection | None = None

    def connection(self, folder: Path) -> duckdb.DuckDBPyConnection:
        """A new connection to an engine that spills into this folder."""
        with self._lock:
            if self._engine is None or self._folder != folder:
                engine = duckdb.connect(":memory:")
                engine.execute(f"SET temp_directory = {sql.literal(str(folder))}")
                engine.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
                # Nothing of a file may be remembered beyond the calculation that reads it.
                engine.execute("SET enable_external_file_cache = false")
                # One that others still calculate with ends with the last of them.
                self._engine, self._folder = engine, folder
            return self._engine.cursor()

    def drop(self) -> None:
        """Start anew next time: an error may have left an engine that answers nothing any more."""
        with self._lock:
            self._engine = self._folder = None


_kept = _Kept()


@contextlib.contextmanager
def calculator(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that calculates in memory, and spills into `folder` when it must."""
    connection = _kept.connection(folder)
    try:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
    except BaseException:
        _kept.drop()
        raise
    finally:
        connection.close()


@contextlib.contextmanager
def temporary_folder(prefix: str, inside: Path | None = None) -> Iterator[Path]:
    """A folder that is gone afterwards, in the system's own place unless it is told where. Raises StateDamaged."""
    try:
        folder = tempfile.TemporaryDirectory(prefix=prefix, dir=inside, ignore_cleanup_errors=True)
    except OSError as error:
        raise StateDamaged(
            f"No folder can be made in {inside or 'the place for temporary files'} ({error.strerror}). "
            "Is the disk full? Nothing was sent."
        ) from None
    with folder as name:
        yield Path(name)
