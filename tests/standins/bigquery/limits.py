"""The service's limits, for those who ask for them: docs.cloud.google.com/bigquery/quotas."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tests.standins.bigquery.analysis import MUTATING
from tests.standins.bigquery.catalog import Catalog, Refused


class Limits:
    """Counts by table; each limit is off until it has a number."""

    def __init__(self, catalog: Catalog) -> None:
        self.modifications_a_day: int | None = None
        """Loads, destination tables and statements that make tables: 1,500 at the service."""
        self.metadata_in_ten_seconds: int | None = None
        """5 at the service."""
        self.mutating_statements: int | None = None
        """DELETE, UPDATE and MERGE, at work or waiting: 2 and 20 at the service, 22 together."""
        self._catalog = catalog
        self._modified: dict[str, list[datetime.datetime]] = defaultdict(list)
        self._described: dict[str, list[datetime.datetime]] = defaultdict(list)

    def statement(self, made: Any, running: Sequence[Any]) -> None:
        """A statement that writes is about to be taken. Raises Refused."""
        if made.kind in ("CREATE_TABLE", "CREATE_TABLE_AS_SELECT", "ALTER_TABLE", "DROP_TABLE"):
            self.metadata(made.target)
        if made.kind == "CREATE_TABLE_AS_SELECT":
            self.modification(made.target)
        # An INSERT never waits for others: docs.cloud.google.com/bigquery/docs/data-manipulation-language.
        if made.kind in MUTATING and made.kind != "INSERT" and self.mutating_statements is not None:
            before = [one for one in running if one.body.get("target") == made.target]
            if len(before) >= self.mutating_statements:
                raise Refused(
                    400,
                    "resourcesExceeded",
                    f"Resources exceeded during query execution: Too many DML statements outstanding against table "
                    f"{made.target}, limit is 20.",
                )

    def modification(self, full_name: str) -> None:
        """A table is about to get other rows, otherwise than by DML. Raises Refused."""
        if not self._fits(self._modified[full_name], self.modifications_a_day, datetime.timedelta(days=1)):
            raise Refused(
                403,
                "quotaExceeded",
                "Quota exceeded: Your table exceeded quota for imports or query appends per table.",
            )

    def metadata(self, full_name: str) -> None:
        """Something about a table is about to change. Raises Refused."""
        if not self._fits(self._described[full_name], self.metadata_in_ten_seconds, datetime.timedelta(seconds=10)):
            raise Refused(
                403,
                "rateLimitExceeded",
                "Exceeded rate limits: too many table update operations for this table.",
            )

    def _fits(self, times: list[datetime.datetime], limit: int | None, span: datetime.timedelta) -> bool:
        now = self._catalog.clock()
        times[:] = [one for one in times if one > now - span]
        if limit is not None and len(times) >= limit:
            return False
        times.append(now)
        return True
