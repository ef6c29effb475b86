"""What `[destinations.NAME]` of customer.io may say."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from customerio import Regions
from pydantic import Field, field_validator

from syncer.destination import DestinationSettings, HeaderKey, fits_a_header
from syncer.transport import is_loopback

REGIONS = {"us": Regions.US, "eu": Regions.EU}
PERSON = "person"


class CustomerioSettings(DestinationSettings):
    """`[destinations.NAME]` of a customer.io workspace."""

    region: Literal["us", "eu"] = Field(default="us", description="Where the account lives: us or eu.")
    site_id: str = Field(min_length=1, description="Site ID of the Track API credentials.")
    api_key: HeaderKey = Field(description="API key of the Track API credentials.")
    app_key: HeaderKey | None = Field(
        default=None, description="App API key; only needed to read: check, adopt, verify."
    )
    track_url: str | None = Field(default=None, description="Another address of the Track API: a proxy, a stand-in.")
    app_url: str | None = Field(default=None, description="Another address of the App API.")
    object_types: dict[str, str] = Field(
        default={}, description='Name of an object in the mappings = object type id, as { workspace = "1" }.'
    )

    @field_validator("site_id")
    @classmethod
    def _site(cls, text: str) -> str:
        if not fits_a_header(text):
            raise ValueError("holds a line break, a blank at an end or letters beyond ASCII; copy it anew")
        return text

    @field_validator("track_url", "app_url")
    @classmethod
    def _address(cls, text: str | None) -> str | None:
        if text is None:
            return None
        address = urlsplit(text)
        if address.scheme not in ("https", "http") or not address.hostname:
            raise ValueError("has to be a whole address, as https://track.customer.io")
        if address.scheme == "http" and not is_loopback(address.hostname):
            raise ValueError("has to begin with https://, because http:// is allowed for loopback hosts only")
        if address.username is not None or address.query or address.fragment:
            raise ValueError("takes a host and perhaps a path; keys belong in `site_id`, `api_key` and `app_key`")
        return text.rstrip("/")

    @field_validator("object_types")
    @classmethod
    def _types(cls, types: dict[str, str]) -> dict[str, str]:
        for name, type_id in types.items():
            if name == PERSON:
                raise ValueError("cannot name an object type `person`, because people are not objects")
            if not re.fullmatch(r"[1-9][0-9]{0,8}", type_id):
                raise ValueError(f'the id of object type {name!r} has to be a number in quotes, as "1"')
        return types

    @property
    def track(self) -> str:
        """Address of the Track API, without a slash at its end."""
        return self.track_url or f"https://{REGIONS[self.region].track_host}"

    @property
    def app(self) -> str:
        """Address of the App API, without a slash at its end."""
        return self.app_url or f"https://{REGIONS[self.region].api_host}"

    def object_type_id(self, name: str) -> str | None:
        """The id of the object type that a mapping's `object` means; None when it means none."""
        if name in self.object_types:
            return self.object_types[name]
        found = OBJECT_TYPE.fullmatch(name)
        return found[1] if found else None


OBJECT_TYPE = re.compile(r"(?:object:)?([1-9][0-9]{0,8})")
"""How a mapping may name an object type by its id: `1` or `object:1`."""
