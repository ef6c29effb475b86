"""The forms in which the stand-in of customer.io answers, and how it takes a body."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from destinations.standins.customerio_parts.validation import Refusal
from destinations.standins.server import Answer, Request


def json_object(request: Request) -> dict[str, Any] | None:
    """The body, when it is a JSON object and is said to be one."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        return None
    try:
        body = request.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def as_json(refusal: Refusal) -> dict[str, str]:
    """A complaint in the form of v2."""
    return {"reason": refusal.reason, "field": refusal.place, "message": refusal.message}


def v2_refused(refusals: Iterable[Refusal], status: int = 400) -> Answer:
    """A whole request refused, in the form of v2."""
    return Answer(status, {"errors": [as_json(refusal) for refusal in refusals]})


def app_refused(status: int, detail: str) -> Answer:
    """A request refused, in the form of the App API."""
    return Answer(status, {"errors": [{"detail": detail, "status": status}]})


def unauthorized() -> Answer:
    """A key that is none."""
    return app_refused(401, "unauthorized")


def not_found(*, status_is_text: bool = True) -> Answer:
    """What is not there. The status is text here and a number elsewhere; so it was recorded."""
    status = "404" if status_is_text else 404
    return Answer(404, {"errors": [{"detail": "not found (reference 01FC8Z2Q4E9T3M)", "status": status}]})
