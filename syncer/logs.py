"""Logs: on stderr, for people on a terminal and as JSON elsewhere. No value and no secret is ever handed to them."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import Literal

import structlog

Form = Literal["auto", "json", "pretty"]

_form: Form = "auto"


def configure(*, is_service: bool = False, form: Form | None = None) -> None:
    """A command logs warnings; the service logs one line a run as well. `form` stays what it was when left out."""
    global _form
    _form = form or _form
    level = logging.INFO if is_service else logging.WARNING
    is_pretty = _form == "pretty" or (_form == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
            if is_pretty
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
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
