"""The floor that every stand-in stands on: HTTP on a loopback port, a log of exchanges, and trouble on demand.

It is built on the standard library's server because faults need the socket: closing it before or after
applying, and cutting an answer short, are things that a well-behaved server library rightly prevents.
"""

from __future__ import annotations

import email.utils
import json
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qs, unquote, urlsplit

HTML = "<html><head><title>Sorry</title></head><body><h1>Something went wrong.</h1></body></html>"


@dataclass(frozen=True, slots=True)
class Request:
    """What arrived. `path` is below the stand-in's prefix, still percent-encoded; header names are lower-case."""

    method: str
    path: str
    query_text: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def parts(self) -> list[str]:
        """The path's segments, decoded."""
        return [unquote(part) for part in self.path.strip("/").split("/")]

    @property
    def query(self) -> dict[str, list[str]]:
        """Query parameters; `+` is a blank, as in forms."""
        return parse_qs(self.query_text, keep_blank_values=True)

    def json(self) -> Any:
        """The body as strict JSON (no NaN). Raises ValueError."""

        def refuse(text: str) -> Any:
            raise ValueError(f"{text} is not JSON")

        return json.loads(self.body, parse_constant=refuse)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back. `content` is sent as JSON unless it is text or bytes."""

    status: int
    content: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> tuple[bytes, str]:
        """Body and content type."""
        if self.content is None:
            return b"", "application/json; charset=utf-8"
        if isinstance(self.content, bytes):
            return self.content, "application/octet-stream"
        if isinstance(self.content, str):
            return self.content.encode(), "text/html; charset=utf-8"
        return (json.dumps(self.content) + "\n").encode(), "application/json; charset=utf-8"


@dataclass(slots=True)
class Trouble:
    """A fault for the requests that `when` picks, `times` times (None: for ever).

    status: answer with `answer`, applying nothing · after: apply, then answer with `answer` · close: close the
    connection before applying · lost: apply, then close without answering · cut: apply, then send half of the
    answer · slow: wait `seconds`, then as usual · stall: send the headers and nothing more for `seconds` · (an answer
    without a body is cut and stalled in its first line) ·
    dropped: answer as if it went well (`answer`), applying nothing.
    """

    kind: Literal["status", "after", "close", "lost", "cut", "slow", "stall", "dropped"]
    when: Callable[[Request], bool] = lambda request: True
    times: int | None = 1
    answer: Answer = Answer(503, HTML)
    seconds: float = 0.0
    skip: int = 0
    """How many of the picked requests go through first."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer, as logged."""

    at: float
    request: Request
    status: int
    """0 when the connection was closed without an answer."""
    answer: bytes


@dataclass(frozen=True, slots=True)
class Table:
    """Records of one kind as the service's own people would see them, for the sandbox page.

    `rows` map column → text; `changed` says which columns the newest write of the row changed.
    """

    title: str
    columns: list[str]
    rows: list[dict[str, str]]
    changed: list[set[str]] = field(default_factory=list)


class StandIn(ABC):
    """One service. Subclasses keep the records and answer requests; `lock` is held around `handle`."""

    kind: ClassVar[str]
    title: ClassVar[str]

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.url = ""
        self.troubles: list[Trouble] = []
        self.log: deque[Exchange] = deque(maxlen=20_000)
        self.count = 0

    @abstractmethod
    def handle(self, request: Request) -> Answer:
        """Validate as strictly as the service, apply, and answer. Called with the lock held."""

    @abstractmethod
    def settings(self) -> str:
        """The body of a `[destinations.NAME]` section (TOML) with which Syncer reaches this stand-in at `url`."""

    @abstractmethod
    def tables(self) -> list[Table]:
        """What the service holds now, newest change first."""

    @abstractmethod
    def seed(
        self,
        people: Iterable[Mapping[str, Any]],
        workspaces: Iterable[Mapping[str, Any]],
        accounts: Iterable[Mapping[str, Any]],
    ) -> None:
        """Put the records there that the service is to hold before the first sync (demo and sandbox).

        people: user_id, email, name, github (may be None) · workspaces: workspace_id, name · accounts:
        account_id, name, domain.
        """

    def hurry(self) -> None:  # noqa: B027 - most have nothing to hurry.
        """Have done at once what takes its time at the service, for people who look on; nothing does, by default."""

    def trouble(self, kind: Any, **options: Any) -> Trouble:
        """Order a fault; see `Trouble`."""
        made = Trouble(kind, **options)
        with self.lock:
            self.troubles.append(made)
        return made

    def _due(self, request: Request) -> Trouble | None:
        for trouble in self.troubles:
            if trouble.times == 0 or not trouble.when(request):
                continue
            if trouble.skip > 0:
                trouble.skip -= 1
                continue
            if trouble.times is not None:
                trouble.times -= 1
            return trouble
        return None


