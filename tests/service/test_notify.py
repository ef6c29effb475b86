"""What systemd is told: by a real daemon, over a real socket."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncer.service.notify import Manager
from tests.service.town import LISTEN, NEVER, Town
from tests.workplace import until

WELL = "4 syncs, 2 destinations"


class Systemd:
    """The socket that a service manager listens on, and what arrived."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)
        self.address = address
        self.messages: list[dict[str, str]] = []

    def heard(self, name: str, value: str = "1") -> list[dict[str, str]]:
        """The messages so far in which a variable has a value."""
        try:
            while True:
                lines = self.socket.recv(65_536).decode().splitlines()
                self.messages.append(dict(line.split("=", 1) for line in lines))
        except BlockingIOError:
            return [one for one in self.messages if one.get(name) == value]


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(str(tmp_path / "notify"))
    yield made
    made.socket.close()


def test_systemd_is_told_of_a_daemons_life(town: Town, systemd: Systemd) -> None:
    """Ready when it listens, alive as often as the watchdog asks, reloading, with a broken config in the status, and
    stopping."""
    town.settle(more=LISTEN + NEVER)
    config = town.folder / "config.toml"
    good = config.read_text()
    daemon = town.start("serve", env={"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "3000000"})
    try:
        until(lambda: systemd.heard("READY"), "ready")
        assert [{"READY": "1", "STATUS": WELL}] == systemd.heard("READY")
        until(lambda: len(systemd.heard("WATCHDOG")) >= 2, "two signs of life")

        config.write_text(good + "\n[nonsense]\n")
        daemon.signal(signal.SIGHUP)
        until(lambda: len(systemd.heard("READY")) > 1, "the end of reloading")
        assert systemd.heard("RELOADING")[0]["MONOTONIC_USEC"].isdigit()
        status = systemd.heard("READY")[1]["STATUS"]
        assert status.startswith("goes on with the config of before: ")
        assert "nonsense" in status

        config.write_text(good)
        daemon.signal(signal.SIGHUP)
        until(lambda: systemd.heard("READY")[-1]["STATUS"] == WELL, "a config that is mended")
    finally:
        daemon.signal(signal.SIGTERM)
        code = daemon.end().code

    assert 0 == code
    assert {"STOPPING": "1", "STATUS": "waits for what is in flight"} == systemd.messages[-1] or systemd.heard(
        "STOPPING"
    )


def test_an_abstract_address_is_reached() -> None:
    """An address with @ in front is in the abstract namespace."""
    systemd = Systemd(f"@syncer-{os.getpid()}-{id(object())}")
    try:
        Manager({"NOTIFY_SOCKET": systemd.address}).ready("two\nlines")

        assert [{"READY": "1", "STATUS": "two lines"}] == systemd.heard("READY")
    finally:
        systemd.socket.close()


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": "/nowhere/at/all"}])
def test_nobody_to_tell_is_no_trouble(environment: dict[str, str]) -> None:
    """Without a manager, or with one that is gone, everything goes on."""
    manager = Manager(environment | {"WATCHDOG_USEC": "1"})
    manager.ready("well")
    manager.reloading()
    manager.beat()
    manager.stopping()


@pytest.mark.parametrize(
    ("environment", "beats"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 1),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 1),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, 0),
        ({}, 0),
    ],
)
def test_the_watchdog_is_fed_as_often_as_it_asks(systemd: Systemd, environment: dict[str, str], beats: int) -> None:
    """Three signs of life in its time, none when it is another process that it watches."""
    manager = Manager(environment | {"NOTIFY_SOCKET": systemd.address})

    for _ in range(5):
        manager.beat()

    assert beats == len(systemd.heard("WATCHDOG"))
