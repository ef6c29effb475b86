"""Orbit: members of a developer community, with our steps as tags under prefixes that the sync owns.

Orbit closed on 11 July 2024 (https://github.com/n8n-io/n8n-docs/pull/2208), so this adapter speaks to a
compatible service, or to the stand-in; nothing is ever sent to Orbit's own hosts, which nobody answers for.

A member has no free fields in the API, and none that takes a number: a score lives there as a step, in a tag
like `activation:hot`. Two rules of the wire decide how that is written:

- `tags_to_add` adds and loses nothing, so it is used whenever none of our tags has to go.
- No key takes one tag off. `tags` replaces them all, so the member is read, everybody else's tags are put
  next to ours, and the whole list is written. There is no version to compare: a tag that somebody else adds
  between that reading and that writing is lost and leaves no trace. The gap is kept to one request, nothing
  is written when nothing differs, and within this process only one member of a workspace is written at a time.

A 204 says nothing about what arrived, so the tags are read again after each writing of them; whoever wrote
over ours at the same moment is answered at most three times, and then the record waits for the next run.

Source of the wire: the vendor's OpenAPI document of June 2023, app.orbit.love/api-docs/v1/swagger.json, kept at
https://github.com/api-evangelist/orbit (openapi/orbit-rest-api-openapi.yml).
"""

from __future__ import annotations

import datetime
import hashlib
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from pydantic import Field as Setting
from pydantic import SecretStr, field_validator
from requests import JSONDecodeError, Session

from destinations.orbit_parts.roster import Roster
from destinations.orbit_parts.rules import (
    NETWORKS,
    TAG,
    WRITABLE,
    is_number,
    refuse_key,
    refuse_match,
    refuse_shared_prefixes,
    refuse_tag,
)
from syncer.change import Change, Outcome, Value, accepted, deferred, rejected
from syncer.destination import Destination, DestinationSettings, Limits, Pace, ValueLimit
from syncer.errors import DestinationUnusable, Problem, ServiceUnavailable, Stopping
from syncer.mapping import Sync
from syncer.transport import Transport, is_loopback

CLOSED = (
    "Orbit closed on 11 July 2024, and its own address answers nobody: set base_url to a compatible service, "
    "try the stand-in with `syncer sandbox`, or remove this destination."
)

RECORDS_MAX = 50
ROUNDS_MAX = 3

STOPS: Mapping[int, tuple[str, str]] = {
    401: ("api_key", "Orbit refuses the API key (401). Put a valid one into api_key."),
    403: ("workspace", "Orbit gives this API key no right to the workspace (403). Check workspace, api_key and plan."),
}
"""Answers that end the destination → setting and sentence; a 429 and all of 5xx are the transport's."""
REFUSED = frozenset({400, 422})
UNDERSTOOD = frozenset({200, 201, 204, 404}) | REFUSED


class OrbitSettings(DestinationSettings):
    """`[destinations.orbit]`."""

    workspace: str = Setting(pattern=r"^[A-Za-z0-9_-]+$", description="The workspace's slug, as in its address.")
    api_key: SecretStr = Setting(description="An API key of somebody who belongs to the workspace.")
    base_url: str = Setting(
        default="https://app.orbit.love/api/v1", description="Where a compatible service answers. Orbit itself closed."
    )

    @field_validator("base_url")
    @classmethod
    def _is_safe(cls, text: str) -> str:
        address = urlsplit(text)
        if not address.hostname or address.query or address.fragment or "@" in address.netloc:
            raise ValueError("has to be a plain address, as https://orbit.example.com/api/v1")
        if address.scheme != "https" and not (address.scheme == "http" and is_loopback(address.hostname)):
            raise ValueError("has to begin with https://; http:// is allowed for loopback hosts only")
        return text.rstrip("/")


class _Page(DestinationUnusable):
    """Somebody in between answered with a page. What was written may have arrived all the same."""

    def __init__(self, status: int, *, is_written: bool) -> None:
        super().__init__(f"base_url answers {status} with a page, and not as Orbit's API does.")
        self.doubt = is_written


class _Answered(DestinationUnusable):
    """The destination is unusable, and its sentence already says why; `setting` is what to correct."""

    def __init__(self, setting: str, sentence: str) -> None:
        super().__init__(sentence)
        self.setting = setting


