"""Nights of the past, one after the other: dbt, then Syncer: `python -m activation.nights`.

A product that starts to keep a history has none. Because every model counts only what had happened at `as_of`, nights
can be computed afterwards, oldest first, and the snapshots and Syncer's log become what they would have become.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb

from activation import delivery
from activation.transform import HOME, BuildFailed, Project
from activation.world import EXPERIMENT_START
from syncer.errors import UserError

WEEK = datetime.timedelta(days=7)
FIRST, LAST = EXPERIMENT_START - 2 * WEEK, EXPERIMENT_START + 6 * WEEK
SYNC = "customerio.people"


def nights(first: datetime.date, last: datetime.date, days: int) -> Iterator[datetime.date]:
    """Each night from the first to the last, `days` apart."""
    while first <= last:
        yield first
        first += datetime.timedelta(days=days)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m activation.nights", description=__doc__.splitlines()[0])
    day = datetime.date.fromisoformat
    parser.add_argument("--first", type=day, default=FIRST, help=f"the first night ({FIRST})")
    parser.add_argument("--last", type=day, default=LAST, help=f"the last night ({LAST})")
    parser.add_argument("--every", type=int, default=7, metavar="DAYS", help="from one night to the next (7)")
    parser.add_argument("--sync", default=SYNC, help=f"what is sent each night ({SYNC})")
    parser.add_argument("--config", type=Path, default=HOME / "config.toml", help="Syncer's config")
    asked = parser.parse_args(arguments)
    project = Project()
    print(f"{'night':<12}{'users':>8}{'mean score':>12}{'planned':>10}{'accepted':>10}  {asked.sync}")
    for night in nights(asked.first, asked.last, asked.every):
        try:
            project.build(f"{night} 00:00:00+00", without_tests=True)
            with duckdb.connect(str(HOME / "warehouse.duckdb"), read_only=True) as connection:
                users, mean = connection.sql("SELECT count(*), avg(score) FROM activation.users").fetchall()[0]
            results = delivery.deliver(asked.config, asked.sync, trigger="nights")
        except (BuildFailed, UserError) as error:
            print(f"{night}: {error}", file=sys.stderr)
            return 1
        planned, accepted = (sum(one[name] for one in results) for name in ("planned", "accepted"))
        print(f"{night!s:<12}{users:>8,}{mean:>12.1f}{planned:>10,}{accepted:>10,}", flush=True)
        if troubles := delivery.troubles(results):
            print("\n".join(troubles), file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
