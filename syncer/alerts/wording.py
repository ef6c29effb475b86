"""A message as text: of a mail, and with a few marks of Slack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

LINES_MAX = 20
"""Troubles that one text names; a webhook has all of them."""
SLACK_CHARACTERS_MAX = 3_000


def subject(body: Mapping[str, Any]) -> str:
    """One line."""
    return f"Syncer: {body['title']}"


def plain(body: Mapping[str, Any]) -> str:
    """A mail's text."""
    lines = [f"{body['title']}.", ""]
    for trouble in body["troubles"][:LINES_MAX]:
        lines += [f"- {line}" if number == 0 else f"  {line}" for number, line in enumerate(_lines(body, trouble))]
    lines += [*_more(body), "", f"{body['at']}, alert {body['alert']}"]
    return "\n".join(lines) + "\n"


def slack(body: Mapping[str, Any]) -> str:
    """Text with Slack's marks; what is not ours is escaped, so that it can neither link nor call anybody.

    https://docs.slack.dev/messaging/formatting-message-text/#escaping
    """
    lines = [f"*{_escaped(subject(body))}*"]
    for trouble in body["troubles"][:LINES_MAX]:
        words = _escaped(" ".join(_lines(body, {**trouble, "url": None})))
        address = trouble["url"]
        lines.append(f"• {words}" + (f" <{_escaped(address)}|Look at it>" if address else ""))
    text = "\n".join([*lines, *_more(body)])
    return text if len(text) <= SLACK_CHARACTERS_MAX else text[: SLACK_CHARACTERS_MAX - 1] + "…"


def _lines(body: Mapping[str, Any], trouble: Mapping[str, Any]) -> Iterator[str]:
    if body["state"] == "over":
        yield f"{trouble['title']}: over. It was told at {trouble['since']}."
        return
    yield f"{trouble['title']}. {trouble['sentence']}".strip()
    if len(trouble["syncs"]) > 1:
        yield f"Syncs: {', '.join(trouble['syncs'])}."
    if trouble["url"]:
        yield str(trouble["url"])


def _more(body: Mapping[str, Any]) -> list[str]:
    left = len(body["troubles"]) - LINES_MAX
    return [f"… and {left} more"] if left > 0 else []


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
