"""Delivery: a plan's changes, cut into batches, several in flight, each remembered before the next one leaves.

Before a batch leaves, one synced commit says that it is about to, and what became of the batches before. A
batch whose outcome never gets written down is in doubt, and its records are sent again by the next run.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import partial

from syncer.batches import AnyBatch, Batch, cut, sendable
from syncer.change import Alike, Change, Outcome, Value
from syncer.control import Code, Control, Settled, answers_text
from syncer.crew import Crew
from syncer.destination import Destination
from syncer.errors import DestinationUnusable, ServiceUnavailable, StateDamaged, Stopping, SyncerError, cause_of
from syncer.logs import place_of
from syncer.plan import HIDDEN, KINDS, Plan, shown
from syncer.pushing import BrokenPromise, Pauses, Pushed, Pushing
from syncer.redaction import redacted, secrets_of
from syncer.room import Room
from syncer.stages import Stages
from syncer.tally import Delivered, Tally
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
        most = sendable(self.plan, self.records_max)
        limits = self.destination.cut(sync, most)
        with Crew() as crew:
            flight = _Flight(self, crew, Room(self.destination.settings.in_flight or limits.in_flight))
            try:
                for batch in cut(self.plan, most, self.destination, limits):
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
        done.error = self._error(flight, most - flight.sent)
        done.cause = self._cause(flight) if done.error else None
        return done

    def push(self, batch: AnyBatch) -> Pushed:
        """Push one batch whose intent is durable; belongs to a thread of its own."""
        with self.stages.piece("push batch", changes=len(batch)):
            return self._pushing.push(batch.changes, partial(self.control.note_job, self.plan_id, batch.lo))

    def resume(self, batch: AnyBatch, job: str) -> Tally:
        """Find out what became of a batch that a process left behind with a job, and remember it.

        Raises what the destination raises: as long as its job cannot be asked, nothing may be sent again.
        """
        pushed = self._pushing.resume(job, batch.changes, partial(self.control.note_job, self.plan_id, batch.lo))
        settled, tally = self.settle(batch, pushed, _unheard(None))
        self.control.commit(self.sync_id, [settled], None)
        if pushed.raised is not None:
            raise pushed.raised
        return tally

    @property
    def _pushing(self) -> Pushing:
        return Pushing(self.plan.sync, self.destination, self.stop, self.pauses)

    def settle(self, batch: AnyBatch, pushed: Pushed, unheard: Outcome | None) -> tuple[Settled, Tally]:
        """What is to be remembered of a batch, and how it counts once it is.

        `unheard` is the outcome of what was not heard of; None when it is as if it had never left.
        """
        codes, own = _codes(batch, pushed)
        tally = Tally()
        # A job that could not be asked to its end is taken up again by the next run.
        settled = Settled(self.plan_id, batch.lo, b"", is_over=pushed.raised is None)
        rejections: list[tuple[int, str, str]] = []
        for place, (payload, change) in zip(own, batch.picked(own), strict=True):
            outcome = pushed.outcomes[change.key]
            message = self._clean(outcome.message, change)
            if outcome.result == "rejected":
                settled.parked.append((change.key, payload, outcome.code, message))
                rejections.append((place, outcome.code, message))
            tally.count(outcome.result, outcome.code, message)
        alike = [one for one, _ in pushed.alike if one.places and one.outcome.result != "accepted"]
        if _UNHEARD in codes and unheard is not None:
            alike.append(Alike(unheard, [place for place, code in enumerate(codes) if code == _UNHEARD]))
            codes = codes.replace(bytes([_UNHEARD]), bytes([_code(unheard)]))
        for one in alike:
            (_, first), *_ = batch.picked(one.places[:1])
            message = self._clean(one.outcome.message, first)
            tally.count(one.outcome.result, one.outcome.code, message, len(one.places))
        tally.accepted = codes.count(Code.ACCEPTED)
        tally.unsent = codes.count(_UNHEARD)
        tally.kinds = Counter(zip(batch.kinds(), map(_RESULTS.__getitem__, codes), strict=True))
        for kind in KINDS.values():
            tally.kinds.pop((kind, ""), None)
        settled.codes = bytes(codes.replace(bytes([_UNHEARD]), bytes([Code.DEFERRED])))
        if parked := self.plan.parked_keys:
            done = zip(batch.keys(), codes, strict=True)
            settled.cleared = [key for key, code in done if code == Code.ACCEPTED and key in parked]
        settled.answers = answers_text(rejections, _runs(_requests(batch, pushed)))
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
        self._flying: dict[Future[Pushed], AnyBatch] = {}
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

    def take_off(self, batch: AnyBatch) -> None:
        """Send a batch whose intent is durable."""
        self._flying[self._crew.start(partial(self._delivery.push, batch))] = batch
        self.sent += len(batch)

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
        self.abandoned = sum(len(batch) for batch in self._flying.values())
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
            self._landed.append(self._delivery.settle(batch, pushed, _unheard(pushed.raised)))
            self._delivery.progress(len(batch))
            if pushed.raised is not None and (self.error is None or isinstance(self.error, ServiceUnavailable)):
                self.error = pushed.raised


def _unheard(raised: Exception | None) -> Outcome | None:
    """The outcome of changes that have none: None when nothing of them can have been applied and nothing was asked, so
    that it is as if they had never left."""
    if isinstance(raised, DestinationUnusable) or (isinstance(raised, Stopping) and not raised.doubt):
        return None
    doubt = raised.doubt if isinstance(raised, ServiceUnavailable | Stopping) else True
    code = "unavailable" if isinstance(raised, ServiceUnavailable) else "unknown"
    return Outcome("", "deferred", code, str(raised) if isinstance(raised, ServiceUnavailable) else "", doubt)


_UNHEARD = 254
"""Stands among the codes of a batch for a change of which nothing was heard."""
_RESULTS: Mapping[int, str] = {
    Code.ACCEPTED: "accepted",
    Code.REJECTED: "rejected",
    Code.DEFERRED: "deferred",
    Code.UNKNOWN: "deferred",
    _UNHEARD: "",
}


def _codes(batch: AnyBatch, pushed: Pushed) -> tuple[bytearray, list[int]]:
    """A code for each change, and the places of those that were not accepted by an outcome of their own."""
    codes = bytearray([_UNHEARD]) * len(batch)
    for one, _ in pushed.alike:
        code = _code(one.outcome)
        for place in one.places:
            codes[place] = code
    if isinstance(batch, Batch):
        told = [pushed.outcomes.get(change.key) for change in batch.changes]
        own = []
        for place, outcome in enumerate(told):
            if outcome is not None:
                codes[place] = code = _code(outcome)
                if code != Code.ACCEPTED:
                    own.append(place)
        return codes, own
    for key, place in pushed.places.items():
        codes[place] = _code(pushed.outcomes[key])
    return codes, sorted(place for place in pushed.places.values() if codes[place] != Code.ACCEPTED)


def _requests(batch: AnyBatch, pushed: Pushed) -> Iterable[str]:
    """For each change the service's id of the request that told its outcome; nothing at all where there are no ids."""
    if isinstance(batch, Batch):
        return (pushed.requests.get(change.key, "") for change in batch.changes) if pushed.requests else ()
    if not pushed.requests and not any(request for _, request in pushed.alike):
        return ()
    requests = [""] * len(batch)
    for one, request in pushed.alike:
        for place in one.places:
            requests[place] = request
    for key, request in pushed.requests.items():
        requests[pushed.places[key]] = request
    return requests


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
