"""Finding: the records of one object for each of many values, and what it means when a look-up is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from destinations.salesforce_parts.client import Client, Refusal
from destinations.salesforce_parts.collections import DECISIONS, Decision
from destinations.salesforce_parts.description import refused_read
from destinations.salesforce_parts.login import TITLE
from destinations.salesforce_parts.soql import QUERY, Identifier, Lookup, find, lookups
from syncer.errors import DestinationUnusable

QUERY_TIMEOUT = "QUERY_TIMEOUT"
HALVED_MIN = 50
"""Values of a query that is worth asking in halves; where fewer take too long, it is not their number."""


Whole: TypeAlias = Callable[
    [str, Identifier, Sequence[Lookup], Sequence[str], bool | None], dict[str, list[Mapping[str, Any]]] | None
]
"""Object, identifier, look-ups, fields besides, and which leads → folded value → records; see `bulk_query`."""


@dataclass(slots=True)
class Found:
    """What look-ups said of each key."""

    records: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    """Key → the records that have its value; none for a value that no record has."""
    refused: dict[str, Refusal] = field(default_factory=dict)
    """Key → why its look-up is to be asked again later."""


def look_up(
    client: Client,
    object_name: str,
    identifier: Identifier,
    wanted: Mapping[str, str],
    *,
    fields: Sequence[str] = (),
    is_converted: bool | None = False,
    whole: Whole | None = None,
) -> Found:
    """The records for each key's value; options as those of `lookups`. What takes too long is asked in halves.

    `whole` is asked first for what many look-ups would find. It answers None when they are to be asked after all.

    Raises DestinationUnusable when no later run could do better, and whatever the client raises.
    """
    refused: dict[str, Refusal] = {}

    def queries(texts: Iterable[str]) -> list[Lookup]:
        return lookups(object_name, identifier, texts, fields=fields, is_converted=is_converted)

    waiting = queries(wanted.values())
    records = whole(object_name, identifier, waiting, fields, is_converted) if whole else None
    if records is None:
        records = {}
    else:
        waiting.clear()
    while waiting:
        lookup = waiting.pop(0)
        try:
            records |= find(client, identifier, lookup)
        except Refusal as refusal:
            texts = list(lookup.texts.values())
            if refusal.code == QUERY_TIMEOUT and len(texts) >= HALVED_MIN:
                middle = len(texts) // 2
                waiting += [*queries(texts[:middle]), *queries(texts[middle:])]
                continue
            _raise_if_lasting(client, object_name, identifier, refusal, has_fields=bool(fields))
            refused |= dict.fromkeys(lookup.texts, refusal)
    found = Found()
    for key, text in wanted.items():
        value = identifier.fold(text)
        if value in refused:
            found.refused[key] = refused[value]
        else:
            found.records[key] = records.get(value, [])
    return found


def _raise_if_lasting(
    client: Client, object_name: str, identifier: Identifier, refusal: Refusal, *, has_fields: bool
) -> None:
    """Raise what stops the destination; a look-up after which a later run may do better is let pass."""
    decision = DECISIONS.get(refusal.code)
    # A locator grows old when somebody else pages a lot; the next run begins anew.
    if decision is Decision.AGAIN or refusal.status == 409 or refusal.code == "INVALID_QUERY_LOCATOR":
        return
    if decision is Decision.FIELD:
        what = f"{identifier.name} or a mapped field" if has_fields else "it"
        raise DestinationUnusable(
            f"{TITLE} cannot look up {object_name} by {identifier.name} ({refusal.code}): {what} is unknown, or hidden "
            "from this user. Mend the mapping or the user's field rights; `syncer check` shows which."
        ) from None
    raise refused_read(client, refusal, QUERY) from None
