"""Relations to other records (`relate`): a set of identifiers that is kept, compared and shown like one field's value.

In the state a set is one text, its identifiers sorted and parted by a character that no identifier may hold. When a
write of one is in doubt, the destination may have what was accepted before, what was sent, or both; so the state then
keeps the union of the two, and everything of it that is not wanted is taken away by the next write.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from syncer import sql
from syncer.change import Relation, Value
from syncer.destination import ValueLimit
from syncer.mapping import RELATE

SEPARATOR = "\x1f"


def is_relation(name: str) -> bool:
    """Whether a slot of this name holds a relation."""
    return name.startswith(RELATE)


def relation(before: Value, after: Value, *, is_doubtful: bool, is_new: bool) -> Relation:
    """What has to be added and taken away, from the texts of the state and of the source."""
    held, wanted = ids_of(before), ids_of(after)
    return Relation(
        add=wanted if is_doubtful else tuple(one for one in wanted if one not in held),
        remove=tuple(one for one in held if one not in wanted),
        before=None if is_doubtful else () if is_new else held,
        after=wanted,
    )


def ids_of(text: Value) -> tuple[str, ...]:
    """The identifiers in a text of the state."""
    return tuple(str(text).split(SEPARATOR)) if text else ()


def shown(ids: tuple[str, ...] | None) -> Any:
    """Identifiers as JSON shows them: one as itself, several as a list, none as null."""
    if not ids:
        return None
    return ids[0] if len(ids) == 1 else list(ids)


def united(one: str, other: str) -> str:
    """SQL of the union of two texts of the state."""
    texts = f"string_split({one}, {_SEPARATOR}), string_split({other}, {_SEPARATOR})"
    both = _joined(f"list_concat({texts})")
    return f"CASE WHEN {one} IS NULL THEN {other} WHEN {other} IS NULL THEN {one} ELSE {both} END"


def made_of_list(expression: str) -> tuple[str, str]:
    """SQL of the text of a column that holds lists, and of the list of its identifiers as texts."""
    ids = f"({expression})::VARCHAR[]"
    return f"nullif({_joined(ids)}, '')", ids


def wrong_in_list(ids: str, limit: ValueLimit | None, column: str) -> list[tuple[str, str, str]]:
    """(reason, condition, sentence) of lists that cannot go out."""
    found = [
        ("bad_value", f"list_contains({ids}, '')", f"{column} holds an identifier that is empty."),
        _forbidden(f"array_to_string({ids}, '')", column),
    ]
    if limit and limit.utf8_bytes is not None:
        sentence = (
            f"{column} holds an identifier of more than {limit.utf8_bytes:,} bytes, which the destination refuses."
        )
        found.append(("too_long", f"list_max([strlen(x) for x in {ids}]) > {limit.utf8_bytes}", sentence))
    return found


def wrong_in_text(text: str, column: str) -> list[tuple[str, str, str]]:
    """(reason, condition, sentence) of single identifiers that cannot go out."""
    return [_forbidden(text, column)]


def is_list(kind: pa.DataType) -> bool:
    """Whether a column of this type holds several identifiers a row."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


_SEPARATOR = sql.literal(SEPARATOR)


def _joined(ids: str) -> str:
    # list_distinct drops nulls too.
    return f"array_to_string(list_sort(list_distinct({ids})), {_SEPARATOR})"


def _forbidden(text: str, column: str) -> tuple[str, str, str]:
    sentence = f"{column} holds an identifier with a control character in it."
    return ("forbidden_character", f"contains({text}, {_SEPARATOR})", sentence)
