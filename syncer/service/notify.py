"""Tells the service manager how the daemon is: the messages of sd_notify(3), over the socket that systemd names.

It is one datagram each. The packages for it are either years old or bring a C library along.
https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

from syncer.report.words import sentence

BEATS_PER_WATCHDOG = 3
"""How often the daemon says that it lives in the time after which it would be taken for dead."""


class Manager:
    """The process that started us and wants to know. Where nobody does, every call does nothing."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._address = environment.get("NOTIFY_SOCKET", "")
        micros = environment.get("WATCHDOG_USEC", "")
        # The variables are inherited by processes that they do not mean.
        is_meant = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._pause = int(micros) / 1e6 / BEATS_PER_WATCHDOG if micros.isdigit() and is_meant else None
        self._beaten = 0.0

    def ready(self, status: str) -> None:
        """The daemon does its work, and this is how things are."""
        self._tell("READY=1", f"STATUS={sentence(status)}")

    def reloading(self) -> None:
        """The config is being read anew; `ready` ends it."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """No new request starts, and those in flight are waited for."""
        self._tell("STOPPING=1", "STATUS=waits for what is in flight")

    def beat(self) -> None:
        """The daemon lives; said as often as the watchdog wants to hear it."""
        now = time.monotonic()
        if self._pause is not None and now - self._beaten >= self._pause:
            self._beaten = now
            self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        # An address that begins with @ is in the abstract namespace, which the kernel writes with a zero byte.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        # A manager that cannot be told is no reason to stop syncing: it will look after us by itself.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto("\n".join(lines).encode(), address)
