"""Reading members back: each on its own, or all of them in one pass over the list, whichever costs less."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from destinations.orbit_parts.client import Client
from destinations.orbit_parts.roster import MemberList, UnreadableListError
from destinations.orbit_parts.rules import Identifier
from destinations.orbit_parts.values import held_of
from syncer.change import Held, Wanted
from syncer.mapping import Sync

FEW = 2
"""So many are asked for one by one without asking how long the list is."""


class Reading:
    """One sync's members, as they are. Only the sync's own fields of each are kept."""

    def __init__(self, client: Client, members: MemberList, sync: Sync) -> None:
        self._client = client
        self._members = members
        self._fields = [field.name for field in sync.fields]
        (name,) = sync.match
        self._name = name
        self._identifier = Identifier.of(name)
        self._held: dict[str, dict[str, object]] = {}
        """Id → what the member holds."""
        self._ids: dict[str, set[str]] = {}
        """Value of the identifier → ids of the members that have it."""
        self._has_source = False

    def of(self, records: Iterable[Wanted]) -> Iterator[Held]:
        """What the workspace holds of each of them. Raises what asking raises."""
        rest = iter(records)
        first = list(islice(rest, FEW + 1))
        pages = self._members.pages() if len(first) > FEW else None
        if pages is not None:
            first += islice(rest, max(0, pages + 1 - len(first)))
        is_listed = pages is not None and len(first) > pages and self._list()
        for wanted in chain(first, rest):
            yield self._from_list(wanted) if is_listed else self._asked(wanted)

    def _asked(self, wanted: Wanted) -> Held:
        member = self._client.find(self._identifier, wanted.match[self._name])
        return Held(wanted.key, None if member is None else self._fields_of(member))

    def _from_list(self, wanted: Wanted) -> Held:
        ids = self._ids.get(self._identifier.folded(wanted.match[self._name]), set())
        if not ids and not self._has_source:
            # Whether the list holds identities of every source is documented nowhere. One that it shows none of may
            # be one that it never shows.
            return self._asked(wanted)
        if len(ids) > 1:
            return Held(wanted.key, None, "ambiguous")
        return Held(wanted.key, next((self._held[one] for one in ids), None))

    def _list(self) -> bool:
        """Read the list; whether it can be trusted."""
        self._has_source = self._identifier.is_a_key or self._identifier.is_id
        try:
            for member, identities in self._members.read():
                self._note(member, identities)
        except UnreadableListError:
            return False
        return True

    def _note(self, member: Mapping[str, Any], identities: list[Mapping[str, Any]]) -> None:
        if member.get("merged_at") or member.get("deleted_at"):
            return
        for value in self._values(member, identities):
            self._ids.setdefault(value, set()).add(member["id"])
        self._held[member["id"]] = self._fields_of(member)

    def _values(self, member: Mapping[str, Any], identities: list[Mapping[str, Any]]) -> set[str]:
        if self._identifier.is_id:
            return {member["id"]}
        source, host = self._identifier.source, self._identifier.host
        ours = [one for one in identities if one.get("source") == source and host in ("", one.get("source_host"))]
        self._has_source = self._has_source or bool(ours)
        found = [one.get(self._identifier.key) for one in ours]
        found += [member.get(source)] if self._identifier.is_a_key else []
        return {self._identifier.folded(value) for value in found if isinstance(value, str)}

    def _fields_of(self, member: Mapping[str, Any]) -> dict[str, object]:
        return {name: held_of(name, member) for name in self._fields}
