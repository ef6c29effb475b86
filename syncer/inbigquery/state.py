"""The state of one sync in BigQuery.

Its plans and its history are files here, as they are with a state on disk, and each is a table there before it is of
any use; a process that has none of the files brings them from there. The values are a base table and a log of what
was accepted since (`version`). What the outcomes of closed plans come to goes up into the log by one load job, and
then the control store says so in one commit: until then the plans say it, after it the log does.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa
from google.cloud import bigquery

from syncer import sql
from syncer.calculator import calculator, temporary_folder
from syncer.canonical import Canon
from syncer.compare import slots_of
from syncer.control import Control, PlanFile, Standing
from syncer.destination import Limits
from syncer.errors import StateDamaged
from syncer.inbigquery import statement
from syncer.inbigquery.narrowing import Narrowing, source_rows
from syncer.inbigquery.statement import EMPTY, Comparison, Stored
from syncer.inbigquery.tables import Dataset
from syncer.inbigquery.version import Version, new_mark
from syncer.mapping import Sync
from syncer.narrowed import Read
from syncer.plan import Slot
from syncer.source import Source
from syncer.state import (
    GARBAGE_SECONDS,
    Inputs,
    Relation,
    State,
    StateFile,
    matches_in,
    slots_in,
    state_is_readable,
    write_parquet,
)

STAGE_SECONDS = 3600.0
"""So long a comparison may take; what it had put aside is then left over."""


@dataclass(frozen=True, slots=True)
class Base(StateFile):
    """The state's tables as a comparison needs to know them: which columns, of which types. It has no rows here."""

    stored: Stored = EMPTY


