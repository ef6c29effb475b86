"""An undoing that is killed again and again: in the end all is as it was before the run, and little came twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from destinations.standins.server import Server
from syncer.control import Control
from tests.crash.standins import SlowCustomerio
from tests.workplace import NO_BRAKES, Process, Result, Workplace, until

ROWS = 500
KILLS = 3
PEOPLE = """
[[sync]]
name = "people"
source = "people"
key = "user_id"
object = "person"
match = { id = "user_id" }
missing = "create"

[sync.fields]
user = "user_id"
score = "score"
label = "label"
# A text is a thousand characters at most, and these are for batches of a hundred people.
label_1 = "label"
label_2 = "label"
label_3 = "label"
"""
SYNC = "customerio.people"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Workplace, SlowCustomerio]]:
    """Five hundred people, and a second night that changed all of them, in several batches."""
    workplace, standin = Workplace(tmp_path), SlowCustomerio()
    with Server({"": standin}):
        settings = standin.settings() + "in_flight = 1\n"
        workplace.write({"customerio": settings}, {"customerio": PEOPLE}, NO_BRAKES)
        for version in (1, 2):
            night(workplace, version)
            assert ROWS == workplace.run("sync", "--json").sync["accepted"]
        yield workplace, standin


def night(workplace: Workplace, version: int) -> None:
    workplace.sql(
        f"CREATE OR REPLACE TABLE people AS SELECT 'u' || i AS user_id, i + 1000 * {version} AS score, "
        f"repeat('{version}', 1000) AS label FROM range({ROWS}) t(i)"
    )


def held(version: int) -> dict[str, tuple[str, str]]:
    return {f"u{number}": (str(number + 1000 * version), str(version) * 1000) for number in range(ROWS)}


def killed(workplace: Workplace, standin: SlowCustomerio) -> None:
    """An undoing that is killed when one more batch was applied, and not answered yet."""
    standin.slow_down(0.01, 0.05)
    applied = standin.applied + 1
    process: Process = workplace.start("undo", "2")
    until(lambda: standin.applied >= applied or not process.is_running, "no batch arrives", 60)
    assert process.is_running, process.err
    process.kill()
    standin.drained()


def undone(workplace: Workplace) -> Result:
    return workplace.run("undo", "2", "--json")


def test_undoing_survives_kills(world: tuple[Workplace, SlowCustomerio]) -> None:
    """After three kills and one whole undoing all is as the first night left it; history and journal agree."""
    workplace, standin = world
    assert held(2) == standin.held("score", "label")
    standin.repeats = 0
    for _ in range(KILLS):
        killed(workplace, standin)
    standin.slow_down(0, 0)
    result = undone(workplace)

    assert 0 == result.code, result.out + result.err
    assert held(1) == standin.held("score", "label")
    assert standin.repeats <= KILLS * standin.batch_records
    runs = workplace.journal(SYNC)
    assert ["undo"] * (KILLS + 1) == [one.facts["trigger"] for one in runs[: KILLS + 1]]
    assert ["done", *["failed"] * KILLS] == [one.result for one in runs[: KILLS + 1]]
    assert {one.id: one.accepted for one in runs if one.accepted} == remembered(workplace)
    assert json.loads(result.out)["syncs"][0]["left"]["counts"]["restored"] > 0

    # The source still says the second night, and as ever it wins.
    assert 0 == workplace.run("sync").code
    assert held(2) == standin.held("score", "label")


def remembered(workplace: Workplace) -> dict[int, int]:
    """Run → accepted records in the history, none of them twice."""
    control = Control.look(workplace.kept)
    assert control is not None
    files = [str(workplace.state / SYNC / part.file) for part in control.history(SYNC)]
    control.close()
    with duckdb.connect(":memory:") as connection:
        query = "SELECT run, key FROM read_parquet(?, union_by_name = true) WHERE result = 'accepted'"
        entries = connection.execute(query, [files]).fetchall()

    assert len(entries) == len(set(entries))
    return dict(Counter(run for run, _ in entries))


def test_dry_run_and_exit_codes(world: tuple[Workplace, SlowCustomerio]) -> None:
    """The plan is shown and nothing is sent; a run that is not there, and one that is held, have their codes."""
    workplace, standin = world
    count = standin.received
    plan = workplace.run("undo", "2", "--dry-run", "--json")
    shown = workplace.run("undo", "2", "--dry-run")
    strange = workplace.run("undo", "99")

    assert (0, ROWS) == (plan.code, plan.sync["counts"]["changed"])
    assert {"before": 2000, "after": 1000} == plan.sync["changes"][0]["fields"]["score"]
    assert "pause its schedule" in " ".join(shown.out.split())
    assert (1, True) == (strange.code, "The journal has no run 99" in strange.err)
    assert count == standin.received
    config = workplace.folder / "config.toml"
    config.write_text(config.read_text().replace("changed_max = 1.0", "changed_max = 0.1"))
    refused = workplace.run("undo", "2")
    assert (3, True) == (refused.code, "syncer undo 2 --release lets it pass" in " ".join(refused.out.split()))
    assert "syncer undo 2 --release" in workplace.run("undo", "2", "--dry-run").out
    assert "syncer undo 2 --release lets it pass" in " ".join(workplace.run("status").out.split())
    assert held(2) == standin.held("score", "label")
    released = workplace.run("undo", "2", "--release")
    assert (0, True) == (released.code, "pause its schedule" in " ".join(released.out.split()))
    assert held(1) == standin.held("score", "label")
