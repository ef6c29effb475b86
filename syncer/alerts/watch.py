"""One look at everything that may need somebody, and the daemon's thread that looks again and again."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import structlog

from syncer.alerts.news import NOTHING, members_of, message, messages, news
from syncer.alerts.outbox import deliver, send
from syncer.alerts.posting import NotDelivered
from syncer.alerts.settings import Alert
from syncer.alerts.troubles import Trouble, chosen, troubles
from syncer.control import Told
from syncer.errors import SyncerError
from syncer.logs import place_of
from syncer.mapping import Sync
from syncer.observing import Observer
from syncer.survey import Survey, expiries, survey

if TYPE_CHECKING:
    from syncer.account import Report
    from syncer.run import Engine

log = structlog.get_logger(__name__)

LOOK_SECONDS = 15.0
"""How often the daemon looks when nothing happens."""

ASKING_SECONDS = 20.0
"""How long one look may ask sources: a warehouse that is silent must not keep back what else there is to tell."""
CLOSE_SECONDS = 10.0
"""How long an ending process waits for a message that is on its way; it stays queued."""

Modified = Callable[[Sync], datetime.datetime | None]


def link(engine: Engine) -> Callable[[Trouble], str | None]:
    """The address of a trouble on the service's page, where people can reach it."""
    base = engine.config.service.url

    def of(trouble: Trouble) -> str | None:
        if base is None:
            return None
        return f"{base}/#/runs/{trouble.run}" if trouble.run is not None else f"{base}/"

    return of


class Watch:
    """Looks, remembers what it told, and sends. One for each process; used by one thread at a time."""

    def __init__(self, tell: Callable[[str, str], None] | None = None) -> None:
        self._tell = tell or (lambda alert, result: None)
        self._first_seen: dict[str, float] = {}

    def look(
        self, engine: Engine, modified: Modified, broken: str | None = None, *, is_last: bool = False
    ) -> float | None:
        """Look once; when there is something to do again, in seconds since 1970, or None when there is nothing.

        With `is_last` nothing waits for more of the same. Raises StateDamaged when the store cannot be used.
        """
        config = engine.config
        # The daemon keeps what the sources said, for whoever asks it without waiting.
        asked = _asked(config.syncs, modified)
        if not config.alerts:
            return None
        now, control = engine.now(), engine.control()
        found = Survey(survey(config, control), expiries(config, engine.adapters), asked)
        listed = troubles(found, now, None if broken is None else engine.without_secrets(broken))
        self._first_seen = {one.cause: self._first_seen.get(one.cause, now) for one in listed}
        unknown = {("source", name) for name, at in asked.items() if at is None}
        wakes = []
        for alert in config.alerts:
            ripe_at = {cause: at + (0.0 if is_last else alert.wait_seconds) for cause, at in self._first_seen.items()}
            ours = chosen(alert, listed)
            self._news(engine, alert, ours, unknown, now, lambda cause, ripe=ripe_at: ripe[cause] <= now)  # type: ignore[misc]
            wakes += [at for one in ours if (at := ripe_at[one.cause]) > now]
        again = deliver(control, config.alerts, config.folder, now, self._tell)
        return min([*wakes, *([] if again is None else [again])], default=None)

    def _news(
        self,
        engine: Engine,
        alert: Alert,
        ours: list[Trouble],
        unknown: set[tuple[str, str]],
        now: float,
        is_ripe: Callable[[str], bool],
    ) -> None:
        control, name = engine.control(), alert.called
        safe = [_scrubbed(engine, one) for one in ours]
        found = news(safe, control.told(name), is_ripe=is_ripe, unknown=unknown)
        begun = [Told(cause, now, ones[0].title, members_of(ones)) for cause, ones in found.begun.items()]
        over = [one.cause for one in (*found.over, *found.quiet)]
        if begun or over or found.going_on:
            control.tell(
                name, begun, over, found.going_on, lambda causes: messages(name, found, causes, now, link(engine))
            )


