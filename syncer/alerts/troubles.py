"""What is wrong, as the journal, the source and the config have it. Pure: the same survey has the same troubles.

A trouble sits in a slot of a sync (its last run, its rejected records, its source) or of a destination (its quota, its
credentials). What has one cause is one trouble to people, however many syncs it hits: a key that a destination
refuses, a table that nobody built. `cause` tells them apart, and `group` says what is told in one message.

Sentences hold names, counts and shares, and never a key or a value: of a hold just the brake and its numbers, since
the sentence of a brake on distributions tells somebody's value.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from syncer.alerts.settings import Alert
from syncer.control import Run
from syncer.spans import seconds_of
from syncer.survey import Health, Survey, quotas

SENTENCE_CHARACTERS_MAX = 500


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that needs somebody."""

    slot: str
    """Where it sits: run, rejected, source, quota, credentials or config."""
    subject: str
    """The sync or the destination that has it; empty for the config."""
    syncs: tuple[str, ...]
    """The syncs that it concerns; none means all."""
    cause: str
    kind: str
    """The word of `on` that it is told under."""
    events: frozenset[str]
    """Every word of `on` that asks for it."""
    group: str
    title: str
    sentence: str
    run: int | None = None
    amount: float = 0.0
    """What a limit of an alert is compared with."""


def troubles(found: Survey, now: float, broken: str | None = None) -> list[Trouble]:
    """Everything that is wrong; `broken` says why the changed config cannot be used."""
    today = datetime.datetime.fromtimestamp(now, datetime.UTC).date()
    listed = list(_of_syncs(found, now))
    by_destination: dict[str, list[str]] = {}
    for health in found.healths:
        by_destination.setdefault(health.sync.destination, []).append(health.sync.name)
    for destination, quota in quotas(found.healths).items():
        listed.append(_quota(destination, quota, tuple(by_destination[destination])))
    for destination, day in found.expires.items():
        listed.append(_expiring(destination, day, today, tuple(by_destination.get(destination, ()))))
    if broken is not None:
        listed.append(
            Trouble(
                "config", "", (), "config", "config", frozenset({"config"}), "config",
                "The changed files cannot be used", _short(f"Syncer goes on with what it read before. {broken}"),
            )
        )  # fmt: skip
    return listed


def concerns(alert: Alert, trouble: Trouble) -> bool:
    """Whether an alert is to tell of a trouble."""
    if trouble.events.isdisjoint(alert.on):
        return False
    names = {trouble.subject, *trouble.syncs, *(sync.partition(".")[0] for sync in trouble.syncs)}
    if alert.syncs and trouble.syncs and names.isdisjoint(alert.syncs):
        return False
    if trouble.slot == "rejected":
        return trouble.amount > alert.rejected_max
    if trouble.slot == "quota":
        return trouble.amount >= alert.quota_max
    if trouble.slot == "credentials":
        return trouble.amount * 86400 <= seconds_of(alert.expires_within)
    return True


def _of_syncs(found: Survey, now: float) -> Iterator[Trouble]:
    for health in found.healths:
        if health.last is not None and health.last.result == "held":
            yield _held(health, health.last)
        elif health.last is not None and health.last.result == "failed":
            yield _failed(health, health.last)
        if health.rejected_share:
            yield _rejected(health)
        modified = found.modified.get(health.sync.name)
        if modified is not None and (stale := _stale(health, now - modified.timestamp())):
            yield stale


def _held(health: Health, run: Run) -> Trouble:
    sync, brakes = health.sync, health.brakes
    events = frozenset({"held", *(_ALSO[brake] for brake in brakes if brake in _ALSO)})
    told = "; ".join(
        f"{hold['brake']}: {_number(hold['found'])}"
        + ("" if hold["limit"] is None else f", and the limit is {_number(hold['limit'])}")
        for hold in run.facts.get("holds", [])
    )
    if brakes == ["max_age"]:
        return Trouble(
            "run", sync.name, (sync.name,), _stale_cause(health), "stale", events, _stale_cause(health),
            f"{_table(health)} is stale", f"{sync.name} is held, because its source is too old. {told}.", run.id,
        )  # fmt: skip
    return Trouble(
        "run", sync.name, (sync.name,), f"held:{sync.name}", "held", events, f"held:{sync.destination}",
        f"{sync.name} is held", f"{sync.name} is held, and nothing was sent. {told}.", run.id,
    )  # fmt: skip


