"""Accidents to every command that writes: killed, without power, without room; nothing is lost and nothing doubled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from destinations.standins.server import Server
from tests.crash.adversity import Accident, Adversity, report
from tests.crash.disk import Disk, library

ACCIDENTS: Sequence[Accident] = ("kill", "die", "power", "full", "full for good")
FEW, MANY = 120, 1_500
"""Rows; with many, first runs of contacts go by bulk jobs."""


def survive(folder: Path, seed: int, times: int, rows: int, accidents: Sequence[Accident] = ACCIDENTS) -> Adversity:
    disk = Disk(library(folder), folder / "work" / "state", folder / "disk.log")
    adversity = Adversity(folder / "work", disk, seed, rows)
    with Server({"/customerio": adversity.customerio, "/salesforce": adversity.salesforce}):
        adversity.harry(accidents, times)
        adversity.end_well()
    print(report(adversity))
    return adversity


def test_every_command_survives_accidents(tmp_path: Path) -> None:
    """After an accident to each command that writes, one good night and its repairs put everything right."""
    survive(tmp_path, seed=1, times=11, rows=FEW)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize(("seed", "rows"), [(11, FEW), (12, FEW), (13, FEW), (14, FEW), (15, MANY)])
def test_every_command_survives_many_accidents(tmp_path: Path, seed: int, rows: int) -> None:
    """The same after a hundred accidents."""
    survive(tmp_path, seed=seed, times=100, rows=rows)
