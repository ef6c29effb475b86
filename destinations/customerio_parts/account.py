"""Sentences about one configured account: its credentials, its region, its address."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from urllib.parse import urlsplit

from destinations.customerio_parts.client import TrackClient
from destinations.customerio_parts.settings import REGIONS, CustomerioSettings
from syncer.errors import CredentialsRefused, DestinationUnusable, Problem, Redirected, SyncerError
from syncer.transport import Transport


@dataclass(frozen=True, slots=True)
class Account:
    """`[destinations.NAME]`: its name and its settings."""

    name: str
    settings: CustomerioSettings

    def shared(self, service: str) -> str:
        """What the pace of a service is shared by: requests count per workspace, and a site id belongs to one."""
        return hashlib.sha256(f"{service} {self.settings.site_id}".encode()).hexdigest()

    def problem(self, setting: str, sentence: str) -> Problem:
        """Something to be mended in the config."""
        return Problem(f"destinations.{self.name}.{setting}", sentence)

    def refused_credentials(self, status: int) -> str:
        """The Track API knows no such site id and key."""
        return (
            f"customer.io refused the Track API credentials ({status}). Check `site_id`, `api_key` and `region`; "
            "an App API key does not work here."
        )

    def refused_app_key(self, status: int) -> str:
        """The App API knows no such key."""
        return (
            f"customer.io refused the App API key ({status}). Check `app_key` and `region`; "
            "the key of the Track API does not work here."
        )

    def lives_in(self, region: str) -> str:
        """The account is in the other region."""
        return (
            f'This customer.io account lives in the {region.upper()} region; set region = "{region}" in '
            f"[destinations.{self.name}]."
        )

    def other_region_of(self, redirected: Redirected) -> str | None:
        """The region that a redirect leads to, when it is the other one."""
        host = urlsplit(redirected.location).hostname
        for name, region in REGIONS.items():
            if name != self.settings.region and host in (region.track_host, region.api_host):
                return name
        return None

    def redirected(self, redirected: Redirected) -> str:
        """What a redirect means: the other region, when it leads to that one's host."""
        region = self.other_region_of(redirected)
        return self.lives_in(region) if region else str(redirected)


class Whereabouts:
    """Where the account lives, asked when a request was refused in a way that the wrong region explains.

    It is asked at most once in a run, whoever asks first, because all batches in flight are refused alike. Both
    regions' hosts answer this question for accounts of either.
    """

    def __init__(self, account: Account, transport: Transport) -> None:
        self._account = account
        self._transport = transport
        self._lock = threading.Lock()
        self._is_asked = False
        self._other: str | None = None

    def unusable(self, sentence: str, redirected: Redirected | None = None) -> DestinationUnusable:
        """The error for a refusal: the region to set when that is the reason, else this sentence, which is about
        credentials unless it was a redirect."""
        other = self._account.other_region_of(redirected) if redirected else None
        other = other or self._other_region()
        if other:
            return DestinationUnusable(self._account.lives_in(other))
        return DestinationUnusable(sentence) if redirected else CredentialsRefused(sentence)

    def _other_region(self) -> str | None:
        with self._lock:
            if not self._is_asked:
                self._is_asked = True
                self._other = self._ask()
            return self._other

    def _ask(self) -> str | None:
        try:
            region = TrackClient(self._account.settings, self._transport).region().region
        except Redirected as redirected:
            return self._account.other_region_of(redirected)
        except SyncerError:
            # Nobody knows then, and the refusal that led here is told as it was.
            return None
        return region if region != self._account.settings.region else None
