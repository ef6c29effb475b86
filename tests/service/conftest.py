"""What the tests of the daemon share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from destinations.standins.server import Server
from tests.service.town import LISTEN, NEVER, Face, Town, face_of


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """A town whose syncs run by a span."""
    town = Town(tmp_path)
    with Server({"/customerio": town.customerio, "/orbit": town.orbit}):
        town.settle()
        yield town


@pytest.fixture
def face(town: Town) -> Iterator[Face]:
    """A daemon of a town in which nothing is due: what runs has been asked for."""
    town.settle(more=LISTEN + NEVER)
    with face_of(town) as face:
        yield face
