"""A strict stand-in of Orbit: a workspace with members, their identities, tags and timelines, and organizations.

Where the vendor's document is silent about what the service did, `Unverified` has a switch, so that tests can see
both. Filters of the lists are not there, as nothing of ours asks for them.

Source: the vendor's OpenAPI document of June 2023, app.orbit.love/api-docs/v1/swagger.json, kept at
https://github.com/api-evangelist/orbit (openapi/orbit-rest-api-openapi.yml).
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urlencode, urlsplit

from destinations.standins.orbit_parts.community import COLUMNS, Community, Member, identity_shown
from destinations.standins.orbit_parts.organizations import SORTS as ORGANIZATION_SORTS
from destinations.standins.orbit_parts.organizations import Organizations
from destinations.standins.orbit_parts.rules import (
    ACTIVITY_KEYS,
    IDENTITY_KEYS,
    NETWORK_KEYS,
    NETWORKS,
    WRITABLE,
    RefusedError,
    Unverified,
    body_of,
    is_page,
    refuse_identity,
    refuse_member,
    refuse_unknown,
)
from destinations.standins.orbit_parts.timeline import ConflictError, Timeline
from destinations.standins.server import Answer, Request, StandIn, Table

SORTS = frozenset({"id", "name", "created_at", "updated_at", "company", "title", "location"})
FOREIGN_TAGS: tuple[tuple[str, ...], ...] = (("newsletter",), ("speaker", "vip"), (), ("contributor", "meetup:berlin"))
"""What other people had put on members before the first sync."""


class OrbitStandIn(StandIn):
    """One workspace behind one key."""

    kind: ClassVar[str] = "orbit"
    title: ClassVar[str] = "Orbit"

    def __init__(self, *, workspace: str = "acme", api_key: str = "orbit-api-key") -> None:
        super().__init__()
        self.workspace = workspace
        self.api_key = api_key
        self.foreign_workspaces = {"rival"}
        """Workspaces that exist and that the key has no right to."""
        self.unverified = Unverified()
        self.community = Community(workspace, self.unverified)
        self.timeline = Timeline(self.community)
        self.organizations = Organizations(self.community)
        self.rate_max: int | None = None
        """Requests per 60 s, above which 429 is answered; the service had 120. None: no limit."""
        self.retry_after: int | None = 1
        """What Retry-After says, in seconds; None leaves it out."""
        self.rate_reset = 60
        """What RateLimit-Reset says, in seconds."""
        self.after_get: Callable[[Member, int], None] | None = None
        """Somebody else, right after a reading of one member, which is that member's n-th."""
        self.before_put: Callable[[Member], None] | None = None
        """Somebody else, between our reading of a member and our writing of it."""
        self.after_put: Callable[[Member], None] | None = None
        """Somebody else, right after our writing."""
        self.after_page: Callable[[int], None] | None = None
        """Somebody else, right after a page of the list of members; what they do makes later pages shift."""
        self.next_host: str | None = None
        """Another host, in the links to the next page."""
        self._times: deque[float] = deque()
        self._gets: Counter[str] = Counter()

    @property
    def members(self) -> dict[str, Member]:
        """All members, by id."""
        return self.community.members

    def settings(self) -> str:
        """A section's body; the pace is what a loopback service can bear."""
        return f'workspace = "{self.workspace}"\napi_key = "{self.api_key}"\nbase_url = "{self.url}"\npace = 60000\n'

    def seed(
        self,
        people: Iterable[Mapping[str, Any]],
        workspaces: Iterable[Mapping[str, Any]],
        accounts: Iterable[Mapping[str, Any]],
    ) -> None:
        """Every fifth of those with an address or a GitHub name is a member, with tags of other people."""
        reachable = [one for one in people if one.get("email") or one.get("github")]
        with self.lock:
            for position, one in enumerate(reachable[::5]):
                member = self.add(
                    name=one.get("name"),
                    email=one.get("email"),
                    github=one.get("github"),
                    tags=FOREIGN_TAGS[position % 4],
                )
                member.changed = set()

    def add(self, *, tags: Iterable[str] = (), **values: Any) -> Member:
        """Put a member there as the service's own people would; `values` are keys of a member."""
        with self.lock:
            member = self.community.new(values.get("name") or values.get("email") or values.get("github") or "member")
            self.community.write(member, values | {"tags": list(tags)})
            return member

    def attach(self, member: Member, **identity: Any) -> None:
        """Give a member an identity: source, and uid, username or email."""
        with self.lock:
            self.community.attach(member, identity)

    def named(self, value: str) -> Member | None:
        """The member with this address, user name, uid or id; None when there is none."""
        with self.lock:
            for member in self.members.values():
                if member.id == value or any(
                    value in (one["uid"], one["username"], one["email"]) for one in member.identities
                ):
                    return member
        return None

    def tables(self) -> list[Table]:
        """Members, the one written last on top."""
        with self.lock:
            members = sorted(self.members.values(), key=lambda member: member.updated_at, reverse=True)
            rows = [
                {
                    "name": member.attributes["name"] or "",
                    "email": member.username("email") or "",
                    "github": member.username("github") or "",
                    "company": member.attributes["company"] or "",
                    "tags": ", ".join(member.tags),
                    "updated": member.updated_at,
                }
                for member in members
            ]
            return [Table("Members", [*COLUMNS, "updated"], rows, [set(member.changed) for member in members])]

    def handle(self, request: Request) -> Answer:
        """Rate, then key, then workspace, then the member."""
        headers, refused = self._rate()
        self.community.url = self.url
        answer = refused or self._route(request)
        return Answer(answer.status, answer.content, {**headers, **answer.headers})

    def _rate(self) -> tuple[dict[str, str], Answer | None]:
        if self.rate_max is None:
            return {}, None
        now = time.monotonic()
        while self._times and self._times[0] <= now - 60:
            self._times.popleft()
        is_over = len(self._times) >= self.rate_max
        if not is_over:
            self._times.append(now)
        spelling = self.unverified.rate_spelling
        headers = {
            f"{spelling}-Limit": str(self.rate_max),
            f"{spelling}-Remaining": str(self.rate_max - len(self._times)),
            f"{spelling}-Reset": str(self.rate_reset),
        }
        if not is_over:
            return headers if self.unverified.rate_headers == "always" else {}, None
        told = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return headers | told, Answer(429, {"errors": "Rate limit exceeded"})

    def _route(self, request: Request) -> Answer:
        if request.headers.get("authorization") != f"Bearer {self.api_key}":
            return Answer(401, {"errors": "Unauthorized"})
        try:
            match request.method, request.parts:
                case "GET", ["user"]:
                    attributes = {"name": "Sandbox", "email": "sandbox@example.com"}
                    return Answer(200, {"data": {"id": "1", "type": "user", "attributes": attributes}})
                case "GET", ["workspaces"]:
                    return Answer(200, {"data": [self._workspace()], "included": []})
                case "GET", ["workspaces", slug]:
                    return self._absent(slug) or Answer(200, {"data": self._workspace(), "included": []})
                case method, [slug, kind, *rest]:
                    return self._absent(slug) or self._within(kind, method, rest, request)
        except RefusedError as refused:
            return Answer(self.unverified.refusal, {"errors": refused.errors})
        except ConflictError:
            return Answer(409, {"errors": {"key": ["has already been taken"]}})
        return _nothing()

    def _absent(self, slug: str) -> Answer | None:
        if slug in self.foreign_workspaces:
            return Answer(403)
        if slug != self.workspace:
            return Answer(self.unverified.unknown_workspace, {"errors": "Workspace not found"})
        return None

    def _workspace(self) -> dict[str, Any]:
        attributes = {"name": self.workspace.title(), "slug": self.workspace, "members_count": len(self.members)}
        return {"id": "15Vt67", "type": "workspace", "attributes": attributes}

    def _within(self, kind: str, method: str, rest: list[str], request: Request) -> Answer:
        match kind, method, rest:
            case "members", _, _:
                return self._members(method, rest, request)
            case "activities", "POST", []:
                return self._happen_to_anybody(body_of(request))
            case "activities", "GET", []:
                return self._page(request, [self.timeline.shown(one) for one in self.timeline.of()])
            case "activities", "GET", [name]:
                activity = self.timeline.named(name)
                return Answer(200, self.timeline.shown(activity)) if activity else _nothing()
            case "activity_types", "GET", []:
                types = [{"data": self.timeline.type_shown(key)} for key in sorted(self.timeline.types)]
                return self._page(request, types)
            case "organizations", _, _:
                return self._organizations(method, rest, request)
        return _nothing()

    # Members.

    def _members(self, method: str, rest: list[str], request: Request) -> Answer:
        match method, rest:
            case "GET", []:
                return self._list(request)
            case "POST", []:
                return self._post(body_of(request))
            case "GET", ["find"]:
                found = self.community.find({name: values[-1] for name, values in request.query.items()})
                if found is None:
                    return Answer(404, {"errors": "No member matching this identity was found"})
                return self._read(found)
        member = self.community.addressed(rest[0]) if rest else None
        if member is None:
            return _nothing()
        match method, rest[1:]:
            case "GET" | "PUT" | "DELETE", []:
                return self._one(method, member, request)
            case "POST" | "DELETE", ["identities"]:
                return self._identity(method, member, body_of(request))
            case _, ["activities", *more]:
                return self._activities(method, member, more, request)
            case _, ["notes", *more]:
                return self._notes(method, member, more, request)
        return _nothing()

    def _read(self, member: Member) -> Answer:
        answer = Answer(200, self.community.shown(member))
        self._gets[member.id] += 1
        if self.after_get:
            self.after_get(member, self._gets[member.id])
        return answer

    def _one(self, method: str, member: Member, request: Request) -> Answer:
        if method == "GET":
            return self._read(member)
        if method == "DELETE":
            del self.members[member.id]
            return Answer(204)
        values = body_of(request)
        if self.before_put:
            self.before_put(member)
        # A body with `member` around it is an unknown key: it changes nothing, and the answer is the same 204.
        refuse_unknown(values, WRITABLE, self.unverified)
        self.community.write(member, values)
        if self.after_put:
            self.after_put(member)
        return Answer(204)

    def _post(self, body: dict[str, Any]) -> Answer:
        is_flat = self.unverified.flat_member == "taken" and "member" not in body
        refuse_unknown(body, WRITABLE | {"identity"} if is_flat else {"member", "identity"}, self.unverified)
        values = {name: value for name, value in body.items() if name in WRITABLE} if is_flat else body.get("member")
        member, is_new = self._met(values or {}, body.get("identity") or {})
        return Answer(201 if is_new else 200, self.community.shown(member, is_new=is_new))

    def _met(self, values: Any, identity: Any) -> tuple[Member, bool]:
        """The member with this identity or these keys, changed or made, and whether it was made."""
        if not isinstance(values, dict) or not isinstance(identity, dict):
            raise RefusedError(base=["is invalid"])
        refuse_unknown(values, WRITABLE, self.unverified)
        refuse_member(values)
        if identity:
            refuse_unknown(identity, IDENTITY_KEYS, self.unverified)
            refuse_identity(identity)
        # Identities count in either place: in `identity`, and as keys of the member like `github`.
        known_by = [identity, *({"source": name, NETWORKS[name][0]: values.get(name)} for name in NETWORK_KEYS)]
        member = next(filter(None, map(self.community.find, known_by)), None)
        if member is not None:
            self.community.write(member, values)
            if identity and self.community.find(identity) is None:
                self.community.attach(member, identity)
            return member, False
        known = {identity.get("source")} | {name for name in ("name", "email", "github", "twitter") if values.get(name)}
        if not known & {"name", "email", "github", "twitter"}:
            raise RefusedError(name=["can't be blank"])
        name = str(values.get("name") or identity.get("username") or identity.get("email") or "member")
        member = self.community.new(name)
        try:
            if identity:
                self.community.attach(member, identity)
            self.community.write(member, values)
        except RefusedError:
            del self.members[member.id]
            raise
        return member, True

    def _identity(self, method: str, member: Member, identity: dict[str, Any]) -> Answer:
        refuse_identity(identity)
        owner = self.community.find(identity)
        if method == "POST":
            if owner is not None and owner is not member:
                raise RefusedError(identity_id=["has already been taken"])
            return Answer(201, {"data": identity_shown(self.community.attach(member, identity))})
        if owner is not member:
            raise RefusedError(identity=["is not attached to this member"])
        self.community.detach(member, identity)
        return Answer(204)

    def _list(self, request: Request) -> Answer:
        query = {name: values[-1] for name, values in request.query.items()}
        sort = query.get("sort", "created_at")
        if sort not in SORTS:
            raise RefusedError(base=["is invalid"])
        members = sorted(
            self.members.values(),
            key=lambda member: (str(self.community.attributes(member)[sort] or ""), member.id),
            reverse=query.get("direction", "DESC") == "DESC",
        )
        answer = self._page(request, members, lambda member: self.community.shown(member, is_listed=True))
        if self.after_page:
            self.after_page(int(query.get("page", "1")))
        return answer

    # Activities, notes and organizations.

    def _happen_to_anybody(self, body: dict[str, Any]) -> Answer:
        refuse_unknown(body, {"activity", "identity"}, self.unverified)
        activity, identity = body.get("activity") or {}, body.get("identity") or {}
        if not isinstance(activity, dict):
            raise RefusedError(base=["is invalid"])
        refuse_unknown(activity, ACTIVITY_KEYS | {"member"}, self.unverified)
        values = activity.get("member") or {}
        if not identity and not any(values.get(name) for name in ("name", "email", "github", "twitter", "discourse")):
            raise RefusedError(base=["Either identity or member name, email, GitHub, Twitter or Discourse is required"])
        flat = {name: value for name, value in activity.items() if name in ACTIVITY_KEYS}
        if not flat.get("title"):
            raise RefusedError(custom_title=["can't be blank"])
        member, _ = self._met(values, identity)
        return self._happen(member, flat)

    def _happen(self, member: Member, values: dict[str, Any]) -> Answer:
        activity, is_new = self.timeline.happen(member, values)
        return Answer(201 if is_new else 200, self.timeline.shown(activity))

    def _activities(self, method: str, member: Member, rest: list[str], request: Request) -> Answer:
        match method, rest:
            case "GET", []:
                return self._page(request, [self.timeline.shown(one) for one in self.timeline.of(member)])
            case "POST", []:
                values = body_of(request)
                refuse_unknown(values, ACTIVITY_KEYS, self.unverified)
                return self._happen(member, {name: value for name, value in values.items() if name in ACTIVITY_KEYS})
        activity = self.timeline.named(rest[0]) if len(rest) == 1 else None
        if activity is None or activity.member != member.id:
            return _nothing()
        if method == "PUT":
            values = body_of(request)
            refuse_unknown(values, ACTIVITY_KEYS, self.unverified)
            self.timeline.change(activity, values)
            return Answer(204)
        if method == "DELETE":
            if self.unverified.custom_activities == "kept":
                return Answer(403)
            self.timeline.delete(activity)
            return Answer(204)
        return _nothing()

    def _notes(self, method: str, member: Member, rest: list[str], request: Request) -> Answer:
        match method, rest:
            case "GET", []:
                notes = [{"data": self.timeline.note_shown(name)} for name in self.timeline.notes_of(member)]
                return self._page(request, notes, has_last=True)
            case "POST", []:
                return Answer(201, {"data": self.timeline.note(member, body_of(request))})
            case "PUT", [name] if name in self.timeline.notes_of(member):
                self.timeline.change_note(name, body_of(request))
                return Answer(204)
        return _nothing()

    def _organizations(self, method: str, rest: list[str], request: Request) -> Answer:
        if method == "GET" and not rest:
            query = {name: values[-1] for name, values in request.query.items()}
            sort = query.get("sort", "name")
            if sort not in ORGANIZATION_SORTS:
                raise RefusedError(base=["is invalid"])
            names = self.organizations.names(query.get("query", ""), sort)
            if query.get("direction", "ASC") == "DESC":
                names.reverse()
            return self._page(request, [{"data": self.organizations.shown(name)} for name in names])
        if not rest or not self.organizations.is_there(rest[0]):
            return _nothing()
        members = self.organizations.members(rest[0])
        match method, rest[1:]:
            case "GET", []:
                return Answer(200, {"data": self.organizations.shown(rest[0])})
            case "PUT", []:
                self.organizations.write(rest[0], body_of(request))
                return Answer(204)
            case "GET", ["members"]:
                return self._page(request, members, self.community.shown)
            case "GET", ["activities"]:
                found = [one for member in members for one in self.timeline.of(member)]
                return self._page(request, found, self.timeline.shown)
        return _nothing()

    def _page(
        self,
        request: Request,
        all_items: Sequence[Any],
        show: Callable[[Any], dict[str, Any]] = lambda shown: shown,
        *,
        has_last: bool = False,
    ) -> Answer:
        """The page of a list that was asked for, with its links."""
        query = {name: values[-1] for name, values in request.query.items()}
        items, page = query.get("items", "10"), query.get("page", "1")
        if not is_page(items, page):
            raise RefusedError(items=["is not included in the list"])
        first = (int(page) - 1) * int(items)
        shown = [show(item) for item in all_items[first : first + int(items)]]

        def link(number: int, base: str = self.url) -> str:
            return f"{base}{request.path}?{urlencode(query | {'page': number})}"

        following = f"https://{self.next_host}{urlsplit(self.url).path}" if self.next_host else self.url
        has_next = first + int(items) < len(all_items)
        links = {
            "first": link(1),
            "prev": link(int(page) - 1) if int(page) > 1 else None,
            "next": link(int(page) + 1, following) if has_next else None,
        }
        if has_last:
            links["last"] = link(max(1, -(-len(all_items) // int(items))))
        included = [beside for one in shown for beside in one.get("included", [])]
        return Answer(200, {"data": [one["data"] for one in shown], "included": included, "links": links})


def _nothing() -> Answer:
    return Answer(404, {"errors": "Not found"})


STAND_IN = OrbitStandIn
