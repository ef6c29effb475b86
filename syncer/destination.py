"""The contract between the engine and an adapter: what one must do, may do, and must not.

An adapter speaks to one kind of destination. It knows the vendor's words and wire; the engine knows
everything else. The engine owns time: pacing, repeating, waiting, concurrency, stopping and remembering
happen in `syncer.transport` and `syncer.delivery`, never in an adapter.

An adapter **must**
- send every request through a session of the `Transport` it was given (a vendor's client gets it mounted);
- send exactly `change.fields`: nothing that is absent, None as an explicit clear;
- yield exactly one `Outcome` for each change of a batch, as soon as it is known, in any order (of a large batch also
  an `Alike` for many of them);
- return "the destination refuses this record" as an outcome, never as an exception;
- survive being called from several threads at once, one batch each;
- be harmless when a batch is sent twice, or mark the one request that is not with `transport.ONCE`;
- yield a `Job` before it starts work that goes on without us (an upload), and take it up again in `resume`.

It **may** answer `read` (what the destination holds), `allowance` (how many requests are left today), `cut` (other
batches for a large plan), `quota` and `expires` (what its people should know in time); the base class has an honest
answer for adapters that do not. It may raise `DestinationUnusable` (rights, closed) from any method that asks the
service, as `CredentialsRefused` or `QuotaUsedUp` where it is that, so that alerts can say so; changes without an
outcome then count as unsent or in doubt, which the engine can tell. It lets `ServiceUnavailable` and `Stopping` from
the transport pass.

It **must not** retry, sleep, log a value or an address with a value in it, follow a redirect on a write,
put a secret into any text, or remember anything between runs.
"""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from syncer.change import Alike, Change, Held, Job, Outcome, Value, Wanted
from syncer.errors import DestinationUnusable, Problem

if TYPE_CHECKING:
    from syncer.mapping import Sync
    from syncer.stretch import Columnar, Piece
    from syncer.transport import Transport


class DestinationSettings(BaseModel):
    """The settings that every `[destinations.NAME]` has. An adapter's own settings are a subclass.

    Secrets are `pydantic.SecretStr`; references (`env:`, `file:`) are resolved before validation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    type: str = Field(default="", description="The adapter; left out, it is the section's own name.")
    timeout: float = Field(default=60.0, gt=0, le=600, description="Seconds a request may stay silent.")
    attempts: int = Field(default=5, ge=1, le=20, description="How often one request is tried in a run.")
    in_flight: int | None = Field(default=None, ge=1, le=64, description="Batches in flight at once, at most.")
    pace: int | None = Field(
        default=None, ge=1, description="Requests per pace period of this service, over all its syncs."
    )
    expires: datetime.date | None = Field(
        default=None, description="The last day of its credentials, so that alerts can tell before; as 2027-01-31."
    )


def fits_a_header(text: str) -> bool:
    """Whether a key can travel in a header: visible ASCII, on one line. What cannot, a library refuses aloud."""
    return text.isascii() and text.isprintable() and text == text.strip()


def _is_key(secret: SecretStr) -> SecretStr:
    if not fits_a_header(secret.get_secret_value()):
        raise ValueError("holds a line break, a blank at an end or letters beyond ASCII, and no key does; copy it anew")
    return secret


HeaderKey = Annotated[SecretStr, AfterValidator(_is_key)]
"""A secret that is sent in a header."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How many requests may start within a period, over everything that shares the credential."""

    requests: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ValueLimit:
    """What the destination forbids of a text; a row that breaks it is invalid before anything is sent."""

    utf8_bytes: int | None = None
    characters: int | None = None
    without: str = ""
    """Characters that may not occur in it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How changes of one sync are to be cut into batches, and what a value may be."""

    records: int
    """Changes in a batch, at most."""
    utf8_bytes: int | None = None
    """Sum of `weigh` over a batch, at most; None when only the count matters."""
    in_flight: int = 4
    """Batches in flight at once, at most; there are four at first. The user may set another maximum."""
    timestamp_unit: Literal["second", "millisecond", "microsecond"] = "second"
    """What the destination keeps of a timestamp; the rest is cut off before comparing."""
    values: Mapping[str, ValueLimit] = field(default_factory=dict)
    """Destination field → limit of its text."""
    identifiers: Mapping[str, ValueLimit] = field(default_factory=dict)
    """Identifier of the match → limit of its text."""
    caseless: frozenset[str] = frozenset()
    """Identifiers that the destination compares without regard to case (and surrounding blanks)."""
    relations: Mapping[str, ValueLimit] = field(default_factory=dict)
    """Name in the sync's `relate` → limit of an identifier there."""
    whole: bool = False
    """Whether changes need `held`: the fields that do not leave, as they were accepted."""
    way: str = ""
    """What this way of writing is called (`Bulk API 2.0`), where there are several; shown with a plan's cost."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Requests of a period that the account may still make, with a share of `allowed` left to others."""

    used: int
    allowed: int
    reserve: float
    """Share of `allowed` that is never used up from here, of 1."""
    period: str = "24 hours"

    @property
    def left(self) -> int:
        """How many of them this process may make."""
        return max(0, int(self.allowed * (1 - self.reserve)) - self.used)


