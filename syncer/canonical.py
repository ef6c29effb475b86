"""What a source value becomes before anything is compared: the mapping's steps as SQL, column by column.

Each mapped field gets one expression over the source's columns, run by DuckDB over Arrow batches, so that no
row ever becomes a Python object. The steps are type, digits, bands, map, default. Beside the value stand the
reasons why a row cannot go out at all; they are counted and listed as invalid.

Canonical SQL types: VARCHAR, BIGINT, DOUBLE, BOOLEAN, DATE, and TIMESTAMP, which is UTC without a zone, cut to
what the destination keeps. BIGINT and DOUBLE are one family: 72 and 72.0 are equal.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from syncer import relations, sql
from syncer.destination import Limits, ValueLimit
from syncer.errors import Problem
from syncer.mapping import RELATE, Field, Scalar, Sync

FAMILY = {
    "VARCHAR": "text",
    "BIGINT": "number",
    "DOUBLE": "number",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
}
"""Canonical SQL type → family. Values of different families are never equal: True is not 1."""

OF_TYPE = {
    "text": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}
"""`type` in a mapping → canonical SQL type."""

TRUNCATED = {
    "second": "date_trunc('second', {})",
    "millisecond": "date_trunc('millisecond', {})",
    "microsecond": "{}",
}

CALENDAR = {
    "DATE": ("DATE '0001-01-01'", "DATE '9999-12-31'"),
    "TIMESTAMP": ("TIMESTAMP '0001-01-01 00:00:00'", "TIMESTAMP '9999-12-31 23:59:59.999999'"),
}
"""First and last value of a type; warehouses know earlier and later ones, and infinity."""


@dataclass(frozen=True, slots=True)
class Made:
    """How one field's canonical value is made.

    `value` is its SQL; `wrong` holds (reason, condition, sentence) for values that cannot go out; `raw` is the number
    below the bands, where a hysteresis needs it; `not_finite` is the condition of a NaN or an infinity; `unmapped` is
    that of a value that `map` does not know and `default` stands for.
    """

    field: Field
    sql_type: str
    value: str
    raw: str | None
    not_finite: str | None
    wrong: tuple[tuple[str, str, str], ...]
    unmapped: str | None = None


@dataclass(frozen=True, slots=True)
class Canon:
    """Everything that turns a sync's source rows into canonical ones."""

    sync: Sync
    fields: tuple[Made, ...]
    key: str
    match: tuple[str, ...]
    match_wrong: tuple[tuple[str, str, str], ...]
    version: str | None
    floats: tuple[str, ...] = ()
    """Source columns of floating-point numbers, one for each field that is made of one."""

    @property
    def identifying(self) -> list[str]:
        """The source's columns that tell rows apart: of key, match and version."""
        columns = [self.sync.key, *self.sync.match.values(), *([self.sync.version] if self.sync.version else [])]
        return list(dict.fromkeys(columns))

    @property
    def counts_not_finite(self) -> bool:
        """Whether `_not_finite` of `select` can be anything but 0."""
        return any(made.not_finite for made in self.fields)

    def not_finite(self, batch: pa.RecordBatch) -> int:
        """How many numbers of a batch's floating-point columns are NaN or infinite."""
        if not self.floats:
            return 0
        from pyarrow import compute  # It takes time to load.

        odd = 0
        for name in self.floats:
            numbers: Any = batch.column(name).cast(pa.float64())
            odd += len(numbers) - numbers.null_count - (compute.sum(compute.is_finite(numbers)).as_py() or 0)
        return odd

    @property
    def reasons(self) -> list[tuple[str, str, str]]:
        """(reason, condition, sentence), the first that holds counts; `_bad` is its place in this list, from 1."""
        found = [
            ("null_key", f"{self.key} IS NULL", f"The key column {self.sync.key} is null."),
            ("empty_key", f"{self.key} = ''", f"The key column {self.sync.key} is empty."),
            *self.match_wrong,
        ]
        for made in self.fields:
            found += made.wrong
        return found

    def select(self, relation: str, extra: Sequence[str] = ()) -> str:
        """SQL that gives canonical rows: key, m0…, _version, _bad, _not_finite, f0…, r0…, u0…, and what is extra.

        `f`, `r` and `u` are numbered by the field's place in the sync, not by its slot in the state. Numbers of
        columns that `not_finite` looks at are not counted in `_not_finite`.
        """
        bad = " ".join(f"WHEN {condition} THEN {number}" for number, (_, condition, _) in enumerate(self.reasons, 1))
        odd = " + ".join(f"coalesce(({made.not_finite})::INTEGER, 0)" for made in self.fields if made.not_finite) or "0"
        columns = [f"(CASE {bad} ELSE 0 END)::SMALLINT AS _bad", f"({odd})::SMALLINT AS _not_finite"]
        columns += [f"{made.value} AS f{number}" for number, made in enumerate(self.fields)]
        columns += [f"{made.raw} AS r{number}" for number, made in enumerate(self.fields) if made.raw]
        columns += [f"{made.unmapped} AS u{number}" for number, made in enumerate(self.fields) if made.unmapped]
        return self.identify(relation, [*columns, *extra])

    def identify(self, relation: str, extra: Sequence[str] = ()) -> str:
        """SQL that gives only what tells rows apart: key, m0…, _version, and what is extra."""
        columns = [f"{self.key} AS key", *(f"{one} AS m{number}" for number, one in enumerate(self.match))]
        columns += [f"{self.version or 'NULL::VARCHAR'} AS _version", *extra]
        return f"SELECT {', '.join(columns)} FROM {relation} AS src"


