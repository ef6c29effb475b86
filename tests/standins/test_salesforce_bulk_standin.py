"""Bulk API 2.0 of the Salesforce stand-in, asked over plain HTTP and without our adapter."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Server
from tests.standins.test_salesforce_standin import Caller, code

INGEST = "/jobs/ingest"
QUERY = "/jobs/query"
KEY = "Product_User_Id__c"
UPSERT = {"object": "Contact", "operation": "upsert", "externalIdFieldName": KEY, "contentType": "CSV"}
INSERT = {"object": "Contact", "operation": "insert"}
UPDATE = {"object": "Contact", "operation": "update"}


@pytest.fixture
def standin() -> Iterator[SalesforceStandIn]:
    service = SalesforceStandIn()
    with Server({"": service}):
        yield service


class BulkCaller(Caller):
    """Asks for the steps of jobs."""

    def create(self, **job: Any) -> str:
        answer = self.ask("POST", INGEST, json=job)

        assert 200 == answer.status_code
        return str(answer.json()["id"])

    def upload(self, job_id: str, text: str, kind: str = "text/csv") -> requests.Response:
        return self.ask("PUT", f"{INGEST}/{job_id}/batches", data=text.encode(), headers={"Content-Type": kind})

    def change(self, job_id: str, state: str) -> requests.Response:
        return self.ask("PATCH", f"{INGEST}/{job_id}", json={"state": state})

    def look(self, job_id: str, path: str = INGEST) -> dict[str, Any]:
        shown: dict[str, Any] = self.ask("GET", f"{path}/{job_id}").json()
        return shown

    def ended(self, text: str, **job: Any) -> str:
        """A job that was created, given the file and closed, and is past its looks."""
        job_id = self.create(**job)

        assert 201 == self.upload(job_id, text).status_code
        assert 200 == self.change(job_id, "UploadComplete").status_code
        self.look(job_id)
        self.look(job_id)
        return job_id

    def rows(self, job_id: str, name: str) -> list[dict[str, str]]:
        answer = self.ask("GET", f"{INGEST}/{job_id}/{name}")

        assert 200 == answer.status_code
        return list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))

    def errors(self, job_id: str) -> list[str]:
        return [row["sf__Error"].partition(":")[0] for row in self.rows(job_id, "failedResults")]


@pytest.fixture
def caller(standin: SalesforceStandIn) -> Iterator[BulkCaller]:
    made = BulkCaller(standin)
    yield made
    made.session.close()


def put_contacts(standin: SalesforceStandIn, count: int) -> list[str]:
    return [standin.put("Contact", LastName=f"P {number}", **{KEY: f"u_{number}"}) for number in range(count)]


def titles(standin: SalesforceStandIn) -> list[Any]:
    return [record["Title"] for record in standin.records("Contact")]


# One job's life


def test_job_goes_from_state_to_state(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """A job is Open, UploadComplete, InProgress, JobComplete, in this order, and says how many rows were done."""
    put_contacts(standin, 2)
    standin.ingest.delay = 2
    job_id = caller.create(**UPSERT)
    states = [caller.look(job_id)["state"]]
    caller.upload(job_id, f"{KEY},Title\nu_0,hot\nu_1,{'x' * 200}\n")
    caller.change(job_id, "UploadComplete")
    looks = [caller.look(job_id) for _ in range(4)]
    states += [look["state"] for look in looks]

    assert ["Open", "UploadComplete", "InProgress", "JobComplete", "JobComplete"] == states
    assert (2, 1) == (looks[-1]["numberRecordsProcessed"], looks[-1]["numberRecordsFailed"])
    assert ["hot", None] == titles(standin)


def test_job_runs_without_being_looked_at(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """What was closed is processed in the end, whether or not somebody asks."""
    put_contacts(standin, 1)
    job_id = caller.create(**UPSERT)
    caller.upload(job_id, f"{KEY},Title\nu_0,hot\n")
    caller.change(job_id, "UploadComplete")
    standin.ingest.run()

    assert ["hot"] == titles(standin)


@pytest.mark.parametrize(
    ("job", "error"),
    [
        ({"object": "Nothing", "operation": "insert"}, "INVALIDENTITY"),
        ({"object": "Contact", "operation": "merge"}, "INVALIDJOB"),
        ({"object": "Contact", "operation": "upsert"}, "INVALIDJOB"),
        ({"object": "Contact", "operation": "upsert", "externalIdFieldName": "Email"}, "INVALIDJOB"),
        ({**INSERT, "externalIdFieldName": KEY}, "INVALIDJOB"),
        ({**INSERT, "contentType": "JSON"}, "INVALIDJOB"),
        ({**INSERT, "lineEnding": "CR"}, "INVALIDJOB"),
        ({**INSERT, "columnDelimiter": ","}, "INVALIDJOB"),
        ({**INSERT, "lineending": "LF"}, "JSON_PARSER_ERROR"),
    ],
)
def test_refuses_a_wrong_job(caller: BulkCaller, job: dict[str, str], error: str) -> None:
    """A job that can never work is refused when it is made."""

    assert (400, error) == code(caller.ask("POST", INGEST, json=job))


def test_email_is_a_key_where_the_switch_says_so(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """Whether a field with idLookup only can be the key of an upsert is a switch."""
    standin.email_is_key = True

    assert 200 == caller.ask("POST", INGEST, json=UPSERT | {"externalIdFieldName": "Email"}).status_code


def test_uploads_are_taken_once(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """The second file of a job is refused, and the first one stays."""
    put_contacts(standin, 1)
    job_id = caller.create(**UPSERT)
    first = caller.upload(job_id, f"{KEY},Title\nu_0,first\n")
    second = caller.upload(job_id, f"{KEY},Title\nu_0,second\n")
    caller.change(job_id, "UploadComplete")
    standin.ingest.run()

    assert (201, b"") == (first.status_code, first.content)
    assert (400, "INVALIDJOB") == code(second)
    assert ["first"] == titles(standin)


def test_uploads_have_a_type_and_a_size(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """A file that is no CSV by its type, or is over the limit, is refused, with the status of the switch."""
    standin.ingest.upload_bytes_max = 20
    job_id = caller.create(**UPSERT)

    assert 415 == caller.upload(job_id, "Id\n", "application/json").status_code
    assert 413 == caller.upload(job_id, "Id,Title\n" * 3).status_code
    standin.ingest.too_large_status = 400
    assert 400 == caller.upload(job_id, "Id,Title\n" * 3).status_code
    assert 201 == caller.upload(job_id, "Id,Title\n").status_code


def test_steps_out_of_order_are_refused(caller: BulkCaller) -> None:
    """Closing without a file or twice, results too early, and anything after the end are refused."""
    job_id = caller.create(**UPSERT)
    early = caller.ask("GET", f"{INGEST}/{job_id}/successfulResults/")
    unfilled = caller.change(job_id, "UploadComplete")
    caller.upload(job_id, f"{KEY},Title\n")
    caller.change(job_id, "UploadComplete")
    again = caller.change(job_id, "UploadComplete")
    late = caller.upload(job_id, f"{KEY},Title\n")
    caller.look(job_id)
    caller.look(job_id)

    assert "JobComplete" == caller.look(job_id)["state"]
    assert [400] * 6 == [
        answer.status_code
        for answer in (early, unfilled, again, late, caller.change(job_id, "Aborted"), caller.change(job_id, "Open"))
    ]


def test_jobs_are_listed_and_deleted(caller: BulkCaller) -> None:
    """Jobs are in the list until they are deleted, which one that is at work cannot be."""
    job_id = caller.create(**UPSERT)
    refused = caller.ask("DELETE", f"{INGEST}/{job_id}")
    caller.change(job_id, "Aborted")
    listed = caller.ask("GET", INGEST).json()

    assert (400, "INVALIDJOBSTATE") == code(refused)
    assert [(job_id, "Aborted")] == [(job["id"], job["state"]) for job in listed["records"]]
    assert 204 == caller.ask("DELETE", f"{INGEST}/{job_id}").status_code
    assert (404, "NOT_FOUND") == code(caller.ask("GET", f"{INGEST}/{job_id}"))


def test_jobs_are_forgotten(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """After its time a job is gone, and what it did stays done."""
    put_contacts(standin, 1)
    job_id = caller.create(**UPSERT)
    caller.upload(job_id, f"{KEY},Title\nu_0,hot\n")
    caller.change(job_id, "UploadComplete")
    standin.ingest.expire()

    assert 404 == caller.ask("GET", f"{INGEST}/{job_id}/failedResults").status_code
    assert ["hot"] == titles(standin)


def test_content_url_leads_to_the_upload(caller: BulkCaller) -> None:
    """A job that is open says where its file goes."""
    shown = caller.ask("POST", INGEST, json=UPSERT).json()

    assert f"services/data/v66.0/jobs/ingest/{shown['id']}/batches" == shown["contentUrl"]


# Files


def test_unknown_column_fails_the_job(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """A column that is no field fails the job in the service's words, and every row stays unprocessed."""
    put_contacts(standin, 1)
    job_id = caller.ended(f"{KEY},Title,Nothing__c\nu_0,hot,1\n", **UPSERT)
    look = caller.look(job_id)

    assert ("Failed", "InvalidBatch : Field name not found : Nothing__c") == (look["state"], look["errorMessage"])
    assert [{KEY: "u_0", "Title": "hot", "Nothing__c": "1"}] == caller.rows(job_id, "unprocessedrecords")
    assert [None] == titles(standin)


