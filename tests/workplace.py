"""A folder with a config, mapping files and a DuckDB warehouse, and the real command line to run in it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import structlog
from click.testing import CliRunner

from syncer.cli import cli
from syncer.config_file import DatasetState, LocalState
from syncer.control import Control, Run
from tests.forked import Forked
from tests.sources.bigquery_here import BigQueryHere

PROJECT = Path(__file__).resolve().parents[1]
DATASET = "syncer_state"
LEASE_SECONDS = 3.0
NO_BRAKES = """
[brakes]
changed_max = 1.0
removed_max = 1.0
deleted_max = 1.0
cleared_max = 1.0
bands_moved_max = 1.0
mean_shift_max = 1e9
quantile_shift_max = 1e9
edge_share_max = 1.0
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)

    @property
    def sync(self) -> dict[str, Any]:
        """The only sync of `sync --json`, `diff --json` or `status --json`."""
        (one,) = self.json["syncs"]
        return dict(one)


class Workplace:
    """One user's folder."""

    def __init__(self, folder: Path, control: str | None = None, there: BigQueryHere | None = None) -> None:
        """`control` is the URL of a server for the control store; its leases are short. With `there` the warehouse is
        in BigQuery, as far as its table `people`, and the state beside it."""
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state = folder / "state"
        kept = {} if control is None else {"control": control, "lease_seconds": LEASE_SECONDS}
        self.there = there
        self.kept: LocalState | DatasetState = (
            DatasetState.model_validate({"type": "bigquery", "dataset": DATASET, "path": str(self.state), **kept})
            if there
            else LocalState.model_validate({"path": str(self.state), **kept})
        )
        """The state's section of the config."""
        self.warehouse = folder / "warehouse.duckdb"
        self.started = 0
        self.is_new = False
        """Whether each command begins as a user's does, from nothing; otherwise all is imported already."""
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(PROJECT),
            "COLUMNS": "120",
        }
        if control is not None:
            self._env["SYNCER_CONTROL_URL"] = control

    def write(
        self, destinations: Mapping[str, str], mappings: Mapping[str, str], more: str = "", name: str = "config.toml"
    ) -> None:
        """The config with these `[destinations.NAME]` bodies, and a mapping file for each of `mappings`."""
        text = f'[source]\ntype = "duckdb"\npath = "{self.warehouse.name}"\n'
        state = ""
        if self.there is not None:
            text = '[source]\ntype = "bigquery"\nproject = "acme"\nlocation = "EU"\n'
            text += f'endpoint = "{self.there.rest.url}"\nstorage_endpoint = "{self.there.storage.url}"\n'
            state = f'type = "bigquery"\ndataset = "{DATASET}"\n'
        text += "".join(f"\n[destinations.{name}]\n{body}\n" for name, body in destinations.items())
        if self.kept.control is not None:
            state += f'control = "env:SYNCER_CONTROL_URL"\nlease_seconds = {LEASE_SECONDS}\n'
        text += f"\n[state]\n{state}" if state else ""
        (self.folder / name).write_text(text + more)
        (self.folder / "mappings").mkdir(exist_ok=True)
        table = "people" if self.there is None else "activation.people"
        for name, body in mappings.items():
            (self.folder / "mappings" / f"{name}.toml").write_text(
                f'destination = "{name}"\n\n' + body.replace('source = "people"', f'source = "{table}"')
            )

    def sql(self, *statements: str) -> None:
        """Change the warehouse."""
        with duckdb.connect(str(self.warehouse)) as connection:
            for statement in statements:
                connection.execute(statement)
            if self.there is not None:
                table = connection.sql("SELECT * FROM people").to_arrow_table()
                wide = {pa.int32(): pa.int64()}
                fields = [one.with_type(wide.get(one.type, one.type)) for one in table.schema]
                self.there.warehouse.put("activation.people", table.cast(pa.schema(fields)))

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What the warehouse answers."""
        with duckdb.connect(str(self.warehouse), read_only=True) as connection:
            found = connection.execute(query)
            names = [column[0] for column in found.description or []]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def run(self, *words: str, env: Mapping[str, str] | None = None, prefix: Sequence[str] = ()) -> Result:
        """Run a command to its end. With a `prefix`, a program that starts it in its way, it begins from nothing."""
        if not prefix:
            process = self.start(*words, env=env)
            try:
                return process.end(120)
            finally:
                process.kill()
        done = subprocess.run(
            # Where a prefix limits the size of files, what is compiled would be cut off, and stay so.
            [*prefix, sys.executable, "-B", "-m", "syncer", *self._words(words)],
            cwd=self.folder,
            env=self._env | dict(env or {}),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def here(self, *words: str) -> Result:
        """Run a command in this process, which is quicker; what it raises is the test's failure. See `in_process`."""
        done = CliRunner().invoke(cli, ["--config", str(self.folder / "config.toml"), *words], catch_exceptions=False)
        return Result(done.exit_code, done.stdout, done.stderr)

    def start(self, *words: str, env: Mapping[str, str] | None = None) -> Process:
        """Start a command and go on."""
        self.started += 1
        return Process(self._words(words), self.folder, self._env | dict(env or {}), self.started, is_new=self.is_new)

    def _words(self, words: Sequence[str]) -> list[str]:
        return ["--config", str(self.folder / "config.toml"), *words]

    def holder(self, sync: str) -> str | None:
        """Who runs a sync just now."""
        control = Control.look(self.kept)
        if control is None:
            return None
        try:
            return control.holder(sync)
        finally:
            control.close()

    def outlast(self, sync: str) -> None:
        """What time would do, after a process was killed that held a sync: its lease has run out."""
        if self.kept.control is not None:
            url = self.kept.control.get_secret_value()
            # It may have been killed before it made the store.
            with contextlib.suppress(psycopg.errors.UndefinedTable), psycopg.connect(url, autocommit=True) as db:
                db.execute("UPDATE syncer.lease SET expires_at = '-infinity' WHERE sync = %s", [sync])

    def journal(self, sync: str) -> list[Run]:
        """Every run that the store names, newest first."""
        control = Control.look(self.kept)
        if control is None:
            return []
        try:
            return control.runs(sync, 10_000)
        finally:
            control.close()


@contextlib.contextmanager
def in_process() -> Iterator[None]:
    """Commands that run in this process leave no signal handlers and no logging behind."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    if (hearing := signal.set_wakeup_fd(-1)) != -1:
        os.close(hearing)
    structlog.reset_defaults()


class Process:
    """A command that runs."""

    def __init__(
        self, words: Sequence[str], folder: Path, env: Mapping[str, str], number: int, *, is_new: bool
    ) -> None:
        self._out, self._err = folder / f"out-{number}", folder / f"err-{number}"
        for file in (self._out, self._err):
            file.touch()
        if not is_new:
            self.popen: subprocess.Popen[bytes] | Forked = Forked(words, folder, env, self._out, self._err)
            return
        with self._out.open("wb") as out, self._err.open("wb") as err:
            whole = [sys.executable, "-m", "syncer", *words]
            self.popen = subprocess.Popen(whole, cwd=folder, env=dict(env), stdout=out, stderr=err)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self.popen.poll() is None

    @property
    def err(self) -> str:
        """What it wrote to stderr so far."""
        return self._err.read_text()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        self.popen.send_signal(number)

    def kill(self) -> None:
        """Kill -9."""
        self.popen.kill()
        self.popen.wait()

    def end(self, timeout: float = 60) -> Result:
        """Wait for its end."""
        code = self.popen.wait(timeout)
        return Result(code, self._out.read_text(), self.err)


def until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Wait for something that has to come; fails with `what` when it does not."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.002)
