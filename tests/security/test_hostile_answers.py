"""A service that answers anything: too much, too slowly, too deep, of the wrong type, or from somewhere else."""

from __future__ import annotations

import gc
import gzip
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

import syncer.answer
from destinations.standins.server import Answer, Request
from syncer.destination import Pace
from syncer.errors import DestinationUnusable, Redirected, ServiceUnavailable, SyncerError
from syncer.transport import Gate, Transport
from tests.security.fortress import UNPRINTABLE, Fortress, a_fortress, adds_up

ALL = ("customerio.people", "orbit.people", "salesforce.people", "webhook.people")


class Host:
    """Says whatever it is told to whoever connects, byte by byte if need be."""

    def __init__(self, *pieces: bytes, pause: float = 0.0) -> None:
        self._pieces, self._pause = pieces, pause
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.sent = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        try:
            connection.recv(65536)
            for piece in self._pieces:
                connection.sendall(piece)
                self.sent += len(piece)
                time.sleep(self._pause)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        except OSError:
            pass
        finally:
            connection.close()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def head(*lines: str) -> bytes:
    return ("\r\n".join(("HTTP/1.1 200 OK", *lines)) + "\r\n\r\n").encode("latin-1")


def transport(**options: Any) -> Transport:
    options = {"title": "It", "stop": threading.Event(), "timeout": 0.5, "attempts": 1} | options
    return Transport(Gate(Pace(1_000_000, 1.0)), **options)


def ask(url: str, **options: Any) -> requests.Response:
    way = transport(**options)
    try:
        with way.session() as session:
            return session.post(f"{url}/", data=b"{}")
    finally:
        way.close()


# --- size and time ---------------------------------------------------------------------------------------------------


def test_a_huge_answer_is_not_taken_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer beyond the limit ends the destination, when the limit is reached and not at its end."""
    monkeypatch.setattr(syncer.answer.Answer.read, "__defaults__", (1_000_000,))
    many = [b"x" * 100_000] * 400
    with Host(head("Content-Length: 40000000"), *many) as host, pytest.raises(DestinationUnusable) as raised:
        ask(host.url)

    assert "nothing that large was asked for" in str(raised.value)
    assert host.sent < 20_000_000


def test_an_answer_that_unpacks_to_a_huge_one_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit counts what comes out of gzip, also of gzip in gzip, and stops before it is all there."""
    monkeypatch.setattr(syncer.answer.Answer.read, "__defaults__", (1_000_000,))
    once = gzip.compress(bytes(50_000_000))
    for encoding, body in (("gzip", once), ("gzip, gzip", gzip.compress(once))):
        length = f"Content-Length: {len(body)}"
        with Host(head(f"Content-Encoding: {encoding}", length), body) as host, pytest.raises(DestinationUnusable):
            ask(host.url)


def test_an_answer_in_drops_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes within the timeout and the answer never ends: after some timeouts nobody waits any more."""
    # Half a timeout here and ten outside: a busy machine may not be quick enough for a timeout that is short.
    monkeypatch.setattr(syncer.answer, "TIMEOUTS_MAX", 0.5)
    drops = [b"x"] * 1_000
    with (
        Host(head("Content-Length: 1000"), *drops, pause=0.05) as host,
        pytest.raises(ServiceUnavailable, match="did not finish its answer") as raised,
    ):
        ask(host.url, timeout=2.0)

    assert raised.value.doubt
    assert host.sent < 500


# The library lets go of a connection that it cannot understand when its memory is collected, and not before.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/9.9 abc def\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nx",
        b"HTTP/1.1 301 Moved\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 429 Slow\r\nRetry-After: " + b"9" * 400 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 429 Slow\r\nRetry-After: Mon, 01 Jan 0000 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Slow\r\nRetry-After: Fri, 31 Dec 9999 23:59:60 +9999\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 \xff\xfe\r\nX-\xff: \x00\x1b[31m\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
    ],
)
def test_an_answer_that_is_no_http_is_a_sentence(answer: bytes) -> None:
    """Whatever stands where an answer should be, the request ends with an answer or with one of our errors."""
    with Host(answer) as host:
        told = ""
        try:
            ask(host.url)
        except SyncerError as error:
            told = str(error)
    gc.collect()

    assert not UNPRINTABLE.search(told)


def test_a_redirect_leads_nowhere() -> None:
    """No redirect is followed, of a write or of a read, to this machine or to the addresses of a cloud's metadata."""
    asked: list[str] = []
    for target in ("http://169.254.169.254/latest/meta-data/", "http://127.0.0.1:1/", "file:///etc/passwd", "//x"):
        for status in (301, 302, 303, 307, 308):
            moved = f"HTTP/1.1 {status} Moved\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
            with Host(moved) as host:
                for method in ("GET", "POST", "PUT"):
                    way = transport()
                    with pytest.raises(Redirected), way.session() as session:
                        session.request(method, host.url, headers={"Authorization": "Bearer secret"})
                    asked.append(way.statuses.most_common(1)[0][0] == status and way.requests)
                    way.close()

    assert {1} == set(asked)


