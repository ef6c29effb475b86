"""The control store of one state folder: what each sync's state consists of, its runs, and its parked records."""

from __future__ import annotations

import contextlib
import copy
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from syncer.control import sqlite
from syncer.control.asking import Asking, held_plan
from syncer.control.connection import Connection, Database, Where, row
from syncer.control.noting import discard, drop_plans, has_weight, is_to_be_noted
from syncer.control.values import (
    EMPTY,
    Approval,
    Code,
    LeftBehind,
    Parked,
    PlanFile,
    Run,
    Settled,
    Standing,
    enumerate_new,
)

RETRY_SECONDS = (3600.0, 4 * 3600.0, 86400.0, 3 * 86400.0, 7 * 86400.0)
"""A parked record with the same values is tried again after these, unless the config says otherwise; afterwards
only on request."""
RUNS_KEPT = 1_000
"""Runs of each sync that the journal keeps."""
KILLED = (
    "The process ended in the middle of this run (killed, or without power); the next run went on from what was known."
)

_ID = "(SELECT id FROM sync WHERE name = ?)"
_ATTEMPTS = "(CASE WHEN parked.payload = excluded.payload THEN parked.attempts ELSE 0 END)"
"""How often a record was refused before with the values with which it is refused now."""
_RUN = (
    "run.id, sync.name, started, finished, result, planned, accepted, rejected, deferred, unsent, requests, digest, "
    "error, facts, released"
)