class Destination(ABC):
    """One configured account at a service. Making one asks nothing of the service."""

    kind: ClassVar[str]
    """The adapter's name in the config, which is its module's name too: `customerio`."""
    settings_type: ClassVar[type[DestinationSettings]] = DestinationSettings
    title: ClassVar[str]
    """What people call the service: `customer.io`."""
    takes_several_objects: ClassVar[bool] = False
    """Whether a record may be one of several objects (`object = ["Contact", "Lead"]`)."""
    relates: ClassVar[bool] = False
    """Whether records can be related to others (`relate`)."""

    def __init__(self, name: str, settings: Any, transport: Transport) -> None:
        self.name = name
        self.settings = settings
        self.transport = transport

    @classmethod
    @abstractmethod
    def pace(cls, settings: Any) -> Pace:
        """The service's published rate, lowered or raised by `settings.pace`."""

    @classmethod
    def account(cls, settings: Any) -> str:
        """What the pace is shared by: equal texts share it. Never a secret itself (hash it)."""
        return ""

    @abstractmethod
    def refuse(self, sync: Sync) -> Iterable[Problem]:
        """What is wrong with this mapping as it stands in the file; asks nothing of the service.

        Place of a problem: the path inside the sync, as `fields.Score__c`, `match`, `object`, `removed`.
        """

    @abstractmethod
    def limits(self, sync: Sync) -> Limits:
        """Batch and value limits for this sync; asks nothing of the service."""

    @abstractmethod
    def check(self, sync: Sync) -> Iterable[Problem]:
        """Credentials, object and fields, asked of the service; every problem at once; changes nothing."""

    @abstractmethod
    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome | Alike | Job]:
        """Send one batch (within `cut`) and yield one outcome per change as soon as it is known.

        Where `cut` allows more than `HELD_MAX` changes, or the batch was weighed by `texts`, it is a `Stretch`: a
        sequence that makes objects whenever it is gone through, and has columns, which are much less work. Of its
        changes an `Alike` may tell many at once.

        A deferred outcome with `again` is tried again by the engine: the records come in another, smaller call.
        """

    def cut(self, sync: Sync, planned: int) -> Limits:
        """The limits for a plan of so many changes; asks nothing of the service.

        Only `records`, `utf8_bytes`, `in_flight` and `way` may differ from `limits`.
        """
        return self.limits(sync)

    def resume(self, sync: Sync, job: str, changes: Sequence[Change]) -> Iterator[Outcome | Alike | Job]:
        """Take up a batch whose process died after it had yielded this job; yields as `push` does.

        A change without an outcome stays in doubt, which is what an adapter without jobs says of all of them. Must
        not start anything again: what is in doubt goes out with the next plan.
        """
        return iter(())

    def read(self, sync: Sync, records: Iterable[Wanted]) -> Iterator[Held]:
        """What the destination holds of these records, of the sync's fields; one `Held` each, in any order.

        For adopt, verify and undo. `records` may be many, and are taken in pieces as large as the service allows.
        Raises DestinationUnusable also when the service cannot be read.
        """
        raise DestinationUnusable(f"{self.title} cannot be read back, so there is nothing to compare with.")

    def holds(self, sync: Sync, name: str, value: Value, held: object) -> bool:
        """Whether `held`, as `read` gave it for this field, is this value of ours. Asks nothing."""
        return value == held and isinstance(value, bool) == isinstance(held, bool)

    def allowance(self, sync: Sync) -> Allowance | None:
        """How many requests the account may still make, asked of the service before a plan is sent.

        None where nothing is counted, or the service does not say; better an answer that a push needs anyway.
        """
        return None

    def quota(self) -> Allowance | None:
        """What `allowance` said, with what the answers since then have told; asks nothing.

        None where nothing was told yet. It is asked when a run has ended, for metrics and alerts.
        """
        return None

    @classmethod
    def expires(cls, settings: Any) -> datetime.date | None:
        """The last day of the credentials, as they tell it themselves or `settings.expires` says; asks nothing."""
        told: datetime.date | None = settings.expires
        return told

    @abstractmethod
    def requests(self, sync: Sync, changes: Sequence[Change]) -> int:
        """How many requests `push` will need for this batch when all goes well."""

    def weigh(self, sync: Sync, change: Change) -> int:
        """UTF-8 bytes that this change adds to a batch; only asked when `limits` has `utf8_bytes`.

        What it takes to know that may stay in `change.worked_out` for `push`.
        """
        return 0

    def texts(self, sync: Sync, piece: Piece) -> Columnar | None:
        """What each of these changes becomes in a request's body, as text, made by columns; its UTF-8 bytes are its
        weight. They are the `texts` of a `Stretch` that is held.

        None for changes that are to be weighed one by one; of one sync it is all of them or none.
        """
        return None
