"""A sync over HTTP: where it stands, its plan and parked records, triggers, pauses."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException, Path, Query
from fastapi.responses import JSONResponse, Response

from syncer import dbt, documents
from syncer.control.asking import KeyUsed
from syncer.distribution import of_plan
from syncer.errors import UserError
from syncer.mapping import Sync
from syncer.overview import overview
from syncer.run import Engine
from syncer.service.api import shapes
from syncer.service.api.guard import here, known
from syncer.service.daemon import Daemon

router = APIRouter(tags=["syncs"], dependencies=[Depends(known)])

Name = Annotated[str, Path(description="The sync's whole name.", examples=["salesforce.contacts"])]
Here = Annotated[Daemon, Depends(here)]


def sync_of(engine: Engine, name: str) -> Sync:
    """The sync of that name. Raises HTTPException (404), with a guess at a typo."""
    found = next((one for one in engine.config.syncs if one.name == name), None)
    if found is None:
        try:
            engine.config.choose([name])
        except UserError as error:
            raise HTTPException(404, str(error)) from None
        raise HTTPException(404, f"{name} is a destination; write the whole name of one of its syncs.")
    return found


@router.get("/api/syncs", summary="Where every sync stands", response_model=shapes.Syncs)
def syncs(daemon: Here) -> Response:
    """The document of `syncer status --json`, with the config that the daemon runs by."""
    standing = daemon.standing
    config = {
        "loaded_at": documents.moment(standing.loaded_at),
        "error": standing.error,
        "restart": list(standing.restart),
    }
    engine = daemon.engine
    return JSONResponse({"config": config} | overview(engine, engine.config.syncs, daemon.modified))


@router.get("/api/syncs/{name}", summary="Where a sync stands", response_model=shapes.Sync)
def sync(daemon: Here, name: Name) -> Response:
    """One of the syncs of `/api/syncs`."""
    engine = daemon.engine
    (one,) = overview(engine, [sync_of(engine, name)], daemon.modified)["syncs"]
    return JSONResponse(one)


@router.post(
    "/api/syncs/{name}/runs",
    summary="Ask for a run",
    status_code=202,
    response_model=shapes.Accepted,
    responses={
        409: {"model": shapes.Error, "description": "The sync is paused, or what dbt made of its source failed."},
        422: {"model": shapes.Error, "description": "The idempotency key came with another request."},
        429: {"model": shapes.Error, "description": "Too many different requests wait."},
    },
)
def trigger(
    daemon: Here,
    name: Name,
    body: shapes.Trigger | None = None,
    key: Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)] = None,
) -> Response:
    """The answer comes when the request is durable: no kill loses it. Triggers that ask for the same, of a sync that
    runs or waits, lead to one next run. For a day, the same idempotency key has the same answer.
    """
    body = body or shapes.Trigger()
    engine = daemon.engine
    one, control = sync_of(engine, name), engine.control()
    text = json.dumps([name, body.model_dump(mode="json")], sort_keys=True)
    idempotency = (key, hashlib.sha256(text.encode()).hexdigest()) if key else None
    try:
        if idempotency and (answer := control.answered(*idempotency)):
            # Whatever has become of the sync since then.
            return JSONResponse(answer, status_code=202)
        asked = body.model_dump(include={"release", "only"}, exclude_defaults=True)
        _refuse(engine, one, body, asked)
        answer = control.ask(name, body.by, asked, idempotency)
    except KeyUsed:
        raise HTTPException(422, "This idempotency key came with another request. Take a new one.") from None
    daemon.desk.wake()
    return JSONResponse(answer, status_code=202)


def _refuse(engine: Engine, sync: Sync, body: shapes.Trigger, asked: dict[str, Any]) -> None:
    """Raises HTTPException and UserError for a run that may not be: of a paused sync, or of what dbt has not made."""
    control = engine.control()
    if pause := control.pauses().get(sync.name):
        raise HTTPException(409, f"{sync.name} is paused by {pause.by}. Resume it first.")
    if (body.dbt_run_results is None) != (body.dbt_manifest is None):
        raise HTTPException(400, "`dbt_run_results` and `dbt_manifest` go together; send both.")
    if body.dbt_run_results is None:
        return
    found = body.dbt_run_results if isinstance(body.dbt_run_results, list) else [body.dbt_run_results]
    try:
        results = [dbt.run_results(one) for one in found]
        dbt.refuse_failed(sync, results, dbt.manifest(body.dbt_manifest), engine.config.source.type)
    except UserError as error:
        control.ask_in_vain(sync.name, body.by, asked, str(error))
        engine.refused(sync, error, "dbt", body.by)
        raise


@router.get(
    "/api/syncs/{name}/plan",
    summary="What a run would send",
    response_model=shapes.Plan,
)
def plan(daemon: Here, name: Name, limit: Annotated[int, Query(ge=0, le=10_000)] = 100) -> Response:
    """The document of `syncer diff --json`, made now: the source is read, and nothing is sent. One at a time for a
    sync. And how the values of its numeric fields would move."""
    engine = daemon.engine
    one = sync_of(engine, name)
    with _alone(name), engine.diff(prepared := engine.prepare(one)) as made:
        found = documents.diff(made, prepared.destination.title, limit=limit)
        distributions = [asdict(lies) for lies in of_plan(made)]
    return JSONResponse({"syncs": [found], "distributions": distributions})


_planning: dict[str, threading.Lock] = {}


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    lock = _planning.setdefault(name, threading.Lock())
    if not lock.acquire(blocking=False):
        raise HTTPException(409, f"A plan of {name} is being made already. Ask again when that is done.")
    try:
        yield
    finally:
        lock.release()


@router.get("/api/syncs/{name}/parked", summary="Records that wait", response_model=shapes.ParkedPage)
def parked(
    daemon: Here,
    name: Name,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> Response:
    """Records that the destination refused, with its reason."""
    engine = daemon.engine
    one, control = sync_of(engine, name), engine.control()
    listed = [documents.parked(one, record) for record in control.parked(name, offset, limit)]
    return JSONResponse({"total": control.parked_count(name), "offset": offset, "parked": listed})


@router.post(
    "/api/syncs/{name}/parked/retry",
    summary="Let parked records go with the next run",
    response_model=shapes.Retried,
)
def retry(daemon: Here, name: Name, body: shapes.Retrying) -> Response:
    """All of them, or these keys. The journal keeps how many, and no key."""
    engine = daemon.engine
    sync_of(engine, name)
    number = engine.control().retry(name, body.keys, body.by)
    if body.keys and not number:
        raise HTTPException(409, "None of these records is parked.")
    return JSONResponse({"retried": number})


@router.post("/api/syncs/{name}/pause", summary="Leave a sync alone", response_model=shapes.PausedSync)
def pause(daemon: Here, name: Name, body: shapes.Pausing) -> Response:
    """Neither schedule nor trigger runs it until it is resumed, also after a restart. A run under way goes on."""
    engine = daemon.engine
    sync_of(engine, name)
    return JSONResponse({"paused": documents.paused(engine.control().pause(name, body.by, body.reason))})


@router.post("/api/syncs/{name}/resume", summary="Run a sync again", response_model=shapes.Resumed)
def resume(daemon: Here, name: Name, body: shapes.Word) -> Response:
    """What was asked for before the pause, and what is due, runs at once."""
    engine = daemon.engine
    sync_of(engine, name)
    was_paused = engine.control().resume(name, body.by)
    daemon.desk.wake()
    return JSONResponse({"resumed": was_paused})
