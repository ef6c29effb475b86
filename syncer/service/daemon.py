"""The daemon: a clock with its chores, a desk that runs what is due, and a config that may be read anew."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from syncer import __version__
from syncer.alerts.watch import Watchman
from syncer.config import Config
from syncer.delivery import STOP_SECONDS
from syncer.errors import SyncerError, UserError
from syncer.logs import configure, place_of
from syncer.mapping import Sync
from syncer.metrics import Metrics
from syncer.overview import modified_of
from syncer.run import Engine
from syncer.service.desk import Desk
from syncer.service.listening import listen, port_of
from syncer.service.notify import Manager
from syncer.service.timetable import Timetable
from syncer.service.vitals import register
from syncer.service.watching import Watched
from syncer.sources import source_of
from syncer.spans import seconds_of

log = structlog.get_logger(__name__)

TICK_SECONDS = 1.0
"""How often the clock, the journal and the config's files are looked at."""
TIDY_SECONDS = 3600.0
"""How often the journal drops what it need not keep any more."""
TAKE_UP_SECONDS = 10.0
"""How often requests are looked for that another process had taken when it died."""
FRESHNESS_SECONDS = 60.0
"""How long what the source said about its last change is good for whoever only looks."""


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """Which config the daemon runs by."""

    loaded_at: float
    error: str | None = None
    """Why the files as they are now cannot be used: the daemon goes on with what it read before."""
    restart: tuple[str, ...] = ()
    """Settings that have changed, and count from the next start on."""


class Daemon:
    """Everything of one process. `read` reads the config anew; it is the engine's own that counts first."""

    def __init__(self, engine: Engine, read: Callable[[], Config]) -> None:
        self.stop = engine.stop
        self.desk = Desk(engine.control(), self.fresh)
        self.standing = Standing(engine.now())
        self.manager = Manager()
        self._engine = engine
        self._watched = Watched(read)
        self._timetable = Timetable()
        self._reloading = threading.Lock()
        self._wants_reload = threading.Event()
        self._has_moved = False
        self._modified: dict[str, tuple[float, datetime.datetime | None]] = {}
        self._told = ""
        self.ticked_at: float | None = None
        """When clock and journal were last looked at, by the monotonic clock; None before the first time."""
        config = engine.config
        self.metrics = Metrics([sync.name for sync in config.syncs], list(config.destinations))
        self.metrics.expect((), (), [alert.called for alert in config.alerts])
        self.watchman = Watchman(lambda: self.engine, self.modified, lambda: self.standing.error, self.metrics.alerted)
        engine.observers += [self.metrics, self.watchman]
        register(self, self.metrics)

    @property
    def engine(self) -> Engine:
        """The engine of the config as it was read last."""
        return self._engine

    @property
    def status(self) -> str:
        """How things are, in a line."""
        if self.standing.error:
            return f"goes on with the config of before: {self.standing.error}"
        return f"{len(self._engine.config.syncs)} syncs, {len(self._engine.config.destinations)} destinations"

    # --- the config, read anew ---------------------------------------------------------------------------------

    def watch(self) -> None:
        """Look at the files of the config from now on. What changed since the engine's was read counts at once."""
        self._take_over(self._watched.load)

    def reload(self) -> None:
        """Read the config anew; one that is broken leaves everything as it is, and is told about everywhere."""
        self.manager.reloading()
        self._take_over(self._watched.load)
        self.manager.ready(self.status)

    def ask_for_reload(self) -> None:
        """Read the config anew at the next tick. Safe in a signal handler."""
        self._wants_reload.set()

    def fresh(self) -> Engine:
        """The engine for a run that begins now: a secret that was changed counts from this run on."""
        if self._reloading.acquire(blocking=False):
            try:
                has_changed = self._watched.has_changed()
            finally:
                self._reloading.release()
            if has_changed or self._has_moved:
                self._has_moved = False
                self.reload()
        return self._engine

    def _take_over(self, load: Callable[[], Config]) -> None:
        with self._reloading:
            old = self._engine.config
            try:
                config = load()
            except UserError as error:
                self._tell(error)
                return
            restart = _needs_restart(old, config)
            if not _is_equal(old, config):
                service = config.service.model_copy(update={"listen": old.service.listen})
                config = dataclasses.replace(config, state=old.state, service=service)
                self._engine = self._engine.successor(config, source_of(config.source))
                self.desk.staff(self._engine)
                names = [alert.called for alert in config.alerts]
                self.metrics.expect([sync.name for sync in config.syncs], list(config.destinations), names)
                log.info("config_loaded", syncs=len(config.syncs))
            elif self.standing.error:
                log.info("config_mended")
            self.standing = Standing(self._engine.now(), restart=restart)
            self.metrics.config_read(is_good=True)
            self.watchman.wake()
            if restart:
                log.warning("config_needs_restart", settings=list(restart))

    def _tell(self, error: UserError) -> None:
        if str(error) != self.standing.error:
            log.error("config_refused", problems=[str(problem) for problem in error.problems])
        self.standing = dataclasses.replace(self.standing, error=str(error))
        self.metrics.config_read(is_good=False)
        self.watchman.wake()

    def _look_at_files(self) -> None:
        """Read the config anew once its files have changed and then rested for a tick: editors write in steps."""
        with self._reloading:
            has_changed = self._watched.has_changed()
        if self._wants_reload.is_set() or (self._has_moved and not has_changed):
            self._wants_reload.clear()
            has_changed = False
            self.reload()
        self._has_moved = has_changed

    # --- time --------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Look at files, clock and journal once, and offer what is due."""
        self._look_at_files()
        engine = self._engine
        control = engine.control()
        for start in self._timetable.due(engine, control.latest(), control.pauses(), engine.now()):
            self.desk.offer(start)

    def tidy(self) -> None:
        """Let the journal drop what it need not keep any more."""
        engine = self._engine
        engine.control().prune_asked(seconds_of(engine.config.service.keep))

    def keep_time(self) -> None:
        """Tick until the stop is set, and do the rarer chores. They take turns in one thread, and none overlaps itself.

        A store that cannot be read or written is told of, and tried again.
        """
        # The library warns of each start that it skips because the one before still runs, which is what we asked for.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        chores = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(max_workers=1)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone=datetime.UTC,
        )
        at_once = datetime.datetime.now(datetime.UTC)
        every = {self._tick_on: TICK_SECONDS, self._take_up: TAKE_UP_SECONDS, self._tidy: TIDY_SECONDS}
        for chore, seconds in every.items():
            chores.add_job(chore, IntervalTrigger(seconds=seconds, timezone=datetime.UTC), next_run_time=at_once)
        chores.start()
        self.stop.wait()
        chores.shutdown(wait=True)

    def _tick_on(self) -> None:
        self.ticked_at = time.monotonic()
        if self._told_after(self.tick):
            self._told = ""
        self.manager.beat()

    def _take_up(self) -> None:
        self._told_after(self.desk.take_up)

    def _tidy(self) -> None:
        self._told_after(self.tidy)

    def _told_after(self, chore: Callable[[], None]) -> bool:
        """Do it, and tell what goes wrong, once; says whether nothing did."""
        if self.stop.is_set():
            return False
        try:
            chore()
        except SyncerError as error:
            self._tell_once(str(error))
        except Exception as error:  # noqa: BLE001 - the daemon outlives a fault in one look
            # The fault's place is told; its text may hold data.
            self._tell_once(f"Syncer's fault: {type(error).__name__} in {place_of(error)}.")
        else:
            return True
        return False

    def _tell_once(self, error: str) -> None:
        if error != self._told:
            log.error("tick_failed", error=error)
            self._told = error

    def known_modified(self) -> dict[str, datetime.datetime]:
        """Sync → when its source last changed, as far as it was asked already; asks nobody."""
        return {name: at for name, (_, at) in list(self._modified.items()) if at is not None}

    def modified(self, sync: Sync) -> datetime.datetime | None:
        """When a sync's source last changed, as it was said a short while ago: a page that looks costs nothing."""
        now = time.monotonic()
        known = self._modified.get(sync.name)
        if known is None or now - known[0] > FRESHNESS_SECONDS:
            self._modified[sync.name] = known = (now, modified_of(self._engine)(sync))
        return known[1]