class Orbit(Destination):
    """One workspace."""

    kind: ClassVar[str] = "orbit"
    title: ClassVar[str] = "Orbit"
    settings_type: ClassVar[type[DestinationSettings]] = OrbitSettings
    settings: OrbitSettings

    def __init__(self, name: str, settings: OrbitSettings, transport: Transport) -> None:
        super().__init__(name, settings, transport)
        self._members = f"/{settings.workspace}/members"
        self._turn = _turn_of(f"{settings.base_url} {settings.workspace}")
        self._roster = Roster(
            settings.workspace, lambda path, query: self._ask(self._session(), "GET", path, query=query)
        )

    @classmethod
    def pace(cls, settings: OrbitSettings) -> Pace:
        """120 a minute are allowed (api.orbit.love/reference/rate-limiting); some are left to others."""
        return Pace(settings.pace or 100, 60.0)

    @classmethod
    def account(cls, settings: OrbitSettings) -> str:
        """The service counts by IP address, so all workspaces at one host share the pace."""
        host = urlsplit(settings.base_url).netloc.lower()
        return hashlib.sha256(f"orbit {host}".encode()).hexdigest()

    def refuse(self, sync: Sync) -> Iterable[Problem]:
        """What the mapping asks for that a member cannot hold."""
        if sync.object != "member":
            yield Problem(
                "object",
                f"Orbit takes scores on members only, and not on {sync.object!r}: organizations have no free fields "
                'and cannot be created. Write object = "member".',
            )
        yield from refuse_match(sync)
        if sync.removed == "delete":
            yield Problem(
                "removed",
                'Members of a community are never deleted from here. Write removed = "clear", which takes our tags '
                'and fields off, or "keep".',
            )
        for field in sync.fields:
            yield from refuse_tag(field) if field.name.startswith(TAG) else refuse_key(field)
        yield from refuse_shared_prefixes([field.name for field in sync.fields if field.name.startswith(TAG)])

    def limits(self, sync: Sync) -> Limits:
        """No sizes are documented. One batch at a time, since a workspace's members are written one by one."""
        return Limits(
            records=RECORDS_MAX,
            in_flight=1,
            values={field.name: ValueLimit(without=",") for field in sync.fields if field.name.startswith(TAG)},
            # Addresses and the networks' user names are the same in either case; ids and words of one's own are not.
            caseless=frozenset(NETWORKS),
        )

    def check(self, sync: Sync) -> Iterable[Problem]:
        """The service, the key and the workspace. Members have fixed fields, so `refuse` has seen to those."""
        session = self._session()
        workspace = self.settings.workspace
        try:
            user_status, _ = self._ask(session, "GET", "/user")
            workspace_status, _ = self._ask(session, "GET", f"/workspaces/{workspace}")
        except _Answered as error:
            yield self._problem(error.setting, str(error))
        except (DestinationUnusable, ServiceUnavailable) as error:
            yield self._problem("base_url", f"{error} {CLOSED}")
        else:
            if user_status != 200:
                yield self._problem(
                    "base_url", f"This does not answer as Orbit's API does: GET /user gives {user_status}. Correct it."
                )
            elif workspace_status != 200:
                yield self._problem("workspace", f"There is no workspace {workspace!r} for this API key. Correct it.")

    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        """Member by member: find, compare, write what differs, and look whether the tags stayed."""
        session = self._session()
        for change in changes:
            if any(is_number(value) for value in change.fields.values()):
                yield rejected(
                    change, "number", 'Orbit keeps no numbers: give the field bands, a map, or type = "text".'
                )
                continue
            with self._turn:
                outcome = _Visit(self, session, change, creates=sync.missing == "create").outcome()
            yield outcome

    def requests(self, sync: Sync, changes: Sequence[Change]) -> int:
        """Find and write for each, and for tags one more to look whether they stayed."""
        return sum(3 if any(name.startswith(TAG) for name in change.fields) else 2 for change in changes)

    def _problem(self, setting: str, sentence: str) -> Problem:
        return Problem(f"destinations.{self.name}.{setting}", sentence)

    def _session(self) -> Session:
        session = self.transport.session()
        session.headers["Authorization"] = f"Bearer {self.settings.api_key.get_secret_value()}"
        session.headers["Accept"] = "application/json"
        return session

    def _ask(
        self,
        session: Session,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> tuple[int, Any]:
        """Status, and the body decoded (None when it is empty). Raises DestinationUnusable for what ends it all."""
        address = self.settings.base_url + path
        # Whoever owns these names one day must get neither a key nor people's addresses.
        if f".{urlsplit(address).hostname}".endswith(".orbit.love"):
            raise _Answered("base_url", CLOSED)
        response = session.request(method, address, params=query, json=body, allow_redirects=False)
        status = response.status_code
        if status in STOPS:
            raise _Answered(*STOPS[status])
        if status not in UNDERSTOOD:
            raise _Answered("base_url", f"Orbit answered {status}, which its API never does. Check base_url.")
        if not response.content:
            return status, None
        try:
            return status, response.json()
        except JSONDecodeError:
            raise _Page(status, is_written=method != "GET") from None


class _Visit:
    """One change's requests. Knows whether a write was answered, since from then on a failure leaves doubt."""

    def __init__(self, orbit: Orbit, session: Session, change: Change, *, creates: bool) -> None:
        self._orbit = orbit
        self._session = session
        self._change = change
        self._creates = creates
        self._has_written = False
        ((self._identifier, self._value),) = change.match.items()

    def outcome(self) -> Outcome:
        """What became of the change. Raises what the transport raises as long as nothing may have arrived."""
        try:
            return self._go()
        except (ServiceUnavailable, Stopping, DestinationUnusable) as error:
            # A write whose fate is unknown belongs to this change alone; the next request of the batch meets
            # the same trouble, if it lasts, and says so for all that are left.
            if self._has_written or getattr(error, "doubt", False):
                return deferred(self._change, "unanswered", str(error), doubt=True)
            raise

    def _go(self) -> Outcome:
        change = self._change
        member = self._find()
        if member is None:
            if change.kind == "removed":
                return accepted(change)
            if not self._creates:
                return _missing(change)
            status, body = self._create()
            if status in REFUSED:
                return _refusal(change, status, body)
            # An existing member can come back here: one that was made since, or by a first attempt whose answer
            # was lost. Comparing covers all three.
            member = _member_in(body)
        fields = change.fields
        for _ in range(ROUNDS_MAX):
            body = difference(member, fields)
            if not body:
                return accepted(change)
            status, answer = self._write("PUT", f"/{quote(member['id'], safe='')}", body)
            if status in REFUSED:
                return _refusal(change, status, answer)
            if status == 404:
                return _missing(change)
            if not body.keys() & {"tags", "tags_to_add"}:
                return accepted(change)
            # Only tags are looked at again: of the other keys a service may keep a tidied form.
            fields = {name: value for name, value in change.fields.items() if name.startswith(TAG)}
            found = self._read(f"/{quote(member['id'], safe='')}")
            if found is None:
                return _missing(change)
            member = found
        if not difference(member, fields):
            return accepted(change)
        # Ours may be there or not by now, so the value that was last accepted is no longer known to be true.
        return deferred(change, "contended", "Somebody else keeps rewriting this member's tags.", doubt=True)

    def _find(self) -> Mapping[str, Any] | None:
        if self._identifier != "id":
            if self._orbit._roster.lacks(self._identifier, self._value):
                return None
            found = self._read("/find", identity(self._identifier, self._value))
            if found is None:
                self._orbit._roster.searched_in_vain()
            return found
        # A slug is answered for as an id is, and changes hands; and a path must hold nothing but an id.
        if not re.fullmatch(r"[A-Za-z0-9]+", self._value):
            return None
        member = self._read(f"/{self._value}")
        return member if member is not None and member["id"] == self._value else None

    def _read(self, path: str, query: Mapping[str, str] | None = None) -> Mapping[str, Any] | None:
        status, body = self._orbit._ask(self._session, "GET", self._orbit._members + path, query=query)
        if status in REFUSED:
            # An identity that the service cannot even read is nobody's.
            return None
        if status == 404:
            return None
        member = _member_in(body)
        return None if member.get("merged_at") or member.get("deleted_at") else member

    def _create(self) -> tuple[int, Any]:
        """Safe to repeat: with an identity, a second call finds the member that the first one made."""
        fields = self._change.fields
        steps = {name: value for name, value in fields.items() if name.startswith(TAG)}
        member = {name: held(name, value) for name, value in fields.items() if name not in steps}
        body = {"member": member | retagged([], steps), "identity": identity(self._identifier, self._value)}
        return self._write("POST", "", body)

    def _write(self, method: str, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        status, answer = self._orbit._ask(self._session, method, self._orbit._members + path, body=body)
        self._has_written = self._has_written or status in (200, 201, 204)
        return status, answer


def identity(identifier: str, value: str) -> dict[str, str]:
    """An identity as a query and as a body have it: `{"source": "github", "username": "ada"}`."""
    if identifier in NETWORKS:
        return {"source": identifier, NETWORKS[identifier]: value}
    return {"source": identifier.removesuffix(":uid"), "uid": value}


def difference(member: Mapping[str, Any], fields: Mapping[str, Value]) -> dict[str, Any]:
    """The body that makes a member hold the fields; empty when it does already."""
    steps = {name: value for name, value in fields.items() if name.startswith(TAG)}
    body = {
        name: held(name, value)
        for name, value in fields.items()
        if name not in steps and (member.get(name) or None) != (plain(value) or None)
    }
    return body | retagged(member["tags"], steps)


def retagged(tags: Sequence[str], steps: Mapping[str, Value]) -> dict[str, list[str]]:
    """What has to be written so that of each prefix in `steps` the tags hold exactly the one step, or none.

    `steps`: field (`tag:PREFIX`) → step. Whether tags come back in the case they were written in is not known,
    so they are compared without it. An empty text is no step.
    """
    prefixes = tuple(f"{name.removeprefix(TAG)}:".casefold() for name in steps)
    wanted = [f"{name.removeprefix(TAG)}:{step}" for name, value in steps.items() if (step := _step(value))]
    kept = {tag.casefold() for tag in wanted}
    superfluous = {tag for tag in tags if tag.casefold().startswith(prefixes) and tag.casefold() not in kept}
    lacking = [tag for tag in wanted if tag.casefold() not in {tag.casefold() for tag in tags}]
    if superfluous:
        return {"tags": [tag for tag in tags if tag not in superfluous] + lacking}
    return {"tags_to_add": lacking} if lacking else {}


def plain(value: Value) -> str | bool | None:
    """A value as a member's key takes it; dates and timestamps in RFC 3339."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value if value is None or isinstance(value, bool) else str(value)


def held(name: str, value: Value) -> str | bool | None:
    """A value as this key takes it: what is true or false has no null, and is cleared by false."""
    return False if value is None and WRITABLE.get(name) == "boolean" else plain(value)


def _step(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(plain(value) or "").strip()


def _member_in(body: Any) -> Mapping[str, Any]:
    """Attributes and id of the member in an answer."""
    try:
        attributes: dict[str, Any] = body["data"]["attributes"] | {"id": body["data"]["id"]}
        attributes["tags"] = list(attributes["tags"])
    except (KeyError, TypeError):
        raise DestinationUnusable("base_url does not answer as Orbit's API does: this is not a member.") from None
    return attributes


def _missing(change: Change) -> Outcome:
    return rejected(change, "missing", "No member of the workspace has this identity.")


def _refusal(change: Change, status: int, body: Any) -> Outcome:
    """`errors` is a map of key to texts, a text, or a list of texts."""
    errors = body.get("errors") if isinstance(body, dict) else None
    if not isinstance(errors, dict):
        words = [str(one) for one in errors] if isinstance(errors, list) else [str(errors or "No reason given.")]
        return rejected(change, str(status), "; ".join(words))
    code = "_".join([str(status), *sorted(WRITABLE.keys() & errors.keys())])
    texts = [
        f"{key} {text}" for key, found in errors.items() for text in (found if isinstance(found, list) else [found])
    ]
    return rejected(change, code, "; ".join(texts))


_turns: dict[str, threading.Lock] = {}
_turns_lock = threading.Lock()


def _turn_of(workspace: str) -> threading.Lock:
    """The one lock of a workspace in this process: two syncs of it must not rewrite a member's tags at once."""
    with _turns_lock:
        return _turns.setdefault(workspace, threading.Lock())
