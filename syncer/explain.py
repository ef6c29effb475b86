"""One record's life: what its destination accepted and refused, what it holds now as far as we know, and what comes
next. Reads only, and needs no lock, so it works while the daemon runs.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from syncer import sql
from syncer.calculator import calculator, temporary_folder
from syncer.change import Change, Value
from syncer.control import Control, Parked
from syncer.errors import SyncerError, UserError
from syncer.history import Entry, life
from syncer.mapping import Sync
from syncer.plan import field_values_of, values_of
from syncer.run import Engine
from syncer.state import Inputs, Relation, look_again, slots_in, state_is_readable


@dataclass(frozen=True, slots=True)
class Present:
    """What is known of one field now: the value that was accepted, or one whose fate nobody knows."""

    value: Value
    is_doubtful: bool
    is_mapped: bool


@dataclass(slots=True)
class Life:
    """All that can be told of one record."""

    sync: Sync
    key: str
    match: Mapping[str, str] = field(default_factory=dict)
    """How the record was found last; empty when the state has no such record."""
    fields: dict[str, Present] = field(default_factory=dict)
    """In the order of the mapping, then those that are not mapped any more."""
    parked: Parked | None = None
    entries: list[Entry] = field(default_factory=list)
    change: Change | None = None
    """What the next plan would send."""
    sentence: str = ""
    """Why it would not send anything, or why nobody can say."""

    @property
    def is_known(self) -> bool:
        """Whether anything at all is known of the key."""
        return bool(self.match or self.parked or self.entries or self.change)


def explain(engine: Engine, sync: Sync, key: str, *, is_offline: bool = False) -> Life:
    """What is known of a record. The source is read for what comes next, unless `is_offline`.

    Raises StateDamaged. A source that cannot be read is a sentence in what is returned.
    """
    told = _remembered(engine, sync, key)
    if is_offline:
        told.sentence = "The source was not asked."
        return told
    try:
        with engine.diff(engine.prepare(sync), [key]) as plan:
            told.change = next(plan.changes_of([key]), None)
            invalid = next((one.sentence for one in plan.invalid_rows if one.key == key), None)
    except UserError as error:
        told.sentence = " ".join(problem.sentence for problem in error.problems)
    except SyncerError as error:
        told.sentence = str(error)
    else:
        if told.change is None:
            told.sentence = invalid or _why_nothing(told)
    return told


def _why_nothing(told: Life) -> str:
    if told.parked is not None:
        again = "when its time has come, " if told.parked.next_at is not None else ""
        return (
            f"Nothing before the values change: it is parked. It goes {again}when they do, or after "
            f"`syncer rejected {told.sync.name} --retry {told.key}`."
        )
    return "Nothing: the source says what was accepted, or does not name the record."


def _remembered(engine: Engine, sync: Sync, key: str) -> Life:
    """Without the source."""
    since = engine.now() - engine.config.history.keep_seconds

    def look() -> Life:
        told = Life(sync, key)
        control = Control.look(engine.config.state)
        if control is None:
            return told
        with contextlib.closing(control):
            told.parked = next((one for one in control.parked(sync.name) if one.key == key), None)
            state = engine.state(sync.name)
            told.entries = life(state, control, key, since)
            inputs = engine.inputs(state, control, control.standing(sync.name))
            _look_up(state.opened(inputs, [key]), told)
            return told

    return look_again(look)


def _look_up(inputs: Inputs, told: Life) -> None:
    """The record's row of the state, if there is one."""
    standing = inputs.standing
    slots = slots_in(standing, inputs.files)
    match = list(json.loads(standing.identity or "{}").get("match", {}))
    with (
        temporary_folder("syncer-") as folder,
        calculator(folder) as connection,
        state_is_readable(told.sync.name, inputs.files),
    ):
        if not Relation(connection, len(match)).attach(inputs.base, inputs.plans, slots, key=told.key):
            return
        found = connection.sql(f"SELECT * FROM state WHERE key = {sql.literal(told.key)}").to_arrow_table()
    for batch in found.to_batches():
        if batch.num_rows:
            told.match = {name: values_of(batch, f"m{number}")[0] for number, name in enumerate(match)}
            sent, doubt = values_of(batch, "_sent")[0], values_of(batch, "_doubt")[0]
            mapped = [one.name for one in told.sync.compared]
            by_name = {slot.name: slot for slot in slots if (sent | doubt) & slot.bit}
            for name in [*(one for one in mapped if one in by_name), *(one for one in by_name if one not in mapped)]:
                slot = by_name[name]
                value = field_values_of(batch, slot.column, slot)[0]
                told.fields[name] = Present(value, bool(doubt & slot.bit), name in mapped)
