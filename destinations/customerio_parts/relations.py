"""Relationships: what `relate` of a mapping names, and how customer.io is told of one record there.

A person and an object have one relationship or none, and it can be written from either end. A sync of objects names
people, by `person` (their id) or `person:email`, `person:cio_id`; a sync of people names object types, as its
`object` would.

https://docs.customer.io/integrations/api/track/ (cio_relationships)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from destinations.customerio_parts.settings import PERSON, CustomerioSettings
from syncer.change import Relation
from syncer.mapping import Sync

RELATED_PEOPLE = {PERSON: "id", "person:id": "id", "person:email": "email", "person:cio_id": "cio_id"}
"""Name in `relate` of a sync of objects → the identifier by which people are meant."""


def related_kind(sync: Sync, name: str, settings: CustomerioSettings) -> str | None:
    """What a name in `relate` leads to: `person`, or the id of an object type; None when it leads nowhere."""
    if sync.object == PERSON:
        return settings.object_type_id(name)
    return PERSON if name in RELATED_PEOPLE else None


def added(sync: Sync, relations: Mapping[str, Relation], settings: CustomerioSettings) -> list[dict[str, Any]]:
    """The `cio_relationships` that are to be there from now on."""
    return [_related(sync, name, one, settings) for name, relation in relations.items() for one in relation.add]


def removed(sync: Sync, relations: Mapping[str, Relation], settings: CustomerioSettings) -> list[dict[str, Any]]:
    """The `cio_relationships` that are to be there no more.

    An address that was only written in another case is the same person, who would be taken away after being added.
    """
    return [
        _related(sync, name, one, settings)
        for name, relation in relations.items()
        for one in relation.remove
        if _folded(name, one) not in {_folded(name, other) for other in relation.add}
    ]


def _related(sync: Sync, name: str, identifier: str, settings: CustomerioSettings) -> dict[str, Any]:
    if sync.object == PERSON:
        return {"identifiers": {"object_type_id": settings.object_type_id(name) or "", "object_id": identifier}}
    return {"identifiers": {RELATED_PEOPLE[name]: identifier}}


def _folded(name: str, identifier: str) -> str:
    return identifier.strip().lower() if RELATED_PEOPLE.get(name) == "email" else identifier
