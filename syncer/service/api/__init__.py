"""What the daemon answers over HTTP, described by itself at /openapi.json and, for people, at /docs.

    guard       who may ask: token, session, the service's own name, no pages of other sites
    shapes      what goes in and comes out
    syncs       a sync: where it stands, its plan and parked records, triggers, pauses
    signals     whether the process lives and is ready, and its numbers
    runs        runs, their changes, and words about held plans; requests; the journal

The page at `/` asks here too; its files are `syncer.service.page`'s.

Every error is `{"error": sentence}`.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException as StarletteHTTPException

from syncer import __version__
from syncer.control.asking import QueueFull
from syncer.errors import SyncerError, UserError
from syncer.service.api import guard, runs, shapes, signals, syncs
from syncer.service.daemon import Daemon
from syncer.service.page import routes

__all__ = ["application"]


def application(daemon: Daemon) -> FastAPI:
    """The ASGI application of a daemon."""
    app = FastAPIOffline(
        title="Syncer",
        version=__version__,
        summary="Where every sync stands, and what people and programs may ask of the daemon.",
        redoc_url=None,
        responses={
            "4XX": {
                "model": shapes.Error,
                "description": "It cannot be done as it was asked for.",
            },
            503: {"model": shapes.Error, "description": "The state cannot be read or written."},
        },
    )
    app.state.daemon = daemon
    app.state.guard = guard.Guard(daemon)
    app.add_middleware(guard.SmallBodies)
    app.add_middleware(guard.Unremembered)

    for router in (signals.router, guard.router, syncs.router, runs.router):
        app.include_router(router)
    app.routes.extend(routes())
    app.add_exception_handler(StarletteHTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _wrong_request)
    app.add_exception_handler(QueueFull, _queue_full)
    app.add_exception_handler(UserError, _user_error)
    app.add_exception_handler(SyncerError, _syncer_error)
    return app


def _error(sentence: str, status: int, headers: Any = None) -> Response:
    return JSONResponse({"error": sentence}, status_code=status, headers=headers)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)  # noqa: S101 - it is registered for these
    sentences = {404: "There is nothing at this address.", 405: "This address does not take that method."}
    is_ours = isinstance(error, HTTPException)
    sentence = error.detail if is_ours else sentences.get(error.status_code, error.detail)
    return _error(sentence, error.status_code, error.headers)


async def _wrong_request(_: Request, error: Exception) -> Response:
    """Every mistake of a request at once. What was sent is not repeated: it may be anything."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for these
    told = dict.fromkeys(
        f"{'.'.join(str(part) for part in one['loc'] if part != '__root__')}: {one['msg']}" for one in error.errors()
    )
    return _error(f"The request is not what this address takes. {'; '.join(told)}.", 400)


async def _queue_full(_: Request, error: Exception) -> Response:
    return _error(str(error), 429)


async def _user_error(_: Request, error: Exception) -> Response:
    return _error(str(error), 409)


async def _syncer_error(_: Request, error: Exception) -> Response:
    return _error(str(error), 503)
