"""Records as lines of the CSV files of Bulk API 2.0, and its result files as rows.

UTF-8, LF, RFC 4180 quotes; an empty field changes nothing and `#N/A` sets null.
https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/datafiles_csv_valid_record_rows.htm
"""

from __future__ import annotations

import csv
import datetime
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

from destinations.salesforce_parts.collections import Row
from syncer.change import Change, Value
from syncer.mapping import Sync

NULL = "#N/A"
ID = "Id"
ID_BYTES = 18
FIELD_CHARACTERS_MAX = 32_000
RECORD_CHARACTERS_MAX = 400_000
"""https://developer.salesforce.com/docs/platform/salesforce-app-limits-cheatsheet, Bulk API limits."""
QUOTED = re.compile(r'[,"\r\n]|^\s|\s$').search
"""What makes a text be quoted: a lone carriage return is a line end to the service, and blanks at an end would be cut
off."""


class UnreadableFile(Exception):
    """A result file that is no CSV, or lacks a column that it must have."""


class Cells(NamedTuple):
    """The fields of a change as they stand in a line, in their order, with commas between."""

    names: tuple[str, ...]
    text: str
    is_clean: bool
    """None of them is null, or may be too long."""

    @classmethod
    def of(cls, fields: Mapping[str, Value]) -> Cells:
        """The cells of these fields."""
        cells = [CELLS[type(value)](value) for value in fields.values()]
        text = ",".join(cells)
        return cls(tuple(fields), text, NULL not in cells and len(text) <= FIELD_CHARACTERS_MAX)


def cells_of(change: Change) -> Cells:
    """The cells of all that leaves, worked out once."""
    if change.worked_out is None:
        change.worked_out = Cells.of(change.fields)
    found: Cells = change.worked_out
    return found


def key_of(row: Row) -> Value:
    """What stands in the key column: the record's Id, or else the value that the record is found by."""
    return row.record_id or next(iter(row.found_by.values()))


def unfit(row: Row) -> tuple[str, str] | None:
    """Why a row cannot go as a line of CSV: a code and a sentence. None when it can."""
    if cells_of(row.change).is_clean and key_of(row) != NULL:
        return None
    values = {**row.fields, **row.found_by}
    taken = [name for name, value in values.items() if value == NULL]
    if taken:
        return (
            "reserved_text",
            f"{NULL} in {', '.join(taken)} means null in a bulk file, so it cannot be written as text.",
        )
    # Quotes around a cell, and in it, are no part of the value.
    lengths = {name: len(value if isinstance(value, str) else cell(value)) for name, value in values.items()}
    long = [name for name, length in lengths.items() if length > FIELD_CHARACTERS_MAX]
    if long:
        return (
            "too_long",
            f"A bulk file takes {FIELD_CHARACTERS_MAX:,} characters a field, and {', '.join(long)} has more.",
        )
    if sum(lengths.values()) > RECORD_CHARACTERS_MAX:
        return "too_long", f"A bulk file takes {RECORD_CHARACTERS_MAX:,} characters a record, and this one has more."
    return None


def encoded(key: str, rows: Sequence[Row]) -> bytes:
    """A whole file. Its columns are the key, and then every other one that occurs."""
    made = [cells_of(row.change) for row in rows]
    columns = tuple(dict.fromkeys(chain.from_iterable({cells.names: None for cells in made})))
    lines = [header(key, columns)]
    for row, cells in zip(rows, made, strict=True):
        if cells.names == columns:
            text = cells.text
        else:
            text = ",".join([cell(row.fields[name]) if name in row.fields else "" for name in columns])
        lines.append(f"{cell(key_of(row))},{text}" if columns else cell(key_of(row)))
    return ("\n".join(lines) + "\n").encode()


def header(key: str, columns: Iterable[str]) -> str:
    """The first line of a file."""
    return ",".join([key, *columns])


def header_bytes(sync: Sync) -> int:
    """Bytes of the longest header that a file of this sync can have."""
    return len(header(max([ID, *sync.match], key=len), (field.name for field in sync.fields))) + 1


def line_bytes(sync: Sync, change: Change) -> int:
    """Bytes of the longest line that a change can become; columns that it has no value for are commas."""
    cells = cells_of(change)
    key = max([ID_BYTES, *[utf8_bytes(quoted(text)) for text in change.match.values()]])
    # With the comma after each, and a line end for that after the last.
    return key + 1 + utf8_bytes(cells.text) + 1 + max(0, len(sync.fields) - len(cells.names))


def utf8_bytes(text: str) -> int:
    """Bytes of a text in a file."""
    return len(text) if text.isascii() else len(text.encode())


def rows_of(content: BinaryIO, *needed: str) -> Iterator[dict[str, str]]:
    """What is needed of each row of a result file; rows that are not whole are left out. Raises UnreadableFile.

    The text is UTF-8 whether or not the answer's type says so.
    """
    text = io.TextIOWrapper(content, "utf-8-sig", newline="")
    lines = csv.reader(text, strict=True)
    try:
        header = next(lines, [])
        if not set(needed) <= set(header):
            raise UnreadableFile
        places = [(name, header.index(name)) for name in needed]
        for texts in lines:
            if len(texts) == len(header):
                yield {name: texts[place] for name, place in places}
    except (csv.Error, UnicodeDecodeError):
        raise UnreadableFile from None
    finally:
        # The file is its owner's to close.
        text.detach()


def cell(value: Value) -> str:
    """A value as it stands between two commas."""
    return CELLS[type(value)](value)


def quoted(text: str) -> str:
    """A text as it stands between two commas."""
    return '"' + text.replace('"', '""') + '"' if QUOTED(text) else text


def _text(text: str) -> str:
    return quoted(text) if text else NULL


def _moment(value: datetime.datetime) -> str:
    return value.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _number(value: float) -> str:
    text = repr(value)
    if "e" in text:
        # No document promises that an exponent is read.
        return format(Decimal(text), "f")
    # A field that takes whole numbers only may refuse 41.0; for others it is the same.
    return text.removesuffix(".0")


CELLS: Mapping[type, Callable[[Any], str]] = {
    str: _text,
    int: str,
    float: _number,
    bool: {True: "true", False: "false"}.__getitem__,
    datetime.datetime: _moment,
    datetime.date: datetime.date.isoformat,
    type(None): lambda _: NULL,
}
"""Type of a value → how it stands in a file. The service keeps no empty text, so null says the same."""
