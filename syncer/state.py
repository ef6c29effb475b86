"""The state of one sync: per key and field, the last value that the destination accepted.

It is one immutable Parquet base, immutable Parquet plan files, and one outcome byte per planned record in the
control store. Nothing large is ever updated in place. As of now it is

    base without the keys of the overlay, and the overlay without what was removed

where the overlay has, for every key, the newest plan row whose record was accepted, or whose fate is unknown.
A field whose fate is unknown carries a doubt bit and differs by definition.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from syncer import folders, sql
from syncer.canonical import FAMILY, Canon
from syncer.control import Code, Control, Parked, PlanFile, Standing
from syncer.control.locks import folder_name
from syncer.destination import Limits
from syncer.errors import StateDamaged
from syncer.mapping import Sync
from syncer.narrowed import Read
from syncer.plan import FORMAT, NEW, Plan, Slot
from syncer.relations import is_relation, united
from syncer.source import Source

Found = TypeVar("Found")

LOOKS_MAX = 5
"""How often a reader starts again when the daemon folds files away under it."""
FOLD_SHARE = 0.10
"""The overlay is folded into a new base when it is larger than this share of the base."""
FOLD_PLANS_MAX = 64
GARBAGE_SECONDS = 600.0
"""Readers that started before a fold may still open the old files for that long."""

_arrow: Any = pa  # Its stubs do not know `arange`.

_OF_ARROW = {
    "string": "VARCHAR",
    "large_string": "VARCHAR",
    "int64": "BIGINT",
    "double": "DOUBLE",
    "bool": "BOOLEAN",
    "date32[day]": "DATE",
}


@dataclass(frozen=True, slots=True)
class StateFile:
    """A base or plan file, opened far enough to know its columns."""

    path: Path
    columns: dict[int, tuple[str, str]]
    """Slot → (column, canonical SQL type)."""
    before: frozenset[int]
    """Slots of which it has the values before too: those that were mapped when a plan was made."""
    rows: int
    has_foreign: bool = False
    """Whether it says itself which of its values are of another family than today's slots, in a column `_foreign`."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a comparison needs to know of the state, read once."""

    standing: Standing
    base: StateFile | None
    plans: Sequence[tuple[PlanFile, StateFile]]
    parked: Sequence[Parked]
    gone: Mapping[str, int] = field(default_factory=dict)
    """Key → in how many runs in a row before this one it was gone, where the sync has a `grace`."""

    @property
    def files(self) -> list[StateFile]:
        """The files of the state, the newest first."""
        return [*(file for _, file in reversed(self.plans)), *([self.base] if self.base else [])]


