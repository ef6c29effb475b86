"""The comparison as one GoogleSQL statement, and the statements about the state around it.

    source     the mapped columns of the source's rows
    src        one row for each key and match, with how many rows of the source it stands for
    newest     of each key in the log, the newest row
    st         the state as of now: the base without what the log knows better, and the log
    joined     both sides by key, the side of the state in today's types
    marked     beside each row, how many share its match (only where matches can be shared)

What comes out are the rows that may differ, with old and new values, and one row more with what was counted in all.
Clauses that are no more than `TRUE` for some rows cost nothing but these rows' travel; see `values`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from syncer.canonical import FAMILY, Canon
from syncer.destination import Limits
from syncer.inbigquery import values
from syncer.inbigquery.version import Version
from syncer.plan import Slot
from syncer.shifts import EDGES

WORD = {
    "VARCHAR": "text",
    "BIGINT": "integer",
    "DOUBLE": "number",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
}
GOOGLE = {
    "VARCHAR": "STRING",
    "BIGINT": "INT64",
    "DOUBLE": "FLOAT64",
    "BOOLEAN": "BOOL",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMP",
}
VERSIONS_MAX = 1_001
SEPARATOR = 31
"""Between versions in the row of counts: no version holds a control character."""


def column(slot: int, sql_type: str) -> str:
    """The column of the state's tables for values of a slot. A field whose type changes gets another one: the type of
    a column in BigQuery is for good."""
    return f"f{slot}_{WORD[sql_type]}"


@dataclass(frozen=True, slots=True)
class Stored:
    """The state of one sync as tables of BigQuery."""

    version: Version
    matches: int
    in_base: frozenset[str]
    """Value columns that the base has, and that the log has."""
    in_log: frozenset[str]
    dataset: str
    """With its project: `acme.syncer_state`."""

    def table(self, name: str) -> str:
        """A table's whole name, quoted."""
        return f"`{self.dataset}.{name}`"

    @property
    def value_columns(self) -> list[str]:
        """All of them, in a stable order."""
        return sorted(self.in_base | self.in_log)

    def of_slot(self, number: int) -> list[tuple[str, str]]:
        """(column, canonical type) of what there is of a slot."""
        there = self.in_base | self.in_log
        return [(name, kind) for kind in WORD if (name := column(number, kind)) in there]

    def kind(self, number: int) -> str | None:
        """The canonical type in which a slot's values are read; None when there are none."""
        kinds = [kind for _, kind in self.of_slot(number)]
        return "DOUBLE" if "DOUBLE" in kinds else kinds[0] if kinds else None

    def value(self, slot: Slot, prefix: str = "t.") -> str:
        """SQL of a slot's value in its type of today; null where the state has one of another family."""
        kind = GOOGLE[slot.sql_type]
        fitting = [
            f"{prefix}{name}" if one == slot.sql_type else f"CAST({prefix}{name} AS {kind})"
            for name, one in self.of_slot(slot.number)
            if FAMILY[one] == FAMILY[slot.sql_type]
        ]
        if not fitting:
            return f"CAST(NULL AS {kind})"
        return fitting[0] if len(fitting) == 1 else f"COALESCE({', '.join(fitting)})"

    def is_foreign(self, slot: Slot, prefix: str = "t.") -> str | None:
        """SQL of whether the state has a value of another family; None when it cannot."""
        others = [
            f"{prefix}{name} IS NOT NULL"
            for name, one in self.of_slot(slot.number)
            if FAMILY[one] != FAMILY[slot.sql_type]
        ]
        return f"({' OR '.join(others)})" if others else None

    @property
    def fixed(self) -> list[tuple[str, str]]:
        """(column, type) of everything that is no value."""
        return [
            ("key", "STRING"),
            *((f"m{number}", "STRING") for number in range(self.matches)),
            ("_version", "STRING"),
            ("_sent", "INT64"),
            ("_doubt", "INT64"),
        ]

    def relations(self, wanted: Sequence[str] | None = None) -> str:
        """The relations `newest` and `st`, with these value columns (all of them by default), for a WITH clause."""
        names = self.value_columns if wanted is None else list(wanted)
        if not self.version.tables:
            typed = [f"CAST(NULL AS {kind}) AS {name}" for name, kind in self.fixed]
            return f"st AS (SELECT {', '.join(typed)} FROM UNNEST([1]) AS one WHERE FALSE)"

        def listed(prefix: str, there: frozenset[str]) -> str:
            fixed = [f"{prefix}{name}" for name, _ in self.fixed]
            empty = {name: f"CAST(NULL AS {_type_of(name)}) AS {name}" for name in names if name not in there}
            return ", ".join([*fixed, *(empty.get(name, f"{prefix}{name}") for name in names)])

        parts, relations = [], []
        if self.version.log and self.version.marks:
            marks = ", ".join(str(mark) for mark, _ in self.version.marks)
            columns = ", ".join([*(name for name, _ in self.fixed), *(n for n in names if n in self.in_log)])
            relations.append(
                f"newest AS (\n  SELECT {columns}, _gone FROM {self.table(self.version.log)}\n"
                f"  WHERE _mark IN ({marks})\n"
                "  QUALIFY ROW_NUMBER() OVER (PARTITION BY key ORDER BY _mark DESC) = 1\n)"
            )
            parts.append(f"SELECT {listed('', self.in_log)} FROM newest WHERE NOT _gone")
        if self.version.base:
            base = f"SELECT {listed('b.', self.in_base)} FROM {self.table(self.version.base)} AS b"
            is_current = " WHERE NOT EXISTS (SELECT 1 FROM newest AS l WHERE l.key = b.key)" if relations else ""
            parts.insert(0, base + is_current)
        return ",\n".join([*relations, "st AS (\n  " + "\n  UNION ALL\n  ".join(parts) + "\n)"])


