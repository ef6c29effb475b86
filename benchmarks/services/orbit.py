"""Orbit: members by their address, of whom people there see the band of a score, as in the mapping that ships."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def prepare(standin: Any) -> None:
    """Nothing is there beforehand."""


def know(standin: Any, keys: Iterable[str]) -> None:
    """Let these be there."""
    for key in keys:
        standin.add(email=f"{key}@example.com")


def mapping(columns: Sequence[str]) -> str:
    """The mapping file; the first column is the score."""
    return (
        'destination = "orbit"\n\n[[sync]]\nname = "members"\n'
        f"query = \"SELECT user_id, user_id || '@example.com' AS email, {columns[0]} FROM first\"\n"
        'key = "user_id"\nobject = "member"\nmatch = { email = "email" }\nmissing = "skip"\n\n'
        f'[sync.fields]\n"tag:activation" = {{ column = "{columns[0]}", '
        "bands = { cold = 0, warm = 40, hot = 75 } }\n"
    )
