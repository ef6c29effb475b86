"""customer.io: attributes of people and of objects (workspaces, accounts), written through the Track API.

Writes are Track v2 batches of identify operations; they go through the vendor's own client for its hosts,
its Basic credentials and its JSON, on a session of our transport. The client's faults are kept out: it
would repeat by itself, follow redirects that lose the body, take a 207 for a success, and put people's data
into its exceptions; so it never repeats here, and its answers are read before it judges them.

Documents: Track API, https://docs.customer.io/integrations/api/track/ (batch, limits, regions) ·
App API, https://docs.customer.io/integrations/api/app/ (object types) ·
refusals, https://docs.customer.io/journeys/invalid-api-requests ·
attributes, https://docs.customer.io/journeys/people/manage/attributes
"""

from __future__ import annotations

import datetime
import difflib
import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

import requests
from customerio import CustomerIO, CustomerIOException, Regions
from pydantic import Field, SecretStr, field_validator

from syncer.change import Change, Outcome, Value, accepted, deferred, rejected
from syncer.destination import Destination, DestinationSettings, Limits, Pace, ValueLimit
from syncer.errors import DestinationUnusable, Problem, Redirected, SyncerError
from syncer.mapping import Sync
from syncer.transport import Transport, is_loopback

REGIONS = {"us": Regions.US, "eu": Regions.EU}

PERSON = "person"
PERSON_IDENTIFIERS = ("id", "email", "cio_id")
OBJECT_IDENTIFIERS = ("object_id", "cio_object_id")
OBJECT_TYPE = re.compile(r"(?:object:)?([1-9][0-9]{0,8})")
"""How a mapping may name an object type by its id: `1` or `object:1`."""

RESERVED_ON_PEOPLE = frozenset(
    {
        "id",
        "email",
        "cio_id",
        "anonymous_id",
        "created_at",
        "cio_relationships",
        "unsubscribed",
        "cio_subscription_preferences",
    }
)
RESERVED_ON_OBJECTS = frozenset({"object_id", "object_type_id", "cio_object_id", "cio_relationships"})

RECORDS_MAX = 4_000
"""Operations in a batch. The vendor names no number, so bytes decide; this one bounds what a crash leaves in doubt."""
BATCH_BYTES_MAX = 480_000
"""The vendor says 500 kb, and not whether that is 500,000 bytes or 512,000."""
ITEM_BYTES_MAX = 30_000
"""The vendor says 32 kb for each operation of a batch."""
ENVELOPE_BYTES = len('{"batch": []}')
SEPARATOR_BYTES = len(", ")
NAME_BYTES_MAX = 150
VALUE_BYTES_MAX = 1_000
IDENTIFIER_BYTES_MAX = 150
ATTRIBUTES_MAX = 300


class CustomerioSettings(DestinationSettings):
    """`[destinations.NAME]` of a customer.io workspace."""

    region: Literal["us", "eu"] = Field(default="us", description="Where the account lives: us or eu.")
    site_id: str = Field(min_length=1, description="Site ID of the Track API credentials.")
    api_key: SecretStr = Field(description="API key of the Track API credentials.")
    app_key: SecretStr | None = Field(
        default=None, description="App API key; only needed to read: check, adopt, verify."
    )
    track_url: str | None = Field(default=None, description="Another address of the Track API: a proxy, a stand-in.")
    app_url: str | None = Field(default=None, description="Another address of the App API.")
    object_types: dict[str, str] = Field(
        default={}, description='Name of an object in the mappings = object type id, as { workspace = "1" }.'
    )

    @field_validator("track_url", "app_url")
    @classmethod
    def _address(cls, text: str | None) -> str | None:
        if text is None:
            return None
        address = urlsplit(text)
        if address.scheme not in ("https", "http") or not address.hostname:
            raise ValueError("has to be a whole address, as https://track.customer.io")
        if address.scheme == "http" and not is_loopback(address.hostname):
            raise ValueError("has to begin with https://, because http:// is allowed for loopback hosts only")
        if address.username is not None or address.query or address.fragment:
            raise ValueError("takes a host and perhaps a path; keys belong in `site_id`, `api_key` and `app_key`")
        return text.rstrip("/")

    @field_validator("object_types")
    @classmethod
    def _types(cls, types: dict[str, str]) -> dict[str, str]:
        for name, type_id in types.items():
            if name == PERSON:
                raise ValueError("cannot name an object type `person`, because people are not objects")
            if not re.fullmatch(r"[1-9][0-9]{0,8}", type_id):
                raise ValueError(f'the id of object type {name!r} has to be a number in quotes, as "1"')
        return types

    @property
    def track(self) -> str:
        """Address of the Track API, without a slash at its end."""
        return self.track_url or f"https://{REGIONS[self.region].track_host}"

    @property
    def app(self) -> str:
        """Address of the App API, without a slash at its end."""
        return self.app_url or f"https://{REGIONS[self.region].api_host}"