def canon(sync: Sync, schema: pa.Schema, limits: Limits) -> tuple[Canon | None, list[Problem]]:
    """How this sync's rows become canonical, or every reason why they cannot (missing columns, types)."""
    problems = _missing_columns(sync, schema)
    if problems:
        return None, problems
    made = []
    for field in sync.compared:
        try:
            make = _related if relations.is_relation(field.name) else _made
            made.append(make(field, schema, limits))
        except ValueError as error:
            problems.append(Problem(_place(field), str(error)))
    try:
        key = _as_text(*_column(sync.key, schema))
        match = tuple(
            # Spaces around an address find nothing, wherever it is compared without them.
            f"trim({text})" if identifier in limits.caseless else text
            for identifier, column in sync.match.items()
            for text in [_as_text(*_column(column, schema))]
        )
        version = _as_text(*_column(sync.version, schema)) if sync.version else None
    except ValueError as error:
        problems.append(Problem("", str(error)))
    if problems:
        return None, problems
    floats = tuple(
        one.field.column for one in made if one.field.column and _is_floating(schema.field(one.field.column).type)
    )
    return Canon(sync, tuple(made), key, match, tuple(_match_wrong(sync, match, limits)), version, floats), []


def with_types(sync: Sync, schema: Any) -> Sync:
    """The sync with the type of every field filled in: its own, or that of its column, before bands and map."""
    names = {sql_type: name for name, sql_type in OF_TYPE.items()}
    fields = []
    for field in sync.fields:
        base = base_of(schema.field(field.column).type) if field.column and field.type is None else None
        fields.append(field.model_copy(update={"type": names[base]}) if base else field)
    return sync.model_copy(update={"fields": tuple(fields)})


def match_of(sync: Sync, limits: Limits, prefix: str) -> str:
    """SQL of the whole match as one comparable text, from the columns m0… of a relation; case folded where the
    destination folds it."""
    folded = []
    for number, identifier in enumerate(sync.match):
        column = f"{prefix}m{number}"
        folded.append(f"lower(trim({column}))" if identifier in limits.caseless else column)
    return folded[0] if len(folded) == 1 else f"concat_ws(chr(31), {', '.join(folded)})"


def _missing_columns(sync: Sync, schema: pa.Schema) -> list[Problem]:
    known = schema.names
    uses: list[tuple[str, str]] = [("key", sync.key)]
    uses += [(f"match.{identifier}", column) for identifier, column in sync.match.items()]
    uses += [("version", sync.version)] if sync.version else []
    uses += [(_place(field), field.column) for field in sync.compared if field.column]
    problems = []
    for place, column in uses:
        if column in known:
            continue
        near = difflib.get_close_matches(column, known, 1) or [name for name in known if name.lower() == column.lower()]
        hint = (
            f" Did you mean {near[0]}?" if near else f" It has {', '.join(known[:12])}{'…' if len(known) > 12 else ''}."
        )
        problems.append(Problem(place, f"There is no column {column} in {sync.source or 'the query'}.{hint}"))
    return problems