class Control(Asking):
    """The store. `open` it in a process that writes, `look` in one that only reads. Thread-safe."""

    def __init__(
        self,
        connection: Connection,
        retry_seconds: Sequence[float] = RETRY_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(connection)
        self._retry_seconds = tuple(retry_seconds)
        self._clock = clock

    @classmethod
    def open(
        cls,
        where: Where,
        retry_seconds: Sequence[float] = RETRY_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> Control:
        """Open for writing; makes the store where there is none, and brings an older one to this version.

        `retry_seconds` are the delays after which a parked record is tried again, by `clock` (seconds since 1970).
        Raises StateDamaged when the store is damaged, gone, of a newer version, or cannot be written.
        """
        if where.control is None:
            return cls(sqlite.open_to_write(where.path), retry_seconds, clock)
        from syncer.control import postgres  # Its library takes time to load, and few need it.

        return cls(postgres.open_to_write(where), retry_seconds, clock)

    @classmethod
    def look(cls, where: Where) -> Control | None:
        """Open for reading; None where nothing was ever written. Raises StateDamaged as `open` does."""
        if where.control is None:
            found: Connection | None = sqlite.open_to_look(where.path)
        else:
            from syncer.control import postgres

            found = postgres.open_to_look(where)
        return None if found is None else cls(found)

    @staticmethod
    def wrong(where: Where) -> str | None:
        """What stands in the way of a store there, as a sentence; None when nothing does. Changes nothing."""
        if where.control is None:
            return None
        from syncer.control import postgres

        return postgres.wrong(where)

    def retry_after(self, retry_seconds: Sequence[float]) -> None:
        """Try parked records again after these delays from now on."""
        self._retry_seconds = tuple(retry_seconds)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    # --- who runs a sync -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def exclusively(self, sync: str) -> Iterator[Control]:
        """Hold a sync for this process, and write its part of the store through what this gives.

        Raises SyncBusy, with who holds it since when, and StateDamaged when it cannot be held.
        """
        with self._connection.locks.exclusively(sync) as fence:
            held = copy.copy(self)
            held._fence = fence
            yield held

    def confirm(self) -> None:
        """Raises LeaseLost when the sync that is written through this may be somebody else's by now."""
        if self._fence is not None:
            self._fence.confirm()

    def holder(self, sync: str) -> str | None:
        """Who runs this sync just now; None when nobody does."""
        return self._connection.locks.holder(sync)

    # --- the state of a sync ---------------------------------------------------------------------------------

    def standing(self, sync: str) -> Standing:
        """What the state of a sync consists of, in one read transaction."""
        with self._reading() as db:
            found = row(
                db, "SELECT id, identity, base_file, base_rows, generation, versions FROM sync WHERE name = ?", [sync]
            )
            if found is None:
                return EMPTY
            sync_id, identity, base_file, base_rows, generation, versions = found
            slots = _slots(db, sync_id)
            plans = []
            for plan_id, file, number in db.execute(
                "SELECT id, file, rows FROM plan WHERE sync_id = ? ORDER BY id", [sync_id]
            ):
                codes = bytearray([Code.UNSENT]) * number
                for lo, hi, known in _batches(db, plan_id):
                    codes[lo:hi] = known
                if has_weight(codes):
                    plans.append(PlanFile(plan_id, file, bytes(codes)))
            return Standing(
                sync_id, identity, base_file, base_rows, generation, slots, tuple(plans), tuple(json.loads(versions))
            )

    def register(self, sync: str, identity: str, fields: Iterable[str]) -> Standing:
        """Make the sync known, with a slot for each field, and return its standing."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO sync(name, identity) VALUES (?, ?) "
                "ON CONFLICT(name) DO UPDATE SET identity = excluded.identity",
                (sync, identity),
            )
            sync_id = _sync_id(db, sync)
            slots = _slots(db, sync_id)
            for slot, field_name in enumerate_new(slots, fields):
                db.execute("INSERT INTO field(sync_id, slot, name) VALUES (?, ?, ?)", (sync_id, slot, field_name))
        return self.standing(sync)

    def fold(self, sync_id: int, base_file: str, base_rows: int, old_base: str | None) -> None:
        """Replace base and closed plans by a new base, in one commit; the old files become garbage.

        The caller holds the sync's lock, so no plan can have been added since the new base was made.
        """
        with self._writing() as db:
            db.execute(
                "UPDATE sync SET base_file = ?, base_rows = ?, generation = generation + 1 WHERE id = ?",
                (base_file, base_rows, sync_id),
            )
            closed = db.execute("SELECT id, file FROM plan WHERE sync_id = ? AND state = 'closed'", [sync_id])
            drop_plans(db, [plan_id for plan_id, _ in closed])
            discard(db, [*(file for _, file in closed), *([old_base] if old_base else [])])

    def closed_plans(self, sync: str) -> int:
        """How many plans wait to be folded."""
        with self._reading() as db:
            return _number(db, f"SELECT count(*) FROM plan WHERE sync_id = {_ID} AND state = 'closed'", [sync])

    def forget(self, sync: str) -> list[str]:
        """Drop everything that is known of a sync except its journal; returns the files that nobody needs now."""
        with self._writing() as db:
            found = row(db, "SELECT id, base_file FROM sync WHERE name = ?", [sync])
            if found is None:
                return []
            sync_id, base_file = found
            plans = db.execute("SELECT id, file FROM plan WHERE sync_id = ?", [sync_id])
            drop_plans(db, [plan_id for plan_id, _ in plans])
            db.execute("DELETE FROM field WHERE sync_id = ?", (sync_id,))
            db.execute("DELETE FROM parked WHERE sync_id = ?", (sync_id,))
            db.execute("DELETE FROM gone WHERE sync_id = ?", (sync_id,))
            db.execute(
                "UPDATE sync SET identity = '', base_file = NULL, base_rows = 0, generation = generation + 1, "
                "versions = '[]' WHERE id = ?",
                (sync_id,),
            )
            files = [*(file for _, file in plans), *([base_file] if base_file else [])]
            discard(db, files)
            return files

    def scrub(self) -> None:
        """Leave nothing of deleted rows in any file of the store. Raises StateDamaged."""
        self._connection.scrub()

    def garbage(self, older_than_seconds: float) -> list[str]:
        """Files that nothing refers to any more since that long."""
        with self._reading() as db:
            limit = time.time() - older_than_seconds
            return [file for (file,) in db.execute("SELECT file FROM garbage WHERE since <= ?", [limit])]

    def collected(self, files: Iterable[str]) -> None:
        """These garbage files are deleted."""
        with self._writing() as db:
            db.executemany("DELETE FROM garbage WHERE file = ?", [(file,) for file in files])

    def referenced(self, sync: str) -> set[str]:
        """Every file of this sync that the store names in any way."""
        with self._reading() as db:
            found = db.execute(
                f"SELECT file FROM garbage UNION ALL SELECT file FROM plan WHERE sync_id = {_ID} "
                f"UNION ALL SELECT file FROM history WHERE sync_id = {_ID} "
                "UNION ALL SELECT base_file FROM sync WHERE name = ? AND base_file IS NOT NULL",
                [sync, sync, sync],
            )
            return {file for (file,) in found}

    # --- a run -----------------------------------------------------------------------------------------------

    def begin_run(
        self,
        sync: str,
        identity: str,
        trigger: str = "command",
        undoes: int | None = None,
        *,
        by: str | None = None,
        is_partial: bool = False,
        kept: int = RUNS_KEPT,
    ) -> int:
        """Write the run into the journal before it does anything; returns its number. The oldest runs make room.

        `undoes` is the run whose changes this one takes back, `by` is who asked for it, `is_partial` whether a
        schedule does not take it for its own, and `kept` how many runs of the sync stay.
        """
        facts = {"trigger": trigger} | ({} if undoes is None else {"undoes": undoes}) | ({"by": by} if by else {})
        with self._writing() as db:
            db.execute("INSERT INTO sync(name, identity) VALUES (?, ?) ON CONFLICT(name) DO NOTHING", (sync, identity))
            sync_id = _sync_id(db, sync)
            run_id = _number(
                db,
                "INSERT INTO run(sync_id, started, result, facts, is_partial) VALUES (?, ?, 'running', ?, ?) "
                "RETURNING id",
                (sync_id, self._clock(), json.dumps(facts), int(is_partial)),
            )
            db.execute(
                "DELETE FROM run WHERE sync_id = ?1 AND id <= "
                "(SELECT id FROM run WHERE sync_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                (sync_id, kept),
            )
            return run_id

    def begin_plan(
        self,
        run_id: int,
        sync_id: int,
        file: str,
        total: int,
        sendable: int,
        digest: str,
        released: Sequence[str],
        *,
        approval: int | None = None,
        saved: str | None = None,
    ) -> int:
        """Register a plan whose file is durable; nothing of it has left yet.

        The approval, and the saved plan, that it goes by are used up in the same commit.
        """
        with self._writing() as db:
            if approval is not None:
                db.execute("UPDATE approval SET used_by = ? WHERE id = ?", (run_id, approval))
            if saved is not None:
                db.execute(
                    "INSERT INTO used_plan(id, run_id, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                    (saved, run_id, time.time()),
                )
            db.execute(
                "UPDATE run SET planned = ?, unsent = ?, digest = ?, released = ? WHERE id = ?",
                (sendable, sendable, digest, json.dumps(list(released)), run_id),
            )
            return _number(
                db,
                "INSERT INTO plan(sync_id, run_id, file, rows, sendable, state) VALUES (?, ?, ?, ?, ?, 'open') "
                "RETURNING id",
                (sync_id, run_id, file, total, sendable),
            )

    def commit(self, sync_id: int, settled: Sequence[Settled], intent: tuple[int, int, int] | None) -> None:
        """One synced commit: what became of finished batches, and which one (plan, lo, hi) leaves next.

        When it fails nothing may be sent: no intent, no send. Raises StateDamaged (a full disk, for instance).
        """
        now = self._clock()
        with self._writing() as db:
            for batch in settled:
                db.execute(
                    "UPDATE batch SET codes = ?1, job = CASE WHEN ?2 THEN NULL ELSE job END, settled_at = ?3, "
                    "answers = ?4 WHERE plan_id = ?5 AND lo = ?6",
                    (batch.codes, batch.is_over, now, batch.answers, batch.plan_id, batch.lo),
                )
                self._park(db, sync_id, batch.parked, now)
                db.executemany(
                    "DELETE FROM parked WHERE sync_id = ? AND key = ?", [(sync_id, key) for key in batch.cleared]
                )
            if intent:
                db.execute("INSERT INTO batch(plan_id, lo, hi) VALUES (?, ?, ?)", intent)

    def note_job(self, plan_id: int, lo: int, job: str) -> None:
        """What a destination does by itself for a batch in flight, so that it can be taken up again. Synced.

        Raises StateDamaged when it cannot be written, and then the work may not be started.
        """
        with self._writing() as db:
            db.execute("UPDATE batch SET job = ? WHERE plan_id = ? AND lo = ?", (job, plan_id, lo))

    def take_over(self, run_id: int, sync_id: int, file: str, rows: int) -> None:
        """Make a durable file part of the state, in one commit: what it says is what the destination holds."""
        with self._writing() as db:
            plan_id = _number(
                db,
                "INSERT INTO plan(sync_id, run_id, file, rows, sendable, state) VALUES (?, ?, ?, ?, 0, 'closed') "
                "RETURNING id",
                (sync_id, run_id, file, rows),
            )
            db.execute(
                "INSERT INTO batch(plan_id, lo, hi, codes, settled_at) VALUES (?, 0, ?, ?, ?)",
                (plan_id, rows, bytes([Code.ACCEPTED]) * rows, self._clock()),
            )

    def left_behind(self, sync: str) -> list[LeftBehind]:
        """Batches with records of unknown fate and a job that can tell it, the oldest first."""
        with self._reading() as db:
            found = db.execute(
                "SELECT plan.id, run_id, file, lo, hi, codes, job FROM batch JOIN plan ON plan.id = batch.plan_id "
                f"WHERE job IS NOT NULL AND plan.sync_id = {_ID} ORDER BY plan.id, lo",
                [sync],
            )
            left = [
                LeftBehind(plan, run, file, lo, hi, codes or bytes([Code.UNKNOWN]) * (hi - lo), job)
                for plan, run, file, lo, hi, codes, job in found
            ]
            return [one for one in left if Code.UNKNOWN in one.codes]

    def taken_up(self, run_id: int, plan_id: int, *, accepted: int, rejected: int) -> None:
        """Tell in the journal what became of records that the run had counted as deferred, in doubt."""
        with self._writing() as db:
            db.execute(
                "UPDATE run SET accepted = accepted + ?1, rejected = rejected + ?2, deferred = deferred - ?1 - ?2 "
                "WHERE id = ?3 AND deferred >= ?1 + ?2",
                (accepted, rejected, run_id),
            )
            _close_plan(db, plan_id)

    def finish_run(
        self,
        run_id: int,
        *,
        result: str,
        counts: dict[str, int],
        requests: int = 0,
        error: str | None = None,
        facts: dict[str, Any] | None = None,
        plan_id: int | None = None,
        versions: Sequence[str] | None = None,
        digest: str | None = None,
    ) -> None:
        """Close the run and its plan in the journal. Counts that do not add up make it a failed run."""
        total = counts["accepted"] + counts["rejected"] + counts["deferred"] + counts["unsent"]
        if counts["planned"] != total:
            result = "failed"
            error = f"The counts do not add up: {counts['planned']} planned, {total} accounted for. {error or ''}"
        with self._writing() as db:
            db.execute(
                "UPDATE run SET finished = ?, result = ?, planned = ?, accepted = ?, rejected = ?, deferred = ?, "
                "unsent = ?, requests = ?, error = ?, facts = ? WHERE id = ?",
                (
                    self._clock(),
                    result,
                    counts["planned"],
                    counts["accepted"],
                    counts["rejected"],
                    counts["deferred"],
                    counts["unsent"],
                    requests,
                    error,
                    json.dumps(facts or {}),
                    run_id,
                ),
            )
            if digest is not None:
                db.execute("UPDATE run SET digest = ? WHERE id = ?", (digest, run_id))
            if plan_id is not None:
                _close_plan(db, plan_id)
            if versions is not None:
                db.execute(
                    "UPDATE sync SET versions = ? WHERE id = (SELECT sync_id FROM run WHERE id = ?)",
                    (json.dumps(list(versions)), run_id),
                )

    def recover(self, sync: str, error: str = KILLED) -> None:
        """Close what a killed process left open. Idempotent; the caller holds the sync's lock.

        Batches in flight stay without codes: their records are in doubt. The run is told in the journal with
        counts that add up: what is in doubt counts as deferred, what never left as unsent.
        """
        with self._writing() as db:
            for (run_id,) in db.execute(f"SELECT id FROM run WHERE sync_id = {_ID} AND result = 'running'", [sync]):
                planned, counts = 0, [0, 0, 0, 0]
                for plan_id, sendable in db.execute("SELECT id, sendable FROM plan WHERE run_id = ?", [run_id]):
                    planned += sendable
                    for _, _, codes in _batches(db, plan_id):
                        for code in range(4):
                            counts[code] += codes.count(code)
                db.execute(
                    "UPDATE run SET finished = ?, result = 'failed', planned = ?, accepted = ?, rejected = ?, "
                    "deferred = ?, unsent = ?, error = ? WHERE id = ?",
                    (
                        self._clock(),
                        planned,
                        counts[Code.ACCEPTED],
                        counts[Code.REJECTED],
                        counts[Code.DEFERRED] + counts[Code.UNKNOWN],
                        planned - sum(counts),
                        error,
                        run_id,
                    ),
                )
            for (plan_id,) in db.execute(f"SELECT id FROM plan WHERE state = 'open' AND sync_id = {_ID}", [sync]):
                _close_plan(db, plan_id)

    def runs(self, sync: str, limit: int = 1, before: int | None = None) -> list[Run]:
        """The newest runs of a sync, or those before a run, newest first."""
        older = "" if before is None else "AND run.id < ? "
        values: list[Any] = [sync, *([] if before is None else [before]), limit]
        return self._runs(f"WHERE sync.name = ? {older}ORDER BY run.id DESC LIMIT ?", values)

    def run(self, run_id: int) -> Run | None:
        """One run; None when the journal has none of this number."""
        return next(iter(self._runs("WHERE run.id = ?", [run_id])), None)

    def _runs(self, which: str, values: Sequence[Any]) -> list[Run]:
        with self._reading() as db:
            found = db.execute(f"SELECT {_RUN} FROM run JOIN sync ON sync.id = run.sync_id {which}", values)
            return [Run(*[*one[:-2], json.loads(one[-2]), json.loads(one[-1])]) for one in found]

    # --- approvals ---------------------------------------------------------------------------------------------

    def approve(self, run_id: int, by: str) -> Approval | None:
        """Let the plan that holds since this run pass, once; None when it is no run's plan that waits for it.

        Only the newest run of a sync can be approved: an older plan is not what would be sent.
        """
        with self._writing() as db:
            found = held_plan(db, run_id)
            if found is None:
                return None
            sync_id, name, digest = found
            at = self._clock()
            approval_id = _number(
                db,
                "INSERT INTO approval(sync_id, run_id, digest, by, at) VALUES (?, ?, ?, ?, ?) RETURNING id",
                (sync_id, run_id, digest, by, at),
            )
            approval = Approval(approval_id, name, run_id, digest, by, at)
            # The last word counts.
            db.execute("DELETE FROM refusal WHERE sync_id = ? AND digest = ?", (sync_id, digest))
            self._note_act(db, by, "approve", name, {"run": str(run_id), "plan": digest}, at)
            return approval

    def approval(self, sync: str, digest: str, max_age_seconds: float) -> Approval | None:
        """The unused approval of this very plan, if it is not too old."""
        with self._reading() as db:
            found = row(
                db,
                f"SELECT id, run_id, by, at FROM approval WHERE sync_id = {_ID} AND digest = ? AND used_by IS NULL "
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
                f"WHERE sync_id = {_ID} ORDER BY key{some}",
                values,
            )
            return [Parked(*one) for one in found]

    def parked_count(self, sync: str) -> int:
        """How many records of a sync are parked."""
        with self._reading() as db:
            return _number(db, f"SELECT count(*) FROM parked WHERE sync_id = {_ID}", [sync])

    def plan_of_run(self, run_id: int) -> PlanFile | None:
        """The plan file of a run with what became of its records, as long as it is there."""
        with self._reading() as db:
            found = row(db, "SELECT id, file, rows FROM plan WHERE run_id = ? AND sendable > 0", [run_id])
            if found is None:
                return None
            plan_id, file, number = found
            codes = bytearray([Code.UNSENT]) * number
            for lo, hi, known in _batches(db, plan_id):
                codes[lo:hi] = known
            return PlanFile(plan_id, file, bytes(codes))

    def unpark(self, sync: str, keys: Sequence[str]) -> None:
        """Forget these rejections: the records have nothing to send any more."""
        with self._writing() as db:
            db.executemany(f"DELETE FROM parked WHERE key = ? AND sync_id = {_ID}", [(key, sync) for key in keys])

    def drop(self, sync: str, keys: Sequence[str]) -> None:
        """Forget what is kept of these keys besides their values: that they are parked, or gone for a while."""
        with self._writing() as db:
            for table in ("parked", "gone"):
                db.executemany(f"DELETE FROM {table} WHERE key = ? AND sync_id = {_ID}", [(key, sync) for key in keys])

    def retry(self, sync: str, keys: Sequence[str] | None) -> int:
        """Let parked records (all, or these) go with the next run; returns how many."""
        with self._writing() as db:
            again = f"UPDATE parked SET next_at = 0 WHERE sync_id = {_ID}"
            if keys is None:
                return len(db.execute(f"{again} RETURNING key", [sync]))
            return sum(len(db.execute(f"{again} AND key = ? RETURNING key", [sync, key])) for key in keys)

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
            return dict(db.execute(f"SELECT key, runs FROM gone WHERE sync_id = {_ID}", [sync]))

    def note_gone(self, sync_id: int, gone: Mapping[str, int]) -> None:
        """What a run has found gone, in place of what the runs before had found: who is back begins anew."""
        with self._writing() as db:
            db.execute("DELETE FROM gone WHERE sync_id = ?", (sync_id,))
            db.executemany(
                "INSERT INTO gone(sync_id, key, runs) VALUES (?, ?, ?)",
                ((sync_id, key, runs) for key, runs in gone.items()),
            )


def _number(db: Database, query: str, values: Sequence[Any]) -> int:
    found = row(db, query, values)
    return int(found[0]) if found else 0


def _sync_id(db: Database, sync: str) -> int:
    return _number(db, "SELECT id FROM sync WHERE name = ?", [sync])


def _slots(db: Database, sync_id: int) -> dict[str, int]:
    return {name: int(slot) for name, slot in db.execute("SELECT name, slot FROM field WHERE sync_id = ?", [sync_id])}


def _batches(db: Database, plan_id: int) -> Iterator[tuple[int, int, bytes]]:
    """(lo, hi, codes) of a plan's batches; a batch in flight, or that was when a process died, is unknown."""
    for lo, hi, codes in db.execute("SELECT lo, hi, codes FROM batch WHERE plan_id = ?", [plan_id]):
        yield lo, hi, bytes([Code.UNKNOWN]) * (hi - lo) if codes is None else codes


def _close_plan(db: Database, plan_id: int) -> None:
    """Nothing more of it leaves. A plan that changed nothing is dropped at once: no fold would ever come for it."""
    is_kept = is_to_be_noted(db, plan_id) or any(has_weight(codes) for _, _, codes in _batches(db, plan_id))
    if is_kept:
        db.execute("UPDATE plan SET state = 'closed' WHERE id = ?", (plan_id,))
        return
    found = db.execute("SELECT file FROM plan WHERE id = ?", [plan_id])
    drop_plans(db, [plan_id])
    discard(db, [file for (file,) in found])
