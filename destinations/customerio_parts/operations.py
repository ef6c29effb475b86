"""What a change becomes on the wire: an operation of Track v2, and its size.

Operations and sizes: https://docs.customer.io/integrations/api/track/
"""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from typing import Any

from destinations.customerio_parts.settings import PERSON, CustomerioSettings
from syncer.change import Change, Value
from syncer.mapping import Sync

RECORDS_MAX = 4_000
"""Operations in a batch. The vendor names no number, so bytes decide; this one bounds what a crash leaves in doubt."""
BATCH_BYTES_MAX = 480_000
"""The vendor says 500 kb, and not whether that is 500,000 bytes or 512,000."""
ITEM_BYTES_MAX = 30_000
"""The vendor says 32 kb for each operation of a batch."""
ENVELOPE_BYTES = len('{"batch": []}')
SEPARATOR_BYTES = len(", ")


@dataclass(frozen=True, slots=True)
class Operations:
    """Makes the operations of one run, which all carry the second in which it was made."""

    settings: CustomerioSettings
    written_at: int

    def of(self, sync: Sync, change: Change) -> dict[str, Any]:
        """The operation that this change becomes."""
        is_person = sync.object == PERSON
        identifiers = dict(change.match)
        if "object_id" in identifiers:
            identifiers["object_type_id"] = self.settings.object_type_id(sync.object) or ""
        operation: dict[str, Any] = {"type": "person" if is_person else "object", "identifiers": identifiers}
        if change.kind == "removed" and sync.removed == "delete":
            return {**operation, "action": "delete"}
        attributes = {name: _wire(value) for name, value in change.fields.items()}
        if is_person:
            if sync.missing == "skip" or change.kind == "removed":
                attributes["_update"] = True
            operation["timestamp"] = self.written_at
        return {**operation, "action": "identify", "attributes": attributes}


def _wire(value: Value) -> Any:
    """A value as JSON has it; timestamps are whole Unix seconds, which alone count as such in segments.

    Source: https://docs.customer.io/journeys/segmentation-and-timestamp-rules
    """
    if isinstance(value, datetime.datetime):
        return int(value.timestamp())
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value


def utf8_bytes(operation: dict[str, Any]) -> int:
    """Bytes in a body; the client encodes with this function and these separators, and in ASCII."""
    return len(json.dumps(operation))
