"""Syncer in this process: the syncs of one destination, run as `syncer sync DESTINATION` runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from syncer import documents
from syncer.account import Options
from syncer.cli.frame import load, open_engine
from syncer.errors import SyncerError


def destinations(config_file: Path) -> list[str]:
    """The names of the configured destinations. Raises UserError."""
    return sorted(load(config_file).destinations)


def deliver(config_file: Path, name: str, trigger: str) -> list[dict[str, Any]]:
    """Run the syncs of a destination, or one sync: a result for each, as in `syncer sync --json`.

    `trigger` says in the journal who started the runs. Raises UserError for mistakes in the files; what goes wrong
    later is in the results.
    """
    config = load(config_file)
    found = []
    with open_engine(config) as engine:
        for prepared in engine.prepare_all(config.choose([name]), trigger=trigger):
            try:
                found.append(documents.sync(engine.run(prepared, Options(trigger=trigger))))
            except SyncerError as error:
                found.append(documents.failed(prepared.sync.name, str(error)))
    return found


def troubles(results: list[dict[str, Any]]) -> list[str]:
    """Why these results are not what they should be: a sentence for each sync that was held or failed."""
    found = []
    for one in results:
        if one["result"] == "held":
            first, *others = one["holds"]
            more = f" Other brakes hold it too: {', '.join(hold['brake'] for hold in others)}." if others else ""
            found.append(f"{one['sync']} is held, nothing of it was sent. {first['sentence']}{more}")
        elif one["result"] == "failed":
            found.append(f"{one['sync']} failed. {one['error']}")
    return found
