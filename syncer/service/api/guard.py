"""Who may ask. On this machine everybody, by the service's own name; elsewhere who brings the token, or a session that
was begun with it. A browser that another site's page sends here is turned away in every case.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.security import HTTPBearer
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from syncer.service.api import shapes

if TYPE_CHECKING:
    from syncer.service.daemon import Daemon

LOOPBACK = ("localhost", "127.0.0.1", "::1")
COOKIE = "syncer_session"
SESSION_SECONDS = 12 * 3600
SESSIONS_MAX = 1_000
BODY_BYTES_MAX = 64 * 2**20
"""A manifest of dbt is the largest thing that anybody sends."""


class Guard:
    """Judges requests, and remembers sessions as long as the process lives."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._lock = threading.Lock()
        self._sessions: dict[str, tuple[float, bytes]] = {}

    @property
    def _token(self) -> bytes | None:
        token = self._daemon.engine.config.service.token
        return token.get_secret_value().encode() if token else None

    def refuse_strangers(self, request: Request) -> None:
        """Raises HTTPException for a request that is not for us, or that another site's page made a browser send."""
        host = request.url.hostname
        if self._token is None and host not in {self._daemon.engine.config.service.host, *LOOPBACK}:
            raise HTTPException(403, "This name is not one of the service's own.")
        if request.method in ("GET", "HEAD"):
            return
        site = request.headers.get("Sec-Fetch-Site")
        origin = request.headers.get("Origin")
        if site not in (None, "same-origin", "none") or (origin and origin.partition("://")[2] != request.url.netloc):
            raise HTTPException(403, "A page of another site cannot ask for this.")
        if request.method == "DELETE":
            return
        if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            raise HTTPException(415, "The body has to be application/json.")

    def is_known(self, request: Request) -> bool:
        """Whether a request brings the token or a session, or needs neither."""
        token = self._token
        if token is None:
            return True
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token):
            return True
        session = request.cookies.get(COOKIE)
        return session is not None and self._has(session, token)

    def begin(self, given: str) -> str | None:
        """A new session for who brings the token; None for who does not."""
        token = self._token
        if token is None or not hmac.compare_digest(given.encode(), token):
            return None
        session = secrets.token_urlsafe(32)
        with self._lock:
            now = time.monotonic()
            self._sessions = {name: one for name, one in self._sessions.items() if one[0] > now}
            while len(self._sessions) >= SESSIONS_MAX:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[_digest(session)] = (now + SESSION_SECONDS, hashlib.sha256(token).digest())
        return session

    def end(self, session: str) -> None:
        """Forget a session."""
        with self._lock:
            self._sessions.pop(_digest(session), None)

    def _has(self, session: str, token: bytes) -> bool:
        """A session is as good as the token that it was begun with, and ends when the token is another one."""
        with self._lock:
            until, begun_with = self._sessions.get(_digest(session), (0.0, b""))
        return until > time.monotonic() and hmac.compare_digest(begun_with, hashlib.sha256(token).digest())


def _digest(session: str) -> str:
    return hashlib.sha256(session.encode()).hexdigest()


def known(request: Request, _: Annotated[Any, Depends(HTTPBearer(auto_error=False))]) -> None:
    """The dependency of every address but those that say that the process lives. Raises HTTPException."""
    guard: Guard = request.app.state.guard
    guard.refuse_strangers(request)
    if not guard.is_known(request):
        raise HTTPException(401, "A bearer token is needed.", headers={"WWW-Authenticate": "Bearer"})


def here(request: Request) -> Daemon:
    """The daemon that a request is for."""
    daemon: Daemon = request.app.state.daemon
    return daemon


router = APIRouter(tags=["session"])


@router.post("/api/session", summary="Begin a session of a browser with the token", status_code=204)
def begin_session(request: Request, body: shapes.Login) -> Response:
    """Sets a cookie that stands for the token, for twelve hours, until the process ends or the token changes."""
    guard: Guard = request.app.state.guard
    guard.refuse_strangers(request)
    session = guard.begin(body.token)
    if session is None:
        raise HTTPException(401, "That is not the token.", headers={"WWW-Authenticate": "Bearer"})
    answer = Response(status_code=204)
    answer.set_cookie(
        COOKIE,
        session,
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.delete("/api/session", summary="End the session", status_code=204)
def end_session(request: Request) -> Response:
    """The cookie is worth nothing after that."""
    guard: Guard = request.app.state.guard
    guard.refuse_strangers(request)
    guard.end(request.cookies.get(COOKIE, ""))
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return answer


class Unremembered:
    """Tells browsers and proxies to keep no answer of the API, and to take it for nothing but what it says it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers to what is answered below /api."""

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Cache-Control"] = "no-store"
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        await self._app(scope, receive, told if scope["type"] == "http" and scope["path"].startswith("/api") else send)


class SmallBodies:
    """Turns away bodies that are too large, before they are in memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what is received."""
        received = 0

        async def counted() -> Any:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > BODY_BYTES_MAX:
                raise HTTPException(413, f"The body is larger than {BODY_BYTES_MAX // 2**20} MB.")
            return message

        await self._app(scope, counted if scope["type"] == "http" else receive, send)
