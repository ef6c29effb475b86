"""One batch at its destination: what it says of each change, what it is tried again for, and the job it may start.

The adapter's generator is asked for one thing after the other. A `Job` is made durable before the generator goes on,
so no work begins at a destination that a later run could not find again.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from syncer.change import Change, Job, Outcome, deferred
from syncer.destination import Destination
from syncer.errors import DestinationUnusable, ServiceUnavailable, Stopping
from syncer.mapping import Sync

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
    """What became of a batch: its outcomes by key as far as they are known, and what was raised."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    raised: Exception | None = None
    requests: dict[str, str] = field(default_factory=dict)
    """Key → the service's own id of the request that was answered last before the outcome, where it gives ids."""


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
            again = [change for change in changes if _is_again(pushed.outcomes.get(change.key))]
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
        answers: Iterator[Outcome | Job],
        note: Callable[[str], None],
        *,
        is_whole: bool = True,
    ) -> Pushed:
        pushed = Pushed()
        awaited = {change.key for change in changes}
        is_in_doubt = self.destination.transport.watch_doubt()
        request_id = self.destination.transport.watch_request_id()
        try:
            for answer in answers:
                if isinstance(answer, Job):
                    note(answer.text)
                elif answer.key not in awaited:
                    pushed.raised = self._broken("gave an outcome that nobody waits for")
                    return pushed
                else:
                    awaited.remove(answer.key)
                    pushed.outcomes[answer.key] = answer
                    if told := request_id():
                        pushed.requests[answer.key] = told
        except (DestinationUnusable, ServiceUnavailable, Stopping) as error:
            pushed.raised = error
            if is_in_doubt():
                for change in changes:
                    if change.key not in pushed.outcomes:
                        pushed.outcomes[change.key] = deferred(change, "unknown", str(error), doubt=True)
        except Exception as error:  # noqa: BLE001 - a fault of an adapter must not lose the outcomes of others
            pushed.raised = error
        if is_whole and pushed.raised is None and awaited:
            pushed.raised = self._broken("gave no outcome for some records")
        return pushed

    def _broken(self, deed: str) -> Exception:
        return BrokenPromise(f"the adapter {self.destination.kind} {deed}")


def _is_again(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.result == "deferred" and outcome.again is not None
