"""What is erased is in no file of the state any more: no value, no key, nothing of what was deleted before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import duckdb
import pytest

from syncer import history
from syncer.change import Change, Outcome, accepted, rejected
from syncer.control import Control
from syncer.errors import UserError
from syncer.forgetting import Erased, erase, forget
from syncer.history import life
from syncer.state import State
from tests.engine.moody import ROWS, Moody, Stage
from tests.engine.test_jobs import Died, dying

SYNC = "memory.people"
KEY, VALUE, WORDS = "person-4711", "secret-of-4711", "refused-for-4711"
TRACES = (KEY, VALUE, WORDS)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    made.workplace.sql(f"INSERT INTO people VALUES ('{KEY}', 1, '{VALUE}')")
    yield made
    made.engine.close()


def traces(stage: Stage) -> set[tuple[str, str]]:
    """(kind of file, trace) for every file of the state folder that holds one; what is packed is unpacked."""
    found = set()
    for file in stage.workplace.state.rglob("*"):
        if not file.is_file():
            continue
        content = file.read_bytes()
        if file.suffix == ".parquet":
            with duckdb.connect(":memory:") as connection:
                rows = connection.execute("SELECT * FROM read_parquet(?)", [str(file)]).fetchall()
            content += repr(rows).encode()
        found |= {(file.name.split("-")[0], trace) for trace in TRACES if trace.encode() in content}
    return found


def refusing(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
    for change in changes:
        yield rejected(change, "NO", f"{WORDS}.") if change.key == KEY else accepted(change)


def lived(stage: Stage) -> None:
    """Runs that leave traces everywhere: a base, plans, garbage, history, a refusal that is over and one that waits."""
    stage.run(refusing)
    stage.workplace.sql(f"UPDATE people SET score = 2 WHERE user_id = '{KEY}'")
    stage.run()
    stage.workplace.sql(f"UPDATE people SET score = 3 WHERE user_id = '{KEY}'", "UPDATE people SET score = score + 1")
    stage.run()
    stage.workplace.sql(f"UPDATE people SET score = 9 WHERE user_id = '{KEY}'")
    stage.run(refusing)
    (stage.workplace.state / "control.db.version-1").write_bytes(f"parked: {WORDS}".encode())
    # A store of an older version has deleted rows without clearing what they held.
    old = apsw.Connection(str(stage.workplace.state / "control.db"))
    old.pragma("secure_delete", False)
    old.execute(f"INSERT INTO garbage(file, since) VALUES ('{'x' * 5000}{WORDS}', 0)")
    old.execute("DELETE FROM garbage WHERE length(file) > 5000")
    old.close()


def test_nothing_is_left_of_a_record(stage: Stage) -> None:
    """No file holds a value, the key, or what the destination said of it; the other records stay as they were."""
    lived(stage)
    kinds = {kind for kind, _ in traces(stage)}
    assert {"base", "plan", "history", "control.db"} <= kinds

    erased = erase(stage.engine, SYNC, [KEY])

    assert Erased(1, 4) == erased
    assert set() == traces(stage)
    assert 0 == stage.workplace.state.joinpath("control.db-wal").stat().st_size
    assert not life(State(stage.workplace.state, SYNC), stage.engine.control(), KEY, 0.0)
    assert 2 == len(life(State(stage.workplace.state, SYNC), stage.engine.control(), "u7", 0.0))
    assert ["new"] == [change.kind for change in _planned(stage)]


def test_forgetting_without_erasing_keeps_the_history(stage: Stage) -> None:
    """The control of the test above: without the option, traces are left."""
    lived(stage)
    forget(stage.engine, SYNC, [KEY])

    assert ("history", VALUE) in traces(stage)


def test_nothing_is_left_of_a_sync(stage: Stage) -> None:
    """Without keys the whole sync goes, state, history and all."""
    lived(stage)
    erased = erase(stage.engine, SYNC, [])

    assert (ROWS + 1, True) == (erased.records, erased.entries > 2 * ROWS)
    assert set() == traces(stage)
    assert [] == list((stage.workplace.state / SYNC).glob("*.parquet"))


def test_record_that_only_the_history_knows(stage: Stage) -> None:
    """A record that was forgotten before can still be erased."""
    lived(stage)
    forget(stage.engine, SYNC, [KEY])

    assert Erased(0, 4) == erase(stage.engine, SYNC, [KEY])
    assert set() == traces(stage)


@pytest.mark.parametrize("instant", ["forget_keys", "without", "scrub"])
def test_erasing_that_is_interrupted_can_be_repeated(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, instant: str
) -> None:
    """A process that dies in the middle leaves a whole state, and a second time finishes it."""
    lived(stage)
    place: Any = {"forget_keys": State, "without": history, "scrub": Control}[instant]

    def dead(*_: Any) -> Any:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(place, instant, dead)
        with pytest.raises(Died):
            erase(stage.engine, SYNC, [KEY])
    erase(stage.engine, SYNC, [KEY])

    assert set() == traces(stage)
    assert [KEY] == [change.key for change in _planned(stage)]


def test_record_of_a_job_waits(stage: Stage) -> None:
    """While a job may still tell of records, nothing is erased, and the sentence says what to do first."""
    stage.run(dying)
    with pytest.raises(UserError, match=r"syncer sync memory\.people"):
        erase(stage.engine, SYNC, [KEY])


def _planned(stage: Stage) -> list[Change]:
    with stage.engine.diff(stage.engine.prepare(stage.engine.config.syncs[0])) as plan:
        return list(plan.changes())
