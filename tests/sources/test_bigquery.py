"""The BigQuery source: Google's own clients, over HTTP and gRPC, against a stand-in on loopback."""

from __future__ import annotations

import datetime
import gc
import random
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest
import structlog

from destinations.standins.server import Answer
from syncer.errors import ServiceUnavailable, UserError
from syncer.mapping import Brakes, Field, Sync
from syncer.source import Reading
from syncer.sources.bigquery import BigQuery, Patience
from tests.sources.bigquery_here import BigQueryHere, reading_threads, users
from tests.standins.bigquery import MIB, error
from tests.standins.bigquery.catalog import Stored
from tests.standins.bigquery.storage import Fault

USER_ID = {"name": "user_id", "type": "STRING"}


def sync(source: str | None = "activation.users", **options: Any) -> Sync:
    made: dict[str, Any] = {
        "name": "salesforce.contacts",
        "destination": "salesforce",
        "source": source,
        "key": "user_id",
        "object": "Contact",
        "match": {"Product_User_Id__c": "user_id"},
        "fields": (Field(name="Score__c", column="score"),),
        "brakes": Brakes(),
        "file": Path("mappings/salesforce.toml"),
    }
    return Sync(**(made | options))


def query(text: str, **options: Any) -> Sync:
    return sync(None, query=text, **options)


def taken(reading: Reading) -> pa.Table:
    """All rows of a reading, sorted by the first column."""
    try:
        table = reading.batches.read_all()
    finally:
        reading.close()
    return table.sort_by(table.schema.names[0])


def refused(source: BigQuery, one: Sync, columns: tuple[str, ...] = ("user_id",)) -> str:
    with pytest.raises(UserError) as caught:
        taken(source.read(one, columns))
    return str(caught.value)


class TestTables:
    def test_a_table_is_read_through_a_session_and_no_query_runs(self, here: BigQueryHere) -> None:
        """A plain table's mapped columns come whole through the Storage Read API, and no job is made."""
        here.users(1000)

        reading = here.source().read(sync(), ("user_id", "score"))
        rows = taken(reading)

        assert users(1000).select(["user_id", "score"]).to_pylist() == rows.to_pylist()
        assert {} == here.rest.jobs
        assert ["user_id", "score"] == list(here.storage.sessions[0].read_session.read_options.selected_fields)
        assert (0.0, "USD") == (reading.price, reading.currency)
        assert None is not reading.bytes_read

    def test_several_streams_are_read(self, here: BigQueryHere) -> None:
        """A session has at most four streams, each is read once, and their rows add up."""
        here.users(1000)
        here.storage.streams_max = 10

        rows = taken(here.source().read(sync(), ("user_id",)))

        assert 1000 == len(set(rows["user_id"].to_pylist()))
        assert 4 == here.storage.sessions[0].max_stream_count
        assert [0, 0, 0, 0] == [offset for _, offset in here.storage.reads]

    def test_a_condition_is_applied_by_the_server(self, here: BigQueryHere) -> None:
        """`where` of a table is the session's row restriction."""
        here.users(100)

        rows = taken(here.source().read(sync(where="is_active"), ("user_id",)))

        assert 50 == rows.num_rows
        assert "is_active" == here.storage.sessions[0].read_session.read_options.row_restriction

    def test_a_condition_that_the_server_cannot_apply_is_told(self, here: BigQueryHere) -> None:
        """A row restriction that is refused becomes a sentence about `where`."""
        here.users(10)

        sentence = refused(here.source(), sync(where="nothing_such > 1"))

        assert sentence.startswith("where: BigQuery cannot filter")
        assert "write a `query`" in sentence

    def test_an_empty_table_is_an_empty_reading(self, here: BigQueryHere) -> None:
        """A session without streams gives no rows, and the columns all the same."""
        here.users(0)

        rows = taken(here.source().read(sync(), ("user_id", "score")))

        assert (0, ["user_id", "score"]) == (rows.num_rows, rows.schema.names)

    def test_a_table_of_another_project_is_read_on_our_account(self, here: BigQueryHere) -> None:
        """The session's parent is the paying project, wherever the table lies."""
        other = here.users(10)
        here.warehouse.tables["elsewhere.activation.users"] = Stored(
            "elsewhere", "activation", "users", other.fields, other.rows
        )

        rows = taken(here.source().read(sync("elsewhere.activation.users"), ("user_id",)))

        session = here.storage.sessions[0]
        assert 10 == rows.num_rows
        assert "projects/acme" == session.parent
        assert "projects/elsewhere/datasets/activation/tables/users" == session.read_session.table

    def test_a_stream_that_ends_too_early_fails_the_read(self, here: BigQueryHere) -> None:
        """Fewer rows than the table has are an error, however well the streams ended."""
        here.users(1000)
        here.storage.faults = [Fault("end", after_rows=50, stream=1)]

        with pytest.raises(
            ServiceUnavailable, match=r"sent 800 rows of activation\.users and says that there are 1,000"
        ):
            taken(here.source().read(sync(), ("user_id",)))

    def test_the_count_is_not_asked_of_a_table_that_changes(self, here: BigQueryHere) -> None:
        """While rows are streamed into a table, its count is known to lag, and is not held against the read."""
        here.users(100).is_streamed_into = True
        here.rest.switches.rows_claimed = 90

        assert 100 == taken(here.source().read(sync(), ("user_id",))).num_rows