EMPTY = Stored(Version(), 0, frozenset(), frozenset(), "")
"""Nothing was ever accepted."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the statement depends on."""

    canon: Canon
    limits: Limits
    slots: Sequence[Slot]
    """One for each of the canon's fields, in their order."""
    retired: Sequence[Slot]
    source: str
    """SQL of the source's rows, with the columns c1, c2, …"""
    columns: dict[str, values.Source]
    """Name in the mapping → column of `source`."""
    stored: Stored
    pending: Sequence[str]
    """Tables of plans whose outcomes the state's tables do not have yet; everything that they name travels."""
    is_restricted: bool
    """Only the records of the parameter `@only` are wanted."""

    @property
    def text(self) -> str:
        """The statement. Its columns are `result`, in this order."""
        sync, stored = self.canon.sync, self.stored
        keyed = [f"{values.text(self.columns[sync.key])} AS _key"]
        keyed += [f"{match} AS _m{number}" for number, match in enumerate(self._matches)]
        split = ""
        if self.is_match_own:
            matches = ", CHR(31), ".join(f"COALESCE(_m{number}, '')" for number in range(len(self._matches)))
            split = f", IF(COALESCE(_key, '') = '', '', CONCAT({matches}))"
        join = "LEFT" if sync.removed == "keep" else "FULL OUTER"
        relations = [
            f"source AS (\n{self.source}\n)",
            f"keyed AS (SELECT *, {', '.join(keyed)} FROM source)",
            (
                "src AS (\n  SELECT *, COUNT(*) OVER (PARTITION BY _key) AS _same_key,"
                f" COUNT(*) OVER (PARTITION BY _key{split}) AS _weight\n  FROM keyed\n  WHERE TRUE\n"
                f"  QUALIFY ROW_NUMBER() OVER (PARTITION BY _key{split} ORDER BY _key) = 1\n)"
            ),
            stored.relations(),
            (
                f"joined AS (\n  SELECT {', '.join(self._joined)}\n"
                f"  FROM src AS s {join} JOIN st AS t ON s._key = t.key\n)"
            ),
        ]
        last = "joined"
        if self.is_match_own:
            last = "marked"
            relations.append(
                "marked AS (\n  SELECT *, SUM(COALESCE(_weight, 0)) OVER (PARTITION BY _match) AS _same_match,\n"
                "    COUNTIF(NOT _in_source) OVER (PARTITION BY _match) AS _gone_match\n  FROM joined\n)"
            )
        counts = ", ".join(f"{sql} AS {name}" for name, sql in self._counted)
        names = ", ".join(name for name, _ in self.result)
        empty = [f"CAST(NULL AS {kind})" for _, kind in self.result[: -len(self._counted)]]
        return (
            "WITH\n" + ",\n".join(relations) + f"\nSELECT {names} FROM (\n  SELECT *, {self._uncounted} FROM {last}\n"
            f"  WHERE {self._wanted}\n)\nUNION ALL\nSELECT {', '.join(empty)}, {counts}"
        )

    @property
    def result(self) -> list[tuple[str, str]]:
        """(column, type) of what the statement returns."""
        found = [("_in_source", "BOOL"), ("_in_state", "BOOL"), ("_key", "STRING"), ("_weight", "INT64")]
        found += [(source.sql, values.google_type(source.kind)) for source in self.columns.values()]
        found += [("o_key", "STRING"), *((f"o_m{number}", "STRING") for number in range(self.stored.matches))]
        found += [("o_version", "STRING"), ("o_sent", "INT64"), ("o_doubt", "INT64"), ("o_foreign", "INT64")]
        found += [(f"o{slot.number}", GOOGLE[slot.sql_type]) for slot in [*self.slots, *self.retired]]
        return [*found, *((name, "STRING" if name == "_versions" else "INT64") for name, _ in self._counted)]

    @property
    def is_match_own(self) -> bool:
        """Whether equal matches are possible without equal keys."""
        sync = self.canon.sync
        return list(sync.match.values()) != [sync.key] or not self.limits.caseless.isdisjoint(sync.match)

    @property
    def _matches(self) -> list[str]:
        sync = self.canon.sync
        texts = {name: values.text(self.columns[one]) for name, one in sync.match.items()}
        return [values.trimmed(sql) if name in self.limits.caseless else sql for name, sql in texts.items()]

    def _folded(self, prefix: str) -> list[str]:
        """The match of one side, as matches are compared."""
        return [
            f"LOWER(TRIM({prefix}{number}, ' '))" if name in self.limits.caseless else f"{prefix}{number}"
            for number, name in enumerate(self.canon.sync.match)
        ]

    @property
    def _joined(self) -> list[str]:
        stored, every = self.stored, [*self.slots, *self.retired]
        foreign = [f"IF({is_foreign}, {slot.bit}, 0)" for slot in every if (is_foreign := stored.is_foreign(slot))]
        columns = ["s._weight IS NOT NULL AS _in_source", "t.key IS NOT NULL AS _in_state"]
        columns += ["s._key", "s._weight", "s._same_key"]
        columns += [f"s._m{number}" for number in range(len(self._matches))]
        columns += [f"s.{source.sql}" for source in self.columns.values()]
        columns += ["t.key AS o_key", *(f"t.m{number} AS o_m{number}" for number in range(stored.matches))]
        columns += ["t._version AS o_version", "t._sent AS o_sent", "t._doubt AS o_doubt"]
        columns += [f"{' | '.join(foreign) or '0'} AS o_foreign"]
        columns += [f"{stored.value(slot)} AS o{slot.number}" for slot in every]
        if self.is_match_own:
            sides = [", CHR(31), ".join(self._folded(prefix)) for prefix in ("s._m", "t.m")]
            columns.append(f"IF(s._weight IS NOT NULL, CONCAT({sides[0]}), CONCAT({sides[1]})) AS _match")
        return columns

    @property
    def _wanted(self) -> str:
        """When a row travels."""
        sync = self.canon.sync
        sides = zip(self._folded("_m"), self._folded("o_m"), strict=True)
        moved = [f"{new} IS DISTINCT FROM {old}" for new, old in sides]
        reasons = [
            "NOT _in_state",
            "o_doubt <> 0",
            "o_foreign <> 0",
            "_same_key > 1",
            "COALESCE(_key, '') = ''",
            *moved,
        ]
        for number, name in enumerate(sync.match):
            reasons += values.beyond(f"_m{number}", self.limits.identifiers.get(name))
        for made, slot in zip(self.canon.fields, self.slots, strict=True):
            source = self.columns[made.field.column] if made.field.column else None
            said = values.said(made.field, source, slot, f"o{slot.number}", self.limits)
            reasons += [one for one in (said.differs, *said.strange) if one != "FALSE"]
        if self.is_match_own:
            reasons.append("_same_match > 1")
            if sync.removed != "keep":
                reasons.append("_gone_match > 0")
        wanted = "\n    OR ".join(["NOT _in_source", *reasons])
        if self.pending:
            named = " UNION ALL ".join(f"SELECT key FROM {self.stored.table(one)}" for one in self.pending)
            wanted += f"\n    OR COALESCE(_key, o_key) IN ({named})"
        if self.is_restricted:
            return f"COALESCE(_key, o_key) IN UNNEST(@only) AND (\n    {wanted}\n  )"
        return f"(\n    {wanted}\n  )"

    @property
    def _uncounted(self) -> str:
        return ", ".join(
            f"CAST(NULL AS {'STRING' if name == '_versions' else 'INT64'}) AS {name}" for name, _ in self._counted
        )

    @property
    def _counted(self) -> list[tuple[str, str]]:
        odd = [
            values.not_finite(made.field, self.columns[made.field.column])
            for made in self.canon.fields
            if made.field.column
        ]
        sums = " + ".join(f"COUNTIF({one})" for one in odd if one)
        counted = [
            ("_rows", "(SELECT COUNT(*) FROM source)"),
            ("_not_finite", f"(SELECT {sums} FROM source)" if sums else "0"),
            ("_known", "(SELECT COUNT(*) FROM st)"),
        ]
        version = self.canon.sync.version
        if version:
            of = values.text(self.columns[version])
            distinct = f"SELECT DISTINCT {of} FROM source WHERE {of} IS NOT NULL ORDER BY 1 LIMIT {VERSIONS_MAX}"
            counted.append(("_versions", f"ARRAY_TO_STRING(ARRAY({distinct}), CHR({SEPARATOR}))"))
        return counted


