"""How many batches of one delivery may be in flight at once.

One more whenever one is back and all places were taken, so a round of answers doubles it: a service that takes its time
is asked for more at once, until the pace is what holds us. Half of it when the service says that it is too much.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST = 4
"""In flight at first."""


@dataclass(slots=True)
class Room:
    """Places for batches in flight. Knows no time: it is told of each batch that is back."""

    most: int
    """What the user or the adapter allows."""
    size: int = field(init=False)
    _too_many: int = 0
    _paced: int = 0
    _settling: int = 0
    """Batches that left before the room was halved: what they were told was told to the larger one."""

    def __post_init__(self) -> None:
        self.size = min(FIRST, self.most)

    def landed(self, *, others: int, was_full: bool, too_many: int, paced: int) -> None:
        """A batch is back, with so many others in flight.

        The last two are counted since the run began: requests that the service refused as too many (429), and requests
        that waited for a place in the pace.
        """
        is_refused, is_paced = too_many > self._too_many, paced > self._paced
        self._too_many, self._paced = too_many, paced
        if self._settling:
            self._settling -= 1
        elif is_refused:
            self.size = max(1, self.size // 2)
            self._settling = others
        elif was_full and not is_paced:
            self.size = min(self.most, self.size + 1)
