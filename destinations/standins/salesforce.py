"""A strict stand-in of Salesforce: tokens, describe, queries, single records, Collections, and Bulk API 2.0.

What no public document settles is a switch on the instance. The standard fields in `salesforce_fields.json` are
tabulated from traffic recorded in github.com/grouparoo/grouparoo (commit a453a40b16fbb8a9ab7a32b16a003fecb89e7bde),
MIT licence, (c) 2022 Grouparoo, Inc.; see `salesforce_parts/schema.py`.
"""

from __future__ import annotations

import email.utils
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

from destinations.standins.salesforce_parts import soql
from destinations.standins.salesforce_parts.bulk import BATCHES_ALLOWED, IngestDoor
from destinations.standins.salesforce_parts.bulk_query import JOBS_ALLOWED, QueryDoor
from destinations.standins.salesforce_parts.org import Org
from destinations.standins.salesforce_parts.schema import ObjectType, RecordError, RequestError
from destinations.standins.salesforce_parts.tokens import TokenDoor
from destinations.standins.server import Answer, Request, StandIn, Table

VERSIONS = {"64.0": "Summer '25", "65.0": "Winter '26", "66.0": "Spring '26", "67.0": "Summer '26"}
RETIRED_MAX = 30
RECORDS_MAX = 200
TYPE_CHUNKS_MAX = 10
"""Runs of records of one type in a Collections call, at most."""
ADDRESS_BYTES_MAX = 16_384
BANDS = ("cold", "warm", "hot")
TABLES = {
    "Contact": ("Contacts", ["Name", "Email", "Product_User_Id__c"]),
    "Lead": ("Leads", ["Name", "Company", "Email", "Product_User_Id__c"]),
    "Account": ("Accounts", ["Name", "Website", "Product_Account_Id__c"]),
}
SCORES = ["Activation_Score__c", "Activation_Band__c", "Usage_Score__c", "Milestone_Score__c", "Score_Computed_At__c"]


