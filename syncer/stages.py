"""How long each stage of a run takes: seconds for the journal, and spans where OpenTelemetry is at hand.

Seconds are of the thread that runs the sync, and exclusive: what a stage spends inside another one counts there, so
they add up to no more than the run. Spans carry names of syncs and destinations and numbers, never a key or a value.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


class Stages:
    """The stages of one run."""

    def __init__(self, **facts: str) -> None:
        self._facts = facts
        self._tracer = _tracer()
        self._around: Any = None
        """The context in which the next span begins: that of the stage that goes on, whatever the thread."""
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}

    @property
    def seconds(self) -> dict[str, float]:
        """Stage → seconds so far, in the order in which they began."""
        with self._lock:
            return {name: round(seconds, 4) for name, seconds in self._seconds.items()}

    @contextlib.contextmanager
    def run(self) -> Iterator[Any]:
        """The run as a whole. Gives its span; None where there are none."""
        with self._span("run", {}, is_outer=True) as span:
            yield span

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """One stage; the same one may come several times, and others may lie in it."""
        with self._lock:
            self._seconds.setdefault(name, 0.0)
            before = sum(self._seconds.values())
        started = time.monotonic()
        try:
            with self._span(name, {}, is_outer=True):
                yield
        finally:
            elapsed = time.monotonic() - started
            with self._lock:
                inside = sum(self._seconds.values()) - before
                self._seconds[name] += max(0.0, elapsed - inside)

    @contextlib.contextmanager
    def piece(self, name: str, **numbers: int) -> Iterator[None]:
        """A part of a stage in a thread of its own; it has a span, and its time is that of the stage it belongs to."""
        with self._span(name, {f"syncer.{key}": number for key, number in numbers.items()}):
            yield

    def spent(self, name: str, values: Iterable[T]) -> Iterator[T]:
        """The values; waiting for them is time of this stage."""
        with self._lock:
            self._seconds.setdefault(name, 0.0)
        iterator = iter(values)
        while True:
            started = time.monotonic()
            try:
                value = next(iterator)
            except StopIteration:
                return
            finally:
                with self._lock:
                    self._seconds[name] += time.monotonic() - started
            yield value

    @contextlib.contextmanager
    def _span(self, name: str, numbers: dict[str, int], *, is_outer: bool = False) -> Iterator[Any]:
        """A span inside the one that is open in the run's own thread; others may lie in it when it `is_outer`."""
        if self._tracer is None:
            yield None
            return
        from opentelemetry import trace

        facts = {f"syncer.{key}": text for key, text in self._facts.items()}
        around = self._around
        with self._tracer.start_as_current_span(
            name, context=around, attributes=facts | numbers, record_exception=False, set_status_on_exception=False
        ) as span:
            if is_outer:
                self._around = trace.set_span_in_context(span, around)
            try:
                yield span
            except BaseException as error:
                # The text of an exception may hold anything; its kind does not.
                span.set_status(trace.StatusCode.ERROR, type(error).__name__)
                raise
            finally:
                if is_outer:
                    self._around = around


def _tracer() -> Any:
    """A tracer, where somebody in this process has set OpenTelemetry up; nothing is imported to find out."""
    trace = sys.modules.get("opentelemetry.trace")
    return None if trace is None else trace.get_tracer("syncer")
