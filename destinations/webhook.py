"""Webhook: batches of changes as signed JSON, for every service of one's own that has no adapter.

The receiver is somebody's own code, so the wire is ours: docs/webhook.md describes it for those who write one.
Whatever a proxy or a page of apology may answer must not be taken for that code's word. A batch is accepted only
by a 2xx that is not a page, and an answer that speaks of single records has to make sense as a whole.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from requests import Response

from syncer.change import Change, Outcome, Value, accepted, deferred, rejected
from syncer.destination import Destination, DestinationSettings, Limits, Pace, fits_a_header
from syncer.errors import CredentialsRefused, DestinationUnusable, Problem
from syncer.mapping import Sync
from syncer.signing import signature
from syncer.transport import Transport, is_loopback

SECRET_CHARACTERS_MIN = 16
TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""What a header's name may be (RFC 9110, 5.6.2, https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2)."""
OUR_HEADERS = frozenset({"content-length", "content-type", "host", "transfer-encoding", "connection"})
OUR_PREFIX = "syncer-"

CODE = re.compile(r"[A-Za-z0-9_.-]{1,40}")
"""A code is shown and counted, so it must be a word and not a sentence."""

SPLIT = frozenset({400, 413, 422})
"""Answers that refuse a batch as a whole, in which a smaller one may have no part."""

UNAUTHORIZED = 401
STOPS: Mapping[int, tuple[str, str]] = {
    UNAUTHORIZED: (
        "secret",
        "refused the signature (401). Put the receiver's own secret into `secret`, and check its clock",
    ),
    403: ("secret", "refused the batch (403). Check `secret` and `headers`, and what the receiver allows"),
    404: ("url", "has nothing at that address (404). Correct `url`"),
    410: ("url", "says that it is gone for good (410). Correct `url`, or take the destination out"),
}
"""Status → setting, and the sentence after the receiver's host."""


class WebhookSettings(DestinationSettings):
    """`[destinations.NAME]` of a receiver."""

    # An address may hold a token of the receiver's own in its path or its query.
    url: str = Field(repr=False, description="Where batches are posted to: https, or http on this machine.")
    secret: SecretStr = Field(description="What batches are signed with; 16 characters or more.")
    records: int = Field(default=100, ge=1, le=10_000, description="Changes in a batch, at most.")
    bytes: int = Field(default=1_000_000, ge=1_000, le=100_000_000, description="Bytes of a batch's body, at most.")
    headers: dict[str, SecretStr] = Field(default={}, description='More headers, as { Authorization = "env:TOKEN" }.')

    @field_validator("url")
    @classmethod
    def _is_safe(cls, text: str) -> str:
        address = urlsplit(text)
        if address.scheme not in ("https", "http") or not address.hostname:
            raise ValueError("has to be a whole address, as https://hooks.example.com/scores")
        if address.scheme == "http" and not is_loopback(address.hostname):
            raise ValueError("has to begin with https://, because http:// is allowed for loopback hosts only")
        if address.username is not None or address.fragment:
            raise ValueError("takes no user name, password or #; what the receiver asks for goes into `headers`")
        return text

    @field_validator("secret")
    @classmethod
    def _is_long(cls, secret: SecretStr) -> SecretStr:
        # Not `min_length`: an editor would then find the reference that stands in the file too short.
        if len(secret.get_secret_value()) < SECRET_CHARACTERS_MIN:
            raise ValueError(f"has to have {SECRET_CHARACTERS_MIN} characters or more; make one of random letters")
        return secret

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        names = [name.lower() for name in headers]
        for name, value in headers.items():
            text = value.get_secret_value()
            if not TOKEN.fullmatch(name):
                raise ValueError(f"has {name!r}, which is no name of a header; write it as X-Api-Key")
            if name.lower() in OUR_HEADERS or name.lower().startswith(OUR_PREFIX):
                raise ValueError(f"cannot set {name!r}, because Syncer sets it itself; take it out")
            if names.count(name.lower()) > 1:
                raise ValueError(f"has {name!r} twice, since letters of either case are the same here; take one out")
            if not fits_a_header(text):
                raise ValueError(f"the value of {name!r} may hold visible ASCII characters only; correct it")
        return headers


