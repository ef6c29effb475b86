"""Writing SQL safely: names are quoted, values become literals."""

from __future__ import annotations

import datetime

from syncer.change import Value


def name(text: str) -> str:
    """A quoted identifier."""
    return '"' + text.replace('"', '""') + '"'


def table(text: str) -> str:
    """A table name with dots between its parts (`activation.users`), each part quoted."""
    return ".".join(name(part) for part in text.split("."))


def literal(value: Value) -> str:
    """A value as DuckDB writes it; aware datetimes become zone-less UTC, which is how they are kept."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return f"{value}::BIGINT"
    if isinstance(value, float):
        return f"{value!r}::DOUBLE"
    if isinstance(value, datetime.datetime):
        moment = value.astimezone(datetime.UTC) if value.tzinfo else value
        return f"TIMESTAMP '{moment:%Y-%m-%d %H:%M:%S.%f}'"
    if isinstance(value, datetime.date):
        return f"DATE '{value:%Y-%m-%d}'"
    return "'" + value.replace("'", "''") + "'"
