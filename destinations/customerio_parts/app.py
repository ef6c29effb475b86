"""Requests to the App API, which is there for reading: by a key and a pace of its own.

Ten requests a second are allowed, over everything that reads from this workspace; eight leave room for others.

https://docs.customer.io/integrations/api/app/
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from destinations.customerio_parts.account import Account, Whereabouts
from destinations.customerio_parts.answers import Answer
from syncer.destination import Pace
from syncer.errors import DestinationUnusable, Redirected
from syncer.transport import Transport

PACE = Pace(8, 1.0)
CLIMBING = frozenset({".", ".."})
"""Parts of an address that name no record (RFC 3986, 5.2.4)."""


class AppClient:
    """The App API of one account. It holds a session, so it belongs to one thread."""

    def __init__(self, account: Account, transport: Transport, app_key: str) -> None:
        self._account = account
        self._session = transport.door(account.shared("customerio app"), PACE).session()
        self._session.headers["Authorization"] = f"Bearer {app_key}"

    def get(self, *parts: str, **query: str) -> Answer:
        """GET of a path, whose parts are percent-encoded here, all of `/` and `+` too."""
        path = "/".join(quote(part, safe="") for part in parts)
        return Answer.of(self._session.get(f"{self._account.settings.app}/v1/{path}", params=query))

    def post(self, path: str, body: dict[str, Any], **query: str) -> Answer:
        """POST of a JSON body; nothing that is asked here changes anything."""
        return Answer.of(self._session.post(f"{self._account.settings.app}/v1/{path}", json=body, params=query))


class Readings:
    """Asks the App API, and takes no for a reason to stop."""

    def __init__(self, client: AppClient, account: Account, whereabouts: Whereabouts) -> None:
        self._client = client
        self._account = account
        self._whereabouts = whereabouts

    def get(self, *parts: str, **query: str) -> dict[str, Any] | None:
        """The body of a 200; None for a 404 in customer.io's own form.

        Raises DestinationUnusable for every other answer.
        """
        if not CLIMBING.isdisjoint(parts):
            # Not even percent-encoded can an address say these: they lead to the folder above, and to another record.
            return None
        try:
            answer = self._client.get(*parts, **query)
        except Redirected as redirected:
            raise self._whereabouts.unusable(str(redirected), redirected) from None
        return None if answer.is_absent else self._body(answer)

    def post(self, path: str, body: dict[str, Any], **query: str) -> dict[str, Any]:
        """The body of a 200. Raises DestinationUnusable for every other answer."""
        try:
            answer = self._client.post(path, body, **query)
        except Redirected as redirected:
            raise self._whereabouts.unusable(str(redirected), redirected) from None
        return self._body(answer)

    def _body(self, answer: Answer) -> dict[str, Any]:
        if answer.status == 200 and isinstance(answer.body, dict):
            return answer.body
        if answer.status in (401, 403):
            sentence = f"[destinations.{self._account.name}]: {self._account.refused_app_key(answer.status)}"
            raise self._whereabouts.unusable(sentence)
        raise self.strange(answer.status, answer.content_type)

    def strange(self, status: int, content_type: str) -> DestinationUnusable:
        """The error for an answer that the App API does not give to a reading."""
        return DestinationUnusable(
            f"{self._account.settings.app} answered {status} ({content_type}) when asked for records, and not as the "
            f"App API does. Check `app_url` of [destinations.{self._account.name}], whether a proxy is in between, and "
            "whether the workspace identifies people by what the mapping matches."
        )
