"""The token door: four OAuth flows, and access tokens that end when a test wants them to."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import jwt

from destinations.standins.salesforce_parts.schema import USER_ID
from destinations.standins.server import Answer, Request

AUDIENCES = ["https://login.salesforce.com", "https://test.salesforce.com"]
JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(slots=True)
class TokenDoor:
    """What it knows of its one app and its one user, and the switches for what no document settles."""

    client_id: str = "stand-in-client"
    client_secret: str = "stand-in-secret"  # noqa: S105 - made up, and worth nothing anywhere.
    username: str = "syncer@example.com"
    password: str = "stand-in-password"  # noqa: S105 - as above.
    security_token: str = "stand-in-security-token"  # noqa: S105 - as above.
    refresh_token: str = "stand-in-refresh-token"  # noqa: S105 - as above.
    public_key: str = ""
    """PEM of the app's certificate; without it every JWT is refused."""
    is_my_domain: bool = True
    """Whether this is the org's own address; client credentials are refused elsewhere."""
    jwt_seconds_max: float = 300
    """How far ahead an assertion may end; the documents say no more than a few minutes."""
    rotates_refresh_tokens: bool = False
    """Whether a refresh token is good once, and the answer brings the next one."""
    unwilling: tuple[str, str] | None = None
    """The error with which every login is refused, as ("invalid_grant", "login rate exceeded")."""
    refusal_status: int = 400
    """Of refused token requests; that some are 401 is not documented."""
    requests_per_token: int | None = None
    """How many requests a token is good for; None for ever, 0 for none at all."""
    logins: int = 0
    alive: dict[str, int | None] = field(default_factory=dict)

    def answer(self, request: Request, instance_url: str) -> Answer:
        """The answer to a token request."""
        if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return self._refused("invalid_request", "must be form-encoded")
        if request.method != "POST":
            return self._refused("invalid_request", "must use HTTP POST")
        form = {name: values[0] for name, values in parse_qs(request.body.decode("utf-8", "replace")).items()}
        error = self.unwilling or self._error(form)
        if error:
            return self._refused(*error)
        token = f"00D000000000001!AQ.{secrets.token_urlsafe(24)}"
        self.logins += 1
        self.alive[token] = self.requests_per_token
        rotated = {}
        if form["grant_type"] == "refresh_token" and self.rotates_refresh_tokens:
            self.refresh_token = secrets.token_urlsafe(24)
            rotated["refresh_token"] = self.refresh_token
        return Answer(
            200,
            {
                "access_token": token,
                "instance_url": instance_url,
                "id": f"{instance_url}/id/00D000000000001EAA/{USER_ID}",
                "token_type": "Bearer",
                "issued_at": str(int(time.time() * 1000)),
                "signature": "stand-in",
                "scope": "api",
                **rotated,
            },
        )

    def passes(self, authorization: str) -> bool:
        """Whether a request's header is good; counts the request against its token."""
        scheme, _, token = authorization.partition(" ")
        if scheme != "Bearer" or token not in self.alive:
            return False
        left = self.alive[token]
        if left == 0:
            del self.alive[token]
            return False
        self.alive[token] = None if left is None else left - 1
        return True

    def revoke(self) -> None:
        """End every token that was given out."""
        self.alive.clear()

    def _error(self, form: Mapping[str, str]) -> tuple[str, str] | None:
        grant = form.get("grant_type", "")
        checks = {
            "client_credentials": self._client_credentials,
            "refresh_token": self._refresh_token,
            "password": self._password,
            JWT_GRANT: self._jwt,
        }
        if grant not in checks:
            return "unsupported_grant_type", "grant type not supported"
        if grant != JWT_GRANT and form.get("client_id") != self.client_id:
            return "invalid_client_id", "client identifier invalid"
        if grant != JWT_GRANT and form.get("client_secret") != self.client_secret:
            return "invalid_client", "invalid client credentials"
        return checks[grant](form)

    def _client_credentials(self, form: Mapping[str, str]) -> tuple[str, str] | None:
        return None if self.is_my_domain else ("invalid_grant", "request not supported on this domain")

    def _refresh_token(self, form: Mapping[str, str]) -> tuple[str, str] | None:
        right = form.get("refresh_token") == self.refresh_token
        return None if right else ("invalid_grant", "expired access/refresh token")

    def _password(self, form: Mapping[str, str]) -> tuple[str, str] | None:
        right = (self.username, self.password + self.security_token)
        given = (form.get("username"), form.get("password"))
        return None if given == right else ("invalid_grant", "authentication failure")

    def _jwt(self, form: Mapping[str, str]) -> tuple[str, str] | None:
        options: Any = {"require": ["iss", "sub", "aud", "exp"]}
        try:
            claims = jwt.decode(
                form.get("assertion", ""), self.public_key, algorithms=["RS256"], audience=AUDIENCES, options=options
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            return "invalid_grant", "invalid assertion"
        if claims["iss"] != self.client_id:
            return "invalid_client_id", "client identifier invalid"
        if claims["sub"] != self.username:
            return "invalid_grant", "user hasn't approved this consumer"
        if claims["exp"] > time.time() + self.jwt_seconds_max:
            return "invalid_grant", "expiration too far ahead"
        return None

    def _refused(self, error: str, description: str) -> Answer:
        return Answer(self.refusal_status, {"error": error, "error_description": description})