@dataclass(frozen=True, slots=True)
class _Complaint:
    """One entry of the vendor's `errors`; `index` is whatever it said, also when that is of no use."""

    index: Any
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class _Answer:
    """A status, and the body as JSON (None when it is none)."""

    status: int
    body: Any
    content_type: str

    @classmethod
    def of(cls, response: requests.Response) -> _Answer:
        try:
            body = json.loads(response.content)
        except ValueError:
            body = None
        return cls(response.status_code, body, response.headers.get("Content-Type", "no content type"))

    def complaints(self) -> list[_Complaint]:
        """What is wrong, in the form of v2 (`errors`) or of v1 (`meta.error` and `meta.errors`)."""
        if not isinstance(self.body, dict):
            return []
        entries = _as_list(self.body.get("errors"))
        if isinstance(meta := self.body.get("meta"), dict):
            entries += _as_list(meta.get("error")) + _as_list(meta.get("errors"))
        return [_complaint(entry) for entry in entries]


@dataclass(frozen=True, slots=True)
class _Item:
    """One change and the operation that it becomes."""

    change: Change
    operation: dict[str, Any]


@dataclass(slots=True)
class _Piece:
    """Items that go in one request. In doubt: an earlier request may have written them, and did not say."""

    items: Sequence[_Item]
    is_in_doubt: bool = False

    def halves(self) -> list[_Piece]:
        """Both halves, the second one first, for a stack."""
        middle = len(self.items) // 2
        return [_Piece(self.items[middle:], self.is_in_doubt), _Piece(self.items[:middle], self.is_in_doubt)]


