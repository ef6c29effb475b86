"""What Orbit's stand-in takes and refuses, and the switches for what no source says about the service."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from destinations.standins.server import Request

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
ACTIVITY_TEXTS = ("title", "description", "link", "link_text", "weight", "activity_type", "activity_type_key", "key")
ACTIVITY_KEYS = frozenset(ACTIVITY_TEXTS) | {"occurred_at", "properties"}
ORGANIZATION_REQUIRED = ("lifecycle_stage", "crm_url", "source")
ORGANIZATION_KEYS = frozenset(ORGANIZATION_REQUIRED) | {
    *("deal_closed_date", "price_plan", "crm_uid", "owner_name", "owner_email")
}


@dataclass(slots=True)
class Unverified:
    """What no source says about the service; each is answered by a switch."""

    unknown_keys: Literal["ignored", "refused"] = "ignored"
    unknown_workspace: Literal[404, 403] = 404
    refusal: Literal[422, 400] = 422
    flat_member: Literal["ignored", "taken"] = "ignored"
    """What a POST of a member without `member` around its keys is."""
    tags_case: Literal["kept", "lowered"] = "kept"
    tags_order: Literal["kept", "turning"] = "kept"
    """Turning: the other way round with each answer."""
    empty_tags: Literal["emptied", "text only", "ignored"] = "emptied"
    """What an empty list or text in `tags` does; text only: the list is ignored."""
    merged: Literal["shown", "gone"] = "shown"
    identities_case: Literal["ignored", "kept"] = "ignored"
    listed_identities: Literal["all", "networks"] = "all"
    """Whether a list holds identities of sources that are no network."""
    rate_headers: Literal["always", "when refused"] = "always"
    rate_spelling: Literal["RateLimit", "X-RateLimit"] = "RateLimit"
    zero_weight: Literal["taken", "refused"] = "taken"
    used_key: Literal["refused", "conflict", "found"] = "refused"
    """What an activity with a key that is there already gets: 422, 409, or 200 with that activity."""
    custom_activities: Literal["deletable", "kept"] = "deletable"


class RefusedError(Exception):
    """A 422 with `errors` as a map of key to texts."""

    def __init__(self, **errors: list[str]) -> None:
        super().__init__("422")
        self.errors = errors


def body_of(request: Request) -> dict[str, Any]:
    """The JSON object of a write. Raises RefusedError for anything else."""
    try:
        body = request.json()
    except ValueError:
        raise RefusedError(base=["is not JSON"]) from None
    if not isinstance(body, dict) or not request.headers.get("content-type", "").startswith("application/json"):
        raise RefusedError(base=["is not a JSON object"])
    return body


def tags_of(given: Any) -> list[str]:
    """Tags of a text with commas or of a list; blanks trimmed, doubles dropped. Raises RefusedError."""
    names = given.split(",") if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RefusedError(tags=["is invalid"])
    # A comma inside a listed tag parts it, since tags are kept as one text.
    return list(dict.fromkeys(name.strip() for text in names for name in text.split(",") if name.strip()))


def refuse_unknown(values: Mapping[str, Any], known: Iterable[str], unverified: Unverified) -> None:
    """Raises RefusedError for keys that the service does not know, where it is set to mind."""
    unknown = sorted(set(values) - set(known))
    if unknown and unverified.unknown_keys == "refused":
        raise RefusedError(**{name: ["is unknown"] for name in unknown})


def refuse_member(values: Mapping[str, Any]) -> None:
    """Raises RefusedError for values that a member's keys cannot take."""
    errors: dict[str, list[str]] = {}
    for name in (*TEXT_KEYS, *NETWORK_KEYS, "slug"):
        if not isinstance(values.get(name), str | None):
            errors[name] = ["is invalid"]
    if not isinstance(values.get("teammate", False), bool | None):
        errors["teammate"] = ["is invalid"]
    if isinstance(values.get("email"), str) and not _is_address(values["email"]):
        errors["email"] = ["is invalid"]
    if errors:
        raise RefusedError(**errors)


def refuse_identity(identity: Mapping[str, Any]) -> None:
    """Raises RefusedError for an identity without a source or a value, or of an address that is none."""
    if not identity.get("source"):
        raise RefusedError(source=["can't be blank"])
    if not all(isinstance(value, str | None) for value in identity.values()):
        raise RefusedError(identity=["is invalid"])
    if not any(identity.get(name) for name in ("uid", "username", "email")):
        raise RefusedError(uid=["can't be blank"])
    if identity["source"] == "email" and not _is_address(identity.get("email") or ""):
        raise RefusedError(email=["is invalid"])


def refuse_activity(values: Mapping[str, Any], unverified: Unverified) -> None:
    """Raises RefusedError for an activity without a title, or with values of another kind."""
    errors: dict[str, list[str]] = {}
    if not values.get("title"):
        errors["custom_title"] = ["can't be blank"]
    errors |= {name: ["is invalid"] for name in ACTIVITY_TEXTS if not isinstance(values.get(name), str | None)}
    if not isinstance(values.get("properties", {}), dict):
        errors["properties"] = ["is invalid"]
    if values.get("occurred_at") is not None and not is_time(values["occurred_at"]):
        errors["occurred_at"] = ["is invalid"]
    weight = weight_of(values.get("weight"))
    if weight is None:
        errors["weight"] = ["is not a number"]
    elif weight <= 0 and unverified.zero_weight == "refused":
        errors["weight"] = ["must be greater than 0"]
    if errors:
        raise RefusedError(**errors)


def refuse_organization(values: Mapping[str, Any]) -> None:
    """Raises RefusedError unless the three keys are there that each update has to have."""
    errors = {name: ["can't be blank"] for name in ORGANIZATION_REQUIRED if not values.get(name)}
    errors |= {name: ["is invalid"] for name in ORGANIZATION_KEYS if not isinstance(values.get(name), str | None)}
    if values.get("deal_closed_date") is not None and not is_time(values["deal_closed_date"]):
        errors["deal_closed_date"] = ["is invalid"]
    if errors:
        raise RefusedError(**errors)


def weight_of(text: Any) -> float | None:
    """The number in a weight, which is 1 when there is none; None for a text that holds none."""
    if text is None:
        return 1.0
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def is_time(text: Any) -> bool:
    """Whether a value is a date or an instant as text."""
    try:
        datetime.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return False
    return True


def is_page(items: str, page: str) -> bool:
    """Whether a page of that size and number can be asked for."""
    return items in ("10", "50", "100") and page.isdigit() and int(page) >= 1


def now() -> str:
    """ISO time with milliseconds and `Z`."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_address(text: str) -> bool:
    name, at, host = text.rpartition("@")
    return bool(name and at and "." in host)