class TestTypes:
    FIELDS = (
        ("a_string", "STRING", pa.string(), "é", {}),
        ("a_json", "JSON", pa.string(), '{"a":1}', {}),
        ("a_geography", "GEOGRAPHY", pa.string(), "POINT(1 2)", {}),
        ("an_integer", "INTEGER", pa.int64(), 2**53 + 1, {}),
        ("a_float", "FLOAT", pa.float64(), 41.5, {}),
        ("a_numeric", "NUMERIC", pa.decimal128(38, 9), Decimal("1.500000001"), {}),
        ("a_price", "NUMERIC", pa.decimal128(10, 2), Decimal("12.34"), {"precision": "10", "scale": "2"}),
        ("a_whole", "NUMERIC", pa.decimal128(10, 0), Decimal(7), {"precision": "10"}),
        ("a_bignumeric", "BIGNUMERIC", pa.decimal256(76, 38), Decimal("0.00000000000000000000000000000000000001"), {}),
        ("a_boolean", "BOOLEAN", pa.bool_(), True, {}),
        ("some_bytes", "BYTES", pa.binary(), b"\x00\xff", {}),
        ("a_date", "DATE", pa.date32(), datetime.date(2026, 11, 22), {}),
        ("a_time", "TIME", pa.time64("us"), datetime.time(1, 2, 3, 4), {}),
        ("a_datetime", "DATETIME", pa.timestamp("us"), datetime.datetime(2026, 11, 22, 1, 2, 3, 4), {}),  # noqa: DTZ001 - DATETIME has no zone.
        (
            "a_timestamp",
            "TIMESTAMP",
            pa.timestamp("us", tz="UTC"),
            datetime.datetime(2026, 11, 22, 1, 2, 3, 4, datetime.UTC),
            {},
        ),
    )

    def put(self, here: BigQueryHere) -> None:
        fields = [{"name": name, "type": kind, "mode": "NULLABLE", **more} for name, kind, _, _, more in self.FIELDS]
        rows = pa.table({name: pa.array([value, None], arrow) for name, _, arrow, value, _ in self.FIELDS})
        here.warehouse.put("activation.types", rows, fields)
        # Streams arrive in any order; the two rows are to come in theirs.
        here.storage.streams_max = 1

    @pytest.mark.parametrize("way", ["streams", "pages"])
    def test_every_type_arrives_as_documented(self, here: BigQueryHere, way: str) -> None:
        """Each type of BigQuery has one Arrow type in schema, streams and pages, and its values and nulls survive."""
        self.put(here)
        if way == "pages":
            here.storage.denied = "bigquery.readsessions.create"
        names = tuple(name for name, *_ in self.FIELDS)

        schema = here.source().schema(sync("activation.types"))
        rows = here.source().read(sync("activation.types"), names).batches.read_all()

        assert [(name, arrow) for name, _, arrow, _, _ in self.FIELDS] == [(field.name, field.type) for field in schema]
        assert schema.types == rows.schema.types
        assert [{name: value for name, _, _, value, _ in self.FIELDS}, dict.fromkeys(names)] == rows.to_pylist()

    @pytest.mark.parametrize("way", ["streams", "pages", "query"])
    def test_a_path_selects_a_part_of_a_struct(self, here: BigQueryHere, way: str) -> None:
        """`a.b` is the part b of the STRUCT a, null where a is, and the schema names it so."""
        inner = pa.struct(
            [("usage", pa.float64()), ("deep", pa.struct([("flag", pa.bool_())])), ("other", pa.string())]
        )
        rows = pa.table(
            {
                "user_id": ["a", "b", "c"],
                "parts": pa.array([{"usage": 1.5, "deep": {"flag": True}, "other": "x"}, None, {"usage": None}], inner),
            }
        )
        here.warehouse.put("activation.users", rows)
        if way == "pages":
            here.storage.denied = "bigquery.readsessions.create"
        one = query("SELECT * FROM activation.users") if way == "query" else sync()

        schema = here.source().schema(one)
        read = taken(here.source().read(one, ("user_id", "parts.usage", "parts.deep.flag")))

        assert ["user_id", "parts", "parts.usage", "parts.deep", "parts.deep.flag", "parts.other"] == schema.names
        assert [
            {"user_id": "a", "parts.usage": 1.5, "parts.deep.flag": True},
            {"user_id": "b", "parts.usage": None, "parts.deep.flag": None},
            {"user_id": "c", "parts.usage": None, "parts.deep.flag": None},
        ] == read.to_pylist()

    def test_what_cannot_be_read_is_told_at_once(self, here: BigQueryHere) -> None:
        """Unknown columns, ARRAY, STRUCT and exotic types are refused together, each with a way out."""
        fields = [
            {"name": "score", "type": "FLOAT"},
            {"name": "tags", "type": "STRING", "mode": "REPEATED"},
            {"name": "parts", "type": "RECORD", "fields": [{"name": "a", "type": "STRING"}]},
            {"name": "span", "type": "INTERVAL"},
        ]
        rows = pa.table(
            {
                "score": [1.0],
                "tags": [["x"]],
                "parts": [{"a": "x"}],
                "span": pa.array([None], pa.month_day_nano_interval()),
            }
        )
        here.warehouse.put("activation.users", rows, fields)

        sentences = refused(here.source(), sync(), ("scores", "tags", "parts", "span")).splitlines()

        assert 4 == len(sentences)
        assert sentences[0].endswith("There is no column `scores` in activation.users. Did you mean `score`?")
        assert "`tags` is an ARRAY" in sentences[1]
        assert "`parts.…`" in sentences[2]
        assert "of type INTERVAL" in sentences[3]
        assert {} == here.rest.jobs

    def test_a_name_with_a_backquote_is_refused(self, here: BigQueryHere) -> None:
        """A table's name that could end its own quotation never becomes SQL or a path."""
        sentence = refused(here.source(), sync("activation.users` WHERE TRUE --"))

        assert "has a character that no name in BigQuery may have" in sentence
        assert [] == here.paths


