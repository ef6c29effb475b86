"""The BigQuery stand-in's SQL, asked by Google's own client: what BigQuery refuses is refused, the rest is done."""

from __future__ import annotations

import datetime

import pyarrow as pa
import pytest
from google.api_core import exceptions as api
from google.cloud import bigquery

from tests.standins.conftest import Here

KINDS = bigquery.ScalarQueryParameter, bigquery.ArrayQueryParameter


def round_to_minutes(span: datetime.timedelta) -> datetime.timedelta:
    return datetime.timedelta(minutes=round(span.total_seconds() / 60))


def refused(here: Here, sql: str, **options: object) -> tuple[str, str]:
    """Reason and message with which a statement is refused, by a dry run or by the job."""
    with pytest.raises(api.GoogleAPICallError) as caught:
        here.query(sql, **options)
    (error,) = caught.value.errors[:1]
    return error["reason"], error["message"]


@pytest.mark.parametrize(
    ("sql", "reason", "message"),
    [
        ("SELECT scoore FROM scores.users", "invalidQuery", "Unrecognized name: scoore; Did you mean score? at [1:8]"),
        ("SELECT 1 AS new", "invalidQuery", "Syntax error: Unexpected keyword NEW at [1:13]"),
        ("SELECT\n  user_id FROM", "invalidQuery", "Syntax error: Unexpected end of statement at [2:15]"),
        ("SELECT score + user_id FROM scores.users", "invalidQuery", "No matching signature for operator +"),
        ("SELECT STRFTIME(score, 'x') FROM scores.users", "invalidQuery", "Function not found: STRFTIME at [1:8]"),
        ("SELECT user_id, user_id FROM scores.users", "invalidQuery", "Duplicate column names in the result"),
        (
            "SELECT props = props FROM scores.users",
            "invalidQuery",
            "Equality is not defined for arguments",
        ),
        (
            "SELECT user_id FROM scores.users QUALIFY ROW_NUMBER() OVER (PARTITION BY score) = 1",
            "invalidQuery",
            "Partitioning by expressions of type FLOAT64 is not allowed at [1:74]",
        ),
        ("SELECT * FROM users", "invalid", 'Table "users" must be qualified with a dataset (e.g. dataset.table).'),
        ("SELECT * FROM scores.people", "notFound", "Not found: Table acme:scores.people was not found in location EU"),
        ("DELETE FROM scores.users", "invalidQuery", "DELETE must have a WHERE clause at [1:1]"),
        (
            "INSERT INTO scores.users (user_id) VALUES (1)",
            "invalidQuery",
            "cannot be inserted into column user_id",
        ),
        ("CREATE TABLE st.made AS SELECT 1", "invalidQuery", "CREATE TABLE columns must be named"),
        ("CREATE TABLE scores.users AS SELECT 1 AS one", "duplicate", "Already Exists: Table acme:scores.users"),
        ("CREATE TABLE nowhere.made AS SELECT 1 AS one", "notFound", "Not found: Dataset acme:nowhere"),
        ("CREATE TABLE st.made OPTIONS (expires = 1) AS SELECT 1 AS one", "invalidQuery", "Unknown option: expires"),
        (
            "CREATE TABLE st.made (a INT64, b INT64, c INT64, d INT64, e INT64) CLUSTER BY a, b, c, d, e",
            "invalid",
            "by 4",
        ),
        ("CREATE TABLE st.made (a BYTES) CLUSTER BY a", "invalid", "clustered by a, of type BYTES"),
        ("CREATE TABLE st.made AS SELECT 1 AS `a-b`", "invalid", 'Invalid field name "a-b"'),
        ("CREATE TABLE st.made (_partition_of INT64)", "invalid", 'Invalid field name "_partition_of"'),
        (
            "CREATE OR REPLACE TABLE scores.users CLUSTER BY user_id AS SELECT 'ada' AS user_id",
            "invalidQuery",
            "New partitioning spec is clustering(user_id) and existing spec is none",
        ),
        ("DROP TABLE st.nothing", "notFound", "Not found: Table acme:st.nothing"),
        ("SELECT 1; SELECT 2", "invalidQuery", "Expected end of input"),
        ("SELECT 1 / (visits - visits) AS x FROM scores.users", "invalidQuery", "division by zero"),
        ("ALTER TABLE scores.users ADD COLUMN score FLOAT64", "invalidQuery", "Column already exists: score at [1:37]"),
    ],
)
def test_what_bigquery_refuses_is_refused(here: Here, sql: str, reason: str, message: str) -> None:
    """A statement that GoogleSQL or the warehouse does not accept fails with its reason, and says where."""
    found, said = refused(here, sql)

    assert reason == found
    assert message in said


