"""Look-ups: which records have these values in that field.

Text is quoted by the vendor's library; names of objects and fields were held against a pattern before.
https://developer.salesforce.com/docs/platform/api-rest/guide/resources-query.html
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote, quote_plus

from simple_salesforce.format import format_soql

from destinations.salesforce_parts.client import Client, unreadable

ID = "Id"
LEAD = "Lead"
IS_CONVERTED = "IsConverted"
QUERY = "a query"
VALUES_MAX = 200
"""Values in one query: a whole batch, as long as they are short."""
QUERY_BYTES_MAX = 8_000
"""Of the query as it stands in the address, percent-encoded. The service takes 16,384 bytes with all headers."""

BASE32 = string.ascii_uppercase + "012345"
"""The alphabet of the three characters that make an Id safe where case is lost."""


@dataclass(frozen=True, slots=True)
class Identifier:
    """The field of a match, and how its values are written and compared."""

    name: str
    is_number: bool = False
    is_case_sensitive: bool = False

    @property
    def is_text(self) -> bool:
        """Whether its values are compared letter by letter, in one case or in both."""
        return self.name != ID and not self.is_number

    def fold(self, value: Any) -> str:
        """The form in which two values are equal if the service would find the same record by them."""
        if self.name == ID:
            return id_key(str(value)) or str(value)
        if self.is_number:
            try:
                return format(Decimal(str(value)).normalize(), "f")
            except InvalidOperation:
                return str(value)
        text = str(value).strip()
        return text if self.is_case_sensitive else text.casefold()

    def can_be(self, text: str) -> bool:
        """Whether a record can have this value. One text that is no Id would have a whole query refused."""
        return self.name != ID or id_key(text) is not None

    def value(self, text: str) -> str | int | float:
        """The match's text as the service wants it in a record or a query."""
        if not self.is_number:
            return text
        try:
            number = Decimal(text)
        except InvalidOperation:
            return text
        return int(number) if number == number.to_integral_value() else float(number)


@dataclass(frozen=True, slots=True)
class Lookup:
    """One query for many values of one field."""

    soql: str
    texts: Mapping[str, str]
    """The values it asks for: folded → as they came."""


def lookups(
    object_name: str,
    identifier: Identifier,
    texts: Iterable[str],
    *,
    fields: Sequence[str] = (),
    is_converted: bool | None = False,
) -> list[Lookup]:
    """The queries for these values, each within both limits; equal values are asked for once.

    `fields` are asked for besides. Of leads they find only those that are not converted yet, those that are, or (None)
    both.
    """
    rest = _of_leads(object_name, is_converted=is_converted)
    selected = _selected(identifier, fields)

    def soql(values: Iterable[str | int | float]) -> str:
        return format_soql(
            "SELECT {selected:literal} FROM {object:literal} WHERE {field:literal} IN {values}{rest:literal}",
            selected=selected,
            field=identifier.name,
            object=object_name,
            values=list(values),
            rest=rest,
        )

    sought = {identifier.fold(text): text for text in texts if identifier.can_be(text)}
    room = QUERY_BYTES_MAX - len(quote_plus(soql([])))
    found: list[Lookup] = []
    piece: dict[str, str] = {}
    taken = 0

    def cut() -> None:
        found.append(Lookup(soql([identifier.value(text) for text in piece.values()]), dict(piece)))
        piece.clear()

    for folded, text in sought.items():
        weight = len(quote_plus(format_soql("{}", identifier.value(text)) + ","))
        if piece and (len(piece) == VALUES_MAX or taken + weight > room):
            cut()
            taken = 0
        piece[folded] = text
        taken += weight
    if piece:
        cut()
    return found


def whole_object(
    object_name: str, identifier: Identifier, fields: Sequence[str], *, is_converted: bool | None
) -> tuple[str, str]:
    """The query for every record of the object that has a value in this field, and the one for their number.

    Arguments are as those of `lookups`.
    """
    rest = f"FROM {object_name} WHERE {identifier.name} != null{_of_leads(object_name, is_converted=is_converted)}"
    return f"SELECT {_selected(identifier, fields)} {rest}", f"SELECT COUNT() {rest}"


def _selected(identifier: Identifier, fields: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys((ID, identifier.name, *fields)))


def _of_leads(object_name: str, *, is_converted: bool | None) -> str:
    # A converted lead cannot be written, and its person lives on as a contact.
    is_halved = object_name == LEAD and is_converted is not None
    return f" AND {IS_CONVERTED} = {str(is_converted).lower()}" if is_halved else ""


def find(client: Client, identifier: Identifier, lookup: Lookup) -> dict[str, list[Mapping[str, Any]]]:
    """Folded value → the records that have it, as they were asked for; values that no record has are absent.

    Raises Refusal, ServiceUnavailable when pages are missing or unreadable, and whatever the client raises.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    records = 0
    page = client.read(QUERY, "query", q=lookup.soql)
    while True:
        try:
            for record in page["records"]:
                if not isinstance(record[ID], str):
                    raise unreadable(QUERY)
                found.setdefault(identifier.fold(record[identifier.name]), []).append(record)
            records += len(page["records"])
            is_done, is_whole = page["done"] is True, records == page["totalSize"]
            rest = "" if is_done else str(page["nextRecordsUrl"])
        except (KeyError, TypeError):
            raise unreadable(QUERY) from None
        if is_done:
            # A record that is missing here would be taken for one that does not exist, and be created again.
            if not is_whole:
                raise unreadable(QUERY)
            return found
        # Only the locator is taken, so that no answer can lead the token to another address.
        page = client.read(QUERY, f"query/{quote(rest.rpartition('/')[2], safe='')}")


def id_key(text: str) -> str | None:
    """A record Id in a form that is equal for its 15 and its 18 character spelling; None when it is no Id.

    https://help.salesforce.com/s/articleView?id=000385585 (the last three characters spell the case of the others).
    """
    if not (text.isascii() and text.isalnum()):
        return None
    if len(text) == 18:
        return text.casefold()
    if len(text) != 15:
        return None
    checks = ""
    for start in (0, 5, 10):
        bits = sum(1 << place for place, letter in enumerate(text[start : start + 5]) if letter.isupper())
        checks += BASE32[bits]
    return (text + checks).casefold()
