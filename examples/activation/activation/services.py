"""Stand-ins of the services, which know the people of the raw tables: `python -m activation.services`.

What they hold is gone when they end; Syncer's state is not. After a new start `syncer forget` has everything sent anew.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

import duckdb

from activation.generate import SCHEMA, WAREHOUSE
from syncer import sandbox
from syncer.demo.warehouse import Row
from syncer.errors import SyncerError

PORT = 8091
"""The one in config.toml."""


def records(warehouse: Path) -> sandbox.Records:
    """Everybody who will ever sign up, so that the services know them before their first score."""

    def rows(query: str) -> list[Row]:
        found: list[Row] = connection.sql(query).to_arrow_table().to_pylist()
        return found

    with duckdb.connect(str(warehouse), read_only=True) as connection:
        return (
            rows(f"SELECT user_id, lower(email) AS email, name, github FROM {SCHEMA}.users ORDER BY user_id"),
            rows(f"SELECT workspace_id, name FROM {SCHEMA}.workspaces ORDER BY workspace_id"),
            rows(f"SELECT account_id, name, domain FROM {SCHEMA}.accounts ORDER BY account_id"),
        )


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m activation.services", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=PORT, help=f"of this machine ({PORT})")
    parser.add_argument("--warehouse", type=Path, default=WAREHOUSE, help=f"a DuckDB file ({WAREHOUSE})")
    asked = parser.parse_args(arguments)
    try:
        server = sandbox.opened(asked.port, records(asked.warehouse))
    except (SyncerError, duckdb.Error) as error:
        print(f"{error}\nThe raw tables come first: python -m activation.generate", file=sys.stderr)
        return 1
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with server:
        print(f"Stand-ins of the services are open at {server.url} until you press Ctrl-C.", flush=True)
        ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
