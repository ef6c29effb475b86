"""The REST half: which call means what. Jobs, files and statements are the neighbours' affair."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from destinations.standins.server import Answer, Request, StandIn, Table
from tests.standins.bigquery.catalog import Refused, Stored
from tests.standins.bigquery.columns import Schema, described, encoded
from tests.standins.bigquery.execution import Warehouse
from tests.standins.bigquery.jobs import Job, Jobs, Switches, reference
from tests.standins.bigquery.limits import Limits
from tests.standins.bigquery.loads import Uploads, load
from tests.standins.bigquery.options import look_at_layout

PAGE_ROWS_MAX = 100_000

SAID = ("description", "friendlyName", "labels", "timePartitioning", "clustering")
"""What a table's resource says and the stand-in only keeps."""


class BigQueryStandIn(StandIn):
    """One project of BigQuery in one location."""

    kind: ClassVar[str] = "bigquery"
    title: ClassVar[str] = "BigQuery"

    def __init__(self, warehouse: Warehouse | None = None) -> None:
        super().__init__()
        self.warehouse = warehouse or Warehouse()
        self._jobs = Jobs(self.warehouse)
        self._uploads = Uploads()

    @property
    def switches(self) -> Switches:
        """What goes otherwise than well."""
        return self._jobs.switches

    @property
    def limits(self) -> Limits:
        """The service's limits, which are off."""
        return self._jobs.limits

    @property
    def jobs(self) -> dict[str, Job]:
        """Every job that was made, by id."""
        return self._jobs.known

    @property
    def dry_runs(self) -> list[dict[str, Any]]:
        """The bodies of jobs that were only analysed."""
        return self._jobs.dry_runs

    def finish(self) -> None:
        """End the jobs that still run, as the service does whether or not anybody asks."""
        with self.lock:
            for job in self.jobs.values():
                job.finish()

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
            case "POST", ["upload", "bigquery", "v2", "projects", project, "jobs"]:
                return self._upload(project, request)
            case "PUT", ["upload", "bigquery", "v2", "projects", project, "jobs"]:
                return self._upload_piece(project, request)
            case _, ["bigquery", "v2", "projects", project, "datasets", *rest]:
                return self._datasets(project, rest, request)
            case "POST", ["bigquery", "v2", "projects", project, "jobs"]:
                return Answer(200, self._jobs.shown(self._jobs.query(project, request.json())))
            case "GET", ["bigquery", "v2", "projects", project, "jobs", job_id]:
                job = self._job(project, job_id, request)
                job.poll()
                return Answer(200, self._jobs.shown(job))
            case "POST", ["bigquery", "v2", "projects", project, "jobs", job_id, "cancel"]:
                job = self._job(project, job_id, request)
                job.cancel()
                return Answer(200, {"job": self._jobs.shown(job)})
            case "POST", ["bigquery", "v2", "projects", project, "queries"]:
                return self._query(project, request)
            case "GET", ["bigquery", "v2", "projects", project, "queries", job_id]:
                return Answer(200, self._results(self._job(project, job_id, request), request))
        raise Refused(404, "notFound", f"no such method: {request.method} {request.path}")

    # --- datasets and tables -----------------------------------------------------------------------------------------

    def _datasets(self, project: str, rest: list[str], request: Request) -> Answer:
        match request.method, rest:
            case "POST", []:
                return self._add_dataset(project, request.json())
            case "GET", [dataset]:
                self.warehouse.find_dataset(project, dataset)
                return Answer(200, self._dataset(project, dataset))
            case "GET", [dataset, "tables"]:
                return self._list(project, dataset, request)
            case "POST", [dataset, "tables"]:
                return self._add_table(project, dataset, request.json())
            case "GET", [dataset, "tables", table]:
                self._jobs.permit("bigquery.tables.get", f"Table {project}.{dataset}.{table}")
                stored = self.warehouse.find(f"{project}.{dataset}.{table}")
                if request.headers.get("if-none-match") == etag(stored):
                    return Answer(304)
                return Answer(200, self._table(stored))
            case "PATCH" | "PUT", [dataset, "tables", table]:
                return self._change(self.warehouse.find(f"{project}.{dataset}.{table}"), request)
            case "DELETE", [dataset, "tables", table]:
                self._jobs.permit("bigquery.tables.delete", f"Table {project}.{dataset}.{table}")
                self.warehouse.drop(f"{project}.{dataset}.{table}")
                return Answer(204)
            case "GET", [dataset, "tables", table, "data"]:
                return Answer(200, self._data(self.warehouse.find(f"{project}.{dataset}.{table}"), request))
        raise Refused(404, "notFound", f"no such method: {request.method} {request.path}")

    def _dataset(self, project: str, dataset: str) -> dict[str, Any]:
        return {
            "kind": "bigquery#dataset",
            "id": f"{project}:{dataset}",
            "datasetReference": {"projectId": project, "datasetId": dataset},
            "location": self.warehouse.location,
            **({"defaultTableExpirationMs": str(expires)} if (expires := self.warehouse.default_expiration_ms) else {}),
        }

    def _add_dataset(self, project: str, body: dict[str, Any]) -> Answer:
        self._jobs.permit("bigquery.datasets.create", f"Project {project}")
        dataset = body["datasetReference"]["datasetId"]
        if body.get("location", "US") != self.warehouse.location:
            raise Refused(400, "invalid", f"Only {self.warehouse.location} is here, not {body.get('location', 'US')}.")
        try:
            self.warehouse.find_dataset(project, dataset)
        except Refused:
            self.warehouse.datasets.add(dataset)
            return Answer(200, self._dataset(project, dataset))
        raise Refused(409, "duplicate", f"Already Exists: Dataset {project}:{dataset}")

    def _list(self, project: str, dataset: str, request: Request) -> Answer:
        self.warehouse.find_dataset(project, dataset)
        query = {name: values[0] for name, values in request.query.items()}
        start, count = int(query.get("pageToken") or 0), int(query.get("maxResults") or 50)
        found = sorted(
            one.name for one in self.warehouse.tables.values() if (one.project, one.dataset) == (project, dataset)
        )
        listed = [self.warehouse.find(f"{project}.{dataset}.{name}") for name in found[start : start + count]]
        answer: dict[str, Any] = {
            "kind": "bigquery#tableList",
            "totalItems": len(found),
            "tables": [
                {
                    "id": one.full_name,
                    "tableReference": reference(one.full_name),
                    "type": one.kind,
                    "creationTime": milliseconds(one.created),
                    **one.resource,
                }
                for one in listed
            ],
        }
        if start + count < len(found):
            answer["nextPageToken"] = str(start + count)
        return Answer(200, answer)

    def _add_table(self, project: str, dataset: str, body: dict[str, Any]) -> Answer:
        name = body["tableReference"]["tableId"]
        self._jobs.permit("bigquery.tables.create", f"Dataset {project}:{dataset}")
        self.warehouse.find_dataset(project, dataset)
        full_name = f"{project}.{dataset}.{name}"
        if full_name in self.warehouse.tables:
            raise Refused(409, "duplicate", f"Already Exists: Table {project}:{dataset}.{name}")
        self.limits.metadata(full_name)
        fields = described(body.get("schema", {}).get("fields", []))
        look_at_layout({name: body[name] for name in SAID if name in body}, fields, self.warehouse.clustering_max)
        stored = self.warehouse.create(full_name, fields)
        self._say(stored, body)
        return Answer(200, self._table(stored))

    def _change(self, stored: Stored, request: Request) -> Answer:
        """What is said about a table, and columns that it gets."""
        self._jobs.permit("bigquery.tables.update", f"Table {stored.full_name}")
        wanted = request.headers.get("if-match")
        if wanted is not None and wanted not in (etag(stored), "*"):
            raise Refused(412, "conditionNotMet", "Precondition Failed")
        self.limits.metadata(stored.full_name)
        body = request.json()
        if "schema" in body and body["schema"] is not None:
            self._widen(stored, described(body["schema"]["fields"]))
        self._say(stored, body)
        self.warehouse.touch(stored)
        return Answer(200, self._table(stored))

    def _widen(self, stored: Stored, fields: Schema) -> None:
        before = {column["name"]: column for column in stored.fields}
        title = f"Provided Schema does not match Table {stored.title}."
        for name, column in before.items():
            after = next((one for one in fields if one["name"] == name), None)
            if after is None or after["type"] != column["type"]:
                said = "is missing in new schema" if after is None else "has changed type"
                raise Refused(400, "invalid", f"{title} Field {name} {said}")
        if any(one.get("mode") == "REQUIRED" for one in fields if one["name"] not in before):
            raise Refused(400, "invalid", f"{title} Cannot add required fields")
        self.warehouse.write(stored, stored.rows, fields)

    def _say(self, stored: Stored, body: dict[str, Any]) -> None:
        for name in SAID:
            if name in body:
                stored.resource[name] = body[name]
                if body[name] is None:
                    del stored.resource[name]
        if "expirationTime" in body:
            moment = body["expirationTime"]
            stored.expires = (
                None if moment is None else datetime.datetime.fromtimestamp(int(moment) / 1000, datetime.UTC)
            )

    def _table(self, stored: Stored) -> dict[str, Any]:
        rows = stored.rows.num_rows if self.switches.rows_claimed is None else self.switches.rows_claimed
        answer: dict[str, Any] = {
            "kind": "bigquery#table",
            "etag": etag(stored),
            "id": stored.full_name,
            "tableReference": reference(stored.full_name),
            "schema": {"fields": stored.fields},
            "type": stored.kind,
            "location": self.warehouse.location,
            "creationTime": milliseconds(stored.created),
            "lastModifiedTime": milliseconds(stored.modified),
            **stored.resource,
        }
        if stored.expires is not None:
            answer["expirationTime"] = milliseconds(stored.expires)
        if stored.kind == "VIEW":
            answer["view"] = {"query": stored.sql, "useLegacySql": False}
        if stored.kind == "TABLE":
            answer |= {"numRows": str(rows), "numBytes": str(stored.rows.nbytes)}
        if stored.is_streamed_into:
            answer["streamingBuffer"] = {"estimatedRows": "1", "estimatedBytes": "1", "oldestEntryTime": "0"}
        return answer

    # --- rows --------------------------------------------------------------------------------------------------------

    def _data(self, stored: Stored, request: Request) -> dict[str, Any]:
        self._jobs.permit("bigquery.tables.getData", f"Table {stored.full_name}")
        if stored.kind != "TABLE":
            raise Refused(400, "invalid", f"Cannot list a table of type {stored.kind}.")
        return {"kind": "bigquery#tableDataList", **self._page(stored, request)}

    def _page(self, stored: Stored, request: Request) -> dict[str, Any]:
        query = {name: values[0] for name, values in request.query.items()}
        paths = query["selectedFields"].split(",") if query.get("selectedFields") else []
        fields, rows = self.warehouse.cut(stored, stored.rows, paths)
        start = int(query.get("pageToken") or query.get("startIndex") or 0)
        count = min(int(query.get("maxResults") or PAGE_ROWS_MAX), PAGE_ROWS_MAX)
        integers = query.get("formatOptions.useInt64Timestamp", "").lower() == "true"
        page = [
            {"f": [{"v": encoded(row[column["name"]], column, timestamps_are_integers=integers)} for column in fields]}
            for row in rows.slice(start, count).to_pylist()
        ]
        answer: dict[str, Any] = {"totalRows": str(rows.num_rows), "rows": page}
        if start + count < rows.num_rows:
            answer["pageToken"] = str(start + count)
        return answer

    # --- jobs --------------------------------------------------------------------------------------------------------

    def _job(self, project: str, job_id: str, request: Request) -> Job:
        return self._jobs.find(project, job_id, (request.query.get("location") or ["US"])[0])

    def _query(self, project: str, request: Request) -> Answer:
        """A query whose caller waits for the first page."""
        body = request.json()
        wanted = ("query", "useLegacySql", "queryParameters", "parameterMode", "maximumBytesBilled", "useQueryCache")
        configuration = {
            "query": {name: body[name] for name in wanted if name in body},
            "labels": body.get("labels", {}),
            "dryRun": bool(body.get("dryRun")),
        }
        made = {"jobReference": {"location": body.get("location", "US")}, "configuration": configuration}
        job = self._jobs.query(project, made)
        if configuration["dryRun"]:
            shown = {"jobComplete": True, "schema": job.statistics["schema"]}
            return Answer(200, {**shown, "totalBytesProcessed": str(job.bytes_processed)})
        return Answer(200, self._results(job, request))

    def _results(self, job: Job, request: Request) -> dict[str, Any]:
        if job.failure and job.is_done:
            raise Refused(STATUSES.get(job.failure["reason"], 400), job.failure["reason"], job.failure["message"])
        answer: dict[str, Any] = {
            "kind": "bigquery#getQueryResultsResponse",
            "jobReference": job.body["jobReference"],
            "jobComplete": job.is_done,
        }
        if not job.is_done:
            return answer
        answer["totalBytesProcessed"] = str(job.bytes_processed)
        if job.outcome.rows_affected is not None:
            answer["numDmlAffectedRows"] = str(job.outcome.rows_affected)
        if job.result is not None:
            answer |= {"schema": {"fields": job.result.fields}, **self._page(job.result, request)}
        return answer

    def _upload(self, project: str, request: Request) -> Answer:
        """The beginning of an upload, or in one piece the whole of it."""
        kind = (request.query.get("uploadType") or [""])[0]
        if kind == "multipart":
            body, media = self._uploads.whole(request.headers["content-type"], request.body)
            return Answer(200, self._jobs.shown(load(self._jobs, project, body, media)))
        if kind != "resumable":
            raise Refused(400, "invalidParameter", f"Invalid uploadType {kind!r}.")
        session = self._uploads.begin(request.json())
        return Answer(200, None, {"Location": f"{self.url}{request.path}?uploadType=resumable&upload_id={session}"})

    def _upload_piece(self, project: str, request: Request) -> Answer:
        session = (request.query.get("upload_id") or [""])[0]
        span = request.headers.get("content-range", "")
        body, content, is_whole = self._uploads.piece(session, span, request.body)
        if not is_whole:
            return Answer(308, None, {"Range": f"bytes=0-{len(content) - 1}"})
        return Answer(200, self._jobs.shown(load(self._jobs, project, body, content)))


STATUSES = {"accessDenied": 403, "duplicate": 409, "notFound": 404, "quotaExceeded": 403, "rateLimitExceeded": 403}
"""Reason of a failed job → status of the answer that has its results; 400 for others."""


def etag(stored: Stored) -> str:
    """The name of a table's state."""
    return f"v{stored.version}"


def milliseconds(moment: datetime.datetime) -> str:
    """A time as a table's resource has it."""
    return str(int(moment.timestamp() * 1000))


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
