"""A large batch through Bulk API 2.0: one job after the other, each to its end, and what became of each row.

Nothing is applied before a job is closed, so whatever goes wrong earlier is begun anew with another job. From then on
the job goes on by itself: its Id is with the engine, it is never aborted, and only its results say what it did.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from destinations.salesforce_parts.client import Client, Fault, Refusal
from destinations.salesforce_parts.collections import (
    DECISIONS,
    LOCKED,
    Decision,
    Row,
    unmapped,
)
from destinations.salesforce_parts.csv_rows import ID, UnreadableFile, encoded, key_of, unfit
from destinations.salesforce_parts.ingest import Ingest, Kind, Operation, Task
from destinations.salesforce_parts.jobs import ENDS, FAILED, OPEN, GoneError, Look, in_doubt, no_doubt, refused
from destinations.salesforce_parts.login import TITLE
from destinations.salesforce_parts.matching import Matched
from destinations.salesforce_parts.soql import Identifier, id_key
from syncer.change import Change, Job, Outcome, accepted, deferred, rejected
from syncer.errors import DestinationUnusable, ServiceUnavailable
from syncer.mapping import Sync

RECORDS_MAX = 50_000
"""Of a batch: few enough to be held and read back at once, many enough that a job is worth its requests."""
UPLOAD_BYTES_MAX = 100_000_000
WAY = "Bulk API 2.0"
UPLOADS_MAX = 3
"""Jobs that are begun for one file whose upload has no good answer."""
TOO_LARGE = 413
UNKNOWN_FIELD = re.compile(r"InvalidBatch : Field name not found : (\w+)\s*", re.ASCII)
NOT_REACHED = "The job was aborted before it came to this record."
SAYS_NOTHING = "The results of the job say nothing of this record."

Fold: TypeAlias = Callable[[str], str]
"""Makes one text of two that are the same key to the service."""


@dataclass(slots=True)
class Awaited:
    """Rows of a job of which nothing was heard yet: `key` is its column by which they are told apart."""

    job_id: str
    key: str
    fold: Fold
    rows: dict[str, Row]
    """By the folded value of the key column."""


class Bulk:
    """The batches of one destination."""

    def __init__(self, ingest: Ingest, headers: Mapping[str, str]) -> None:
        self._ingest = ingest
        self._client: Client = ingest.client
        self._headers = headers

    def write(self, matched: Matched, identifier: Identifier) -> Iterator[Outcome | Job]:
        """One outcome for each row, and a `Job` before each upload.

        Raises DestinationUnusable after the outcomes that are known; what the client raises is in doubt from the
        moment at which a job was closed.
        """
        ended: list[str] = []
        for task, rows in _tasks(matched, identifier.name):
            fitting = []
            for row in rows:
                reason = unfit(row)
                if reason is None:
                    fitting.append(row)
                else:
                    yield rejected(row.change, *reason)
            fold = fold_id if task.key == ID else identifier.fold
            yield from self._run(task, fitting, fold, ended)

    def resume(
        self,
        sync: Sync,
        text: str,
        changes: Sequence[Change],
        identifier: Identifier,
        updates: Callable[[], Sequence[Row]],
    ) -> Iterator[Outcome]:
        """What became of a batch that another process began. Starts nothing, and ends no job that is at work.

        `updates` gives the rows of the changes whose record is there, for a job that knows them by Id only. Raises
        as `write` does.
        """
        told: set[str] = set()
        is_whole, is_unsent = True, False
        for job_id in json.loads(text)["jobs"]:
            try:
                look = self._taken_up(job_id)
            except GoneError:
                is_whole = False
                continue
            if look is None:
                is_unsent = True
                break
            key = ID if look.operation == "update" else identifier.name
            fold: Fold = fold_id if key == ID else identifier.fold
            if key == identifier.name:
                rows = {fold(one.match[key]): Row(one, sync.object, one.fields) for one in changes}
            else:
                with in_doubt():
                    rows = {fold(row.record_id): row for row in updates()}
            left = {value: row for value, row in rows.items() if row.change.key not in told}
            before = len(left)
            for outcome in self._told(look, Awaited(job_id, key, fold, left)):
                told.add(outcome.key)
                yield outcome
            is_whole &= before - len(left) >= look.processed
        if is_unsent and is_whole:
            for change in changes:
                if change.key not in told:
                    yield deferred(change, "unsent", "The process ended before the record left.")

    def _taken_up(self, job_id: str) -> Look | None:
        """The job at its end; None when it was never closed, and never will be now. Raises GoneError."""
        with in_doubt():
            look = self._ingest.look(job_id)
            if look is not None and look.state == OPEN:
                if self._ingest.abort(job_id):
                    return None
                # It was closed in this very moment, or may not be aborted; then there is no end to wait for.
                look = self._ingest.look(job_id)
                if look is not None and look.state == OPEN:
                    raise GoneError
        return look if look is not None and look.state in ENDS else self._ingest.wait(job_id)

    def _run(self, task: Task, rows: list[Row], fold: Fold, ended: list[str]) -> Iterator[Outcome | Job]:
        """The rows of one task, in one job; in several when one file is too large for the service."""
        pieces = [rows] if rows else []
        uploads = 0
        while pieces:
            piece = pieces.pop()
            job_id = self._created(task)
            yield Job(json.dumps({"jobs": [*ended, job_id]}))
            uploads += 1
            try:
                self._ingest.upload(job_id, encoded(task.key, piece))
            except ServiceUnavailable:
                self._discard(job_id)
                if uploads == UPLOADS_MAX:
                    raise
                pieces.append(piece)
                continue
            except Refusal as refusal:
                self._discard(job_id)
                if refusal.status == TOO_LARGE:
                    if len(piece) == 1:
                        yield rejected(piece[0].change, "too_long", "The record is larger than an upload may be.")
                    else:
                        middle = len(piece) // 2
                        pieces += [piece[middle:], piece[:middle]]
                    uploads = 0
                    continue
                # A repeat of an upload that had arrived is refused, and what has arrived then is not known for sure.
                if refusal.status not in (200, 400, 404, 409) or uploads == UPLOADS_MAX:
                    raise refused(self._client, refusal) from None
                pieces.append(piece)
                continue
            uploads = 0
            yield from self._ended(task, job_id, fold, piece)
            ended.append(job_id)

    def _created(self, task: Task) -> str:
        try:
            return self._ingest.create(task.body(), self._headers)
        except Refusal as refusal:
            raise refused(self._client, refusal) from None

    def _discard(self, job_id: str) -> None:
        """Abort a job that was not closed. If that fails it is litter, and does nothing."""
        with no_doubt():
            self._ingest.abort(job_id)

    def _ended(self, task: Task, job_id: str, fold: Fold, piece: Sequence[Row]) -> Iterator[Outcome]:
        """Close a job that has its file, and tell what became of its rows."""
        rows = {fold(str(key_of(row))): row for row in piece}
        awaited = Awaited(job_id, task.key, fold, rows)
        try:
            self._ingest.close(job_id)
            look = self._ingest.wait(job_id)
        except GoneError:
            yield from _unheard(awaited)
            return
        yield from self._told(look, awaited, is_all=True)

    def _told(self, look: Look, awaited: Awaited, *, is_all: bool = False) -> Iterator[Outcome]:
        """What the files of an ended job say of the rows; those of which they say nothing go on waiting.

        `is_all` says that the job was given these rows and no others, so that those are in doubt.
        """
        stop = yield from self._read(look, awaited)
        if is_all:
            yield from _unheard(awaited)
        if stop is not None:
            raise stop
        field = UNKNOWN_FIELD.fullmatch(look.error) if look.state == FAILED else None
        if field is not None:
            raise DestinationUnusable(
                f"{TITLE} has no field {field[1]} that a bulk job may write, or this user may not see it. Mend the "
                "mapping or the user's field rights; `syncer check` shows which."
            )

    def _read(self, look: Look, awaited: Awaited) -> Generator[Outcome, None, DestinationUnusable | None]:
        stop: DestinationUnusable | None = None
        try:
            for kind, found in self._ingest.results(awaited.job_id, awaited.key):
                row = awaited.rows.pop(awaited.fold(found[awaited.key]), None)
                # A row that nobody waits for is a second one, or not ours.
                if row is not None:
                    outcome, error = self._outcome(row, kind, found, look)
                    stop = stop or error
                    yield outcome
        except (GoneError, UnreadableFile):
            pass  # What was read is true; the rest goes on waiting.
        return stop

    def _outcome(
        self, row: Row, kind: Kind, found: Mapping[str, str], look: Look
    ) -> tuple[Outcome, DestinationUnusable | None]:
        change = row.change
        if kind == "successful":
            return accepted(change), None
        if kind == "unprocessed":
            return deferred(change, "unprocessed", look.error or NOT_REACHED), None
        fault = fault_of(found["sf__Error"])
        if fault.code == LOCKED:
            return deferred(change, fault.code, fault.message, again=row.parent), None
        if fault.code == "ENTITY_IS_DELETED" and row.was_looked_up:
            # Deleted or merged between our look-up and our write: the next look-up knows better.
            return deferred(change, fault.code, fault.message), None
        decision = DECISIONS.get(fault.code)
        if decision is None:
            return rejected(change, fault.code, fault.message), None
        if decision is Decision.AGAIN:
            return deferred(change, fault.code, fault.message), None
        is_field = decision is Decision.FIELD
        error = unmapped(fault, [row]) if is_field else self._client.unusable(Refusal(200, (fault,)))
        return deferred(change, fault.code, fault.message), error


def _tasks(matched: Matched, name: str) -> Iterator[tuple[Task, list[Row]]]:
    """The jobs that a batch of one object needs: what is there already goes first."""
    ways: list[tuple[Operation, str, list[Row]]] = [
        ("update", ID, matched.updates),
        ("upsert", name, matched.upserts),
        ("insert", name, matched.creates),
    ]
    for operation, key, rows in ways:
        if rows:
            yield Task(operation, rows[0].object_name, key), rows


def fold_id(text: str) -> str:
    """An Id in the form that its two spellings share; what is no Id stays as it is."""
    return id_key(text) or text


def fault_of(text: str) -> Fault:
    """The error of `CODE:message:field, field --`, where the message may hold colons and line ends too."""
    found = re.fullmatch(r"(\w{1,80}):(.*):([^:]*?)\s*--\s*", text, re.ASCII | re.DOTALL)
    if found is None:
        code = text.partition(":")[0]
        return Fault(code if re.fullmatch(r"[A-Z_]{1,80}", code) else "UNKNOWN", text, ())
    return Fault(found[1], found[2], tuple(re.findall(r"\w+", found[3])))


def _unheard(awaited: Awaited) -> Iterator[Outcome]:
    for row in awaited.rows.values():
        yield deferred(row.change, "unanswered", SAYS_NOTHING, doubt=True)