class Webhook(Destination):
    """One receiver. An instance lives as long as one run, and says in each body when that run began.

    A body is therefore repeated byte by byte within a run and never after it, and so is its digest: values that
    go back and forth between runs do not look like a batch that was delivered already.
    """

    kind: ClassVar[str] = "webhook"
    title: ClassVar[str] = "The webhook"
    settings_type: ClassVar[type[DestinationSettings]] = WebhookSettings
    relates: ClassVar[bool] = True

    settings: WebhookSettings

    def __init__(self, name: str, settings: WebhookSettings, transport: Transport) -> None:
        super().__init__(name, settings, transport)
        self._started_at = datetime.datetime.now(datetime.UTC)
        self._host = urlsplit(settings.url).netloc

    @classmethod
    def pace(cls, settings: WebhookSettings) -> Pace:
        """Ten a second, which a small service of one's own can bear."""
        return Pace(settings.pace or 10, 1.0)

    @classmethod
    def account(cls, settings: WebhookSettings) -> str:
        """A receiver is its address."""
        return hashlib.sha256(f"webhook {settings.url}".encode()).hexdigest()

    def refuse(self, sync: Sync) -> Iterable[Problem]:
        """Nothing: objects, identifiers, fields and relations are the receiver's own words."""
        return ()

    def limits(self, sync: Sync) -> Limits:
        """As the settings say. Timestamps are kept to the microsecond."""
        return Limits(
            records=self.settings.records,
            utf8_bytes=self.settings.bytes - len(self._body(sync, [])),
            in_flight=2,
            timestamp_unit="microsecond",
        )

    def requests(self, sync: Sync, changes: Sequence[Change]) -> int:
        """One request for a batch."""
        return 1 if changes else 0

    def weigh(self, sync: Sync, change: Change) -> int:
        """Bytes of the change in a body, and of the comma after it."""
        return len(_encoded(_as_json(sync, change))) + 1

    def check(self, sync: Sync) -> Iterable[Problem]:
        """An empty batch that says `"check": true` has to be answered like a good one, and changes nothing."""
        try:
            response = self._post(self._body(sync, [], check=True))
        except DestinationUnusable as unusable:
            yield self._problem("url", str(unusable))
            return
        if response.status_code in SPLIT:
            yield self._problem(
                "url",
                f"The receiver at {self._host} refused the empty batch of a check ({response.status_code}), which it "
                "has to answer like a good one. Correct the receiver, or `url`.",
            )
        elif (stop := self._stop(response)) is not None:
            yield self._problem(*stop)

    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        """Post a batch; one that is refused as a whole is halved until the culprit stands alone.

        Raises DestinationUnusable when the answer is not one that a receiver gives.
        """
        fitting = []
        heaviest = self.settings.bytes - len(self._body(sync, []))
        for change in changes:
            if self.weigh(sync, change) > heaviest:
                yield rejected(change, "too_large", f"The change does not fit into {self.settings.bytes:,} bytes.")
            else:
                fitting.append(change)
        pieces = [fitting] if fitting else []
        while pieces:
            piece = pieces.pop()
            response = self._post(self._body(sync, piece))
            if response.status_code in SPLIT:
                if len(piece) == 1:
                    yield _refused(piece[0], response)
                else:
                    middle = len(piece) // 2
                    pieces += [piece[middle:], piece[:middle]]
                continue
            if (stop := self._stop(response)) is not None:
                _, sentence = stop
                if _is_good(response.status_code) or response.status_code >= 500:
                    # Whoever answered, somebody may have taken the batch behind it.
                    yield from (deferred(change, "unclear", sentence, doubt=True) for change in piece)
                raise (CredentialsRefused if response.status_code == UNAUTHORIZED else DestinationUnusable)(sentence)
            try:
                outcomes = _outcomes(piece, response)
            except ValueError as error:
                sentence = f"The receiver at {self._host} gave an answer that cannot be understood: {error}."
                yield from (deferred(change, "unclear", sentence, doubt=True) for change in piece)
                raise DestinationUnusable(sentence) from None
            yield from outcomes

    def _body(self, sync: Sync, changes: Sequence[Change], *, check: bool = False) -> bytes:
        body: dict[str, Any] = {
            "sync": sync.name,
            "object": sync.object,
            "missing": sync.missing,
            "run_started_at": _wire(self._started_at),
        }
        if check:
            body["check"] = True
        return _encoded({**body, "changes": [_as_json(sync, change) for change in changes]})

    def _post(self, body: bytes) -> Response:
        session = self.transport.session()
        session.headers.update({name: value.get_secret_value() for name, value in self.settings.headers.items()})
        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "Syncer-Timestamp": timestamp,
            "Syncer-Signature": signature(self.settings.secret.get_secret_value(), timestamp, body),
            "Syncer-Batch": hashlib.sha256(body).hexdigest(),
        }
        return session.post(self.settings.url, data=body, headers=headers, allow_redirects=False)

    def _stop(self, response: Response) -> tuple[str, str] | None:
        """Setting and sentence when this answer ends the destination; None when it is a receiver's."""
        status = response.status_code
        if status in STOPS:
            setting, words = STOPS[status]
            return setting, f"The receiver of [destinations.{self.name}] at {self._host} {words}."
        if not _is_good(status):
            return "url", f"{self._host} answered {status}, and no receiver of batches does. Check `url`."
        if _is_page(response):
            return "url", (
                f"{self._host} answered {status} with a page, and a receiver does not. Check `url` of "
                f"[destinations.{self.name}], and whether a proxy or a login stands in between."
            )
        return None

    def _problem(self, setting: str, sentence: str) -> Problem:
        return Problem(f"destinations.{self.name}.{setting}", sentence)


