"""What a process used between two moments."""

from __future__ import annotations

import time
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