def test_a_dry_run_analyses_and_does_nothing(here: Here) -> None:
    """A dry run tells columns, statement and bytes, and makes neither a job nor a table."""
    job = here.client.query(
        "CREATE TABLE st.made AS SELECT user_id, score FROM scores.users",
        job_config=bigquery.QueryJobConfig(dry_run=True, use_query_cache=False),
    )

    assert ("CREATE_TABLE_AS_SELECT", ["user_id", "score"]) == (job.statement_type, [one.name for one in job.schema])
    # Three texts of two bytes and their length, and two numbers that are not null.
    assert (2 * 3 + 10) + 2 * 8 == job.total_bytes_processed
    assert {} == here.rest.jobs
    assert "acme.st.made" not in here.warehouse.tables


def test_a_query_has_the_types_of_googlesql(here: Here) -> None:
    """A result's columns are what GoogleSQL says, not what DuckDB makes of them."""
    job = here.query(
        "SELECT 1.5 AS a, SUM(visits) AS b, CAST('1.25' AS NUMERIC) AS c, CURRENT_TIMESTAMP() AS d, "
        "DATE '2026-11-22' AS e, [1, 2] AS f, STRUCT(1 AS x, 'y' AS y) AS g, JSON '{\"b\": 1, \"a\": 2}' AS h, 7, 8 "
        "FROM scores.users"
    )
    row = next(iter(job.result()))

    kinds = {one.name: one.field_type for one in job.result().schema}
    assert {
        "a": "FLOAT",
        "b": "INTEGER",
        "c": "NUMERIC",
        "d": "TIMESTAMP",
        "e": "DATE",
        "f": "INTEGER",
        "g": "RECORD",
        "h": "JSON",
        "f0_": "INTEGER",
        "f1_": "INTEGER",
    } == kinds
    assert (1.5, 8, datetime.date(2026, 11, 22), [1, 2], {"x": 1, "y": "y"}) == (row.a, row.b, row.e, row.f, row.g)
    assert {"a": 2, "b": 1} == row.h


def test_parameters(here: Here) -> None:
    """Named values and arrays arrive with their types, also when null or empty, and a missing one is refused."""
    scalar, array = KINDS
    moment = datetime.datetime(2026, 11, 22, 5, 0, 0, 123456, datetime.UTC)
    wanted = "user_id IN UNNEST(@keys) AND visits > @least"
    sql = f"SELECT user_id, @moment AS moment, @none AS none FROM scores.users WHERE {wanted}"
    given = [
        scalar("moment", "TIMESTAMP", moment),
        scalar("none", "STRING", None),
        array("keys", "STRING", ["ada", "cleo", "it's"]),
        scalar("least", "INT64", 3),
    ]

    assert [{"user_id": "cleo", "moment": moment, "none": None}] == here.rows(sql, parameters=given)
    assert [] == here.rows(sql, parameters=[*given[:2], array("keys", "STRING", []), given[3]])
    assert "Query parameter 'moment' not found at [1:8]" in refused(here, "SELECT @moment AS moment")[1]


