"""The steps of an ingest job that query jobs do not have: upload, close, and three files of results.

The vendor's library has them too, but it aborts a job that is at work when a look at it goes wrong, keeps the job's
Id to itself, and cannot clear a field.
https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/bulk_api_2_0.htm
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Literal

from destinations.salesforce_parts.client import Client, Refusal, Table
from destinations.salesforce_parts.csv_rows import UnreadableFile
from destinations.salesforce_parts.jobs import OPEN, GoneError, Jobs, in_doubt, no_doubt, refused
from syncer.errors import ServiceUnavailable
from syncer.transport import Transport

Operation = Literal["insert", "update", "upsert"]
Kind = Literal["successful", "failed", "unprocessed"]

FILES: Mapping[Kind, str] = {
    "successful": "successfulResults",
    "failed": "failedResults",
    "unprocessed": "unprocessedrecords",
}
"""Kind of result → its file's name."""
ERROR = "sf__Error"
NEEDED: Mapping[Kind, tuple[str, ...]] = {"successful": ("sf__Id",), "failed": (ERROR,), "unprocessed": ()}
"""Kind of result → the columns that are not ours."""

REQUESTS_MIN = 4 + len(FILES)
"""What a job costs at least: create, upload, close, one look, and the files."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a job is to do; `key` is the column by which rows are told apart."""

    operation: Operation
    object_name: str
    key: str

    def body(self) -> dict[str, str]:
        """The request that makes the job."""
        named = {"externalIdFieldName": self.key} if self.operation == "upsert" else {}
        facts = {"object": self.object_name, "operation": self.operation}
        return facts | named | {"contentType": "CSV", "lineEnding": "LF", "columnDelimiter": "COMMA"}


class Ingest(Jobs):
    """Ingest jobs of one destination."""

    def __init__(self, client: Client, transport: Transport, patience_seconds: float) -> None:
        super().__init__(client, transport, "jobs/ingest", patience_seconds)

    def upload(self, job_id: str, file: BinaryIO) -> None:
        """Give the job its file, which it takes once.

        Raises Refusal, also for a repeat of an upload that had arrived, and what the client raises; never in doubt.
        """
        with no_doubt():
            self.client.upload(self.path_of(job_id, "batches"), file)

    def close(self, job_id: str) -> None:
        """Let the job begin. From here on the service works by itself.

        Raises GoneError, DestinationUnusable when it did not begin, and what the client raises.
        """
        try:
            self.client.call("PATCH", self.path_of(job_id), json={"state": "UploadComplete"})
        except Refusal as refusal:
            # A repeat of a close that had arrived is refused too, so only the job itself knows.
            with in_doubt():
                look = self.look(job_id)
            if look is None:
                raise ServiceUnavailable(str(refused(self.client, refusal)), doubt=True) from None
            if look.state == OPEN:
                raise refused(self.client, refusal) from None

    def results(self, job_id: str) -> Iterator[tuple[Kind, BinaryIO]]:
        """The three files, in no order of their rows; each is closed when the next one is asked for.

        Raises GoneError, UnreadableFile; ServiceUnavailable and Stopping, always in doubt.
        """
        for kind, name in FILES.items():
            locator = ""
            while True:
                try:
                    with in_doubt():
                        piece = self._piece(job_id, name, locator)
                except Refusal as refusal:
                    raise UnreadableFile from refusal
                with piece.content:
                    yield kind, piece.content
                # No document says whether files of ingest jobs come in pieces; a locator that stands still is none.
                if piece.locator in ("", locator):
                    break
                locator = piece.locator

    def _piece(self, job_id: str, name: str, locator: str) -> Table:
        params = {"locator": locator} if locator else {}
        try:
            return self.client.table(self.path_of(job_id, name), **params)
        except Refusal as refusal:
            if refusal.status == 404 and refusal.faults:
                raise GoneError from None
            if refusal.status in (200, 400, 404, 409):
                raise
            raise self.client.unusable(refusal) from None