def _place(field: Field) -> str:
    """Where a field or a relation stands in its sync."""
    if relations.is_relation(field.name):
        return f"relate.{field.name.removeprefix(RELATE)}"
    return f"fields.{field.name}"


def _column(column: str, schema: pa.Schema) -> tuple[str, pa.DataType]:
    return f"src.{sql.name(column)}", schema.field(column).type


def _as_text(expression: str, kind: pa.DataType) -> str:
    """Identifiers are text; a whole number that arrives as a float is still that whole number."""
    base = base_of(kind)
    if base is None:
        raise ValueError(f"The column {expression[4:]} has the type {kind}, which cannot identify a record.")
    if digits := _digits_of(expression, kind):
        return digits
    return _cast(_typed(expression, kind, base), base, "VARCHAR", TRUNCATED["microsecond"])[0]


def _made(field: Field, schema: pa.Schema, limits: Limits) -> Made:
    if field.column is None:
        return _constant(field, limits)
    expression, kind = _column(field.column, schema)
    base = base_of(kind)
    if base is None:
        raise ValueError(
            f"The column {field.column} has the type {kind}, which no destination field can hold; "
            "make a text or a number of it in SQL."
        )
    wanted = OF_TYPE[field.type] if field.type else base
    numeric = field.bands or field.min_change or field.digits is not None
    if numeric and FAMILY[wanted] != "number":
        option = "bands" if field.bands else "min_change" if field.min_change else "digits"
        raise ValueError(
            f"`{option}` needs a number, and the column {field.column} is {FAMILY[wanted]}; "
            'add type = "number" if its text holds one.'
        )
    value, not_finite, wrong = _brought(field, expression, kind, base, wanted, limits)
    if field.digits is not None and wanted == "DOUBLE":
        value = f"(round({value}, {field.digits}) + 0.0)"
    raw = unmapped = None
    sql_type = wanted
    if field.bands:
        number = f"({value})::DOUBLE"
        raw = number if field.hysteresis else None
        value, sql_type = banded(field, number), "VARCHAR"
    if field.map:
        before = value
        value, sql_type = _mapped(field, value, sql_type)
        unmapped = f"({before} IS NOT NULL AND {value} IS NULL)"
        if field.default is None:
            sentence = (
                f"{field.column} holds a value that `map` of field {field.name} does not know; add it, or a `default`."
            )
            wrong.append(("unmapped_value", unmapped, sentence))
            unmapped = None
    if field.default is not None:
        value = f"coalesce({value}, {_fitting(field, field.default, sql_type, 'default')})"
    if sql_type == "TIMESTAMP" and (field.map or field.default is not None):
        value = TRUNCATED[limits.timestamp_unit].format(value)
    wrong += _limit_wrong(field.name, value, sql_type, limits.values.get(field.name), f"field {field.name}")
    return Made(field, sql_type, value, raw, not_finite, tuple(wrong), unmapped)


def _related(field: Field, schema: pa.Schema, limits: Limits) -> Made:
    """A relation: one identifier, or those of a list, as one text."""
    column = field.column or ""
    expression, kind = _column(column, schema)
    limit = limits.relations.get(field.name.removeprefix(RELATE))
    if relations.is_list(kind):
        value, ids = relations.made_of_list(expression)
        wrong = relations.wrong_in_list(ids, limit, column)
    else:
        value = f"nullif({_as_text(expression, kind)}, '')"
        wrong = relations.wrong_in_text(value, column)
        wrong += _limit_wrong(field.name, value, "VARCHAR", limit, f"the relation in {column}")
    return Made(field, "VARCHAR", value, None, None, tuple(wrong))


