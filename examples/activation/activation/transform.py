"""dbt in this process: the project next to this package, over a DuckDB file.

dbt reads its project once for each `Project`, which is most of what a small build takes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest

HOME = Path(__file__).resolve().parents[1]
"""The folder of the example, where its files are looked for."""


class BuildFailed(Exception):
    """dbt has not built everything; `problems` has one sentence for each model or test that failed."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


class Project:
    """The dbt project of a folder: models, seeds, snapshots and their tests."""

    def __init__(self, home: Path = HOME) -> None:
        self._home = home
        self._manifest: Manifest | None = None

    def build(self, as_of: str | None = None, *, without_tests: bool = False) -> dict[str, int]:
        """`dbt build`, of the moment `as_of` when it is given. Returns how many nodes came to which status.

        Raises BuildFailed.
        """
        arguments = ["--quiet", "build"]
        if as_of:
            arguments += ["--vars", json.dumps({"as_of": as_of})]
        if without_tests:
            arguments += ["--exclude-resource-type", "test", "--exclude-resource-type", "unit_test"]
        if self._manifest is None:
            self._manifest = self._invoke(["--quiet", "parse"]).result
        found: Any = self._invoke(arguments).result
        counts: dict[str, int] = {}
        for one in found.results:
            counts[str(one.status)] = counts.get(str(one.status), 0) + 1
        return counts

    def _invoke(self, arguments: Sequence[str]) -> dbtRunnerResult:
        before = {name: os.environ.get(name) for name in ("ACTIVATION_WAREHOUSE",)}
        os.environ.setdefault("ACTIVATION_WAREHOUSE", str(self._home / "warehouse.duckdb"))
        folder = str(self._home / "dbt")
        try:
            done = dbtRunner(self._manifest).invoke([*arguments, "--project-dir", folder, "--profiles-dir", folder])
        finally:
            # A file that is open for writing here can be read by nobody else of this process.
            DuckDBConnectionManager.close_all_connections()
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
        if done.exception:
            raise BuildFailed([str(done.exception)])
        if not done.success:
            raise BuildFailed(
                [
                    f"{one.node.name}: {one.message}"
                    for one in done.result.results
                    if str(one.status) not in ("success", "pass", "warn", "skipped", "no-op")
                ]
            )
        return done
