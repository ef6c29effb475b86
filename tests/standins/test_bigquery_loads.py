"""The BigQuery stand-in's files and tables, used by Google's own client."""

from __future__ import annotations

import datetime
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from google.api_core import exceptions as api
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from tests.standins.bigquery import rest
from tests.standins.conftest import Here

FIELDS = [bigquery.SchemaField("user_id", "STRING"), bigquery.SchemaField("ok", "BOOL")]


def parquet(rows: pa.Table) -> io.BytesIO:
    made = io.BytesIO()
    pq.write_table(rows, made)
    made.seek(0)
    return made


def loaded(here: Here, rows: Any, table: str = "st.acks", **options: Any) -> bigquery.LoadJob:
    """A finished load of Parquet or lines of JSON. Raises what the client raises."""
    if isinstance(rows, pa.Table):
        file, kind = parquet(rows), "PARQUET"
    else:
        file, kind = io.BytesIO("\n".join(json.dumps(row) for row in rows).encode()), "NEWLINE_DELIMITED_JSON"
    config = bigquery.LoadJobConfig(source_format=kind, **options)
    job = here.client.load_table_from_file(file, table, size=len(file.getvalue()), job_config=config, num_retries=0)
    job.result(retry=None, timeout=20)
    return job


def acks(*users: str) -> pa.Table:
    return pa.table({"user_id": pa.array(users, pa.string()), "ok": pa.array([True] * len(users), pa.bool_())})


def test_dispositions(here: Here) -> None:
    """A load makes a table, appends to it, replaces it, and fails when it must be empty and is not."""
    first = loaded(here, acks("ada"), schema=FIELDS, clustering_fields=["user_id"])
    loaded(here, acks("ben"))

    assert (1, ["user_id"]) == (first.output_rows, here.client.get_table("st.acks").clustering_fields)
    assert ["ada", "ben"] == [row.user_id for row in here.client.list_rows("st.acks")]
    with pytest.raises(api.Conflict, match=r"Already Exists: Table acme:st\.acks"):
        loaded(here, acks("cleo"), write_disposition="WRITE_EMPTY")
    loaded(here, acks("dan"), write_disposition="WRITE_TRUNCATE")
    assert ["dan"] == [row.user_id for row in here.client.list_rows("st.acks")]
    with pytest.raises(api.NotFound):
        loaded(here, acks("eve"), "st.other", create_disposition="CREATE_NEVER")
    with pytest.raises(api.NotFound, match="Dataset acme:nowhere"):
        loaded(here, acks("eve"), "nowhere.acks")


def test_columns_have_to_fit(here: Here) -> None:
    """Another type is refused; another column is, unless the job says that it may be added."""
    loaded(here, acks("ada"))
    with pytest.raises(api.BadRequest, match="Field ok has changed type from BOOLEAN to STRING"):
        loaded(here, pa.table({"user_id": ["ben"], "ok": ["yes"]}))
    wider = acks("ben").append_column("tier", pa.array(["gold"]))
    with pytest.raises(api.BadRequest, match=r"Cannot add fields \(field: tier\)"):
        loaded(here, wider)
    loaded(here, wider, schema_update_options=["ALLOW_FIELD_ADDITION"])

    assert [None, "gold"] == [row.tier for row in here.client.list_rows("st.acks")]
    with pytest.raises(api.BadRequest, match="has type STRING, which is not INTEGER"):
        loaded(here, acks("eve"), "st.other", schema=[bigquery.SchemaField("user_id", "INT64")])


def test_lists_and_json_of_parquet(here: Here) -> None:
    """A list is an ARRAY only when the job asks for that, and text is no JSON unless a switch says so."""
    rows = pa.table({"tags": [["a", "b"]]})
    schema = [bigquery.SchemaField("tags", "STRING", mode="REPEATED")]
    with pytest.raises(api.BadRequest, match="has type RECORD"):
        loaded(here, rows, "st.lists", schema=schema)
    options = bigquery.ParquetOptions()
    options.enable_list_inference = True
    loaded(here, rows, "st.lists", schema=schema, parquet_options=options)
    props = pa.table({"props": ['{"b": 1, "a": 2}']})
    schema = [bigquery.SchemaField("props", "JSON")]
    with pytest.raises(api.BadRequest, match="which is not JSON"):
        loaded(here, props, "st.props", schema=schema)
    here.rest.switches.json_from_parquet = True
    loaded(here, props, "st.props", schema=schema)

    assert [["a", "b"]] == [row.tags for row in here.client.list_rows("st.lists")]
    assert [{"a": 2, "b": 1}] == [row.props for row in here.client.list_rows("st.props")]


