"""How the outcomes of a plan, or of a batch of it, count."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from syncer.change import MISSING


@dataclass(slots=True)
class Tally:
    """How the outcomes of some changes count."""

    accepted: int = 0
    rejected: int = 0
    deferred: int = 0
    unsent: int = 0
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(result, code) → how many, for everything that was rejected or deferred, or is left to the next runs."""
    samples: dict[tuple[str, str], str] = field(default_factory=dict)
    """(result, code) → one message."""
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(kind of change, accepted, rejected, deferred or unsent) → how many."""

    def count(self, result: str, code: str, message: str, number: int = 1) -> None:
        """One change that was rejected or deferred, or several that were for the same reason."""
        if result == "rejected":
            self.rejected += number
        else:
            self.deferred += number
        self.reasons[result, code] += number
        self.samples.setdefault((result, code), message)

    def add(self, other: Tally) -> None:
        """Count the changes of another tally too."""
        self.accepted += other.accepted
        self.rejected += other.rejected
        self.deferred += other.deferred
        self.unsent += other.unsent
        self.reasons.update(other.reasons)
        self.kinds.update(other.kinds)
        self.samples = other.samples | self.samples

    @property
    def refused(self) -> int:
        """Rejected records that are at the destination: what is not there was skipped on purpose."""
        return self.rejected - self.reasons["rejected", MISSING]


@dataclass(slots=True, kw_only=True)
class Delivered(Tally):
    """What became of a plan. The four counts add up to `planned`."""

    planned: int
    error: str | None = None
    cause: str | None = None
    """One word for `error`, as errors have it; "records" when too many of them were refused."""

    @property
    def counts(self) -> dict[str, int]:
        """The counts of the JSON form."""
        return {
            "planned": self.planned,
            "accepted": self.accepted,
            "rejected": self.rejected,
            "deferred": self.deferred,
            "unsent": self.unsent,
        }
