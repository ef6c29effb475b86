"""Batches that are too large to be held: what the adapter gets, and what it may tell of many changes at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from syncer import batches
from syncer.account import Report
from syncer.batches import Range, leaving
from syncer.change import Alike, Change, Job, Outcome, deferred, rejected
from syncer.destination import Limits
from syncer.errors import ServiceUnavailable
from syncer.mapping import Sync
from syncer.stretch import Stretch
from tests.engine.moody import BATCH, ROWS, SECRET, Moody, Stage, well

ACCEPTED = Outcome("", "accepted")
Telling = Callable[[Stretch], Iterator[Outcome | Alike | Job]]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """All batches but the last are stretches."""
    monkeypatch.setattr(batches, "HELD_MAX", BATCH - 1)
    made = Stage(tmp_path, "[delivery]\nwait_first = 0.001\nwait_max = 0.002\n")
    yield made
    made.engine.close()


def told(stage: Stage, telling: Telling) -> Report:
    """A run whose first batch is told in this way, and the others well."""

    def mood(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
        if number:
            yield from well(moody, number, changes)
        else:
            assert isinstance(changes, Stretch)
            yield from telling(changes)  # type: ignore[misc]  # The contract allows more than most adapters need.

    return stage.run(mood)


def test_a_stretch_is_the_sequence_that_a_list_would_be(stage: Stage) -> None:
    """Its changes come in the plan's order as often as they are asked for, alone, in parts, by key and as columns."""
    prepared = stage.engine.prepare(stage.engine.config.syncs[0])
    with stage.engine.diff(prepared) as plan:
        whole, large = list(plan.changes()), Range(plan, 7, 40, leaving(plan, 7, 40))
        part = whole[7:40]

        assert [part, part, len(part)] == [list(large), list(large), len(large)]
        assert [part[0], part[-1], part[3:9], part[::-4]] == [large[0], large[-1], large[3:9], large[::-4]]
        assert [part[place] for place in (0, 5, 32)] == list(large.at([0, 5, 32]))
        assert {part[3].key: 3, part[32].key: 32} == large.places([part[32].key, part[3].key, whole[0].key, "nobody"])
        rows = [
            (key, dict(zip(piece.fields, values, strict=True)))
            for piece in large.pieces()
            for key, *values in zip(
                piece.keys.to_pylist(), *(one.values.to_pylist() for one in piece.fields.values()), strict=True
            )
        ]
        assert [(change.key, dict(change.fields)) for change in part] == rows
        with pytest.raises(IndexError):
            large[33]


