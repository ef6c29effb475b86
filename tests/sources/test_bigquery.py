"""The BigQuery source: Google's own clients, over HTTP and gRPC, against a stand-in on loopback."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from syncer.errors import ServiceUnavailable
from syncer.sources.bigquery import Patience
from tests.sources.bigquery_here import BigQueryHere, query, refused, sync, taken, users
from tests.standins.bigquery import MIB, error
from tests.standins.bigquery.catalog import Stored
from tests.standins.bigquery.storage import Fault

USER_ID = {"name": "user_id", "type": "STRING"}


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
