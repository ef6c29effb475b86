"""What goes into the control store and comes out of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


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


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody's word that exactly this plan may be sent, once."""

    id: int
    sync: str
    run: int
    digest: str
    by: str
    at: float
    request: int | None = None
    """The run that was asked for with it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Somebody's word that a held plan is not to pass."""

    sync: str
    run: int
    digest: str
    by: str
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Request:
    """A run that somebody asked the daemon for. State is queued, running, done, held, failed or refused; `run` is there
    as soon as one has begun."""

    id: int
    sync: str
    options: dict[str, Any]
    by: str
    at: float
    state: str
    run: int | None
    error: str | None
    ended: float | None


@dataclass(frozen=True, slots=True)
class Pause:
    """A sync that the daemon leaves alone until somebody resumes it."""

    sync: str
    by: str
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody did: asked for a run, paused, approved. `facts` say the rest, without any value of a record."""

    id: int
    at: float
    by: str
    what: str
    sync: str
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Latest:
    """When a sync began last, and when a run of it was last done; seconds since 1970."""

    started: float
    done: float | None
    is_open: bool = False
    """It has not ended yet; when nobody holds the sync, it ended with its process."""


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
    is_over: bool = True
    """Whether the batch is done with, and a job of it needs no more looking after."""
    answers: str | None = None
    """What the history is to have beside the codes; see `answers_text`."""


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """A batch that a process left in flight while the destination worked on it by itself."""

    plan_id: int
    run_id: int
    file: str
    lo: int
    hi: int
    codes: bytes
    job: str


@dataclass(frozen=True, slots=True)
class Landed:
    """A settled batch that the history does not have yet."""

    lo: int
    codes: bytes
    at: float
    """Seconds since 1970 at which its outcomes were remembered."""
    rejections: tuple[tuple[int, str, str], ...]
    """(row in the batch, code, message)."""
    requests: tuple[tuple[int, str], ...]
    """(row in the batch, the service's id of the request): it holds from that row on to the next one."""


@dataclass(frozen=True, slots=True)
class Unnoted:
    """A plan with settled batches that the history does not have yet."""

    plan_id: int
    run_id: int
    file: str
    rows: int
    trigger: str
    is_found: bool
    """What it says was read at the destination, and not sent there."""
    identity: str
    """How its records are keyed and found."""
    batches: tuple[Landed, ...]


@dataclass(frozen=True, slots=True)
class HistoryPart:
    """One file of a sync's history; times are seconds since 1970."""

    file: str
    rows: int
    oldest: float
    newest: float
    layout: str
    """Which fields it has, as `syncer.history` writes it; files of one layout have the same columns."""


@dataclass(frozen=True, slots=True)
class Append:
    """Notes of the history that go to the warehouse's log together; `after` is the last one that is there already."""

    id: str
    after: int
    upto: int
    is_begun: bool = False
    """It was begun before, and nobody knows whether it arrived."""


def answers_text(rejections: Sequence[tuple[int, str, str]], requests: Sequence[tuple[int, str]]) -> str | None:
    """What the history needs to know of a batch beside its codes, as it is kept until then."""
    if not rejections and not requests:
        return None
    return json.dumps([rejections, requests], ensure_ascii=False)


EMPTY = Standing(None, None, None, 0, 0, {}, (), ())


def enumerate_new(slots: dict[str, int], fields: Iterable[str]) -> list[tuple[int, str]]:
    """(slot, field) for the fields that have none yet; slots are never used twice."""
    fresh = [field_name for field_name in fields if field_name not in slots]
    first = max(slots.values(), default=-1) + 1
    return list(enumerate(fresh, first))
