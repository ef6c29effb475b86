"""How a command begins and ends: its config, its engine, signals, and what is told of mistakes."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from syncer.cli.group import FAILED, LOG_FORMAT

if TYPE_CHECKING:
    from syncer.config import Config
    from syncer.errors import Problem
    from syncer.run import Engine
    from syncer.workshop import Workshop

    Opened = TypeVar("Opened", bound=Workshop)


def load(file: Path) -> Config:
    """The config, with every adapter that is installed. Raises UserError."""
    import destinations
    from syncer import config

    read = config.load(file, destinations.adapter, destinations.kinds)
    context = click.get_current_context(silent=True)
    form = context.meta.get(LOG_FORMAT) if context else None
    return replace(read, log=read.log.model_copy(update={"format": form})) if form else read


def open_engine(config: Config) -> AbstractContextManager[Engine]:
    """An engine for the config, closed in the end."""
    from syncer.run import Engine

    return _opened(Engine, config)


def open_workshop(config: Config) -> AbstractContextManager[Workshop]:
    """What an engine is made of, for a command that only looks and need not load what it takes to run."""
    from syncer.workshop import Workshop

    return _opened(Workshop, config)


@contextmanager
def _opened(kind: type[Opened], config: Config) -> Iterator[Opened]:
    import structlog

    import destinations
    from syncer.logs import configure
    from syncer.sources import source_of
    from syncer.tracing import traced

    configure(form=config.log.format)
    for shared in config.shared_fields():
        structlog.get_logger(__name__).warning("fields_shared", place=shared.place, sentence=shared.sentence)
    with traced():
        made = kind(config, source_of(config.source), destinations.adapter)
        # Changes are made by the million and let go of without a collector of garbage, which begins with every 700 of
        # them by default and looks at all modules, too: that took a third of a delivery.
        gc.freeze()
        gc.set_threshold(50_000)
        try:
            yield made
        finally:
            made.close()


@contextmanager
def sentences(*, is_json: bool = False) -> Iterator[None]:
    """A user's mistake is a list of sentences on stderr and exit code 1; ours keeps its traceback."""
    from syncer.errors import Problem, SyncerError, UserError

    try:
        yield
    except SyncerError as error:
        problems = error.problems if isinstance(error, UserError) else (Problem("", str(error)),)
        fail(problems, is_json=is_json)


def fail(problems: Sequence[Problem], *, is_json: bool) -> NoReturn:
    """Tell all problems, as people and as JSON, and end with exit code 1."""
    from syncer import documents, report

    if is_json:
        print_json({"problems": [documents.problem(one) for one in problems]})
    report.problems(problems, report.console(sys.stderr))
    sys.exit(FAILED)


HEARD = "Stopping when what is in flight is remembered; once more leaves at once, and the next run sends that again.\n"


def stop_on_signals(stop: threading.Event, *, said: str = HEARD) -> None:
    """The first signal lets the step in hand finish and be remembered, and is answered; the second leaves at once."""
    told, tells = os.pipe()
    os.set_blocking(tells, False)

    def hear() -> None:
        is_heard = False
        with os.fdopen(told, "rb", buffering=0) as signals:
            while number := signals.read(1):
                if number[0] not in (signal.SIGTERM, signal.SIGINT):
                    continue
                if is_heard:
                    os._exit(128 + number[0])
                is_heard = True
                stop.set()
                with suppress(OSError):  # A terminal may have hung up.
                    os.write(2, said.encode())

    threading.Thread(target=hear, name="signals", daemon=True).start()
    # A handler of Python's runs in the main thread, which may wait, and never wakes up for a signal that came a moment
    # before it began to, or that the system gave to another thread. What the signal writes here is read in any case.
    before = signal.set_wakeup_fd(tells, warn_on_full_buffer=False)
    if before != -1:
        os.close(before)  # Of the command before, in a process that runs several; its thread ends with it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)


_UNSEEN = re.compile("[\x7f-\x9f\xad\u0600-\u0605\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")
"""What JSON may hold as it is, and a terminal obeys or hides: C1 codes, marks of direction, halves of characters."""


def print_json(document: dict[str, Any]) -> None:
    """A result on stdout, for machines; it means the same to them, and nothing in it gives orders to a terminal."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    click.echo(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def counted(number: int, noun: str) -> str:
    """`1 record`, `5,012 records`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
