"""One batch at its destination: what it says of each change, what it is tried again for, and the job it may start.

The adapter's generator is asked for one thing after the other. A `Job` is made durable before the generator goes on,
so no work begins at a destination that a later run could not find again.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from syncer.change import Alike, Change, Job, Outcome, deferred
from syncer.destination import Destination
from syncer.errors import DestinationUnusable, ServiceUnavailable, Stopping
from syncer.mapping import Sync
from syncer.stretch import Stretch

AGAIN_ROUNDS = 3
"""How often a run tries a record again that somebody holds locked; then it waits for the next run."""
AGAIN_SHRINKS = 4
"""By how much the batches get smaller from round to round: one lock then holds up fewer others."""


class BrokenPromise(Exception):
    """An adapter did not do what its contract says; the text says who."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """The growing waits before a record is tried again, in seconds."""

    first: float = 0.5
    longest: float = 30.0

    def before(self, round_number: int) -> float:
        """2 s, 8 s and 30 s with the defaults, with some chance in it: a lock is held for ten seconds or so, and two
        processes that were held up by one should not come back together."""
        return min(self.longest, self.first * 4.0 ** (round_number + 1)) * random.uniform(0.75, 1.0)  # noqa: S311


@dataclass(slots=True)
class Pushed:
    """What became of a batch as far as it is known, and what was raised.

    Requests are the service's own ids of those that were answered last before an outcome, where it gives ids.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """By key."""
    raised: Exception | None = None
    requests: dict[str, str] = field(default_factory=dict)
    """Key → request, for `outcomes`."""
    alike: list[tuple[Alike, str]] = field(default_factory=list)
    """Of a large batch, with their requests."""
    places: dict[str, int] = field(default_factory=dict)
    """Key → place, for `outcomes` of a large batch."""


