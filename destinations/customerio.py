"""customer.io: attributes of people and of objects (workspaces, accounts), and what is related to what.

Writes are Track v2 batches, sent through the vendor's own client on a session of our transport. A 200 says that they
were taken and not that they were applied; what became of them is read through the App API, with a key of its own.

Documents: Track API, https://docs.customer.io/integrations/api/track/ (batch, limits, regions) ·
App API, https://docs.customer.io/integrations/api/app/ (reading, object types) ·
refusals, https://docs.customer.io/journeys/invalid-api-requests ·
attributes, https://docs.customer.io/journeys/people/manage/attributes
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import ClassVar

from destinations.customerio_parts import checking, reading, rules, values
from destinations.customerio_parts.account import Account, Whereabouts
from destinations.customerio_parts.answers import Answer
from destinations.customerio_parts.app import AppClient, Readings
from destinations.customerio_parts.batches import Item, UnclearError, deliver, send
from destinations.customerio_parts.client import TrackClient
from destinations.customerio_parts.operations import (
    BATCH_BYTES_MAX,
    ENVELOPE_BYTES,
    ITEM_BYTES_MAX,
    OPERATIONS_MAX,
    SEPARATOR,
    Operations,
)
from destinations.customerio_parts.rules import IDENTIFIER_BYTES_MAX, VALUE_BYTES_MAX
from destinations.customerio_parts.settings import CustomerioSettings
from syncer.change import Alike, Change, Held, Outcome, Value, Wanted, rejected
from syncer.destination import Destination, DestinationSettings, Limits, Pace, ValueLimit
from syncer.errors import DestinationUnusable, Problem
from syncer.mapping import Sync
from syncer.stretch import Columnar, Piece, Stretch
from syncer.transport import Transport

IN_FLIGHT_MAX = 16
"""Of 480,000 bytes and 200 ms each they are 38 MB a second, which is more than this side can make."""


class Customerio(Destination):
    """One customer.io workspace. An instance lives as long as one run.

    All batches of a run carry one `timestamp`, the second in which this object was made. customer.io does not
    let an older timestamp win over a newer one of the same attribute, so a write of an earlier run that was
    held up on its way cannot undo this one. Within one second there is no order, and a clock that is set back
    makes later writes look old. Objects have no such timestamp, and nothing like `_update`: clearing one that
    somebody has deleted there makes it again, with no attributes of ours. Relationships have neither: whether relating
    an object to a person whom customer.io does not know makes that person is in none of its documents.
    """

    kind: ClassVar[str] = "customerio"
    title: ClassVar[str] = "customer.io"
    settings_type: ClassVar[type[DestinationSettings]] = CustomerioSettings
    relates: ClassVar[bool] = True

    settings: CustomerioSettings

    def __init__(self, name: str, settings: CustomerioSettings, transport: Transport) -> None:
        super().__init__(name, settings, transport)
        self._account = Account(name, settings)
        self._whereabouts = Whereabouts(self._account, transport)
        self._operations = Operations(settings, written_at=int(time.time()))

    @classmethod
    def pace(cls, settings: CustomerioSettings) -> Pace:
        """1,000 requests a second over v1 and v2 together (Track API document)."""
        return Pace(settings.pace or 1_000, 1.0)

    @classmethod
    def account(cls, settings: CustomerioSettings) -> str:
        """Requests are counted per workspace, and a site id belongs to one."""
        return Account("", settings).shared("customerio")

    def refuse(self, sync: Sync) -> Iterable[Problem]:
        """Objects, identifiers, attribute names and combinations that customer.io cannot do."""
        return rules.refuse(sync, self._account)

    def limits(self, sync: Sync) -> Limits:
        """Batches of 4,000 changes and 480,000 bytes; texts of 1,000 bytes, identifiers of 150."""
        return Limits(
            records=OPERATIONS_MAX,
            utf8_bytes=BATCH_BYTES_MAX - ENVELOPE_BYTES,
            in_flight=IN_FLIGHT_MAX,
            timestamp_unit="second",
            values={field.name: ValueLimit(utf8_bytes=VALUE_BYTES_MAX) for field in sync.fields},
            identifiers={name: ValueLimit(utf8_bytes=IDENTIFIER_BYTES_MAX) for name in sync.match},
            caseless=frozenset({"email"}),
            relations={name: ValueLimit(utf8_bytes=IDENTIFIER_BYTES_MAX) for name in sync.relate},
        )

    def requests(self, sync: Sync, changes: Sequence[Change]) -> int:
        """One request for a batch, unless relationships that go make it more than 4,000 operations."""
        operations = sum(len(self._operations.of(sync, one)) for one in changes) if sync.relate else len(changes)
        return -(-operations // OPERATIONS_MAX)

    def weigh(self, sync: Sync, change: Change) -> int:
        """Bytes of the operations, and of the comma after each."""
        return sum(map(len, self._operations.of(sync, change)))

    def texts(self, sync: Sync, piece: Piece) -> Columnar | None:
        """The one operation of each; where something is related, which may take a second one, there are none."""
        if sync.relate:
            return None
        from destinations.customerio_parts import columns  # Arrow takes time to load.

        return columns.operations(sync, piece, self._operations.object_type(sync), self._operations.written_at)

    def check(self, sync: Sync) -> Iterable[Problem]:
        """Track credentials and region; with an `app_key` also that key, and that the object type exists."""
        return checking.check(sync, self._account, self.transport)

    def read(self, sync: Sync, records: Iterable[Wanted]) -> Iterator[Held]:
        """Attributes as customer.io gives them back, which is text; relationships of people, too.

        The relationships of objects are left out: they can be written from this end, and not be read from it. Raises
        DestinationUnusable also when there is no `app_key`, without which nothing can be read.
        """
        if self.settings.app_key is None:
            raise DestinationUnusable(
                f"[destinations.{self.name}] has no `app_key`, and the Track API cannot be read. Make an App API key "
                "(Account Settings, API Credentials) and set `app_key`."
            )
        client = AppClient(self._account, self.transport, self.settings.app_key.get_secret_value())
        return reading.read(sync, records, Readings(client, self._account, self._whereabouts), self.settings)

    def holds(self, sync: Sync, name: str, value: Value, held: object) -> bool:
        """Numbers are compared as numbers, instants as Unix seconds; null, absent and an empty text are equal."""
        return values.is_held(value, held)

    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome | Alike]:
        """Send a batch; a piece that is refused as a whole is halved until the culprit stands alone.

        A change is accepted when all its operations were, and in doubt when only some of them were. Raises
        DestinationUnusable when the answer is not one that customer.io gives to a batch.
        """
        client = TrackClient(self.settings, self.transport)
        answer = None
        if isinstance(changes, Stretch) and changes.texts:
            answer = yield from self._push_texts(changes, client)
            if answer is not None and answer.is_clean:
                return
        items = []
        for change in changes:
            operations = self._operations.of(sync, change)
            if max(map(len, operations)) - len(SEPARATOR) > ITEM_BYTES_MAX:
                yield rejected(change, "too_large", f"The record is larger than {ITEM_BYTES_MAX:,} bytes as JSON.")
            else:
                items.append(Item(change, operations))
        yield from deliver(items, client, self._account, self._whereabouts, answer)

    def _push_texts(self, changes: Stretch, client: TrackClient) -> Generator[Outcome | Alike, None, Answer | None]:
        """Send a batch whose operations are made; gives the answer, or None when one of them is too large.

        When all were taken that is told. Of any other answer it has to be found out, change by change, what it says.
        """
        from destinations.customerio_parts import columns  # As above.

        places = range(len(changes))
        if columns.longest(changes.texts) - len(SEPARATOR) > ITEM_BYTES_MAX:
            return None
        try:
            answer = send(client, columns.body(changes.texts), self._account, self._whereabouts)
        except UnclearError as error:
            yield Alike(Outcome("", "deferred", "unclear", str(error), doubt=True), places)
            raise
        if answer.is_clean:
            yield Alike(Outcome("", "accepted"), places)
        return answer
