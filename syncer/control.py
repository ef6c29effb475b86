"""The control store: runs, plans, batches, parked records. Small, and synced before anything leaves.

SQLite in WAL mode with synchronous=FULL, through apsw because it carries a SQLite of its own: versions up to
3.51.2 can damage a WAL file when two connections checkpoint at the same instant. One connection per process
writes, behind a lock; reading commands open the file read-only.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import apsw.bestpractice

from syncer.errors import StateDamaged

STEPS = (
    """
    CREATE TABLE sync(id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, identity TEXT NOT NULL,
      base_file TEXT, base_rows INTEGER NOT NULL DEFAULT 0, generation INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE field(sync_id INTEGER NOT NULL, slot INTEGER NOT NULL, name TEXT NOT NULL,
      PRIMARY KEY(sync_id, slot), UNIQUE(sync_id, name)) WITHOUT ROWID;
    CREATE TABLE run(id INTEGER PRIMARY KEY, sync_id INTEGER NOT NULL, started REAL NOT NULL, finished REAL,
      result TEXT NOT NULL, planned INTEGER NOT NULL DEFAULT 0, accepted INTEGER NOT NULL DEFAULT 0,
      rejected INTEGER NOT NULL DEFAULT 0, deferred INTEGER NOT NULL DEFAULT 0, unsent INTEGER NOT NULL DEFAULT 0,
      requests INTEGER NOT NULL DEFAULT 0, digest TEXT, error TEXT, facts TEXT NOT NULL DEFAULT '{}');
    CREATE INDEX run_of_sync ON run(sync_id, id);
    CREATE TABLE plan(id INTEGER PRIMARY KEY, sync_id INTEGER NOT NULL, run_id INTEGER NOT NULL, file TEXT NOT NULL,
      rows INTEGER NOT NULL, sendable INTEGER NOT NULL, state TEXT NOT NULL CHECK(state IN ('open','closed','folded')));
    CREATE INDEX plan_of_sync ON plan(sync_id, id);
    CREATE TABLE batch(plan_id INTEGER NOT NULL, lo INTEGER NOT NULL, hi INTEGER NOT NULL,
      codes BLOB,                 -- one byte per record, see Code; NULL while in flight
      PRIMARY KEY(plan_id, lo)) WITHOUT ROWID;
    CREATE TABLE parked(sync_id INTEGER NOT NULL, key TEXT NOT NULL, payload TEXT NOT NULL, attempts INTEGER NOT NULL,
      first_at REAL NOT NULL, last_at REAL NOT NULL, next_at REAL, code TEXT NOT NULL, message TEXT NOT NULL,
      PRIMARY KEY(sync_id, key)) WITHOUT ROWID;
    CREATE TABLE garbage(file TEXT PRIMARY KEY, since REAL NOT NULL) WITHOUT ROWID;
    """,
    """
    ALTER TABLE run ADD COLUMN released TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE sync ADD COLUMN versions TEXT NOT NULL DEFAULT '[]';
    """,
)
"""Each step takes the schema from one version to the next; the number of steps done is `user_version`."""

RETRY_SECONDS = (3600.0, 4 * 3600.0, 86400.0, 3 * 86400.0, 7 * 86400.0)
"""A parked record with the same values is tried again after these; afterwards only on request."""


class Code:
    """What a byte of a batch says about one record."""

    UNKNOWN = 0
    ACCEPTED = 1
    REJECTED = 2
    DEFERRED = 3
    UNSENT = 255
    """Only in memory: the record is in no batch."""


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan that is part of the state: its file, how many rows, and a code for each."""

    id: int
    file: str
    codes: bytes


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything that says what the state of one sync is, read in one transaction."""

    sync_id: int | None
    identity: str | None
    base_file: str | None
    base_rows: int
    generation: int
    slots: dict[str, int]
    """Field name → slot, for every field that the sync ever had."""
    plans: tuple[PlanFile, ...]
    versions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parked:
    """A rejected record that waits."""

    key: str
    payload: str
    attempts: int
    first_at: float
    last_at: float
    next_at: float | None
    code: str
    message: str


@dataclass(slots=True)
class Run:
    """One line of the journal."""

    id: int
    sync: str
    started: float
    finished: float | None
    result: str
    planned: int
    accepted: int
    rejected: int
    deferred: int
    unsent: int
    requests: int
    digest: str | None
    error: str | None
    facts: dict[str, Any]
    released: list[str]


@dataclass(slots=True)
class Settled:
    """The outcomes of one batch, ready to be remembered."""

    plan_id: int
    lo: int
    codes: bytes
    parked: list[tuple[str, str, str, str]] = field(default_factory=list)
    """(key, payload, code, message) of what was rejected."""
    cleared: list[str] = field(default_factory=list)
    """Keys of what was accepted and had been parked before."""


EMPTY = Standing(None, None, None, 0, 0, {}, (), ())


class Control:
    """The store of one state folder. `open` for a process that writes, `look` for one that only reads."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._lock = threading.RLock()

    @classmethod
    def open(cls, folder: Path) -> Control:
        """Open for writing; makes the folder and the file, and brings an older file to this version.

        Raises StateDamaged when the file is damaged, of a newer version, or cannot be written.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StateDamaged(
                f"The state folder {folder} cannot be made: {error.strerror}. Mend the folder, or write another `state.path`."
            ) from None
        file = folder / "control.db"
        with _sentences(file):
            connection = apsw.Connection(str(file))
            connection.set_busy_timeout(15_000)
            version = connection.pragma("user_version")
            _refuse_newer(file, version)
            connection.pragma("journal_mode", "wal")
            connection.pragma("synchronous", "full")
            connection.pragma("foreign_keys", "on")
            file.chmod(0o600)
            _migrate(connection, file)
            return cls(connection)

    @classmethod
    def look(cls, folder: Path) -> Control | None:
        """Open for reading; None where nothing was ever written. Raises StateDamaged as `open` does."""
        file = folder / "control.db"
        if not file.exists():
            return None
        with _sentences(file):
            connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
            connection.set_busy_timeout(15_000)
            version = connection.pragma("user_version")
            _refuse_newer(file, version)
            if version < len(STEPS):
                # An older file has to be migrated before it can be read; that takes the right to write, briefly.
                connection.close()
                cls.open(folder).close()
                return cls.look(folder)
            return cls(connection)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    # --- the state of a sync ---------------------------------------------------------------------------------

    def standing(self, sync: str) -> Standing:
        """What the state of a sync consists of, in one read transaction."""
        with self._reading() as db:
            row = db.execute(
                "SELECT id, identity, base_file, base_rows, generation, versions FROM sync WHERE name = ?", (sync,)
            ).fetchone()
            if row is None:
                return EMPTY
            sync_id, identity, base_file, base_rows, generation, versions = row
            slots = dict(db.execute("SELECT name, slot FROM field WHERE sync_id = ?", (sync_id,)).fetchall())
            plans = []
            for plan_id, file, rows in db.execute(
                "SELECT id, file, rows FROM plan WHERE sync_id = ? AND state <> 'folded' ORDER BY id", (sync_id,)
            ).fetchall():
                codes = bytearray(b"\xff") * rows
                for lo, hi, known in db.execute("SELECT lo, hi, codes FROM batch WHERE plan_id = ?", (plan_id,)):
                    codes[lo:hi] = known if known is not None else bytes(hi - lo)
                if any(code in codes for code in (Code.UNKNOWN, Code.ACCEPTED)):
                    plans.append(PlanFile(plan_id, file, bytes(codes)))
            return Standing(
                sync_id, identity, base_file, base_rows, generation, slots, tuple(plans), tuple(json.loads(versions))
            )

    def register(self, sync: str, identity: str, fields: Iterable[str]) -> Standing:
        """Make the sync known, with a slot for each field, and return its standing."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO sync(name, identity) VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET identity = excluded.identity",
                (sync, identity),
            )
            sync_id = db.execute("SELECT id FROM sync WHERE name = ?", (sync,)).fetchone()[0]
            slots = dict(db.execute("SELECT name, slot FROM field WHERE sync_id = ?", (sync_id,)).fetchall())
            for slot, field_name in enumerate_new(slots, fields):
                db.execute("INSERT INTO field(sync_id, slot, name) VALUES (?, ?, ?)", (sync_id, slot, field_name))
        return self.standing(sync)

    def fold(self, sync_id: int, base_file: str, base_rows: int, old_base: str | None) -> None:
        """Replace base and closed plans by a new base, in one commit; the old files become garbage.

        The caller holds the sync's lock, so no plan can have been added since the new base was made.
        """
        closed = "sync_id = ? AND state = 'closed'"
        with self._writing() as db:
            db.execute(
                "UPDATE sync SET base_file = ?, base_rows = ?, generation = generation + 1 WHERE id = ?",
                (base_file, base_rows, sync_id),
            )
            gone = [row[0] for row in db.execute(f"SELECT file FROM plan WHERE {closed}", (sync_id,)).fetchall()]
            db.execute(f"DELETE FROM batch WHERE plan_id IN (SELECT id FROM plan WHERE {closed})", (sync_id,))
            db.execute(f"UPDATE plan SET state = 'folded' WHERE {closed}", (sync_id,))
            self._discard(db, [*gone, *([old_base] if old_base else [])])

    def closed_plans(self, sync: str) -> int:
        """How many plans wait to be folded."""
        with self._reading() as db:
            query = "SELECT count(*) FROM plan JOIN sync ON sync.id = sync_id WHERE sync.name = ? AND state = 'closed'"
            return int(db.execute(query, (sync,)).fetchone()[0])

    @staticmethod
    def _discard(db: apsw.Connection, files: Iterable[str]) -> None:
        now = time.time()
        db.executemany("INSERT OR IGNORE INTO garbage(file, since) VALUES (?, ?)", [(file, now) for file in files])

    def forget(self, sync: str) -> list[str]:
        """Drop everything that is known of a sync except its journal; returns the files that nobody needs now."""
        with self._writing() as db:
            row = db.execute("SELECT id, base_file FROM sync WHERE name = ?", (sync,)).fetchone()
            if row is None:
                return []
            sync_id, base_file = row
            files = [found[0] for found in db.execute("SELECT file FROM plan WHERE sync_id = ?", (sync_id,)).fetchall()]
            db.execute("DELETE FROM batch WHERE plan_id IN (SELECT id FROM plan WHERE sync_id = ?)", (sync_id,))
            db.execute("DELETE FROM plan WHERE sync_id = ?", (sync_id,))
            db.execute("DELETE FROM field WHERE sync_id = ?", (sync_id,))
            db.execute("DELETE FROM parked WHERE sync_id = ?", (sync_id,))
            db.execute(
                "UPDATE sync SET identity = '', base_file = NULL, base_rows = 0, generation = generation + 1, versions = '[]' WHERE id = ?",
                (sync_id,),
            )
            files += [base_file] if base_file else []
            self._discard(db, files)
            return files

    def garbage(self, older_than_seconds: float) -> list[str]:
        """Files that nothing refers to any more since that long."""
        with self._reading() as db:
            return [
                row[0]
                for row in db.execute(
                    "SELECT file FROM garbage WHERE since <= ?", (time.time() - older_than_seconds,)
                ).fetchall()
            ]

    def collected(self, files: Iterable[str]) -> None:
        """These garbage files are deleted."""
        with self._writing() as db:
            db.executemany("DELETE FROM garbage WHERE file = ?", [(file,) for file in files])

    def referenced(self, sync: str) -> set[str]:
        """Every file of this sync that the store names in any way."""
        with self._reading() as db:
            found = {row[0] for row in db.execute("SELECT file FROM garbage").fetchall()}
            found |= {
                row[0]
                for row in db.execute(
                    "SELECT file FROM plan JOIN sync ON sync.id = plan.sync_id WHERE sync.name = ? AND state <> 'folded'",
                    (sync,),
                ).fetchall()
            }
            found |= {
                row[0] for row in db.execute("SELECT base_file FROM sync WHERE name = ?", (sync,)).fetchall() if row[0]
            }
            return found

    # --- a run -----------------------------------------------------------------------------------------------

    def begin_run(self, sync: str, identity: str) -> int:
        """Write the run into the journal before it does anything; returns its number."""
        with self._writing() as db:
            db.execute("INSERT INTO sync(name, identity) VALUES (?, ?) ON CONFLICT(name) DO NOTHING", (sync, identity))
            sync_id = db.execute("SELECT id FROM sync WHERE name = ?", (sync,)).fetchone()[0]
            db.execute("INSERT INTO run(sync_id, started, result) VALUES (?, ?, 'running')", (sync_id, time.time()))
            return int(db.last_insert_rowid())

    def begin_plan(
        self, run_id: int, sync_id: int, file: str, rows: int, sendable: int, digest: str, released: Sequence[str]
    ) -> int:
        """Register a plan whose file is durable; nothing of it has left yet."""
        with self._writing() as db:
            db.execute(
                "UPDATE run SET planned = ?, unsent = ?, digest = ?, released = ? WHERE id = ?",
                (sendable, sendable, digest, json.dumps(list(released)), run_id),
            )
            db.execute(
                "INSERT INTO plan(sync_id, run_id, file, rows, sendable, state) VALUES (?, ?, ?, ?, ?, 'open')",
                (sync_id, run_id, file, rows, sendable),
            )
            return int(db.last_insert_rowid())

    def commit(self, sync_id: int, settled: Sequence[Settled], intent: tuple[int, int, int] | None) -> None:
        """One synced commit: what became of finished batches, and which one (plan, lo, hi) leaves next.

        When it fails nothing may be sent: no intent, no send. Raises StateDamaged (a full disk, for instance).
        """
        now = time.time()
        with self._writing() as db:
            for batch in settled:
                db.execute(
                    "UPDATE batch SET codes = ? WHERE plan_id = ? AND lo = ?", (batch.codes, batch.plan_id, batch.lo)
                )
                for key, payload, code, message in batch.parked:
                    self._park(db, sync_id, key, payload, code, message, now)
                db.executemany(
                    "DELETE FROM parked WHERE sync_id = ? AND key = ?", [(sync_id, key) for key in batch.cleared]
                )
            if intent:
                db.execute("INSERT INTO batch(plan_id, lo, hi) VALUES (?, ?, ?)", intent)

    @staticmethod
    def _park(db: apsw.Connection, sync_id: int, key: str, payload: str, code: str, message: str, now: float) -> None:
        row = db.execute(
            "SELECT payload, attempts, first_at FROM parked WHERE sync_id = ? AND key = ?", (sync_id, key)
        ).fetchone()
        same = row is not None and row[0] == payload
        attempts = row[1] + 1 if row is not None and same else 1
        first_at = row[2] if row is not None and same else now
        next_at = now + RETRY_SECONDS[attempts - 1] if attempts <= len(RETRY_SECONDS) else None
        db.execute(
            "INSERT OR REPLACE INTO parked(sync_id, key, payload, attempts, first_at, last_at, next_at, code, message) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (sync_id, key, payload, attempts, first_at, now, next_at, code, message),
        )

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
    ) -> None:
        """Close the run and its plan in the journal. Counts that do not add up make it a failed run."""
        total = counts["accepted"] + counts["rejected"] + counts["deferred"] + counts["unsent"]
        if counts["planned"] != total:
            result, error = (
                "failed",
                f"The counts do not add up: {counts['planned']} planned, {total} accounted for. {error or ''}",
            )
        with self._writing() as db:
            db.execute(
                "UPDATE run SET finished = ?, result = ?, planned = ?, accepted = ?, rejected = ?, deferred = ?, unsent = ?, "
                "requests = ?, error = ?, facts = ? WHERE id = ?",
                (
                    time.time(),
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
            if plan_id is not None:
                db.execute("UPDATE plan SET state = 'closed' WHERE id = ?", (plan_id,))
            if versions is not None:
                db.execute(
                    "UPDATE sync SET versions = ? WHERE id = (SELECT sync_id FROM run WHERE id = ?)",
                    (json.dumps(list(versions)), run_id),
                )

    def recover(self, sync: str) -> None:
        """Close what a killed process left open. Idempotent; the caller holds the sync's lock.

        Batches in flight stay without codes: their records are in doubt. The run is told in the journal with
        counts that add up: what is in doubt counts as deferred, what never left as unsent.
        """
        with self._writing() as db:
            for (run_id,) in db.execute(
                "SELECT run.id FROM run JOIN sync ON sync.id = run.sync_id WHERE sync.name = ? AND run.result = 'running'",
                (sync,),
            ).fetchall():
                planned, counts = 0, [0, 0, 0, 0]
                for plan_id, sendable in db.execute(
                    "SELECT id, sendable FROM plan WHERE run_id = ?", (run_id,)
                ).fetchall():
                    planned += sendable
                    for lo, hi, codes in db.execute(
                        "SELECT lo, hi, codes FROM batch WHERE plan_id = ?", (plan_id,)
                    ).fetchall():
                        for code in range(4):
                            counts[code] += (codes if codes is not None else bytes(hi - lo)).count(code)
                db.execute(
                    "UPDATE run SET finished = ?, result = 'failed', planned = ?, accepted = ?, rejected = ?, deferred = ?, "
                    "unsent = ?, error = ? WHERE id = ?",
                    (
                        time.time(),
                        planned,
                        counts[Code.ACCEPTED],
                        counts[Code.REJECTED],
                        counts[Code.DEFERRED] + counts[Code.UNKNOWN],
                        planned - sum(counts),
                        "The process was killed or lost power in this run; the next run went on from what was known.",
                        run_id,
                    ),
                )
            db.execute(
                "UPDATE plan SET state = 'closed' WHERE state = 'open' AND sync_id = (SELECT id FROM sync WHERE name = ?)",
                (sync,),
            )

    # --- parked records and the journal ------------------------------------------------------------------------

    def parked(self, sync: str) -> list[Parked]:
        """All parked records of a sync, sorted by key."""
        with self._reading() as db:
            return [
                Parked(*row)
                for row in db.execute(
                    "SELECT key, payload, attempts, first_at, last_at, next_at, code, message FROM parked "
                    "JOIN sync ON sync.id = parked.sync_id WHERE sync.name = ? ORDER BY key",
                    (sync,),
                ).fetchall()
            ]

    def unpark(self, sync: str, keys: Sequence[str]) -> None:
        """Forget these rejections: the records have nothing to send any more."""
        with self._writing() as db:
            db.executemany(
                "DELETE FROM parked WHERE key = ? AND sync_id = (SELECT id FROM sync WHERE name = ?)",
                [(key, sync) for key in keys],
            )

    def retry(self, sync: str, keys: Sequence[str] | None) -> int:
        """Let parked records (all, or these) go with the next run; returns how many."""
        with self._writing() as db:
            before = db.total_changes()
            chosen = "" if keys is None else " AND key = ?"
            for key in [None] if keys is None else keys:
                db.execute(
                    f"UPDATE parked SET next_at = 0 WHERE sync_id = (SELECT id FROM sync WHERE name = ?){chosen}",
                    (sync,) if key is None else (sync, key),
                )
            return int(db.total_changes() - before)

    def runs(self, sync: str, limit: int = 1) -> list[Run]:
        """The newest runs of a sync, newest first."""
        with self._reading() as db:
            found = db.execute(
                "SELECT run.id, sync.name, started, finished, result, planned, accepted, rejected, deferred, unsent, requests, "
                "digest, error, facts, released FROM run JOIN sync ON sync.id = run.sync_id WHERE sync.name = ? "
                "ORDER BY run.id DESC LIMIT ?",
                (sync, limit),
            ).fetchall()
            return [Run(*row[:13], json.loads(row[13]), json.loads(row[14])) for row in found]

    # --- transactions --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _writing(self) -> Iterator[apsw.Connection]:
        with self._lock, _sentences(Path(self._connection.filename)):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if not self._connection.get_autocommit():
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        with self._lock, _sentences(Path(self._connection.filename)):
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                if not self._connection.get_autocommit():
                    self._connection.execute("COMMIT")


def enumerate_new(slots: dict[str, int], fields: Iterable[str]) -> list[tuple[int, str]]:
    """(slot, field) for the fields that have none yet; slots are never used twice."""
    fresh = [field_name for field_name in fields if field_name not in slots]
    first = max(slots.values(), default=-1) + 1
    return list(enumerate(fresh, first))


def _migrate(connection: apsw.Connection, file: Path) -> None:
    version = connection.pragma("user_version")
    if 0 < version < len(STEPS):
        # A copy from before, in case somebody has to go back to the older program.
        copy = file.with_name(f"control.db.version-{version}")
        copy.unlink(missing_ok=True)
        connection.execute("VACUUM INTO ?", (str(copy),))
        copy.chmod(0o600)
    connection.execute("BEGIN IMMEDIATE")
    for number in range(connection.pragma("user_version"), len(STEPS)):
        connection.execute(STEPS[number])
        connection.execute(f"PRAGMA user_version = {number + 1}")
    connection.execute("COMMIT")


def _refuse_newer(file: Path, version: Any) -> None:
    if version > len(STEPS):
        raise StateDamaged(
            f"{file} was written by a newer Syncer (format {version}, this one knows {len(STEPS)}). "
            "Use that version, or another `state.path`."
        )


@contextlib.contextmanager
def _sentences(file: Path) -> Iterator[None]:
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
        raise StateDamaged(f"{file} has been busy for 15 s: another process writes to it. Try again.") from None
