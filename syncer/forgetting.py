"""Dropping remembered values, so that they are sent again."""

from __future__ import annotations

from collections.abc import Sequence

from syncer.compare import calculator
from syncer.errors import StateDamaged, UserError
from syncer.run import Engine
from syncer.state import State, forget_keys, known


def forget(engine: Engine, sync: str, keys: Sequence[str]) -> int:
    """Forget some keys, or the whole sync; returns how many records were known.

    Raises SyncBusy when the sync runs just now. A whole sync can be forgotten even when its files are damaged.
    """
    state, control = State(engine.config.state.path, sync), engine.control()
    with state.exclusively():
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
                return forget_keys(state, control, keys, connection)
        try:
            number = known(state, control, 1)
        except StateDamaged:
            number = 0
        control.forget(sync)
        return number
