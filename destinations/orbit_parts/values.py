"""What a member holds and what it is to hold: tags under the prefixes that a sync owns, and a member's own keys."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from destinations.orbit_parts.rules import TAG, WRITABLE
from syncer.change import Value


def difference(member: Mapping[str, Any], fields: Mapping[str, Value]) -> dict[str, Any]:
    """The body that makes a member hold the fields; empty when it does already."""
    body = {
        name: written(name, value)
        for name, value in fields.items()
        if not name.startswith(TAG) and not is_held(name, value, member.get(name))
    }
    return body | retagged(member["tags"], steps_in(fields))


def retagged(tags: Sequence[str], steps: Mapping[str, Value]) -> dict[str, list[str]]:
    """What has to be written so that of each prefix in `steps` the tags hold exactly the one step, or none.

    `steps`: field (`tag:PREFIX`) → step. Whether tags come back in the case they were written in is not known,
    so they are compared without it. An empty text is no step.
    """
    prefixes = tuple(f"{name.removeprefix(TAG)}:".casefold() for name in steps)
    wanted = [f"{name.removeprefix(TAG)}:{step}" for name, value in steps.items() if (step := step_of(value))]
    kept = {tag.casefold() for tag in wanted}
    superfluous = {tag for tag in tags if tag.casefold().startswith(prefixes) and tag.casefold() not in kept}
    lacking = [tag for tag in wanted if tag.casefold() not in {tag.casefold() for tag in tags}]
    if superfluous:
        return {"tags": [tag for tag in tags if tag not in superfluous] + lacking}
    return {"tags_to_add": lacking} if lacking else {}


def steps_in(fields: Mapping[str, Value]) -> dict[str, Value]:
    """Those of the fields that own tags."""
    return {name: value for name, value in fields.items() if name.startswith(TAG)}


def steps_held(name: str, tags: Sequence[str]) -> list[str]:
    """The steps that a member's tags hold of a field (`tag:PREFIX`), as they are written there."""
    prefix = f"{name.removeprefix(TAG)}:"
    return [tag[len(prefix) :] for tag in tags if tag[: len(prefix)].casefold() == prefix.casefold()]


def held_of(name: str, member: Mapping[str, Any]) -> object:
    """What a member holds of a field. Several tags of one prefix are joined with the comma that none can hold."""
    if not name.startswith(TAG):
        return member.get(name)
    return ", ".join(sorted(steps_held(name, member["tags"]))) or None


def is_held(name: str, value: Value, held: object) -> bool:
    """Whether what a member holds of a field is this value; absent, null, false and empty are the same there."""
    if name.startswith(TAG):
        return step_of(value).casefold() == str(held or "").casefold()
    return (held or None) == (plain(value) or None)


def plain(value: Value) -> str | bool | None:
    """A value as a member's key takes it; dates and timestamps in RFC 3339."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value if value is None or isinstance(value, bool) else str(value)


def written(name: str, value: Value) -> str | bool | None:
    """A value as this key takes it: what is true or false has no null, and is cleared by false."""
    return False if value is None and WRITABLE.get(name) == "boolean" else plain(value)


def step_of(value: Value) -> str:
    """The step that a value is in a tag; empty for none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(plain(value) or "").strip()
