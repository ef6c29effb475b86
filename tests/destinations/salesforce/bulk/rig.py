"""What every test of bulk jobs needs: an adapter that always starts them, people, and what was asked of the service."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from destinations.salesforce import Salesforce
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Request
from syncer.batches import LargeBatch, leaving
from syncer.change import Alike, Change, Job, Outcome, Value
from syncer.errors import SyncerError
from syncer.mapping import Field, Sync
from syncer.plan import KINDS, Plan, Slot
from syncer.stretch import Stretch
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
            yield from _each(changes, super().push(sync, large))

    def resume(self, sync: Sync, job: str, changes: Sequence[Change]) -> Iterator[Outcome | Job]:
        with stretch(sync, changes) as large:
            yield from _each(changes, super().resume(sync, job, large))


def _each(changes: Sequence[Change], found: Iterator[Outcome | Alike | Job]) -> Iterator[Outcome | Job]:
    for one in found:
        if isinstance(one, Alike):
            yield from (one.outcome._replace(key=changes[place].key) for place in one.places)
        else:
            yield one


@contextmanager
def stretch(sync: Sync, changes: Sequence[Change]) -> Iterator[Stretch]:
    """The changes in a plan's file, as a run would have them."""
    names = list(dict.fromkeys(name for change in changes for name in change.fields))
    slots = tuple(Slot(number, name, "") for number, name in enumerate(names))
    columns: dict[str, list[Any]] = {
        "key": [change.key for change in changes],
        **{f"m{n}": [change.match[name] for change in changes] for n, name in enumerate(sync.match)},
        "_op": [next(op for op, kind in KINDS.items() if kind == change.kind) for change in changes],
        "_mask": [sum(slot.bit for slot in slots if slot.name in change.fields) for change in changes],
        "_sent": [0 for _ in changes],
        "_doubt": [0 for _ in changes],
        "_rescored": [change.rescored for change in changes],
        "_payload": ["" for _ in changes],
        **{slot.column: [_stored(change.fields.get(slot.name)) for change in changes] for slot in slots},
    }
    columns |= {f"b{slot.number}": columns[slot.column] for slot in slots}
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), file.name)
        plan = Plan(sync, Path(file.name), slots, total=len(changes), sendable=len(changes))
        yield LargeBatch(plan, 0, len(changes), leaving(plan))


def _stored(value: Value) -> Value:
    return value.replace(tzinfo=None) if isinstance(value, datetime.datetime) else value


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
