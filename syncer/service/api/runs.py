"""Runs over HTTP: the journal of a sync, what a run changed, words about held plans; requests, and who did what."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Path, Query
from fastapi.responses import JSONResponse, Response

from syncer import documents, verdict
from syncer.changes import Wanted, changes_of_run
from syncer.control import Run
from syncer.distribution import of_run
from syncer.run import Engine
from syncer.service.api import shapes
from syncer.service.api.guard import known
from syncer.service.api.syncs import Here, Name, sync_of

router = APIRouter(tags=["runs"], dependencies=[Depends(known)])

RunId = Annotated[int, Path(description="The run's number.", ge=1, le=2**53)]


def _run_of(engine: Engine, run_id: int) -> Run:
    found = engine.control().run(run_id)
    if found is None:
        raise HTTPException(404, f"The journal has no run {run_id}.")
    return found


def _document(engine: Engine, one: Run) -> dict[str, Any]:
    is_alive = one.result == "running" and engine.control().holder(one.sync) is not None
    facts = {name: one.facts.get(name) for name in ("rows", "known", "counts")}
    return {"sync": one.sync, **documents.run(one, is_alive=is_alive), **facts, "holds": one.facts.get("holds", [])}


@router.get("/api/syncs/{name}/runs", summary="Runs of a sync", response_model=shapes.Runs)
def runs(
    daemon: Here,
    name: Name,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 50,
    before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
) -> Response:
    """The newest first; `before` is the number of the last one that was seen."""
    engine = daemon.engine
    sync_of(engine, name)
    found = engine.control().runs(name, limit, before)
    return JSONResponse({"runs": [_document(engine, one) for one in found]})


@router.get("/api/runs/{run}", summary="A run", response_model=shapes.RunOfSync)
def run(daemon: Here, run: RunId) -> Response:
    """One line of the journal, with what its plan counted and what held it."""
    return JSONResponse(_document(daemon.engine, _run_of(daemon.engine, run)))


@router.get(
    "/api/runs/{run}/changes",
    summary="What a run changed",
    response_model=shapes.Changes,
)
def changes(
    daemon: Here,
    run: RunId,
    kind: Literal["new", "changed", "removed"] | None = None,
    field: Annotated[str | None, Query(max_length=1_000)] = None,
    outcome: Literal["accepted", "rejected", "deferred", "unsent", "found"] | None = None,
    key: Annotated[str | None, Query(max_length=10_000)] = None,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> Response:
    """Each record's fields before and after, and what became of it, sorted by key. Accepted and rejected ones are there
    as long as the history keeps them, deferred and unsent ones as long as the plan is. A held run has none.
    """
    engine = daemon.engine
    one = sync_of(engine, _run_of(engine, run).sync)
    found = changes_of_run(engine, one, run, Wanted(kind, field, outcome, key, offset, limit))
    return JSONResponse(documents.changes(one, found, offset))


@router.get(
    "/api/runs/{run}/distribution",
    summary="How the values of a field lay before and after a run",
    response_model=shapes.RunDistribution,
)
def distribution(daemon: Here, run: RunId, field: Annotated[str | None, Query(max_length=1_000)] = None) -> Response:
    """Of the changes of the run in which the field is; left out, it is the first one that holds numbers. A sensitive
    field has none. `edges` has one number more than `counts`.
    """
    engine = daemon.engine
    one = sync_of(engine, _run_of(engine, run).sync)
    fields, found = of_run(engine, one, run, field)
    return JSONResponse({"fields": fields, "distribution": dataclasses.asdict(found) if found else None})


@router.get("/api/holds", summary="Plans that wait for somebody", response_model=shapes.Holds)
def holds(daemon: Here) -> Response:
    """The newest run of each sync, where a brake holds it or it waits for approval."""
    control = daemon.engine.control()
    found = []
    for sync in daemon.engine.config.syncs:
        for one in control.runs(sync.name):
            if one.result == "held":
                refusal = control.refusal(sync.name, one.digest)
                found.append(
                    {
                        "sync": sync.name,
                        "run": str(one.id),
                        "plan": one.digest,
                        "since": documents.moment(one.started),
                        "planned": one.planned,
                        "holds": one.facts.get("holds", []),
                        "refused": documents.refused(refusal) if refusal else None,
                    }
                )
    return JSONResponse({"holds": found})


@router.post(
    "/api/runs/{run}/approval",
    summary="Let a held plan pass, once",
    response_model=shapes.Approved,
)
def approval(daemon: Here, run: RunId, body: shapes.Word) -> Response:
    """Exactly the plan that this run holds, and in the same moment a run is asked for that sends it; either both are
    durable, or neither. What is left of it after a kill is another plan.
    """
    given = verdict.approve(daemon.engine.control(), run, body.by, asks=True)
    daemon.desk.wake()
    return JSONResponse({"approved": documents.approval(given), "request": given.request})


@router.post(
    "/api/runs/{run}/refusal",
    summary="Say that a held plan is not to pass",
    response_model=shapes.RefusedPlan,
)
def refusal(daemon: Here, run: RunId, body: shapes.Refusing) -> Response:
    """It stays held, with who refused it and why; a later plan is judged anew."""
    given = verdict.refuse(daemon.engine.control(), run, body.by, body.reason)
    return JSONResponse({"refused": documents.refused(given)})


@router.get("/api/requests/{request}", summary="What became of a trigger", response_model=shapes.Request)
def request(daemon: Here, request: Annotated[int, Path(ge=1, le=2**53)]) -> Response:
    """Queued, running, done, held, failed or refused, and the run's number as soon as there is one."""
    engine = daemon.engine
    found = engine.control().request(request)
    if found is None:
        raise HTTPException(404, f"There is no request {request}, or it ended long ago.")
    return JSONResponse(documents.request(found))


@router.get("/api/journal", summary="Who did what", response_model=shapes.Journal)
def journal(
    daemon: Here,
    sync: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
) -> Response:
    """Every trigger, pause, approval, refusal and retry, the newest first."""
    acts = daemon.engine.control().acts(limit, before, sync)
    return JSONResponse({"acts": [documents.act(one) for one in acts]})
