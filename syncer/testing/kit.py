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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from syncer.change import Job, Outcome
from syncer.errors import DestinationUnusable, ServiceUnavailable, Stopping
from syncer.testing.bench import HttpBench
from syncer.testing.records import RecordTests, all_accepted, attempted, pushed

PAGE = "<html><body><h1>Sorry</h1></body></html>"
VALUE = "a-value-that-must-not-leak"

PASSING: dict[str, dict[str, Any]] = {
    "429": {"kind": "status", "status": 429},
    "429 with Retry-After": {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}},
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
}

FATAL: dict[str, dict[str, Any]] = {
    "401": {"kind": "status", "status": 401, "content": {}},
    "redirect": {"kind": "status", "status": 302, "headers": {"Location": "https://elsewhere.example/"}},
    "503": {"kind": "status", "status": 503, "content": PAGE},
    "closed": {"kind": "close"},
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
        changes = [bench.change(number, {bench.text: "hot"}) for number in range(5)]
        for number in range(6):
            bench.put(number, {bench.text: "cold"})
        pushed(adapter, sync, [bench.change(5, {bench.text: "hot"})])
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

    def _key(self, outcomes: Iterator[Outcome | Job]) -> str:
        return next(outcome.key for outcome in outcomes if isinstance(outcome, Outcome))
