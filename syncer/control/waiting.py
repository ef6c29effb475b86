"""What waits in the control store: plans for a word, refused records for another try, gone rows for their grace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from syncer.control.asking import Asking, held_plan
from syncer.control.connection import Connection, Database, number, row
from syncer.control.schema import SYNC_ID
from syncer.control.values import Approval, Parked

RETRY_SECONDS = (3600.0, 4 * 3600.0, 86400.0, 3 * 86400.0, 7 * 86400.0)
"""A parked record with the same values is tried again after these, unless the config says otherwise; afterwards
only on request."""

_ATTEMPTS = "(CASE WHEN parked.payload = excluded.payload THEN parked.attempts ELSE 0 END)"
"""How often a record was refused before with the values with which it is refused now."""


class Waiting(Asking):
    """The part of the store about what waits, by a clock that may be another one than the machine's."""

    def __init__(
        self,
        connection: Connection,
        retry_seconds: Sequence[float] = RETRY_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(connection)
        self._retry_seconds = tuple(retry_seconds)
        self._clock = clock

    def retry_after(self, retry_seconds: Sequence[float]) -> None:
        """Try parked records again after these delays from now on."""
        self._retry_seconds = tuple(retry_seconds)

    # --- approvals ---------------------------------------------------------------------------------------------

    def approve(self, run_id: int, by: str, *, asks: bool = False) -> Approval | None:
        """Let the plan that holds since this run pass, once; None when it is no run's plan that waits for it.

        Only the newest run of a sync can be approved: an older plan is not what would be sent. With `asks` the run that
        sends it is asked for in the same commit, unless the sync is paused. Raises QueueFull.
        """
        with self._writing() as db:
            found = held_plan(db, run_id)
            if found is None:
                return None
            sync_id, name, digest = found
            at = self._clock()
            # The last word counts, and a plan that was approved twice still passes once.
            db.execute("DELETE FROM refusal WHERE sync_id = ? AND digest = ?", (sync_id, digest))
            db.execute("DELETE FROM approval WHERE sync_id = ? AND digest = ? AND used_by IS NULL", (sync_id, digest))
            approval_id = number(
                db,
                "INSERT INTO approval(sync_id, run_id, digest, by, at) VALUES (?, ?, ?, ?, ?) RETURNING id",
                (sync_id, run_id, digest, by, at),
            )
            self._note_act(db, by, "approve", name, {"run": str(run_id), "plan": digest}, at)
            is_paused = row(db, "SELECT 1 FROM pause WHERE sync = ?", [name]) is not None
            request = self._queue(db, name, by, {}, at)[0] if asks and not is_paused else None
            return Approval(approval_id, name, run_id, digest, by, at, request)

    def approval(self, sync: str, digest: str, max_age_seconds: float) -> Approval | None:
        """The unused approval of this very plan, if it is not too old."""
        with self._reading() as db:
            found = row(
                db,
                f"SELECT id, run_id, by, at FROM approval WHERE sync_id = {SYNC_ID} AND digest = ? AND used_by IS NULL "
                "AND at >= ? ORDER BY id DESC LIMIT 1",
                [sync, digest, self._clock() - max_age_seconds],
            )
            return None if found is None else Approval(found[0], sync, found[1], digest, found[2], found[3])

    def use_of(self, saved: str) -> tuple[int, float] | None:
        """Which run used a saved plan, and when; None when none did."""
        with self._reading() as db:
            found = row(db, "SELECT run_id, at FROM used_plan WHERE id = ?", [saved])
            return None if found is None else (int(found[0]), float(found[1]))

    # --- parked records ----------------------------------------------------------------------------------------

    def parked(self, sync: str, offset: int = 0, limit: int | None = None) -> list[Parked]:
        """The parked records of a sync, sorted by key: all of them, or so many from the `offset`th on."""
        some = "" if limit is None else " LIMIT ? OFFSET ?"
        values: list[Any] = [sync, *([] if limit is None else [limit, offset])]
        with self._reading() as db:
            found = db.execute(
                "SELECT key, payload, attempts, first_at, last_at, next_at, code, message FROM parked "
                f"WHERE sync_id = {SYNC_ID} ORDER BY key{some}",
                values,
            )
            return [Parked(*one) for one in found]

    def parked_count(self, sync: str) -> int:
        """How many records of a sync are parked."""
        with self._reading() as db:
            return number(db, f"SELECT count(*) FROM parked WHERE sync_id = {SYNC_ID}", [sync])

    def unpark(self, sync: str, keys: Sequence[str]) -> None:
        """Forget these rejections: the records have nothing to send any more."""
        with self._writing() as db:
            db.executemany(f"DELETE FROM parked WHERE key = ? AND sync_id = {SYNC_ID}", [(key, sync) for key in keys])

    def drop(self, sync: str, keys: Sequence[str]) -> None:
        """Forget what is kept of these keys besides their values: that they are parked, or gone for a while."""
        with self._writing() as db:
            for table in ("parked", "gone"):
                db.executemany(
                    f"DELETE FROM {table} WHERE key = ? AND sync_id = {SYNC_ID}", [(key, sync) for key in keys]
                )

    def retry(self, sync: str, keys: Sequence[str] | None, by: str | None = None) -> int:
        """Let parked records (all, or these) go with the next run; returns how many.

        With `by` the journal keeps who let them, and how many, and no key; not when none of these keys is parked.
        """
        again = f"UPDATE parked SET next_at = 0 WHERE sync_id = {SYNC_ID}"
        with self._writing() as db:
            if keys is None:
                count = len(db.execute(f"{again} RETURNING key", [sync]))
            else:
                count = sum(len(db.execute(f"{again} AND key = ? RETURNING key", [sync, key])) for key in keys)
            if by is not None and (count or not keys):
                self._note_act(db, by, "retry", sync, {"records": count, "all": keys is None}, self._clock())
            return count

    def _park(self, db: Database, sync_id: int, parked: Iterable[tuple[str, str, str, str]], now: float) -> None:
        """Park each (key, payload, code, message); for the same payload it is one attempt more, and a longer delay."""
        # Parameters 1 to 8 are the row; those after it are when to try again after the first attempt, the second, …
        tries = range(len(self._retry_seconds))
        next_at = f"CASE {_ATTEMPTS} {''.join(f'WHEN {one} THEN ?{9 + one} ' for one in tries)}END" if tries else "NULL"
        retry_at = [now + delay for delay in self._retry_seconds]
        first = retry_at[0] if retry_at else None
        db.executemany(
            "INSERT INTO parked(sync_id, key, payload, attempts, first_at, last_at, next_at, code, message) "
            "VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8) ON CONFLICT(sync_id, key) DO UPDATE SET "
            f"attempts = {_ATTEMPTS} + 1, next_at = {next_at}, "
            "first_at = CASE WHEN parked.payload = excluded.payload THEN parked.first_at ELSE excluded.first_at END, "
            "payload = excluded.payload, last_at = excluded.last_at, code = excluded.code, message = excluded.message",
            [
                (sync_id, key, payload, now, now, first, code, message, *retry_at)
                for key, payload, code, message in parked
            ],
        )

    # --- rows that are gone ------------------------------------------------------------------------------------

    def gone(self, sync: str) -> dict[str, int]:
        """Key → in how many runs in a row it was gone from the source, of what is not removed yet."""
        with self._reading() as db:
            return dict(db.execute(f"SELECT key, runs FROM gone WHERE sync_id = {SYNC_ID}", [sync]))

    def note_gone(self, sync_id: int, gone: Mapping[str, int]) -> None:
        """What a run has found gone, in place of what the runs before had found: who is back begins anew."""
        with self._writing() as db:
            db.execute("DELETE FROM gone WHERE sync_id = ?", (sync_id,))
            db.executemany(
                "INSERT INTO gone(sync_id, key, runs) VALUES (?, ?, ?)",
                ((sync_id, key, runs) for key, runs in gone.items()),
            )
