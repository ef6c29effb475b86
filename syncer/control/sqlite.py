"""The control store as a file: SQLite, opened, written, and heard when it complains."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from syncer import folders
from syncer.control.connection import BUSY_SECONDS, NAME, Fence, Row
from syncer.control.locks import FileLocks
from syncer.control.schema import STEPS, refuse_newer, refuse_orphans
from syncer.errors import StateDamaged


class SQLite:
    """A connection to the file; see `connection.Connection`."""

    def __init__(self, db: apsw.Connection) -> None:
        self.db = db
        self._file = Path(db.filename)
        self._lock = threading.RLock()
        self.locks = FileLocks(self._file.parent)

    def execute(self, query: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run one statement; all rows that it returns."""
        found: list[Row] = self.db.execute(query, tuple(values)).fetchall()
        return found

    def executemany(self, query: str, values: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each of these."""
        self.db.executemany(query, values)

    def tables(self) -> list[str]:
        """Every table of the store."""
        return [name for (name,) in self.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]

    def columns(self, table: str) -> list[str]:
        """The columns of a table."""
        return [name for (name,) in self.execute("SELECT name FROM pragma_table_info(?)", [table])]

    def go_on_after(self, table: str) -> None:
        """Numbers always go on after the largest one."""

    @contextlib.contextmanager
    def writing(self, fence: Fence | None = None) -> Iterator[SQLite]:
        """A transaction that writes. The lock on a sync's file is let go of by the kernel, so there is no fence."""
        with self._lock, sentences(self._file):
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield self
                self.db.execute("COMMIT")
            except BaseException:
                if not self.db.get_autocommit():
                    self.db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[SQLite]:
        """A transaction that sees one moment of the store."""
        with self._lock, sentences(self._file):
            self.db.execute("BEGIN")
            try:
                yield self
            finally:
                if not self.db.get_autocommit():
                    self.db.execute("COMMIT")

    def scrub(self) -> None:
        """Leave nothing of deleted rows: in free pages, in the log of writes, in copies of older versions.

        Raises StateDamaged when another process is in the way.
        """
        with self._lock, sentences(self._file):
            for copy in self._file.parent.glob(f"{NAME}.version-*"):
                copy.unlink(missing_ok=True)
            self.db.execute("VACUUM")
            self.db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def close(self) -> None:
        """Close the connection."""
        self.db.close()


def open_to_write(folder: Path) -> SQLite:
    """Open for writing; makes the folder and the file, and brings an older file to this version.

    Raises StateDamaged when the file is damaged, gone, of a newer version, or cannot be written.
    """
    try:
        folders.make(folder)
    except OSError as error:
        raise StateDamaged(
            f"The state folder {folder} cannot be made: {error.strerror}. "
            "Mend the folder, or write another `state.path`."
        ) from None
    file = folder / NAME
    _refuse_loss(file)
    with sentences(file):
        connection = apsw.Connection(str(file))
        connection.set_busy_timeout(BUSY_SECONDS * 1000)
        _refuse_newer(file, int(connection.pragma("user_version")))
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        # Rows that are deleted may hold people's data, and what they held must not stay in the file.
        connection.pragma("secure_delete", True)
        file.chmod(0o600)
        _migrate(connection, file)
        return SQLite(connection)


def open_to_look(folder: Path) -> SQLite | None:
    """Open for reading; None where nothing was ever written. Raises StateDamaged as `open_to_write` does."""
    file = folder / NAME
    _refuse_loss(file)
    if not file.exists():
        return None
    with sentences(file):
        connection, version = _looking(file)
        _refuse_newer(file, version)
        if version < len(STEPS):
            # An older file has to be migrated before it can be read; that takes the right to write, briefly.
            connection.close()
            open_to_write(folder).close()
            connection, _ = _looking(file)
        return SQLite(connection)


def _looking(file: Path) -> tuple[apsw.Connection, int]:
    """A read-only connection, and the version of the file."""
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(BUSY_SECONDS * 1000)
    try:
        return connection, int(connection.pragma("user_version"))
    except (apsw.CantOpenError, apsw.ReadOnlyError):
        connection.close()
        if file.with_name(f"{file.name}-wal").exists():
            raise
    # In a folder that may only be read, SQLite cannot make the files with which readers and writers agree. When
    # they are not there, nobody has the store open for writing, and it can be read as a file that does not change.
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    connection = apsw.Connection(f"{file.absolute().as_uri()}?immutable=1", flags=flags)
    return connection, int(connection.pragma("user_version"))


def _migrate(connection: apsw.Connection, file: Path) -> None:
    """Bring the file to this version, whole or not at all; an older one is copied beside itself first.

    The number of steps done is the file's `user_version`.
    """
    if int(connection.pragma("user_version")) == len(STEPS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been quicker, so the version counts that stands behind the lock.
        version = int(connection.pragma("user_version"))
        if 0 < version < len(STEPS):
            _keep_copy(file, version)
        for number in range(version, len(STEPS)):
            connection.execute(STEPS[number])
            connection.execute(f"PRAGMA user_version = {number + 1}")
        connection.execute("COMMIT")
    except BaseException:
        if not connection.get_autocommit():
            connection.execute("ROLLBACK")
        raise


def _keep_copy(file: Path, version: int) -> None:
    """A copy from before, in case somebody has to go back to the older program; it is whole and durable, or not there.

    The caller keeps others from writing.
    """
    copy = file.with_name(f"{file.name}.version-{version}")
    made = copy.with_name(f"{copy.name}.tmp")
    made.unlink(missing_ok=True)
    reader = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        reader.execute("VACUUM INTO ?", (str(made),))
        folders.keep(made, copy)
    except BaseException:
        with contextlib.suppress(OSError):
            made.unlink(missing_ok=True)
        raise
    finally:
        reader.close()


def _refuse_newer(file: Path, version: int) -> None:
    refuse_newer(str(file), version, "or another `state.path`")


def _refuse_loss(file: Path) -> None:
    """Raises StateDamaged when the store is gone, and the values that it told about are there."""
    if not (file.exists() and file.stat().st_size > 0):
        refuse_orphans(
            file.parent,
            f"{file} is {'empty' if file.exists() else 'missing'}, and the values that it tells about are there. "
            "Restore it from a backup",
        )


@contextlib.contextmanager
def sentences(file: Path) -> Iterator[None]:
    """Turn what SQLite says into sentences with a next step."""
    try:
        yield
    except apsw.NotADBError:
        raise StateDamaged(
            f"{file} is not a control store. Restore it from a backup, or write another `state.path`."
        ) from None
    except apsw.CorruptError:
        raise StateDamaged(f"{file} is damaged. Restore it from a backup; nothing was sent.") from None
    except (apsw.FullError, apsw.IOError) as error:
        raise StateDamaged(
            f"{file} cannot be written ({error}); is the disk full? Nothing leaves before it can."
        ) from None
    except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError) as error:
        raise StateDamaged(
            f"{file} cannot be opened ({error}). Give this user the right to read and write it."
        ) from None
    except apsw.BusyError:
        raise StateDamaged(
            f"{file} has been busy for {BUSY_SECONDS} s: another process writes to it. Try again."
        ) from None
    except OSError as error:
        raise StateDamaged(
            f"{file} cannot be opened ({error.strerror}). Give this user the right to read and write it."
        ) from None
