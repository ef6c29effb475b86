"""CSV files of Bulk API 2.0 as the service reads and writes them.

https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/datafiles_csv_valid_record_rows.htm
"""

from __future__ import annotations

import csv
import io
import re
from typing import Any

from destinations.standins.salesforce_parts.schema import NUMBERS, RecordError

DELIMITERS = {"BACKQUOTE": "`", "CARET": "^", "COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "TAB": "\t"}
LINE_ENDS = {"LF": "\n", "CRLF": "\r\n"}
NULL = "#N/A"
FIELD_CHARACTERS_MAX = 32_000
RECORD_CHARACTERS_MAX = 400_000
FIELDS_MAX = 5_000


class FileError(Exception):
    """The whole file is refused, with the words of the job's `errorMessage`."""


def parsed(content: bytes, delimiter: str, line_end: str) -> tuple[list[str], list[dict[str, str]]]:
    """The header and the rows. Raises FileError."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise FileError("InvalidBatch : The file is not in UTF-8") from None
    first = text.partition("\n")[0]
    if first.endswith("\r") != (line_end == "CRLF"):
        raise FileError(
            f"ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is {line_end}"
        )
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=DELIMITERS[delimiter], strict=True)
    try:
        header, *rows = list(lines)
    except (csv.Error, ValueError):
        raise FileError("InvalidBatch : The file cannot be read as CSV") from None
    if len(set(header)) < len(header) or len(header) > FIELDS_MAX:
        raise FileError("InvalidBatch : A field is named twice, or there are too many")
    for row in rows:
        if len(row) != len(header):
            raise FileError("InvalidBatch : A row has more or fewer fields than the header")
        if max(map(len, row)) > FIELD_CHARACTERS_MAX or sum(map(len, row)) > RECORD_CHARACTERS_MAX:
            raise FileError("InvalidBatch : A field or a record is too long")
    return header, [dict(zip(header, row, strict=True)) for row in rows]


def typed(rule: dict[str, Any], text: str) -> Any:
    """A field's text as the JSON value that says the same. Raises RecordError."""
    if text == NULL:
        return None
    kind = rule["type"]
    if kind == "boolean" and text in ("true", "false"):
        return text == "true"
    if kind in NUMBERS and re.fullmatch(r"-?\d+" if kind == "int" else r"-?\d+(\.\d+)?", text, re.ASCII):
        return float(text) if "." in text else int(text)
    is_instant = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)", text)
    is_day = re.fullmatch(r"\d{4}-\d\d-\d\d", text)
    if kind in NUMBERS | {"boolean"} or (kind == "datetime" and not is_instant) or (kind == "date" and not is_day):
        raise RecordError(
            "INVALID_TYPE_ON_FIELD_IN_RECORD", f"{rule['label']}: value not of required type: {text}", [rule["name"]]
        )
    return text


def written(header: list[str], rows: list[dict[str, str]], delimiter: str, line_end: str) -> bytes:
    """A result file: every field is quoted."""
    text = io.StringIO(newline="")
    file = csv.writer(text, delimiter=DELIMITERS[delimiter], lineterminator=LINE_ENDS[line_end], quoting=csv.QUOTE_ALL)
    file.writerow(header)
    file.writerows([row.get(name, "") for name in header] for row in rows)
    return text.getvalue().encode()
