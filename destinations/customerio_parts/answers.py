"""What customer.io answers: a status, a body, and the complaints in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import requests


@dataclass(frozen=True, slots=True)
class Complaint:
    """One entry of the vendor's `errors`; `index` is whatever it said, also when that is of no use."""

    index: Any
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, and the body as JSON (None when it is none)."""

    status: int
    body: Any
    content_type: str

    @classmethod
    def of(cls, response: requests.Response) -> Answer:
        """What a response says; a body that is no JSON is no error here."""
        try:
            body = response.json()
        except ValueError:
            body = None
        return cls(response.status_code, body, response.headers.get("Content-Type", "no content type"))

    @property
    def region(self) -> str | None:
        """The region that a look-up found, `us` or `eu`; None when this is no answer to one."""
        found = self.body.get("region") if self.status == 200 and isinstance(self.body, dict) else None
        return found if found in ("us", "eu") else None

    @property
    def is_absent(self) -> bool:
        """Whether the App API says that there is no such record, with the status as text or as a number.

        A page of a proxy with that status says nothing of the kind.
        """
        errors = self.body.get("errors") if self.status == 404 and isinstance(self.body, dict) else None
        return any(isinstance(one, dict) and str(one.get("status")) == "404" for one in _as_list(errors))

    @property
    def is_clean(self) -> bool:
        """Whether a batch was taken whole."""
        return self.status == 200 and not self.complaints()

    def complaints(self) -> list[Complaint]:
        """What is wrong, in the form of v2 (`errors`) or of v1 (`meta.error` and `meta.errors`)."""
        if not isinstance(self.body, dict):
            return []
        entries = _as_list(self.body.get("errors"))
        if isinstance(meta := self.body.get("meta"), dict):
            entries += _as_list(meta.get("error")) + _as_list(meta.get("errors"))
        return [_complaint(entry) for entry in entries]


def _complaint(entry: Any) -> Complaint:
    if not isinstance(entry, dict):
        return Complaint(None, "", str(entry))
    reason = str(entry.get("reason") or "")
    place, message = entry.get("field"), entry.get("message") or reason
    return Complaint(
        entry.get("batch_index"),
        # A reason becomes a code, which is shown and counted, so it must be a word and not a sentence.
        reason if re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", reason) else "",
        f"{place}: {message}" if place else str(message),
    )


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]
