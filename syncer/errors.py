"""What can go wrong, sorted by what happens next.

SyncerError
├── UserError               someone edits a file (or a setting, or a right) and tries again
├── DestinationUnusable     this destination stops, for all its syncs; the others go on
│   ├── CredentialsRefused  somebody gives it other credentials
│   ├── QuotaUsedUp         later runs go on by themselves
│   └── Redirected          it answered with another address, which is not followed
├── ServiceUnavailable      this run tried and tried; the records wait for the next run
├── Stopping                this process was asked to stop; nothing new starts
├── SyncBusy                another process runs this sync
├── NotDue                  another process has run this sync meanwhile, and that will do
└── StateDamaged            the state cannot be trusted; a person looks
    ├── StateUnreachable    the server of the control store does not answer; the next run asks again
    └── LeaseLost           another process holds the sync now; this one may not write any more

A refused record is none of these: it is an `Outcome`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that a person has to mend: where it is, and a sentence that ends with the next step."""

    place: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.place}: {self.sentence}" if self.place else self.sentence


class SyncerError(Exception):
    """The root of the errors that Syncer raises on purpose; its text is a sentence for people."""

    cause: ClassVar[str] = "fault"
    """One word for what is wrong, by which runs that failed alike are found to be alike."""
    is_of_source: bool = False
    """Whether it is the source that could not be asked, and no destination is to blame."""


def cause_of(error: Exception) -> str:
    """One word for what an error is about, by which runs that failed alike are found to be alike."""
    if not isinstance(error, SyncerError):
        return SyncerError.cause
    return "source" if error.is_of_source else error.cause


class UserError(SyncerError):
    """Everything that was found wrong at once, so that nobody mends one thing to meet the next."""

    cause = "setting"

    def __init__(self, problems: Iterable[Problem] | str) -> None:
        if isinstance(problems, str):
            problems = [Problem("", problems)]
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class DestinationUnusable(SyncerError):
    """The destination itself cannot be used (credentials, rights, closed, quota): its syncs end here."""

    cause = "destination"


class CredentialsRefused(DestinationUnusable):
    """The destination does not take the credentials, or no longer."""

    cause = "credentials"


class QuotaUsedUp(DestinationUnusable):
    """The destination takes no more requests for now, or only those that are left to others."""

    cause = "quota"


class Redirected(DestinationUnusable):
    """The destination answered with a redirect; `location` is where to, for adapters that can tell what it means."""

    def __init__(self, sentence: str, *, location: str) -> None:
        super().__init__(sentence)
        self.location = location


class ServiceUnavailable(SyncerError):
    """A request got no useful answer although it was repeated as often as allowed.

    `doubt` is true when a write may have been applied all the same (a cut connection, a timeout, a 5xx),
    and false when the service said that it was not (a 429).
    """

    cause = "unavailable"

    def __init__(self, sentence: str, *, doubt: bool) -> None:
        super().__init__(sentence)
        self.doubt = doubt


class Stopping(SyncerError):
    """The process was asked to stop before this request could start, or while it waited to be repeated."""

    cause = "stopped"

    def __init__(self, *, doubt: bool = False) -> None:
        super().__init__("The process was asked to stop.")
        self.doubt = doubt


class SyncBusy(SyncerError):
    """Another process runs this sync; the sentence says who and since when."""

    cause = "busy"


class NotDue(SyncerError):
    """Another process has run this sync since the run was planned, so there is no need of another one yet."""


class StateDamaged(SyncerError):
    """A file of the state is damaged, missing, or of a newer version than this program knows."""

    cause = "state"


class StateUnreachable(StateDamaged):
    """The server that has the control store did not answer, or cut the connection. What was to be written counts as not
    written, so nothing leaves."""


class LeaseLost(StateDamaged):
    """This process was silent for so long that another one may hold its sync; the sentence says who does."""
