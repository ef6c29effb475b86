"""The dataset of the state: its tables, each of which is written once, by load jobs, and read through the Storage API.

A table that stands for a file of the state has that file's rows, with their place in it, because a table has no order:
what a batch says of a record, it says of a place in a plan. A column of the file may have a name that no column of
BigQuery may have, so the name, and the type here, stand in the column's description.
"""

# Google's libraries are typed in part only.
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

import contextlib
import datetime
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
from google.api_core import exceptions as api
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery

from syncer import sql
from syncer.calculator import calculator, temporary_folder
from syncer.errors import Problem, ServiceUnavailable, SyncerError, UserError
from syncer.mapping import Sync
from syncer.source import Reading
from syncer.sources.bigquery import BigQuery, Patience
from syncer.sources.bigquery.faults import FAULTS, message_of, reason_of
from syncer.sources.bigquery.jobs import Parameter, label
from syncer.sources.bigquery.loads import load as load_file
from syncer.state import Vanished, write_parquet

POSITION = "_position"
TYPES = {
    "BIGINT": "INTEGER",
    "BOOLEAN": "BOOLEAN",
    "DATE": "DATE",
    "DOUBLE": "FLOAT",
    "INTEGER": "INTEGER",
    "SMALLINT": "INTEGER",
    "TIMESTAMP": "TIMESTAMP",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
    "TINYINT": "INTEGER",
    "VARCHAR": "STRING",
}
"""Type in DuckDB → type in BigQuery."""

PLAIN = "COMPRESSION snappy, PARQUET_VERSION v1"
"""BigQuery does not promise to read newer pages."""


