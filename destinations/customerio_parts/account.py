"""Sentences about one configured account: its credentials, its region, its address."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from destinations.customerio_parts.settings import REGIONS, CustomerioSettings
from syncer.errors import Problem, Redirected


@dataclass(frozen=True, slots=True)
class Account:
    """`[destinations.NAME]`: its name and its settings."""

    name: str
    settings: CustomerioSettings

    def problem(self, setting: str, sentence: str) -> Problem:
        """Something to be mended in the config."""
        return Problem(f"destinations.{self.name}.{setting}", sentence)

    def refused_credentials(self, status: int) -> str:
        """The Track API knows no such site id and key."""
        return (
            f"customer.io refused the Track API credentials ({status}). Check `site_id`, `api_key` and `region`; "
            "an App API key does not work here."
        )

    def lives_in(self, region: str) -> str:
        """The account is in the other region."""
        return (
            f'This customer.io account lives in the {region.upper()} region; set region = "{region}" in '
            f"[destinations.{self.name}]."
        )

    def redirected(self, redirected: Redirected) -> str:
        """What a redirect means: the other region, when it leads to that one's host."""
        host = urlsplit(redirected.location).hostname
        for name, region in REGIONS.items():
            if host == region.track_host and name != self.settings.region:
                return self.lives_in(name)
        return str(redirected)