@pytest.mark.parametrize(
    "text",
    [
        f"{KEY},Title\r\nu_0,hot\r\n",
        f"{KEY},Title\nu_0\n",
        f'{KEY},Title\nu_0,"hot\n',
        f"{KEY},Title,Title\nu_0,a,b\n",
        f"{KEY},Title\nu_0,{'x' * 32_001}\n",
        "",
    ],
    ids=["line ends", "too few", "open quote", "twice", "too long", "nothing"],
)
def test_unreadable_file_fails_the_job(standin: SalesforceStandIn, caller: BulkCaller, text: str) -> None:
    """A file with other line ends than the job says, or that is no clean CSV, fails the job."""
    put_contacts(standin, 1)
    job_id = caller.ended(text, **UPSERT)

    assert "Failed" == caller.look(job_id)["state"]
    assert [None] == titles(standin)


def test_line_ends_and_delimiters_are_as_declared(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """A job may have other line ends and delimiters, and its results have them too."""
    put_contacts(standin, 1)
    job_id = caller.ended(
        f"{KEY};Title\r\nu_0;hot, or not\r\n", **UPSERT, lineEnding="CRLF", columnDelimiter="SEMICOLON"
    )
    answer = caller.ask("GET", f"{INGEST}/{job_id}/successfulResults")

    assert ["hot, or not"] == titles(standin)
    assert b'"sf__Id";"sf__Created";"Product_User_Id__c";"Title"\r\n' == answer.content.splitlines(keepends=True)[0]


def test_empty_leaves_and_the_null_word_clears(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """An empty field changes nothing; #N/A sets null."""
    put_contacts(standin, 2)
    caller.ended(f"{KEY},Title,Department\nu_0,hot,team\nu_1,hot,team\n", **UPSERT)
    caller.ended(f"{KEY},Title,Department\nu_0,,#N/A\nu_1,#N/A,\n", **UPSERT)

    assert [("hot", None), (None, "team")] == [(one["Title"], one["Department"]) for one in standin.records("Contact")]


@pytest.mark.parametrize("names_charset", [True, False])
def test_strange_texts_come_back_quoted(standin: SalesforceStandIn, caller: BulkCaller, names_charset: bool) -> None:
    """Commas, quotes, line breaks and umlauts arrive, and are in the results as they were sent, always in UTF-8."""
    put_contacts(standin, 1)
    standin.ingest.names_charset = names_charset
    job_id = caller.ended(f'{KEY},Title\nu_0,"Zoë, ""Chief""\nof all"\n', **UPSERT)
    answer = caller.ask("GET", f"{INGEST}/{job_id}/successfulResults")

    assert ['Zoë, "Chief"\nof all'] == titles(standin)
    assert ("text/csv; charset=UTF-8" if names_charset else "text/csv") == answer.headers["Content-Type"]
    assert '"u_0","Zoë, ""Chief""\nof all"\n' in answer.content.decode()


def test_values_have_the_forms_of_csv(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """Booleans are true and false, datetimes ISO with a zone, numbers plain; other forms refuse the row."""
    standin.add_field("Contact", "Is__c", "boolean")
    header = f"{KEY},LastName,Is__c,Activation_Score__c,Score_Computed_At__c,Birthdate"
    good = ["true,41.5,2026-01-01T00:00:00.000Z,2026-01-31"]
    bad = [
        "True,1,2026-01-01T00:00:00Z,2026-01-01",
        "true,1e3,2026-01-01T00:00:00Z,2026-01-01",
        "true,1,2026-01-01 00:00:00+00:00,2026-01-01",
        "true,1,2026-01-01T00:00:00Z,01.01.2026",
    ]
    rows = [f"u_{number},A,{rest}" for number, rest in enumerate(good + bad)]
    job_id = caller.ended("\n".join([header, *rows, ""]), **INSERT)

    assert ["u_0"] == [row[KEY] for row in caller.rows(job_id, "successfulResults")]
    assert ["INVALID_TYPE_ON_FIELD_IN_RECORD"] * 4 == caller.errors(job_id)


# Rows


def test_rows_pass_the_rules_of_records(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """Each row is refused as a single record would be: `CODE:message:field --`, with our columns behind it."""
    put_contacts(standin, 1)
    standin.put("Contact", LastName="Twin", Email="twin@example.com")
    job_id = caller.ended(f"{KEY},Activation_Band__c\nu_0,tepid\n", **UPSERT)

    assert [
        {
            "sf__Id": "",
            "sf__Error": "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST:Activation Band: bad value for restricted picklist "
            "field: tepid:Activation_Band__c --",
            KEY: "u_0",
            "Activation_Band__c": "tepid",
        }
    ] == caller.rows(job_id, "failedResults")
    assert [] == caller.rows(job_id, "successfulResults")


def test_upserts_create_and_update(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """An upsert updates what is there and creates what is not, and its results say which."""
    ids = put_contacts(standin, 1)
    job_id = caller.ended(f"{KEY},LastName\nu_0,Known\nu_1,New\n,No key\n", **UPSERT)
    created = {row[KEY]: (row["sf__Created"], row["sf__Id"]) for row in caller.rows(job_id, "successfulResults")}

    assert ("false", ids[0]) == created["u_0"]
    assert "true" == created["u_1"][0]
    assert ["Known", "New"] == [record["LastName"] for record in standin.records("Contact")]
    assert ["MISSING_ARGUMENT"] == caller.errors(job_id)


def test_updates_and_deletions_go_by_id(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """An update or a deletion needs an Id that is there, and creates nothing."""
    ids = put_contacts(standin, 2)
    job_id = caller.ended(f"Id,Title\n{ids[0]},hot\n003000000000999AAA,hot\n,hot\n", **UPDATE)
    caller.ended(f"Id\n{ids[1]}\n", object="Contact", operation="delete")

    assert ["INVALID_CROSS_REFERENCE_KEY", "MISSING_ARGUMENT"] == sorted(caller.errors(job_id))
    assert ["hot"] == titles(standin)


def test_one_key_is_taken_once(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """Two rows of one key refuse each other, also in another spelling."""
    put_contacts(standin, 1)
    job_id = caller.ended(f"{KEY},Title\nu_0,a\nU_0,b\n", **UPSERT)

    assert ["DUPLICATE_VALUE"] * 2 == caller.errors(job_id)


def test_locked_rows_fail_alone(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """A row whose record is locked fails with the lock's code; the others are done."""
    ids = put_contacts(standin, 2)
    standin.org.locked[ids[0]] = 1
    job_id = caller.ended(f"{KEY},Title\nu_0,hot\nu_1,hot\n", **UPSERT)

    assert ["UNABLE_TO_LOCK_ROW"] == caller.errors(job_id)
    assert [None, "hot"] == titles(standin)


@pytest.mark.parametrize("takes", [True, False])
def test_duplicate_rule_header(standin: SalesforceStandIn, caller: BulkCaller, takes: bool) -> None:
    """Whether the duplicate-rule header at a job's creation lets its rows pass is a switch."""
    standin.org.duplicate_emails.add("twin@example.com")
    standin.ingest.takes_duplicate_header = takes
    headers = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}
    job_id = caller.ask("POST", INGEST, json=INSERT, headers=headers).json()["id"]
    caller.upload(job_id, "LastName,Email\nTwin,twin@example.com\n")
    caller.change(job_id, "UploadComplete")
    standin.ingest.run()

    assert ([] if takes else ["DUPLICATES_DETECTED"]) == caller.errors(job_id)


# Ends


def test_results_are_not_in_order(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """Every row comes back once, and not in the order in which it was sent."""
    put_contacts(standin, 30)
    keys = [f"u_{number}" for number in range(30)]
    job_id = caller.ended("\n".join([f"{KEY},Title", *(f"{key},hot" for key in keys), ""]), **UPSERT)
    found = [row[KEY] for row in caller.rows(job_id, "successfulResults")]

    assert sorted(keys) == sorted(found)
    assert keys != found


def test_job_fails_in_the_middle(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """A job that fails on its way has done some rows, and says which it has not."""
    put_contacts(standin, 4)
    standin.ingest.fails_after = 3
    job_id = caller.ended("\n".join([f"{KEY},Title", *(f"u_{number},hot" for number in range(4)), ""]), **UPSERT)

    assert "Failed" == caller.look(job_id)["state"]
    assert ["hot", "hot", "hot", None] == titles(standin)
    assert 3 == len(caller.rows(job_id, "successfulResults"))
    assert ["u_3"] == [row[KEY] for row in caller.rows(job_id, "unprocessedrecords")]


def test_aborted_job_stays_half_done(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """What a job did before it was aborted stays done, and nothing more comes."""
    put_contacts(standin, 4)
    job_id = caller.create(**UPSERT)
    caller.upload(job_id, "\n".join([f"{KEY},Title", *(f"u_{number},hot" for number in range(4)), ""]))
    caller.change(job_id, "UploadComplete")
    caller.look(job_id)
    aborted = caller.change(job_id, "Aborted")
    standin.ingest.run()

    assert ("Aborted", 2) == (aborted.json()["state"], aborted.json()["numberRecordsProcessed"])
    assert ["hot", "hot", None, None] == titles(standin)
    assert 2 == len(caller.rows(job_id, "unprocessedrecords"))


def test_results_can_be_cut_short(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """A result file may have fewer rows than the job counts, where the switch says so."""
    put_contacts(standin, 3)
    standin.ingest.results_cut = 1
    job_id = caller.ended("\n".join([f"{KEY},Title", *(f"u_{number},hot" for number in range(3)), ""]), **UPSERT)

    assert 3 == caller.look(job_id)["numberRecordsProcessed"]
    assert 2 == len(caller.rows(job_id, "successfulResults"))


def test_results_can_come_in_pieces(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """Where the switch says so, a result file comes in pieces, each with the locator of the next."""
    put_contacts(standin, 3)
    standin.ingest.piece_rows = 2
    job_id = caller.ended("\n".join([f"{KEY},Title", *(f"u_{number},hot" for number in range(3)), ""]), **UPSERT)
    first = caller.ask("GET", f"{INGEST}/{job_id}/successfulResults")
    second = caller.ask("GET", f"{INGEST}/{job_id}/successfulResults", params={"locator": "2"})

    assert ("2", "null") == (first.headers["Sforce-Locator"], second.headers["Sforce-Locator"])
    assert (3, 2) == (first.text.count("\n"), second.text.count("\n"))


def test_batches_count_against_the_limit(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """Each 10,000 rows are a batch of the daily limit, and each query job counts too."""
    put_contacts(standin, 1)
    caller.ended(f"{KEY},Title\nu_0,hot\n", **UPSERT)
    caller.ended("\n".join([f"{KEY},Title", *(f"x_{number},hot" for number in range(10_001)), ""]), **UPSERT)
    caller.ask("POST", QUERY, json={"operation": "query", "query": "SELECT Id FROM Contact"})
    limits = caller.ask("GET", "/limits").json()

    assert {"Max": 15_000, "Remaining": 14_997} == limits["DailyBulkApiBatches"]
    assert {"Max": 10_000, "Remaining": 9_999} == limits["DailyBulkV2QueryJobs"]


@pytest.mark.parametrize("step", ["upload", "close", "look", "results"])
def test_token_may_end_between_two_steps(standin: SalesforceStandIn, caller: BulkCaller, step: str) -> None:
    """Every step of a job needs a token that is good at that moment."""
    job_id = caller.create(**UPSERT)
    steps = {
        "upload": lambda: caller.upload(job_id, f"{KEY}\n"),
        "close": lambda: caller.change(job_id, "UploadComplete"),
        "look": lambda: caller.ask("GET", f"{INGEST}/{job_id}"),
        "results": lambda: caller.ask("GET", f"{INGEST}/{job_id}/failedResults"),
    }
    standin.tokens.revoke()

    assert (401, "INVALID_SESSION_ID") == code(steps[step]())


# Query jobs


def test_query_job_gives_pages(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """A query job's rows come in pages with a header each; the locator leads on, until it is the word null."""
    standin.add_field("Contact", "Is__c", "boolean")
    ids = put_contacts(standin, 5)
    standin.put("Contact", LastName="No user")
    body = {"operation": "query", "query": f"SELECT Id, {KEY}, Is__c FROM Contact WHERE {KEY} != null"}
    job_id = caller.ask("POST", QUERY, json=body).json()["id"]
    early = caller.ask("GET", f"{QUERY}/{job_id}/results")
    states = [caller.look(job_id, QUERY)["state"] for _ in range(2)]
    pages, locator = [], ""
    while locator != "null":
        params = {"maxRecords": "2"} | ({"locator": locator} if locator else {})
        pages.append(caller.ask("GET", f"{QUERY}/{job_id}/results", params=params))
        locator = pages[-1].headers["Sforce-Locator"]
    rows = [row for page in pages for row in csv.DictReader(io.StringIO(page.text))]

    assert 400 == early.status_code
    assert ["InProgress", "JobComplete"] == states
    assert ["2", "2", "1"] == [page.headers["Sforce-NumberOfRecords"] for page in pages]
    assert [{"Id": one, KEY: f"u_{n}", "Is__c": "false"} for n, one in enumerate(ids)] == rows


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("SELECT Id", "MALFORMED_QUERY"),
        ("SELECT Nothing__c FROM Contact", "INVALID_FIELD"),
        ("SELECT Id FROM Nothing", "INVALID_TYPE"),
        ("SELECT COUNT() FROM Contact", "API_ERROR"),
    ],
)
def test_refuses_a_wrong_query_job(caller: BulkCaller, query: str, error: str) -> None:
    """A query that can never work, or only counts, is refused when the job is made."""

    assert (400, error) == code(caller.ask("POST", QUERY, json={"operation": "query", "query": query}))


def test_query_jobs_fail_end_and_go(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """A query job may fail, may be aborted before its end, and is deleted after it."""
    body = {"operation": "query", "query": "SELECT Id FROM Contact"}
    standin.bulk_query.fails, standin.bulk_query.delay = True, 0
    failed = caller.ask("POST", QUERY, json=body).json()["id"]
    aborted = caller.ask("POST", QUERY, json=body).json()["id"]

    assert "Failed" == caller.look(failed, QUERY)["state"]
    assert 400 == caller.ask("DELETE", f"{QUERY}/{aborted}").status_code
    assert "Aborted" == caller.ask("PATCH", f"{QUERY}/{aborted}", json={"state": "Aborted"}).json()["state"]
    assert 204 == caller.ask("DELETE", f"{QUERY}/{aborted}").status_code
    assert 404 == caller.ask("GET", f"{QUERY}/{aborted}").status_code


def test_counting_gives_a_number_only(standin: SalesforceStandIn, caller: BulkCaller) -> None:
    """COUNT() answers how many records there are, and none of them."""
    put_contacts(standin, 3)
    answer = caller.query(f"SELECT COUNT() FROM Contact WHERE {KEY} != null").json()

    assert {"totalSize": 3, "done": True, "records": []} == answer
