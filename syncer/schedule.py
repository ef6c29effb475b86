"""When a sync runs: `every`, `cron` or `when`, read from text, and the next moment that they mean.

The scheduler itself is elsewhere; this module knows what is written, says what is wrong with it, and makes
the trigger.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from syncer.mapping import seconds_of
from syncer.mistakes import did_you_mean

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger

EVERY_MIN = 10.0
"""Seconds. Below that, one run would hardly be over before the next."""
EVERY = "15m"
"""How often, when nothing is said."""
POLLING_EVERY = "5m"
"""How often the source is asked whether it changed, when nothing is said."""
SEARCHED_YEARS = 10
"""29 February is eight years away at most, so a cron that stays silent for longer never fires."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_CRON: tuple[tuple[str, int, int, Mapping[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, start=1)}),
    ("day of week", 0, 7, {name: number for number, name in enumerate(_WEEKDAYS)}),
)
"""The five parts of a cron text: name, lowest, highest, and the names of numbers. Sunday is 0 and 7."""


def _check_every(text: str) -> str:
    if seconds_of(text) < EVERY_MIN:
        raise ValueError(f"{text!r} is too often; {EVERY_MIN:g}s is the shortest")
    return text


def _check_timezone(text: str) -> str:
    try:
        zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        guess = did_you_mean(text, zoneinfo.available_timezones())
        raise ValueError(f"{text!r} is not a time zone; write one as Europe/Berlin or UTC.{guess}") from None
    return text


def _check_cron(text: str) -> str:
    _numbers_of(text)
    if never_fires(text):
        raise ValueError(f"{text!r} never comes: there is no such day in any year. Correct the day or the month")
    return " ".join(text.split())


