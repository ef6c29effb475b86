"""Which process runs which sync, on any number of machines: a lease for each, and a fence for whoever lost one.

A lease is a row with the holder's name, a token that only grows, and the moment at which it ends by the clock of the
server. A thread of the holder renews it. Who takes a lease that has run out raises the token; each transaction that
writes for a sync looks at the token first, so a process that was stopped for a while, or cut off, and does not know
yet that it lost the lease, cannot write any more, and what cannot be written down is not sent.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from syncer.control.connection import Connection, Database, row
from syncer.control.locks import busy
from syncer.errors import LeaseLost, StateDamaged

TABLE = """
CREATE TABLE lease(sync TEXT COLLATE "C" PRIMARY KEY, token BIGINT NOT NULL, holder TEXT NOT NULL,
  since TIMESTAMPTZ NOT NULL, expires_at TIMESTAMPTZ NOT NULL)
"""
RENEWALS = 3
"""How often a lease is renewed before it would run out: one answer may be lost, or late."""

_HOLDER = (
    "SELECT holder || to_char(since AT TIME ZONE 'UTC', ' \"since\" YYYY-MM-DD HH24:MI:SS \"UTC\"') FROM lease "
    "WHERE sync = ? AND expires_at > clock_timestamp()"
)
_END = "clock_timestamp() + ? * interval '1 second'"


class Leases:
    """The leases of all syncs whose runs are in one store."""

    def __init__(self, store: Connection, connect: Callable[[float], psycopg.Connection[Any]], seconds: float) -> None:
        self._store = store
        self._connect = connect
        self._seconds = seconds

    @contextlib.contextmanager
    def exclusively(self, sync: str) -> Iterator[Lease]:
        """Hold a sync for this process, as long as it gives a sign of life every `seconds`.

        Raises SyncBusy, with who holds it since when, and StateDamaged when the store cannot be written.
        """
        lease = self._take(sync)
        lease.start()
        try:
            yield lease
        finally:
            lease.stop()
            # A lease that cannot be given back runs out by itself.
            with contextlib.suppress(StateDamaged), self._store.writing() as db:
                db.execute(
                    "UPDATE lease SET expires_at = '-infinity' WHERE sync = ? AND token = ?", [sync, lease.token]
                )

    def holder(self, sync: str) -> str | None:
        """Who runs a sync just now; None when nobody does."""
        with self._store.reading() as db:
            found = row(db, _HOLDER, [sync])
            return None if found is None else str(found[0])

    def _take(self, sync: str) -> Lease:
        began = time.monotonic()
        with self._store.writing() as db:
            taken = row(
                db,
                f"INSERT INTO lease(sync, token, holder, since, expires_at) VALUES (?1, 1, ?2, clock_timestamp(), "
                f"{_END.replace('?', '?3')}) ON CONFLICT(sync) DO UPDATE SET token = lease.token + 1, "
                "holder = excluded.holder, since = excluded.since, expires_at = excluded.expires_at "
                "WHERE lease.expires_at <= clock_timestamp() RETURNING token",
                [sync, f"process {os.getpid()} on {socket.gethostname()}", self._seconds],
            )
            if taken is None:
                found = row(db, _HOLDER, [sync])
                raise busy(sync, found[0] if found else "another process")
        return Lease(sync, int(taken[0]), self._seconds, began, self._connect)


class Lease:
    """A sync that this process holds, and the thread that keeps it."""

    def __init__(
        self,
        sync: str,
        token: int,
        seconds: float,
        began: float,
        connect: Callable[[float], psycopg.Connection[Any]],
    ) -> None:
        self.token = token
        self._sync = sync
        self._seconds = seconds
        self._sure_until = began + seconds
        """By the clock of this process, which goes on while it is stopped: until then nobody else can hold it."""
        self._connect = connect
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease of {sync}", daemon=True)

    def check(self, db: Database) -> None:
        """Raises LeaseLost when somebody else has taken the lease. Nobody can until the transaction ends, since those
        who take one write to the same store."""
        if row(db, "SELECT 1 FROM lease WHERE sync = ? AND token = ?", [self._sync, self.token]) is None:
            found = row(db, _HOLDER, [self._sync])
            raise self._lost(f"{found[0]} holds it now" if found else "another process held it since")

    def confirm(self) -> None:
        """Raises LeaseLost when somebody else may have taken the lease. Asks nobody."""
        if time.monotonic() > self._sure_until:
            raise self._lost("another process may hold it now")

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """Renew no more."""
        self._is_over.set()
        self._thread.join()

    def _lost(self, now: str) -> LeaseLost:
        return LeaseLost(
            f"{self._sync}: this process gave no sign of life for {self._seconds:g} s, and {now}. "
            "Nothing more leaves here; what was in flight is sent again by whoever holds it."
        )

    def _keep(self) -> None:
        pause = self._seconds / RENEWALS
        db: psycopg.Connection[Any] | None = None
        while not self._is_over.wait(pause):
            began = time.monotonic()
            try:
                if db is None or db.closed:
                    db = self._connect(pause)
                renewed = db.execute(
                    b"UPDATE lease SET expires_at = clock_timestamp() + $1 * interval '1 second' "
                    b"WHERE sync = $2 AND token = $3 RETURNING token",
                    [self._seconds, self._sync, self.token],
                ).fetchone()
            except (psycopg.Error, StateDamaged):
                # It is tried again until it is too late, and then the run ends by itself.
                continue
            if renewed is None:
                # Another process has it. Each write says so from now on.
                self._sure_until = began
                break
            self._sure_until = began + self._seconds
        if db is not None:
            db.close()