class _Keys:
    """The changes of a held batch of which nothing was heard yet."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self._changes = changes
        self._keys = {change.key for change in changes}

    def take(self, answer: Outcome | Alike, request: str, pushed: Pushed) -> bool:
        """Put down an answer; False for one that nobody waits for."""
        if isinstance(answer, Alike) or answer.key not in self._keys:
            return False
        self._keys.remove(answer.key)
        pushed.outcomes[answer.key] = answer
        if request:
            pushed.requests[answer.key] = request
        return True

    def close(self, pushed: Pushed) -> bool:
        """Nothing more comes. False when something was put down that nobody had waited for."""
        return True

    @property
    def is_empty(self) -> bool:
        """Whether everything was heard."""
        return not self._keys

    def doubt(self, message: str, pushed: Pushed) -> None:
        """Nobody knows of the rest whether it arrived."""
        for change in self._changes:
            if change.key in self._keys:
                pushed.outcomes[change.key] = deferred(change, "unknown", message, doubt=True)


class _Places:
    """The same of a large batch, by places: a byte each."""

    def __init__(self, changes: Stretch) -> None:
        self._changes = changes
        self._heard = bytearray(len(changes))

    def take(self, answer: Outcome | Alike, request: str, pushed: Pushed) -> bool:
        """As that of a held batch; where the key of an outcome belongs is looked up for all of them at the end."""
        if isinstance(answer, Outcome):
            is_awaited = answer.key not in pushed.outcomes
            pushed.outcomes.setdefault(answer.key, answer)
            if request and is_awaited:
                pushed.requests[answer.key] = request
            return is_awaited
        if answer.outcome.result == "rejected" or _is_again(answer.outcome) or not self._hear(answer.places):
            return False
        pushed.alike.append((answer, request))
        return True

    def close(self, pushed: Pushed) -> bool:
        """As that of a held batch."""
        found = self._changes.places(list(pushed.outcomes))
        pushed.places = {key: place for key, place in found.items() if self._hear([place])}
        is_awaited = len(pushed.places) == len(pushed.outcomes)
        pushed.outcomes = {key: pushed.outcomes[key] for key in pushed.places}
        return is_awaited

    @property
    def is_empty(self) -> bool:
        """Whether everything was heard."""
        return 0 not in self._heard

    def doubt(self, message: str, pushed: Pushed) -> None:
        """Nobody knows of the rest whether it arrived."""
        rest = [place for place, is_heard in enumerate(self._heard) if not is_heard]
        if rest:
            pushed.alike.append((Alike(Outcome("", "deferred", "unknown", message, doubt=True), rest), ""))

    def _hear(self, places: Sequence[int]) -> bool:
        """Whether all of them exist and were waited for."""
        heard = self._heard
        if not places:
            return True
        if min(places) < 0 or max(places) >= len(heard) or any(heard[place] for place in places):
            return False
        before = heard.count(0)
        for place in places:
            heard[place] = 1
        return before - heard.count(0) == len(places)


@dataclass(frozen=True, slots=True)
class Pushing:
    """Pushes batches of one sync. Each call belongs to one thread."""

    sync: Sync
    destination: Destination
    stop: threading.Event
    pauses: Pauses

    def push(self, changes: Sequence[Change], note: Callable[[str], None]) -> Pushed:
        """Push a batch, and what of it can be tried again in this run. `note` makes a job's text durable."""
        pushed = self._ask(changes, self.destination.push(self.sync, changes), note)
        for round_number in range(AGAIN_ROUNDS):
            again = _to_try_again(changes, pushed)
            if not again or pushed.raised is not None or self.stop.wait(self.pauses.before(round_number)):
                break
            # Records of one parent travel together, or each of them would lock it for the others.
            again.sort(key=lambda change: (pushed.outcomes[change.key].again or "", change.position))
            size = max(1, min(len(again), self._records_max()) // AGAIN_SHRINKS ** (round_number + 1))
            for start in range(0, len(again), size):
                piece = again[start : start + size]
                for change in piece:
                    # Whatever ends this try, the earlier answer says nothing of what it left behind.
                    del pushed.outcomes[change.key]
                tried = self._ask(piece, self.destination.push(self.sync, piece), note)
                pushed.outcomes |= tried.outcomes
                pushed.requests |= tried.requests
                if tried.raised is not None:
                    pushed.raised = tried.raised
                    break
        return pushed

    def resume(self, job: str, changes: Sequence[Change], note: Callable[[str], None]) -> Pushed:
        """Take up a batch that a process left behind with a job. A change without an outcome stays in doubt."""
        return self._ask(changes, self.destination.resume(self.sync, job, changes), note, is_whole=False)

    def _records_max(self) -> int:
        return self.destination.limits(self.sync).records

    def _ask(
        self,
        changes: Sequence[Change],
        answers: Iterator[Outcome | Alike | Job],
        note: Callable[[str], None],
        *,
        is_whole: bool = True,
    ) -> Pushed:
        pushed = Pushed()
        awaited = _Places(changes) if isinstance(changes, Stretch) else _Keys(changes)
        is_in_doubt = self.destination.transport.watch_doubt()
        request_id = self.destination.transport.watch_request_id()
        try:
            for answer in answers:
                if isinstance(answer, Job):
                    note(answer.text)
                elif not awaited.take(answer, request_id(), pushed):
                    pushed.raised = self._broken("gave an outcome that nobody waits for")
                    break
        except Exception as error:  # noqa: BLE001 - a fault of an adapter must not lose the outcomes of others
            pushed.raised = error
        if not awaited.close(pushed) and pushed.raised is None:
            pushed.raised = self._broken("gave an outcome that nobody waits for")
        if isinstance(pushed.raised, DestinationUnusable | ServiceUnavailable | Stopping) and is_in_doubt():
            awaited.doubt(str(pushed.raised), pushed)
        if is_whole and pushed.raised is None and not awaited.is_empty:
            pushed.raised = self._broken("gave no outcome for some records")
        return pushed

    def _broken(self, deed: str) -> Exception:
        return BrokenPromise(f"the adapter {self.destination.kind} {deed}")


def _to_try_again(changes: Sequence[Change], pushed: Pushed) -> list[Change]:
    """What this run is to try once more. It is held even where its batch is not, and seldom much."""
    if isinstance(changes, Stretch):
        return list(changes.at(sorted(pushed.places[key] for key, one in pushed.outcomes.items() if _is_again(one))))
    return [change for change in changes if _is_again(pushed.outcomes.get(change.key))]


def _is_again(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.result == "deferred" and outcome.again is not None
