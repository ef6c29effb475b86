"""What an alert has to say: what is wrong now, beside what it has told already. Pure."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from syncer.alerts.troubles import Trouble
from syncer.control import Message, Told

State = Literal["begun", "over", "test"]
Link = Callable[[Trouble], str | None]


NOTHING: Mapping[str, Any] = {"cause": "", "title": "", "since": None, "syncs": [], "sentence": "", "url": None}
"""The parts of a trouble in a message."""


@dataclass(frozen=True, slots=True)
class News:
    """What has changed since an alert last told."""

    begun: Mapping[str, Sequence[Trouble]]
    """Cause → everything that has it, of causes that were not told yet."""
    over: Sequence[Told]
    quiet: Sequence[Told]
    """Over too, and not worth a word: another trouble has taken its place, and is told."""
    going_on: Sequence[Told]


def news(
    listed: Iterable[Trouble],
    told: Sequence[Told],
    *,
    is_ripe: Callable[[str], bool],
    unknown: Collection[tuple[str, str]] = (),
) -> News:
    """Compare the troubles of an alert with what it told.

    A cause is told when it `is_ripe`, so that what comes together is told together. A trouble that may go on where
    nobody could look (`unknown`: slot and subject) is not over.
    """
    by_cause: dict[str, list[Trouble]] = {}
    for trouble in listed:
        by_cause.setdefault(trouble.cause, []).append(trouble)
    places = {(one.slot, one.subject) for ones in by_cause.values() for one in ones}
    known = {one.cause for one in told}
    ended = [one for one in told if one.cause not in by_cause and not set(one.members) & set(unknown)]
    return News(
        begun={cause: ones for cause, ones in by_cause.items() if cause not in known and is_ripe(cause)},
        over=[one for one in ended if not set(one.members) & places],
        quiet=[one for one in ended if set(one.members) & places],
        going_on=[
            Told(one.cause, one.since, one.title, members_of(by_cause[one.cause]))
            for one in told
            if one.cause in by_cause and members_of(by_cause[one.cause]) != one.members
        ],
    )


def members_of(ones: Iterable[Trouble]) -> tuple[tuple[str, str], ...]:
    """Who has a trouble."""
    return tuple(sorted({(one.slot, one.subject) for one in ones}))


def messages(alert: str, found: News, causes: Collection[str], now: float, link: Link) -> list[Message]:
    """The messages that tell these causes: one for each group of what has begun, and one for all that is over."""
    made = []
    groups: dict[str, list[Sequence[Trouble]]] = {}
    for cause, ones in found.begun.items():
        if cause in causes:
            groups.setdefault(ones[0].group, []).append(ones)
    for group in groups.values():
        first = group[0][0]
        title = first.title if len(group) == 1 else f"{first.title}, and {len(group) - 1} more of the same kind"
        made.append(message(alert, "begun", first.kind, title, [_line(ones, link) for ones in group], now))
    over = [one for one in found.over if one.cause in causes]
    if over:
        title = f"Over: {over[0].title}" + (f", and {len(over) - 1} more" if len(over) > 1 else "")
        lines = [{**NOTHING, "cause": one.cause, "title": one.title, "since": _moment(one.since)} for one in over]
        made.append(message(alert, "over", "recovery", title, lines, now))
    return made


def message(alert: str, state: State, kind: str, title: str, lines: Sequence[Mapping[str, Any]], now: float) -> Message:
    """A message as it is queued, and as a webhook sends it."""
    identifier = str(uuid.uuid4())
    body = {
        "id": identifier, "alert": alert, "at": _moment(now), "state": state, "kind": kind, "title": title,
        "troubles": list(lines),
    }  # fmt: skip
    return Message(identifier, alert, now, json.dumps(body, ensure_ascii=False))


def _line(ones: Sequence[Trouble], link: Link) -> dict[str, Any]:
    first = ones[0]
    return {
        **NOTHING,
        "cause": first.cause,
        "title": first.title,
        "syncs": sorted({sync for one in ones for sync in one.syncs}),
        "sentence": first.sentence,
        "url": link(first),
    }


def _moment(seconds: float) -> str:
    text = datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
    return text.replace("+00:00", "Z")
