"""Saved plans: what `diff --out` writes, and what has moved since when one is to be sent.

A saved plan is the document of `diff --json` with everything in it, and what tells later whether it still holds:
when it was made, of which source, with which mapping. It is sent exactly or not at all.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel

from syncer import documents
from syncer.change import Change
from syncer.errors import UserError
from syncer.mapping import Sync
from syncer.plan import Plan, change_document, mapping_text

FORMAT = 2
MOVED_LISTED_MAX = 20

Document = dict[str, Any]


class SavedField(BaseModel):
    """A field of a change: what was accepted last, and what is to be sent."""

    before: Any = None
    after: Any = None


class SavedChange(BaseModel):
    """One change of a saved plan."""

    key: str
    kind: str
    fields: dict[str, SavedField]


class SavedSync(BaseModel):
    """One sync of a saved plan, as far as it is looked at again."""

    sync: str
    plan: str
    """The digest."""
    mapping: str | None = None
    changes: list[SavedChange]


class _Form(BaseModel):
    format: int


class _File(_Form):
    id: str
    made: AwareDatetime
    syncs: list[SavedSync]


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A saved plan that was read."""

    id: str
    made: datetime.datetime
    syncs: Mapping[str, SavedSync]
    """By the sync's name."""

    def digest(self, sync: str) -> str:
        """The digest of one sync's plan."""
        return self.syncs[sync].plan


def document(plan: Plan, title: str, modified: datetime.datetime | None) -> Document:
    """One sync of a saved plan: all of its changes, however many were shown."""
    return {
        **documents.diff(plan, title),
        "mapping": _mapping(plan.sync),
        "source_modified": documents.moment(modified.timestamp()) if modified else None,
    }


def write(file: Path, syncs: Iterable[Document], now: datetime.datetime) -> None:
    """Write a saved plan, for its owner only: it holds values. Raises UserError."""
    content = {"format": FORMAT, "id": secrets.token_hex(8), "made": documents.moment(now.timestamp())}
    try:
        file.touch(mode=0o600)
        file.chmod(0o600)
        file.write_text(json.dumps({**content, "syncs": list(syncs)}, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(f"The plan cannot be written to {file}: {error.strerror}.") from None


def read(file: Path) -> SavedPlan:
    """A saved plan. Raises UserError when the file is none."""
    try:
        content = file.read_bytes()
        if _Form.model_validate_json(content).format > FORMAT:
            raise UserError(f"{file} was saved by a newer Syncer. Make a new plan with `syncer diff --out {file}`.")
        found = _File.model_validate_json(content)
        return SavedPlan(found.id, found.made.astimezone(datetime.UTC), {one.sync: one for one in found.syncs})
    except OSError as error:
        raise UserError(
            f"The plan {file} cannot be read: {error.strerror}. Write one with `syncer diff --out`."
        ) from None
    except (ValueError, OverflowError):
        raise UserError(f"{file} is not a saved plan. Write one with `syncer diff --out {file}`.") from None


def moved(saved: SavedSync, plan: Plan) -> list[str]:
    """What is not as it was when the plan was saved, a sentence each; empty when the plan still holds."""
    if saved.plan == plan.digest:
        return []
    found = []
    if saved.mapping != _mapping(plan.sync):
        found.append("The mapping is another one.")
    before = {change.key: change for change in saved.changes}
    differences = _differences(before, plan)
    for sentence in differences:
        if len(found) == MOVED_LISTED_MAX:
            found.append(f"{1 + sum(1 for _ in differences):,} more changes are not as they were.")
            break
        found.append(sentence)
    return found or ["A value that is not shown is another one."]


def _differences(before: Mapping[str, SavedChange], plan: Plan) -> Iterator[str]:
    """Change by change, in the order of the plan as it is now; then those that are not in it any more."""
    left = dict(before)
    for change in plan.changes():
        old = left.pop(change.key, None)
        if old is None:
            yield f"{change.key} is to be sent now, and was not."
        else:
            yield from _of_change(old, change, plan.sync)
    for key in left:
        yield f"{key} was to be sent, and is not any more."


def _of_change(old: SavedChange, change: Change, sync: Sync) -> Iterator[str]:
    new = SavedChange.model_validate(change_document(sync, change))
    if old.kind != new.kind:
        yield f"{change.key} was {old.kind}, and is {new.kind} now."
    for name in dict.fromkeys([*old.fields, *new.fields]):
        was, now = old.fields.get(name), new.fields.get(name)
        if was is None or now is None:
            yield f"{change.key}: {name} {'was not' if was is None else 'was'} to be sent."
        elif was.after != now.after:
            said, says = _shown(was.after), _shown(now.after)
            yield f"{change.key}: the source says {says} for {name}, and said {said}."
        elif was.before != now.before:
            yield (
                f"{change.key}: the destination has accepted {_shown(now.before)} for {name} since; it was "
                f"{_shown(was.before)}."
            )


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _mapping(sync: Sync) -> str:
    return f"sha256:{hashlib.sha256(mapping_text(sync).encode()).hexdigest()}"
