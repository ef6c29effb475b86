"""A wire between a process and PostgreSQL, with an accident at a chosen moment: the wire is cut around one commit or
altogether, or anything happens as soon as something is said."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Literal

Moment = Literal["before", "after"]


class Wire:
    """Listens on loopback, and passes on what comes to a port of this machine."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._is_cut = False
        self._moment: Moment | None = None
        self._words = b""
        self._countdown = 0
        self.has_cut = False
        """Whether the chosen commit has come."""
        self._accident: Callable[[], object] | None = None
        self._is_over = threading.Event()
        self._since = b""
        self._left = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_commit(self, moment: Moment, words: bytes, number: int) -> None:
        """Cut the connection of a later commit, once: of the `number`th transaction in which these words were said;
        before the server hears of the commit, or after it has answered and before the client hears that."""
        self._moment, self._words, self._countdown = moment, words, number

    def meet(self, moment: Moment, since: bytes, number: int, accident: Callable[[], object]) -> None:
        """Let something happen once, at the `number`th thing that clients say since these words, which are the first:
        before the server hears it, or after it has answered and before the client hears that."""
        with self._lock:
            self._moment, self._since, self._left, self._accident = moment, since, number, accident

    @property
    def has_met(self) -> bool:
        """Whether that has happened, and to its end."""
        return self._accident is None and self._is_over.wait(60)

    def cut(self) -> None:
        """Cut every connection, and take no new one."""
        with self._lock:
            self._is_cut = True
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop listening."""
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
            is_last, happens = threading.Event(), list[Callable[[], None]]()
            threading.Thread(target=self._up, args=(client, server, is_last, happens), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client, is_last, happens), daemon=True).start()

    def _up(
        self, client: socket.socket, server: socket.socket, is_last: threading.Event, happens: list[Callable[[], None]]
    ) -> None:
        said = b""
        with self._both(client, server):
            while data := client.recv(65536):
                said += data
                if data.endswith(b"BEGIN\0"):
                    said = b""
                if data.endswith(b"COMMIT\0") and self._is_chosen(said):
                    if self._moment == "before":
                        return
                    is_last.set()
                if accident := self._due(data):
                    if self._moment == "before":
                        accident()
                    else:
                        happens.append(accident)
                server.sendall(data)

    def _down(
        self, server: socket.socket, client: socket.socket, is_last: threading.Event, happens: list[Callable[[], None]]
    ) -> None:
        with self._both(client, server):
            while data := server.recv(65536):
                if is_last.is_set():
                    assert b"COMMIT\0" in data, "the commit was not answered"
                    return
                if happens:
                    happens.pop()()
                client.sendall(data)

    def _is_chosen(self, said: bytes) -> bool:
        with self._lock:
            if self._moment is None or self._words not in said:
                return False
            self._countdown -= 1
            if self._countdown == 0:
                self.has_cut = True
                return True
            return False

    def _due(self, data: bytes) -> Callable[[], None] | None:
        """The accident, when its moment has come."""
        with self._lock:
            if self._accident is None:
                return None
            if self._since in data:
                self._since = b""
            if self._since:
                return None
            self._left -= 1
            if self._left:
                return None
            accident, self._accident = self._accident, None

            def happen() -> None:
                try:
                    accident()
                finally:
                    self._is_over.set()

            return happen

    @contextlib.contextmanager
    def _both(self, *ends: socket.socket) -> Iterator[None]:
        try:
            with contextlib.suppress(OSError):
                yield
        finally:
            for one in ends:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
