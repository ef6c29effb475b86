"""Those who are told by alerts: Slack's incoming webhook, a receiver that verifies, and a mail server."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import hmac
import ipaddress
import ssl
import threading
import time
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, ClassVar

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from destinations.standins.server import Answer, Request, StandIn, Table


class Ear(StandIn):
    """A service that keeps no records."""

    def settings(self) -> str:
        """It is no destination."""
        return ""

    def tables(self) -> list[Table]:
        """Nothing."""
        return []

    def seed(self, people: Any, workspaces: Any, accounts: Any) -> None:
        """Nothing."""


class SlackStandIn(Ear):
    """One incoming webhook; answers are those of Slack's own page on them.

    https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/#handling_errors
    """

    kind: ClassVar[str] = "slack"
    title: ClassVar[str] = "Slack"
    PATH = "/services/T00000000/B00000000/canary-slack-secret"

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    @property
    def address(self) -> str:
        """The secret address."""
        return self.url + self.PATH

    def handle(self, request: Request) -> Answer:
        if request.path != self.PATH:
            return Answer(404, "no_service")
        if request.method != "POST" or request.headers.get("content-type") != "application/json":
            return Answer(400, "invalid_payload")
        try:
            body = request.json()
        except ValueError:
            return Answer(400, "invalid_payload")
        if not isinstance(body, dict) or set(body) - {"text", "blocks", "attachments"}:
            return Answer(400, "invalid_payload")
        if not isinstance(body.get("text"), str) or not body["text"] or len(body["text"]) > 40_000:
            return Answer(400, "no_text")
        self.texts.append(body["text"])
        return Answer(200, "ok")


class ReceiverStandIn(Ear):
    """A receiver as docs/alerts.md tells to write one."""

    kind: ClassVar[str] = "receiver"
    title: ClassVar[str] = "Receiver"
    secret = "canary-webhook-secret-0123"

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[dict[str, Any]] = []
        self.ids: set[str] = set()

    def handle(self, request: Request) -> Answer:
        stamp = request.headers.get("syncer-timestamp", "")
        if not stamp.isdecimal() or abs(time.time() - int(stamp)) > 900:
            return Answer(400, {"error": "old"})
        expected = hmac.new(self.secret.encode(), stamp.encode() + b"." + request.body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(f"sha256={expected}", request.headers.get("syncer-signature", "")):
            return Answer(401, {"error": "signature"})
        body = request.json()
        if body["id"] != request.headers.get("syncer-alert"):
            return Answer(400, {"error": "id"})
        if body["id"] not in self.ids:
            self.ids.add(body["id"])
            self.bodies.append(body)
        return Answer(204)


class Mailbox:
    """A mail server on this machine. `tls` is starttls, ssl or none; with `login` nobody is heard without it."""

    USER = "syncer"
    PASSWORD = "canary-smtp-password"

    def __init__(self, folder: Path, tls: str = "starttls", *, login: bool = True) -> None:
        self.tls = tls
        self.certificate = folder / "mail.pem"
        self.mails: list[EmailMessage] = []
        self.tried: list[bytes] = []
        self.answer = "250 OK"
        context = None
        if tls != "none":
            key = _certificate(self.certificate)
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self.certificate, key)
        options: dict[str, Any] = {"authenticator": self._authenticate, "auth_required": login}
        if tls == "starttls":
            options |= {"tls_context": context, "require_starttls": True}
        else:
            options["auth_require_tls"] = False
        self._smtp = lambda: SMTP(self, hostname="localhost", **options)
        self._context = context if tls == "ssl" else None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mail", daemon=True)
        self.port = 0

    def __enter__(self) -> Mailbox:
        self._thread.start()
        self._server = self._ask(self._listen())
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    def __exit__(self, *_: object) -> None:
        self._ask(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _ask(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> Any:
        return await self._loop.create_server(self._smtp, "127.0.0.1", 0, ssl=self._context)

    async def _close(self) -> None:
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:  # noqa: N802 - the library's name
        """Keep a mail."""
        if self.answer.startswith("250"):
            found = message_from_bytes(envelope.content, policy=policy.default)
            assert isinstance(found, EmailMessage)
            self.mails.append(found)
        return self.answer

    def _authenticate(self, _: Any, __: Any, ___: Any, mechanism: str, given: Any) -> AuthResult:
        assert isinstance(given, LoginPassword)
        self.tried.append(given.password)
        is_right = (given.login, given.password) == (self.USER.encode(), self.PASSWORD.encode())
        return AuthResult(success=is_right, handled=False)


def _certificate(file: Path) -> Path:
    """Write a certificate for this machine, and its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
    now = datetime.datetime.now(datetime.UTC)
    hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    own = file.with_suffix(".key")
    own.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return own
