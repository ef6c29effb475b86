"""Delivery: a plan's changes, cut into batches, several in flight, each remembered before the next one leaves.

Before a batch leaves, one synced commit says that it is about to, and what became of the batches before. A
batch whose outcome never gets written down is in doubt, and its records are sent again by the next run.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import partial

from syncer.change import MISSING, Change, Outcome, Value, deferred
from syncer.control import Code, Control, Settled, answers_text
from syncer.crew import Crew
from syncer.destination import Destination, Limits
from syncer.errors import DestinationUnusable, ServiceUnavailable, StateDamaged, Stopping, SyncerError, cause_of
from syncer.logs import place_of
from syncer.mapping import Sync
from syncer.plan import HIDDEN, Cost, Plan, shown
from syncer.pushing import BrokenPromise, Pauses, Pushed, Pushing
from syncer.redaction import redacted, secrets_of
from syncer.room import Room
from syncer.stages import Stages
from syncer.transport import TOO_MANY

REJECTED_SHARE_MAX = 0.5
"""When more than this share of the first outcomes is refused, something is wrong with more than a record."""
REJECTED_AFTER = 1_000
"""Outcomes before that share is looked at."""
STOP_SECONDS = 25.0
"""How long a stopping process waits for what is in flight; what is not back by then is in doubt."""
LOOK_SECONDS = 0.2
"""How often a delivery that waits looks whether the process is to stop."""
MESSAGE_CHARACTERS_MAX = 500

PACED = "rescore_rate"
"""Code of the reason for which records of a plan are left to the next runs."""


@dataclass(slots=True)
class Batch:
    """Changes that leave together; lo and hi are their rows in the plan."""

    lo: int
    changes: list[Change] = field(default_factory=list)
    payloads: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, rows: Iterable[tuple[str, Change]], lo: int) -> Batch:
        """A batch of these (payload, change), the first of which is row `lo` of the plan."""
        batch = cls(lo)
        for payload, change in rows:
            batch.changes.append(change)
            batch.payloads.append(payload)
        return batch

    @property
    def hi(self) -> int:
        """One past the last row."""
        return self.lo + len(self.changes)


@dataclass(slots=True)
class Tally:
    """How the outcomes of some changes count."""

    accepted: int = 0
    rejected: int = 0
    deferred: int = 0
    unsent: int = 0
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(result, code) → how many, for everything that was rejected or deferred, or is left to the next runs."""
    samples: dict[tuple[str, str], str] = field(default_factory=dict)
    """(result, code) → one message."""
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(kind of change, accepted, rejected, deferred or unsent) → how many."""

    def count(self, result: str, code: str, message: str) -> None:
        """One change that was rejected or deferred."""
        if result == "rejected":
            self.rejected += 1
        else:
            self.deferred += 1
        self.reasons[result, code] += 1
        self.samples.setdefault((result, code), message)

    def add(self, other: Tally) -> None:
        """Count the changes of another tally too."""
        self.accepted += other.accepted
        self.rejected += other.rejected
        self.deferred += other.deferred
        self.unsent += other.unsent
        self.reasons.update(other.reasons)
        self.kinds.update(other.kinds)
        self.samples = other.samples | self.samples

    @property
    def refused(self) -> int:
        """Rejected records that are at the destination: what is not there was skipped on purpose."""
        return self.rejected - self.reasons["rejected", MISSING]


@dataclass(slots=True, kw_only=True)
class Delivered(Tally):
    """What became of a plan. The four counts add up to `planned`."""

    planned: int
    error: str | None = None
    cause: str | None = None
    """One word for `error`, as errors have it; "records" when too many of them were refused."""

    @property
    def counts(self) -> dict[str, int]:
        """The counts of the JSON form."""
        return {
            "planned": self.planned,
            "accepted": self.accepted,
            "rejected": self.rejected,
            "deferred": self.deferred,
            "unsent": self.unsent,
        }


def cut(
    rows: Iterator[tuple[str, Change]], destination: Destination, sync: Sync, limits: Limits, lo: int = 0
) -> Iterator[Batch]:
    """Batches as full as the destination's limits allow, in the plan's order."""
    batch, size = Batch(lo), 0
    heaviest, records_max = limits.utf8_bytes, limits.records
    for payload, change in rows:
        weight = 0 if heaviest is None else destination.weigh(sync, change)
        is_full = len(batch.changes) >= records_max
        is_heavy = heaviest is not None and batch.changes and size + weight > heaviest
        if is_full or is_heavy:
            yield batch
            batch, size = Batch(batch.hi), 0
        batch.changes.append(change)
        batch.payloads.append(payload)
        size += weight
    if batch.changes:
        yield batch


@dataclass(slots=True)
class Delivery:
    """One plan on its way to one destination."""

    plan: Plan
    plan_id: int
    sync_id: int
    destination: Destination
    control: Control
    stop: threading.Event
    records_max: int | None = None
    """A canary: no more than so many records are sent."""
    progress: Callable[[int], None] = lambda done: None
    pauses: Pauses = field(default_factory=Pauses)
    stages: Stages = field(default_factory=Stages)

    def deliver(self) -> Delivered:
        """Send what may be sent and remember each outcome; the counts add up in whatever way it ends.

        When the store cannot be written, nothing more leaves, and what could not be remembered counts as deferred.
        """
        sync, later = self.plan.sync, self.plan.later
        sendable = _sendable(self.plan, self.records_max)
        limits = self.destination.cut(sync, sendable)
        with Crew() as crew:
            flight = _Flight(self, crew, Room(self.destination.settings.in_flight or limits.in_flight))
            try:
                for batch in cut(self.plan.rows_of(0, sendable), self.destination, sync, limits):
                    flight.land()
                    if self.stop.is_set() or flight.is_over or not flight.remember((self.plan_id, batch.lo, batch.hi)):
                        break
                    flight.take_off(batch)
            except Exception as error:  # noqa: BLE001 - a fault in weighing must not lose what is in flight
                flight.error = error
            flight.land_all()
            flight.remember(None)
        done = flight.done
        done.unsent += self.plan.sendable - flight.sent
        if later:
            done.reasons["unsent", PACED] = later
            done.samples["unsent", PACED] = (
                f"{later:,} re-scored records wait for the next runs: `rescore_rate` lets {sync.rescore_rate:,} go in "
                "each."
            )
        done.error = self._error(flight, sendable - flight.sent)
        done.cause = self._cause(flight) if done.error else None
        return done

    def push(self, batch: Batch) -> Pushed:
        """Push one batch whose intent is durable; belongs to a thread of its own."""
        with self.stages.piece("push batch", changes=len(batch.changes)):
            return self._pushing.push(batch.changes, partial(self.control.note_job, self.plan_id, batch.lo))

    def resume(self, batch: Batch, job: str) -> Tally:
        """Find out what became of a batch that a process left behind with a job, and remember it.

        Raises what the destination raises: as long as its job cannot be asked, nothing may be sent again.
        """
        pushed = self._pushing.resume(job, batch.changes, partial(self.control.note_job, self.plan_id, batch.lo))
        for change in batch.changes:
            pushed.outcomes.setdefault(change.key, deferred(change, "unknown", "", doubt=True))
        settled, tally = self.settle(batch, pushed)
        self.control.commit(self.sync_id, [settled], None)
        if pushed.raised is not None:
            raise pushed.raised
        return tally

    @property
    def _pushing(self) -> Pushing:
        return Pushing(self.plan.sync, self.destination, self.stop, self.pauses)

    def settle(self, batch: Batch, pushed: Pushed) -> tuple[Settled, Tally]:
        """What is to be remembered of a batch, and how it counts once it is."""
        codes = bytearray(len(batch.changes))
        # A job that could not be asked to its end is taken up again by the next run.
        settled, tally = Settled(self.plan_id, batch.lo, b"", is_over=pushed.raised is None), Tally()
        rejections: list[tuple[int, str, str]] = []
        for row, change in enumerate(batch.changes):
            outcome = pushed.outcomes.get(change.key) or _without_outcome(change, pushed.raised)
            if outcome is None:
                # Refused as a whole before anything was applied: it is as if it had never left.
                codes[row] = Code.DEFERRED
                tally.unsent += 1
                continue
            codes[row] = _code(outcome)
            tally.kinds[change.kind, outcome.result] += 1
            if outcome.result == "accepted":
                tally.accepted += 1
                if change.key in self.plan.parked_keys:
                    settled.cleared.append(change.key)
                continue
            message = self._clean(outcome.message, change)
            if outcome.result == "rejected":
                settled.parked.append((change.key, batch.payloads[row], outcome.code, message))
                rejections.append((row, outcome.code, message))
            tally.count(outcome.result, outcome.code, message)
        settled.codes = bytes(codes)
        told = pushed.requests
        settled.answers = answers_text(
            rejections, _runs(told.get(one.key, "") for one in batch.changes) if told else []
        )
        return settled, tally

    def _clean(self, message: str, change: Change) -> str:
        """A destination may quote what was sent; neither credentials nor sensitive values are kept."""
        message = redacted(message, secrets_of(self.destination.settings))
        for one in self.plan.sync.fields:
            if one.sensitive:
                for value in (change.fields.get(one.name), change.before.get(one.name)):
                    for text in _spellings(value):
                        message = message.replace(text, HIDDEN)
        return message[:MESSAGE_CHARACTERS_MAX]

    def _cause(self, flight: _Flight) -> str:
        """One word for the run's error."""
        if flight.error is None:
            return Stopping.cause if self.stop.is_set() else "records"
        return cause_of(flight.error)

    def _error(self, flight: _Flight, left: int) -> str | None:
        """One sentence for the run, not one per record; None when all went as it should."""
        error, done = flight.error, flight.done
        if self.stop.is_set() and (left or flight.abandoned or isinstance(error, Stopping)):
            return "The process was asked to stop; the next run goes on where this one ended."
        if error is None:
            if not left:
                return None
            return (
                f"{done.refused:,} of the first {done.accepted + done.rejected:,} records were refused, so the run "
                f"stopped. Look at them with `syncer rejected {self.plan.sync.name}`."
            )
        if isinstance(error, SyncerError):
            return str(error)
        if isinstance(error, BrokenPromise):
            return f"Syncer's fault: {error}."
        return (
            f"Syncer's fault: sending to {self.destination.kind} failed with {type(error).__name__} "
            f"({place_of(error)}). Please report this."
        )


