"""Which kind of state the config asks for: on this machine's disk, or in BigQuery."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from syncer.config import Config
from syncer.mapping import Brakes, Sync
from syncer.source import Source
from syncer.state import State


def states_of(config: Config, source: Source) -> Callable[[str], State]:
    """Sync → where its values lie; only the library of that place is imported. Opens nothing."""
    settings = config.state
    if settings.type == "local":
        return lambda sync: State(settings.path, sync)
    from syncer.inbigquery import BigQueryState, Dataset
    from syncer.sources.bigquery import BigQuery

    assert isinstance(source, BigQuery)  # noqa: S101 - made of the same settings
    dataset = Dataset(source, settings.dataset)
    mapped = {sync.name: sync for sync in config.syncs}

    def state(sync: str) -> State:
        # One that is mapped no more can still be forgotten, and only its name is known.
        return BigQueryState(settings.path, mapped.get(sync) or _by_name(sync), dataset)

    return state


def _by_name(sync: str) -> Sync:
    nothing: dict[str, Any] = {"match": {}, "fields": (), "brakes": Brakes(), "file": Path()}
    return Sync.model_construct(name=sync, destination="", source="the state", key="", object="", **nothing)
