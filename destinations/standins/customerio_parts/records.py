"""What the stand-in of customer.io keeps of a person or an object."""

from __future__ import annotations

import json
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


def as_text(value: Any) -> str:
    """A value as customer.io gives it back: always text, `true` for true, JSON for the rest; none for null."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    # Numbers go the short way, which is the same text: a batch has thousands of them.
    return repr(value) if type(value) in (int, float) else json.dumps(value)
