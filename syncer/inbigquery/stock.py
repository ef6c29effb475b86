"""Sums over a state that lies in BigQuery, for the brakes. Each is a query, and only of fields that change tonight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb

from syncer import sql
from syncer.inbigquery import statement
from syncer.inbigquery.statement import Stored
from syncer.inbigquery.tables import Dataset
from syncer.mapping import Sync
from syncer.plan import Slot
from syncer.shifts import EDGES, SAMPLE
from syncer.source import Reading


class There:
    """See `shifts.Stock`. What the queries cost is added to what the comparison did. A plan whose outcomes the tables
    do not have yet is not in the sums: it is that of a run under way, or of one that was killed."""

    def __init__(
        self, dataset: Dataset, sync: Sync, stored: Stored, reading: Reading, connection: duckdb.DuckDBPyConnection
    ) -> None:
        self._dataset = dataset
        self._sync = sync
        self._stored = stored
        self._reading = reading
        self._db = connection

    def spreads(self, slots: Sequence[Slot]) -> dict[Slot, tuple[float, ...]]:
        """See `Stock`."""
        if not slots:
            return {}
        found = [one or 0 for one in self._row(statement.spreads(self._stored, slots))]
        number = 5 + len(EDGES)
        return {slot: tuple(found[place * number : (place + 1) * number]) for place, slot in enumerate(slots)}

    def sent(self, slots: Sequence[Slot]) -> dict[Slot, int]:
        """See `Stock`."""
        return {slot: sent for slot, (_, sent) in self._counts(slots).items()}

    def values(self, slots: Sequence[Slot]) -> dict[Slot, int]:
        """See `Stock`."""
        return {slot: values for slot, (values, _) in self._counts(slots).items()}

    def sample(self, slots: Mapping[Slot, int]) -> str:
        """See `Stock`."""
        shares = [(slot, max(1, values // SAMPLE)) for slot, values in slots.items()]
        reading = self._ask(statement.sample(self._stored, shares), "sample")
        try:
            self._db.register("sampled_there", reading.batches.read_all())
        finally:
            reading.close()
        columns = [f"o{slot.number} AS {sql.name(slot.column)}" for slot in slots]
        return f"SELECT key, {', '.join(columns)} FROM sampled_there"

    def _counts(self, slots: Sequence[Slot]) -> dict[Slot, tuple[int, int]]:
        if not slots:
            return {}
        found = [int(one or 0) for one in self._row(statement.counts(self._stored, slots))]
        return {slot: (found[2 * place], found[2 * place + 1]) for place, slot in enumerate(slots)}

    def _row(self, text: str) -> list[float | None]:
        reading = self._ask(text, "stock")
        try:
            (row,) = reading.batches.read_all().to_pylist()
        finally:
            reading.close()
        return list(row.values())

    def _ask(self, text: str, step: str) -> Reading:
        reading = self._dataset.ask(self._sync, text, step)
        self._reading.bytes_read = (self._reading.bytes_read or 0) + (reading.bytes_read or 0)
        if reading.price is not None:
            self._reading.price = (self._reading.price or 0.0) + reading.price
        return reading
