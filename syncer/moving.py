"""Moving the state: from the disk into BigQuery, from a file to a server, and back, without sending anything again.

What is remembered is written anew where it shall lie, and one commit makes it valid there. Until then the old place is
untouched, and the move can be begun again; after it the old place is of no use any more.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from syncer.calculator import calculator
from syncer.control import Control
from syncer.errors import StateDamaged, UserError
from syncer.run import Engine
from syncer.state import Relation, State, matches_in, slots_in, state_is_readable


@dataclass(frozen=True, slots=True)
class Moved:
    """One sync, and how many of its records were moved; None when it was there already."""

    sync: str
    records: int | None


def move(old: Engine, new: Engine) -> list[Moved]:
    """Move the state of every sync from where one config says to where another does. Nothing is sent.

    Raises SyncBusy when a sync is running, UserError, StateDamaged and ServiceUnavailable; the old place is then valid
    as it was, but for syncs that are already moved, where both use one control store.
    """
    here = old.control()
    is_one_store = _store(old) == _store(new)
    if not is_one_store and old.config.state.path.resolve() == new.config.state.path.resolve():
        raise UserError(
            f"The folder {old.config.state.path} belongs to the present control store. Name another `state.path` "
            "beside the new one."
        )
    if not is_one_store and new.control().syncs():
        raise UserError(
            "The control store to move to knows syncs already. Name an empty one (another `state.control_schema`, or "
            "another `state.path`)."
        )
    moved: list[Moved] = []
    with contextlib.ExitStack() as stack:
        held = {sync: stack.enter_context(here.exclusively(sync)) for sync in here.syncs()}
        bases: dict[str, tuple[str | None, int]] = {}
        for sync, control in held.items():
            _settle(old, control, sync)
            standing = control.standing(sync)
            is_there = is_one_store and _lies_in(new.state(sync), control)
            if is_there or standing.sync_id is None:
                moved.append(Moved(sync, None))
                continue
            base, records = _written(old, new, control, sync)
            if is_one_store and base is not None:
                control.fold(standing.sync_id, base, records, standing.base_file)
                old.state(sync).leave()
            bases[sync] = base, records
            moved.append(Moved(sync, records))
        if not is_one_store:
            here.copy_to(new.control(), bases)
    return moved


def _settle(engine: Engine, control: Control, sync: str) -> None:
    """Close what a killed process left open; the history has everything."""
    control.recover(sync)
    if control.left_behind(sync):
        raise UserError(
            f"{sync}: a job of the last run may still be at work at the destination. Run `syncer sync {sync}`, which "
            "looks after it, and move then."
        )
    mapped = next((one for one in engine.config.syncs if one.name == sync), None)
    if mapped is not None and not engine.note(engine.state(sync), control, mapped):
        raise StateDamaged(f"{sync}: its history cannot be brought up to date, so nothing was moved.")


def _written(old: Engine, new: Engine, control: Control, sync: str) -> tuple[str | None, int]:
    """Values and history of a sync, written where they shall lie: the base's name, and its records."""
    there, here = new.state(sync), old.state(sync)
    here.make()
    there.make()
    inputs = here.opened(old.inputs(here, control, control.standing(sync)))
    slots, matches = slots_in(inputs.standing, inputs.files), matches_in(inputs.standing)
    for part in control.history(sync):
        file = here.here(part.file)
        if file.parent != there.folder:
            shutil.copy2(file, there.folder / part.file)
        there.keep(there.folder / part.file)
    with calculator(there.folder) as connection, state_is_readable(sync, inputs.files):
        if not Relation(connection, matches).attach(inputs.base, inputs.plans, slots):
            return None, 0
        return there.whole(connection, slots, matches)


def _lies_in(state: State, control: Control) -> bool:
    """Whether the values of a sync are in a state of this kind already."""
    try:
        state.refuse_elsewhere(control.standing(state.sync))
    except StateDamaged:
        return False
    return bool(control.standing(state.sync).base_file)


def _store(engine: Engine) -> Sequence[object]:
    where = engine.config.state
    url = where.control.get_secret_value() if where.control else None
    return (url, where.control_schema) if url else (where.path.resolve(),)
