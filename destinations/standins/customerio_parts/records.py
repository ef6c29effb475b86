"""What the stand-in of customer.io keeps of a person or an object."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Record:
    """A person or an object. Attributes are text, as customer.io gives them back, with the second of each."""

    cio_id: str
    identifiers: dict[str, str]
    attributes: dict[str, str] = field(default_factory=dict)
    timestamps: dict[str, int] = field(default_factory=dict)
    """Also of removed attributes, so that an older write cannot bring one back."""
    touched: int = 0
    """Rises with each write that changed something, over all records."""
    changed: set[str] = field(default_factory=set)
    """What the newest such write changed."""


# A table and not `json.dumps` for all: a batch has thousands of values, and these ways to the same text are short.
_TEXTS: Mapping[type, Callable[[Any], str]] = {
    str: str,
    int: repr,
    float: repr,
    bool: lambda value: "true" if value else "false",
    type(None): lambda value: "",
    dict: json.dumps,
    list: json.dumps,
}


def as_text(value: Any) -> str:
    """A value out of JSON as customer.io gives it back: always text, `true` for true, none for null."""
    return _TEXTS[type(value)](value)
