"""Rows that are appended to a table of BigQuery by load jobs, which are whole or not at all, and cost nothing."""

# Google's libraries are typed in part only, and grpc not at all.
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import requests
from google.api_core import exceptions as api
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery

from syncer.errors import ServiceUnavailable, SyncerError, UserError
from syncer.source import Source
from syncer.sources.bigquery.faults import FAULTS, TRANSIENT, JobFailed, message_of, reason_of
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
        timeout = self._source.settings.timeout
        try:
            client = self._source.new_client()
            try:
                config = _config(columns)
                load(client, file, table, f"syncer-delivered-{append_id}", config, self._patience, timeout)
            finally:
                client.close()
        except FAULTS as error:
            raise self._told(error, table) from None

    def _told(self, error: Exception, table: str) -> SyncerError:
        settings = self._source.settings
        if isinstance(error, GoogleAuthError):
            return self._source.told(error)
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


def load(
    client: bigquery.Client,
    file: Path,
    table: str,
    load_id: str,
    config: bigquery.LoadJobConfig,
    patience: Patience,
    timeout: float,
    *,
    tries: int = 1,
) -> None:
    """Load a file into a table, once for each id. An answer that gets lost is asked for again so many times; then
    whoever repeats the load finds the job. Raises JobFailed, and what the libraries raise."""
    attempt = 0
    while True:
        attempt += 1
        # A job that failed has loaded nothing, and its id is used up. Whoever repeats the load meets it again and goes
        # on from there.
        job = _begun(client, file, table, f"{load_id}-{attempt}", config, patience, timeout, tries)
        try:
            wait_for(job, patience, timeout)
        except JobFailed as error:
            if reason_of(error) not in TRANSIENT or attempt >= patience.job_attempts:
                raise
        else:
            return
        time.sleep(patience.pause(attempt))


def _begun(
    client: bigquery.Client,
    file: Path,
    table: str,
    job_id: str,
    config: bigquery.LoadJobConfig,
    patience: Patience,
    timeout: float,
    tries: int,
) -> bigquery.LoadJob:
    tried = 0
    while True:
        tried += 1
        try:
            with file.open("rb") as rows:
                return client.load_table_from_file(
                    rows,
                    table,
                    size=file.stat().st_size,
                    num_retries=0,
                    job_id=job_id,
                    job_config=config,
                    timeout=timeout,
                )
        except api.Conflict:
            job: bigquery.LoadJob = known_job(client, job_id, patience, timeout)
            return job
        except (api.ServerError, api.TooManyRequests, requests.ConnectionError, requests.Timeout):
            if tried >= tries:
                raise
        time.sleep(patience.pause(tried))


def _config(columns: Mapping[str, str]) -> bigquery.LoadJobConfig:
    return bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
        create_disposition=bigquery.CreateDisposition.CREATE_IF_NEEDED,
        schema=[bigquery.SchemaField(name, _TYPES[kind]) for name, kind in columns.items()],
        time_partitioning=bigquery.TimePartitioning(field="accepted_at"),
        clustering_fields=["sync", "key"],
        labels={"app": "syncer", "log": label("delivered")},
    )
