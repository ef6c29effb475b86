"""Undoing a run: what it replaced is put back, where the destination still holds what it wrote.

What was there before comes from the history, what is there now from the destination itself (`Destination.read`), and
whether that is still ours its adapter judges (`holds`). What becomes of it is a plan like any other: it is judged by
the brakes, delivered with intent first, remembered, and can be undone in turn. Everything that is not put back is
told, with the reason.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from syncer import sql
from syncer.account import Prepared
from syncer.batches import estimate
from syncer.calculator import calculator, temporary_folder
from syncer.canonical import FAMILY
from syncer.change import Value
from syncer.compare import slots_of
from syncer.control import Control, Run
from syncer.errors import UserError
from syncer.history import Layout, layouts, readable
from syncer.mapping import Sync
from syncer.plan import Plan, Slot, field_values_of, identity_text, mapping_text, values_of
from syncer.readback import PIECE, is_readable, is_same, pieces, raw, readings
from syncer.run import Engine
from syncer.state import Inputs, Relation, State, look_again, state_is_readable, write_parquet

LISTED_MAX = 1_000

REASONS = {
    "created": "the run made the record, or nothing was known of it before; it is not deleted",
    "deleted": "the run deleted the record; it is not made again",
    "forgotten": "the record is not among those that are known any more",
    "unknown": "nothing is known of the value before",
    "unmapped": "the mapping has no such field any more",
    "retyped": "the field has another type now",
    "never_null": 'there was none before, and with null = "skip" none is sent',
    "restored": "the value before is there already",
    "later": "a later run of ours changed it since",
    "theirs": "somebody there changed it since",
    "gone": "the record is not at the destination any more",
    "unreadable": "the destination does not say what it holds of it",
}
"""Why something is left as it is."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A field that is left as it is, or (`field` is empty) a whole record."""

    key: str
    field: str
    reason: str
    theirs: Any = None
    """What is there, where somebody changed it."""

    @property
    def sentence(self) -> str:
        """The reason, as people read it."""
        return REASONS[self.reason]


@dataclass(slots=True)
class Left:
    """What is not put back: how much for which reason, and the first of it."""

    counts: Counter[str] = field(default_factory=Counter)
    listed: list[Kept] = field(default_factory=list)

    def add(self, kept: Kept) -> None:
        """Count one more."""
        self.counts[kept.reason] += 1
        if len(self.listed) < LISTED_MAX:
            self.listed.append(kept)


class Undoing:
    """Makes the plan that takes a run back; `left` is what it does not take back, once the plan is made."""

    def __init__(self, engine: Engine, run: int) -> None:
        self.undoes = run
        self.left = Left()
        self._engine = engine

    def plan(self, prepared: Prepared, inputs: Inputs, state: State, control: Control, file: Path) -> Plan:
        """See `run.Planner`. Raises UserError when the history has nothing of the run, and what reading raises."""
        self.left = Left()
        slots, retired = slots_of(prepared.canon, inputs)
        parts = layouts(state, control)
        inputs = state.opened(inputs)
        with (
            calculator(file.parent) as connection,
            readable(state.sync, [path for layout in parts for path in layout.files]),
            state_is_readable(state.sync, inputs.files),
        ):
            undo = _Undo(connection, prepared, slots, retired, self.undoes, self.left)
            Relation(connection, len(prepared.sync.match)).attach(inputs.base, inputs.plans, [*slots, *retired])
            if not undo.find(parts):
                raise UserError(_nothing(self.undoes, control))
            undo.sort_out()
            undo.look(self._engine)
            plan = undo.write(file)
        plan.parked_keys = frozenset(one.key for one in inputs.parked)
        plan.is_whole = prepared.limits.whole
        return plan


def undoable(engine: Engine, run_id: int) -> Run:
    """The run of a number, when it sent anything. Raises UserError, and StateDamaged."""
    control = Control.look(engine.config.state)
    found = None
    if control is not None:
        with contextlib.closing(control):
            found = control.run(run_id)
    if found is None:
        raise UserError(f"The journal has no run {run_id}. `syncer status --json` lists the last ones of each sync.")
    if (trigger := found.facts.get("trigger")) in ("adopt", "verify"):
        raise UserError(f"Run {run_id} was `{trigger}`, which sends nothing, so there is nothing to undo.")
    return found


