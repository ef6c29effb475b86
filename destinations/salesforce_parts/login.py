"""Tokens: asked for by one of four OAuth flows, shared by all threads, and renewed once when they expire.

The token request is made here and not by the vendor's library, which reaches `*.salesforce.com` only, drops the
scheme and path of `instance_url`, and takes a page of HTML for wrong credentials.
"""

from __future__ import annotations

import datetime
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import jwt
import requests
from cryptography.x509 import load_pem_x509_certificate
from pydantic import SecretStr

from destinations.salesforce_parts.settings import SalesforceSettings
from syncer.destination import fits_a_header
from syncer.errors import CredentialsRefused, DestinationUnusable, ServiceUnavailable, Stopping
from syncer.transport import Transport, is_loopback

TITLE = "Salesforce"
ASSERTION_SECONDS = 180
"""How long a signed JWT is good for; Salesforce takes a few minutes."""

HINTS = {
    "invalid_grant": "Check `login_url`, the user (also the app's run-as user), the secrets, and this machine's clock.",
    "invalid_client_id": "Check `client_id`.",
    "invalid_client": "Check `client_id` and `client_secret`.",
    "unsupported_grant_type": "Switch this flow on in the External Client App, or choose another `login`.",
    "inactive_user": "Activate the user, or choose another.",
    "inactive_org": "The org itself is not active.",
}
"""`error` of a refused token request → the next step."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and the one address it may be sent to."""

    text: str = field(repr=False)
    base_url: str


class Login:
    """The current token of one destination. Thread-safe."""

    def __init__(self, settings: SalesforceSettings, transport: Transport) -> None:
        self._settings = settings
        self._session = transport.session()
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._refused = ""

    def token(self) -> Token:
        """The current token; the first caller asks for it.

        Raises DestinationUnusable when it is refused, ServiceUnavailable (never in doubt) when nobody answers.
        """
        with self._lock:
            return self._token or self._ask()

    def renewed(self, expired: Token) -> Token:
        """A token other than the expired one: another thread's, or a new one. Raises as `token` does."""
        with self._lock:
            if self._token is not None and self._token is not expired:
                return self._token
            self._token = None
            return self._ask()

    def give_up(self) -> DestinationUnusable:
        """The error for a token that was new and yet refused. From here on no token is asked for any more."""
        with self._lock:
            # A daemon that logs in again and again locks its own user out.
            self._refused = (
                f"{TITLE} refused a new token as expired (401). "
                "Check the session settings of the External Client App and the rights of its user."
            )
            return CredentialsRefused(self._refused)

    def _ask(self) -> Token:
        if self._refused:
            raise CredentialsRefused(self._refused)
        address = f"{self._settings.login_url}/services/oauth2/token"
        try:
            answer = self._session.post(address, data=_FORMS[self._settings.login](self._settings))
        # A token request is a POST, but it writes no record: nothing of ours is in doubt after it.
        except ServiceUnavailable as error:
            raise ServiceUnavailable(str(error), doubt=False) from None
        except Stopping:
            raise Stopping from None
        try:
            token = _token(answer)
            self._refuse_rotation(answer)
        except DestinationUnusable as error:
            self._refused = str(error)
            raise
        self._token = token
        return token

    def _refuse_rotation(self, answer: requests.Response) -> None:
        """Raise DestinationUnusable when the answer brings another refresh token than ours.

        Nothing is remembered between runs, so the next one would begin with a token that is spent.
        """
        brought = answer.json().get("refresh_token")
        if self._settings.refresh_token is not None and brought not in (None, _plain(self._settings.refresh_token)):
            raise DestinationUnusable(
                f"{TITLE} gave a new refresh token in the place of the configured one. Switch refresh token rotation "
                "off in the External Client App and set `refresh_token` anew, or choose another `login`."
            )


def _client_credentials(settings: SalesforceSettings) -> dict[str, str]:
    return {"grant_type": "client_credentials", **_client(settings)}


def _refresh_token(settings: SalesforceSettings) -> dict[str, str]:
    return {"grant_type": "refresh_token", **_client(settings), "refresh_token": _plain(settings.refresh_token)}


def _password(settings: SalesforceSettings) -> dict[str, str]:
    password = _plain(settings.password) + _plain(settings.security_token)
    return {
        "grant_type": "password",
        **_client(settings),
        "username": settings.username or "",
        "password": password,
    }


def _jwt(settings: SalesforceSettings) -> dict[str, str]:
    host = urlsplit(settings.login_url).hostname or ""
    is_sandbox = host == "test.salesforce.com" or host.endswith(".sandbox.my.salesforce.com")
    claims = {
        "iss": settings.client_id,
        "sub": settings.username,
        "aud": "https://test.salesforce.com" if is_sandbox else "https://login.salesforce.com",
        "exp": datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=ASSERTION_SECONDS),
    }
    try:
        assertion = jwt.encode(claims, _plain(settings.private_key), algorithm="RS256")
    except (ValueError, TypeError, jwt.PyJWTError):
        raise CredentialsRefused(f"{TITLE}: `private_key` is not an RSA key in PEM form.") from None
    return {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}


_FORMS: dict[str, Callable[[SalesforceSettings], dict[str, str]]] = {
    "client_credentials": _client_credentials,
    "jwt": _jwt,
    "refresh_token": _refresh_token,
    "password": _password,
}
"""Login → form of its token request.

https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_flows.htm and the request definitions of
https://github.com/forcedotcom/postman-salesforce-apis.
"""


def certificate_end(private_key: SecretStr | None) -> datetime.date | None:
    """The last day of the certificate in a PEM text that holds one beside the key; None where there is none."""
    found = re.search(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", _plain(private_key), re.DOTALL)
    if found is None:
        return None
    try:
        return load_pem_x509_certificate(found[0].encode()).not_valid_after_utc.date()
    except ValueError:
        return None


def _client(settings: SalesforceSettings) -> dict[str, str]:
    secret = _plain(settings.client_secret)
    return {"client_id": settings.client_id} | ({"client_secret": secret} if secret else {})


def _plain(secret: Any) -> str:
    return secret.get_secret_value() if secret is not None else ""


def _token(answer: requests.Response) -> Token:
    try:
        body = answer.json()
    except ValueError:
        body = None
    said = body if isinstance(body, dict) else {}
    if answer.status_code != 200:
        # The description beside the code is not shown: it is free text that may repeat what was sent.
        code = str(said.get("error", ""))
        code = code if re.fullmatch(r"[a-z_]{1,60}", code) else "no reason given"
        hint = HINTS.get(code, "Check `login_url`, `client_id` and the secrets.")
        raise CredentialsRefused(f"{TITLE} refused the login ({answer.status_code}, {code}). {hint}")
    text, base_url = said.get("access_token"), said.get("instance_url")
    if not (isinstance(text, str) and text and fits_a_header(text) and isinstance(base_url, str)):
        raise DestinationUnusable(
            f"{TITLE} answered the login with something that is not a token. Check `login_url`: it may be a web page."
        )
    address = urlsplit(base_url)
    is_safe = address.scheme == "https" or (address.scheme == "http" and is_loopback(address.hostname or ""))
    if not is_safe or not address.hostname or address.username or address.query or address.fragment:
        raise DestinationUnusable(f"{TITLE} named an instance that is no https address, so no token goes there.")
    return Token(text, base_url.rstrip("/"))
