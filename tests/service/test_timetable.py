"""Which syncs are due: by clock, by others, in quiet hours, paused, and after a time in which nobody watched."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from syncer.control import Latest
from syncer.schedule import Schedule
from syncer.service.timetable import Timetable

HOUR = 3600.0
MONDAY = datetime.datetime(2026, 3, 2, 12, 0, tzinfo=datetime.UTC).timestamp()


class Clock:
    """A timetable, and the syncs that are due as hours go by."""

    def __init__(self, schedules: Mapping[str, Schedule], latest: Mapping[str, Latest] | None = None) -> None:
        syncs = [SimpleNamespace(name=name, schedule=schedule) for name, schedule in schedules.items()]
        self.holder: str | None = None
        control = SimpleNamespace(holder=lambda _: self.holder, latest=lambda: self.latest)
        self.engine: Any = SimpleNamespace(
            config=SimpleNamespace(syncs=syncs, schedule=Schedule()), control=lambda: control
        )
        self.latest = dict(latest or {})
        self.now = MONDAY
        self._timetable = Timetable()

    def due(self, hours: float = 0.0, paused: Collection[str] = ()) -> list[str]:
        """What is due so many hours later."""
        self.now += hours * HOUR
        return [one.sync for one in self._timetable.due(self.engine, self.latest, paused, self.now)]

    def ran(self, name: str, *, is_done: bool = True) -> None:
        """A run began and ended just now."""
        before = self.latest.get(name)
        self.latest[name] = Latest(self.now, self.now if is_done else before.done if before else None)


def test_a_span_begins_at_once_and_counts_from_the_last_start() -> None:
    """A daemon that is restarted often still runs, and does not run again for it."""
    clock = Clock({"a.b": Schedule(every="2h")})
    assert ["a.b"] == clock.due()
    assert [] == clock.due()
    clock.ran("a.b")

    restarted = Clock({"a.b": Schedule(every="2h")}, {"a.b": Latest(MONDAY - HOUR, None)})
    assert [[], ["a.b"], []] == [restarted.due(), restarted.due(1), restarted.due(1)]


def test_a_cron_waits_for_its_hour() -> None:
    """A sync that never ran has missed nothing."""
    clock = Clock({"a.b": Schedule(cron="30 13 * * *")})

    assert [[], [], ["a.b"], []] == [clock.due(), clock.due(1), clock.due(0.5), clock.due(0.5)]


def test_missed_starts_become_one() -> None:
    """Three mornings on which nobody watched are one run as soon as somebody does."""
    clock = Clock({"a.b": Schedule(cron="30 6 * * *")}, {"a.b": Latest(MONDAY - 72 * HOUR, None)})
    assert ["a.b"] == clock.due()
    clock.ran("a.b")

    assert [[], ["a.b"]] == [clock.due(1), clock.due(17.5)]


def test_after_others_means_after_all_of_them() -> None:
    """It is due once each of them was done since it began; one that failed or was held, and one alone, do not count."""
    clock = Clock(
        {"a.a": Schedule(cron="0 0 1 1 *"), "a.b": Schedule(cron="0 0 1 1 *"), "a.c": Schedule(after=("a.a", "a.b"))}
    )
    clock.ran("a.a")
    assert [] == clock.due(1)
    clock.ran("a.b", is_done=False)
    assert [] == clock.due(1)
    clock.ran("a.b")
    assert ["a.c"] == clock.due(1)
    assert [] == clock.due(1)
    clock.ran("a.c", is_done=False)
    clock.now += HOUR
    clock.ran("a.b")
    assert [] == clock.due(1)
    clock.ran("a.a")

    assert [["a.c"], []] == [clock.due(1), clock.due(1)]


@pytest.mark.parametrize(
    "schedule", [Schedule(every="1h", quiet="13:00-20:00"), Schedule(cron="0 * * * *", quiet="13:00-20:00")]
)
def test_what_is_due_in_quiet_hours_starts_once_when_they_end(schedule: Schedule) -> None:
    """Whatever was due in them is one start."""
    clock = Clock({"a.b": schedule}, {"a.b": Latest(MONDAY - 60, None)})
    clock.due(0.5)
    clock.ran("a.b")
    assert [[]] * 7 == [clock.due(1) for _ in range(7)]

    assert ["a.b"] == clock.due(0.5)


def test_after_others_waits_for_the_end_of_quiet_hours_too() -> None:
    """A parent that is done in the night lets its child run in the morning."""
    clock = Clock({"a.a": Schedule(), "a.b": Schedule(after=("a.a",), quiet="12:00-14:00")})
    clock.ran("a.a")
    clock.latest["a.b"] = Latest(MONDAY - HOUR, None)

    assert ["a.a"] == clock.due(1)
    assert "a.b" in clock.due(1)


def test_a_paused_sync_is_not_due_until_it_is_resumed() -> None:
    """What was due while it was paused is one start after that."""
    clock = Clock({"a.b": Schedule(every="1h")}, {"a.b": Latest(MONDAY, None)})

    assert [[], [], ["a.b"], []] == [clock.due(2, {"a.b"}), clock.due(2, {"a.b"}), clock.due(), clock.due(0.5)]


def test_a_run_that_ended_with_its_process_is_due_again() -> None:
    """As long as somebody holds the sync it goes on; when nobody does, it is taken over at once, and once."""
    clock = Clock({"a.b": Schedule(cron="30 6 * * *")}, {"a.b": Latest(MONDAY - 60, None, is_open=True)})
    clock.holder = "process 7"
    assert [] == clock.due()
    clock.holder = None

    assert [["a.b"], []] == [clock.due(), clock.due(0.1)]
