"""Rules 12 to 14: re-scores, the order of a plan and its digest, and doubt."""

from __future__ import annotations

import pytest

from syncer import documents
from syncer.mapping import Field
from syncer.schedule import Schedule
from tests.engine.stage import SHARES, Stage, deciding, field

ONE = "user_id VARCHAR, x DOUBLE"
SCORED = "user_id VARCHAR, x DOUBLE, v VARCHAR"


def scores(stage: Stage, version: str, *changed: int, number: int = 100) -> None:
    """A table of scores, where those of some people are 1000 higher."""
    stage.put(SCORED)
    chosen = ", ".join(map(str, changed)) or "-1"
    stage.sql(
        f"INSERT INTO people SELECT format('u_{{:04d}}', i), CASE WHEN i IN ({chosen}) THEN 1000 + i ELSE i END, "
        f"'{version}' FROM range({number}) t(i)"
    )


def test_a_rescore_is_counted_apart_and_not_held(stage: Stage) -> None:
    """Rows whose version moved are re-scored: counted apart, not held by `changed_max`, and sent last."""
    stage.map(field("x"), version="v")
    scores(stage, "1")
    stage.run()
    scores(stage, "2", *range(10, 90))
    stage.sql("UPDATE people SET v = '1' WHERE user_id = 'u_0020'")
    stage.sql("INSERT INTO people VALUES ('u_9999', 1, '2')")
    seen = stage.plan()

    assert (79, 1, 1, []) == (seen.plan.rescored, seen.plan.changed, seen.plan.new, seen.brakes)
    assert ["u_0020", "u_9999", "u_0010", "u_0011"] == [change.key for change in seen.changes[:4]]
    assert [False, False, True] == [change.rescored for change in seen.changes[:3]]
    assert {"rescored": True} == {
        name: value for name, value in seen.document["changes"][2].items() if name == "rescored"
    }


def test_people_who_change_in_a_rescore_do_not_hide(stage: Stage) -> None:
    """Ordinary changes are held by the brake also in the night of a re-score."""
    stage.map(field("x"), version="v", brakes=SHARES)
    scores(stage, "1")
    stage.run()
    scores(stage, "2", *range(80))
    stage.sql("UPDATE people SET v = '1' WHERE x < 1031 AND x >= 1000")

    assert (31, ["changed_max"]) == (stage.plan().plan.changed, stage.plan().brakes)


def test_a_rescore_happens_once(stage: Stage) -> None:
    """Once it is delivered whole, a row that it left as it was and that changes later is an ordinary change."""
    stage.map(field("x"), version="v")
    scores(stage, "1")
    stage.run()
    scores(stage, "2", 1)
    stage.run()
    scores(stage, "2", 1, 2)
    seen = stage.plan()

    assert (0, 1) == (seen.plan.rescored, seen.plan.changed)


def test_a_rescore_goes_on_until_it_is_whole(stage: Stage) -> None:
    """What a run could not deliver of a re-score is a re-score in the next one too."""
    stage.map(field("x"), version="v")
    scores(stage, "1")
    stage.run()
    scores(stage, "2", 1, 2)
    stage.decide = deciding({"u_0002": "deferred"})
    stage.run()

    assert (1, 0) == (stage.plan().plan.rescored, stage.plan().plan.changed)


def test_a_rescore_after_a_first_run_that_was_cut_short(stage: Stage) -> None:
    """A version that moved is a re-score also when no run was ever whole before."""
    stage.map(field("x"), version="v")
    scores(stage, "1")
    stage.decide = deciding({"u_0099": "deferred"})
    stage.run()
    scores(stage, "2", *range(50))

    assert (50, []) == (stage.plan().plan.rescored, stage.plan().brakes)


def test_a_rescore_is_paced(stage: Stage) -> None:
    """Each run sends the people who changed and `rescore_rate` of the others; the rest counts as unsent, said why."""
    stage.map(field("x"), version="v", rescore_rate=30, brakes=SHARES)
    scores(stage, "1")
    stage.run()
    scores(stage, "2", *range(10, 90))
    stage.sql("UPDATE people SET v = '1' WHERE user_id IN ('u_0088', 'u_0089')")
    stage.sql("INSERT INTO people VALUES ('u_9999', 1, '2')")
    seen = stage.plan()

    assert (78, 2, 1, 48) == (seen.plan.rescored, seen.plan.changed, seen.plan.new, seen.document["later"])

    report = stage.run()

    assert ("done", None) == (report.result, report.error)
    assert {"planned": 81, "accepted": 33, "rejected": 0, "deferred": 0, "unsent": 48} == report.delivered.counts
    assert ["u_0088", "u_0089", "u_9999", "u_0010"] == list(stage.sent)[:4]
    assert [
        {
            "result": "unsent",
            "code": "rescore_rate",
            "count": 48,
            "sentence": "48 re-scored records wait for the next runs: `rescore_rate` lets 30 go in each.",
        }
    ] == documents.sync(report)["reasons"]

    stage.restart()

    assert [(30, 18), (18, 0), (0, 0)] == [
        (report.delivered.accepted, report.delivered.unsent) for report in (stage.run(), stage.run(), stage.run())
    ]