def _failed(health: Health, run: Run) -> Trouble:
    sync, word = health.sync, str(run.facts.get("cause", "fault"))
    sentence = _short(run.error or "It failed.")
    kind, events, title = "failed", frozenset({"failed"}), f"{sync.name} failed"
    if word in ("credentials", "quota"):
        kind, events = word, events | {word}
        cause = f"{word}:{sync.destination}"
    elif word in _OF_DESTINATION:
        cause = f"failed:{word}:{sync.destination}"
    elif word == "source":
        cause = "failed:source"
    else:
        # One sentence for several syncs is one thing to mend, as a warehouse that is locked.
        cause = f"failed:{word}:{hashlib.sha256(sentence.encode()).hexdigest()[:16]}"
    if word in _TITLES:
        title = _TITLES[word].format(sync.destination)
    return Trouble("run", sync.name, (sync.name,), cause, kind, events, cause, title, sentence, run.id)


_OF_DESTINATION = frozenset({"unavailable", "destination"})
_TITLES: Mapping[str, str] = {
    "credentials": "{} refused the credentials",
    "quota": "The quota of {} is used up",
    "unavailable": "{} does not answer as it should",
    "destination": "{} cannot be used",
    "source": "The source cannot be read",
}
_ALSO: Mapping[str, str] = {"max_age": "stale", "quota": "quota"}
"""Brakes that hold for a reason which has a word of its own."""


def _rejected(health: Health) -> Trouble:
    sync, run, share = health.sync, health.delivered, health.rejected_share
    assert run is not None  # noqa: S101 - without such a run the share is 0
    refused = run.rejected - int(run.facts.get("missing", 0))
    return Trouble(
        "rejected", sync.name, (sync.name,), f"rejected:{sync.name}", "rejected", frozenset({"rejected"}),
        f"rejected:{sync.destination}", f"{sync.name}: {share:.1%} of the records were rejected",
        f"{sync.destination} rejected {refused:,} of {run.accepted + refused:,} records of {sync.name}. "
        f"`syncer rejected {sync.name}` says why.", run.id, share,
    )  # fmt: skip


def _stale(health: Health, age_seconds: float) -> Trouble | None:
    limit = health.sync.brakes.max_age
    if limit is None or age_seconds <= seconds_of(limit):
        return None
    return Trouble(
        "source", health.sync.name, (health.sync.name,), _stale_cause(health), "stale", frozenset({"stale"}),
        _stale_cause(health), f"{_table(health)} is stale",
        f"It last changed {age_seconds / 3600:,.0f} hours ago, and max_age is {limit}. Look whether the models were "
        "built.",
    )  # fmt: skip


def _stale_cause(health: Health) -> str:
    return f"stale:{_table(health)}"


def _table(health: Health) -> str:
    return health.sync.source or f"The source of {health.sync.name}"


def _quota(destination: str, quota: Mapping[str, int], syncs: tuple[str, ...]) -> Trouble:
    used, allowed = quota["used"], quota["allowed"]
    share = used / allowed if allowed else 0.0
    return Trouble(
        "quota", destination, syncs, f"quota:{destination}", "quota", frozenset({"quota"}), f"quota:{destination}",
        f"The quota of {destination} is {share:.0%} used",
        f"{used:,} of {allowed:,} requests are used, and {quota['left']:,} are left for Syncer.", amount=share,
    )  # fmt: skip


def _expiring(destination: str, day: datetime.date, today: datetime.date, syncs: tuple[str, ...]) -> Trouble:
    days = (day - today).days
    when = "ended" if days < 0 else "end"
    cause = f"expires:{destination}:{day.isoformat()}"
    return Trouble(
        "credentials", destination, syncs, cause, "credentials", frozenset({"credentials"}), cause,
        f"The credentials of {destination} {when} on {day.isoformat()}",
        f"Give [destinations.{destination}] new ones, and correct `expires`.", amount=float(days),
    )  # fmt: skip


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SENTENCE_CHARACTERS_MAX else line[: SENTENCE_CHARACTERS_MAX - 1] + "…"


def chosen(alert: Alert, listed: Iterable[Trouble]) -> list[Trouble]:
    """The troubles that an alert is to tell of."""
    return [one for one in listed if concerns(alert, one)]
