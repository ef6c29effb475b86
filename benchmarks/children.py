"""Processes of a part: each figure is measured in one of its own, so that one's memory is not another's.

`python -m benchmarks PART WORD…` calls the part's `child` with the words and prints its figures as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def run(part: str, *words: object) -> dict[str, Any]:
    """The figures of one child process. Raises CalledProcessError when it fails; its traceback is on stderr."""
    done = subprocess.run(_command(part, *words), check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


@contextlib.contextmanager
def serving(port_file: Path, part: str, *words: object) -> Iterator[dict[str, Any]]:
    """A child process that serves until the context ends; what it wrote into `port_file`, which is its last word."""
    port_file.unlink(missing_ok=True)
    process = subprocess.Popen(_command(part, *words, port_file))
    try:
        while not port_file.exists() or not port_file.read_text():
            if process.poll() is not None:
                raise ChildProcessError(f"{part} {words} ended with {process.returncode} before it served")
            time.sleep(0.02)
        yield json.loads(port_file.read_text())
    finally:
        process.kill()
        process.wait()


def serve(port_file: Path, told: dict[str, Any]) -> None:
    """In the child: say where it serves, and stay as long as the process that started it."""
    draft = port_file.with_suffix(".draft")
    draft.write_text(json.dumps(told))
    draft.rename(port_file)
    while os.getppid() != 1:
        time.sleep(0.1)


def _command(part: str, *words: object) -> list[str]:
    return [sys.executable, "-m", "benchmarks", part, *map(str, words)]
