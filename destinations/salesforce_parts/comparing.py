"""Whether what the service gives back for a field is a value of ours, which it may have put into its own form."""

from __future__ import annotations

import datetime
from decimal import ROUND_HALF_UP, Decimal

from destinations.salesforce_parts.description import FieldDescription
from destinations.salesforce_parts.soql import id_key
from syncer.change import Value

REFERENCES = frozenset({"id", "reference"})


def is_same(value: Value, held: object, described: FieldDescription | None) -> bool:
    """`held` is the field's value in an answer; what is `described` of the field, if anything is, says how it rounds.

    Empty text is null there, 41 is 41.0, and blanks around a text are dropped.
    """
    if value is None or value == "":
        return held is None or held == ""
    if isinstance(value, bool) or isinstance(held, bool):
        return value is held
    if isinstance(value, int | float):
        return isinstance(held, int | float) and _is_same_number(value, held, described)
    if not isinstance(held, str):
        return False
    if isinstance(value, datetime.datetime):
        return _is_same_instant(value, held)
    if isinstance(value, datetime.date):
        return value.isoformat() == held
    return _is_same_text(value, held, described.type if described else "")


def _is_same_number(value: float, held: float, described: FieldDescription | None) -> bool:
    if value == held:
        return True
    # No public document says whether digits behind the field's own are kept or rounded away; both are ours.
    return described is not None and _rounded(value, described.scale) == Decimal(str(held))


def _rounded(value: float, scale: int) -> Decimal:
    return Decimal(str(value)).quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP)


def _is_same_instant(value: datetime.datetime, held: str) -> bool:
    try:
        instant = datetime.datetime.fromisoformat(held)
    except ValueError:
        return False
    if instant.tzinfo is None:
        return False
    # No public document says whether milliseconds are kept; without them it is still the instant that was sent.
    kept = value.replace(microsecond=value.microsecond // 1000 * 1000)
    return instant in (kept, kept.replace(microsecond=0))


def _is_same_text(value: str, held: str, kind: str) -> bool:
    if kind == "multipicklist":
        return _choices(value) == _choices(held)
    if kind in REFERENCES and id_key(value) is not None:
        return id_key(value) == id_key(held)
    return value.strip() == held.strip()


def _choices(text: str) -> set[str]:
    """The values of a picklist that takes several, whose order is the field's own."""
    return {choice.strip() for choice in text.split(";")}
