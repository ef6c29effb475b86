"""What a job is given, and what is awaited of it; here of rows that are held. `stretches` has those that are not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, TypeAlias

from destinations.salesforce_parts.collections import Row
from destinations.salesforce_parts.csv_rows import ID, encoded, key_of, rows_of
from destinations.salesforce_parts.ingest import ERROR, NEEDED, Kind, Task
from destinations.salesforce_parts.soql import Identifier, id_key
from syncer.change import Alike, Change, Outcome
from syncer.mapping import Sync
from syncer.scratch import Scratch

Fold: TypeAlias = Callable[[str], str]
"""Makes one text of two that are the same key to the service."""
Refused: TypeAlias = tuple[Row, str]
"""A row, and the text of its error."""


class Awaited(ABC):
    """Rows of a job of which nothing was heard yet."""

    @property
    @abstractmethod
    def left(self) -> int:
        """How many they are."""

    @abstractmethod
    def told(self, kind: Kind, file: BinaryIO, same: Outcome | None) -> Iterator[Outcome | Alike | Refused]:
        """What a file of results says of them. `same` is the outcome of each, but for the kind `failed`.

        A row that nobody waits for is a second one, or not ours, and is passed over. Raises UnreadableFile.
        """

    @abstractmethod
    def rest(self, same: Outcome) -> Iterator[Outcome | Alike]:
        """The same outcome for all that are left."""


class Told(ABC):
    """The changes of a batch whose jobs another process began, and which of them were heard of since."""

    @abstractmethod
    def by_match(self) -> Awaited:
        """What is left, for a job that knows the changes by their match."""

    @abstractmethod
    def by_id(self, rows: Sequence[Row]) -> Awaited:
        """The same of these rows, for a job that knows them by the Ids that were looked up."""

    @abstractmethod
    def add(self, found: Outcome | Alike) -> None:
        """Put down that this was heard."""

    @abstractmethod
    def rest(self, same: Outcome) -> Iterator[Outcome | Alike]:
        """The same outcome for all that are left."""


class Load(ABC):
    """What one job is to be given."""

    task: Task

    @abstractmethod
    def __len__(self) -> int:
        """How many rows."""

    @abstractmethod
    def content(self, scratch: Scratch) -> Iterator[bytes]:
        """The file, in pieces. Its columns are the key, and then every other one that occurs."""

    @abstractmethod
    def awaited(self) -> Awaited:
        """What is awaited once the job has it."""

    @abstractmethod
    def halves(self) -> list[Load]:
        """Both, the second one first; of more than one row."""

    @abstractmethod
    def first(self) -> Change:
        """The change of its first row."""


@dataclass(slots=True)
class HeldAwaited(Awaited):
    """Rows that are held."""

    key: str
    """The column by which they are told apart."""
    fold: Fold
    rows: dict[str, Row]
    """By the folded value of the key column."""

    @property
    def left(self) -> int:
        """As every `Awaited`."""
        return len(self.rows)

    def told(self, kind: Kind, file: BinaryIO, same: Outcome | None) -> Iterator[Outcome | Alike | Refused]:
        """As every `Awaited`."""
        for found in rows_of(file, self.key, *NEEDED[kind]):
            row = self.rows.pop(self.fold(found[self.key]), None)
            if row is not None:
                yield (row, found[ERROR]) if same is None else same._replace(key=row.change.key)

    def rest(self, same: Outcome) -> Iterator[Outcome | Alike]:
        """As every `Awaited`."""
        for row in self.rows.values():
            yield same._replace(key=row.change.key)


@dataclass(frozen=True, slots=True)
class HeldLoad(Load):
    """Rows that are held, as their look-up found them."""

    task: Task
    rows: Sequence[Row]
    fold: Fold

    def __len__(self) -> int:
        return len(self.rows)

    def content(self, scratch: Scratch) -> Iterator[bytes]:
        """As every `Load`."""
        yield encoded(self.task.key, self.rows)

    def awaited(self) -> Awaited:
        """As every `Load`."""
        return HeldAwaited(self.task.key, self.fold, {self.fold(str(key_of(row))): row for row in self.rows})

    def halves(self) -> list[Load]:
        """As every `Load`."""
        middle = len(self.rows) // 2
        return [HeldLoad(self.task, part, self.fold) for part in (self.rows[middle:], self.rows[:middle])]

    def first(self) -> Change:
        """As every `Load`."""
        return self.rows[0].change


@dataclass(frozen=True, slots=True)
class HeldTold(Told):
    """Of a batch that is held."""

    sync: Sync
    identifier: Identifier
    changes: Sequence[Change]
    _keys: set[str] = field(default_factory=set)

    def by_match(self) -> Awaited:
        """As every `Told`."""
        name, fold = self.identifier.name, self.identifier.fold
        left = self._left(Row(one, self.sync.object, one.fields) for one in self.changes)
        return HeldAwaited(name, fold, {fold(row.change.match[name]): row for row in left})

    def by_id(self, rows: Sequence[Row]) -> Awaited:
        """As every `Told`."""
        return HeldAwaited(ID, fold_id, {fold_id(row.record_id): row for row in self._left(rows)})

    def add(self, found: Outcome | Alike) -> None:
        """As every `Told`."""
        if isinstance(found, Outcome):
            self._keys.add(found.key)

    def rest(self, same: Outcome) -> Iterator[Outcome | Alike]:
        """As every `Told`."""
        for change in self.changes:
            if change.key not in self._keys:
                yield same._replace(key=change.key)

    def _left(self, rows: Iterable[Row]) -> list[Row]:
        return [row for row in rows if row.change.key not in self._keys]


def fold_id(text: str) -> str:
    """An Id in the form that its two spellings share; what is no Id stays as it is."""
    return id_key(text) or text
