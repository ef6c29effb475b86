"""When a sync runs: `every`, `cron`, `when` or `after`, read from text, and the next moment that they mean.

The daemon is elsewhere; this module knows what is written, says what is wrong with it, and reckons.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import zoneinfo
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from syncer.mistakes import did_you_mean
from syncer.spans import seconds_of

EVERY_MIN = 10.0
"""Seconds. Below that, one run would hardly be over before the next."""
EVERY = "15m"
"""How often, when nothing is said."""
POLLING_EVERY = "5m"
"""How often the source is asked whether it changed, when nothing is said."""

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


_CLOCK = r"([01]\d|2[0-3]):([0-5]\d)"


def _check_quiet(text: str) -> str:
    found = re.fullmatch(rf"\s*{_CLOCK}\s*-\s*{_CLOCK}\s*", text)
    if not found:
        raise ValueError(f"{text!r} is no span of hours; write two times of the day, as 22:00-06:00")
    if found.group(1, 2) == found.group(3, 4):
        raise ValueError(f"{text!r} is no span of hours: it ends when it begins. Write two different times")
    return f"{found[1]}:{found[2]}-{found[3]}:{found[4]}"


def _names(value: Any) -> Any:
    """One sync, or several."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple) or not value or not all(isinstance(one, str) and one for one in value):
        raise ValueError('has to name the syncs that it waits for, as "customerio.people" or a list of such names')
    return tuple(dict.fromkeys(value))


