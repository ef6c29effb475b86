"""Signals of health: whether the process lives and is ready, for whoever keeps it; its numbers, for Prometheus."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client.exposition import choose_encoder

from syncer import __version__
from syncer.service.api import shapes
from syncer.service.api.guard import here, known
from syncer.service.daemon import Daemon
from syncer.service.vitals import ailments, reasons_to_wait

router = APIRouter(tags=["health"])

Here = Annotated[Daemon, Depends(here)]
UNWELL: dict[int | str, dict[str, Any]] = {503: {"model": shapes.Unwell, "description": "Why not."}}


@router.get("/healthz", summary="The process lives", response_model=shapes.Health, responses=UNWELL)
def healthz(daemon: Here) -> Response:
    """503 with the reasons when it had better be started anew. Needs no token."""
    return _answer(ailments(daemon))


@router.get("/readyz", summary="The process is ready", response_model=shapes.Health, responses=UNWELL)
def readyz(daemon: Here) -> Response:
    """Its config is loaded, its clock runs and its store answers; 503 with the reasons otherwise. Needs no token."""
    return _answer(reasons_to_wait(daemon))


@router.get(
    "/metrics",
    summary="Numbers for Prometheus",
    response_class=PlainTextResponse,
    dependencies=[Depends(known)],
)
def metrics(daemon: Here, accept: Annotated[str, Header()] = "") -> Response:
    """In Prometheus' text format, or OpenMetrics for who accepts it. States are read from the journal, a few seconds
    old at most; no source is asked."""
    encode, content_type = choose_encoder(accept)
    return Response(encode(daemon.metrics.registry), headers={"Content-Type": content_type})


def _answer(reasons: list[str]) -> Response:
    if reasons:
        return JSONResponse({"error": " ".join(reasons), "reasons": reasons}, status_code=503)
    return JSONResponse({"status": "ok", "version": __version__})
