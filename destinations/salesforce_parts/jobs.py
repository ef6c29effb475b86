"""What ingest and query jobs of Bulk API 2.0 have in common: they are made, looked at until they end, and aborted.

https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/bulk_api_2_job_states.htm
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from destinations.salesforce_parts.client import Client, Refusal, unreadable
from destinations.salesforce_parts.collections import DECISIONS, Decision
from destinations.salesforce_parts.login import TITLE
from syncer.errors import DestinationUnusable, ServiceUnavailable, Stopping, SyncerError
from syncer.transport import Transport

OPEN = "Open"
FAILED = "Failed"
ABORTED = "Aborted"
ENDS = frozenset({"JobComplete", FAILED, ABORTED})
FIRST_PAUSE_SECONDS = 2.0
PAUSE_SECONDS_MAX = 30.0
JOB = "a bulk job"


class GoneError(Exception):
    """The job cannot be known any more; the service keeps them for seven days."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a job says of itself. `error` may hold people's data."""

    state: str
    operation: str
    key: str
    """The field of an upsert."""
    processed: int
    error: str


@contextmanager
def no_doubt() -> Iterator[None]:
    """For requests before a job is closed: until then nothing is applied, whatever becomes of them."""
    try:
        yield
    except ServiceUnavailable as error:
        raise ServiceUnavailable(str(error), doubt=False) from None
    except Stopping:
        raise Stopping from None


@contextmanager
def in_doubt() -> Iterator[None]:
    """For requests after a job was closed: from then on the service goes on by itself, whatever they are told.

    A destination that cannot be used any more is told as a service that is not there now: the job's records are no
    unsent ones, and the next request for other records will find out about the rest.
    """
    try:
        yield
    except (ServiceUnavailable, DestinationUnusable) as error:
        raise ServiceUnavailable(str(error), doubt=True) from None
    except Stopping:
        raise Stopping(doubt=True) from None


class Jobs:
    """The jobs of one kind. Never ends a job that is at work."""

    def __init__(self, client: Client, transport: Transport, path: str, patience_seconds: float) -> None:
        self.client = client
        self._transport = transport
        self._path = path
        self._patience_seconds = patience_seconds

    def create(self, body: Mapping[str, str], headers: Mapping[str, str] | None = None) -> str:
        """A new job's Id. Raises Refusal, and what the client raises; never in doubt.

        A create that is repeated after its answer was lost leaves a job behind that is empty and never closed.
        """
        with no_doubt():
            answer = self.client.call("POST", self._path, json=dict(body), headers=headers)
        job_id = answer.get("id") if isinstance(answer, dict) else None
        if not (isinstance(job_id, str) and job_id.isascii() and job_id.isalnum()):
            raise unreadable(JOB)
        return job_id

    def look(self, job_id: str) -> Look | None:
        """The job now; None when the answer tells nothing, as a page of somebody in between.

        Raises GoneError, DestinationUnusable, and what the client raises.
        """
        try:
            answer = self.client.call("GET", self.path_of(job_id))
        except Refusal as refusal:
            if refusal.status == 404 and refusal.faults:
                raise GoneError from None
            if refusal.status in (200, 404, 409) or DECISIONS.get(refusal.code) is Decision.AGAIN:
                return None
            raise self.client.unusable(refusal) from None
        return _look(answer)

    def wait(self, job_id: str) -> Look:
        """The job at its end. Raises GoneError; ServiceUnavailable and Stopping, always in doubt."""
        pause, waited = FIRST_PAUSE_SECONDS, 0.0
        with in_doubt():
            while True:
                self._transport.wait(pause)
                look = self.look(job_id)
                if look is not None and look.state in ENDS:
                    return look
                waited += pause
                if waited >= self._patience_seconds:
                    raise ServiceUnavailable(
                        f"{TITLE} has not ended job {job_id} after {waited:,.0f} s. It goes on there, and the next run "
                        "asks for it again; `bulk_patience` says how long a run waits.",
                        doubt=True,
                    )
                pause = min(pause * 2, PAUSE_SECONDS_MAX)

    def abort(self, job_id: str) -> bool:
        """Whether a job that was not closed will never be; whoever aborts one that is at work leaves it half done."""
        try:
            answer = self.client.call("PATCH", self.path_of(job_id), json={"state": ABORTED})
        except Refusal:
            return False
        look = _look(answer)
        return look is not None and look.state == ABORTED

    def path_of(self, job_id: str, *more: str) -> str:
        """The job's address below the version."""
        return "/".join((self._path, job_id, *more))


def refused(client: Client, refusal: Refusal) -> SyncerError:
    """What to raise for a step before the end of a job that was refused."""
    if refusal.status == 200:
        return unreadable(JOB)
    if refusal.status == 409 or DECISIONS.get(refusal.code) is Decision.AGAIN:
        return ServiceUnavailable(f"{TITLE} does not take {JOB} now ({refusal.code}).", doubt=False)
    return client.unusable(refusal)


def _look(answer: Any) -> Look | None:
    if not isinstance(answer, dict) or not isinstance(answer.get("state"), str):
        return None
    processed = answer.get("numberRecordsProcessed")
    return Look(
        state=answer["state"],
        operation=str(answer.get("operation") or ""),
        key=str(answer.get("externalIdFieldName") or ""),
        processed=processed if isinstance(processed, int) else 0,
        error=str(answer.get("errorMessage") or ""),
    )
