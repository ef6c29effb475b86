"""How single things are written for people: values, keys, counts and spans of time.

Everything that comes from a warehouse or a service is untrusted: it passes `printable` before it is shown,
so that no control character reaches the terminal, and it is only ever put into `rich.text.Text`, which knows
no markup.
"""

from __future__ import annotations

import datetime
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

HIDDEN = "•••"
"""What a document holds in place of a sensitive value."""

VALUE_CELLS_MAX = 36
KEY_CELLS_MAX = 48

# Cc and Cf hold the escape character and the marks that reverse the reading direction; Zl and Zp break lines.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:T[\d:.]+(?:Z|[+-]\d\d:\d\d))?", re.ASCII)


def printable(text: str) -> str:
    """The text with everything invisible written as an escape: `\\u001b` instead of the escape character."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        json.dumps(character)[1:-1] if unicodedata.category(character) in _UNPRINTABLE else character
        for character in text
    )


def cut(text: str, cells_max: int) -> str:
    """The text in at most so many terminal cells, its end replaced by `…` when it is longer."""
    if cell_len(text) <= cells_max:
        return text
    return set_cell_size(text, cells_max - 1).rstrip() + "…"


def key(value: Any) -> str:
    """A key: bare when it is one plain word, quoted when blanks or nothing at all would hide where it ends."""
    if value is None:
        return "null"
    text = str(value)
    shown = cut(printable(text), KEY_CELLS_MAX)
    return f'"{shown}"' if not text or text != "".join(text.split()) else shown


def value(given: Any) -> Text:
    """A field's value. Text is quoted, so that "null" and null, "7" and 7 stay apart."""
    if given is None:
        return Text("null", "dim")
    if given == HIDDEN:
        return Text(HIDDEN, "dim")
    if isinstance(given, bool):
        return Text("true" if given else "false")
    if isinstance(given, str):
        if _MOMENT.fullmatch(given):
            return Text(given)
        return Text('"' + cut(printable(given.replace("\\", "\\\\").replace('"', '\\"')), VALUE_CELLS_MAX) + '"')
    return Text(cut(printable(str(given)), VALUE_CELLS_MAX))


def sentence(given: Any) -> str:
    """A sentence on one line, whatever it was made of."""
    return printable(" ".join(str(given).split()))


def number(count: int) -> str:
    """`5,012`."""
    return f"{count:,}"


def counted(count: int, noun: str) -> str:
    """`1 request`, `5,012 requests`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def size(count: int) -> str:
    """Bytes in the units of a bill: `950 B`, `21.0 MB`, `1.5 TB`."""
    amount, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{count} B" if unit == "B" else f"{amount:,.1f} {unit}"


def expense(document: Mapping[str, Any]) -> str:
    """What reading a source came to: `21.0 MB, 0.12 USD`; empty where the warehouse says nothing."""
    parts = []
    if document.get("bytes_read") is not None:
        parts.append(size(document["bytes_read"]))
    price, currency = document.get("price"), printable(str(document.get("currency") or ""))
    if price is not None and price > 0:
        parts.append(f"{price:,.2f} {currency}" if price >= 0.01 else f"less than 0.01 {currency}")
    elif price is not None:
        parts.append("no query billed")
    return ", ".join(parts)


def together(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of several, for `expense`; all of them are of one source, which has one currency."""
    priced = [one for one in documents if one.get("price") is not None]
    sizes = [one["bytes_read"] for one in documents if one.get("bytes_read") is not None]
    return {
        "bytes_read": sum(sizes) if sizes else None,
        "price": sum(one["price"] for one in priced) if priced else None,
        "currency": priced[0].get("currency") if priced else None,
    }


def moment(given: str | None) -> datetime.datetime | None:
    """The moment that a document means; None stays None. Raises ValueError for what is not RFC 3339."""
    return datetime.datetime.fromisoformat(given) if given else None


def span(seconds: float) -> str:
    """`12 s`, `3 min`, `5 h`, `2 days`: as coarse as one would say it."""
    seconds = abs(seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 36 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} days"


def distance(given: str | None, now: datetime.datetime) -> str:
    """`3 min ago`, `in 12 min`, `just now`; empty when there is no moment."""
    when = moment(given)
    if when is None:
        return ""
    seconds = (when - now).total_seconds()
    if abs(seconds) < 5:
        return "just now" if seconds <= 0 else "now"
    return f"in {span(seconds)}" if seconds > 0 else f"{span(seconds)} ago"