def test_a_table_is_made_replaced_and_dropped(here: Here) -> None:
    """CREATE keeps options, partitioning and clustering; OR REPLACE moves the etag; DROP removes."""
    here.query(
        "CREATE TABLE st.made (user_id STRING NOT NULL, price NUMERIC(10, 2), synced_at TIMESTAMP) "
        "PARTITION BY DATE(synced_at) CLUSTER BY user_id OPTIONS (description = 'Made here', "
        "expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 3 DAY), "
        "partition_expiration_days = 400, labels = [('app', 'syncer')])"
    )
    before = here.client.get_table("st.made")
    laid_out = "PARTITION BY DATE(synced_at) CLUSTER BY user_id"
    here.query(
        f"CREATE OR REPLACE TABLE st.made {laid_out} AS "
        "SELECT user_id, CURRENT_TIMESTAMP() AS synced_at FROM scores.users"
    )
    after = here.client.get_table("st.made")

    assert ("synced_at", ["user_id"]) == (before.time_partitioning.field, before.clustering_fields)
    assert 400 * 86_400_000 == before.time_partitioning.expiration_ms
    assert ("Made here", {"app": "syncer"}) == (before.description, before.labels)
    assert datetime.timedelta(days=3) == round_to_minutes(before.expires - before.modified)
    assert [("REQUIRED", None), ("NULLABLE", 10)] == [(one.mode, one.precision) for one in before.schema[:2]]
    assert (3, None) == (after.num_rows, after.expires)
    assert before.etag != after.etag
    assert before.modified < after.modified
    here.query("CREATE TABLE IF NOT EXISTS st.made AS SELECT 1 AS one")
    assert 3 == here.client.get_table("st.made").num_rows
    here.query("DROP TABLE st.made")
    here.query("DROP TABLE IF EXISTS st.made")
    with pytest.raises(api.NotFound):
        here.client.get_table("st.made")


def test_rows_are_inserted_deleted_and_truncated(here: Here) -> None:
    """INSERT fills the other columns with null, DELETE counts what it took, TRUNCATE leaves the columns."""
    inserted = here.query(
        "INSERT INTO scores.users (user_id, visits) SELECT CONCAT(user_id, '2'), visits + 1 FROM scores.users"
    )
    values = here.query("INSERT INTO scores.users (visits, user_id) VALUES (9, 'dan'), (NULL, 'eve')")
    deleted = here.query("DELETE FROM scores.users AS u WHERE u.visits > 4")
    left = here.rows("SELECT user_id, visits, tags FROM scores.users ORDER BY user_id")
    here.query("TRUNCATE TABLE scores.users")

    assert (3, 2, 3) == (inserted.num_dml_affected_rows, values.num_dml_affected_rows, deleted.num_dml_affected_rows)
    assert [("ada", 3), ("ada2", 4), ("ben", None), ("ben2", None), ("eve", None)] == [
        (row["user_id"], row["visits"]) for row in left
    ]
    assert [["new"], [], [], [], []] == [row["tags"] for row in left]
    assert (0, 5) == (here.client.get_table("scores.users").num_rows, len(here.client.get_table("scores.users").schema))


def test_a_table_gets_columns(here: Here) -> None:
    """ALTER TABLE adds columns that are null in the rows that are there, once with IF NOT EXISTS."""
    for _ in range(2):
        here.query(
            "ALTER TABLE scores.users ADD COLUMN IF NOT EXISTS tier STRING, ADD COLUMN IF NOT EXISTS parts ARRAY<INT64>"
        )

    assert [{"tier": None, "parts": []}] == here.rows("SELECT tier, parts FROM scores.users WHERE user_id = 'ada'")


def test_rows_that_stream_in_cannot_be_deleted(here: Here) -> None:
    """Rows in the streaming buffer are seen, do not move the table's time, and make it refuse DELETE."""
    stored = here.warehouse.find("acme.scores.users")
    before = stored.modified
    here.warehouse.stream(stored, pa.table({"user_id": ["dan"]}))

    assert [{"n": 4}] == here.rows("SELECT COUNT(*) AS n FROM scores.users")
    assert before == here.client.get_table("scores.users").modified
    assert "streaming buffer" in refused(here, "DELETE FROM scores.users WHERE TRUE")[1]