class TestQueries:
    def test_a_query_runs_once_and_reads_the_mapped_columns(self, here: BigQueryHere) -> None:
        """A query is wrapped in a SELECT of the mapped columns with `where`, and its result is read by a session."""
        here.users(100)
        one = query("SELECT *, score * 2 AS twice FROM `acme.activation.users` -- all;", where="is_active -- only")

        reading = here.source().read(one, ("user_id", "twice"))
        rows = taken(reading)

        assert 50 == rows.num_rows
        assert {"user_id": "user_0002", "twice": 4.0} == rows.to_pylist()[1]
        assert 1 == len(here.rest.jobs)
        (job,) = here.rest.jobs.values()
        assert "SELECT `user_id` AS c1, `twice` AS c2\nFROM (\n" in job.body["configuration"]["query"]["query"]

    def test_a_job_says_whose_it_is(self, here: BigQueryHere) -> None:
        """A job has an id of ours, labels, a cap, its location, and no cache."""
        here.users(10)
        name = "Sales Force.Contacts." + "x" * 80

        taken(
            here.source(max_bytes_billed=100 * MIB).read(query("SELECT * FROM activation.users", name=name), ("score",))
        )

        ((job_id, job),) = here.rest.jobs.items()
        settings = job.body["configuration"]
        assert job_id.startswith("Sales-Force-Contacts-xxx")
        assert job_id.endswith("_read_1")
        assert {"syncer-sync": f"sales_force_contacts_{'x' * 42}", "syncer-run": "none"} == settings["labels"]
        assert 63 == len(settings["labels"]["syncer-sync"])
        assert (str(100 * MIB), False) == (settings["query"]["maximumBytesBilled"], settings["query"]["useQueryCache"])
        assert "EU" == job.body["jobReference"]["location"]

    def test_a_view_runs_as_a_query(self, here: BigQueryHere) -> None:
        """A view cannot be read directly, so a job selects its columns, with `where`."""
        here.users(100)
        here.warehouse.view("activation.active", "SELECT * FROM activation.users WHERE is_active")

        rows = taken(here.source().read(sync("activation.active", where="score < 10"), ("user_id", "score")))

        assert ["user_0000", "user_0002", "user_0004", "user_0006", "user_0008"] == rows["user_id"].to_pylist()
        assert 1 == len(here.rest.jobs)

    @pytest.mark.parametrize(
        ("options", "told"), [({}, (6.25, "USD")), ({"price_per_tib": 7.0, "currency": "EUR"}, (7.0, "EUR"))]
    )
    def test_what_a_query_costs_is_told(
        self, here: BigQueryHere, options: dict[str, Any], told: tuple[float, str]
    ) -> None:
        """The reading says how many bytes the query processed, and those billed at the price of the settings."""
        here.users(10)
        here.rest.switches.bytes_processed = 2**40
        source = here.source(max_bytes_billed=2**41, **options)

        reading = source.read(query("SELECT * FROM activation.users"), ("user_id",))
        taken(reading)

        assert (2**40, *told) == (reading.bytes_read, reading.price, reading.currency)

    def test_a_query_over_the_cap_is_refused_before_it_is_a_job(self, here: BigQueryHere) -> None:
        """A dry run comes first: what it expects above the cap is refused with both, their prices, and no job."""
        here.users(10)
        here.rest.switches.bytes_processed = 2 * 2**40

        sentence = refused(here.source(max_bytes_billed=2**40), query("SELECT * FROM activation.users"))

        assert (
            "query: Reading the query's result would bill about 2,199,023,255,552 bytes (12.50 USD), and "
            "`source.max_bytes_billed` allows 1,099,511,627,776 (6.25 USD). Nothing was read. Raise the cap, or read "
            "fewer columns."
        ) == sentence
        assert ({}, 2) == (here.rest.jobs, len(here.rest.dry_runs))

    def test_a_result_that_comes_short_fails_the_read(self, here: BigQueryHere) -> None:
        """As many rows as the query returned have to arrive."""
        here.users(1000)
        here.storage.faults = [Fault("end", after_rows=0, stream=0)]

        with pytest.raises(
            ServiceUnavailable, match="sent 750 rows of the query's result and says that there are 1,000"
        ):
            taken(here.source().read(query("SELECT * FROM activation.users"), ("user_id",)))

    def test_a_job_is_waited_for(self, here: BigQueryHere) -> None:
        """A job that says RUNNING is asked again until it is done."""
        here.users(10)
        here.rest.switches.running_polls = 4

        assert 10 == taken(here.source().read(query("SELECT * FROM activation.users"), ("user_id",))).num_rows

    def test_a_job_that_takes_too_long_is_cancelled(self, here: BigQueryHere) -> None:
        """Past its time a job is cancelled at BigQuery, and the sentence says so."""
        here.users(10)
        here.rest.switches.running_polls = 10**9
        hurried = Patience(wait_first_seconds=0.01, wait_max_seconds=0.02, job_seconds=0.1)

        sentence = refused(here.source(hurried), query("SELECT * FROM activation.users"))

        assert "took longer than" in sentence
        assert [True] == [job.is_cancelled for job in here.rest.jobs.values()]

    def test_a_lost_answer_finds_the_job_again(self, here: BigQueryHere) -> None:
        """When the answer to a new job gets lost, its repetition is a duplicate, and the first job's result is read."""
        here.users(10)
        here.rest.switches.hidden_polls = 2
        here.rest.trouble("lost", when=lambda request: request.method == "POST" and b"dryRun" not in request.body)

        rows = taken(here.source().read(query("SELECT * FROM activation.users"), ("user_id",)))

        assert 10 == rows.num_rows
        assert 1 == len(here.rest.jobs)
        assert 409 in [exchange.status for exchange in here.rest.log]

    @pytest.mark.parametrize("reason", ["backendError", "jobInternalError", "rateLimitExceeded"])
    def test_a_passing_failure_runs_again_under_the_next_id(self, here: BigQueryHere, reason: str) -> None:
        """A job that failed for a passing reason never runs again under its id, but under the next attempt's."""
        here.users(10)
        here.rest.switches.failures.append({"reason": reason, "message": "Try again."})

        rows = taken(here.source().read(query("SELECT * FROM activation.users"), ("user_id",)))

        assert 10 == rows.num_rows
        assert ["1", "2"] == [job_id.rsplit("_", 1)[1] for job_id in here.rest.jobs]

    def test_passing_failures_come_to_an_end(self, here: BigQueryHere) -> None:
        """After the last attempt the run is left to the next one, and its sentence names the reason."""
        here.users(10)
        here.rest.switches.failures.extend([{"reason": "backendError", "message": "Try again."}] * 9)

        with pytest.raises(ServiceUnavailable, match="backendError"):
            here.source().read(query("SELECT * FROM activation.users"), ("user_id",))

        assert 3 == len(here.rest.jobs)

    def test_requests_are_repeated(self, here: BigQueryHere) -> None:
        """A request that is answered with a passing error is asked again."""
        here.users(10)
        here.rest.trouble("status", times=2, answer=error(503, "backendError", "Try again."))

        assert 10 == taken(here.source().read(sync(), ("user_id",))).num_rows

    @pytest.mark.parametrize(
        "answer",
        [Answer(404, b'"text"', {"Content-Type": "application/json"}), Answer(200, []), Answer(200, {"schema": 7})],
    )
    def test_an_answer_of_another_form_is_told(self, here: BigQueryHere, answer: Answer) -> None:
        """What Google's own library falls over ends the run in a sentence."""
        here.users(10)
        here.rest.trouble("status", times=None, answer=answer)

        with pytest.raises(ServiceUnavailable, match="Google's own library cannot read"):
            here.source().read(sync(), ("user_id",))

    @pytest.mark.parametrize("column", [{"name": 7, "type": "STRING"}, {"name": "user_id", "type": [1]}], ids=str)
    def test_a_column_that_is_none_is_told(self, here: BigQueryHere, column: dict[str, object]) -> None:
        """A table whose schema names a column by a number, or its type by a list, ends the run in a sentence."""
        here.users(10)
        reference = {"projectId": "acme", "datasetId": "activation", "tableId": "users"}
        table = {"tableReference": reference, "type": "TABLE", "schema": {"fields": [column]}, "numRows": "10"}
        here.rest.trouble("status", times=None, answer=Answer(200, table))

        with pytest.raises(ServiceUnavailable, match=r"is no text|cannot read"):
            here.source().read(sync(), ("user_id",))

    def test_a_job_of_another_sort_is_told(self, here: BigQueryHere) -> None:
        """A query whose id is taken by a job of no known sort ends the run in a sentence."""
        taken_id = error(409, "duplicate", "Already Exists: Job acme:EU.7")
        job = Answer(200, {"jobReference": {"projectId": "acme", "jobId": "7"}, "configuration": {}})
        here.rest.trouble("status", times=None, answer=taken_id, when=lambda request: request.method == "POST")
        here.rest.trouble("status", times=None, answer=job, when=lambda request: request.method == "GET")

        with pytest.raises(ServiceUnavailable, match="job of another sort"):
            here.source().read(query("SELECT 1 AS user_id"), ("user_id",))

    def test_a_result_that_lies_nowhere_is_told(self, here: BigQueryHere) -> None:
        """A query that is done, and whose job names no table of its result, ends the run in a sentence."""
        here.users(10)
        job = {
            "jobReference": {"projectId": "acme", "jobId": "7", "location": "EU"},
            "configuration": {"query": {"query": "SELECT 1"}},
            "status": {"state": "DONE"},
            "jobComplete": True,
            "totalRows": "0",
            "schema": {"fields": [USER_ID]},
            "statistics": {"query": {"statementType": "SELECT", "schema": {"fields": [USER_ID]}}},
        }
        here.rest.trouble("status", times=None, answer=Answer(200, job))

        with pytest.raises(ServiceUnavailable, match="where the result"):
            here.source().read(query("SELECT 1 AS user_id"), ("user_id",))

    def test_a_server_that_never_answers_does_not_hang(self, here: BigQueryHere) -> None:
        """Each request has a time, and so have its repeats together."""
        here.users(10)
        here.rest.trouble("slow", times=None, seconds=0.5)
        hurried = Patience(repeat_seconds=0.3, wait_first_seconds=0.01, wait_max_seconds=0.02)

        with pytest.raises(ServiceUnavailable, match="no useful answer"):
            here.source(hurried, timeout=0.1).schema(sync())

    def test_the_schema_of_a_query_costs_nothing(self, here: BigQueryHere) -> None:
        """A query's columns come from a dry run: no job is made and no row is read."""
        here.users(10)

        schema = here.source().schema(query("SELECT user_id, score * 2 AS twice FROM activation.users;"))

        assert pa.schema([("user_id", pa.string()), ("twice", pa.float64())]) == schema
        assert ({}, []) == (here.rest.jobs, here.storage.sessions)

    def test_a_statement_that_is_no_select_is_refused(self, here: BigQueryHere) -> None:
        """A `query` that would change something is refused after its analysis."""
        here.users(10)

        sentence = refused(here.source(), query("DELETE FROM activation.users WHERE TRUE"))

        assert "is a DELETE statement. Write a single SELECT." in sentence
        assert {} == here.rest.jobs


