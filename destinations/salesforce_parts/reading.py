"""Reading records back: the mapped fields of those that a sync is about, by the hundreds."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from destinations.salesforce_parts.client import Client, Refusal
from destinations.salesforce_parts.finding import look_up
from destinations.salesforce_parts.login import TITLE
from destinations.salesforce_parts.person import find_people
from destinations.salesforce_parts.soql import VALUES_MAX, Identifier
from syncer.change import Held, LastWrite, Wanted
from syncer.errors import ServiceUnavailable
from syncer.mapping import Sync

PIECE = 10 * VALUES_MAX
"""Records that are looked up before the first is told; of their queries only the last may be half empty."""


LAST_WRITE = ("LastModifiedById", "LastModifiedDate")
"""Fields of every object that say who wrote to the record last, and when.

https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/system_fields.htm
"""


def read_records(
    client: Client,
    sync: Sync,
    identifiers: Mapping[str, Identifier],
    records: Iterable[Wanted],
    *,
    told: Sequence[str] = (),
) -> Iterator[Held]:
    """One `Held` for each; `told` are those of `LAST_WRITE` that the user may see.

    Raises DestinationUnusable, ServiceUnavailable, and whatever the client raises.
    """
    (name,) = sync.match
    mapped = [field.name for field in sync.fields]
    fields = list(dict.fromkeys([*mapped, *told]))
    waiting = iter(records)
    while piece := list(islice(waiting, PIECE)):
        wanted = {one.key: one.match[name] for one in piece}
        found: Mapping[str, Sequence[Mapping[str, Any]]]
        if len(sync.objects) > 1:
            people = find_people(client, sync, identifiers, wanted, fields=fields)
            refused, found = people.refused, {key: person.records for key, person in people.found.items()}
        else:
            answers = look_up(client, sync.object, identifiers[sync.object], wanted, fields=fields)
            refused, found = answers.refused, answers.records
        for refusal in refused.values():
            raise _not_now(refusal)
        yield from (_held(key, mapped, found[key]) for key in wanted)


def _held(key: str, fields: Sequence[str], records: Sequence[Mapping[str, Any]]) -> Held:
    if len(records) > 1:
        return Held(key, None, "ambiguous")
    if not records:
        return Held(key, None)
    [record] = records
    last_write = _last_write(record)
    return Held(
        key,
        {name: record.get(name) for name in fields},
        last_writes=dict.fromkeys(fields, last_write) if last_write else {},
    )


def _last_write(record: Mapping[str, Any]) -> LastWrite | None:
    by, at = (record.get(name) for name in LAST_WRITE)
    if not by and not at:
        return None
    try:
        # Milliseconds, and an offset without a colon; or, of Bulk queries, a Z.
        moment = datetime.datetime.fromisoformat(str(at)).astimezone(datetime.UTC)
    except ValueError:
        moment = None
    return LastWrite(str(by or ""), moment, is_of_record=True)


def _not_now(refusal: Refusal) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"{TITLE} refused to read records for now ({refusal.status}, {refusal.code}). Try again later.", doubt=False
    )
