"""What destinations accepted and refused over time: kept whole, once, for as long as the config says."""

from __future__ import annotations

import dataclasses
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from syncer import history
from syncer.change import Change, Job, Outcome, accepted, rejected
from syncer.config_file import History
from syncer.control import Control
from syncer.errors import StateDamaged, Stopping
from syncer.forgetting import forget
from syncer.history import Entry, life
from syncer.readback import adopt, verify
from syncer.state import State
from tests.engine.moody import PEOPLE, ROWS, SECRET, Moody, Stage
from tests.engine.test_jobs import Died, done, dying, resuming
from tests.engine.test_readback import MAPPING, Readable

SYNC = "memory.people"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.engine.close()


def lived(stage: Stage, key: str) -> list[Entry]:
    """The record's life as it is remembered."""
    return life(State(stage.workplace.state, SYNC), stage.engine.control(), key, 0.0)


def told(entries: Sequence[Entry], field: str = "score") -> list[tuple[Any, ...]]:
    """Run, result, and what became of one field."""
    return [
        (one.run, one.result, *((step.before, step.after) if (step := one.fields.get(field)) else ()))
        for one in entries
    ]


def everything(stage: Stage) -> list[tuple[Any, ...]]:
    """(key, run, result) of all rows of all files that count."""
    parts = stage.engine.control().history(SYNC)
    files = [str(stage.workplace.state / SYNC / part.file) for part in parts]
    if not files:
        return []
    with duckdb.connect(":memory:") as connection:
        return connection.execute(
            "SELECT key, run, result FROM read_parquet(?, union_by_name = true) ORDER BY ALL", [files]
        ).fetchall()


def score(stage: Stage, key: str, value: int | str) -> None:
    stage.workplace.sql(f"UPDATE people SET score = {value} WHERE user_id = '{key}'")


# What is written.


def test_values_are_kept_as_they_were_accepted(stage: Stage) -> None:
    """Each run that changed a record has an entry with the fields that left, before and after, and who started it."""
    first = stage.run()
    score(stage, "u7", 70)
    second = stage.run(trigger="schedule")
    score(stage, "u7", "NULL")
    third = stage.run()
    entries = lived(stage, "u7")

    assert [
        (first.run, "accepted", None, 3.5),
        (second.run, "accepted", 3.5, 70),
        (third.run, "accepted", 70, None),
    ] == (told(entries))
    assert [("new", "command"), ("changed", "schedule"), ("changed", "command")] == [
        (one.kind, one.trigger) for one in entries
    ]
    assert [{"user", "score", "note"}, {"score"}, {"score"}] == [set(one.fields) for one in entries]
    assert [False, True, True] == [one.fields["score"].is_known for one in entries]
    assert (True, f"{SECRET}-7") == (entries[0].fields["note"].is_sensitive, entries[0].fields["note"].after)
    assert ROWS + 2 == len(everything(stage))


