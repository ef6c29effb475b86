"""What GoogleSQL can say of a field without reading it here: whether its value may differ from the one accepted last.

Said too often costs a row that travels in vain, because `syncer.canonical` and `syncer.differences` decide in the end.
Said too rarely would lose a change, so whatever the two dialects might see differently (a text that is no plain
number, a value on the edge of being rounded) counts as a difference. Where an expression here and one there are meant
to be equal, they are equal as values and not only as texts.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from syncer.canonical import OF_TYPE, base_of
from syncer.change import Value
from syncer.destination import Limits, ValueLimit
from syncer.mapping import RELATE, Field
from syncer.plan import Slot
from syncer.relations import SEPARATOR, is_relation

NUMBER = r"^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?$"
WHOLE = r"^[+-]?[0-9]{1,18}(\.0*)?$"
DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
INSTANT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$"
"""Spellings that mean the same here and there; any other travels."""

EDGE = 1e-7
"""How near to a half, in units of the last digit, a value may be rounded the other way over there."""


@dataclass(frozen=True, slots=True)
class Said:
    """Of one field: SQL of whether it may be a reason to go, and of each way in which it might not go out at all."""

    differs: str
    strange: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A source column inside the statement: its SQL, and its type as it arrives here."""

    sql: str
    kind: pa.DataType


def literal(value: Value) -> str:
    """A value as GoogleSQL writes it; a timestamp without a zone is UTC."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"CAST({value!r} AS FLOAT64)"
    if isinstance(value, datetime.datetime):
        moment = value.astimezone(datetime.UTC) if value.tzinfo else value
        return f"TIMESTAMP '{moment:%Y-%m-%d %H:%M:%S.%f}+00'"
    if isinstance(value, datetime.date):
        return f"DATE '{value:%Y-%m-%d}'"
    parts: list[str] = []
    for is_plain, run in itertools.groupby(value, str.isprintable):
        characters = "".join(run)
        parts += [_quoted(characters)] if is_plain else [f"CHR({ord(one)})" for one in characters]
    if len(parts) == 1:
        return parts[0]
    return f"CONCAT({', '.join(parts)})" if parts else "''"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def text(source: Source) -> str:
    """A source value as text, as `canonical` spells identifiers: a whole number is that number."""
    sql, kind = source.sql, source.kind
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return sql
    if pa.types.is_floating(kind):
        return _text(sql, "DOUBLE")
    if pa.types.is_timestamp(kind):
        return f"FORMAT_{'TIMESTAMP' if kind.tz else 'DATETIME'}('%Y-%m-%dT%H:%M:%SZ', {sql})"
    spelt = f"CAST({sql} AS STRING)"
    if pa.types.is_decimal(kind) and kind.scale:
        return f"IF(STRPOS({spelt}, '.') > 0, RTRIM(RTRIM({spelt}, '0'), '.'), {spelt})"
    return spelt


def trimmed(sql: str) -> str:
    """Without spaces around it."""
    return f"TRIM({sql}, ' ')"


def said(field: Field, source: Source | None, slot: Slot, stored: str, limits: Limits) -> Said:
    """What can be said of a field, whose value accepted last is `stored`, of the slot's type."""
    unit = limits.timestamp_unit.upper()
    limit = limits.values.get(field.name)
    if source is None:
        return _constant(field, slot, stored, unit)
    if is_relation(field.name):
        value = f"NULLIF({text(source)}, '')"
        limit = limits.relations.get(field.name.removeprefix(RELATE))
        strange = [*_beyond(value, limit), f"STRPOS({value}, {literal(SEPARATOR)}) > 0"]
        return Said(f"{value} IS DISTINCT FROM {stored}", tuple(strange))
    value, kind, strange = _brought(field, source, unit)
    if field.bands:
        differs, kind, more = _banded(field, value, stored)
        strange += more
    elif field.map:
        value, kind, more = _mapped(field, value, kind)
        value, strange = _with_default(field, value), strange + more
        # A rounded number is looked up by its text, and may be rounded otherwise over there.
        differs = "TRUE" if field.digits is not None else f"{value} IS DISTINCT FROM {stored}"
    elif kind == "DOUBLE" or field.min_change is not None:
        differs = _apart(field, value, stored)
    else:
        value = _with_default(field, value)
        wide = f"CAST({value} AS FLOAT64)" if slot.sql_type == "DOUBLE" else value
        differs = f"{wide} IS DISTINCT FROM {stored}"
    if kind == "VARCHAR" and not field.bands:
        strange += _beyond(value, limit)
    if field.null == "skip" and field.default is None and not field.bands and not field.map:
        differs = f"({value} IS NOT NULL AND {differs})"
    return Said(differs if field.compare else "FALSE", tuple(strange))


