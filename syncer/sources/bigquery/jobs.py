"""Queries as jobs under ids of our own, so that an answer that got lost is found again and nothing is paid twice."""

from __future__ import annotations

import datetime
import re
import secrets
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

from google.api_core import exceptions as api
from google.cloud import bigquery

from syncer.errors import ServiceUnavailable
from syncer.source import RUN
from syncer.sources.bigquery.faults import TRANSIENT, JobFailed, reason_of
from syncer.sources.bigquery.patience import Patience

Job: TypeAlias = Any
"""A query or load job of the library."""
Parameter: TypeAlias = bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter
"""A value of a statement, by its name."""


def label(text: str) -> str:
    """Text as a label's value: lower case, at most 63 characters."""
    return re.sub(r"[^a-z0-9_-]", "_", text.lower())[:63]


class Jobs:
    """The query jobs of one read. Each has the labels `syncer-sync` and `syncer-run`, so that the warehouse's own list
    of jobs says what each sync, and each run, cost; what no run of the journal reads has the run `none`."""

    def __init__(
        self,
        client: bigquery.Client,
        sync: str,
        *,
        bytes_billed_max: int,
        timeout: float,
        patience: Patience,
    ) -> None:
        self._client = client
        run = RUN.get()
        self._labels = {"syncer-sync": label(sync), "syncer-run": "none" if run is None else str(run)}
        self._bytes_billed_max = bytes_billed_max
        self._timeout = timeout
        self._patience = patience
        started = datetime.datetime.now(datetime.UTC)
        read = f"{started:%Y%m%dT%H%M%S}{secrets.token_hex(4)}"
        self._id = f"{re.sub('[^A-Za-z0-9_-]', '-', sync)}_{read}"

    def analyse(self, sql: str, parameters: Sequence[Parameter] = ()) -> bigquery.QueryJob:
        """What the query would return and read; costs nothing and reads no row."""
        config = bigquery.QueryJobConfig(
            dry_run=True, use_query_cache=False, labels=self._labels, query_parameters=list(parameters)
        )
        return _of_a_query(
            self._client.query(
                sql, job_config=config, retry=self._patience.retry, timeout=self._timeout, job_retry=None
            )
        )

    def run(self, sql: str, step: str, parameters: Sequence[Parameter] = ()) -> bigquery.QueryJob:
        """The finished job; a passing failure is repeated under the next attempt's id. Raises JobFailed."""
        attempt = 0
        while True:
            attempt += 1
            job_id = f"{self._id}_{step}_{attempt}"
            try:
                job = self._begun(job_id, sql, parameters)
                wait_for(job, self._patience, self._timeout)
            except (api.GoogleAPICallError, JobFailed) as error:
                if reason_of(error) not in TRANSIENT or attempt >= self._patience.job_attempts:
                    raise
            else:
                return job
            time.sleep(self._patience.pause(attempt))

    def _begun(self, job_id: str, sql: str, parameters: Sequence[Parameter]) -> bigquery.QueryJob:
        config = bigquery.QueryJobConfig(
            labels=self._labels,
            use_query_cache=False,
            maximum_bytes_billed=self._bytes_billed_max,
            job_timeout_ms=round(self._patience.job_seconds * 1000),
            query_parameters=list(parameters),
        )
        try:
            job = self._client.query(
                sql,
                job_id=job_id,
                job_config=config,
                location=self._client.location,
                retry=self._patience.retry,
                timeout=self._timeout,
                job_retry=None,
            )
        except api.Conflict:
            return self._known(job_id, sql)
        return _of_a_query(job)

    def _known(self, job_id: str, sql: str) -> bigquery.QueryJob:
        job = known_job(self._client, job_id, self._patience, self._timeout)
        if not isinstance(job, bigquery.QueryJob) or job.query != sql:
            raise ServiceUnavailable(
                f"BigQuery has another job of the id {job_id}. The next run takes another id.", doubt=False
            )
        return job


def _of_a_query(job: object) -> bigquery.QueryJob:
    """The job, which the library takes from the answer, whatever sort of job that speaks of."""
    if not isinstance(job, bigquery.QueryJob):
        raise ServiceUnavailable(
            "BigQuery answered a query with a job of another sort. The next run tries again.", doubt=False
        )
    return job


def known_job(client: bigquery.Client, job_id: str, patience: Patience, timeout: float) -> Job:
    """The job that an answer which got lost was about; for a while BigQuery may deny that there is one."""
    deadline = time.monotonic() + patience.conflict_seconds
    tries = 0
    while True:
        tries += 1
        try:
            return client.get_job(job_id, location=client.location, retry=patience.retry, timeout=timeout)
        except api.NotFound:
            if time.monotonic() > deadline:
                raise
        time.sleep(patience.pause(tries))


def wait_for(job: Job, patience: Patience, timeout: float) -> None:
    """Wait for a job's end. Raises JobFailed."""
    # Not `job.result()`: it gives every request the time of the whole wait, and one that gets no answer hangs.
    deadline = time.monotonic() + patience.job_seconds
    polls = 0
    while not job.done(retry=patience.retry, timeout=timeout):
        if time.monotonic() > deadline:
            job.cancel(retry=patience.retry, timeout=timeout)
            raise JobFailed({"reason": "timeout"})
        polls += 1
        time.sleep(min(patience.pause(polls), 5.0))
    if job.error_result:
        raise JobFailed(job.error_result)
