"""A small part of SOQL: SELECT fields FROM one object, WHERE with AND, ORDER BY, LIMIT."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from destinations.standins.salesforce_parts.org import Org, whole_id
from destinations.standins.salesforce_parts.schema import NUMBERS, ObjectType, RequestError

QUERY_CHARACTERS_MAX = 100_000

TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^'\\]|\\.)*')
    | (?P<literal>\d{4}-\d\d-\d\d(?:T[\d:.]+(?:Z|[+-]\d\d:\d\d))?|-?\d+(?:\.\d+)?)
    | (?P<name>[A-Za-z][A-Za-z0-9_.]*)
    | (?P<sign>!=|=|,|\(|\))
    )""",
    re.VERBOSE | re.DOTALL,
)
ID = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "\\": "\\", "'": "'", '"': '"', "_": "_", "%": "%"}


@dataclass(slots=True)
class Condition:
    """One comparison: field, `=` or `!=`, and the values of which one has to be equal."""

    name: str
    is_equal: bool
    values: list[Any]


@dataclass(slots=True)
class Query:
    """A query that was understood."""

    fields: list[str]
    object_name: str
    conditions: list[Condition] = field(default_factory=list)
    order: str | None = None
    descending: bool = False
    limit: int | None = None
    is_count: bool = False
    """Whether only their number is asked for."""

    def run(self, kind: ObjectType, org: Org) -> list[dict[str, Any]]:
        """The org's records that match, with the selected fields and their attributes. Raises RequestError."""
        conditions = [condition.name for condition in self.conditions]
        for name in [*self.fields, *conditions, *([self.order] if self.order else [])]:
            if name not in kind.fields:
                raise RequestError(
                    400,
                    "INVALID_FIELD",
                    f"\nERROR at Row:1:Column:8\nNo such column '{name}' on entity '{kind.name}'. If you are "
                    "attempting to use a custom field, be sure to append the '__c' after the custom field name.",
                )
        for name in conditions:
            if not kind.fields[name]["filterable"]:
                raise RequestError(400, "INVALID_FIELD", f"field '{name}' can not be filtered in a query call")
        tests = [_test(kind, condition) for condition in self.conditions]
        found = [record for record in self._candidates(kind, org) if all(test(record) for test in tests)]
        if self.order:
            name = self.order
            found.sort(key=lambda record: (record[name] is not None, record[name]), reverse=self.descending)
        return [kind.shown(record, {"Id": 0, **dict.fromkeys(self.fields)}) for record in found[: self.limit]]

    def _candidates(self, kind: ObjectType, org: Org) -> Iterable[dict[str, Any]]:
        """The records that the conditions have to be tested on: every one that matches, and few others if possible."""
        for condition in self.conditions:
            if not condition.is_equal or not kind.is_key(condition.name) or None in condition.values:
                continue
            type_name = kind.fields[condition.name]["type"]
            if type_name == "id":
                # What comes after the first 15 characters is not looked at in a query.
                shorts = [value[:15] for value in condition.values]
                return org.matching(kind.name, condition.name, *[whole_id(one) for one in shorts if len(one) == 15])
            if type_name != "reference":
                return org.matching(kind.name, condition.name, *[_stripped(value) for value in condition.values])
        return org.alive(kind.name)


