"""Look-ups for a large batch: the Ids of all records of an object with one query job, where that needs fewer requests
than asking for the values hundreds at a time.

https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/queries.htm
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
        if len(lookups) <= QUERIES_WORTH:
            return None
        query, number = whole_object(object_name, identifier, fields, is_converted=is_converted)
        wanted = frozenset().union(*(lookup.texts for lookup in lookups))
        try:
            count = self._client.read(QUERY, "query", q=number).get("totalSize")
            if not isinstance(count, int) or 1 + LOOKS + _pages(count) >= len(lookups):
                return None
            job_id = self._jobs.create({"operation": "query", "query": query})
            with no_doubt():
                look = self._jobs.wait(job_id)
            if look.state in (FAILED, ABORTED):
                return None
            return self._read(job_id, identifier, fields, wanted, look.processed)
        except (Refusal, GoneError, UnreadableFile):
            return None

    def _read(
        self, job_id: str, identifier: Identifier, fields: Sequence[str], wanted: frozenset[str], total: int
    ) -> dict[str, list[Mapping[str, Any]]]:
        """The pages, one at a time; of each only what is wanted is kept."""
        found: dict[str, list[Mapping[str, Any]]] = {}
        rows, locator = 0, ""
        while True:
            before = rows
            params = {"maxRecords": str(PAGE_ROWS)} | ({"locator": locator} if locator else {})
            page = self._client.table(self._jobs.path_of(job_id, "results"), **params)
            with page.content:
                for row in rows_of(page.content, ID, identifier.name, *fields):
                    rows += 1
                    value = identifier.fold(row[identifier.name])
                    if value in wanted:
                        found.setdefault(value, []).append({name: row[name] for name in (ID, *fields)})
            locator = page.locator
            if not locator and rows == total:
                return found
            if not locator or rows == before:
                # A record that is missing here would be taken for one that does not exist, and be created again.
                raise UnreadableFile


def requests(lookups: int) -> int:
    """What so many look-ups will cost, if the object holds no other records than are asked for."""
    return lookups if lookups <= QUERIES_WORTH else min(lookups, 3 + _pages(lookups * VALUES_MAX))


def _pages(rows: int) -> int:
    return max(1, -(-rows // PAGE_ROWS))
