"""A custom activity for each step that changes, where the settings ask for one.

Source: `activity` in the vendor's OpenAPI document of June 2023, https://github.com/api-evangelist/orbit.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from destinations.orbit_parts.rules import TAG
from destinations.orbit_parts.values import step_of, steps_held, steps_in
from syncer.change import Change, Value


@dataclass(frozen=True, slots=True)
class Crossing:
    """A step that is to change: prefix of its tags, the step that the member holds (or none), and the next one."""

    prefix: str
    before: str
    after: str


def crossings(tags: Sequence[str], fields: Mapping[str, Value]) -> Iterator[Crossing]:
    """The steps that are to change in a member with these tags. One that is taken off leads nowhere and is none."""
    for name, value in steps_in(fields).items():
        after, held = step_of(value), steps_held(name, tags)
        if after and after.casefold() not in {step.casefold() for step in held}:
            yield Crossing(name.removeprefix(TAG), ", ".join(sorted(held)), after)


@dataclass(frozen=True, slots=True)
class Telling:
    """How a crossing is told: type and weight of its activity, the sync, and the day (UTC) on which the run began.

    The key says which crossing it is, so whoever tells of it again that day, after a crash or a lost answer, names
    an activity that is there already. That day is what two crossings of the same kind are told apart by, and so two
    things remain: the same crossing twice in a day is told once; and one that was told while its tag could not be
    written (the run died, the tags kept moving, the service refused another field) is told again by a run of the next
    day, UTC.
    """

    kind: str
    weight: str
    sync: str
    date: datetime.date

    def activity(self, change: Change, crossing: Crossing) -> dict[str, Any]:
        """The activity of a crossing, as a known member's timeline takes it."""
        whole = [self.sync, change.key, crossing.prefix, crossing.before, crossing.after, self.date.isoformat()]
        # Nobody's key of a row belongs into everybody's timeline, so it is not legible there.
        digest = hashlib.sha256(json.dumps(whole).encode()).hexdigest()
        path = f"{crossing.before} → {crossing.after}" if crossing.before else crossing.after
        return {
            "title": f"{crossing.prefix}: {path}",
            "activity_type_key": self.kind,
            "key": f"syncer-{digest[:40]}",
            "weight": self.weight,
            "properties": {"prefix": crossing.prefix, "from": crossing.before, "to": crossing.after},
        }