@contextlib.contextmanager
def looked_at(engine: Engine, prepared: Prepared, undoing: Undoing) -> Iterator[Plan]:
    """The plan, judged; nothing is sent, and no lock is needed. Its file lives as long as the context."""
    state = engine.state(prepared.sync.name)
    with temporary_folder("syncer-") as folder:

        def look() -> Plan:
            control = Control.look(engine.config.state)
            if control is None:
                raise UserError(f"The journal has no run {undoing.undoes}.")
            with contextlib.closing(control):
                inputs = engine.inputs(state, control, control.standing(prepared.sync.name))
                return undoing.plan(prepared, inputs, state, control, folder / "plan.parquet")

        plan = look_again(look)
        plan.holds = engine.judge_alone(plan)
        plan.cost = estimate(plan, prepared.destination)
        yield plan


def _nothing(run_id: int, control: Control) -> str:
    run = control.run(run_id)
    if run is not None and not run.accepted:
        return f"Nothing of run {run_id} was accepted, so there is nothing to undo."
    return (
        f"The history has nothing of run {run_id} any more, so nobody knows what was there before. "
        "`history.keep` says how long it is kept."
    )


_IS_THERE = "(s.key IS NOT NULL OR (e.kind = 'removed' AND e._is_found))"
"""SQL of whether the record can be written to; one that was cleared has left the state, and is still there."""


