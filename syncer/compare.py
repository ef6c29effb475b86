"""The comparison: desired rows against the state, field by field, in DuckDB, into a plan file.

Three steps, so that a table of unchanged rows costs two hashes a row and nothing else:

1. candidates: both sides are hashed on the fly, 24 bytes a state row are held, the source streams past once;
2. every key once? counts that the join gives anyway say whether a key is twice in the source;
3. for candidates only, the old values are fetched and every field is compared exactly, by its own rule.

The hashes never leave the query, and a candidate that turns out equal falls out in step 3, so a hash can cost
time and never send or suppress anything, but for a collision of 64 bits between two versions of one row.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from syncer import sql
from syncer.canonical import FAMILY, Canon, Made, match_of
from syncer.control import Parked, PlanFile, Standing, enumerate_new
from syncer.destination import Limits
from syncer.errors import Problem, StateDamaged, UserError
from syncer.mapping import SLOTS_MAX, Field
from syncer.plan import Invalid, Plan, Slot, mapping_text
from syncer.state import Relation, StateFile, write_parquet

INVALID_SHOWN_MAX = 1_000
VERSIONS_MAX = 1_000
"""Distinct versions of rows that are remembered; with more, the column is no version of a metric."""
MEMORY_LIMIT = "1GB"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a comparison needs to know of the state, read once."""

    standing: Standing
    base: StateFile | None
    plans: Sequence[tuple[PlanFile, StateFile]]
    parked: Sequence[Parked]


