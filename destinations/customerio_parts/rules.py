"""What a mapping to customer.io may say, and the sizes that customer.io sets.

Sizes: https://docs.customer.io/integrations/api/track/ · https://docs.customer.io/journeys/invalid-api-requests ·
reserved names: https://docs.customer.io/journeys/people/manage/attributes
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence

from destinations.customerio_parts.account import Account
from destinations.customerio_parts.relations import RELATED_PEOPLE, related_kind
from destinations.customerio_parts.settings import PERSON
from syncer.errors import Problem
from syncer.mapping import Sync

PERSON_IDENTIFIERS = ("id", "email", "cio_id")
OBJECT_IDENTIFIERS = ("object_id", "cio_object_id")

RESERVED_ON_PEOPLE = frozenset(
    {
        "id",
        "email",
        "cio_id",
        "anonymous_id",
        "created_at",
        "cio_relationships",
        "unsubscribed",
        "cio_subscription_preferences",
    }
)
RESERVED_ON_OBJECTS = frozenset({"object_id", "object_type_id", "cio_object_id", "cio_relationships"})

NAME_BYTES_MAX = 150
VALUE_BYTES_MAX = 1_000
IDENTIFIER_BYTES_MAX = 150
ATTRIBUTES_MAX = 300


def refuse(sync: Sync, account: Account) -> Iterable[Problem]:
    """Objects, identifiers, attribute names and combinations that customer.io cannot do."""
    is_person = sync.object == PERSON
    if not is_person and account.settings.object_type_id(sync.object) is None:
        yield Problem("object", _no_such_object(sync.object, account))
        return
    yield from _refuse_match(sync, PERSON_IDENTIFIERS if is_person else OBJECT_IDENTIFIERS)
    yield from _refuse_missing(sync, is_person=is_person)
    yield from _refuse_names(sync, RESERVED_ON_PEOPLE if is_person else RESERVED_ON_OBJECTS)
    yield from _refuse_relate(sync, account)


def _no_such_object(name: str, account: Account) -> str:
    names = [PERSON, *account.settings.object_types]
    near = difflib.get_close_matches(name.lower(), names, n=1)
    return (
        f"customer.io has no object {name!r}{_did_you_mean(near)}. Possible are {_listed(names)}, and an object "
        'type by its id, as "1"; more names go into `object_types` of '
        f'[destinations.{account.name}], as {{ workspace = "1" }}.'
    )


def _refuse_match(sync: Sync, possible: Sequence[str]) -> Iterator[Problem]:
    if len(sync.match) != 1:
        yield Problem(
            "match", f"customer.io finds a record by exactly one identifier; choose one of {_listed(possible)}."
        )
    for name in sync.match:
        if name not in possible:
            near = difflib.get_close_matches(name.lower(), possible, n=1)
            yield Problem(
                f"match.{name}",
                f"customer.io cannot find {'a person' if sync.object == PERSON else 'an object'} by {name!r}"
                f"{_did_you_mean(near)}. Use one of {_listed(possible)}.",
            )


def _refuse_missing(sync: Sync, *, is_person: bool) -> Iterator[Problem]:
    # `_update`, which keeps customer.io from making a record, exists for people only; an id that customer.io
    # gives itself (cio_id, cio_object_id) can never make one.
    given = {"cio_id", "cio_object_id"} & set(sync.match)
    if sync.missing == "create" and given:
        yield Problem(
            "missing",
            f'customer.io gives {given.pop()} itself, so nothing can be created by it; write missing = "skip".',
        )
    elif sync.missing == "skip" and not is_person and not given:
        yield Problem(
            "missing",
            "customer.io creates an object that it does not know whenever it is written; write missing = "
            '"create" to agree with that.',
        )


def _refuse_names(sync: Sync, reserved: frozenset[str]) -> Iterator[Problem]:
    if len(sync.fields) > ATTRIBUTES_MAX:
        yield Problem(
            "fields", f"customer.io takes {ATTRIBUTES_MAX} attributes of a record, and here are {len(sync.fields)}."
        )
    for field in sync.fields:
        place = f"fields.{field.name}"
        if field.name in reserved:
            yield Problem(
                place, f"{field.name!r} has a meaning of its own at customer.io; choose another attribute name."
            )
        elif field.name.startswith("_"):
            yield Problem(place, "names that begin with _ are customer.io's own; choose another attribute name.")
        elif len(field.name.encode()) > NAME_BYTES_MAX:
            yield Problem(
                place, f"an attribute name has at most {NAME_BYTES_MAX} bytes at customer.io; choose a shorter one."
            )


def _refuse_relate(sync: Sync, account: Account) -> Iterator[Problem]:
    is_person = sync.object == PERSON
    seen: dict[str, str] = {}
    for name in sync.relate:
        kind = related_kind(sync, name, account.settings)
        if kind is None:
            yield Problem(f"relate.{name}", _no_such_relation(name, account, is_person=is_person))
        elif kind in seen:
            # Each of the two would take away what the other one wants to be there.
            yield Problem(
                f"relate.{name}",
                f"customer.io keeps one relationship between a person and an object, and `{seen[kind]}` means the "
                "same ones; keep one of the two.",
            )
        else:
            seen[kind] = name


def _no_such_relation(name: str, account: Account, *, is_person: bool) -> str:
    names = list(account.settings.object_types if is_person else RELATED_PEOPLE)
    near = difflib.get_close_matches(name.lower(), names, n=1)
    if is_person:
        possible = ", ".join([*(f"`{one}`" for one in names), 'an object type by its id, as "1"'])
        return (
            f"customer.io relates people to objects, and knows no object type {name!r}{_did_you_mean(near)}. Possible "
            f"are {possible}; more names go into `object_types` of [destinations.{account.name}]."
        )
    return (
        f"customer.io relates objects to people only, and not to {name!r}{_did_you_mean(near)}. "
        f"Use one of {_listed(names)}."
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _did_you_mean(near: Sequence[str]) -> str:
    return f"; did you mean `{near[0]}`?" if near else ""
