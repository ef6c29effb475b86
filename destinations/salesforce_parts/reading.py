"""Reading records back: the mapped fields of those that a sync is about, by the hundreds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from destinations.salesforce_parts.client import Client, Refusal
from destinations.salesforce_parts.finding import look_up
from destinations.salesforce_parts.login import TITLE
from destinations.salesforce_parts.person import find_people
from destinations.salesforce_parts.soql import VALUES_MAX, Identifier
from syncer.change import Held, Wanted
from syncer.errors import ServiceUnavailable
from syncer.mapping import Sync

PIECE = 10 * VALUES_MAX
"""Records that are looked up before the first is told; of their queries only the last may be half empty."""


def read_records(
    client: Client, sync: Sync, identifiers: Mapping[str, Identifier], records: Iterable[Wanted]
) -> Iterator[Held]:
    """One `Held` for each. Raises DestinationUnusable, ServiceUnavailable, and whatever the client raises."""
    (name,) = sync.match
    fields = [field.name for field in sync.fields]
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
        yield from (_held(key, fields, found[key]) for key in wanted)


def _held(key: str, fields: Sequence[str], records: Sequence[Mapping[str, Any]]) -> Held:
    if len(records) > 1:
        return Held(key, None, "ambiguous")
    return Held(key, {name: records[0].get(name) for name in fields} if records else None)


def _not_now(refusal: Refusal) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"{TITLE} refused to read records for now ({refusal.status}, {refusal.code}). Try again later.", doubt=False
    )
