"""How customer.io gives a value back: as text, whatever it was.

The documents show attributes as texts, and recorded traffic has 30 as `30` and true as `true`. How a fraction is
printed is said nowhere, so numbers are compared as numbers.
"""

from __future__ import annotations

import datetime
import re
from decimal import Decimal, InvalidOperation

from destinations.customerio_parts.operations import wire
from syncer.change import Value

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def as_text(value: object) -> str:
    """The text that customer.io gives back for a value: none for null, seconds for an instant."""
    if value is None:
        return ""
    if isinstance(value, datetime.date):
        return str(wire(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def is_held(value: Value, held: object) -> bool:
    """Whether what customer.io holds is this value of ours; null, absent and an empty text are equal there."""
    ours, theirs = as_text(value), as_text(held)
    if ours == theirs:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float | datetime.datetime):
        return False
    number = _number(theirs)
    if number is None:
        return False
    # A fraction may come back with more digits than it takes to tell it from its neighbours, or with fewer zeros.
    return float(number) == value if isinstance(value, float) else number == Decimal(ours)


def _number(text: str) -> Decimal | None:
    if not NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        # An exponent of twenty digits; no value of ours looks like that.
        return None
