"""What is left of a closed service, in a check and at a push: each says so in words, with what to do instead."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from destinations.orbit import CLOSED, Orbit
from destinations.standins.orbit import OrbitStandIn
from destinations.standins.server import HTML, Answer, Server
from syncer.errors import DestinationUnusable, ServiceUnavailable, SyncerError
from tests.destinations.orbit_workplace import Bench, at_work, change_of, sync_of

WHO = "somebody" + "@example.com"


@pytest.fixture
def bench() -> Iterator[Bench]:
    with at_work() as bench:
        yield bench


def checked(orbit: Orbit) -> str:
    """The one problem that a check finds, which is with the address."""
    (problem,) = orbit.check(sync_of())

    assert "destinations.orbit.base_url" == problem.place
    return problem.sentence


def pushed(orbit: Orbit) -> SyncerError:
    """What a push ends with."""
    with pytest.raises(SyncerError) as caught:
        list(orbit.push(sync_of(), [change_of(WHO, {"tag:activation": "hot"})]))

    assert "somebody" not in str(caught.value)
    return caught.value


def is_told(sentence: str) -> bool:
    return sentence.endswith(CLOSED)


def test_sentence_names_every_way_out() -> None:
    """Who reads it learns what happened and when, and the four things that can be done about it."""

    assert [] == [
        words
        for words in ("joined Postman", "closed on 11 July 2024", "base_url", "`syncer sandbox`", "remove", "webhook")
        if words not in CLOSED
    ]


# A name that leads nowhere.


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name resolves."""

    def resolve(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def test_name_that_does_not_resolve(bench: Bench, nowhere: None) -> None:
    """A host name that is gone: the service cannot be reached, nothing is in doubt, and why that may be is said."""
    orbit = bench.orbit(base_url="https://orbit.example.com")
    error = pushed(orbit)

    assert is_told(checked(bench.orbit(base_url="https://orbit.example.com")))
    assert is_told(str(error))
    assert isinstance(error, ServiceUnavailable)
    assert not error.doubt


def test_host_that_refuses_connections(bench: Bench) -> None:
    """A port where nobody listens is told as a name that leads nowhere is."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"

    assert is_told(checked(bench.orbit(base_url=address)))
    assert is_told(str(pushed(bench.orbit(base_url=address))))


# A certificate of another name.


def certificate(folder: Path, *names: x509.GeneralName) -> Path:
    """A certificate of these names that is its own authority, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Somebody")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "certificate.pem"
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bench]]:
    """Serves a workspace over TLS on 127.0.0.1 with a certificate of these names, whose authority is trusted."""
    servers: list[Server] = []

    def start(*names: x509.GeneralName) -> Bench:
        file = certificate(tmp_path, *names)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
        standin = OrbitStandIn()
        server = Server({"": standin})
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        server._http.socket = context.wrap_socket(server._http.socket, server_side=True)
        standin.url = server.url.replace("http://", "https://")
        servers.append(server.__enter__())
        return Bench(standin)

    yield start
    for server in servers:
        server.__exit__()


def test_certificate_that_matches_is_fine(serve: Callable[..., Bench]) -> None:
    """Over TLS with the right name the same workspace has no problem, so below it is the name that counts."""
    bench = serve(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    bench.standin.add(email=WHO)

    assert [] == list(bench.orbit().check(sync_of()))
    assert ["accepted"] == [one.result for one in bench.push(change_of(WHO, {"tag:activation": "hot"}))]


def test_certificate_of_another_name(serve: Callable[..., Bench]) -> None:
    """A host that proves another name ends the destination at once, and nothing was sent to it."""
    bench = serve(x509.DNSName("parked.example.com"))
    error = pushed(bench.orbit())

    assert is_told(checked(bench.orbit()))
    assert is_told(str(error))
    assert isinstance(error, DestinationUnusable)
    assert 0 == bench.standin.count


def test_host_without_encryption(bench: Bench) -> None:
    """A host that answers https without encryption is told as well."""
    address = bench.standin.url.replace("http://", "https://")

    assert is_told(checked(bench.orbit(base_url=address)))
    assert is_told(str(pushed(bench.orbit(base_url=address))))


# A page.


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, HTML),
        Answer(200, b"<!doctype html>", {"Content-Type": "text/plain"}),
        Answer(404, HTML),
        Answer(301, HTML, {"Location": "https://www.postman.com/"}),
        Answer(302, None, {"Location": "/goodbye.html"}),
    ],
    ids=["page", "page by another name", "page under 404", "redirect elsewhere", "redirect here"],
)
def test_page_instead_of_an_answer(bench: Bench, answer: Answer) -> None:
    """A page, and a redirect to one, end the destination: nobody is taken for missing, and nothing is in doubt."""
    bench.standin.trouble("status", times=None, answer=answer)
    error = pushed(bench.orbit())

    assert is_told(checked(bench.orbit()))
    assert is_told(str(error))
    assert isinstance(error, DestinationUnusable)
    assert not getattr(error, "doubt", False)


def test_service_that_closes_in_mid_run(bench: Bench) -> None:
    """When a page answers a write, that record is in doubt, and the next one ends the destination with the sentence."""
    bench.standin.add(email=WHO)
    bench.standin.trouble("status", times=None, skip=1, answer=Answer(200, HTML))
    outcomes = bench.orbit().push(sync_of(), [change_of(WHO, {"company": "ACME"}), change_of("b@example.com", {})])
    first = next(outcomes)

    assert ("deferred", True, True) == (first.result, first.doubt, is_told(first.message))
    with pytest.raises(DestinationUnusable) as caught:
        next(outcomes)
    assert is_told(str(caught.value))


# What is no sign of it.


@pytest.mark.parametrize("answer", [Answer(429), Answer(503, HTML)])
def test_busy_service_is_not_closed(bench: Bench, answer: Answer) -> None:
    """Somebody who says that there is too much to do is there, and nobody is sent away from them."""
    bench.standin.trouble("status", times=None, answer=answer)

    assert checked(bench.orbit()).endswith("Try again later, and check base_url if that lasts.")
    assert not is_told(str(pushed(bench.orbit())))


def test_service_that_hangs_up_later_is_not_closed(bench: Bench) -> None:
    """A service that has answered in this run and then hangs up has an outage."""
    bench.standin.add(email=WHO)
    bench.standin.trouble("close", times=None, skip=1)
    (outcome,) = bench.push(change_of(WHO, {"company": "ACME"}))

    assert ("deferred", False) == (outcome.result, is_told(outcome.message))
