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
    # Libraries log addresses, and addresses of some services hold people's identifiers.
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr, format="%(name)s: %(levelname)s")
