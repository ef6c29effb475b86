"""The BigQuery stand-in's jobs, asked by Google's own client: ids, time, cost, what goes wrong, and its limits."""

from __future__ import annotations

import pytest
import requests
from google.api_core import exceptions as api
from google.cloud import bigquery

from tests.standins.bigquery import MIB
from tests.standins.conftest import Here

COUNT = "SELECT COUNT(*) AS n FROM scores.users"


def started(here: Here, sql: str, job_id: str = "ours", **options: object) -> bigquery.QueryJob:
    """A job under our id, not waited for."""
    config = bigquery.QueryJobConfig(**options)
    return here.client.query(sql, job_id=job_id, job_config=config, job_retry=None, retry=None, timeout=10)


def test_an_id_is_used_once(here: Here) -> None:
    """A second job of an id is a duplicate, also when the first failed, and the first is found under it."""
    started(here, COUNT)
    with pytest.raises(api.Conflict, match=r"Already Exists: Job acme:EU\.ours"):
        started(here, COUNT)

    assert COUNT == here.client.get_job("ours", location="EU").query
    with pytest.raises(api.NotFound):
        here.client.get_job("ours", location="US")


def test_an_answer_that_gets_lost(here: Here) -> None:
    """When the connection is cut after the job was made, the job is there and has done its work once."""
    here.rest.trouble("lost", when=lambda request: request.method == "POST")
    with pytest.raises(requests.ConnectionError):
        started(here, "INSERT INTO scores.users (user_id) VALUES ('dan')")

    assert 1 == here.client.get_job("ours", location="EU").num_dml_affected_rows
    assert 4 == here.client.get_table("scores.users").num_rows


def test_a_job_runs_for_a_while(here: Here) -> None:
    """A job that runs has done nothing yet; asked often enough it is done, and so it is when the service ends it."""
    here.rest.switches.running_polls = 2
    job = started(here, "DELETE FROM scores.users WHERE TRUE")
    other = started(here, "CREATE TABLE st.made AS SELECT 1 AS one", "other")

    assert ("RUNNING", 3) == (job.state, here.client.get_table("scores.users").num_rows)
    job.result()
    assert ("DONE", 0) == (job.state, here.client.get_table("scores.users").num_rows)
    assert "acme.st.made" not in here.warehouse.tables
    here.rest.finish()
    assert ("DONE", 1) == (here.client.get_job(other.job_id).state, here.client.get_table("st.made").num_rows)


def test_a_job_that_is_cancelled_did_nothing(here: Here) -> None:
    """Cancelling ends a running job with the reason `stopped`, and leaves one alone that is done."""
    here.rest.switches.running_polls = 9
    job = started(here, "DELETE FROM scores.users WHERE TRUE")
    job.cancel()
    here.rest.switches.running_polls = 0
    done = started(here, COUNT, "done")
    done.cancel()

    assert ("stopped", None) == (job.error_result["reason"], done.error_result)
    assert 3 == here.client.get_table("scores.users").num_rows


def test_what_a_query_costs(here: Here) -> None:
    """Bytes are those of the columns that a query scans, billed at ten MiB a table at least."""
    scanned = {
        "SELECT user_id FROM scores.users": 2 * 3 + 10,
        "SELECT visits FROM scores.users WHERE score > 1": 2 * 8 + 2 * 8,
        "SELECT tags, props FROM scores.users": (2 + 3) + (2 + 13) + (2 + 4),
        COUNT: 0,
        "WITH all_of AS (SELECT * FROM scores.users) SELECT visits FROM (SELECT visits, tags FROM all_of)": 2 * 8,
        "SELECT visits FROM (SELECT * FROM scores.users UNION ALL SELECT * FROM scores.users)": 2 * 8,
        "CREATE OR REPLACE TABLE st.made AS SELECT visits FROM scores.users": 2 * 8,
        "INSERT INTO st.made (visits) SELECT visits FROM scores.users": 2 * 8,
    }
    for sql, size in scanned.items():
        job = here.query(sql)
        assert (size, 10 * MIB) == (job.total_bytes_processed, job.total_bytes_billed), sql

    here.warehouse.view("scores.active", "SELECT user_id, score FROM scores.users")
    joined = here.query("SELECT a.visits FROM scores.users AS a JOIN scores.active AS b USING (user_id)")
    assert 2 * 3 + 10 + 2 * 8 == joined.total_bytes_processed
    assert ["acme.scores.users"] == [str(one) for one in joined.referenced_tables]
    # A DELETE reads the whole of its target.
    assert (
        16 + 2 * 8 + 2 * 8 + 5 + (15 + 6)
        == here.query("DELETE FROM scores.users WHERE visits = 3").total_bytes_processed
    )


