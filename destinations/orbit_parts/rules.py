"""What a mapping may ask of an Orbit member, and the sentences for what it may not.

Source: `member` in the vendor's OpenAPI document of June 2023, https://github.com/api-evangelist/orbit.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from syncer.errors import Problem
from syncer.mapping import Field, Sync

NETWORKS: Mapping[str, str] = {
    "email": "email",
    "github": "username",
    "twitter": "username",
    "discourse": "username",
    "linkedin": "username",
    "devto": "username",
}
"""Source of an identity, which is an identifier of a match too → the key that holds its value."""

IDENTIFIER = re.compile(r"(?P<source>[A-Za-z0-9_.-]+)(@(?P<host>[A-Za-z0-9_.-]+))?(:(?P<key>uid|username|email))?")
"""`SOURCE`, `SOURCE@HOST`, `SOURCE:KEY` and `SOURCE@HOST:KEY`; a network has a key of its own when none is given."""

TAG = "tag:"
"""How a field that owns tags begins; behind it comes the prefix of the tags."""

WRITABLE: Mapping[str, str] = {
    **dict.fromkeys(("bio", "company", "location", "name", "pronouns", "title", "url"), "text"),
    **dict.fromkeys(("birthday", "shipping_address", "slug", "tshirt"), "text"),
    **dict.fromkeys(("devto", "email", "github", "linkedin", "twitter"), "text"),
    "teammate": "boolean",
}
"""Keys of a member that the API lets be written → what they take."""

CALCULATED = frozenset({"activities_count", "activities_score", "love", "orbit_level", "reach"}) | {
    *("first_activity_occurred_at", "github_followers", "last_activity_occurred_at", "twitter_followers")
}

RECOGNISED = frozenset({"name", "email", "github", "twitter"})
"""One of these has to be known of a new member (docs.orbit.love/reference/members)."""


@dataclass(frozen=True, slots=True)
class Identifier:
    """What a match finds a member by: an identity at a source, or Orbit's own id.

    `host` tells apart several of one source, as the hosts of Discourse; empty means any.
    """

    source: str
    host: str
    key: str

    @classmethod
    def of(cls, name: str) -> Identifier:
        """The identifier of that name: `email`, `discourse@forum.example.com`, `warehouse:uid`. Raises ValueError."""
        if name == "id":
            return cls(name, "", name)
        found = IDENTIFIER.fullmatch(name)
        key = found and (found["key"] or NETWORKS.get(found["source"]))
        if not found or not key:
            raise ValueError(name)
        return cls(found["source"], found["host"] or "", key)

    @property
    def is_id(self) -> bool:
        """Whether this is Orbit's own id, and no identity."""
        return self.key == "id"

    @property
    def is_caseless(self) -> bool:
        """Addresses and the networks' user names are the same in either case; ids and words of one's own are not."""
        return NETWORKS.get(self.source) == self.key

    @property
    def is_a_key(self) -> bool:
        """Whether a member's own keys show this identity, as `github` does."""
        return self.is_caseless and not self.host

    def identity(self, value: str) -> dict[str, str]:
        """An identity as a query and as a body have it: `{"source": "github", "username": "ada"}`."""
        host = {"source_host": self.host} if self.host else {}
        return {"source": self.source, **host, self.key: value}

    def folded(self, value: str) -> str:
        """A value in the form in which equal ones are equal."""
        return value.strip().casefold() if self.is_caseless else value