def test_a_rescore_that_is_paced_is_a_rescore_until_its_end(stage: Stage) -> None:
    """As long as a part of it waits, what is sent of it is not held, nor what changes once more in the meantime."""
    stage.map(field("x"), version="v", rescore_rate=40, brakes=SHARES)
    scores(stage, "1")
    stage.run()
    scores(stage, "2", *range(100))
    stage.run()
    scores(stage, "2", *range(100))
    stage.sql("UPDATE people SET x = -1 WHERE user_id IN ('u_0001', 'u_0099')")
    seen = stage.plan()

    assert (60, 1, []) == (seen.plan.rescored, seen.plan.changed, seen.brakes)
    assert ["u_0001"] == [change.key for change in seen.changes if not change.rescored]


def test_a_canary_and_the_pace_of_a_rescore(stage: Stage) -> None:
    """Whichever lets fewer records go."""
    stage.map(field("x"), version="v", rescore_rate=40, brakes=SHARES)
    scores(stage, "1")
    stage.run()
    scores(stage, "2", *range(100))

    assert [3, 40] == [stage.run(records_max=3).delivered.accepted, stage.run(records_max=50).delivered.accepted]


def test_the_pace_is_not_in_the_digest(stage: Stage) -> None:
    """A plan that was looked at stays the same plan at another pace, and its cost is that of one run."""
    stage.limits = stage.limits.__class__(records=10, in_flight=1, timestamp_unit="microsecond")
    stage.map(field("x"), version="v")
    scores(stage, "1")
    stage.run()
    scores(stage, "2", *range(100))
    whole = stage.plan().plan
    stage.map(rescore_rate=40)
    paced = stage.plan().plan

    assert (whole.digest, 10, 4) == (paced.digest, whole.cost.requests, paced.cost.requests)


def test_a_version_column_that_is_added_makes_no_rescore(stage: Stage) -> None:
    """Where no version is known, none has moved."""
    stage.map(field("x"))
    scores(stage, "1")
    stage.run()
    stage.map(version="v")
    scores(stage, "1", 1)

    assert (0, 1) == (stage.plan().plan.rescored, stage.plan().plan.changed)


def test_changes_sort_by_key(stage: Stage) -> None:
    """The order is that of the keys as text, whatever the source's order."""
    stage.map(field("x"))
    stage.put(ONE, *((key, 1.0) for key in ("u_2", "U_9", "u_10", "ä", "u_1", "z")))

    assert ["U_9", "u_1", "u_10", "u_2", "z", "ä"] == [change.key for change in stage.plan().changes]


def test_equal_plans_have_equal_digests(stage: Stage) -> None:
    """Neither the order of rows and fields, nor a type that is another tonight, nor the time is in the digest."""
    stage.map(field("x"), field("y", "x"))
    stage.put(ONE, ("u_1", 1.0), ("u_2", 2.0))
    digests = {stage.plan().plan.digest}
    stage.now += 1000
    stage.map(field("y", "x"), field("x"), schedule=Schedule(every="15m"))
    stage.put("x INTEGER, other VARCHAR, user_id VARCHAR", (2, "?", "u_2"), (1, "?", "u_1"))
    stage.restart()
    digests.add(stage.plan().plan.digest)

    assert 1 == len(digests)
    assert digests.pop().startswith("sha256:")


@pytest.mark.parametrize(
    ("fields", "option", "row"),
    [
        ([field("x")], {}, ("u_1", 1.5)),
        ([field("x")], {}, ("u_2", 1.0)),
        ([field("x")], {"missing": "skip"}, ("u_1", 1.0)),
        ([field("x"), field("y", value="w")], {}, ("u_1", 1.0)),
        ([field("x", digits=1)], {}, ("u_1", 1.0)),
        ([field("z", "x")], {}, ("u_1", 1.0)),
    ],
)
def test_another_plan_has_another_digest(
    stage: Stage, fields: list[Field], option: dict[str, str], row: tuple[str, float]
) -> None:
    """The digest covers the sync, its mapping, and every change."""
    stage.map(field("x"))
    stage.put(ONE, ("u_1", 1.0))
    first = stage.plan().plan.digest
    stage.map(*fields, **option)
    stage.put(ONE, row)

    assert first != stage.plan().plan.digest


def test_the_value_before_is_in_the_digest(stage: Stage) -> None:
    """A plan that replaces another value is another plan."""
    stage.map(field("x"))
    digests = []
    for before in (1.0, 2.0):
        stage.put(ONE, ("u_1", before))
        stage.run()
        stage.put(ONE, ("u_1", 3.0))
        digests.append(stage.plan().plan.digest)

    assert digests[0] != digests[1]


