"""Plans that people look at before they are sent: saved, approved, begun as a canary, summed up for others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from syncer.cli import cli
from syncer.control import Control
from tests.town import PEOPLE, ROWS, Town, a_town, told

HALF = ROWS // 2


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with a_town(tmp_path) as made:
        made.more = "[brakes]\nchanged_max = 1.0\nknown_min = 1\n"
        made.settle()
        yield made


def saved(town: Town, *words: str) -> str:
    """A plan of customer.io's sync, saved; returns the file's name."""
    file = town.folder / "plan.json"
    assert 0 == town("diff", "customerio", "--out", str(file), *words).code
    return str(file)


# Saved plans.


def test_a_saved_plan_tells_what_it_was_made_of(town: Town) -> None:
    """Beside the changes stand the cost, the digest, a digest of the mapping, the time, and that of the source."""
    content = json.loads(Path(saved(town)).read_text())
    (plan,) = content["syncs"]

    assert {"format", "id", "made", "syncs"} == set(content)
    assert (ROWS, 1) == (len(plan["changes"]), plan["requests"])
    assert plan["plan"].startswith("sha256:")
    assert plan["mapping"].startswith("sha256:")
    assert content["made"].endswith("Z")
    assert plan["source_modified"].endswith("Z")


def source_moves(town: Town) -> None:
    town.sql("UPDATE people SET score = 77 WHERE user_id = 'u2'")


def rows_move(town: Town) -> None:
    town.sql("DELETE FROM people WHERE user_id = 'u5'")
    town.sql("INSERT INTO people VALUES ('u9', 'u9@example.com', 9, 'plan-9')")


def state_moves(town: Town) -> None:
    town.sql("UPDATE people SET score = 60 WHERE user_id = 'u2'")
    town("sync", "customerio")
    town.sql("UPDATE people SET score = 50 WHERE user_id = 'u2'")


def mapping_moves(town: Town) -> None:
    town.mappings["customerio"] = PEOPLE.replace('score = "score"', 'score = { column = "score", digits = 0 }')
    town.settle()


def sensitive_moves(town: Town) -> None:
    town.sql("UPDATE people SET plan = 'secret-77' WHERE user_id = 'u2'")


@pytest.mark.parametrize(
    ("move", "expected"),
    [
        (source_moves, ["u2: the source says 77.0 for score, and said 50.0."]),
        (rows_move, ["u9 is to be sent now, and was not."]),
        (state_moves, ["u2: the destination has accepted 60.0 for score since; it was 2.0."]),
        (mapping_moves, ["The mapping is another one."]),
        (sensitive_moves, ["u2: plan was not to be sent."]),
    ],
)
def test_what_has_moved_is_listed(town: Town, move: Callable[[Town], None], expected: list[str]) -> None:
    """A plan that does not hold any more is refused with what moved at the source, in the mapping or in the state."""
    town("sync", "customerio")
    town.sql("UPDATE people SET score = 50 WHERE user_id = 'u2'")
    file = saved(town)
    move(town)
    sent = town.sent
    result = town("sync", "--plan", file, "--json")

    assert (1, sent) == (result.code, town.sent)
    assert expected == result.sync["moved"][: len(expected)]
    assert expected[0] in told(town("sync", "--plan", file))
    assert "secret-77" not in result.out


def test_a_saved_plan_is_used_once(town: Town) -> None:
    """What was sent is not sent again, also when the world has come back to where it was."""
    file = saved(town)
    assert 0 == town("sync", "--plan", file).code
    town("forget", "customerio.people")
    sent = town.sent
    again = town("sync", "--plan", file)

    assert (1, sent) == (again.code, town.sent)
    assert "was sent before, by run 1" in told(again)


def test_a_saved_plan_grows_old(town: Town) -> None:
    """A plan older than `max_age` is refused, with its age and the setting."""
    file = Path(saved(town))
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "made": "2026-01-01T00:00:00Z"}))
    result = town("sync", "--plan", str(file))

    assert (1, 0) == (result.code, town.sent)
    assert "made at 2026-01-01T00:00:00Z, and `max_age` of [plans] is 24h" in told(result)


# Canaries.


def test_the_rest_of_a_canary(town: Town) -> None:
    """A canary sends the first records, and --continue the others of the same plan and nothing else."""
    first = town("sync", "customerio", "--max", str(HALF), "--json").sync
    rest = town("sync", "customerio", "--continue", "--json").sync

    assert (HALF, ROWS - HALF) == (first["accepted"], first["unsent"])
    assert (ROWS - HALF, ROWS - HALF, 0) == (rest["planned"], rest["accepted"], rest["unsent"])


def test_the_rest_of_a_canary_that_is_another_one_now(town: Town) -> None:
    """When the source has moved since the canary, its rest is not sent; without a canary there is no rest."""
    none = town("sync", "customerio", "--continue", "--json")
    town("sync", "customerio", "--max", str(HALF))
    town.sql("UPDATE people SET score = 77 WHERE user_id = 'u5'")
    sent = town.sent
    moved = town("sync", "customerio", "--continue", "--json")

    assert "was no canary" in none.sync["error"]
    assert "not the rest of the canary's plan" in moved.sync["error"]
    assert (1, 1, sent) == (none.code, moved.code, town.sent)


def test_a_canary_of_a_saved_plan_and_its_rest(town: Town) -> None:
    """A saved plan may be begun as a canary, and is gone on with by the same file."""
    file = saved(town)
    first = town("sync", "--plan", file, "--max", "2", "--json").sync
    again = town("sync", "--plan", file, "--json")
    rest = town("sync", "--plan", file, "--continue", "--json").sync

    assert (2, ROWS - 2) == (first["accepted"], first["unsent"])
    assert 1 == again.code
    assert (ROWS - 2, 0) == (rest["accepted"], rest["unsent"])


def test_what_passed_for_the_canary_passes_for_its_rest(town: Town) -> None:
    """A brake that somebody released for a canary does not hold the rest of the same plan."""
    town("sync", "customerio")
    town.more = "[brakes]\nchanged_max = 0.1\nknown_min = 1\n"
    town.settle()
    town.sql("UPDATE people SET score = score + 50")
    held = town("sync", "customerio")
    first = town("sync", "customerio", "--max", "2", "--release", "--json").sync
    rest = town("sync", "customerio", "--continue", "--json").sync

    assert (3, 2, ROWS - 2) == (held.code, first["accepted"], rest["accepted"])
    assert ["changed_max"] == rest["released"]


# Approval.


@pytest.fixture
def careful(town: Town) -> Town:
    """A town in which each plan of customer.io's waits for somebody."""
    town.mappings["customerio"] = PEOPLE.replace('missing = "create"', 'missing = "create"\napprove = true')
    town.settle()
    return town


