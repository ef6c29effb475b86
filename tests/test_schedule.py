"""When syncs run, as it is written and as it is meant."""

from __future__ import annotations

import datetime
import subprocess
import sys

import pytest
from pydantic import ValidationError

from syncer.schedule import Schedule, never_fires, next_run, next_start, parse, quiet_until

MONDAY = datetime.datetime(2026, 3, 2, 12, 0, tzinfo=datetime.UTC)
SECOND = datetime.timedelta(seconds=1)


def at(text: str) -> datetime.datetime:
    """A moment in UTC."""
    return datetime.datetime.fromisoformat(f"{text}+00:00")


def runs(text: str, count: int, after: datetime.datetime = MONDAY) -> list[str]:
    """The next moments of a schedule, as `Mon 2026-03-02 12:00`."""
    found = []
    for _ in range(count):
        moment = next_run(parse(text), after)
        assert moment
        after = moment
        found.append(after.strftime("%a %Y-%m-%d %H:%M"))
    return found


def test_nothing_said_is_every_quarter_of_an_hour() -> None:
    """A config without a schedule runs every 15 minutes."""

    assert 900.0 == Schedule().every_seconds
    assert "15m" == Schedule().text


def test_a_span_counts_from_the_moment_that_is_given() -> None:
    """The next run of a span is that span later, in UTC whatever the zone of the moment."""
    berlin = datetime.timezone(datetime.timedelta(hours=1))

    assert MONDAY + datetime.timedelta(hours=36) == next_run(parse("36h"), MONDAY)
    assert datetime.UTC == next_run(parse("36h"), MONDAY.astimezone(berlin)).tzinfo


def test_source_changed_is_polled_every_five_minutes_or_as_said() -> None:
    """`when` runs nothing by itself; it is a pace of looking."""

    assert 300.0 == Schedule(when="source changed").every_seconds
    assert 60.0 == Schedule(when="source changed", every="1m").every_seconds
    assert MONDAY + datetime.timedelta(minutes=5) == next_run(Schedule(when="source changed"), MONDAY)


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (Schedule(), "15m"),
        (Schedule(cron="30 6 * * *"), "30 6 * * *"),
        (Schedule(cron="30 6 * * 1-5", timezone="America/New_York"), "30 6 * * 1-5 America/New_York"),
        (Schedule(when="source changed"), "source changed, every 5m"),
        (
            Schedule(when="source changed", every="1m", quiet="22:00-06:00"),
            "source changed, every 1m, quiet 22:00-06:00",
        ),
        (Schedule(after=("a.b", "a.c"), jitter="5m"), "after a.b and a.c, jitter 5m"),
    ],
)
def test_a_schedule_is_told_in_one_line(schedule: Schedule, text: str) -> None:
    """What `status` and the page say of when a sync runs."""

    assert text == schedule.text


def test_a_cron_runs_strictly_after_the_moment() -> None:
    """A run at 06:30 is followed by that of the next day, and not by itself."""

    assert ["Tue 2026-03-03 06:30", "Wed 2026-03-04 06:30"] == runs("30 6 * * *", 2)


def test_weekdays_count_from_sunday_as_cron_does() -> None:
    """0 and 7 are Sunday and 1 is Monday, although the scheduler's own numbers begin on Monday."""

    assert ["Sun 2026-03-08 06:30"] == runs("30 6 * * 0", 1)
    assert ["Sun 2026-03-08 06:30"] == runs("30 6 * * 7", 1)
    assert ["Mon 2026-03-09 06:30"] == runs("30 6 * * 1", 1)
    assert ["Fri 2026-03-06 06:30", "Sat 2026-03-07 06:30", "Sun 2026-03-08 06:30"] == runs("30 6 * * fri-sun", 3)
    assert ["Tue 2026-03-03 06:30", "Sun 2026-03-08 06:30", "Mon 2026-03-09 06:30"] == runs("30 6 * * 0-2", 3)


