"""A copy of the example in a folder of its own, whose commands are run as its page tells them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

HOUSE = Path(__file__).parents[2]
PORT = "8091"
"""The one that is written in the example."""


@dataclass(frozen=True)
class Site:
    """The copy: `home` is its `examples/activation`."""

    home: Path
    port: str

    @property
    def warehouse(self) -> Path:
        return self.home / "warehouse.duckdb"

    def python(self, *arguments: str, known: Sequence[int] = (0,)) -> str:
        """The output of `python …`."""
        return self._run([sys.executable, *arguments], known)

    def syncer(self, *arguments: str, known: Sequence[int] = (0,)) -> Any:
        """The document that `syncer … --json` prints."""
        return json.loads(self._run([sys.executable, "-m", "syncer", *arguments, "--json"], known))

    def dbt(self, *arguments: str, known: Sequence[int] = (0,)) -> str:
        """The output of `dbt …`."""
        return self._run([str(Path(sys.executable).with_name("dbt")), "--no-use-colors", *arguments], known)

    def build(self, as_of: str | None = None, *more: str) -> None:
        """`dbt build`, without the tests when `more` says so."""
        night = ["--vars", json.dumps({"as_of": f"{as_of} 00:00:00+00"})] if as_of else []
        self.dbt("--quiet", "build", *night, *more)

    def asked(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query to the warehouse."""
        with duckdb.connect(str(self.warehouse), read_only=True) as connection:
            return connection.sql(query).fetchall()

    @contextmanager
    def services(self) -> Iterator[None]:
        """The stand-ins are open."""
        command = [sys.executable, "-m", "activation.services", "--port", self.port]
        with subprocess.Popen(
            command, cwd=self.home, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            try:
                assert "are open" in line, process.stderr.read() if process.stderr else line
                yield
            finally:
                process.terminate()

    def _run(self, command: list[str], known: Sequence[int]) -> str:
        done = subprocess.run(
            command, cwd=self.home, env=environment(), capture_output=True, encoding="utf-8", timeout=900, check=False
        )
        assert done.returncode in known, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def environment() -> dict[str, str]:
    """Without what a developer may have set, and with the two variables of the page."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "SYNCER_", "ACTIVATION_"))
    }
    return kept | {"DBT_PROJECT_DIR": "dbt", "DBT_PROFILES_DIR": "dbt", "PYTHONIOENCODING": "utf-8"}


def copied(folder: Path) -> Site:
    """A fresh copy with a port of its own: the example, its page, and the mappings that it links to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    made = ("*.duckdb*", "state", "pictures", "target", "logs", ".prefect", "__pycache__")
    home = folder / "examples" / "activation"
    shutil.copytree(HOUSE / "examples" / "activation", home, ignore=shutil.ignore_patterns(*made))
    (folder / "docs").mkdir()
    shutil.copy(HOUSE / "docs" / "activation.md", folder / "docs")
    for file in (home / "config.toml", home / "activation" / "services.py", folder / "docs" / "activation.md"):
        file.write_text(file.read_text("utf-8").replace(PORT, port), "utf-8")
    return Site(home, port)
