"""Logs: on stderr, for people on a terminal and as JSON elsewhere; or in a file a day. No value and no secret is ever
handed to them.
"""

from __future__ import annotations

import io
import logging
import math
import sys
import threading
import traceback
from logging.handlers import TimedRotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Literal, TextIO

import structlog

from syncer.errors import UserError

Form = Literal["auto", "json", "pretty"]


def configure(
    *, is_service: bool = False, form: Form = "auto", file: Path | None = None, keep_seconds: float = 0.0
) -> None:
    """A command logs warnings; the service logs one line a run as well.

    Into a `file` instead of stderr, where there is one: each day's lines are kept so long, in a file of their own.
    Raises UserError when it cannot be written.
    """
    level = logging.INFO if is_service else logging.WARNING
    global _daily
    if _daily is not None:
        _daily.close()
    _daily = _Daily(file, keep_seconds) if file else None
    stream: TextIO = _daily or sys.stderr
    is_pretty = form == "pretty" or (form == "auto" and stream.isatty())
    pretty = structlog.dev.ConsoleRenderer(colors=stream.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            pretty if is_pretty else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.ERROR, handlers=[_Libraries()])
    sys.excepthook = _tell
    threading.excepthook = lambda args: _tell(args.exc_type, args.exc_value, args.exc_traceback)


def place_of(error: BaseException) -> str:
    """File and line of a fault, without any value: `customerio.py:311`."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}" if trace else "unknown place"


def _tell(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """A fault of ours keeps its traceback; its text may be a value or an address, and stays here."""
    lines = ["Traceback (most recent call last):\n", *traceback.format_tb(trace), f"{kind.__name__}\n"]
    sys.stderr.write("".join(lines))


class _Daily(io.TextIOBase, TextIO):
    """A file that is put aside at midnight (UTC), with the day in its name, and deleted in the end."""

    def __init__(self, file: Path, keep_seconds: float) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._handler = TimedRotatingFileHandler(
                file, when="midnight", utc=True, backupCount=max(1, math.ceil(keep_seconds / 86_400)), encoding="utf-8"
            )
        except OSError as error:
            raise UserError(f"The log {file} cannot be written: {error.strerror}. Correct `service.log`.") from None

    def write(self, text: str) -> int:
        """One line."""
        self._handler.emit(logging.makeLogRecord({"msg": text.rstrip("\n")}))
        return len(text)

    def close(self) -> None:
        """Close the file."""
        self._handler.close()
        super().close()


_daily: _Daily | None = None


class _Libraries(logging.Handler):
    """What libraries log becomes lines of ours, without their text.

    They log addresses and exceptions, and addresses of some services hold people's identifiers.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Say which library, and what kind of error at which place."""
        error = record.exc_info[1] if record.exc_info else None
        facts = {"error": type(error).__name__, "at": place_of(error)} if error else {}
        told = structlog.get_logger(record.name)
        if record.levelno >= logging.ERROR:
            told.error("library_failed", library=record.name, **facts)
        else:
            told.debug("library_said", library=record.name, **facts)
