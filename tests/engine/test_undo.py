"""Undoing a run: what it replaced is put back where the destination still holds it, and the rest is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from syncer import documents
from syncer.account import Options, Report
from syncer.change import Change, Outcome, accepted, rejected
from syncer.change import Held as ThereHeld
from syncer.config_file import History
from syncer.control import Control
from syncer.destination import Destination
from syncer.errors import DestinationUnusable, ServiceUnavailable, UserError
from syncer.forgetting import forget
from syncer.history import life
from syncer.mapping import Brakes, Sync
from syncer.readback import adopt
from syncer.state import State
from syncer.undo import Undoing, looked_at, undoable
from tests.engine.moody import Moody, Stage
from tests.engine.test_jobs import Died
from tests.engine.test_readback import MAPPING, Readable
from tests.workplace import NO_BRAKES

SYNC = "memory.people"
ROWS = 20


class Held(Readable):
    """Keeps fields it is not sent, as a real one does."""


def keeping(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
    """Takes everything, field by field."""
    for change in changes:
        moody.held.setdefault(change.key, {}).update(change.fields)
        yield accepted(change)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Twenty people who are at the destination, and a run that changed five of them."""
    made = world(tmp_path)
    yield made
    made.engine.close()


def world(folder: Path, mapping: str = MAPPING, more: str = "") -> Stage:
    made = Stage(folder, more, adapter=Held, mapping=mapping)
    made.workplace.sql(
        "CREATE OR REPLACE TABLE people AS SELECT 'u' || i AS user_id, i * 1.5 AS score, "
        f"CASE WHEN i % 2 = 0 THEN 'hot' ELSE 'cold' END AS band, 'note ' || i AS note FROM range({ROWS}) t(i)"
    )
    made.run(keeping)
    change(made)
    made.run(keeping)
    return made


def change(stage: Stage) -> None:
    """The second night: scores of five people, a band, a note that goes, and a new person."""
    stage.workplace.sql(
        "UPDATE people SET score = 100 WHERE user_id IN ('u1', 'u2', 'u3', 'u4', 'u5')",
        "UPDATE people SET band = 'new' WHERE user_id = 'u1'",
        "UPDATE people SET note = NULL WHERE user_id = 'u2'",
        "INSERT INTO people VALUES ('u99', 9.0, 'hot', 'x')",
    )


def prepared(stage: Stage) -> Any:
    return stage.engine.prepare(stage.engine.config.syncs[0])


def undo(stage: Stage, run: int = 2, mood: Any = keeping, **options: Any) -> tuple[Report, Undoing]:
    undoing = Undoing(stage.engine, undoable(stage.engine, run).id)
    stage.adapter.mood = staticmethod(mood)
    stage.adapter.batches.clear()
    report = stage.engine.run(prepared(stage), Options(trigger="undo", planner=undoing, **options))
    return report, undoing


def left(undoing: Undoing) -> set[tuple[str, str, str]]:
    return {(one.key, one.field, one.reason) for one in undoing.left.listed}


def planned(stage: Stage) -> dict[str, set[str]]:
    with stage.engine.diff(prepared(stage)) as plan:
        return {one.key: set(one.fields) for one in plan.changes()}


def test_what_the_run_replaced_is_put_back(stage: Stage) -> None:
    """Every field that the run changed is as it was before, the others are not touched, and what it made stays."""
    before = {key: dict(held) for key, held in stage.adapter.held.items()}
    report, undoing = undo(stage)
    held = stage.adapter.held

    assert ("done", 5, 5) == (report.result, report.delivered.planned, report.delivered.accepted)
    assert {"score": 1.5, "band": "cold", "note": "note 1"} == held["u1"]
    assert {"score": 3.0, "band": "hot", "note": "note 2"} == held["u2"]
    assert [4.5, 6.0, 7.5] == [held[f"u{number}"]["score"] for number in (3, 4, 5)]
    assert {key: before[key] for key in before if key not in {"u1", "u2", "u3", "u4", "u5"}} == {
        key: held[key] for key in before if key not in {"u1", "u2", "u3", "u4", "u5"}
    }
    assert {("u99", "", "created")} == left(undoing)


