"""What a warehouse says that begins a comparison itself, because the state lies there: `syncer.compare` ends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import duckdb

from syncer.shifts import Stock
from syncer.source import Reading

if TYPE_CHECKING:
    from syncer.state import Inputs


@dataclass(frozen=True, slots=True)
class Totals:
    """What a warehouse that narrowed the rows counted in all of them."""

    rows: int
    not_finite: int
    known: int
    """Records of the state without its plans."""
    versions: tuple[str, ...] | None
    """As many as may be remembered, and one more; None without a version column."""


class Narrowed(Protocol):
    """A comparison that a warehouse has begun where the values lie: only rows that may differ come from it.

    It leaves out nothing that could matter: a row that it sends in vain falls out here. Its batches have two columns
    beside the source's: `_weight`, for how many equal ones of the source a row stands (same key, same match), and
    `_key`, the key as the warehouse has joined by it. All rows of which the key or the match is there twice come, and
    so does every row that cannot go out, and everything that a plan of the state names.
    """

    def stock(self, connection: duckdb.DuckDBPyConnection) -> Stock:
        """What the state holds in sum, without its plans, for a comparison in this connection."""

    def finish(self) -> Totals:
        """Once the batches have been taken: the rows of the state that may differ are in the base of the inputs."""


@dataclass(frozen=True, slots=True)
class Read:
    """The rows for one comparison, which is closed by closing the reading, and what it needs to know of the state."""

    reading: Reading
    inputs: Inputs
    narrowed: Narrowed | None = None
