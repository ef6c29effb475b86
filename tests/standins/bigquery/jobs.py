"""Jobs: made once under an id, running for a while, done or failed, with what they cost."""

from __future__ import annotations

import re
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tests.standins.bigquery.catalog import Refused, Stored
from tests.standins.bigquery.columns import Column, Schema, described
from tests.standins.bigquery.execution import Outcome, Warehouse
from tests.standins.bigquery.limits import Limits
from tests.standins.bigquery.options import look_at_layout
from tests.standins.bigquery.translation import Parameter

MIB = 2**20
SQL_MAX, PARAMETERS_MAX = MIB, 10_000
"""docs.cloud.google.com/bigquery/quotas#query_jobs."""
FLOOR = 10 * MIB
"""The least that a query, and each table in it, is billed as."""


@dataclass
class Switches:
    """What goes otherwise than well, or as nobody has told."""

    running_polls: int = 0
    """For how many questions a new job says RUNNING; what it does is done when it ends."""
    failures: deque[dict[str, str]] = field(default_factory=deque)
    """`errorResult` of the jobs to come, one each."""
    denied: set[str] = field(default_factory=set)
    """Permissions that the caller does not have."""
    hidden_polls: int = 0
    """For how many questions a job that exists is not found."""
    bytes_processed: int | None = None
    """What queries claim to have read, instead of the columns that they scan."""
    bytes_estimated: int | None = None
    """What dry runs claim, where it is not what the query reads then."""
    rows_claimed: int | None = None
    """What a table says instead of its number of rows."""
    mistakes_at_once: bool = False
    """Whether a statement that GoogleSQL refuses is answered with the error, instead of with a failed job."""
    json_from_parquet: bool = False
    """Whether a text column of a Parquet file may go into a JSON column."""


@dataclass
class Job:
    """A query or load job, as the service keeps it."""

    id: str
    body: dict[str, Any]
    location: str
    polls_left: int
    work: Callable[[Job], None] | None = None
    failure: dict[str, str] | None = None
    result: Stored | None = None
    outcome: Outcome = field(default_factory=Outcome)
    is_cancelled: bool = False
    bytes_processed: int = 0
    bytes_billed: int = 0
    statistics: dict[str, Any] = field(default_factory=dict)
    """Of the query or the load."""
    created: str = "0"

    @property
    def kind(self) -> str:
        return "load" if "load" in self.body["configuration"] else "query"

    @property
    def is_done(self) -> bool:
        return self.work is None

    def poll(self) -> None:
        """One more question; the work is done when there have been enough."""
        self.polls_left -= 1
        if self.polls_left <= 0:
            self.finish()

    def finish(self) -> None:
        """Do the work now, if it is not done."""
        work, self.work = self.work, None
        if work is None:
            return
        try:
            work(self)
        except Refused as refused:
            self.fail(refused)

    def fail(self, refused: Refused) -> None:
        """The job is done, and did nothing."""
        self.failure = {"reason": refused.reason, "message": refused.message, "location": "query"}
        self.work = None
        self.bytes_billed = 0

    def cancel(self) -> None:
        """A job that still runs ends without having done anything; one that is done stays as it is."""
        if not self.is_done:
            self.work = None
            self.is_cancelled = True
            self.failure = {"reason": "stopped", "message": "Job execution was cancelled."}
            self.bytes_billed = 0