def _scrubbed(engine: Engine, trouble: Trouble) -> Trouble:
    """A setting's secret may have found its way into a sentence of somebody's adapter; the config knows them all."""
    return dataclasses.replace(trouble, sentence=engine.without_secrets(trouble.sentence))


def _asked(syncs: Sequence[Sync], modified: Modified) -> dict[str, datetime.datetime | None]:
    """When each source changed last; None where nobody could say, or where those before had taken too long."""
    until = time.monotonic() + ASKING_SECONDS
    return {sync.name: modified(sync) if time.monotonic() < until else None for sync in syncs}


def modified_of(engine: Engine) -> Modified:
    """Ask the source itself; None when it cannot be asked."""

    def of(sync: Sync) -> datetime.datetime | None:
        try:
            return engine.source.modified(sync)
        except SyncerError:
            return None

    return of


def try_out(engine: Engine, alert: Alert) -> tuple[bool, str]:
    """Send a test message at once; whether it arrived, and what came back."""
    words = "This is a test of `syncer alert-test`. Nothing is wrong"
    line = {**NOTHING, "cause": "test", "title": words, "url": engine.config.service.url}
    made = message(alert.called, "test", "test", "a test message", [line], engine.now())
    try:
        return True, send(alert, json.loads(made.body), engine.config.folder)
    except NotDelivered as error:
        return False, str(error)


@contextlib.contextmanager
def after_runs(engine: Engine) -> Iterator[None]:
    """In a command: when runs have ended within, look once before going on, also when they raised.

    What cannot be delivered at once stays queued, for the daemon or the next command.
    """
    if not engine.config.alerts:
        yield
        return
    noticed = _Noticed()
    engine.observers.append(noticed)
    try:
        yield
    finally:
        if noticed.has_ended:
            try:
                Watch().look(engine, modified_of(engine), is_last=True)
            except SyncerError as error:
                log.warning("alerts_failed", error=str(error))


class _Noticed(Observer):
    """Whether a run has ended."""

    def __init__(self) -> None:
        self.has_ended = False

    def finished(self, report: Report) -> None:
        self.has_ended = True


class Watchman(Observer):
    """The daemon's thread. It looks when a run has ended, and every so often; no run waits for it."""

    def __init__(
        self,
        engine: Callable[[], Engine],
        modified: Modified,
        broken: Callable[[], str | None] = lambda: None,
        tell: Callable[[str, str], None] | None = None,
    ) -> None:
        self._engine = engine
        self._modified = modified
        self._broken = broken
        self._watch = Watch(tell)
        self._wake = threading.Event()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        self.looked_at = time.monotonic()
        """When it last began to look, by the monotonic clock."""
        self._told = ""

    @property
    def is_alive(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    @property
    def is_open(self) -> bool:
        """Whether it ought to live."""
        return self._thread.ident is not None and not self._is_closed

    def open(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """End. What the last runs came to is in the journal, and the next process tells it."""
        self._is_closed = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=CLOSE_SECONDS)

    def wake(self) -> None:
        """There may be something new."""
        self._wake.set()

    def finished(self, report: Report) -> None:
        """A run has ended; how, is in the journal."""
        self.wake()

    def _run(self) -> None:
        pause = 0.0
        while not self._is_closed:
            self._wake.wait(pause)
            self._wake.clear()
            self.looked_at = time.monotonic()
            pause = self._look()

    def _look(self) -> float:
        """Look once; seconds until the next look. Whatever goes wrong is told once, and tried again."""
        engine = self._engine()
        try:
            again = self._watch.look(engine, self._modified, self._broken())
        except SyncerError as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - alerts have to outlive what nobody thought of
            self._fail(f"Syncer's fault: {type(error).__name__} in {place_of(error)}.")
        else:
            self._told = ""
            if again is not None:
                return min(LOOK_SECONDS, max(0.05, again - engine.now()))
        return LOOK_SECONDS

    def _fail(self, sentence: str) -> None:
        if sentence != self._told:
            log.error("alerts_failed", error=sentence)
            self._told = sentence