def test_refusals_are_kept_with_the_answer(stage: Stage) -> None:
    """What the destination refused is there with its code and words, and what it accepted then, too."""

    def refusing(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
        for change in changes:
            yield rejected(change, "TOO_LONG", "It is too long.") if change.key == "u3" else accepted(change)

    refused = stage.run(refusing)
    score(stage, "u3", 33)
    taken = stage.run()
    first, second = lived(stage, "u3")

    assert [(refused.run, "rejected", None, 1.5), (taken.run, "accepted", None, 33)] == told([first, second])
    assert (("TOO_LONG", "It is too long."), (None, None)) == (
        (first.code, first.message),
        (second.code, second.message),
    )


def test_plan_that_was_refused_whole_is_kept(stage: Stage) -> None:
    """A run of which nothing was accepted is in the history, and its plan is kept no longer than that."""
    stage.run(lambda moody, number, changes: (rejected(change, "NO", "No.") for change in changes))

    assert ROWS == len(everything(stage))
    assert [] == stage.query("SELECT * FROM plan")


def test_deferred_records_are_no_history(stage: Stage) -> None:
    """What did not leave, or of which nobody knows what became, is no entry until it is answered for."""

    def dead(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
        yield accepted(changes[0])
        raise Stopping(doubt=True)

    stage.run(dead)

    assert [("u0", 1, "accepted")] == everything(stage)


def test_request_ids_are_kept(stage: Stage) -> None:
    """The service's id of the request that was answered before an outcome is kept with it, and none where none is."""

    def answering(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
        for place, change in enumerate(changes):
            if number == 1 and place in (2, 5):
                moody.transport._answers.request_id = f"req-{place}"
            yield accepted(change)

    stage.run(answering)
    requests = {
        key: lived(stage, key)[0].request for key in ("u17", "u18", "u19", "u2", "u20", "u21", "u22", "u23", "u24")
    }

    # Batches are ten records, in the order of their keys: u17 is the last of the first.
    assert {"u17": None, "u18": None, "u19": None, "u2": "req-2", "u20": "req-2", "u21": "req-2"} == {
        key: requests[key] for key in list(requests)[:6]
    }
    assert {"u22": "req-5", "u23": "req-5", "u24": "req-5"} == {key: requests[key] for key in list(requests)[6:]}


def test_files_are_private_and_sorted_by_key(stage: Stage) -> None:
    """Only the owner may read a file of the history, and its rows are in the order of their keys."""
    stage.run()
    (part,) = stage.engine.control().history(SYNC)
    file = stage.workplace.state / SYNC / part.file
    with duckdb.connect(":memory:") as connection:
        keys = [row[0] for row in connection.execute(f"SELECT key FROM read_parquet('{file}')").fetchall()]

    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert sorted(keys) == keys


# Whoever was killed.


def test_killed_run_is_told_by_the_next_one(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the settled batches of a killed run accepted is in the history once the next run is over, and only once."""
    commit, commits = Control.commit, []

    def killed(self: Control, *words: Any) -> None:
        commits.append(words)
        if len(commits) == 4:
            raise Died
        commit(self, *words)

    with monkeypatch.context() as patched:
        patched.setattr(Control, "commit", killed)
        with pytest.raises(Died):
            stage.run()
    assert [] == everything(stage)
    stage.run()
    entries = everything(stage)

    # Of three batches that left, the third was in flight.
    assert {1: 20, 2: 30} == Counter(run for _, run, _ in entries)
    assert ROWS == len({key for key, _, _ in entries})


def test_job_that_is_taken_up_later_is_told_once(stage: Stage) -> None:
    """Records of a job are told when the job is, as outcomes of the run that started it."""
    stage.run(dying)
    assert 10 == len(everything(stage))
    resuming(stage, done)
    stage.run()
    entries = everything(stage)

    assert {1: 20, 2: ROWS - 20} == Counter(run for _, run, _ in entries)
    assert ROWS == len({key for key, _, _ in entries})


def test_job_that_has_told_a_part_is_told_whole(stage: Stage) -> None:
    """A batch that a job may still tell of waits for it, also with what is known of it already."""

    def begun(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome | Job]:
        yield Job("job-7")
        yield accepted(changes[0])
        raise Stopping(doubt=True)

    stage.run(begun)
    assert [] == everything(stage)
    resuming(stage, done)
    stage.run()
    entries = everything(stage)

    assert {1: 10, 2: ROWS - 10} == Counter(run for _, run, _ in entries)
    assert ROWS == len({key for key, _, _ in entries})


@pytest.mark.parametrize("instant", ["_written", "noted"])
def test_any_instant_of_writing_may_be_the_last(stage: Stage, monkeypatch: pytest.MonkeyPatch, instant: str) -> None:
    """A process that dies before, or after its file is durable and before it counts, leaves nothing out or twice."""
    place: Any = history if instant == "_written" else Control

    def dead(*_: Any) -> Any:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(place, instant, dead)
        with pytest.raises(Died):
            stage.run()
    left = list((stage.workplace.state / SYNC).glob("history-*.parquet"))
    stage.run()

    assert (1 if instant == "noted" else 0) == len(left)
    assert ROWS == len(everything(stage)) == len(set(everything(stage)))
    assert [] == [file for file in left if file.exists()]


def test_full_disk_postpones_the_history_and_the_fold(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A history that cannot be written fails no run and loses nothing: no plan goes before it is told."""

    def full(*_: Any, **__: Any) -> Any:
        raise StateDamaged("The disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr(history, "write_parquet", full)
        assert "done" == stage.run().result
        assert [] == list((stage.workplace.state / SYNC).glob("base-*"))
    stage.run()

    assert ROWS == len(everything(stage))
    assert 1 == len(list((stage.workplace.state / SYNC).glob("base-*")))


# What comes from the destination.


def test_adopted_values_are_told_as_found(tmp_path: Path) -> None:
    """Values that were taken over, or found when they had drifted, are there with who asked for them."""
    stage = Stage(tmp_path, adapter=Readable, mapping=MAPPING)
    stage.workplace.sql("CREATE OR REPLACE TABLE people AS SELECT 'u1' AS user_id, 1.5 AS score, 'x' AS band, 'n' note")
    stage.adapter.held = {"u1": {"score": 9.0, "band": "x"}}
    prepared = stage.engine.prepare(stage.engine.config.syncs[0])
    adopt(stage.engine, prepared)
    stage.run()
    stage.adapter.held["u1"] = {"score": 77.0, "band": "x", "note": "n"}
    verify(stage.engine, stage.engine.prepare(stage.engine.config.syncs[0]), repair=True)
    entries = lived(stage, "u1")
    stage.engine.close()

    assert [(1, "found", None, 9.0), (2, "accepted", 9.0, 1.5), (3, "found", None, 77.0)] == told(entries)
    assert ["adopt", "command", "verify"] == [one.trigger for one in entries]
    assert [{"score", "band"}, {"score", "note"}, {"score"}] == [set(one.fields) for one in entries]


# How long it is kept.


def test_no_history_is_kept_when_it_is_off(tmp_path: Path) -> None:
    """With keep = false nothing is written, and what was there goes."""
    stage = Stage(tmp_path)
    stage.run()
    assert ROWS == len(everything(stage))
    stage.engine.config = dataclasses.replace(stage.engine.config, history=History(keep=False))
    score(stage, "u1", 99)
    stage.run()
    stage.engine.close()

    assert [] == everything(stage)
    assert [] == stage.query("SELECT * FROM batch WHERE NOT is_noted")


def test_old_entries_go(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose last entry is too old goes at the end of a run, and of a merged one the rows that are."""
    monkeypatch.setattr(history, "FILES_MAX", 1)
    now = float(int(stage.engine._clock()))
    day = 86_400.0
    clocks = [now - 500 * day, now - 450 * day, now]

    def at(seconds: float) -> None:
        stage.engine._clock = stage.engine.control()._clock = lambda: seconds

    for number, seconds in enumerate(clocks):
        at(seconds)
        score(stage, "u1", 100 + number)
        score(stage, "u2", 200 + number)
        stage.run()

    assert [now] == [one.answered_at.timestamp() for one in lived(stage, "u1")]
    assert [("u1", 3, "accepted"), ("u2", 3, "accepted")] == everything(stage)


def test_many_small_files_become_one(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there are more files of one size than needed they are merged, and the history says what it said."""
    monkeypatch.setattr(history, "FILES_MAX", 3)
    for number in range(9):
        score(stage, "u1", 100 + number)
        stage.run()

    assert 4 >= len(stage.engine.control().history(SYNC))
    assert [100 + number for number in range(9)] == [after for _, _, _, after in told(lived(stage, "u1"))]
    assert ROWS + 8 == len(everything(stage))


def test_merging_may_be_interrupted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies before the merged file counts has lost nothing; its file goes."""

    def dead(*_: Any) -> Any:
        raise Died

    for number in range(3):
        score(stage, "u1", 100 + number)
        stage.run()
    before, files = everything(stage), stage.engine.control().history(SYNC)
    monkeypatch.setattr(history, "FILES_MAX", 1)
    with monkeypatch.context() as patched:
        patched.setattr(Control, "rewrite_history", dead)
        with pytest.raises(Died):
            stage.run()
    assert (before, files) == (everything(stage), stage.engine.control().history(SYNC))
    assert 4 == len(list((stage.workplace.state / SYNC).glob("history-*.parquet")))
    stage.run()

    assert before == everything(stage)
    assert 2 == len(stage.engine.control().history(SYNC))


def test_lost_file_of_the_history_stops_no_run(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is gone can be neither merged nor told of; runs go on, and their state is folded."""
    stage.run()
    for file in (stage.workplace.state / SYNC).glob("history-*"):
        file.unlink()
    monkeypatch.setattr(history, "FILES_MAX", 0)
    bases = sorted((stage.workplace.state / SYNC).glob("base-*"))
    stage.workplace.sql("UPDATE people SET score = score + 1")

    assert "done" == stage.run().result
    assert 2 == len(stage.engine.control().history(SYNC))
    assert bases != sorted((stage.workplace.state / SYNC).glob("base-*"))
    with pytest.raises(StateDamaged, match=r"The history file .+ is missing\. Restore it from a backup"):
        lived(stage, "u1")


def test_layouts_side_by_side(stage: Stage) -> None:
    """A field that the mapping lost, and one that became another type, are still told as they were."""
    stage.run()
    mapping = stage.workplace.folder / "mappings" / "memory.toml"
    mapping.write_text(mapping.read_text().replace('score = "score"', 'score = { column = "score", type = "text" }'))
    mapping.write_text(mapping.read_text().replace('user = "user_id"\n', ""))
    stage.engine.config = stage.load()
    stage.run()
    first, second = lived(stage, "u8")

    assert ({"user", "score", "note"}, {"score"}) == (set(first.fields), set(second.fields))
    assert (4, "4") == (first.fields["score"].after, second.fields["score"].after)


def test_history_outlives_forgetting(stage: Stage) -> None:
    """Forgetting keys or a whole sync makes them new, and what was accepted once stays told."""
    stage.run()
    forget(stage.engine, SYNC, ["u1"])
    stage.run()
    forget(stage.engine, SYNC, [])
    stage.run()

    assert [1, 2, 3] == [one.run for one in lived(stage, "u1")]


def test_deletion_is_told(tmp_path: Path) -> None:
    """A record that was deleted has an entry with what was there before."""
    stage = Stage(tmp_path, mapping=PEOPLE.replace("[sync.fields]", 'removed = "delete"\n\n[sync.fields]'))
    stage.run()
    stage.workplace.sql("DELETE FROM people WHERE user_id = 'u9'")
    stage.run()
    entries = lived(stage, "u9")
    stage.engine.close()

    assert [("new", None, 4.5), ("removed", 4.5, None)] == [
        (one.kind, one.fields["score"].before, one.fields["score"].after) for one in entries
    ]