class Dataset:
    """One dataset. Safe to use from several threads."""

    def __init__(self, source: BigQuery, name: str, patience: Patience | None = None) -> None:
        self.source = source
        self.name = name if "." in name else f"{source.settings.project}.{name}"
        self._patience = patience or source.patience
        self._lock = threading.Lock()
        self._is_ready = False

    # --- statements --------------------------------------------------------------------------------------------

    def ask(self, sync: Sync, text: str, step: str, parameters: Sequence[Parameter] = ()) -> Reading:
        """The rows of a statement. Raises ServiceUnavailable and UserError."""
        return self.source.ask(sync, text, step, parameters)

    def do(self, sync: Sync, text: str, step: str) -> None:
        """Run a statement that returns nothing. Raises ServiceUnavailable and UserError."""
        self.source.do(sync, text, step)

    # --- tables ------------------------------------------------------------------------------------------------

    def columns(self, table: str) -> dict[str, bigquery.SchemaField]:
        """A table's columns. Raises Vanished when there is no such table, ServiceUnavailable and UserError."""
        with self._client() as client:
            try:
                found = client.get_table(f"{self.name}.{table}", retry=self._patience.retry, timeout=self._timeout)
            except api.NotFound:
                raise self._vanished(table) from None
            return {one.name: one for one in found.schema}

    def rows(self, table: str) -> int:
        """How many rows a table has. Raises ServiceUnavailable and UserError."""
        with self._client() as client:
            found = client.get_table(f"{self.name}.{table}", retry=self._patience.retry, timeout=self._timeout)
            return int(found.num_rows)

    def tables(self, prefix: str) -> dict[str, datetime.datetime]:
        """Names of the tables that begin so, and when each was made."""
        with self._client() as client:
            try:
                listed = client.list_tables(self.name, retry=self._patience.retry, timeout=self._timeout)
                return {one.table_id: one.created for one in listed if one.table_id.startswith(prefix)}
            except api.NotFound:
                return {}

    def drop(self, table: str) -> None:
        """Delete a table, if it is there. Raises ServiceUnavailable and UserError."""
        with self._client() as client:
            client.delete_table(
                f"{self.name}.{table}", not_found_ok=True, retry=self._patience.retry, timeout=self._timeout
            )

    def ready(self) -> None:
        """Make the dataset if it is not there. Raises UserError when it lies elsewhere than the source."""
        with self._lock:
            if self._is_ready:
                return
            with self._client() as client:
                found = self._found(client)
                if found is None:
                    made = bigquery.Dataset(self.name)
                    made.location = self.source.settings.location
                    made.description = "What each destination of Syncer accepted last. Written by Syncer alone."
                    found = client.create_dataset(
                        made, exists_ok=True, retry=self._patience.retry, timeout=self._timeout
                    )
                self._refuse(found)
            self._is_ready = True

    def check(self) -> None:
        """Look whether the dataset is where it has to be, if it is there. Changes nothing. Raises UserError and
        ServiceUnavailable."""
        with self._client() as client:
            found = self._found(client)
        if found is not None:
            self._refuse(found)

    def _found(self, client: bigquery.Client) -> bigquery.Dataset | None:
        try:
            return client.get_dataset(self.name, retry=self._patience.retry, timeout=self._timeout)
        except api.NotFound:
            return None

    def _refuse(self, found: bigquery.Dataset) -> None:
        if found.default_table_expiration_ms:
            sentence = (
                f"The dataset {self.name} deletes its tables after {found.default_table_expiration_ms / 86_400_000:g} "
                "days, and the state with them. Take its default table expiration away, or write another name."
            )
            raise UserError([Problem("state.dataset", sentence)])
        location = self.source.settings.location
        if found.location and found.location.lower() != location.lower():
            sentence = (
                f"The dataset {self.name} lies in {found.location}, and the source in {location}: no query can read "
                "both. Write the name of another dataset, which Syncer makes where the source is."
            )
            raise UserError([Problem("state.dataset", sentence)])

    # --- rows --------------------------------------------------------------------------------------------------

    def append(
        self, query: str, connection: duckdb.DuckDBPyConnection, table: str, load: str, columns: Mapping[str, str]
    ) -> int:
        """Append a query's rows (in DuckDB) to a table, which is made when it is not there and gets columns that it
        does not have; returns how many. `columns` are names and types in DuckDB. A load of one id is done once.

        Raises StateDamaged, ServiceUnavailable and UserError.
        """
        fields = [bigquery.SchemaField(name, TYPES[kind]) for name, kind in columns.items()]
        with temporary_folder("syncer-") as folder:
            file = folder / "rows.parquet"
            rows = write_parquet(connection, query, file, {}, PLAIN)
            self._load(file, table, load, fields, is_whole=False)
        return rows

    def put(self, file: Path, table: str) -> None:
        """Keep a file of the state as a table; harmless when repeated.

        Raises StateDamaged, ServiceUnavailable and UserError.
        """
        with temporary_folder("syncer-") as folder, calculator(folder) as connection:
            path = f"read_parquet({sql.literal(str(file))}, file_row_number = true)"
            described = connection.sql(f"SELECT * EXCLUDE (file_row_number) FROM {path} LIMIT 0")
            fields: list[bigquery.SchemaField] = []
            selected = []
            for number, (name, kind) in enumerate(zip(described.columns, described.types, strict=True)):
                column = re.sub("[^A-Za-z0-9_]", "_", name)[:200]
                if column.lower() in {one.name.lower() for one in fields}:
                    column += f"_{number}"
                cast = "::TIMESTAMPTZ" if str(kind) == "TIMESTAMP" else ""
                selected.append(f"{sql.name(name)}{cast} AS {column}")
                fields.append(bigquery.SchemaField(column, TYPES[str(kind)], description=json.dumps([name, str(kind)])))
            fields.append(bigquery.SchemaField(POSITION, "INTEGER"))
            rows = folder / "rows.parquet"
            query = f"SELECT {', '.join(selected)}, file_row_number AS {POSITION} FROM {path}"
            write_parquet(connection, query, rows, {}, PLAIN)
            self._load(rows, table, table, fields, is_whole=True)

    def fetch(self, sync: Sync, table: str, file: Path) -> None:
        """Bring a file of the state here, from its table. Raises Vanished when there is none, ServiceUnavailable,
        UserError and StateDamaged."""
        found = self.columns(table)
        columns = [(name, *json.loads(one.description)) for name, one in found.items() if name != POSITION]
        listed = ", ".join(
            f"{column}{'::TIMESTAMP' if kind == 'TIMESTAMP' else f'::{kind}'} AS {sql.name(name)}"
            for column, name, kind in columns
        )
        reading = self.ask(sync, f"SELECT {', '.join(found)} FROM `{self.name}.{table}`", "fetch")
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with temporary_folder("spool-", file.parent) as folder, calculator(folder) as connection:
                connection.register("fetched", reading.batches)
                query = f"SELECT {listed} FROM fetched ORDER BY {POSITION}"
                write_parquet(connection, query, file, {"sync": sync.name})
        finally:
            reading.close()

    def _load(
        self,
        file: Path,
        table: str,
        load: str,
        fields: Sequence[bigquery.SchemaField],
        *,
        is_whole: bool,
    ) -> None:
        self.ready()
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            create_disposition=bigquery.CreateDisposition.CREATE_IF_NEEDED,
            schema=list(fields),
            labels={"app": "syncer", "state": label(table)},
        )
        if is_whole:
            config.write_disposition = bigquery.WriteDisposition.WRITE_TRUNCATE
        else:
            config.write_disposition = bigquery.WriteDisposition.WRITE_APPEND
            config.schema_update_options = [bigquery.SchemaUpdateOption.ALLOW_FIELD_ADDITION]
            config.clustering_fields = ["key"]
        with self._client() as client:
            load_file(
                client, file, f"{self.name}.{table}", f"syncer-state-{load}", config, self._patience, self._timeout,
                tries=self._patience.job_attempts,
            )  # fmt: skip

    # --- the way there -----------------------------------------------------------------------------------------

    @property
    def _timeout(self) -> float:
        return self.source.settings.timeout

    @contextlib.contextmanager
    def _client(self) -> Iterator[bigquery.Client]:
        try:
            client = self.source.new_client()
            try:
                yield client
            finally:
                client.close()
        except FAULTS as error:
            raise self._told(error) from None

    def _told(self, error: BaseException) -> SyncerError:
        if isinstance(error, GoogleAuthError):
            return self.source.told(error)
        reason = reason_of(error)
        project = self.source.settings.project
        if reason == "accessDenied":
            sentence = (
                f"BigQuery refuses the state's dataset {self.name}. It needs the roles BigQuery Data Editor "
                "(roles/bigquery.dataEditor) on the dataset and BigQuery Job User (roles/bigquery.jobUser) on the "
                f"project {project}."
            )
            return UserError([Problem("state.dataset", sentence)])
        said = f"{reason}: {message_of(error)}" if reason in ("invalid", "quotaExceeded") else reason or "no answer"
        return ServiceUnavailable(
            f"BigQuery did not do what the state's dataset {self.name} needs ({said}). The next run tries again.",
            doubt=False,
        )

    def _vanished(self, table: str) -> Vanished:
        return Vanished(
            Path(table),
            f"The table {self.name}.{table} is missing, and the state needs it. BigQuery keeps what was deleted for "
            "some days (`bq cp`); or run `syncer forget` for the sync, after which everything is sent again.",
        )
