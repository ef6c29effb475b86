"""One person, who is a Contact or a Lead, and becomes a Contact when the lead is converted.

Which record a person is, in this order (the first two in the order of the sync's objects):

    the Contact that has the match               several of them are ambiguous
    the Lead that has it and is not converted    several of them are ambiguous
    the Contact that a converted lead became, whatever its match says by now

Whoever has a converted lead may have had our values on that lead only: for them the Contact is read, and what it
lacks of the whole record is written along.
https://help.salesforce.com/s/articleView?id=sales.leads_convert.htm
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from destinations.salesforce_parts.client import Client, Refusal
from destinations.salesforce_parts.collections import Row
from destinations.salesforce_parts.finding import look_up
from destinations.salesforce_parts.matching import (
    Matched,
    ambiguous,
    missing,
    new_row,
    row_for,
    sole,
    togetherness,
    unanswered,
)
from destinations.salesforce_parts.soql import ID, IS_CONVERTED, LEAD, Identifier, Lookup, lookups
from syncer.change import Change, Value, accepted
from syncer.errors import Problem
from syncer.mapping import Sync

CONTACT = "Contact"
PERSONS = [CONTACT, LEAD]
"""The objects of which one record may be either."""

CONVERTED_TO = "ConvertedContactId"
LEAD_FIELDS = (IS_CONVERTED, CONVERTED_TO)
"""What has to be known of a lead besides its match."""

MOVED = frozenset({"CANNOT_UPDATE_CONVERTED_LEAD", "ENTITY_IS_DELETED"})
"""Codes of a record that became another one, or none, after it was looked up."""

Holds = Callable[[str, Value, object], bool]
"""Whether a field holds a value of ours, by the field's name, the value, and what the service answered."""


@dataclass(frozen=True, slots=True)
class Person:
    """The records that may be the person: none, the one, or several of which none can be chosen."""

    object_name: str
    records: Sequence[Mapping[str, Any]]
    was_converted: bool
    """Whether a lead of theirs was converted."""
    moved_to: tuple[str, ...] = ()
    """Ids of the Contacts that it became, where no record has the match."""


@dataclass(slots=True)
class People:
    """What look-ups said of each key."""

    found: dict[str, Person] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    """Key → why its look-up is to be asked again later."""


def refuse_objects(sync: Sync) -> Iterable[Problem]:
    """What several objects cannot mean; asks nothing."""
    if len(sync.objects) > 1 and sorted(sync.objects) != PERSONS:
        yield Problem("object", 'Only a Contact and a Lead can be one record. Write object = ["Contact", "Lead"].')
    if len(sync.objects) == 1:
        if sync.create_as is not None:
            yield Problem("create_as", "With one object there is nothing to choose; leave `create_as` out.")
    elif sync.missing == "create" and sync.create_as not in sync.objects:
        names = " or ".join(f'"{name}"' for name in sync.objects)
        yield Problem("create_as", f"Say which object is made when there is none: set create_as = {names}.")
    elif sync.missing != "create" and sync.create_as is not None:
        yield Problem("create_as", 'Nothing is created; set missing = "create" too, or leave `create_as` out.')


def person_lookups(identifiers: Mapping[str, Identifier], texts: Sequence[str], parents: Sequence[str]) -> list[Lookup]:
    """The queries that find these people, as long as nobody's lead was converted."""
    return [
        *lookups(CONTACT, identifiers[CONTACT], texts, fields=parents),
        *lookups(LEAD, identifiers[LEAD], texts, fields=LEAD_FIELDS, is_converted=None),
    ]


def find_people(
    client: Client,
    sync: Sync,
    identifiers: Mapping[str, Identifier],
    wanted: Mapping[str, str],
    *,
    fields: Sequence[str] = (),
    parents: Sequence[str] = (),
    is_whole: bool = False,
) -> People:
    """The person for each key's value, with these fields, and those that name the account of a Contact.

    `is_whole` says that the mapped fields are needed of every Contact whose lead was converted; of a Contact that is
    known by its lead only they are read in any case. Raises DestinationUnusable, and whatever the client raises.
    """
    # In this order: who is converted between the two queries is then seen as converted, and not as always there.
    contacts = look_up(client, CONTACT, identifiers[CONTACT], wanted, fields=(*fields, *parents))
    leads = look_up(client, LEAD, identifiers[LEAD], wanted, fields=(*fields, *LEAD_FIELDS), is_converted=None)
    people = People(refused=contacts.refused | leads.refused)
    for key in wanted:
        if key not in people.refused:
            people.found[key] = _person(sync, contacts.records[key], leads.records[key])
    _read_contacts(client, sync, people, parents, is_whole=is_whole)
    return people