def serve(engine: Engine, read: Callable[[], Config]) -> None:
    """Run until the engine's stop is set. Raises SyncerError when the address cannot be listened on."""
    from syncer.service.api import application

    service = engine.config.service
    form, keep_seconds = engine.config.log.format, seconds_of(service.keep_log)
    configure(is_service=True, form=form, file=service.log, keep_seconds=keep_seconds)
    engine.control()  # A damaged store has to show now, not at the first run in the night.
    daemon = Daemon(engine, read)
    daemon.watch()
    server = listen(application(daemon), engine.config.service)
    signal.signal(signal.SIGHUP, lambda *_: daemon.ask_for_reload())
    log.info(
        "serving",
        address=f"http://{service.host}:{port_of(server)}",
        syncs=len(engine.config.syncs),
        version=__version__,
    )
    try:
        daemon.desk.open(daemon.engine)
        daemon.watchman.open()
        daemon.manager.ready(daemon.status)
        daemon.keep_time()
        daemon.manager.stopping()
        log.info("stopping", waits_seconds=STOP_SECONDS)
    finally:
        server.should_exit = True
        # Runs see the stop themselves: they start nothing new, and remember what is in flight.
        daemon.desk.close()
        daemon.watchman.close()
    log.info("stopped")


def _needs_restart(old: Config, new: Config) -> tuple[str, ...]:
    """Settings that differ and cannot be changed under way."""
    differing: Iterable[tuple[str, object, object]] = (
        ("service.listen", old.service.listen, new.service.listen),
        ("service.log", (old.service.log, old.service.keep_log), (new.service.log, new.service.keep_log)),
        ("state", old.state, new.state),
    )
    return tuple(name for name, before, after in differing if before != after)


def _is_equal(old: Config, new: Config) -> bool:
    """Whether two configs mean the same; where it is written does not count."""
    facts = [dataclasses.replace(one, document=None, written=()) for one in (old, new)]
    return facts[0] == facts[1] and [one.sync for one in old.written] == [one.sync for one in new.written]
