"""Which rows of which tables are a sync's state. The control store has it as text in the place of a base file's name.

A base table is never changed. Beside it lies a log: each load appends rows of one *mark*, and only rows of the marks
that a version names belong to it. A load whose commit never came has left rows of a mark that no version names. Of
each key the row of the newest mark counts, and one that says `_gone` says that there is no such record.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

FOLD_SHARE = 0.10
"""The log is folded into a new base when it is larger than this share of it."""
FOLD_ROWS = 100_000
"""Below that, it is left alone: every query is billed ten megabytes for each table, and this is about as much."""
MARKS_MAX = 64
"""As many loads may lie in the log."""


@dataclass(frozen=True, slots=True)
class Version:
    """A base table, its rows, and the marks of the log with how many rows each has, the oldest first."""

    base: str | None = None
    base_rows: int = 0
    log: str | None = None
    marks: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, text: str | None) -> Version:
        """From the text of the control store; the empty version from None."""
        if text is None:
            return cls()
        facts = json.loads(text)
        return cls(facts["base"], facts["rows"], facts["log"], tuple((mark, rows) for mark, rows in facts["marks"]))

    @property
    def text(self) -> str:
        """As the control store keeps it."""
        facts = {"base": self.base, "rows": self.base_rows, "log": self.log, "marks": self.marks}
        return json.dumps(facts, separators=(",", ":"))

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that it needs."""
        return tuple(table for table in (self.base, self.log) if table)

    @property
    def is_to_be_folded(self) -> bool:
        """Whether the log has grown so large that a new base is worth its price."""
        logged = sum(rows for _, rows in self.marks)
        return logged > max(self.base_rows * FOLD_SHARE, FOLD_ROWS) or len(self.marks) > MARKS_MAX

    def logged(self, log: str, mark: int, rows: int) -> Version:
        """With one load more."""
        return Version(self.base, self.base_rows, log, (*self.marks, (mark, rows)))


def new_mark() -> int:
    """A mark that is newer than every other."""
    return time.time_ns()
