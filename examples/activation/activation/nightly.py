"""A night as a Prefect flow: dbt, then Syncer in the same process, then a summary: `python -m activation.nightly`.

Without an account and without a server: Prefect starts one of its own on this machine for as long as the flow runs.
With `PREFECT_API_URL` set, the flow reports to the server there.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from activation.transform import HOME, BuildFailed, Project

# Prefect reads its settings when it is imported. What somebody has set already stays.
os.environ.setdefault("PREFECT_HOME", str(HOME / ".prefect"))
os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "true")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from activation import delivery
from syncer.errors import UserError

CRON = "30 4 * * *"
"""Half an hour after midnight's raw tables are usually complete."""
ARTIFACT, ABOUT = "activation-night", "What the night came to"
COUNTS = ("planned", "accepted", "rejected", "deferred", "unsent")

Results = list[dict[str, Any]]


@task(name="dbt build")
def build(as_of: str | None) -> dict[str, int]:
    """Seeds, models, snapshots and their tests; how many came to which status."""
    return Project().build(as_of)


@task(name="syncer sync", task_run_name="syncer sync {destination}")
def deliver(config_file: Path, destination: str) -> Results | State[Results]:
    """The syncs of one destination. One that is held or has failed makes the task fail, with the reason."""
    try:
        results = delivery.deliver(config_file, destination, trigger="prefect")
    except UserError as error:
        return Failed(message=str(error), data=[])
    if sentences := delivery.troubles(results):
        return Failed(message=" ".join(sentences), data=results)
    return results


@flow(name="activation-nightly")
def nightly(config_file: Path = HOME / "config.toml", as_of: str | None = None) -> State[str]:
    """dbt build → `syncer sync` for each destination → a summary as an artifact, which is the flow's result too.

    One destination that is held or fails keeps no other from its run; the flow fails in the end, and says why. When
    dbt fails, nothing is sent.
    """
    try:
        built = build(as_of)
    except BuildFailed as error:
        text = f"dbt failed, so nothing was sent: {error}"
        create_markdown_artifact(key=ARTIFACT, markdown=text, description=ABOUT)
        return Failed(message=text, data=text)
    states = {name: deliver(config_file, name, return_state=True) for name in delivery.destinations(config_file)}
    text = summary(built, states)
    create_markdown_artifact(key=ARTIFACT, markdown=text, description=ABOUT)
    if reasons := [f"{name}: {state.message}" for name, state in states.items() if not state.is_completed()]:
        return Failed(message=" ".join(reasons), data=text)
    return Completed(message="Every sync has run.", data=text)


def summary(built: dict[str, int], states: dict[str, State[Results]]) -> str:
    """The night in Markdown: what dbt built, the counts of each sync, and why a destination failed."""
    nodes = ", ".join(f"{count} {status}" for status, count in sorted(built.items()))
    lines = [
        f"dbt: {nodes}",
        "",
        f"| sync | result | {' | '.join(COUNTS)} |",
        "| --- | --- |" + " ---: |" * len(COUNTS),
    ]
    for state in states.values():
        for one in state.result(raise_on_failure=False) or []:
            counts = " | ".join(f"{one[name]:,}" for name in COUNTS)
            lines.append(f"| {one['sync']} | {one['result']} | {counts} |")
    for name, state in states.items():
        if not state.is_completed():
            lines += ["", f"**{name}**: {state.message}"]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m activation.nightly", description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=HOME / "config.toml", help="Syncer's config")
    parser.add_argument("--as-of", metavar="MOMENT", help='scores of this moment, as "2026-06-22 00:00:00+00"')
    parser.add_argument("--serve", action="store_true", help=f"stay, and run each night ({CRON} UTC)")
    asked = parser.parse_args(arguments)
    if asked.serve:
        nightly.serve(name="nightly", cron=CRON, parameters={"config_file": asked.config})
        return 0
    state = nightly(asked.config, asked.as_of, return_state=True)
    print(f"{state.name}: {state.message}" if state.data is None else state.result(raise_on_failure=False))
    return 0 if state.is_completed() else 1


if __name__ == "__main__":
    sys.exit(main())
