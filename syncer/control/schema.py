"""The tables of the control store, step by step from the first version to this one."""

from __future__ import annotations

from pathlib import Path

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
    """
    -- Nobody reads a plan whose values are in a base; its file is garbage already.
    DELETE FROM plan WHERE state = 'folded';
    """,
    """
    ALTER TABLE batch ADD COLUMN job TEXT;   -- work at the destination that outlives this process; see change.Job
    """,
    """
    -- Who let which held plan pass; each is used once. A saved plan is used once too.
    CREATE TABLE approval(id INTEGER PRIMARY KEY, sync_id INTEGER NOT NULL, run_id INTEGER NOT NULL,
      digest TEXT NOT NULL, by TEXT NOT NULL, at REAL NOT NULL, used_by INTEGER);
    CREATE TABLE used_plan(id TEXT PRIMARY KEY, run_id INTEGER NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
    """,
    """
    -- Rows that are gone from the source and not removed yet, where a sync has a grace: in how many runs in a row.
    CREATE TABLE gone(sync_id INTEGER NOT NULL, key TEXT NOT NULL, runs INTEGER NOT NULL,
      PRIMARY KEY(sync_id, key)) WITHOUT ROWID;
    """,
    """
    ALTER TABLE batch ADD COLUMN settled_at REAL;
    ALTER TABLE batch ADD COLUMN answers TEXT;    -- what was said beside the codes, until the history has it; JSON
    ALTER TABLE batch ADD COLUMN is_noted INTEGER NOT NULL DEFAULT 0;   -- the history has it
    ALTER TABLE sync ADD COLUMN notes INTEGER NOT NULL DEFAULT 0;       -- number of the last note in the history
    CREATE TABLE history(file TEXT PRIMARY KEY, sync_id INTEGER NOT NULL, rows INTEGER NOT NULL,
      oldest REAL NOT NULL, newest REAL NOT NULL, layout TEXT NOT NULL) WITHOUT ROWID;
    """,
    """
    ALTER TABLE sync ADD COLUMN logged INTEGER NOT NULL DEFAULT 0;   -- the last note that the warehouse's log has
    ALTER TABLE sync ADD COLUMN logging TEXT;     -- an append to it that was begun: JSON of its id and its last note
    """,
    """
    -- What people and programs ask of the daemon: runs, pauses, words about held plans; and who asked for what, when.
    CREATE TABLE request(id INTEGER PRIMARY KEY, sync TEXT NOT NULL, options TEXT NOT NULL, by TEXT NOT NULL,
      at REAL NOT NULL, state TEXT NOT NULL, run_id INTEGER, error TEXT, ended REAL);
    CREATE INDEX request_of_state ON request(state, sync, id);
    CREATE TABLE answered(key TEXT PRIMARY KEY, body TEXT NOT NULL, answer TEXT NOT NULL, at REAL NOT NULL);
    CREATE TABLE pause(sync TEXT PRIMARY KEY, by TEXT NOT NULL, at REAL NOT NULL, reason TEXT NOT NULL);
    CREATE TABLE refusal(sync_id INTEGER NOT NULL, digest TEXT NOT NULL, run_id INTEGER NOT NULL, by TEXT NOT NULL,
      at REAL NOT NULL, reason TEXT NOT NULL, PRIMARY KEY(sync_id, digest));
    CREATE TABLE act(id INTEGER PRIMARY KEY, at REAL NOT NULL, by TEXT NOT NULL, what TEXT NOT NULL,
      sync TEXT NOT NULL, facts TEXT NOT NULL);
    CREATE INDEX act_by_time ON act(at);
    ALTER TABLE run ADD COLUMN is_partial INTEGER NOT NULL DEFAULT 0;   -- not the run that a schedule waits for
    """,
    """
    -- Which troubles each alert has told about, and the messages that are still to be delivered.
    CREATE TABLE told(alert TEXT NOT NULL, cause TEXT NOT NULL, since REAL NOT NULL, title TEXT NOT NULL,
      members TEXT NOT NULL, PRIMARY KEY(alert, cause));
    CREATE TABLE message(id TEXT PRIMARY KEY, alert TEXT NOT NULL, made REAL NOT NULL, body TEXT NOT NULL,
      attempts INTEGER NOT NULL, next_at REAL NOT NULL);
    """,
)
"""Each step takes the schema from one version to the next, in the words of SQLite; the number of steps done is the
format of a store."""

SYNC_ID = "(SELECT id FROM sync WHERE name = ?)"
"""In a query: the number of a sync by its name."""


def refuse_newer(store: str, version: int, otherwise: str) -> None:
    """Raises StateDamaged for a store that only a later version of this program understands."""
    if version > len(STEPS):
        raise StateDamaged(
            f"{store} was written by a newer Syncer (format {version}, this one knows {len(STEPS)}). "
            f"Use that version, {otherwise}."
        )


def refuse_orphans(folder: Path, sentence: str) -> None:
    """Raises StateDamaged when remembered values are in the folder; the store that knows what they mean is not there.

    Going on would take every record for new, and throw the values away.
    """
    if next(folder.glob("*/*.parquet"), None):
        raise StateDamaged(f"{sentence}; or delete {folder} to begin anew, which sends everything again.")
