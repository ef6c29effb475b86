"""Relations to other records: added and taken away by difference, also when a write is in doubt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from syncer import documents
from syncer.change import Change, Outcome, Relation, accepted, deferred
from syncer.config import load
from syncer.errors import UserError
from syncer.relations import relation
from tests.engine.moody import Moody, Stage
from tests.workplace import NO_BRAKES, Workplace

ACCOUNTS = """
[[sync]]
name = "accounts"
source = "accounts"
key = "id"
object = "account"
match = { id = "id" }
missing = "create"
removed = "clear"
relate = { person = "owner" }

[sync.fields]
score = "score"
"""


class Related(Moody):
    """Keeps who is related to what; `lost` answers are in doubt, applied or not."""

    relates = True
    related: ClassVar[dict[str, set[str]]] = {}
    seen: ClassVar[list[Change]] = []


def applied(moody: Related, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
    """Takes everything, and says so."""
    for change in changes:
        _apply(moody, change)
        yield accepted(change)


def applied_in_doubt(moody: Related, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
    """Takes everything, and says nothing."""
    for change in changes:
        _apply(moody, change)
        yield deferred(change, "unanswered", "", doubt=True)


def lost(moody: Related, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
    """Takes nothing, and says nothing."""
    yield from (deferred(change, "unanswered", "", doubt=True) for change in changes)


def _apply(moody: Related, change: Change) -> None:
    moody.seen.append(change)
    held = moody.related.setdefault(change.key, set())
    for one in change.relations.values():
        held |= set(one.add)
        held -= set(one.remove)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path, adapter=Related, mapping=ACCOUNTS)
    made.workplace.sql(
        "CREATE TABLE accounts AS SELECT * FROM (VALUES ('a', 1, 'u_1'), ('b', 2, NULL)) t(id, score, owner)"
    )
    made.adapter.related, made.adapter.seen = {}, []
    yield made
    made.engine.close()


def run(stage: Stage, mood: Any = applied, statement: str | None = None) -> list[Change]:
    """What arrives in one run, after a change of the source."""
    if statement:
        stage.workplace.sql(statement)
    stage.adapter.seen.clear()
    stage.run(mood)
    return list(stage.adapter.seen)


def owner(text: str | None, key: str = "a") -> str:
    return f"UPDATE accounts SET owner = {'NULL' if text is None else repr(text)} WHERE id = '{key}'"


def test_relation_is_added_and_taken_away_by_difference(stage: Stage) -> None:
    """The first run relates, a new owner replaces the old one, nobody takes the old one away; nothing else leaves."""
    first = {change.key: change.relations for change in run(stage)}
    (second,) = run(stage, statement=owner("u_2"))
    (third,) = run(stage, statement=owner(None))

    assert {"a": {"person": Relation(("u_1",), (), (), ("u_1",))}, "b": {}} == first
    assert ({}, Relation(("u_2",), ("u_1",), ("u_1",), ("u_2",))) == (second.fields, second.relations["person"])
    assert Relation((), ("u_2",), ("u_2",), ()) == third.relations["person"]
    assert [] == run(stage)
    assert {"a": set(), "b": set()} == stage.adapter.related


def test_relation_that_was_added_to_the_mapping_goes_alone(stage: Stage) -> None:
    """A mapping that relates from now on sends the relations and no field again; without it, nothing is sent."""
    without = ACCOUNTS.replace('relate = { person = "owner" }\n', "")
    _map(stage, without)
    run(stage)
    _map(stage, ACCOUNTS)
    (change,) = run(stage)
    _map(stage, without)

    assert ("a", {}, ("u_1",)) == (change.key, change.fields, change.relations["person"].add)
    assert [] == run(stage)


@pytest.mark.parametrize("mood", [applied_in_doubt, lost])
def test_relation_in_doubt_leaves_nobody_behind(stage: Stage, mood: Any) -> None:
    """After a write that may have arrived, the next one takes away both whom it may have added and who was before,
    also when the state was folded in between."""
    run(stage)
    run(stage, mood, owner("u_2"))
    run(stage, mood, owner("u_3"))
    (change,) = run(stage, statement=owner("u_4"))

    assert list(stage.workplace.state.rglob("base-*.parquet"))
    assert (("u_4",), ("u_1", "u_2", "u_3")) == (change.relations["person"].add, change.relations["person"].remove)
    assert {"u_4"} == stage.adapter.related["a"]
    assert [] == run(stage)


def test_relation_that_went_back_in_doubt_is_put_right(stage: Stage) -> None:
    """Owner A, B in doubt, and A again: A is related once more and B taken away, though nothing seems to differ."""
    run(stage)
    run(stage, applied_in_doubt, owner("u_2"))
    run(stage, statement=owner("u_1"))

    assert {"u_1"} == stage.adapter.related["a"]


def test_several_related_records_of_a_list(stage: Stage) -> None:
    """A column of lists relates every identifier in it; order, nulls and doubles make no difference."""
    stage.workplace.sql(
        "CREATE OR REPLACE TABLE accounts AS SELECT 'a' AS id, 1 AS score, ['u_2', 'u_1', NULL, 'u_2'] AS owner"
    )
    (first,) = run(stage)
    assert ("u_1", "u_2") == first.relations["person"].add
    assert [] == run(stage, statement="UPDATE accounts SET owner = ['u_1', 'u_2']")
    (second,) = run(stage, statement="UPDATE accounts SET owner = ['u_3', 'u_1']")

    assert (("u_3",), ("u_2",)) == (second.relations["person"].add, second.relations["person"].remove)
    assert {"u_1", "u_3"} == stage.adapter.related["a"]


def test_row_that_is_gone_is_related_to_nobody(stage: Stage) -> None:
    """With removed = "clear" a record whose row is gone loses its relations with its values, once."""
    run(stage)
    (change,) = run(stage, statement="DELETE FROM accounts WHERE id = 'a'")

    assert ("removed", ("u_1",)) == (change.kind, change.relations["person"].remove)
    assert [] == run(stage)


def test_diff_shows_relations_old_and_new(stage: Stage) -> None:
    """A plan shows a relation beside the fields, with one identifier as itself and several as a list."""
    run(stage)
    stage.workplace.sql(owner("u_2"))
    with stage.engine.diff(stage.engine.prepare(stage.engine.config.syncs[0])) as plan:
        document = documents.diff(plan, "Memory")

    assert [{"relate:person": {"before": "u_1", "after": "u_2"}}] == [one["fields"] for one in document["changes"]]
    assert ["u_1", "u_2"] == _shown_list(stage)


def _shown_list(stage: Stage) -> Any:
    stage.workplace.sql("CREATE OR REPLACE TABLE accounts AS SELECT 'a' AS id, 1 AS score, ['u_1', 'u_2'] AS owner")
    with stage.engine.diff(stage.engine.prepare(stage.engine.config.syncs[0])) as plan:
        change = next(one for one in documents.diff(plan, "Memory")["changes"] if one["key"] == "a")
    return change["fields"]["relate:person"]["after"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("'u' || chr(31)", "forbidden_character"),
        ("['u_1', '']", "bad_value"),
        ("['u_1', 'u' || chr(31)]", "forbidden_character"),
    ],
)
def test_relation_that_cannot_go_out_makes_its_row_invalid(stage: Stage, value: str, reason: str) -> None:
    """An identifier with a control character, or an empty one in a list, is listed and never sent."""
    stage.workplace.sql(f"CREATE OR REPLACE TABLE accounts AS SELECT 'a' AS id, 1 AS score, {value} AS owner")
    with stage.engine.diff(stage.engine.prepare(stage.engine.config.syncs[0])) as plan:
        invalid = plan.invalid_rows

    assert [("a", reason)] == [(one.key, one.reason) for one in invalid]


def test_destination_that_relates_nothing_says_so(tmp_path: Path) -> None:
    """A mapping with `relate`, or with several objects, to a destination that knows no such thing is a mistake."""
    workplace = Workplace(tmp_path)
    several = ACCOUNTS.replace('object = "account"', 'object = ["account", "company"]\ncreate_as = "account"')
    workplace.write({"memory": "batch = 10\n"}, {"memory": several}, NO_BRAKES)
    with pytest.raises(UserError) as raised:
        load(tmp_path / "config.toml", lambda kind: Moody, lambda: ("memory",))

    told = str(raised.value).lower()
    assert "relates no records to each other" in told
    assert "a record at memory is of one object" in told


@pytest.mark.parametrize(
    ("before", "after", "is_doubtful", "expected"),
    [
        (None, "a\x1fb", False, Relation(("a", "b"), (), (), ("a", "b"))),
        ("a\x1fb", "b\x1fc", False, Relation(("c",), ("a",), ("a", "b"), ("b", "c"))),
        ("a\x1fb", "b", True, Relation(("b",), ("a",), None, ("b",))),
        ("a", None, True, Relation((), ("a",), None, ())),
    ],
)
def test_relation_of_two_texts(before: str | None, after: str | None, is_doubtful: bool, expected: Relation) -> None:
    """What is wanted and not held is added (all of it when in doubt), what is held and not wanted taken away."""
    assert expected == relation(before, after, is_doubtful=is_doubtful, is_new=before is None)


def _map(stage: Stage, mapping: str) -> None:
    """Replace the mapping."""
    stage.workplace.write({"memory": "batch = 10\n"}, {"memory": mapping}, NO_BRAKES)
    stage.engine.config = load(stage.workplace.folder / "config.toml", lambda kind: stage.adapter, lambda: ("memory",))