# --- the state alone -------------------------------------------------------------------------------------------------


def rows_of(stored: Stored, slots: Iterable[Slot], *, is_keyed: bool) -> str:
    """The state's rows in today's types, `oN` for a slot; those of the parameter `@keys` only, or all."""
    slots = list(slots)
    foreign = [f"IF({one}, {slot.bit}, 0)" for slot in slots if (one := stored.is_foreign(slot))]
    columns = [f"t.{name}" for name, _ in stored.fixed]
    columns += [f"{' | '.join(foreign) or '0'} AS _foreign"]
    columns += [f"{stored.value(slot)} AS o{slot.number}" for slot in slots]
    where = "\nWHERE t.key IN UNNEST(@keys)" if is_keyed else ""
    return f"WITH\n{stored.relations()}\nSELECT {', '.join(columns)} FROM st AS t{where}"


def staged(table: str, rows: str) -> str:
    """A table of the source's rows that BigQuery deletes by itself, if we do not."""
    expires = "TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 1 DAY)"
    return f"CREATE TABLE {table}\nOPTIONS (expiration_timestamp = {expires})\nAS\n{rows}"


def folded(stored: Stored, table: str) -> str:
    """A new base table of the state as of now."""
    columns = ", ".join([*(name for name, _ in stored.fixed), *stored.value_columns])
    query = f"WITH\n{stored.relations()}\nSELECT {columns} FROM st"
    return f"CREATE TABLE {stored.table(table)}\nCLUSTER BY key\nAS\n{query}"


