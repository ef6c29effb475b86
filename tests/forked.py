"""Commands in processes of their own that need not import the program first, which takes longer than most commands do.

A server of `multiprocessing` imports it once for each worker of the tests, and forks for each command. Folder,
environment, streams, signals and exit code are those of a process that was started from nothing; and where the
environment asks for the disk with accidents of `tests.crash.disk`, that disk begins with the command.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path

from tests.crash.disk import library

IMPORTED = (
    __name__,
    "syncer.__main__",
    "syncer.cli.running",
    "syncer.cli.remembering",
    "syncer.cli.serving",
    "syncer.run",
    "syncer.report",
    "syncer.overview",
    "syncer.control.postgres",
    "syncer.service.api",
    "syncer.sources.duckdb",
    "destinations.customerio",
    "destinations.orbit",
    "destinations.salesforce",
    "pyarrow.parquet",
)
"""What the server imports; whatever else a command needs it imports itself."""
_CONTEXT = multiprocessing.get_context("forkserver")
# What a test that failed has left behind is not waited for.
atexit.register(lambda: [one.kill() for one in multiprocessing.active_children()])


def _serve() -> None:
    """Have the server, with the disk loaded into it: after a fork it is too late for that."""
    _CONTEXT.set_forkserver_preload(list(IMPORTED))
    made = library()
    if made is not None:
        os.environ["LD_PRELOAD"] = str(made)
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("LD_PRELOAD", None)


class Forked:
    """A command that runs: of `subprocess.Popen` what tests ask for."""

    def __init__(self, words: Sequence[str], folder: Path, env: Mapping[str, str], out: Path, err: Path) -> None:
        _serve()
        self._process = _CONTEXT.Process(target=_command, args=(list(words), folder, dict(env), out, err))
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or the signal that ended it, negative; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill -9."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("syncer", timeout or 0)
        return code


def _command(words: list[str], folder: Path, env: dict[str, str], out: Path, err: Path) -> None:
    """What the process does."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    for number, file in ((1, out), (2, err)):
        opened = os.open(file, os.O_WRONLY)
        os.dup2(opened, number)
        os.close(opened)
    if "DISK_FOLDER" in env:
        ctypes.CDLL(None).disk_begin()
    from syncer.__main__ import main

    sys.argv = ["syncer", *words]
    main()
