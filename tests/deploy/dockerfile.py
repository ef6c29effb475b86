"""A Dockerfile as its instructions, for tests where there is no engine to build it."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from tests.workplace import PROJECT


@dataclass
class Stage:
    """One FROM and what follows it: (instruction, its text), line continuations joined."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        """The texts of one instruction."""
        return [text for word, text in self.steps if word == instruction]

    @property
    def environment(self) -> dict[str, str]:
        """What ENV sets."""
        return dict(word.split("=", 1) for text in self.all("ENV") for word in shlex.split(text))

    @property
    def healthcheck(self) -> list[str]:
        """The words of its command."""
        (text,) = self.all("HEALTHCHECK")
        return [str(word) for word in json.loads(text[text.index("[") :])]

    @property
    def sources(self) -> list[str]:
        """What COPY takes from the folder that is built."""
        words = [shlex.split(text) for text in self.all("COPY")]
        return [source for copied in words if not copied[0].startswith("--from") for source in copied[:-1]]


def stages(path: Path = PROJECT / "Dockerfile") -> list[Stage]:
    """The stages of a Dockerfile, first to last."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found: list[Stage] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, text = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = text.partition(" AS ")
            found.append(Stage(base, name))
        else:
            found[-1].steps.append((word, " ".join(text.split())))
    return found
