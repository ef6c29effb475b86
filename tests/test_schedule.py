"""When syncs run, as it is written and as it is meant."""

from __future__ import annotations

import datetime
import subprocess
import sys

import pytest
from pydantic import ValidationError

from syncer.schedule import Schedule, never_fires, next_run, parse, trigger

MONDAY = datetime.datetime(2026, 3, 2, 12, 0, tzinfo=datetime.UTC)
SECOND = datetime.timedelta(seconds=1)


def runs(text: str, count: int, after: datetime.datetime = MONDAY) -> list[str]:
    """The next moments of a schedule, as `Mon 2026-03-02 12:00`."""
    found = []
    for _ in range(count):
        after = next_run(parse(text), after)
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
    "schedule",
    [
        Schedule(),
        Schedule(every="90s"),
        Schedule(cron="30 6 * * *"),
        Schedule(cron="30 6 * * 1-5", timezone="America/New_York"),
        Schedule(when="source changed"),
        Schedule(when="source changed", every="1m"),
    ],
    ids=lambda schedule: schedule.text,
)
def test_the_text_of_a_schedule_means_the_same_schedule(schedule: Schedule) -> None:
    """What is kept with a sync as text is read back without loss."""
    again = parse(schedule.text)

    assert schedule.text == again.text
    assert next_run(schedule, MONDAY) == next_run(again, MONDAY)
    assert schedule.when == again.when


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


def test_the_trigger_is_what_the_scheduler_runs_by() -> None:
    """The trigger that is handed to the scheduler fires when `next_run` says."""
    for text in ("30 6 * * 1-5 Europe/Berlin", "0 0 13 * 5", "*/20 * * * *"):
        schedule = parse(text)

        assert next_run(schedule, MONDAY) == trigger(schedule).get_next_fire_time(None, MONDAY + SECOND)
    assert datetime.timedelta(seconds=90) == trigger(parse("90s")).interval


def test_reading_a_schedule_does_not_load_the_scheduler() -> None:
    """A command that runs nothing does not wait for APScheduler to be imported."""
    program = "import sys, syncer.schedule as s; s.parse('15m'); sys.exit('apscheduler' in sys.modules)"

    assert 0 == subprocess.run([sys.executable, "-c", program], check=False).returncode
