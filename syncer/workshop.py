"""What the runs of one process share: config, source, ways to the destinations, control store, and the wish to stop."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Self

from syncer.account import Prepared, Report
from syncer.canonical import canon
from syncer.config import Config
from syncer.control import Control
from syncer.destination import Destination, Pace
from syncer.errors import DestinationUnusable, Problem, ServiceUnavailable, UserError
from syncer.mapping import Sync
from syncer.observing import Observer
from syncer.plan import identity_text
from syncer.scratch import Scratch
from syncer.source import Source
from syncer.state import State
from syncer.states import States
from syncer.transport import Gates, Transport

if TYPE_CHECKING:
    from syncer.delivered import DeliveredLog


class Workshop:
    """It belongs to one process, and lives as long as its config."""

    def __init__(
        self,
        config: Config,
        source: Source,
        adapters: Callable[[str], type[Destination]],
        stop: threading.Event | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.source = source
        self.stop = stop or threading.Event()
        self._adapters = adapters
        self._clock = clock
        self._gates = Gates(config.delivery.failures_max, config.delivery.rest_seconds)
        self._control: Control | None = None
        self._delivered: DeliveredLog | None = None
        if config.delivered is not None:
            from syncer.delivered import delivered_log  # Few keep one, and whoever only looks waits for its libraries.

            self._delivered = delivered_log(config, source)
        self.states = States(config, source)
        self._lock = threading.Lock()
        self.observers: list[Observer] = []
        """Told of every request and of every run that is in the journal."""

    def successor(self, config: Config, source: Source) -> Self:
        """An engine for a config that was read anew, with the same state: runs under way finish with this one.

        Both have one store, one wish to stop, and as long as no pace is another one, the same gates.
        """
        made = type(self)(config, source, self._adapters, self.stop, self._clock)
        made._control = self.control()
        made.observers = self.observers
        made._control.retry_after(config.delivery.retry_delays_seconds)
        if (self.config.delivery, self._paces) == (config.delivery, made._paces):
            made._gates = self._gates
        return made

    @property
    def _paces(self) -> dict[str, Pace]:
        """How fast each destination may be asked."""
        configured = self.config.destinations.items()
        return {name: self._adapters(one.kind).pace(one.settings) for name, one in configured}

    # --- what commands ask for -------------------------------------------------------------------------------

    def destination(self, name: str) -> Destination:
        """The configured destination, with a way out of its own and the gate that its account shares."""
        configured = self.config.destinations[name]
        adapter = self._adapters(configured.kind)
        delivery = self.config.delivery
        account = adapter.account(configured.settings) or name
        gate = self._gates.gate(f"{configured.kind}:{account}", adapter.pace(configured.settings))
        transport = Transport(
            gate,
            title=adapter.title,
            stop=self.stop,
            timeout=configured.settings.timeout,
            attempts=configured.settings.attempts,
            retry_after_max=delivery.retry_after_max,
            wait_first=delivery.wait_first,
            wait_max=delivery.wait_max,
            gates=self._gates,
            watch=partial(self._requested, name),
            scratch=Scratch(self.config.state.path if self.config.state.type == "local" else None),
        )
        return adapter(name, configured.settings, transport)

    def _requested(self, destination: str, status: int | None, seconds: float) -> None:
        for observer in self.observers:
            observer.requested(destination, status, seconds)

    def _finished(self, report: Report) -> None:
        for observer in self.observers:
            observer.finished(report)

    @property
    def adapters(self) -> Callable[[str], type[Destination]]:
        """Kind of destination → its adapter."""
        return self._adapters

    def without_secrets(self, sentence: str) -> str:
        """A sentence without what the config's references stand for, should it have found its way into it."""
        return self.config.document.without_secrets(sentence) if self.config.document else sentence

    def title(self, name: str) -> str:
        """What people call the service of a configured destination."""
        return self._adapters(self.config.destinations[name].kind).title

    def state(self, sync: str) -> State:
        """Where a sync's values lie; opens nothing."""
        return self.states.of(sync)

    def now(self) -> float:
        """Seconds since 1970, by this engine's clock."""
        return self._clock()

    def problem(self, sync: Sync, inside: Problem) -> Problem:
        """A problem whose place is a path inside the sync, as one with file and line."""
        return self.config.problem(sync, inside.place, inside.sentence)

    @contextlib.contextmanager
    def placed(self, sync: Sync) -> Iterator[None]:
        """Give the problems that a source tells of a sync (`query`, `source.path`) their file and line."""
        try:
            yield
        except UserError as error:
            raise UserError(self.problem(sync, one) if one.place else one for one in error.problems) from None
        except (ServiceUnavailable, DestinationUnusable) as error:
            error.is_of_source = True
            raise

    def prepare(self, sync: Sync, *, may_have_moved: bool = False) -> Prepared:
        """Fit the mapping to the source's columns and to the state. Raises UserError with every misfit.

        A sync whose match or object is another one now fits all the same when it `may_have_moved`.
        """
        with self.placed(sync):
            schema = self.source.schema(sync)
        destination = self.destination(sync.destination)
        limits = destination.limits(sync)
        made, problems = canon(sync, schema, limits)
        moved = [] if may_have_moved else self._moved(sync)
        found = [self.problem(sync, one) for one in [*problems, *moved]]
        if found or made is None:
            raise UserError(found)
        return Prepared(sync, made, destination, limits)

    def control(self) -> Control:
        """The control store, opened for writing, once per process."""
        with self._lock:
            if self._control is None:
                self._control = Control.open(self.config.state, self.config.delivery.retry_delays_seconds, self._clock)
            return self._control

    def close(self) -> None:
        """Let go of the control store."""
        with self._lock:
            if self._control is not None:
                self._control.close()
                self._control = None

    def _moved(self, sync: Sync) -> list[Problem]:
        """A sync whose object, key or match is another one than its state was made with."""
        control = Control.look(self.config.state)
        if control is None:
            return []
        try:
            standing = control.standing(sync.name)
        finally:
            control.close()
        if (
            not standing.identity
            or standing.identity == identity_text(sync)
            or not (standing.base_file or standing.plans)
        ):
            return []
        sentence = (
            "Its object, key or match is not the one that its remembered values belong to, so this is a new sync. "
            f"Run `syncer adopt {sync.name}` to take over what the destination holds, or `syncer forget {sync.name}` "
            "to send everything again."
        )
        return [Problem("match", sentence)]
