"""How rows come out of BigQuery: by streams that may break off, or by pages where the right to them is missing."""

from __future__ import annotations

import gc
import random
import threading

import grpc
import pyarrow as pa
import pytest
import structlog

from syncer.errors import ServiceUnavailable
from tests.sources.bigquery_here import BigQueryHere, query, reading_threads, refused, sync, taken, users
from tests.standins.bigquery.storage import Fault

USER_ID = {"name": "user_id", "type": "STRING"}


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
