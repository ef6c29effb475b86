"""What happened with the members of the stand-in's workspace: custom activities, their types, and notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from destinations.standins.orbit_parts.community import Community, Member
from destinations.standins.orbit_parts.rules import RefusedError, now, refuse_activity, weight_of


@dataclass(slots=True)
class Activity:
    """One custom activity as stored; `values` are the keys that came."""

    id: str
    member: str
    values: dict[str, Any]
    type: str
    key: str
    occurred_at: str
    created_at: str


class ConflictError(Exception):
    """The key of an activity is there already, and the service is set to answer 409."""


class Timeline:
    """All activities and notes. Not thread-safe; the stand-in's lock is held."""

    def __init__(self, community: Community) -> None:
        self._community = community
        self.activities: dict[str, Activity] = {}
        """By key, which is unique in the workspace."""
        self.types: dict[str, dict[str, Any]] = {}
        """By key."""
        self.notes: dict[str, dict[str, Any]] = {}
        """By id."""

    def happen(self, member: Member, values: Mapping[str, Any]) -> tuple[Activity, bool]:
        """Add an activity, and whether it is new. Raises RefusedError or ConflictError for a key that was used."""
        unverified = self._community.unverified
        refuse_activity(values, unverified)
        there = self.activities.get(values.get("key") or "")
        if there is not None:
            if unverified.used_key == "conflict":
                raise ConflictError
            if unverified.used_key == "refused":
                raise RefusedError(key=["has already been taken"])
            return there, False
        kind = values.get("activity_type_key") or values.get("activity_type") or "custom:happened"
        letters = self._community.new_id()
        made = Activity(
            letters,
            member.id,
            dict(values),
            kind,
            values.get("key") or f"custom-{letters}",
            values.get("occurred_at") or now(),
            now(),
        )
        self.activities[made.key] = made
        self.types.setdefault(kind, {"id": self._community.new_id(), "key": kind})
        self._count(member)
        return made, True

    def change(self, activity: Activity, values: Mapping[str, Any]) -> None:
        """Write over an activity."""
        refuse_activity(activity.values | dict(values), self._community.unverified)
        activity.values |= values
        self._count(self._community.members[activity.member])

    def delete(self, activity: Activity) -> None:
        """Take an activity out of the timeline."""
        del self.activities[activity.key]
        self._count(self._community.members[activity.member])

    def of(self, member: Member | None = None) -> list[Activity]:
        """The activities of a member, or of all, the newest first."""
        found = [one for one in self.activities.values() if member is None or one.member == member.id]
        return sorted(found, key=lambda one: one.occurred_at, reverse=True)

    def named(self, name: str) -> Activity | None:
        """The activity with this id."""
        return next((one for one in self.activities.values() if one.id == name), None)

    def shown(self, activity: Activity) -> dict[str, Any]:
        """An activity in an answer, with its type and its member beside it."""
        values = activity.values
        weight = weight_of(values.get("weight"))
        kind = self.type_shown(activity.type)
        member = self._community.shown(self._community.members[activity.member])["data"]
        attributes = {
            "action": "happened",
            "key": activity.key,
            "occurred_at": activity.occurred_at,
            "created_at": activity.created_at,
            "updated_at": activity.created_at,
            "type": "CustomActivity",
            "properties": values.get("properties") or {},
            "tags": ["channel:custom", f"custom_type:{activity.type}"],
            "orbit_url": f"{self._community.url}/{self._community.workspace}/activities/{activity.id}",
            "weight": str(weight),
            "custom_title": values.get("title"),
            "custom_type": activity.type,
            "custom_description": values.get("description"),
            "custom_link": values.get("link"),
            "custom_link_text": values.get("link_text"),
        }
        links = {
            "activity_type": {"data": {"id": kind["id"], "type": "activity_type"}},
            "member": {"data": {"id": member["id"], "type": "member"}},
            "user": {"data": {"id": "1", "type": "user"}},
        }
        data = {"id": activity.id, "type": "custom_activity", "attributes": attributes, "relationships": links}
        return {"data": data, "included": [kind, member]}

    def type_shown(self, key: str) -> dict[str, Any]:
        """An activity type in an answer."""
        channel, _, name = key.rpartition(":")
        attributes = {"name": name, "short_name": name, "key": key, "channel": channel, "source": channel}
        return {"id": self.types[key]["id"], "type": "activity_type", "attributes": attributes | {"weight": "1.0"}}

    def note(self, member: Member, body: Mapping[str, Any]) -> dict[str, Any]:
        """Add a note."""
        _refuse_note(body)
        attributes = {"id": self._community.new_id(), "body": body["body"], "created_at": now(), "updated_at": now()}
        links = {"member": {"data": {"id": member.id, "type": "member"}}, "user": {"data": {"id": "1", "type": "user"}}}
        self.notes[attributes["id"]] = {"attributes": attributes, "type": "note", "relationships": links}
        return self.note_shown(attributes["id"])

    def change_note(self, name: str, body: Mapping[str, Any]) -> None:
        """Write over a note."""
        _refuse_note(body)
        self.notes[name]["attributes"] |= {"body": body["body"], "updated_at": now()}

    def note_shown(self, name: str) -> dict[str, Any]:
        """A note in an answer."""
        return {"id": name, **self.notes[name]}

    def notes_of(self, member: Member) -> list[str]:
        """Ids of a member's notes."""
        return [name for name, note in self.notes.items() if note["relationships"]["member"]["data"]["id"] == member.id]

    def _count(self, member: Member) -> None:
        member.activities = [
            (one.occurred_at, weight_of(one.values.get("weight")) or 0.0) for one in reversed(self.of(member))
        ]


def _refuse_note(body: Mapping[str, Any]) -> None:
    if not body.get("body") or not isinstance(body["body"], str):
        raise RefusedError(body=["can't be blank"])
