"""`[[alerts]]` of the config."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator

from syncer.spans import seconds_of
from syncer.transport import is_loopback

Event = Literal["held", "failed", "rejected", "stale", "credentials", "quota", "config"]
EVENTS: tuple[Event, ...] = get_args(Event)
SECRET_CHARACTERS_MIN = 16


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_tuple, json_schema_input_type=list[str])]


class _Alert(BaseModel):
    """What every alert has."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    name: str = Field(default="", description="Its own name; left out, it is its type.")
    on: Annotated[tuple[Event, ...], BeforeValidator(_tuple, json_schema_input_type=list[Event])] = Field(
        default=EVENTS, min_length=1, description="What it tells of; left out, of everything."
    )
    syncs: Names = Field(default=(), description="Only of these syncs, or destinations; left out, of all.")
    rejected_max: float = Field(
        default=0.05, ge=0, lt=1, description="Share of a run's records that may be rejected before it tells."
    )
    quota_max: float = Field(
        default=0.8, gt=0, le=1, description="Share of a service's quota that may be used before it tells."
    )
    expires_within: str = Field(default="14d", description="How long before credentials end it tells.")
    wait: str = Field(
        default="30s",
        description='How long the daemon waits for more of the same before it tells, as one message; "0s" for not.',
    )
    timeout: float = Field(default=10.0, gt=0, le=60, description="Seconds that its service may stay silent.")

    @field_validator("expires_within")
    @classmethod
    def _span(cls, text: str) -> str:
        seconds_of(text)
        return text

    @field_validator("wait")
    @classmethod
    def _wait(cls, text: str) -> str:
        if not _is_nothing(text):
            seconds_of(text)
        return text

    @field_validator("name")
    @classmethod
    def _name(cls, text: str) -> str:
        if text and not re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", text):
            raise ValueError("has to be a short word of letters, digits, - and _")
        return text

    @property
    def wait_seconds(self) -> float:
        """`wait` in seconds."""
        return 0.0 if _is_nothing(self.wait) else seconds_of(self.wait)

    @property
    def called(self) -> str:
        """Its name, or else its type."""
        return self.name or str(getattr(self, "type", ""))


class Slack(_Alert):
    """`type = "slack"`: an incoming webhook of Slack, or of a service that takes the same."""

    type: Literal["slack"] = Field(description="How it tells: slack, webhook or email.")
    url: SecretStr = Field(description="The webhook's address, which is a secret.")

    @field_validator("url")
    @classmethod
    def _url(cls, url: SecretStr) -> SecretStr:
        return _address(url)


class Webhook(_Alert):
    """`type = "webhook"`: signed JSON, for a receiver of one's own."""

    type: Literal["webhook"] = Field(description="How it tells: slack, webhook or email.")
    url: SecretStr = Field(description="Where messages are posted to.")
    secret: SecretStr = Field(description="What messages are signed with; 16 characters or more.")

    @field_validator("url")
    @classmethod
    def _url(cls, url: SecretStr) -> SecretStr:
        return _address(url)

    @field_validator("secret")
    @classmethod
    def _is_long(cls, secret: SecretStr) -> SecretStr:
        if len(secret.get_secret_value()) < SECRET_CHARACTERS_MIN:
            raise ValueError(f"has to have {SECRET_CHARACTERS_MIN} characters or more; make one of random letters")
        return secret


class Email(_Alert):
    """`type = "email"`: SMTP."""

    type: Literal["email"] = Field(description="How it tells: slack, webhook or email.")
    host: str = Field(min_length=1, description="The mail server.")
    port: int | None = Field(default=None, ge=1, le=65535, description='Left out: 587, or 465 with tls = "ssl".')
    tls: Literal["starttls", "ssl", "none"] = Field(
        default="starttls", description="How the connection is encrypted; none is for this machine only."
    )
    ca_file: str | None = Field(default=None, min_length=1, description="Certificates to trust, as a PEM file.")
    user: str | None = Field(default=None, min_length=1, description="Who logs in; left out, nobody does.")
    password: SecretStr | None = Field(default=None, description="Goes with `user`.")
    sender: str = Field(description="The address that mails come from.")
    to: Names = Field(min_length=1, description="The addresses that mails go to.")

    @field_validator("sender", "to")
    @classmethod
    def _addresses(cls, given: Any) -> Any:
        for one in given if isinstance(given, tuple) else (given,):
            # A line break in an address would begin a header of its own.
            if not re.fullmatch(r"[^@\s<>,;]+@[^@\s<>,;]+", one):
                raise ValueError("has to be an address, as syncer@example.com")
        return given

    @model_validator(mode="after")
    def _is_safe(self) -> Email:
        if self.tls == "none" and not is_loopback(self.host):
            raise ValueError('`tls = "none"` is for a mail server on this machine; write "starttls" or "ssl"')
        if (self.user is None) != (self.password is None):
            raise ValueError("`user` and `password` go together; write both, or neither")
        return self


Alert = Slack | Webhook | Email


def _is_nothing(span: str) -> bool:
    return re.fullmatch(r"\s*0+\s*[smhd]?\s*", span) is not None


def _address(url: SecretStr) -> SecretStr:
    """Raises ValueError for what is no address to post to; nothing of it is told, since it is a secret."""
    try:
        address = urlsplit(url.get_secret_value())
        host, _ = address.hostname or "", address.port
    except ValueError:
        raise ValueError("is not an address; write one as https://hooks.example.com/…") from None
    if address.scheme not in ("https", "http") or not host or address.username is not None or address.fragment:
        raise ValueError("is not a whole address without a user name; write one as https://hooks.example.com/…")
    if address.scheme == "http" and not is_loopback(host):
        raise ValueError("plain http is allowed for this machine only; write https")
    return url