def _brought(
    field: Field, expression: str, kind: Any, base: str, wanted: str, limits: Limits
) -> tuple[str, str | None, list[tuple[str, str, str]]]:
    """The column's value as the wanted type: its SQL, when it is not finite, and what cannot be brought to it."""
    typed = _typed(expression, kind, base)
    value, failed = _cast(typed, base, wanted, TRUNCATED[limits.timestamp_unit])
    if wanted == "VARCHAR":
        value = _digits_of(expression, kind) or value
    not_finite = None
    if wanted == "DOUBLE":
        # Only texts are looked at here: floating-point numbers are where they arrive, and no others are NaN.
        not_finite = f"NOT isfinite({value})" if base == "VARCHAR" else None
        # NaN and infinities are null; -0.0 + 0.0 is 0.0, and everything else stays what it is.
        value = f"(CASE WHEN isfinite({value}) THEN {value} + 0.0 END)"
    wrong = []
    if failed:
        sentence = f"{field.column} holds a value that is not {_a(wanted)}, which field {field.name} needs."
        wrong.append(("bad_value", failed, sentence))
    if wanted in CALENDAR:
        sentence = f"{field.column} holds a time outside of the years 1 to 9999, which no destination knows."
        wrong.append(("bad_value", _outside_calendar(expression, kind, value, wanted), sentence))
    return value, not_finite, wrong


def _is_floating(kind: Any) -> bool:
    return pa.types.is_floating(kind.value_type if pa.types.is_dictionary(kind) else kind)


def _outside_calendar(expression: str, kind: pa.DataType, value: str, wanted: str) -> str:
    """SQL of whether a time lies outside of the years that anybody else knows."""
    if pa.types.is_timestamp(kind) and kind.unit == "us":
        # As it comes, a time is compared without being converted once more for every row.
        value, wanted, zone = expression, "TIMESTAMP", "TZ" if kind.tz else ""
        first, last = (literal.replace("TIMESTAMP ", f"TIMESTAMP{zone} ") for literal in CALENDAR[wanted])
    else:
        first, last = CALENDAR[wanted]
    return f"({value} NOT BETWEEN {first} AND {last})"


def _constant(field: Field, limits: Limits) -> Made:
    value = field.value
    sql_type = OF_TYPE[field.type] if field.type else _type_of(value)
    constant = _fitting(field, value, sql_type, "value")
    if sql_type == "TIMESTAMP":
        constant = TRUNCATED[limits.timestamp_unit].format(constant)
    wrong = _limit_wrong(field.name, constant, sql_type, limits.values.get(field.name), f"field {field.name}")
    return Made(field, sql_type, constant, None, None, tuple(wrong))


def banded(field: Field, number: str) -> str:
    """SQL of the band that a number lies in; below the lowest floor there is none."""
    whens = " ".join(
        f"WHEN {number} >= {sql.literal(floor)} THEN {sql.literal(band)}" for band, floor in reversed(field.bands or ())
    )
    return f"(CASE {whens} END)"


def _mapped(field: Field, value: str, sql_type: str) -> tuple[str, str]:
    targets = list((field.map or {}).values())
    kinds = {_type_of(target) for target in targets}
    if kinds == {"BIGINT", "DOUBLE"}:
        kinds = {"DOUBLE"}
    if len(kinds) > 1:
        raise ValueError("the replacements in `map` have different types; write them all as text, or all as numbers")
    target_type = kinds.pop()
    text = _cast(value, sql_type, "VARCHAR", TRUNCATED["microsecond"])[0]
    whens = " ".join(
        f"WHEN {sql.literal(source)} THEN {_fitting(field, target, target_type, 'map')}"
        for source, target in (field.map or {}).items()
    )
    return f"(CASE {text} {whens} END)", target_type


def _fitting(field: Field, value: Scalar | None, sql_type: str, option: str) -> str:
    """A value of the mapping file as a literal of a canonical type. Raises ValueError when it is of another."""
    own = _type_of(value)
    if own == "BIGINT" and sql_type == "DOUBLE":
        return sql.literal(float(value))  # type: ignore[arg-type] # an int, by its canonical type
    if own != sql_type:
        raise ValueError(f"`{option}` is {_a(own)}, and the field's values are {_a(sql_type)}; write it as one")
    if isinstance(value, datetime.datetime) and value.tzinfo is None:
        value = value.replace(tzinfo=datetime.UTC)
    return sql.literal(value)