def test_a_day_of_month_and_a_weekday_are_either_of_the_two() -> None:
    """Cron runs on the 13th and on Fridays, not only on a Friday the 13th."""

    assert ["Fri 2026-03-06 00:00", "Fri 2026-03-13 00:00", "Fri 2026-03-20 00:00"] == runs("0 0 13 * 5", 3)
    assert ["Wed 2026-04-01 00:00", "Fri 2026-04-03 00:00"] == runs("0 0 1 4 5", 2)


def test_a_star_in_one_of_the_two_days_restricts_nothing() -> None:
    """A part that begins with a star leaves the decision to the other, as cron does."""

    assert ["Fri 2026-03-06 00:00", "Fri 2026-03-13 00:00"] == runs("0 0 * * 5", 2)
    assert ["Fri 2026-03-13 00:00", "Fri 2026-03-27 00:00"] == runs("0 0 */2 * fri", 2)


def test_lists_steps_and_names_are_understood() -> None:
    """Every form of a part that cron tables use."""

    assert ["Mon 2026-03-02 12:15", "Mon 2026-03-02 12:30"] == runs("*/15 * * * *", 2)
    assert ["Mon 2026-03-02 12:10", "Mon 2026-03-02 12:40"] == runs("10/30 * * * *", 2)
    assert ["Mon 2026-03-02 20:05", "Tue 2026-03-03 08:05"] == runs("5 8,20 * * *", 2)
    assert ["Wed 2026-07-01 00:00", "Thu 2026-10-01 00:00"] == runs("0 0 1 jul-dec/3 *", 2)


def test_a_time_zone_moves_the_hour_with_summer_time() -> None:
    """06:30 in Berlin is 05:30 UTC in winter and 04:30 in summer."""

    assert ["Tue 2026-03-03 05:30"] == runs("30 6 * * * Europe/Berlin", 1)
    assert ["Thu 2026-07-02 04:30"] == runs(
        "30 6 * * * Europe/Berlin", 1, datetime.datetime(2026, 7, 1, 12, tzinfo=datetime.UTC)
    )


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        # 02:30 does not exist on 29 March, and comes right after; 25 October has it twice, and it counts once.
        ("30 2 * * *", "2026-03-28T22:30", ["Sun 2026-03-29 01:00", "Mon 2026-03-30 00:30"]),
        ("30 2 * * *", "2026-10-24T22:30", ["Sun 2026-10-25 00:30", "Mon 2026-10-26 01:30"]),
        # A text of every hour goes on by real time on both days.
        ("0 */1 * * *", "2026-03-28T22:30", ["Sat 2026-03-28 23:00", "Sun 2026-03-29 00:00"]),
        ("30 6 * * *", "2026-03-28T22:30", ["Sun 2026-03-29 04:30", "Mon 2026-03-30 04:30"]),
        ("30 6 * * *", "2026-10-24T22:30", ["Sun 2026-10-25 05:30", "Mon 2026-10-26 05:30"]),
    ],
)
def test_clocks_change_twice_a_year(cron: str, after: str, expected: list[str]) -> None:
    """A daily run is one run on the day that has 23 hours, and one on the day that has 25."""

    assert expected == runs(f"{cron} Europe/Berlin", 2, at(after))


def test_every_hour_is_every_hour_when_clocks_change() -> None:
    """Neither is an hour left out in spring, nor one run twice in autumn."""
    for start in (
        datetime.datetime(2026, 3, 28, 12, tzinfo=datetime.UTC),
        datetime.datetime(2026, 10, 24, 12, tzinfo=datetime.UTC),
    ):
        moment = start
        for number in range(1, 37):
            found = next_run(parse("0 * * * * Europe/Berlin"), moment)
            assert start + datetime.timedelta(hours=number) == found
            moment = found