def _as_json(sync: Sync, change: Change) -> dict[str, Any]:
    kind: str = change.kind
    if kind == "removed":
        # The receiver has no mapping to look into, so it is told what is wanted.
        kind = "delete" if sync.removed == "delete" else "clear"
    fields = {name: _wire(value) for name, value in change.fields.items()}
    told: dict[str, Any] = {"key": change.key, "kind": kind, "match": dict(change.match), "fields": fields}
    if change.relations:
        told["relations"] = {
            name: {"add": list(relation.add), "remove": list(relation.remove)}
            for name, relation in change.relations.items()
        }
    return told


def _wire(value: Value) -> Any:
    """A value as JSON has it; dates and timestamps in RFC 3339, timestamps in UTC."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, datetime.date) else value


def _encoded(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _is_good(status: int) -> bool:
    return 200 <= status < 300


def _is_page(response: Response) -> bool:
    is_html = "html" in response.headers.get("Content-Type", "").lower()
    return bool(response.content.strip()) and (is_html or response.content.lstrip().startswith(b"<"))


def _outcomes(piece: Sequence[Change], response: Response) -> list[Outcome]:
    """One outcome for each change of the piece. Raises ValueError when the answer makes no sense as a whole."""
    body = _json_of(response)
    if body is None and _claims_json(response):
        raise ValueError("it claims to be JSON and is none")
    if isinstance(body, list):
        # Somebody who means outcomes and forgets the object around them must not be taken for content.
        raise ValueError("it is a list, and outcomes stand in an object under `outcomes`")
    if not isinstance(body, dict) or "outcomes" not in body:
        return [accepted(change) for change in piece]
    entries = body["outcomes"]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("`outcomes` is not a list of objects")
    told = {entry.get("key"): entry for entry in entries if isinstance(entry.get("key"), str)}
    if len(told) < len(entries):
        raise ValueError("a key is missing, or in it twice")
    if not told.keys() <= {change.key for change in piece}:
        raise ValueError("it speaks of a key that is not in the batch")
    return [_outcome(change, told.get(change.key)) for change in piece]


def _outcome(change: Change, entry: Mapping[str, Any] | None) -> Outcome:
    if entry is None:
        return deferred(change, "unanswered", "The receiver did not say what became of it.", doubt=True)
    code, message = _words(entry)
    match entry.get("result"):
        case "accepted":
            return accepted(change)
        case "rejected":
            return rejected(change, code or "refused", message)
        case "deferred":
            return deferred(change, code or "deferred", message)
    raise ValueError("a result is neither accepted nor rejected nor deferred")


def _refused(change: Change, response: Response) -> Outcome:
    body = _json_of(response)
    code, message = _words(body if isinstance(body, dict) else {})
    return rejected(change, code or f"http_{response.status_code}", message)


def _words(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Code and message; a code that is not one word is left out."""
    code, message = entry.get("code"), entry.get("message")
    is_word = isinstance(code, str) and CODE.fullmatch(code)
    return (str(code) if is_word else ""), (message if isinstance(message, str) else "")


def _claims_json(response: Response) -> bool:
    content = response.content.lstrip()
    return bool(content) and (content[:1] in b"{[" or "json" in response.headers.get("Content-Type", "").lower())


def _json_of(response: Response) -> Any:
    """The body as JSON has it; None when it is none."""
    try:
        return response.json()
    except ValueError:
        return None
