"""The page at `/`: plain files that the browser is given as they are, and the rules that it has to keep.

No build step and no other host: what the page is made of lies in this folder, and its policy forbids anything else.
The data comes from the service's own API.
"""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

HEADERS: Mapping[str, str] = {
    # Nothing inline, nothing from elsewhere, in no frame; and no text ever becomes HTML or code.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # An upgrade shows at once: the browser asks each time whether its copy is still the newest.
    "Cache-Control": "no-cache",
}


def routes() -> list[BaseRoute]:
    """`/` and `/page/FILE`, for whoever may ask: there is no data in them."""
    given: list[BaseRoute] = []
    for file in importlib.resources.files(__package__).iterdir():
        kind = next((kind for ending, kind in TYPES.items() if file.name.endswith(ending)), None)
        if kind is not None:
            path = "/" if file.name == "index.html" else f"/page/{file.name}"
            given.append(Route(path, Asset(file.read_bytes(), kind).answer))
    return given


class Asset:
    """One file, with its digest, by which the browser asks whether its copy is still the newest."""

    def __init__(self, content: bytes, kind: str) -> None:
        self._content = content
        self._headers = {**HEADERS, "Content-Type": f"{kind}; charset=utf-8"}
        self._headers["ETag"] = f'"{hashlib.sha256(content).hexdigest()[:32]}"'

    async def answer(self, request: Request) -> Response:
        """The file, or that it has not changed."""
        if request.headers.get("If-None-Match") == self._headers["ETag"]:
            return Response(status_code=304, headers=self._headers)
        return Response(self._content, headers=self._headers)
