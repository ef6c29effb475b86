"""The comparison: desired rows against the state, field by field, in DuckDB, into a plan file.

Three steps, so that a table of unchanged rows costs two hashes a row and nothing else:

1. candidates: both sides are hashed on the fly, 24 bytes a state row are held, and the source streams past once, as
   it arrives; of each row only what tells it apart is kept (`syncer.candidates`);
2. every key once? counts that the join gives anyway say whether a key is twice in the source;
3. for candidates only, the old values are fetched and every field is compared exactly, by its own rule
   (`syncer.differences`).

The hashes never leave the query, and a candidate that turns out equal falls out in step 3, so a hash can cost
time and never send or suppress anything, but for a collision of 64 bits between two versions of one row.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from syncer import sql
from syncer.calculator import temporary_folder
from syncer.candidates import KEYED, Candidates, match_is_own
from syncer.canonical import FAMILY, Canon, match_of
from syncer.control import enumerate_new
from syncer.destination import Limits
from syncer.differences import Differences
from syncer.errors import Problem, UserError
from syncer.mapping import SLOTS_MAX
from syncer.narrowed import Narrowed
from syncer.plan import Invalid, Plan, Slot, mapping_text
from syncer.shifts import Here, Stock, measure
from syncer.stages import Stages
from syncer.state import Inputs, state_is_readable, stored_type, write_parquet

INVALID_SHOWN_MAX = 1_000
VERSIONS_MAX = 1_000
"""Distinct versions of rows that are remembered; with more, the column is no version of a metric."""


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
    narrowed: Narrowed | None = None,
    stages: Stages | None = None,
    exact: bool = False,
) -> Plan:
    """Plan what differs and write it to `file`. `only` restricts it to some keys, `now` (seconds since 1970) decides
    which parked records are due, `stages` is told how long it took.

    Raises StateDamaged, UserError, and whatever the source raises; HashesCollide when two keys share a hash, which a
    comparison that is `exact` and takes longer can tell apart.
    """
    now = time.time() if now is None else now
    comparison = _Comparison(connection, canon, limits, inputs, only, now, narrowed)
    stages = stages or Stages()
    with (
        temporary_folder("spool-", file.parent) as folder,
        state_is_readable(canon.sync.name, inputs.files),
        contextlib.ExitStack() as taken,
    ):
        with stages.stage("map"):
            taken.enter_context(comparison.candidates.taken_in(batches, folder, exact=exact))
        with stages.stage("compare"):
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
        narrowed: Narrowed | None = None,
    ) -> None:
        self.db = connection
        self.canon = canon
        self.sync = canon.sync
        self.limits = limits
        self.inputs = inputs
        self.only = only
        self.now = now
        self.narrowed = narrowed
        self.stock: Stock = narrowed.stock(connection) if narrowed else Here(connection)
        self.slots, self.retired = slots_of(canon, inputs)
        self.candidates = Candidates(connection, canon, limits, inputs, self.slots, self.retired, narrowed)

    def plan(self, file: Path) -> Plan:
        """The comparison from the candidates on, top to bottom."""
        plan = Plan(self.sync, file, tuple(self.slots))
        plan.rows, self.keyed = self._numbers(f"SELECT {self._rows()}, {self._rows(KEYED)} FROM desired")
        without_key = plan.rows - self.keyed
        self._refuse_other_keys()
        # A row that cannot go out is a candidate, so all of those with a key are there.
        bad, not_finite = self._numbers(
            f"SELECT {self._rows('_bad > 0')}, coalesce(sum(_not_finite), 0) FROM candidate"
        )
        self.bad = without_key + bad
        plan.not_finite = self.candidates.not_finite + not_finite
        if self.candidates.has_state:
            plan.known = self._numbers("SELECT count(*) FROM state")[0]
        if self.candidates.totals:
            plan.rows, plan.not_finite = self.candidates.totals.rows, self.candidates.totals.not_finite
            plan.known += self.candidates.totals.known - self._came_along()
        plan.invalid = self.bad + self._without_twice(plan.known)
        self._list_invalid(plan)
        self._find_taken()
        self._register_parked(plan)
        differences = Differences(
            self.canon, self.limits, self.slots, self.retired, self.inputs.standing.versions, bool(self.only)
        )
        self._wait_for_the_gone(plan, differences)
        slots = {str(slot.number): slot.name for slot in self.slots}
        facts = {"sync": self.sync.name, "kind": "plan", "slots": slots}
        plan.total = write_parquet(self.db, differences.query(), file, facts)
        self._count(plan)
        plan.versions = self._versions()
        plan.digest = plan.digest_of_file(mapping_text(self.sync))
        return plan

    def _came_along(self) -> int:
        """How many records of the warehouse's state came with the rows that may differ."""
        base = self.inputs.base
        return self._numbers(f"SELECT count(*) FROM read_parquet({sql.literal(str(base.path))})")[0] if base else 0

    def _rows(self, condition: str = "TRUE") -> str:
        """SQL of how many rows of the source are meant by the rows of `desired` of which a condition holds."""
        if self.narrowed:
            return f"coalesce(sum(_weight) FILTER ({condition}), 0)::BIGINT"
        return f"count(*) FILTER ({condition})"

    def _refuse_other_keys(self) -> None:
        """A warehouse that spells a key otherwise than we do has joined the wrong rows."""
        if self.narrowed and self._numbers("SELECT count(*) FROM desired WHERE key IS DISTINCT FROM _key")[0]:
            sentence = (
                f"The column {self.sync.key} is spelt otherwise in the warehouse than here; cast it to text in SQL."
            )
            raise UserError([Problem("key", sentence)])

    def _numbers(self, query: str) -> tuple[int, ...]:
        return tuple(int(number) for number in self.db.execute(query).fetchall()[0])

    def _without_twice(self, known: int) -> int:
        """Step 2. Find keys and matches that are there twice; returns how many more rows that makes invalid.

        When every key is there once, the source's rows that found a partner are as many as the state's rows that did.
        """
        self.db.execute("CREATE OR REPLACE TEMP TABLE twice(key VARCHAR, reason VARCHAR, value VARCHAR, n BIGINT)")
        if known and not self.narrowed:
            new, gone, distinct = self._numbers(
                "SELECT count(*) FILTER (NOT _known), count(*) FILTER (key IS NULL), "
                "count(DISTINCT key) FILTER (NOT _known) FROM candidate"
            )
            is_once = self.keyed - new == known - gone and distinct == new
        else:
            is_once = self._numbers(f"SELECT count(DISTINCT hash(key)) FROM desired WHERE {KEYED}")[0] == self.keyed
        if not is_once:
            self.db.execute(
                f"INSERT INTO twice SELECT key, 'duplicate_key', key, {self._rows()} AS n FROM desired "
                f"WHERE {KEYED} GROUP BY key HAVING n > 1"
            )
        match = self._match("d.")
        if match_is_own(self.canon, self.limits):
            total, distinct = self._numbers(
                f"SELECT {self._rows()}, count(DISTINCT hash({match})) FROM desired d WHERE {self._usable}"
            )
            if total != distinct:
                self.db.execute(
                    f"WITH usable AS (SELECT d.*, {match} AS value FROM desired d WHERE _bad = 0), "
                    f"often AS (SELECT value, {self._rows()} AS n FROM usable GROUP BY value HAVING n > 1) "
                    "INSERT INTO twice SELECT key, 'duplicate_match', value, n FROM usable JOIN often USING (value) "
                    "WHERE key NOT IN (SELECT key FROM twice)"
                )
        if not self._numbers("SELECT count(*) FROM twice")[0]:
            return 0
        is_twice = "_bad = 0 AND key IN (SELECT key FROM twice)"
        return self._numbers(f"SELECT {self._rows(is_twice)} FROM desired")[0]

    @property
    def _usable(self) -> str:
        """SQL of whether a row can go out; where all can, none is judged once more."""
        return "_bad = 0" if self.bad else "TRUE"

    def _find_taken(self) -> None:
        """Matches of rows that are gone which other rows have now, as when a person got another key: clearing or
        deleting the record would take from it what the other row sends."""
        self.db.execute("CREATE OR REPLACE TEMP TABLE taken(value VARCHAR)")
        if match_is_own(self.canon, self.limits) and self.sync.removed != "keep":
            gone = "SELECT o.* FROM candidate c JOIN old o ON o._rid = c._rid WHERE c.key IS NULL"
            self.db.execute(
                f"INSERT INTO taken SELECT DISTINCT {self._match('d.')} FROM desired d "
                f"WHERE {KEYED} AND {self._match('d.')} IN (SELECT {self._match('g.')} FROM ({gone}) g)"
            )

    def _wait_for_the_gone(self, plan: Plan, differences: Differences) -> None:
        """Rows that are gone, but not for as many runs as the sync wants; only theirs are looked at one by one."""
        if not self.sync.waits_for_the_gone:
            return
        absent = self.inputs.gone
        runs = {"key": pa.array(absent.keys(), pa.string()), "runs": pa.array(absent.values(), pa.int64())}
        self.db.register("absent", pa.table(runs))
        self.db.execute(f"CREATE OR REPLACE TEMP TABLE gone AS {differences.gone()}")
        plan.gone = dict(self.db.execute("SELECT key, runs FROM gone").fetchall())
        plan.waiting = sum(runs < self.sync.grace for runs in plan.gone.values())

    def _list_invalid(self, plan: Plan) -> None:
        if not plan.invalid:
            return
        reasons = self.canon.reasons
        each = f", unnest(range(least(d._weight, {INVALID_SHOWN_MAX})))" if self.narrowed else ""
        for key, bad in self.db.execute(
            f"SELECT key, _bad FROM desired d{each} WHERE _bad > 0 ORDER BY key NULLS FIRST, _bad "
            f"LIMIT {INVALID_SHOWN_MAX}"
        ).fetchall():
            plan.invalid_rows.append(Invalid(key, reasons[bad - 1][0], reasons[bad - 1][2]))
        left = INVALID_SHOWN_MAX - len(plan.invalid_rows)
        for key, reason, value, n in self.db.execute(
            f"SELECT d.key, t.reason, t.value, t.n FROM desired d JOIN twice t ON t.key = d.key{each} "
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
        # A refusal of the future was met while the clock was ahead; its next try could be years away.
        due = [one.next_at is not None and (one.next_at <= self.now or one.last_at > self.now) for one in parked]
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
        # Neither what waits nor what is tried again: it was judged when it went first.
        self.db.execute(
            f"CREATE OR REPLACE TEMP VIEW moved AS SELECT l.* FROM {file} AS l "
            "ANTI JOIN parked p ON p.key = l.key AND p.payload = l._payload WHERE _op = 2"
        )
        turned = self._numbers(
            "SELECT "
            + ", ".join(
                f"count(*) FILTER (_mask & {slot.bit} <> 0 "
                f"AND {sql.name(slot.column)} IS NULL AND b{slot.number} IS NOT NULL)"
                for slot in self.slots
            )
            + " FROM moved"
        )
        cleared = [(slot, n) for slot, n in zip(self.slots, turned, strict=True) if n]
        if cleared:
            values_of = self.stock.values([slot for slot, _ in cleared])
            plan.cleared = {slot.name: (n, values_of[slot]) for slot, n in cleared}
        if plan.known and plan.changed:
            # A re-score is meant to move values.
            measure(self.db, plan, "(SELECT * FROM moved WHERE NOT _rescored)", self.stock)
        if self.inputs.parked and not self.only:
            # A row that is invalid tonight, or gone for a while, says nothing about why its record was refused.
            invalid = "SELECT key FROM desired WHERE _bad > 0 AND key IS NOT NULL UNION ALL SELECT key FROM twice"
            if plan.waiting:
                invalid += f" UNION ALL SELECT key FROM gone WHERE runs < {self.sync.grace}"
            query = f"SELECT key FROM parked WHERE key NOT IN (SELECT key FROM {file} UNION ALL {invalid}) ORDER BY key"
            plan.forgotten = [key for (key,) in self.db.execute(query).fetchall()]

    def _versions(self) -> tuple[str, ...] | None:
        """The versions that this read's rows have; None without a version column, or when there are too many."""
        if not self.sync.version:
            return None
        if self.candidates.totals:
            return self.candidates.totals.versions
        found = self.db.execute(
            f"SELECT DISTINCT _version FROM desired WHERE {self._usable} AND _version IS NOT NULL "
            f"ORDER BY 1 LIMIT {VERSIONS_MAX + 1}"
        ).fetchall()
        return tuple(row[0] for row in found) if len(found) <= VERSIONS_MAX else None

    def _match(self, prefix: str) -> str:
        return match_of(self.sync, self.limits, prefix)


def slots_of(canon: Canon, inputs: Inputs) -> tuple[list[Slot], list[Slot]]:
    """The slots of the mapped fields, and those of fields that were mapped once and keep what we last wrote.

    Raises UserError when the sync has had more fields than there are bits.
    """
    numbers = dict(inputs.standing.slots)
    numbers |= {name: number for number, name in enumerate_new(numbers, [made.field.name for made in canon.fields])}
    if max(numbers[made.field.name] for made in canon.fields) >= SLOTS_MAX:
        sentence = (
            f"This sync has had {len(numbers)} different fields, and {SLOTS_MAX} is the most that its state can hold. "
            f"Run `syncer forget {canon.sync.name}` to begin anew, which sends everything again."
        )
        raise UserError([Problem("fields", sentence)])
    files = [file for _, file in reversed(inputs.plans)] + ([inputs.base] if inputs.base else [])
    mapped = []
    for made in canon.fields:
        number = numbers[made.field.name]
        # Whole numbers and others are one family; compared as doubles, 72 is 72.0.
        is_mixed = FAMILY[made.sql_type] == "number" and stored_type(number, files) == "DOUBLE"
        sql_type = "DOUBLE" if is_mixed else made.sql_type
        mapped.append(Slot(number, made.field.name, sql_type, is_whole=is_mixed and made.sql_type == "BIGINT"))
    names = {slot.name for slot in mapped}
    retired = [
        Slot(number, name, kind)
        for name, number in inputs.standing.slots.items()
        if name not in names and (kind := stored_type(number, files))
    ]
    return mapped, retired
