"""Adopting what a destination holds, and verifying that it still holds what it accepted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from syncer import documents
from syncer.change import Held, Wanted
from syncer.config import load
from syncer.destination import Destination
from syncer.errors import DestinationUnusable, ServiceUnavailable
from syncer.mapping import Sync
from syncer.readback import adopt, verify
from tests.engine.moody import Moody, Stage
from tests.workplace import NO_BRAKES

MAPPING = """
[[sync]]
name = "people"
source = "people"
key = "user_id"
object = "person"
match = { id = "user_id" }
missing = "create"

[sync.fields]
score = "score"
band = { column = "band", on_drift = "theirs" }
note = { column = "note", sensitive = true }
"""


class Readable(Moody):
    """Can be read back; `held` is field by field, as it is kept."""

    readings: int = 0

    def read(self, sync: Sync, records: Iterable[Wanted]) -> Iterator[Held]:
        for one in records:
            type(self).readings += 1
            known = self.held.get(one.match["id"])
            yield Held(one.key, None if known is None else {field.name: known.get(field.name) for field in sync.fields})


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path, adapter=Readable, mapping=MAPPING)
    made.workplace.sql(
        "CREATE OR REPLACE TABLE people AS SELECT 'u' || i AS user_id, i * 1.5 AS score, "
        "CASE WHEN i % 2 = 0 THEN 'hot' ELSE 'cold' END AS band, 'note ' || i AS note FROM range(20) t(i)"
    )
    yield made
    made.engine.close()


def prepared(stage: Stage, *, may_have_moved: bool = False) -> Any:
    return stage.engine.prepare(stage.engine.config.syncs[0], may_have_moved=may_have_moved)


def planned(stage: Stage) -> dict[str, dict[str, Any]]:
    """Key → field → (before, after) of the plan."""
    with stage.engine.diff(prepared(stage)) as plan:
        return {
            change.key: {name: (change.before.get(name), after) for name, after in change.fields.items()}
            for change in plan.changes()
        }


def test_adopted_values_are_known_and_only_differences_are_planned(stage: Stage) -> None:
    """What the destination holds already is not sent; what is another value is a change from that one to ours."""
    stage.adapter.held = {
        f"u{i}": {"score": i * 1.5, "band": "hot" if i % 2 == 0 else "cold", "note": f"note {i}"} for i in range(18)
    }
    stage.adapter.held["u3"]["score"] = 99.0
    stage.adapter.held["u4"] |= {"band": None, "note": "theirs"}
    adopted = adopt(stage.engine, prepared(stage))

    assert (20, 18, 2) == (adopted.read, adopted.found, adopted.absent)
    assert (18 * 3 - 3, 2) == (adopted.equal, adopted.other)
    assert [] == stage.adapter.batches
    assert {
        "u18": {"score": (None, 27.0), "band": (None, "hot"), "note": (None, "note 18")},
        "u19": {"score": (None, 28.5), "band": (None, "cold"), "note": (None, "note 19")},
        "u3": {"score": (99.0, 4.5)},
        "u4": {"band": (None, "hot"), "note": ("theirs", "note 4")},
    } == planned(stage)
    assert 4 == stage.run().delivered.accepted
    assert {} == planned(stage)


def test_adopting_again_takes_what_is_there_now(stage: Stage) -> None:
    """Over a state that exists, what the destination holds replaces what was remembered of the source's records."""
    stage.run()
    stage.adapter.held["u1"]["score"] = 77.0
    del stage.adapter.held["u2"]
    adopted = adopt(stage.engine, prepared(stage))

    assert (19, 1) == (adopted.found, adopted.absent)
    assert {"u1": {"score": (77.0, 1.5)}} == planned(stage)