class _Flight:
    """The batches in flight, what they came to, and what of that the store knows already."""

    def __init__(self, delivery: Delivery, crew: Crew, room: Room) -> None:
        self._delivery = delivery
        self._crew = crew
        self._room = room
        self._flying: dict[Future[Pushed], Batch] = {}
        self._landed: list[tuple[Settled, Tally]] = []
        self.done = Delivered(planned=delivery.plan.sendable)
        self.error: Exception | None = None
        self.sent = 0
        """Changes that left."""
        self.abandoned = 0
        """Changes of them that a stopping process did not wait for. Their intent stays, so they are in doubt."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more should be asked of this destination in this run."""
        if self.error is not None and not isinstance(self.error, ServiceUnavailable):
            return True
        outcomes = self.done.accepted + self.done.rejected
        return outcomes >= REJECTED_AFTER and self.done.refused / outcomes > REJECTED_SHARE_MAX

    def take_off(self, batch: Batch) -> None:
        """Send a batch whose intent is durable."""
        self._flying[self._crew.start(partial(self._delivery.push, batch))] = batch
        self.sent += len(batch.changes)

    def land(self) -> None:
        """Take what is back, and wait until there is room for one more, or the process is to stop."""
        self._take(0)
        while len(self._flying) >= self._room.size and not self._delivery.stop.is_set():
            self._take(LOOK_SECONDS)

    def land_all(self) -> None:
        """Wait for everything in flight; a process that was asked to stop gives up after a while."""
        given_up: float | None = None
        while self._flying:
            if self._delivery.stop.is_set() and given_up is None:
                given_up = time.monotonic() + STOP_SECONDS
            if given_up is not None and time.monotonic() > given_up:
                break
            self._take(LOOK_SECONDS)
        self.abandoned = sum(len(batch.changes) for batch in self._flying.values())
        self.done.deferred += self.abandoned

    def remember(self, intent: tuple[int, int, int] | None) -> bool:
        """One commit: what landed, and what leaves next. False when it failed, and nothing may leave then."""
        delivery = self._delivery
        try:
            with delivery.stages.stage("commit"):
                delivery.control.commit(delivery.sync_id, [settled for settled, _ in self._landed], intent)
        except StateDamaged as error:
            self.error = error
            for settled, _ in self._landed:
                # Their intent is all that the store has of them, so the next run sends them again.
                self.done.deferred += len(settled.codes)
                self.done.reasons["deferred", "unremembered"] += len(settled.codes)
            self._landed = []
            return False
        for _, tally in self._landed:
            self.done.add(tally)
        self._landed = []
        return True

    def _take(self, timeout: float) -> None:
        transport = self._delivery.destination.transport
        was_full = len(self._flying) >= self._room.size
        for future in wait(self._flying, timeout=timeout, return_when=FIRST_COMPLETED).done:
            batch = self._flying.pop(future)
            told = {"too_many": transport.statuses[TOO_MANY], "paced": transport.paced}
            self._room.landed(others=len(self._flying), was_full=was_full, **told)
            pushed = future.result()
            self._landed.append(self._delivery.settle(batch, pushed))
            self._delivery.progress(len(batch.changes))
            if pushed.raised is not None and (self.error is None or isinstance(self.error, ServiceUnavailable)):
                self.error = pushed.raised


