"""From changes to rows: which record each change is for, and so which request it goes with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from destinations.salesforce_parts.client import Client, Refusal
from destinations.salesforce_parts.collections import DECISIONS, Decision, Row, record
from destinations.salesforce_parts.description import refused_read
from destinations.salesforce_parts.login import TITLE
from destinations.salesforce_parts.soql import LEAD, QUERY, Identifier, Lookup, find, id_key, lookups
from syncer.change import Change, Outcome, accepted, deferred, rejected
from syncer.errors import DestinationUnusable
from syncer.mapping import Sync

ID = "Id"

Whole: TypeAlias = Callable[[str, Identifier, Sequence[Lookup], bool], dict[str, list[str]] | None]
"""Object, field, look-ups and whether leads are to be converted ones → folded value → Ids; see `bulk_query`."""


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
    for change in _sole(sync, changes, {key: id_key(text) or text for key, text in ids.items()}, matched):
        record_id = ids[change.key]
        matched.updates.append(Row(change, record(sync.object, change.fields) | {"id": record_id}, record_id))
    return matched


def match_by_field(
    client: Client,
    sync: Sync,
    identifier: Identifier,
    *,
    is_key: bool,
    changes: Sequence[Change],
    whole: Whole | None = None,
) -> Matched:
    """Rows of a sync that matches by another field; `is_key` says that records can be upserted by it.

    `whole` is asked first for what many look-ups would find. It answers None when they are to be asked after all.

    Raises DestinationUnusable, and whatever the client raises.
    """
    matched = Matched()
    folded = {change.key: identifier.fold(change.match[identifier.name]) for change in changes}
    sought = []
    for change in _sole(sync, changes, folded, matched):
        if is_upserted(sync, change, is_key=is_key):
            matched.upserts.append(Row(change, _keyed(sync, identifier, change)))
        else:
            sought.append(change)
    absent = []
    for change, ids in _looked_up(client, sync, identifier, sought, matched, whole):
        if len(ids) == 1:
            body = record(sync.object, change.fields) | {"id": ids[0]}
            matched.updates.append(Row(change, body, ids[0], was_looked_up=True))
        elif ids:
            matched.outcomes.append(_ambiguous(sync, change, ids))
        elif change.kind == "removed":
            # There is no record any more, so there is nothing of ours left to clear.
            matched.outcomes.append(accepted(change))
        elif sync.missing == "create":
            absent.append(change)
        else:
            matched.outcomes.append(_missing(sync, change))
    if sync.object == LEAD:
        absent = _unconverted(client, sync, identifier, absent, matched, whole)
    matched.creates += [Row(change, _keyed(sync, identifier, change)) for change in absent]
    return matched


def is_upserted(sync: Sync, change: Change, *, is_key: bool) -> bool:
    """Whether a change goes without a look-up. An upsert may create, which a removed row never does."""
    return is_key and sync.missing == "create" and change.kind != "removed"


def _sole(sync: Sync, changes: Sequence[Change], same: dict[str, str], matched: Matched) -> list[Change]:
    """The changes whose record no other change of the batch is for; the others are refused.

    Two spellings of one Id get this far, for instance, and would overwrite each other.
    """
    claims: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        claims[same[change.key]].append(change)
    for several in claims.values():
        if len(several) > 1:
            matched.outcomes += [
                rejected(
                    change,
                    "ambiguous",
                    f"{len(several)} rows of the source are for the {sync.object} with {_told(change)}.",
                )
                for change in several
            ]
    return [several[0] for several in claims.values() if len(several) == 1]


def _keyed(sync: Sync, identifier: Identifier, change: Change) -> dict[str, object]:
    """The record with the value it is found by in it."""
    return record(sync.object, change.fields) | {identifier.name: identifier.value(change.match[identifier.name])}


def _looked_up(
    client: Client,
    sync: Sync,
    identifier: Identifier,
    changes: Sequence[Change],
    matched: Matched,
    whole: Whole | None,
    *,
    is_converted: bool = False,
) -> list[tuple[Change, list[str]]]:
    """Each change with the Ids of its records. Changes whose look-up is to be asked again later are told apart."""
    refused: dict[str, Refusal] = {}
    texts = [change.match[identifier.name] for change in changes]
    pieces = lookups(sync.object, identifier, texts, is_converted=is_converted)
    found = whole(sync.object, identifier, pieces, is_converted) if whole else None
    if found is not None:
        pieces = []
    found = found or {}
    for lookup in pieces:
        try:
            found |= find(client, identifier, lookup)
        except Refusal as refusal:
            refused |= dict.fromkeys(lookup.folded, _passing(client, sync, identifier, refusal))
    answered = []
    for change in changes:
        value = identifier.fold(change.match[identifier.name])
        if value in refused:
            matched.outcomes.append(deferred(change, refused[value].code, refused[value].message))
        else:
            answered.append((change, found.get(value, [])))
    return answered


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
    for change, ids in _looked_up(client, sync, identifier, changes, matched, whole, is_converted=True):
        if ids:
            message = f"The {LEAD} with {_told(change)} was converted, so none is created. Map Contact to reach it."
            matched.outcomes.append(rejected(change, "converted", message))
        else:
            fresh.append(change)
    return fresh


def _passing(client: Client, sync: Sync, identifier: Identifier, refusal: Refusal) -> Refusal:
    """The refusal of a look-up, if a later run may do better; else it is raised as what it is."""
    decision = DECISIONS.get(refusal.code)
    # A locator grows old when somebody else pages a lot; the next run begins anew.
    if decision is Decision.AGAIN or refusal.status == 409 or refusal.code == "INVALID_QUERY_LOCATOR":
        return refusal
    if decision is Decision.FIELD:
        raise DestinationUnusable(
            f"{TITLE} cannot look up {sync.object} by {identifier.name} ({refusal.code}): it is unknown, or hidden "
            "from this user. Mend `match` or the user's field rights; `syncer check` shows which."
        ) from None
    raise refused_read(client, refusal, QUERY) from None


def _ambiguous(sync: Sync, change: Change, ids: Sequence[str]) -> Outcome:
    return rejected(
        change,
        "ambiguous",
        f"{len(ids)} {sync.object} records have {_told(change)}: {', '.join(sorted(ids))}. "
        "Merge them, or match by a field that is unique.",
    )


def _missing(sync: Sync, change: Change) -> Outcome:
    return rejected(change, "missing", f'No {sync.object} with {_told(change)}; missing = "skip" never creates one.')


def _told(change: Change) -> str:
    return ", ".join(f"{name} = {text}" for name, text in change.match.items())
