"""The desk: what was asked for and what is due, and one thread for each destination that runs it.

The syncs of a destination take turns, and those of others go on beside them: an outage delays only its own destination.
A sync that is due and asked for, however often, runs once.
"""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from syncer.account import Options, Prepared, Report
from syncer.control import KILLED, Control, Request
from syncer.errors import NotDue, Stopping, SyncBusy, SyncerError
from syncer.logs import place_of
from syncer.mapping import Sync
from syncer.overview import schedule_of
from syncer.run import Engine
from syncer.service.timetable import Start

log = structlog.get_logger(__name__)

LOOK_SECONDS = 2.0
"""How often an idle thread looks for what other processes have asked or resumed."""
BUSY_SECONDS = 5.0
"""How long a sync that another process runs is left alone before it is tried again."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a run that was asked for."""

    state: str
    run: int | None = None
    error: str | None = None


class Desk:
    """Takes what is due, and runs it and what the control store holds, until it is closed.

    `fresh` gives the engine of the config as it is now, with secrets as they are now.
    """

    def __init__(self, control: Control, fresh: Callable[[], Engine]) -> None:
        self._control = control
        self._fresh = fresh
        self._wake = threading.Condition()
        self._due: dict[str, Start] = {}
        self._resting: dict[str, float] = {}
        self._seen: dict[str, datetime.datetime] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._busy: set[str] = set()
        self._taken: set[int] = set()
        self._lost: set[int] = set()
        self._told: dict[str, str] = {}
        self._is_closed = False

    def open(self, engine: Engine) -> None:
        """Take up what a process before this one had accepted and did not end, and begin to work."""
        is_shared = engine.config.state.control is not None
        if not is_shared:
            self.take_up()
        self.take_up()
        self.staff(engine)

    def take_up(self) -> None:
        """Let requests wait again that a process was running when it died, unless their run had ended and only one word
        of it was missing: who asks for a release asks for one run over the brakes.

        They are found at the second look: another process may have taken one at this moment, and not its sync yet.
        """
        lost = {
            one.id: one
            for one in self._control.waiting()
            if one.state == "running" and one.id not in self._taken and self._control.holder(one.sync) is None
        }
        for request_id in lost.keys() & self._lost:
            ended = self._ended(lost[request_id])
            self._control.end_request(request_id, ended.state, ended.run, ended.error)
        self._lost = set(lost)

    def _ended(self, request: Request) -> Ended:
        """What became of a request that nobody runs any more."""
        run = None if request.run is None else self._control.run(request.run)
        if run is None or run.result == "running" or run.error == KILLED:
            return Ended("queued")
        sentences = " ".join(hold["sentence"] for hold in run.facts.get("holds", []))
        return Ended(run.result, run.id, run.error or sentences or None)

    def staff(self, engine: Engine) -> None:
        """Let every destination have its thread, also those that are new in the config."""
        for name in {sync.destination for sync in engine.config.syncs} - self._threads.keys():
            self._threads[name] = threading.Thread(target=self._work, args=(name,), name=f"runs-{name}", daemon=True)
            self._threads[name].start()
        self.wake()

    def offer(self, start: Start) -> None:
        """Let a sync that is due run when its destination's turn comes; once, however often it was due till then."""
        with self._wake:
            self._due.setdefault(start.sync, start)
            self._wake.notify_all()

    def wake(self) -> None:
        """There may be something new in the control store."""
        with self._wake:
            self._wake.notify_all()

    def close(self) -> None:
        """Begin nothing more, and wait for the runs under way, which see the stop themselves."""
        with self._wake:
            self._is_closed = True
            self._wake.notify_all()
        for thread in self._threads.values():
            thread.join()

    @property
    def lost(self) -> list[str]:
        """Destinations whose thread has ended although nobody closed the desk."""
        return [] if self._is_closed else [name for name, one in self._threads.items() if not one.is_alive()]

    def is_idle(self) -> bool:
        """Whether nothing is due, waits or runs."""
        with self._wake:
            return not self._due and not self._busy and not self._control.waiting()

    # --- the thread of a destination ---------------------------------------------------------------------------

    def _work(self, destination: str) -> None:
        while True:
            try:
                name = self._next(destination)
                if self._is_closed:
                    return
                if name is not None:
                    self._serve(name)
            except SyncerError as error:
                # A store that cannot be read or written now may be later.
                log.error("desk_failed", destination=destination, error=str(error))  # noqa: TRY400 - not our fault
                with self._wake:
                    self._wake.wait(BUSY_SECONDS)
            finally:
                self._busy.discard(destination)

    def _next(self, destination: str) -> str | None:
        """The sync whose turn it is; waits a while for one."""
        with self._wake:
            if self._is_closed:
                return None
            name = self._oldest(destination)
            if name is None:
                self._wake.wait(LOOK_SECONDS)
                name = None if self._is_closed else self._oldest(destination)
            if name is not None:
                self._busy.add(destination)
            return name

    def _oldest(self, destination: str) -> str | None:
        paused = self._control.pauses()
        asked = [(one.at, one.sync) for one in self._control.waiting() if one.state == "queued"]
        due = [(start.at, name) for name, start in self._due.items()]
        now = time.monotonic()
        waiting = [
            (at, name)
            for at, name in [*asked, *due]
            if name.partition(".")[0] == destination and name not in paused and self._resting.get(name, 0.0) <= now
        ]
        return min(waiting)[1] if waiting else None

    def _serve(self, name: str) -> None:
        """One run, for what is due and for the oldest request; nothing that goes wrong in it ends the daemon."""
        engine = self._fresh()
        with self._wake:
            start = self._due.pop(name, None)
            request = self._control.take_request(name)
            self._taken |= {request.id} if request else set()
        if start is None and request is None:
            # Another process was quicker.
            return
        if request is not None and request.options and start is not None:
            # What somebody asked for in particular is not the run that is due.
            self.offer(start)
            start = None
        sync = next((one for one in engine.config.syncs if one.name == name), None)
        if sync is None:
            ended = Ended("refused", error=f"There is no sync {name!r} any more.")
        else:
            ended = self._run(engine, sync, start, request)
        if ended.state == "queued":
            self._resting[name] = time.monotonic() + BUSY_SECONDS
            if start is not None:
                self.offer(start)
        if request is not None:
            self._control.end_request(request.id, ended.state, ended.run, ended.error)
            self._taken.discard(request.id)

    def _run(self, engine: Engine, sync: Sync, start: Start | None, request: Request | None) -> Ended:
        trigger = "request" if request else start.trigger if start else "schedule"
        options = Options(trigger=trigger)
        if request is not None:
            only = tuple(request.options.get("only") or ())
            release = bool(request.options.get("release"))
            options = Options(release, only, trigger=trigger, by=request.by, request=request.id)
        prepared: Prepared | None = None
        modified: datetime.datetime | None = None
        is_due = (lambda control: self._is_due(control, start, modified)) if start and not request else None
        try:
            modified = self._modified(engine, sync)
            if request is None and modified is not None and modified == self._seen.get(sync.name):
                return Ended("done")
            prepared = engine.prepare(sync)
            told = None if modified is None else modified.isoformat()
            report = engine.run(prepared, replace(options, is_due=is_due, modified=told))
        except Stopping:
            return Ended("queued")
        except SyncBusy as error:
            # Should the other process die, somebody has to be there then.
            if self._told.get(sync.name) != str(error):
                log.info("standing_by", sync=sync.name, reason=str(error))
                self._told[sync.name] = str(error)
            return Ended("queued")
        except NotDue:
            log.info("left_to_another", sync=sync.name)
            return Ended("done")
        except SyncerError as error:
            engine.refused(sync, error, options.trigger, options.by, is_due)
            log.error("run_failed", sync=sync.name, error=str(error))  # noqa: TRY400 - no traceback: not our fault
            return Ended("failed", error=str(error))
        except Exception as error:  # noqa: BLE001 - the daemon outlives a fault in one sync
            # The fault's place is told; its text may hold data.
            fault = f"Syncer's fault: {type(error).__name__} in {place_of(error)}."
            log.error("run_failed", sync=sync.name, error=fault)  # noqa: TRY400 - as above
            if prepared is None:
                # A run that has begun is in the journal already.
                engine.refused(sync, SyncerError(fault), options.trigger, options.by)
            return Ended("failed", error=fault)
        self._note_seen(sync.name, report, modified)
        sentences = " ".join(hold.sentence for hold in report.holds)
        return Ended(report.result, report.run, report.error or sentences or None)

    def _is_due(self, control: Control, start: Start, modified: datetime.datetime | None) -> bool:
        """Whether no other process has done since then what is due here. The sync is held, so nobody does it just now.

        A run that goes on while nobody else holds the sync was ended with its process.
        """
        newest = next(iter(control.runs(start.sync)), None)
        latest = control.latest().get(start.sync)
        if newest is None or latest is None or newest.result == "running":
            return True
        if modified is not None and newest.facts.get("modified") != modified.isoformat():
            return True
        if modified is not None and newest.result == "done" and not newest.deferred and not newest.unsent:
            self._seen[start.sync] = modified
            return False
        return latest.started <= start.at

    def _modified(self, engine: Engine, sync: Sync) -> datetime.datetime | None:
        """When the source changed last, where a sync runs by that."""
        if not schedule_of(engine, sync).when:
            return None
        with engine.placed(sync):
            return engine.source.modified(sync)

    def _note_seen(self, name: str, report: Report, modified: datetime.datetime | None) -> None:
        """Remember what a run has seen of the source, if everything of it went out."""
        is_whole = report.result == "done" and not report.delivered.deferred and not report.delivered.unsent
        if modified is not None and is_whole:
            self._seen[name] = modified
        else:
            self._seen.pop(name, None)
