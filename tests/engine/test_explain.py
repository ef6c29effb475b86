"""One record's life: what is known of it now, what happened to it, and what comes next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from syncer import documents
from syncer.change import Change, Outcome, accepted, rejected
from syncer.errors import ServiceUnavailable
from syncer.explain import Life, explain
from syncer.state import Vanished
from tests.engine.moody import PEOPLE, SECRET, Moody, Stage

SYNC = "memory.people"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.engine.close()


def explained(stage: Stage, key: str, *, is_offline: bool = False) -> Life:
    return explain(stage.engine, stage.engine.config.syncs[0], key, is_offline=is_offline)


def document(stage: Stage, key: str) -> dict[str, Any]:
    return documents.explained(explained(stage, key), "Memory")


def score(stage: Stage, value: Any) -> None:
    stage.workplace.sql(f"UPDATE people SET score = {value} WHERE user_id = 'u7'")


def refusing(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
    for change in changes:
        yield rejected(change, "TOO_LONG", "It is too long.") if change.key == "u7" else accepted(change)


def lost(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
    raise ServiceUnavailable("The service closed the connection.", doubt=True)
    yield


def test_life_of_a_record(stage: Stage) -> None:
    """Present values with the run that set them, every entry with before and after, and the next change."""
    stage.run()
    score(stage, 70)
    stage.run(trigger="schedule")
    score(stage, 71.5)
    told = document(stage, "u7")

    assert (SYNC, "person", "u7", {"id": "u7"}) == tuple(told[name] for name in ("sync", "object", "key", "match"))
    assert [("user", "u7", "accepted", "1"), ("score", 70.0, "accepted", "2"), ("note", "•••", "accepted", "1")] == [
        tuple(field[name] for name in ("field", "value", "state", "run")) for field in told["fields"]
    ]
    assert [("1", "new", "command", "accepted"), ("2", "changed", "schedule", "accepted")] == [
        tuple(entry[name] for name in ("run", "kind", "trigger", "result")) for entry in told["history"]
    ]
    assert {"score": {"before": 3.5, "after": 70.0}} == told["history"][1]["fields"]
    assert {"score": {"before": 70.0, "after": 71.5}} == told["next"]["change"]["fields"]
    assert SECRET not in str(told)


def test_parked_record(stage: Stage) -> None:
    """A refused record is told with the answer, in its history and as it waits, and with what makes it go."""
    stage.run(refusing)
    told = document(stage, "u7")

    assert [] == told["fields"]
    assert ("TOO_LONG", "It is too long.", 1) == tuple(told["parked"][one] for one in ("code", "message", "attempts"))
    assert ("rejected", "TOO_LONG", "It is too long.") == tuple(
        told["history"][0][one] for one in ("result", "code", "message")
    )
    assert None is told["next"]["change"]
    assert "syncer rejected memory.people --retry u7" in told["next"]["sentence"]


def test_field_in_doubt(stage: Stage) -> None:
    """A field whose write nobody answered for is in doubt, and the next plan sends it again."""
    stage.run()
    score(stage, 70)
    stage.run(lost)
    told = document(stage, "u7")

    assert [("user", "accepted", "1"), ("score", "in doubt", None), ("note", "accepted", "1")] == [
        (field["field"], field["state"], field["run"]) for field in told["fields"]
    ]
    assert {"score"} == set(told["next"]["change"]["fields"])
    assert 1 == len(told["history"])


def test_retired_field(stage: Stage) -> None:
    """A field that is not mapped any more is told as such, and stays hidden if it was sensitive."""
    stage.run()
    mapping = PEOPLE.replace('note = { column = "note", sensitive = true }\n', "")
    (stage.workplace.folder / "mappings" / "memory.toml").write_text(f'destination = "memory"\n\n{mapping}')
    stage.engine.config = stage.load()
    told = document(stage, "u7")

    assert [("user", True), ("score", True), ("note", False)] == [
        (field["field"], field["mapped"]) for field in told["fields"]
    ]
    assert SECRET not in str(told)


def test_nothing_is_known(stage: Stage) -> None:
    """A key of which nothing is remembered and that the source does not have is known to nobody."""
    assert not explained(stage, "nobody").is_known
    stage.run()

    assert not explained(stage, "nobody").is_known
    assert explained(stage, "u7").is_known


def test_source_that_cannot_be_read(stage: Stage) -> None:
    """What is remembered is told all the same; what comes next is a sentence."""
    stage.run()
    stage.workplace.warehouse.unlink()
    told = explained(stage, "u7")

    assert (1, {"id": "u7"}) == (len(told.entries), told.match)
    assert "There is no file" in told.sentence
    assert "was not asked" in explained(stage, "u7", is_offline=True).sentence


def test_row_that_is_invalid(stage: Stage) -> None:
    """A row that never goes out as it is says why."""
    stage.run()
    stage.workplace.sql("INSERT INTO people SELECT * FROM people WHERE user_id = 'u7'")

    assert "2 times" in explained(stage, "u7").sentence


def test_record_that_is_as_it_should_be(stage: Stage) -> None:
    """Nothing comes next when nothing differs."""
    stage.run()

    assert explained(stage, "u7").sentence.startswith("Nothing: the source says what was accepted")


def test_explaining_while_a_run_holds_the_sync(stage: Stage) -> None:
    """No lock is needed, and nothing is written."""
    stage.run()
    with stage.engine.control().exclusively(SYNC):
        before = sorted((stage.workplace.state / SYNC).iterdir())

        assert explained(stage, "u7").is_known
        assert before == sorted((stage.workplace.state / SYNC).iterdir())


def test_files_that_are_merged_away_meanwhile(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that meets a file which is gone begins anew; one that is lost is told at last."""
    from syncer import explain as module

    stage.run()
    looks = []
    original = module.life

    def vanishing(*words: Any) -> Any:
        looks.append(words)
        if len(looks) == 1:
            raise Vanished(Path("history-1.parquet"))
        return original(*words)

    with monkeypatch.context() as patched:
        patched.setattr(module, "life", vanishing)
        assert (True, 2) == (explained(stage, "u7").is_known, len(looks))
    for file in (stage.workplace.state / SYNC).glob("history-*"):
        file.unlink()
    with pytest.raises(Vanished):
        explained(stage, "u7")
