"""The settings of a Salesforce destination, and which of them each login needs."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from syncer.destination import DestinationSettings
from syncer.spans import seconds_of
from syncer.transport import is_loopback

NEEDS = {
    "client_credentials": ("client_secret",),
    "jwt": ("username", "private_key"),
    "refresh_token": ("refresh_token",),
    "password": ("client_secret", "username", "password"),
}
"""Login → the settings it needs besides `login_url` and `client_id`."""

SHARED_HOSTS = frozenset({"login.salesforce.com", "test.salesforce.com"})
"""Hosts that log in users of every org, and therefore cannot tell whose client credentials they are shown."""


class SalesforceSettings(DestinationSettings):
    """`[destinations.NAME]` for Salesforce."""

    login_url: str = Field(description="Your My Domain, as https://acme.my.salesforce.com; a path prefix may follow.")
    login: Literal["client_credentials", "jwt", "refresh_token", "password"] = Field(
        default="client_credentials", description="How a token is asked for."
    )
    client_id: str = Field(min_length=1, description="Consumer key of the External Client App.")
    client_secret: SecretStr | None = Field(default=None, description="Consumer secret of the External Client App.")
    username: str | None = Field(default=None, min_length=1, description="For `jwt` and `password`.")
    password: SecretStr | None = Field(default=None, description="For `password`.")
    security_token: SecretStr | None = Field(
        default=None, description="For `password`, from an address that the org does not trust."
    )
    private_key: SecretStr | None = Field(default=None, description="For `jwt`: the RSA key, as PEM text.")
    refresh_token: SecretStr | None = Field(default=None, description="For `refresh_token`.")
    api_version: str = Field(default="66.0", pattern=r"^[3-9]\d\.0$|^\d{3}\.0$", description="REST API version.")
    quota_reserve: float = Field(
        default=0.2,
        ge=0,
        le=0.99,
        description="Share of the org's daily requests that is left to others; nearer to the limit nothing is sent.",
    )
    duplicate_rule_header: str | None = Field(
        default=None,
        pattern=r"^[\x20-\x7e]+$",
        description="Sent as Sforce-Duplicate-Rule-Header on writes, as `allowSave=true`; left out, nothing is sent.",
    )

    bulk_from: int = Field(
        default=2_000,
        ge=1,
        description="Planned changes from which Bulk API 2.0 is used, where that needs fewer requests.",
    )
    bulk_patience: int | str = Field(
        default="4h",
        description="How long a run waits for a bulk job: seconds, or a span as `90m`. Never ends the job.",
    )

    @property
    def bulk_patience_seconds(self) -> float:
        """`bulk_patience` in seconds."""
        return self.bulk_patience if isinstance(self.bulk_patience, int) else seconds_of(self.bulk_patience)

    @field_validator("bulk_patience")
    @classmethod
    def _patience(cls, given: int | str) -> int | str:
        if isinstance(given, str):
            seconds_of(given)
        elif given < 1:
            raise ValueError("needs at least one second")
        return given

    @field_validator("login_url")
    @classmethod
    def _address(cls, text: str) -> str:
        address = urlsplit(text)
        if address.scheme not in ("https", "http") or not address.hostname:
            raise ValueError("needs a whole address, as https://acme.my.salesforce.com")
        if address.scheme == "http" and not is_loopback(address.hostname):
            raise ValueError("plain http is allowed for loopback hosts only; write https://")
        if address.username or address.password or address.query or address.fragment:
            raise ValueError("takes a host and at most a path: no user, password, query or fragment")
        return text.rstrip("/")

    @model_validator(mode="after")
    def _complete(self) -> SalesforceSettings:
        absent = [name for name in NEEDS[self.login] if not getattr(self, name)]
        if absent:
            names = " and ".join(f"`{name}`" for name in absent)
            raise ValueError(f"login = {self.login!r} needs {names} too")
        if self.login == "client_credentials" and urlsplit(self.login_url).hostname in SHARED_HOSTS:
            raise ValueError(
                "client credentials work at the org's own address only; "
                "set `login_url` to your My Domain, as https://acme.my.salesforce.com"
            )
        return self
