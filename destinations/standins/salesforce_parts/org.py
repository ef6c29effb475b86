"""The records of the stand-in's org, and the rules that hold between them."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from typing import Any

from destinations.standins.salesforce_parts.index import FieldIndex
from destinations.standins.salesforce_parts.schema import (
    USER_ID,
    ObjectType,
    RecordError,
    instant_text,
    now,
    standard_objects,
)

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
CHECKS = string.ascii_uppercase + "012345"


class Org:
    """Objects and records. Every write goes through the same rules, also those of seeds and tests.

    Values of records change in `_write` alone, which keeps the indexes right.
    """

    def __init__(self) -> None:
        self.objects: dict[str, ObjectType] = standard_objects()
        self.records: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in self.objects}
        self.deleted: set[str] = set()
        self.locked: dict[str, int] = {}
        """Id → how many writes still find the record, or a record of that account, locked; the key "*" is every
        record."""
        self.duplicate_emails: set[str] = set()
        """Emails for which an alerting duplicate rule fires at creation."""
        self.blocked_emails: set[str] = set()
        """Emails for which a blocking one does, which no header overrules."""
        self.edits_converted_leads = False
        """Whether the user has the right to edit leads that were converted."""
        self.assigned_to: str | None = None
        """The owner to whom the active assignment rule hands every lead that is written, unless a header forbids it."""
        self.keeps_precision = True
        """Whether digits behind a number field's own, and milliseconds, are kept; no public document says it."""
        self.touched: dict[str, set[str]] = {}
        """Id → fields that the newest write changed; the newest write is the last."""
        self._number = 0
        self._indexes: dict[str, dict[str, FieldIndex]] = {name: {} for name in self.objects}
        """Object → field → its index."""
        for kind in self.objects.values():
            self._add_indexes(kind)

    def add_object(self, name: str, key_prefix: str) -> ObjectType:
        """A custom object with an Id and a Name."""
        made = ObjectType(name, key_prefix, {})
        made.add("Id", "id", length=18, nillable=False, createable=False, updateable=False, defaultedOnCreate=True)
        made.fields["Id"]["idLookup"] = True
        made.add("Name", "string", length=80)
        self.objects[name] = made
        self.records[name] = {}
        self._indexes[name] = {}
        self._add_indexes(made)
        return made

    def add_field(self, object_name: str, name: str, type_name: str, **properties: Any) -> None:
        """A field that an administrator made, in the object and in its records; see `ObjectType.add`."""
        kind = self.objects[object_name]
        kind.add(name, type_name, **properties)
        for record in self.records[object_name].values():
            record.setdefault(name, False if type_name == "boolean" else None)
        self._add_indexes(kind)

    def create(self, name: str, values: Mapping[str, Any], *, allow_duplicates: bool = False) -> str:
        """A new record's Id. Raises RecordError and RequestError."""
        kind = self.objects[name]
        kept = kind.accept(dict(values), is_new=True)
        self._unique(kind, kept, "")
        email = str(kept.get("Email")).casefold()
        if email in self.blocked_emails or (email in self.duplicate_emails and not allow_duplicates):
            raise RecordError("DUPLICATES_DETECTED", "Use one of these records?")
        self._number += 1
        record_id = whole_id(kind.key_prefix + _base62(self._number).rjust(12, "0"))
        self.records[name][record_id] = record = kind.blank() | {"Id": record_id}
        self._write(name, record, kept)
        self._touch(record_id, set(kept))
        return record_id

    def update(self, name: str, record_id: str, values: Mapping[str, Any], *, by: str = USER_ID) -> str:
        """The Id, with the values put into its record by a user. Raises RecordError and RequestError."""
        kind = self.objects[name]
        kept = kind.accept(dict(values), is_new=False)
        record = self.find(name, record_id)
        self._lock(record)
        if record.get("IsConverted") and not self.edits_converted_leads:
            raise RecordError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
        self._unique(kind, kept, record["Id"])
        changed = {field for field, value in kept.items() if record[field] != value}
        self._write(name, record, kept, by)
        self._touch(record["Id"], changed)
        return str(record["Id"])

    def assign(self, name: str, record_id: str) -> None:
        """What the active assignment rule does to a record that was written."""
        if name == "Lead" and self.assigned_to is not None:
            self._write(name, self.records[name][record_id], {"OwnerId": self.assigned_to})

    def find(self, name: str, text: str) -> dict[str, Any]:
        """The record of an Id in either spelling. Raises RecordError."""
        if not (text.isascii() and text.isalnum()) or len(text) not in (15, 18):
            raise RecordError("MALFORMED_ID", f"{name} ID: id value of incorrect type: {text}", ["Id"])
        # The check letters tell the capitals, so that case decides in the short spelling only.
        for record_id in self._index(name, "Id").ids([whole_id(text) if len(text) == 15 else text]):
            if record_id in self.deleted:
                raise RecordError("ENTITY_IS_DELETED", "entity is deleted")
            return self.records[name][record_id]
        raise RecordError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")

    def matching(self, name: str, field: str, *values: Any) -> list[dict[str, Any]]:
        """The records whose field has one of these values, compared as the field says; oldest first."""
        # Ids are counted up, and their letters sort as they count.
        found = sorted(self._index(name, field).ids(values) - self.deleted)
        return [self.records[name][record_id] for record_id in found]

    def alive(self, name: str) -> Iterator[dict[str, Any]]:
        """The records that are not deleted."""
        return (record for record_id, record in self.records[name].items() if record_id not in self.deleted)

    def delete(self, name: str, record_id: str) -> None:
        """Put a record into the bin."""
        self.deleted.add(self.find(name, record_id)["Id"])

    def convert(self, lead_id: str) -> str:
        """Turn a lead into a contact, whose Id it returns; the lead cannot be changed from here on."""
        lead = self.find("Lead", lead_id)
        contact_id = self.create("Contact", {name: lead[name] for name in ("LastName", "FirstName", "Email")})
        self._write("Lead", lead, {"IsConverted": True, "ConvertedContactId": contact_id})
        return contact_id

    def _write(self, name: str, record: dict[str, Any], values: Mapping[str, Any], by: str = USER_ID) -> None:
        record.update(values if self.keeps_precision else self.objects[name].cut(values))
        written = {"LastModifiedById": by, "LastModifiedDate": instant_text(now())}
        record.update({field: value for field, value in written.items() if field in record})
        # People's name is put together from its parts and cannot be written.
        if "LastName" in record:
            record["Name"] = " ".join(part for part in (record["FirstName"], record["LastName"]) if part)
        for index in self._indexes[name].values():
            index.file(record)

    def _add_indexes(self, kind: ObjectType) -> None:
        """Make the indexes that are missing now, so that no later request pays for them."""
        for field in kind.fields:
            if kind.is_key(field):
                self._index(kind.name, field)

    def _index(self, name: str, field: str) -> FieldIndex:
        is_case_sensitive = self.objects[name].fields[field]["caseSensitive"]
        index = self._indexes[name].get(field)
        # A test may change what a field is while the org lives.
        if index is None or index.is_case_sensitive != is_case_sensitive:
            index = FieldIndex(field, self.records[name].values(), is_case_sensitive=is_case_sensitive)
            self._indexes[name][field] = index
        return index

    def _unique(self, kind: ObjectType, kept: Mapping[str, Any], record_id: str) -> None:
        for name, value in kept.items():
            if not kind.fields[name]["unique"] or value is None:
                continue
            others = [record["Id"] for record in self.matching(kind.name, name, value) if record["Id"] != record_id]
            if others:
                raise RecordError(
                    "DUPLICATE_VALUE",
                    f"duplicate value found: {name} duplicates value on record with id: {others[0]}",
                    [name],
                )

    def _lock(self, record: Mapping[str, Any]) -> None:
        """Raises RecordError while somebody else holds the record or its account."""
        for key in (record["Id"], record.get("AccountId"), "*"):
            if key not in self.locked:
                continue
            self.locked[key] -= 1
            if self.locked[key] <= 0:
                del self.locked[key]
            raise RecordError(
                "UNABLE_TO_LOCK_ROW",
                f"unable to obtain exclusive access to this record or 1 records: {record['Id'] if key == '*' else key}",
            )

    def _touch(self, record_id: str, fields: set[str]) -> None:
        self.touched.pop(record_id, None)
        self.touched[record_id] = fields


def whole_id(short: str) -> str:
    """The 18 character spelling of a 15 character Id: each added one tells which of five letters are capitals."""
    checks = ""
    for part in (short[:5], short[5:10], short[10:]):
        checks += CHECKS[int("".join("1" if letter in string.ascii_uppercase else "0" for letter in reversed(part)), 2)]
    return short + checks


def _base62(number: int) -> str:
    text = ""
    while number:
        number, rest = divmod(number, 62)
        text = ALPHABET[rest] + text
    return text
