"""The conformance kit for adapters: everything about records, and how an adapter behaves on the wire.

A new adapter brings an `HttpBench` and one fixture (see `syncer.testing`). A fault that is found in one adapter
becomes a test here, so that it is found in none of the others.
"""

# Tests assert, and by the habit of this house the expected value comes first.
# ruff: noqa: S101, SIM300

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from syncer.change import Held, Job, Outcome
from syncer.errors import DestinationUnusable, ServiceUnavailable, Stopping
from syncer.testing.bench import DelayKind, HttpBench
from syncer.testing.records import RecordTests, all_accepted, attempted, pushed, readable
from syncer.testing.stretches import each, stretch

PAGE = "<html><body><h1>Sorry</h1></body></html>"
VALUE = "a-value-that-must-not-leak"

TIMEOUT_SECONDS = 0.5

PASSING: dict[str, dict[str, Any]] = {
    "429": {"kind": "status", "status": 429},
    "429 with Retry-After": {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}},
    "429 with a date": {"kind": "status", "status": 429, "headers": {"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}},
    "429 with a date that is past": {
        "kind": "status",
        "status": 429,
        "headers": {"Retry-After": "Sat, 01 Jan 2000 00:00:00 GMT"},
    },
    "429 for absurdly long": {"kind": "status", "status": 429, "headers": {"Retry-After": "31536000"}},
    "429 for nonsense": {"kind": "status", "status": 429, "headers": {"Retry-After": "soon"}},
    "500 with a page": {"kind": "status", "status": 500, "content": PAGE},
    "503 with a page": {"kind": "status", "status": 503, "content": PAGE},
    "503 after applying": {"kind": "after", "status": 503, "content": PAGE},
    "closed before applying": {"kind": "close"},
    "closed after applying": {"kind": "lost"},
    "answer cut short": {"kind": "cut"},
}
"""Troubles of one request, after which a repeat goes well."""

LASTING: dict[str, dict[str, Any]] = {
    "429": {"kind": "status", "status": 429},
    "503 with a page": {"kind": "status", "status": 503, "content": PAGE},
    "closed before applying": {"kind": "close"},
    "closed after applying": {"kind": "lost"},
    "answer cut short": {"kind": "cut"},
}

FATAL: dict[str, dict[str, Any]] = {
    "401": {"kind": "status", "status": 401, "content": {}},
    "redirect": {"kind": "status", "status": 302, "headers": {"Location": "https://elsewhere.example/"}},
    "503": {"kind": "status", "status": 503, "content": PAGE},
    "closed": {"kind": "close"},
}


UNREADABLE: dict[str, dict[str, Any]] = {
    "401": {"kind": "status", "status": 401, "content": {}},
    "200 with a page": {"kind": "status", "status": 200, "content": PAGE},
    "404 with a page": {"kind": "status", "status": 404, "content": PAGE},
    "429": {"kind": "status", "status": 429},
    "503": {"kind": "status", "status": 503, "content": PAGE},
    "redirect": {"kind": "status", "status": 302, "headers": {"Location": "https://elsewhere.example/"}},
}


@contextmanager
def listener() -> Iterator[tuple[str, list[str]]]:
    """A host of strangers on this machine: its address, and the requests that reached it."""
    seen: list[str] = []

    class Stranger(BaseHTTPRequestHandler):
        def _note(self) -> None:
            seen.append(f"{self.command} {self.path}")
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _note  # noqa: N815 - the library's names

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()


class AdapterTests(RecordTests):
    """Inherit, name the class `Test…`, and give it a fixture `bench` that yields an `HttpBench`."""

    # Requests.

    def test_only_changed_fields_leave(self, bench: HttpBench) -> None:
        """What is written names no field that is not in the change."""
        bench.put(1, {bench.text: "warm", bench.other: "team"})
        pushed(bench.adapter(bench.transport()), bench.sync(), [bench.change(1, {bench.text: "hot"})])
        absent = [bench.other, *bench.typed.values()]

        assert bench.writes()
        assert [] == [name for name in absent if any(name.encode() in body for body in bench.writes())]

    def test_requests_are_foretold(self, bench: HttpBench) -> None:
        """A batch costs as many requests as the adapter said beforehand, once it is logged in."""
        adapter, sync = bench.adapter(bench.transport()), bench.sync()
        changes = [bench.change(number, {bench.text: "hot"}, before={bench.text: "cold"}) for number in range(5)]
        for number in range(6):
            bench.put(number, {bench.text: "cold"})
        pushed(adapter, sync, [bench.change(5, {bench.text: "hot"}, before={bench.text: "cold"})])
        before = bench.requests()
        pushed(adapter, sync, changes)

        assert adapter.requests(sync, changes) == bench.requests() - before

    def test_nothing_is_asked_before_a_push_or_check(self, bench: HttpBench) -> None:
        """Making an adapter, judging a mapping, and asking for limits and costs need no request."""
        adapter, sync = bench.adapter(bench.transport()), bench.sync()
        list(adapter.refuse(sync))
        adapter.limits(sync)
        adapter.requests(sync, [bench.change(1, {bench.text: "hot"})])
        adapter.weigh(sync, bench.change(1, {bench.text: "hot"}))

        assert 0 == bench.requests()

    def test_check_changes_nothing(self, bench: HttpBench) -> None:
        """A check asks, and writes no record."""
        bench.put(1, {bench.text: "warm"})
        list(bench.adapter(bench.transport()).check(bench.sync()))

        assert bench.requests() > 0
        assert [] == list(bench.writes())
        assert "warm" == self._texts(bench, 1)[0]

    # Troubles.

    @pytest.mark.parametrize("trouble", PASSING.values(), ids=PASSING)
    def test_passing_trouble_is_overcome(self, bench: HttpBench, trouble: dict[str, Any]) -> None:
        """One bad answer to a write is repeated away: all is accepted, and the end is as if nothing had been."""
        for number in range(3):
            bench.put(number, {bench.text: "cold", bench.other: "solo"})
        bench.trouble(**trouble)
        changes = [
            bench.change(0, {bench.text: "hot"}),
            bench.change(1, {bench.text: None}),
            bench.change(2, {bench.text: "warm", bench.other: "team"}),
        ]

        assert all_accepted(changes) == pushed(bench.adapter(bench.transport()), bench.sync(), changes)
        assert [("hot", "solo"), (None, "solo"), ("warm", "team")] == [self._texts(bench, n) for n in range(3)]

    @pytest.mark.parametrize("trouble", LASTING.values(), ids=LASTING)
    def test_lasting_trouble_is_told_with_its_doubt(self, bench: HttpBench, trouble: dict[str, Any]) -> None:
        """Writes that are never answered are not accepted, and in doubt unless the service said it did nothing."""
        bench.put(1, {bench.text: "cold"})
        adapter, sync = bench.adapter(bench.transport()), bench.sync()
        bench.trouble(**trouble, times=None)
        found = attempted(adapter, sync, [bench.change(1, {bench.text: "hot"})])

        assert {"deferred"} >= set(found.results.values())
        assert found.outcomes or isinstance(found.error, ServiceUnavailable)
        assert (trouble.get("status") != 429) == found.has_doubt

    @pytest.mark.parametrize("kind", ["slow", "stall"])
    def test_answer_beyond_the_timeout_is_not_waited_for(self, bench: HttpBench, kind: DelayKind) -> None:
        """An answer that does not come, or stops after its headers, is given up in time, and the write is repeated."""
        bench.put(1, {bench.text: "cold"})
        adapter, sync = bench.adapter(bench.transport(timeout=TIMEOUT_SECONDS)), bench.sync()
        if not bench.delay(kind, 3 * TIMEOUT_SECONDS):
            pytest.skip("This bench cannot make its service slow.")
        changes = [bench.change(1, {bench.text: "hot"})]

        assert all_accepted(changes) == pushed(adapter, sync, changes)
        assert bench.requests() > adapter.requests(sync, changes)
        assert "hot" == self._texts(bench, 1)[0]

    @pytest.mark.parametrize("kind", ["slow", "stall"])
    def test_answer_that_never_comes_leaves_doubt(self, bench: HttpBench, kind: DelayKind) -> None:
        """A write that is never answered in time may have arrived, and is told so."""
        bench.put(1, {bench.text: "cold"})
        adapter = bench.adapter(bench.transport(timeout=TIMEOUT_SECONDS, attempts=2))
        if not bench.delay(kind, 3 * TIMEOUT_SECONDS, times=None):
            pytest.skip("This bench cannot make its service slow.")
        found = attempted(adapter, bench.sync(), [bench.change(1, {bench.text: "hot"})])

        assert {"deferred"} >= set(found.results.values())
        assert found.outcomes or isinstance(found.error, ServiceUnavailable)
        assert found.has_doubt

    def test_short_answer_is_no_yes_for_the_rest(self, bench: HttpBench) -> None:
        """Records that an answer leaves out are in doubt, and never accepted, whatever it says of the others."""
        for number in range(3):
            bench.put(number, {bench.text: "cold"})
        adapter, sync = bench.adapter(bench.transport()), bench.sync()
        if not bench.answer_short():
            pytest.skip("This service does not answer for each record, or the bench cannot cut that short.")
        found = attempted(adapter, sync, [bench.change(number, {bench.text: "hot"}) for number in range(3)])

        assert list(found.results.values()).count("accepted") < 3
        assert "rejected" not in found.results.values()
        assert found.has_doubt

    def test_page_is_no_yes(self, bench: HttpBench) -> None:
        """A page of somebody in between, under a 200, accepts nothing, and what was written is in doubt."""
        bench.put(1, {bench.text: "cold"})
        bench.trouble("after", status=200, content=PAGE, times=None)
        found = attempted(bench.adapter(bench.transport()), bench.sync(), [bench.change(1, {bench.text: "hot"})])

        assert "accepted" not in found.results.values()
        assert found.has_doubt

    def test_page_is_no_refusal(self, bench: HttpBench) -> None:
        """A page under a 404 says nothing about the record: it is neither accepted nor parked."""
        bench.put(1, {bench.text: "cold"})
        bench.trouble("status", status=404, content=PAGE, times=None)
        found = attempted(bench.adapter(bench.transport()), bench.sync(), [bench.change(1, {bench.text: "hot"})])

        assert {"deferred"} >= set(found.results.values())

    def test_dead_service_leaves_no_doubt_about_readings(self, bench: HttpBench) -> None:
        """When everything is answered 429, nothing was written, and nothing is said to be in doubt."""
        bench.put(1, {})
        bench.trouble("status", status=429, times=None, only_writes=False)
        found = attempted(bench.adapter(bench.transport()), bench.sync(), [bench.change(1, {bench.text: "hot"})])

        assert {"deferred"} >= set(found.results.values())
        assert found.outcomes or isinstance(found.error, ServiceUnavailable)
        assert not found.has_doubt

    def test_refused_credentials_end_the_destination(self, bench: HttpBench) -> None:
        """A 401 that lasts is not the record's fault: the destination is unusable, and check does not pass."""
        bench.put(1, {})
        bench.trouble("status", status=401, content={}, times=None, only_writes=False)
        adapter, sync = bench.adapter(bench.transport()), bench.sync()
        found = attempted(adapter, sync, [bench.change(1, {bench.text: "hot"})])

        assert [] == found.outcomes
        assert isinstance(found.error, DestinationUnusable)
        with suppress(DestinationUnusable):
            assert list(adapter.check(sync))

    @pytest.mark.parametrize("after", range(8))
    def test_credentials_that_expire_in_mid_run(self, bench: HttpBench, after: int) -> None:
        """When each request from the n-th on is a 401, what was answered before keeps its outcome, whatever has arrived
        is accepted or in doubt, and the destination ends."""
        for number in range(3):
            bench.put(number, {bench.text: "cold"})
        transport = bench.transport()
        adapter, sync = bench.adapter(transport), bench.sync()
        if not bench.expire(after):
            pytest.skip("This bench cannot let its credentials expire.")
        is_in_doubt = transport.watch_doubt()
        changes = [bench.change(number, {bench.text: "hot"}) for number in range(3)]
        found = attempted(adapter, sync, changes)
        arrived = {f"key-{number}" for number in range(3) if self._texts(bench, number)[0] == "hot"}
        yes = {key for key, result in found.results.items() if result == "accepted"}
        unsure = {outcome.key for outcome in found.outcomes if outcome.doubt}
        if is_in_doubt() or getattr(found.error, "doubt", False):
            unsure |= {change.key for change in changes} - set(found.results)
        # A job that was begun is asked for again by the next run, and says so by its doubt.
        is_over = isinstance(found.error, DestinationUnusable) or (found.jobs and found.error is not None)

        assert {"accepted", "deferred"} >= set(found.results.values())
        assert yes <= arrived <= yes | unsure
        assert is_over or set(found.results) == {change.key for change in changes}
        again = attempted(adapter, sync, [bench.change(number, {bench.text: "warm"}) for number in range(3)])
        assert isinstance(again.error, DestinationUnusable) or bench.requests() <= after
        assert (after == 0) <= ([] == again.outcomes == found.outcomes)

    @pytest.mark.parametrize("status", [302, 308])
    def test_redirect_is_not_followed(self, bench: HttpBench, status: int) -> None:
        """A redirect to another host ends the destination, and neither credentials nor records go there."""
        bench.put(1, {})
        with listener() as (address, seen):
            headers = {"Location": f"{address}/taken"}
            bench.trouble("status", status=status, headers=headers, times=None, only_writes=False)
            found = attempted(bench.adapter(bench.transport()), bench.sync(), [bench.change(1, {bench.text: "hot"})])

        assert isinstance(found.error, DestinationUnusable)
        assert [] == found.outcomes
        assert [] == seen

    @pytest.mark.parametrize("only_writes", [True, False], ids=["writes", "everything"])
    @pytest.mark.parametrize("trouble", FATAL.values(), ids=FATAL)
    def test_nothing_secret_is_told(
        self,
        bench: HttpBench,
        trouble: dict[str, Any],
        only_writes: bool,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """No secret, value or identifier is in an error with its traceback, in a code, or in a log of ours."""
        caplog.set_level(logging.DEBUG)
        bench.put(1, {})
        bench.trouble(**trouble, times=None, only_writes=only_writes)
        found = attempted(bench.adapter(bench.transport()), bench.sync(), [bench.change(1, {bench.text: VALUE})])
        told = [outcome.code for outcome in found.outcomes]
        told += traceback.format_exception(found.error) if found.error else []
        # The HTTP library logs addresses at its debug level; whoever sets up logging keeps that one quiet.
        told += [record.getMessage() for record in caplog.records if not record.name.startswith("urllib3")]
        told += capfd.readouterr()

        assert found.error or found.outcomes
        assert [] == [text for text in (*bench.secrets, VALUE, bench.who(1)) if text in "".join(told)]
        messages = "".join(outcome.message for outcome in found.outcomes)
        assert [] == [secret for secret in bench.secrets if secret in messages]

    # Jobs.

    def test_job_is_told_before_it_starts(self, bench: HttpBench) -> None:
        """Work that outlives the process is told before the first request that could start it, and a process that died
        right then starts it no second time."""
        sync = bench.sync()
        changes = [bench.change(number, {bench.text: "hot"}) for number in range(bench.job_records)]
        for number in range(bench.job_records):
            bench.put(number, {bench.text: "cold"})
        items = bench.adapter(bench.transport()).push(sync, changes)
        first = next(items)
        if not isinstance(first, Job):
            others = [item for item in items if isinstance(item, Job)]
            assert [] == others, "A job came after an outcome."
            pytest.skip("This adapter starts no job for a batch like that.")
        assert [] == list(bench.writes())
        if isinstance(items, Generator):
            items.close()
        resumed = list(bench.adapter(bench.transport()).resume(sync, first.text, changes))
        keys = [item.key for item in resumed if isinstance(item, Outcome)]

        assert [] == list(bench.writes())
        assert sorted(set(keys)) == sorted(keys)
        assert set(keys) <= {change.key for change in changes}
        assert "accepted" not in {item.result for item in resumed if isinstance(item, Outcome)}
        assert [] == [text for text in (*bench.secrets, bench.who(0), "hot") if text in first.text]

    # Columns.

    def test_a_batch_by_columns_is_taken_as_one_of_objects(self, bench: HttpBench) -> None:
        """Where batches are made by columns, no change weighs more so, and each ends as it would have ended alone."""
        adapter, sync = bench.adapter(bench.transport()), bench.sync()
        values = ["hot", 'say "no", 東京', None]
        changes = [bench.change(number, {bench.text: value}) for number, value in enumerate(values)]
        for number in range(len(values)):
            bench.put(number, {bench.text: "cold", bench.other: "solo"})
        with stretch(sync, changes, adapter) as batch:
            if not batch.texts:
                pytest.skip("This adapter makes nothing by columns.")
            weights = [len(text.as_py().encode()) for texts in batch.texts for text in texts]
            found = [one for one in each(changes, adapter.push(sync, batch)) if isinstance(one, Outcome)]

        assert [] == [key for key, weight in enumerate(weights) if weight > adapter.weigh(sync, changes[key])]
        assert all_accepted(changes) == {one.key: one.result for one in found}
        assert [(value, "solo") for value in values] == [self._texts(bench, n) for n in range(len(values))]

    # Reading back.

    def test_reading_changes_nothing(self, bench: HttpBench) -> None:
        """Reading back writes no record."""
        bench.put(1, {bench.text: "warm"})
        adapter = readable(bench)
        list(adapter.read(bench.sync(), [bench.wanted(number) for number in range(5)]))

        assert bench.requests() > 0
        assert [] == list(bench.writes())
        assert "warm" == self._texts(bench, 1)[0]

    @pytest.mark.parametrize("trouble", UNREADABLE.values(), ids=UNREADABLE)
    def test_what_cannot_be_read_is_nobody_missing(self, bench: HttpBench, trouble: dict[str, Any]) -> None:
        """A refused key, a page and an outage end the reading: no record is said to be absent, and no secret told."""
        bench.put(1, {bench.text: "warm"})
        adapter, sync = readable(bench), bench.sync()
        bench.trouble(**trouble, times=None, only_writes=False)
        held: list[Held] = []
        with pytest.raises((DestinationUnusable, ServiceUnavailable)) as caught:
            held.extend(adapter.read(sync, [bench.wanted(number) for number in range(5)]))
        told = "".join(traceback.format_exception(caught.value))

        assert [] == held
        assert [] == [text for text in (*bench.secrets, bench.who(1)) if text in told]

    # Stopping.

    def test_nothing_starts_after_a_stop(self, bench: HttpBench) -> None:
        """When the process was asked to stop before, no request leaves."""
        bench.put(1, {})
        stop = threading.Event()
        adapter = bench.adapter(bench.transport(stop=stop))
        stop.set()
        found = attempted(adapter, bench.sync(), [bench.change(1, {bench.text: "hot"})])

        assert isinstance(found.error, Stopping)
        assert not found.has_doubt
        assert 0 == bench.requests()

    def test_stop_in_the_middle_of_a_batch(self, bench: HttpBench) -> None:
        """After a stop no new request starts; what was answered before has its outcome, the rest none."""
        stop = threading.Event()
        adapter = bench.adapter(bench.transport(stop=stop))
        changes = [bench.change(number, {bench.text: "hot"}) for number in range(4)]
        for number in range(4):
            bench.put(number, {})
        outcomes = adapter.push(bench.sync(), changes)
        keys = [self._key(outcomes)]
        stop.set()
        before = bench.requests()
        try:
            keys += [outcome.key for outcome in outcomes if isinstance(outcome, Outcome)]
        except Stopping:
            assert len(keys) < len(changes)

        assert before == bench.requests()
        assert sorted(set(keys)) == sorted(keys)

    def _key(self, outcomes: Iterator[object]) -> str:
        return next(outcome.key for outcome in outcomes if isinstance(outcome, Outcome))
