"""What a process used between two moments."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Meter:
    """Begins when it is made."""

    wall: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=time.process_time)

    def seconds(self) -> dict[str, float]:
        """Wall and CPU seconds since then, all threads of this process together."""
        return {"wall_seconds": time.perf_counter() - self.wall, "cpu_seconds": time.process_time() - self.cpu}

    def figures(self) -> dict[str, float]:
        """The same, and the peak memory of this process in MiB."""
        return self.seconds() | {"peak_mib": peak_mib()}


@contextlib.contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Figures of what is done inside, there at its end: seconds, the peak, and `own_mib`, the most memory that was this
    process's alone beyond what it had before (looked at every 5 ms; mapped pages of files are not in it)."""
    figures: dict[str, float] = {}
    before = most = status_mib("RssAnon")
    over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.005):
            most = max(most, status_mib("RssAnon"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    meter = Meter()
    yield figures
    figures |= meter.figures()
    over.set()
    watcher.join()
    figures["own_mib"] = most - before


def peak_mib() -> float:
    """The most that this process had resident at any time, files that it mapped included.

    Not `ru_maxrss`: a child inherits that of the process that started it.
    """
    return status_mib("VmHWM")


def status_mib(name: str, process: int | str = "self") -> float:
    """A size of `/proc/PID/status` in MiB, as `RssAnon`."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(name)
