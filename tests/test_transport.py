"""The way out: pace, repeats, waits, the circuit breaker, doubt, and what must never be followed or told."""

from __future__ import annotations

import datetime
import email.utils
import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests

from destinations.standins.server import Answer, Request, Server, StandIn, Table
from syncer.destination import Pace
from syncer.errors import DestinationUnusable, Redirected, ServiceUnavailable, Stopping
from syncer.transport import ONCE, Gate, Gates, Transport

SECRET, VALUE = "canary-secret-7f3a", "canary-value-9c1e"
PLENTY = Pace(1_000_000, 1.0)


class Echo(StandIn):
    """Takes everything."""

    kind = "echo"
    title = "Echo"
    headers: ClassVar[dict[str, str]] = {}

    def handle(self, request: Request) -> Answer:
        return Answer(200, {"ok": True}, self.headers)

    def settings(self) -> str:
        return ""

    def tables(self) -> list[Table]:
        return []

    def seed(self, people: Any, workspaces: Any, accounts: Any) -> None:
        """Nothing to hold."""


class Patience(threading.Event):
    """A wish to stop that remembers how long it was asked to wait, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return self.is_set()


class Gone(Exception):
    """Whatever says that nothing may be sent any more."""


@pytest.fixture
def echo() -> Iterator[Echo]:
    standin = Echo()
    with Server({"": standin}):
        yield standin


def transport_to(gate: Gate | None = None, **options: Any) -> Transport:
    options = {"title": "Echo", "stop": Patience(), "timeout": 5.0, "attempts": 4} | options
    return Transport(gate or Gate(PLENTY), **options)


def post(transport: Transport, url: str, **options: Any) -> requests.Response:
    with transport.session() as session:
        return session.post(f"{url}/path", data=b"{}", **options)


def raised(call: Callable[[], object]) -> Exception:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


# Pace.


def test_two_transports_of_one_account_share_its_pace(echo: Echo) -> None:
    """Seven requests over two transports need three periods of a pace of three."""
    gates = Gates()
    stop = threading.Event()
    ways = [transport_to(gates.gate("account", Pace(3, 0.5)), stop=stop) for _ in range(2)]
    began = time.monotonic()
    for number in range(7):
        post(ways[number % 2], echo.url)

    assert time.monotonic() - began >= 0.9
    assert gates.gate("account", PLENTY) is not gates.gate("another", PLENTY)


def test_requests_are_counted(echo: Echo) -> None:
    """Every attempt counts, with its status."""
    echo.trouble("status", answer=Answer(503, "sorry"), times=2)
    transport = transport_to()
    post(transport, echo.url)

    assert (3, {503: 2, 200: 1}) == (transport.requests, dict(transport.statuses))


def test_requests_are_timed(echo: Echo) -> None:
    """Whoever watches is told of every attempt, of both doors: its status, or that there was none, and how long it
    took without the wait for its place in the pace."""
    told: list[tuple[int | None, float]] = []
    transport = transport_to(watch=lambda status, seconds: told.append((status, seconds)))
    echo.trouble("status", answer=Answer(503, "sorry"))
    echo.trouble("close")
    post(transport, echo.url)
    post(transport.door("another", Pace(1, 0.4)), echo.url)
    post(transport.door("another", Pace(1, 0.4)), echo.url)

    assert [503, None, 200, 200, 200] == [status for status, _ in told]
    assert all(0 < seconds < 0.35 for _, seconds in told)


# Repeats and waits.


@pytest.mark.parametrize("status", [408, 420, 425, 429, 500, 502, 503, 504, 522])
def test_passing_trouble_is_waited_out(echo: Echo, status: int) -> None:
    """An answer that may be another one next time is asked for again."""
    echo.trouble("status", answer=Answer(status, "later"), times=2)

    assert 200 == post(transport_to(), echo.url).status_code
    assert 3 == echo.count


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 501])
def test_refusals_are_returned_at_once(echo: Echo, status: int) -> None:
    """A refusal is the adapter's to read, and asking again would not change it."""
    echo.trouble("status", answer=Answer(status, {"error": "no"}))

    assert status == post(transport_to(), echo.url).status_code
    assert 1 == echo.count


