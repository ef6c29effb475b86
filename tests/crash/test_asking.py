"""The daemon is killed while people ask it for something: each request is done once or never, and no answer lied."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from destinations.standins.server import Server
from syncer.service.api import application
from tests.crash.asking import Accident, Asking
from tests.service.town import Town, face_of


def survive(folder: Path, seed: int, rounds: int) -> Asking:
    asking = Asking(folder, seed)
    with Server({"/customerio": asking.customerio, "/orbit": asking.orbit}):
        asking.settle()
        try:
            for _ in range(rounds):
                for address in asking.addresses:
                    asking.meet(address, asking.chance.choice(get_args(Accident)))
            asking.end_well()
        finally:
            asking.end()
    return asking


def test_every_request_survives_accidents(tmp_path: Path) -> None:
    """After an accident to a request of each kind, what it asked for is done once or not at all, as its answer said."""
    survive(tmp_path, seed=1, rounds=1)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", [2, 3, 4, 5])
def test_every_request_survives_many_accidents(tmp_path: Path, seed: int) -> None:
    """The same fifty times for each kind, over one state."""
    asking = survive(tmp_path, seed=seed, rounds=50)
    for (address, accident, told), count in sorted(asking.happened.items()):
        print(*address, accident, told, count)


def test_every_address_that_writes_meets_accidents(tmp_path: Path) -> None:
    """An address that takes anything but reading is among the accidents."""
    town = Town(tmp_path / "town")
    with Server({"/customerio": town.customerio, "/orbit": town.orbit}):
        town.settle()
        with face_of(town, runs=False) as face:
            paths = application(face.daemon).openapi()["paths"]
    found = {(method.upper(), path) for path, operations in paths.items() for method in operations if method != "get"}

    assert found == Asking(tmp_path / "asking", seed=1).addresses.keys(), "add it to tests/crash/asking.py"
