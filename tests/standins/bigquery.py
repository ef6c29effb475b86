"""The REST half of the BigQuery stand-in: tables, pages of rows, and query jobs, for the real client over loopback.

Jobs take ids of the caller, run for as many polls as they are told, fail on order, and are answered in their
own location only. Files are loaded as Parquet, in one piece or resumably. What it cannot show is told in
`bigquery_warehouse`; beyond that it knows no slots, quotas, sessions, scripts or copies, and everybody may do
everything that `denied` does not name.
"""

from __future__ import annotations

import email
import json
import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from destinations.standins.server import Answer, Request, StandIn, Table
from tests.standins.bigquery_warehouse import Refused, Stored, Warehouse, encoded

MIB = 2**20


@dataclass
class Job:
    """A query or load job, as the service keeps it."""

    body: dict[str, Any]
    location: str
    polls_left: int
    failure: dict[str, str] | None = None
    result: Stored | None = None
    is_cancelled: bool = False
    bytes_processed: int = 0

    @property
    def is_done(self) -> bool:
        return self.polls_left <= 0 or self.is_cancelled

    @property
    def bytes_billed(self) -> int:
        # Rounded up to a whole MiB, ten of them at least.
        return 0 if self.failure else max(10, -(-self.bytes_processed // MIB)) * MIB


@dataclass
class Switches:
    """What goes otherwise than well."""

    running_polls: int = 0
    """For how many questions a new job says RUNNING."""
    failures: deque[dict[str, str]] = field(default_factory=deque)
    """`errorResult` of the jobs to come, one each."""
    denied: set[str] = field(default_factory=set)
    """Permissions that the caller does not have."""
    hidden_polls: int = 0
    """For how many questions a job that exists is not found."""
    bytes_processed: int = 20 * MIB
    bytes_estimated: int | None = None
    """What a dry run says, where it is not what will be processed."""
    rows_claimed: int | None = None
    """What a table says instead of its number of rows."""


class BigQueryStandIn(StandIn):
    """One project of BigQuery in one location."""

    kind: ClassVar[str] = "bigquery"
    title: ClassVar[str] = "BigQuery"

    def __init__(self, warehouse: Warehouse | None = None) -> None:
        super().__init__()
        self.warehouse = warehouse or Warehouse()
        self.switches = Switches()
        self.jobs: dict[str, Job] = {}
        self.dry_runs: list[dict[str, Any]] = []
        self._uploads: dict[str, tuple[dict[str, Any], bytes]] = {}

    def settings(self) -> str:
        """The section `[source]` that reads from here, without the gRPC half."""
        return (
            f'type = "bigquery"\nproject = "{self.warehouse.project}"\nlocation = "{self.warehouse.location}"\n'
            f'endpoint = "{self.url}"\n'
        )

    def tables(self) -> list[Table]:
        """A source has no records of its own to show."""
        return []

    def seed(
        self,
        people: Iterable[Mapping[str, Any]],
        workspaces: Iterable[Mapping[str, Any]],
        accounts: Iterable[Mapping[str, Any]],
    ) -> None:
        """Tables are put into the warehouse instead."""

    def handle(self, request: Request) -> Answer:
        """Answer one call of the REST interface."""
        try:
            return self._route(request)
        except Refused as refused:
            return error(refused.status, refused.reason, refused.message)

    def _route(self, request: Request) -> Answer:
        match request.method, request.parts:
            case "GET", ["bigquery", "v2", "projects", project, "datasets", dataset, "tables", table]:
                return Answer(200, self._table(f"{project}.{dataset}.{table}"))
            case "GET", ["bigquery", "v2", "projects", project, "datasets", dataset, "tables", table, "data"]:
                return Answer(200, self._rows(self.warehouse.find(f"{project}.{dataset}.{table}"), request))
            case "POST", ["bigquery", "v2", "projects", project, "jobs"]:
                return self._insert(project, request)
            case "POST", ["upload", "bigquery", "v2", "projects", project, "jobs"]:
                return self._upload(project, request)
            case "PUT", ["upload", "bigquery", "v2", "projects", project, "jobs"]:
                return self._upload_piece(project, request)
            case "GET", ["bigquery", "v2", "projects", project, "jobs", job_id]:
                job = self._job(project, job_id, request)
                job.polls_left -= 1
                return Answer(200, self._state(job_id, job))
            case "POST", ["bigquery", "v2", "projects", project, "jobs", job_id, "cancel"]:
                job = self._job(project, job_id, request)
                job.is_cancelled = True
                job.failure = {"reason": "stopped", "message": "Job execution was cancelled."}
                return Answer(200, {"job": self._state(job_id, job)})
            case "GET", ["bigquery", "v2", "projects", project, "queries", job_id]:
                return Answer(200, self._results(job_id, self._job(project, job_id, request)))
        raise Refused(404, "notFound", f"no such method: {request.method} {request.path}")

    @property
    def _estimate(self) -> int:
        told = self.switches.bytes_estimated
        return self.switches.bytes_processed if told is None else told

    def _table(self, full_name: str) -> dict[str, Any]:
        self._permit("bigquery.tables.get", f"Table {full_name}")
        stored = self.warehouse.find(full_name)
        rows = stored.rows.num_rows if self.switches.rows_claimed is None else self.switches.rows_claimed
        answer: dict[str, Any] = {
            "kind": "bigquery#table",
            "etag": f"v{stored.version}",
            "id": full_name,
            "tableReference": {"projectId": stored.project, "datasetId": stored.dataset, "tableId": stored.name},
            "schema": {"fields": stored.fields},
            "type": stored.kind,
            "location": self.warehouse.location,
            "lastModifiedTime": str(int(stored.modified.timestamp() * 1000)),
        }
        if stored.kind == "TABLE":
            answer |= {"numRows": str(rows), "numBytes": str(stored.rows.nbytes)}
        if stored.is_streamed_into:
            answer["streamingBuffer"] = {"estimatedRows": "1", "estimatedBytes": "1", "oldestEntryTime": "0"}
        return answer

    def _rows(self, stored: Stored, request: Request) -> dict[str, Any]:
        self._permit("bigquery.tables.getData", f"Table {stored.full_name}")
        if stored.kind != "TABLE":
            raise Refused(400, "invalid", f"Cannot list a table of type {stored.kind}.")
        query = {name: values[0] for name, values in request.query.items()}
        paths = query["selectedFields"].split(",") if query.get("selectedFields") else []
        fields, rows = self.warehouse.selected(stored, paths)
        start = int(query.get("pageToken") or query.get("startIndex") or 0)
        count = min(int(query.get("maxResults") or 100_000), 100_000)
        integers = query.get("formatOptions.useInt64Timestamp", "").lower() == "true"
        page = [
            {"f": [{"v": encoded(row[column["name"]], column, timestamps_are_integers=integers)} for column in fields]}
            for row in rows.slice(start, count).to_pylist()
        ]
        answer: dict[str, Any] = {"kind": "bigquery#tableDataList", "totalRows": str(rows.num_rows), "rows": page}
        if start + count < rows.num_rows:
            answer["pageToken"] = str(start + count)
        return answer

    def _insert(self, project: str, request: Request) -> Answer:
        body = request.json()
        configuration = body["configuration"]
        reference = body.get("jobReference", {})
        self._permit("bigquery.jobs.create", f"Project {project}")
        self._look_at_labels(body)
        location = reference.get("location", "US")
        if location != self.warehouse.location:
            raise Refused(
                404, "notFound", f"Not found: Dataset {project}:activation was not found in location {location}"
            )
        query = configuration["query"]
        cap = query.get("maximumBytesBilled")
        if cap is not None and not str(cap).isdigit():
            raise Refused(400, "invalid", f"Invalid value at 'maximumBytesBilled': {cap!r}")
        if query.get("useLegacySql"):
            raise Refused(400, "invalid", "Legacy SQL is not spoken here.")
        if configuration.get("dryRun"):
            self.dry_runs.append(body)
            fields, kind = self.warehouse.analyse(query["query"])
            tables = [
                {"projectId": one.project, "datasetId": one.dataset, "tableId": one.name}
                for one in self.warehouse.referenced(query["query"])
            ]
            statistics = {"schema": {"fields": fields}, "statementType": kind, "referencedTables": tables}
            return Answer(200, self._shown(body, "DONE", self._estimate, statistics))
        job_id = reference.get("jobId", "")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,1024}", job_id):
            raise Refused(400, "invalid", f"Invalid job ID {job_id!r}.")
        if job_id in self.jobs:
            raise Refused(409, "duplicate", f"Already Exists: Job {project}:{location}.{job_id}")
        job = Job(body, location, self.switches.running_polls, bytes_processed=self.switches.bytes_processed)
        if self.switches.failures:
            job.failure = self.switches.failures.popleft()
        else:
            self._run(job, query)
        self.jobs[job_id] = job
        return Answer(200, self._state(job_id, job))

    # --- loading files ---------------------------------------------------------------------------------------------

    def _upload(self, project: str, request: Request) -> Answer:
        """The beginning of an upload, or in one piece the whole of it."""
        kind = (request.query.get("uploadType") or [""])[0]
        if kind == "multipart":
            message = email.message_from_bytes(
                b"Content-Type: " + request.headers["content-type"].encode() + b"\r\n\r\n" + request.body
            )
            parts = message.get_payload()
            if message.get_content_type() != "multipart/related" or not isinstance(parts, list) or len(parts) != 2:
                raise Refused(400, "badRequest", "Malformed multipart body.")
            if parts[0].get_content_type() != "application/json":
                raise Refused(400, "badContent", "Metadata part is not JSON.")
            metadata, media = (part.get_payload(decode=True) for part in parts)
            return self._load(project, json.loads(metadata), media)
        if kind != "resumable":
            raise Refused(400, "invalidParameter", f"Invalid uploadType {kind!r}.")
        session = f"upload-{len(self._uploads)}"
        self._uploads[session] = (request.json(), b"")
        return Answer(200, None, {"Location": f"{self.url}{request.path}?uploadType=resumable&upload_id={session}"})

    def _upload_piece(self, project: str, request: Request) -> Answer:
        session = (request.query.get("upload_id") or [""])[0]
        if session not in self._uploads:
            raise Refused(404, "notFound", "No such upload.")
        body, before = self._uploads[session]
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", request.headers.get("content-range", ""))
        if found is None or int(found[1]) != len(before) or int(found[2]) + 1 - int(found[1]) != len(request.body):
            raise Refused(400, "badRequest", "Failed to parse Content-Range header.")
        content = before + request.body
        self._uploads[session] = (body, content)
        if found[3] == "*" or int(found[3]) > len(content):
            return Answer(308, None, {"Range": f"bytes=0-{len(content) - 1}"})
        return self._load(project, body, content)

    def _load(self, project: str, body: dict[str, Any], content: bytes) -> Answer:
        job_id, job = self._begun(project, body)
        load = body["configuration"]["load"]
        wanted = {"sourceFormat": "PARQUET", "writeDisposition": "WRITE_APPEND"}
        if any(load.get(name) != value for name, value in wanted.items()):
            raise Refused(400, "invalid", "Only Parquet is loaded here, and only appended.")
        table = load["destinationTable"]
        self._permit("bigquery.tables.updateData", f"Table {table['datasetId']}.{table['tableId']}")
        if job.failure is None:
            try:
                rows = pq.read_table(pa.BufferReader(content))
                full_name = f"{table['projectId']}.{table['datasetId']}.{table['tableId']}"
                fields = [{"mode": "NULLABLE", **one} for one in load["schema"]["fields"]]
                self.warehouse.append(full_name, rows, fields)
            except Refused as refused:
                if refused.status == 404:
                    raise
                job.failure = {"reason": refused.reason, "message": refused.message}
            except pa.ArrowException:
                job.failure = {"reason": "invalid", "message": "Error while reading data, error message: not Parquet."}
        self.jobs[job_id] = job
        return Answer(200, self._state(job_id, job))

    def _begun(self, project: str, body: dict[str, Any]) -> tuple[str, Job]:
        """A new job under the caller's id, and whether it is to fail. Raises Refused."""
        reference = body.get("jobReference", {})
        self._permit("bigquery.jobs.create", f"Project {project}")
        self._look_at_labels(body)
        location = reference.get("location", "US")
        if location != self.warehouse.location:
            raise Refused(404, "notFound", f"Not found: Dataset {project}:syncer was not found in location {location}")
        job_id = reference.get("jobId", "")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,1024}", job_id):
            raise Refused(400, "invalid", f"Invalid job ID {job_id!r}.")
        if job_id in self.jobs:
            raise Refused(409, "duplicate", f"Already Exists: Job {project}:{location}.{job_id}")
        job = Job(body, location, self.switches.running_polls)
        if self.switches.failures:
            job.failure = self.switches.failures.popleft()
        return job_id, job

    def _look_at_labels(self, body: dict[str, Any]) -> None:
        for name, value in body["configuration"].get("labels", {}).items():
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
                raise Refused(400, "invalid", f"Label {name!r} with value {value!r} is not allowed.")

    def _run(self, job: Job, query: dict[str, Any]) -> None:
        cap = int(query.get("maximumBytesBilled") or 0)
        if cap and job.bytes_billed > cap:
            job.failure = {
                "reason": "bytesBilledLimitExceeded",
                "message": f"Query exceeded limit for bytes billed: {cap}. {job.bytes_billed} or higher required.",
            }
            return
        try:
            job.result = self.warehouse.keep_result(self.warehouse.run(query["query"]))
        except Refused as refused:
            if refused.status == 404:
                raise
            job.failure = {"reason": refused.reason, "message": refused.message, "location": "query"}

    def _job(self, project: str, job_id: str, request: Request) -> Job:
        location = (request.query.get("location") or ["US"])[0]
        job = self.jobs.get(job_id)
        if job is not None and self.switches.hidden_polls > 0:
            self.switches.hidden_polls -= 1
            job = None
        if job is None or job.location != location:
            raise Refused(404, "notFound", f"Not found: Job {project}:{location}.{job_id}")
        return job

    def _state(self, job_id: str, job: Job) -> dict[str, Any]:
        if not job.is_done:
            return self._shown(job.body, "RUNNING", 0, {})
        statistics: dict[str, Any] = {"totalBytesBilled": str(job.bytes_billed), "statementType": "SELECT"}
        answer = self._shown(job.body, "DONE", job.bytes_processed, statistics)
        if job.failure:
            answer["status"] |= {"errorResult": job.failure, "errors": [job.failure]}
        elif job.result is not None:
            answer["configuration"]["query"]["destinationTable"] = {
                "projectId": job.result.project,
                "datasetId": job.result.dataset,
                "tableId": job.result.name,
            }
        return answer

    def _shown(self, body: dict[str, Any], state: str, processed: int, statistics: dict[str, Any]) -> dict[str, Any]:
        return {
            "kind": "bigquery#job",
            "etag": "x",
            "jobReference": {"location": self.warehouse.location, **body.get("jobReference", {})},
            "configuration": {
                **body["configuration"],
                "jobType": "LOAD" if "load" in body["configuration"] else "QUERY",
                **{
                    name: dict(body["configuration"][name])
                    for name in ("query", "load")
                    if name in body["configuration"]
                },
            },
            "status": {"state": state},
            "statistics": {
                "totalBytesProcessed": str(processed),
                "query": {"totalBytesProcessed": str(processed), **statistics},
            },
        }

    def _results(self, job_id: str, job: Job) -> dict[str, Any]:
        if job.failure and job.is_done:
            raise Refused(400, job.failure["reason"], job.failure["message"])
        answer: dict[str, Any] = {
            "kind": "bigquery#getQueryResultsResponse",
            "jobReference": {**job.body["jobReference"]},
            "jobComplete": job.is_done,
        }
        if job.is_done and job.result is not None:
            answer |= {"schema": {"fields": job.result.fields}, "totalRows": str(job.result.rows.num_rows)}
        return answer

    def _permit(self, permission: str, resource: str) -> None:
        if permission in self.switches.denied:
            raise Refused(
                403, "accessDenied", f"Access Denied: {resource}: User does not have {permission} permission."
            )


def error(status: int, reason: str, message: str) -> Answer:
    """An error as the REST interface writes it."""
    return Answer(
        status,
        {
            "error": {
                "code": status,
                "message": message,
                "errors": [{"domain": "global", "reason": reason, "message": message}],
            }
        },
    )
