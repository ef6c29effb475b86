"""The file of the control store: opened, locked, and heard when it complains."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from syncer import folders
from syncer.control.schema import STEPS, migrate, refuse_newer
from syncer.errors import StateDamaged

NAME = "control.db"
BUSY_SECONDS = 15
"""How long a writer waits for another process's commit."""

Row = tuple[Any, ...]


def rows(db: apsw.Connection, query: str, values: Sequence[Any] = ()) -> list[Row]:
    """All rows of a query."""
    return db.execute(query, tuple(values)).fetchall()


def row(db: apsw.Connection, query: str, values: Sequence[Any] = ()) -> Row | None:
    """The first row of a query, if there is one."""
    return db.execute(query, tuple(values)).fetchone()


def open_to_write(folder: Path) -> apsw.Connection:
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
    refuse_orphans(folder)
    with sentences(file):
        connection = apsw.Connection(str(file))
        connection.set_busy_timeout(BUSY_SECONDS * 1000)
        refuse_newer(file, int(connection.pragma("user_version")))
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        # Rows that are deleted may hold people's data, and what they held must not stay in the file.
        connection.pragma("secure_delete", True)
        file.chmod(0o600)
        migrate(connection, file)
        return connection


def open_to_look(folder: Path) -> apsw.Connection | None:
    """Open for reading; None where nothing was ever written. Raises StateDamaged as `open_to_write` does."""
    file = folder / NAME
    refuse_orphans(folder)
    if not file.exists():
        return None
    with sentences(file):
        connection, version = _looking(file)
        refuse_newer(file, version)
        if version < len(STEPS):
            # An older file has to be migrated before it can be read; that takes the right to write, briefly.
            connection.close()
            open_to_write(folder).close()
            connection, _ = _looking(file)
        return connection


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


def scrub(connection: apsw.Connection, folder: Path) -> None:
    """Leave nothing of deleted rows in any file of the store: free pages, the log of writes, copies of older versions.

    Raises StateDamaged when another process is in the way.
    """
    file = folder / NAME
    with sentences(file):
        for copy in folder.glob(f"{NAME}.version-*"):
            copy.unlink(missing_ok=True)
        connection.execute("VACUUM")
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


def refuse_orphans(folder: Path) -> None:
    """Raises StateDamaged when remembered values are there and the store that knows what they mean is not.

    Going on would take every record for new, and throw the values away.
    """
    file = folder / NAME
    is_there = file.exists() and file.stat().st_size > 0
    if not is_there and next(folder.glob("*/*.parquet"), None):
        raise StateDamaged(
            f"{file} is {'empty' if file.exists() else 'missing'}, and the values that it tells about are there. "
            f"Restore it from a backup; or delete {folder} to begin anew, which sends everything again."
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
