"""What Prometheus is told: docs/monitoring.md lists it.

Counters are of this process and begin at 0 with it; they count a run when it is in the journal, with the journal's
numbers. What is a state (parked, held, fresh) is read from the journal when it is asked for, and kept a few seconds.
Labels name syncs, destinations, alerts and words of ours, all of which the config bounds; never a key or a value.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, Metric

from syncer import __version__
from syncer.errors import SyncerError
from syncer.observing import Observer
from syncer.survey import Health, quotas

if TYPE_CHECKING:
    from syncer.account import Report

RESULTS = ("done", "held", "failed")
OUTCOMES = ("accepted", "rejected", "deferred", "unsent")
KINDS = ("new", "changed", "removed")
KEPT_SECONDS = 5.0
"""How long a state that was read is shown to the next who asks."""
REQUEST_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
RUN_BUCKETS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)


# A series more for each counter, which says only when this process first saw it.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics(Observer):
    """The numbers of one process, in a registry of their own."""

    def __init__(self, syncs: Sequence[str] = (), destinations: Sequence[str] = ()) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Gauge("syncer_build_info", "1; the version is in the label.", ["version"], registry=registry).labels(
            __version__
        ).set(1)
        self._runs = Counter("syncer_runs", "Runs that ended.", ["sync", "result"], registry=registry)
        self._changes = Counter(
            "syncer_changes",
            "Planned changes of runs that ended, by what became of them.",
            ["sync", "kind", "outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "syncer_run_duration_seconds", "Runs that ended.", ["sync"], buckets=RUN_BUCKETS, registry=registry
        )
        self._stages = Counter(
            "syncer_stage_seconds", "Where runs spent their time.", ["sync", "stage"], registry=registry
        )
        self._requests = Counter(
            "syncer_requests", "Requests to destinations.", ["destination", "status"], registry=registry
        )
        self._latency = Histogram(
            "syncer_request_duration_seconds",
            "Requests to destinations, from being sent to the end of the answer.",
            ["destination"],
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self._loaded = Gauge(
            "syncer_config_last_load_success_timestamp_seconds",
            "When the config was last read well.",
            registry=registry,
        )
        self._refused = Gauge(
            "syncer_config_last_load_failure_timestamp_seconds",
            "When a changed config was last refused; 0 when none was.",
            registry=registry,
        )
        self._is_broken = Gauge(
            "syncer_config_broken", "1 while the files are refused and an older config runs on.", registry=registry
        )
        self._messages = Counter(
            "syncer_alert_messages",
            "Messages of alerts: delivered, put off after a failure, or dropped in the end.",
            ["alert", "result"],
            registry=registry,
        )
        self.config_read(is_good=True)
        self.expect(syncs, destinations)

    def expect(self, syncs: Sequence[str], destinations: Sequence[str], alerts: Sequence[str] = ()) -> None:
        """Show what has not happened yet as 0, since nobody can tell a rise from a beginning."""
        for sync in syncs:
            self._seconds.labels(sync)
            for result in RESULTS:
                self._runs.labels(sync, result)
            for kind in KINDS:
                for outcome in OUTCOMES:
                    self._changes.labels(sync, kind, outcome)
        for destination in destinations:
            self._latency.labels(destination)
        for alert in alerts:
            for result in ("delivered", "put off", "dropped"):
                self._messages.labels(alert, result)

    def requested(self, destination: str, status: int | None, seconds: float) -> None:
        """One more request."""
        self._requests.labels(destination, status_class(status)).inc()
        self._latency.labels(destination).observe(seconds)

    def finished(self, report: Report) -> None:
        """One more run. A run whose outcomes are not known by kind, as it was broken off, has them as `unknown`."""
        name = report.sync.name
        self._runs.labels(name, report.result).inc()
        self._seconds.labels(name).observe(report.seconds)
        for stage, seconds in report.stages.seconds.items():
            self._stages.labels(name, stage).inc(seconds)
        counts = report.delivered.counts
        for outcome in OUTCOMES:
            left = counts[outcome]
            for kind in KINDS:
                number = min(left, report.delivered.kinds[kind, outcome])
                self._changes.labels(name, kind, outcome).inc(number)
                left -= number
            if left:
                self._changes.labels(name, "unknown", outcome).inc(left)

    def config_read(self, *, is_good: bool) -> None:
        """The files were read again: they are used from now on, or refused."""
        (self._loaded if is_good else self._refused).set_to_current_time()
        self._is_broken.set(0 if is_good else 1)

    def alerted(self, alert: str, result: str) -> None:
        """A message of an alert was delivered, put off or dropped."""
        self._messages.labels(alert, result).inc()


def status_class(status: int | None) -> str:
    """`2xx` and so on; 429 stands alone, and an answer that never came is `none`."""
    if status is None:
        return "none"
    return "429" if status == 429 else f"{status // 100}xx"


class States:
    """What the journal says when it is asked, as metrics. Register it in a registry."""

    def __init__(
        self,
        healths: Callable[[], Sequence[Health]],
        modified: Callable[[], dict[str, float]],
        expires: Callable[[], dict[str, float]],
        waiting: Callable[[], dict[str, int]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._healths = healths
        self._modified = modified
        self._expires = expires
        self._waiting = waiting
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: list[Metric] = []
        self._kept_until = 0.0

    def describe(self) -> Iterator[Metric]:
        """Nothing is asked when it is registered."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All states, as they are or were a few seconds ago."""
        with self._lock:
            if time.monotonic() >= self._kept_until:
                self._kept = list(self._read())
                self._kept_until = time.monotonic() + KEPT_SECONDS
            return iter(self._kept)

    def _read(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("syncer_control_up", "Whether the control store answers.")
        try:
            healths, waiting = self._healths(), self._waiting()
        except SyncerError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from self._syncs(healths)
        yield from self._quotas(healths)
        expires = GaugeMetricFamily(
            "syncer_credentials_expire_timestamp_seconds", "The end of a destination's credentials.",
            labels=["destination"],
        )  # fmt: skip
        for destination, at in self._expires().items():
            expires.add_metric([destination], at)
        yield expires
        queue = GaugeMetricFamily("syncer_alert_messages_waiting", "Messages to be delivered.", labels=["alert"])
        for alert, number in waiting.items():
            queue.add_metric([alert], number)
        yield queue

    def _syncs(self, healths: Sequence[Health]) -> Iterator[Metric]:
        parked = GaugeMetricFamily("syncer_parked_records", "Rejected records that wait.", labels=["sync"])
        held = GaugeMetricFamily("syncer_held", "1 while a brake holds the newest plan.", labels=["sync"])
        brakes = GaugeMetricFamily("syncer_held_by", "1 for each brake that holds it.", labels=["sync", "brake"])
        failed = GaugeMetricFamily("syncer_last_run_failed", "1 when the newest run failed.", labels=["sync"])
        success = GaugeMetricFamily(
            "syncer_last_success_timestamp_seconds", "When the newest good run ended.", labels=["sync"]
        )
        age = GaugeMetricFamily("syncer_source_age_seconds", "Since the source last changed.", labels=["sync"])
        modified = self._modified()
        for health in healths:
            name = health.sync.name
            parked.add_metric([name], health.parked)
            held.add_metric([name], bool(health.brakes))
            for brake in health.brakes:
                brakes.add_metric([name, brake], 1)
            failed.add_metric([name], health.last is not None and health.last.result == "failed")
            if health.success is not None:
                success.add_metric([name], health.success)
            if name in modified:
                age.add_metric([name], max(0.0, self._clock() - modified[name]))
        yield from (parked, held, brakes, failed, success, age)

    def _quotas(self, healths: Sequence[Health]) -> Iterator[Metric]:
        left = GaugeMetricFamily("syncer_quota_left", "Requests that may still be made.", labels=["destination"])
        allowed = GaugeMetricFamily("syncer_quota_allowed", "Requests of a whole period.", labels=["destination"])
        for destination, quota in quotas(healths).items():
            left.add_metric([destination], quota["left"])
            allowed.add_metric([destination], quota["allowed"])
        yield from (left, allowed)
