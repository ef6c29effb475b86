"""Objects, their fields, and what a field refuses.

The standard fields in `salesforce_fields.json` are what a developer org's describe call answered in 2021 (API v42.0),
tabulated from traffic recorded in github.com/grouparoo/grouparoo, `plugins/@grouparoo/salesforce/__tests__/fixtures/`,
commit a453a40b16fbb8a9ab7a32b16a003fecb89e7bde. MIT licence, (c) 2022 Grouparoo, Inc. Properties that are false, 0 or
empty are left out of the file.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FIELDS_FILE = Path(__file__).parent.parent / "salesforce_fields.json"

FLAGS = (
    *("calculated", "caseSensitive", "createable", "custom", "defaultedOnCreate", "encrypted", "externalId"),
    *("filterable", "idLookup", "nillable", "restrictedPicklist", "unique", "updateable"),
)
NUMBERS = frozenset({"int", "double", "currency", "percent"})
TEXTS = frozenset({"string", "textarea", "email", "phone", "url", "picklist", "multipicklist"})
OPAQUE = frozenset({"address", "location", "base64", "anyType", "time"})
DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)")
EMAIL = re.compile(r"[^@\s,;<>()]+@[^@\s,;<>()]+\.[A-Za-z]{2,}")
USER_ID = "005000000000001AAA"
"""The user that the connected app runs as."""

DEFAULTS = {"Status": "Open - Not Contacted", "CleanStatus": "Pending", "OwnerId": USER_ID, "LastModifiedById": USER_ID}


class RecordError(Exception):
    """One record is refused; the others of the request are not."""

    def __init__(self, code: str, message: str, fields: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fields = list(fields)


class RequestError(Exception):
    """The whole request is refused."""

    def __init__(self, status: int, code: str, message: str, fields: Iterable[str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.fields = None if fields is None else list(fields)


@dataclass(slots=True)
class ObjectType:
    """One kind of record. `fields` map a name to its properties as the describe call gives them."""

    name: str
    key_prefix: str
    fields: dict[str, dict[str, Any]]
    is_createable: bool = True
    is_updateable: bool = True
    keeps_empty_text: bool = False
    """Whether an empty text stays one, or becomes null; no public document says it."""
    modified: datetime.datetime = field(default_factory=lambda: now())

    def add(self, name: str, type_name: str, **properties: Any) -> None:
        """One more field, a custom one if its name says so; it can be written unless the properties differ."""
        fresh = {
            **dict.fromkeys(FLAGS, False),
            **dict.fromkeys(("nillable", "createable", "updateable", "filterable"), True),
            **dict.fromkeys(("length", "precision", "scale", "digits"), 0),
            "name": name,
            "label": name.removesuffix("__c").replace("_", " "),
            "type": type_name,
            "custom": name.endswith("__c"),
            "picklistValues": [],
        }
        if type_name in ("string", "picklist", "email", "url", "phone", "textarea"):
            fresh["length"] = 255
        if type_name in ("double", "currency", "percent"):
            fresh |= {"precision": 18, "scale": 2}
        choices = [_choice(text) for text in properties.pop("choices", ())]
        self.fields[name] = fresh | {"picklistValues": choices} | properties
        self.modified = now()

    def is_key(self, name: str) -> bool:
        """Whether records are looked up by this field, for which the service keeps an index."""
        rule = self.fields[name]
        return bool(rule["unique"] or rule["externalId"] or rule["idLookup"])

    def describe(self) -> dict[str, Any]:
        """The answer of the describe call."""
        return self.summary() | {"fields": list(self.fields.values())}

    def summary(self) -> dict[str, Any]:
        """The object as the list of all objects has it."""
        return {
            "name": self.name,
            "label": self.name,
            "keyPrefix": self.key_prefix,
            "custom": self.name.endswith("__c"),
            "queryable": True,
            "createable": self.is_createable,
            "updateable": self.is_updateable,
        }

    def accept(self, values: dict[str, Any], *, is_new: bool) -> dict[str, Any]:
        """The values in the form they are kept in. Raises RequestError and RecordError."""
        kept = {}
        for name, value in values.items():
            if name not in self.fields:
                raise RequestError(
                    400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {self.name}", [name]
                )
            rule = self.fields[name]
            if not rule["createable" if is_new else "updateable"]:
                raise RecordError(
                    "INVALID_FIELD_FOR_INSERT_UPDATE",
                    f"Unable to create/update fields: {name}. Please check the security settings of this field and "
                    "verify that it is read/write for your profile or permission set.",
                    [name],
                )
            is_kept = value == "" and self.keeps_empty_text and rule["type"] in TEXTS
            kept[name] = "" if is_kept else _accepted(rule, value)
        if is_new:
            absent = [
                rule["name"]
                for rule in self.fields.values()
                if rule["createable"] and not rule["nillable"] and not rule["defaultedOnCreate"]
                if kept.get(rule["name"]) is None
            ]
        else:
            absent = [name for name, value in kept.items() if value is None and not self.fields[name]["nillable"]]
        if absent:
            raise RecordError("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(absent)}]", absent)
        return kept

    def cut(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values without the digits and milliseconds that a strict reading of their fields leaves no room for."""
        found = dict(values)
        for name, value in values.items():
            rule = self.fields[name]
            if rule["type"] in NUMBERS and value is not None:
                found[name] = round(value, rule["scale"])
            elif rule["type"] == "datetime" and value is not None:
                found[name] = re.sub(r"\.\d{3}", ".000", value)
        return found

    def shown(self, record: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
        """Fields of a record as answers give them: a number of a field that takes fractions always has one."""
        found = {}
        for name in names:
            value = record[name]
            has_fraction = value is not None and self.fields[name]["type"] in NUMBERS - {"int"}
            found[name] = float(value) if has_fraction else value
        return found

    def blank(self) -> dict[str, Any]:
        """A record in which nothing was set yet."""
        record = {
            name: False if rule["type"] == "boolean" else DEFAULTS.get(name) for name, rule in self.fields.items()
        }
        created = instant_text(now())
        return record | {
            name: created for name in ("CreatedDate", "LastModifiedDate", "SystemModstamp") if name in record
        }


def standard_objects() -> dict[str, ObjectType]:
    """Lead, Contact and Account, with the fields that every org has."""
    found = {}
    for name, described in json.loads(FIELDS_FILE.read_text(encoding="utf-8")).items():
        fields = {}
        for one in described["fields"]:
            zeros = {"length": 0, "precision": 0, "scale": 0, "digits": 0}
            choices = [_choice(text) for text in one.get("picklistValues", ())]
            fields[one["name"]] = dict.fromkeys(FLAGS, False) | zeros | one | {"picklistValues": choices}
        found[name] = ObjectType(name, described["keyPrefix"], fields)
    return found


def now() -> datetime.datetime:
    """This instant, in UTC."""
    return datetime.datetime.now(datetime.UTC)


def instant_text(moment: datetime.datetime) -> str:
    """A datetime as the service gives it: UTC, milliseconds, an offset without a colon."""
    naive = moment.astimezone(datetime.UTC).replace(tzinfo=None)
    return naive.isoformat(timespec="milliseconds") + "+0000"


def _choice(text: str) -> dict[str, Any]:
    return {"value": text, "label": text, "active": True, "defaultValue": False}


def _accepted(rule: dict[str, Any], value: Any) -> Any:
    kind, name = rule["type"], rule["name"]
    if value is None or value == "":
        if kind == "boolean":
            raise RecordError(
                "INVALID_TYPE_ON_FIELD_IN_RECORD", f"{rule['label']}: value not of required type: ", [name]
            )
        return None
    if kind in OPAQUE:
        raise RequestError(400, "JSON_PARSER_ERROR", f"Cannot deserialize a value for {name}")
    if kind == "boolean":
        return _of_type(value, name, bool)
    if kind in NUMBERS:
        return _number(rule, value)
    text = _of_type(value, name, str).strip()
    if kind == "date":
        return _date(text, name)
    if kind == "datetime":
        return _datetime(text, name)
    if len(text) > rule["length"] > 0:
        raise RecordError(
            "STRING_TOO_LONG", f"{rule['label']}: data value too large: {text} (max length={rule['length']})", [name]
        )
    if kind == "email" and not EMAIL.fullmatch(text):
        raise RecordError("INVALID_EMAIL_ADDRESS", f"{rule['label']}: invalid email address: {text}", [name])
    if rule["restrictedPicklist"] and text not in [choice["value"] for choice in rule["picklistValues"]]:
        raise RecordError(
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            f"{rule['label']}: bad value for restricted picklist field: {text}",
            [name],
        )
    return text


def _of_type(value: Any, name: str, kind: type) -> Any:
    if type(value) is not kind:
        raise RequestError(
            400, "JSON_PARSER_ERROR", f"Cannot deserialize instance of {kind.__name__} for {name} at [line:1, column:1]"
        )
    return value


def _number(rule: dict[str, Any], value: Any) -> Any:
    name = rule["name"]
    if type(value) not in (int, float) or (rule["type"] == "int" and type(value) is not int):
        _of_type(value, name, int)
    whole_digits = rule["digits"] if rule["type"] == "int" else rule["precision"] - rule["scale"]
    # Python compares an int with a float exactly.
    if whole_digits and abs(value) >= 10**whole_digits:
        raise RecordError(
            "NUMBER_OUTSIDE_VALID_RANGE",
            f"{rule['label']}: value outside of valid range on numeric field: {value}",
            [name],
        )
    return value


def _date(text: str, name: str) -> str:
    try:
        if len(text) == 10:
            return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    raise RequestError(400, "JSON_PARSER_ERROR", f"Cannot deserialize instance of date from {text} for {name}")


def _datetime(text: str, name: str) -> str:
    try:
        if DATETIME.fullmatch(text):
            return instant_text(datetime.datetime.fromisoformat(text))
    except ValueError:
        pass
    raise RequestError(400, "JSON_PARSER_ERROR", f"Cannot deserialize instance of datetime from {text} for {name}")