class BigQueryState(State):
    """See `State`. `folder` keeps copies that may be lost."""

    def __init__(self, folder: Path, sync: Sync, dataset: Dataset) -> None:
        super().__init__(folder, sync.name)
        self._mapped = sync
        self._dataset = dataset
        digest = hashlib.sha256(sync.name.encode()).hexdigest()[:6]
        self._prefix = f"{re.sub('[^A-Za-z0-9]', '_', sync.name)[:60]}_{digest}_"

    # --- files, which are tables too -----------------------------------------------------------------------------

    def keep(self, path: Path) -> None:
        """Make a file a table. Raises StateDamaged, ServiceUnavailable and UserError."""
        self._dataset.put(path, self._table(path.name))

    def here(self, name: str) -> Path:
        """A file of the state, brought from its table when it is not here."""
        path = self.folder / name
        if not path.exists():
            self._dataset.fetch(self._mapped, self._table(name), path)
        return path

    def file(self, name: str) -> StateFile:
        """See `State.file`."""
        self.here(name)
        return super().file(name)

    def clean(self, control: Control, garbage_seconds: float = GARBAGE_SECONDS) -> None:
        """Delete what a killed process left behind, and garbage of that age, here and there."""
        # What is there is listed first: a file of a process that has taken the sync over meanwhile is not among it.
        there, files = self._dataset.tables(self._prefix), list(self.folder.glob("*.parquet*"))
        garbage = [name for name in control.garbage(garbage_seconds) if self._is_ours(name, there)]
        named = control.referenced(self.sync)
        needed = {table for name in named - set(garbage) for table in self._tables_of(name)}
        young = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=STAGE_SECONDS)
        for table in there.keys() - needed:
            # A `diff` without the lock may be reading what it has put aside.
            if "_stage_" not in table or there[table] < young:
                self._dataset.drop(table)
        for file in files:
            if file.name in garbage or file.name not in named:
                file.unlink(missing_ok=True)
        self.sweep()
        control.collected(garbage)

    # --- the state as of now ---------------------------------------------------------------------------------------

    def known_files(self, standing: Standing) -> tuple[StateFile | None, list[tuple[PlanFile, StateFile]]]:
        """The tables, and the plans whose outcomes they do not have yet. Raises what `keep` raises, and Vanished."""
        stored = self._stored(standing)
        base = None
        if stored.version.tables:
            columns = {
                number: (f"f{number}", kind)
                for number in standing.slots.values()
                if (kind := stored.kind(number)) is not None
            }
            base = Base(self.folder / "no-such-file", columns, frozenset(), standing.base_rows, stored=stored)
        return base, [(plan, self.file(plan.file)) for plan in standing.plans]

    def read(self, source: Source, canon: Canon, limits: Limits, inputs: Inputs, only: Sequence[str]) -> Read:
        """The rows that may differ; see `narrowed`."""
        dataset, sync = self._dataset, canon.sync
        slots, retired = slots_of(canon, inputs)
        described = dataset.source.described(sync, sync.columns)
        rows, made = source_rows(sync, described)
        stage = None
        if not described.is_plain:
            # What a view or a query gives may be another thing each time it is asked, and is paid each time.
            stage = f"{self._prefix}stage_{time.time_ns():x}"
            dataset.ready()
            dataset.do(sync, statement.staged(f"`{dataset.name}.{stage}`", rows), "stage")
            rows = f"SELECT {', '.join(one.sql for one in made.values())} FROM `{dataset.name}.{stage}`"
        stored = replace(_stored_in(inputs), matches=len(sync.match), dataset=dataset.name)
        pending = [self._table(plan.file) for plan, _ in inputs.plans]
        comparison = Comparison(canon, limits, slots, retired, rows, made, stored, pending, bool(only))
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        narrowing = Narrowing(dataset, comparison, sync, self.folder)
        reading, narrowed_inputs = narrowing.begin(only, inputs)
        if stage is not None:
            end, name = reading.ending, stage

            def finish() -> None:
                if end is not None:
                    end()
                dataset.drop(name)

            reading.ending = finish
        return Read(reading, narrowed_inputs, narrowing)

    def opened(self, inputs: Inputs, keys: Sequence[str] | None = None) -> Inputs:
        """See `State.opened`: the rows travel into a file here, of which the next run rids the folder."""
        if inputs.base is None:
            return inputs
        stored = _stored_in(inputs)
        slots = slots_in(inputs.standing, [inputs.base])
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / f"spool-state-{time.time_ns():x}.parquet"
        parameters = [] if keys is None else [bigquery.ArrayQueryParameter("keys", "STRING", list(keys))]
        text = statement.rows_of(stored, slots, is_keyed=keys is not None)
        reading = self._dataset.ask(self._mapped, text, "state", parameters)
        fixed = ", ".join([*(name for name, _ in stored.fixed), "_foreign"])
        values = "".join(
            f", o{slot.number}{'::TIMESTAMP' if slot.sql_type == 'TIMESTAMP' else ''} AS {sql.name(slot.column)}"
            for slot in slots
        )
        try:
            with temporary_folder("syncer-") as folder, calculator(folder) as connection:
                connection.register("arriving", reading.batches)
                query = f"SELECT {fixed}{values} FROM arriving"
                rows = write_parquet(connection, query, path, {"sync": self.sync, "kind": "base"})
        finally:
            reading.close()
        columns = {slot.number: (slot.column, slot.sql_type) for slot in slots}
        return replace(inputs, base=StateFile(path, columns, frozenset(), rows, has_foreign=True))

    def known(self, control: Control, matches: int) -> int:
        """How many records were known when the last plan was taken in; asks BigQuery nothing."""
        return control.standing(self.sync).base_rows

    # --- taking in what was accepted -------------------------------------------------------------------------------

    def is_to_be_folded(self, control: Control, standing: Standing) -> bool:
        """What was accepted goes into the log at the end of each run."""
        return bool(standing.plans)

    def fold(
        self,
        control: Control,
        inputs: Inputs,
        slots: Sequence[Slot],
        matches: int,
        connection: duckdb.DuckDBPyConnection,
    ) -> None:
        """Append what the outcomes of the plans come to to the log, and fold that into a new base when it has grown."""
        if inputs.standing.sync_id is None:
            return
        with state_is_readable(self.sync, [file for _, file in inputs.plans]):
            Relation(connection, matches).attach(None, inputs.plans, slots)
            arrived = self._number(connection, f"SELECT count(*) FROM overlay WHERE NOT _gone AND key IN ({_NEW})")
            gone = self._number(connection, "SELECT count(*) FROM overlay WHERE _gone")
            self._take_in(control, inputs, slots, matches, connection, _OVERLAY, arrived - gone)

    def whole(
        self, connection: duckdb.DuckDBPyConnection, slots: Sequence[Slot], matches: int
    ) -> tuple[str | None, int]:
        """See `State.whole`: the records are the first load of a log."""
        query = "SELECT * EXCLUDE (_rid, _foreign) REPLACE ((_doubt | _foreign) AS _doubt), FALSE AS _gone FROM state"
        version = self._logged(replace(EMPTY, matches=matches), slots, connection, query)
        return version.text, sum(rows for _, rows in version.marks)

    def leave(self) -> None:
        """See `State.leave`."""
        for table in self._dataset.tables(self._prefix):
            self._dataset.drop(table)

    def refuse_elsewhere(self, standing: Standing) -> None:
        """See `State.refuse_elsewhere`."""
        if standing.base_file and not standing.base_file.startswith("{"):
            raise StateDamaged(
                f"The values of {self.sync} lie on the disk, and `state.type` says bigquery. Write "
                '[state] type = "local" as it was, or move them with `syncer state move`.'
            )

    def forget_keys(self, control: Control, keys: Sequence[str], connection: duckdb.DuckDBPyConnection) -> int:
        """See `State.forget_keys`: the log says of each key that there is no such record."""
        standing = control.standing(self.sync)
        if standing.sync_id is None:
            return 0
        inputs = Inputs(standing, *self.known_files(standing), [])
        opened = self.opened(inputs, keys)
        slots, matches = slots_in(standing, opened.files), matches_in(standing)
        connection.register("forgotten", pa.table({"key": pa.array(list(dict.fromkeys(keys)), pa.string())}))
        with state_is_readable(self.sync, opened.files):
            if not Relation(connection, matches).attach(opened.base, opened.plans, slots):
                return 0
            known = self._number(connection, "SELECT count(*) FROM state WHERE key IN (SELECT key FROM forgotten)")
            fixed = replace(_stored_in(inputs), matches=matches).fixed[1:]
            empty = [f"NULL::VARCHAR AS {name}" for name, kind in fixed if kind == "STRING"]
            empty += [f"NULL::{slot.sql_type} AS {sql.name(slot.column)}" for slot in slots]
            query = f"SELECT key, 0 AS _sent, 0 AS _doubt, TRUE AS _gone, {', '.join(empty)} FROM forgotten"
            if opened.plans:
                query += f" UNION ALL BY NAME {_OVERLAY} WHERE key NOT IN (SELECT key FROM forgotten)"
            self._take_in(control, inputs, slots, matches, connection, query, -known)
        control.drop(self.sync, keys)
        return known

    def compact(self, control: Control) -> None:
        """Fold the log into a new base now, so that no table in use holds what was forgotten. The caller holds the
        sync."""
        standing = control.standing(self.sync)
        version = Version.of(standing.base_file)
        if standing.sync_id is not None and version.log:
            stored = self._stored(standing)
            control.fold(standing.sync_id, self._folded(stored).text, standing.base_rows, standing.base_file)

    def _take_in(
        self,
        control: Control,
        inputs: Inputs,
        slots: Sequence[Slot],
        matches: int,
        connection: duckdb.DuckDBPyConnection,
        query: str,
        more: int,
    ) -> None:
        """Append rows to the log, perhaps fold, and commit. `more` is by how many records the state grows."""
        standing = inputs.standing
        stored = replace(_stored_in(inputs), matches=matches, dataset=self._dataset.name)
        version = self._logged(stored, slots, connection, query)
        if version.is_to_be_folded:
            values = frozenset(statement.column(slot.number, slot.sql_type) for slot in slots)
            version = self._folded(replace(stored, version=version, in_log=values | stored.in_log))
        control.fold(standing.sync_id or 0, version.text, max(standing.base_rows + more, 0), standing.base_file)

    def _logged(
        self, stored: Stored, slots: Sequence[Slot], connection: duckdb.DuckDBPyConnection, query: str
    ) -> Version:
        """Append a query's rows to the log, and what the state is with them. Until it is committed, nobody knows it."""
        version, mark = stored.version, new_mark()
        log = version.log or f"{self._prefix}log_{mark:x}"
        columns = {name: _DUCKDB[kind] for name, kind in stored.fixed} | {"_gone": "BOOLEAN", "_mark": "BIGINT"}
        values = {statement.column(slot.number, slot.sql_type): slot for slot in slots}
        # The schema of a load has to have every column that the table has.
        columns |= {name: slot.sql_type for name, slot in values.items()}
        columns |= {name: statement.duckdb_type(name) for name in stored.in_log if name not in values}
        made = {name: name for name in columns} | {"_mark": f"{mark}::BIGINT"}
        made |= {name: f"NULL::{columns[name]}" for name in stored.in_log}
        for name, slot in values.items():
            kind = "TIMESTAMPTZ" if slot.sql_type == "TIMESTAMP" else slot.sql_type
            made[name] = f"{sql.name(slot.column)}::{kind}"
        text = f"SELECT {', '.join(f'{one} AS {name}' for name, one in made.items())} FROM ({query}) ORDER BY key"
        rows = self._dataset.append(text, connection, log, f"{self._prefix}{mark:x}", columns)
        return version.logged(log, mark, rows)

    def _folded(self, stored: Stored) -> Version:
        """A new base table of the state as of now. Until it is committed, nobody knows it."""
        base = f"{self._prefix}base_{new_mark():x}"
        self._dataset.do(self._mapped, statement.folded(stored, base), "fold")
        return Version(base, self._dataset.rows(base))

    # --- names -----------------------------------------------------------------------------------------------------

    def _stored(self, standing: Standing) -> Stored:
        self.refuse_elsewhere(standing)
        version = Version.of(standing.base_file)

        def values(table: str | None) -> frozenset[str]:
            found = self._dataset.columns(table) if table else {}
            return frozenset(name for name in found if re.fullmatch(r"f\d+_[a-z]+", name))

        return Stored(version, matches_in(standing), values(version.base), values(version.log), self._dataset.name)

    def _table(self, file: str) -> str:
        """The table that stands for a file."""
        return self._prefix + re.sub("[^A-Za-z0-9_]", "_", file.removesuffix(".parquet"))

    def _tables_of(self, name: str) -> Iterator[str]:
        """The tables behind a name of the control store: a file's, or those of a version."""
        if name.startswith("{"):
            yield from Version.of(name).tables
        else:
            yield self._table(name)

    def _is_ours(self, name: str, there: Mapping[str, object]) -> bool:
        """Whether a piece of garbage is this sync's: the control store does not say whose it is."""
        if name.startswith("{"):
            return all(table.startswith(self._prefix) for table in Version.of(name).tables)
        return self._table(name) in there or (self.folder / name).exists()

    @staticmethod
    def _number(connection: duckdb.DuckDBPyConnection, query: str) -> int:
        return int(connection.execute(query).fetchall()[0][0])


def _stored_in(inputs: Inputs) -> Stored:
    """The tables of a state that was looked at."""
    return inputs.base.stored if isinstance(inputs.base, Base) else EMPTY


_OVERLAY = "SELECT * EXCLUDE (_rid, _foreign, _plan, _is_new) REPLACE ((_doubt | _foreign) AS _doubt) FROM overlay"
"""What the log gets. What a foreign value was is lost with its type, so the field is in doubt from then on."""
_NEW = "SELECT key FROM rows_of_plans WHERE _is_new"
_DUCKDB = {"STRING": "VARCHAR", "INT64": "BIGINT"}