def test_waits_grow_to_a_limit_with_a_little_chance() -> None:
    """The waits between attempts double, and never pass the limit by more than the first wait."""
    stop = Patience()
    raised(lambda: post(transport_to(stop=stop, attempts=8, wait_first=0.5, wait_max=4.0), closed_port()))

    assert 7 == len(stop.waits)
    for wait, floor in zip(stop.waits, [0.5, 1, 2, 4, 4, 4, 4], strict=True):
        assert floor <= wait <= floor + 0.5


def test_attempts_are_limited(echo: Echo) -> None:
    """After as many attempts as the settings allow, the request is given up."""
    echo.trouble("status", times=None)
    error = raised(lambda: post(transport_to(attempts=3), echo.url))

    assert isinstance(error, ServiceUnavailable)
    assert "Echo answered 503." == str(error)
    assert 3 == echo.count


def in_seconds(seconds: int) -> str:
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return email.utils.format_datetime(moment, usegmt=True)


@pytest.mark.parametrize(
    ("header", "shortest", "longest"),
    [
        ("7", 7, 7),
        ("0", 0, 1.0),
        pytest.param(in_seconds(1_000_000), 40, 40, id="date to come"),
        pytest.param(in_seconds(-1000), 0, 1.0, id="date gone by"),
        ("86400", 40, 40),
        ("9" * 400, 40, 40),
        ("-5", 0.5, 1.0),
        ("soon", 0.5, 1.0),
        ("\u00b2", 0.5, 1.0),
        ("", 0.5, 1.0),
        ("Wed, 99 Foo 2026 00:00:00 GMT", 0.5, 1.0),
    ],
)
def test_retry_after(echo: Echo, header: str, shortest: float, longest: float) -> None:
    """A number or a date is obeyed up to a limit; anything else counts as nothing said."""
    stop = Patience()
    echo.trouble("status", answer=Answer(429, "slower", {"Retry-After": header}))
    post(transport_to(gate_of(stop), stop=stop, retry_after_max=40.0), echo.url)

    (wait,) = stop.waits
    assert shortest <= wait <= longest


def gate_of(stop: Patience) -> Gate:
    """A gate for which the time goes by that was waited."""
    return Gate(PLENTY, clock=lambda: sum(stop.waits))


def test_retry_after_is_for_the_whole_account(echo: Echo) -> None:
    """When one request is told to come back in 7 seconds, the other requests of the account wait as long."""
    stop = Patience()
    gate = gate_of(stop)
    echo.trouble("status", answer=Answer(429, "slower", {"Retry-After": "7"}))
    raised(lambda: post(transport_to(gate, stop=Patience(), attempts=1), echo.url))
    post(transport_to(gate, stop=stop), echo.url)

    assert 7 == pytest.approx(sum(stop.waits), abs=0.1)


def test_door_has_a_pace_of_its_own_and_counts_with_the_rest(echo: Echo) -> None:
    """Another service of the same destination is paced apart, in the whole process, and its requests are counted."""
    gates = Gates()
    first, second = (transport_to(gates.gate("account", PLENTY), gates=gates) for _ in range(2))
    door = first.door("account reading", Pace(3, 0.5))
    post(first, echo.url)
    post(door, echo.url)

    assert (2, 0) == (first.requests, second.requests)
    assert first.door("account reading", PLENTY) is door
    assert gates.gate("account reading", PLENTY) is not gates.gate("account", PLENTY)


