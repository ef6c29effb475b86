"""Whether the process lives, whether it is ready, and its numbers: what it takes to ask a daemon for its health."""

from __future__ import annotations

import datetime
import time
from collections import Counter
from typing import TYPE_CHECKING

from syncer.control import Control
from syncer.errors import SyncerError
from syncer.metrics import Metrics, States
from syncer.survey import Health, expiries, survey

if TYPE_CHECKING:
    from syncer.service.daemon import Daemon

STUCK_SECONDS = 300.0
"""How long one look at clock and journal may take: the store's own patience, many times over."""
WATCH_STUCK_SECONDS = 1800.0
"""How long one look for alerts may take: every source, and every alert's service, may be silent for a minute."""


def ailments(daemon: Daemon) -> list[str]:
    """Why the process had better be started anew; none while it lives. What others do, as a store that does not
    answer, is no reason: another process could not use it either."""
    found = []
    ticked = daemon.ticked_at
    if ticked is not None and not daemon.stop.is_set() and time.monotonic() - ticked > STUCK_SECONDS:
        found.append(f"The clock has not been looked at for {time.monotonic() - ticked:.0f} s.")
    found += [f"The thread that runs {name} has ended." for name in daemon.desk.lost]
    watchman = daemon.watchman
    if watchman.is_open and not watchman.is_alive:
        found.append("The thread that tells alerts has ended.")
    elif watchman.is_open and time.monotonic() - watchman.looked_at > WATCH_STUCK_SECONDS:
        found.append("The thread that tells alerts is stuck.")
    return found


def reasons_to_wait(daemon: Daemon) -> list[str]:
    """Why nothing should be asked of the daemon now; none when it is ready."""
    found = ailments(daemon)
    if daemon.stop.is_set():
        found.append("The process was asked to stop.")
    elif daemon.ticked_at is None:
        found.append("The clock has not begun to run.")
    try:
        daemon.engine.control().pauses()
    except SyncerError:
        # What it says names a path, and this is answered without a token.
        found.append("The control store does not answer; the log says why.")
    return found


def register(daemon: Daemon, metrics: Metrics) -> None:
    """Let the daemon's states be asked for with its numbers."""

    def control() -> Control:
        return daemon.engine.control()

    def healths() -> list[Health]:
        return survey(daemon.engine.config, control())

    def modified() -> dict[str, float]:
        """As it is known: whoever scrapes never waits for a warehouse."""
        return {name: at.timestamp() for name, at in daemon.known_modified().items()}

    def expires() -> dict[str, float]:
        engine = daemon.engine
        return {
            name: datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp() + 86400.0
            for name, day in expiries(engine.config, engine.adapters).items()
        }

    def waiting() -> dict[str, int]:
        waiting = Counter(message.alert for message in control().undelivered())
        return {alert.called: waiting[alert.called] for alert in daemon.engine.config.alerts}

    metrics.registry.register(States(healths, modified, expires, waiting, daemon.engine.now))
