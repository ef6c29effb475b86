"""Salesforce: scores on Leads, Contacts, Accounts and any other object, custom ones too.

How a record is found decides how it is written:

match                        missing = "skip"                 missing = "create"
Id                           update by Id                     (refused: Salesforce gives Ids itself)
an external id field         look up the Id, update by Id     upsert by that field
any other field (Email)      look up the Id, update by Id     look up; update what is there, create what is not

Up to 200 changes go with Collections, one request for each way of writing; more of them through Bulk API 2.0, one job
for each, where that needs fewer requests.

Nothing but `missing = "create"` ever creates a record, and a removed row never does. A person who may be a Contact or
a Lead (`object = ["Contact", "Lead"]`) is always looked up first; see `salesforce_parts/person.py`.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from destinations.salesforce_parts import bulk, bulk_query, checking
from destinations.salesforce_parts.bulk import Bulk
from destinations.salesforce_parts.bulk_query import WholeObject
from destinations.salesforce_parts.client import Client
from destinations.salesforce_parts.collections import RECORDS_MAX, create, update, upsert, write
from destinations.salesforce_parts.comparing import is_same
from destinations.salesforce_parts.csv_rows import ID_BYTES, header_bytes, line_bytes
from destinations.salesforce_parts.description import NUMBERS, ObjectDescription, describe, object_names
from destinations.salesforce_parts.finding import Whole
from destinations.salesforce_parts.ingest import REQUESTS_MIN, Ingest, Operation, Task
from destinations.salesforce_parts.login import certificate_end
from destinations.salesforce_parts.matching import PARENT, Matched, is_upserted, match_by_field, match_by_id
from destinations.salesforce_parts.person import CONTACT, MOVED, match_person, person_lookups, refuse_objects
from destinations.salesforce_parts.reading import LAST_WRITE, read_records
from destinations.salesforce_parts.settings import SalesforceSettings
from destinations.salesforce_parts.soql import ID, LEAD, VALUES_MAX, Identifier, lookups
from syncer.change import Alike, Change, Held, Job, Outcome, Value, Wanted
from syncer.destination import Allowance, Destination, Limits, Pace, ValueLimit
from syncer.errors import DestinationUnusable, Problem
from syncer.mapping import Sync
from syncer.stretch import Columnar, Piece, Stretch
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
    takes_several_objects = True
    settings: SalesforceSettings
    collections_max: ClassVar[int] = RECORDS_MAX
    """Changes of a batch that still go with Collections."""

    def __init__(self, name: str, settings: SalesforceSettings, transport: Transport) -> None:
        super().__init__(name, settings, transport)
        self._client = Client(settings, transport)
        ingest = Ingest(self._client, transport, settings.bulk_patience_seconds)
        self._bulk = Bulk(ingest, _duplicate_rule(settings), transport.scratch)
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

    @classmethod
    def expires(cls, settings: SalesforceSettings) -> datetime.date | None:
        """For a login by JWT the end of the certificate, where it stands beside the private key in the PEM text."""
        found = [settings.expires, certificate_end(settings.private_key)]
        return min((one for one in found if one is not None), default=None)

    def refuse(self, sync: Sync) -> Iterable[Problem]:
        """Names, the match, and what Salesforce has no safe way for."""
        found = []
        if not all(NAME.fullmatch(name) for name in sync.objects):
            found.append(Problem("object", "Write the object's API name, as Contact or Invoice__c."))
        found += refuse_objects(sync)
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
            # A Contact that was a Lead may lack what that lead had of us.
            whole=len(sync.objects) > 1,
        )

    def cut(self, sync: Sync, planned: int) -> Limits:
        """Bulk for a large plan, where it needs fewer requests than 200 records each; Collections for all others.

        A job is of one object, so people who may be either of two always go with Collections.
        """
        limits = self.limits(sync)
        most = bulk.RECORDS_MAX if self._is_held(sync) else bulk.STRETCH_MAX
        jobs, calls = -(-planned // most), -(-planned // limits.records)
        if planned < self.settings.bulk_from or calls <= jobs * REQUESTS_MIN or len(sync.objects) > 1:
            return replace(limits, way="Collections")
        room = bulk.UPLOAD_BYTES_MAX - header_bytes(sync)
        return replace(limits, records=most, utf8_bytes=room, in_flight=1, way=bulk.WAY)

    def weigh(self, sync: Sync, change: Change) -> int:
        """Bytes of its line in a file."""
        return line_bytes(sync, change)

    def texts(self, sync: Sync, piece: Piece) -> Columnar:
        """The lines of a file; of a record that is looked up with room for its Id, should that be longer."""
        from destinations.salesforce_parts import lines  # Arrow takes time to load, and only large batches need it.

        identifier = _identifier(self._described.get(sync.object), _match_name(sync))
        return lines.texts(identifier, piece, ID_BYTES if self._is_sought(sync) else 0)

    def check(self, sync: Sync) -> Iterable[Problem]:
        """Log in, and hold the mapping against the description of every object that a record may be."""
        found: list[Problem] = []
        for name in sync.objects:
            described = self._description(name)
            if described is None:
                found.append(checking.unknown_object(name, object_names(self._client)))
            else:
                found += checking.problems(sync, described)
        return found

    def requests(self, sync: Sync, changes: Sequence[Change]) -> int:
        """Look-ups and writes; new leads are looked up among the converted ones too.

        Which records are there is not known yet: new rows count as records to create, and nobody's lead as converted.
        """
        if not changes:
            return 0
        per_write = REQUESTS_MIN if self._is_bulk(changes) else 1
        if ID in sync.match and len(sync.objects) == 1:
            return per_write
        name = _match_name(sync)
        identifiers = {one: _identifier(self._described.get(one), name) for one in sync.objects}
        if len(sync.objects) > 1:
            sought: Sequence[Change] = list(changes)
            texts = [change.match[name] for change in changes]
            queries = [len(person_lookups(identifiers, texts, self._parents(sync)))]
        elif isinstance(changes, Stretch) and self._is_sought(sync):
            # By one query for all; which of them are new is judged by the first ones.
            queries = [-(-len(changes) // VALUES_MAX)]
            changes = sought = changes[: bulk.RECORDS_MAX]
        else:
            sought = self._sought(sync, changes)
            texts = [change.match[name] for change in sought]
            queries = [len(lookups(sync.object, identifiers[sync.object], texts, fields=self._parents(sync)))]
        created = [change for change in sought if sync.missing == "create" and change.kind == "new"]
        if sync.objects == (LEAD,):
            texts = [change.match[name] for change in created]
            queries.append(len(lookups(LEAD, identifiers[LEAD], texts, is_converted=True)))
        if self._is_bulk(changes):
            queries = [bulk_query.requests(count) for count in queries]
        writes = (len(sought) < len(changes)) + bool(created) + (len(created) < len(sought))
        return sum(queries) + writes * per_write

    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome | Alike | Job]:
        """Find the records; then update, upsert and create with at most one request each, or one job each."""
        if len(sync.objects) > 1:
            yield from self._push_people(sync, changes)
            return
        if not self._is_bulk(changes):
            yield from self._write(sync, self._matched(sync, list(changes)))
            return
        identifier, ended = self._identifier(sync), list[str]()
        left: Sequence[int] = range(len(changes))
        whole: Whole | None = self._whole.find
        if isinstance(changes, Stretch) and not self._is_held(sync):
            left = yield from self._push_stretch(sync, identifier, changes, ended)
            # Where all were looked up in vain, the same query would be made in vain again.
            whole = None if self._is_sought(sync) else whole
        for start in range(0, len(left), bulk.RECORDS_MAX):
            places = left[start : start + bulk.RECORDS_MAX]
            some = changes.at(places) if isinstance(changes, Stretch) else (changes[place] for place in places)
            matched = self._matched(sync, list(some), whole)
            yield from matched.outcomes
            yield from self._bulk.write(matched, identifier, ended)

    def resume(self, sync: Sync, job: str, changes: Sequence[Change]) -> Iterator[Outcome | Alike]:
        """Read what the jobs of a batch did, once they have ended; a job that never began is aborted."""
        identifier = self._identifier(sync)

        def updates() -> Any:
            if isinstance(changes, Stretch) and self._is_sought(sync) and not self._is_held(sync):
                from destinations.salesforce_parts.seeking import sought  # As above.
                from destinations.salesforce_parts.stretches import Keyed

                found = sought(self._whole, Keyed.of(sync, identifier, changes), self._parents(sync))
                if found is not None:
                    return found.by_id()
            return self._matched(sync, self._sought(sync, changes), self._whole.find).updates

        yield from self._bulk.resume(sync, job, changes, identifier, updates)

    def read(self, sync: Sync, records: Iterable[Wanted]) -> Iterator[Held]:
        """By query, hundreds at a time; of a person the Contact first, and the one that a converted lead became."""
        identifiers = self._identifiers(sync)
        described = {name: one.fields for name in sync.objects if (one := self._description(name)) is not None}
        hidden = [
            f"{name}.{field.name}" for name in described for field in sync.fields if field.name not in described[name]
        ]
        if hidden:
            raise DestinationUnusable(
                f"{self.title} does not show {', '.join(hidden)} to this user, so nothing can be read back. "
                "Mend the mapping or the user's field rights; `syncer check` shows which."
            )
        told = [name for name in LAST_WRITE if all(name in fields for fields in described.values())]
        yield from read_records(self._client, sync, identifiers, records, told=told)

    def holds(self, sync: Sync, name: str, value: Value, held: object) -> bool:
        """Whether the field holds this value, in the form that the service gives it."""
        described = self._described.get(sync.object)
        return is_same(value, held, described.fields.get(name) if described else None)

    def allowance(self, sync: Sync) -> Allowance | None:
        """The requests that the org may still make in 24 hours, without those that `quota_reserve` leaves to others.

        Each answer says how many were used; that of the object's description, which a push needs too, costs nothing.
        """
        self._description(sync.object)
        return self.quota()

    def quota(self) -> Allowance | None:
        """As the newest answer said it."""
        usage = self._client.usage
        return None if usage is None else Allowance(usage.used, usage.allowed, self.settings.quota_reserve)

    def _is_bulk(self, changes: Sequence[Change]) -> bool:
        """Whether a batch is one for jobs: as large as only `cut` for a large plan makes them."""
        return len(changes) > self.collections_max

    def _push_stretch(
        self, sync: Sync, identifier: Identifier, changes: Stretch, ended: list[str]
    ) -> Generator[Outcome | Alike | Job, None, Sequence[int]]:
        """Write what can be written by columns, with a job for each way; gives the places of the others, which have to
        be held."""
        from destinations.salesforce_parts import seeking  # As above.
        from destinations.salesforce_parts.stretches import Keyed, loaded

        keyed = Keyed.of(sync, identifier, changes)
        is_sought = self._is_sought(sync)
        way: Operation = "update" if is_sought or identifier.name == ID else "upsert"
        ready = loaded(Task(way, sync.object, identifier.name), keyed)
        if not is_sought:
            yield from ready.refused
            yield from self._bulk.run(ready.load, ended)
            return ready.sought
        found = seeking.sought(self._whole, keyed, self._parents(sync))
        if found is None:
            return range(len(changes))
        yield from ready.refused
        yield from seeking.settled(found, ready.load.chosen)
        loads = seeking.loads(found, ready.load.chosen)
        # The jobs take their time, and what was read for the look-ups is not to be kept meanwhile.
        del found, ready
        for load in loads:
            yield from self._bulk.run(load, ended)
        return ()

    def _is_held(self, sync: Sync) -> bool:
        """Whether its rows are objects also in the largest batch: leads that may be made are looked up twice, and a
        person is looked up at two objects."""
        return len(sync.objects) > 1 or (sync.object == LEAD and sync.missing == "create" and self._is_sought(sync))

    def _is_sought(self, sync: Sync) -> bool:
        """Whether every record has to be looked up before it is written."""
        name = _match_name(sync)
        return len(sync.objects) > 1 or not (
            name == ID or (sync.missing == "create" and self._is_key(sync.object, name))
        )

    def _sought(self, sync: Sync, changes: Sequence[Change]) -> list[Change]:
        """The changes whose record has to be looked up."""
        if isinstance(changes, Stretch) and not self._is_sought(sync):
            if ID in sync.match:
                return []
            from destinations.salesforce_parts import lines  # As above.

            return list(changes.at(lines.removed(changes)))
        is_key = self._is_key(sync.object, _match_name(sync))
        return [change for change in changes if not is_upserted(sync, change, is_key=is_key)]

    def _matched(self, sync: Sync, changes: Sequence[Change], whole: Whole | None = None) -> Matched:
        """The rows of a sync of one object; `whole` is as `look_up` has it."""
        if ID in sync.match:
            return match_by_id(sync, changes)
        return match_by_field(
            self._client,
            sync,
            self._identifier(sync),
            is_key=self._is_key(sync.object, _match_name(sync)),
            changes=changes,
            parents=self._parents(sync),
            whole=whole,
        )

    def _push_people(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        """As `push`; who was converted or merged between look-up and write is looked up once more."""
        moved = []
        by_key = {change.key: change for change in changes}
        for outcome in self._write(sync, self._match_people(sync, changes)):
            if outcome.code in MOVED:
                moved.append(by_key[outcome.key])
            else:
                yield outcome
        if moved:
            yield from self._write(sync, self._match_people(sync, moved))

    def _match_people(self, sync: Sync, changes: Sequence[Change]) -> Matched:
        def holds(name: str, value: Value, held: object) -> bool:
            return self.holds(sync, name, value, held)

        return match_person(self._client, sync, self._identifiers(sync), changes, holds, self._parents(sync))

    def _write(self, sync: Sync, matched: Matched) -> Iterator[Outcome]:
        """The outcomes that are known, and then those of the writes."""
        yield from matched.outcomes
        # A score that arrives must not hand a lead to somebody else; jobs do not assign unless they are told to.
        headers = {"Sforce-Auto-Assign": "FALSE", **_duplicate_rule(self.settings)}
        yield from write(self._client, update(headers), matched.updates)
        yield from write(self._client, upsert(sync.object, _match_name(sync), headers), matched.upserts)
        yield from write(self._client, create(headers), matched.creates)

    def _identifier(self, sync: Sync) -> Identifier:
        """How records of the one object are found; an Id needs no description. Raises as `_identifiers` does."""
        return Identifier(ID) if ID in sync.match else self._identifiers(sync)[sync.object]

    def _identifiers(self, sync: Sync) -> Mapping[str, Identifier]:
        """Object → how its records are found. Raises DestinationUnusable when the match cannot be seen."""
        name = _match_name(sync)
        found = {}
        for one in sync.objects:
            described = self._description(one)
            if described is None or name not in described.fields:
                raise DestinationUnusable(
                    f"{self.title} has no {one} with a field {name}, or this user may not see it. Run `syncer check`."
                )
            found[one] = _identifier(described, name)
        return found

    def _parents(self, sync: Sync) -> tuple[str, ...]:
        """The fields that name a record's account, where this user may see them; a Contact's, if nothing was asked."""
        for one in sync.objects:
            described = self._described.get(one)
            if (PARENT in described.fields) if described is not None else one == CONTACT:
                return (PARENT,)
        return ()

    def _is_key(self, object_name: str, name: str) -> bool:
        """Whether records can be upserted by this field, as far as anything was asked yet."""
        described = self._described.get(object_name)
        if described is None or name not in described.fields:
            # A custom field that is matched by is nearly always an external id.
            return name.endswith("__c")
        return described.fields[name].is_external_id

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


def _identifier(described: ObjectDescription | None, name: str) -> Identifier:
    """How values of the match are compared; as text without case, where nothing was asked yet."""
    if described is None or name not in described.fields:
        return Identifier(name)
    found = described.fields[name]
    return Identifier(name, found.type in NUMBERS, found.is_case_sensitive)
