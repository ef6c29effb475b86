"""The members of the stand-in's workspace: their keys, tags and identities, and how they are shown."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from destinations.standins.orbit_parts.rules import (
    IDENTITY_KEYS,
    NETWORK_KEYS,
    NETWORKS,
    TEXT_KEYS,
    RefusedError,
    Unverified,
    now,
    refuse_member,
    tags_of,
)

ID_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789"
COLUMNS = ("name", "email", "github", "company", "tags")
"""What the sandbox page shows of a member, and marks when a write changed it."""


@dataclass(slots=True)
class Member:
    """One member as stored; `attributes` has the writable keys that are not identities."""

    id: str
    attributes: dict[str, Any]
    tags: list[str] = field(default_factory=list)
    identities: list[dict[str, Any]] = field(default_factory=list)
    created_at: str = ""
    updated_at: str = ""
    merged_at: str | None = None
    changed: set[str] = field(default_factory=set)
    activities: list[tuple[str, float]] = field(default_factory=list)
    """Time and weight of each."""
    organizations: list[str] = field(default_factory=list)
    """Ids."""

    def username(self, source: str) -> str | None:
        """What the member is called at a network; None when it is not known there."""
        for one in self.identities:
            if one["source"] == source:
                found: str | None = one[NETWORKS[source][0]]
                return found
        return None

    @property
    def love(self) -> float:
        """The service's own calculation, which is not documented; here the sum of the activities' weights."""
        return sum(weight for _, weight in self.activities)


class Community:
    """All members. Not thread-safe; the stand-in's lock is held."""

    def __init__(self, workspace: str, unverified: Unverified) -> None:
        self.workspace = workspace
        self.unverified = unverified
        self.url = ""
        self.members: dict[str, Member] = {}
        self._by_identity: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        """Source and value without case → ids of members that have it, or had it."""
        self._made = 0
        self._shown_count = 0

    def find(self, identity: Mapping[str, Any]) -> Member | None:
        """The member with this identity."""
        values = [identity[name] for name in ("uid", "username", "email") if identity.get(name)]
        if not identity.get("source") or not values:
            return None
        for name in self._by_identity.get((identity["source"], values[0].casefold()), ()):
            member = self.members.get(name)
            if member is not None and any(self._is_same(one, identity) for one in member.identities):
                return member
        return None

    def addressed(self, name: str) -> Member | None:
        """The member with this id or slug."""
        found = self.members.get(name)
        if found is None:
            found = next((one for one in self.members.values() if one.attributes["slug"] == name), None)
        if found is not None and found.merged_at and self.unverified.merged == "gone":
            return None
        return found

    def new_id(self) -> str:
        """Six letters and digits, in either case."""
        self._made += 1
        digest = int.from_bytes(hashlib.sha256(f"{self.workspace} {self._made}".encode()).digest()[:8], "big")
        return "".join(ID_LETTERS[digest // len(ID_LETTERS) ** place % len(ID_LETTERS)] for place in range(6))

    def new(self, name: str) -> Member:
        """A new member with a slug made of the name."""
        letters = self.new_id()
        slug = "".join(letter for letter in name.lower() if letter.isalnum()) or "member"
        if any(one.attributes["slug"] == slug for one in self.members.values()):
            slug = f"{slug}-{self._made}"
        attributes: dict[str, Any] = {**dict.fromkeys(TEXT_KEYS), "slug": slug, "teammate": False}
        member = Member(letters, attributes, created_at=now(), updated_at=now())
        self.members[letters] = member
        return member

    def attach(self, member: Member, identity: Mapping[str, Any]) -> dict[str, Any]:
        """Give a member an identity."""
        source = str(identity["source"])
        host = identity.get("source_host") or NETWORKS.get(source, ("", ""))[1]
        stored = {name: identity.get(name) for name in sorted(IDENTITY_KEYS)} | {"source": source, "source_host": host}
        if source == "email":
            stored["uid"] = stored["email"]
        stored["id"] = hashlib.sha256(f"{member.id} {source} {len(member.identities)}".encode()).hexdigest()[:6]
        member.identities.append(stored)
        for name in ("uid", "username", "email"):
            if stored[name]:
                self._by_identity[source, stored[name].casefold()].add(member.id)
        return stored

    def detach(self, member: Member, identity: Mapping[str, Any]) -> None:
        """Take an identity from a member."""
        member.identities = [one for one in member.identities if not self._is_same(one, identity)]

    def write(self, member: Member, values: Mapping[str, Any]) -> None:
        """Apply a member's keys. Everything is judged before anything is changed."""
        refuse_member(values)
        for source in NETWORK_KEYS:
            owner = self.find({"source": source, NETWORKS[source][0]: values.get(source)})
            if owner is not None and owner is not member:
                raise RefusedError(**{source: ["has already been taken"]})
        before = self.attributes(member)
        member.attributes |= {name: values[name] for name in (*TEXT_KEYS, "slug", "teammate") if name in values}
        for source in NETWORK_KEYS:
            if source in values and values[source] != member.username(source):
                member.identities = [one for one in member.identities if one["source"] != source]
                if values[source]:
                    self.attach(member, {"source": source, NETWORKS[source][0]: values[source]})
        replacing = values.get("tags", values.get("tag_list"))
        is_emptying = self.unverified.empty_tags == "emptied" or (
            self.unverified.empty_tags == "text only" and replacing == ""
        )
        if replacing is not None and (tags_of(replacing) or is_emptying):
            member.tags = self._cased(tags_of(replacing))
        member.tags = list(dict.fromkeys(member.tags + self._cased(tags_of(values.get("tags_to_add") or []))))
        after = self.attributes(member)
        member.changed = {name for name in COLUMNS if before[name] != after[name]}
        member.updated_at = now()

    def attributes(self, member: Member) -> dict[str, Any]:
        """A member's attributes in an answer; of these, love and counts are the service's own calculation."""
        times = sorted(time for time, _ in member.activities)
        return {
            "id": member.id,
            **member.attributes,
            "avatar_url": None,
            "tags": list(member.tags),
            "tag_list": list(member.tags),
            "source": "api",
            "orbit_url": f"{self.url}/{self.workspace}/members/{member.attributes['slug']}",
            "created": False,
            "created_at": member.created_at,
            "updated_at": member.updated_at,
            "deleted_at": None,
            "merged_at": member.merged_at,
            "reach": 0,
            "orbit_level": None,
            "love": str(member.love) if times else None,
            "activities_count": len(times),
            "activities_score": member.love,
            "first_activity_occurred_at": times[0] if times else None,
            "last_activity_occurred_at": times[-1] if times else None,
            **{source: member.username(source) for source in NETWORKS},
            "discord": None,
            "github_followers": None,
            "twitter_followers": None,
            "topics": None,
            "languages": None,
        }

    def shown(self, member: Member, *, is_new: bool = False, is_listed: bool = False) -> dict[str, Any]:
        """A member in an answer, with its identities beside it."""
        self._shown_count += 1
        attributes = self.attributes(member) | {"created": is_new}
        if self.unverified.tags_order == "turning" and self._shown_count % 2:
            attributes["tags"] = attributes["tag_list"] = attributes["tags"][::-1]
        identities = [identity_shown(one) for one in member.identities]
        if is_listed and self.unverified.listed_identities == "networks":
            identities = [one for one in identities if one["type"] != "other_identity"]
        data = {
            "id": member.id,
            "type": "member",
            "attributes": attributes,
            "relationships": {
                "identities": {"data": [{"id": one["id"], "type": one["type"]} for one in identities]},
                "organizations": {"data": [{"id": one, "type": "organization"} for one in member.organizations]},
            },
        }
        return {"data": data, "included": identities}

    def _is_same(self, stored: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
        if stored["source"] != asked["source"]:
            return False
        if asked.get("source_host") and stored["source_host"] != asked["source_host"]:
            return False
        given = [name for name in ("uid", "username", "email") if asked.get(name)]
        return bool(given) and all(self._folded(stored[name]) == self._folded(asked[name]) for name in given)

    def _folded(self, value: Any) -> str:
        text = str(value or "")
        return text.casefold() if self.unverified.identities_case == "ignored" else text

    def _cased(self, tags: list[str]) -> list[str]:
        return [tag.lower() for tag in tags] if self.unverified.tags_case == "lowered" else tags


def identity_shown(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity in an answer."""
    source = identity["source"]
    attributes = {name: value for name, value in identity.items() if name != "id"} | {"profile_url": None}
    return {
        "id": identity["id"],
        "type": f"{source}_identity" if source in NETWORKS else "other_identity",
        "attributes": attributes,
    }