class Schedule(BaseModel):
    """One schedule: a span, a cron text in a time zone, or "source changed" with how often to ask."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    every: str | None = Field(
        default=None,
        description="Time between two runs, as 15m; with `when`, how often the source is asked. Default 15m, or 5m.",
    )
    cron: str | None = Field(
        default=None, description="Five parts: minute, hour, day of month, month, day of week. Sunday is 0 or 7."
    )
    timezone: str = Field(default="UTC", description="Time zone of cron texts, as Europe/Berlin.")
    when: Literal["source changed"] | None = Field(
        default=None, description="Run when the source's tables have changed; asks for metadata and reads no rows."
    )

    @field_validator("every")
    @classmethod
    def _every(cls, text: str | None) -> str | None:
        return text if text is None else _check_every(text)

    @field_validator("cron")
    @classmethod
    def _cron(cls, text: str | None) -> str | None:
        return text if text is None else _check_cron(text)

    @field_validator("timezone")
    @classmethod
    def _timezone(cls, text: str) -> str:
        return _check_timezone(text)

    @model_validator(mode="after")
    def _one(self) -> Schedule:
        if self.cron is not None and self.every is not None:
            raise ValueError("`every` and `cron` exclude each other; keep one of them")
        if self.cron is not None and self.when is not None:
            raise ValueError("`when` and `cron` exclude each other; keep one of them")
        return self

    @property
    def every_seconds(self) -> float | None:
        """Seconds between two runs, or two looks at the source; None for a cron."""
        if self.cron is not None:
            return None
        return seconds_of(self.every or (POLLING_EVERY if self.when else EVERY))

    @property
    def text(self) -> str:
        """One line that `parse` reads: `15m`, `30 6 * * * Europe/Berlin` or `source changed, every 5m`."""
        if self.cron is not None:
            return self.cron if self.timezone == "UTC" else f"{self.cron} {self.timezone}"
        if self.when is not None:
            return f"{self.when}, every {self.every or POLLING_EVERY}"
        return self.every or EVERY


def parse(text: str) -> Schedule:
    """A schedule from one line, as `Schedule.text` writes it. Raises ValueError with a sentence."""
    words = text.split()
    if words[:2] == ["source", "changed,"] and words[2:3] == ["every"] and len(words) == 4:
        return Schedule(when="source changed", every=_check_every(words[3]))
    if words == ["source", "changed"]:
        return Schedule(when="source changed")
    if len(words) == 1:
        return Schedule(every=_check_every(words[0]))
    if len(words) == 6 and words[5][0].isalpha() and words[5].lower() not in (*_MONTHS, *_WEEKDAYS):
        return Schedule(cron=_check_cron(" ".join(words[:5])), timezone=_check_timezone(words[5]))
    return Schedule(cron=_check_cron(text))


def trigger(schedule: Schedule) -> BaseTrigger:
    """The APScheduler trigger of a schedule.

    APScheduler counts weekdays from Monday and wants both days to fit, where cron counts from Sunday and is
    content with either when both are restricted. So every part is written out in numbers, and two days become
    two triggers. https://pubs.opengroup.org/onlinepubs/9799919799/utilities/crontab.html
    """
    from apscheduler.triggers.interval import IntervalTrigger

    if schedule.cron is None:
        return IntervalTrigger(seconds=schedule.every_seconds, timezone=datetime.UTC)
    return _cron_trigger(schedule.cron, zoneinfo.ZoneInfo(schedule.timezone))


def _cron_trigger(text: str, timezone: datetime.tzinfo, end: datetime.datetime | None = None) -> BaseTrigger:
    from apscheduler.triggers.combining import OrTrigger
    from apscheduler.triggers.cron import CronTrigger

    minutes, hours, days, months, weekdays = _numbers_of(text)
    _, _, day_text, _, weekday_text = text.split()

    def made(**parts: str) -> BaseTrigger:
        return CronTrigger(
            minute=_listed(minutes),
            hour=_listed(hours),
            month=_listed(months),
            timezone=timezone,
            end_date=end,
            **parts,
        )

    day = _listed(days)
    weekday = _listed({(number - 1) % 7 for number in weekdays})
    if day_text.startswith("*") or weekday_text.startswith("*"):
        return made(day=day, day_of_week=weekday)
    return OrTrigger([made(day=day), made(day_of_week=weekday)])


def never_fires(cron: str) -> bool:
    """Whether a cron text names a day that no year has, as 30 February."""
    now = datetime.datetime.now(datetime.UTC)
    end = now + datetime.timedelta(days=366 * SEARCHED_YEARS)
    return _cron_trigger(cron, datetime.UTC, end).get_next_fire_time(None, now) is None


def next_run(schedule: Schedule, after: datetime.datetime) -> datetime.datetime:
    """The first moment strictly after another (aware) one, in UTC; a span counts from that moment."""
    seconds = schedule.every_seconds
    if seconds is not None:
        return after.astimezone(datetime.UTC) + datetime.timedelta(seconds=seconds)
    found: datetime.datetime = trigger(schedule).get_next_fire_time(after, after)
    return found.astimezone(datetime.UTC)


def _numbers_of(text: str) -> tuple[set[int], ...]:
    """The numbers that each part of a cron text stands for. Raises ValueError with a sentence."""
    parts = text.split()
    if len(parts) != len(_CRON):
        raise ValueError(
            f"{text!r} is not a schedule; write a span as 15m, or a cron text of five parts (minute, hour, "
            "day of month, month, day of week) as 30 6 * * *"
        )
    return tuple(_expanded(part, *rule) for part, rule in zip(parts, _CRON, strict=True))


def _expanded(part: str, name: str, lowest: int, highest: int, names: Mapping[str, int]) -> set[int]:
    """`*`, `5`, `1-5`, `*/15`, `1-31/2`, and lists of them with commas."""
    numbers: set[int] = set()
    for item in part.split(","):
        span, slash, step_text = item.partition("/")
        first_text, dash, last_text = span.partition("-")
        try:
            step = _number(step_text, {}) if slash else 1
            first = lowest if span == "*" else _number(first_text, names)
            last = _number(last_text, names) if dash else first
        except ValueError:
            raise ValueError(f"{item!r} is not a {name} of a cron text; {_allowed(lowest, highest, names)}") from None
        if span == "*" or (slash and not dash):
            last = highest
        if dash and last_text.lower() == "sun":
            last = highest
        if not lowest <= first <= last <= highest or step < 1:
            raise ValueError(f"{item!r} is not a {name} of a cron text; {_allowed(lowest, highest, names)}")
        numbers.update(range(first, last + 1, step))
    return numbers


def _number(text: str, names: Mapping[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not (text.isascii() and text.isdigit()):
        raise ValueError
    return int(text)


def _allowed(lowest: int, highest: int, names: Mapping[str, int]) -> str:
    words = f" or names ({', '.join(list(names)[:2])} and so on)" if names else ""
    return f"write numbers from {lowest} to {highest}{words}, as 1, 1-5, */2 or 1,3,5; a range rises"


def _listed(numbers: set[int]) -> str:
    return ",".join(str(number) for number in sorted(numbers))
