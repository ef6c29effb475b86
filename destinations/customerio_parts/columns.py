"""Operations of many changes at once, by columns: byte for byte those that `operations` makes of one change alone.

They are of changes that relate nothing, of which each becomes one operation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa
from pyarrow import compute as functions

from syncer.mapping import Sync
from syncer.stretch import Columnar, Piece

compute: Any = functions
"""As `Columnar`: the stubs are too narrow."""
ESCAPED = r'["\\\x00-\x1f]'
"""What a text cannot hold as it is."""
UPDATE = '"_update":true'


def operations(sync: Sync, piece: Piece, object_type: str | None, written_at: int) -> Columnar:
    """The operation of each change, with the comma after it.

    `object_type` is the id of the type for a sync of objects that are named by it, "" for other objects, None for
    people; the operations of these carry `written_at`, in seconds.
    """
    is_person = object_type is None
    kind, time = ("person", f',"timestamp":{written_at}') if is_person else ("object", "")
    typed = f',"object_type_id":{json.dumps(object_type)}' if object_type else ""
    whose = [f'{{"type":"{kind}","identifiers":{{', *_identifiers(piece), typed]
    members = [(_name(name), one.leaves, _json(one.values)) for name, one in piece.fields.items()]
    if is_person:
        members.append((UPDATE, sync.missing == "skip" or piece.is_removed, None))
    made = _joined(*whose, '},"action":"identify","attributes":{', *_members(members), f"}}{time}}},")
    if sync.removed == "delete":
        made = compute.if_else(piece.is_removed, _joined(*whose, '},"action":"delete"},'), made)
    return made


def body(made: Sequence[Columnar]) -> bytes:
    """The body of a batch of these."""
    whole = pa.chunked_array(list(made)).combine_chunks()
    joined = compute.binary_join(pa.ListArray.from_arrays(pa.array([0, len(whole)], pa.int32()), whole), "")
    return b"".join((b'{"batch":[', memoryview(joined[0].as_buffer())[:-1], b"]}"))


def longest(made: Sequence[Columnar]) -> int:
    """Bytes of the longest of these, with its comma."""
    return max(int(compute.max(compute.binary_length(one)).as_py()) for one in made)


def _identifiers(piece: Piece) -> Iterator[Any]:
    comma = ""
    for name, texts in piece.match.items():
        yield f"{comma}{_name(name)}"
        yield _json(texts)
        comma = ","


def _members(members: list[tuple[str, Any, Any]]) -> Iterator[Any]:
    """Texts that make up `"name":value` with commas between those that are there. The second of each is whether it is
    there, for all or for each change."""
    before: Any = False
    for name, is_there, value in members:
        comma = "," if before is True else "" if before is False else compute.if_else(before, ",", "")
        parts = [comma, name] if value is None else [comma, name, value]
        is_everywhere = is_there is True or compute.all(is_there).as_py()
        if is_everywhere:
            yield from parts
        else:
            yield compute.if_else(is_there, _joined(*parts), "")
        if before is not True:
            before = True if is_everywhere else is_there if before is False else compute.or_(before, is_there)


def _joined(*parts: Any) -> Any:
    """The texts of each change one behind the other; of some the same text is for all."""
    return compute.binary_join_element_wise(*parts, "")


def _name(name: str) -> str:
    return f"{orjson.dumps(name).decode()}:"


def _json(values: Columnar) -> Columnar:
    """Each value as JSON has it."""
    kind = values.type
    if pa.types.is_string(kind):
        texts = _joined('"', compute.fill_null(values, ""), '"')
        again = compute.match_substring_regex(values, ESCAPED)
    elif pa.types.is_floating(kind):
        texts = values.cast(pa.string())
        again = compute.match_substring(texts, "e")
        # A whole number has a point in JSON, too, which says that it is one of those that need not be whole.
        point = compute.if_else(compute.equal(values, compute.floor(values)), ".0", "")
        texts = _joined(compute.fill_null(texts, ""), compute.fill_null(point, ""))
    elif pa.types.is_timestamp(kind):
        return _or_null(compute.cast(values, pa.timestamp("s"), safe=False).cast(pa.int64()).cast(pa.string()), values)
    elif pa.types.is_date(kind):
        return _or_null(_joined('"', compute.fill_null(values.cast(pa.string()), ""), '"'), values)
    else:
        return _or_null(values.cast(pa.string()), values)
    if compute.any(again).as_py():
        redone = [orjson.dumps(value).decode() for value in values.filter(again).to_pylist()]
        texts = compute.replace_with_mask(texts, compute.fill_null(again, False), pa.array(redone, pa.string()))
    return _or_null(texts, values)


def _or_null(texts: Columnar, values: Columnar) -> Columnar:
    return compute.if_else(compute.is_valid(values), texts, "null") if values.null_count else texts
