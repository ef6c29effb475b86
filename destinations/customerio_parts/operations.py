"""What a change becomes on the wire: operations of Track v2, and their sizes.

Operations and sizes: https://docs.customer.io/integrations/api/track/
"""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from typing import Any

from destinations.customerio_parts.relations import added, removed
from destinations.customerio_parts.settings import PERSON, CustomerioSettings
from syncer.change import Change, Value
from syncer.mapping import Sync

OPERATIONS_MAX = 4_000
"""Operations in a request. The vendor names no number, so bytes decide; this bounds what a crash leaves in doubt."""
BATCH_BYTES_MAX = 480_000
"""The vendor says 500 kb, and not whether that is 500,000 bytes or 512,000."""
ITEM_BYTES_MAX = 30_000
"""The vendor says 32 kb for each operation of a batch."""
ENVELOPE_BYTES = len('{"batch": []}')
SEPARATOR_BYTES = len(", ")


@dataclass(frozen=True, slots=True)
class Operations:
    """Makes the operations of one run. Those on people all carry the second in which it began."""

    settings: CustomerioSettings
    written_at: int

    def of(self, sync: Sync, change: Change) -> list[dict[str, Any]]:
        """The operations that this change becomes: one, and one more when relationships are to go.

        What is to be related rides on the identify. Without anything to identify it is an `add_relationships`, except
        where nobody may be made: the documents do not say whether that makes an unknown person, and do say that an
        identify with `_update` does nothing then. Relationships that go come second, so that an object which is new
        has been made when they are looked for.
        """
        is_person = sync.object == PERSON
        whose: dict[str, Any] = {
            "type": "person" if is_person else "object",
            "identifiers": self._identifiers(sync, change),
        }
        if change.kind == "removed" and sync.removed == "delete":
            return [{**whose, "action": "delete"}]
        comes = added(sync, change.relations, self.settings) if change.relations else []
        goes = removed(sync, change.relations, self.settings) if change.relations else []
        is_guarded = is_person and (sync.missing == "skip" or change.kind == "removed")
        operations: list[dict[str, Any]] = []
        if change.fields or change.kind == "new" or (comes and is_guarded) or not (comes or goes):
            attributes = {name: wire(value) for name, value in change.fields.items()}
            if is_guarded:
                attributes["_update"] = True
            identify = {**whose, "action": "identify", "attributes": attributes}
            if is_person:
                identify["timestamp"] = self.written_at
            if comes:
                identify["cio_relationships"] = comes
            operations.append(identify)
        elif comes:
            operations.append({**whose, "action": "add_relationships", "cio_relationships": comes})
        if goes:
            operations.append({**whose, "action": "delete_relationships", "cio_relationships": goes})
        return operations

    def _identifiers(self, sync: Sync, change: Change) -> dict[str, str]:
        identifiers = dict(change.match)
        if "object_id" in identifiers:
            identifiers["object_type_id"] = self.settings.object_type_id(sync.object) or ""
        return identifiers


def wire(value: Value) -> Any:
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