def test_only_the_fields_of_the_run_leave(stage: Stage) -> None:
    """What the run did not touch does not go along."""
    sent: dict[str, Any] = {}

    def noting(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
        sent.update({one.key: (one.kind, dict(one.before), dict(one.fields)) for one in changes})
        yield from keeping(moody, number, changes)

    undo(stage, mood=noting)

    assert ("changed", {"score": 100.0, "band": "new"}, {"score": 1.5, "band": "cold"}) == sent["u1"]
    assert ("changed", {"score": 100.0, "note": None}, {"score": 3.0, "note": "note 2"}) == sent["u2"]
    assert ("changed", {"score": 100.0}, {"score": 4.5}) == sent["u3"]


def test_state_and_history_know_of_it(stage: Stage) -> None:
    """The next plan sends again what the source still says; the journal and the history name the undoing."""
    report, _ = undo(stage)
    (run, *_) = stage.engine.control().runs(SYNC)
    entries = life(State(stage.workplace.state, SYNC), stage.engine.control(), "u1", 0.0)

    assert {"u1": {"score", "band"}, "u2": {"score", "note"}, "u3": {"score"}, "u4": {"score"}, "u5": {"score"}} == (
        planned(stage)
    )
    assert (report.run, "undo", 2) == (run.id, run.facts["trigger"], run.facts["undoes"])
    assert [("command", 1.5), ("command", 100.0), ("undo", 1.5)] == [
        (one.trigger, one.fields["score"].after) for one in entries
    ]
    assert ("undo", "2") == tuple(documents.run(run, is_alive=False)[name] for name in ("trigger", "undoes"))


def test_undoing_can_be_undone(stage: Stage) -> None:
    """Undoing the undoing puts the run's values back, and undoing that again is possible too."""
    for run, score in ((2, 1.5), (3, 100.0), (4, 1.5)):
        report, _ = undo(stage, run)
        assert ("done", 5) == (report.result, report.delivered.accepted)
        assert score == stage.adapter.held["u1"]["score"]


def test_what_somebody_changed_there_stays(stage: Stage) -> None:
    """A field that does not hold ours any more is left with what is there; a record that is gone is told."""
    stage.adapter.held["u1"]["score"] = 55.0
    stage.adapter.held["u2"]["note"] = "mine"
    del stage.adapter.held["u3"]
    report, undoing = undo(stage)
    document = documents.undone(documents.sync(report), prepared(stage).sync, undoing)

    assert 4 == report.delivered.accepted
    assert (55.0, "cold", 3.0, "mine") == (
        stage.adapter.held["u1"]["score"],
        stage.adapter.held["u1"]["band"],
        stage.adapter.held["u2"]["score"],
        stage.adapter.held["u2"]["note"],
    )
    assert {
        ("u1", "score", "theirs"),
        ("u2", "note", "theirs"),
        ("u3", "", "gone"),
        ("u99", "", "created"),
    } == left(undoing)
    assert {"theirs": 2, "gone": 1, "created": 1} == document["left"]["counts"]
    told = {(one["key"], one["field"]): one.get("theirs") for one in document["left"]["records"]}
    assert (55.0, "•••") == (told["u1", "score"], told["u2", "note"])


def test_what_a_later_run_changed_stays(stage: Stage) -> None:
    """A field that a later run of ours changed is left; one that a later run brought back is as it was already."""
    stage.workplace.sql(
        "UPDATE people SET score = 7 WHERE user_id = 'u1'", "UPDATE people SET score = 4.5 WHERE user_id = 'u3'"
    )
    stage.run(keeping)
    report, undoing = undo(stage)

    assert 4 == report.delivered.accepted
    assert (7.0, "cold") == (stage.adapter.held["u1"]["score"], stage.adapter.held["u1"]["band"])
    assert {("u1", "score", "later"), ("u3", "score", "restored"), ("u99", "", "created")} == left(undoing)


def test_what_was_never_known_stays(tmp_path: Path) -> None:
    """A field that the run sent for the first time has nothing before, and one that is not mapped is not sent."""
    stage = world(tmp_path, mapping=MAPPING.replace('band = { column = "band", on_drift = "theirs" }\n', ""))
    write(stage, MAPPING)
    stage.run(keeping)
    report, undoing = undo(stage, 3)
    assert (0, "done") == (report.delivered.planned, report.result)
    assert {"unknown": ROWS + 1} == dict(undoing.left.counts)

    write(stage, MAPPING.replace('score = "score"\n', ""))
    report, undoing = undo(stage, 2)
    stage.engine.close()

    assert 1 == report.delivered.accepted
    assert {"unmapped": 5, "created": 1} == dict(undoing.left.counts)


def test_field_of_another_type_stays(stage: Stage) -> None:
    """What was a number once and is a text now is not put back as either."""
    write(stage, MAPPING.replace('score = "score"', 'score = { column = "band" }'))
    _, undoing = undo(stage)

    assert 5 == undoing.left.counts["retyped"]


def test_null_is_not_sent_where_none_may_be(stage: Stage) -> None:
    """With null = "skip" an undoing clears nothing either."""
    stage.workplace.sql("UPDATE people SET note = 'back' WHERE user_id = 'u2'")
    stage.run(keeping)
    write(stage, MAPPING.replace('{ column = "note", ', '{ column = "note", null = "skip", '))
    report, undoing = undo(stage, 3)

    assert (0, {("u2", "note", "never_null")}) == (report.delivered.planned, left(undoing))


@pytest.mark.parametrize("removed", ["clear", "delete"])
def test_rows_that_were_removed(tmp_path: Path, removed: str) -> None:
    """What was cleared because its row was gone is written again; what was deleted is told."""
    stage = world(tmp_path, MAPPING.replace("[sync.fields]", f'removed = "{removed}"\n\n[sync.fields]'))
    stage.workplace.sql("DELETE FROM people WHERE user_id = 'u7'")
    stage.run(keeping)
    report, undoing = undo(stage, 3)
    stage.engine.close()

    if removed == "clear":
        assert (1, {"score": 10.5, "band": "cold", "note": "note 7"}) == (
            report.delivered.accepted,
            stage.adapter.held["u7"],
        )
    else:
        assert (0, {("u7", "", "deleted")}) == (report.delivered.planned, left(undoing))


def test_records_that_were_forgotten(stage: Stage) -> None:
    """A record that is not known any more is left as it is."""
    forget(stage.engine, SYNC, ["u1"])
    report, undoing = undo(stage)

    assert (4, True) == (report.delivered.accepted, ("u1", "", "forgotten") in left(undoing))


def test_field_in_doubt(stage: Stage) -> None:
    """Of a field in doubt the destination says what it holds: ours is taken back, and what was before is left."""

    def lost(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
        raise ServiceUnavailable("The service closed the connection.", doubt=True)
        yield

    stage.workplace.sql("UPDATE people SET score = 7 WHERE user_id IN ('u1', 'u2')")
    stage.run(lost)
    stage.adapter.held["u2"]["score"] = 3.0
    report, undoing = undo(stage)

    assert (1.5, 3.0) == (stage.adapter.held["u1"]["score"], stage.adapter.held["u2"]["score"])
    assert ("u2", "score", "restored") in left(undoing)
    assert 5 == report.delivered.accepted


def test_adopted_values_are_what_was_before(tmp_path: Path) -> None:
    """After adopting, the first run can be taken back to what the destination held."""
    stage = Stage(tmp_path, adapter=Held, mapping=MAPPING)
    stage.workplace.sql("CREATE OR REPLACE TABLE people AS SELECT 'u1' AS user_id, 1.5 AS score, 'x' AS band, 'n' note")
    stage.adapter.held = {"u1": {"score": 9.0, "band": "x", "note": "n"}}
    adopt(stage.engine, prepared(stage))
    stage.run(keeping)
    undo(stage)
    stage.engine.close()

    assert 9.0 == stage.adapter.held["u1"]["score"]


def test_relations_are_put_back(tmp_path: Path) -> None:
    """Identifiers that a run added are taken away again, and those that it took away are added."""

    class Related(Held):
        relates = True
        related: dict[str, frozenset[str]] = {}  # noqa: RUF012

        def read(self, sync: Sync, records: Any) -> Iterator[ThereHeld]:
            for one in records:
                yield ThereHeld(one.key, self.held[one.key], relations={"team": self.related[one.key]})

    def relating(moody: Any, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
        for change in changes:
            for one in change.relations.values():
                there = moody.related.get(change.key, frozenset())
                moody.related[change.key] = (there | set(one.add)) - set(one.remove)
            yield from keeping(moody, number, [change])

    mapping = MAPPING.replace("[sync.fields]", 'relate = { team = "teams" }\n\n[sync.fields]')
    stage = Stage(tmp_path, adapter=Related, mapping=mapping)
    for teams in ("['a', 'b']", "['b', 'c']"):
        stage.workplace.sql(
            "CREATE OR REPLACE TABLE people AS SELECT 'u1' AS user_id, 1.5 AS score, 'x' AS band, 'n' AS note, "
            f"{teams} AS teams"
        )
        stage.run(relating)
    stage.adapter.related["u1"] |= {"theirs"}
    undo(stage, mood=relating)
    stage.engine.close()

    assert {"a", "b", "theirs"} == stage.adapter.related["u1"]


# How it goes wrong.


def test_brakes_judge_it(stage: Stage) -> None:
    """An undoing that changes too much is held, and released like any other run; how old the source is says nothing."""
    sync = stage.engine.config.syncs[0].model_copy(
        update={"brakes": Brakes(changed_max=0.1, known_min=1, max_age="1s", cleared_max=1.0)}
    )
    stage.engine.config = dataclasses.replace(stage.engine.config, syncs=(sync,))
    held, _ = undo(stage)

    assert ("held", ["changed_max"]) == (held.result, [hold.brake for hold in held.holds])
    assert "`syncer undo 2 --release` sends it this once" in held.holds[0].sentence
    assert [] == stage.adapter.batches
    released, _ = undo(stage, release=True)
    assert ("done", 5) == (released.result, released.delivered.accepted)


def test_records_that_are_refused(stage: Stage) -> None:
    """A record that the destination refuses is parked, and what the source says of it still goes at once."""

    def refusing(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
        for one in changes:
            if one.key == "u1":
                yield rejected(one, "NO", "No.")
            else:
                yield from keeping(moody, number, [one])

    report, _ = undo(stage, mood=refusing)
    stage.workplace.sql("UPDATE people SET score = 8 WHERE user_id = 'u1'")

    assert (4, 1) == (report.delivered.accepted, report.delivered.rejected)
    assert "u1" in planned(stage)


def test_looking_sends_nothing(stage: Stage) -> None:
    """A dry run is the same plan, shown as a difference, and neither sends nor remembers anything."""
    undoing = Undoing(stage.engine, 2)
    stage.adapter.batches.clear()
    runs = len(stage.engine.control().runs(SYNC, 100))
    with looked_at(stage.engine, prepared(stage), undoing) as plan:
        document = documents.undone(documents.diff(plan, "Memory"), plan.sync, undoing)

    assert [] == stage.adapter.batches
    assert runs == len(stage.engine.control().runs(SYNC, 100))
    assert {"score": {"before": 100.0, "after": 1.5}, "band": {"before": "new", "after": "cold"}} == (
        document["changes"][0]["fields"]
    )
    assert {"score": {"before": 100.0, "after": 3.0}, "note": {"before": "•••", "after": "•••"}} == (
        document["changes"][1]["fields"]
    )
    assert 5 == document["counts"]["changed"]
    assert "pause its schedule" in document["next"]
    assert [("u99", "created")] == [(one["key"], one["reason"]) for one in document["left"]["records"]]


def test_destination_that_cannot_be_read(stage: Stage) -> None:
    """Without reading nothing is put back, in one sentence."""
    stage.adapter.read = Destination.read
    report, _ = undo(stage)

    assert ("failed", []) == (report.result, stage.adapter.batches)
    assert "cannot be read back" in str(report.error)
    with pytest.raises(DestinationUnusable), looked_at(stage.engine, prepared(stage), Undoing(stage.engine, 2)):
        pass


def test_runs_that_cannot_be_undone(stage: Stage) -> None:
    """A number that no run has, a run that sent nothing, and one that the history has forgotten, are told apart."""
    stage.run(keeping)
    adopt(stage.engine, prepared(stage))
    with pytest.raises(UserError, match="no run 77"):
        undoable(stage.engine, 77)
    with pytest.raises(UserError, match="was `adopt`, which sends nothing"):
        undoable(stage.engine, 4)
    assert "Nothing of run 3 was accepted" in str(undo(stage, 3)[0].error)
    stage.engine.config = dataclasses.replace(stage.engine.config, history=History(keep=False))
    assert "The history has nothing of run 2 any more" in str(undo(stage)[0].error)


def test_kill_in_the_middle(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies after some batches has lost nothing: undoing again brings the rest, and then all is put back.

    What was in flight is in doubt, and the destination says what it holds of it.
    """
    write(stage, MAPPING, batch=2)
    commit, commits = Control.commit, []

    def killed(self: Control, *words: Any) -> None:
        commits.append(words)
        if len(commits) == 3:
            raise Died
        commit(self, *words)

    with monkeypatch.context() as patched:
        patched.setattr(Control, "commit", killed)
        with pytest.raises(Died):
            undo(stage)
    assert [2, 2] == stage.adapter.batches
    again, undoing = undo(stage)
    runs = stage.engine.control().runs(SYNC, 2)

    assert [1.5, 3.0, 4.5, 6.0, 7.5] == [stage.adapter.held[f"u{number}"]["score"] for number in range(1, 6)]
    assert ("done", 1) == (again.result, again.delivered.accepted)
    assert 6 == undoing.left.counts["restored"]
    assert [("done", "undo", 2), ("failed", "undo", 2)] == [
        (one.result, one.facts["trigger"], one.facts["undoes"]) for one in runs
    ]
    # The source is the truth as ever: what is in doubt, and what was put back, is sent again by the next run.
    assert {"u1", "u2", "u3", "u4", "u5"} == set(planned(stage))


def write(stage: Stage, mapping: str, batch: int = 10) -> None:
    stage.workplace.write({"memory": f"batch = {batch}\nin_flight = 1\n"}, {"memory": mapping}, NO_BRAKES)
    stage.engine.config = stage.load()