class Server:
    """Serves stand-ins under their prefixes, and optionally pages of its own, on 127.0.0.1.

    `Server({"/customerio": stand_in})`; with one stand-in the prefix may be empty. Use as a context manager.
    """

    def __init__(
        self,
        standins: Mapping[str, StandIn],
        *,
        port: int = 0,
        page: Callable[[Request], Answer] | None = None,
    ) -> None:
        self.standins = dict(standins)
        self.page = page
        handler = type("Handler", (_Handler,), {"door": self})
        self._http = _Http(("127.0.0.1", port), handler)
        self.port = int(self._http.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        for prefix, standin in self.standins.items():
            standin.url = self.url + prefix
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def find(self, path: str) -> tuple[StandIn | None, str]:
        """The stand-in whose prefix the path has, and the rest of the path."""
        for prefix, standin in sorted(self.standins.items(), key=lambda item: -len(item[0])):
            if path == prefix or path.startswith(prefix + "/"):
                return standin, path[len(prefix) :] or "/"
        return None, path


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may go away in the middle; that is their right, and part of many tests."""


class _Handler(BaseHTTPRequestHandler):
    door: Server
    protocol_version = "HTTP/1.1"
    # One segment per answer instead of header and body apart, which Nagle would make wait for each other.
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Silent: exchanges are logged as values."""

    def _serve(self) -> None:
        try:
            body = self._body()
            address = urlsplit(self.path)
            standin, path = self.door.find(address.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, path, address.query, headers, body)
            if standin is None:
                self._answer(self.door.page(request) if self.door.page else Answer(404, {"error": "nothing here"}))
            else:
                self._stand_in(standin, request)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815 - the library's names

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _stand_in(self, standin: StandIn, request: Request) -> None:
        with standin.lock:
            standin.count += 1
            trouble = standin._due(request)
            seconds = trouble.seconds if trouble and trouble.kind == "slow" else 0.0
        if seconds:
            time.sleep(seconds)
        with standin.lock:
            if trouble and trouble.kind == "close":
                standin.log.append(Exchange(time.time(), request, 0, b""))
                self._hang_up()
                return
            if trouble and trouble.kind in ("status", "dropped"):
                answer = trouble.answer
            else:
                answer = standin.handle(request)
                if trouble and trouble.kind == "after":
                    answer = trouble.answer
            lost = trouble is not None and trouble.kind == "lost"
            standin.log.append(Exchange(time.time(), request, 0 if lost else answer.status, answer.encoded()[0]))
        if lost:
            self._hang_up()
        elif trouble and trouble.kind == "cut":
            self._answer(answer, cut=True)
        elif trouble and trouble.kind == "stall":
            self._answer(answer, stall=trouble.seconds)
        else:
            self._answer(answer)

    def _answer(self, answer: Answer, *, cut: bool = False, stall: float = 0.0) -> None:
        body, kind = answer.encoded()
        has_body = answer.status not in (204, 304)
        if (cut or stall) and not has_body:
            # Its headers are the whole of such an answer, and a client takes what it has of them for all.
            self._stumble(stall)
            return
        self.send_response(answer.status)
        sent = {name.lower() for name in answer.headers}
        if "content-type" not in sent:
            self.send_header("Content-Type", kind)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if has_body:
            self.send_header("Content-Length", str(len(body) + (32 if cut and not body else 0)))
        self.end_headers()
        if stall:
            self.wfile.flush()
            time.sleep(stall)
            self._hang_up()
        elif cut:
            self.wfile.write(body[: len(body) // 2])
            self._hang_up()
        elif has_body and self.command != "HEAD":
            self.wfile.write(body)

    def _stumble(self, seconds: float) -> None:
        """Begin an answer, and hang up in the middle of its first line."""
        self.wfile.write(b"HTTP/1.1 2")
        self.wfile.flush()
        time.sleep(seconds)
        self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        try:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date header, as the standard wants it."""
        return email.utils.formatdate(timestamp, usegmt=True)