def _person(sync: Sync, contacts: Sequence[Mapping[str, Any]], leads: Sequence[Mapping[str, Any]]) -> Person:
    converted = [lead for lead in leads if lead.get(IS_CONVERTED) is True]
    candidates = {CONTACT: contacts, LEAD: [lead for lead in leads if lead.get(IS_CONVERTED) is not True]}
    for name in sync.objects:
        if candidates[name]:
            return Person(name, candidates[name], bool(converted))
    moved_to = dict.fromkeys(str(lead[CONVERTED_TO]) for lead in converted if lead.get(CONVERTED_TO))
    return Person(CONTACT, (), bool(converted), tuple(moved_to))


def _read_contacts(client: Client, sync: Sync, people: People, parents: Sequence[str], *, is_whole: bool) -> None:
    """Read the Contacts of converted leads by their Ids, and put them in the place of what was known of them."""
    ids: dict[str, tuple[str, ...]] = {}
    for key, person in people.found.items():
        if person.moved_to:
            ids[key] = person.moved_to
        elif is_whole and person.was_converted and person.object_name == CONTACT and len(person.records) == 1:
            ids[key] = (person.records[0][ID],)
    wanted = {contact_id: contact_id for several in ids.values() for contact_id in several}
    if not wanted:
        return
    fields = [*(field.name for field in sync.fields), *parents]
    contacts = look_up(client, CONTACT, Identifier(ID), wanted, fields=fields)
    for key, several in ids.items():
        refusal = next((contacts.refused[one] for one in several if one in contacts.refused), None)
        if refusal is not None:
            people.refused[key] = refusal
            del people.found[key]
            continue
        # A Contact that is not found by its Id was deleted since.
        alive = [found for one in several for found in contacts.records[one]]
        people.found[key] = Person(CONTACT, alive, True)


def match_person(
    client: Client,
    sync: Sync,
    identifiers: Mapping[str, Identifier],
    changes: Sequence[Change],
    holds: Holds,
    parents: Sequence[str] = (),
) -> Matched:
    """Rows of a sync whose records are Contacts or Leads. Raises as `find_people` does."""
    matched = Matched()
    (name,) = sync.match
    folded = {change.key: identifiers[CONTACT].fold(change.match[name]) for change in changes}
    sought = sole(sync, changes, folded, matched)
    wanted = {change.key: change.match[name] for change in sought}
    people = find_people(client, sync, identifiers, wanted, parents=parents, is_whole=True)
    targets: dict[str, Person] = {}
    for change in sought:
        if change.key in people.refused:
            matched.outcomes.append(unanswered(change, people.refused[change.key]))
            continue
        person = people.found[change.key]
        if len(person.records) == 1:
            targets[change.key] = person
        elif person.records:
            ids = [one[ID] for one in person.records]
            matched.outcomes.append(ambiguous(person.object_name, change, ids))
        elif change.kind == "removed":
            # There is no record any more, so there is nothing of ours left to clear.
            matched.outcomes.append(accepted(change))
        elif sync.missing == "create":
            matched.creates.append(_new(sync, identifiers, change))
        else:
            matched.outcomes.append(missing(sync, change))
    # A Contact may be found by its own match and by a lead's; two rows of the source would overwrite each other.
    same = {key: person.records[0][ID] for key, person in targets.items()}
    for change in sole(sync, [one for one in sought if one.key in targets], same, matched):
        person = targets[change.key]
        found = person.records[0]
        fields = {**_lacking(change, found, holds), **change.fields} if person.was_converted else change.fields
        matched.updates.append(row_for(person.object_name, change, fields, found))
    matched.updates.sort(key=togetherness)
    return matched


def _lacking(change: Change, found: Mapping[str, Any], holds: Holds) -> dict[str, Value]:
    """What the person has of us already, by our state, and this Contact has not."""
    if change.kind == "removed":
        return {}
    return {name: value for name, value in change.held.items() if name in found and not holds(name, value, found[name])}


def _new(sync: Sync, identifiers: Mapping[str, Identifier], change: Change) -> Row:
    """A person made anew has nothing of us yet, so the whole record goes."""
    name = str(sync.create_as)
    return new_row(name, identifiers[name], change, {**change.held, **change.fields})
