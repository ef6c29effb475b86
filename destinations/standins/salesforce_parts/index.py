"""Finding the records of one object by a field's value without looking at each of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from typing import Any


class FieldIndex:
    """Which records have which value in one field, compared as the field says: case counts or it does not."""

    def __init__(self, name: str, records: Iterable[Mapping[str, Any]], *, is_case_sensitive: bool) -> None:
        self.name = name
        self.is_case_sensitive = is_case_sensitive
        self._ids: defaultdict[Any, set[str]] = defaultdict(set)
        """Folded value → Ids."""
        self._values: dict[str, Any] = {}
        """Id → the folded value under which it is filed; a record without a value is not."""
        for record in records:
            self.file(record)

    def file(self, record: Mapping[str, Any]) -> None:
        """File a record under the value that it has now, whatever it was filed under before."""
        record_id, value = record["Id"], self._folded(record[self.name])
        before = self._values.get(record_id)
        if value == before:
            return
        if before is not None:
            self._ids[before].discard(record_id)
            del self._values[record_id]
        if value is not None:
            self._ids[value].add(record_id)
            self._values[record_id] = value

    def ids(self, values: Iterable[Any]) -> set[str]:
        """Ids of the records that have one of these values; null finds none."""
        # A list or a map out of a request's JSON equals no value of a field, and cannot be looked up.
        wanted = {self._folded(value) for value in values if isinstance(value, Hashable)}
        return set().union(*(self._ids.get(value, ()) for value in wanted))

    def _folded(self, value: Any) -> Any:
        return value.strip().casefold() if isinstance(value, str) and not self.is_case_sensitive else value
