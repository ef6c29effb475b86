"""What the org says of an object and its fields, as values.

https://developer.salesforce.com/docs/platform/api-rest/guide/dome-sobject-describe.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from destinations.salesforce_parts.client import Client, Refusal, unreadable
from destinations.salesforce_parts.login import TITLE
from syncer.errors import DestinationUnusable

DESCRIBE = "a describe call"
LIST = "the list of objects"

NUMBERS = frozenset({"int", "double", "currency", "percent"})


@dataclass(frozen=True, slots=True)
class FieldDescription:
    """One field that the user may see. `length` counts characters; `choices` are the active picklist values.

    `whole_digits` are those before a number's point, 0 when nothing says how many; `scale` those behind it.
    """

    name: str
    type: str
    length: int
    whole_digits: int
    scale: int
    is_nillable: bool
    is_createable: bool
    is_updateable: bool
    is_filterable: bool
    is_defaulted: bool
    is_external_id: bool
    is_lookup: bool
    is_case_sensitive: bool
    is_restricted: bool
    choices: tuple[str, ...]

    @property
    def is_required(self) -> bool:
        """Whether a record cannot be created without it."""
        return self.is_createable and not (self.is_nillable or self.is_defaulted or self.type == "boolean")


@dataclass(frozen=True, slots=True)
class ObjectDescription:
    """One object that the user may see."""

    name: str
    is_createable: bool
    is_updateable: bool
    is_queryable: bool
    fields: Mapping[str, FieldDescription]


def describe(client: Client, name: str) -> ObjectDescription | None:
    """The object's description; None when there is no such object, or the user may not see it.

    Raises DestinationUnusable and ServiceUnavailable.
    """
    try:
        answer = client.read(DESCRIBE, f"sobjects/{quote(name, safe='')}/describe")
    except Refusal as refusal:
        if refusal.status == 404:
            return None
        raise refused_read(client, refusal, DESCRIBE) from None
    try:
        fields = [_field(one) for one in answer["fields"]]
        return ObjectDescription(
            name=str(answer["name"]),
            is_createable=answer.get("createable") is True,
            is_updateable=answer.get("updateable") is True,
            is_queryable=answer.get("queryable") is not False,
            fields={field.name: field for field in fields},
        )
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
        raise unreadable(DESCRIBE) from None


def object_names(client: Client) -> list[str]:
    """The names of all objects that the user may see. Raises DestinationUnusable and ServiceUnavailable."""
    try:
        answer = client.read(LIST, "sobjects")
    except Refusal as refusal:
        if refusal.status == 404:
            # Every version has this list, so what is not there is the version.
            raise _unknown_version(client, refusal) from None
        raise refused_read(client, refusal, LIST) from None
    try:
        return [str(one["name"]) for one in answer["sobjects"]]
    except (KeyError, TypeError):
        raise unreadable(LIST) from None


def refused_read(client: Client, refusal: Refusal, call: str) -> Exception:
    """What to raise for a read that was refused; 200 is an answer that could not be read."""
    if refusal.status == 200:
        return unreadable(call)
    return _unknown_version(client, refusal) if refusal.status == 410 else client.unusable(refusal)


def _unknown_version(client: Client, refusal: Refusal) -> DestinationUnusable:
    """The version in the address is too new for the instance (404), or retired (410)."""
    known = client.versions()
    one = f"one that it knows: {', '.join(known)}" if known else "one that it knows"
    return DestinationUnusable(
        f"{TITLE} does not know version {client.version} of its API at this instance ({refusal.status}). "
        f"Set `api_version` to {one}."
    )


def _field(one: Mapping[str, Any]) -> FieldDescription:
    choices = [choice for choice in one.get("picklistValues") or [] if choice.get("active", True)]
    scale = int(one.get("scale") or 0)
    return FieldDescription(
        name=str(one["name"]),
        type=str(one["type"]),
        length=int(one.get("length") or 0),
        whole_digits=int(one.get("digits") or 0) or max(0, int(one.get("precision") or 0) - scale),
        scale=scale,
        is_nillable=one.get("nillable") is True,
        is_createable=one.get("createable") is True,
        is_updateable=one.get("updateable") is True,
        is_filterable=one.get("filterable") is True,
        is_defaulted=one.get("defaultedOnCreate") is True,
        is_external_id=one.get("externalId") is True,
        is_lookup=one.get("idLookup") is True,
        is_case_sensitive=one.get("caseSensitive") is True,
        is_restricted=one.get("restrictedPicklist") is True,
        choices=tuple(str(choice["value"]) for choice in choices),
    )
