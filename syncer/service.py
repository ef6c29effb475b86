"""The daemon: every sync by its schedule, one line a run, a small face over HTTP, and a polite end."""

from __future__ import annotations

import datetime
import hmac
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated

import structlog
import uvicorn
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from syncer import __version__, documents, schedule
from syncer.control import Control
from syncer.delivery import STOP_SECONDS
from syncer.errors import NotDue, Stopping, SyncBusy, SyncerError, UserError
from syncer.logs import configure, place_of
from syncer.mapping import Sync
from syncer.overview import overview
from syncer.run import Engine, Options
from syncer.verdict import approve

log = structlog.get_logger(__name__)

LOOPBACK = ("localhost", "127.0.0.1", "::1")
RUNS_LOOKED_AT = 50
"""Among so many of the newest runs the last one of a schedule is looked for; commands may have run since."""
START_SECONDS = 10.0
"""How long the HTTP side may take to listen."""


def serve(engine: Engine) -> None:
    """Run until the engine's stop is set. Raises SyncerError when the address cannot be listened on."""
    configure(is_service=True)
    engine.control()  # A damaged store has to show now, not at the first run in the night.
    scheduler = scheduler_of(engine)
    server = http_of(engine)
    scheduler.start()
    service = engine.config.service
    log.info(
        "serving",
        address=f"http://{service.host}:{port_of(server)}",
        syncs=len(engine.config.syncs),
        version=__version__,
    )
    try:
        engine.stop.wait()
        log.info("stopping", waits_seconds=STOP_SECONDS)
    finally:
        server.should_exit = True
        # Runs see the stop themselves: they start nothing new, and remember what is in flight.
        scheduler.shutdown(wait=True)
    log.info("stopped")


def scheduler_of(engine: Engine) -> BackgroundScheduler:
    """One job per sync. Every option that decides about lateness and overlap is written out.

    Each destination has one thread of its own: its syncs take turns, and those of others go on beside them.
    """
    syncs = engine.config.syncs
    scheduler = BackgroundScheduler(
        executors={sync.destination: ThreadPoolExecutor(max_workers=1) for sync in syncs},
        job_defaults={
            "coalesce": True,  # Starts that were missed while one ran, or while the machine slept, become one.
            "max_instances": 1,  # A sync never overlaps itself.
            "misfire_grace_time": None,  # A late start is late; it is not dropped.
        },
        timezone=datetime.UTC,
    )
    # The library warns of each start that it skips because the one before still runs, which is what we asked for.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    for sync in syncs:
        plan = schedule.parse(sync.schedule) if sync.schedule else engine.config.schedule
        scheduler.add_job(
            Job(engine, sync, plan, partial(_wake, scheduler, sync.name)),
            trigger=schedule.trigger(plan),
            id=sync.name,
            name=sync.name,
            executor=sync.destination,
            next_run_time=_first(plan),
        )
    return scheduler


def _first(plan: schedule.Schedule) -> datetime.datetime:
    """A span starts with a run at once: a daemon that is restarted often would otherwise never run. A cron waits."""
    now = datetime.datetime.now(datetime.UTC)
    return schedule.next_run(plan, now) if plan.cron else now


def _wake(scheduler: BackgroundScheduler, sync: str, moment: datetime.datetime) -> None:
    """Let the next start of a sync be at that moment; those after it follow the schedule again."""
    scheduler.modify_job(sync, next_run_time=moment)


class Job:
    """One sync as the scheduler calls it. Nothing that goes wrong in one run ends the daemon.

    Where other processes share the control store, one of them runs the sync and the others stand by: who comes second
    looks again when a lease can have run out, and who finds that the others did what it woke up for lets it be.
    """

    def __init__(
        self, engine: Engine, sync: Sync, plan: schedule.Schedule, wake: Callable[[datetime.datetime], None]
    ) -> None:
        self._engine = engine
        self._sync = sync
        self._plan = plan
        self._wake = wake
        self._is_shared = engine.config.state.control is not None
        self._seen: datetime.datetime | None = None
        self._own: int | None = None
        """The last run of this process."""
        self._waits_for = ""

    def __call__(self) -> None:
        """Run, unless the process is stopping, or the source has not changed since everything of it went out."""
        if self._engine.stop.is_set():
            return
        modified: datetime.datetime | None = None
        is_due = (lambda control: self._is_due(control, modified)) if self._is_shared else None
        try:
            with self._engine.placed(self._sync):
                modified = self._engine.source.modified(self._sync) if self._plan.when else None
            if modified is not None and modified == self._seen:
                return
            told = None if modified is None else modified.isoformat()
            options = Options(trigger="schedule", is_due=is_due, modified=told)
            report = self._engine.run(self._engine.prepare(self._sync), options)
            is_whole = report.result == "done" and not report.delivered.deferred and not report.delivered.unsent
            self._own, self._seen, self._waits_for = report.run, modified if is_whole else None, ""
        except Stopping:
            return
        except NotDue:
            self._waits_for = ""
            log.info("left_to_another", sync=self._sync.name)
        except SyncerError as error:
            if self._is_shared and isinstance(error, SyncBusy):
                self._stand_by(error)
                return
            self._engine.refused(self._sync, error, "schedule", is_due)
            log.error("run_failed", sync=self._sync.name, error=str(error))  # noqa: TRY400 - no traceback: not our fault
        except Exception as error:  # noqa: BLE001 - the daemon outlives a fault in one sync
            # The fault's place is told; its text may hold data.
            fault = f"Syncer's fault: {type(error).__name__} in {place_of(error)}."
            log.error("run_failed", sync=self._sync.name, error=fault)  # noqa: TRY400 - as above

    def _is_due(self, control: Control, modified: datetime.datetime | None) -> bool:
        """Whether no other process has done what this one woke up for. The sync is held, so nobody does it just now."""
        runs = control.runs(self._sync.name, RUNS_LOOKED_AT)
        newest = next((run for run in runs if run.facts.get("trigger") == "schedule"), None)
        if newest is None or newest.id == self._own or newest.result == "running":
            # A run that goes on while nobody holds the sync was ended with its process.
            return True
        if modified is not None and newest.facts.get("modified") != modified.isoformat():
            return True
        if modified is not None and newest.result == "done" and not newest.deferred and not newest.unsent:
            self._seen = modified
            return False
        started = datetime.datetime.fromtimestamp(newest.started, datetime.UTC)
        due = schedule.next_run(self._plan, started)
        if due <= datetime.datetime.now(datetime.UTC):
            return True
        # A span counts from the last run, whoever ran; a cron wakes everybody at the same moments anyway.
        self._wake(due)
        return False

    def _stand_by(self, error: SyncBusy) -> None:
        """Another process runs the sync. Should it die, its lease runs out, and somebody has to be there then."""
        if str(error) != self._waits_for:
            log.info("standing_by", sync=self._sync.name, reason=str(error))
            self._waits_for = str(error)
        now = datetime.datetime.now(datetime.UTC)
        self._wake(now + datetime.timedelta(seconds=self._engine.config.state.lease_seconds))


