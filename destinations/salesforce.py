"""Salesforce: scores on Leads, Contacts, Accounts and any other object, custom ones too.

How a record is found decides how it is written:

match                        missing = "skip"                 missing = "create"
Id                           update by Id                     (refused: Salesforce gives Ids itself)
an external id field         look up the Id, update by Id     upsert by that field
any other field (Email)      look up the Id, update by Id     look up; update what is there, create what is not

Nothing but `missing = "create"` ever creates a record, and a removed row never does.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterable, Iterator, Sequence

from destinations.salesforce_parts import checking
from destinations.salesforce_parts.client import Client
from destinations.salesforce_parts.collections import RECORDS_MAX, create, update, upsert, write
from destinations.salesforce_parts.description import NUMBERS, ObjectDescription, describe, object_names
from destinations.salesforce_parts.matching import ID, is_upserted, match_by_field, match_by_id
from destinations.salesforce_parts.settings import SalesforceSettings
from destinations.salesforce_parts.soql import LEAD, Identifier, lookups
from syncer.change import Change, Outcome
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

    def __init__(self, name: str, settings: SalesforceSettings, transport: Transport) -> None:
        super().__init__(name, settings, transport)
        self._client = Client(settings, transport)
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
        if ID in sync.match:
            return 1
        described = self._described.get(sync.object)
        name = _match_name(sync)
        if described is not None and name in described.fields:
            identifier, is_key = _identifier(described, name)
        else:
            # Nothing was asked yet. A custom field that is matched by is nearly always an external id.
            identifier, is_key = Identifier(name), name.endswith("__c")
        sought = [change for change in changes if not is_upserted(sync, change, is_key=is_key)]
        created = [change for change in sought if sync.missing == "create" and change.kind == "new"]
        queries = lookups(sync.object, identifier, (change.match[name] for change in sought))
        if sync.object == LEAD:
            queries += lookups(sync.object, identifier, (change.match[name] for change in created), is_converted=True)
        writes = (len(sought) < len(changes)) + bool(created) + (len(created) < len(sought))
        return len(queries) + writes

    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        """Find the records; then update, upsert and create with at most one request each."""
        name = _match_name(sync)
        if name == ID:
            matched = match_by_id(sync, changes)
        else:
            described = self._description(sync.object)
            if described is None or name not in described.fields:
                raise DestinationUnusable(
                    f"{self.title} has no {sync.object} with a field {name}, or this user may not see it. "
                    "Run `syncer check`."
                )
            identifier, is_key = _identifier(described, name)
            matched = match_by_field(self._client, sync, identifier, is_key=is_key, changes=changes)
        yield from matched.outcomes
        # A score that arrives must not hand a lead to somebody else.
        headers = {"Sforce-Auto-Assign": "FALSE"}
        if self.settings.duplicate_rule_header:
            headers["Sforce-Duplicate-Rule-Header"] = self.settings.duplicate_rule_header
        yield from write(self._client, update(headers), matched.updates)
        yield from write(self._client, upsert(sync.object, name, headers), matched.upserts)
        yield from write(self._client, create(headers), matched.creates)

    def _description(self, name: str) -> ObjectDescription | None:
        """The object as the org describes it, asked for once."""
        with self._lock:
            if name not in self._described:
                self._described[name] = describe(self._client, name)
            return self._described[name]


def _match_name(sync: Sync) -> str:
    return next(iter(sync.match))


def _identifier(described: ObjectDescription, name: str) -> tuple[Identifier, bool]:
    """How values of the match are compared, and whether records can be upserted by it."""
    found = described.fields[name]
    return Identifier(name, found.type in NUMBERS, found.is_case_sensitive), found.is_external_id
