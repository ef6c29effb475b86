"""Who is told of what goes on in a process: metrics, alerts. The engine knows nothing else of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from syncer.account import Report


class Observer:
    """Is told, and does nothing about it; subclasses do. Called from any thread.

    It must be quick, because runs wait for it, and raise nothing.
    """

    def requested(self, destination: str, status: int | None, seconds: float) -> None:
        """A request to a destination was answered (or not: None), so many seconds after it was sent."""

    def finished(self, report: Report) -> None:
        """A run has ended, and is in the journal as the report says."""