def _type_of(value: Scalar | None) -> str:
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, int):
        return "BIGINT"
    if isinstance(value, float):
        return "DOUBLE"
    if isinstance(value, datetime.datetime):
        return "TIMESTAMP"
    if isinstance(value, datetime.date):
        return "DATE"
    return "VARCHAR"


def carried(schema: pa.Schema) -> pa.Schema:
    """The types in which a source's columns reach DuckDB, which has no decimal of more than 38 digits: as text they are
    as exact, and each step that reads such a column begins with a cast."""
    return pa.schema([one.with_type(pa.string()) if pa.types.is_decimal256(one.type) else one for one in schema])


def base_of(kind: pa.DataType) -> str | None:
    """The canonical SQL type of an Arrow type; None for what has none (binary)."""
    if pa.types.is_dictionary(kind):
        return base_of(kind.value_type)
    if pa.types.is_boolean(kind):
        return "BOOLEAN"
    if pa.types.is_integer(kind):
        return "DOUBLE" if kind == pa.uint64() else "BIGINT"
    if pa.types.is_floating(kind):
        return "DOUBLE"
    if pa.types.is_decimal(kind):
        return "BIGINT" if kind.scale == 0 and kind.precision <= 18 else "DOUBLE"
    if pa.types.is_date(kind):
        return "DATE"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return None
    return "VARCHAR"


def _digits_of(expression: str, kind: Any) -> str | None:
    """SQL of the text of an integer or a decimal, exactly; None for other types. As a double, two identifiers of
    17 digits could become one."""
    if pa.types.is_integer(kind):
        return f"({expression})::VARCHAR"
    if pa.types.is_decimal(kind):
        text = f"({expression})::VARCHAR"
        trimmed = text if kind.scale == 0 else f"rtrim(rtrim({text}, '0'), '.')"
        if not pa.types.is_decimal256(kind):
            return trimmed
        # Arrow writes nothing and next to nothing with an exponent (0E-38), which a double holds as well.
        return f"(CASE WHEN contains({text}, 'E') THEN {_text(f'({text})::DOUBLE', 'DOUBLE')} ELSE {trimmed} END)"
    return None


def _typed(expression: str, kind: Any, base: str) -> str:
    """The source column as its canonical type."""
    if base == "DOUBLE" and kind in (pa.float32(), pa.float16()):
        # Through text, so that 41.1 stays 41.1 and does not become 41.09999847.
        return f"({expression})::VARCHAR::DOUBLE"
    if base == "TIMESTAMP":
        if not kind.tz:
            return f"({expression})::TIMESTAMP"
        # The same instant either way, and the calendar of time zones costs twenty times as much; but only it can
        # carry an infinity on to where it is refused.
        quick, whole = f"make_timestamp(epoch_us({expression}))", f"({expression} AT TIME ZONE 'UTC')::TIMESTAMP"
        return f"(CASE WHEN isfinite({expression}) THEN {quick} ELSE {whole} END)"
    if base == "VARCHAR" and (pa.types.is_nested(kind)):
        return f"to_json({expression})::VARCHAR"
    return f"({expression})::{base}"