class TestStreams:
    @pytest.mark.parametrize(
        ("code", "after"),
        [
            (grpc.StatusCode.UNAVAILABLE, 130),
            (grpc.StatusCode.INTERNAL, 130),
            (grpc.StatusCode.INTERNAL, 0),
            (grpc.StatusCode.DEADLINE_EXCEEDED, 57),
        ],
    )
    def test_a_stream_that_breaks_off_is_read_on(self, here: BigQueryHere, code: grpc.StatusCode, after: int) -> None:
        """A broken stream is taken up at the row where it broke off: nothing is missing and nothing doubled."""
        here.users(1000)
        here.storage.faults = [Fault("error", code, "something internal", after, stream=1)]

        rows = taken(here.source().read(sync(), ("user_id",)))

        assert users(1000)["user_id"].to_pylist() == rows["user_id"].to_pylist()
        assert after in [offset for name, offset in here.storage.reads if name.endswith("/1")][1:]

    @pytest.mark.parametrize("after", [0, 120])
    def test_a_silent_stream_is_cancelled_and_read_on(self, here: BigQueryHere, after: int) -> None:
        """A stream that sends nothing is cancelled after a while, also before its first row, and nothing is lost."""
        here.users(1000)
        here.storage.faults = [Fault("stall", after_rows=after, stream=2)]

        rows = taken(here.source(timeout=0.4).read(sync(), ("user_id",)))

        assert users(1000)["user_id"].to_pylist() == rows["user_id"].to_pylist()
        assert 1 == here.storage.stalls
        assert [0, after] == [offset for name, offset in here.storage.reads if name.endswith("/2")]

    def test_a_stream_that_gets_nowhere_is_given_up(self, here: BigQueryHere) -> None:
        """After a few breaks in a row without a new row the read fails, in words."""
        here.users(1000)
        here.storage.faults = [Fault("error", after_rows=100, stream=0, times=None)]
        reading = here.source().read(sync(), ("user_id",))

        with pytest.raises(ServiceUnavailable, match=r"broke off sending rows 4 times in a row \(UNAVAILABLE\)"):
            taken(reading)

    def test_breaks_with_progress_between_are_no_matter(self, here: BigQueryHere) -> None:
        """A stream may break off more often than the limit as long as rows come between."""
        here.storage.streams_max = 1
        here.users(1000)
        here.storage.faults = [Fault("error", after_rows=after) for after in range(100, 1000, 100)]

        assert 1000 == taken(here.source().read(sync(), ("user_id",))).num_rows

    def test_a_refused_stream_is_a_sentence(self, here: BigQueryHere) -> None:
        """A code that trying again does not help is told at once."""
        here.users(100)
        here.storage.faults = [
            Fault("error", grpc.StatusCode.PERMISSION_DENIED, "needs bigquery.readsessions.getData", times=None)
        ]

        sentence = refused(here.source(), sync())

        assert "Grant the role BigQuery Read Session User" in sentence

    def test_a_session_is_tried_again(self, here: BigQueryHere) -> None:
        """A session that cannot be made for a moment is asked for again."""
        here.users(100)
        here.storage.session_faults = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL]

        assert 100 == taken(here.source().read(sync(), ("user_id",))).num_rows

    def test_rows_stream_with_bounded_memory(self, here: BigQueryHere) -> None:
        """While one batch is looked at, the server cannot send more than the buffer and the wire hold."""
        # 30 MB that LZ4 cannot shorten, in messages of 200 kB: the wire holds some megabytes, the buffer a few
        # messages, and the rest has to wait at the server.
        noise = random.Random(0).randbytes(5_000_000).hex()
        texts = [f"{number}{noise[number * 10_000 :][:10_000]}" for number in range(1000)] * 3
        here.warehouse.put("activation.users", pa.table({"user_id": texts}))
        here.storage.batch_rows = 20
        here.storage.streams_max = 1

        reading = here.source().read(sync(), ("user_id",))
        first = reading.batches.read_next_batch()
        quiet, sent = 0, -1
        while quiet < 5:
            quiet = quiet + 1 if sent == here.storage.messages_sent else 0
            sent = here.storage.messages_sent
            threading.Event().wait(0.05)
        rest = taken(reading)

        assert 5 <= sent <= 60
        assert (150, 3_000) == (here.storage.messages_sent, first.num_rows + rest.num_rows)

    def test_closing_early_ends_the_threads(self, here: BigQueryHere) -> None:
        """A reading that is closed after its first batch leaves no thread behind, also with a stream that stalls."""
        here.users(1000)
        here.storage.faults = [Fault("stall", after_rows=100, stream=3)]

        reading = here.source().read(sync(), ("user_id",))
        reading.batches.read_next_batch()
        reading.close()
        reading.close()

        assert [] == reading_threads()

    def test_a_reading_that_is_forgotten_ends_its_threads(self, here: BigQueryHere) -> None:
        """Who drops a reading without closing it leaves no thread behind either."""
        here.users(1000)

        reading = here.source().read(sync(), ("user_id",))
        reading.batches.read_next_batch()
        del reading
        gc.collect()

        assert [] == reading_threads()

    def test_a_reading_that_is_never_taken_has_no_threads(self, here: BigQueryHere) -> None:
        """Threads start with the first batch, so a reading that is dropped or closed before had none."""
        here.users(1000)

        here.source().read(sync(), ("user_id",)).close()

        assert [] == here.storage.reads


