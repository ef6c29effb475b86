"""Logs: on stderr, for people on a terminal and as JSON elsewhere. No value and no secret is ever handed to them."""

from __future__ import annotations

import logging
import sys

import structlog


def configure(*, is_service: bool = False) -> None:
    """A command logs warnings; the service logs one line a run as well."""
    level = logging.INFO if is_service else logging.WARNING
    is_terminal = sys.stderr.isatty()
    renderer = structlog.dev.ConsoleRenderer() if is_terminal else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.ERROR, handlers=[_Libraries()])


def place_of(error: BaseException) -> str:
    """File and line of a fault, without any value: `customerio.py:311`."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}" if trace else "unknown place"


class _Libraries(logging.Handler):
    """Errors that libraries log become lines of ours, without their text.

    They log addresses and exceptions, and addresses of some services hold people's identifiers.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Say which library, and what kind of error at which place."""
        error = record.exc_info[1] if record.exc_info else None
        facts = {"error": type(error).__name__, "at": place_of(error)} if error else {}
        structlog.get_logger(record.name).error("library_failed", library=record.name, **facts)
