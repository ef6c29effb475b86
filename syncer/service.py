"""The daemon: every sync by its schedule, one line a run, a small face over HTTP, and a polite end."""

from __future__ import annotations

import datetime
import hmac
import logging
import threading
import time
from collections.abc import Callable

import structlog
import uvicorn
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from syncer import __version__, schedule
from syncer.delivery import STOP_SECONDS
from syncer.errors import StateDamaged, SyncBusy, SyncerError
from syncer.logs import configure
from syncer.mapping import Sync
from syncer.overview import overview
from syncer.run import Engine, Options

log = structlog.get_logger(__name__)

START_SECONDS = 10.0
"""How long the HTTP side may take to listen."""


def serve(engine: Engine) -> None:
    """Run until the engine's stop is set. Raises SyncerError when the address cannot be listened on."""
    configure(is_service=True)
    engine.control()  # A damaged store has to show now, not at the first run in the night.
    scheduler = _scheduler(engine)
    server = _http(engine)
    scheduler.start()
    service = engine.config.service
    log.info(
        "serving", address=f"http://{service.host}:{_port(server)}", syncs=len(engine.config.syncs), version=__version__
    )
    try:
        engine.stop.wait()
        log.info("stopping", waits_seconds=STOP_SECONDS)
    finally:
        server.should_exit = True
        # Runs see the stop themselves: they start nothing new, and remember what is in flight.
        scheduler.shutdown(wait=True)
    log.info("stopped")


def _scheduler(engine: Engine) -> BackgroundScheduler:
    """One job per sync. Every option that decides about lateness and overlap is written out."""
    syncs = engine.config.syncs
    scheduler = BackgroundScheduler(
        executors={"default": ThreadPoolExecutor(max_workers=max(4, len({sync.destination for sync in syncs})))},
        job_defaults={
            "coalesce": True,  # Starts that were missed while one ran, or while the machine slept, become one.
            "max_instances": 1,  # A sync never overlaps itself.
            "misfire_grace_time": None,  # A late start is late; it is not dropped.
        },
        timezone=datetime.UTC,
    )
    # The library warns of each start that it skips because the one before still runs, which is what we asked for.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    turns = {sync.destination: threading.Lock() for sync in syncs}
    for sync in syncs:
        plan = schedule.parse(sync.schedule) if sync.schedule else engine.config.schedule
        scheduler.add_job(
            _job(engine, sync, turns[sync.destination], plan),
            trigger=schedule.trigger(plan),
            id=sync.name,
            name=sync.name,
            next_run_time=_first(plan),
        )
    return scheduler


def _first(plan: schedule.Schedule) -> datetime.datetime:
    """A span starts with a run at once: a daemon that is restarted often would otherwise never run. A cron waits."""
    now = datetime.datetime.now(datetime.UTC)
    return schedule.next_run(plan, now) if plan.cron else now


def _job(engine: Engine, sync: Sync, turn: threading.Lock, plan: schedule.Schedule) -> Callable[[], None]:
    seen: list[datetime.datetime | None] = [None]

    def run() -> None:
        # The syncs of one destination take turns; those of others go on beside them.
        with turn:
            if engine.stop.is_set():
                return
            try:
                modified = engine.source.modified(sync) if plan.when else None
                if plan.when and modified is not None and modified == seen[0]:
                    return
                report = engine.run(engine.prepare(sync), Options(trigger="schedule"))
                if report.result == "done":
                    seen[0] = modified
            except (SyncBusy, StateDamaged, SyncerError) as error:
                log.error("run_failed", sync=sync.name, error=str(error))
            except Exception as error:
                # The daemon outlives a fault in one sync; its place is told, its text may hold data.
                log.error("run_failed", sync=sync.name, error=f"Syncer's fault: {type(error).__name__}", exc_info=True)

    return run


# --- HTTP ------------------------------------------------------------------------------------------------------------


def application(engine: Engine) -> Starlette:
    """`/healthz` says that the process lives; `/api/syncs` is the document of `status --json`."""
    token = engine.config.service.token

    def allowed(request: Request) -> bool:
        if token is None:
            return True
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), token.get_secret_value().encode())

    def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok", "version": __version__})

    def syncs(request: Request) -> Response:
        if not allowed(request):
            return JSONResponse({"error": "A bearer token is needed."}, status_code=401)
        try:
            return JSONResponse(overview(engine, engine.config.syncs))
        except SyncerError as error:
            return JSONResponse({"error": str(error)}, status_code=503)

    return Starlette(routes=[Route("/healthz", healthz), Route("/api/syncs", syncs)])


def _http(engine: Engine) -> uvicorn.Server:
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
            f"The address {service.listen} cannot be listened on; another program may have it. Write another `service.listen`."
        )
    return server


def _port(server: uvicorn.Server) -> int:
    return int(server.servers[0].sockets[0].getsockname()[1])
