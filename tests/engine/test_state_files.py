"""The state's files: folded, read while they change, damaged, missing, newer, and forgotten."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from syncer.errors import StateDamaged, UserError
from syncer.forgetting import forget
from syncer.plan import FORMAT
from tests.engine.stage import Stage, deciding, field

ONE = "user_id VARCHAR, x DOUBLE"


def fill(stage: Stage, *values: float) -> None:
    stage.put(ONE, *((f"u_{number}", value) for number, value in enumerate(values)))


def bases(stage: Stage) -> list[Path]:
    control = stage.engine.control()
    name = control.standing(stage.sync.name).base_file
    return [stage.state_folder / name] if name else []


def test_a_fold_keeps_what_is_known(stage: Stage) -> None:
    """Base and plans become one new base with the same values, and the same doubts."""
    stage.map(field("x"), field("y", "x"))
    fill(stage, 1, 2, 3)
    stage.run()
    stage.map(field("x"))
    fill(stage, 1, 5, 6)
    stage.decide = deciding({"u_2": "doubt-lost"})
    stage.run()
    standing = stage.engine.control().standing(stage.sync.name)

    assert () == standing.plans
    assert ["u_2"] == list(stage.plan().fields)

    stage.map(field("x"), field("y", "x"))

    assert {"u_1": {"y": 5.0}, "u_2": {"x": 6.0, "y": 6.0}} == stage.plan().fields


def test_the_newest_plan_of_a_key_counts(stage: Stage) -> None:
    """Of many plans that are not folded yet, the last accepted one says what is known."""
    stage.map(field("x"))
    fill(stage, *range(1000))
    stage.run()
    for value in (5.0, 6.0, 7.0):
        fill(stage, value, *range(1, 1000))
        stage.run()

    assert 3 == len(stage.engine.control().standing(stage.sync.name).plans)
    assert {} == stage.plan().fields

    fill(stage, 6.0, *range(1, 1000))

    assert [{"x": 7.0}] == [change.before for change in stage.plan().changes]
    assert 1000 == stage.engine.state(stage.sync.name).known(stage.engine.control(), 1)


def test_readers_look_again_while_runs_fold(stage: Stage) -> None:
    """Looks go on, one after another, while another thread runs and folds; none fails, and each is of one instant."""
    stage.map(field("x"))
    fill(stage, 0, 0)
    stage.run()
    prepared, errors, done = stage.prepare(), [], threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                with stage.engine.diff(prepared) as plan:
                    assert 2 == plan.known
            except BaseException as error:
                errors.append(error)

    reader = threading.Thread(target=look)
    reader.start()
    for value in range(1, 6):
        fill(stage, value, value)
        stage.run()
    done.set()
    reader.join()

    assert [] == errors


@pytest.mark.parametrize("damage", ["end", "middle", "gone", "other", "newer"])
def test_a_damaged_state_is_a_sentence(stage: Stage, damage: str) -> None:
    """Damaged, missing or of a newer format: the run and the look say so, and send nothing."""
    stage.map(field("x"))
    stage.put(ONE)
    stage.sql("INSERT INTO people SELECT 'u_' || i, i * 1.5 FROM range(20000) t(i)")
    stage.run()
    (base,) = bases(stage)
    whole = base.read_bytes()
    if damage == "end":
        base.write_bytes(whole[:-100])
    elif damage == "middle":
        base.write_bytes(whole[:4] + bytes(len(whole) // 2) + whole[4 + len(whole) // 2 :])
    elif damage == "gone":
        base.unlink()
    elif damage == "other":
        base.write_text("not Parquet")
    else:
        table = pq.read_table(base)
        pq.write_table(table.replace_schema_metadata({"syncer": json.dumps({"format": FORMAT + 1})}), base)
    report = stage.run()

    assert ("failed", {}) == (report.result, stage.sent)
    expected = {"gone": "is missing", "newer": "was written by a newer Syncer"}.get(damage, "is damaged")
    assert f"The state file {base} {expected}" in (report.error or "").replace(
        f"{base} was", f"The state file {base} was"
    )
    with pytest.raises(StateDamaged) as raised:
        stage.plan()
    assert report.error == str(raised.value)

    forget(stage.engine, stage.sync.name, ())

    assert 20_000 == stage.plan().plan.new


def test_forgotten_keys_are_sent_again(stage: Stage) -> None:
    """Some keys can be forgotten, with their refusals; the others stay known."""
    stage.map(field("x"))
    fill(stage, 1, 2, 3)
    stage.decide = deciding({"u_2": "rejected"})
    stage.run()

    assert 1 == forget(stage.engine, stage.sync.name, ["u_0", "u_2", "nobody"])
    assert ([], {"u_0": {"x": 1.0}, "u_2": {"x": 3.0}}) == (stage.parked(), stage.plan().fields)


def test_forgetting_keeps_numbers_that_changed_their_kind(stage: Stage) -> None:
    """What the files hold in several types survives the forgetting of another key."""
    stage.map(field("x"))
    stage.put("user_id VARCHAR, x INTEGER", *((f"u_{number}", number) for number in range(100)))
    stage.run()
    stage.put("user_id VARCHAR, x DOUBLE", *((f"u_{number}", number or 0.5) for number in range(100)))
    stage.run()
    forget(stage.engine, stage.sync.name, ["u_9"])

    assert {"u_9": {"x": 9.0}} == stage.plan().fields


def test_two_syncs_share_nothing(stage: Stage) -> None:
    """The same rows to two syncs are two states: one may lag, or be forgotten, without the other."""
    stage.map(field("x"))
    fill(stage, 1)
    stage.run()
    stage.map(name="memory.Pe ople/2")

    assert {"u_0": "new"} == stage.plan().kinds

    stage.run()
    forget(stage.engine, "memory.people", ())

    assert {} == stage.plan().kinds
    assert (stage.folder / "state" / "memory.Pe%20ople%2F2").is_dir()


def test_names_that_differ_by_case_are_two_fields(stage: Stage) -> None:
    """Files and queries keep `score` and `Score` apart."""
    stage.map(field("score", "x"), field("Score", "x"), field("SCORE", "x", digits=0))
    fill(stage, 1.4)
    stage.run()
    fill(stage, 2.4)
    stage.run()

    assert {"u_0": {"score": 2.4, "Score": 2.4, "SCORE": 2.0}} == stage.records


def test_sixty_two_fields_and_no_more(stage: Stage) -> None:
    """The state has a bit for each field that a sync ever had: the last one works, the next one is refused."""
    stage.map(*(field(f"f{number}", "x") for number in range(62)))
    fill(stage, 1)
    stage.run()
    fill(stage, 2)

    assert 62 == len(stage.plan().fields["u_0"])

    stage.map(field("one_more", "x"))
    with pytest.raises(UserError) as raised:
        stage.plan()
    report = stage.run()

    assert "63 different fields, and 62 is the most" in str(raised.value)
    assert (report.result, report.error) == ("failed", str(raised.value))

    stage.map(field("f0", "x"))

    assert {"u_0": {"f0": 2.0}} == stage.plan().fields


def test_what_a_killed_process_left_is_cleaned_up(stage: Stage) -> None:
    """Half written files, spools and spills of a process that was killed are gone after the next run."""
    stage.map(field("x"))
    fill(stage, 1)
    stage.run()
    left = stage.state_folder / "spool-abc" / "desired.arrow"
    left.parent.mkdir()
    for path in (left, stage.state_folder / "plan-1.parquet.tmp", stage.state_folder / "duckdb_temp_storage-0.tmp"):
        path.write_text("half")
    stage.run()

    assert [] == [path.name for path in stage.state_folder.iterdir() if path.suffix == ".tmp" or path.is_dir()]


def test_any_tool_opens_the_base(stage: Stage) -> None:
    """The base is plain Parquet, with the fields' names in it, readable for its owner only."""
    stage.map(field("Score__c", "x"))
    fill(stage, 1, 2)
    stage.run()
    (base,) = bases(stage)
    with duckdb.connect(":memory:") as connection:
        found = connection.execute("SELECT key, f0_Score__c FROM read_parquet(?) ORDER BY key", [str(base)]).fetchall()

    assert [("u_0", 1.0), ("u_1", 2.0)] == found
    assert 0o600 == base.stat().st_mode & 0o777
