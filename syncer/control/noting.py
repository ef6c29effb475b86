"""What the control store knows of the history: what it does not have yet, and the files that it consists of.

A settled batch is *noted* once its outcomes are in a file of the history. Until then its plan is kept, whatever else
became of it, so that a process that dies in between loses nothing; file and mark are one commit, so that nothing is
noted twice.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager

from syncer.control.connection import Connection, Database, Fence, row
from syncer.control.values import Append, Code, HistoryPart, Landed, Unnoted


class Noting:
    """The history's part of the store, and the transactions that all of it uses."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._fence: Fence | None = None

    def unnoted(self, sync: str) -> list[Unnoted]:
        """What the history does not have yet, plan by plan, the oldest first.

        A batch that a job may still tell of is left for later.
        """
        with self._reading() as db:
            plans = db.execute(
                "SELECT plan.id, run_id, file, plan.rows, sendable, identity, run.started, run.facts FROM plan "
                "JOIN sync ON sync.id = plan.sync_id LEFT JOIN run ON run.id = run_id "
                "WHERE sync.name = ? AND state = 'closed' ORDER BY plan.id",
                [sync],
            )
            found = []
            for plan_id, run_id, file, number, sendable, identity, started, facts in plans:
                batches = tuple(_landed(db, plan_id, started or time.time()))
                if batches:
                    trigger = json.loads(facts or "{}").get("trigger") or ""
                    found.append(Unnoted(plan_id, run_id, file, number, trigger, sendable == 0, identity, batches))
            return found

    def next_note(self, sync: str) -> int:
        """The number of the next note, for whoever holds the sync."""
        with self._reading() as db:
            found = row(db, "SELECT notes FROM sync WHERE name = ?", [sync])
            return (int(found[0]) if found else 0) + 1

    def noted(self, sync: str, plan: Unnoted, part: HistoryPart | None) -> None:
        """The history has these batches now, in a file that is durable (none, where no history is kept).

        One commit. A plan that was kept for the history only is let go of.
        """
        with self._writing() as db:
            if part is not None:
                db.execute("UPDATE sync SET notes = notes + 1 WHERE name = ?", (sync,))
                _insert(db, sync, part)
            db.executemany(
                "UPDATE batch SET is_noted = 1, answers = NULL WHERE plan_id = ? AND lo = ?",
                [(plan.plan_id, batch.lo) for batch in plan.batches],
            )
            found = db.execute("SELECT codes FROM batch WHERE plan_id = ?", [plan.plan_id])
            if not any(codes is None or has_weight(codes) for (codes,) in found):
                drop_plans(db, [plan.plan_id])
                discard(db, [plan.file])

    def history(self, sync: str) -> list[HistoryPart]:
        """The files of a sync's history, the oldest first."""
        with self._reading() as db:
            found = db.execute(
                "SELECT file, history.rows, oldest, newest, layout FROM history JOIN sync ON sync.id = sync_id "
                "WHERE sync.name = ? ORDER BY newest, file",
                [sync],
            )
            return [HistoryPart(*one) for one in found]

    def rewrite_history(self, sync: str, old: Sequence[str], new: HistoryPart | None) -> None:
        """Put one durable file in the place of others, or nothing, in one commit; the old ones become garbage."""
        with self._writing() as db:
            db.executemany("DELETE FROM history WHERE file = ?", [(file,) for file in old])
            if new is not None:
                _insert(db, sync, new)
            discard(db, old)

    def next_append(self, sync: str) -> Append | None:
        """What the warehouse's log does not have yet: first what was begun and never ended, as it was begun.

        It is begun when this returns, durably: whoever repeats it can tell whether it had arrived.
        """
        with self._writing() as db:
            found = row(db, "SELECT logged, logging, notes FROM sync WHERE name = ?", [sync])
            if found is None:
                return None
            logged, begun, notes = found
            if begun:
                name, upto = json.loads(begun)
                return Append(name, logged, upto, is_begun=True)
            if notes <= logged:
                return None
            name = uuid.uuid4().hex
            db.execute("UPDATE sync SET logging = ? WHERE name = ?", (json.dumps([name, notes]), sync))
            return Append(name, logged, notes)

    def appended(self, sync: str, append: Append) -> None:
        """The warehouse's log has these notes now."""
        with self._writing() as db:
            db.execute("UPDATE sync SET logged = ?, logging = NULL WHERE name = ?", (append.upto, sync))

    def withdraw_append(self, sync: str) -> None:
        """What was begun has certainly not arrived, and need not be repeated as it was."""
        with self._writing() as db:
            db.execute("UPDATE sync SET logging = NULL WHERE name = ?", (sync,))

    # --- transactions ------------------------------------------------------------------------------------------

    def _writing(self) -> AbstractContextManager[Database]:
        return self._connection.writing(self._fence)

    def _reading(self) -> AbstractContextManager[Database]:
        return self._connection.reading()


def is_to_be_noted(db: Database, plan_id: int) -> bool:
    """Whether a plan has refusals that the history does not have yet. What was accepted keeps it anyway."""
    found = db.execute("SELECT codes FROM batch WHERE plan_id = ? AND codes IS NOT NULL AND is_noted = 0", [plan_id])
    return any(Code.REJECTED in codes for (codes,) in found)


def has_weight(codes: bytes | bytearray) -> bool:
    """Whether anything of a plan is part of the state: something was accepted, or nobody knows."""
    return Code.UNKNOWN in codes or Code.ACCEPTED in codes


def drop_plans(db: Database, plan_ids: Iterable[int]) -> None:
    """Forget plans and their batches."""
    doomed = [(plan_id,) for plan_id in plan_ids]
    db.executemany("DELETE FROM batch WHERE plan_id = ?", doomed)
    db.executemany("DELETE FROM plan WHERE id = ?", doomed)


def discard(db: Database, files: Iterable[str]) -> None:
    """These files are garbage from now on; they are deleted when no reader can need them any more."""
    now = time.time()
    db.executemany(
        "INSERT INTO garbage(file, since) VALUES (?, ?) ON CONFLICT DO NOTHING", [(file, now) for file in files]
    )


def _landed(db: Database, plan_id: int, started: float) -> Iterator[Landed]:
    for lo, codes, at, answers, job in db.execute(
        "SELECT lo, codes, settled_at, answers, job FROM batch "
        "WHERE plan_id = ? AND codes IS NOT NULL AND is_noted = 0 ORDER BY lo",
        [plan_id],
    ):
        if job is not None and Code.UNKNOWN in codes:
            continue
        if Code.ACCEPTED in codes or Code.REJECTED in codes:
            rejections, requests = json.loads(answers) if answers else ([], [])
            # A batch of before there was a history has no time of its own.
            yield Landed(
                lo, codes, at or started, tuple(map(tuple, rejections)), tuple((place, one) for place, one in requests)
            )


def _insert(db: Database, sync: str, part: HistoryPart) -> None:
    db.execute(
        "INSERT INTO history(file, sync_id, rows, oldest, newest, layout) "
        "SELECT ?, id, ?, ?, ?, ? FROM sync WHERE name = ?",
        (part.file, part.rows, part.oldest, part.newest, part.layout, sync),
    )