class Schedule(BaseModel):
    """One schedule: a span, a cron text in a time zone, "source changed" with how often to ask, or after others."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    every: str | None = Field(
        default=None,
        description="Time between two runs, as 15m; with `when`, how often the source is asked. Default 15m, or 5m.",
    )
    cron: str | None = Field(
        default=None, description="Five parts: minute, hour, day of month, month, day of week. Sunday is 0 or 7."
    )
    timezone: str = Field(default="UTC", description="Time zone of cron texts and quiet hours, as Europe/Berlin.")
    when: Literal["source changed"] | None = Field(
        default=None, description="Run when the source's tables have changed; asks for metadata and reads no rows."
    )
    after: Annotated[tuple[str, ...] | None, BeforeValidator(_names, json_schema_input_type=str | list[str])] = Field(
        default=None,
        description='Run once each of these syncs is done since this one began last, as "customerio.people".',
    )
    quiet: str | Literal[False] | None = Field(
        default=None,
        description="Hours in which nothing starts by itself, as 22:00-06:00; what is due starts when they end. A sync "
        "takes over those of the config, unless it says false.",
    )
    jitter: str | Literal[False] | None = Field(
        default=None,
        description="Each start is late by chance, by so much at most, as 5m, so that not all are at once; likewise.",
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

    @field_validator("quiet")
    @classmethod
    def _quiet(cls, text: str | Literal[False] | None) -> str | Literal[False] | None:
        return _check_quiet(text) if text else text

    @field_validator("jitter")
    @classmethod
    def _jitter(cls, text: str | Literal[False] | None) -> str | Literal[False] | None:
        if text:
            seconds_of(text)
        return text

    @model_validator(mode="after")
    def _one(self) -> Schedule:
        if self.cron is not None and self.every is not None:
            raise ValueError("`every` and `cron` exclude each other; keep one of them")
        if self.cron is not None and self.when is not None:
            raise ValueError("`when` and `cron` exclude each other; keep one of them")
        if self.after is not None and (self.every or self.cron or self.when):
            raise ValueError("`after` excludes `every`, `cron` and `when`; keep one of them")
        return self

    @property
    def every_seconds(self) -> float | None:
        """Seconds between two runs, or two looks at the source; None for a cron, and after others."""
        if self.cron is not None or self.after is not None:
            return None
        return seconds_of(self.every or (POLLING_EVERY if self.when else EVERY))

    @property
    def text(self) -> str:
        """One line for people: `15m`, `30 6 * * * Europe/Berlin`, `after customerio.people, quiet 22:00-06:00`."""
        if self.cron is not None:
            base = self.cron if self.timezone == "UTC" else f"{self.cron} {self.timezone}"
        elif self.after is not None:
            base = f"after {' and '.join(self.after)}"
        elif self.when is not None:
            base = f"{self.when}, every {self.every or POLLING_EVERY}"
        else:
            base = self.every or EVERY
        more = [f"quiet {self.quiet}"] if self.quiet else []
        more += [f"jitter {self.jitter}"] if self.jitter else []
        return ", ".join([base, *more])


def parse(text: str) -> Schedule:
    """A schedule from one line: a span, or a cron text and perhaps its time zone. Raises ValueError with a sentence."""
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


def never_fires(cron: str) -> bool:
    """Whether a cron text names a day that no year has, as 30 February."""
    from cronsim import CronSimError

    try:
        next(_moments(cron, datetime.datetime.now(datetime.UTC)))
    except (CronSimError, StopIteration):
        return True
    return False


def next_run(schedule: Schedule, after: datetime.datetime) -> datetime.datetime | None:
    """The first moment strictly after another (aware) one, in UTC; a span counts from that moment.

    Where clocks go forward, a cron's hour that is left out comes right after; where they go back, one that comes twice
    counts once, unless the text names every hour. None for a schedule that waits for other syncs.
    """
    if schedule.after is not None:
        return None
    if schedule.cron is None:
        seconds = schedule.every_seconds
        assert seconds is not None  # noqa: S101 - only a cron has none
        return after.astimezone(datetime.UTC) + datetime.timedelta(seconds=seconds)
    local = after.astimezone(zoneinfo.ZoneInfo(schedule.timezone))
    return next(_moments(schedule.cron, local)).astimezone(datetime.UTC)


def next_start(schedule: Schedule, sync: str, after: datetime.datetime) -> datetime.datetime | None:
    """When a sync starts that began last at `after`: the next moment, its share of the jitter, then the quiet hours.

    The jitter of a moment is always the same, so everybody who asks is told the same start.
    """
    moment = next_run(schedule, after)
    if moment is None:
        return None
    if schedule.jitter:
        digest = hashlib.sha256(f"{sync} {moment.isoformat()}".encode()).digest()
        chance = int.from_bytes(digest[:8]) / 2**64
        moment += datetime.timedelta(seconds=chance * seconds_of(schedule.jitter))
    return quiet_until(schedule, moment) or moment


def quiet_until(schedule: Schedule, moment: datetime.datetime) -> datetime.datetime | None:
    """The end (UTC) of the quiet hours that a moment lies in; None when it lies in none."""
    if not schedule.quiet:
        return None
    zone = zoneinfo.ZoneInfo(schedule.timezone)
    local = moment.astimezone(zone)
    first, last = (datetime.time.fromisoformat(part) for part in schedule.quiet.split("-"))
    clock = local.time()
    if not (first <= clock < last if first < last else clock >= first or clock < last):
        return None
    day = local.date() + datetime.timedelta(days=1 if first > last and clock >= first else 0)
    end = datetime.datetime.combine(day, last, zone).astimezone(datetime.UTC)
    # Where clocks go back, the end's hour comes twice, and the first one may be over.
    if end <= moment:
        end = datetime.datetime.combine(day, last.replace(fold=1), zone).astimezone(datetime.UTC)
    return end


def _moments(cron: str, after: datetime.datetime) -> Iterator[datetime.datetime]:
    """The moments of a cron text strictly after one; ends for a text that never fires.

    Names and ranges are written out in numbers, because the library does not know all that cron tables use. A day that
    begins with a star stays as it is: then, as in cron, only the other of the two days decides.
    https://pubs.opengroup.org/onlinepubs/9799919799/utilities/crontab.html
    """
    from cronsim import CronSim

    parts = zip(cron.split(), _numbers_of(cron), strict=True)
    return CronSim(" ".join(text if text.startswith("*") else _listed(numbers) for text, numbers in parts), after)


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
