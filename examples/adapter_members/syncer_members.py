"""Syncer's door to the members' service: one PATCH for each change.

The service keeps members by their email address. `PATCH /members/EMAIL` takes a JSON merge patch (RFC 7396), in
which null empties a field, and answers with the member; with `?create=true` it makes one that it does not know.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import Field, SecretStr
from requests import Response, Session

from syncer.change import Change, Held, Outcome, Value, Wanted, accepted, deferred, rejected
from syncer.destination import Destination, DestinationSettings, Limits, Pace, ValueLimit
from syncer.errors import CredentialsRefused, DestinationUnusable, Problem
from syncer.mapping import Sync


class MembersSettings(DestinationSettings):
    """`[destinations.NAME]` of a members' service."""

    base_url: str = Field(description="Where the service answers, as https://members.example.com/api.")
    api_key: SecretStr = Field(description="A key that may write members.")


class Members(Destination):
    """One members' service. An instance lives as long as one run."""

    kind: ClassVar[str] = "members"
    title: ClassVar[str] = "The members' service"
    settings_type: ClassVar[type[DestinationSettings]] = MembersSettings

    settings: MembersSettings

    @classmethod
    def pace(cls, settings: MembersSettings) -> Pace:
        """The service allows 600 requests a minute."""
        return Pace(settings.pace or 600, 60.0)

    @classmethod
    def account(cls, settings: MembersSettings) -> str:
        """It counts them by key."""
        return hashlib.sha256(f"members {settings.api_key.get_secret_value()}".encode()).hexdigest()

    def refuse(self, sync: Sync) -> Iterable[Problem]:
        """What is wrong with the mapping, whatever the service holds."""
        if sync.object != "member":
            yield Problem("object", f'there are no {sync.object!r} here, only members; write object = "member".')
        if set(sync.match) != {"email"}:
            yield Problem("match", 'a member is found by the address alone; write match = { email = "COLUMN" }.')

    def limits(self, sync: Sync) -> Limits:
        """A batch is what a crash leaves in doubt, so it is small; texts have 1,000 characters at most."""
        return Limits(
            records=50,
            timestamp_unit="second",
            values={field.name: ValueLimit(characters=1_000) for field in sync.fields},
            caseless=frozenset({"email"}),
        )

    def requests(self, sync: Sync, changes: Sequence[Change]) -> int:
        """One for each change."""
        return len(changes)

    def check(self, sync: Sync) -> Iterable[Problem]:
        """The address, the key, and that every field of the mapping exists."""
        try:
            response = self._session().get(f"{self._base}/fields")
            self._expect(response, 200)
        except DestinationUnusable as unusable:
            yield Problem(f"destinations.{self.name}", str(unusable))
            return
        known = _object_in(response).get("fields")
        if known is None:
            yield Problem(f"destinations.{self.name}.base_url", "nobody there knows the fields of members. Correct it.")
            return
        for field in sync.fields:
            if field.name not in known:
                sentence = f"the service has no such field. Use one of {', '.join(sorted(known))}."
                yield Problem(f"fields.{field.name}", sentence)

    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        """One request after the other, and what became of each."""
        session = self._session()
        for change in changes:
            if "@" not in change.match["email"]:
                # Some texts mean another place when they stand in a path: `..` is one.
                yield rejected(change, "no_address", "This is not an email address.")
                continue
            yield self._outcome(change, self._send(session, sync, change))

    def _send(self, session: Session, sync: Sync, change: Change) -> Response:
        address = f"{self._base}/members/{quote(change.match['email'], safe='')}"
        if change.kind == "removed" and sync.removed == "delete":
            return session.delete(address, allow_redirects=False)
        creates = sync.missing == "create" and change.kind != "removed"
        return session.patch(
            address,
            params={"create": "true"} if creates else None,
            json={name: _plain(value) for name, value in change.fields.items()},
            headers={"Content-Type": "application/merge-patch+json"},
            allow_redirects=False,
        )

    def _outcome(self, change: Change, response: Response) -> Outcome:
        error = _object_in(response).get("error")
        match response.status_code:
            case 200 | 201 if _object_in(response).get("email"):
                return accepted(change)
            case 204:
                return accepted(change)
            case 404 if error == "no_such_member":
                if change.kind == "removed":
                    return accepted(change)
                return rejected(change, "missing", "The service has no member with this address.")
            case 422 if error:
                return rejected(change, str(error), str(_object_in(response).get("message", "")))
        self._expect(response, 200, 201)
        return deferred(change, "unclear", "The answer was not a member.", doubt=True)

    def _expect(self, response: Response, *statuses: int) -> None:
        """Raises DestinationUnusable for an answer that is nothing about a single record."""
        status = response.status_code
        if status in (401, 403):
            raise CredentialsRefused(f"{self.title} refused the key ({status}). Check `api_key`.")
        if status not in statuses:
            raise DestinationUnusable(f"{self.title} never answers {status}. Check `base_url`, and what is in between.")

    def read(self, sync: Sync, records: Iterable[Wanted]) -> Iterator[Held]:
        """One request for each; a member that is not there is None, which is not the same as an empty one."""
        session = self._session()
        for wanted in records:
            email = wanted.match["email"]
            if "@" not in email:
                yield Held(wanted.key, None)
                continue
            response = session.get(f"{self._base}/members/{quote(email, safe='')}", allow_redirects=False)
            member = _object_in(response)
            if response.status_code == 404 and member.get("error") == "no_such_member":
                yield Held(wanted.key, None)
                continue
            self._expect(response, 200)
            if not member.get("email"):
                raise DestinationUnusable(f"{self.title} answered with something that is no member. Check `base_url`.")
            yield Held(wanted.key, {field.name: member.get(field.name) for field in sync.fields})

    def holds(self, sync: Sync, name: str, value: Value, held: object) -> bool:
        """What comes back is JSON, in which times are text."""
        return super().holds(sync, name, _plain(value), held)

    def _session(self) -> Session:
        session = self.transport.session()
        session.headers["Authorization"] = f"Bearer {self.settings.api_key.get_secret_value()}"
        return session

    @property
    def _base(self) -> str:
        return self.settings.base_url.rstrip("/")


def _plain(value: Value) -> Any:
    """A value as JSON has it; dates and timestamps as text."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, datetime.date) else value


def _object_in(response: Response) -> dict[str, Any]:
    """The JSON object in an answer; empty when there is none, as in a proxy's page."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