# --- HTTP ------------------------------------------------------------------------------------------------------------


class Word(BaseModel):
    """Who approves a plan, as the journal keeps it."""

    model_config = ConfigDict(extra="forbid")

    by: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


def application(engine: Engine) -> Starlette:
    """What the daemon answers.

    - `GET /healthz` says that the process lives.
    - `GET /api/syncs` is the document of `status --json`.
    - `POST /api/runs/RUN/approval` with `{"by": "NAME"}` lets the plan that this run held pass, once. It takes JSON
      only, and without a token only when this machine is asked by its own name: what a page of another site can make
      a browser send is neither.
    """
    service = engine.config.service
    token = service.token

    def refusal(request: Request) -> Response | None:
        if token is None:
            return None
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if hmac.compare_digest(given.encode(), token.get_secret_value().encode()):
            return None
        headers = {"WWW-Authenticate": "Bearer"}
        return JSONResponse({"error": "A bearer token is needed."}, status_code=401, headers=headers)

    def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok", "version": __version__})

    def syncs(request: Request) -> Response:
        if refused := refusal(request):
            return refused
        try:
            return JSONResponse(overview(engine, engine.config.syncs))
        except SyncerError as error:
            return JSONResponse({"error": str(error)}, status_code=503)

    async def approval(request: Request) -> Response:
        if refused := refusal(request):
            return refused
        if token is None and request.url.hostname not in {service.host, *LOOPBACK}:
            return JSONResponse({"error": "This name is not one of the service's own."}, status_code=403)
        if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            return JSONResponse({"error": "The body has to be application/json."}, status_code=415)
        try:
            word = Word.model_validate_json(await request.body())
        except ValidationError:
            return JSONResponse({"error": 'Say who approves: {"by": "NAME"}.'}, status_code=400)
        run_id = request.path_params["run"]
        try:
            given = await run_in_threadpool(lambda: approve(engine.control(), run_id, word.by))
        except UserError as error:
            return JSONResponse({"error": str(error)}, status_code=409)
        except SyncerError as error:
            return JSONResponse({"error": str(error)}, status_code=503)
        log.info("approved", sync=given.sync, run=given.run, by=given.by)
        return JSONResponse({"approved": documents.approval(given)})

    routes = [
        Route("/healthz", healthz),
        Route("/api/syncs", syncs),
        Route("/api/runs/{run:int}/approval", approval, methods=["POST"]),
    ]
    return Starlette(routes=routes)


def http_of(engine: Engine) -> uvicorn.Server:
    """The HTTP side, listening, in a thread of its own; `should_exit` ends it. Raises SyncerError when it cannot."""
    service = engine.config.service
    config = uvicorn.Config(
        application(engine), host=service.host, port=service.port, log_config=None, access_log=False, lifespan="off"
    )
    server = uvicorn.Server(config)
    failed: list[BaseException] = []

    def listen() -> None:
        try:
            server.run()
        except BaseException as error:  # noqa: BLE001 - uvicorn leaves with SystemExit when the port is taken
            failed.append(error)

    thread = threading.Thread(target=listen, name="http", daemon=True)
    thread.start()
    until = time.monotonic() + START_SECONDS
    while not server.started and not failed and thread.is_alive() and time.monotonic() < until:
        time.sleep(0.01)
    if not server.started:
        raise SyncerError(
            f"The address {service.listen} cannot be listened on; another program may have it. "
            "Write another `service.listen`."
        )
    return server


def port_of(server: uvicorn.Server) -> int:
    """The port that it listens on, also when a free one was asked for."""
    return int(server.servers[0].sockets[0].getsockname()[1])
