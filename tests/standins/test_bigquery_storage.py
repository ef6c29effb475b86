"""The BigQuery stand-in's Storage Read API, read by Google's own client."""

from __future__ import annotations

import datetime

import grpc
import pyarrow as pa
import pytest
from google.api_core import exceptions as api
from google.cloud.bigquery_storage_v1 import types

from tests.standins.bigquery import Fault
from tests.standins.conftest import Here

CODECS = types.ArrowSerializationOptions.CompressionCodec


def session(here: Here, table: str = "scores/tables/users", **options: object) -> types.ReadSession:
    """A session of one stream at most."""
    wanted = types.ReadSession(
        table=f"projects/acme/datasets/{table}",
        data_format=types.DataFormat.ARROW,
        table_modifiers=options.pop("table_modifiers", None),
        read_options=types.ReadSession.TableReadOptions(**options),
    )
    return here.reader.create_read_session(parent="projects/acme", read_session=wanted, max_stream_count=1, timeout=10)


def rows(here: Here, made: types.ReadSession, offset: int = 0) -> pa.Table:
    schema = pa.ipc.read_schema(pa.py_buffer(made.arrow_schema.serialized_schema))
    answers = here.reader.read_rows(made.streams[0].name, offset=offset, timeout=20)
    batches = [pa.py_buffer(answer.arrow_record_batch.serialized_record_batch) for answer in answers]
    return pa.Table.from_batches([pa.ipc.read_record_batch(batch, schema) for batch in batches], schema)


def many(here: Here, count: int = 250) -> None:
    here.warehouse.put("scores.many", pa.table({"n": range(count)}))


@pytest.mark.parametrize("codec", [CODECS.COMPRESSION_UNSPECIFIED, CODECS.LZ4_FRAME, CODECS.ZSTD])
def test_chosen_columns_of_chosen_rows(here: Here, codec: int) -> None:
    """A session has the columns that it asks for, of the rows that meet its condition, packed as it wishes."""
    packed = types.ArrowSerializationOptions(buffer_compression=codec)
    made = session(
        here, selected_fields=["visits", "user_id"], row_restriction="visits > 3", arrow_serialization_options=packed
    )

    assert [{"user_id": "cleo", "visits": 5}] == rows(here, made).to_pylist()


def test_a_condition_is_googlesql(here: Here) -> None:
    """A row restriction that GoogleSQL refuses is refused."""
    with pytest.raises(api.InvalidArgument, match="Unrecognized name: visit"):
        session(here, row_restriction="visit > 3")
    with pytest.raises(api.InvalidArgument, match="selected fields do not exist"):
        session(here, selected_fields=["visit"])


def test_what_cannot_be_read(here: Here) -> None:
    """Views and missing tables cannot be read so, and an empty table has no stream."""
    here.warehouse.view("scores.active", "SELECT user_id FROM scores.users")
    here.query("TRUNCATE TABLE scores.users")

    assert [] == list(session(here).streams)
    with pytest.raises(api.InvalidArgument, match="non-table entities"):
        session(here, "scores/tables/active")
    with pytest.raises(api.NotFound):
        session(here, "scores/tables/nothing")
    here.storage.denied = "bigquery.readsessions.create"
    with pytest.raises(api.PermissionDenied, match=r"bigquery\.readsessions\.create"):
        session(here)


def test_a_result_and_a_past_are_read(here: Here) -> None:
    """The anonymous table of a query is read like another, and a table as it was at a moment."""
    before = here.client.get_table("scores.users").modified
    job = here.query("SELECT user_id FROM scores.users WHERE visits IS NULL")
    here.query("DELETE FROM scores.users WHERE TRUE")
    past = types.ReadSession.TableModifiers(snapshot_time=before + datetime.timedelta(milliseconds=1))

    result = session(here, f"{job.destination.dataset_id}/tables/{job.destination.table_id}")
    assert [{"user_id": "ben"}] == rows(here, result).to_pylist()
    assert 3 == rows(here, session(here, table_modifiers=past)).num_rows


def test_a_stream_is_read_on_where_a_message_ended(here: Here) -> None:
    """A stream goes on from the end of a message, and nowhere else."""
    many(here)
    made = session(here, "scores/tables/many")

    assert 250 == rows(here, made).num_rows
    assert list(range(100, 250)) == rows(here, made, 100)["n"].to_pylist()
    with pytest.raises(api.OutOfRange):
        rows(here, made, 50)


@pytest.mark.parametrize(
    ("fault", "is_resumed"),
    [
        (Fault("error", grpc.StatusCode.UNAVAILABLE, after_rows=130), True),
        (Fault("error", grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2", after_rows=130), True),
        (Fault("error", grpc.StatusCode.INTERNAL, "something else", after_rows=130), False),
    ],
)
def test_streams_that_break_off(here: Here, fault: Fault, is_resumed: bool) -> None:
    """The library reads on after UNAVAILABLE and a reset stream, and gives up after any other internal error."""
    many(here)
    here.storage.faults = [fault]
    made = session(here, "scores/tables/many")

    if is_resumed:
        assert list(range(250)) == rows(here, made)["n"].to_pylist()
        assert [0, 130] == [offset for _, offset in here.storage.reads]
    else:
        with pytest.raises(api.InternalServerError):
            rows(here, made)
