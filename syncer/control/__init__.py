"""The control store: runs, plans, batches, parked records. Small, and synced before anything leaves.

SQLite in WAL mode with synchronous=FULL, through apsw because it carries a SQLite of its own: versions up to
3.51.2 can damage a WAL file when two connections checkpoint at the same instant. One connection per process
writes, behind a lock; reading commands open the file read-only.

Or it is on a PostgreSQL server, under the same SQL, and then processes on several machines share it.

`connection` is what the store asks of a database, and `sqlite` and `postgres` (with `server`) are the two that there
are. `locks` and `leases` say which process runs which sync. `schema` holds the tables and their steps, `values` are
what goes in and comes out, `noting` is what there is of the history, `waiting` what waits for somebody or for its time,
`asking` what people ask of the daemon, `telling` what alerts have told, `copying` takes a whole store into another one,
and `store` is the store itself.
"""

from __future__ import annotations

from syncer.control.store import KILLED, Control
from syncer.control.telling import Message, Told
from syncer.control.values import (
    EMPTY,
    Act,
    Append,
    Approval,
    Code,
    HistoryPart,
    Latest,
    LeftBehind,
    Parked,
    Pause,
    PlanFile,
    Refusal,
    Request,
    Run,
    Settled,
    Standing,
    Unnoted,
    answers_text,
    enumerate_new,
)

__all__ = [
    "EMPTY",
    "KILLED",
    "Act",
    "Append",
    "Approval",
    "Code",
    "Control",
    "HistoryPart",
    "Latest",
    "LeftBehind",
    "Message",
    "Parked",
    "Pause",
    "PlanFile",
    "Refusal",
    "Request",
    "Run",
    "Settled",
    "Standing",
    "Told",
    "Unnoted",
    "answers_text",
    "enumerate_new",
]
