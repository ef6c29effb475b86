"""Threads that work for one delivery, and do not keep the process alive: a second signal has to end it at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Self, TypeVar, cast

T = TypeVar("T")


class Crew:
    """As many threads as there was ever work at once; they end with the `with` block, each after what it is at."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = 0
        self._under_way = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for _ in range(self._threads):
            self._work.put(None)

    def start(self, work: Callable[[], T]) -> Future[T]:
        """Have something done; what it raises is the future's."""
        future: Future[T] = Future()

        def body() -> None:
            result, raised = None, None
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - handed to whoever asks the future
                raised = error
            with self._lock:
                self._under_way -= 1
            if raised is not None:
                future.set_exception(raised)
            else:
                future.set_result(cast("T", result))

        with self._lock:
            self._under_way += 1
            is_short = self._under_way > self._threads
            self._threads += is_short
        if is_short:
            threading.Thread(target=self._serve, name="delivery", daemon=True).start()
        self._work.put(body)
        return future

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            # It holds a whole batch, which is not to be kept until there is more to do.
            del work
