"""Salesforce: scores on Leads, Contacts, Accounts and any other object, custom ones too.

How a record is found decides how it is written:

match                        missing = "skip"                 missing = "create"
Id                           update by Id                     (refused: Salesforce gives Ids itself)
an external id field         look up the Id, update by Id     upsert by that field
any other field (Email)      look up the Id, update by Id     look up; update what is there, create what is not

Up to 200 changes go with Collections, one request for each way of writing; more of them through Bulk API 2.0, one job
for each, where that needs fewer requests.

Nothing but `missing = "create"` ever creates a record, and a removed row never does.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

from destinations.salesforce_parts import bulk, bulk_query, checking
from destinations.salesforce_parts.bulk import Bulk
from destinations.salesforce_parts.bulk_query import WholeObject
from destinations.salesforce_parts.client import Client
from destinations.salesforce_parts.collections import RECORDS_MAX, Row, create, update, upsert, write
from destinations.salesforce_parts.csv_rows import header_bytes, line_bytes
from destinations.salesforce_parts.description import NUMBERS, ObjectDescription, describe, object_names
from destinations.salesforce_parts.ingest import REQUESTS_MIN, Ingest
from destinations.salesforce_parts.matching import ID, Matched, is_upserted, match_by_field, match_by_id
from destinations.salesforce_parts.settings import SalesforceSettings
from destinations.salesforce_parts.soql import LEAD, Identifier, lookups
from syncer.change import Change, Job, Outcome
from syncer.destination import Destination, Limits, Pace, ValueLimit
from syncer.errors import DestinationUnusable, Problem
from syncer.mapping import Sync
from syncer.transport import Transport

NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)
"""API names of objects and fields. They go into queries and addresses, so nothing else may pass."""

IDENTIFIER_CHARACTERS = 255
"""The longest text field that can be looked up by."""


class Salesforce(Destination):
    """One org."""

    kind = "salesforce"
    title = "Salesforce"
    settings_type = SalesforceSettings
    settings: SalesforceSettings
    collections_max: ClassVar[int] = RECORDS_MAX
    """Changes of a batch that still go with Collections."""

    def __init__(self, name: str, settings: SalesforceSettings, transport: Transport) -> None:
        super().__init__(name, settings, transport)
        self._client = Client(settings, transport)
        ingest = Ingest(self._client, transport, settings.bulk_patience_seconds)
        self._bulk = Bulk(ingest, _duplicate_rule(settings))
        self._whole = WholeObject(self._client, transport, settings.bulk_patience_seconds)
        self._described: dict[str, ObjectDescription | None] = {}
        self._lock = threading.Lock()

    @classmethod
    def pace(cls, settings: SalesforceSettings) -> Pace:
        """Salesforce publishes no rate per second, only requests per day and long ones at a time; 25 is our choice."""
        return Pace(settings.pace or 25, 1.0)

    @classmethod
    def account(cls, settings: SalesforceSettings) -> str:
        """The org and the user that the requests count for, hashed."""
        parts = "\n".join((settings.login_url, settings.client_id, settings.username or ""))
        return hashlib.sha256(parts.encode()).hexdigest()

    def refuse(self, sync: Sync) -> Iterable[Problem]:
        """Names, the match, and what Salesforce has no safe way for."""
        found = []
        if not NAME.fullmatch(sync.object):
            found.append(Problem("object", "Write the object's API name, as Contact or Invoice__c."))
        if len(sync.match) != 1:
            found.append(Problem("match", "Salesforce finds a record by one field; name exactly one."))
        found += [
            Problem("match", f"{name!r} is no API name of a field; write it as Email or User_Id__c.")
            for name in sync.match
            if not NAME.fullmatch(name)
        ]
        if ID in sync.match and sync.missing == "create":
            found.append(Problem("missing", 'Salesforce gives Ids itself, so with a match by Id set missing = "skip".'))
        if sync.removed == "delete":
            found.append(
                Problem(
                    "removed",
                    "Records are never deleted at Salesforce: others work on them. "
                    'Set removed = "clear" to empty our fields, or "keep".',
                )
            )
        for field in sync.fields:
            place = f"fields.{field.name}"
            if not NAME.fullmatch(field.name):
                found.append(Problem(place, "This is no API name of a field; write it as Score__c."))
            elif field.name == ID or field.name in sync.match:
                found.append(Problem(place, "A record is found by this field, so it cannot be written; leave it out."))
        return found

    def limits(self, sync: Sync) -> Limits:
        """200 records a request; every field that records are looked up by is compared without case, Ids are not."""
        return Limits(
            records=RECORDS_MAX,
            in_flight=4,
            timestamp_unit="millisecond",
            identifiers={name: ValueLimit(characters=IDENTIFIER_CHARACTERS) for name in sync.match},
            caseless=frozenset(sync.match) - {ID},
        )

    def cut(self, sync: Sync, planned: int) -> Limits:
        """Bulk for a large plan, where it needs fewer requests than 200 records each; Collections for all others."""
        limits = self.limits(sync)
        jobs, calls = -(-planned // bulk.RECORDS_MAX), -(-planned // limits.records)
        if planned < self.settings.bulk_from or calls <= jobs * REQUESTS_MIN:
            return replace(limits, way="Collections")
        room = bulk.UPLOAD_BYTES_MAX - header_bytes(sync)
        return replace(limits, records=bulk.RECORDS_MAX, utf8_bytes=room, in_flight=1, way=bulk.WAY)

    def weigh(self, sync: Sync, change: Change) -> int:
        """Bytes of its line in a file."""
        return line_bytes(sync, change)

    def check(self, sync: Sync) -> Iterable[Problem]:
        """Log in, and hold the mapping against the object's description."""
        described = self._description(sync.object)
        if described is None:
            return [checking.unknown_object(sync, object_names(self._client))]
        return list(checking.problems(sync, described))

    def requests(self, sync: Sync, changes: Sequence[Change]) -> int:
        """Look-ups and writes; new leads are looked up among the converted ones too.

        Which records are there is not known yet: new rows count as records to create.
        """
        if not changes:
            return 0
        per_write = REQUESTS_MIN if self._is_bulk(changes) else 1
        if ID in sync.match:
            return per_write
        described = self._described.get(sync.object)
        name = _match_name(sync)
        if described is not None and name in described.fields:
            identifier, is_key = _identifier(described, name)
        else:
            # Nothing was asked yet. A custom field that is matched by is nearly always an external id.
            identifier, is_key = Identifier(name), name.endswith("__c")
        sought = [change for change in changes if not is_upserted(sync, change, is_key=is_key)]
        created = [change for change in sought if sync.missing == "create" and change.kind == "new"]
        queries = [len(lookups(sync.object, identifier, (change.match[name] for change in sought)))]
        if sync.object == LEAD:
            texts = (change.match[name] for change in created)
            queries.append(len(lookups(sync.object, identifier, texts, is_converted=True)))
        if self._is_bulk(changes):
            queries = [bulk_query.requests(count) for count in queries]
        writes = (len(sought) < len(changes)) + bool(created) + (len(created) < len(sought))
        return sum(queries) + writes * per_write

    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome | Job]:
        """Find the records; then update, upsert and create with at most one request each, or one job each."""
        name = _match_name(sync)
        identifier, is_key = self._matched_by(sync, name)
        matched = self._matched(sync, identifier, is_key=is_key, changes=changes)
        yield from matched.outcomes
        if self._is_bulk(changes):
            yield from self._bulk.write(matched, identifier)
            return
        # A score that arrives must not hand a lead to somebody else; jobs do not assign unless they are told to.
        headers = {"Sforce-Auto-Assign": "FALSE", **_duplicate_rule(self.settings)}
        yield from write(self._client, update(headers), matched.updates)
        yield from write(self._client, upsert(sync.object, name, headers), matched.upserts)
        yield from write(self._client, create(headers), matched.creates)

    def resume(self, sync: Sync, job: str, changes: Sequence[Change]) -> Iterator[Outcome]:
        """Read what the jobs of a batch did, once they have ended; a job that never began is aborted."""
        identifier, is_key = self._matched_by(sync, _match_name(sync))

        def updates() -> Sequence[Row]:
            return self._matched(sync, identifier, is_key=is_key, changes=changes).updates

        yield from self._bulk.resume(sync, job, changes, identifier, updates)

    def _is_bulk(self, changes: Sequence[Change]) -> bool:
        """Whether a batch is one for jobs: as large as only `cut` for a large plan makes them."""
        return len(changes) > self.collections_max

    def _matched_by(self, sync: Sync, name: str) -> tuple[Identifier, bool]:
        if name == ID:
            return Identifier(ID), False
        described = self._description(sync.object)
        if described is None or name not in described.fields:
            raise DestinationUnusable(
                f"{self.title} has no {sync.object} with a field {name}, or this user may not see it. "
                "Run `syncer check`."
            )
        return _identifier(described, name)

    def _matched(self, sync: Sync, identifier: Identifier, *, is_key: bool, changes: Sequence[Change]) -> Matched:
        if identifier.name == ID:
            return match_by_id(sync, changes)
        whole = self._whole.find if self._is_bulk(changes) else None
        return match_by_field(self._client, sync, identifier, is_key=is_key, changes=changes, whole=whole)

    def _description(self, name: str) -> ObjectDescription | None:
        """The object as the org describes it, asked for once."""
        with self._lock:
            if name not in self._described:
                self._described[name] = describe(self._client, name)
            return self._described[name]


def _duplicate_rule(settings: SalesforceSettings) -> dict[str, str]:
    header = settings.duplicate_rule_header
    return {"Sforce-Duplicate-Rule-Header": header} if header else {}


def _match_name(sync: Sync) -> str:
    return next(iter(sync.match))


def _identifier(described: ObjectDescription, name: str) -> tuple[Identifier, bool]:
    """How values of the match are compared, and whether records can be upserted by it."""
    found = described.fields[name]
    return Identifier(name, found.type in NUMBERS, found.is_case_sensitive), found.is_external_id