def not_finite(field: Field, source: Source) -> str | None:
    """SQL of whether a number is NaN or infinite, which makes it null; None where it cannot be."""
    base = base_of(source.kind)
    if base == "DOUBLE" and pa.types.is_floating(source.kind):
        return f"(IS_NAN({source.sql}) OR IS_INF({source.sql}))"
    if base == "VARCHAR" and field.type == "number":
        number = f"SAFE_CAST({trimmed(source.sql)} AS FLOAT64)"
        return f"(IS_NAN({number}) OR IS_INF({number}))"
    return None


def _constant(field: Field, slot: Slot, stored: str, unit: str) -> Said:
    value = literal(field.value)
    if slot.sql_type == "TIMESTAMP":
        value = f"TIMESTAMP_TRUNC({value}, {unit})"
    elif slot.sql_type == "DOUBLE":
        value = f"CAST({value} AS FLOAT64)"
    return Said(f"{value} IS DISTINCT FROM {stored}" if field.compare else "FALSE", ())


def _brought(field: Field, source: Source, unit: str) -> tuple[str, str, list[str]]:
    """The value as the field's type, before digits, bands and map: its SQL, the type, and when it is strange."""
    sql, kind = source.sql, source.kind
    base = base_of(kind) or "VARCHAR"
    wanted = OF_TYPE[field.type] if field.type else base
    is_text = base == "VARCHAR"
    if wanted == "VARCHAR":
        return text(source), wanted, []
    if wanted == "TIMESTAMP":
        if is_text:
            return _read(sql, INSTANT, f"TIMESTAMP_TRUNC(SAFE_CAST({trimmed(sql)} AS TIMESTAMP), {unit})", wanted)
        moment = sql if pa.types.is_timestamp(kind) and kind.tz else f"TIMESTAMP({sql}, 'UTC')"
        return f"TIMESTAMP_TRUNC({moment}, {unit})", wanted, []
    if wanted == "DATE":
        if is_text:
            return _read(sql, DAY, f"SAFE_CAST({trimmed(sql)} AS DATE)", wanted)
        if pa.types.is_timestamp(kind):
            return (f"DATE({sql}, 'UTC')" if kind.tz else f"DATE({sql})"), wanted, []
        return sql, wanted, []
    if wanted == "BOOLEAN":
        if base == "BOOLEAN":
            return sql, wanted, []
        ways = ("'true'", "'false'") if is_text else ("1", "0")
        looked = f"LOWER({trimmed(sql)})" if is_text else sql
        value = f"(CASE {looked} WHEN {ways[0]} THEN TRUE WHEN {ways[1]} THEN FALSE END)"
        return value, wanted, [f"({sql} IS NOT NULL AND {value} IS NULL)"]
    if wanted == "BIGINT":
        if is_text:
            digits = f"REGEXP_REPLACE({trimmed(sql)}, r'\\.0*$', '')"
            return _read(sql, WHOLE, f"SAFE_CAST({digits} AS INT64)", wanted)
        if base == "BIGINT":
            return (sql if pa.types.is_integer(kind) else f"CAST({sql} AS INT64)"), wanted, []
        number = _number(source)
        is_whole = f"({number} = TRUNC({number}) AND ABS({number}) < 9.2e18)"
        value = f"IF({is_whole}, CAST({number} AS INT64), NULL)"
        return value, wanted, [f"({number} IS NOT NULL AND NOT {is_whole})"]
    if is_text:
        return _read(sql, NUMBER, f"SAFE_CAST({trimmed(sql)} AS FLOAT64)", wanted)
    return _number(source), wanted, []


def _read(sql: str, pattern: str, value: str, wanted: str) -> tuple[str, str, list[str]]:
    """A text read as another type, and when it has another spelling than the one that both sides read alike."""
    is_plain = f"REGEXP_CONTAINS({trimmed(sql)}, r'{pattern}')"
    return value, wanted, [f"({sql} IS NOT NULL AND (NOT {is_plain} OR {value} IS NULL))"]


def _number(source: Source) -> str:
    sql = source.sql
    if pa.types.is_floating(source.kind):
        return f"IF(IS_NAN({sql}) OR IS_INF({sql}), NULL, {sql})"
    return f"CAST({sql} AS FLOAT64)"


def _with_default(field: Field, value: str) -> str:
    if field.default is None:
        return value
    default = literal(field.default)
    return f"COALESCE({value}, {default})"