@pytest.mark.parametrize(
    ("quiet", "moment", "end"),
    [
        ("22:00-06:00", "2026-03-02T20:59", None),
        ("22:00-06:00", "2026-03-02T21:00", "2026-03-03T05:00"),
        ("22:00-06:00", "2026-03-03T04:59", "2026-03-03T05:00"),
        ("22:00-06:00", "2026-03-03T05:00", None),
        ("12:00-13:30", "2026-03-02T11:15", "2026-03-02T12:30"),
        ("12:00-13:30", "2026-03-02T12:30", None),
        # The nights in which clocks change: 02:30 is not there in spring, and twice there in autumn.
        ("22:00-06:00", "2026-03-28T22:00", "2026-03-29T04:00"),
        ("22:00-06:00", "2026-10-24T21:00", "2026-10-25T05:00"),
        ("22:00-02:30", "2026-03-29T00:45", "2026-03-29T01:30"),
        ("01:00-02:30", "2026-10-25T00:15", "2026-10-25T00:30"),
        ("01:00-02:30", "2026-10-25T01:15", "2026-10-25T01:30"),
    ],
)
def test_quiet_hours(quiet: str, moment: str, end: str | None) -> None:
    """They are meant in the schedule's time zone, may go over midnight, and end also when clocks change."""
    schedule = Schedule(quiet=quiet, timezone="Europe/Berlin")

    assert (at(end) if end else None) == quiet_until(schedule, at(moment))


def test_what_is_due_in_quiet_hours_starts_when_they_end() -> None:
    """All starts of a night become the same one."""
    schedule = Schedule(every="1h", quiet="22:00-06:00")
    starts = {next_start(schedule, "a.b", at("2026-03-02T21:30") + datetime.timedelta(hours=hour)) for hour in range(8)}

    assert {at("2026-03-03T06:00")} == starts


def test_jitter_is_chance_that_everybody_agrees_on() -> None:
    """A start is late by less than the jitter; syncs and days differ, and whoever asks again is told the same."""
    schedule = Schedule(cron="0 6 * * *", jitter="10m")
    starts = {
        name: [next_start(schedule, name, MONDAY + datetime.timedelta(days=day)) for day in range(20)]
        for name in ("a.b", "a.c")
    }
    lates = [
        start.replace(hour=0) - start.replace(hour=0, minute=0, second=0, microsecond=0)
        for start in starts["a.b"]
        if start
    ]

    assert starts["a.b"] == [next_start(schedule, "a.b", MONDAY + datetime.timedelta(days=day)) for day in range(20)]
    assert starts["a.b"] != starts["a.c"]
    assert 15 < len(set(lates))
    assert all(datetime.timedelta(0) <= late < datetime.timedelta(minutes=10) for late in lates)


@pytest.mark.parametrize("quiet", ["22-6", "22:00", "24:00-06:00", "06:00-06:00", "22:00-06:60", "night"])
def test_hours_that_are_none(quiet: str) -> None:
    """A span of hours that cannot be read is refused in plain words."""
    with pytest.raises(ValidationError, match="is no span of hours"):
        Schedule(quiet=quiet)


def test_a_cron_that_never_fires_is_found_out() -> None:
    """30 February is no day; 29 February is one, however rarely."""

    assert never_fires("0 0 30 2 *")
    assert never_fires("0 0 31 2,4,6,9,11 *")
    assert not never_fires("0 0 29 2 *")
    assert not never_fires("0 0 30 2 1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "9s",
        "0m",
        "-5m",
        "15",
        "15 minutes",
        "@daily",
        "* * * *",
        "0 30 6 * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "5-1 * * * *",
        "*/0 * * * *",
        "1, * * * *",
        "1- * * * *",
        "+1 * * * *",
        "1_0 * * * *",
        "\u0661 * * * *",
        "* * * feb-jan *",
        "30 6 * * * Mars/Olympus",
        "source changed, every 1s",
        "0 0 30 2 *",
    ],
)
def test_a_text_that_is_no_schedule_is_refused_in_plain_words(text: str) -> None:
    """Nothing half-understood becomes a schedule, and the sentence is ours."""
    with pytest.raises(ValueError, match=r".") as raised:
        parse(text)

    assert not isinstance(raised.value, ValidationError)
    assert "Input should" not in str(raised.value)


def test_reading_a_schedule_loads_no_library() -> None:
    """A command that runs nothing does not wait for what reckons with cron texts to be imported."""
    program = "import sys, syncer.schedule as s; s.parse('15m'); sys.exit('cronsim' in sys.modules)"

    assert 0 == subprocess.run([sys.executable, "-c", program], check=False).returncode