class _Client:
    """The vendor's client on our transport. It keeps its last answer, so it belongs to one thread."""

    def __init__(self, settings: CustomerioSettings, transport: Transport) -> None:
        self._url = settings.track
        self._vendor = CustomerIO(
            settings.site_id,
            settings.api_key.get_secret_value(),
            region=REGIONS[settings.region],
            retries=0,
            timeout=settings.timeout,
        )
        self._last: _Answer | None = None
        transport.mount_on(self._vendor.http)
        self._vendor.http.hooks["response"].append(self._keep)

    def batch(self, operations: list[dict[str, Any]]) -> _Answer:
        """POST /api/v2/batch. Raises what the transport raises; the client's own exceptions go no further."""
        self._last = None
        cause: BaseException | None = None
        try:
            self._vendor.send_request("POST", f"{self._url}/api/v2/batch", {"batch": operations})
        except CustomerIOException as error:
            # Its text holds the payload. What matters is beneath it: the answer that was kept, or the cause.
            cause = error.__cause__
        if isinstance(cause, SyncerError):
            raise cause
        if self._last is None:
            raise DestinationUnusable(
                f"customer.io: the client library could not send a batch ({type(cause).__name__}). Please report this."
            )
        return self._last

    def _keep(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Response hook: reads the answer before the vendor's client makes an exception of it."""
        self._last = _Answer.of(response)

    def region(self) -> _Answer:
        """GET /api/v1/accounts/region."""
        return _Answer.of(self._vendor.http.get(f"{self._url}/api/v1/accounts/region"))


class Customerio(Destination):
    """One customer.io workspace. An instance lives as long as one run.

    All batches of a run carry one `timestamp`, the second in which this object was made. customer.io does not
    let an older timestamp win over a newer one of the same attribute, so a write of an earlier run that was
    held up on its way cannot undo this one. Within one second there is no order, and a clock that is set back
    makes later writes look old. Objects have no such timestamp, and nothing like `_update`: clearing one that
    somebody has deleted there makes it again, with no attributes of ours.
    """

    kind: ClassVar[str] = "customerio"
    title: ClassVar[str] = "customer.io"
    settings_type: ClassVar[type[DestinationSettings]] = CustomerioSettings

    settings: CustomerioSettings

    def __init__(self, name: str, settings: CustomerioSettings, transport: Transport) -> None:
        super().__init__(name, settings, transport)
        self._written_at = int(time.time())

    @classmethod
    def pace(cls, settings: CustomerioSettings) -> Pace:
        """1,000 requests a second over v1 and v2 together (Track API document)."""
        return Pace(settings.pace or 1_000, 1.0)

    @classmethod
    def account(cls, settings: CustomerioSettings) -> str:
        """Requests are counted per workspace, and a site id belongs to one."""
        return hashlib.sha256(f"customerio {settings.site_id}".encode()).hexdigest()

    # What a mapping may say.

    def refuse(self, sync: Sync) -> Iterable[Problem]:
        """Objects, identifiers, attribute names and combinations that customer.io cannot do."""
        is_person = sync.object == PERSON
        if not is_person and self._object_type_id(sync.object) is None:
            yield Problem("object", self._no_such_object(sync.object))
            return
        yield from _refuse_match(sync, PERSON_IDENTIFIERS if is_person else OBJECT_IDENTIFIERS)
        yield from _refuse_missing(sync, is_person=is_person)
        yield from _refuse_names(sync, RESERVED_ON_PEOPLE if is_person else RESERVED_ON_OBJECTS)

    def limits(self, sync: Sync) -> Limits:
        """Batches of 1,000 operations and 480,000 bytes; texts of 1,000 bytes, identifiers of 150."""
        return Limits(
            records=RECORDS_MAX,
            utf8_bytes=BATCH_BYTES_MAX - ENVELOPE_BYTES,
            in_flight=4,
            timestamp_unit="second",
            values={field.name: ValueLimit(utf8_bytes=VALUE_BYTES_MAX) for field in sync.fields},
            identifiers={name: ValueLimit(utf8_bytes=IDENTIFIER_BYTES_MAX) for name in sync.match},
            caseless=frozenset({"email"}),
        )

    def requests(self, sync: Sync, changes: Sequence[Change]) -> int:
        """One request for a batch."""
        return 1 if changes else 0

    def weigh(self, sync: Sync, change: Change) -> int:
        """Bytes of the operation as the client will encode it, and of the comma after it."""
        return _utf8_bytes(self._operation(sync, change)) + SEPARATOR_BYTES

    # What is asked before the first run.

    def check(self, sync: Sync) -> Iterable[Problem]:
        """Track credentials and region; with an `app_key` also that key, and that the object type exists."""
        try:
            yield from self._check_track()
        except Redirected as redirected:
            yield self._problem("region", self._redirected(redirected))
        except DestinationUnusable as unusable:
            yield self._problem("track_url", str(unusable))
        if self.settings.app_key is not None:
            try:
                yield from self._check_app(sync, self.settings.app_key.get_secret_value())
            except DestinationUnusable as unusable:
                yield self._problem("app_url", str(unusable))

    def _check_track(self) -> Iterator[Problem]:
        answer = _Client(self.settings, self.transport).region()
        lives_in = str(answer.body.get("region")) if isinstance(answer.body, dict) else None
        if answer.status in (401, 403):
            yield self._problem("api_key", self._refused_credentials(answer.status))
        elif answer.status != 200 or lives_in not in REGIONS:
            yield self._problem(
                "track_url",
                f"{self.settings.track} answered {answer.status} ({answer.content_type}) when asked for the account's "
                "region, and not as the Track API does. Check `track_url`, and whether a proxy is in between.",
            )
        elif lives_in != self.settings.region:
            yield self._problem("region", self._lives_in(lives_in))

    def _check_app(self, sync: Sync, app_key: str) -> Iterator[Problem]:
        session = self.transport.session()
        session.headers["Authorization"] = f"Bearer {app_key}"
        answer = _Answer.of(session.get(f"{self.settings.app}/v1/object_types"))
        types = answer.body.get("types") if isinstance(answer.body, dict) else None
        if answer.status in (401, 403):
            yield self._problem(
                "app_key",
                f"customer.io refused the App API key ({answer.status}). Check `app_key` and `region`; "
                "the key of the Track API does not work here.",
            )
        elif answer.status != 200 or not isinstance(types, list):
            yield self._problem(
                "app_url",
                f"{self.settings.app} answered {answer.status} ({answer.content_type}) when asked for the object "
                "types, and not as the App API does. Check `app_url`, and whether a proxy is in between.",
            )
        elif sync.object != PERSON:
            known = {str(entry.get("id")): str(entry.get("name")) for entry in types if isinstance(entry, dict)}
            type_id = self._object_type_id(sync.object)
            if type_id not in known:
                there = ", ".join(f"{known_id} ({name})" for known_id, name in sorted(known.items())) or "none"
                yield Problem(
                    "object",
                    f"customer.io has no object type {type_id}; there are: {there}. Make it in the interface "
                    "(Settings, Custom Objects) or correct `object_types`.",
                )

    # What is sent.

    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        """Send a batch; a piece that is refused as a whole is halved until the culprit stands alone.

        Raises DestinationUnusable when the answer is not one that customer.io gives to a batch.
        """
        items = []
        for change in changes:
            operation = self._operation(sync, change)
            if _utf8_bytes(operation) > ITEM_BYTES_MAX:
                yield rejected(change, "too_large", f"The record is larger than {ITEM_BYTES_MAX:,} bytes as JSON.")
            else:
                items.append(_Item(change, operation))
        client = _Client(self.settings, self.transport)
        pieces = [_Piece(items)] if items else []
        while pieces:
            piece = pieces.pop()
            try:
                answer = self._send(client, piece)
            except SyncerError as error:
                # Whoever counts what never left must not count what an earlier answer left open.
                yield from _doubtful([piece, *pieces], str(error))
                raise
            if answer.status in (400, 413):
                if len(piece.items) > 1:
                    pieces += piece.halves()
                else:
                    yield _refused(piece.items[0].change, answer.complaints(), f"http_{answer.status}")
                continue
            blamed = _blamed(piece, answer)
            if blamed is not None:
                for index, item in enumerate(piece.items):
                    complaints = blamed.get(index)
                    yield _refused(item.change, complaints, "refused") if complaints else accepted(item.change)
                continue
            # Something was refused, and nobody knows what. Writes may be repeated, so ask again with less.
            piece.is_in_doubt = True
            if len(piece.items) > 1:
                pieces += piece.halves()
            else:
                yield from _doubtful([piece], f"customer.io answered {answer.status} and named no error.")

    def _send(self, client: _Client, piece: _Piece) -> _Answer:
        """One request; returns only answers that customer.io gives to a batch: 200, 207, 400 and 413."""
        try:
            answer = client.batch([item.operation for item in piece.items])
        except Redirected as redirected:
            raise DestinationUnusable(self._redirected(redirected)) from None
        if answer.status in (401, 403):
            raise DestinationUnusable(f"[destinations.{self.name}]: {self._refused_credentials(answer.status)}")
        # A proxy in between may answer 413 in its own way, and that still means: too large.
        if answer.status == 413 or (answer.status in (200, 207, 400) and isinstance(answer.body, dict)):
            return answer
        # A page with status 200 may be a proxy's own, or stand in the place of customer.io's answer.
        piece.is_in_doubt = piece.is_in_doubt or 200 <= answer.status < 300
        raise DestinationUnusable(
            f"{self.settings.track} answered {answer.status} ({answer.content_type}) to a batch, and not as the Track "
            f"API does. Check `track_url` of [destinations.{self.name}], and whether a proxy is in between."
        )

    def _operation(self, sync: Sync, change: Change) -> dict[str, Any]:
        is_person = sync.object == PERSON
        identifiers = dict(change.match)
        if "object_id" in identifiers:
            identifiers["object_type_id"] = self._object_type_id(sync.object) or ""
        operation: dict[str, Any] = {"type": "person" if is_person else "object", "identifiers": identifiers}
        if change.kind == "removed" and sync.removed == "delete":
            return {**operation, "action": "delete"}
        attributes = {name: _wire(value) for name, value in change.fields.items()}
        if is_person:
            if sync.missing == "skip" or change.kind == "removed":
                attributes["_update"] = True
            operation["timestamp"] = self._written_at
        return {**operation, "action": "identify", "attributes": attributes}

    def _object_type_id(self, name: str) -> str | None:
        """The id of the object type that a mapping's `object` means; None when it means none."""
        if name in self.settings.object_types:
            return self.settings.object_types[name]
        found = OBJECT_TYPE.fullmatch(name)
        return found[1] if found else None

    # Sentences.

    def _problem(self, setting: str, sentence: str) -> Problem:
        return Problem(f"destinations.{self.name}.{setting}", sentence)

    def _no_such_object(self, name: str) -> str:
        names = [PERSON, *self.settings.object_types]
        near = difflib.get_close_matches(name.lower(), names, n=1)
        return (
            f"customer.io has no object {name!r}{_did_you_mean(near)}. Possible are {_listed(names)}, and an object "
            'type by its id, as "1"; more names go into `object_types` of '
            f'[destinations.{self.name}], as {{ workspace = "1" }}.'
        )

    def _refused_credentials(self, status: int) -> str:
        return (
            f"customer.io refused the Track API credentials ({status}). Check `site_id`, `api_key` and `region`; "
            "an App API key does not work here."
        )

    def _lives_in(self, region: str) -> str:
        return (
            f'This customer.io account lives in the {region.upper()} region; set region = "{region}" in '
            f"[destinations.{self.name}]."
        )

    def _redirected(self, redirected: Redirected) -> str:
        host = urlsplit(redirected.location).hostname
        for name, region in REGIONS.items():
            if host == region.track_host and name != self.settings.region:
                return self._lives_in(name)
        return str(redirected)


def _refuse_match(sync: Sync, possible: Sequence[str]) -> Iterator[Problem]:
    if len(sync.match) != 1:
        yield Problem(
            "match", f"customer.io finds a record by exactly one identifier; choose one of {_listed(possible)}."
        )
    for name in sync.match:
        if name not in possible:
            near = difflib.get_close_matches(name.lower(), possible, n=1)
            yield Problem(
                f"match.{name}",
                f"customer.io cannot find {'a person' if sync.object == PERSON else 'an object'} by {name!r}"
                f"{_did_you_mean(near)}. Use one of {_listed(possible)}.",
            )


def _refuse_missing(sync: Sync, *, is_person: bool) -> Iterator[Problem]:
    # `_update`, which keeps customer.io from making a record, exists for people only; an id that customer.io
    # gives itself (cio_id, cio_object_id) can never make one.
    given = {"cio_id", "cio_object_id"} & set(sync.match)
    if sync.missing == "create" and given:
        yield Problem(
            "missing",
            f'customer.io gives {given.pop()} itself, so nothing can be created by it; write missing = "skip".',
        )
    elif sync.missing == "skip" and not is_person and not given:
        yield Problem(
            "missing",
            "customer.io creates an object that it does not know whenever it is written; write missing = "
            '"create" to agree with that.',
        )


def _refuse_names(sync: Sync, reserved: frozenset[str]) -> Iterator[Problem]:
    if len(sync.fields) > ATTRIBUTES_MAX:
        yield Problem(
            "fields", f"customer.io takes {ATTRIBUTES_MAX} attributes of a record, and here are {len(sync.fields)}."
        )
    for field in sync.fields:
        place = f"fields.{field.name}"
        if field.name in reserved:
            yield Problem(
                place, f"{field.name!r} has a meaning of its own at customer.io; choose another attribute name."
            )
        elif field.name.startswith("_"):
            yield Problem(place, "names that begin with _ are customer.io's own; choose another attribute name.")
        elif len(field.name.encode()) > NAME_BYTES_MAX:
            yield Problem(
                place, f"an attribute name has at most {NAME_BYTES_MAX} bytes at customer.io; choose a shorter one."
            )


def _blamed(piece: _Piece, answer: _Answer) -> Mapping[int, list[_Complaint]] | None:
    """Position in the piece → what is wrong there; None when something is, and the answer does not say where.

    A 200 with errors occurs in practice, and so does an error without a batch_index.
    """
    complaints = answer.complaints()
    if not complaints:
        return {} if answer.status == 200 else None
    if len(piece.items) == 1:
        return {0: complaints}
    if piece.is_in_doubt:
        # The service has named an impossible position before, so its positions are not believed any more.
        return None
    blamed: dict[int, list[_Complaint]] = {}
    for complaint in complaints:
        # True is an int in Python, and no index.
        if type(complaint.index) is not int or not 0 <= complaint.index < len(piece.items):
            return None
        blamed.setdefault(complaint.index, []).append(complaint)
    return blamed


def _doubtful(pieces: Iterable[_Piece], message: str) -> Iterator[Outcome]:
    for piece in pieces:
        if piece.is_in_doubt:
            for item in piece.items:
                yield deferred(item.change, "unclear", message, doubt=True)


def _refused(change: Change, complaints: Sequence[_Complaint], code: str) -> Outcome:
    text = "; ".join(dict.fromkeys(complaint.text for complaint in complaints if complaint.text))
    reasons = [complaint.reason for complaint in complaints if complaint.reason]
    return rejected(change, reasons[0] if reasons else code, text)


def _complaint(entry: Any) -> _Complaint:
    if not isinstance(entry, dict):
        return _Complaint(None, "", str(entry))
    reason = str(entry.get("reason") or "")
    place, message = entry.get("field"), entry.get("message") or reason
    return _Complaint(
        entry.get("batch_index"),
        # A reason becomes a code, which is shown and counted, so it must be a word and not a sentence.
        reason if re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", reason) else "",
        f"{place}: {message}" if place else str(message),
    )


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _wire(value: Value) -> Any:
    """A value as JSON has it; timestamps are whole Unix seconds, which alone count as such in segments.

    Source: https://docs.customer.io/journeys/segmentation-and-timestamp-rules
    """
    if isinstance(value, datetime.datetime):
        return int(value.timestamp())
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value


def _utf8_bytes(operation: dict[str, Any]) -> int:
    """Bytes in a body; the client encodes with this function and these separators, and in ASCII."""
    return len(json.dumps(operation))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _did_you_mean(near: Sequence[str]) -> str:
    return f"; did you mean `{near[0]}`?" if near else ""
