"""Delivery: a plan's changes, cut into batches, several in flight, each remembered before the next one leaves.

Before a batch leaves, one synced commit says that it is about to, and what became of the batches before. A
batch whose outcome never gets written down is in doubt, and its records are sent again by the next run.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from syncer.change import Change, Outcome, deferred
from syncer.control import Code, Control, Settled
from syncer.destination import Destination, Limits
from syncer.errors import DestinationUnusable, ServiceUnavailable, Stopping
from syncer.mapping import Sync
from syncer.plan import HIDDEN, Plan, shown

log = structlog.get_logger(__name__)

REJECTED_SHARE_MAX = 0.5
"""When more than this share of the first outcomes is refused, something is wrong with more than a record."""
REJECTED_AFTER = 1_000
"""Outcomes before that share is looked at."""
STOP_SECONDS = 25.0
"""How long a stopping process waits for what is in flight; what is not back by then is in doubt."""
MESSAGE_CHARACTERS_MAX = 500

MISSING = "missing"
"""Code of an outcome for a record that is not at the destination, where the mapping says to skip it."""

T = TypeVar("T")


@dataclass(slots=True)
class Batch:
    """Changes that leave together; lo and hi are their rows in the plan."""

    lo: int
    changes: list[Change] = field(default_factory=list)
    payloads: list[str] = field(default_factory=list)

    @property
    def hi(self) -> int:
        """One past the last row."""
        return self.lo + len(self.changes)


@dataclass(slots=True)
class Delivered:
    """What became of a plan. The four counts add up to `planned`."""

    planned: int
    accepted: int = 0
    rejected: int = 0
    deferred: int = 0
    unsent: int = 0
    error: str | None = None
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(result, code) → how many, for everything that was not accepted."""
    samples: dict[tuple[str, str], str] = field(default_factory=dict)
    """(result, code) → one message."""

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
    for payload, change in rows:
        weight = destination.weigh(sync, change) if limits.utf8_bytes is not None else 0
        is_full = len(batch.changes) >= limits.records
        is_heavy = limits.utf8_bytes is not None and batch.changes and size + weight > limits.utf8_bytes
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

    def deliver(self) -> Delivered:
        """Send what may be sent and remember each outcome. Raises StateDamaged when an intent cannot be written;
        nothing leaves then."""
        sync = self.plan.sync
        limits = self.destination.limits(sync)
        in_flight_max = self.destination.settings.in_flight or limits.in_flight
        sendable = self.plan.sendable if self.records_max is None else min(self.records_max, self.plan.sendable)
        done = Delivered(planned=self.plan.sendable)
        flying: dict[Future[tuple[dict[str, Outcome], Exception | None]], Batch] = {}
        settled: list[Settled] = []
        error: Exception | None = None
        sent = 0

        def land(futures: set[Future[tuple[dict[str, Outcome], Exception | None]]]) -> None:
            nonlocal error
            for future in futures:
                batch = flying.pop(future)
                outcomes, raised = future.result()
                settled.append(self._settle(batch, outcomes, raised, done))
                self.progress(len(batch.changes))
                if raised is not None and (error is None or isinstance(error, ServiceUnavailable)):
                    error = raised

        for batch in cut(self.plan.rows_of(0, sendable), self.destination, sync, limits):
            if len(flying) >= in_flight_max:
                land(wait(flying, return_when=FIRST_COMPLETED).done)
            else:
                land({future for future in flying if future.done()})
            if self.stop.is_set() or self._is_over(error, done):
                break
            self.control.commit(self.sync_id, settled, (self.plan_id, batch.lo, batch.hi))
            settled = []
            flying[_start(lambda batch=batch: self._push(batch))] = batch  # type: ignore[misc] # bound at once
            sent += len(batch.changes)
        self._wait_for(flying, land)
        # Whoever is still flying was given up by a stop: the intent stays, so these records are in doubt.
        abandoned = sum(len(batch.changes) for batch in flying.values())
        self.control.commit(self.sync_id, settled, None)
        done.deferred += abandoned
        done.unsent += self.plan.sendable - sent
        done.error = self._error(error, done, sendable - sent, abandoned)
        return done

    def _push(self, batch: Batch) -> tuple[dict[str, Outcome], Exception | None]:
        """Push one batch; outcomes by key as far as they are known, and what was raised."""
        outcomes: dict[str, Outcome] = {}
        keys = {change.key for change in batch.changes}
        is_in_doubt = self.destination.transport.watch_doubt()
        try:
            for outcome in self.destination.push(self.plan.sync, batch.changes):
                if outcome.key not in keys or outcome.key in outcomes:
                    raise _BrokenPromise(f"the adapter {self.destination.kind} gave an outcome that nobody waits for")
                outcomes[outcome.key] = outcome
        except (DestinationUnusable, ServiceUnavailable, Stopping) as error:
            if is_in_doubt():
                for change in batch.changes:
                    if change.key not in outcomes:
                        outcomes[change.key] = deferred(change, "unknown", str(error), doubt=True)
            return outcomes, error
        except Exception as error:  # noqa: BLE001 - a fault of an adapter must not lose the outcomes of others
            # Only the kind of the fault is logged: its text may hold people's data.
            log.error("adapter_failed", adapter=self.destination.kind, error=type(error).__name__, at=_where(error))
            return outcomes, error
        if len(outcomes) < len(keys):
            return outcomes, _BrokenPromise(f"the adapter {self.destination.kind} gave no outcome for some records")
        return outcomes, None

    def _settle(self, batch: Batch, outcomes: dict[str, Outcome], raised: Exception | None, done: Delivered) -> Settled:
        codes = bytearray(len(batch.changes))
        settled = Settled(self.plan_id, batch.lo, b"")
        for row, change in enumerate(batch.changes):
            outcome = outcomes.get(change.key) or _without_outcome(change, raised)
            if outcome is None:
                # Refused as a whole before anything was applied: it is as if it had never left.
                codes[row] = Code.DEFERRED
                done.unsent += 1
                continue
            codes[row] = _code(outcome)
            if outcome.result == "accepted":
                done.accepted += 1
                if change.key in self.plan.parked_keys:
                    settled.cleared.append(change.key)
                continue
            message = self._clean(outcome.message, change)
            if outcome.result == "rejected":
                done.rejected += 1
                settled.parked.append((change.key, batch.payloads[row], outcome.code, message))
            else:
                done.deferred += 1
            reason = (outcome.result, outcome.code)
            done.reasons[reason] += 1
            done.samples.setdefault(reason, message)
        settled.codes = bytes(codes)
        return settled

    def _clean(self, message: str, change: Change) -> str:
        """A destination may quote values; sensitive ones are never kept."""
        for one in self.plan.sync.fields:
            value = change.fields.get(one.name)
            if one.sensitive and value is not None and str(shown(value)):
                message = message.replace(str(shown(value)), HIDDEN)
        return message[:MESSAGE_CHARACTERS_MAX]

    def _is_over(self, error: Exception | None, done: Delivered) -> bool:
        """Whether nothing more should be asked of this destination in this run."""
        if error is not None and not isinstance(error, ServiceUnavailable):
            return True
        outcomes = done.accepted + done.rejected
        refused = done.rejected - done.reasons["rejected", MISSING]
        return outcomes >= REJECTED_AFTER and refused / outcomes > REJECTED_SHARE_MAX

    def _wait_for(self, flying: dict[Future[T], Batch], land: Callable[[set[Future[T]]], None]) -> None:
        given_up = None
        while flying:
            if self.stop.is_set() and given_up is None:
                given_up = time.monotonic() + STOP_SECONDS
            if given_up is not None and time.monotonic() > given_up:
                return
            land(wait(flying, timeout=0.2, return_when=FIRST_COMPLETED).done)

    def _error(self, error: Exception | None, done: Delivered, left: int, abandoned: int) -> str | None:
        """One sentence for the run, not one per record; None when all went as it should."""
        if self.stop.is_set() and (left or abandoned or isinstance(error, Stopping)):
            return "The process was asked to stop; the next run goes on where this one ended."
        if error is None:
            if left:
                refused = done.rejected - done.reasons["rejected", MISSING]
                return (
                    f"{refused:,} of the first {done.accepted + done.rejected:,} records were refused, so the run stopped. "
                    f"Look at them with `syncer rejected {self.plan.sync.name}`."
                )
            return None
        if isinstance(error, DestinationUnusable | ServiceUnavailable | Stopping):
            return str(error)
        if isinstance(error, _BrokenPromise):
            return f"Syncer's fault: {error}."
        return (
            f"Syncer's fault: the adapter {self.destination.kind} failed with {type(error).__name__} ({_where(error)})."
        )


class _BrokenPromise(Exception):  # noqa: N818 - named for the state of the world
    """An adapter did not do what its contract says; the text says who."""


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


def _where(error: BaseException) -> str:
    """File and line of the fault, without any value."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}" if trace else "unknown place"


def _start(work: Callable[[], T]) -> Future[T]:
    """Run in a thread that does not keep the process alive: a second signal has to end it at once."""
    future: Future[T] = Future()

    def body() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed to whoever asks the future
            future.set_exception(error)

    threading.Thread(target=body, name="delivery", daemon=True).start()
    return future


def estimate(plan: Plan, destination: Destination, records_max: int = 20_000) -> int:
    """How many requests a plan will cost: its batches are cut as they will be; a very large plan is extrapolated."""
    limits = destination.limits(plan.sync)
    sampled, requests = 0, 0
    for batch in cut(plan.rows_of(0, min(plan.sendable, records_max)), destination, plan.sync, limits):
        requests += destination.requests(plan.sync, batch.changes)
        sampled += len(batch.changes)
    if sampled and plan.sendable > sampled:
        requests = -(-requests * plan.sendable // sampled)
    return requests
