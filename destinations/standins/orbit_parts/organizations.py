"""The organizations of the stand-in's workspace, which the API lets be looked at and, in a few keys, changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from destinations.standins.orbit_parts.community import Community, Member
from destinations.standins.orbit_parts.rules import ORGANIZATION_KEYS, now, refuse_organization, refuse_unknown

SORTS = frozenset({"name", "website", "members_count", "employees_count"})
CALCULATED = ("logo_url", "employees_count", "organization_type", "industry", "location", "last_active", "active_since")


class Organizations:
    """All organizations, by id. The service makes them itself, of its members' addresses."""

    def __init__(self, community: Community) -> None:
        self._community = community
        self._stored: dict[str, dict[str, Any]] = {}

    def add(self, name: str, website: str, members: Iterable[Member] = ()) -> str:
        """Put one there, as the service would of these members; its id."""
        letters = self._community.new_id()
        times = {"created_at": now(), "updated_at": now()}
        self._stored[letters] = {"name": name, "website": website, **dict.fromkeys(ORGANIZATION_KEYS), **times}
        for member in members:
            member.organizations.append(letters)
        return letters

    def members(self, name: str) -> list[Member]:
        """Who belongs to it."""
        return [one for one in self._community.members.values() if name in one.organizations]

    def names(self, query: str, sort: str) -> list[str]:
        """Ids of those whose name or website holds the query, sorted."""
        found = [
            name for name, one in self._stored.items() if query.lower() in f"{one['name']} {one['website']}".lower()
        ]
        return sorted(found, key=lambda name: (str(self.shown(name)["attributes"][sort] or ""), name))

    def is_there(self, name: str) -> bool:
        """Whether there is one with this id."""
        return name in self._stored

    def shown(self, name: str) -> dict[str, Any]:
        """An organization in an answer."""
        calculated = {"id": name, "members_count": len(self.members(name)), **dict.fromkeys(CALCULATED)}
        return {"id": name, "type": "organization", "attributes": calculated | self._stored[name]}

    def write(self, name: str, values: Mapping[str, Any]) -> None:
        """Apply an update. Raises RefusedError unless all that each update needs is in it."""
        refuse_unknown(values, ORGANIZATION_KEYS, self._community.unverified)
        refuse_organization(values)
        known = {key: value for key, value in values.items() if key in ORGANIZATION_KEYS}
        self._stored[name] |= known | {"updated_at": now()}