class State:
    """Where one sync's values lie: here, in files on this disk. Reading needs no lock; whoever writes holds the sync,
    see `Control.exclusively`."""

    def __init__(self, folder: Path, sync: str) -> None:
        self.sync = sync
        self.folder = folder / folder_name(sync)

    def make(self) -> None:
        """Make the folder where there is none. Raises StateDamaged."""
        try:
            folders.make(self.folder)
        except OSError as error:
            raise StateDamaged(f"The state folder {self.folder} cannot be written: {error.strerror}.") from None

    def clean(self, control: Control, garbage_seconds: float = GARBAGE_SECONDS) -> None:
        """Delete what a killed process left half written, and garbage of that age, which no reader can still need."""
        self.make()
        # What is there is listed first: a file of a process that has taken the sync over meanwhile is not among it.
        files = list(self.folder.glob("*.parquet*"))
        known = control.referenced(self.sync)
        for file in files:
            if file.name not in known:
                file.unlink(missing_ok=True)
        self.sweep()
        garbage = control.garbage(garbage_seconds)
        old = [name for name in garbage if not name.startswith("{") and (self.folder / name).exists()]
        for name in old:
            (self.folder / name).unlink(missing_ok=True)
        control.collected(old)

    def sweep(self) -> None:
        """Delete what a killed process had put aside."""
        for left in [*self.folder.glob("spool-*"), *self.folder.glob("duckdb_temp*")]:
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)

    def fresh(self, stem: str) -> Path:
        """A name for a new file that nobody has used; it is not made yet."""
        return self.folder / f"{stem}-{time.time_ns():x}.parquet"

    def known_files(self, standing: Standing) -> tuple[StateFile | None, list[tuple[PlanFile, StateFile]]]:
        """The files that the standing names. Raises StateDamaged for one that is gone, damaged or newer."""
        self.refuse_elsewhere(standing)
        base = self.file(standing.base_file) if standing.base_file else None
        return base, [(plan, self.file(plan.file)) for plan in standing.plans]

    def plan_of(self, name: str, sync: Sync, parked: Iterable[str]) -> Plan:
        """A plan file of an earlier run, as far as its changes can be read from it. Raises StateDamaged."""
        file = self.file(name)
        slots = [
            Slot(number, column.partition("_")[2], kind)
            for number, (column, kind) in file.columns.items()
            if number in file.before
        ]
        return Plan(sync, file.path, tuple(slots), total=file.rows, parked_keys=frozenset(parked))

    def file(self, name: str) -> StateFile:
        """A file of the state, opened far enough to know its columns. Raises StateDamaged."""
        path = self.folder / name
        try:
            with pq.ParquetFile(path) as file:
                facts = json.loads((file.schema_arrow.metadata or {}).get(b"syncer", b"{}"))
                schema, rows = file.schema_arrow, file.metadata.num_rows
        except FileNotFoundError:
            raise Vanished(path) from None
        except (pa.ArrowException, OSError, ValueError):
            raise StateDamaged(_damaged(self.sync, path)) from None
        if facts.get("format", 0) > FORMAT:
            raise StateDamaged(
                f"{path} was written by a newer Syncer (format {facts['format']}, this one knows {FORMAT}). "
                "Use that version."
            )
        columns = {}
        before = frozenset(int(one[1:]) for one in schema.names if one[:1] == "b" and one[1:].isdigit())
        for column in schema:
            number, _, rest = column.name.partition("_")
            if rest and number[:1] == "f" and number[1:].isdigit():
                kind = "TIMESTAMP" if pa.types.is_timestamp(column.type) else _OF_ARROW.get(str(column.type))
                if kind is None:
                    raise StateDamaged(_damaged(self.sync, path))
                columns[int(number[1:])] = (column.name, kind)
        return StateFile(path, columns, before, rows)

    # --- where another kind of state lies elsewhere --------------------------------------------------------------

    def keep(self, path: Path) -> None:
        """Make a file durable before its name is of any use. On this disk it is already, since it was written."""

    def read(self, source: Source, canon: Canon, limits: Limits, inputs: Inputs, only: Sequence[str]) -> Read:
        """The source's rows, all of them or those that may differ (of some keys only, if it likes), for a comparison.

        Raises what `Source.read` raises.
        """
        return Read(source.read(canon.sync, canon.sync.columns), inputs)

    def here(self, name: str) -> Path:
        """Where a file of the state can be read."""
        return self.folder / name

    def compact(self, control: Control) -> None:
        """Leave no value behind that was forgotten. Here a fold has written everything anew."""

    def opened(self, inputs: Inputs, keys: Sequence[str] | None = None) -> Inputs:
        """The same, with a base whose rows can be read: those of these keys at least."""
        return inputs

    def is_to_be_folded(self, control: Control, standing: Standing) -> bool:
        """Whether plans have grown so large beside the base, or so many, that a new base is worth its price."""
        overlay = sum(len(one.codes) for one in standing.plans)
        return bool(standing.plans) and (
            overlay > standing.base_rows * FOLD_SHARE or control.closed_plans(self.sync) > FOLD_PLANS_MAX
        )

    def fold(
        self,
        control: Control,
        inputs: Inputs,
        slots: Sequence[Slot],
        matches: int,
        connection: duckdb.DuckDBPyConnection,
    ) -> None:
        """Write the state as of now into a new base, and let go of the plans. Any instant may be the last one:
        until the commit the old base and plans are valid, after it the new base is."""
        if inputs.standing.sync_id is None:
            return
        path = self.fresh("base")
        with state_is_readable(self.sync, inputs.files):
            Relation(connection, matches).attach(inputs.base, inputs.plans, slots)
            rows = write_parquet(connection, _AS_BASE, path, {"sync": self.sync, "kind": "base"}, OFTEN)
        control.fold(inputs.standing.sync_id, path.name, rows, inputs.standing.base_file)

    def whole(
        self, connection: duckdb.DuckDBPyConnection, slots: Sequence[Slot], matches: int
    ) -> tuple[str | None, int]:
        """Write the view `state` of a connection as a base that nobody names yet; its name, and its records."""
        self.make()
        path = self.fresh("base")
        rows = write_parquet(connection, _AS_BASE, path, {"sync": self.sync, "kind": "base"}, OFTEN)
        return path.name, rows

    def leave(self) -> None:
        """Delete every value here: they have been moved."""
        for file in self.folder.glob("*.parquet"):
            file.unlink(missing_ok=True)

    def refuse_elsewhere(self, standing: Standing) -> None:
        """Raises StateDamaged when the values lie in another kind of state than the config says now."""
        if standing.base_file and standing.base_file.startswith("{"):
            raise StateDamaged(
                f"The values of {self.sync} lie in BigQuery, and `state.type` says local. Write "
                '[state] type = "bigquery" as it was, or move them with `syncer state move`.'
            )

    def known(self, control: Control, matches: int) -> int:
        """How many records are known: rows of the state as of now."""
        standing = control.standing(self.sync)
        base, plans = self.known_files(standing)
        if not plans:
            return base.rows if base else 0
        files = [*([base] if base else []), *(file for _, file in plans)]
        with duckdb.connect(":memory:") as connection, state_is_readable(self.sync, files):
            Relation(connection, matches).attach(base, plans, [])
            return int(connection.execute("SELECT count(*) FROM state").fetchall()[0][0])

    def forget_keys(self, control: Control, keys: Sequence[str], connection: duckdb.DuckDBPyConnection) -> int:
        """Drop what is remembered of some keys, so that they are sent again; returns how many were known.

        The caller holds the sync. It is a fold that leaves rows out, so it is as safe as one.
        """
        standing = control.standing(self.sync)
        if standing.sync_id is None:
            return 0
        base, plans = self.known_files(standing)
        files = [*(file for _, file in reversed(plans)), *([base] if base else [])]
        slots = slots_in(standing, files)
        before = Relation(connection, matches_in(standing)).attach(base, plans, slots)
        if not before:
            return 0
        connection.register("forgotten", pa.table({"key": pa.array(list(keys), pa.string())}))
        query = f"{_AS_BASE} WHERE key NOT IN (SELECT key FROM forgotten)"
        path = self.fresh("base")
        total = int(connection.execute("SELECT count(*) FROM state").fetchall()[0][0])
        with state_is_readable(self.sync, files):
            rows = write_parquet(connection, query, path, {"sync": self.sync, "kind": "base"}, OFTEN)
        control.fold(standing.sync_id, path.name, rows, standing.base_file)
        control.drop(self.sync, keys)
        return total - rows


