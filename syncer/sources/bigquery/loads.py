"""Rows that are appended to a table of BigQuery by load jobs, which are whole or not at all, and cost nothing."""

# Google's libraries are typed in part only, and grpc not at all.
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from google.api_core import exceptions as api
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery

from syncer.errors import ServiceUnavailable, SyncerError, UserError
from syncer.source import Source
from syncer.sources.bigquery.faults import FAULTS, TRANSIENT, JobFailed, Scene, message_of, reason_of, translated
from syncer.sources.bigquery.jobs import known_job, label, wait_for
from syncer.sources.bigquery.patience import Patience
from syncer.sources.bigquery.source import BigQuery

PATIENCE = Patience(repeat_seconds=20.0, conflict_seconds=20.0, job_seconds=60.0, job_attempts=3)
"""Nobody should have to wait for a log; what does not arrive goes with the next run."""

_TYPES = {"VARCHAR": "STRING", "BOOLEAN": "BOOLEAN", "TIMESTAMPTZ": "TIMESTAMP", "BIGINT": "INTEGER"}
"""Type in DuckDB → type in BigQuery."""


class Loads:
    """Load jobs under ids that the caller keeps, so that none is done twice, however often it is asked for."""

    def __init__(self, source: BigQuery, patience: Patience = PATIENCE) -> None:
        self._source = source
        self._patience = patience

    @classmethod
    def of(cls, source: Source) -> Loads:
        """Load jobs with the credentials and the project of a source."""
        if not isinstance(source, BigQuery):
            raise UserError("`delivered` needs a `path` when the source is not BigQuery.")
        return cls(source)

    def append(self, file: Path, table: str, append_id: str, columns: Mapping[str, str]) -> None:
        """Append a Parquet file's rows to a table, which is made when it is not there; once for each id.

        Raises ServiceUnavailable or UserError.
        """
        try:
            client = self._source.new_client()
            try:
                self._append(client, file, table, append_id, columns)
            finally:
                client.close()
        except FAULTS as error:
            raise self._told(error, table) from None

    def _append(
        self, client: bigquery.Client, file: Path, table: str, append_id: str, columns: Mapping[str, str]
    ) -> None:
        attempt = 0
        while True:
            attempt += 1
            # A job that failed has appended nothing, and its id is used up. Whoever repeats the append meets it again
            # and goes on from there.
            job = self._begun(client, f"syncer-delivered-{append_id}-{attempt}", file, table, columns)
            try:
                wait_for(job, self._patience, self._source.settings.timeout)
            except JobFailed as error:
                if reason_of(error) not in TRANSIENT or attempt >= self._patience.job_attempts:
                    raise
            else:
                return
            time.sleep(self._patience.pause(attempt))

    def _begun(
        self, client: bigquery.Client, job_id: str, file: Path, table: str, columns: Mapping[str, str]
    ) -> bigquery.LoadJob:
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
            create_disposition=bigquery.CreateDisposition.CREATE_IF_NEEDED,
            schema=[bigquery.SchemaField(name, _TYPES[kind]) for name, kind in columns.items()],
            time_partitioning=bigquery.TimePartitioning(field="accepted_at"),
            clustering_fields=["sync", "key"],
            labels={"app": "syncer", "log": label("delivered")},
        )
        with file.open("rb") as rows:
            try:
                return client.load_table_from_file(
                    rows,
                    table,
                    size=file.stat().st_size,
                    num_retries=0,
                    job_id=job_id,
                    job_config=config,
                    timeout=self._source.settings.timeout,
                )
            except api.Conflict:
                job: bigquery.LoadJob = known_job(client, job_id, self._patience, self._source.settings.timeout)
                return job

    def _told(self, error: Exception, table: str) -> SyncerError:
        settings = self._source.settings
        if isinstance(error, GoogleAuthError):
            scene = Scene("", settings.project, settings.location, settings.max_bytes_billed, settings.impersonate)
            return translated(error, scene)
        reason = reason_of(error)
        if reason == "accessDenied":
            return UserError(
                f"BigQuery refuses to write {table}. It needs the roles BigQuery Data Editor "
                "(roles/bigquery.dataEditor) on the dataset and BigQuery Job User (roles/bigquery.jobUser) on the "
                f"project {settings.project}."
            )
        if reason == "notFound":
            return UserError(f"{message_of(error)} Make the dataset of {table}, in {settings.location} as the source.")
        is_over = isinstance(error, JobFailed) and reason != "timeout"
        said = f"{reason}: {message_of(error)}" if reason == "invalid" else reason or "no answer"
        return ServiceUnavailable(f"BigQuery did not take the rows for {table} ({said}).", doubt=not is_over)
