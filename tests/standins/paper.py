"""A kind of destination that exists on paper only: just enough of an adapter to read files against."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, SecretStr

from syncer.change import Change, Outcome
from syncer.destination import Destination, DestinationSettings, Limits, Pace
from syncer.errors import Problem
from syncer.mapping import Sync

KINDS = ("cardboard", "paper")


class PaperSettings(DestinationSettings):
    base_url: str = Field(description="Where it answers.")
    api_key: SecretStr = Field(description="A secret.")
    region: Literal["us", "eu"] = Field(default="us", description="Where it is.")
    labels: dict[str, str] = Field(default={}, description="A table of texts.")


class Paper(Destination):
    """Takes letters, and refuses everything else before it is asked to send."""

    kind: ClassVar[str] = "paper"
    title: ClassVar[str] = "Paper"
    settings_type: ClassVar[type[DestinationSettings]] = PaperSettings

    @classmethod
    def pace(cls, settings: Any) -> Pace:
        return Pace(100, 1.0)

    def refuse(self, sync: Sync) -> Iterable[Problem]:
        if sync.object == "leak":
            yield Problem("object", f"the key {self.settings.api_key.get_secret_value()} knows no leaks")
        elif sync.object != "letter":
            yield Problem("object", f"There is no object {sync.object!r} at Paper. Write letter.")
        for field in sync.fields:
            if field.name.startswith("ink."):
                yield Problem(f"fields.{field.name}", "Ink cannot be written. Take it out.")

    def limits(self, sync: Sync) -> Limits:
        return Limits(records=10)

    def check(self, sync: Sync) -> Iterable[Problem]:
        self.transport.session().get(f"{self.settings.base_url}/letters")
        return []

    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        raise AssertionError("Reading files sends nothing.")

    def requests(self, sync: Sync, changes: Sequence[Change]) -> int:
        return 1


def adapter(kind: str) -> type[Destination]:
    """The registry: `paper` works, `cardboard` cannot be imported, everything else is unknown."""
    if kind == "cardboard":
        raise ImportError("No module named 'scissors'")
    if kind != "paper":
        raise KeyError(kind)
    return Paper


def kinds() -> tuple[str, ...]:
    return KINDS