# --- what is in it ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fortress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    """Four services that have taken everybody once; each test leaves new scores to be sent."""
    with a_fortress(tmp_path_factory.mktemp("fortress")) as made:
        assert 0 == made("sync").code
        yield made


HOSTILE = {
    "a list without end": b"[" * 100_000,
    "a deep object": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "a number without end": b"1" * 10_000,
    "half a character": rb'{"error":"\ud800","message":"\ud800","errors":[{"message":"\ud800","batch_index":0}]}',
    "bytes that are no UTF-8": b'{"a":"\xff\xfe"}',
    "another type": b'{"outcomes":7,"errors":{"a":1},"data":[],"access_token":{},"records":"x","meta":5}',
}


def changed(fortress: Fortress) -> None:
    """Every row has values that none had before: what an earlier test left unsent must differ too."""
    fortress.sql("UPDATE people SET score = (score + 37) % 100, text = text || '.'")


@pytest.mark.parametrize("what", HOSTILE)
def test_json_that_nobody_can_read_is_a_sentence(fortress: Fortress, what: str) -> None:
    """Every service answers every request so: the run fails or defers in sentences, and its counts add up."""
    changed(fortress)
    status = 200 if len(what) % 2 else 400
    fortress.twist(lambda _, __: Answer(status, HOSTILE[what], {"Content-Type": "application/json"}))

    assert adds_up(fortress("sync", "--json"))
    fortress.twist(None)
    fortress("rejected", "--retry")


def test_half_a_character_in_a_refusal_is_kept_as_a_question_mark(fortress: Fortress) -> None:
    """A service that cuts its own message in the middle of a character does not break the store that keeps it."""
    changed(fortress)
    answer = rb'{"outcomes":[{"key":"u1","result":"rejected","code":"no","message":"cut \ud83d"}]}'
    fortress.twist(lambda request, real: Answer(200, answer) if request.path == "/scores" else real)
    ran = fortress("sync", "webhook", "--json")
    parked = fortress("rejected", "webhook", "--json").json["parked"]
    fortress.twist(None)
    fortress("rejected", "webhook", "--retry")

    assert (2, 1) == (ran.code, ran.sync["rejected"])
    assert ["cut ?"] == [one["message"] for one in parked if one["key"] == "u1"]
    assert 0 == fortress("sync").code


def test_a_book_in_a_refusal_is_not_kept_whole(fortress: Fortress) -> None:
    """What a service says of a record is kept up to a length, so that it cannot fill the state."""
    changed(fortress)
    answer = {"outcomes": [{"key": "u1", "result": "rejected", "code": "no", "message": "long " * 1_000_000}]}
    fortress.twist(lambda request, real: Answer(200, answer) if request.path == "/scores" else real)
    fortress("sync", "webhook")
    (parked,) = fortress("rejected", "webhook", "u1", "--json").json["parked"]
    fortress.twist(None)
    fortress("rejected", "webhook", "--retry")

    assert 500 == len(parked["message"])
    assert 0 == fortress("sync").code


