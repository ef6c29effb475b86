"""Spans of time as people write them: `90s`, `15m`, `36h`, `7d`."""

from __future__ import annotations

import re

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds_of(text: str) -> float:
    """Seconds of a span like `90s`, `15m`, `36h`, `7d`. Raises ValueError with a sentence."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", text)
    if not found or float(found[1]) == 0:
        raise ValueError(f"{text!r} is not a span of time; write a number and a unit, as 90s, 15m, 36h or 7d")
    return float(found[1]) * _UNITS[found[2]]
