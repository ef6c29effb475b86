"""What the conformance kit has to be told about one destination: a `Bench`.

A bench belongs to one test. It knows the service (or its stand-in) from the inside, past the adapter: it puts
records there, looks at them, counts requests and orders troubles. The kit speaks of records by number, and of
values by field, so that it needs no word of the vendor.
"""

from __future__ import annotations

import datetime
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from syncer.change import Change, Kind, Value, Wanted
from syncer.destination import Destination, Pace
from syncer.mapping import Brakes, Field, FieldType, Sync
from syncer.transport import Gate, Transport

TroubleKind = Literal["status", "after", "close", "lost", "cut"]
"""status: answer with it, applying nothing · after: apply, then answer with it · close: close the connection
before applying · lost: apply, then close without an answer · cut: apply, then send half of the answer."""

DelayKind = Literal["slow", "stall"]

STRANGE_TEXTS: tuple[str, ...] = (
    "Zoë Ångström, 東京 🚀",
    'O\'Brien said "no" \\ <b>&amp;</b> 100 %',
    "one\ntwo\nthree",
    "a=1&b=2?c#d;e|f",
    "=SUM(A1)",
    "null",
    "0041",
    "{{ liquid }} ${shell} %s",
)


class Bench(ABC):
    """Names and deeds of one destination under test. Class attributes are facts; methods are deeds."""

    object: ClassVar[str]
    """The object that the kit's sync maps to."""
    identifier: ClassVar[str] = "email"
    """The identifier of the match."""
    text: ClassVar[str]
    """A field that takes text."""
    other: ClassVar[str]
    """Another field that takes text. Its name must not be part of a write that does not name it."""
    typed: ClassVar[Mapping[FieldType, str]] = {}
    """Type → a field that takes it: for each of integer, number, boolean, date, timestamp; or a reason in `cannot`."""
    needed: ClassVar[Mapping[str, str]] = {}
    """Fields besides, with values, without which the destination makes no new record."""
    texts: ClassVar[Sequence[str]] = STRANGE_TEXTS
    """Legal texts that like to be broken on the way."""
    characters_max: ClassVar[int] = 1000
    """Length of a long text that is still legal for `text`, when a quarter of it takes two bytes in UTF-8."""
    secrets: ClassVar[Sequence[str]] = ()
    """What must never be in a text: keys, tokens, passwords of `adapter`'s settings."""
    cannot: ClassVar[Mapping[str, str]] = {}
    """Name of a test (without `test_`) or of a type → the sentence why this destination cannot do that.

    The test is skipped with the sentence. Be sparing: each entry is something that users have to be told.
    """

    @abstractmethod
    def adapter(self, transport: Transport) -> Destination:
        """A new adapter on that transport, with valid settings. Asks nothing of the service."""

    @abstractmethod
    def put(self, number: int, fields: Mapping[str, Value]) -> None:
        """Let the destination hold record `number`, findable by `who(number)`, with these values."""

    @abstractmethod
    def held(self, number: int) -> Mapping[str, Any] | None:
        """What record `number` holds: field → value as the destination shows it, null or absent when empty.

        None when there is no such record.
        """

    @abstractmethod
    def refused(self) -> tuple[str, Value]:
        """A field of the kit's sync and a value that the destination refuses for it, record by record.

        A bench may arrange that by other means, as long as that value in that field is refused.
        """

    def shown(self, value: Value) -> Any:
        """How the destination shows a value that it was given: by default as JSON, with RFC 3339 times."""
        if isinstance(value, datetime.datetime):
            return value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
        return value.isoformat() if isinstance(value, datetime.date) else value

    def who(self, number: int) -> str:
        """The value of the identifier by which record `number` is found."""
        return f"kit-{number}@example.com"

    def wanted(self, number: int) -> Wanted:
        """Record `number`, to be read back."""
        return Wanted(f"key-{number}", {self.identifier: self.who(number)})

    # What the kit builds from the above. Seldom worth replacing.

    def transport(self, *, stop: threading.Event | None = None, attempts: int = 4, timeout: float = 10.0) -> Transport:
        """A transport in a hurry: its pauses are a few milliseconds. `timeout` in seconds."""
        return Transport(
            Gate(Pace(100_000, 1.0)),
            title="The service",
            stop=stop or threading.Event(),
            timeout=timeout,
            attempts=attempts,
            retry_after_max=0.05,
            wait_first=0.01,
            wait_max=0.03,
        )

    def sync(self, *, missing: Literal["skip", "create"] = "skip", removed: Literal["keep", "clear"] = "clear") -> Sync:
        """The kit's sync: the texts, and a field of each type that there is one for."""
        needed = self.needed if missing == "create" else {}
        types: dict[str, FieldType] = dict.fromkeys((self.text, self.other, *needed), "text")
        types |= {name: kind for kind, name in self.typed.items()}
        return Sync(
            name="service.kit",
            destination="service",
            source="kit",
            key="key",
            object=self.object,
            match={self.identifier: "who"},
            missing=missing,
            removed=removed,
            fields=tuple(Field(name=name, column=f"column_{name}", type=kind) for name, kind in types.items()),
            brakes=Brakes(),
            file=Path("mappings/service.toml"),
        )

    def change(
        self,
        number: int,
        fields: Mapping[str, Value],
        kind: Kind = "changed",
        before: Mapping[str, Value] | None = None,
    ) -> Change:
        """A change of record `number`; `before` is what the destination accepted last of these fields."""
        return Change(
            key=f"key-{number}",
            kind=kind,
            match={self.identifier: self.who(number)},
            fields=dict(fields),
            before=dict(before or {}),
            position=number,
        )


class HttpBench(Bench):
    """A bench of a service that is reached over HTTP, which is all but those in memory.

    The last three methods may be left out: their tests are then skipped, and say so.
    """

    job_records: ClassVar[int] = 1
    """Changes in a batch for which the destination starts a job, where it does that for large ones only."""

    @abstractmethod
    def requests(self) -> int:
        """How many requests have arrived at the service so far."""

    @abstractmethod
    def writes(self) -> Sequence[bytes]:
        """The bodies of the requests so far that write records; logins and readings are none."""

    @abstractmethod
    def trouble(
        self,
        kind: TroubleKind,
        *,
        status: int = 503,
        content: Any = None,
        headers: Mapping[str, str] | None = None,
        times: int | None = 1,
        only_writes: bool = True,
    ) -> None:
        """Order a fault for the next `times` requests that write records, or for all requests (None: for ever).

        `content` is the answer's body: text is a page of HTML, everything else goes as JSON.
        """

    def delay(self, kind: DelayKind, seconds: float, *, times: int | None = 1) -> bool:
        """Order a pause in the answer to the next `times` requests that write records; False when that cannot be had.

        slow: wait before answering, and apply at any time until then · stall: apply, send the headers, then nothing.
        """
        return False

    def expire(self, after: int) -> bool:
        """Let the credentials expire: so many more requests go well, of whatever kind, and each one after them is
        answered 401. False when that cannot be had."""
        return False

    def answer_short(self) -> bool:
        """Let the next request that writes records be applied, and answered in good form for fewer records than it had.

        False when that cannot be had, or when the service does not answer for each record.
        """
        return False