def test_parked_records_are_not_in_the_digest(stage: Stage) -> None:
    """What waits does not leave, so it is no part of what is approved."""
    stage.map(field("x"))
    stage.put(ONE, ("u_1", 1.0), ("u_2", 2.0))
    stage.decide = deciding({"u_1": "rejected"})
    stage.run()
    stage.put(ONE, ("u_1", 1.0), ("u_2", 3.0))
    first = stage.plan().plan.digest
    stage.put(ONE, ("u_2", 3.0))

    assert first == stage.plan().plan.digest


@pytest.mark.parametrize("fate", ["doubt-applied", "doubt-lost"])
@pytest.mark.parametrize("after", [1.0, 2.0, 3.0, None])
def test_what_is_in_doubt_is_sent_again(stage: Stage, fate: str, after: float | None) -> None:
    """Whether B arrived or not: A again, B, C and a null all go, because nobody knows what is there."""
    stage.map(field("x"), field("y", "x", null="skip"), field("other", value="w"))
    stage.put(ONE, ("u_1", 1.0))
    stage.run()
    stage.put(ONE, ("u_1", 2.0))
    stage.decide = deciding({"u_1": fate})  # type: ignore[dict-item] # one of the decisions
    stage.run()
    stage.decide = deciding({})
    stage.put(ONE, ("u_1", after))
    seen = stage.plan()

    assert {"u_1": {"x": after} if after is None else {"x": after, "y": after}} == seen.fields
    assert [("changed", {})] == [(change.kind, change.before) for change in seen.changes]

    stage.run()

    assert after == stage.records["u_1"].get("x")
    assert {} == stage.plan().fields


def test_doubt_goes_through_thresholds_and_bands(stage: Stage) -> None:
    """A field in doubt goes although its number hardly moved."""
    stage.map(field("x", min_change=5.0), field("band", "x", bands={"a": 0, "b": 10}, hysteresis=5.0))
    stage.put(ONE, ("u_1", 1.0))
    stage.decide = deciding({"u_1": "doubt-lost"})
    stage.run()
    stage.put(ONE, ("u_1", 2.0))

    assert {"u_1": {"x": 2.0, "band": "a"}} == stage.plan().fields


def test_doubt_outlives_a_night_that_was_deferred_or_refused(stage: Stage) -> None:
    """Only an accepted write ends the doubt, and the source may go back in the meantime."""
    stage.map(field("x"))
    stage.put(ONE, ("u_1", 1.0))
    stage.run()
    for value, decision in ((2.0, "doubt-applied"), (3.0, "deferred"), (4.0, "rejected")):
        stage.put(ONE, ("u_1", value))
        stage.decide = deciding({"u_1": decision})  # type: ignore[dict-item] # one of the decisions
        stage.run()
    stage.put(ONE, ("u_1", 1.0))
    stage.decide = deciding({})
    stage.run()

    assert {"u_1": {"x": 1.0}} == stage.records
    assert {"u_1": {"x": 1.0}} == stage.sent


@pytest.mark.parametrize("removed", ["clear", "delete"])
def test_a_removal_in_doubt(stage: Stage, removed: str) -> None:
    """A removal without an answer is repeated; and when the row returns, all that it may have cost is sent."""
    stage.map(field("x"), field("other", value="w"), removed=removed)
    stage.put(ONE, ("u_1", 1.0), ("u_2", 1.0))
    stage.run()
    stage.put(ONE, ("u_1", 1.0))
    stage.decide = deciding({"u_2": "doubt-applied"})
    stage.run()

    assert {"u_2": "removed"} == stage.plan().kinds

    stage.put(ONE, ("u_1", 1.0), ("u_2", 1.0))

    assert {"u_2": {"x": 1.0, "other": "w"}} == stage.plan().fields


class Killed(BaseException):
    """The process is gone in the middle of a request."""


def test_what_was_in_flight_when_the_process_died_is_in_doubt(stage: Stage) -> None:
    """After a kill the batch in flight goes again, what was answered does not, what never left does."""
    stage.limits = stage.limits.__class__(records=2, in_flight=1, timestamp_unit="microsecond")
    stage.map(field("x"))
    stage.put(ONE, *((f"u_{number}", 1.0) for number in range(6)))

    def die(change: object) -> str:
        if getattr(change, "key", "") == "u_3":
            raise Killed
        return "accepted"

    stage.decide = die  # type: ignore[assignment] # the kill is no decision
    with pytest.raises(Killed):
        stage.run()
    stage.restart()
    stage.put(ONE, *((f"u_{number}", None if number == 2 else 1.0) for number in range(6)))
    stage.decide = deciding({})

    assert {"u_2": {"x": None}, "u_3": {"x": 1.0}, "u_4": {"x": 1.0}, "u_5": {"x": 1.0}} == stage.plan().fields

    stage.run()

    assert ["u_0", "u_1", "u_3", "u_4", "u_5"] == sorted(key for key, record in stage.records.items() if record)
    assert "failed" == stage.engine.control().runs(stage.sync.name, 2)[1].result