def spreads(stored: Stored, slots: Sequence[Slot]) -> str:
    """Of each number: how many, sum, sum of squares, least, most, and how many at each edge, in one row."""
    columns = []
    for slot in slots:
        value = f"CAST({stored.value(slot)} AS FLOAT64)"
        columns += [f"COUNT({value})", f"SUM({value})", f"SUM({value} * {value})", f"MIN({value})", f"MAX({value})"]
        columns += [f"SUM(IF({value} = {edge}, 1, 0))" for edge in EDGES]
    return _counting(stored, slots, columns)


def counts(stored: Stored, slots: Sequence[Slot]) -> str:
    """How many values each field has, and of how many records it was ever sent, in one row."""
    columns = []
    for slot in slots:
        columns += [f"COUNT({stored.value(slot)})", f"SUM(IF(t._sent & {slot.bit} <> 0, 1, 0))"]
    return _counting(stored, slots, columns)


def sample(stored: Stored, slots: Sequence[tuple[Slot, int]]) -> str:
    """Of each field one value in so many, chosen by key: the same ones whenever it is asked."""
    chosen = {slot: f"MOD(ABS(MOD(FARM_FINGERPRINT(t.key), 1000003)), {share}) = 0" for slot, share in slots}
    columns = [f"IF({one}, {stored.value(slot)}, NULL) AS o{slot.number}" for slot, one in chosen.items()]
    wanted = [name for slot, _ in slots for name, _ in stored.of_slot(slot.number)]
    return (
        f"WITH\n{stored.relations(wanted)}\nSELECT t.key, {', '.join(columns)} FROM st AS t\n"
        f"WHERE {' OR '.join(dict.fromkeys(chosen.values()))}"
    )


def _counting(stored: Stored, slots: Sequence[Slot], columns: Sequence[str]) -> str:
    wanted = [name for slot in slots for name, _ in stored.of_slot(slot.number)]
    listed = ", ".join(f"{sql} AS c{number}" for number, sql in enumerate(columns))
    return f"WITH\n{stored.relations(wanted)}\nSELECT {listed} FROM st AS t"


def duckdb_type(name: str) -> str:
    """The canonical type of a value column."""
    word = name.partition("_")[2]
    return next(kind for kind, one in WORD.items() if one == word)


def _type_of(name: str) -> str:
    return GOOGLE[duckdb_type(name)]
