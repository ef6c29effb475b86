"""The list of all members, read in one pass where asking for each one costs more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from destinations.orbit_parts.rules import NETWORKS, Identifier

PAGE_ITEMS = 100
"""Members on a page; the service knew 10, 50 and 100."""
STRANGERS_MIN = 20
"""Searches in vain before it is even asked how long the list is."""

Ask = Callable[[str, Mapping[str, str] | None], tuple[int, Any]]
"""GET below the base address: path and query → status and body."""


class UnreadableListError(Exception):
    """The list cannot be trusted: it has another shape, or is far longer than it was said to be."""


class MemberList:
    """All members of a workspace, a page at a time. Counts its members; `pages` is what a pass over it costs."""

    def __init__(self, workspace: str, ask: Ask) -> None:
        self._workspace = workspace
        self._ask = ask
        self._count = 0

    def pages(self) -> int | None:
        """How many pages the list has, for one request; None when that cannot be found out."""
        _, body = self._ask(f"/workspaces/{self._workspace}", None)
        try:
            count = body["data"]["attributes"]["members_count"]
        except (KeyError, TypeError):
            return None
        if type(count) is not int:
            return None
        self._count = count
        return -(-count // PAGE_ITEMS)

    def read(self) -> Iterator[tuple[Mapping[str, Any], list[Mapping[str, Any]]]]:
        """Each member, with its identities. Ask for `pages` before. Raises UnreadableListError.

        A member may come twice, the newer reading last: when somebody leaves meanwhile, everybody behind moves up and
        somebody slips past between two pages. Then fewer have come than there were, and all of it is read once more.
        """
        seen: set[str] = set()
        for _ in range(2):
            for member, identities in self._pass():
                seen.add(member["id"])
                yield member, identities
            if len(seen) >= self._count:
                return

    def _pass(self) -> Iterator[tuple[Mapping[str, Any], list[Mapping[str, Any]]]]:
        # Oldest first: who joins meanwhile comes last. Pages are counted here, since links may name another host.
        for page in range(1, -(-self._count // PAGE_ITEMS) + 10):
            query = {"items": str(PAGE_ITEMS), "sort": "created_at", "direction": "ASC", "page": str(page)}
            _, body = self._ask(f"/{self._workspace}/members", query)
            try:
                identities = {(one["type"], one["id"]): one["attributes"] for one in body["included"]}
                for one in body["data"]:
                    links = ((one.get("relationships") or {}).get("identities") or {}).get("data") or []
                    linked = [identities.get((link["type"], link["id"])) for link in links]
                    found = [attributes for attributes in linked if attributes]
                    if not isinstance(one["id"], str) or not all(isinstance(each, dict) for each in found):
                        raise UnreadableListError
                    yield one["attributes"] | {"id": one["id"]}, found
                if body["links"]["next"] is None:
                    return
            except (AttributeError, KeyError, TypeError):
                raise UnreadableListError from None
        raise UnreadableListError


class Roster:
    """Names and addresses of all members, for one run.

    Most users of a product are in no community, and each search in vain is a request of 100 a minute. After as
    many searches in vain as the list has pages, the list is read: at worst that doubles the requests, and mostly
    it saves nearly all of them. It says only who is *not* there: names are kept without their network and without
    case, and whoever may be there is still searched for. Not thread-safe; the caller holds the workspace's turn.
    """

    def __init__(self, members: MemberList) -> None:
        self._members = members
        self._strangers = 0
        self._pages: int | None = None
        self._names: frozenset[str] | None = None

    def lacks(self, identifier: Identifier, value: str) -> bool:
        """Whether nobody of that name is a member; False as long as that is not known."""
        # Whether the list holds identities of a source of one's own is documented nowhere.
        if self._names is None or identifier.source not in NETWORKS:
            return False
        return value.strip().casefold() not in self._names

    def searched_in_vain(self) -> None:
        """Count a stranger, and read the list when that has become the cheaper way. Raises what asking raises."""
        self._strangers += 1
        if self._strangers == STRANGERS_MIN:
            self._pages = self._members.pages()
        if self._names is None and self._pages is not None and self._strangers >= self._pages:
            self._names = self._read()
            self._pages = None

    def _read(self) -> frozenset[str] | None:
        names: set[str] = set()
        try:
            for member, identities in self._members.read():
                for attributes in (member, *identities):
                    found = (attributes.get(name) for name in (*NETWORKS, "uid", "username"))
                    names |= {name.strip().casefold() for name in found if isinstance(name, str)}
        except UnreadableListError:
            return None
        return frozenset(names)
