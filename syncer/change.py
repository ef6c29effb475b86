"""The values that travel through a run: a change, and what became of it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

Value = str | int | float | bool | datetime.date | datetime.datetime | None
"""A canonical value. Timestamps are aware and in UTC, already cut to what the destination keeps."""

Kind = Literal["new", "changed", "removed"]
Result = Literal["accepted", "rejected", "deferred"]

MISSING = "missing"
"""Code of an outcome for a record that is not at the destination, where the mapping says to skip it."""


@dataclass(frozen=True, slots=True)
class Relation:
    """Records of another object that a record is to be related to from now on, and those that it is not any more.

    All are identifiers, sorted. What may be there already (its write is in doubt) is added again, which is harmless.
    `before` (None when nobody knows) and `after` are the whole of it, for showing and not for sending.
    """

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    before: tuple[str, ...] | None = ()
    after: tuple[str, ...] = ()


NOTHING: Mapping[str, Any] = MappingProxyType({})
"""Stands in a change for what it has none of; a million empty dictionaries take room."""


@dataclass(slots=True)
class Change:
    """For one key: the fields that differ. Not frozen, as a million of them are made twice as fast so.

    `fields` holds what is to leave: destination field → value after. An absent field must not be sent,
    a field that is None must be cleared. `before` holds the last accepted value of the same fields, where
    there is one; it is for showing, not for sending. `match` is how the record is found: destination
    identifier → text. A removed change of a sync with `removed = "delete"` has no fields.

    `relations` holds what is to leave of the sync's `relate`: name there → what to add and to remove. `held` are the
    mapped fields that do not leave, with the values that the destination accepted last; it is filled only for a sync
    whose `Limits.whole` asks for it.

    `worked_out` is the adapter's, and all that is ever set later: what it made of a change to weigh it, it need not
    make again to send it.
    """

    key: str
    kind: Kind
    match: Mapping[str, str]
    fields: Mapping[str, Value]
    before: Mapping[str, Value]
    position: int = 0
    rescored: bool = False
    relations: Mapping[str, Relation] = field(default_factory=lambda: NOTHING)
    held: Mapping[str, Value] = field(default_factory=lambda: NOTHING)
    worked_out: Any = field(default=None, compare=False, repr=False)


class Outcome(NamedTuple):
    """What became of one change.

    `code` is short, stable and free of data (`missing`, `STRING_TOO_LONG`, `207_invalid`); `message` is the
    destination's own words and may hold people's data: it is kept with the parked record and never logged.
    `doubt` belongs to deferred outcomes: the write left this machine and nobody knows whether it arrived.
    `again` belongs to them too: this run is to try the record once more, in a smaller batch, together with those of
    the same text (a locked parent's id, or ""); None leaves it to the next run.
    """

    key: str
    result: Result
    code: str = ""
    message: str = ""
    doubt: bool = False
    again: str | None = None


@dataclass(frozen=True, slots=True)
class Alike:
    """One outcome for many changes of a large batch, by their places in it; the outcome's own key is empty.

    For what is accepted or deferred to the next run. What is rejected, or is to be tried again, has an `Outcome` each.
    """

    outcome: Outcome
    places: Sequence[int]


@dataclass(frozen=True, slots=True)
class Job:
    """Work that a destination does by itself and that outlives this process, as a bulk upload.

    An adapter yields it among its outcomes, before the first request that could start the work. The engine keeps
    `text` with the batch, durably, before it asks for what comes next; should the process die, the next run hands it
    to `Destination.resume`. Whatever is yielded later replaces it. It holds no secret and nobody's data.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """A record to be read back: its key, and how it is found."""

    key: str
    match: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LastWrite:
    """Who wrote last, as the service names them, and when, in UTC; empty and None where it does not tell.

    With `is_of_record` it is the last write to the record, which need not have been one to the field.
    """

    by: str = ""
    at: datetime.datetime | None = None
    is_of_record: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """What a destination holds of one record: field → value as the destination gives it, null when it is empty.

    `fields` is None when there is no such record, or (`code` says so: `ambiguous`) more than one. `relations` hold
    the identifiers of the records that it is related to, for the names in the sync's `relate` that can be read.
    `last_writes` says of a field who wrote last and when, as far as the service tells.
    """

    key: str
    fields: Mapping[str, object] | None
    code: str = ""
    relations: Mapping[str, frozenset[str]] = field(default_factory=dict)
    last_writes: Mapping[str, LastWrite] = field(default_factory=dict, compare=False)


def accepted(change: Change) -> Outcome:
    """The destination answered for this record and holds the values now."""
    return Outcome(change.key, "accepted")


def rejected(change: Change, code: str, message: str) -> Outcome:
    """The destination refuses this record with these values; the record is parked, the others go on."""
    return Outcome(change.key, "rejected", code, message)


def deferred(change: Change, code: str, message: str, *, doubt: bool = False, again: str | None = None) -> Outcome:
    """Not now; the next run plans it again, and this one tries it again when `again` is a text."""
    return Outcome(change.key, "deferred", code, message, doubt, again)
