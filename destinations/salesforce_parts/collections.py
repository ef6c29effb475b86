"""Writing up to 200 records with one request, and what becomes of each.

https://developer.salesforce.com/docs/platform/api-rest/guide/resources-composite-sobjects-collections.html
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from destinations.salesforce_parts.client import Client, Fault, Refusal, faults, unreadable
from destinations.salesforce_parts.login import TITLE
from destinations.salesforce_parts.soql import id_key
from syncer.change import Change, Outcome, Value, accepted, deferred, rejected
from syncer.errors import DestinationUnusable, ServiceUnavailable
from syncer.transport import ONCE

RECORDS_MAX = 200
WHOLE_MAX = 1e15
"""Below this every whole number is exact, and shorter as an integer."""
CULPRITS_MAX = 10
"""Records of one batch that may each spoil a whole request; with more it is no record's fault any longer."""


class Decision(Enum):
    """What an error's code asks for; a code that is not in `DECISIONS` refuses the record."""

    AGAIN = "again"
    """The record is as it was, and a later run will do better."""
    FIELD = "field"
    """The mapping, or a right of the user, has to be mended before anything of this object is sent."""
    STOP = "stop"
    """The whole destination cannot be used now."""


UNKNOWN_EXCEPTION = "UNKNOWN_EXCEPTION"
"""The service broke at this record, and says no more than that."""
LOCKED = "UNABLE_TO_LOCK_ROW"
"""Somebody holds the record or its account, for some seconds."""

DECISIONS: Mapping[str, Decision] = {
    "ALL_OR_NONE_OPERATION_ROLLED_BACK": Decision.AGAIN,
    "INVALID_SESSION_ID": Decision.AGAIN,
    "QUERY_TIMEOUT": Decision.AGAIN,
    "SERVER_UNAVAILABLE": Decision.AGAIN,
    LOCKED: Decision.AGAIN,
    UNKNOWN_EXCEPTION: Decision.AGAIN,
    "INVALID_FIELD": Decision.FIELD,
    "INVALID_FIELD_FOR_INSERT_UPDATE": Decision.FIELD,
    "INVALID_TYPE": Decision.FIELD,
    "API_CURRENTLY_DISABLED": Decision.STOP,
    "API_DISABLED_FOR_ORG": Decision.STOP,
    "REQUEST_LIMIT_EXCEEDED": Decision.STOP,
    "TXN_SECURITY_METERING_ERROR": Decision.STOP,
}
"""Code of a record's error → what happens next. Everything else refuses this record and no other:
duplicates, validation rules, converted leads.
https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_concepts_core_data_objects.htm
"""


class Row(NamedTuple):
    """A change and what is written of it. `record_id` is set when we know whom it is for.

    `found_by` is the field, with its value, that an upsert finds the record by and a create gives it. `parent` is the
    Id of the account that the service locks with the record, where it is known.
    """

    change: Change
    object_name: str
    fields: Mapping[str, Value]
    found_by: Mapping[str, str | int | float] = MappingProxyType({})
    record_id: str = ""
    was_looked_up: bool = False
    parent: str = ""

    @property
    def record(self) -> dict[str, Any]:
        """As a Collections request has it; None clears, what is absent stays."""
        named = {"id": self.record_id} if self.record_id else self.found_by
        fields = {name: wire(value) for name, value in self.fields.items()}
        return {"attributes": {"type": self.object_name}, **fields, **named}


@dataclass(frozen=True, slots=True)
class Writing:
    """One kind of Collections request."""

    method: Literal["PATCH", "POST"]
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    is_repeatable: bool = True


def update(headers: Mapping[str, str]) -> Writing:
    """By Id; never creates."""
    return Writing("PATCH", "composite/sobjects", headers)


def upsert(object_name: str, field_name: str, headers: Mapping[str, str]) -> Writing:
    """By an external id field; creates what is not there. Names need no encoding: they passed the name pattern."""
    return Writing("PATCH", f"composite/sobjects/{object_name}/{field_name}", headers)


def create(headers: Mapping[str, str]) -> Writing:
    """Always creates, so it is sent once only."""
    return Writing("POST", "composite/sobjects", {**headers, **ONCE}, is_repeatable=False)


def wire(value: Value) -> str | int | float | bool | None:
    """A canonical value as the service takes it in JSON: datetimes in UTC with milliseconds, 41.0 as 41, "" as null.

    The service keeps no empty text, so null says the same and is what it answers afterwards.

    https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/intro_valid_date_formats.htm
    """
    if value == "":
        return None
    if isinstance(value, datetime.datetime):
        instant = value.astimezone(datetime.UTC).replace(tzinfo=None)
        return instant.isoformat(timespec="milliseconds") + "Z"
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) < WHOLE_MAX:
        # A number rounded to no digits may go into a field that takes whole numbers only; for others it is the same.
        return int(value)
    return value


