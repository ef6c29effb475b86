"""The values that travel through a run: a change, and what became of it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Value = str | int | float | bool | datetime.date | datetime.datetime | None
"""A canonical value. Timestamps are aware and in UTC, already cut to what the destination keeps."""

Kind = Literal["new", "changed", "removed"]
Result = Literal["accepted", "rejected", "deferred"]


@dataclass(frozen=True, slots=True)
class Change:
    """For one key: the fields that differ.

    `fields` holds what is to leave: destination field → value after. An absent field must not be sent,
    a field that is None must be cleared. `before` holds the last accepted value of the same fields, where
    there is one; it is for showing, not for sending. `match` is how the record is found: destination
    identifier → text. A removed change of a sync with `removed = "delete"` has no fields.
    """

    key: str
    kind: Kind
    match: Mapping[str, str]
    fields: Mapping[str, Value]
    before: Mapping[str, Value]
    position: int = 0
    rescored: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one change.

    `code` is short, stable and free of data (`missing`, `STRING_TOO_LONG`, `207_invalid`); `message` is the
    destination's own words and may hold people's data: it is kept with the parked record and never logged.
    `doubt` belongs to deferred outcomes: the write left this machine and nobody knows whether it arrived.
    """

    key: str
    result: Result
    code: str = ""
    message: str = ""
    doubt: bool = False


def accepted(change: Change) -> Outcome:
    """The destination answered for this record and holds the values now."""
    return Outcome(change.key, "accepted")


def rejected(change: Change, code: str, message: str) -> Outcome:
    """The destination refuses this record with these values; the record is parked, the others go on."""
    return Outcome(change.key, "rejected", code, message)


def deferred(change: Change, code: str, message: str, *, doubt: bool = False) -> Outcome:
    """Not now; the next run plans it again."""
    return Outcome(change.key, "deferred", code, message, doubt)
