"""Dropping remembered values: so that they are sent again, or because somebody has a right to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from syncer import history
from syncer.calculator import calculator
from syncer.control import Control
from syncer.errors import StateDamaged, UserError
from syncer.run import Engine
from syncer.state import State


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased: records of the state, and entries of the history."""

    records: int
    entries: int


def forget(engine: Engine, sync: str, keys: Sequence[str]) -> int:
    """Forget some keys, or the whole sync; returns how many records were known. Their history stays.

    Raises SyncBusy when the sync runs just now. A whole sync can be forgotten even when its files are damaged.
    """
    state = engine.state(sync)
    with engine.control().exclusively(sync) as control:
        return _forget(engine, state, control, keys)


def erase(engine: Engine, sync: str, keys: Sequence[str]) -> Erased:
    """Forget some keys, or the whole sync, with their history, so that no file of the state holds a value of theirs.

    What was garbage already, and what is by this, is deleted at once: whoever reads it just now looks again. It can be
    repeated when it was interrupted. Raises what `forget` does.
    """
    state = engine.state(sync)
    with engine.control().exclusively(sync) as control:
        records = _forget(engine, state, control, keys)
        if keys:
            entries = history.without(state, control, keys)
        else:
            parts = control.history(sync)
            entries = sum(part.rows for part in parts)
            control.rewrite_history(sync, [part.file for part in parts], None)
        state.compact(control)
        state.clean(control, garbage_seconds=0.0)
        control.scrub()
        return Erased(records, entries)


def _forget(engine: Engine, state: State, control: Control, keys: Sequence[str]) -> int:
    """The caller holds the sync. The history has everything before anything is dropped."""
    sync = state.sync
    state.make()
    control.recover(sync)
    mapped = next((one for one in engine.config.syncs if one.name == sync), None)
    is_noted = mapped is None or engine.note(state, control, mapped)
    if keys:
        if not is_noted:
            raise StateDamaged(f"{sync}: its history cannot be brought up to date, so nothing was forgotten.")
        if control.left_behind(sync):
            raise UserError(
                f"{sync}: a job of the last run may still be at work at the destination. Run `syncer sync {sync}`, "
                "which looks after it, and forget the keys then."
            )
        with calculator(state.folder) as connection:
            return state.forget_keys(control, keys, connection)
    try:
        number = state.known(control, 1)
    except StateDamaged:
        number = 0
    control.forget(sync)
    return number