def _cast(value: str, base: str, wanted: str, truncated: str) -> tuple[str, str | None]:
    """(SQL of the value as the wanted type, condition under which it cannot be brought to it)."""
    if wanted == "TIMESTAMP":
        if base == "TIMESTAMP":
            return truncated.format(value), None
        if base == "DATE":
            return f"({value})::TIMESTAMP", None
        if base == "VARCHAR":
            brought = f"(TRY_CAST(trim({value}) AS TIMESTAMPTZ) AT TIME ZONE 'UTC')"
            return truncated.format(brought), _failed(value, brought)
    elif wanted == base:
        return value, None
    elif wanted == "VARCHAR":
        return _text(value, base), None
    elif wanted == "DOUBLE":
        if base == "BIGINT":
            return f"({value})::DOUBLE", None
        if base == "VARCHAR":
            brought = f"TRY_CAST(trim({value}) AS DOUBLE)"
            return brought, _failed(value, brought)
    elif wanted == "BIGINT":
        if base == "DOUBLE":
            # NaN and infinities are null, as they are for every number; 72.5 cannot become an integer.
            brought = f"(CASE WHEN {value} = trunc({value}) AND abs({value}) < 9.2e18 THEN ({value})::BIGINT END)"
            return brought, f"(isfinite({value}) AND {brought} IS NULL)"
        if base == "VARCHAR":
            # A plain cast would round '72.5' to 72.
            whole = f"regexp_full_match(trim({value}), '[+-]?\\d+(\\.0*)?')"
            brought = f"(CASE WHEN {whole} THEN TRY_CAST(regexp_replace(trim({value}), '\\.0*$', '') AS BIGINT) END)"
            return brought, _failed(value, brought)
    elif wanted == "BOOLEAN":
        if base == "BIGINT":
            brought = f"(CASE {value} WHEN 1 THEN TRUE WHEN 0 THEN FALSE END)"
            return brought, _failed(value, brought)
        if base == "VARCHAR":
            brought = f"(CASE lower(trim({value})) WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END)"
            return brought, _failed(value, brought)
    elif wanted == "DATE":
        if base == "TIMESTAMP":
            return f"({value})::DATE", None
        if base == "VARCHAR":
            brought = f"TRY_CAST(trim({value}) AS DATE)"
            return brought, _failed(value, brought)
    raise ValueError(f"the column is {_a(base)}, which cannot become {_a(wanted)}; change `type`, or cast it in SQL")


def _failed(value: str, brought: str) -> str:
    return f"({value} IS NOT NULL AND {brought} IS NULL)"


def _text(value: str, base: str) -> str:
    if base == "DOUBLE":
        whole = f"{value} = trunc({value}) AND abs({value}) < 1e15"
        return f"(CASE WHEN {whole} THEN ({value})::BIGINT::VARCHAR WHEN isfinite({value}) THEN ({value})::VARCHAR END)"
    if base == "TIMESTAMP":
        return f"strftime({value}, '%Y-%m-%dT%H:%M:%SZ')"
    return f"({value})::VARCHAR"


def _match_wrong(sync: Sync, match: Sequence[str], limits: Limits) -> list[tuple[str, str, str]]:
    found = []
    for (identifier, column), expression in zip(sync.match.items(), match, strict=True):
        sentence = f"{column} is empty, so there is no {identifier} to find the record by."
        # Only what begins with a space, or is empty, comes before "!" in the order of texts, and is trimmed to see.
        is_blank = f"CASE WHEN {expression} < '!' THEN trim({expression}) = '' ELSE {expression} IS NULL END"
        found.append(("no_match", f"({is_blank})", sentence))
        found += _limit_wrong(
            identifier, expression, "VARCHAR", limits.identifiers.get(identifier), f"identifier {identifier}"
        )
    return found


def _limit_wrong(
    name: str, value: str, sql_type: str, limit: ValueLimit | None, what: str
) -> list[tuple[str, str, str]]:
    if limit is None or sql_type != "VARCHAR":
        return []
    found = []
    if limit.utf8_bytes is not None:
        sentence = f"The value for {what} is longer than {limit.utf8_bytes:,} bytes, which the destination refuses."
        found.append(("too_long", f"strlen({value}) > {limit.utf8_bytes}", sentence))
    if limit.characters is not None:
        sentence = (
            f"The value for {what} is longer than {limit.characters:,} characters, which the destination refuses."
        )
        found.append(("too_long", f"length({value}) > {limit.characters}", sentence))
    for character in limit.without:
        sentence = f"The value for {what} holds {character!r}, which the destination forbids."
        found.append(("forbidden_character", f"contains({value}, {sql.literal(character)})", sentence))
    return found


def _a(sql_type: str) -> str:
    words = {"VARCHAR": "a text", "BIGINT": "an integer", "DOUBLE": "a number", "BOOLEAN": "a boolean"}
    return words.get(sql_type, "a date" if sql_type == "DATE" else "a timestamp")
