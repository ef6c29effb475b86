"""What the control store asks of the database that it lies in: one set of SQL, one transaction at a time.

The SQL is what SQLite and PostgreSQL both understand. Its parameters are `?`, in their order, or `?1`, `?2`, where
one of them stands in two places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from pydantic import SecretStr

NAME = "control.db"
"""The file of the store, in the folder of the state, where it is no server."""
BUSY_SECONDS = 15
"""How long a writer waits for another process's commit."""

Row = tuple[Any, ...]


class Where(Protocol):
    """Where a control store is, as the config says it."""

    @property
    def path(self) -> Path:
        """The folder of the state."""

    @property
    def control(self) -> SecretStr | None:
        """The URL of a PostgreSQL server; None for a file in the folder."""

    @property
    def control_schema(self) -> str:
        """The schema of the store's tables there."""

    @property
    def lease_seconds(self) -> float:
        """After so long without a sign of life from a process, another one may take its syncs."""


class Database(Protocol):
    """A transaction that is open."""

    def execute(self, query: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run one statement; all rows that it returns."""

    def executemany(self, query: str, values: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each of these."""

    def tables(self) -> list[str]:
        """Every table of the store."""

    def columns(self, table: str) -> list[str]:
        """The columns of a table."""

    def go_on_after(self, table: str) -> None:
        """Let the next row of a table have a number after those that it has; they came with their rows."""


class Fence(Protocol):
    """What a holder of a sync shows at each write, so that one who lost it cannot write any more."""

    def check(self, db: Database) -> None:
        """Raises LeaseLost when somebody else holds the sync now; nobody takes it until the transaction ends."""

    def confirm(self) -> None:
        """Raises LeaseLost when somebody else may hold the sync now. Asks nobody, so it can be called at any time."""


class Locks(Protocol):
    """Which process runs which sync."""

    def exclusively(self, sync: str) -> AbstractContextManager[Fence | None]:
        """Hold a sync for this process. Raises SyncBusy, with who holds it since when, and StateDamaged."""

    def holder(self, sync: str) -> str | None:
        """Who runs a sync just now; None when nobody does."""


class Connection(Protocol):
    """One process's connection to its store; thread-safe, since one transaction waits for the other."""

    @property
    def locks(self) -> Locks:
        """Which process runs which sync, as far as those know that use this store."""

    def writing(self, fence: Fence | None = None) -> AbstractContextManager[Database]:
        """A transaction that writes: whole and durable when the block has ended, and not at all when it raised.

        No two of a store overlap. Raises StateDamaged when it cannot be, and LeaseLost what the fence says.
        """

    def reading(self) -> AbstractContextManager[Database]:
        """A transaction that sees one moment of the store. Raises StateDamaged."""

    def scrub(self) -> None:
        """Leave nothing of deleted rows in any file of the store. Raises StateDamaged."""

    def close(self) -> None:
        """Let go of the store."""


def row(db: Database, query: str, values: Sequence[Any] = ()) -> Row | None:
    """The first row of a query, if there is one."""
    return next(iter(db.execute(query, values)), None)


def number(db: Database, query: str, values: Sequence[Any] = ()) -> int:
    """The only number that a query answers; 0 when it answers nothing."""
    found = row(db, query, values)
    return int(found[0]) if found else 0