class TestTime:
    def test_a_table_is_read_as_it_was(self, here: Here) -> None:
        """FOR SYSTEM_TIME AS OF sees the rows of that moment, also after the table was replaced."""
        before = here.client.get_table("scores.users").modified
        here.query("DELETE FROM scores.users WHERE user_id = 'ada'")
        between = here.client.get_table("scores.users").modified
        here.query("CREATE OR REPLACE TABLE scores.users AS SELECT 'zoe' AS user_id")
        sql = "SELECT user_id FROM scores.users FOR SYSTEM_TIME AS OF TIMESTAMP '{}' ORDER BY user_id"

        seen = [[row["user_id"] for row in here.rows(sql.format(moment.isoformat()))] for moment in (before, between)]

        assert [["ada", "ben", "cleo"], ["ben", "cleo"]] == seen
        assert [{"user_id": "zoe"}] == here.rows("SELECT user_id FROM scores.users")

    @pytest.mark.parametrize(
        ("moment", "message"),
        [
            ("TIMESTAMP '2026-11-27 00:00:00+00'", "in the future"),
            ("TIMESTAMP '2026-11-18 00:00:00+00'", "more than 7 days ago"),
            ("TIMESTAMP '2026-11-24 00:00:00+00'", "Cannot read before"),
            ("TIMESTAMP '2026-11-26 10:00:00'", "in the future"),  # Without an offset it is Los Angeles' time.
            ("@at", "not a parameter"),
            ("(SELECT CURRENT_TIMESTAMP())", ""),
        ],
    )
    def test_moments_that_are_refused(self, here: Here, moment: str, message: str) -> None:
        """The moment is a constant, with an offset if it is to be UTC, not in the future and within seven days."""
        here.warehouse.clock = lambda: datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC)
        del here.warehouse.tables["acme.scores.users"]
        here.warehouse.put("scores.users", pa.table({"user_id": ["ada"]}))
        here.warehouse.clock = lambda: datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.UTC)
        at = bigquery.ScalarQueryParameter("at", "TIMESTAMP", here.warehouse.clock())

        reason, said = refused(
            here, f"SELECT user_id FROM scores.users FOR SYSTEM_TIME AS OF {moment}", parameters=[at]
        )

        assert "invalidQuery" == reason
        assert message in said

    def test_one_point_in_time_for_a_table(self, here: Here) -> None:
        """A statement that names a table at two moments is refused, one that names two tables at two is not."""
        moment = here.client.get_table("scores.users").modified.isoformat()
        then = f"FOR SYSTEM_TIME AS OF TIMESTAMP '{moment}'"
        here.query("CREATE TABLE st.known AS SELECT user_id FROM scores.users")

        said = refused(
            here, f"SELECT COUNT(*) AS n FROM (SELECT * FROM scores.users {then}) JOIN scores.users USING (user_id)"
        )

        assert "at more than one point in time" in said[1]
        assert [{"n": 3}] == here.rows(
            f"SELECT COUNT(*) AS n FROM (SELECT * FROM scores.users {then}) JOIN st.known USING (user_id)"
        )

    def test_views_have_no_past(self, here: Here) -> None:
        """A view is read as its query says, and not at a moment."""
        here.warehouse.view("scores.active", "SELECT user_id, visits FROM scores.users WHERE visits > 3")

        assert [{"user_id": "cleo"}] == here.rows("SELECT a.user_id FROM scores.active AS a")
        moment = here.client.get_table("scores.users").modified.isoformat()
        assert (
            "not for views"
            in refused(here, f"SELECT * FROM scores.active FOR SYSTEM_TIME AS OF TIMESTAMP '{moment}'")[1]
        )
