"""A large batch through Bulk API 2.0: one job after the other, each to its end, and what became of each row.

Nothing is applied before a job is closed, so whatever goes wrong earlier is begun anew with another job. From then on
the job goes on by itself: its Id is with the engine, it is never aborted, and only its results say what it did.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

from destinations.salesforce_parts.client import Client, Fault, Refusal
from destinations.salesforce_parts.collections import (
    DECISIONS,
    LOCKED,
    Decision,
    Row,
    unmapped,
)
from destinations.salesforce_parts.csv_rows import ID, UnreadableFile, unfit
from destinations.salesforce_parts.ingest import Ingest, Kind, Operation, Task
from destinations.salesforce_parts.jobs import ENDS, FAILED, OPEN, GoneError, Look, in_doubt, no_doubt, refused
from destinations.salesforce_parts.loads import Awaited, HeldLoad, HeldTold, Load, Told, fold_id
from destinations.salesforce_parts.login import TITLE
from destinations.salesforce_parts.matching import Matched
from destinations.salesforce_parts.soql import Identifier
from syncer.change import Alike, Change, Job, Outcome, deferred, rejected
from syncer.errors import DestinationUnusable, ServiceUnavailable
from syncer.mapping import Sync
from syncer.scratch import Scratch
from syncer.stretch import Stretch

RECORDS_MAX = 50_000
"""Of a batch whose rows are held: few enough for that, many enough that a job is worth its requests."""
STRETCH_MAX = 2_000_000
"""Of one whose rows are not: folded keys, a byte for each, and the Ids where they were looked up, are in memory."""
UPLOAD_BYTES_MAX = 100_000_000
WAY = "Bulk API 2.0"
UPLOADS_MAX = 3
"""Jobs that are begun for one file whose upload has no good answer."""
TOO_LARGE = 413
UNKNOWN_FIELD = re.compile(r"InvalidBatch : Field name not found : (\w+)\s*", re.ASCII)
NOT_REACHED = "The job was aborted before it came to this record."
UNHEARD = Outcome("", "deferred", "unanswered", "The results of the job say nothing of this record.", doubt=True)


class Bulk:
    """The batches of one destination."""

    def __init__(self, ingest: Ingest, headers: Mapping[str, str], scratch: Scratch) -> None:
        self._ingest = ingest
        self._client: Client = ingest.client
        self._headers = headers
        self._scratch = scratch

    def write(self, matched: Matched, identifier: Identifier, ended: list[str]) -> Iterator[Outcome | Alike | Job]:
        """One outcome for each row, and a `Job` before each upload.

        `ended` are the Ids of the batch's jobs so far, which these join. Raises DestinationUnusable after the outcomes
        that are known; what the client raises is in doubt from the moment at which a job was closed.
        """
        for task, rows in _tasks(matched, identifier.name):
            fitting = []
            for row in rows:
                reason = unfit(row)
                if reason is None:
                    fitting.append(row)
                else:
                    yield rejected(row.change, *reason)
            fold = fold_id if task.key == ID else identifier.fold
            yield from self.run(HeldLoad(task, fitting, fold), ended)

    def resume(
        self,
        sync: Sync,
        text: str,
        changes: Sequence[Change],
        identifier: Identifier,
        updates: Callable[[], Sequence[Row]],
    ) -> Iterator[Outcome | Alike]:
        """What became of a batch that another process began. Starts nothing, and ends no job that is at work.

        `updates` gives the rows of the changes whose record is there, for a job that knows them by Id only. Raises
        as `write` does.
        """
        told = _told(sync, changes, identifier)
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
            if look.operation != "update" or identifier.name == ID:
                awaited = told.by_match()
            else:
                with in_doubt():
                    awaited = told.by_id(updates())
            before = awaited.left
            for outcome in self._told(look, job_id, awaited):
                told.add(outcome)
                yield outcome
            is_whole &= before - awaited.left >= look.processed
        if is_unsent and is_whole:
            yield from told.rest(Outcome("", "deferred", "unsent", "The process ended before the record left."))

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

    def run(self, load: Load, ended: list[str]) -> Iterator[Outcome | Alike | Job]:
        """What one job is to do, in several when one file is too large for the service. As `write`."""
        pieces = [load] if len(load) else []
        uploads = 0
        while pieces:
            piece = pieces.pop()
            with self._scratch.file(piece.content(self._scratch)) as file:
                job_id = self._created(piece.task)
                yield Job(json.dumps({"jobs": [*ended, job_id]}))
                uploads += 1
                try:
                    self._ingest.upload(job_id, file)
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
                            yield rejected(piece.first(), "too_long", "The record is larger than an upload may be.")
                        else:
                            pieces += piece.halves()
                        uploads = 0
                        continue
                    # A repeat of an upload that had arrived is refused, and what has arrived is not known for sure.
                    if refusal.status not in (200, 400, 404, 409) or uploads == UPLOADS_MAX:
                        raise refused(self._client, refusal) from None
                    pieces.append(piece)
                    continue
            uploads = 0
            yield from self._ended(job_id, piece.awaited())
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

    def _ended(self, job_id: str, awaited: Awaited) -> Iterator[Outcome | Alike]:
        """Close a job that has its file, and tell what became of its rows."""
        try:
            self._ingest.close(job_id)
            look = self._ingest.wait(job_id)
        except GoneError:
            yield from awaited.rest(UNHEARD)
            return
        yield from self._told(look, job_id, awaited, is_all=True)

    def _told(self, look: Look, job_id: str, awaited: Awaited, *, is_all: bool = False) -> Iterator[Outcome | Alike]:
        """What the files of an ended job say of the rows; those of which they say nothing go on waiting.

        `is_all` says that the job was given these rows and no others, so that those are in doubt.
        """
        stop = yield from self._read(look, job_id, awaited)
        if is_all:
            yield from awaited.rest(UNHEARD)
        if stop is not None:
            raise stop
        field = UNKNOWN_FIELD.fullmatch(look.error) if look.state == FAILED else None
        if field is not None:
            raise DestinationUnusable(
                f"{TITLE} has no field {field[1]} that a bulk job may write, or this user may not see it. Mend the "
                "mapping or the user's field rights; `syncer check` shows which."
            )

    def _read(
        self, look: Look, job_id: str, awaited: Awaited
    ) -> Generator[Outcome | Alike, None, DestinationUnusable | None]:
        stop: DestinationUnusable | None = None
        same: Mapping[Kind, Outcome] = {
            "successful": Outcome("", "accepted"),
            "unprocessed": Outcome("", "deferred", "unprocessed", look.error or NOT_REACHED),
        }
        try:
            for kind, file in self._ingest.results(job_id):
                for found in awaited.told(kind, file, same.get(kind)):
                    if isinstance(found, Outcome | Alike):
                        yield found
                    else:
                        outcome, error = self._refused(*found)
                        stop = stop or error
                        yield outcome
        except (GoneError, UnreadableFile):
            pass  # What was read is true; the rest goes on waiting.
        return stop

    def _refused(self, row: Row, text: str) -> tuple[Outcome, DestinationUnusable | None]:
        change, fault = row.change, fault_of(text)
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


def fault_of(text: str) -> Fault:
    """The error of `CODE:message:field, field --`, where the message may hold colons and line ends too."""
    found = re.fullmatch(r"(\w{1,80}):(.*):([^:]*?)\s*--\s*", text, re.ASCII | re.DOTALL)
    if found is None:
        code = text.partition(":")[0]
        return Fault(code if re.fullmatch(r"[A-Z_]{1,80}", code) else "UNKNOWN", text, ())
    return Fault(found[1], found[2], tuple(re.findall(r"\w+", found[3])))


def _told(sync: Sync, changes: Sequence[Change], identifier: Identifier) -> Told:
    if not isinstance(changes, Stretch):
        return HeldTold(sync, identifier, changes)
    from destinations.salesforce_parts.stretches import StretchTold  # Arrow takes time to load, and few need it.

    return StretchTold.of(sync, identifier, changes)