def test_lines_of_json(here: Here) -> None:
    """Lines are read by the columns' types; unknown fields and values that do not fit fail the whole job."""
    schema = [
        bigquery.SchemaField("id", "STRING", mode="REQUIRED"),
        bigquery.SchemaField("n", "INT64"),
        bigquery.SchemaField("price", "NUMERIC"),
        bigquery.SchemaField("at", "TIMESTAMP"),
        bigquery.SchemaField("tags", "STRING", mode="REPEATED"),
        bigquery.SchemaField("props", "JSON"),
        bigquery.SchemaField("parts", "RECORD", fields=[bigquery.SchemaField("a", "FLOAT64")]),
    ]
    moment = datetime.datetime(2026, 11, 22, 5, 0, 0, 5, datetime.UTC)
    whole = {
        "id": "ada",
        "n": "7",
        "price": 1.25,
        "at": moment.isoformat(),
        "tags": ["x"],
        "props": {"b": [1, None]},
        "parts": {"a": 1},
    }
    loaded(here, [whole, {"id": "ben"}], "st.lines", schema=schema)
    first, second = here.client.list_rows("st.lines")

    assert (7, moment, ["x"], {"b": [1, None]}, {"a": 1.0}) == (
        first.n, first.at, first.tags, first.props, first.parts,
    )  # fmt: skip
    assert (None, None, [], None) == (second.n, second.at, second.tags, second.props)
    for line, said in (
        ({"id": "x", "more": 1}, "No such field: more"),
        ({"id": "x", "n": "many"}, "Could not parse a value as INTEGER for field n in row 2"),
        ({"n": 1}, "Missing required field: id"),
    ):
        with pytest.raises(api.BadRequest, match=said):
            loaded(here, [whole, line], "st.lines")
    assert 2 == here.client.get_table("st.lines").num_rows
    with pytest.raises(api.BadRequest, match="No schema"):
        loaded(here, [whole], "st.guessed")


def test_a_file_that_is_none(here: Here) -> None:
    """A file that is not what the job says fails the job."""
    config = bigquery.LoadJobConfig(source_format="PARQUET")
    job = here.client.load_table_from_file(io.BytesIO(b"nothing"), "st.acks", size=7, job_config=config)

    with pytest.raises(api.BadRequest, match="not Parquet"):
        job.result(retry=None)


def test_tables_and_datasets(here: Here) -> None:
    """Datasets and tables are made once, listed, described, changed at the state that was seen, and deleted."""
    here.client.create_dataset(bigquery.Dataset("acme.fresh"))
    with pytest.raises(api.Conflict):
        here.client.create_dataset(bigquery.Dataset("acme.fresh"))
    table = bigquery.Table("acme.fresh.log", schema=[*FIELDS, bigquery.SchemaField("at", "TIMESTAMP")])
    table.time_partitioning = bigquery.TimePartitioning(field="at")
    table.clustering_fields = ["user_id"]
    table.expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    made = here.client.create_table(table)
    with pytest.raises(api.Conflict):
        here.client.create_table(table)

    assert ("at", ["user_id"], 0) == (made.time_partitioning.field, made.clustering_fields, made.num_rows)
    assert ["log"] == [one.table_id for one in here.client.list_tables("fresh")]
    seen = here.client.get_table("fresh.log")
    made.labels, made.schema = {"app": "syncer"}, [*made.schema, bigquery.SchemaField("tier", "STRING")]
    changed = here.client.update_table(made, ["labels", "schema"])
    assert ({"app": "syncer"}, 4) == (changed.labels, len(changed.schema))
    with pytest.raises(api.PreconditionFailed):
        here.client.update_table(seen, ["labels"])
    changed.schema = changed.schema[:1]
    with pytest.raises(api.BadRequest, match="Field ok is missing in new schema"):
        here.client.update_table(changed, ["schema"])
    here.warehouse.clock = lambda: datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=2)
    with pytest.raises(api.NotFound):
        here.client.get_table("fresh.log")
    here.client.delete_table("scores.users")
    assert [] == list(here.client.list_tables("scores"))


def test_a_table_is_asked_whether_it_changed(here: Here) -> None:
    """Who names the state that they have seen is told 304 until the table changes, without its description."""
    address = f"{here.rest.url}/bigquery/v2/projects/acme/datasets/scores/tables/users"
    seen = {"If-None-Match": here.client.get_table("scores.users").etag}

    assert (304, b"") == answered(address, seen)
    here.query("INSERT INTO scores.users (user_id) VALUES ('dan')")
    assert 200 == answered(address, seen)[0]


def answered(address: str, headers: dict[str, str]) -> tuple[int, bytes]:
    answer = requests.get(address, headers=headers, timeout=10)
    return answer.status_code, answer.content


def test_a_page_has_its_limit(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows are asked for, a page has no more than the service gives."""
    monkeypatch.setattr(rest, "PAGE_ROWS_MAX", 2)
    asked = len(here.rest.log)

    assert 3 == len(list(here.client.list_rows("scores.users", page_size=1_000)))
    assert 2 == len([one for one in list(here.rest.log)[asked:] if one.request.path.endswith("/data")])


def test_it_serves_from_a_process_of_its_own(tmp_path: Path) -> None:
    """`python -m tests.standins.bigquery` says where it is, has the tables of the files, and ends with its stdin."""
    pq.write_table(acks("ada", "ben"), tmp_path / "acks.parquet")
    command = [
        sys.executable,
        "-m",
        "tests.standins.bigquery",
        "--dataset",
        "fresh",
        f"st.acks={tmp_path}/acks.parquet",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        told = json.loads(process.stdout.readline())
        client = bigquery.Client(
            told["project"],
            location=told["location"],
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": told["endpoint"]},
        )
        assert 2 == client.get_table("st.acks").num_rows
        assert [] == list(client.list_tables("fresh"))
        client.close()
        process.stdin.close()
        assert 0 == process.wait(30)
