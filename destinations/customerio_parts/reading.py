"""What customer.io holds of given records, read through the App API.

People are read by the hundred, objects one by one, and so are the relationships of people. The relationships of an
object cannot be read: the App API has no call for them that this is written against, so they are left out.

https://docs.customer.io/integrations/api/app/
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from destinations.customerio_parts.app import Readings
from destinations.customerio_parts.settings import PERSON, CustomerioSettings
from syncer.change import Held, LastWrite, Wanted
from syncer.mapping import Sync

IDS_MAX = 100
"""People in one request."""
PAGE = 100
"""Relationships in one answer."""

AMBIGUOUS = "ambiguous"
SECONDS_MAX = 253_402_300_800
"""The year 10000, which no calendar of ours has."""


def read(sync: Sync, records: Iterable[Wanted], readings: Readings, settings: CustomerioSettings) -> Iterator[Held]:
    """One `Held` for each record, in the order of `records` for objects and piece by piece for people."""
    if sync.object != PERSON:
        type_id = settings.object_type_id(sync.object) or ""
        for wanted in records:
            yield _read_object(sync, wanted, type_id, readings)
        return
    remaining = iter(records)
    while piece := list(itertools.islice(remaining, IDS_MAX)):
        yield from _read_people(sync, piece, readings, settings)


def _read_people(
    sync: Sync, piece: Sequence[Wanted], readings: Readings, settings: CustomerioSettings
) -> Iterator[Held]:
    [kind] = sync.match
    # Two rows may mean one person, and an identifier is asked for once.
    ids = list(dict.fromkeys(wanted.match[kind] for wanted in piece))
    answer = readings.post("customers/attributes", {"ids": ids}, id_type=kind)
    found: dict[str, list[dict[str, Any]]] = {}
    for customer in _customers(answer.get("customers"), readings):
        found.setdefault(_folded(kind, _identifier(customer, kind)), []).append(customer)
    for wanted in piece:
        identifier = wanted.match[kind]
        people = found.get(_folded(kind, identifier), [])
        if not people:
            yield Held(wanted.key, None)
        elif len({_identifier(one, "cio_id") for one in people}) > 1:
            yield Held(wanted.key, None, AMBIGUOUS)
        else:
            yield _held_person(sync, wanted.key, people[0], identifier, readings, settings)


def _held_person(
    sync: Sync, key: str, person: dict[str, Any], identifier: str, readings: Readings, settings: CustomerioSettings
) -> Held:
    fields = _fields(sync, person.get("attributes"))
    last_writes = _last_writes(person.get("timestamps"))
    if not sync.relate:
        return Held(key, fields, last_writes=last_writes)
    [kind] = sync.match
    related = _related(identifier, kind, readings)
    if related is None:
        # Gone since the attributes were read.
        return Held(key, None)
    ids = {
        name: frozenset(object_id for type_id, object_id in related if type_id == settings.object_type_id(name))
        for name in sync.relate
    }
    return Held(key, fields, relations=ids, last_writes=last_writes)


def _related(identifier: str, kind: str, readings: Readings) -> set[tuple[str, str]] | None:
    """(object type id, object id) of everything that a person is related to; None when there is no such person."""
    whose = f"cio_{identifier}" if kind == "cio_id" else identifier
    related: set[tuple[str, str]] = set()
    start, seen = "", set[str]()
    while True:
        page = {"start": start} if start else {}
        answer = readings.get("customers", whose, "relationships", id_type=kind, limit=str(PAGE), **page)
        if answer is None:
            return None
        entries = answer.get("cio_relationships")
        start = str(answer.get("next") or "")
        if not isinstance(entries, list) or start in seen:
            raise readings.strange(200, "relationships that cannot be read")
        related |= {_related_object(entry) for entry in entries if isinstance(entry, dict)}
        if not start:
            return related
        seen.add(start)


def _related_object(entry: dict[str, Any]) -> tuple[str, str]:
    identifiers = entry.get("identifiers")
    identifiers = identifiers if isinstance(identifiers, dict) else {}
    type_id = identifiers.get("object_type_id") or entry.get("object_type_id")
    return str(type_id), str(identifiers.get("object_id"))


def _read_object(sync: Sync, wanted: Wanted, type_id: str, readings: Readings) -> Held:
    [(kind, identifier)] = wanted.match.items()
    answer = readings.get("objects", type_id, identifier, "attributes", id_type=kind)
    if answer is None:
        return Held(wanted.key, None)
    thing = answer.get("object")
    if not isinstance(thing, dict):
        raise readings.strange(200, "an object that cannot be read")
    fields, last_writes = _fields(sync, thing.get("attributes")), _last_writes(thing.get("timestamps"))
    return Held(wanted.key, fields, last_writes=last_writes)


def _last_writes(seconds: Any) -> dict[str, LastWrite]:
    """When each attribute was written; the document calls this deprecated, so that it may be missing."""
    found = {}
    for name, second in seconds.items() if isinstance(seconds, dict) else ():
        if isinstance(second, int) and 0 < second < SECONDS_MAX:
            found[name] = LastWrite(at=datetime.datetime.fromtimestamp(second, datetime.UTC))
    return found


def _customers(entries: Any, readings: Readings) -> Iterator[dict[str, Any]]:
    """The people of an answer; the document wraps each of them once more, and not every answer does."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise readings.strange(200, "people that cannot be read")
    for entry in entries:
        inner = entry.get("customer")
        yield inner if isinstance(inner, dict) else entry


def _identifier(customer: dict[str, Any], kind: str) -> str:
    identifiers = customer.get("identifiers")
    found = identifiers.get(kind) if isinstance(identifiers, dict) else None
    return str(found or (customer.get("id") if kind == "id" else None) or "")


def _folded(kind: str, identifier: str) -> str:
    return identifier.strip().lower() if kind == "email" else identifier


def _fields(sync: Sync, attributes: Any) -> dict[str, object]:
    held = attributes if isinstance(attributes, dict) else {}
    return {field.name: None if held.get(field.name) == "" else held.get(field.name) for field in sync.fields}
