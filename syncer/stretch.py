"""A batch that is no list of objects: too large to be held, or held as the columns that it is sent by."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from syncer.change import Change

HELD_MAX = 10_000
"""Changes of a batch that are held; where there may be more of them, it is read from the plan's file."""

Columnar: TypeAlias = Any
"""An array of Arrow with a value for each change; its stubs are too narrow for most that can be done with it."""


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a piece. Where `leaves` is true the value is to leave, and a null is a clear; elsewhere it means
    nothing. Timestamps are in UTC, and have no zone."""

    leaves: Columnar
    values: Columnar


@dataclass(frozen=True, slots=True)
class Piece:
    """Some thousand changes in a row, as columns. All pieces of a plan have the same fields: those that leave in any of
    its changes."""

    keys: Columnar
    is_removed: Columnar
    match: Mapping[str, Columnar]
    fields: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.keys)


class Stretch(Sequence[Change]):
    """The changes of such a batch, in their order; a change's place counts from 0.

    Going through them, or asking for one, makes objects, and reads the plan's file where the batch is large; nothing of
    either stays in memory.
    """

    @abstractmethod
    def pieces(self) -> Iterator[Piece]:
        """The same as columns, a piece at a time."""

    @property
    @abstractmethod
    def texts(self) -> Sequence[Columnar]:
        """What `Destination.texts` made of them; nothing where the batch is too large for that to be held."""

    @abstractmethod
    def at(self, places: Sequence[int]) -> Iterator[Change]:
        """The changes at these places, which ascend."""

    @abstractmethod
    def places(self, keys: Sequence[str]) -> dict[str, int]:
        """Key → place, for those of these keys that are there."""
