"""Requests to the Track API, through the vendor's own library on a session of our transport.

The library gives its hosts, and a session with its Basic credentials. Its faults are kept out: it would repeat by
itself, follow redirects that lose the body, take a 207 for a success, put people's data into its exceptions, and walk
through every value of a batch in Python, which took longer than all the rest of sending it.
"""

from __future__ import annotations

from customerio import CustomerIO

from destinations.customerio_parts.answers import Answer
from destinations.customerio_parts.settings import REGIONS, CustomerioSettings
from syncer.transport import Transport


class TrackClient:
    """The vendor's client on our transport. Its session belongs to one thread."""

    def __init__(self, settings: CustomerioSettings, transport: Transport) -> None:
        self._url = settings.track
        self._vendor = CustomerIO(
            settings.site_id,
            settings.api_key.get_secret_value(),
            region=REGIONS[settings.region],
            retries=0,
            timeout=settings.timeout,
        )
        transport.mount_on(self._vendor.http)

    def batch(self, body: bytes) -> Answer:
        """POST /api/v2/batch. Raises what the transport raises."""
        json_type = {"Content-Type": "application/json"}
        return Answer.of(self._vendor.http.post(f"{self._url}/api/v2/batch", data=body, headers=json_type))

    def region(self) -> Answer:
        """GET /api/v1/accounts/region."""
        return Answer.of(self._vendor.http.get(f"{self._url}/api/v1/accounts/region"))
