"""One POST of an alert: no redirect is followed, and nothing of an address or an answer's body is told."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import requests
from pydantic import SecretStr

from syncer import __version__
from syncer.transport import is_loopback


class NotDelivered(Exception):
    """A message did not arrive, or nobody knows; the sentence says why, without any secret."""

    def __init__(self, sentence: str, *, retry_after: float = 0.0) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


def post(url: SecretStr, body: bytes, headers: Mapping[str, str], timeout: float) -> str:
    """What came back, for people: a status. Raises NotDelivered for everything but a 2xx."""
    address = urlsplit(url.get_secret_value())
    host = address.netloc
    session = requests.Session()
    # A netrc entry must not add an Authorization; and what stays on this machine must not leave it by a proxy.
    session.trust_env = not is_loopback(address.hostname or "")
    session.auth = _no_auth
    try:
        answer = session.post(
            url.get_secret_value(),
            data=body,
            headers={"Content-Type": "application/json", "User-Agent": f"syncer/{__version__}", **headers},
            timeout=timeout,
            allow_redirects=False,
            stream=True,
        )
        answer.close()
    except requests.exceptions.SSLError:
        raise NotDelivered(f"The certificate of {host} cannot be trusted.") from None
    except requests.exceptions.Timeout:
        raise NotDelivered(f"{host} did not answer within {timeout:g} s.") from None
    except requests.exceptions.RequestException:
        # The library's own sentence quotes the address, and the address is the secret.
        raise NotDelivered(f"{host} cannot be reached, or closed the connection.") from None
    finally:
        session.close()
    status = answer.status_code
    if 200 <= status < 300:
        return f"{host} answered {status}."
    if 300 <= status < 400:
        raise NotDelivered(f"{host} answered {status} with a redirect, which is not followed; correct `url`.")
    retry_after = _seconds(answer.headers.get("Retry-After")) if status in (429, 503) else 0.0
    raise NotDelivered(f"{host} answered {status}. {HINTS.get(status, '')}".strip(), retry_after=retry_after)


HINTS: Mapping[int, str] = {
    400: "It does not take what was sent; see whether it is of the type that the config says.",
    401: "Put the receiver's own secret into the config.",
    403: "It does not allow this; see what its people have set.",
    404: "There is nothing (any more) at that address; put the right one into `url`.",
    410: "That address is gone for good; put another one into `url`.",
    429: "It wants fewer messages, or later.",
}
"""Status → the next step. Slack's are at https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/."""


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _seconds(text: str | None) -> float:
    """Seconds of a Retry-After header, which is a number or an HTTP date; 0 when it is neither."""
    if not text:
        return 0.0
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0
