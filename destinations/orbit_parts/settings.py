"""`[destinations.NAME]` of an Orbit workspace."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field as Setting
from pydantic import field_validator

from syncer.destination import DestinationSettings, HeaderKey
from syncer.transport import is_loopback


class OrbitSettings(DestinationSettings):
    """`[destinations.orbit]`."""

    workspace: str = Setting(pattern=r"^[A-Za-z0-9_-]+$", description="The workspace's slug, as in its address.")
    api_key: HeaderKey = Setting(description="An API key of somebody who belongs to the workspace.")
    base_url: str = Setting(
        default="https://app.orbit.love/api/v1", description="Where a compatible service answers. Orbit itself closed."
    )
    activity: str | None = Setting(
        default=None,
        pattern=r"^\S+$",
        description="Key of the activity type that tells in a member's timeline that a step changed; left out: none.",
    )
    activity_weight: str = Setting(
        default="0", pattern=r"^\d+(\.\d+)?$", description="What such an activity counts toward the member's love."
    )

    @field_validator("base_url")
    @classmethod
    def _is_safe(cls, text: str) -> str:
        address = urlsplit(text)
        if not address.hostname or address.query or address.fragment or "@" in address.netloc:
            raise ValueError("has to be a plain address, as https://orbit.example.com/api/v1")
        if address.scheme != "https" and not (address.scheme == "http" and is_loopback(address.hostname)):
            raise ValueError("has to begin with https://; http:// is allowed for loopback hosts only")
        return text.rstrip("/")
