"""What the sandbox page is made of: the file `page.html`, and the records and requests as JSON."""

from __future__ import annotations

import contextlib
import datetime
import importlib.resources
import json
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

if TYPE_CHECKING:
    from destinations.standins.server import Answer, Exchange, Request, StandIn, Table

ROWS_MAX = 100
REQUESTS_MAX = 40
BODY_CHARACTERS_MAX = 6_000
SECRET_WORDS = ("secret", "password", "token", "assertion", "api_key", "apikey", "authorization", "session")
HIDDEN = "•••"

PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"
    ),
    "X-Content-Type-Options": "nosniff",
}


class Page:
    """Answers for every path that belongs to no stand-in: `/` and `/api/records`."""

    def __init__(self, standins: Mapping[str, StandIn]) -> None:
        self._standins = standins
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        from destinations.standins.server import Answer

        if request.method != "GET":
            return Answer(405, {"error": "This page is only read."})
        if request.path == "/":
            html = importlib.resources.files(__package__).joinpath("page.html").read_text("utf-8")
            return Answer(200, html, PAGE_HEADERS)
        if request.path == "/api/records":
            query = request.query
            # One browser at a time builds tables, so that many open tabs do not slow the stand-ins down.
            with self._lock:
                document = self.document(
                    seen=query.get("seen", [""])[0], find=query.get("find", [""])[0], has_reads="reads" in query
                )
            return Answer(200, document, PAGE_HEADERS)
        return Answer(404, {"error": "Nothing here; the page is at /."})

    def document(self, *, seen: str = "", find: str = "", has_reads: bool = False) -> dict[str, Any]:
        """`{"version", "services": […]}`; without the services when `seen` is the version that it has now.

        `find` keeps the rows that have this text in any cell, without regard to case. Requests that only read are
        left out unless `has_reads`.
        """
        version = "-".join(str(standin.count) for standin in self._standins.values())
        if seen == version:
            return {"version": version}
        return {
            "version": version,
            "services": [_service(prefix, standin, find, has_reads) for prefix, standin in self._standins.items()],
        }


def _service(prefix: str, standin: StandIn, find: str, has_reads: bool) -> dict[str, Any]:
    with standin.lock:
        tables = standin.tables()
        exchanges = [one for one in standin.log if has_reads or one.request.method not in ("GET", "HEAD")]
        count = standin.count
    return {
        "kind": prefix.strip("/"),
        "title": standin.title,
        "requests_count": count,
        "tables": [_table(table, find.casefold()) for table in tables],
        "requests": [_exchange(prefix, exchange) for exchange in reversed(exchanges[-REQUESTS_MAX:])],
    }


def _table(table: Table, find: str) -> dict[str, Any]:
    changed: Sequence[set[str]] = table.changed or [set()] * len(table.rows)
    chosen = [
        (row, marks)
        for row, marks in zip(table.rows, changed, strict=True)
        if not find or any(find in text.casefold() for text in row.values())
    ]
    return {
        "title": table.title,
        "columns": table.columns,
        "total": len(table.rows),
        "found": len(chosen),
        "rows": [
            {"cells": [row.get(column, "") for column in table.columns], "changed": [c in marks for c in table.columns]}
            for row, marks in chosen[:ROWS_MAX]
        ],
    }


def _exchange(prefix: str, exchange: Exchange) -> dict[str, Any]:
    """One request without its headers, which hold credentials."""
    request = exchange.request
    query = f"?{_form(request.query_text)}" if request.query_text else ""
    return {
        "at": datetime.datetime.fromtimestamp(exchange.at, datetime.UTC).isoformat(timespec="milliseconds"),
        "method": request.method,
        "path": prefix + request.path + query,
        "status": exchange.status,
        "sent": _body(request.body, request.headers.get("content-type", "")),
        "answered": _body(exchange.answer, ""),
    }


def _body(body: bytes, content_type: str) -> str:
    """A body to read: JSON indented, forms a line each, secrets hidden, long ones cut."""
    if not body:
        return ""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return f"({len(body):,} bytes)"
    if text.lstrip().startswith("<"):
        # Logins by XML carry a password, and pages of HTML say nothing here.
        return f"(XML or HTML, {len(body):,} bytes)"
    if "form-urlencoded" in content_type:
        text = _form(text).replace("&", "\n")
    else:
        with contextlib.suppress(ValueError):  # CSV and the like is shown as it is.
            text = json.dumps(_without_secrets(json.loads(text)), indent=2, ensure_ascii=False)
    if len(text) > BODY_CHARACTERS_MAX:
        return f"{text[:BODY_CHARACTERS_MAX]}\n… {len(text) - BODY_CHARACTERS_MAX:,} more characters"
    return text


def _is_secret(name: str) -> bool:
    return any(word in name.casefold() for word in SECRET_WORDS) and not name.endswith("_type")


def _form(text: str) -> str:
    pairs = parse_qsl(text, keep_blank_values=True)
    return "&".join(f"{quote(name)}={HIDDEN if _is_secret(name) else quote(value)}" for name, value in pairs)


def _without_secrets(given: Any) -> Any:
    if isinstance(given, dict):
        return {
            name: HIDDEN if _is_secret(name) and isinstance(value, str) else _without_secrets(value)
            for name, value in given.items()
        }
    if isinstance(given, list):
        return [_without_secrets(value) for value in given]
    return given
