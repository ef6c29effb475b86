"""What every test of bulk jobs needs: an adapter that always starts them, people, and what was asked of the service."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from destinations.salesforce import Salesforce
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Request
from syncer.change import Alike, Change, Job, Outcome
from syncer.errors import SyncerError
from syncer.mapping import Field, Sync
from syncer.testing.stretches import each, stretch
from tests.destinations.salesforce.rig import (
    SCORE,
    a_change,
    results,
    sent,
)

TITLE = Field(name="Title", column="title", type="text")
NAME = Field(name="LastName", column="name", type="text")
BOTH = (SCORE, TITLE, NAME)
CREATING: dict[str, Any] = {"missing": "create", "fields": BOTH}


class Bulky(Salesforce):
    """Sends every batch as jobs, also those that would be too small for it."""

    collections_max: ClassVar[int] = 0


class Stretched(Bulky):
    """Gets every batch as one that is too large to be held; what is alike is told of each change."""

    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome | Job]:
        with stretch(sync, changes) as large:
            yield from each(changes, super().push(sync, large))

    def resume(self, sync: Sync, job: str, changes: Sequence[Change]) -> Iterator[Outcome | Job]:
        with stretch(sync, changes) as large:
            yield from each(changes, super().resume(sync, job, large))


class Pushed:
    """What a batch yielded until it ended, and the error that ended it."""

    def __init__(self, found: Iterator[Outcome | Alike | Job]) -> None:
        self.outcomes: list[Outcome] = []
        self.jobs: list[str] = []
        self.error: SyncerError | None = None
        try:
            for one in found:
                if isinstance(one, Job):
                    self.jobs.append(one.text)
                else:
                    assert isinstance(one, Outcome)
                    self.outcomes.append(one)
        except SyncerError as error:
            self.error = error
        keys = [outcome.key for outcome in self.outcomes]

        assert sorted(set(keys)) == sorted(keys)

    @property
    def results(self) -> dict[str, str]:
        return results(self.outcomes)

    @property
    def doubts(self) -> dict[str, bool]:
        return {outcome.key: outcome.doubt for outcome in self.outcomes}


def steps(standin: SalesforceStandIn) -> list[str]:
    """The requests about jobs so far, as words."""
    found = []
    for exchange in standin.log:
        request = exchange.request
        if "/jobs/ingest" not in request.path:
            continue
        match request.method:
            case "POST":
                found.append(f"create {request.json()['operation']}")
            case "PUT":
                found.append("upload")
            case "PATCH":
                found.append(request.json()["state"])
            case _:
                last = request.parts[-1]
                found.append("look" if last.startswith("750") else last)
    return found


def is_step(name: str) -> Callable[[Request], bool]:
    """Picks the requests that do this step of an ingest job."""

    def when(request: Request) -> bool:
        if "/jobs/ingest" not in request.path:
            return False
        last = request.parts[-1]
        return {
            "create": request.method == "POST",
            "upload": request.method == "PUT",
            "close": request.method == "PATCH" and b"UploadComplete" in request.body,
            "look": request.method == "GET" and last.startswith("750"),
        }.get(name, last == name)

    return when


RESULTS = ["successfulResults", "failedResults", "unprocessedrecords"]
STEPS = ["create", "upload", "close", "look", *RESULTS]
WHOLE_JOB = ["upload", "UploadComplete", "look", "look", *RESULTS]


def uploads(standin: SalesforceStandIn) -> list[str]:
    return [request.body.decode() for request in sent(standin, "PUT", "/batches")]


def accepted(changes: Sequence[Change]) -> dict[str, str]:
    return {change.key: "accepted" for change in changes}


def people(count: int) -> list[Change]:
    """New people by their address, as a nightly run has them."""
    return [
        a_change(f"u_{n}", {"Email": f"p{n}@example.com"}, "new", LastName=f"P {n}", Title=f"T {n}")
        for n in range(count)
    ]