class Vanished(StateDamaged):
    """A named file is not there: folded away by the daemon between two looks, or lost."""

    def __init__(self, path: Path, sentence: str = "") -> None:
        super().__init__(
            sentence
            or f"The state file {path} is missing. Restore it from a backup; or run `syncer forget` for the sync, "
            "after which everything is sent again."
        )


def look_again(look: Callable[[], Found]) -> Found:
    """What a reader without the lock finds. A daemon that folds files away under it names new ones, so it starts again.

    Raises Vanished when a file is missing on each look, and what `look` raises.
    """
    for _ in range(LOOKS_MAX - 1):
        with contextlib.suppress(Vanished):
            return look()
    return look()


class Relation:
    """The state as of now, as a relation in a DuckDB connection.

    After `attach` the connection has a view `state` with the columns key, m0…, _version, _sent, _doubt, _foreign,
    every slot's column, and _rid, a number that identifies the row. A bit of _foreign says that the value is of
    another family than the slot is today, as after a column of numbers became one of texts: it is null here, and
    differs from anything.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, matches: int) -> None:
        self._db = connection
        self._matches = matches

    def attach(
        self,
        base: StateFile | None,
        plans: Sequence[tuple[PlanFile, StateFile]],
        slots: Sequence[Slot],
        key: str | None = None,
    ) -> bool:
        """Make the view; says whether there is anything in it (false: nothing was ever accepted).

        With `key`, only that record need be right, which is quicker: what plans say of others is left out.
        """
        self._slots = list(slots)
        parts = []
        if plans:
            self._overlay(plans, "" if key is None else f" AND p.key = {sql.literal(key)}")
        if base:
            parts.append(
                f"SELECT {self._columns(base)}, file_row_number AS _rid "
                f"FROM read_parquet({sql.literal(str(base.path))}, file_row_number = true) AS p "
                + ("ANTI JOIN overlay ON overlay.key = p.key" if plans else "")
            )
        if plans:
            names = ", ".join(sql.name(column) for column in self._names())
            parts.append(f"SELECT {names}, _rid FROM overlay WHERE NOT _gone")
        if not parts:
            empty = ", ".join(f"NULL::{kind} AS {sql.name(column)}" for column, kind in self._typed_names())
            parts.append(f"SELECT {empty}, NULL::BIGINT AS _rid WHERE FALSE")
        self._db.execute(f"CREATE OR REPLACE TEMP VIEW state AS {' UNION ALL BY NAME '.join(parts)}")
        return bool(base or plans)

    def _typed_names(self) -> list[tuple[str, str]]:
        fixed = [("key", "VARCHAR"), *((f"m{number}", "VARCHAR") for number in range(self._matches))]
        fixed += [("_version", "VARCHAR")]
        fixed += [("_sent", "BIGINT"), ("_doubt", "BIGINT"), ("_foreign", "BIGINT")]
        return [*fixed, *((slot.column, slot.sql_type) for slot in self._slots)]

    def _names(self) -> list[str]:
        return [name for name, _ in self._typed_names()]

    def _columns(
        self, file: StateFile, *, sent: str = "_sent", doubt: str = "_doubt", is_unknown: str | None = None
    ) -> str:
        """SELECT list that brings a file's columns to today's slots and types. A null is of every family.

        Where `is_unknown` holds (a plan's row was sent, and nobody knows what became of it), a relation is what was
        there before and what was sent, together.
        """
        listed = ["p.key", *(f"p.m{number}" for number in range(self._matches)), "p._version"]
        values, foreign = [], []
        for slot in self._slots:
            column, kind = file.columns.get(slot.number, (None, None))
            if column is None or kind is None:
                values.append(f"NULL::{slot.sql_type} AS {sql.name(slot.column)}")
            elif is_unknown and is_relation(slot.name) and slot.number in file.before:
                after, before = f"p.{sql.name(column)}", f"p.b{slot.number}"
                values.append(
                    f"CASE WHEN {is_unknown} THEN {united(after, before)} ELSE {after} END AS {sql.name(slot.column)}"
                )
            elif FAMILY[kind] == FAMILY[slot.sql_type]:
                values.append(f"p.{sql.name(column)}::{slot.sql_type} AS {sql.name(slot.column)}")
            else:
                values.append(f"NULL::{slot.sql_type} AS {sql.name(slot.column)}")
                foreign.append(f"CASE WHEN p.{sql.name(column)} IS NOT NULL THEN {slot.bit}::BIGINT ELSE 0 END")
        if file.has_foreign:
            foreign.append("p._foreign")
        bits = [f"({sent}) AS _sent", f"({doubt}) AS _doubt", f"({' | '.join(foreign) or '0::BIGINT'}) AS _foreign"]
        return ", ".join([*listed, *bits, *values])

    def _overlay(self, plans: Sequence[tuple[PlanFile, StateFile]], wanted: str) -> None:
        parts = []
        for number, (plan, file) in enumerate(plans):
            codes = pa.Array.from_buffers(pa.uint8(), len(plan.codes), [None, pa.py_buffer(plan.codes)])
            positions = _arrow.arange(0, len(plan.codes))
            self._db.register(f"codes_{number}", pa.table({"position": positions, "code": codes}))
            columns = self._columns(
                file,
                sent="p._sent | p._mask",
                doubt=f"CASE c.code WHEN {Code.ACCEPTED} THEN p._doubt & ~p._mask ELSE p._doubt | p._mask END",
                is_unknown=f"c.code = {Code.UNKNOWN}",
            )
            parts.append(
                f"SELECT {columns}, {number} AS _plan, (p._op = 3 AND c.code = {Code.ACCEPTED}) AS _gone, "
                f"p._op = {NEW} AS _is_new, "
                f"-1 - ({number}::BIGINT << 40) - p.file_row_number AS _rid "
                f"FROM read_parquet({sql.literal(str(file.path))}, file_row_number = true) AS p "
                f"JOIN codes_{number} AS c ON c.position = p.file_row_number "
                f"WHERE c.code IN ({Code.UNKNOWN}, {Code.ACCEPTED}){wanted}"
            )
        self._db.execute(f"CREATE OR REPLACE TEMP TABLE rows_of_plans AS {' UNION ALL BY NAME '.join(parts)}")
        if len(parts) == 1:
            # A key is in a plan once, so there is nothing to choose.
            self._db.execute("CREATE OR REPLACE TEMP VIEW overlay AS SELECT * FROM rows_of_plans")
            return
        # The newest row of each key is found among narrow rows; the wide ones are not sorted for it.
        self._db.execute(
            "CREATE OR REPLACE TEMP TABLE newest AS SELECT key, max(_plan) AS _plan FROM rows_of_plans GROUP BY key"
        )
        self._db.execute(
            "CREATE OR REPLACE TEMP VIEW overlay AS SELECT p.* FROM rows_of_plans p "
            "SEMI JOIN newest n ON n.key = p.key AND n._plan = p._plan"
        )


_AS_BASE = "SELECT * EXCLUDE (_rid, _foreign) REPLACE ((_doubt | _foreign) AS _doubt) FROM state"
"""What a new base holds. What a foreign value was is lost with its type, so the field is in doubt from then on."""


def slots_in(standing: Standing, files: Sequence[StateFile]) -> list[Slot]:
    """The slots of every field that the files (the newest first) hold."""
    return [Slot(number, name, kind) for name, number in standing.slots.items() if (kind := stored_type(number, files))]


def matches_in(standing: Standing) -> int:
    """By how many identifiers the records of a state are found."""
    return len(json.loads(standing.identity or "{}").get("match", {"": ""}))


def stored_type(slot: int, files: Sequence[StateFile]) -> str | None:
    """The canonical type in which files (the newest first) hold a slot, None when none does. Whole numbers in one
    file and others in the next are doubles."""
    kinds = [file.columns[slot][1] for file in files if slot in file.columns]
    if not kinds:
        return None
    return "DOUBLE" if FAMILY[kinds[0]] == "number" and "DOUBLE" in kinds else kinds[0]


@contextlib.contextmanager
def state_is_readable(sync: str, files: Sequence[StateFile]) -> Iterator[None]:
    """Turn what DuckDB says of a state file that it cannot read into StateDamaged, or Vanished when it is gone.

    A file's end is read when it is opened; damage in its middle shows up here.
    """
    try:
        yield
    except duckdb.Error as error:
        gone = next((file.path for file in files if not file.path.exists()), None)
        if gone is not None:
            raise Vanished(gone) from None
        damaged = next((file.path for file in files if not _is_whole(file.path)), None)
        if damaged is not None:
            raise StateDamaged(_damaged(sync, damaged)) from None
        if isinstance(error, duckdb.OutOfMemoryException):
            raise StateDamaged(
                f"{sync}: comparing needs more memory or disk than there is. Nothing was sent."
            ) from None
        if isinstance(error, duckdb.IOException):
            # The files are whole, so it is what DuckDB puts aside that finds no place.
            raise StateDamaged(
                f"{sync}: comparing failed ({str(error).splitlines()[0]}). Is the disk full? Nothing was sent."
            ) from None
        raise


QUICK = "COMPRESSION lz4_raw, PARQUET_VERSION v2"
"""How Parquet files are packed that are read soon, and by us."""
OFTEN = f"{QUICK}, ROW_GROUP_SIZE {4 * 122_880}"
"""How a base is packed, which is read twice a night, whole: four times DuckDB's groups are a tenth smaller, and read in
a sixth less time, for each group has its own dictionaries."""


def write_parquet(
    connection: duckdb.DuckDBPyConnection, query: str, path: Path, facts: Mapping[str, object], packed: str = QUICK
) -> int:
    """Write a query's rows to a new file, synced with its folder before its name is of any use; returns the rows.

    Raises StateDamaged when the disk is full or refuses, and duckdb.Error when the query itself fails.
    """
    temporary = path.with_name(path.name + ".tmp")
    meta = json.dumps({"format": FORMAT, **facts})
    try:
        count = connection.execute(
            f"COPY ({query}) TO {sql.literal(str(temporary))} (FORMAT parquet, {packed}, "
            f"KV_METADATA {{syncer: {sql.literal(meta)}}})"
        ).fetchall()[0][0]
        folders.keep(temporary, path)
    except (duckdb.Error, OSError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        text = str(error).splitlines()[0]
        if isinstance(error, duckdb.Error) and not (isinstance(error, duckdb.IOException) and temporary.name in text):
            # It is the query that failed, and not the writing.
            raise
        raise StateDamaged(
            f"{path.parent} cannot be written ({text}); is the disk full? Nothing leaves before it can."
        ) from None
    return int(count)


def _is_whole(path: Path) -> bool:
    """Whether every value of a Parquet file can be read."""
    try:
        with pq.ParquetFile(path) as file:
            for _ in file.iter_batches():
                pass
    except (pa.ArrowException, OSError, ValueError):
        return False
    return True


def _damaged(sync: str, path: Path) -> str:
    return (
        f"The state file {path} is damaged. Restore it from a backup; or run `syncer forget {sync}`, "
        "after which everything is sent again."
    )
