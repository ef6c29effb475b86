"""What BigQuery may answer instead of rows, as what is wrong and as nonsense: each time a sentence."""

from __future__ import annotations

import pytest

from destinations.standins.server import Answer
from syncer.errors import ServiceUnavailable
from tests.sources.bigquery_here import BigQueryHere, query, refused, sync
from tests.standins.bigquery import MIB, error

USER_ID = {"name": "user_id", "type": "STRING"}


class TestOddAnswers:
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

    def test_a_result_of_other_columns_is_told(self, here: BigQueryHere) -> None:
        """A query whose result has not the columns that its analysis promised ends the run in a sentence."""
        here.users(10)
        table = {"projectId": "acme", "datasetId": "activation", "tableId": "users"}
        job = {
            "jobReference": {"projectId": "acme", "jobId": "7", "location": "EU"},
            "configuration": {"query": {"query": "SELECT 1", "destinationTable": table}},
            "status": {"state": "DONE"},
            "jobComplete": True,
            "totalRows": "0",
            "schema": {"fields": [{"name": "another", "type": "STRING"}]},
            "statistics": {"query": {"statementType": "SELECT", "schema": {"fields": [USER_ID]}}},
        }
        here.rest.trouble("status", times=None, answer=Answer(200, job))

        with pytest.raises(ServiceUnavailable, match="other columns than it said before"):
            here.source().read(query("SELECT 1 AS user_id"), ("user_id",))


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
