"""Where every sync stands: what `status` and the service show. Reads only."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from syncer import documents, schedule
from syncer.control import Control
from syncer.errors import StateDamaged, SyncerError
from syncer.mapping import Sync
from syncer.run import Engine
from syncer.state import State, look_again


def overview(engine: Engine, syncs: Sequence[Sync]) -> dict[str, Any]:
    """The document of `status --json`. Raises StateDamaged when the control store cannot be read."""
    control = Control.look(engine.config.state)
    try:
        return {"syncs": [_one(engine, sync, control) for sync in syncs]}
    finally:
        if control:
            control.close()


def _one(engine: Engine, sync: Sync, control: Control | None) -> dict[str, Any]:
    state = engine.state(sync.name)
    try:
        modified = engine.source.modified(sync)
    except SyncerError:
        # A warehouse out of reach is `check`'s and the next run's business; what is remembered can still be shown.
        modified = None
    count, damage = _known(state, control, len(sync.match))
    holder = control.holder(sync.name) if control else None
    document = documents.status(
        sync, control, known=count, holder=holder, next_run=_next_run(engine, sync, control), modified=modified
    )
    if damage is None:
        return document | {"error": None}
    # However well the last run went, the next one cannot begin.
    return document | {"state": "failed", "error": damage}


def _known(state: State, control: Control | None, matches: int) -> tuple[int, str | None]:
    """How many records are known, and what is wrong with the files that tell."""
    if control is None:
        return 0, None
    try:
        return look_again(lambda: state.known(control, matches)), None
    except StateDamaged as error:
        return 0, str(error)


def _next_run(engine: Engine, sync: Sync, control: Control | None) -> datetime.datetime:
    plan = schedule.parse(sync.schedule) if sync.schedule else engine.config.schedule
    now = datetime.datetime.now(datetime.UTC)
    if plan.cron:
        return schedule.next_run(plan, now)
    runs = control.runs(sync.name) if control else []
    if not runs:
        return now
    return max(now, schedule.next_run(plan, datetime.datetime.fromtimestamp(runs[0].started, datetime.UTC)))