@contextlib.contextmanager
def calculator(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in memory that calculates, and spills into `folder` when it must. It is never the database."""
    connection = duckdb.connect(":memory:")
    try:
        connection.execute(f"SET temp_directory = {sql.literal(str(folder))}")
        connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()


def compare(
    connection: duckdb.DuckDBPyConnection,
    canon: Canon,
    limits: Limits,
    batches: pa.RecordBatchReader,
    inputs: Inputs,
    file: Path,
    *,
    only: Sequence[str] = (),
    now: float | None = None,
) -> Plan:
    """Plan what differs and write it to `file`. `only` restricts it to some keys. Raises StateDamaged, UserError."""
    comparison = _Comparison(connection, canon, limits, inputs, only, time.time() if now is None else now)
    with tempfile.TemporaryDirectory(prefix="spool-", dir=file.parent, ignore_cleanup_errors=True) as folder:
        with comparison.spooled(batches, Path(folder)):
            return comparison.plan(file)


class _Comparison:
    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        canon: Canon,
        limits: Limits,
        inputs: Inputs,
        only: Sequence[str],
        now: float,
    ) -> None:
        self.db = connection
        self.canon = canon
        self.sync = canon.sync
        self.limits = limits
        self.inputs = inputs
        self.only = only
        self.now = now
        self.slots, self.retired = slots_of(canon, inputs)

    # --- the desired rows ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def spooled(self, batches: pa.RecordBatchReader, folder: Path) -> Iterator[None]:
        """Canonical rows in an Arrow file that is mapped into memory: it may be read twice, and costs no heap."""
        failed: list[BaseException] = []

        def watched() -> Iterator[pa.RecordBatch]:
            # DuckDB would turn the source's own sentence into an error of its own.
            try:
                yield from batches
            except BaseException as error:
                failed.append(error)
                raise

        path = folder / "desired.arrow"
        self.db.register("source_batches", pa.RecordBatchReader.from_batches(batches.schema, watched()))
        try:
            reader = self.db.sql(self.canon.select("source_batches")).to_arrow_reader(65_536)
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, reader.schema) as writer:
                for batch in reader:
                    writer.write_batch(batch)
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            if failed:
                raise failed[0] from None
            raise StateDamaged(
                f"The rows could not be written to {folder.parent}: {str(error).splitlines()[0]}. "
                "Is the disk full? Nothing was sent."
            ) from None
        finally:
            self.db.unregister("source_batches")
        with pa.memory_map(str(path)) as mapped:
            self.db.register("desired", pa.ipc.open_file(mapped).read_all())
            try:
                yield
            finally:
                self.db.unregister("desired")

    # --- the plan --------------------------------------------------------------------------------------------

    def plan(self, file: Path) -> Plan:
        """The whole comparison, top to bottom."""
        plan = Plan(self.sync, file, tuple(self.slots))
        plan.rows, plan.not_finite, bad, self.keyed = self._numbers(
            "SELECT count(*), coalesce(sum(_not_finite), 0), count(*) FILTER (_bad > 0), "
            f"count(*) FILTER ({_KEYED}) FROM desired"
        )
        relation = Relation(self.db, len(self.sync.match))
        if relation.attach(self.inputs.base, self.inputs.plans, [*self.slots, *self.retired]):
            plan.known = self._numbers("SELECT count(*) FROM state")[0]
            self._candidates(exact=False)
            if self._collided():
                self._candidates(exact=True)
        else:
            self._everything()
        plan.invalid = bad + self._without_twice(plan.known)
        self._list_invalid(plan)
        self._register_parked(plan)
        facts = {"sync": self.sync.name, "kind": "plan", "slots": {str(slot.number): slot.name for slot in self.slots}}
        plan.total = write_parquet(self.db, self._rows(), file, facts)
        self._count(plan)
        plan.versions = self._versions()
        plan.digest = plan.digest_of_file(mapping_text(self.sync))
        return plan

    def _numbers(self, query: str) -> tuple[int, ...]:
        return tuple(int(number) for number in self.db.execute(query).fetchall()[0])

    def _candidates(self, *, exact: bool) -> None:
        """Step 1. A row whose hash is that of its state row is unchanged and goes no further."""
        by_value = [slot for slot in self.slots if self._field(slot).compare and self._field(slot).min_change is None]
        by_distance = [slot for slot in self.slots if self._field(slot).compare and self._field(slot).min_change]
        place = {slot.number: number for number, slot in enumerate(self.slots)}
        wanted = ", ".join(
            ["s.key", self._match("s."), *(f"s.f{place[slot.number]}::{slot.sql_type}" for slot in by_value)]
        )
        stored = ", ".join(["t.key", self._match("t."), *(f"t.{sql.name(slot.column)}" for slot in by_value)])
        near = "".join(f", t.{sql.name(slot.column)} AS d{slot.number}" for slot in by_distance)
        far = "".join(
            f" OR (s.f{place[slot.number]} IS NULL) <> (t.d{slot.number} IS NULL)"
            f" OR {_distance(f's.f{place[slot.number]}', f't.d{slot.number}')} >= {self._field(slot).min_change!r}"
            for slot in by_distance
        )
        on = "s.kh = t.kh AND s.key = t.key" if exact else "s.kh = t.kh"
        # The smaller side of a hash join is held in memory; the optimiser would sometimes hold the wide source.
        self.db.execute("SET disabled_optimizers = 'build_side_probe_side,join_order'")
        self.db.execute(
            "CREATE OR REPLACE TEMP TABLE candidate AS "
            "SELECT s.* EXCLUDE (kh, rh), t._rid, t.kh IS NOT NULL AS _known "
            f"FROM (SELECT *, hash(s.key) AS kh, hash({wanted}) AS rh FROM desired s WHERE {_KEYED}) AS s "
            f"FULL JOIN (SELECT hash(t.key) AS kh, hash({stored}) AS rh, t._rid, t._doubt <> 0 AS doubt{near}"
            f"{', t.key' if exact else ''} FROM state t) AS t ON {on} "
            f"WHERE s.rh IS DISTINCT FROM t.rh OR t.doubt OR s._bad > 0{far}"
        )
        self.db.execute("SET disabled_optimizers = ''")
        self.db.execute(
            "CREATE OR REPLACE TEMP TABLE old AS SELECT * FROM state WHERE _rid IN (SELECT _rid FROM candidate)"
        )

    def _collided(self) -> bool:
        """Whether two different keys share a hash, which would pair the wrong rows."""
        query = "SELECT count(*) FROM candidate c JOIN old o ON o._rid = c._rid WHERE c.key <> o.key"
        return self._numbers(query)[0] > 0

    def _everything(self) -> None:
        """Nothing was ever accepted, so every row is a candidate; they stream, and are never held."""
        self.db.execute(
            f"CREATE OR REPLACE TEMP VIEW candidate AS SELECT *, NULL::BIGINT AS _rid, FALSE AS _known FROM desired s WHERE {_KEYED}"
        )
        self.db.execute("CREATE OR REPLACE TEMP TABLE old AS SELECT * FROM state")

    def _without_twice(self, known: int) -> int:
        """Step 2. Find keys and matches that are there twice; returns how many more rows that makes invalid.

        When every key is there once, the source's rows that found a partner are as many as the state's rows that did.
        """
        self.db.execute("CREATE OR REPLACE TEMP TABLE twice(key VARCHAR, reason VARCHAR, value VARCHAR, n BIGINT)")
        if known:
            new, gone, distinct = self._numbers(
                "SELECT count(*) FILTER (NOT _known), count(*) FILTER (key IS NULL), "
                "count(DISTINCT key) FILTER (NOT _known) FROM candidate"
            )
            is_once = self.keyed - new == known - gone and distinct == new
        else:
            is_once = self._numbers(f"SELECT count(DISTINCT hash(key)) FROM desired WHERE {_KEYED}")[0] == self.keyed
        if not is_once:
            self.db.execute(
                "INSERT INTO twice SELECT key, 'duplicate_key', key, count(*) AS n FROM desired "
                f"WHERE {_KEYED} GROUP BY key HAVING n > 1"
            )
        match = self._match("d.")
        is_own = list(self.canon.match) != [self.canon.key] or not self.limits.caseless.isdisjoint(self.sync.match)
        if is_own:
            total, distinct = self._numbers(
                f"SELECT count(*), count(DISTINCT hash({match})) FROM desired d WHERE _bad = 0"
            )
            if total != distinct:
                self.db.execute(
                    "INSERT INTO twice SELECT d.key, 'duplicate_match', f.value, f.n FROM desired d JOIN "
                    f"(SELECT {match} AS value, count(*) AS n FROM desired d WHERE _bad = 0 GROUP BY value HAVING n > 1) f "
                    f"ON {match} = f.value WHERE d._bad = 0 AND d.key NOT IN (SELECT key FROM twice)"
                )
        return self._numbers("SELECT count(*) FROM desired WHERE _bad = 0 AND key IN (SELECT key FROM twice)")[0]

    def _list_invalid(self, plan: Plan) -> None:
        if not plan.invalid:
            return
        reasons = self.canon.reasons
        for key, bad in self.db.execute(
            f"SELECT key, _bad FROM desired WHERE _bad > 0 ORDER BY key NULLS FIRST, _bad LIMIT {INVALID_SHOWN_MAX}"
        ).fetchall():
            plan.invalid_rows.append(Invalid(key, reasons[bad - 1][0], reasons[bad - 1][2]))
        left = INVALID_SHOWN_MAX - len(plan.invalid_rows)
        for key, reason, value, n in self.db.execute(
            "SELECT d.key, t.reason, t.value, t.n FROM desired d JOIN twice t ON t.key = d.key "
            f"WHERE d._bad = 0 ORDER BY d.key LIMIT {left}"
        ).fetchall():
            if reason == "duplicate_key":
                sentence = f"The key {value} is in the source {n} times, so none of its rows goes out."
            else:
                sentence = f"{n} rows have the match {value}; they would fight over one record."
            plan.invalid_rows.append(Invalid(key, reason, sentence))

    def _register_parked(self, plan: Plan) -> None:
        parked = self.inputs.parked
        plan.parked_keys = frozenset(one.key for one in parked)
        due = [one.next_at is not None and one.next_at <= self.now for one in parked]
        self.db.register(
            "parked",
            pa.table(
                {
                    "key": pa.array([one.key for one in parked], pa.string()),
                    "payload": pa.array([one.payload for one in parked], pa.string()),
                    "due": pa.array(due, pa.bool_()),
                }
            ),
        )
        self.db.register("only_keys", pa.table({"key": pa.array(list(self.only), pa.string())}))

    # --- step 3: field by field ------------------------------------------------------------------------------

    def _rows(self) -> str:
        """SQL of the plan's rows, in the plan's order."""
        matches = range(len(self.sync.match))
        moved = f"{self._match('c.')} IS DISTINCT FROM {self._match('o.')}"
        old = [
            f"CASE WHEN _op <> 1 THEN o.{sql.name(slot.column)} END AS o{slot.number}"
            for slot in [*self.slots, *self.retired]
        ]
        new = [f"c.f{number} AS c{slot.number}" for number, slot in enumerate(self.slots)]
        raw = [
            f"c.r{number} AS r{slot.number}" for number, slot in enumerate(self.slots) if self.canon.fields[number].raw
        ]
        seen = ", ".join(sql.literal(version) for version in self.inputs.standing.versions) or "NULL"
        joined = (
            f"SELECT CASE WHEN c.key IS NULL THEN 3 WHEN o.key IS NULL OR {moved} THEN 1 ELSE 2 END AS _op, "
            "coalesce(c.key, o.key) AS key, "
            + "".join(
                f"CASE WHEN c.key IS NULL THEN o.m{number} ELSE c.m{number} END AS m{number}, " for number in matches
            )
            + "CASE WHEN _op <> 1 THEN coalesce(o._sent, 0) ELSE 0 END AS _sent, "
            "CASE WHEN _op <> 1 THEN coalesce(o._doubt, 0) ELSE 0 END AS _doubt, "
            "coalesce(c._version, o._version) AS _version, "
            f"o.key IS NOT NULL AND _op = 1 AS _moved_match, (_op = 2 AND c._version <> o._version AND c._version NOT IN ({seen})) IS TRUE AS _rescored, "
            + ", ".join([*old, *new, *raw])
            + " FROM candidate c LEFT JOIN old o ON o._rid = c._rid "
            "WHERE (c.key IS NULL OR (c._bad = 0 AND c.key NOT IN (SELECT key FROM twice)))"
            + ("" if self.sync.removed != "keep" else " AND c.key IS NOT NULL")
            + (" AND coalesce(c.key, o.key) IN (SELECT key FROM only_keys)" if self.only else "")
        )
        settled = "SELECT *, " + ", ".join(
            f"{self._wanted(number, slot)} AS n{slot.number}" for number, slot in enumerate(self.slots)
        )
        own = " | ".join(_bit(self._differs(slot), slot) for slot in self.slots)
        riders = " | ".join([_bit(self._rides(slot), slot) for slot in self.slots])
        if self.sync.removed == "delete":
            own = f"CASE WHEN _op = 3 THEN _sent ELSE {own} END"
        moved = " OR ".join(self._moved(slot) for slot in self.slots)
        goes = "_own <> 0" if self.sync.removed != "delete" else "(_own <> 0 OR _op = 3)"
        after = [
            f"CASE WHEN _mask & {slot.bit} <> 0 THEN n{slot.number} ELSE o{slot.number} END AS {sql.name(slot.column)}"
            for slot in self.slots
        ]
        after += [f"o{slot.number} AS {sql.name(slot.column)}" for slot in self.retired]
        before = [f"CASE WHEN _mask & {slot.bit} <> 0 THEN o{slot.number} END AS b{slot.number}" for slot in self.slots]
        where = "concat_ws(chr(31), " + ", ".join(f"m{number}" for number in matches) + ")"
        reason = ", ".join(
            f"CASE WHEN _own & {slot.bit} <> 0 THEN {sql.literal(slot.name + '=')} || {_shown('n', slot)} END"
            for slot in self.slots
        )
        whole = ", ".join(
            f"CASE WHEN _mask & {slot.bit} <> 0 THEN {sql.literal(slot.name + '=')} || {_shown('o', slot)} || chr(30) || {_shown('n', slot)} END"
            for slot in self.slots
        )
        columns = ["key", *(f"m{number}" for number in matches), "_op::TINYINT AS _op", "_mask", "_sent", "_doubt"]
        columns += ["_version", "_rescored", f"(_moved_match OR (_op = 2 AND ({moved}))) AS _moved", *after, *before]
        columns += [f"md5(concat_ws(chr(31), CASE _op WHEN 3 THEN 'd' ELSE 'w' END, {where}, {reason})) AS _payload"]
        columns += [f"md5(concat_ws(chr(31), key, _op, _rescored, {where}, {whole})) AS _row"]
        return (
            f"WITH joined AS ({joined}), settled AS ({settled} FROM joined), "
            f"judged AS (SELECT *, ({own})::BIGINT AS _own, (_own | {riders})::BIGINT AS _mask FROM settled), "
            f"listed AS (SELECT {', '.join(columns)} FROM judged WHERE {goes}) "
            "SELECT l.*, (p.key IS NOT NULL AND NOT p.due) AS _parked FROM listed l "
            "LEFT JOIN parked p ON p.key = l.key AND p.payload = l._payload ORDER BY _parked, _rescored, l.key"
        )

    def _wanted(self, number: int, slot: Slot) -> str:
        """The value that the destination should hold: null for a row that is gone, held back inside a hysteresis."""
        made = self.canon.fields[number]
        value = f"c{slot.number}::{slot.sql_type}"
        if made.raw:
            value = _held_back(made, f"c{slot.number}", f"r{slot.number}", f"o{slot.number}")
        return f"CASE WHEN _op <> 3 THEN {value} END"

    def _differs(self, slot: Slot) -> str:
        """Whether this field is a reason for its record to go."""
        field = self._field(slot)
        sent, doubt = f"_sent & {slot.bit} <> 0", f"_doubt & {slot.bit} <> 0"
        new, old = f"n{slot.number}", f"o{slot.number}"
        gone = "FALSE" if field.null == "skip" else f"(({sent} AND {old} IS NOT NULL) OR {doubt})"
        if not field.compare:
            # It is cleared with the others when the row is gone, but is never the reason to go.
            return "FALSE"
        if field.min_change:
            moved = f"(({new} IS NULL) <> ({old} IS NULL) OR coalesce({_distance(new, old)} >= {field.min_change!r}, FALSE))"
        else:
            moved = f"{new} IS DISTINCT FROM {old}"
        kept = f"{new} IS NOT NULL AND " if field.null == "skip" else ""
        return (
            f"CASE WHEN _op = 3 THEN {gone} WHEN {doubt} THEN {kept}TRUE "
            f"WHEN {sent} THEN {kept}{moved} ELSE {new} IS NOT NULL END"
        )

    def _moved(self, slot: Slot) -> str:
        """Whether a value that the destination accepted differs now; not so for a field sent for the first time, or
        again because nobody knows whether it arrived. This is what the brake on changes looks at."""
        known = f"_sent & {slot.bit} <> 0 AND _doubt & {slot.bit} = 0"
        return f"(_own & {slot.bit} <> 0 AND {known})"

    def _rides(self, slot: Slot) -> str:
        """Whether this field goes along when its record goes for another one."""
        field = self._field(slot)
        new, old = f"n{slot.number}", f"o{slot.number}"
        doubt = f"_doubt & {slot.bit} <> 0"
        kept = f"{new} IS NOT NULL AND " if field.null == "skip" else ""
        if not field.compare:
            return f"{kept}({new} IS NOT NULL OR {old} IS NOT NULL OR {doubt})"
        if field.min_change:
            return f"{kept}({new} IS DISTINCT FROM {old} OR {doubt})"
        return "FALSE"

    # --- counting --------------------------------------------------------------------------------------------

    def _count(self, plan: Plan) -> None:
        file = f"read_parquet({sql.literal(str(plan.file))})"
        parked_rows = 0
        for op, rescored, parked, moved, n in self.db.execute(
            f"SELECT _op, _rescored, _parked, _moved, count(*) FROM {file} GROUP BY ALL"
        ).fetchall():
            plan.moved += n if moved and not parked and not rescored else 0
            if parked:
                plan.parked += n
                parked_rows += n if op != 3 else 0
            elif op == 1:
                plan.new += n
            elif op == 3:
                plan.removed += n
            elif rescored:
                plan.rescored += n
            else:
                plan.changed += n
        plan.sendable = plan.new + plan.changed + plan.rescored + plan.removed
        plan.unchanged = plan.rows - plan.invalid - plan.new - plan.changed - plan.rescored - parked_rows
        turned = self._numbers(
            "SELECT "
            + ", ".join(
                f"count(*) FILTER (_op = 2 AND NOT _parked AND _mask & {slot.bit} <> 0 "
                f"AND {sql.name(slot.column)} IS NULL AND b{slot.number} IS NOT NULL)"
                for slot in self.slots
            )
            + f" FROM {file}"
        )
        cleared = [(slot, n) for slot, n in zip(self.slots, turned, strict=True) if n]
        if cleared:
            totals = self._numbers(
                "SELECT " + ", ".join(f"count({sql.name(slot.column)})" for slot, _ in cleared) + " FROM state"
            )
            plan.cleared = {slot.name: (n, total) for (slot, n), total in zip(cleared, totals, strict=True)}
        if not self.only:
            plan.forgotten = [
                row[0]
                for row in self.db.execute(
                    f"SELECT key FROM parked WHERE key NOT IN (SELECT key FROM {file})"
                ).fetchall()
            ]

    def _versions(self) -> tuple[str, ...] | None:
        """The versions that this read's rows have; None without a version column, or when there are too many."""
        if not self.sync.version:
            return None
        found = self.db.execute(
            f"SELECT DISTINCT _version FROM desired WHERE _bad = 0 AND _version IS NOT NULL ORDER BY 1 LIMIT {VERSIONS_MAX + 1}"
        ).fetchall()
        return tuple(row[0] for row in found) if len(found) <= VERSIONS_MAX else None

    def _field(self, slot: Slot) -> Field:
        return self.sync.field(slot.name)

    def _match(self, prefix: str) -> str:
        return match_of(self.sync, self.limits, prefix)


_KEYED = "key IS NOT NULL AND key <> ''"


def slots_of(canon: Canon, inputs: Inputs) -> tuple[list[Slot], list[Slot]]:
    """The slots of the mapped fields, and those of fields that were mapped once and keep what we last wrote.

    Raises UserError when the sync has had more fields than there are bits.
    """
    numbers = dict(inputs.standing.slots)
    for number, name in enumerate_new(numbers, [made.field.name for made in canon.fields]):
        numbers[name] = number
    if max(numbers.values(), default=0) >= SLOTS_MAX:
        raise UserError(
            [
                Problem(
                    f"{canon.sync.file.name} sync {canon.sync.name}",
                    f"This sync has had {len(numbers)} different fields, and {SLOTS_MAX} is the most that its state can "
                    f"hold. Run `syncer forget {canon.sync.name}` to begin anew, which sends everything again.",
                )
            ]
        )
    files = [file for _, file in reversed(list(inputs.plans))] + ([inputs.base] if inputs.base else [])
    mapped = []
    for made in canon.fields:
        stored = {
            file.columns[numbers[made.field.name]][1] for file in files if numbers[made.field.name] in file.columns
        }
        # Whole numbers and others are one family; compared as doubles, 72 is 72.0.
        mixed = FAMILY[made.sql_type] == "number" and "DOUBLE" in stored
        mapped.append(Slot(numbers[made.field.name], made.field.name, "DOUBLE" if mixed else made.sql_type))
    names = {slot.name for slot in mapped}
    retired = []
    for name, number in inputs.standing.slots.items():
        kinds = [file.columns[number][1] for file in files if number in file.columns]
        if name not in names and kinds:
            retired.append(Slot(number, name, kinds[0]))
    return mapped, retired


def _bit(condition: str, slot: Slot) -> str:
    return f"CASE WHEN {condition} THEN {slot.bit}::BIGINT ELSE 0::BIGINT END"


def _distance(new: str, old: str) -> str:
    # Rounded, because 0.3 - 0.2 is a little less than 0.1 in binary, and must not miss a threshold of 0.1.
    return f"round(abs({new} - {old}), 9)"


def _shown(prefix: str, slot: Slot) -> str:
    return f"coalesce({prefix}{slot.number}::VARCHAR, chr(29))"


def _held_back(made: Made, plain: str, raw: str, old: str) -> str:
    """The band, where a border counts as passed only when the number is beyond it by the hysteresis."""
    bands = made.field.bands or ()
    margin = made.field.hysteresis or 0.0
    cases = []
    for place, (band, floor) in enumerate(bands):
        label = sql.literal((made.field.map or {}).get(band, band))
        ceiling = bands[place + 1][1] if place + 1 < len(bands) else None
        leaves = [f"{floor!r} - {raw} >= {margin!r} AND {raw} < {floor!r}"]
        if ceiling is not None:
            leaves.append(f"{raw} - {ceiling!r} >= {margin!r} AND {raw} >= {ceiling!r}")
        stays = f"{raw} IS NOT NULL AND NOT ({' OR '.join(f'({one})' for one in leaves)})"
        cases.append(f"WHEN {old} = {label} AND {stays} THEN {old}")
    return f"CASE {' '.join(cases)} ELSE {plain} END"
