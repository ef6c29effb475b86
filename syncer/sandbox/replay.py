"""How a demo's sandbox holds again what it held: the requests that it took, done once more in their order.

Stand-ins number what they make, so the same requests give the same records with the same ids. Reads are among them,
because some of what a stand-in does it does when somebody looks, as the jobs of a bulk API. Only access tokens
differ from one time to the next; a login's new token takes the place of the old one in what follows it.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from destinations.standins.server import Exchange, Server

FILE = "requests.jsonl.gz"
HEADERS = ("authorization", "content-type")
"""What stand-ins look at; all their credentials are invented."""


def save(folder: Path, server: Server) -> None:
    """Write down every request that the server's stand-ins have answered so far."""
    with gzip.open(folder / FILE, "wt", encoding="utf-8", compresslevel=4) as file:
        for prefix, standin in server.standins.items():
            with standin.lock:
                exchanges = list(standin.log)
            for exchange in exchanges:
                if exchange.status:
                    file.write(json.dumps(_line(prefix, exchange)) + "\n")


def restore(folder: Path, server: Server) -> None:
    """Let freshly seeded stand-ins take again what was saved; a demo that saved nothing has nothing to take."""
    if (folder / FILE).exists():
        with gzip.open(folder / FILE, "rt", encoding="utf-8") as file:
            _take(server, (json.loads(line) for line in file))


def _line(prefix: str, exchange: Exchange) -> dict[str, Any]:
    request = exchange.request
    return {
        "to": prefix,
        "at": exchange.at,
        "method": request.method,
        "path": request.path,
        "query": request.query_text,
        "headers": {name: request.headers[name] for name in HEADERS if name in request.headers},
        "body": base64.b64encode(request.body).decode(),
        "token": _token(exchange.answer),
    }


def _take(server: Server, lines: Iterator[dict[str, Any]] | Iterable[dict[str, Any]]) -> None:
    from destinations.standins.server import Exchange, Request

    tokens: dict[str, str] = {}
    for line in lines:
        standin = server.standins.get(line["to"])
        if standin is None:
            continue
        headers = dict(line["headers"])
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if token in tokens:
            headers["authorization"] = f"{scheme} {tokens[token]}"
        body = base64.b64decode(line["body"])
        request = Request(line["method"], line["path"], line["query"], headers, body)
        with standin.lock:
            answer = standin.handle(request)
            body = answer.encoded()[0]
            standin.log.append(Exchange(line["at"], request, answer.status, body))
            standin.count += 1
        renewed = _token(body)
        if line["token"] and renewed:
            tokens[line["token"]] = renewed


def _token(answer: bytes) -> str:
    """The access token that an answer gives out, as OAuth 2.0 names it; empty when it gives none."""
    if b'"access_token"' not in answer:
        return ""
    try:
        content = json.loads(answer)
    except ValueError:
        return ""
    return str(content.get("access_token", "")) if isinstance(content, dict) else ""