class TestPages:
    def test_without_the_right_rows_come_by_pages(self, here: BigQueryHere, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the Storage Read API the same rows come through REST, after one warning that names the role."""
        here.users(250)
        here.storage.denied = "bigquery.readsessions.create"
        monkeypatch.setattr("syncer.sources.bigquery.source.PAGE_ROWS", 100)
        source = here.source()

        with structlog.testing.capture_logs() as logs:
            rows = taken(source.read(sync(), ("user_id", "score")))
            taken(source.read(sync(), ("user_id", "score")))

        assert users(250).select(["user_id", "score"]).to_pylist() == rows.to_pylist()
        assert ["warning"] == [entry["log_level"] for entry in logs]
        assert "Read Session User" in logs[0]["event"]
        assert "bigquery.readsessions.create" in logs[0]["event"]
        pages = [exchange.request for exchange in here.rest.log if exchange.request.path.endswith("/data")]
        assert 6 == len(pages)
        assert ["user_id,score"] == pages[0].query["selectedFields"]

    def test_a_query_is_read_by_pages_too(self, here: BigQueryHere) -> None:
        """A query's result is paged like a table, and told with its cost."""
        here.users(50)
        here.storage.denied = "bigquery.readsessions.create"

        reading = here.source().read(query("SELECT * FROM activation.users"), ("user_id",))

        assert 50 == taken(reading).num_rows
        assert None is not reading.price

    def test_a_condition_makes_it_a_query(self, here: BigQueryHere) -> None:
        """Pages of a table cannot be filtered, so a table with `where` is then read by a query."""
        here.users(100)
        here.storage.denied = "bigquery.readsessions.create"

        rows = taken(here.source().read(sync(where="is_active"), ("user_id",)))

        assert 50 == rows.num_rows
        assert 1 == len(here.rest.jobs)

    def test_the_warning_says_how_long_it_takes(self, here: BigQueryHere) -> None:
        """A large table is read by pages as well, and whoever wonders finds its rows and the minutes in the warning."""
        here.users(100)
        here.storage.denied = "bigquery.readsessions.create"
        here.rest.switches.rows_claimed = 12_000_000

        with structlog.testing.capture_logs() as logs:
            rows = taken(here.source().read(sync(), ("user_id",)))

        assert 100 == rows.num_rows
        assert ("salesforce.contacts", 12_000_000, 10.0) == tuple(logs[0][name] for name in ("sync", "rows", "minutes"))


class TestModified:
    def test_a_table_has_a_time(self, here: BigQueryHere) -> None:
        """The time is the table's last change, aware; asking for it reads no row and makes no job."""
        before = here.users(10)
        asked = here.source().modified(sync())
        here.users(11)

        assert before.modified == asked
        assert asked < here.source().modified(sync())
        assert ["GET /bigquery/v2/projects/acme/datasets/activation/tables/users"] * 2 == here.paths

    def test_a_view_or_query_is_as_new_as_the_newest_table_behind_it(self, here: BigQueryHere) -> None:
        """What lies behind, also behind views of views, is named by one dry run each; after it only metadata is asked
        for, and nothing is read."""
        here.users(10)
        here.warehouse.put("activation.accounts", users(3))
        here.warehouse.view("activation.active", "SELECT * FROM activation.users WHERE is_active")
        both = "SELECT * FROM activation.active UNION ALL SELECT * FROM activation.accounts"
        here.warehouse.view("activation.both", both)
        ones = (sync("activation.both", name="salesforce.leads"), query(both))
        source = here.source()
        newest = here.warehouse.put("activation.accounts", users(4)).modified

        assert [newest, newest] == [source.modified(one) for one in ones]
        newest = here.warehouse.put("activation.users", users(11)).modified
        newest = here.warehouse.put("activation.users", users(12)).modified
        before = len(here.paths)

        assert [newest, newest] == [source.modified(one) for one in ones]
        tables = "GET /bigquery/v2/projects/acme/datasets/activation/tables"
        assert sorted([f"{tables}/both", *[f"{tables}/users", f"{tables}/accounts"] * 2]) == sorted(here.paths[before:])
        assert (2, {}, []) == (len(here.rest.dry_runs), here.rest.jobs, here.storage.sessions)

    def test_the_tables_behind_a_view_that_is_made_anew_are_asked_for_again(self, here: BigQueryHere) -> None:
        """A view of other tables is as new as these."""
        here.users(10)
        here.warehouse.put("activation.accounts", users(3))
        newest = here.warehouse.put("activation.accounts", users(4)).modified
        made = here.warehouse.view("activation.active", "SELECT * FROM activation.users")
        source = here.source()
        before = source.modified(sync("activation.active"))
        here.warehouse.view("activation.active", "SELECT * FROM activation.accounts").version = made.version + 1

        assert before is not None
        assert before < newest == source.modified(sync("activation.active"))

    def test_where_it_cannot_be_told_a_sentence_says_why(self, here: BigQueryHere) -> None:
        """Where BigQuery does not say when rows change, nobody pretends to know; rows being streamed in pass."""
        here.users(10).is_streamed_into = True
        here.warehouse.put("activation.sheet", users(3), kind="EXTERNAL")
        here.warehouse.view("activation.active", "SELECT * FROM activation.sheet")
        ones = (sync(), sync("activation.sheet"), sync("activation.active"), query("SELECT 1 AS user_id"))
        source = here.source()
        external = "activation.sheet is of the kind external, and BigQuery does not say when its rows change."

        assert [None] * 4 == [source.modified(one) for one in ones]
        assert [
            None,
            f"It cannot be told when activation.sheet changes: {external}",
            f"It cannot be told when activation.active changes: {external}",
            "It cannot be told when the query's result changes: no table is behind it that could change.",
        ] == [source.untold(one) for one in ones]

    def test_a_table_behind_a_view_that_may_not_be_looked_at(self, here: BigQueryHere) -> None:
        """A view may be read by who may not even see its tables, and then the sentence names the role."""
        here.users(10)
        here.warehouse.view("activation.active", "SELECT * FROM activation.users")
        here.rest.trouble(
            "status",
            times=None,
            when=lambda request: request.path.endswith("/users"),
            answer=error(403, "accessDenied", "Access Denied"),
        )
        source = here.source()

        assert None is source.modified(sync("activation.active"))
        assert "Metadata Viewer (roles/bigquery.metadataViewer)" in (source.untold(sync("activation.active")) or "")


class TestSentences:
    def test_a_missing_table(self, here: BigQueryHere) -> None:
        """A missing table may be in another location, and the sentence says both."""
        sentence = refused(here.source(), sync("activation.nothing"))

        assert (
            "source: Not found: Table acme:activation.nothing was not found in "
            "location EU. Look at the name, or at `source.location`: a dataset that lies elsewhere than in EU is not "
            "found either."
        ) == sentence

    def test_the_wrong_location(self, here: BigQueryHere) -> None:
        """A query that is sent to another location than its tables' is not found, and the sentence says both."""
        here.users(10)

        sentence = refused(here.source(location="US"), query("SELECT * FROM activation.users"))

        assert "`source.location`: a dataset that lies elsewhere than in US" in sentence

    @pytest.mark.parametrize(
        ("permission", "role"),
        [
            ("bigquery.jobs.create", "BigQuery Job User (roles/bigquery.jobUser) on the project acme"),
            ("bigquery.tables.get", "BigQuery Data Viewer (roles/bigquery.dataViewer) on the dataset"),
        ],
    )
    def test_a_missing_right(self, here: BigQueryHere, permission: str, role: str) -> None:
        """Refused access names the role that is missing, and where."""
        here.users(10)
        here.rest.switches.denied.add(permission)
        one = query("SELECT * FROM activation.users") if permission == "bigquery.jobs.create" else sync()

        assert refused(here.source(), one).endswith(f"Grant the role {role}.")

    def test_the_cap(self, here: BigQueryHere) -> None:
        """A query that turns out dearer than its dry run said costs nothing either, and the sentence has the cap and
        what is needed."""
        here.users(10)
        here.rest.switches.bytes_processed = 21 * MIB
        here.rest.switches.bytes_estimated = 19 * MIB

        sentence = refused(here.source(max_bytes_billed=20 * MIB), query("SELECT * FROM activation.users"))

        assert "the cap is 20,971,520 bytes and the query needs at least 22,020,096 bytes" in sentence

    def test_a_mistake_in_the_query(self, here: BigQueryHere) -> None:
        """An invalid query is told with the line and column of the mapping's own text."""
        here.users(10)

        sentence = refused(here.source(), query("SELECT user_id,\n  scoore\nFROM activation.users"))

        assert "at line 2, column 3 of `query`" in sentence
        assert "scoore" in sentence

    def test_a_mistake_in_the_condition(self, here: BigQueryHere) -> None:
        """An invalid `where` of a query is told with its own line, and nothing runs."""
        here.users(10)
        one = query("SELECT user_id, score\nFROM activation.users", where="score > 1\n  AND scoore > 2")

        sentence = refused(here.source(), one)

        assert "at line 2, column 7 of `where`" in sentence
        assert {} == here.rest.jobs

    def test_a_running_query_quotes_no_values(self, here: BigQueryHere) -> None:
        """What BigQuery says of a row's value while a query runs stays out of the sentence."""
        here.users(10)
        here.rest.switches.failures.append({"reason": "invalidQuery", "message": "Bad int64 value: jane@acme.test"})

        sentence = refused(here.source(), query("SELECT * FROM activation.users"))

        assert "Bad int64 value." in sentence
        assert "jane" not in sentence

    def test_a_used_up_quota(self, here: BigQueryHere) -> None:
        """A quota is final for this run, and BigQuery's text says which."""
        here.users(10)
        here.rest.trouble("status", answer=error(403, "quotaExceeded", "Quota exceeded: too many imports."))

        assert "Quota exceeded: too many imports." in refused(here.source(), sync())

    def test_a_name_without_a_dataset(self, here: BigQueryHere) -> None:
        """A table's name needs its dataset."""
        assert "Write DATASET.TABLE" in refused(here.source(), sync("users"))
