"""What a change becomes on the wire: operations of Track v2, and their sizes.

Operations and sizes: https://docs.customer.io/integrations/api/track/
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

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
ENVELOPE_BYTES = len(b'{"batch":[]}')
SEPARATOR = b","


@dataclass(frozen=True, slots=True)
class Operations:
    """Makes the operations of one run. Those on people all carry the second in which it began."""

    settings: CustomerioSettings
    written_at: int

    def object_type(self, sync: Sync) -> str | None:
        """The id of the type by which objects are named; "" for those that are named without it, None for people."""
        if sync.object == PERSON:
            return None
        return (self.settings.object_type_id(sync.object) or "") if "object_id" in sync.match else ""

    def of(self, sync: Sync, change: Change) -> Sequence[bytes]:
        """The operations that this change becomes, as JSON; worked out once, as a change is of one run."""
        if change.worked_out is None:
            change.worked_out = self._made(sync, change)
        found: Sequence[bytes] = change.worked_out
        return found

    def _made(self, sync: Sync, change: Change) -> list[bytes]:
        """One operation, and one more when relationships are to go.

        What is to be related rides on the identify. Without anything to identify it is an `add_relationships`, except
        where nobody may be made: the documents do not say whether that makes an unknown person, and do say that an
        identify with `_update` does nothing then. Relationships that go come second, so that an object which is new
        has been made when they are looked for.
        """
        is_person = sync.object == PERSON
        identifiers = change.match if is_person else self._of_object(sync, change)
        whose: dict[str, Any] = {"type": "person" if is_person else "object", "identifiers": identifiers}
        if change.kind == "removed" and sync.removed == "delete":
            return [encoded({**whose, "action": "delete"})]
        comes = added(sync, change.relations, self.settings) if change.relations else []
        goes = removed(sync, change.relations, self.settings) if change.relations else []
        is_guarded = is_person and (sync.missing == "skip" or change.kind == "removed")
        operations = []
        if change.fields or change.kind == "new" or (comes and is_guarded) or not (comes or goes):
            attributes: Mapping[str, Value] = change.fields
            if is_guarded:
                attributes = {**change.fields, "_update": True}
            identify = {**whose, "action": "identify", "attributes": attributes}
            if is_person:
                identify["timestamp"] = self.written_at
            if comes:
                identify["cio_relationships"] = comes
            operations.append(encoded(identify))
        elif comes:
            operations.append(encoded({**whose, "action": "add_relationships", "cio_relationships": comes}))
        if goes:
            operations.append(encoded({**whose, "action": "delete_relationships", "cio_relationships": goes}))
        return operations

    def _of_object(self, sync: Sync, change: Change) -> Mapping[str, str]:
        """How an object is named: by a `cio_object_id`, or by its type and its id there."""
        if "object_id" not in change.match:
            return change.match
        return {**change.match, "object_type_id": self.settings.object_type_id(sync.object) or ""}


def wire(value: Value) -> Any:
    """A value as JSON has it; timestamps are whole Unix seconds, which alone count as such in segments.

    Source: https://docs.customer.io/journeys/segmentation-and-timestamp-rules
    """
    if isinstance(value, datetime.datetime):
        return int(value.timestamp())
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value


def encoded(operation: Mapping[str, Any]) -> bytes:
    """An operation as it stands in a body, in UTF-8 and without blanks, with the comma after it."""
    # Adding the comma copies the text; the encoder's own buffer is of 1,024 bytes, and keeping a thousand of those cut
    # short takes ten times as long as all else here.
    return orjson.dumps(operation, default=wire, option=orjson.OPT_PASSTHROUGH_DATETIME) + SEPARATOR


def body_of(operations: Sequence[bytes]) -> bytes:
    """The body of a batch."""
    return b"".join((b'{"batch":[', *operations[:-1], operations[-1].removesuffix(SEPARATOR), b"]}"))
