"""How far a run is, on stderr, and only where somebody watches: on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn


@contextmanager
def progress() -> Iterator[Callable[[str, int], None]]:
    """Gives `advance(sync, records)`, to be called from any thread; it draws nothing when stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda name, records: None
        return
    columns = (TextColumn("{task.description}"), TextColumn("{task.completed:,} records"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks = {}

        def advance(name: str, records: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=None)
            bars.advance(tasks[name], records)

        yield advance
