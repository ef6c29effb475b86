"""A town whose syncs go wrong in every way, and those who are to hear of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import destinations
from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.orbit import OrbitStandIn
from destinations.standins.server import Server
from syncer.account import Options, Report
from syncer.alerts.watch import Watch, modified_of
from syncer.config import load
from syncer.run import Engine
from syncer.sources import source_of
from tests.standins.hearing import ReceiverStandIn, SlackStandIn
from tests.workplace import Workplace

ROWS = 20
KEY = "canary-key-person"
VALUE = "canary-value-plan"
PEOPLE = """
[[sync]]
name = "NAME"
source = "people"
key = "user_id"
object = "person"
match = { id = "user_id" }
missing = "create"

[sync.fields]
NAME_score = "score"
NAME_plan = { column = "plan", sensitive = true }
"""
MEMBERS = """
[[sync]]
name = "members"
source = "people"
key = "user_id"
object = "member"
match = { email = "email" }
missing = "create"

[sync.fields]
name = "user_id"
"""
NAMES = ("people", "readers", "writers")


class Town(Workplace):
    """Twenty people, three syncs to customer.io and one to Orbit; Slack and a receiver listen."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.customerio, self.orbit = CustomerioStandIn(), OrbitStandIn()
        self.slack, self.receiver = SlackStandIn(), ReceiverStandIn()
        self.clock = time.time()
        self.sql(
            f"CREATE TABLE people AS SELECT '{KEY}-' || i AS user_id, '{KEY}-' || i || '@example.com' AS email, "
            f"i::DOUBLE AS score, '{VALUE}-' || i AS plan FROM range({ROWS}) t(i)"
        )

    def settle(self, alerts: str = "", more: str = "", settings: str = "") -> None:
        """Write the files. Without `alerts`, Slack is told of everything, at once."""
        alerts = alerts or f'[[alerts]]\ntype = "slack"\nurl = "{self.slack.address}"\nwait = "0s"\n'
        self.write(
            {"customerio": self.customerio.settings() + settings, "orbit": self.orbit.settings()},
            {"customerio": "".join(PEOPLE.replace("NAME", name) for name in NAMES), "orbit": MEMBERS},
            f"\n[brakes]\nknown_min = 5\n\n[delivery]\nwait_first = 0.01\nwait_max = 0.02\n{more}\n{alerts}",
        )

    def engine(self) -> Engine:
        """A new process."""
        config = load(self.folder / "config.toml", destinations.adapter, destinations.kinds)
        return Engine(config, source_of(config.source), destinations.adapter, clock=lambda: self.clock)

    @contextlib.contextmanager
    def open(self) -> Iterator[Process]:
        """A new process that looks."""
        process = Process(self)
        try:
            yield process
        finally:
            process.engine.close()

    @contextlib.contextmanager
    def served(self) -> Iterator[Town]:
        """Every service listens."""
        with Server(
            {"/customerio": self.customerio, "/orbit": self.orbit, "/slack": self.slack, "/hook": self.receiver}
        ):
            yield self


class Process:
    """An engine, and a watch over it."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.engine = town.engine()
        self.results: list[tuple[str, str]] = []
        self.watch = Watch(lambda alert, result: self.results.append((alert, result)))

    def run(self, *names: str, release: bool = False) -> list[Report]:
        """Run syncs, all when none is named, and look."""
        found = self.run_unseen(*names, release=release)
        self.look()
        return found

    def run_unseen(self, *names: str, release: bool = False) -> list[Report]:
        """Run syncs."""
        syncs = self.engine.config.choose(names)
        return [self.engine.run(self.engine.prepare(sync), Options(release=release)) for sync in syncs]

    def look(self, broken: str | None = None) -> float | None:
        """Look once."""
        return self.watch.look(self.engine, modified_of(self.engine), broken)
