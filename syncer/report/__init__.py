"""Results as people read them, made from the very documents that `--json` prints: one truth, two forms.

Nothing here computes, asks or remembers; a function takes a document and a console and prints. The console
decides about colours (none unless it is a terminal, none with `NO_COLOR`) and about width.
"""

from __future__ import annotations

import os
import sys
from typing import IO

from rich.console import Console

from syncer.report.explain import explained
from syncer.report.markdown import markdown
from syncer.report.plan import diff
from syncer.report.readback import adopted, verified
from syncer.report.results import check, problems, rejected, status, sync
from syncer.report.undo import undone

WIDTH = 100
"""Columns where nobody says how wide the paper is: a pipe, a file, a log."""


def console(file: IO[str] | None = None) -> Console:
    """A console for results (standard output unless told otherwise) that leaves text exactly as it is."""
    file = file or sys.stdout
    told = file.isatty() or "COLUMNS" in os.environ
    return Console(file=file, width=None if told else WIDTH, highlight=False, markup=False, emoji=False)


__all__ = [
    "WIDTH",
    "adopted",
    "check",
    "console",
    "diff",
    "explained",
    "markdown",
    "problems",
    "rejected",
    "status",
    "sync",
    "undone",
    "verified",
]