class _Undo:
    """The steps, each over relations of one connection: entry, then verdict, then restored."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        prepared: Prepared,
        slots: Sequence[Slot],
        retired: Sequence[Slot],
        run: int,
        left: Left,
    ) -> None:
        self.db = connection
        self.sync: Sync = prepared.sync
        self.destination = prepared.destination
        self.slots = list(slots)
        self.retired = list(retired)
        self.run = run
        self.left = left

    # --- what the run did ------------------------------------------------------------------------------------------

    def find(self, parts: Sequence[Layout]) -> bool:
        """Make `entry`: key, kind, and of each slot today before (bN) and after (aN); says whether there is any.

        _mask are the slots that left, _known those of which the value before is known. m0… are how the record was
        found, where records are still found so (_is_found).
        """
        selected = [self._entries(layout) for layout in parts]
        if not selected:
            return False
        self.db.execute(f"CREATE TEMP TABLE entry AS {' UNION ALL BY NAME '.join(selected)}")
        return self._number("SELECT count(*) FROM entry") > 0

    def _entries(self, layout: Layout) -> str:
        by_name = {one.name: slot for slot, one in layout.fields.items()}
        is_found = layout.identity == identity_text(self.sync)
        columns = ["key", "kind", f"{sql.literal(is_found)} AS _is_found"]
        columns += [f"m{number}" if is_found else f"NULL::VARCHAR AS m{number}" for number in self._matches]
        masks, known, retyped = [], [], []
        for slot in self.slots:
            there = by_name.pop(slot.name, None)
            fits = there is not None and FAMILY[layout.fields[there].sql_type] == FAMILY[slot.sql_type]
            if there is None or not fits:
                columns += [f"NULL::{slot.sql_type} AS a{slot.number}", f"NULL::{slot.sql_type} AS b{slot.number}"]
                if there is not None:
                    retyped.append((there, slot.name))
                continue
            after = sql.name(layout.column(there))
            columns += [f"{after}::{slot.sql_type} AS a{slot.number}", f"b{there}::{slot.sql_type} AS b{slot.number}"]
            masks.append(f"(CASE WHEN _mask & {1 << there}::BIGINT <> 0 THEN {slot.bit}::BIGINT ELSE 0 END)")
            known.append(f"(CASE WHEN _known & {1 << there}::BIGINT <> 0 THEN {slot.bit}::BIGINT ELSE 0 END)")
        others = [(slot, name, "unmapped") for name, slot in by_name.items()]
        others += [(slot, name, "retyped") for slot, name in retyped]
        listed = [
            f"CASE WHEN _mask & {1 << slot}::BIGINT <> 0 "
            f"THEN {{'field': {sql.literal(name)}, 'reason': '{reason}'}} END"
            for slot, name, reason in others
        ]
        lost = f"[{', '.join(listed)}]" if listed else "NULL::STRUCT(field VARCHAR, reason VARCHAR)[]"
        columns += [f"{' | '.join(masks) or 0}::BIGINT AS _mask", f"{' | '.join(known) or 0}::BIGINT AS _known"]
        return (
            f"SELECT {', '.join(columns)}, {lost} AS _lost FROM {layout.relation} "
            f"WHERE run = {self.run} AND result = 'accepted'"
        )

    # --- what of it can be put back --------------------------------------------------------------------------------

    def sort_out(self) -> None:
        """Make `verdict`: of each record that is known, a bit for every field that may be put back (_ask).

        What stays as it is, whatever the destination holds, is told.
        """
        deleted = "e.kind = 'removed' AND " + ("TRUE" if self.sync.removed == "delete" else "FALSE")
        self._tell(
            f"SELECT e.key, '', CASE WHEN e.kind = 'new' THEN 'created' WHEN {deleted} THEN 'deleted' "
            "ELSE 'forgotten' END FROM entry e LEFT JOIN state s ON s.key = e.key "
            f"WHERE e.kind = 'new' OR {deleted} OR NOT ({_IS_THERE})"
        )
        self.db.execute(
            "CREATE TEMP TABLE verdict AS SELECT e.key, "
            + ", ".join(f"{self._verdict(slot)} AS v{slot.number}" for slot in self.slots)
            + ", e._lost, coalesce(s._doubt | s._foreign, 0) AS _unsure "
            f"FROM entry e LEFT JOIN state s ON s.key = e.key WHERE e.kind <> 'new' AND NOT ({deleted}) AND {_IS_THERE}"
        )
        told = [
            f"SELECT key, {sql.literal(slot.name)}, v{slot.number} FROM verdict "
            f"WHERE v{slot.number} NOT IN ('ask', 'same')"
            for slot in self.slots
        ]
        told.append(
            "SELECT key, x.field, x.reason FROM (SELECT key, unnest(_lost) AS x FROM verdict) WHERE x IS NOT NULL"
        )
        self._tell(" UNION ALL ".join(told))
        self.db.execute(
            "CREATE TEMP TABLE candidate AS SELECT key, _unsure, "
            + " | ".join(f"CASE WHEN v{slot.number} = 'ask' THEN {slot.bit}::BIGINT ELSE 0 END" for slot in self.slots)
            + " AS _ask FROM verdict WHERE "
            + " OR ".join(f"v{slot.number} = 'ask'" for slot in self.slots)
        )

    def _verdict(self, slot: Slot) -> str:
        """SQL of what is to become of one field: null when the run did not touch it, ask when it may be put back."""
        before, after, now = f"e.b{slot.number}", f"e.a{slot.number}", f"s.{sql.name(slot.column)}"
        never_null = "TRUE" if self.sync.field(slot.name).null == "skip" else "FALSE"
        is_unsure = f"(s._doubt | s._foreign) & {slot.bit}::BIGINT <> 0"
        return (
            f"CASE WHEN e._mask & {slot.bit}::BIGINT = 0 THEN NULL "
            f"WHEN e._known & {slot.bit}::BIGINT = 0 THEN 'unknown' "
            f"WHEN {before} IS NOT DISTINCT FROM {after} THEN 'same' "
            f"WHEN {never_null} AND {before} IS NULL THEN 'never_null' "
            # Of a field in doubt nobody but the destination knows what it holds.
            f"WHEN {is_unsure} THEN 'ask' "
            f"WHEN {now} IS NOT DISTINCT FROM {after} THEN 'ask' "
            f"WHEN {now} IS NOT DISTINCT FROM {before} THEN 'restored' ELSE 'later' END"
        )

    def look(self, engine: Engine) -> None:
        """Ask the destination what it holds, and make `restored`: key, and a bit for every field that is put back."""
        keys: list[str] = []
        masks: list[int] = []
        for piece in pieces(self._candidates(), engine):
            by_key = {one.key: one for one in piece}
            for held in readings(self.destination, self.sync, piece):
                one = by_key.pop(held.key)
                if held.fields is None:
                    self.left.add(Kept(one.key, "", "gone"))
                    continue
                mask = 0
                for slot, before, after, is_unsure in one.fields:
                    if not is_readable(slot, held):
                        self.left.add(Kept(one.key, slot.name, "unreadable"))
                    elif is_same(self.destination, self.sync, slot, after, held):
                        mask |= slot.bit
                    elif is_unsure and is_same(self.destination, self.sync, slot, before, held):
                        self.left.add(Kept(one.key, slot.name, "restored"))
                    else:
                        self.left.add(Kept(one.key, slot.name, "theirs", raw(slot, held)))
                if mask:
                    keys.append(one.key)
                    masks.append(mask)
            for key in by_key:
                self.left.add(Kept(key, "", "unreadable"))
        columns = {"key": pa.array(keys, pa.string()), "mask": pa.array(masks, pa.int64())}
        self.db.register("restored", pa.table(columns))

    def _candidates(self) -> Iterator[_Candidate]:
        values = ", ".join(f"e.a{slot.number}, e.b{slot.number}" for slot in self.slots)
        query = (
            f"SELECT c.key, c._ask, c._unsure, {self._match()}, {values} FROM candidate c "
            "JOIN entry e ON e.key = c.key LEFT JOIN state s ON s.key = c.key ORDER BY c.key"
        )
        for batch in self.db.sql(query).to_arrow_reader(PIECE):
            keys, asked, unsure = (values_of(batch, name) for name in ("key", "_ask", "_unsure"))
            match = [(name, values_of(batch, f"m{number}")) for number, name in enumerate(self.sync.match)]
            columns = [
                (slot, field_values_of(batch, f"b{slot.number}", slot), field_values_of(batch, f"a{slot.number}", slot))
                for slot in self.slots
            ]
            for row, key in enumerate(keys):
                yield _Candidate(
                    key,
                    {name: values[row] for name, values in match},
                    [
                        (slot, before[row], after[row], bool(unsure[row] & slot.bit))
                        for slot, before, after in columns
                        if asked[row] & slot.bit
                    ],
                )

    # --- the plan ----------------------------------------------------------------------------------------------------

    def write(self, file: Path) -> Plan:
        """The plan's file, with its counts and its digest."""
        plan = Plan(self.sync, file, tuple(self.slots), undoes=self.run)
        plan.rows = plan.known = self._number("SELECT count(*) FROM state")
        facts = {
            "sync": self.sync.name,
            "kind": "plan",
            "slots": {str(slot.number): slot.name for slot in self.slots},
        }
        plan.total = write_parquet(self.db, self._rows(), file, facts)
        plan.sendable = plan.changed = plan.moved = plan.total
        plan.unchanged = plan.rows - plan.total
        for slot in self.slots:
            cleared = self._number(
                f"SELECT count(*) FROM restored r JOIN entry e ON e.key = r.key LEFT JOIN state s ON s.key = r.key "
                f"WHERE r.mask & {slot.bit}::BIGINT <> 0 AND e.b{slot.number} IS NULL "
                f"AND s.{sql.name(slot.column)} IS NOT NULL"
            )
            if cleared:
                total = self._number(f"SELECT count({sql.name(slot.column)}) FROM state")
                plan.cleared[slot.name] = (cleared, total)
        plan.digest = plan.digest_of_file(f"{mapping_text(self.sync)}\nundo {self.run}")
        return plan

    def _rows(self) -> str:
        texts = ", ".join(
            f"CASE WHEN r.mask & {slot.bit}::BIGINT <> 0 THEN {sql.literal(slot.name + '=')} "
            f"|| coalesce(e.b{slot.number}::VARCHAR, chr(29)) END"
            for slot in self.slots
        )
        digest = f"md5(concat_ws(chr(31), 'undo', {self.run}, e.key, {texts}))"
        columns = ["e.key", self._match(), "2::TINYINT AS _op", "r.mask AS _mask"]
        # A record that was cleared because its row was gone is no row of the state: nulls were accepted of it.
        columns += ["coalesce(s._sent, r.mask) AS _sent", "coalesce(s._doubt | s._foreign, 0) AS _doubt"]
        columns += ["s._version", "FALSE AS _rescored", "TRUE AS _moved"]
        columns += ["FALSE AS _parked", f"{digest} AS _payload"]
        for slot in self.slots:
            name, is_put_back = sql.name(slot.column), f"r.mask & {slot.bit}::BIGINT <> 0"
            columns.append(f"CASE WHEN {is_put_back} THEN e.b{slot.number} ELSE s.{name} END AS {name}")
            columns.append(f"CASE WHEN {is_put_back} THEN s.{name} END AS b{slot.number}")
        columns += [f"s.{sql.name(slot.column)}" for slot in self.retired]
        return (
            f"SELECT {', '.join(columns)} FROM restored r JOIN entry e ON e.key = r.key "
            "LEFT JOIN state s ON s.key = r.key ORDER BY e.key"
        )

    @property
    def _matches(self) -> range:
        return range(len(self.sync.match))

    def _match(self) -> str:
        return ", ".join(f"CASE WHEN s.key IS NULL THEN e.m{n} ELSE s.m{n} END AS m{n}" for n in self._matches)

    def _number(self, query: str) -> int:
        return int(self.db.execute(query).fetchall()[0][0])

    def _tell(self, query: str) -> None:
        """Count what (key, field, reason) of a query is left, and list the first of it."""
        self.db.execute(f"CREATE OR REPLACE TEMP TABLE left_over AS SELECT * FROM ({query}) t(key, field, reason)")
        for reason, number in self.db.execute("SELECT reason, count(*) FROM left_over GROUP BY reason").fetchall():
            self.left.counts[reason] += number
        places = LISTED_MAX - len(self.left.listed)
        first = f"SELECT key, field, reason FROM left_over ORDER BY key, field LIMIT {places}"
        self.left.listed += [Kept(*row) for row in self.db.execute(first).fetchall()]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A record that may be put back: its fields as (slot, before, after, whether anybody but the destination knows)."""

    key: str
    match: dict[str, str]
    fields: list[tuple[Slot, Value, Value, bool]]
