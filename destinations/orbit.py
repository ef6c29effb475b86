"""Orbit: members of a developer community, with our steps as tags under prefixes that the sync owns.

Orbit closed on 11 July 2024 (https://github.com/n8n-io/n8n-docs/pull/2208), so this adapter speaks to a
compatible service, or to the stand-in; nothing is ever sent to Orbit's own hosts, which nobody answers for.

A member has no free fields in the API, and none that takes a number: a score lives there as a step, in a tag
like `activation:hot`. Two rules of the wire decide how that is written:

- `tags_to_add` adds and loses nothing, so it is used whenever none of our tags has to go.
- No key takes one tag off. `tags` replaces them all, so the member is read, everybody else's tags are put
  next to ours, and the whole list is written. There is no version to compare, so the member is read once more
  right before: when its tags have moved, the list is made anew, and while they keep moving nothing is written.
  What is left is one request's time: a tag that somebody adds between that reading and that writing is lost and
  leaves no trace. Within this process only one member of a workspace is written at a time.

A 204 says nothing about what arrived, so the tags are read again after each writing of them; whoever wrote
over ours at the same moment is answered at most three times, and then the record waits for the next run.

With `activity`, a step that changes is told in the member's timeline before its tag is written, under a key that
makes telling it again harmless (`destinations.orbit_parts.activities` says what is left of twice).

Source of the wire: the vendor's OpenAPI document of June 2023, app.orbit.love/api-docs/v1/swagger.json, kept at
https://github.com/api-evangelist/orbit (openapi/orbit-rest-api-openapi.yml).
"""

from __future__ import annotations

import datetime
import hashlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar
from urllib.parse import urlsplit

from destinations.orbit_parts.activities import Telling
from destinations.orbit_parts.client import CLOSED, Answered, Client, Closed, Unreached
from destinations.orbit_parts.reading import Reading
from destinations.orbit_parts.roster import MemberList, Roster
from destinations.orbit_parts.rules import (
    TAG,
    Identifier,
    is_identifier,
    is_number,
    refuse_key,
    refuse_match,
    refuse_shared_prefixes,
    refuse_tag,
)
from destinations.orbit_parts.settings import OrbitSettings
from destinations.orbit_parts.values import is_held, step_of, steps_in
from destinations.orbit_parts.visit import Visit
from syncer.change import Change, Held, Outcome, Value, Wanted, rejected
from syncer.destination import Destination, DestinationSettings, Limits, Pace, ValueLimit
from syncer.errors import DestinationUnusable, Problem, ServiceUnavailable
from syncer.mapping import Sync
from syncer.transport import Transport

RECORDS_MAX = 50


class Orbit(Destination):
    """One workspace. An instance lives as long as one run, and dates activities by the day on which that began."""

    kind: ClassVar[str] = "orbit"
    title: ClassVar[str] = "Orbit"
    settings_type: ClassVar[type[DestinationSettings]] = OrbitSettings
    settings: OrbitSettings

    def __init__(self, name: str, settings: OrbitSettings, transport: Transport) -> None:
        super().__init__(name, settings, transport)
        self._date = datetime.datetime.now(datetime.UTC).date()
        self._turn = _turn_of(f"{settings.base_url} {settings.workspace}")
        self._roster = Roster(self._list())

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
            caseless=frozenset(name for name in sync.match if is_identifier(name) and Identifier.of(name).is_caseless),
        )

    def check(self, sync: Sync) -> Iterable[Problem]:
        """The service, the key and the workspace. Members have fixed fields, so `refuse` has seen to those."""
        client = self._client()
        workspace = self.settings.workspace
        try:
            user_status, _ = client.ask("GET", "/user")
            workspace_status, _ = client.ask("GET", f"/workspaces/{workspace}")
        except Answered as error:
            yield self._problem(error.setting, str(error))
        except (Closed, Unreached) as error:
            yield self._problem("base_url", str(error))
        except (DestinationUnusable, ServiceUnavailable) as error:
            yield self._problem("base_url", f"{error} Try again later, and check base_url if that lasts.")
        else:
            if user_status != 200:
                yield self._problem(
                    "base_url", f"This does not answer as Orbit's API does: GET /user gives {user_status}. Correct it."
                )
            elif workspace_status != 200:
                yield self._problem("workspace", f"There is no workspace {workspace!r} for this API key. Correct it.")

    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        """Member by member: find, compare, tell, write what differs, and look whether the tags stayed."""
        client = self._client()
        telling = self._telling(sync)
        for change in changes:
            if any(is_number(value) for value in change.fields.values()):
                yield rejected(
                    change, "number", 'Orbit keeps no numbers: give the field bands, a map, or type = "text".'
                )
                continue
            with self._turn:
                visit = Visit(client, self._roster, change, creates=sync.missing == "create", telling=telling)
                outcome = visit.outcome()
            yield outcome
            if visit.end is not None:
                raise visit.end

    def read(self, sync: Sync, records: Iterable[Wanted]) -> Iterator[Held]:
        """One by one, or from one pass over the list when there are more of them than the list has pages."""
        return Reading(self._client(), self._list(), sync).of(records)

    def holds(self, sync: Sync, name: str, value: Value, held: object) -> bool:
        """Tags are the same in either case; empty, absent and null are the same in a member's own keys."""
        return is_held(name, value, held)

    def requests(self, sync: Sync, changes: Sequence[Change]) -> int:
        """Find and write for each. For tags one more to look whether they stayed, one to compare before a list of all
        replaces them, and one for each step that is told."""
        return sum(self._requests(change) for change in changes)

    def _requests(self, change: Change) -> int:
        steps = steps_in(change.fields)
        if not steps:
            return 2
        # What was accepted last is there, and has to go.
        is_replacing = any(step_of(change.before.get(name)) for name in steps)
        told = sum(1 for value in steps.values() if step_of(value)) if self.settings.activity else 0
        return 3 + is_replacing + told

    def _telling(self, sync: Sync) -> Telling | None:
        kind, weight = self.settings.activity, self.settings.activity_weight
        return Telling(kind, weight, sync.name, self._date) if kind else None

    def _problem(self, setting: str, sentence: str) -> Problem:
        return Problem(f"destinations.{self.name}.{setting}", sentence)

    def _client(self) -> Client:
        return Client(self.settings, self.transport)

    def _list(self) -> MemberList:
        return MemberList(self.settings.workspace, lambda path, query: self._client().ask("GET", path, query=query))


_turns: dict[str, threading.Lock] = {}
_turns_lock = threading.Lock()


def _turn_of(workspace: str) -> threading.Lock:
    """The one lock of a workspace in this process: two syncs of it must not rewrite a member's tags at once."""
    with _turns_lock:
        return _turns.setdefault(workspace, threading.Lock())


__all__ = ["CLOSED", "Orbit", "OrbitSettings"]
