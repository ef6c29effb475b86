"""The control store itself: how it is opened, who holds a sync, what each sync's state consists of, and its runs."""

from __future__ import annotations

import contextlib
import copy
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from syncer.control import copying, sqlite
from syncer.control.connection import Connection, Database, Where, number, row
from syncer.control.noting import discard, drop_plans, has_weight, is_to_be_noted
from syncer.control.schema import SYNC_ID
from syncer.control.telling import Telling
from syncer.control.values import (
    EMPTY,
    Code,
    LeftBehind,
    PlanFile,
    Run,
    Settled,
    Standing,
    enumerate_new,
)
from syncer.control.waiting import RETRY_SECONDS, Waiting

RUNS_KEPT = 1_000
"""Runs of each sync that the journal keeps."""
KILLED = (
    "The process ended in the middle of this run (killed, or without power); the next run went on from what was known."
)

_RUN = (
    "run.id, sync.name, started, finished, result, planned, accepted, rejected, deferred, unsent, requests, digest, "
    "error, facts, released"
)


class Control(Waiting, Telling):
    """The store. `open` it in a process that writes, `look` in one that only reads. Thread-safe."""

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

    def syncs(self) -> list[str]:
        """The names of all syncs that the store knows of."""
        with self._reading() as db:
            return [name for (name,) in db.execute("SELECT name FROM sync ORDER BY name")]

    def copy_to(self, other: Control, bases: Mapping[str, tuple[str | None, int]]) -> None:
        """Everything but plans and their batches into a store that holds nothing, in one commit; see `copying`."""
        with self._reading() as old, other._writing() as new:
            copying.copy(old, new, bases)

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
            for plan_id, file, total in db.execute(
                "SELECT id, file, rows FROM plan WHERE sync_id = ? ORDER BY id", [sync_id]
            ):
                codes = bytearray([Code.UNSENT]) * total
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
            return number(db, f"SELECT count(*) FROM plan WHERE sync_id = {SYNC_ID} AND state = 'closed'", [sync])

    def forget(self, sync: str) -> list[str]:
        """Drop everything that is known of a sync except its journal; returns the files that nobody needs now."""
        with self._writing() as db:
            found = row(db, "SELECT id, base_file FROM sync WHERE name = ?", [sync])
            if found is None:
                return []
            sync_id, base_file = found
            plans = db.execute("SELECT id, file FROM plan WHERE sync_id = ? ORDER BY id", [sync_id])
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
            now = time.time()
            # Garbage of the future was made while the clock was ahead; waiting for its time could take years.
            query = "SELECT file FROM garbage WHERE since <= ? OR since > ? ORDER BY file"
            return [file for (file,) in db.execute(query, [now - older_than_seconds, now])]

    def collected(self, files: Iterable[str]) -> None:
        """These garbage files are deleted."""
        with self._writing() as db:
            db.executemany("DELETE FROM garbage WHERE file = ?", [(file,) for file in files])

    def referenced(self, sync: str) -> set[str]:
        """Every file of this sync that the store names in any way.

        Whoever holds the sync may delete what was there before this and is not named; so a holder is asked whether it
        still is one. Raises LeaseLost.
        """
        with self._writing() as db:
            found = db.execute(
                f"SELECT file FROM garbage UNION ALL SELECT file FROM plan WHERE sync_id = {SYNC_ID} "
                f"UNION ALL SELECT file FROM history WHERE sync_id = {SYNC_ID} "
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
        request: int | None = None,
        is_partial: bool = False,
        kept: int = RUNS_KEPT,
    ) -> int:
        """Write the run into the journal before it does anything; returns its number. The oldest runs make room.

        `undoes` is the run whose changes this one takes back, `by` is who asked for it, `request` is what asked for it,
        `is_partial` whether a schedule does not take it for its own, and `kept` how many runs of the sync stay.
        """
        facts = {"trigger": trigger} | ({} if undoes is None else {"undoes": undoes}) | ({"by": by} if by else {})
        with self._writing() as db:
            db.execute("INSERT INTO sync(name, identity) VALUES (?, ?) ON CONFLICT(name) DO NOTHING", (sync, identity))
            sync_id = _sync_id(db, sync)
            run_id = number(
                db,
                "INSERT INTO run(sync_id, started, result, facts, is_partial) VALUES (?, ?, 'running', ?, ?) "
                "RETURNING id",
                (sync_id, self._clock(), json.dumps(facts), int(is_partial)),
            )
            if request is not None:
                db.execute("UPDATE request SET run_id = ? WHERE id = ?", (run_id, request))
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

        The approval, and the saved plan, that it goes by are used up in the same commit. An approval is given back when
        the plan is closed and nothing of it has left.
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
            return number(
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
            plan_id = number(
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
                f"WHERE job IS NOT NULL AND plan.sync_id = {SYNC_ID} ORDER BY plan.id, lo",
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
            if error is not None and plan_id is not None:
                counts = _recounted(db, plan_id, counts)
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

    def recover(self, sync: str, error: str = KILLED, facts: Mapping[str, Any] | None = None) -> None:
        """Close what a killed process left open. Idempotent; the caller holds the sync's lock.

        Batches in flight stay without codes: their records are in doubt. The run is told in the journal with
        counts that add up: what is in doubt counts as deferred, what never left as unsent.
        """
        with self._writing() as db:
            for (run_id,) in db.execute(f"SELECT id FROM run WHERE sync_id = {SYNC_ID} AND result = 'running'", [sync]):
                planned, counts = 0, [0, 0, 0, 0]
                for plan_id, sendable in db.execute("SELECT id, sendable FROM plan WHERE run_id = ?", [run_id]):
                    planned += sendable
                    for _, _, codes in _batches(db, plan_id):
                        for code in range(4):
                            counts[code] += codes.count(code)
                db.execute(
                    "UPDATE run SET finished = ?, result = 'failed', planned = ?, accepted = ?, rejected = ?, "
                    "deferred = ?, unsent = ?, error = ?, facts = coalesce(?, facts) WHERE id = ?",
                    (
                        self._clock(),
                        planned,
                        counts[Code.ACCEPTED],
                        counts[Code.REJECTED],
                        counts[Code.DEFERRED] + counts[Code.UNKNOWN],
                        planned - sum(counts),
                        error,
                        None if facts is None else json.dumps(facts),
                        run_id,
                    ),
                )
            for (plan_id,) in db.execute(f"SELECT id FROM plan WHERE state = 'open' AND sync_id = {SYNC_ID}", [sync]):
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

    def plan_of_run(self, run_id: int) -> PlanFile | None:
        """The plan file of a run with what became of its records, as long as it is there."""
        with self._reading() as db:
            found = row(db, "SELECT id, file, rows FROM plan WHERE run_id = ? AND sendable > 0", [run_id])
            if found is None:
                return None
            plan_id, file, total = found
            codes = bytearray([Code.UNSENT]) * total
            for lo, hi, known in _batches(db, plan_id):
                codes[lo:hi] = known
            return PlanFile(plan_id, file, bytes(codes))


def _sync_id(db: Database, sync: str) -> int:
    return number(db, "SELECT id FROM sync WHERE name = ?", [sync])


def _slots(db: Database, sync_id: int) -> dict[str, int]:
    return {name: int(slot) for name, slot in db.execute("SELECT name, slot FROM field WHERE sync_id = ?", [sync_id])}


def _batches(db: Database, plan_id: int) -> Iterator[tuple[int, int, bytes]]:
    """(lo, hi, codes) of a plan's batches; a batch in flight, or that was when a process died, is unknown."""
    for lo, hi, codes in db.execute("SELECT lo, hi, codes FROM batch WHERE plan_id = ? ORDER BY lo", [plan_id]):
        yield lo, hi, bytes([Code.UNKNOWN]) * (hi - lo) if codes is None else codes


def _recounted(db: Database, plan_id: int, counts: dict[str, int]) -> dict[str, int]:
    """The counts of a run whose last commit may have arrived although nobody said so: what it remembered was counted
    as deferred."""
    codes = b"".join(codes for _, _, codes in _batches(db, plan_id))
    accepted, rejected = codes.count(Code.ACCEPTED), codes.count(Code.REJECTED)
    more = accepted - counts["accepted"] + rejected - counts["rejected"]
    if not 0 < more <= counts["deferred"]:
        return counts
    return counts | {"accepted": accepted, "rejected": rejected, "deferred": counts["deferred"] - more}


def _close_plan(db: Database, plan_id: int) -> None:
    """Nothing more of it leaves. A plan that changed nothing is dropped at once: no fold would ever come for it. One of
    which nothing has left may leave by the same word, should it come again."""
    if not number(db, "SELECT count(*) FROM batch WHERE plan_id = ?", [plan_id]):
        db.execute(
            "UPDATE approval SET used_by = NULL WHERE used_by = (SELECT run_id FROM plan WHERE id = ?)", (plan_id,)
        )
    is_kept = is_to_be_noted(db, plan_id) or any(has_weight(codes) for _, _, codes in _batches(db, plan_id))
    if is_kept:
        db.execute("UPDATE plan SET state = 'closed' WHERE id = ?", (plan_id,))
        return
    found = db.execute("SELECT file FROM plan WHERE id = ?", [plan_id])
    drop_plans(db, [plan_id])
    discard(db, [file for (file,) in found])
