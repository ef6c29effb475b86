"""Accidents to every command that writes: killed, without power, without room; nothing is lost and nothing doubled."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from destinations.standins.server import Server
from tests.crash.adversity import KILLS, Accident, Adversity, report
from tests.crash.disk import Disk
from tests.workplace import in_process

ACCIDENTS: Sequence[Accident] = ("kill", "die", "power", "full", "full for good")
FEW, MANY = 120, 1_700
"""Rows; with many, runs that move all of the contacts go by bulk jobs."""


def survive(folder: Path, seed: int, kills: int, rows: int, accidents: Sequence[Accident] = ACCIDENTS) -> Adversity:
    disk = Disk(folder / "work" / "state", folder / "disk.log")
    adversity = Adversity(folder / "work", disk, seed, rows)
    with in_process(), Server({"/customerio": adversity.customerio, "/salesforce": adversity.salesforce}):
        adversity.harry(accidents, kills)
        adversity.end_well()
    print(report(adversity))
    return adversity


def test_every_command_survives_accidents(tmp_path: Path) -> None:
    """After an accident to each command that writes, one good night and its repairs put everything right."""
    survive(tmp_path, seed=1, kills=1, rows=FEW)


def first_runs(folder: Path, times: int, seed: int) -> None:
    """First runs into an empty folder that lose power before some change, each followed by a whole one."""
    chance = random.Random(seed)
    disk = Disk(folder / "work" / "state", folder / "disk.log")
    adversity = Adversity(folder / "work", disk, seed, FEW)
    with in_process(), Server({"/customerio": adversity.customerio, "/salesforce": adversity.salesforce}):
        adversity.settle()
        adversity.night(is_good=True)
        changes = 250
        for _ in range(times):
            shutil.rmtree(disk.folder, ignore_errors=True)
            # The end of a run, where more is at stake than at its beginning, comes as often as all before it.
            place = chance.randint(1, changes) if chance.random() < 0.5 else chance.randint(changes * 2 // 3, changes)
            adversity.workplace.run("sync", env=disk.env(die_at=place))
            changes = max(changes, disk.changes())
            for standin in (adversity.customerio, adversity.salesforce):
                standin.drained()
            disk.cut_power(folder / "there was nothing before", chance)
            result = adversity.workplace.run("sync", "--json")

            assert 0 == result.code, (place, result.out, result.err)
        adversity.end_well()


def test_after_a_first_run_everything_is_on_the_platter(tmp_path: Path) -> None:
    """Every file and folder that a first run left is synced, and so is its name; folders that were just made too."""
    for name in ("place", "empty"):
        (tmp_path / name).mkdir()
    disk = Disk(tmp_path / "place", tmp_path / "disk.log")
    adversity = Adversity(tmp_path / "work", disk, seed=1, rows=FEW)
    with in_process(), Server({"/customerio": adversity.customerio, "/salesforce": adversity.salesforce}):
        adversity.settle(state=disk.folder / "a" / "state")
        adversity.night(is_good=True)
        result = adversity.workplace.run("sync", env=disk.env())
    platter = disk.platter(tmp_path / "empty")
    left = {path for path in platter.seen if Path(path).exists() and not path.endswith(("lock", "-shm"))}

    assert 0 == result.code, result.err
    assert len([path for path in left if path.endswith(".parquet")]) >= 4
    assert set() == left - platter.durable.keys()
    assert [] == [path for path in left if platter.seen[path].waiting and not path.endswith("control.db-wal")]


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_many_first_runs_survive_power_cuts(tmp_path: Path) -> None:
    """The same two hundred times."""
    first_runs(tmp_path, times=200, seed=2)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_every_command_survives_five_hundred_kills(tmp_path: Path) -> None:
    """The same after five hundred processes were killed, and some found no room, bulk jobs among what they did."""
    adversity = survive(tmp_path, seed=11, kills=500, rows=MANY, accidents=(*KILLS, *KILLS, *ACCIDENTS))

    assert adversity.jobs > 0


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", [12, 13, 14, 15])
def test_every_command_survives_many_accidents(tmp_path: Path, seed: int) -> None:
    """The same after sixty processes were killed, with other accidents as often."""
    survive(tmp_path, seed=seed, kills=60, rows=FEW)
