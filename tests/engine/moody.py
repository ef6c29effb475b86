"""A destination with moods, and an engine over a workplace that delivers to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import apsw

from syncer.account import Options, Report
from syncer.change import Change, Job, Outcome, accepted
from syncer.config import Config, load
from syncer.mapping import Sync
from syncer.run import Engine
from syncer.sources import source_of
from syncer.testing import Memory
from tests.workplace import NO_BRAKES, Workplace

ROWS = 50
BATCH = 10
SECRET = "canary-4417"
PEOPLE = """
[[sync]]
name = "people"
source = "people"
key = "user_id"
object = "person"
match = { id = "user_id" }
missing = "create"

[sync.fields]
user = "user_id"
score = "score"
note = { column = "note", sensitive = true }
"""
Push = Callable[["Moody", int, Sequence[Change]], Iterator[Outcome | Job]]


def well(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
    """Takes everything."""
    for change in changes:
        moody.held[change.key] = dict(change.fields)
        yield accepted(change)


class Moody(Memory):
    """A destination whose `mood` decides what becomes of each batch; batches are numbered from 0."""

    mood: ClassVar[Push] = staticmethod(well)
    held: ClassVar[dict[str, Any]] = {}
    batches: ClassVar[list[int]] = []

    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome | Job]:
        number = len(self.batches)
        self.batches.append(len(changes))
        yield from self.mood(self, number, changes)


class Stage:
    """An engine over a workplace, and a destination with moods."""

    def __init__(self, folder: Path, more: str = "", adapter: type[Moody] = Moody, mapping: str = PEOPLE) -> None:
        self.workplace = Workplace(folder)
        settings = f"batch = {BATCH}\nin_flight = 1\n"
        self.workplace.write({"memory": settings}, {"memory": mapping}, NO_BRAKES + more)
        self.workplace.sql(
            f"CREATE TABLE people AS SELECT 'u' || i AS user_id, i / 2 AS score, '{SECRET}-' || i AS note "
            f"FROM range({ROWS}) t(i)"
        )
        self.adapter = type("Mine", (adapter,), {"held": {}, "batches": []})
        self.stop = threading.Event()
        self.restart()

    def restart(self) -> None:
        """Another process over the same files, as they are now."""
        config = self.load()
        self.engine = Engine(config, source_of(config.source), lambda kind: self.adapter, self.stop)

    def load(self) -> Config:
        """The files as they are now."""
        return load(self.workplace.folder / "config.toml", lambda kind: self.adapter, lambda: ("memory",))

    def run(self, mood: Push = well, **options: Any) -> Report:
        self.adapter.mood = staticmethod(mood)
        self.adapter.batches.clear()
        return self.engine.run(self.engine.prepare(self.engine.config.syncs[0]), Options(**options))

    def query(self, text: str) -> list[tuple[Any, ...]]:
        connection = apsw.Connection(str(self.workplace.state / "control.db"), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return connection.execute(text).fetchall()
        finally:
            connection.close()
