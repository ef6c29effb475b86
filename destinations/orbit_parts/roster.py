"""Who is in the workspace at all, read in one pass when asking for strangers one by one costs more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from destinations.orbit_parts.rules import NETWORKS

PAGE_ITEMS = 100
"""Members on a page; the service knew 10, 50 and 100."""
STRANGERS_MIN = 20
"""Searches in vain before it is even asked how long the list is."""

Ask = Callable[[str, Mapping[str, str] | None], tuple[int, Any]]
"""GET below the base address: path and query → status and body."""


class Roster:
    """Names and addresses of all members, for one run.

    Most users of a product are in no community, and each search in vain is a request of 100 a minute. After as
    many searches in vain as the list has pages, the list is read: at worst that doubles the requests, and mostly
    it saves nearly all of them. It says only who is *not* there: names are kept without their network and without
    case, and whoever may be there is still searched for. Not thread-safe; the caller holds the workspace's turn.
    """

    def __init__(self, workspace: str, ask: Ask) -> None:
        self._workspace = workspace
        self._ask = ask
        self._strangers = 0
        self._pages: int | None = None
        self._names: frozenset[str] | None = None

    def lacks(self, identifier: str, value: str) -> bool:
        """Whether nobody of that name is a member; False as long as that is not known."""
        # Whether the list holds identities of a source of one's own is documented nowhere.
        return self._names is not None and identifier in NETWORKS and value.strip().casefold() not in self._names

    def searched_in_vain(self) -> None:
        """Count a stranger, and read the list when that has become the cheaper way. Raises what asking raises."""
        self._strangers += 1
        if self._strangers == STRANGERS_MIN:
            self._pages = self._count_pages()
        if self._names is None and self._pages is not None and self._strangers >= self._pages:
            self._names = self._read(self._pages)
            self._pages = None

    def _count_pages(self) -> int | None:
        _, body = self._ask(f"/workspaces/{self._workspace}", None)
        try:
            count = body["data"]["attributes"]["members_count"]
        except (KeyError, TypeError):
            return None
        return -(-count // PAGE_ITEMS) if type(count) is int else None

    def _read(self, pages: int) -> frozenset[str] | None:
        """None when the list cannot be trusted: another shape, or far longer than it was said to be."""
        names: set[str] = set()
        # Oldest first: who joins meanwhile comes last. Pages are counted here, since links may name another host.
        for page in range(1, pages + 10):
            query = {"items": str(PAGE_ITEMS), "sort": "created_at", "direction": "ASC", "page": str(page)}
            _, body = self._ask(f"/{self._workspace}/members", query)
            try:
                for one in (*body["data"], *body["included"]):
                    attributes = one.get("attributes") or {}
                    found = (attributes.get(name) for name in (*NETWORKS, "uid", "username"))
                    names |= {name.strip().casefold() for name in found if isinstance(name, str)}
                if body["links"]["next"] is None:
                    return frozenset(names)
            except (AttributeError, KeyError, TypeError):
                return None
        return None
