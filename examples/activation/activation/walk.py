"""The whole way in one go: every command of docs/activation.md, in its order: `python -m activation.walk`.

The page is the script. Each command is run and its output compared with the one that stands in the page, apart from
what is different each time (seconds, times of day). `--write` puts the outputs of this run into the page instead.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from activation.transform import HOME
from activation.weights import SEED_FILE

PAGE = HOME.parents[1] / "docs" / "activation.md"
BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)
MADE = ("warehouse.duckdb", "warehouse.duckdb.wal", "delivered.duckdb", "state", "pictures", "dbt/target")
"""What an earlier walk has left, below `HOME`."""
SECONDS_MAX = 600
"""For one command."""

VOLATILE = (
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"\b\d\d:\d\d:\d\d(\.\d+)?\b"), "TIME"),
    (re.compile(r"\b\d+(\.\d+)? ?s\b"), "SECONDS"),
    (re.compile(r"\b\d+ hours \d+ minutes and [\d.]+ seconds"), "SECONDS"),
    (re.compile(r"127\.0\.0\.1:\d+"), "HOST"),
    # A table's columns are as wide as their widest value.
    (re.compile(r"[ \t]+"), " "),
)


@dataclass(frozen=True, slots=True)
class Step:
    """A command of the page and the output that stands below it; `place` is where that output is in the page."""

    command: str
    output: str
    place: slice


def steps(page: str) -> Iterator[Step]:
    """Every `$ command` of the page's console blocks with its output."""
    for block in BLOCK.finditer(page):
        for found in re.finditer(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block[0], re.MULTILINE):
            yield Step(found[1], found[2], slice(block.start() + found.start(2), block.start() + found.end(2)))


def normalised(text: str) -> list[str]:
    """Lines without what differs from run to run, and without empty ones."""
    for pattern, word in VOLATILE:
        text = pattern.sub(word, text)
    return [line.strip() for line in text.splitlines() if line.strip()]


class Walk:
    """Runs commands in the folder of the example. What was started with `&` is ended with the walk."""

    def __init__(self) -> None:
        environment = {
            name: value for name, value in os.environ.items() if name not in ("SYNCER_CONFIG", "FORCE_COLOR")
        }
        here = {"DBT_PROJECT_DIR": "dbt", "DBT_PROFILES_DIR": "dbt", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"}
        path = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
        self._environment = environment | here | {"PATH": path}
        self._started: list[subprocess.Popen[str]] = []

    def run(self, command: str) -> str:
        """The output of one command. Raises CalledProcessError, unless the command says what to do about an error."""
        if command.endswith("&"):
            return self._start(command.removesuffix("&"))
        done = subprocess.run(  # noqa: S602 - commands of our own page, which use pipes.
            f"set -o pipefail; {command}", shell=True, executable="/bin/bash", cwd=HOME, env=self._environment,
            capture_output=True, encoding="utf-8", timeout=SECONDS_MAX, check=False,
        )  # fmt: skip
        if done.returncode:
            print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
            raise subprocess.CalledProcessError(done.returncode, command)
        return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)

    def _start(self, command: str) -> str:
        """Begin something that stays, and wait for its first line."""
        process = subprocess.Popen(  # noqa: S603 - a command of our own page.
            command.split(), cwd=HOME, env=self._environment, stdout=subprocess.PIPE, encoding="utf-8"
        )
        self._started.append(process)
        assert process.stdout  # noqa: S101 - it was asked for above.
        return process.stdout.readline()

    def end(self) -> None:
        """End what was started."""
        for process in self._started:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code: 1 when an output is not the one in the page."""
    parser = argparse.ArgumentParser(prog="python -m activation.walk", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--write", action="store_true", help="put the outputs of this run, and the pictures, into the page"
    )
    asked = parser.parse_args(arguments)
    page = PAGE.read_text("utf-8")
    for name in MADE:
        path = HOME / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    weights, started, walk, differing, written = SEED_FILE.read_bytes(), time.monotonic(), Walk(), [], page
    try:
        for step in steps(page):
            print(f"$ {step.command}", flush=True)
            output = walk.run(step.command)
            print(output, flush=True)
            if normalised(output) != normalised(step.output):
                differing.append(step.command)
            # From the end of the page, places stay where they are.
            written = written[: step.place.start - len(page)] + _shown(output) + written[step.place.stop - len(page) :]
    except subprocess.CalledProcessError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        walk.end()
        # The walk tries other weights, and the file with the weights is part of the project.
        SEED_FILE.write_bytes(weights)
    print(f"{time.monotonic() - started:.0f} s. The pictures are in {HOME / 'pictures'}.")
    if asked.write:
        PAGE.write_text(written, "utf-8")
        for picture in (HOME / "pictures").glob("*.png"):
            shutil.copy(picture, PAGE.parent / "pictures" / f"activation-{picture.name}")
    elif differing:
        print("\nNot as in the page: " + "; ".join(differing), file=sys.stderr)
        return 1
    return 0


def _shown(output: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in output.splitlines())


if __name__ == "__main__":
    sys.exit(main())