def test_what_leaves_is_told_by_columns(stage: Stage) -> None:
    """A column says of each change whether its field leaves, and a field that leaves nowhere has none."""
    stage.run()
    stage.workplace.sql("UPDATE people SET score = score + 1 WHERE user_id < 'u3'")
    stage.workplace.sql("UPDATE people SET note = NULL WHERE user_id > 'u2'")
    with stage.engine.diff(stage.engine.prepare(stage.engine.config.syncs[0])) as plan:
        (piece,) = Range(plan, 0, plan.sendable, leaving(plan, 0, plan.sendable)).pieces()
        columns = {
            name: [
                value if leaves else "stays"
                for leaves, value in zip(one.leaves.to_pylist(), one.values.to_pylist(), strict=True)
            ]
            for name, one in piece.fields.items()
        }

        assert ["score", "note"] == list(columns)
        assert [
            {name: change.fields.get(name, "stays") for name in ("score", "note")} for change in plan.changes()
        ] == [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def test_many_are_accepted_at_once(stage: Stage) -> None:
    """Changes told by their places are as accepted as those with an outcome each, and do not go again."""

    def telling(changes: Stretch) -> Iterator[Outcome | Alike]:
        yield Alike(ACCEPTED, [9, 0, 4])
        yield Alike(ACCEPTED, [])
        yield Outcome(changes[1].key, "accepted")
        yield Alike(ACCEPTED, range(5, 9))
        yield Alike(ACCEPTED, [2, 3])

    report = told(stage, telling)

    assert ("done", ROWS) == (report.result, report.delivered.accepted)
    assert {("new", "accepted"): ROWS} == report.delivered.kinds
    assert 0 == stage.run().delivered.planned


def test_each_kind_of_outcome_is_remembered_at_its_place(stage: Stage) -> None:
    """Beside many that are accepted, one is refused and parked, and the deferred ones go again, and no others."""
    later, lost = Outcome("", "deferred", "later", "Not now."), Outcome("", "deferred", "lost", doubt=True)

    def telling(changes: Stretch) -> Iterator[Outcome | Alike]:
        yield Alike(ACCEPTED, [0, 2, 4, 6])
        yield rejected(changes[5], "refused", f"{changes[5].fields['note']} is too odd")
        yield Alike(later, [3, 8, 9])
        yield Alike(lost, [7])
        yield deferred(changes[1], "later", "Not now.")

    report = told(stage, telling)
    (parked,) = stage.engine.control().parked("memory.people")
    keys = sorted(f"u{number}" for number in range(ROWS))

    assert (keys[5], "refused", "••• is too odd") == (parked.key, parked.code, parked.message)
    assert (44, 1, 5) == (report.delivered.accepted, report.delivered.rejected, report.delivered.deferred)
    assert {("rejected", "refused"): 1, ("deferred", "later"): 4, ("deferred", "lost"): 1} == report.delivered.reasons
    assert SECRET not in str(report.delivered.samples)
    stage.adapter.held.clear()
    stage.engine.control().retry("memory.people", None)
    stage.run()
    assert [keys[place] for place in (1, 3, 5, 7, 8, 9)] == sorted(stage.adapter.held)
    assert [] == stage.engine.control().parked("memory.people")


def test_what_was_told_stays_when_the_service_is_lost(stage: Stage) -> None:
    """Of a batch that ends with an error, what was told of many keeps its outcome, and the rest is in doubt."""

    def telling(changes: Stretch) -> Iterator[Outcome | Alike]:
        yield Alike(ACCEPTED, [0, 1])
        raise ServiceUnavailable("Memory closed the connection.", doubt=True)

    report = told(stage, telling)

    assert (ROWS - 8, 8) == (report.delivered.accepted, report.delivered.deferred)
    assert {("deferred", "unavailable"): 8} == report.delivered.reasons
    assert 8 == stage.run().delivered.accepted


def test_held_up_records_are_tried_again_in_small_batches(stage: Stage) -> None:
    """Those of a large batch that somebody holds locked come once more in this run, in lists."""

    def telling(changes: Stretch) -> Iterator[Outcome | Alike]:
        yield Alike(ACCEPTED, [0, 1, 2, 4, 5, 7, 8, 9])
        yield deferred(changes[6], "locked", "", again="")
        yield deferred(changes[3], "locked", "", again="")

    report = told(stage, telling)

    assert ("done", ROWS) == (report.result, report.delivered.accepted)
    assert [10, 1, 1, 10, 10, 10, 10] == stage.adapter.batches


@pytest.mark.parametrize(
    "telling",
    [
        lambda changes: iter([Alike(ACCEPTED, [0, 1]), Alike(ACCEPTED, [1])]),
        lambda changes: iter([Alike(ACCEPTED, [0, 0])]),
        lambda changes: iter([Alike(ACCEPTED, [-1])]),
        lambda changes: iter([Alike(ACCEPTED, [10])]),
        lambda changes: iter([Alike(ACCEPTED, range(10)), Outcome(changes[3].key, "accepted")]),
        lambda changes: iter([Outcome("nobody", "accepted")]),
        lambda changes: iter([Alike(Outcome("", "rejected", "refused"), [0])]),
        lambda changes: iter([Alike(Outcome("", "deferred", "locked", again=""), [0])]),
    ],
    ids=["twice", "twice at once", "before", "behind", "both ways", "a stranger", "refused", "again"],
)
def test_places_that_nobody_waits_for_end_the_run(stage: Stage, telling: Telling) -> None:
    """An adapter that tells of a change twice, of none, or of many what belongs to each alone, is told as at fault; the
    counts add up, and the next run mends it."""
    report = told(stage, telling)

    assert "Syncer's fault: the adapter memory gave an outcome that nobody waits for." == report.error
    assert ROWS == sum(report.delivered.counts[name] for name in ("accepted", "rejected", "deferred", "unsent"))
    assert ROWS == report.delivered.accepted + stage.run().delivered.accepted


def test_large_batches_are_as_full_as_the_limits_allow(stage: Stage) -> None:
    """Every one keeps both limits, and the first record of the next one would have broken one of them."""
    weights = {f"u{number}": 20 + number for number in range(ROWS)}

    class Weighing(stage.adapter):  # type: ignore[name-defined, misc]  # It is made anew for each stage.
        def weigh(self, sync: Sync, change: Change) -> int:
            return weights[change.key]

    prepared = stage.engine.prepare(stage.engine.config.syncs[0])
    with stage.engine.diff(prepared) as plan:
        limits = Limits(records=30, utf8_bytes=800)
        destination = Weighing("memory", prepared.destination.settings, prepared.destination.transport)
        made = list(batches.cut(plan, ROWS, destination, limits))
        whole = list(plan.changes())

    assert [0, *(batch.hi for batch in made)] == [*(batch.lo for batch in made), ROWS]
    assert all(isinstance(batch, Range) == (len(batch) >= BATCH) for batch in made)
    for batch in made[:-1]:
        sizes = [weights[change.key] for change in whole[batch.lo : batch.hi + 1]]
        assert sum(sizes[:-1]) <= 800 < sum(sizes)


@pytest.mark.parametrize("utf8_bytes", [None, 260, 520])
@pytest.mark.parametrize("records", [12, 20, 1_000])
def test_the_cost_of_a_plan_that_is_looked_at_in_part_is_the_cost_of_all(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, records: int, utf8_bytes: int | None
) -> None:
    """A plan of which fewer changes are looked at than a batch holds needs as many requests as if it were cut whole."""
    stage.workplace.sql("DELETE FROM people WHERE user_id >= 'u46'")
    prepared = stage.engine.prepare(stage.engine.config.syncs[0])

    class Weighing(stage.adapter):  # type: ignore[name-defined, misc]  # As above.
        def limits(self, sync: Sync) -> Limits:
            return Limits(records=records, utf8_bytes=utf8_bytes)

        def weigh(self, sync: Sync, change: Change) -> int:
            return 26

        def requests(self, sync: Sync, changes: Sequence[Change]) -> int:
            return 7

    destination = Weighing("memory", prepared.destination.settings, prepared.destination.transport)
    with stage.engine.diff(prepared) as plan:
        whole = batches.estimate(plan, destination)
        monkeypatch.setattr(batches, "SAMPLED", 4)
        monkeypatch.setattr(batches, "SAMPLED_MAX", 10)
        monkeypatch.setattr(batches, "SAMPLES", 2)
        cut = list(batches.cut(plan, plan.sendable, destination, destination.limits(plan.sync)))

        assert 7 * len(cut) == whole.requests
        assert whole.requests == batches.estimate(plan, destination).requests
