"""The machine that figures are measured on, and the code that they are measured of."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

SYNCS = 200
SYNC_BYTES = 4_096
PACKAGES = ("duckdb", "pyarrow", "apsw")
WRITTEN = ("docs/performance.md", "benchmarks/results")
"""What measuring itself writes: figures of a commit stay its own when only these have changed since."""


def describe(folder: Path) -> dict[str, Any]:
    """What figures depend on; the file system is that of `folder`, where the parts work."""
    import apsw

    return {
        "processors": os.cpu_count(),
        "model": _word_of(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        "memory_gib": round(int(_word_of(Path("/proc/meminfo"), "MemTotal").split()[0]) / 2**20, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "file_system": _file_system(folder),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
        "sqlite": apsw.sqlite_lib_version(),
    }


def told(machine: dict[str, Any]) -> str:
    """The description as one line."""
    forms = {"processors": "{} processors", "memory_gib": "{} GiB", "model": "{}", "kernel": "{}", "file_system": "{}"}
    return ", ".join(forms.get(name, f"{name} {{}}").format(value) for name, value in machine.items())


def sync_ms(folder: Path) -> float:
    """The median milliseconds for writing 4 KiB to a file's end and having them on the disk of `folder`, now."""
    path, block, seconds = folder / "synced", os.urandom(SYNC_BYTES), []
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            started = time.perf_counter()
            file.write(block)
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - started)
    path.unlink()
    return statistics.median(seconds) * 1000


def commit() -> str:
    """The commit that is checked out, with a + when files differ from it; empty outside of a repository."""
    here = Path(__file__).parent.parent
    try:
        head = _git(here, "rev-parse", "--short=9", "HEAD")
        return head + ("+" if _git(here, "status", "--porcelain", "--", ".", *(f":!{one}" for one in WRITTEN)) else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _word_of(path: Path, name: str) -> str:
    """The value of `NAME : VALUE` in a file of the kernel's; empty where there is none."""
    if not path.exists():
        return ""
    lines = (line.partition(":") for line in path.read_text().splitlines())
    return next((value.strip() for found, _, value in lines if found.strip() == name), "")


def _file_system(folder: Path) -> str:
    """The type of the mount that the folder lies on."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    above = {Path(mount): kind for _, mount, kind, *_ in mounts if folder.resolve().is_relative_to(mount)}
    return above[max(above, key=lambda mount: len(mount.parts))]
