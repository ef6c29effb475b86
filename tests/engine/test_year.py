"""A year of nights: what the state folder holds, and what a night costs, is flat after the first weeks."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import pytest

from syncer.config_file import History
from syncer.testing import Decision
from tests.engine.stage import DAY, SHARES, Stage, field

LOOSE = SHARES.model_copy(update={"changed_max": 1.0, "removed_max": 1.0, "deleted_max": 1.0})
FIELDS = (field("score", "number"), field("word"), field("other", "number"), field("stamp", "night", compare=False))


PAGE_BYTES = 4096
LINE_BYTES = 512
"""A run in the journal, at most."""


@dataclass(frozen=True)
class Weight:
    """What one night left, and what it cost."""

    state_bytes: int
    files: int
    pages: int
    """Of the control store."""
    cpu_seconds: float
    memory_kib: int


def live(folder: Path, nights: int, rows: int) -> list[Weight]:
    """So many nights, in each of which a tenth of the rows changes, a few are refused, and a few come and go."""
    weights = []
    with Stage(folder) as stage, pytest.MonkeyPatch.context() as clock:
        # The age of garbage is told by the machine's clock, which has to go as fast as the engine's.
        clock.setattr("time.time", lambda: stage.now)
        stage.map(*FIELDS, removed="delete", brakes=LOOSE)
        stage.engine.config = replace(stage.engine.config, history=History(keep="7d"))
        for number in range(nights):
            stage.sql(_night(number, rows))
            stage.decide = lambda change, number=number: _decision(change.key, number)  # type: ignore[misc]
            began = time.process_time()
            report = stage.run()
            spent = time.process_time() - began
            assert "done" == report.result, report.error
            weights.append(_weigh(stage, spent))
            stage.now += DAY
    return weights


def _decision(key: str, number: int) -> Decision:
    return "rejected" if key.endswith("7") and number % 3 == 0 else "accepted"


def _night(number: int, rows: int) -> str:
    return (
        f"CREATE OR REPLACE TEMP TABLE people AS SELECT 'u' || i AS user_id, "
        f"((i + CASE WHEN (i + {number}) % 10 = 0 THEN {number} ELSE 0 END) % 100)::DOUBLE AS number, "
        f"'word ' || (i % 7) AS word, {number} AS night FROM range({rows}) t(i) WHERE i % 50 <> {number} % 50"
    )


def _weigh(stage: Stage, spent: float) -> Weight:
    files = [file for file in (stage.folder / "state").rglob("*") if file.is_file()]
    return Weight(
        state_bytes=sum(file.stat().st_size for file in files if not file.name.startswith("control.db")),
        files=len(files),
        pages=(stage.folder / "state" / "control.db").stat().st_size // PAGE_BYTES,
        cpu_seconds=spent,
        memory_kib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    )


def is_flat(weights: list[Weight], first: int, growth: float) -> None:
    """The end is like the time after `first`, up to a factor."""
    stretch = max(5, (len(weights) - first) // 4)
    early, late = weights[first : first + stretch], weights[-stretch:]

    def most(part: list[Weight], name: str) -> float:
        return max(getattr(one, name) for one in part)

    for name in ("state_bytes", "files"):
        assert most(late, name) <= growth * most(early, name), (name, most(early, name), most(late, name))
    # The journal keeps a thousand runs of each sync, and grows by a line a night until then.
    assert most(late, "pages") <= most(early, "pages") + len(weights) * LINE_BYTES / PAGE_BYTES
    assert most(late, "memory_kib") <= growth * most(early, "memory_kib") + 50_000
    assert median(one.cpu_seconds for one in late) <= 2 * growth * median(one.cpu_seconds for one in early)


def test_a_fourth_week_is_as_light_as_the_second(tmp_path: Path) -> None:
    """After the first weeks neither files nor bytes nor the time of a night grow any more."""
    is_flat(live(tmp_path, nights=24, rows=300), first=12, growth=1.3)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_year_is_as_light_as_its_second_month(tmp_path: Path) -> None:
    """The same through 365 nights of two thousand people."""
    weights = live(tmp_path, nights=365, rows=2_000)
    for number in (0, 7, 30, 90, 180, 364):
        print(number, weights[number])
    is_flat(weights, first=45, growth=1.2)