def refuse_match(sync: Sync) -> Iterator[Problem]:
    """A member is found by one identity, and made only when it can be recognised."""
    known = [*NETWORKS, "id"]
    if len(sync.match) != 1:
        yield Problem("match", "Orbit finds a member by exactly one identifier. Keep one of them.")
        return
    (identifier,) = sync.match
    if not is_identifier(identifier):
        guess = difflib.get_close_matches(identifier, known, 1)
        yield Problem(
            "match",
            f"Orbit finds no member by {identifier!r}{f'; did you mean {guess[0]!r}?' if guess else '.'} Take one of "
            f'{", ".join(known)}, or "SOURCE:uid" for identities of a source of your own; "SOURCE@HOST" names the host '
            "where there are several.",
        )
    elif sync.missing == "create" and identifier == "id":
        yield Problem("missing", 'Orbit gives out the ids of new members itself. Match by an identity, or "skip".')
    elif sync.missing == "create" and not RECOGNISED & {
        Identifier.of(identifier).source,
        *(field.name for field in sync.fields),
    }:
        yield Problem(
            "missing",
            "Orbit makes a new member only when a name, email, github or twitter is known. Map one of these fields.",
        )


def is_identifier(name: str) -> bool:
    """Whether members can be found by an identifier of that name."""
    try:
        Identifier.of(name)
    except ValueError:
        return False
    return True


def refuse_key(field: Field) -> Iterator[Problem]:
    """A field that is a key of a member."""
    place = f"fields.{field.name}"
    if field.name in ("tags", "tags_to_add", "tag_list"):
        yield Problem(
            place, 'This would be everybody\'s tags. Write "tag:PREFIX" = …, which owns the tags PREFIX:* and no other.'
        )
    elif field.name in CALCULATED:
        yield Problem(place, 'Orbit calculates this itself. A step of a score goes into a tag, as "tag:activation".')
    elif field.name not in WRITABLE:
        guess = difflib.get_close_matches(field.name, sorted(WRITABLE), 1)
        hint = f" Did you mean {guess[0]!r}?" if guess else ' Steps of a score go into a tag, as "tag:activation".'
        yield Problem(place, f"A member has no such field, and Orbit has no free ones.{hint}")
    elif field.name == "teammate":
        if field.type not in (None, "boolean"):
            yield Problem(place, f'This is true or false, and `type` says {field.type!r}. Write type = "boolean".')
    elif _keeps_number(field):
        yield Problem(place, 'This takes text, and Orbit keeps no numbers. Give it `bands`, or type = "text".')


def refuse_tag(field: Field) -> Iterator[Problem]:
    """A field that owns tags: its prefix, and steps rather than values."""
    place = f"fields.{field.name}"
    prefix = field.name.removeprefix(TAG)
    if not prefix or prefix != prefix.strip() or prefix.endswith(":") or "," in prefix:
        yield Problem(
            place, 'Behind "tag:" comes a prefix without comma, blanks around it or colon at its end, as "tag:tier".'
        )
    fixed = [field.value, field.default, *(field.map or {}).values(), *(name for name, _ in field.bands or ())]
    if any("," in text for text in fixed if isinstance(text, str)):
        yield Problem(place, "A tag cannot hold a comma. Take it out of the names of the bands, the map or the value.")
    is_unknown = field.column and field.type is None and not field.bands and not field.map
    if is_unknown or _keeps_number(field):
        yield Problem(
            place,
            "A tag carries steps, not values: each number would be one more tag in everybody's list. Give it `bands`, "
            'or a `map` to words; for a column that holds a few words, write type = "text".',
        )


def refuse_shared_prefixes(names: Sequence[str]) -> Iterator[Problem]:
    """Fields of which one would own the tags of another."""
    for name in names:
        for other in names:
            if other is not name and f"{other}:".casefold().startswith(f"{name}:".casefold()):
                yield Problem(
                    f"fields.{other}",
                    f"The tags of {other!r} belong to {name!r} too, and each would take the other's off. Rename one.",
                )


def _keeps_number(field: Field) -> bool:
    """Whether the mapping itself says that a number goes out."""
    if field.type == "text":
        return False
    if any(is_number(fixed) for fixed in (field.value, field.default, *(field.map or {}).values())):
        return True
    if field.bands or field.map:
        return False
    return field.type in ("integer", "number") or field.digits is not None or field.min_change is not None


def is_number(value: object) -> bool:
    """Whether a value is a number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
