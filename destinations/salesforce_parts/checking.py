"""A mapping held against what the org says of its objects and fields: every problem at once."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Iterable, Iterator

from destinations.salesforce_parts.description import NUMBERS, FieldDescription, ObjectDescription
from syncer.errors import Problem
from syncer.mapping import Field, FieldType, Scalar, Sync

TEXTS = frozenset(
    [
        *("string", "textarea", "email", "phone", "url", "picklist", "multipicklist"),
        *("combobox", "encryptedstring", "id", "reference"),
    ]
)
FITS: dict[str, frozenset[FieldType]] = {
    **{name: frozenset[FieldType](("text",)) for name in TEXTS},
    "boolean": frozenset(("boolean",)),
    "int": frozenset(("integer",)),
    "double": frozenset(("integer", "number")),
    "currency": frozenset(("integer", "number")),
    "percent": frozenset(("integer", "number")),
    "date": frozenset(("date",)),
    "datetime": frozenset(("timestamp",)),
}
"""Type of a field at Salesforce → types of ours that it takes; what is absent (an address, a file) takes none."""

TYPES: dict[type, FieldType] = {str: "text", bool: "boolean", int: "integer", float: "number"}


def unknown_object(sync: Sync, names: Iterable[str]) -> Problem:
    """The problem of an object that is not there, with the likeliest one that is."""
    return Problem(
        "object",
        f"Salesforce has no object {sync.object}, or this user may not see it.{_meant(sync.object, names)} "
        "Mend `object`, or give the user the right.",
    )


def problems(sync: Sync, described: ObjectDescription) -> Iterator[Problem]:
    """What is wrong with the mapping of one object."""
    creates = sync.missing == "create"
    if not described.is_updateable or (creates and not described.is_createable):
        verb = "update or create" if creates else "update"
        yield Problem("object", f"This user may not {verb} {described.name} records; give the user the right.")
    if not described.is_queryable:
        yield Problem("object", f"{described.name} records cannot be looked up; map another object.")
    yield from _match(sync, described)
    for field in sync.fields:
        place = f"fields.{field.name}"
        found = described.fields.get(field.name)
        if found is None:
            yield Problem(
                place,
                f"{described.name} has no field {field.name}, or this user may not see it."
                f"{_meant(field.name, described.fields)} Mend the name, or give the user read and edit rights.",
            )
            continue
        if not found.is_updateable or (creates and not found.is_createable):
            yield Problem(place, f"{field.name} is read-only for this user; leave it out, or give the edit right.")
        if sync.removed == "clear" and not found.is_nillable:
            yield Problem(place, f'{field.name} cannot be empty, so set removed = "keep", or leave the field out.')
        yield from (Problem(place, sentence) for sentence in _unfit(field, found))
    if creates:
        mapped = {field.name for field in sync.fields} | set(sync.match)
        for required in described.fields.values():
            if required.is_required and required.name not in mapped:
                yield Problem(
                    f"fields.{required.name}",
                    f"{described.name} records cannot be created without {required.name}; "
                    'map it, or set missing = "skip".',
                )


def _match(sync: Sync, described: ObjectDescription) -> Iterator[Problem]:
    for name in sync.match:
        found = described.fields.get(name)
        if found is None:
            yield Problem(
                "match",
                f"{described.name} has no field {name}, or this user may not see it."
                f"{_meant(name, described.fields)} Mend the match, or give the user the right.",
            )
            continue
        if name == "Id":
            continue
        if found.type not in TEXTS | NUMBERS:
            yield Problem("match", f"{name} is of type {found.type}; match by a text or a number field.")
        if not (found.is_lookup or found.is_filterable):
            yield Problem("match", f"Records cannot be looked up by {name}; match by Id or an external id field.")
        if sync.missing == "create" and not found.is_createable:
            yield Problem("match", f"{name} is read-only for this user, so records cannot be created with it.")


def _unfit(field: Field, found: FieldDescription) -> Iterator[str]:
    """Sentences on values that this field cannot hold, as far as the mapping alone tells them."""
    fits = FITS.get(found.type, frozenset())
    if not fits:
        yield f"{found.name} is of type {found.type}, which cannot be written; leave it out."
        return
    kinds = _kinds(field)
    if kinds and not kinds & fits:
        ours, theirs = " or ".join(sorted(kinds)), " or ".join(sorted(fits))
        yield f'The mapping makes {ours} of it and {found.name} ({found.type}) takes {theirs}; set `type = "…"`.'
        return
    if field.digits is not None and found.type in NUMBERS and field.digits > found.scale:
        yield f"digits = {field.digits}, but {found.name} keeps {found.scale}; set digits = {found.scale}."
    texts = _texts(field)
    if found.type in TEXTS and found.length:
        for text in texts:
            if len(text) > found.length:
                yield (
                    f"{text!r} has {len(text)} characters and {found.name} holds {found.length}; write a shorter one."
                )
    if found.is_restricted and found.choices:
        allowed = {choice.casefold() for choice in found.choices}
        strangers = [text for text in texts if text.casefold() not in allowed]
        if strangers:
            listed = ", ".join(repr(choice) for choice in found.choices[:12])
            yield (
                f"The picklist {found.name} does not have {', '.join(map(repr, strangers))}; it has {listed}. "
                "Add the missing values at Salesforce, or mend the mapping."
            )


def _kinds(field: Field) -> frozenset[FieldType]:
    """The types that the field's values may have; empty when only the source knows."""
    if field.value is not None:
        return frozenset((field.type or _type_of(field.value),))
    if field.map is not None:
        return frozenset(_type_of(value) for value in field.map.values())
    if field.bands is not None:
        return frozenset(("text",))
    if field.type is not None:
        return frozenset((field.type,))
    if field.digits == 0:
        return frozenset(("integer", "number"))
    if field.digits is not None or field.min_change is not None:
        return frozenset(("number",))
    return frozenset()


def _type_of(value: Scalar) -> FieldType:
    if isinstance(value, datetime.datetime):
        return "timestamp"
    return TYPES.get(type(value), "date")


def _texts(field: Field) -> list[str]:
    """The texts that the mapping itself names."""
    named: list[object] = [field.value, field.default]
    if field.map is not None:
        named += field.map.values()
    elif field.bands is not None:
        named += [name for name, _ in field.bands]
    return [text for text in named if isinstance(text, str)]


def _meant(name: str, names: Iterable[str]) -> str:
    by_fold = {candidate.casefold(): candidate for candidate in names}
    close = difflib.get_close_matches(name.casefold(), by_fold, n=1, cutoff=0.6)
    return f" Did you mean {by_fold[close[0]]}?" if close else ""