def held_run(town: Town) -> dict[str, Any]:
    result = town("sync", "customerio", "--json")

    assert (3, ["approval"]) == (result.code, [hold["brake"] for hold in result.sync["holds"]])
    return dict(result.sync)


def test_a_plan_waits_for_approval_and_passes_once(careful: Town) -> None:
    """Nothing leaves until somebody approves the run that was held; then exactly its plan goes, and is remembered."""
    assert "approval" in [hold["brake"] for hold in careful("diff", "customerio", "--json").sync["holds"]]
    run = held_run(careful)["run"]
    word = careful("approve", run, "--by", "ada", "--json").json["approved"]
    sent = careful("sync", "customerio", "--json").sync

    assert (run, "customerio.people", "ada") == (word["run"], word["sync"], word["by"])
    assert ("done", ROWS, ["approval"]) == (sent["result"], sent["accepted"], sent["released"])
    assert [] == careful("diff", "customerio", "--json").sync["holds"]
    control = Control.look(careful.kept)
    assert control is not None
    assert control.approval("customerio.people", word["plan"], 1e9) is None
    control.close()


def test_approval_is_for_exactly_that_plan(careful: Town) -> None:
    """When the source moves after the approval, the new plan waits; neither --release nor an old run helps."""
    run = held_run(careful)["run"]
    careful("approve", run)
    careful.sql("UPDATE people SET score = 77 WHERE user_id = 'u5'")
    held_run(careful)

    assert 3 == careful("sync", "customerio", "--release").code
    assert 0 == careful.sent
    old = careful("approve", run)
    assert (1, True) == (old.code, "holds no plan that waits" in told(old))


def test_approval_is_asked_from_so_many_changes_on(town: Town) -> None:
    """With a number, smaller plans pass; the config's number holds for syncs that say nothing."""
    town.more = f"[plans]\napprove = {HALF}\n[brakes]\nchanged_max = 1.0\nknown_min = 1\n"
    town.settle()
    run = town("sync", "customerio", "--json").sync
    town("approve", run["run"])
    town("sync", "customerio")
    town.sql("UPDATE people SET score = 77 WHERE user_id = 'u5'")

    small = town("sync", "customerio", "--json").sync

    assert ("held", "done", 1) == (run["result"], small["result"], small["accepted"])


def test_approval_lets_a_brake_pass_too(careful: Town) -> None:
    """Whoever approves a plan has seen what else holds it."""
    town = careful
    town("approve", held_run(town)["run"])
    town("sync", "customerio")
    town.more = "[brakes]\nchanged_max = 0.1\nknown_min = 1\n"
    town.settle()
    town.sql("UPDATE people SET score = score + 50")
    run = town("sync", "customerio", "--json").sync
    town("approve", run["run"])
    sent = town("sync", "customerio", "--json").sync

    assert ["changed_max", "approval"] == [hold["brake"] for hold in run["holds"]]
    assert ("done", ["changed_max", "approval"]) == (sent["result"], sent["released"])


@pytest.mark.parametrize("run", ["1", "99"])
def test_approving_what_does_not_wait(town: Town, run: str) -> None:
    """A run that was not held, or that nobody knows, is a mistake with a next step."""
    town("sync", "customerio")
    result = town("approve", run)

    assert (1, True) == (result.code, "`syncer status` names" in told(result))


# A summary.


def test_markdown_for_a_pull_request(town: Town) -> None:
    """A table of counts and cost, what holds, and the first changes, with nothing that markdown takes for its own."""
    town("sync", "customerio")
    town.more = "[brakes]\nchanged_max = 0.1\nknown_min = 1\n"
    town.settle()
    town.sql("UPDATE people SET score = 50, user_id = 'u|`2' WHERE user_id = 'u2'")
    town.sql("UPDATE people SET score = 51 WHERE user_id = 'u3'")
    text = town("diff", "customerio", "--format", "markdown").out

    assert "| `customerio.people` | 1 | 1 | 0 | 0 | 0 | 0 | 1 | **held** by `changed_max` |" in text
    assert "- changed `u3`: `score` `3.0` → `51.0`" in text
    assert r"``u\|`2``" in text
    assert "•••" in text


def test_the_command_knows_its_words() -> None:
    """Every new word is in the help of its command."""
    assert {"approve", "adopt", "verify"} <= set(cli.commands)
