"""The way out: every request of every adapter is paced, timed, repeated, counted and stopped here.

A `Transport` is an HTTP adapter for `requests`, so a vendor's own client can be given a session that goes
through it. It lives as long as one run; the `Gate` it passes (pace and circuit breaker) is shared by all
syncs of one account in this process.
"""

from __future__ import annotations

import email.utils
import ipaddress
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import requests
import structlog
from pyrate_limiter import Limiter, Rate
from requests.adapters import HTTPAdapter
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from syncer import __version__
from syncer.answer import TIMEOUTS_MAX, Answer, TooLarge, TooSlow
from syncer.destination import Pace
from syncer.errors import DestinationUnusable, Redirected, ServiceUnavailable, Stopping, SyncerError
from syncer.scratch import Scratch

log = structlog.get_logger(__name__)

ONCE: Mapping[str, str] = {"Syncer-Repeat": "never"}
"""Headers for a request that must not be repeated when its fate is unknown (a plain create). Never sent."""

AGAIN = frozenset({408, 420, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
"""Answers after which the same request is worth repeating. 420 is an edge that cannot route, and 520 to 524 are
a proxy's that got no useful answer from the service behind it."""
TOO_MANY = 429
READS = ("GET", "HEAD")
"""Methods that change nothing, whatever becomes of the answer."""
NOT_APPLIED = frozenset({425, TOO_MANY})
"""Of these, the answers that say that nothing was applied."""


REQUEST_ID_HEADERS = ("X-Request-Id", "Request-Id")
"""Where a service tells its own id of a request; its people find the request by it."""


class Gate:
    """Pace and circuit breaker of one account, shared by its syncs.

    The breaker opens after `failures_max` requests in a row were given up (each after its repeats). After
    `rest_seconds` it lets a single one through, and closes when that is answered.
    """

    def __init__(
        self,
        pace: Pace,
        *,
        failures_max: int = 3,
        rest_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limiter = Limiter(Rate(pace.requests, max(1, round(pace.seconds * 1000))))
        self._wait_seconds = min(0.05, pace.seconds / max(1, pace.requests))
        self._failures_max = failures_max
        self._rest_seconds = rest_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._open_until = 0.0
        self._rests_until = 0.0
        self._sentence = ""

    def pass_through(self, stop: threading.Event) -> bool:
        """Wait for a place in the pace; says whether there was none at once.

        Raises DestinationUnusable when the breaker is open, Stopping on a stop.
        """
        is_paced = False
        while True:
            if stop.is_set():
                raise Stopping
            with self._lock:
                is_tripped = self._failures >= self._failures_max
                if is_tripped and self._clock() < self._open_until:
                    raise DestinationUnusable(self._sentence)
                rest = self._rests_until - self._clock()
                if rest <= 0 and self._limiter.try_acquire("request", blocking=False):
                    if is_tripped:
                        # The rest is over. This request finds out for all; until it has, the others are refused.
                        self._open_until = self._clock() + self._rest_seconds
                    return is_paced
            is_paced = True
            stop.wait(max(self._wait_seconds, rest))

    def rest(self, seconds: float) -> None:
        """The service asked for a pause: nobody passes until it is over, since all would be told the same."""
        with self._lock:
            self._rests_until = max(self._rests_until, self._clock() + seconds)

    def answered(self) -> None:
        """The service answered with sense; whatever was counted against it is forgotten."""
        with self._lock:
            self._failures = 0

    def gave_up(self, sentence: str) -> None:
        """A request was given up after its repeats."""
        with self._lock:
            self._failures += 1
            if self._failures >= self._failures_max:
                self._open_until = self._clock() + self._rest_seconds
                self._sentence = (
                    f"{sentence} It failed {self._failures} times in a row, so nothing more is asked of it."
                )


class Gates:
    """All gates of this process, by account."""

    def __init__(self, failures_max: int = 3, rest_seconds: float = 60.0) -> None:
        self._failures_max = failures_max
        self._rest_seconds = rest_seconds
        self._lock = threading.Lock()
        self._gates: dict[str, Gate] = {}

    def gate(self, account: str, pace: Pace) -> Gate:
        """The one gate of an account; the first pace that is asked for holds."""
        with self._lock:
            if account not in self._gates:
                self._gates[account] = Gate(pace, failures_max=self._failures_max, rest_seconds=self._rest_seconds)
            return self._gates[account]


class _AgainError(Exception):
    """Inside the retry loop: this attempt was in vain, another one may not be."""

    def __init__(self, sentence: str, *, doubt: bool, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.doubt = doubt
        self.retry_after = retry_after


Watch = Callable[[int | None, float], None]
"""Told of every request that was sent: the status of its answer (None when there was none), and how many seconds it
took, without the wait for its place in the pace."""


class Transport(HTTPAdapter):
    """One run's way to one destination. Thread-safe; hand it to adapters, which take sessions from it."""

    def __init__(
        self,
        gate: Gate,
        *,
        title: str,
        stop: threading.Event,
        timeout: float = 60.0,
        attempts: int = 5,
        retry_after_max: float = 60.0,
        wait_first: float = 0.5,
        wait_max: float = 30.0,
        gates: Gates | None = None,
        watch: Watch | None = None,
        scratch: Scratch | None = None,
    ) -> None:
        super().__init__(max_retries=0, pool_connections=8, pool_maxsize=64)
        self._gate = gate
        self._gates = gates or Gates()
        self._settings: dict[str, Any] = {
            "title": title,
            "stop": stop,
            "timeout": timeout,
            "attempts": attempts,
            "retry_after_max": retry_after_max,
            "wait_first": wait_first,
            "wait_max": wait_max,
            "watch": watch,
            "scratch": scratch,
        }
        self.scratch = scratch or Scratch()
        """Where adapters put down what is too large to be held."""
        self._main: Transport = self
        """The one that counts requests, for a door beside it too."""
        self._doors: dict[str, Transport] = {}
        self._confirm: Callable[[], None] = lambda: None
        self._title = title
        self._stop = stop
        self._timeout = timeout
        self._attempts = attempts
        self._watch = watch
        self._retry_after_max = retry_after_max
        self._wait = wait_exponential(multiplier=wait_first, max=wait_max) + wait_random(0, wait_first)
        self._lock = threading.Lock()
        self.requests = 0
        self.paced = 0
        """Requests that waited for a place in the pace."""
        self.statuses: Counter[int] = Counter()
        self._doubts = threading.local()
        self._answers = threading.local()

    def confirm_first(self, confirm: Callable[[], None]) -> None:
        """Call this before each request, repeats too; what it raises is raised instead of sending."""
        self._confirm = confirm

    def door(self, account: str, pace: Pace) -> Transport:
        """A way to another service of the same destination that has a pace and a breaker of its own (an API for
        reading); its requests count as this one's. `account` says what shares the pace, in this whole process."""
        with self._lock:
            if account not in self._doors:
                made = Transport(self._gates.gate(account, pace), **self._settings, gates=self._gates)
                made._main = self._main
                self._doors[account] = made
            return self._doors[account]

    def wait(self, seconds: float) -> None:
        """Wait for work that goes on at the service (a job), between two looks at it; never longer than the pauses
        between repeats may be. Raises Stopping, in doubt, when the process is to stop."""
        if self._stop.wait(min(seconds, self._settings["wait_max"])):
            raise Stopping(doubt=True)

    def close(self) -> None:
        """Let go of the connections, also of those to other doors."""
        for door in self._doors.values():
            door.close()
        super().close()

    def watch_doubt(self) -> Callable[[], bool]:
        """A question to ask later: has a write of this thread left since now without a useful answer, even if a
        later attempt was refused (a key revoked in between, a breaker that opened)?

        A good answer to another request proves nothing about that write, so nothing takes the doubt back; whoever
        got an outcome for each record need not ask.
        """
        self._doubts.is_open = False
        return lambda: bool(self._doubts.is_open)

    def watch_request_id(self) -> Callable[[], str]:
        """A question to ask later: what does the service call the request that it answered last since now, in this
        thread? Empty where it gives no ids."""
        answers = self._main._answers
        answers.request_id = ""
        return lambda: str(answers.request_id)

    def session(self) -> requests.Session:
        """A session whose every request goes through here; make one per thread, or share with care."""
        session = requests.Session()
        session.headers["User-Agent"] = f"syncer/{__version__}"
        self.mount_on(session)
        return session

    def mount_on(self, session: requests.Session) -> None:
        """Make a session that somebody else built (a vendor's client) go through here."""
        # The environment may name proxies, but a netrc entry must never replace our Authorization.
        session.trust_env = False
        session.mount("https://", self)
        session.mount("http://", self)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send with pace, timeout and repeats; the answer is read whole before it is returned, with `stream` a 200
        into a file, which is its `raw` then. A body that is a file is sent from where it stands, in each repeat anew.

        Returns every answer that is not worth repeating, also refusals. Raises ServiceUnavailable when the
        repeats are used up, DestinationUnusable for an open breaker, Redirected (which is one too) for a redirect,
        Stopping when told to stop.
        """
        address = urlsplit(request.url or "")
        if address.scheme != "https" and not is_loopback(address.hostname or ""):
            raise DestinationUnusable(
                f"{self._title}: plain http is allowed for loopback hosts only, not for {address.hostname}."
            )
        repeatable = request.headers.pop("Syncer-Repeat", None) != "never"
        writes = request.method not in READS
        doubt = False

        def attempt() -> requests.Response:
            nonlocal doubt
            self._main._confirm()
            try:
                is_paced = self._gate.pass_through(self._stop)
            except Stopping:
                raise Stopping(doubt=doubt) from None
            if is_paced:
                with self._main._lock:
                    self._main.paced += 1
            try:
                response = self._once(request, stream, verify, cert)
            except _AgainError as again:
                if again.doubt and writes:
                    doubt = self._doubts.is_open = True
                raise
            return response

        retrying = Retrying(
            stop=stop_after_attempt(self._attempts),
            wait=self._pause,
            sleep=self._sleep,
            retry=retry_if_exception(lambda error: isinstance(error, _AgainError) and (repeatable or not error.doubt)),
            reraise=True,
        )
        try:
            response = retrying(attempt)
        except _AgainError as again:
            sentence = f"{self._title} {again}"
            self._gate.gave_up(sentence)
            raise ServiceUnavailable(sentence, doubt=doubt) from None
        self._gate.answered()
        if writes and response.status_code >= 500:
            # Whoever broke down may have broken down after writing.
            self._doubts.is_open = True
        if response.is_redirect or response.is_permanent_redirect:
            location = response.headers.get("Location", "")
            target = _host_of(location) or "another address"
            raise Redirected(
                f"{self._title} at {address.netloc} answered {response.status_code} with a redirect to {target}; "
                "redirects are not followed. Check the address and region in the config.",
                location=location,
            )
        return response

    def _once(self, request: requests.PreparedRequest, stream: bool, verify: Any, cert: Any) -> requests.Response:
        """One attempt, counted and timed."""
        with self._main._lock:
            self._main.requests += 1
        status: int | None = None
        started = time.monotonic()
        try:
            response = self._exchange(request, stream, verify, cert)
            status = response.status_code
        finally:
            if self._watch is not None:
                self._watch(status, time.monotonic() - started)
        with self._lock:
            self.statuses[status] += 1
        self._main._answers.request_id = _request_id(response.headers)
        if status in AGAIN:
            told = _retry_after(response.headers.get("Retry-After"))
            if told is not None and status == TOO_MANY:
                self._gate.rest(min(told, self._retry_after_max))
            raise _AgainError(f"answered {status}.", doubt=status not in NOT_APPLIED, retry_after=told)
        return response

    def _exchange(self, request: requests.PreparedRequest, stream: bool, verify: Any, cert: Any) -> requests.Response:
        """Send, and read the whole answer. Raises _AgainError and DestinationUnusable."""
        address = urlsplit(request.url or "")
        host = address.netloc
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        # What may go without encryption because it stays on this machine must not leave it by a proxy.
        proxies = {} if is_loopback(address.hostname or "") else requests.utils.get_environ_proxies(address.geturl())
        if isinstance(begin := getattr(request, "_body_position", None), int):
            # An earlier attempt has read the file, perhaps to its end.
            cast("BinaryIO", request.body).seek(begin)
        try:
            response = super().send(
                request, True, (min(10.0, self._timeout), self._timeout), bundle or verify, cert, proxies
            )
            answer = Answer.of(response)
            # A body that is cut short has to show here, where it can be repeated.
            if stream and answer.status_code == requests.codes.ok:
                answer.put_down(self.scratch, self._timeout)
            else:
                answer.read(self._timeout)
        except requests.exceptions.SSLError as error:
            # The library's own error quotes the whole address, and an address may hold a person's.
            if _is_caused_by(error, "SSLCertVerificationError"):
                raise DestinationUnusable(f"{self._title}: the certificate of {host} cannot be trusted.") from None
            raise _AgainError(f"broke the encrypted connection at {host}.", doubt=True) from None
        except requests.exceptions.ConnectTimeout:
            raise _AgainError(f"did not accept a connection at {host}.", doubt=False) from None
        except requests.exceptions.Timeout:
            raise _AgainError(f"did not answer within {self._timeout:g} s.", doubt=True) from None
        except requests.exceptions.ConnectionError as error:
            if _is_caused_by(error, *NEVER_CONNECTED):
                raise _AgainError(f"cannot be reached at {host}.", doubt=False) from None
            raise _AgainError("closed the connection without an answer.", doubt=True) from None
        except requests.exceptions.RequestException:
            raise _AgainError("sent an answer that was cut short.", doubt=True) from None
        except TooSlow:
            raise _AgainError(
                f"did not finish its answer within {TIMEOUTS_MAX * self._timeout:g} s.", doubt=True
            ) from None
        except TooLarge as large:
            if request.method not in READS:
                self._doubts.is_open = True
            raise DestinationUnusable(
                f"{self._title} at {host} sent an answer of more than {large.bytes_max // 1024**2} MiB, and nothing "
                "that large was asked for. Check the address in the config, and who answers there."
            ) from None
        return answer

    def _pause(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        told = error.retry_after if isinstance(error, _AgainError) else None
        pause = self._wait(state)
        return pause if told is None else max(min(told, self._retry_after_max), min(pause, 1.0))

    def _sleep(self, seconds: float) -> None:
        self._stop.wait(seconds)


NEVER_CONNECTED = ("NewConnectionError", "NameResolutionError", "ConnectionRefusedError", "ConnectTimeoutError")
"""Errors of connecting: nothing can have been applied."""


def _is_caused_by(error: BaseException, *names: str) -> bool:
    """Whether an error of one of these classes is anywhere beneath this one; libraries wrap them several times."""
    seen: set[int] = set()
    todo: list[Any] = [error]
    while todo:
        one = todo.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        if type(one).__name__ in names:
            return True
        todo += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return False


def _request_id(headers: Mapping[str, str]) -> str:
    """The service's id of a request, when it gives one that looks like an id."""
    found = next((headers[name] for name in REQUEST_ID_HEADERS if name in headers), "")
    return found if re.fullmatch(r"[!-~]{1,100}", found) else ""


def _host_of(location: str) -> str:
    """The host of an address that somebody else wrote; empty when it has none, or is no address at all."""
    try:
        return urlsplit(location).netloc
    except ValueError:
        return ""


def _retry_after(text: str | None) -> float | None:
    """Seconds of a Retry-After header, which is a number or an HTTP date; None when it is neither."""
    if not text:
        return None
    if re.fullmatch(r"\s*[0-9]+\s*", text):
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())


def is_loopback(host: str) -> bool:
    """Whether a host name or address never leaves this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


__all__ = ["AGAIN", "ONCE", "Gate", "Gates", "SyncerError", "Transport", "is_loopback"]