def _without_outcome(change: Change, raised: Exception | None) -> Outcome | None:
    """What a change without an outcome is: None when nothing of it can have been applied and nothing was asked."""
    if isinstance(raised, DestinationUnusable) or (isinstance(raised, Stopping) and not raised.doubt):
        return None
    doubt = raised.doubt if isinstance(raised, ServiceUnavailable | Stopping) else True
    code = "unavailable" if isinstance(raised, ServiceUnavailable) else "unknown"
    return Outcome(change.key, "deferred", code, str(raised) if isinstance(raised, ServiceUnavailable) else "", doubt)


def _code(outcome: Outcome) -> int:
    if outcome.result == "accepted":
        return Code.ACCEPTED
    if outcome.result == "rejected":
        return Code.REJECTED
    return Code.UNKNOWN if outcome.doubt else Code.DEFERRED


def _runs(texts: Iterable[str]) -> list[tuple[int, str]]:
    """(place, text) of each text that is not the one before it; where there is none at first, nothing is said."""
    runs, last = [], ""
    for place, text in enumerate(texts):
        if text != last:
            runs.append((place, text))
            last = text
    return runs


def _spellings(value: Value) -> list[str]:
    """How a destination may quote a value."""
    if value is None or isinstance(value, bool):
        return []
    texts = [str(shown(value))]
    if isinstance(value, float):
        texts.append(f"{value:g}")
    return [text for text in texts if text]


def _sendable(plan: Plan, records_max: int | None) -> int:
    """How many records of a plan one run sends at most."""
    sendable = plan.sendable - plan.later
    return sendable if records_max is None else min(records_max, sendable)


def estimate(plan: Plan, destination: Destination, records_max: int | None = None) -> Cost:
    """What one run of a plan (a canary of it: `records_max` records) costs: its batches are cut as they will be, and a
    very large plan is extrapolated. Asks nothing of the service."""
    sendable = _sendable(plan, records_max)
    limits = destination.cut(plan.sync, sendable)
    looked_at = min(sendable, max(SAMPLED, limits.records))
    requests = sum(
        destination.requests(plan.sync, batch.changes)
        for batch in cut(plan.rows_of(0, looked_at), destination, plan.sync, limits)
    )
    if looked_at:
        requests = -(-requests * sendable // looked_at)
    return Cost(requests, limits.way if sendable else "")


SAMPLED = 20_000
"""Changes of a plan that are cut into batches to learn its cost."""