def test_the_cap(here: Here) -> None:
    """A query above its cap fails before it runs and costs nothing; one below runs."""
    here.query("SELECT user_id FROM scores.users", maximum_bytes_billed=10 * MIB)
    with pytest.raises(api.InternalServerError) as caught:
        here.query("DELETE FROM scores.users WHERE TRUE", maximum_bytes_billed=10 * MIB - 1)

    assert "bytesBilledLimitExceeded" == caught.value.errors[0]["reason"]
    assert "10485760 or higher required" in caught.value.errors[0]["message"]
    assert 3 == here.client.get_table("scores.users").num_rows


def test_labels_and_locations_are_looked_at(here: Here) -> None:
    """Labels are lower case and short, a job runs where the data lie, and its id has few characters."""
    for options in ({"labels": {"app": "Syncer"}}, {"labels": {"a" * 64: "x"}}):
        with pytest.raises(api.BadRequest, match="is not allowed"):
            started(here, COUNT, **options)
    with pytest.raises(api.BadRequest, match="Invalid job ID"):
        started(here, COUNT, "a.b")
    with pytest.raises(api.NotFound, match="was not found in location US"):
        here.client.query(COUNT, location="US", retry=None, job_retry=None, timeout=10)


def test_a_mistake_may_be_told_at_once(here: Here) -> None:
    """Where an invalid statement is told nobody has said: in the job, or by a switch in the answer to it."""
    job = started(here, "SELECT scoore FROM scores.users")
    assert "invalidQuery" == job.error_result["reason"]

    here.rest.switches.mistakes_at_once = True
    with pytest.raises(api.BadRequest, match="Unrecognized name: scoore"):
        started(here, "SELECT scoore FROM scores.users", "other")


def test_a_result_goes_into_a_table(here: Here) -> None:
    """A destination table is made, appended to, replaced, and not written when it must be empty and is not."""
    for disposition, rows in (("WRITE_EMPTY", 3), ("WRITE_APPEND", 6), ("WRITE_TRUNCATE", 3)):
        here.query("SELECT user_id FROM scores.users", destination="acme.st.made", write_disposition=disposition)
        assert rows == here.client.get_table("st.made").num_rows
    with pytest.raises(api.Conflict, match=r"Already Exists: Table acme:st\.made"):
        here.query("SELECT user_id FROM scores.users", destination="acme.st.made", write_disposition="WRITE_EMPTY")
    with pytest.raises(api.BadRequest, match=r"Cannot add fields \(field: score\)"):
        here.query("SELECT score FROM scores.users", destination="acme.st.made", write_disposition="WRITE_APPEND")


def test_results_come_in_pages(here: Here) -> None:
    """A result is paged by the query and by its anonymous table, in the order of the text."""
    here.query("CREATE TABLE st.many AS SELECT n FROM UNNEST(GENERATE_ARRAY(1, 250)) AS n")
    job = here.client.query("SELECT n FROM st.many ORDER BY n DESC")
    asked = len(here.rest.log)
    rows = [row.n for row in job.result(page_size=100)]

    assert list(range(250, 0, -1)) == rows
    assert 3 == len([one for one in list(here.rest.log)[asked:] if "maxResults=100" in one.request.query_text])
    assert rows == [row.n for row in here.client.list_rows(job.destination)]
    assert [{"n": 3}] == [dict(row) for row in here.client.query_and_wait(COUNT)]


class TestLimits:
    def test_modifications_a_day(self, here: Here) -> None:
        """Beyond the day's modifications of a table a job fails, while INSERT goes on."""
        here.rest.limits.modifications_a_day = 2
        made = "CREATE OR REPLACE TABLE st.made AS SELECT 1 AS one"
        for _ in range(2):
            here.query(made)
        with pytest.raises(api.Forbidden, match="Your table exceeded quota"):
            here.query(made)

        assert 1 == here.query("INSERT INTO st.made (one) VALUES (2)").num_dml_affected_rows

    def test_metadata_operations_in_ten_seconds(self, here: Here) -> None:
        """Too many operations on one table's metadata in a row are refused, with a reason that passes."""
        here.rest.limits.metadata_in_ten_seconds = 5
        table = here.client.get_table("scores.users")
        for number in range(5):
            table.description = str(number)
            table = here.client.update_table(table, ["description"], retry=None)
        with pytest.raises(api.Forbidden, match="too many table update operations") as caught:
            here.client.update_table(table, ["description"], retry=None)

        assert "rateLimitExceeded" == caught.value.errors[0]["reason"]

    def test_mutating_statements(self, here: Here) -> None:
        """Two mutating statements of a table work, twenty wait, and the next is refused."""
        here.rest.limits.mutating_statements = 22
        here.rest.switches.running_polls = 99
        for number in range(22):
            started(here, "DELETE FROM scores.users WHERE visits = 1", f"job{number}")
        job = started(here, "DELETE FROM scores.users WHERE visits = 1", "last")

        assert "Too many DML statements outstanding" in job.error_result["message"]
        assert "RUNNING" == started(here, "INSERT INTO scores.users (user_id) VALUES ('x')", "insert").state
