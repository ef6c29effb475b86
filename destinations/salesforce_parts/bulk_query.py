"""Look-ups for a large batch: the Ids of all records of an object with one query job, where that needs fewer requests
than asking for the values hundreds at a time.

https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/queries.htm
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

from destinations.salesforce_parts.client import Client, Refusal
from destinations.salesforce_parts.csv_rows import ID, UnreadableFile, rows_of
from destinations.salesforce_parts.jobs import ABORTED, FAILED, GoneError, Jobs, no_doubt
from destinations.salesforce_parts.soql import QUERY, VALUES_MAX, Identifier, Lookup, whole_object
from syncer.transport import Transport

PAGE_ROWS = 50_000
"""Rows asked for at once: a few megabytes."""
LOOKS = 3
"""How often a query job is looked at before it ends, as a rule: after 2, 6 and 14 seconds."""
QUERIES_WORTH = 1 + 1 + LOOKS + 1
"""As many queries for values as a count, a new job, its looks and one page cost; with fewer nothing is counted."""


class WholeObject:
    """The query jobs of one destination."""

    def __init__(self, client: Client, transport: Transport, patience_seconds: float) -> None:
        self._client = client
        self._jobs = Jobs(client, transport, "jobs/query", patience_seconds)

    def find(
        self,
        object_name: str,
        identifier: Identifier,
        lookups: Sequence[Lookup],
        fields: Sequence[str],
        is_converted: bool | None,
    ) -> dict[str, list[Mapping[str, Any]]] | None:
        """Folded value → the records that have it, for the values of these look-ups.

        None when the look-ups need no more requests than a job, or when the job came to nothing: they are asked
        then, and tell what is wrong. Raises what the client raises; never in doubt.
        """
        wanted = frozenset().union(*(lookup.texts for lookup in lookups))
        found: dict[str, list[Mapping[str, Any]]] = {}

        def take(page: BinaryIO) -> int:
            rows = 0
            for row in rows_of(page, ID, identifier.name, *fields):
                rows += 1
                value = identifier.fold(row[identifier.name])
                if value in wanted:
                    found.setdefault(value, []).append({name: row[name] for name in (ID, *fields)})
            return rows

        return found if self.read(object_name, identifier, len(lookups), fields, is_converted, take) else None

    def read(
        self,
        object_name: str,
        identifier: Identifier,
        lookups: int,
        fields: Sequence[str],
        is_converted: bool | None,
        take: Callable[[BinaryIO], int],
    ) -> bool:
        """Give all records of the object, with Id, identifier and these fields, to `take`: in files of results, of each
        of which it tells the number of rows.

        False when so many look-ups need no more requests than a job, or when the job came to nothing; what was given
        is not the whole then. Raises what the client raises; never in doubt.
        """
        if lookups <= QUERIES_WORTH:
            return False
        query, number = whole_object(object_name, identifier, fields, is_converted=is_converted)
        try:
            count = self._client.read(QUERY, "query", q=number).get("totalSize")
            if not isinstance(count, int) or 1 + LOOKS + _pages(count) >= lookups:
                return False
            job_id = self._jobs.create({"operation": "query", "query": query})
            with no_doubt():
                look = self._jobs.wait(job_id)
            if look.state in (FAILED, ABORTED):
                return False
            self._read(job_id, look.processed, take)
        except (Refusal, GoneError, UnreadableFile):
            return False
        return True

    def _read(self, job_id: str, total: int, take: Callable[[BinaryIO], int]) -> None:
        """The pages, one at a time."""
        rows, locator = 0, ""
        while True:
            params = {"maxRecords": str(PAGE_ROWS)} | ({"locator": locator} if locator else {})
            page = self._client.table(self._jobs.path_of(job_id, "results"), **params)
            with page.content:
                new = take(page.content)
            rows += new
            locator = page.locator
            if not locator and rows == total:
                return
            if not locator or not new:
                # A record that is missing here would be taken for one that does not exist, and be created again.
                raise UnreadableFile


def requests(lookups: int) -> int:
    """What so many look-ups will cost, if the object holds no other records than are asked for."""
    return lookups if lookups <= QUERIES_WORTH else min(lookups, 3 + _pages(lookups * VALUES_MAX))


def _pages(rows: int) -> int:
    return max(1, -(-rows // PAGE_ROWS))
