"""Lines of the CSV files of Bulk API 2.0 by columns, for batches that are too large for an object each.

What `csv_rows` writes of one change after the other, this writes of thousands at once, byte for byte the same.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import compute as functions
from pyarrow import csv

from destinations.salesforce_parts.csv_rows import FIELD_CHARACTERS_MAX, NULL, UnreadableFile, cell
from destinations.salesforce_parts.soql import ID, Identifier
from syncer.stretch import Columnar, Piece, Stretch

compute: Any = functions
"""As `Columnar`: the stubs are too narrow."""
SORTED_AT_ONCE = 4_096
READ_BYTES = 1024**2
"""Of a file of results, at once."""
ROWS_AT_ONCE = SEGMENT_KEYS = 200_000
"""Keys of a file of results that are sought at once, and keys that were sent that they are sought among at once."""
LONG_ID = "^([0-9A-Za-z]{18})?$"
"""An Id in its longer spelling, or none."""
LOOKED_AT = r'[,"\x00-\x1f\x7f]|^ | $|[^\x00-\x7f]'
"""Texts that hold nothing of this need no quotes, and have no blanks at their ends; others are looked at one by one."""


def cells(identifier: Identifier, piece: Piece) -> Columnar:
    """What stands in the key column of each change."""
    texts = piece.match[identifier.name]
    if identifier.is_number:
        return pa.array([cell(identifier.value(text)) for text in texts.to_pylist()], pa.string())
    return _quoted(texts)


def folded(identifier: Identifier, texts: Columnar) -> Columnar:
    """Each text as `Identifier.fold` has it."""
    if identifier.name == ID and compute.all(compute.match_substring_regex(texts, LONG_ID)).as_py():
        return compute.ascii_lower(texts)
    if identifier.is_text and not _any(compute.match_substring_regex(texts, LOOKED_AT)):
        return texts if identifier.is_case_sensitive else compute.ascii_lower(texts)
    return pa.array([identifier.fold(text) for text in texts.to_pylist()], pa.string())


def lines(key: Columnar, piece: Piece) -> Columnar:
    """The line of each change, without its line end."""
    made = []
    for column in piece.fields.values():
        text = compute.fill_null(_texts(column.values), NULL)
        made.append(compute.if_else(column.leaves, text, ""))
    joined: Columnar = compute.binary_join_element_wise(key, *made, ",")
    return joined


def texts(identifier: Identifier, piece: Piece, width: int) -> Columnar:
    """Each line with its end, and its key as wide as this at least."""
    ended: Columnar = compute.binary_join_element_wise(
        lines(compute.utf8_rpad(cells(identifier, piece), width), piece), "\n", ""
    )
    return ended


def removed(changes: Stretch) -> list[int]:
    """The places of what is gone from the source."""
    found, first = list[int](), 0
    for piece in changes.pieces():
        found += [first + place for place in flagged(piece.is_removed)]
        first += len(piece)
    return found


def doubtful(key: Columnar, piece: Piece) -> list[int]:
    """The changes that a file may not be able to say, as `csv_rows.unfit` finds out of each alone."""
    found: Columnar = compute.equal(key, pa.scalar(NULL))
    length: Columnar = compute.binary_length(key)
    for column in piece.fields.values():
        if pa.types.is_string(column.values.type):
            text = compute.fill_null(column.values, "")
            found = compute.or_(found, compute.equal(text, pa.scalar(NULL)))
            length = compute.add(length, compute.binary_length(text))
    found = compute.or_(found, compute.greater(length, pa.scalar(FIELD_CHARACTERS_MAX)))
    return flagged(found)


def flagged(found: Columnar) -> list[int]:
    """Where it is true."""
    return list(compute.indices_nonzero(found).to_pylist())


def repeated(keys: Any) -> list[int]:
    """The places of keys that are there more than once."""
    found = set[int]()
    for first, segment in _segments(keys):
        if len(compute.unique(segment)) < len(segment):
            counts = compute.value_counts(segment)
            twice = counts.filter(compute.greater(counts.field("counts"), pa.scalar(1))).field("values")
            found.update(first + place for place in flagged(compute.is_in(segment, value_set=twice)))
        for later, other in _segments(keys, first + len(segment)):
            again = compute.is_in(other, value_set=segment)
            if compute.any(again).as_py():
                found.update(later + place for place in flagged(again))
                found.update(first + place for place in flagged(compute.is_in(segment, value_set=other.filter(again))))
    return sorted(found)


def _segments(keys: Any, first: int = 0) -> Iterator[tuple[int, Any]]:
    """(place of the first, keys), from one place on. A table of these is what looking for keys takes of memory."""
    for start in range(first, len(keys), SEGMENT_KEYS):
        yield start, keys.slice(start, SEGMENT_KEYS)


def chosen(made: Columnar, is_chosen: bytes) -> Columnar:
    """Those of the lines whose byte is not 0."""
    flags: Any = pa.Array.from_buffers(pa.uint8(), len(made), [None, pa.py_buffer(is_chosen)])
    return made.filter(flags.cast(pa.bool_()))


def scattered(values: Columnar, where: array[int]) -> Columnar:
    """For each of `where` the text at that place; empty where it is negative."""
    places: Any = pa.Array.from_buffers(pa.int64(), len(where), [None, pa.py_buffer(where)])
    known = compute.if_else(compute.less(places, pa.scalar(0)), None, places)
    return compute.fill_null(values.take(known), "")


def lengths(made: Columnar) -> list[int]:
    """Bytes of each line, without its end."""
    return list(compute.binary_length(made).to_pylist())


def sorted_by(values: Columnar, file: BinaryIO, sizes: array[int]) -> Iterator[bytes]:
    """Lines that stand in a file, in the order of these values; equal ones keep theirs. `sizes` are 0, and then the
    bytes of each line without its end. The file is mapped, so little of it is in memory at once."""
    file.flush()
    if len(sizes) == 1:
        return
    mapped = pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    # Each line with its end.
    ends = array("i", accumulate(size + (place > 0) for place, size in enumerate(sizes)))
    whole: Any = pa.Array.from_buffers(pa.string(), len(values), [None, pa.py_buffer(ends), mapped])
    order = compute.sort_indices(values)
    for start in range(0, len(order), SORTED_AT_ONCE):
        yield _joined(whole.take(order.slice(start, SORTED_AT_ONCE)), "")


def content(made: Columnar) -> bytes:
    """Lines as they stand in a file."""
    return _joined(made, "\n") + b"\n" if len(made) else b""


def _joined(made: Columnar, between: str) -> bytes:
    whole = pa.ListArray.from_arrays(pa.array([0, len(made)], pa.int32()), made)
    return bytes(compute.binary_join(whole, between)[0].as_buffer())


def table(file: BinaryIO, names: Sequence[str]) -> Iterator[Any]:
    """These columns of a result file, as texts, some hundred thousand rows at a time; rows that are not whole are left
    out.

    Raises UnreadableFile, also in the middle of it, and then behind what could be read.
    """
    gathered: list[Any] = []
    try:
        for batch in _batches(file, names):
            gathered.append(batch)
            if sum(map(len, gathered)) >= ROWS_AT_ONCE:
                yield pa.Table.from_batches(gathered)
                gathered = []
    except UnreadableFile:
        if gathered:
            yield pa.Table.from_batches(gathered)
        raise
    if gathered:
        yield pa.Table.from_batches(gathered)


def _batches(file: BinaryIO, names: Sequence[str]) -> Iterator[Any]:
    try:
        yield from csv.open_csv(
            file,
            csv.ReadOptions(block_size=READ_BYTES, use_threads=False),
            csv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda _: "skip"),
            csv.ConvertOptions(include_columns=list(names), column_types=dict.fromkeys(names, pa.string())),
        )
    except (pa.ArrowInvalid, KeyError):
        raise UnreadableFile from None


def places(identifier: Identifier, texts: Any, keys: Any) -> list[int | None]:
    """Where the key of each text is among the keys; None where it is not."""
    sought = pa.chunked_array([folded(identifier, chunk) for chunk in texts.chunks], pa.string())
    found = pa.nulls(len(sought), pa.int32())
    for first, segment in _segments(keys):
        here = compute.index_in(sought, value_set=segment).combine_chunks()
        found = compute.coalesce(found, compute.add(here, pa.scalar(first, pa.int32())))
    return list(found.to_pylist())


def _texts(values: Columnar) -> Columnar:
    """Each value as it stands in a file; null for one that is empty."""
    kind = values.type
    if pa.types.is_string(kind):
        return _quoted(compute.if_else(compute.equal(values, pa.scalar("")), None, values))
    if pa.types.is_timestamp(kind):
        # Read as `_moment` writes it.
        texts = compute.cast(values, pa.timestamp("ms"), safe=False).cast(pa.string())
        return compute.binary_join_element_wise(compute.replace_substring(texts, " ", "T"), "Z", "")
    texts = values.cast(pa.string())
    if pa.types.is_floating(kind):
        # An exponent is not promised to be read.
        return _redone(texts, compute.match_substring(texts, "e"), values, cell)
    return texts


def _quoted(texts: Columnar) -> Columnar:
    """Each text in quotes where it needs them."""
    return _redone(texts, compute.match_substring_regex(texts, LOOKED_AT), texts, cell)


def _redone(texts: Columnar, chosen: Columnar, values: Columnar, write: Callable[[Any], str]) -> Columnar:
    """The texts, and where they were chosen what one by one is written of the value."""
    if not _any(chosen):
        return texts
    again = [write(value) for value in values.filter(chosen).to_pylist()]
    return compute.replace_with_mask(texts, compute.fill_null(chosen, False), pa.array(again, pa.string()))


def _any(found: Columnar) -> bool:
    return bool(compute.any(found).as_py())
