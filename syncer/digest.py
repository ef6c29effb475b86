"""The digest of a plan's changes: equal changes have equal digests, whatever made the plan, and on whatever day.

Columns are digested as bytes, piece by piece, so a change costs what hashing its bytes costs. A field that does not
leave counts neither with its value nor with the one before. Numbers count by value: 72 and 72.0 are the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from syncer.plan import Slot

PIECE_ROWS = 65_536
EXACT_MAX = 2**53
"""Whole numbers up to here are doubles without loss."""


def digest_of(head: str, file: Path, slots: Iterable[Slot], matches: int, lo: int, hi: int) -> str:
    """`sha256:…` over a text and the rows lo to hi of a plan file, in order, in whatever order the slots come."""
    digest = hashlib.sha256(f"{head}\n".encode())
    named = sorted(slots, key=lambda slot: slot.name)
    fixed = ["key", *(f"m{number}" for number in range(matches)), "_op", "_rescored"]
    columns = [*fixed, "_mask", *(name for slot in named for name in (f"b{slot.number}", slot.column))]
    compute: Any = pc  # Its stubs know no arrays that may hold anything.
    for piece in _pieces(file, columns, lo, hi):
        digest.update(f"{piece.num_rows} rows\n".encode())
        for name in fixed:
            _add(digest, piece.column(name), None)
        for slot in named:
            leaves = compute.not_equal(compute.bit_wise_and(piece.column("_mask"), pa.scalar(slot.bit, pa.int64())), 0)
            if not pc.any(leaves).as_py():
                continue
            digest.update(f"{slot.name}\n".encode())
            _add(digest, leaves, None)
            for name in (f"b{slot.number}", slot.column):
                _add(digest, piece.column(name), leaves)
    return f"sha256:{digest.hexdigest()}"


def _pieces(file: Path, columns: list[str], lo: int, hi: int) -> Iterator[pa.RecordBatch]:
    """The rows in pieces of one size, counted from `lo`, however the file is cut into groups."""
    first, held, size = 0, [], 0
    with pq.ParquetFile(file) as opened:
        for batch in opened.iter_batches(PIECE_ROWS, columns=columns):
            wanted = batch.slice(max(0, lo - first), max(0, hi - max(first, lo)))
            first += batch.num_rows
            while wanted.num_rows:
                taken = wanted.slice(0, PIECE_ROWS - size)
                held.append(taken)
                size += taken.num_rows
                wanted = wanted.slice(taken.num_rows)
                if size == PIECE_ROWS:
                    yield _together(held)
                    held, size = [], 0
            if first >= hi:
                break
    if held:
        yield _together(held)


def _together(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    (whole,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return whole


def _add(digest: Any, column: Any, wanted: Any) -> None:
    """Add a column's values where they are wanted; what is null, or not wanted, is told apart from every value."""
    there = pc.is_valid(column) if wanted is None else pc.and_(pc.is_valid(column), wanted)
    if not pc.any(there).as_py():
        digest.update(b"none\n")
        return
    digest.update(_bytes(there.cast(pa.uint8())))
    if not pc.all(there).as_py():
        column = column.filter(there)
    if pa.types.is_integer(column.type):
        digest.update(_bytes(column.cast(pa.float64(), safe=False)))
        bounds = pc.min_max(column)
        if not -EXACT_MAX <= bounds["min"].as_py() <= bounds["max"].as_py() <= EXACT_MAX:
            digest.update(_bytes(column.cast(pa.int64())))
    elif pa.types.is_boolean(column.type):
        digest.update(_bytes(column.cast(pa.uint8())))
    elif pa.types.is_string(column.type):
        digest.update(_bytes(pc.binary_length(column)))
        digest.update(_text(column))
    else:
        digest.update(_bytes(column))


def _bytes(values: Any) -> memoryview:
    """The bytes of an array of numbers, dates or times without a null."""
    width = values.type.bit_width // 8
    return memoryview(values.buffers()[1])[values.offset * width : (values.offset + len(values)) * width]


def _text(values: Any) -> memoryview:
    """The bytes of an array of texts without a null, one after the other."""
    _, offsets, data = values.buffers()
    ends = memoryview(offsets).cast("i")
    return memoryview(data or b"")[ends[values.offset] : ends[values.offset + len(values)]]
