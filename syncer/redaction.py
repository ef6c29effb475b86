"""Credentials in what others say: a service may quote a request in its error, and with it what we log in with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, SecretBytes, SecretStr

from syncer.plan import HIDDEN

SECRET_CHARACTERS_MIN = 4
"""From which length on a secret is looked for; shorter ones occur in any word."""
AUTHORIZATION = re.compile(r"\b(Basic|Bearer)\s+[A-Za-z0-9+/=._~!-]{8,}", re.IGNORECASE)


def secrets_of(settings: Any) -> tuple[str, ...]:
    """Every secret in a model of settings, the longest first."""
    return tuple(sorted({text for text in _secrets(settings) if len(text) >= SECRET_CHARACTERS_MIN}, key=len)[::-1])


def redacted(text: str, secrets: tuple[str, ...]) -> str:
    """The text without these secrets, and without what stands in an Authorization header."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return AUTHORIZATION.sub(rf"\1 {HIDDEN}", text)


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, SecretBytes):
        yield value.get_secret_value().decode(errors="replace")
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _secrets(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _secrets(inner)