# Doubt.


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"X-Request-Id": "req-81"}, "req-81"),
        ({"Request-Id": "4f2"}, "4f2"),
        ({}, ""),
        ({"X-Request-Id": "two words"}, ""),
        ({"X-Request-Id": "x" * 101}, ""),
    ],
)
def test_request_id_of_the_last_answer(echo: Echo, headers: dict[str, str], told: str) -> None:
    """The service's id of this thread's last request is remembered, also through another door, and no longer than
    until somebody starts to watch again."""
    echo.headers = headers
    transport = transport_to()
    told_now = transport.watch_request_id()
    post(transport.door("reading", PLENTY), echo.url)

    assert told == told_now()
    assert "" == transport.watch_request_id()()


def closed_port() -> str:
    """The address of a port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize(
    ("trouble", "doubt"),
    [
        ({"kind": "status", "answer": Answer(429, "")}, False),
        ({"kind": "status", "answer": Answer(425, "")}, False),
        ({"kind": "status", "answer": Answer(500, "")}, True),
        ({"kind": "status", "answer": Answer(503, "")}, True),
        ({"kind": "status", "answer": Answer(408, "")}, True),
        ({"kind": "close"}, True),
        ({"kind": "lost"}, True),
        ({"kind": "cut"}, True),
        ({"kind": "stall", "seconds": 1.0}, True),
        ({"kind": "slow", "seconds": 1.0}, True),
    ],
)
def test_doubt_is_told_rightly(echo: Echo, trouble: dict[str, Any], doubt: bool) -> None:
    """Whether a write may have been applied: no after a 429, yes after a 5xx or a connection that was cut."""
    echo.trouble(**trouble, times=None)
    transport = transport_to(timeout=0.3, attempts=2)
    is_in_doubt = transport.watch_doubt()
    error = raised(lambda: post(transport, echo.url))

    assert isinstance(error, ServiceUnavailable)
    assert (doubt, doubt) == (error.doubt, is_in_doubt())


def test_refused_connection_leaves_no_doubt() -> None:
    """Where nobody listens, nothing was applied."""
    error = raised(lambda: post(transport_to(attempts=2), closed_port()))

    assert isinstance(error, ServiceUnavailable)
    assert not error.doubt
    assert str(error).startswith("Echo cannot be reached at 127.0.0.1:")


def test_readings_leave_no_doubt(echo: Echo) -> None:
    """A GET that is never answered has changed nothing."""
    echo.trouble("status", times=None)
    transport = transport_to(attempts=2)
    is_in_doubt = transport.watch_doubt()
    with transport.session() as session:
        error = raised(lambda: session.get(echo.url))

    assert isinstance(error, ServiceUnavailable)
    assert (False, False) == (error.doubt, is_in_doubt())


def test_one_doubtful_attempt_is_enough(echo: Echo) -> None:
    """A write that was cut off once stays in doubt, although the last attempt was told that nothing happened."""
    echo.trouble("lost")
    echo.trouble("status", answer=Answer(429, ""), times=None)
    error = raised(lambda: post(transport_to(), echo.url))

    assert isinstance(error, ServiceUnavailable)
    assert error.doubt


@pytest.mark.parametrize(
    "then", [Answer(403, "revoked"), Answer(200, "another write went well"), Answer(501, "broken")]
)
def test_doubt_outlives_the_next_answer(echo: Echo, then: Answer) -> None:
    """Neither a refusal nor the success of another request says what became of a write that was cut off."""
    echo.trouble("lost")
    echo.trouble("status", answer=then)
    transport = transport_to(attempts=2)
    is_in_doubt = transport.watch_doubt()
    post(transport, echo.url)
    with transport.session() as session:
        session.get(echo.url)

    assert is_in_doubt()
    assert not transport.watch_doubt()()


@pytest.mark.parametrize("status", [501, 505, 599])
def test_doubt_of_a_breakdown_that_is_not_repeated(echo: Echo, status: int) -> None:
    """A 5xx that the adapter has to make sense of leaves doubt as well, should it give up."""
    echo.trouble("status", answer=Answer(status, ""))
    transport = transport_to()
    is_in_doubt = transport.watch_doubt()
    post(transport, echo.url)

    assert is_in_doubt()


@pytest.mark.parametrize("kind", ["close", "lost", "cut", "status"])
def test_once_is_not_repeated_when_in_doubt(echo: Echo, kind: str) -> None:
    """A request that must not happen twice is given up at the first doubt."""
    echo.trouble(kind, times=None)
    error = raised(lambda: post(transport_to(), echo.url, headers=dict(ONCE)))

    assert isinstance(error, ServiceUnavailable)
    assert error.doubt
    assert 1 == echo.count


def test_once_is_repeated_when_nothing_happened(echo: Echo) -> None:
    """After a 429 the same request may go again; the mark itself never leaves this machine."""
    echo.trouble("status", answer=Answer(429, ""), times=2)

    assert 200 == post(transport_to(), echo.url, headers=dict(ONCE)).status_code
    assert 3 == echo.count
    assert [] == [one for one in echo.log if "syncer-repeat" in one.request.headers]


# The breaker.


def test_breaker_opens_and_closes(echo: Echo) -> None:
    """After failures in a row nothing is asked; after the rest one request is, and its answer closes the breaker."""
    now = [0.0]
    gate = Gate(PLENTY, failures_max=2, rest_seconds=60, clock=lambda: now[0])
    transport = transport_to(gate, attempts=1)
    trouble = echo.trouble("status", times=None)

    assert [ServiceUnavailable] * 2 == [type(raised(lambda: post(transport, echo.url))) for _ in range(2)]
    error = raised(lambda: post(transport, echo.url))
    assert isinstance(error, DestinationUnusable)
    assert "Echo answered 503. It failed 2 times in a row, so nothing more is asked of it." == str(error)
    assert 2 == echo.count

    now[0] = 61.0
    assert isinstance(raised(lambda: post(transport, echo.url)), ServiceUnavailable)
    assert isinstance(raised(lambda: post(transport, echo.url)), DestinationUnusable)
    assert 3 == echo.count

    now[0] = 122.0
    trouble.times = 0
    assert [200, 200] == [post(transport, echo.url).status_code for _ in range(2)]


def test_only_one_request_finds_out_after_the_rest(echo: Echo) -> None:
    """While the first request after the rest is on its way, the others are still refused."""
    now = [0.0]
    gate = Gate(PLENTY, failures_max=1, rest_seconds=60, clock=lambda: now[0])
    gate.gave_up("It is down.")
    now[0] = 61.0
    gate.pass_through(threading.Event())

    assert isinstance(raised(lambda: gate.pass_through(threading.Event())), DestinationUnusable)
    gate.answered()
    gate.pass_through(threading.Event())


def test_any_answer_shows_that_the_service_lives(echo: Echo) -> None:
    """A refusal between two failures keeps the breaker closed."""
    gate = Gate(PLENTY, failures_max=2)
    transport = transport_to(gate, attempts=1)
    for answer in (Answer(503, ""), Answer(400, ""), Answer(503, ""), Answer(400, "")):
        echo.trouble("status", answer=answer)
        try:
            post(transport, echo.url)
        except ServiceUnavailable:
            continue

    assert 4 == echo.count


# Stopping.


def test_nothing_starts_after_a_stop(echo: Echo) -> None:
    """After a stop no request leaves."""
    stop = threading.Event()
    stop.set()
    error = raised(lambda: post(transport_to(stop=stop), echo.url))

    assert isinstance(error, Stopping)
    assert not error.doubt
    assert 0 == echo.count


@pytest.mark.parametrize(("status", "doubt"), [(503, True), (429, False)])
def test_stop_ends_a_wait(echo: Echo, status: int, doubt: bool) -> None:
    """A long wait ends with the stop, and the doubt of the attempts before is told."""
    stop = threading.Event()
    echo.trouble("status", answer=Answer(status, "", {"Retry-After": "50"}), times=None)
    transport = transport_to(stop=stop)
    found: list[Exception] = []
    thread = threading.Thread(target=lambda: found.append(raised(lambda: post(transport, echo.url))))
    began = time.monotonic()
    thread.start()
    while not transport.statuses:
        time.sleep(0.002)
    stop.set()
    thread.join(20)

    assert isinstance(found[0], Stopping)
    assert doubt == found[0].doubt
    assert 1 == echo.count
    assert time.monotonic() - began < 20


# What is not followed, not sent, and not told.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(echo: Echo, status: int) -> None:
    """A redirect is an error that says where to; the location is for the adapter."""
    echo.trouble("status", answer=Answer(status, None, {"Location": f"https://elsewhere.example/{SECRET}"}))
    error = raised(lambda: post(transport_to(), echo.url))

    assert isinstance(error, Redirected)
    assert "elsewhere.example" in str(error)
    assert SECRET not in str(error)
    assert SECRET in error.location
    assert 1 == echo.count


@pytest.mark.parametrize(
    "url", ["http://example.com", "http://10.0.0.1", "http://localhost.example.com", "http://[::2]"]
)
def test_plain_http_leaves_only_for_this_machine(url: str) -> None:
    """Without encryption nothing goes to another host."""
    error = raised(lambda: post(transport_to(), url))

    assert isinstance(error, DestinationUnusable)
    assert "plain http is allowed for loopback hosts only" in str(error)


def test_environment_has_no_say(echo: Echo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a netrc file nor a proxy of the environment touches a request to this machine."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, closed_port())
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    post(transport_to(), echo.url)

    assert "authorization" not in echo.log[0].request.headers


@pytest.mark.parametrize(
    "trouble",
    [
        {"kind": "status", "answer": Answer(503, f"{VALUE} {SECRET}")},
        {"kind": "status", "answer": Answer(302, None, {"Location": f"http://127.0.0.1/{VALUE}?key={SECRET}"})},
        {"kind": "close"},
        {"kind": "cut"},
        {"kind": "slow", "seconds": 0.5},
        None,
    ],
)
def test_nothing_of_a_request_is_told(
    echo: Echo, trouble: dict[str, Any] | None, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """No error, log line or output holds anything of the address, the headers, the body or the answer."""
    caplog.set_level(logging.DEBUG)
    if trouble:
        echo.trouble(**trouble, times=None)
    url = echo.url if trouble else closed_port()
    transport = transport_to(timeout=0.2, attempts=2)
    with transport.session() as session:
        error = raised(
            lambda: session.post(
                f"{url}/people/{VALUE}?email={VALUE}", json={"v": VALUE}, headers={"Authorization": f"Bearer {SECRET}"}
            )
        )
    told = "".join(traceback.format_exception(error)) + repr(error) + "".join(capfd.readouterr())
    # The HTTP library logs addresses at its debug level, which nobody turns on.
    told += "".join(record.getMessage() for record in caplog.records if not record.name.startswith("urllib3"))

    assert [] == [canary for canary in (SECRET, VALUE) if canary in told]


def test_whoever_may_not_send_any_more_sends_nothing(echo: Echo) -> None:
    """What has to be confirmed first is asked before each request, a repeat and one through another door too."""
    asked: list[int] = []

    def confirm() -> None:
        asked.append(len(asked))
        if len(asked) > 2:
            raise Gone

    transport = transport_to()
    transport.confirm_first(confirm)
    assert 200 == post(transport, echo.url).status_code
    echo.trouble("status", times=None, answer=Answer(503, {}))
    with pytest.raises(Gone):
        post(transport, echo.url)
    with pytest.raises(Gone):
        post(transport.door("reading", PLENTY), echo.url)

    assert ([0, 1, 2, 3], 2) == (asked, echo.count)
