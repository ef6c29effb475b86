"""A service's answer, which may be anything: read within limits of size and time, and JSON that always can be told.

Whoever answers may be broken, taken over, or somebody else. So nothing that comes back may fill the memory, take for
ever, or leave as an exception that the adapters' `except ValueError` does not catch.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from syncer.scratch import Scratch

BYTES_MAX = 256 * 1024 * 1024
"""Of an answer in memory, unpacked."""
SCRATCH_BYTES_MAX = 4 * 1024**3
"""Of an answer that goes to disk: the results of a bulk job have every line of its file, with a reason beside each."""
PIECE_BYTES = 64 * 1024
TIMEOUTS_MAX = 10
"""An answer has to be whole within so many times the timeout, which is how long it may stay silent."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class TooLarge(Exception):
    """There is more of the answer than anything that we ask for."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__()
        self.bytes_max = bytes_max


class TooSlow(Exception):
    """The answer comes in drops."""


class Answer(requests.Response):
    """A response whose `json` raises ValueError (as `requests` promises) for whatever is no JSON, and nothing else."""

    @classmethod
    def of(cls, response: requests.Response) -> Answer:
        """The same answer, unread."""
        answer = cls()
        vars(answer).update(vars(response))
        return answer

    def read(self, timeout_seconds: float, bytes_max: int = BYTES_MAX) -> None:
        """Take the whole body into memory.

        Raises TooLarge, TooSlow, and what `requests` raises for a body that is cut short.
        """
        pieces: list[bytes] = []
        self._take(pieces.append, timeout_seconds, bytes_max)
        self._content, self._content_consumed = b"".join(pieces), True

    def put_down(self, scratch: Scratch, timeout_seconds: float, bytes_max: int = SCRATCH_BYTES_MAX) -> None:
        """Take the whole body into a file, out of which it is read from then on as `raw`.

        Raises as `read` does, and FullDisk.
        """
        file = scratch.file()
        try:
            self._take(partial(scratch.put, file), timeout_seconds, bytes_max)
            scratch.rewind(file)
        except BaseException:
            file.close()
            raise
        self.raw = file

    def _take(self, keep: Callable[[bytes], object], timeout_seconds: float, bytes_max: int) -> None:
        until = time.monotonic() + timeout_seconds * TIMEOUTS_MAX
        size = 0
        try:
            while piece := self.raw.read1(PIECE_BYTES, decode_content=True):
                keep(piece)
                size += len(piece)
                if size > bytes_max or time.monotonic() > until:
                    self.raw.close()
                    break
        except ReadTimeoutError as error:
            raise requests.exceptions.ReadTimeout(error) from None
        except (HTTPError, OSError) as error:
            raise requests.exceptions.ChunkedEncodingError(error) from None
        if size > bytes_max:
            raise TooLarge(bytes_max)
        if piece:
            raise TooSlow
        self.raw.release_conn()

    def json(self, **options: Any) -> Any:
        """The body as JSON. What is nested too deeply, or has a number without end, is none; half a character, as of
        a text that was cut in the middle of one, is a question mark."""
        try:
            found = super().json(**options)
            if _SURROGATE.search(self.content):
                # Python reads it, and nothing can write it: no database, no file, no terminal.
                found = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
        except requests.exceptions.JSONDecodeError:
            raise
        except (ValueError, RecursionError):
            raise requests.exceptions.JSONDecodeError("This is no JSON that anybody can read", "", 0) from None
        return found
