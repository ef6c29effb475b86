"""Bulk API 2.0 of the stand-in: ingest jobs from their creation to their three result files.

Jobs go on when they are looked at, not by the clock, so that no test has to sleep. What no public document settles
is a switch on the instance.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from destinations.standins.salesforce_parts.bulk_rows import (
    DELIMITERS,
    LINE_ENDS,
    FileError,
    parsed,
    typed,
    written,
)
from destinations.standins.salesforce_parts.org import Org
from destinations.standins.salesforce_parts.schema import (
    USER_ID,
    ObjectType,
    RecordError,
    RequestError,
    instant_text,
    now,
)
from destinations.standins.server import Answer, Request

OPERATIONS = frozenset({"insert", "update", "upsert", "delete", "hardDelete"})
ENDS = frozenset({"JobComplete", "Failed", "Aborted"})
ROWS_PER_BATCH = 10_000
BATCHES_ALLOWED = 15_000
HARD_ERROR = "InternalServerError : The batch was put back too often."


@dataclass(slots=True)
class IngestJob:
    """One job. `rows` are raw texts by column, as they were uploaded."""

    id: str
    operation: str
    kind: ObjectType
    key: str
    delimiter: str
    line_end: str
    allows_duplicates: bool
    created: str
    state: str = "Open"
    content: bytes | None = None
    looks: int = 0
    error: str = ""
    header: list[str] = field(default_factory=list)
    rows: list[dict[str, str]] = field(default_factory=list)
    done: int = 0
    """Rows that were processed, from the first one on."""
    successful: list[dict[str, str]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    @property
    def unprocessed(self) -> list[dict[str, str]]:
        """The rows that nobody has looked at."""
        return self.rows[self.done :]


class IngestDoor:
    """The jobs of one org under `jobs/ingest`."""

    def __init__(self, org: Org, is_key: Callable[[ObjectType, str], bool]) -> None:
        self.jobs: dict[str, IngestJob] = {}
        self.delay = 1
        """Looks at which a closed job has not ended yet: at the last of them it is InProgress, with half of it done."""
        self.upload_bytes_max = 100_000_000
        self.too_large_status = 413
        """Of an upload over the limit."""
        self.names_charset = True
        """Whether the type of a result file says that it is UTF-8, which it always is."""
        self.results_cut = 0
        """How many rows each result file lacks at its end."""
        self.piece_rows: int | None = None
        """Rows of a result file that come at once, with a locator for the next piece; None for all of them."""
        self.fails_after: int | None = None
        """Rows of a job after which it fails, with the rest unprocessed."""
        self.takes_duplicate_header = True
        """Whether the duplicate-rule header at a job's creation holds for its rows."""
        self.batches_used = 0
        self._org = org
        self._is_key = is_key
        self._number = 0

    def run(self) -> None:
        """Let every job that is closed come to its end, as it would when nobody looks."""
        for job in self.jobs.values():
            self._go_on(job, to_the_end=True)

    def expire(self) -> None:
        """Let every closed job end, and forget them all, as the service does after seven days."""
        self.run()
        self.jobs.clear()

    def answer(self, request: Request, parts: list[str]) -> Answer:
        """One request below `jobs/ingest`. Raises RequestError."""
        match request.method, *parts:
            case ["POST"]:
                return Answer(200, self._shown(self._created(request)))
            case ["GET"]:
                records = [self._shown(job) for job in self.jobs.values()]
                return Answer(200, {"done": True, "nextRecordsUrl": None, "records": records})
            case ["PUT", job_id, "batches"]:
                return self._upload(request, self._job(job_id))
            case ["GET", job_id, name]:
                return self._result(request, self._job(job_id), name)
            case ["GET", job_id]:
                job = self._job(job_id)
                self._look(job)
                return Answer(200, self._shown(job))
            case ["PATCH", job_id]:
                return self._change(request, self._job(job_id))
            case ["DELETE", job_id]:
                job = self._job(job_id)
                if job.state not in ENDS | {"UploadComplete"}:
                    raise wrong_state(job.id, job.state)
                del self.jobs[job.id]
                return Answer(204)
        raise RequestError(405, "METHOD_NOT_ALLOWED", f"HTTP Method '{request.method}' not allowed.")

    def _job(self, job_id: str) -> IngestJob:
        if job_id not in self.jobs:
            raise RequestError(404, "NOT_FOUND", "The requested resource does not exist")
        return self.jobs[job_id]

    def _created(self, request: Request) -> IngestJob:
        body = json_object(request)
        unknown = set(body) - {
            *("object", "operation", "externalIdFieldName", "contentType", "lineEnding", "columnDelimiter"),
            "assignmentRuleId",
        }
        if unknown:
            raise RequestError(400, "JSON_PARSER_ERROR", f'Unrecognized field "{min(unknown)}"')
        operation, kind = body.get("operation"), self._org.objects.get(str(body.get("object")))
        if operation not in OPERATIONS:
            raise _invalid_job(f"Unknown operation: {operation}")
        if kind is None:
            raise RequestError(400, "INVALIDENTITY", f"Entity '{body.get('object')}' is not supported by the Bulk API.")
        if body.get("contentType", "CSV") != "CSV":
            raise _invalid_job("Content Type CSV is the only one")
        delimiter, line_end = body.get("columnDelimiter", "COMMA"), body.get("lineEnding", "LF")
        if delimiter not in DELIMITERS or line_end not in LINE_ENDS:
            raise _invalid_job("Unknown column delimiter or line ending")
        key = body.get("externalIdFieldName") or ""
        if (operation == "upsert") != bool(key):
            raise _invalid_job("An external ID is needed for upsert, and for nothing else.")
        if key and not self._is_key(kind, key):
            raise _invalid_job(f"Field name provided, {key} does not match an External ID for {kind.name}")
        allows = "allowsave=true" in request.headers.get("sforce-duplicate-rule-header", "").lower().replace(" ", "")
        self._number += 1
        job = IngestJob(
            id=f"750{self._number:012d}AAA",
            operation=operation,
            kind=kind,
            key=key,
            delimiter=delimiter,
            line_end=line_end,
            allows_duplicates=allows and self.takes_duplicate_header,
            created=instant_text(now()),
        )
        self.jobs[job.id] = job
        return job

    def _shown(self, job: IngestJob) -> dict[str, Any]:
        shown = {
            "id": job.id,
            "operation": job.operation,
            "object": job.kind.name,
            "createdById": USER_ID,
            "createdDate": job.created,
            "systemModstamp": instant_text(now()),
            "state": job.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": 66.0,
            "jobType": "V2Ingest",
            "lineEnding": job.line_end,
            "columnDelimiter": job.delimiter,
            "numberRecordsProcessed": len(job.successful) + len(job.failed),
            "numberRecordsFailed": len(job.failed),
            "retries": 0,
            "totalProcessingTime": 0,
            "apiActiveProcessingTime": 0,
            "apexProcessingTime": 0,
        }
        if job.key:
            shown["externalIdFieldName"] = job.key
        if job.state == "Open":
            shown["contentUrl"] = f"services/data/v66.0/jobs/ingest/{job.id}/batches"
        if job.error:
            shown["errorMessage"] = job.error
        return shown

    def _upload(self, request: Request, job: IngestJob) -> Answer:
        if request.headers.get("content-type", "").partition(";")[0].strip() != "text/csv":
            raise RequestError(415, "UNSUPPORTED_MEDIA_TYPE", "The content type must be text/csv.")
        if job.state != "Open":
            raise wrong_state(job.id, job.state)
        if job.content is not None:
            raise _invalid_job(f"Found multiple contents for job: {job.id}; PUT only once on a given job.")
        if len(request.body) > self.upload_bytes_max:
            raise RequestError(self.too_large_status, "REQUEST_TOO_LARGE", "The upload is larger than allowed.")
        job.content = request.body
        return Answer(201)

    def _change(self, request: Request, job: IngestJob) -> Answer:
        wanted = json_object(request).get("state")
        if wanted == "UploadComplete" and job.state == "Open":
            if job.content is None:
                raise _invalid_job(f"Job {job.id} has no content.")
            job.state = wanted
        elif wanted == "Aborted" and job.state not in ENDS:
            self._read(job)
            job.state = wanted
        else:
            raise wrong_state(job.id, job.state)
        return Answer(200, self._shown(job))

    def _look(self, job: IngestJob) -> None:
        if job.state in ("UploadComplete", "InProgress"):
            job.looks += 1
            if job.looks >= self.delay:
                self._go_on(job, to_the_end=job.looks > self.delay)

    def _go_on(self, job: IngestJob, *, to_the_end: bool) -> None:
        """Process half of the rows of a job that is closed, or all that are left."""
        if job.state not in ("UploadComplete", "InProgress"):
            return
        if not self._read(job):
            job.state = "Failed"
            return
        if job.state == "UploadComplete":
            self.batches_used += max(1, -(-len(job.rows) // ROWS_PER_BATCH))
        job.state = "InProgress"
        end = len(job.rows) if to_the_end else len(job.rows) // 2
        last = end if self.fails_after is None else min(end, self.fails_after)
        counts = Counter(self._key_of(job, row) for row in job.rows)
        while job.done < last:
            row = job.rows[job.done]
            job.done += 1
            try:
                record_id, is_new = self._apply(job, row, counts)
                job.successful.append({"sf__Id": record_id, "sf__Created": str(is_new).lower(), **row})
            except (RecordError, RequestError) as error:
                text = f"{error.code}:{error.message}:{', '.join(error.fields or [])} --"
                job.failed.append({"sf__Id": "", "sf__Error": text, **row})
        if self.fails_after is not None and end > self.fails_after:
            job.state, job.error = "Failed", HARD_ERROR
        elif to_the_end:
            job.state = "JobComplete"

    def _read(self, job: IngestJob) -> bool:
        """Whether the file can be read; if not, the job knows why."""
        if job.content is None or job.header:
            return True
        try:
            job.header, job.rows = parsed(job.content, job.delimiter, job.line_end)
        except FileError as error:
            job.error = str(error)
        for name in job.header:
            if name not in job.kind.fields:
                job.error = job.error or f"InvalidBatch : Field name not found : {name}"
        return not job.error

    def _key_of(self, job: IngestJob, row: dict[str, str]) -> str:
        """What may occur once in a file; an insert has no such thing."""
        if job.operation == "insert":
            return ""
        text = row.get(job.key or "Id", "")
        return text.strip().casefold() if job.key else text[:15]

    def _apply(self, job: IngestJob, row: dict[str, str], counts: Counter[str]) -> tuple[str, bool]:
        kind, values = job.kind, {}
        for name, text in row.items():
            if text != "":
                values[name] = typed(kind.fields[name], text)
        key = self._key_of(job, row)
        if key and counts[key] > 1:
            name = "external id" if job.key else "id"
            raise RecordError(
                "DUPLICATE_VALUE", f"Duplicate {name} specified: {row[job.key or 'Id']}", [job.key or "Id"]
            )
        if job.operation == "insert":
            return self._org.create(kind.name, values, allow_duplicates=job.allows_duplicates), True
        if job.operation == "upsert":
            return self._upsert(job, values)
        record_id = values.pop("Id", None)
        if not record_id:
            raise RecordError("MISSING_ARGUMENT", f"Id not specified in an {job.operation} call")
        if job.operation == "update":
            return self._org.update(kind.name, record_id, values), False
        self._org.delete(kind.name, record_id)
        return record_id, False

    def _upsert(self, job: IngestJob, values: dict[str, Any]) -> tuple[str, bool]:
        name, key = job.kind.name, values.get(job.key)
        if key is None:
            raise RecordError("MISSING_ARGUMENT", f"{job.key} not specified", [job.key])
        found = self._org.matching(name, job.key, key)
        if len(found) > 1:
            ids = ", ".join(one["Id"] for one in found)
            raise RecordError("DUPLICATE_EXTERNAL_ID", f"{job.key}: more than one record found: {ids}", [job.key])
        if found:
            del values[job.key]
            return self._org.update(name, found[0]["Id"], values), False
        return self._org.create(name, values, allow_duplicates=job.allows_duplicates), True

    def _result(self, request: Request, job: IngestJob, name: str) -> Answer:
        files = {
            "successfulResults": (["sf__Id", "sf__Created"], job.successful),
            "failedResults": (["sf__Id", "sf__Error"], job.failed),
            "unprocessedrecords": ([], job.unprocessed),
        }
        if name not in files:
            raise RequestError(404, "NOT_FOUND", "The requested resource does not exist")
        if job.state not in ENDS:
            raise wrong_state(job.id, job.state)
        added, rows = files[name]
        # The order of a file is nobody's promise.
        rows = random.Random(job.id + name).sample(rows, len(rows))  # noqa: S311 - nothing is kept secret by it.
        kept = rows[: max(0, len(rows) - self.results_cut)]
        header = [*added, *job.header]
        headers = {}
        if self.piece_rows is not None:
            start = int(request.query.get("locator", ["0"])[0])
            end = start + self.piece_rows
            headers["Sforce_Locator"] = str(end) if end < len(kept) else "null"
            kept = kept[start:end]
        return csv_answer(header, kept, job.delimiter, job.line_end, names_charset=self.names_charset, **headers)


def csv_answer(
    header: list[str], rows: list[dict[str, str]], delimiter: str, line_end: str, *, names_charset: bool, **headers: str
) -> Answer:
    """A file as the service gives it: UTF-8, everything quoted."""
    kind = "text/csv; charset=UTF-8" if names_charset else "text/csv"
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(200, written(header, rows, delimiter, line_end), {"Content-Type": kind, **named})


def json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Raises RequestError."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise RequestError(415, "UNSUPPORTED_MEDIA_TYPE", "The content type must be application/json.")
    try:
        body = request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise RequestError(400, "JSON_PARSER_ERROR", "An object is expected.")
    return body


def wrong_state(job_id: str, state: str) -> RequestError:
    """The error for a step that a job is not ready for, or past."""
    return RequestError(400, "INVALIDJOBSTATE", f"Job {job_id} is in state {state}, in which this cannot be done.")


def _invalid_job(message: str) -> RequestError:
    return RequestError(400, "INVALIDJOB", f"InvalidJob : {message}")