def write(client: Client, writing: Writing, rows: Sequence[Row]) -> Iterator[Outcome]:
    """Send rows and yield one outcome each; a request that is refused as a whole is halved around the culprit.

    Raises DestinationUnusable after the outcomes that are known, and whatever the client raises; only a create
    whose fate is unknown is told as deferred outcomes instead, since its records are looked up before the next try.
    """
    pieces = [list(rows)] if rows else []
    culprits = 0
    while pieces:
        piece = pieces.pop()
        body = {"allOrNone": False, "records": [row.record for row in piece]}
        try:
            answer = client.call(writing.method, writing.path, json=body, headers=writing.headers)
        except ServiceUnavailable as error:
            if writing.is_repeatable or not error.doubt:
                raise
            yield from (deferred(row.change, "unanswered", str(error), doubt=True) for row in piece)
            continue
        except Refusal as refusal:
            if _spoils_whole(refusal, piece):
                if len(piece) > 1:
                    middle = len(piece) // 2
                    pieces += [piece[middle:], piece[:middle]]
                    continue
                culprits += 1
            yield from _refused_whole(client, refusal, piece)
            if culprits == CULPRITS_MAX:
                raise client.unusable(refusal) from None
            continue
        yield from _item_by_item(client, answer, piece)


def _spoils_whole(refusal: Refusal, piece: Sequence[Row]) -> bool:
    """Whether one record may be why all of them were refused."""
    if refusal.status not in (400, 413):
        return False
    decision = DECISIONS.get(refusal.code)
    if decision is Decision.FIELD:
        return len(piece) > 1 and not _named(refusal.faults, piece)
    # Where the service broke without a word, one record is as likely the cause as a bad moment.
    return decision is None or refusal.code == UNKNOWN_EXCEPTION


def _refused_whole(client: Client, refusal: Refusal, piece: Sequence[Row]) -> Iterator[Outcome]:
    if refusal.status == 200:
        # The request was taken and its answer lost, as by a proxy that puts a page of its own in its place.
        yield from (deferred(row.change, "unanswered", str(unreadable("a write")), doubt=True) for row in piece)
        return
    decision = DECISIONS.get(refusal.code)
    if refusal.status == 409 or decision is Decision.AGAIN:
        yield from (_again(row, refusal.code, refusal.message) for row in piece)
        return
    if refusal.status in (400, 413) and decision is None:
        yield from (rejected(row.change, refusal.code, refusal.message) for row in piece)
        return
    yield from (deferred(row.change, refusal.code, refusal.message) for row in piece)
    if decision is Decision.FIELD:
        raise unmapped(refusal.faults[0], piece) from None
    raise client.unusable(refusal) from None


def _item_by_item(client: Client, answer: Any, piece: Sequence[Row]) -> Iterator[Outcome]:
    items = answer if isinstance(answer, list) else []
    if len(items) > len(piece):
        # Which answer belongs to which record cannot be known, so none is believed.
        items = []
    stop: DestinationUnusable | None = None
    for position, row in enumerate(piece):
        item = items[position] if position < len(items) else None
        outcome, fault = _outcome(row, item)
        if fault is not None:
            is_field = DECISIONS[fault.code] is Decision.FIELD
            stop = stop or (unmapped(fault, [row]) if is_field else client.unusable(Refusal(200, (fault,))))
        yield outcome
    if stop is not None:
        raise stop


def _outcome(row: Row, item: Any) -> tuple[Outcome, Fault | None]:
    """What became of one record, and the error that stops the destination, if it is one."""
    change = row.change
    success = item.get("success") if isinstance(item, dict) else None
    if success is True and (not row.record_id or id_key(row.record_id) == id_key(str(item.get("id")))):
        return accepted(change), None
    if success is not False:
        return deferred(change, "unanswered", "The answer says nothing of this record.", doubt=True), None
    found = faults(item.get("errors"))
    if not found:
        return rejected(change, "UNKNOWN", "Refused without a reason."), None
    fault = found[0]
    message = "; ".join(one.message for one in found)
    if fault.code == "ENTITY_IS_DELETED" and row.was_looked_up:
        # Deleted or merged between our look-up and our write: the next look-up knows better.
        return deferred(change, fault.code, message), None
    decision = DECISIONS.get(fault.code)
    if decision is None:
        return rejected(change, fault.code, message), None
    if decision is Decision.AGAIN:
        return _again(row, fault.code, message), None
    return deferred(change, fault.code, message), fault


def _again(row: Row, code: str, message: str) -> Outcome:
    """Deferred; a locked row is worth another try in this run, together with the others of its account."""
    return deferred(row.change, code, message, again=row.parent if code == LOCKED else None)


def _named(found: Sequence[Fault], piece: Sequence[Row]) -> list[str]:
    """The fields of ours that the errors name, in `fields` or in their words."""
    ours = {name for row in piece for name in (*row.fields, *row.found_by)}
    words = {word for fault in found for word in (*fault.fields, *re.findall(r"\w+", fault.message))}
    return sorted(ours & words)


def unmapped(fault: Fault, piece: Sequence[Row]) -> DestinationUnusable:
    """The error for a field that nobody may write, whatever the record."""
    names = ", ".join(_named([fault], piece)) or "a field"
    kinds = {row.object_name: None for row in piece}
    # The words of the error tell which, where records of two objects went together.
    kind = next((kind for kind in kinds if re.search(rf"\b{kind}\b", fault.message)), next(iter(kinds)))
    return DestinationUnusable(
        f"{TITLE} does not let {names} of {kind} be written ({fault.code}): it is unknown, hidden from this user, or "
        "read-only. Mend the mapping or the user's field rights; `syncer check` shows which."
    )