def test_escape_codes_in_a_refusal_do_not_reach_the_terminal(fortress: Fortress) -> None:
    """Colours, titles, cleared screens and text that runs backwards come out as what they are, in every form."""
    changed(fortress)
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\r\nfake: line"
    answer = {"outcomes": [{"key": "u1", "result": "rejected", "code": "no", "message": evil}]}
    fortress.twist(lambda request, real: Answer(200, answer) if request.path == "/scores" else real)
    told = [
        fortress("sync", "webhook"),
        fortress("rejected", "webhook"),
        fortress("explain", "webhook.people", "u1"),
        fortress("rejected", "webhook", "--json"),
        fortress("explain", "webhook.people", "u1", "--json"),
    ]
    fortress.twist(None)
    fortress("rejected", "webhook", "--retry")
    fortress("sync")

    assert [] == [found for one in told for found in UNPRINTABLE.findall(one.out + one.err)]
    assert evil in [one["message"] for one in told[3].json["parked"]]


def test_a_token_with_line_breaks_forges_no_header(fortress: Fortress) -> None:
    """A login that answers with a token that is no token ends Salesforce's syncs with a sentence, and is not told."""
    changed(fortress)
    for token in ("abc\r\nX-Forged: 1", "tökén☃", "a\x00b"):
        login = {"access_token": token, "instance_url": fortress.services["salesforce"].url}
        fortress.twist(
            lambda request, real, login=login: Answer(200, login) if request.path.endswith("/oauth2/token") else real
        )
        result = fortress("sync", "salesforce", "--json")

        assert (1, "failed") == (result.code, result.sync["result"])
        assert token not in result.out + result.err
    fortress.twist(None)
    assert 0 == fortress("sync").code


def test_an_instance_elsewhere_gets_no_token(fortress: Fortress) -> None:
    """A login that names an instance without encryption, or with a name in front, is told; nothing goes there."""
    changed(fortress)
    for address in ("http://192.0.2.1", "ftp://x", "https://user@x.example", "javascript:1", "http://127.0.0.1@x/"):
        login = {"access_token": "t", "instance_url": address}
        fortress.twist(
            lambda request, real, login=login: Answer(200, login) if request.path.endswith("/oauth2/token") else real
        )
        result = fortress("sync", "salesforce", "--json")

        assert "no token goes there" in result.sync["error"]
    fortress.twist(None)
    assert 0 == fortress("sync").code


def test_pages_of_a_query_lead_to_no_other_host(fortress: Fortress) -> None:
    """An answer that says where its next page is cannot send the token to another address."""
    changed(fortress)
    other = Host(head("Content-Length: 2"), b"{}")
    seen: list[Request] = []

    def twist(request: Request, real: Answer) -> Answer:
        if "/query" not in request.path:
            return real
        seen.append(request)
        page = {"done": False, "totalSize": 2, "records": [], "nextRecordsUrl": f"{other.url}/steal?x=/services/data"}
        return Answer(200, page) if len(seen) < 5 else Answer(200, {"done": True, "totalSize": 0, "records": []})

    with other:
        fortress.twist(twist)
        fortress("sync", "salesforce")
        fortress.twist(None)

        assert len(seen) > 1
        assert 0 == other.sent
    assert 0 == fortress("sync").code


def test_what_hangs_does_not_hold_up_the_others(fortress: Fortress) -> None:
    """A service that takes a connection and says nothing costs its own sync a timeout; the others are done."""
    changed(fortress)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"http://127.0.0.1:{mute.getsockname()[1]}/scores"
        fortress.settle(webhook=f'url = "{address}"\ntimeout = 0.3\n', settings="attempts = 1\n")
        result = fortress("sync", "--json")
    fortress.settle()
    done = {one["sync"]: one["result"] for one in result.json["syncs"]}

    assert dict.fromkeys(ALL, "done") | {"webhook.people": "failed"} == done
    assert 0 == fortress("sync").code
