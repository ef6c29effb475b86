"""Load jobs: files as they are uploaded, in one piece or resumably, and rows as they are read from them."""

from __future__ import annotations

import base64
import datetime
import email
import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.standins.bigquery.catalog import Refused
from tests.standins.bigquery.columns import Column, Schema, arrow_field, arrow_schema, described, field_of, fitted
from tests.standins.bigquery.jobs import Job, Jobs

READING = "Error while reading data, error message:"


class Uploads:
    """Uploads that have begun, by session."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[dict[str, Any], bytes]] = {}

    def whole(self, content_type: str, body: bytes) -> tuple[dict[str, Any], bytes]:
        """The job and the file of an upload in one piece. Raises Refused."""
        message = email.message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
        parts = message.get_payload()
        if message.get_content_type() != "multipart/related" or not isinstance(parts, list) or len(parts) != 2:
            raise Refused(400, "badRequest", "Malformed multipart body.")
        if parts[0].get_content_type() != "application/json":
            raise Refused(400, "badContent", "Metadata part is not JSON.")
        metadata, media = (part.get_payload(decode=True) for part in parts)
        return json.loads(metadata), media

    def begin(self, body: dict[str, Any]) -> str:
        """The name of a new session."""
        session = f"upload-{len(self._open)}"
        self._open[session] = (body, b"")
        return session

    def piece(self, session: str, span: str, content: bytes) -> tuple[dict[str, Any], bytes, bool]:
        """The job, the file as far as it is here, and whether it is whole. Raises Refused."""
        if session not in self._open:
            raise Refused(404, "notFound", "No such upload.")
        body, before = self._open[session]
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", span)
        if found is None or int(found[1]) != len(before) or int(found[2]) + 1 - int(found[1]) != len(content):
            raise Refused(400, "badRequest", "Failed to parse Content-Range header.")
        self._open[session] = (body, before + content)
        return body, before + content, found[3] != "*" and int(found[3]) <= len(before + content)


def load(jobs: Jobs, project: str, body: dict[str, Any], content: bytes) -> Job:
    """Insert a load job. Raises Refused."""
    job = jobs.begun(project, body)
    how = body["configuration"]["load"]
    table = how["destinationTable"]
    jobs.permit("bigquery.tables.updateData", f"Table {table['datasetId']}.{table['tableId']}")
    full_name = f"{table['projectId']}.{table['datasetId']}.{table['tableId']}"
    jobs.warehouse.find_dataset(table["projectId"], table["datasetId"])
    read = READERS.get(how.get("sourceFormat", "CSV"))
    if read is None:
        raise Refused(400, "invalid", f"Files of {how.get('sourceFormat', 'CSV')} are not read here.")

    def work(job: Job) -> None:
        jobs.limits.modification(full_name)
        jobs.limits.metadata(full_name)
        asked = described(how["schema"]["fields"]) if how.get("schema", {}).get("fields") else None
        stored = jobs.warehouse.tables.get(full_name)
        known = stored.fields if stored is not None and how.get("writeDisposition") != "WRITE_TRUNCATE" else None
        fields, rows = read(content, asked, known, how, jobs.switches.json_from_parquet)
        jobs.written(full_name, fields, rows, how, "WRITE_APPEND")
        job.statistics |= {
            "inputFiles": "1",
            "inputFileBytes": str(len(content)),
            "outputRows": str(rows.num_rows),
            "outputBytes": str(rows.nbytes),
            "badRecords": "0",
        }

    return jobs.keep(job, work)


def _parquet(
    content: bytes, asked: Schema | None, known: Schema | None, how: dict[str, Any], may_be_json: bool
) -> tuple[Schema, pa.Table]:
    try:
        rows = pq.read_table(pa.BufferReader(content))
    except pa.ArrowException:
        raise Refused(400, "invalid", f"{READING} not Parquet.") from None
    infers_lists = bool(how.get("parquetOptions", {}).get("enableListInference"))
    arrived = [field_of(column) for column in rows.schema]
    fields = asked or [_as_known(column, known, may_be_json) for column in arrived]
    found = {column["name"].lower(): column for column in arrived}
    columns = []
    for column in fields:
        one = found.get(column["name"].lower())
        # A list is a STRUCT of its own until the job asks for ARRAY:
        # docs.cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#list_logical_type.
        kind = "nothing" if one is None else "RECORD" if one["mode"] == "REPEATED" and not infers_lists else one["type"]
        is_json = column["type"] == "JSON" and kind == "STRING" and may_be_json
        if one is None and asked is not None and column.get("mode") != "REQUIRED":
            columns.append(fitted(pa.chunked_array([pa.nulls(rows.num_rows, arrow_field(column).type)]), column))
            continue
        if one is None or not (is_json or kind == column["type"]):
            raise Refused(
                400,
                "invalid",
                f"{READING} Parquet column '{column['name']}' has type {kind}, which is not {column['type']}",
            )
        columns.append(_fitted(rows[one["name"]], column))
    return fields, pa.table(columns, schema=arrow_schema(fields))


def _as_known(column: Column, known: Schema | None, may_be_json: bool) -> Column:
    """A column of a file without a schema: text is JSON where the table has JSON."""
    before = next((one for one in known or [] if one["name"].lower() == column["name"].lower()), None)
    if before is not None and before["type"] == "JSON" and column["type"] == "STRING" and may_be_json:
        return before
    if before is not None and before["type"] == column["type"]:
        return before
    return column


def _fitted(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    try:
        return fitted(values, column)
    except (pa.ArrowException, ValueError):
        raise Refused(400, "invalid", f"{READING} a value of '{column['name']}' is no {column['type']}.") from None


def _ndjson(
    content: bytes, asked: Schema | None, known: Schema | None, how: dict[str, Any], may_be_json: bool
) -> tuple[Schema, pa.Table]:
    fields = asked or known
    if fields is None:
        raise Refused(400, "invalid", "No schema: none is guessed here, and the table is not there.")
    names = {column["name"] for column in fields}
    rows = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_float=Decimal)
        except ValueError:
            raise Refused(400, "invalid", f"{READING} JSON parsing error in row {number}.") from None
        for name in row:
            if name not in names and not how.get("ignoreUnknownValues"):
                raise Refused(400, "invalid", f"{READING} JSON parsing error in row {number}: No such field: {name}.")
        rows.append({column["name"]: _read(row.get(column["name"]), column, number) for column in fields})
    columns = [pa.array([row[column["name"]] for row in rows], arrow_field(column).type) for column in fields]
    return fields, pa.table(columns, schema=arrow_schema(fields))


def _read(value: Any, column: Column, number: int) -> Any:
    """A value of a line, as the column has it. Raises Refused."""
    if column.get("mode") == "REPEATED":
        single = {**column, "mode": "NULLABLE"}
        return [_read(one, single, number) for one in value or []]
    if value is None:
        if column.get("mode") == "REQUIRED":
            raise Refused(400, "invalid", f"{READING} Missing required field: {column['name']} in row {number}.")
        return None
    if column["type"] == "RECORD":
        return {part["name"]: _read(value.get(part["name"]), part, number) for part in column["fields"]}
    try:
        return VALUES[column["type"]](value)
    except (ValueError, TypeError, ArithmeticError, KeyError):
        raise Refused(
            400,
            "invalid",
            f"{READING} Could not parse a value as {column['type']} for field {column['name']} in row {number}.",
        ) from None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        raise TypeError
    return str(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}[str(value).lower()]


def _aware(value: Any) -> datetime.datetime:
    if isinstance(value, (int, Decimal)):
        return datetime.datetime.fromtimestamp(float(value), datetime.UTC)
    found = datetime.datetime.fromisoformat(value.replace(" UTC", "+00:00"))
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=float)


VALUES: dict[str, Callable[[Any], Any]] = {
    "BIGNUMERIC": lambda value: Decimal(_text(value)),
    "BOOLEAN": _boolean,
    "BYTES": lambda value: base64.b64decode(value, validate=True),
    "DATE": datetime.date.fromisoformat,
    "DATETIME": lambda value: datetime.datetime.fromisoformat(value).replace(tzinfo=None),
    "FLOAT": float,
    "GEOGRAPHY": _text,
    "INTEGER": lambda value: int(_text(value)),
    "JSON": _json,
    "NUMERIC": lambda value: Decimal(_text(value)),
    "STRING": _text,
    "TIME": datetime.time.fromisoformat,
    "TIMESTAMP": _aware,
}
"""Type → how a value of a line is read."""

READERS: dict[str, Callable[..., tuple[Schema, pa.Table]]] = {"PARQUET": _parquet, "NEWLINE_DELIMITED_JSON": _ndjson}
