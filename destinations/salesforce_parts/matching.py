"""From changes to rows: which record each change is for, and so which request it goes with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from destinations.salesforce_parts.client import Client, Refusal
from destinations.salesforce_parts.collections import Row
from destinations.salesforce_parts.finding import Whole, look_up
from destinations.salesforce_parts.soql import ID, LEAD, Identifier, id_key
from syncer.change import Change, Outcome, Value, accepted, deferred, rejected
from syncer.mapping import Sync

PARENT = "AccountId"
"""The field that names a record's account, which the service locks while it writes the record."""


@dataclass(slots=True)
class Matched:
    """The rows of each request, and the changes whose outcome is known before any of them."""

    updates: list[Row] = field(default_factory=list)
    upserts: list[Row] = field(default_factory=list)
    creates: list[Row] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)


def match_by_id(sync: Sync, changes: Sequence[Change]) -> Matched:
    """Rows of a sync that matches by `Id`; asks nothing."""
    matched = Matched()
    ids = {change.key: change.match[ID] for change in changes}
    for change in sole(sync, changes, {key: id_key(text) or text for key, text in ids.items()}, matched):
        record_id = ids[change.key]
        matched.updates.append(Row(change, sync.object, change.fields, record_id=record_id))
    return matched


def match_by_field(
    client: Client,
    sync: Sync,
    identifier: Identifier,
    *,
    is_key: bool,
    changes: Sequence[Change],
    parents: Sequence[str] = (),
    whole: Whole | None = None,
) -> Matched:
    """Rows of a sync that matches by another field; `is_key` says that records can be upserted by it.

    `parents` are the fields that name the account of a record, to be asked for in look-ups; `whole` is as `look_up`
    has it.

    Raises DestinationUnusable, and whatever the client raises.
    """
    matched = Matched()
    folded = {change.key: identifier.fold(change.match[identifier.name]) for change in changes}
    sought = []
    for change in sole(sync, changes, folded, matched):
        if is_upserted(sync, change, is_key=is_key):
            matched.upserts.append(new_row(sync.object, identifier, change, change.fields))
        else:
            sought.append(change)
    absent = []
    for change, records in _looked_up(client, sync, identifier, sought, matched, whole, parents=parents):
        if len(records) == 1:
            matched.updates.append(row_for(sync.object, change, change.fields, records[0]))
        elif records:
            matched.outcomes.append(ambiguous(sync.object, change, [one[ID] for one in records]))
        elif change.kind == "removed":
            # There is no record any more, so there is nothing of ours left to clear.
            matched.outcomes.append(accepted(change))
        elif sync.missing == "create":
            absent.append(change)
        else:
            matched.outcomes.append(missing(sync, change))
    if sync.object == LEAD:
        absent = _unconverted(client, sync, identifier, absent, matched, whole)
    matched.creates += [new_row(sync.object, identifier, change, change.fields) for change in absent]
    matched.updates.sort(key=togetherness)
    return matched


def togetherness(row: Row) -> tuple[str, str]:
    """The order in which rows travel: one type in one piece, and in it the children of one account side by side.

    An update locks the record and its account, so children that travel apart lock each other out.
    https://salesforce.stackexchange.com/questions/235016
    """
    return row.object_name, row.parent


def row_for(object_name: str, change: Change, fields: Mapping[str, Value], found: Mapping[str, Any]) -> Row:
    """The row that writes these fields into a record that a look-up found."""
    parent = str(found.get(PARENT) or "")
    return Row(change, object_name, fields, record_id=found[ID], was_looked_up=True, parent=parent)


def new_row(object_name: str, identifier: Identifier, change: Change, fields: Mapping[str, Value]) -> Row:
    """The row of an upsert or a create: with the value that the record is found by."""
    return Row(change, object_name, fields, {identifier.name: identifier.value(change.match[identifier.name])})


def is_upserted(sync: Sync, change: Change, *, is_key: bool) -> bool:
    """Whether a change goes without a look-up. An upsert may create, which a removed row never does."""
    return is_key and sync.missing == "create" and change.kind != "removed"


def sole(sync: Sync, changes: Sequence[Change], same: Mapping[str, str], matched: Matched) -> list[Change]:
    """The changes whose record no other change of the batch is for; the others are refused.

    Two spellings of one Id get this far, for instance, and would overwrite each other.
    """
    claims = Counter(same[change.key] for change in changes)
    matched.outcomes += [
        claimed_twice(sync, change, count) for change in changes if (count := claims[same[change.key]]) > 1
    ]
    return [change for change in changes if claims[same[change.key]] == 1]


def claimed_twice(sync: Sync, change: Change, count: int) -> Outcome:
    """So many changes of the batch are for the record of this one, and none of them is sent."""
    return rejected(
        change, "ambiguous", f"{count} rows of the source are for the {_either(sync)} with {_told(change)}."
    )


def _looked_up(
    client: Client,
    sync: Sync,
    identifier: Identifier,
    changes: Sequence[Change],
    matched: Matched,
    whole: Whole | None,
    *,
    parents: Sequence[str] = (),
    is_converted: bool = False,
) -> list[tuple[Change, list[Mapping[str, Any]]]]:
    """Each change with its records. Changes whose look-up is to be asked again later are told apart."""
    wanted = {change.key: change.match[identifier.name] for change in changes}
    found = look_up(client, sync.object, identifier, wanted, fields=parents, is_converted=is_converted, whole=whole)
    matched.outcomes += [
        unanswered(change, found.refused[change.key]) for change in changes if change.key in found.refused
    ]
    return [(change, found.records[change.key]) for change in changes if change.key in found.records]


def _unconverted(
    client: Client,
    sync: Sync,
    identifier: Identifier,
    changes: Sequence[Change],
    matched: Matched,
    whole: Whole | None,
) -> list[Change]:
    """The changes that may become new leads: a person whose lead was converted is a contact, and no lead again."""
    fresh = []
    for change, records in _looked_up(client, sync, identifier, changes, matched, whole, is_converted=True):
        if records:
            message = f"The {LEAD} with {_told(change)} was converted, so none is created. Map Contact to reach it."
            matched.outcomes.append(rejected(change, "converted", message))
        else:
            fresh.append(change)
    return fresh


def unanswered(change: Change, refusal: Refusal) -> Outcome:
    """Nothing is known of this change's record, because its look-up was refused for now."""
    return deferred(change, refusal.code, refusal.message)


def ambiguous(object_name: str, change: Change, ids: Sequence[str]) -> Outcome:
    """Several records could be meant; none is guessed at."""
    return rejected(
        change,
        "ambiguous",
        f"{len(ids)} {object_name} records have {_told(change)}: {', '.join(sorted(ids))}. "
        "Merge them, or match by a field that is unique.",
    )


def missing(sync: Sync, change: Change) -> Outcome:
    """There is no such record, and none is to be made."""
    return rejected(change, "missing", f'No {_either(sync)} with {_told(change)}; missing = "skip" never creates one.')


def _either(sync: Sync) -> str:
    return " or ".join(sync.objects)


def _told(change: Change) -> str:
    return ", ".join(f"{name} = {text}" for name, text in change.match.items())
