"""The signature on what is sent to receivers of people's own: batches of a webhook destination, and alerts."""

from __future__ import annotations

import hashlib
import hmac


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`sha256=` and the HMAC-SHA256 in hex over timestamp, dot and body.

    With the timestamp (seconds since 1970, as text) in it, nothing old can be played again.
    """
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
