"""What customer.io refuses of an operation: its form, its identifiers, its attributes and their sizes in bytes."""

from __future__ import annotations

import json
import marshal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from destinations.standins.customerio_parts.records import Record, as_text

NAME_BYTES_MAX = 150
VALUE_BYTES_MAX = 1_000
IDENTIFIER_BYTES_MAX = 150
ATTRIBUTES_MAX = 300
OBJECT_BYTES_MAX = 100_000
MARSHAL_VERSION = 2
"""The newest one that writes a text again each time it comes, instead of pointing at the first time."""
PERSON_IDENTIFIERS = frozenset({"id", "email", "phone", "cio_id"})
OBJECT_IDENTIFIERS = (frozenset({"object_type_id", "object_id"}), frozenset({"cio_object_id"}))

_NOTHING: frozenset[str] = frozenset()
_WHO = frozenset({"identifiers"})
_RELATED = frozenset({"identifiers", "cio_relationships"})
_NAMED = frozenset({"identifiers", "name"})
_DEVICE = frozenset({"identifiers", "device"})
_IDENTIFY = frozenset({"attributes", "cio_relationships"})
_EVENT = frozenset({"id", "timestamp", "attributes"})

_SHORT = frozenset({float, bool, type(None)})
"""Types whose texts are never too long, and so need not be made to be measured."""

OPERATIONS: Mapping[tuple[str, str], tuple[frozenset[str], frozenset[str]]] = {
    ("person", "identify"): (_WHO, _IDENTIFY | {"timestamp"}),
    ("person", "delete"): (_WHO, _NOTHING),
    ("person", "suppress"): (_WHO, _NOTHING),
    ("person", "unsuppress"): (_WHO, _NOTHING),
    ("person", "event"): (_NAMED, _EVENT),
    ("person", "screen"): (_NAMED, _EVENT),
    ("person", "page"): (_NAMED, _EVENT),
    ("person", "add_relationships"): (_RELATED, _NOTHING),
    ("person", "delete_relationships"): (_RELATED, _NOTHING),
    ("person", "merge"): (frozenset({"primary", "secondary"}), _NOTHING),
    ("person", "add_device"): (_DEVICE, _NOTHING),
    ("person", "delete_device"): (_DEVICE, _NOTHING),
    ("object", "identify"): (_WHO, _IDENTIFY),
    ("object", "identify_anonymous"): (_WHO, _IDENTIFY),
    ("object", "delete"): (_WHO, _NOTHING),
    ("object", "add_relationships"): (_RELATED, _NOTHING),
    ("object", "delete_relationships"): (_RELATED, _NOTHING),
    ("delivery", "event"): (_NAMED | {"attributes"}, _NOTHING),
}
"""Type and action → what an operation must have, and what it may have besides."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One complaint about an operation."""

    reason: str
    place: str
    message: str


