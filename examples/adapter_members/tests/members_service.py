"""A stand-in of the members' service, as strict as the service is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from destinations.standins.server import Answer, Request, StandIn, Table

FIELDS: dict[str, type | tuple[type, ...]] = {
    "score": (int, float),
    "band": str,
    "plan": str,
    "logins": int,
    "is_admin": bool,
    "birthday": str,
    "seen_at": str,
}
"""Field → what JSON has to hold for it, besides null."""


class MembersService(StandIn):
    """Members by address, behind one key."""

    kind: ClassVar[str] = "members"
    title: ClassVar[str] = "The members' service"

    def __init__(self, api_key: str) -> None:
        super().__init__()
        self.api_key = api_key
        self.members: dict[str, dict[str, Any]] = {}

    def handle(self, request: Request) -> Answer:
        """Called with the service's lock held, so that requests do not meet."""
        if request.headers.get("authorization") != f"Bearer {self.api_key}":
            return Answer(401, {"error": "unauthorized"})
        match request.method, request.parts:
            case "GET", ["fields"]:
                return Answer(200, {"fields": list(FIELDS)})
            case "GET", ["members", email]:
                return self._get(email.lower())
            case "PATCH", ["members", email]:
                return self._patch(email.lower(), request)
            case "DELETE", ["members", email]:
                if self.members.pop(email.lower(), None) is None:
                    return Answer(404, {"error": "no_such_member"})
                return Answer(204)
        return Answer(404, "<html><body>Not found</body></html>")

    def _get(self, email: str) -> Answer:
        if email not in self.members:
            return Answer(404, {"error": "no_such_member"})
        return Answer(200, {"email": email, **{k: v for k, v in self.members[email].items() if v is not None}})

    def _patch(self, email: str, request: Request) -> Answer:
        if request.headers.get("content-type") != "application/merge-patch+json":
            return Answer(415, {"error": "unsupported"})
        fields = request.json()
        for name, value in fields.items():
            if name not in FIELDS:
                return Answer(422, {"error": "unknown_field", "message": f"There is no field {name}."})
            is_right = isinstance(value, FIELDS[name]) and isinstance(value, bool) == (FIELDS[name] is bool)
            if value is not None and not is_right:
                return Answer(422, {"error": "wrong_type", "message": f"{name} is of another type."})
            if isinstance(value, str) and len(value) > 1_000:
                return Answer(422, {"error": "too_long", "message": f"{name} takes 1,000 characters."})
        if email not in self.members and request.query.get("create") != ["true"]:
            return Answer(404, {"error": "no_such_member"})
        member = self.members.setdefault(email, {})
        member.update(fields)
        return self._get(email)

    def settings(self) -> str:
        """The section of the config with which Syncer reaches it; tests need not wait for the service's pace."""
        return f'base_url = "{self.url}"\napi_key = "{self.api_key}"\npace = 60000\n'

    def tables(self) -> list[Table]:
        """Nothing: there is no page about it."""
        return []

    def seed(
        self,
        people: Iterable[Mapping[str, Any]],
        workspaces: Iterable[Mapping[str, Any]],
        accounts: Iterable[Mapping[str, Any]],
    ) -> None:
        """Nothing: it is in no demo."""
