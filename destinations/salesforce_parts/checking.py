"""A mapping held against what the org says of its objects and fields: every problem at once."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from destinations.salesforce_parts.comparing import REFERENCES
from destinations.salesforce_parts.description import NUMBERS, FieldDescription, ObjectDescription
from destinations.salesforce_parts.person import LEAD_FIELDS
from destinations.salesforce_parts.soql import ID, LEAD, id_key
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

BECOMES: dict[FieldType, frozenset[FieldType]] = {
    "text": frozenset(("integer", "number", "boolean", "date", "timestamp")),
    "integer": frozenset(("number", "text", "boolean")),
    "number": frozenset(("integer", "text")),
    "boolean": frozenset(("text",)),
    "date": frozenset(("timestamp", "text")),
    "timestamp": frozenset(("date", "text")),
}
"""Type of a column → types that `type` can make of it; everything else has to be cast in SQL."""

TYPES: dict[type, FieldType] = {str: "text", bool: "boolean", int: "integer", float: "number"}


def unknown_object(name: str, names: Iterable[str]) -> Problem:
    """The problem of an object that is not there, with the likeliest one that is."""
    return Problem(
        "object",
        f"Salesforce has no object {name}, or this user may not see it.{_meant(name, names)} "
        "Mend `object`, or give the user the right.",
    )


def problems(sync: Sync, described: ObjectDescription) -> Iterator[Problem]:
    """What is wrong with the mapping of one object, which may be one of several."""
    creates = sync.missing == "create" and described.name == (sync.create_as or sync.object)
    if not described.is_updateable or (creates and not described.is_createable):
        verb = "update or create" if creates else "update"
        yield Problem("object", f"This user may not {verb} {described.name} records; give the user the right.")
    if not described.is_queryable:
        yield Problem("object", f"{described.name} records cannot be looked up; map another object.")
    if len(sync.objects) > 1 and described.name == LEAD:
        yield from _conversions(described)
    yield from _match(sync, described, creates=creates)
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
        if len(sync.objects) > 1:
            # One field name stands for a field of each object, so a sentence says of which.
            found = replace(found, name=f"{described.name}.{field.name}")
        if not found.is_updateable or (creates and not found.is_createable):
            yield Problem(place, f"{found.name} is read-only for this user; leave it out, or give the edit right.")
        if sync.removed == "clear" and not found.is_nillable:
            yield Problem(place, f'{found.name} cannot be empty, so set removed = "keep", or leave the field out.')
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


def _conversions(described: ObjectDescription) -> Iterator[Problem]:
    """Without these a person could not be followed from the lead to the contact."""
    for name in LEAD_FIELDS:
        if name not in described.fields:
            yield Problem("object", f"This user may not see {described.name}.{name}; give the user read rights on it.")


def _match(sync: Sync, described: ObjectDescription, *, creates: bool) -> Iterator[Problem]:
    for name in sync.match:
        found = described.fields.get(name)
        if found is None:
            yield Problem(
                "match",
                f"{described.name} has no field {name}, or this user may not see it."
                f"{_meant(name, described.fields)} Mend the match, or give the user the right.",
            )
            continue
        if name == ID:
            continue
        if found.type not in TEXTS | NUMBERS:
            yield Problem("match", f"{name} is of type {found.type}; match by a text or a number field.")
        if not (found.is_lookup or found.is_filterable):
            yield Problem(
                "match",
                f"{described.name} records cannot be looked up by {name}; match by Id or an external id field.",
            )
        if creates and not found.is_createable:
            yield Problem("match", f"{name} is read-only for this user, so records cannot be created with it.")


def _unfit(field: Field, found: FieldDescription) -> Iterator[str]:
    """Sentences on values that this field cannot hold, as far as their type and the mapping tell them."""
    fits = FITS.get(found.type, frozenset())
    if not fits:
        yield f"{found.name} is of type {found.type}, which cannot be written; leave it out."
        return
    sent = _sent(field)
    if sent is not None and sent not in fits:
        theirs = " or ".join(sorted(fits))
        way_out = _way_out(field, sent, fits)
        yield f"The mapping sends {sent}, and {found.name} ({found.type}) takes {theirs}; {way_out}."
        return
    is_as_it_was = field.bands is None and field.map is None
    if is_as_it_was and field.digits is not None and found.type in NUMBERS and field.digits > found.scale:
        yield f"digits = {field.digits}, but {found.name} keeps {found.scale}; set digits = {found.scale}."
    yield from _unfit_numbers(field, found)
    yield from _unfit_texts(field, found)


def _unfit_numbers(field: Field, found: FieldDescription) -> Iterator[str]:
    """Sentences on the numbers that the mapping itself names."""
    if found.type not in NUMBERS:
        return
    for number in _named(field, int, float):
        whole_digits = len(str(abs(int(number))))
        if found.whole_digits and whole_digits > found.whole_digits:
            yield (
                f"{number} has {whole_digits} digits before the point and {found.name} holds {found.whole_digits}; "
                "write a smaller one, or widen the field at Salesforce."
            )
        elif round(number, found.scale) != number:
            yield f"{number} has more digits behind the point than {found.name} keeps, {found.scale}; write fewer."


def _unfit_texts(field: Field, found: FieldDescription) -> Iterator[str]:
    """Sentences on the texts that the mapping itself names, which bands do too; an empty one is sent as null."""
    if found.type not in TEXTS:
        return
    texts = [text for text in _named(field, str) if text]
    if field.bands is not None and field.map is None:
        texts += [name for name, _ in field.bands]
    if found.type in REFERENCES:
        strangers = [text for text in texts if id_key(text) is None]
        if strangers:
            yield (
                f"{found.name} points to another record, and {', '.join(map(repr, strangers))} is no Id; "
                "write one of 15 or 18 characters."
            )
        return
    for text in texts:
        if len(text) > found.length > 0:
            yield f"{text!r} has {len(text)} characters and {found.name} holds {found.length}; write a shorter one."
    if found.is_restricted and found.choices:
        allowed = {choice.casefold() for choice in found.choices}
        strangers = [text for text in texts if not _choices(text, found) <= allowed]
        if strangers:
            listed = ", ".join(repr(choice) for choice in found.choices[:12])
            meant = "".join(_meant(text, found.choices) for text in strangers)
            yield (
                f"The picklist {found.name} does not have {', '.join(map(repr, strangers))}; it has {listed}.{meant} "
                "Add the missing values at Salesforce, or mend the mapping."
            )


def _named(field: Field, *kinds: type) -> list[Any]:
    """The values of these types that the mapping itself names; booleans are no numbers."""
    values = [field.value, field.default, *(field.map or {}).values()]
    return [value for value in values if type(value) in kinds]


def _sent(field: Field) -> FieldType | None:
    """The type of what leaves, after `bands`, `map` and `digits`; None when only the source knows."""
    own: FieldType | None
    if field.value is not None:
        own = _type_of(field.value)
    elif field.map is not None:
        own = _widest([_type_of(value) for value in field.map.values()])
    elif field.bands is not None:
        own = "text"
    elif field.digits == 0:
        # Rounded numbers leave without a fraction, so they are as good as integers.
        own = "integer"
    else:
        own = field.type or ("number" if field.digits is not None else None)
    # A default is put in after the rounding, and leaves as it is written.
    if own == "integer" and field.default is not None and _type_of(field.default) == "number":
        return "number"
    return own


def _way_out(field: Field, sent: FieldType, fits: frozenset[FieldType]) -> str:
    """What to write so that the field can take it."""
    wanted: FieldType = "number" if "number" in fits else min(fits)
    if field.value is not None:
        return f"write `value` as {wanted}"
    if field.map is not None:
        return f"write the replacements in `map`, and `default` if there is one, as {wanted}"
    if field.bands is not None:
        return f"name a text field, or give the bands a `map` to {wanted}"
    if sent == "number" and wanted == "integer":
        return "write `default` as integer" if field.digits == 0 else "set `digits = 0`"
    if wanted not in BECOMES[sent]:
        return "cast the column in SQL"
    # Both go with numbers alone, so they cannot stand beside the type that is wanted.
    numeric = [name for name in ("digits", "min_change") if getattr(field, name) is not None]
    taken_out = f"take {' and '.join(f'`{name}`' for name in numeric)} out and " if numeric else ""
    return f'{taken_out}set `type = "{wanted}"`, or cast the column in SQL'


def _choices(text: str, found: FieldDescription) -> set[str]:
    """The picklist values that a text names: several, when the field takes several."""
    return {choice.strip().casefold() for choice in (text.split(";") if found.type == "multipicklist" else [text])}


def _widest(types: Iterable[FieldType]) -> FieldType:
    """One type for values of a map, which are of one type but for numbers with and without a fraction."""
    found = set(types)
    return "number" if "number" in found else min(found)


def _type_of(value: Scalar) -> FieldType:
    if isinstance(value, datetime.datetime):
        return "timestamp"
    if isinstance(value, float) and value.is_integer():
        # 41.0 leaves as 41.
        return "integer"
    return TYPES.get(type(value), "date")


def _meant(name: str, names: Iterable[str]) -> str:
    by_fold = {candidate.casefold(): candidate for candidate in names}
    close = difflib.get_close_matches(name.casefold(), by_fold, n=1, cutoff=0.6)
    return f" Did you mean {by_fold[close[0]]}?" if close else ""