def test_sync_with_another_match_begins_anew_with_what_is_found(stage: Stage) -> None:
    """A moved match is refused by a run, and adopting makes the sync that it is now."""
    stage.run()
    text = MAPPING.replace('match = { id = "user_id" }', 'match = { id = "note" }')
    stage.workplace.write({"memory": "batch = 10\n"}, {"memory": text}, NO_BRAKES)
    stage.engine.config = load(stage.workplace.folder / "config.toml", lambda kind: stage.adapter, lambda: ("memory",))
    stage.adapter.held = {f"note {i}": {"score": i * 1.5, "band": "hot"} for i in range(20)}
    adopt(stage.engine, prepared(stage, may_have_moved=True))

    assert {f"u{i}" for i in range(20)} == set(planned(stage))
    assert {"band": ("hot", "cold"), "note": (None, "note 1")} == planned(stage)["u1"]


def test_nothing_is_known_when_the_reading_fails(stage: Stage) -> None:
    """A service that stops answering in the middle leaves the state as it was, and a failed line in the journal."""

    def failing(self: Readable, sync: Sync, records: Iterable[Wanted]) -> Iterator[Held]:
        yield Held("u1", {"score": 1.5})
        raise ServiceUnavailable("The service answered 503.", doubt=False)

    stage.adapter.read = failing
    with pytest.raises(ServiceUnavailable):
        adopt(stage.engine, prepared(stage))

    assert 20 == len(planned(stage))
    assert [("failed", "The service answered 503.")] == stage.query("SELECT result, error FROM run")


def test_destination_that_cannot_be_read_says_so(stage: Stage) -> None:
    """An adapter without `read` is told in one sentence."""
    stage.adapter.read = Destination.read
    with pytest.raises(DestinationUnusable, match="cannot be read back"):
        adopt(stage.engine, prepared(stage))


def test_no_drift(stage: Stage) -> None:
    """A destination that holds what it accepted shows no drift, and nothing is planned by looking."""
    stage.run()
    verified = verify(stage.engine, prepared(stage), repair=True)

    assert (20, 20, 0, 0, 0) == (verified.known, verified.read, verified.drifted, verified.gone, verified.repaired)
    assert {} == planned(stage)


def test_drift_is_told_by_field_and_put_right(stage: Stage) -> None:
    """What somebody changed is told with both values; repair plans ours again, unless theirs is to stay."""
    stage.run()
    stage.adapter.held["u1"] |= {"score": 50.0, "band": "mine"}
    stage.adapter.held["u2"] |= {"score": None}
    stage.adapter.held["u4"] |= {"band": "mine"}
    stage.adapter.held["u5"] |= {"note": "secret"}
    del stage.adapter.held["u3"]
    seen = verify(stage.engine, prepared(stage))
    document = documents.verified(seen, "Memory")

    assert (4, 1, {"score": 2, "band": 2, "note": 1}) == (seen.drifted, seen.gone, dict(seen.fields))
    score = {"key": "u1", "field": "score", "ours": 1.5, "theirs": 50.0, "on_drift": "ours", "last_write": None}
    assert score in document["drifts"]
    assert {"key": "u3", "gone": True, "code": None} in document["drifts"]
    assert "secret" not in str(document)
    assert {} == planned(stage)

    assert 4 == verify(stage.engine, prepared(stage), repair=True).repaired
    assert {
        "u1": {"score": (50.0, 1.5)},
        "u2": {"score": (None, 3.0)},
        "u3": {"score": (None, 4.5), "band": (None, "cold"), "note": (None, "note 3")},
        "u5": {"note": ("secret", "note 5")},
    } == planned(stage)


def test_sample_reads_only_so_many(stage: Stage) -> None:
    """A sample reads as many records as it says, of those that are known."""
    stage.run()
    stage.adapter.readings = 0
    verified = verify(stage.engine, prepared(stage), sample=5)

    assert (5, 20, 5) == (verified.read, verified.known, stage.adapter.readings)


def test_what_is_in_doubt_is_no_drift(stage: Stage) -> None:
    """A field whose fate is unknown is sent again anyway, and is not compared."""
    stage.run()
    stage.workplace.sql("UPDATE people SET score = 70 WHERE user_id = 'u1'")

    def lost(moody: Moody, number: int, changes: Any) -> Iterator[Any]:
        raise ServiceUnavailable("The service closed the connection.", doubt=True)
        yield

    stage.run(lost)

    assert 0 == verify(stage.engine, prepared(stage)).drifted
