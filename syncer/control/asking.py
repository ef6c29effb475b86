"""What people and programs ask of the daemon: runs, pauses, their words about held plans, and the journal of who did.

A request is durable before it is answered, so a kill loses none. Requests of one sync with equal options that still
wait are one request: it asks for one run, however often it was asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from syncer.control.connection import Database, Row, row
from syncer.control.noting import Noting
from syncer.control.values import Act, Latest, Pause, Refusal, Request

ANSWERS_KEPT_SECONDS = 86_400.0
"""How long the answer to an idempotency key is remembered."""
QUEUED_MAX = 100
"""Requests of one sync with different options that may wait at a time."""

_REQUEST = "id, sync, options, by, at, state, run_id, error, ended"


class KeyUsed(Exception):
    """The idempotency key came with another request before."""


class QueueFull(Exception):
    """So many requests of this sync wait already. Its text is a sentence for who asks."""


class Asking(Noting):
    """The daemon's part of the store."""

    _clock: Callable[[], float]

    # --- requests ----------------------------------------------------------------------------------------------

    def ask(
        self,
        sync: str,
        by: str,
        options: Mapping[str, Any],
        idempotency: tuple[str, str] | None = None,
    ) -> dict[str, Any]:
        """Ask for a run, and note who did, in one commit; returns the answer: request, sync, state, coalesced.

        `idempotency` is the key and a digest of the request: within a day the same key gives the same answer and asks
        for nothing. Raises KeyUsed when the digest is another one, and QueueFull.
        """
        with self._writing() as db:
            now = self._clock()
            if idempotency and (known := _answered(db, *idempotency, now - ANSWERS_KEPT_SECONDS)):
                return known
            request_id, is_same = self._queue(db, sync, by, options, now)
            answer = {"request": request_id, "sync": sync, "state": "queued", "coalesced": is_same}
            if idempotency:
                db.execute(
                    "INSERT INTO answered(key, body, answer, at) VALUES (?, ?, ?, ?) ON CONFLICT(key) DO UPDATE SET "
                    "body = excluded.body, answer = excluded.answer, at = excluded.at",
                    (*idempotency, json.dumps(answer), now),
                )
            return answer

    def answered(self, key: str, body: str) -> dict[str, Any] | None:
        """The answer that an idempotency key has got within a day. Raises KeyUsed as `ask` does."""
        with self._reading() as db:
            return _answered(db, key, body, self._clock() - ANSWERS_KEPT_SECONDS)

    def ask_in_vain(self, sync: str, by: str, options: Mapping[str, Any], error: str) -> None:
        """Note a request that is refused, with the sentence that says why."""
        with self._writing() as db:
            now = self._clock()
            text = json.dumps(options, sort_keys=True)
            request_id = self._insert_request(db, sync, text, by, now, "refused", error)
            self._note_act(db, by, "run", sync, {"request": request_id, **options, "refused": error}, now)

    def _queue(self, db: Database, sync: str, by: str, options: Mapping[str, Any], now: float) -> tuple[int, bool]:
        """The request that asks for this, and whether it waited already; notes who asked. Raises QueueFull."""
        text = json.dumps(options, sort_keys=True)
        waiting = db.execute("SELECT id, options FROM request WHERE state = 'queued' AND sync = ?", [sync])
        same = next((request_id for request_id, others in waiting if others == text), None)
        if same is None and len(waiting) >= QUEUED_MAX:
            raise QueueFull(f"{QUEUED_MAX} different requests of {sync} wait already. Ask later.")
        request_id = same or self._insert_request(db, sync, text, by, now, "queued", None)
        self._note_act(db, by, "run", sync, {"request": request_id, **options}, now)
        return request_id, same is not None

    def _insert_request(
        self, db: Database, sync: str, options: str, by: str, now: float, state: str, error: str | None
    ) -> int:
        (found,) = db.execute(
            "INSERT INTO request(sync, options, by, at, state, error, ended) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
            [sync, options, by, now, state, error, None if state == "queued" else now],
        )
        return int(found[0])

    def take_request(self, sync: str) -> Request | None:
        """The oldest request of a sync that waits, which is running from now on."""
        with self._writing() as db:
            found = db.execute(
                "UPDATE request SET state = 'running' WHERE id = (SELECT min(id) FROM request WHERE state = 'queued' "
                f"AND sync = ?) RETURNING {_REQUEST}",
                [sync],
            )
            return _request(found[0]) if found else None

    def end_request(self, request_id: int, state: str, run_id: int | None, error: str | None) -> None:
        """What became of a request: done, held, failed or refused; or queued, when it has to wait again."""
        with self._writing() as db:
            db.execute(
                "UPDATE request SET state = ?, run_id = ?, error = ?, ended = ? WHERE id = ?",
                (state, run_id, error, None if state == "queued" else self._clock(), request_id),
            )

    def request(self, request_id: int) -> Request | None:
        """One request; None when there is none of this number."""
        with self._reading() as db:
            found = row(db, f"SELECT {_REQUEST} FROM request WHERE id = ?", [request_id])
            return _request(found) if found else None

    def waiting(self) -> list[Request]:
        """Every request that is queued or running, the oldest first."""
        with self._reading() as db:
            found = db.execute(f"SELECT {_REQUEST} FROM request WHERE state IN ('queued', 'running') ORDER BY id")
            return [_request(one) for one in found]

    # --- pauses ------------------------------------------------------------------------------------------------

    def pause(self, sync: str, by: str, reason: str = "") -> Pause:
        """Let the daemon leave a sync alone. The first word stands when it is paused already."""
        with self._writing() as db:
            now = self._clock()
            db.execute(
                "INSERT INTO pause(sync, by, at, reason) VALUES (?, ?, ?, ?) ON CONFLICT(sync) DO NOTHING",
                (sync, by, now, reason),
            )
            self._note_act(db, by, "pause", sync, {"reason": reason} if reason else {}, now)
            found = db.execute("SELECT sync, by, at, reason FROM pause WHERE sync = ?", [sync])
            return Pause(*found[0])

    def resume(self, sync: str, by: str) -> bool:
        """Let the daemon run a sync again; says whether it was paused."""
        with self._writing() as db:
            found = db.execute("DELETE FROM pause WHERE sync = ? RETURNING sync", [sync])
            self._note_act(db, by, "resume", sync, {}, self._clock())
            return bool(found)

    def pauses(self) -> dict[str, Pause]:
        """Every sync that is paused."""
        with self._reading() as db:
            return {found[0]: Pause(*found) for found in db.execute("SELECT sync, by, at, reason FROM pause")}

    # --- words about held plans --------------------------------------------------------------------------------

    def refuse(self, run_id: int, by: str, reason: str) -> Refusal | None:
        """Say that the plan which holds since this run is not to pass; None when it is no run's plan that waits.

        It stays held, with who refused it and why. An approval of it that nobody used yet is void.
        """
        with self._writing() as db:
            found = held_plan(db, run_id)
            if found is None:
                return None
            sync_id, name, digest = found
            now = self._clock()
            db.execute(
                "INSERT INTO refusal(sync_id, digest, run_id, by, at, reason) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT(sync_id, digest) DO UPDATE SET run_id = excluded.run_id, by = excluded.by, "
                "at = excluded.at, reason = excluded.reason",
                (sync_id, digest, run_id, by, now, reason),
            )
            db.execute("DELETE FROM approval WHERE sync_id = ? AND digest = ? AND used_by IS NULL", (sync_id, digest))
            self._note_act(db, by, "refuse", name, {"run": str(run_id), "plan": digest, "reason": reason}, now)
            return Refusal(name, run_id, digest, by, now, reason)

    def refusal(self, sync: str, digest: str | None) -> Refusal | None:
        """Who said that this very plan is not to pass."""
        with self._reading() as db:
            found = row(
                db,
                "SELECT sync.name, run_id, digest, by, at, reason FROM refusal JOIN sync ON sync.id = sync_id "
                "WHERE sync.name = ? AND digest = ?",
                [sync, digest],
            )
            return Refusal(*found) if found else None

    # --- the journal -------------------------------------------------------------------------------------------

    def _note_act(self, db: Database, by: str, what: str, sync: str, facts: Mapping[str, Any], now: float) -> None:
        db.execute(
            "INSERT INTO act(at, by, what, sync, facts) VALUES (?, ?, ?, ?, ?)",
            (now, by, what, sync, json.dumps(facts, ensure_ascii=False)),
        )

    def acts(self, limit: int, before: int | None = None, sync: str | None = None) -> list[Act]:
        """What people did, the newest first; `before` is the id of the last one that was seen."""
        where, values = ["1 = 1"], list[Any]()
        for clause, value in (("id < ?", before), ("sync = ?", sync)):
            if value is not None:
                where.append(clause)
                values.append(value)
        with self._reading() as db:
            found = db.execute(
                f"SELECT id, at, by, what, sync, facts FROM act WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?",
                [*values, limit],
            )
            return [Act(one[0], one[1], one[2], one[3], one[4], json.loads(one[5])) for one in found]

    def latest(self) -> dict[str, Latest]:
        """When each sync began last, and was done last; runs of some keys, and what was no sync, do not count."""
        with self._reading() as db:
            found = db.execute(
                "SELECT name, "
                "(SELECT started FROM run WHERE sync_id = sync.id AND is_partial = 0 ORDER BY id DESC LIMIT 1), "
                "(SELECT result FROM run WHERE sync_id = sync.id AND is_partial = 0 ORDER BY id DESC LIMIT 1), "
                "(SELECT finished FROM run WHERE sync_id = sync.id AND is_partial = 0 AND result = 'done' "
                "ORDER BY id DESC LIMIT 1) FROM sync",
            )
            return {
                name: Latest(started, done, result == "running")
                for name, started, result, done in found
                if started is not None
            }

    def prune_asked(self, keep_seconds: float) -> None:
        """Drop requests that ended, and acts, that are older; and answers to idempotency keys that are a day old.

        What waits stays, and so do pauses and words about plans.
        """
        now = self._clock()
        with self._writing() as db:
            db.execute("DELETE FROM request WHERE ended IS NOT NULL AND ended < ?", (now - keep_seconds,))
            db.execute("DELETE FROM act WHERE at < ?", (now - keep_seconds,))
            db.execute("DELETE FROM answered WHERE at < ?", (now - ANSWERS_KEPT_SECONDS,))


def held_plan(db: Database, run_id: int) -> tuple[int, str, str] | None:
    """(sync's number, its name, the plan's digest) of a run that holds a plan; None when it is no such run.

    Only the newest run of a sync counts: an older plan is not what would be sent.
    """
    found = row(
        db,
        "SELECT run.sync_id, sync.name, digest FROM run JOIN sync ON sync.id = run.sync_id "
        "WHERE run.id = ? AND result = 'held' AND digest IS NOT NULL "
        "AND run.id = (SELECT max(id) FROM run AS other WHERE other.sync_id = run.sync_id)",
        [run_id],
    )
    return (int(found[0]), found[1], found[2]) if found else None


def _answered(db: Database, key: str, body: str, since: float) -> dict[str, Any] | None:
    """The answer that this key has got already. Raises KeyUsed when it was for another request."""
    found = row(db, "SELECT body, answer FROM answered WHERE key = ? AND at >= ?", [key, since])
    if found is None:
        return None
    if found[0] != body:
        raise KeyUsed
    answer: dict[str, Any] = json.loads(found[1])
    return answer


def _request(found: Row) -> Request:
    return Request(found[0], found[1], json.loads(found[2]), *found[3:])
