"""Where every sync stands: what `status` and the service show. Reads only."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from syncer import documents
from syncer.control import Control, Latest, Pause
from syncer.errors import StateDamaged, SyncerError
from syncer.mapping import Sync
from syncer.schedule import Schedule, next_start, quiet_until
from syncer.state import State, look_again
from syncer.workshop import Workshop

Modified = Callable[[Sync], datetime.datetime | None]
"""When a sync's source last changed; None where nobody can tell."""


def overview(workshop: Workshop, syncs: Sequence[Sync], modified: Modified | None = None) -> dict[str, Any]:
    """The document of `status --json`. Raises StateDamaged when the control store cannot be read.

    The source is asked for its last change, unless `modified` answers for it.
    """
    control = Control.look(workshop.config.state)
    try:
        queued = Counter(one.sync for one in control.waiting() if one.state == "queued") if control else Counter[str]()
        pauses = control.pauses() if control else {}
        latest = control.latest() if control else {}
        found = []
        for sync in syncs:
            standing = _Standing(pauses.get(sync.name), queued[sync.name], latest.get(sync.name))
            found.append(_one(workshop, sync, control, standing, modified or modified_of(workshop)))
        return {"syncs": found}
    finally:
        if control:
            control.close()


def modified_of(workshop: Workshop) -> Modified:
    """Asks the source itself. A warehouse out of reach is `check`'s and the next run's business."""

    def modified(sync: Sync) -> datetime.datetime | None:
        try:
            return workshop.source.modified(sync)
        except SyncerError:
            return None

    return modified


def schedule_of(workshop: Workshop, sync: Sync) -> Schedule:
    """The schedule that a sync runs by: its own, or that of the config."""
    return sync.schedule or workshop.config.schedule


def next_start_of(
    schedule: Schedule, sync: Sync, latest: Latest | None, now: datetime.datetime
) -> datetime.datetime | None:
    """When the daemon starts a sync next, as far as the clock decides it.

    A span counts from the last start, so a daemon that is restarted neither forgets a run nor repeats one; a sync that
    never ran begins at once. A cron that was missed while nobody watched comes at once, and once.
    """
    if schedule.after is not None:
        return None
    if latest is None:
        start = next_start(schedule, sync.name, now) if schedule.cron else now
    else:
        start = next_start(schedule, sync.name, datetime.datetime.fromtimestamp(latest.started, datetime.UTC))
    if start is None or start > now:
        return start
    return quiet_until(schedule, now) or now


class _Standing:
    """What the daemon's tables say of one sync."""

    def __init__(self, pause: Pause | None, queued: int, latest: Latest | None) -> None:
        self.pause, self.queued, self.latest = pause, queued, latest


def _one(
    workshop: Workshop, sync: Sync, control: Control | None, standing: _Standing, modified: Modified
) -> dict[str, Any]:
    state = workshop.state(sync.name)
    count, damage = _known(state, control, len(sync.match))
    schedule = schedule_of(workshop, sync)
    now = datetime.datetime.fromtimestamp(workshop.now(), datetime.UTC)
    document = documents.status(
        sync,
        control,
        title=workshop.title(sync.destination),
        known=count,
        holder=control.holder(sync.name) if control else None,
        next_run=None if standing.pause else next_start_of(schedule, sync, standing.latest, now),
        schedule=schedule.text,
        modified=modified(sync),
        pause=standing.pause,
        queued=standing.queued,
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
