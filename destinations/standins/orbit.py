"""A strict stand-in of Orbit: a workspace with members, their identities and their tags.

Members only: activities, notes and organizations are not what a sync writes. Where the vendor's document is
silent about what the service did, `Unverified` has a switch, so that tests can see both.

Source: the vendor's OpenAPI document of June 2023, app.orbit.love/api-docs/v1/swagger.json, kept at
https://github.com/api-evangelist/orbit (openapi/orbit-rest-api-openapi.yml).
"""

from __future__ import annotations

import datetime
import hashlib
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal
from urllib.parse import urlencode

from destinations.standins.server import Answer, Request, StandIn, Table

TEXT_KEYS = ("bio", "birthday", "company", "location", "name", "pronouns", "shipping_address", "title", "tshirt", "url")
NETWORKS: Mapping[str, tuple[str, str]] = {
    "email": ("email", "email.host"),
    "github": ("username", "github.com"),
    "twitter": ("username", "twitter.com"),
    "linkedin": ("username", "linkedin.com"),
    "devto": ("username", "dev.to"),
    "discourse": ("username", "forum.example.com"),
}
"""Source of an identity → the key that identifies in it, and its usual host."""
NETWORK_KEYS = ("email", "github", "twitter", "linkedin", "devto")
"""Member keys that are identities, written along with the member."""
WRITABLE = frozenset(TEXT_KEYS) | frozenset(NETWORK_KEYS) | {"slug", "teammate", "tags", "tags_to_add", "tag_list"}
IDENTITY_KEYS = frozenset({"source", "source_host", "uid", "username", "email", "name", "url"})
SORTS = frozenset({"id", "name", "created_at", "updated_at", "company", "title", "location"})
FOREIGN_TAGS: tuple[tuple[str, ...], ...] = (("newsletter",), ("speaker", "vip"), (), ("contributor", "meetup:berlin"))
"""What other people had put on members before the first sync."""

COLUMNS = ("name", "email", "github", "company", "tags")
"""What the sandbox page shows of a member, and marks when a write changed it."""

ID_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789"


@dataclass(slots=True)
class Unverified:
    """What no source says about the service; each is answered by a switch."""

    unknown_keys: Literal["ignored", "refused"] = "ignored"
    tags_case: Literal["kept", "lowered"] = "kept"
    empty_tags: Literal["emptied", "ignored"] = "emptied"
    merged: Literal["shown", "gone"] = "shown"
    identities_case: Literal["ignored", "kept"] = "ignored"
    rate_headers: Literal["always", "when refused"] = "always"


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

    def username(self, source: str) -> str | None:
        """What the member is called at a network; None when it is not known there."""
        for one in self.identities:
            if one["source"] == source:
                found: str | None = one[NETWORKS[source][0]]
                return found
        return None


