"""Bulk API 2.0 of the stand-in: query jobs, whose results come as CSV in pieces.

https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/queries.htm
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from destinations.standins.salesforce_parts import soql
from destinations.standins.salesforce_parts.bulk import csv_answer, json_object, wrong_state
from destinations.standins.salesforce_parts.org import Org
from destinations.standins.salesforce_parts.schema import USER_ID, RequestError, instant_text, now
from destinations.standins.server import Answer, Request

ENDS = frozenset({"JobComplete", "Failed", "Aborted"})
JOBS_ALLOWED = 10_000
ROWS_PER_PAGE = 50_000


@dataclass(slots=True)
class QueryJob:
    """One job and, once it has run, what it found."""

    id: str
    query: soql.Query
    created: str
    state: str = "UploadComplete"
    looks: int = 0
    rows: list[dict[str, str]] | None = None


class QueryDoor:
    """The jobs of one org under `jobs/query`."""

    def __init__(self, org: Org) -> None:
        self.jobs: dict[str, QueryJob] = {}
        self.delay = 1
        """Looks at which a job has not ended yet."""
        self.page_rows = ROWS_PER_PAGE
        """Rows of a result page at most, whatever the request asks for."""
        self.names_charset = True
        """Whether the type of a result page says that it is UTF-8, which it always is."""
        self.results_cut = 0
        """How many rows each page lacks at its end."""
        self.fails = False
        """Whether every job fails."""
        self.used = 0
        self._org = org

    def answer(self, request: Request, parts: list[str]) -> Answer:
        """One request below `jobs/query`. Raises RequestError."""
        match request.method, *parts:
            case ["POST"]:
                return Answer(200, self._shown(self._created(request)))
            case ["GET"]:
                records = [self._shown(job) for job in self.jobs.values()]
                return Answer(200, {"done": True, "nextRecordsUrl": None, "records": records})
            case ["GET", job_id, "results"]:
                return self._page(request, self._job(job_id))
            case ["GET", job_id]:
                job = self._job(job_id)
                self._look(job)
                return Answer(200, self._shown(job))
            case ["PATCH", job_id]:
                job = self._job(job_id)
                if json_object(request).get("state") != "Aborted" or job.state in ENDS:
                    raise wrong_state(job.id, job.state)
                job.state = "Aborted"
                return Answer(200, self._shown(job))
            case ["DELETE", job_id]:
                job = self._job(job_id)
                if job.state not in ENDS:
                    raise wrong_state(job.id, job.state)
                del self.jobs[job.id]
                return Answer(204)
        raise RequestError(405, "METHOD_NOT_ALLOWED", f"HTTP Method '{request.method}' not allowed.")

    def _job(self, job_id: str) -> QueryJob:
        if job_id not in self.jobs:
            raise RequestError(404, "NOT_FOUND", "The requested resource does not exist")
        return self.jobs[job_id]

    def _created(self, request: Request) -> QueryJob:
        body = json_object(request)
        if body.get("operation") not in ("query", "queryAll") or not isinstance(body.get("query"), str):
            raise RequestError(400, "INVALIDJOB", "InvalidJob : An operation and a query are needed.")
        query = soql.parse(body["query"])
        if query.is_count:
            raise RequestError(400, "API_ERROR", "Aggregate queries are not supported by Bulk API 2.0.")
        if query.object_name not in self._org.objects:
            raise RequestError(400, "INVALID_TYPE", f"sObject type '{query.object_name}' is not supported.")
        # What is wrong with the query shows at once; what it finds is what is there when it runs.
        query.run(self._org.objects[query.object_name], self._org)
        self.used += 1
        job = QueryJob(f"750{self.used:09d}QRYAAA", query, instant_text(now()))
        self.jobs[job.id] = job
        return job

    def _shown(self, job: QueryJob) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": job.id,
            "operation": "query",
            "object": job.query.object_name,
            "createdById": USER_ID,
            "createdDate": job.created,
            "systemModstamp": instant_text(now()),
            "state": job.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": 66.0,
            "lineEnding": "LF",
            "columnDelimiter": "COMMA",
        }
        if job.rows is not None:
            shown |= {"jobType": "V2Query", "numberRecordsProcessed": len(job.rows), "retries": 0}
        return shown

    def _look(self, job: QueryJob) -> None:
        if job.state in ENDS:
            return
        job.looks += 1
        if job.looks <= self.delay:
            job.state = "InProgress" if job.looks == self.delay else "UploadComplete"
            return
        if self.fails:
            job.state = "Failed"
            return
        found = job.query.run(self._org.objects[job.query.object_name], self._org)
        job.rows = [{name: _text(record[name]) for name in job.query.fields} for record in found]
        job.state = "JobComplete"

    def _page(self, request: Request, job: QueryJob) -> Answer:
        if job.rows is None:
            raise wrong_state(job.id, job.state)
        locator = request.query.get("locator", ["0"])[0]
        start = int(locator) if locator.isdigit() else -1
        if not 0 <= start <= len(job.rows):
            raise RequestError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        wanted = request.query.get("maxRecords", [str(ROWS_PER_PAGE)])[0]
        if not wanted.isdigit() or int(wanted) < 1:
            raise RequestError(400, "INVALIDJOB", "InvalidJob : maxRecords is no number")
        end = min(start + min(int(wanted), self.page_rows), len(job.rows))
        return csv_answer(
            job.query.fields,
            job.rows[start : max(start, end - self.results_cut)],
            "COMMA",
            "LF",
            names_charset=self.names_charset,
            Sforce_Locator="null" if end == len(job.rows) else str(end),
            Sforce_NumberOfRecords=str(end - start),
        )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
