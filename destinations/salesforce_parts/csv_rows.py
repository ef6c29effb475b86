"""Records as lines of the CSV files of Bulk API 2.0, and its result files as rows.

UTF-8, LF, RFC 4180 quotes; an empty field changes nothing and `#N/A` sets null.
https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/datafiles_csv_valid_record_rows.htm
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from destinations.salesforce_parts.collections import wire
from syncer.change import Change
from syncer.mapping import Sync

NULL = "#N/A"
ID = "Id"
ID_BYTES = 18
FIELD_CHARACTERS_MAX = 32_000
RECORD_CHARACTERS_MAX = 400_000
"""https://developer.salesforce.com/docs/platform/salesforce-app-limits-cheatsheet, Bulk API limits."""


class UnreadableFile(Exception):
    """A result file that is no CSV, or lacks a column that it must have."""


def cells(record: Mapping[str, Any]) -> dict[str, str]:
    """A record of a Collections request as column → text, without its attributes."""
    texts = {name: _text(value) for name, value in record.items() if name not in ("attributes", "id")}
    return {ID: str(record["id"])} | texts if "id" in record else texts


def unfit(record: Mapping[str, Any]) -> tuple[str, str] | None:
    """Why a record cannot go as a line of CSV: a code and a sentence. None when it can."""
    taken = [name for name, value in record.items() if value == NULL]
    if taken:
        return (
            "reserved_text",
            f"{NULL} in {', '.join(taken)} means null in a bulk file, so it cannot be written as text.",
        )
    lengths = {name: len(text) for name, text in cells(record).items()}
    long = [name for name, length in lengths.items() if length > FIELD_CHARACTERS_MAX]
    if long:
        return (
            "too_long",
            f"A bulk file takes {FIELD_CHARACTERS_MAX:,} characters a field, and {', '.join(long)} has more.",
        )
    if sum(lengths.values()) > RECORD_CHARACTERS_MAX:
        return "too_long", f"A bulk file takes {RECORD_CHARACTERS_MAX:,} characters a record, and this one has more."
    return None


def encoded(key: str, rows: Sequence[Mapping[str, str]]) -> bytes:
    """A whole file. Its columns are the key, and then every other one that occurs, by name."""
    columns = [key, *sorted({name for row in rows for name in row} - {key})]
    lines = [",".join(columns)]
    lines += [",".join(_quoted(row.get(name, "")) for name in columns) for row in rows]
    return ("\n".join(lines) + "\n").encode()


def header_bytes(sync: Sync) -> int:
    """Bytes of the longest header that a file of this sync can have."""
    return _line_bytes([max([ID, *sync.match], key=len), *(field.name for field in sync.fields)])


def line_bytes(sync: Sync, change: Change) -> int:
    """Bytes of the longest line that a change can become; columns that it has no value for are commas."""
    texts = [_text(wire(value)) for value in change.fields.values()]
    texts += [""] * (len(sync.fields) - len(texts))
    key = max(["x" * ID_BYTES, *map(_quoted, change.match.values())], key=lambda text: len(text.encode()))
    return _line_bytes([key, *map(_quoted, texts)])


def rows_of(content: bytes, *needed: str) -> Iterator[dict[str, str]]:
    """The rows of a result file, one by one; what is not whole is left out. Raises UnreadableFile.

    The text is UTF-8 whether or not the answer's type says so.
    """
    lines = csv.DictReader(io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline=""), strict=True)
    try:
        if not set(needed) <= set(lines.fieldnames or ()):
            raise UnreadableFile
        for row in lines:
            if None not in row and None not in row.values():
                yield row
    except (csv.Error, UnicodeDecodeError):
        raise UnreadableFile from None


def _text(value: Any) -> str:
    if value is None:
        return NULL
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        # Without an exponent, which no document promises to be read.
        return format(Decimal(repr(value)), "f")
    return str(value)


def _quoted(text: str) -> str:
    # A lone carriage return is a line end to the service, and blanks at an end would be cut off.
    if text == text.strip() and not any(sign in text for sign in ',"\r\n'):
        return text
    return '"' + text.replace('"', '""') + '"'


def _line_bytes(texts: Iterable[str]) -> int:
    return len(",".join(texts).encode()) + 1