class Jobs:
    """All jobs of a project."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.switches = Switches()
        self.limits = Limits(warehouse)
        self.known: dict[str, Job] = {}
        self.dry_runs: list[dict[str, Any]] = []

    def permit(self, permission: str, resource: str) -> None:
        """Nothing, if the caller may. Raises Refused."""
        if permission in self.switches.denied:
            raise Refused(
                403, "accessDenied", f"Access Denied: {resource}: User does not have {permission} permission."
            )

    def begun(self, project: str, body: dict[str, Any]) -> Job:
        """A new job under the caller's id, which may be ordered to fail. Raises Refused."""
        reference = body.get("jobReference", {})
        self.permit("bigquery.jobs.create", f"Project {project}")
        for name, value in body["configuration"].get("labels", {}).items():
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
                raise Refused(400, "invalid", f"Label {name!r} with value {value!r} is not allowed.")
        location = reference.get("location", "US")
        if location != self.warehouse.location:
            raise Refused(
                404,
                "notFound",
                f"Not found: Dataset {project}:{self._dataset(body)} was not found in location {location}",
            )
        job_id = reference.get("jobId") or f"job_{secrets.token_hex(8)}"
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,1024}", job_id):
            raise Refused(400, "invalid", f"Invalid job ID {job_id!r}.")
        if job_id in self.known:
            raise Refused(409, "duplicate", f"Already Exists: Job {project}:{location}.{job_id}")
        body["jobReference"] = {"projectId": project, "jobId": job_id, "location": location}
        created = str(round(self.warehouse.clock().timestamp() * 1000))
        return Job(job_id, body, location, self.switches.running_polls, created=created)

    def keep(self, job: Job, work: Callable[[Job], None]) -> Job:
        """The job is known from now on, and works when it is its time."""
        self.known[job.id] = job
        if self.switches.failures:
            job.failure = self.switches.failures.popleft()
            job.bytes_billed = 0
            return job
        if job.failure is None:
            job.work = work
            if job.polls_left <= 0:
                job.finish()
        return job

    def find(self, project: str, job_id: str, location: str) -> Job:
        """A job in its own location. Raises Refused."""
        job = self.known.get(job_id)
        if job is not None and self.switches.hidden_polls > 0:
            self.switches.hidden_polls -= 1
            job = None
        if job is None or job.location != location:
            raise Refused(404, "notFound", f"Not found: Job {project}:{location}.{job_id}")
        return job

    def query(self, project: str, body: dict[str, Any]) -> Job:
        """Insert a query job, or analyse one that is only a dry run. Raises Refused."""
        query = body["configuration"]["query"]
        job = self.begun(project, body)
        cap = query.get("maximumBytesBilled")
        if cap is not None and not str(cap).isdigit():
            raise Refused(400, "invalid", f"Invalid value at 'maximumBytesBilled': {cap!r}")
        if query.get("useLegacySql", True):
            raise Refused(400, "invalid", "Legacy SQL is not spoken here.")
        if len(query["query"]) > SQL_MAX or len(query.get("queryParameters", [])) > PARAMETERS_MAX:
            raise Refused(400, "invalid", "The query is too large: a million characters and 10,000 parameters at most.")
        is_dry = bool(body["configuration"].get("dryRun"))
        if is_dry:
            self.dry_runs.append(body)
        parameters = parameters_of(query)
        try:
            made = self.warehouse.analyse(query["query"], parameters)
            self._weigh(job, made, int(cap or 0), is_dry=is_dry)
            if made.target is not None and not is_dry:
                self.limits.statement(made, [one for one in self.known.values() if not one.is_done])
        except Refused as refused:
            if is_dry or refused.status == 404 or self.switches.mistakes_at_once:
                raise
            job.fail(refused)
            return self.keep(job, lambda _: None)
        job.statistics |= {"statementType": made.kind, "schema": {"fields": made.fields}}
        if made.target is not None:
            job.statistics["ddlTargetTable" if "TABLE" in made.kind else "dmlTargetTable"] = reference(made.target)
            job.body["target"] = made.target
        if is_dry:
            return job
        return self.keep(job, lambda job: self._run(job, query, parameters))

    def _weigh(self, job: Job, made: Any, cap: int, *, is_dry: bool) -> None:
        """What the statement reads and costs. Raises Refused above the cap."""
        scanned = self.warehouse.bytes_scanned(made)
        job.statistics["referencedTables"] = [reference(table) for table in scanned]
        claimed = [self.switches.bytes_estimated] if is_dry else []
        for size in (*claimed, self.switches.bytes_processed):
            if size is not None:
                scanned = {"": size}
                break
        job.bytes_processed = sum(scanned.values())
        billed = sum(max(FLOOR, -(-size // MIB) * MIB) for size in scanned.values())
        job.bytes_billed = 0 if is_dry else billed
        if cap and billed > cap:
            raise Refused(
                400,
                "bytesBilledLimitExceeded",
                f"Query exceeded limit for bytes billed: {cap}. {billed} or higher required.",
            )

    def _run(self, job: Job, query: dict[str, Any], parameters: Mapping[str, Parameter]) -> None:
        outcome = self.warehouse.run(query["query"], parameters)
        job.outcome = outcome
        if outcome.rows_affected is not None:
            job.statistics["numDmlAffectedRows"] = str(outcome.rows_affected)
        if outcome.rows is None:
            return
        wanted = query.get("destinationTable")
        if wanted:
            full_name = f"{wanted['projectId']}.{wanted['datasetId']}.{wanted['tableId']}"
            self.limits.modification(full_name)
            job.result = self.written(full_name, outcome.fields, outcome.rows, query, "WRITE_EMPTY")
        else:
            with self.warehouse.lock:
                job.result = self.warehouse.put(f"_results.anon_{job.id}", outcome.rows, outcome.fields)

    def written(self, full_name: str, fields: Schema, rows: pa.Table, how: dict[str, Any], default: str) -> Stored:
        """Rows in a destination table, as the dispositions of a query or load say. Raises Refused."""
        project, dataset, table = full_name.split(".")
        self.warehouse.find_dataset(project, dataset)
        disposition = how.get("writeDisposition", default)
        try:
            stored = self.warehouse.find(full_name)
        except Refused:
            if how.get("createDisposition") == "CREATE_NEVER":
                raise
            look_at_layout(how, fields, self.warehouse.clustering_max)
            stored = self.warehouse.replace(full_name, fields, rows)
            self._shape(stored, how)
            return stored
        if disposition == "WRITE_EMPTY" and stored.rows.num_rows:
            raise Refused(409, "duplicate", f"Already Exists: Table {project}:{dataset}.{table}")
        if disposition == "WRITE_TRUNCATE":
            resource = stored.resource
            stored = self.warehouse.replace(full_name, fields, rows)
            stored.resource = resource
            self._shape(stored, how)
            return stored
        fields = self._joined(stored, fields, how)
        rows = pa.concat_tables([stored.rows, rows], promote_options="default")
        self.warehouse.write(stored, rows, fields)
        return stored

    def _joined(self, stored: Stored, fields: Schema, how: dict[str, Any]) -> Schema:
        """The columns of a table to which rows of these columns are appended. Raises Refused."""
        title = f"Provided Schema does not match Table {stored.title}."
        known = {column["name"].lower(): column for column in stored.fields}
        added = []
        for column in fields:
            before = known.get(column["name"].lower())
            if before is None:
                if "ALLOW_FIELD_ADDITION" not in how.get("schemaUpdateOptions", []):
                    raise Refused(400, "invalid", f"{title} Cannot add fields (field: {column['name']})")
                if column.get("mode") == "REQUIRED":
                    raise Refused(400, "invalid", f"{title} Cannot add required fields (field: {column['name']})")
                added.append(column)
            elif (before["type"], before.get("mode") == "REPEATED") != (
                column["type"],
                column.get("mode") == "REPEATED",
            ):
                raise Refused(
                    400,
                    "invalid",
                    f"{title} Field {column['name']} has changed type from {before['type']} to {column['type']}",
                )
        return [*stored.fields, *added]

    def _shape(self, stored: Stored, how: dict[str, Any]) -> None:
        for name in ("timePartitioning", "clustering"):
            if name in how:
                stored.resource[name] = how[name]
        properties = how.get("destinationTableProperties", {})
        stored.resource |= {name: properties[name] for name in ("description", "labels") if name in properties}

    def _dataset(self, body: dict[str, Any]) -> str:
        configuration = body["configuration"]
        table = configuration.get("load", configuration.get("query", {})).get("destinationTable", {})
        return str(table.get("datasetId", "activation"))

    # --- as they are shown -------------------------------------------------------------------------------------------

    def shown(self, job: Job) -> dict[str, Any]:
        """The job as the REST interface writes it."""
        configuration = job.body["configuration"]
        answer: dict[str, Any] = {
            "kind": "bigquery#job",
            "etag": "x",
            "id": f"{self.warehouse.project}:{job.location}.{job.id}",
            "jobReference": job.body["jobReference"],
            "configuration": {
                **configuration,
                "jobType": job.kind.upper(),
                **{name: dict(configuration[name]) for name in ("query", "load") if name in configuration},
            },
            "status": {"state": "DONE" if job.is_done else "RUNNING"},
            "statistics": {"creationTime": job.created, "startTime": job.created},
        }
        if not job.is_done:
            answer["statistics"][job.kind] = {}
            return answer
        answer["statistics"] |= {"endTime": job.created, "totalBytesProcessed": str(job.bytes_processed)}
        if job.kind == "load":
            answer["statistics"]["load"] = job.statistics
        else:
            answer["statistics"]["query"] = job.statistics | {
                "totalBytesProcessed": str(job.bytes_processed),
                "totalBytesBilled": str(job.bytes_billed),
                "cacheHit": False,
            }
        if job.failure:
            answer["status"] |= {"errorResult": job.failure, "errors": [job.failure]}
        elif job.kind == "query" and job.result is not None:
            answer["configuration"]["query"]["destinationTable"] = reference(job.result.full_name)
        return answer


def is_repeated(column: Column) -> bool:
    """Whether a column is an ARRAY."""
    return bool(column.get("mode") == "REPEATED")


def reference(full_name: str) -> dict[str, str]:
    """A table's name in the three parts of the REST interface."""
    project, dataset, table = full_name.split(".")
    return {"projectId": project, "datasetId": dataset, "tableId": table}


def parameters_of(query: dict[str, Any]) -> dict[str, Parameter]:
    """The named parameters of a query. Raises Refused for positional ones."""
    found = {}
    for one in query.get("queryParameters", []):
        if not one.get("name"):
            raise Refused(400, "invalid", "Positional parameters are not spoken here.")
        kind, value = one["parameterType"], one.get("parameterValue", {})
        if kind["type"] == "ARRAY":
            (column,) = described([{"name": one["name"], "type": kind["arrayType"]["type"], "mode": "REPEATED"}])
            found[one["name"]] = Parameter(column, [item.get("value") for item in value.get("arrayValues", [])])
        else:
            (column,) = described([{"name": one["name"], "type": kind["type"]}])
            found[one["name"]] = Parameter(column, value.get("value"))
    return found
