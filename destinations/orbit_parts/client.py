"""Requests to one workspace: each comes back with an answer that is understood, or ends with what to do about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from requests import JSONDecodeError

from destinations.orbit_parts.rules import Identifier
from destinations.orbit_parts.settings import OrbitSettings
from syncer.errors import CredentialsRefused, DestinationUnusable, Redirected, ServiceUnavailable
from syncer.transport import Transport

CLOSED = (
    "Orbit joined Postman and closed on 11 July 2024, and its own address answers nobody: set base_url to a compatible "
    "service, try the stand-in with `syncer sandbox`, or remove this destination. If your community has moved, a "
    'destination with type = "webhook" can bring its scores there.'
)

UNAUTHORIZED = 401
STOPS: Mapping[int, tuple[str, str]] = {
    UNAUTHORIZED: ("api_key", "Orbit refuses the API key (401). Put a valid one into api_key."),
    403: ("workspace", "Orbit gives this API key no right to the workspace (403). Check workspace, api_key and plan."),
}
"""Answers that end the destination → setting and sentence; a 429 and all of 5xx are the transport's."""
REFUSED = frozenset({400, 422})
TAKEN = 409
UNDERSTOOD = frozenset({200, 201, 204, 404}) | REFUSED


class Closed(DestinationUnusable):
    """Nobody, or somebody else, is where the service should be. What was written may have arrived all the same."""

    def __init__(self, sentence: str, *, doubt: bool = False) -> None:
        super().__init__(f"{sentence} {CLOSED}")
        self.doubt = doubt


class Unreached(ServiceUnavailable):
    """Not even a connection came about, all through this run."""

    def __init__(self, sentence: str, *, doubt: bool) -> None:
        super().__init__(f"{sentence} {CLOSED}", doubt=doubt)


class Answered(DestinationUnusable):
    """The destination is unusable, and its sentence already says why; `setting` is what to correct."""

    def __init__(self, setting: str, sentence: str) -> None:
        super().__init__(sentence)
        self.setting = setting


class Unwelcome(Answered, CredentialsRefused):
    """The API key is not taken."""


class Client:
    """One thread's way to the workspace; a new one costs nothing."""

    def __init__(self, settings: OrbitSettings, transport: Transport) -> None:
        self._base_url = settings.base_url
        self._transport = transport
        self._members = f"/{settings.workspace}/members"
        self._session = transport.session()
        self._session.headers["Authorization"] = f"Bearer {settings.api_key.get_secret_value()}"
        self._session.headers["Accept"] = "application/json"

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        understood: frozenset[int] = UNDERSTOOD,
    ) -> tuple[int, Any]:
        """Status, and the body decoded (None when it is empty). Raises DestinationUnusable for what ends it all."""
        address = self._base_url + path
        # Whoever owns these names one day must get neither a key nor people's addresses.
        if f".{urlsplit(address).hostname}".endswith(".orbit.love"):
            raise Answered("base_url", CLOSED)
        try:
            response = self._session.request(method, address, params=query, json=body, allow_redirects=False)
        except Redirected as error:
            raise Closed(str(error)) from None
        except (DestinationUnusable, ServiceUnavailable) as error:
            # Whoever has answered anything in this run, a 429 or a 503, is there. Nobody is when not even a
            # connection came about: the name leads nowhere, or the certificate is another's.
            if self._transport.statuses:
                raise
            if isinstance(error, DestinationUnusable):
                raise Closed(str(error)) from None
            raise Unreached(str(error), doubt=error.doubt) from None
        status = response.status_code
        if status in STOPS:
            raise (Unwelcome if status == UNAUTHORIZED else Answered)(*STOPS[status])
        if status not in understood:
            raise Answered("base_url", f"Orbit answered {status}, which its API never does. Check base_url.")
        if not response.content:
            return status, None
        try:
            return status, response.json()
        except JSONDecodeError:
            sentence = f"base_url answers {status} with a page, and not as Orbit's API does."
            raise Closed(sentence, doubt=method != "GET") from None

    def find(self, identifier: Identifier, value: str) -> Mapping[str, Any] | None:
        """The member with this identity; None when there is none."""
        if not identifier.is_id:
            return self._read("/find", identifier.identity(value))
        # A slug is answered for as an id is, and changes hands; and a path must hold nothing but an id.
        if not re.fullmatch(r"[A-Za-z0-9]+", value):
            return None
        member = self.member(value)
        return member if member is not None and member["id"] == value else None

    def member(self, name: str) -> Mapping[str, Any] | None:
        """The member with this id; None when there is none."""
        return self._read(f"/{quote(name, safe='')}")

    def make(self, member: Mapping[str, Any], identity: Mapping[str, str]) -> tuple[int, Any]:
        """Make a member, or change the one with this identity; safe to repeat for that reason."""
        return self.ask("POST", self._members, body={"member": member, "identity": identity})

    def change(self, member: Mapping[str, Any], body: Mapping[str, Any]) -> tuple[int, Any]:
        """Write these keys of a member; the others stay."""
        return self.ask("PUT", f"{self._members}/{quote(member['id'], safe='')}", body=body)

    def tell(self, member: Mapping[str, Any], activity: Mapping[str, Any]) -> tuple[int, Any]:
        """Put an activity into a member's timeline; safe to repeat since it has a key."""
        path = f"{self._members}/{quote(member['id'], safe='')}/activities"
        return self.ask("POST", path, body=activity, understood=UNDERSTOOD | {TAKEN})

    def _read(self, path: str, query: Mapping[str, str] | None = None) -> Mapping[str, Any] | None:
        status, body = self.ask("GET", self._members + path, query=query)
        # An identity that the service cannot even read is nobody's.
        return None if status == 404 or status in REFUSED else member_in(body)


def member_in(body: Any) -> Mapping[str, Any] | None:
    """Attributes and id of the member in an answer; None for one that is gone or was merged into another."""
    try:
        attributes: dict[str, Any] = body["data"]["attributes"] | {"id": body["data"]["id"]}
        attributes["tags"] = list(attributes["tags"])
    except (KeyError, TypeError):
        attributes = {"id": None, "tags": []}
    # An id becomes part of an address, and tags are compared with ours.
    if not all(isinstance(text, str) for text in (attributes["id"], *attributes["tags"])):
        raise DestinationUnusable("base_url does not answer as Orbit's API does: this is not a member.")
    return None if attributes.get("merged_at") or attributes.get("deleted_at") else attributes
