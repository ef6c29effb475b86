"""Which kind of state the config asks for: on this machine's disk, or in BigQuery."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from syncer.config import Config
from syncer.mapping import Brakes, Sync
from syncer.source import Source
from syncer.state import State

if TYPE_CHECKING:
    from syncer.inbigquery import Dataset


class States:
    """The states of all syncs of a config. Making it opens nothing, and only the library of their place is imported."""

    def __init__(self, config: Config, source: Source) -> None:
        self._settings = config.state
        self._mapped = {sync.name: sync for sync in config.syncs}
        self._dataset: Dataset | None = None
        if config.state.type == "bigquery":
            from syncer.inbigquery import Dataset
            from syncer.sources.bigquery import BigQuery

            assert isinstance(source, BigQuery)  # noqa: S101 - the config sees to that
            self._dataset = Dataset(source, config.state.dataset)

    def of(self, sync: str) -> State:
        """Where the values of a sync lie; opens nothing."""
        if self._dataset is None:
            return State(self._settings.path, sync)
        from syncer.inbigquery import BigQueryState

        # One that is mapped no more can still be forgotten, and only its name is known.
        return BigQueryState(self._settings.path, self._mapped.get(sync) or _by_name(sync), self._dataset)

    def check(self) -> str | None:
        """Look whether values can lie there, and change nothing; what was looked at. Raises SyncerError."""
        if self._dataset is None:
            return None
        self._dataset.check()
        return f"the dataset {self._dataset.name}"


def _by_name(sync: str) -> Sync:
    nothing: dict[str, Any] = {"match": {}, "fields": (), "brakes": Brakes(), "file": Path()}
    return Sync.model_construct(name=sync, destination="", source="the state", key="", object="", **nothing)