class _RefusedError(Exception):
    """A 422 with `errors` as a map of key to texts."""

    def __init__(self, **errors: list[str]) -> None:
        super().__init__("422")
        self.errors = errors


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
        self.members: dict[str, Member] = {}
        self.rate_max: int | None = None
        """Requests per 60 s, above which 429 is answered; the service had 120. None: no limit."""
        self.retry_after: int | None = 1
        """What Retry-After says, in seconds; None leaves it out."""
        self.before_put: Callable[[Member], None] | None = None
        """Somebody else, between our reading of a member and our writing of it."""
        self.after_put: Callable[[Member], None] | None = None
        """Somebody else, right after our writing."""
        self._times: deque[float] = deque()
        self._by_identity: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        """Source and value without case → ids of members that have it, or had it."""
        self._made = 0

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
            member = self._new(values.get("name") or values.get("email") or values.get("github") or "member")
            self._write(member, values | {"tags": list(tags)})
            return member

    def attach(self, member: Member, **identity: Any) -> None:
        """Give a member an identity: source, and uid, username or email."""
        with self.lock:
            self._attach(member, identity)

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
        headers = {
            "RateLimit-Limit": str(self.rate_max),
            "RateLimit-Remaining": str(self.rate_max - len(self._times)),
            "RateLimit-Reset": "60",
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
                case method, [slug, "members", *rest]:
                    return self._absent(slug) or self._members(method, rest, request)
        except _RefusedError as refused:
            return Answer(422, {"errors": refused.errors})
        return Answer(404, {"errors": "Not found"})

    def _absent(self, slug: str) -> Answer | None:
        if slug in self.foreign_workspaces:
            return Answer(403)
        return None if slug == self.workspace else Answer(404, {"errors": "Workspace not found"})

    def _workspace(self) -> dict[str, Any]:
        attributes = {"name": self.workspace.title(), "slug": self.workspace, "members_count": len(self.members)}
        return {"id": "15Vt67", "type": "workspace", "attributes": attributes}

    def _members(self, method: str, rest: list[str], request: Request) -> Answer:
        match method, rest:
            case "GET", []:
                return self._list(request)
            case "POST", []:
                return self._post(_body(request))
            case "GET", ["find"]:
                found = self._find({name: values[-1] for name, values in request.query.items()})
                if found is None:
                    return Answer(404, {"errors": "No member matching this identity was found"})
                return Answer(200, self._shown(found))
            case "POST" | "DELETE", [name, "identities"]:
                member = self._addressed(name)
                return self._identity(method, member, _body(request)) if member else _no_member()
            case "GET" | "PUT" | "DELETE", [name]:
                member = self._addressed(name)
                return self._one(method, member, request) if member else _no_member()
        return Answer(404, {"errors": "Not found"})

    def _one(self, method: str, member: Member, request: Request) -> Answer:
        if method == "GET":
            return Answer(200, self._shown(member))
        if method == "DELETE":
            del self.members[member.id]
            return Answer(204)
        values = _body(request)
        if self.before_put:
            self.before_put(member)
        # A body with `member` around it is an unknown key: it changes nothing, and the answer is the same 204.
        self._refuse_unknown(values, WRITABLE)
        self._write(member, values)
        if self.after_put:
            self.after_put(member)
        return Answer(204)

    def _post(self, body: dict[str, Any]) -> Answer:
        self._refuse_unknown(body, frozenset({"member", "identity"}))
        values, identity = body.get("member") or {}, body.get("identity") or {}
        if not isinstance(values, dict) or not isinstance(identity, dict):
            raise _RefusedError(base=["is invalid"])
        self._refuse_unknown(values, WRITABLE)
        _refuse_values(values)
        if identity:
            self._refuse_unknown(identity, IDENTITY_KEYS)
            _refuse_identity(identity)
        # Identities count in either place: in `identity`, and as keys of the member like `github`.
        known_by = [identity, *({"source": name, NETWORKS[name][0]: values.get(name)} for name in NETWORK_KEYS)]
        member = next(filter(None, map(self._find, known_by)), None)
        if member is not None:
            self._write(member, values)
            if identity and self._find(identity) is None:
                self._attach(member, identity)
            return Answer(200, self._shown(member))
        known = {identity.get("source")} | {name for name in ("name", "email", "github", "twitter") if values.get(name)}
        if not known & {"name", "email", "github", "twitter"}:
            raise _RefusedError(name=["can't be blank"])
        member = self._new(str(values.get("name") or identity.get("username") or identity.get("email") or "member"))
        try:
            if identity:
                self._attach(member, identity)
            self._write(member, values)
        except _RefusedError:
            del self.members[member.id]
            raise
        return Answer(201, self._shown(member, is_new=True))

    def _identity(self, method: str, member: Member, identity: dict[str, Any]) -> Answer:
        _refuse_identity(identity)
        owner = self._find(identity)
        if method == "POST":
            if owner is not None and owner is not member:
                raise _RefusedError(identity_id=["has already been taken"])
            return Answer(201, {"data": _identity_shown(self._attach(member, identity))})
        if owner is not member:
            raise _RefusedError(identity=["is not attached to this member"])
        member.identities = [one for one in member.identities if not self._is_same(one, identity)]
        return Answer(204)

    def _list(self, request: Request) -> Answer:
        query = {name: values[-1] for name, values in request.query.items()}
        items, page, sort = query.get("items", "10"), query.get("page", "1"), query.get("sort", "created_at")
        if items not in ("10", "50", "100"):
            raise _RefusedError(items=["is not included in the list"])
        if sort not in SORTS or not page.isdigit() or int(page) < 1:
            raise _RefusedError(base=["is invalid"])
        members = sorted(
            self.members.values(),
            key=lambda member: (str(self._attributes(member)[sort] or ""), member.id),
            reverse=query.get("direction", "DESC") == "DESC",
        )
        first = (int(page) - 1) * int(items)
        shown = [self._shown(member) for member in members[first : first + int(items)]]

        def link(number: int) -> str:
            return f"{self.url}{request.path}?{urlencode(query | {'page': number})}"

        has_next = first + int(items) < len(members)
        return Answer(
            200,
            {
                "data": [one["data"] for one in shown],
                "included": [identity for one in shown for identity in one["included"]],
                "links": {
                    "first": link(1),
                    "prev": link(int(page) - 1) if int(page) > 1 else None,
                    "next": link(int(page) + 1) if has_next else None,
                },
            },
        )

    def _find(self, identity: Mapping[str, Any]) -> Member | None:
        values = [identity[name] for name in ("uid", "username", "email") if identity.get(name)]
        if not identity.get("source") or not values:
            return None
        for name in self._by_identity.get((identity["source"], values[0].casefold()), ()):
            member = self.members.get(name)
            if member is not None and any(self._is_same(one, identity) for one in member.identities):
                return member
        return None

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

    def _addressed(self, name: str) -> Member | None:
        found = self.members.get(name)
        if found is None:
            found = next((one for one in self.members.values() if one.attributes["slug"] == name), None)
        if found is not None and found.merged_at and self.unverified.merged == "gone":
            return None
        return found

    def _new(self, name: str) -> Member:
        self._made += 1
        digest = int.from_bytes(hashlib.sha256(f"{self.workspace} {self._made}".encode()).digest()[:8], "big")
        letters = "".join(ID_LETTERS[digest // len(ID_LETTERS) ** place % len(ID_LETTERS)] for place in range(6))
        slug = "".join(letter for letter in name.lower() if letter.isalnum()) or "member"
        if any(one.attributes["slug"] == slug for one in self.members.values()):
            slug = f"{slug}-{self._made}"
        attributes: dict[str, Any] = {**dict.fromkeys(TEXT_KEYS), "slug": slug, "teammate": False}
        member = Member(letters, attributes, created_at=_now(), updated_at=_now())
        self.members[letters] = member
        return member

    def _attach(self, member: Member, identity: Mapping[str, Any]) -> dict[str, Any]:
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

    def _write(self, member: Member, values: Mapping[str, Any]) -> None:
        """Apply a member's keys. Everything is judged before anything is changed."""
        _refuse_values(values)
        for source in NETWORK_KEYS:
            owner = self._find({"source": source, NETWORKS[source][0]: values.get(source)})
            if owner is not None and owner is not member:
                raise _RefusedError(**{source: ["has already been taken"]})
        before = self._attributes(member)
        member.attributes |= {name: values[name] for name in (*TEXT_KEYS, "slug", "teammate") if name in values}
        for source in NETWORK_KEYS:
            if source in values and values[source] != member.username(source):
                member.identities = [one for one in member.identities if one["source"] != source]
                if values[source]:
                    self._attach(member, {"source": source, NETWORKS[source][0]: values[source]})
        replacing = values.get("tags", values.get("tag_list"))
        if replacing is not None and (_tags(replacing) or self.unverified.empty_tags == "emptied"):
            member.tags = self._cased(_tags(replacing))
        member.tags = list(dict.fromkeys(member.tags + self._cased(_tags(values.get("tags_to_add") or []))))
        after = self._attributes(member)
        member.changed = {name for name in COLUMNS if before[name] != after[name]}
        member.updated_at = _now()

    def _cased(self, tags: list[str]) -> list[str]:
        return [tag.lower() for tag in tags] if self.unverified.tags_case == "lowered" else tags

    def _refuse_unknown(self, values: Mapping[str, Any], known: frozenset[str]) -> None:
        unknown = sorted(set(values) - known)
        if unknown and self.unverified.unknown_keys == "refused":
            raise _RefusedError(**{name: ["is unknown"] for name in unknown})

    def _attributes(self, member: Member) -> dict[str, Any]:
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
            "love": None,
            "activities_count": 0,
            "activities_score": 0,
            "first_activity_occurred_at": None,
            "last_activity_occurred_at": None,
            **{source: member.username(source) for source in NETWORKS},
            "discord": None,
            "github_followers": None,
            "twitter_followers": None,
            "topics": None,
            "languages": None,
        }

    def _shown(self, member: Member, *, is_new: bool = False) -> dict[str, Any]:
        identities = [_identity_shown(one) for one in member.identities]
        links = [{"id": one["id"], "type": one["type"]} for one in identities]
        data = {
            "id": member.id,
            "type": "member",
            "attributes": self._attributes(member) | {"created": is_new},
            "relationships": {"identities": {"data": links}, "organizations": {"data": []}},
        }
        return {"data": data, "included": identities}


def _no_member() -> Answer:
    return Answer(404, {"errors": "Not found"})


def _body(request: Request) -> dict[str, Any]:
    """The JSON object of a write. Raises _RefusedError for anything else."""
    try:
        body = request.json()
    except ValueError:
        raise _RefusedError(base=["is not JSON"]) from None
    if not isinstance(body, dict) or not request.headers.get("content-type", "").startswith("application/json"):
        raise _RefusedError(base=["is not a JSON object"])
    return body


def _tags(given: Any) -> list[str]:
    """Tags of a text with commas or of a list; blanks trimmed, doubles dropped. Raises _RefusedError."""
    names = given.split(",") if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _RefusedError(tags=["is invalid"])
    # A comma inside a listed tag parts it, since tags are kept as one text.
    return list(dict.fromkeys(name.strip() for text in names for name in text.split(",") if name.strip()))


def _refuse_values(values: Mapping[str, Any]) -> None:
    errors: dict[str, list[str]] = {}
    for name in (*TEXT_KEYS, *NETWORK_KEYS, "slug"):
        if not isinstance(values.get(name), str | None):
            errors[name] = ["is invalid"]
    if not isinstance(values.get("teammate", False), bool | None):
        errors["teammate"] = ["is invalid"]
    if isinstance(values.get("email"), str) and not _is_address(values["email"]):
        errors["email"] = ["is invalid"]
    if errors:
        raise _RefusedError(**errors)


def _refuse_identity(identity: Mapping[str, Any]) -> None:
    if not identity.get("source"):
        raise _RefusedError(source=["can't be blank"])
    if not all(isinstance(value, str | None) for value in identity.values()):
        raise _RefusedError(identity=["is invalid"])
    if not any(identity.get(name) for name in ("uid", "username", "email")):
        raise _RefusedError(uid=["can't be blank"])
    if identity["source"] == "email" and not _is_address(identity.get("email") or ""):
        raise _RefusedError(email=["is invalid"])


def _is_address(text: str) -> bool:
    name, at, host = text.rpartition("@")
    return bool(name and at and "." in host)


def _identity_shown(identity: Mapping[str, Any]) -> dict[str, Any]:
    source = identity["source"]
    attributes = {name: value for name, value in identity.items() if name != "id"} | {"profile_url": None}
    return {
        "id": identity["id"],
        "type": f"{source}_identity" if source in NETWORKS else "other_identity",
        "attributes": attributes,
    }


def _now() -> str:
    """ISO time with milliseconds and `Z`."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


STAND_IN = OrbitStandIn