def _apart(field: Field, value: str, stored: str) -> str:
    """Whether a number may have moved: by its last digit, by `min_change`, or at all."""
    half = 0.5 * 10.0**-field.digits if field.digits is not None else 0.0
    value = f"CAST({value} AS FLOAT64)"
    new = _with_default(field, value) if field.min_change is not None or not half else value
    old = f"CAST({stored} AS FLOAT64)"
    if field.min_change is not None:
        # Distances are rounded to nine digits over here.
        least = field.min_change - half * (1 + EDGE) - 1e-9
        return f"(({new} IS NULL) <> ({old} IS NULL) OR COALESCE(ABS({new} - {old}) >= {least!r}, FALSE))"
    if not half:
        return f"{new} IS DISTINCT FROM {old}"
    scale = 10.0**field.digits if field.digits is not None else 1.0
    # Rounded, it is the stored value for sure when it lies well within half a digit of it, and the stored value is one
    # of so many digits itself. The larger the number, the less a double can say of its last digit.
    is_equal = (
        f"(ABS({new} - {old}) * {scale!r} < {0.5 - EDGE!r} - ABS({new}) * {scale * 4e-16!r} "
        f"AND ABS(ROUND({old}, {field.digits}) - {old}) * {scale!r} < {EDGE!r})"
    )
    differs = f"(({new} IS NULL) <> ({old} IS NULL) OR NOT COALESCE({is_equal}, TRUE))"
    if field.default is not None:
        default = f"CAST({literal(field.default)} AS FLOAT64)"
        differs = f"IF({new} IS NULL, {default} IS DISTINCT FROM {old}, {differs})"
    return differs


def _banded(field: Field, value: str, stored: str) -> tuple[str, str, list[str]]:
    """Whether the band may be another: a hysteresis only keeps what is there. A number that may be rounded over a
    border has two bands, and both have to be the stored one."""
    number = f"CAST({value} AS FLOAT64)"
    ends = [number]
    if field.digits is not None:
        half = 0.5 * 10.0**-field.digits * (1 + EDGE)
        ends = [f"({number} - {half!r})", f"({number} + {half!r})"]
    differs, strange, kind = [], [], "VARCHAR"
    for end in ends:
        whens = " ".join(f"WHEN {end} >= {floor!r} THEN {literal(band)}" for band, floor in reversed(field.bands or ()))
        band = f"(CASE {whens} END)"
        if field.map:
            band, kind, more = _mapped(field, band, "VARCHAR")
            strange += more
        differs.append(f"{_with_default(field, band)} IS DISTINCT FROM {stored}")
    return f"({' OR '.join(differs)})", kind, strange


def _mapped(field: Field, value: str, kind: str) -> tuple[str, str, list[str]]:
    """What `map` makes of a value, its type, and when it is strange."""
    targets = list((field.map or {}).values())
    is_number = any(isinstance(one, float) for one in targets)
    whens = " ".join(
        f"WHEN {literal(one)} THEN {literal(float(target) if is_number and isinstance(target, int) else target)}"
        for one, target in (field.map or {}).items()
    )
    mapped = f"(CASE {_text(value, kind)} {whens} END)"
    strange = [] if field.default is not None else [f"({value} IS NOT NULL AND {mapped} IS NULL)"]
    sample = targets[0]
    if isinstance(sample, bool):
        return mapped, "BOOLEAN", strange
    if isinstance(sample, int | float):
        return mapped, "DOUBLE" if is_number else "BIGINT", strange
    return mapped, "VARCHAR", strange


def _text(value: str, kind: str) -> str:
    """A canonical value as text."""
    if kind == "VARCHAR":
        return value
    if kind == "DOUBLE":
        is_whole = f"{value} = TRUNC({value}) AND ABS({value}) < 1e15"
        is_finite = f"NOT IS_NAN({value}) AND NOT IS_INF({value})"
        whole = f"CAST(CAST({value} AS INT64) AS STRING)"
        return f"(CASE WHEN {is_whole} THEN {whole} WHEN {is_finite} THEN CAST({value} AS STRING) END)"
    if kind == "TIMESTAMP":
        return f"FORMAT_TIMESTAMP('%Y-%m-%dT%H:%M:%SZ', {value})"
    return f"CAST({value} AS STRING)"


def beyond(value: str, limit: ValueLimit | None) -> Sequence[str]:
    """Of an identifier: when the destination may refuse it."""
    return [f"COALESCE({trimmed(value)}, '') = ''", *_beyond(value, limit)]


def _beyond(value: str, limit: ValueLimit | None) -> list[str]:
    if limit is None:
        return []
    found = []
    if limit.utf8_bytes is not None:
        found.append(f"BYTE_LENGTH({value}) > {limit.utf8_bytes}")
    if limit.characters is not None:
        found.append(f"CHAR_LENGTH({value}) > {limit.characters}")
    return found + [f"STRPOS({value}, {literal(character)}) > 0" for character in limit.without]


def google_type(kind: pa.DataType) -> str:
    """The GoogleSQL type of a source column."""
    if pa.types.is_boolean(kind):
        return "BOOL"
    if pa.types.is_integer(kind):
        return "INT64"
    if pa.types.is_floating(kind):
        return "FLOAT64"
    if pa.types.is_decimal128(kind):
        return "NUMERIC"
    if pa.types.is_decimal256(kind):
        return "BIGNUMERIC"
    if pa.types.is_date(kind):
        return "DATE"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP" if kind.tz else "DATETIME"
    return "TIME" if pa.types.is_time(kind) else "STRING"