class Validation:
    """The rules of Track v2, in the order in which they are looked at."""

    def __init__(self, object_types: Mapping[str, str], find: Callable[[str, dict[str, str]], Record | None]) -> None:
        self._object_types = object_types
        self._find = find

    def refuse(self, operation: Any) -> list[Refusal]:
        """Every complaint about one operation; none for a good one."""
        if not isinstance(operation, dict):
            return [Refusal("invalid", "batch", "an operation has to be a JSON object")]
        known = OPERATIONS.get((str(operation.get("type")), str(operation.get("action"))))
        if known is None:
            return [Refusal("invalid", "action", "unknown type or action")]
        required, optional = known
        keys = operation.keys() - {"type", "action"}
        if missing := required - keys:
            return [Refusal("required", min(missing), "has to be present")]
        if unknown := keys - required - optional:
            return [Refusal("invalid", min(unknown), "unknown key")]
        refusals = self._refuse_who(operation)
        if "timestamp" in operation and type(operation["timestamp"]) is not int:
            refusals.append(Refusal("invalid", "timestamp", "has to be an integer of Unix seconds"))
        related = operation.get("cio_relationships", [])
        if not isinstance(related, list) or not all(isinstance(one, dict) for one in related):
            return [Refusal("invalid", "cio_relationships", "has to be a list of JSON objects")]
        for one in related:
            other = "object" if operation["type"] == "person" else "person"
            refusals += self._refuse_identifiers(other, one.get("identifiers"), "cio_relationships")
        if operation["action"].startswith("identify") and not refusals:
            known_as = self._find(operation["type"], operation["identifiers"])
            refusals += refuse_attributes(
                operation.get("attributes", {}), known_as, is_object=operation["type"] == "object"
            )
        return refusals

    def _refuse_who(self, operation: dict[str, Any]) -> list[Refusal]:
        if operation["action"] == "merge":
            return [
                *self._refuse_identifiers("person", operation["primary"], "primary"),
                *self._refuse_identifiers("person", operation["secondary"], "secondary"),
            ]
        if operation["type"] == "delivery":
            return []
        return self._refuse_identifiers(operation["type"], operation["identifiers"], "identifiers")

    def _refuse_identifiers(self, kind: str, identifiers: Any, place: str) -> list[Refusal]:
        if not isinstance(identifiers, dict):
            return [Refusal("invalid", place, "has to be a JSON object")]
        names = frozenset(identifiers)
        if kind == "person" and not (len(names) == 1 and names <= PERSON_IDENTIFIERS):
            return [Refusal("invalid", place, "exactly one of id, email, phone and cio_id is needed")]
        if kind == "object" and names not in OBJECT_IDENTIFIERS:
            return [Refusal("invalid", place, "object_type_id and object_id are needed, or cio_object_id")]
        for name, value in identifiers.items():
            if not isinstance(value, str) or not value.strip():
                return [Refusal("invalid", place, f"{name} has to be text and not empty")]
            if len(value.encode()) > IDENTIFIER_BYTES_MAX:
                return [Refusal("invalid", place, f"{name} cannot be longer than {IDENTIFIER_BYTES_MAX} bytes")]
        if "object_type_id" in names and identifiers["object_type_id"] not in self._object_types.values():
            return [Refusal("invalid", "object_type_id", "there is no such object type")]
        return []


def is_larger(operation: Any, characters_max: int) -> bool:
    """Whether an operation out of JSON has more characters when it is written as JSON again.

    Writing a thousand operations to measure them would take a third of the time of their whole batch, and hardly
    ever is one of them large. Marshalled they are made much faster, and never have less than an eighth of the
    characters: the worst are `false` in a list with its comma and blank (one byte for seven characters) and control
    characters (one byte for six).
    """
    may_be_larger = len(marshal.dumps(operation, MARSHAL_VERSION)) * 8 > characters_max
    return may_be_larger and len(json.dumps(operation)) > characters_max


def refuse_attributes(attributes: Any, known: Record | None, *, is_object: bool = False) -> list[Refusal]:
    """Every complaint about attributes, alone and together with those that the record has."""
    if not isinstance(attributes, dict):
        return [Refusal("invalid", "attributes", "has to be a JSON object")]
    refusals = []
    for name, value in attributes.items():
        kind = type(value)
        if len(name.encode()) > NAME_BYTES_MAX:
            refusals.append(Refusal("invalid", "attributes", "attribute name cannot be longer than 150 bytes"))
        elif kind in _SHORT:
            continue
        elif kind in (dict, list) and name != "cio_subscription_preferences":
            refusals.append(Refusal("invalid", f"attributes.{name}", "lists and maps are not taken here"))
        elif len(as_text(value).encode()) > VALUE_BYTES_MAX:
            message = f"value for attribute '{name}' cannot be longer than 1000 bytes"
            refusals.append(Refusal("invalid", f"attributes.{name}", message))
    if "_update" in attributes and not isinstance(attributes["_update"], bool):
        refusals.append(Refusal("invalid", "attributes._update", "has to be true or false"))
    held = known.attributes if known else {}
    if len(attributes) > ATTRIBUTES_MAX:
        message = "Cannot identify more than 300 attributes in one request"
        refusals.append(Refusal("invalid", "attributes", message))
    elif len(attributes) + len(held) > ATTRIBUTES_MAX and len(attributes.keys() | held.keys()) > ATTRIBUTES_MAX:
        refusals.append(Refusal("invalid", "attributes", "there would be more than 300 attributes"))
    if is_object:
        after = held | {name: as_text(value) for name, value in attributes.items()}
        if sum(len(name.encode()) + len(text.encode()) for name, text in after.items()) > OBJECT_BYTES_MAX:
            refusals.append(Refusal("invalid", "attributes", "there would be more than 100kb of attributes"))
    return refusals