def parse(text: str) -> Query:
    """The query. Raises RequestError with the service's code when it is none."""
    if len(text) > QUERY_CHARACTERS_MAX:
        raise _malformed("the query is too long")
    return _Parser(text).query()


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: deque[tuple[str, str]] = deque()
        position, text = 0, text.rstrip()
        while position < len(text):
            found = TOKEN.match(text, position)
            if not found:
                raise _malformed(f"line 1:{position} no viable alternative")
            self.tokens.append((found.lastgroup or "", found[found.lastgroup or 0]))
            position = found.end()

    def query(self) -> Query:
        self.word("SELECT")
        fields = self.fields()
        self.word("FROM")
        made = Query(fields or ["Id"], self.take("name"), is_count=not fields)
        if self.has("WHERE"):
            made.conditions.append(self.condition())
            while self.has("AND"):
                made.conditions.append(self.condition())
        if self.has("ORDER"):
            self.word("BY")
            made.order = self.take("name")
            made.descending = self.has("DESC")
            if not made.descending:
                self.has("ASC")
        if self.has("LIMIT"):
            made.limit = int(self.take("literal"))
        if self.tokens:
            raise _malformed(f"unexpected token: {self.tokens[0][1]}")
        return made

    def fields(self) -> list[str]:
        """The names that are selected; none for COUNT()."""
        fields = [self.take("name")]
        if fields[0].upper() == "COUNT" and self.peek() == ("sign", "("):
            self.tokens.popleft()
            if self.take("sign") != ")":
                raise _malformed("expecting a right parentheses")
            return []
        while self.peek() == ("sign", ","):
            self.tokens.popleft()
            fields.append(self.take("name"))
        return fields

    def condition(self) -> Condition:
        name = self.take("name")
        if self.has("IN"):
            return Condition(name, True, self.values())
        if self.has("NOT"):
            self.word("IN")
            return Condition(name, False, self.values())
        sign = self.take("sign")
        if sign not in ("=", "!="):
            raise _malformed(f"unexpected token: {sign}")
        return Condition(name, sign == "=", [self.value()])

    def values(self) -> list[Any]:
        if self.take("sign") != "(":
            raise _malformed("expecting a left parentheses")
        found = [self.value()]
        while (sign := self.take("sign")) == ",":
            found.append(self.value())
        if sign != ")":
            raise _malformed("expecting a right parentheses")
        return found

    def value(self) -> Any:
        kind, text = self.tokens.popleft() if self.tokens else ("", "<EOF>")
        if kind == "text":
            return re.sub(r"\\(.)", _unescape, text[1:-1], flags=re.DOTALL)
        if kind == "literal":
            return text if "T" in text or re.fullmatch(r"\d{4}-\d\d-\d\d", text) else float(text)
        if kind == "name" and text.lower() in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[text.lower()]
        raise _malformed(f"unexpected token: {text}")

    def peek(self) -> tuple[str, str]:
        return self.tokens[0] if self.tokens else ("", "<EOF>")

    def take(self, kind: str) -> str:
        if self.peek()[0] != kind:
            raise _malformed(f"unexpected token: {self.peek()[1]}")
        return self.tokens.popleft()[1]

    def has(self, word: str) -> bool:
        if self.peek()[0] == "name" and self.peek()[1].upper() == word:
            self.tokens.popleft()
            return True
        return False

    def word(self, word: str) -> None:
        if not self.has(word):
            raise _malformed(f"unexpected token: {self.peek()[1]}")


def _unescape(found: re.Match[str]) -> str:
    if found[1] not in ESCAPES:
        raise _malformed(f"Illegal character escape: {found[1]}")
    return ESCAPES[found[1]]


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _malformed(message: str) -> RequestError:
    return RequestError(400, "MALFORMED_QUERY", message)


def _test(kind: ObjectType, condition: Condition) -> Callable[[dict[str, Any]], bool]:
    rule = kind.fields[condition.name]
    is_number = rule["type"] in NUMBERS
    for value in condition.values:
        fits = isinstance(value, bool) if rule["type"] == "boolean" else isinstance(value, str) != is_number
        if value is not None and not fits:
            raise RequestError(
                400, "INVALID_FIELD", f"filter criterion must be of type {rule['type']} for field '{condition.name}'"
            )

    def fold(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if rule["type"] in ("id", "reference"):
            return value[:15]
        return _stripped(value) if rule["caseSensitive"] else _stripped(value).casefold()

    if rule["type"] == "id":
        for value in condition.values:
            if isinstance(value, str) and not ID.fullmatch(value):
                raise RequestError(400, "INVALID_QUERY_FILTER_OPERATOR", f"invalid ID field: {value}")
    wanted = {fold(value) for value in condition.values}
    return lambda record: (fold(record[condition.name]) in wanted) == condition.is_equal
