"""Queued messages on their way out: in their order for each alert, repeated, and never dropped silently."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog

from syncer.alerts.mailing import mail
from syncer.alerts.posting import NotDelivered, post
from syncer.alerts.settings import Alert, Email, Slack
from syncer.alerts.wording import slack
from syncer.control import Control, Message
from syncer.signing import signature

log = structlog.get_logger(__name__)

DELAYS_SECONDS = (10.0, 60.0, 300.0, 900.0, 3600.0, 3 * 3600.0, 6 * 3600.0, 12 * 3600.0)
"""Waits before a message is tried again; after the last one it is given up, nearly a day old."""
CLAIMED_SECONDS = 120.0
"""How long nobody else tries a message that a process has begun to send; it may die doing so."""
RETRY_AFTER_MAX = 3600.0

Results = Callable[[str, str], None]
"""Told of an alert's name and what became of one of its messages: delivered, put off or dropped."""


def send(alert: Alert, body: Mapping[str, Any], folder: Path) -> str:
    """Send one message; a sentence about what came back. Raises NotDelivered."""
    if isinstance(alert, Email):
        return mail(alert, body, folder)
    if isinstance(alert, Slack):
        text = json.dumps({"text": slack(body)}, ensure_ascii=False).encode()
        return post(alert.url, text, {}, alert.timeout)
    text, timestamp = json.dumps(dict(body), ensure_ascii=False).encode(), str(int(time.time()))
    headers = {
        "Syncer-Timestamp": timestamp,
        "Syncer-Signature": signature(alert.secret.get_secret_value(), timestamp, text),
        "Syncer-Alert": str(body["id"]),
    }
    return post(alert.url, text, headers, alert.timeout)


def deliver(control: Control, alerts: Iterable[Alert], folder: Path, now: float, tell: Results) -> float | None:
    """Send what is due; when the next one is, in seconds since 1970, or None when nothing waits.

    A message waits for the one before it of its alert, so that nobody hears of an end before the beginning.
    """
    by_name = {alert.called: alert for alert in alerts}
    blocked: set[str] = set()
    due: list[float] = []
    for message in control.undelivered():
        if message.alert in blocked:
            continue
        alert = by_name.get(message.alert)
        if alert is None:
            control.sent(message.id)
            log.warning("alert_dropped", alert=message.alert, reason="The config has no alert of that name any more.")
        elif message.next_at > now:
            blocked.add(message.alert)
            due.append(message.next_at)
        elif not control.claim(message, now + CLAIMED_SECONDS):
            blocked.add(message.alert)
            due.append(now + CLAIMED_SECONDS)
        elif (again := _try(control, alert, message, folder, now, tell)) is not None:
            blocked.add(message.alert)
            due.append(again)
    return min(due, default=None)


def _try(control: Control, alert: Alert, message: Message, folder: Path, now: float, tell: Results) -> float | None:
    """Send one message; when it is tried again, if it did not arrive and is not given up."""
    try:
        answer = send(alert, json.loads(message.body), folder)
    except NotDelivered as error:
        if message.attempts >= len(DELAYS_SECONDS):
            control.sent(message.id)
            tell(message.alert, "dropped")
            log.error("alert_dropped", alert=message.alert, attempts=message.attempts + 1, reason=str(error))  # noqa: TRY400
            return None
        again = now + max(DELAYS_SECONDS[message.attempts], min(error.retry_after, RETRY_AFTER_MAX))
        control.put_off(message.id, again)
        tell(message.alert, "put off")
        log.warning("alert_put_off", alert=message.alert, attempts=message.attempts + 1, reason=str(error))
        return again
    control.sent(message.id)
    tell(message.alert, "delivered")
    log.info("alert_delivered", alert=message.alert, answer=answer)
    return None