class SalesforceStandIn(StandIn):
    """One org with Leads, Contacts, Accounts, and the custom fields of our mappings."""

    kind = "salesforce"
    title = "Salesforce"

    def __init__(self) -> None:
        super().__init__()
        self.org = Org()
        self.tokens = TokenDoor()
        self.instance_url = ""
        """The address that token answers name; empty, it is this stand-in's own."""
        self.requests_used = 0
        self.requests_allowed = 100_000
        self.limit_info: str | None = "api-usage={used}/{allowed}"
        """The header on every answer; None for none."""
        self.page_size = 2_000
        self.locators_expire = False
        """Whether a query's next page is always gone."""
        self.email_is_key = False
        """Whether Collections upsert takes a field that has idLookup only."""
        self.unknown_field_refuses_all = True
        """Whether an unknown field refuses the whole Collections request, or its record alone."""
        self.update_only_status = 404
        """Of a single upsert with `updateOnly=true` that finds no record."""
        self.heeds_auto_assign = True
        """Whether `Sforce-Auto-Assign: FALSE` keeps an assignment rule from leads that are written."""
        self.answers_cut = 0
        """How many answers the next Collections calls lack at their end."""
        self.meanwhile: Callable[[], object] | None = None
        """What somebody else does just before the next Collections call is applied; once."""
        self.ingest = IngestDoor(self.org, self._is_key)
        self.bulk_query = QueryDoor(self.org)
        self._pages: dict[str, tuple[list[dict[str, Any]], int]] = {}
        for name in TABLES:
            self._add_score_fields(name)

    def add_field(self, object_name: str, name: str, type_name: str, **properties: Any) -> None:
        """A field that an administrator made; `properties` as in the describe call, `choices` for picklists."""
        with self.lock:
            self.org.add_field(object_name, name, type_name, **properties)

    def put(self, object_name: str, **values: Any) -> str:
        """A record as somebody at the company enters it; its Id. Raises RecordError and RequestError."""
        with self.lock:
            return self.org.create(object_name, values)

    def records(self, object_name: str) -> list[dict[str, Any]]:
        """What is there now, oldest first, without what was deleted."""
        with self.lock:
            return [dict(record) for record in self.org.alive(object_name)]

    def settings(self) -> str:
        """A `[destinations.NAME]` body that reaches this stand-in."""
        return (
            f"login_url = {json.dumps(self.url)}\n"
            f"client_id = {json.dumps(self.tokens.client_id)}\n"
            f"client_secret = {json.dumps(self.tokens.client_secret)}\n"
        )

    def hurry(self) -> None:
        """End jobs at the first look."""
        self.ingest.delay = self.bulk_query.delay = 0

    def seed(
        self,
        people: Iterable[Mapping[str, Any]],
        workspaces: Iterable[Mapping[str, Any]],
        accounts: Iterable[Mapping[str, Any]],
    ) -> None:
        """Half of the people as contacts, a quarter as leads, nine tenths of the accounts: sales knows not everyone."""
        with self.lock:
            for position, person in enumerate(people):
                kind = ("Contact", "Contact", "Lead", "")[position % 4]
                if kind and person.get("email"):
                    self.org.create(kind, _person(person) | ({"Company": "Unknown"} if kind == "Lead" else {}))
            for position, account in enumerate(accounts):
                if position % 10 != 9:
                    self.org.create(
                        "Account",
                        {
                            "Name": account["name"],
                            "Website": account["domain"],
                            "Product_Account_Id__c": account["account_id"],
                        },
                    )
            # What was there before the first sync is no news.
            self.org.touched.clear()

    def tables(self) -> list[Table]:
        """Contacts, Leads and Accounts with their scores, newest change first."""
        with self.lock:
            return [self._table(name) for name in TABLES]

    def handle(self, request: Request) -> Answer:
        """One request."""
        address = len(request.path) + len(request.query_text) + 1
        if address > ADDRESS_BYTES_MAX:
            return Answer(414, "<h1>Bad Message 414</h1><pre>reason: URI Too Long</pre>")
        if address + sum(len(name) + len(text) + 4 for name, text in request.headers.items()) > ADDRESS_BYTES_MAX:
            return Answer(431, "<h1>Bad Message 431</h1><pre>reason: Request Header Fields Too Large</pre>")
        if request.path == "/services/oauth2/token":
            return self.tokens.answer(request, self.instance_url or self.url)
        try:
            answer = self._data(request)
        except RequestError as error:
            fault: dict[str, Any] = {"message": error.message, "errorCode": error.code}
            answer = Answer(error.status, [fault | ({} if error.fields is None else {"fields": error.fields})])
        except RecordError as error:
            status = 404 if error.code in ("ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY") else 400
            answer = Answer(status, [{"message": error.message, "errorCode": error.code, "fields": error.fields}])
        if self.limit_info is None:
            return answer
        usage = self.limit_info.format(used=self.requests_used, allowed=self.requests_allowed)
        return Answer(answer.status, answer.content, {**answer.headers, "Sforce-Limit-Info": usage})

    def _data(self, request: Request) -> Answer:
        if request.path.rstrip("/") == "/services/data":
            versions = [
                {"label": label, "url": f"/services/data/v{version}", "version": version}
                for version, label in VERSIONS.items()
            ]
            return Answer(200, versions)
        if not request.path.startswith("/services/data/v"):
            raise _not_found()
        if not self.tokens.passes(request.headers.get("authorization", "")):
            raise RequestError(401, "INVALID_SESSION_ID", "Session expired or invalid")
        if self.requests_used >= self.requests_allowed:
            raise RequestError(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
        self.requests_used += 1
        version, *rest = request.parts[2:]
        number = version.removeprefix("v")
        if re.fullmatch(r"\d+\.\d", number) and float(number) <= RETIRED_MAX:
            raise RequestError(410, "GONE", "The requested API version is retired.")
        if number not in VERSIONS:
            raise _not_found()
        return self._route(request, rest)

    def _route(self, request: Request, parts: list[str]) -> Answer:
        match request.method, *parts:
            case ["GET", "limits"]:
                return Answer(200, self._limits())
            case [_, "jobs", "ingest", *rest]:
                return self.ingest.answer(request, rest)
            case [_, "jobs", "query", *rest]:
                return self.bulk_query.answer(request, rest)
            case ["GET", "query"]:
                return self._query(request)
            case ["GET", "query", locator]:
                return self._next_page(locator)
            case ["GET", "sobjects"]:
                every = [kind.summary() for kind in self.org.objects.values()]
                return Answer(200, {"encoding": "UTF-8", "maxBatchSize": RECORDS_MAX, "sobjects": every})
            case ["GET", "sobjects", name, "describe"]:
                return self._describe(request, self._kind(name))
            case ["POST", "sobjects", name]:
                kind = self._kind(name)
                record_id = self.org.create(kind.name, _object(request), allow_duplicates=_allows_duplicates(request))
                location = f"/services/data/v66.0/sobjects/{name}/{record_id}"
                return Answer(201, {"id": record_id, "success": True, "errors": []}, {"Location": location})
            case [_, "sobjects", name, record_id]:
                return self._single(request, self._kind(name), record_id)
            case [_, "sobjects", name, field, value]:
                return self._keyed(request, self._kind(name), field, value)
            case ["POST", "composite", "sobjects"]:
                return self._collection(request, self._create_item)
            case ["PATCH", "composite", "sobjects"]:
                return self._update_collection(request)
            case ["PATCH", "composite", "sobjects", name, field]:
                return self._upsert_collection(request, self._kind(name), field)
            case [method, "composite", "sobjects", *_] | [method, "query" | "limits", *_]:
                raise RequestError(405, "METHOD_NOT_ALLOWED", f"HTTP Method '{method}' not allowed.")
        raise _not_found()

    def _limits(self) -> dict[str, dict[str, int]]:
        used = {
            "DailyApiRequests": (self.requests_allowed, self.requests_used),
            "DailyBulkApiBatches": (BATCHES_ALLOWED, self.ingest.batches_used),
            "DailyBulkV2QueryJobs": (JOBS_ALLOWED, self.bulk_query.used),
        }
        return {name: {"Max": most, "Remaining": most - count} for name, (most, count) in used.items()}

    def _kind(self, name: str) -> ObjectType:
        if name not in self.org.objects:
            raise _not_found()
        return self.org.objects[name]

    def _describe(self, request: Request, kind: ObjectType) -> Answer:
        modified = email.utils.format_datetime(kind.modified, usegmt=True)
        since = request.headers.get("if-modified-since")
        if since and email.utils.parsedate_to_datetime(since) >= kind.modified.replace(microsecond=0):
            return Answer(304, None, {"Last-Modified": modified})
        return Answer(200, kind.describe(), {"Last-Modified": modified})

    def _query(self, request: Request) -> Answer:
        texts = request.query.get("q", [])
        if len(texts) != 1:
            raise RequestError(400, "MALFORMED_QUERY", "the q parameter is needed once")
        query = soql.parse(texts[0])
        if query.object_name not in self.org.objects:
            raise RequestError(400, "INVALID_TYPE", f"sObject type '{query.object_name}' is not supported.")
        kind = self.org.objects[query.object_name]
        found = query.run(kind, self.org)
        if query.is_count:
            return Answer(200, {"totalSize": len(found), "done": True, "records": []})
        for record in found:
            address = f"/services/data/v66.0/sobjects/{kind.name}/{record['Id']}"
            record["attributes"] = {"type": kind.name, "url": address}
            if "Id" not in query.fields:
                del record["Id"]
        return self._page(found, 0)

    def _page(self, records: list[dict[str, Any]], start: int) -> Answer:
        end = start + self.page_size
        page = {"totalSize": len(records), "done": end >= len(records), "records": records[start:end]}
        if not page["done"]:
            locator = f"01g{len(self._pages):012d}AAA-{end}"
            self._pages[locator] = (records, end)
            page["nextRecordsUrl"] = f"/services/data/v66.0/query/{locator}"
        return Answer(200, page)

    def _next_page(self, locator: str) -> Answer:
        if self.locators_expire or locator not in self._pages:
            raise RequestError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._page(*self._pages[locator])

    def _single(self, request: Request, kind: ObjectType, record_id: str) -> Answer:
        if request.method == "GET":
            return self._shown(request, kind, self.org.find(kind.name, record_id))
        if request.method == "PATCH":
            self.org.update(kind.name, record_id, _object(request))
            return Answer(204)
        if request.method == "DELETE":
            self.org.delete(kind.name, record_id)
            return Answer(204)
        raise RequestError(405, "METHOD_NOT_ALLOWED", f"HTTP Method '{request.method}' not allowed.")

    def _shown(self, request: Request, kind: ObjectType, record: dict[str, Any]) -> Answer:
        names = [name for text in request.query.get("fields", []) for name in text.split(",")] or list(record)
        for name in names:
            if name not in kind.fields:
                raise RequestError(400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {kind.name}")
        attributes = {"type": kind.name, "url": f"/services/data/v66.0/sobjects/{kind.name}/{record['Id']}"}
        return Answer(200, {"attributes": attributes} | kind.shown(record, names))

    def _keyed(self, request: Request, kind: ObjectType, field: str, text: str) -> Answer:
        """A single record by another field's value: read or upserted."""
        if field not in kind.fields or not kind.fields[field]["idLookup"]:
            raise RequestError(
                404, "NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {field}"
            )
        found = self.org.matching(kind.name, field, text)
        if len(found) > 1:
            base = f"/services/data/v66.0/sobjects/{kind.name}/"
            return Answer(300, [base + record["Id"] for record in found])
        if request.method == "GET":
            if not found:
                raise _not_found()
            return self._shown(request, kind, found[0])
        if request.method != "PATCH":
            raise RequestError(405, "METHOD_NOT_ALLOWED", f"HTTP Method '{request.method}' not allowed.")
        values = _object(request)
        if field in values or "Id" in values:
            raise RequestError(
                400, "INVALID_FIELD", f"The {field} field should not be specified in the sobject data.", [field]
            )
        if not found and request.query.get("updateOnly") == ["true"]:
            raise RequestError(self.update_only_status, "NOT_FOUND", "The requested resource does not exist")
        if found:
            record_id = self.org.update(kind.name, found[0]["Id"], values)
        else:
            allow = _allows_duplicates(request)
            record_id = self.org.create(kind.name, values | {field: text}, allow_duplicates=allow)
        answer = {"id": record_id, "success": True, "errors": [], "created": not found}
        return Answer(200 if found else 201, answer)

    def _collection(
        self, request: Request, apply: Callable[[Request, ObjectType, dict[str, Any]], dict[str, Any]]
    ) -> Answer:
        """Each record on its own; first all are read, so that a request refused as a whole changes nothing."""
        if self.meanwhile is not None:
            somebody, self.meanwhile = self.meanwhile, None
            somebody()
        records = _records(request)
        kinds = [self._typed(record) for record in records]
        if sum(one is not other for one, other in pairwise(kinds)) >= TYPE_CHUNKS_MAX:
            raise RequestError(400, "INVALID_INPUT", f"The types of the records come in {TYPE_CHUNKS_MAX} chunks.")
        for kind, record in zip(kinds, records, strict=True):
            self._readable(kind, {name: value for name, value in record.items() if name not in ("id", "attributes")})
        answers = []
        for kind, record in zip(kinds, records, strict=True):
            try:
                answers.append(apply(request, kind, record))
                if not (self.heeds_auto_assign and request.headers.get("sforce-auto-assign", "").upper() == "FALSE"):
                    self.org.assign(kind.name, answers[-1]["id"])
            except (RecordError, RequestError) as error:
                fault = {"statusCode": error.code, "message": error.message, "fields": error.fields or []}
                answers.append({"success": False, "errors": [fault]})
        return Answer(200, answers[: len(answers) - self.answers_cut])

    def _upsert_collection(self, request: Request, kind: ObjectType, field: str) -> Answer:
        if not self._is_key(kind, field):
            raise RequestError(
                404, "NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {field}"
            )
        records = _records(request)
        counts = Counter(_folded_key(record.get(field)) for record in records)

        def upsert(request: Request, own: ObjectType, record: dict[str, Any]) -> dict[str, Any]:
            if own is not kind:
                raise RecordError("INVALID_TYPE", f"{own.name} does not match {kind.name}")
            values = _values(record)
            key = values.get(field)
            if key in (None, ""):
                raise RecordError("MISSING_ARGUMENT", f"{field} not specified", [field])
            if counts[_folded_key(key)] > 1:
                raise RecordError("DUPLICATE_VALUE", f"Duplicate external id specified: {key}", [field])
            found = self.org.matching(kind.name, field, key)
            if len(found) > 1:
                ids = ", ".join(one["Id"] for one in found)
                raise RecordError("DUPLICATE_EXTERNAL_ID", f"{field}: more than one record found: {ids}", [field])
            if found:
                del values[field]
                record_id = self.org.update(kind.name, found[0]["Id"], values)
            else:
                record_id = self.org.create(kind.name, values, allow_duplicates=_allows_duplicates(request))
            return {"id": record_id, "success": True, "errors": [], "created": not found}

        return self._collection(request, upsert)

    def _is_key(self, kind: ObjectType, field: str) -> bool:
        """Whether records can be upserted by this field, with Collections and in jobs."""
        rule = kind.fields.get(field)
        return bool(rule and (rule["externalId"] or field == "Id" or (self.email_is_key and rule["idLookup"])))

    def _update_collection(self, request: Request) -> Answer:
        counts = Counter(str(record.get("id", ""))[:15] for record in _records(request))

        def update(request: Request, kind: ObjectType, record: dict[str, Any]) -> dict[str, Any]:
            if not isinstance(record.get("id"), str):
                raise RecordError("MISSING_ARGUMENT", "Id not specified in an update call")
            if counts[record["id"][:15]] > 1:
                raise RecordError("DUPLICATE_VALUE", f"duplicate id in list: {record['id']}", ["Id"])
            record_id = self.org.update(kind.name, record["id"], _values(record))
            return {"id": record_id, "success": True, "errors": []}

        return self._collection(request, update)

    def _create_item(self, request: Request, kind: ObjectType, record: dict[str, Any]) -> dict[str, Any]:
        if "id" in record:
            raise RecordError("INVALID_FIELD_FOR_INSERT_UPDATE", "cannot specify Id in an insert call", ["Id"])
        allow = _allows_duplicates(request)
        record_id = self.org.create(kind.name, _values(record), allow_duplicates=allow)
        return {"id": record_id, "success": True, "errors": []}

    def _typed(self, record: dict[str, Any]) -> ObjectType:
        attributes = record.get("attributes")
        name = attributes.get("type") if isinstance(attributes, dict) else None
        if not isinstance(name, str):
            raise RequestError(400, "INVALID_INPUT", "The type attribute is needed on each record.")
        if name not in self.org.objects:
            raise RequestError(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")
        return self.org.objects[name]

    def _readable(self, kind: ObjectType, values: dict[str, Any]) -> None:
        """Raises RequestError if a record's JSON cannot be read at all, which refuses the whole request."""
        try:
            kind.accept(values, is_new=False)
        except (RecordError, RequestError):
            # Something is wrong: looked at one by one, the fields tell whether it is no more than their record.
            self._readable_fields(kind, values)

    def _readable_fields(self, kind: ObjectType, values: dict[str, Any]) -> None:
        for name, value in values.items():
            try:
                kind.accept({name: value}, is_new=False)
            except RecordError:
                continue
            except RequestError as error:
                if error.code != "INVALID_FIELD" or self.unknown_field_refuses_all:
                    raise

    def _add_score_fields(self, name: str) -> None:
        key = "Product_Account_Id__c" if name == "Account" else "Product_User_Id__c"
        self.add_field(name, key, "string", length=191, externalId=True, idLookup=True, unique=True)
        for score in ("Activation_Score__c", "Usage_Score__c", "Milestone_Score__c"):
            self.add_field(name, score, "double", precision=18, scale=2)
        self.add_field(name, "Activation_Band__c", "picklist", restrictedPicklist=True, choices=BANDS)
        self.add_field(name, "Score_Computed_At__c", "datetime")
        self.add_field(name, "Source__c", "string", length=80)

    def _table(self, name: str) -> Table:
        title, columns = TABLES[name]
        shown = [*columns, *SCORES]
        newest = {record_id: age for age, record_id in enumerate(self.org.touched)}
        records = sorted(self.org.alive(name), key=lambda record: newest.get(record["Id"], -1), reverse=True)
        rows = [{column: _cell(record[column]) for column in shown} for record in records]
        changed = [self.org.touched.get(record["Id"], set()) & set(shown) for record in records]
        return Table(title, shown, rows, changed)


def _person(person: Mapping[str, Any]) -> dict[str, Any]:
    first, _, last = str(person.get("name") or person["user_id"]).strip().rpartition(" ")
    return {
        "LastName": last or "Unknown",
        "FirstName": first or None,
        "Email": person["email"],
        "Product_User_Id__c": person["user_id"],
    }


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def _values(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in ("id", "attributes")}


def _folded_key(value: Any) -> str:
    return str(value).strip().casefold()


def _object(request: Request) -> dict[str, Any]:
    body = _json(request)
    if not isinstance(body, dict):
        raise RequestError(400, "JSON_PARSER_ERROR", "An object is expected.")
    return _values(body)


def _records(request: Request) -> list[dict[str, Any]]:
    body = _json(request)
    records = body.get("records") if isinstance(body, dict) else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise RequestError(400, "JSON_PARSER_ERROR", "A list of records is expected.")
    if not 1 <= len(records) <= RECORDS_MAX:
        raise RequestError(400, "INVALID_INPUT", f"The number of records must be between 1 and {RECORDS_MAX}.")
    return records


def _json(request: Request) -> Any:
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise RequestError(415, "UNSUPPORTED_MEDIA_TYPE", "The content type must be application/json.")
    try:
        return request.json()
    except ValueError:
        raise RequestError(400, "JSON_PARSER_ERROR", "Unexpected character at [line:1, column:1]") from None


def _allows_duplicates(request: Request) -> bool:
    return "allowsave=true" in request.headers.get("sforce-duplicate-rule-header", "").lower().replace(" ", "")


def _not_found() -> RequestError:
    return RequestError(404, "NOT_FOUND", "The requested resource does not exist")


STAND_IN = SalesforceStandIn
