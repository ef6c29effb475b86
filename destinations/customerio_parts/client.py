"""Requests to the Track API, through the vendor's own library on a session of our transport.

The library gives its hosts, its Basic credentials and its JSON. Its faults are kept out: it would repeat by
itself, follow redirects that lose the body, take a 207 for a success, and put people's data into its exceptions;
so it never repeats here, and its answers are read before it judges them.
"""

from __future__ import annotations

from typing import Any

import requests
from customerio import CustomerIO, CustomerIOException

from destinations.customerio_parts.answers import Answer
from destinations.customerio_parts.settings import REGIONS, CustomerioSettings
from syncer.errors import DestinationUnusable, SyncerError
from syncer.transport import Transport


class TrackClient:
    """The vendor's client on our transport. It keeps its last answer, so it belongs to one thread."""

    def __init__(self, settings: CustomerioSettings, transport: Transport) -> None:
        self._url = settings.track
        self._vendor = CustomerIO(
            settings.site_id,
            settings.api_key.get_secret_value(),
            region=REGIONS[settings.region],
            retries=0,
            timeout=settings.timeout,
        )
        self._last: Answer | None = None
        transport.mount_on(self._vendor.http)
        self._vendor.http.hooks["response"].append(self._keep)

    def batch(self, operations: list[dict[str, Any]]) -> Answer:
        """POST /api/v2/batch. Raises what the transport raises; the client's own exceptions go no further."""
        self._last = None
        cause: BaseException | None = None
        try:
            self._vendor.send_request("POST", f"{self._url}/api/v2/batch", {"batch": operations})
        except CustomerIOException as error:
            # Its text holds the payload. What matters is beneath it: the answer that was kept, or the cause.
            cause = error.__cause__
        if isinstance(cause, SyncerError):
            raise cause
        if self._last is None:
            raise DestinationUnusable(
                f"customer.io: the client library could not send a batch ({type(cause).__name__}). Please report this."
            )
        return self._last

    def _keep(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Response hook: reads the answer before the vendor's client makes an exception of it."""
        self._last = Answer.of(response)

    def region(self) -> Answer:
        """GET /api/v1/accounts/region."""
        return Answer.of(self._vendor.http.get(f"{self._url}/api/v1/accounts/region"))
