"""Rules 2 to 5: which fields of a record leave, and when a number has changed enough."""

from __future__ import annotations

import pytest

from syncer.errors import UserError
from tests.engine.stage import Stage, field

TWO = "user_id VARCHAR, a DOUBLE, b VARCHAR"
ONE = "user_id VARCHAR, x DOUBLE"


def test_only_differing_fields_leave(stage: Stage) -> None:
    """A change holds the fields that differ from what was accepted, with the value before, and no others."""
    stage.map(field("a"), field("b"))
    stage.put(TWO, ("u_1", 1.0, "x"), ("u_2", 2.0, "y"))
    stage.run()
    stage.put(TWO, ("u_1", 1.5, "x"), ("u_2", 2.0, "z"))
    seen = stage.plan()

    assert {"u_1": {"a": 1.5}, "u_2": {"b": "z"}} == seen.fields
    assert [{"a": 1.0}, {"b": "y"}] == [change.before for change in seen.changes]
    assert {"u_1": "changed", "u_2": "changed"} == seen.kinds

    stage.run()

    assert {} == stage.plan().fields


def test_fields_that_are_not_compared_ride_along(stage: Stage) -> None:
    """`compare = false` is added to a change of other fields, equal or not, and never makes one."""
    stage.map(field("a"), field("at", "b", compare=False))
    stage.put(TWO, ("u_1", 1.0, "Monday"), ("u_2", 2.0, "Monday"))
    stage.run()
    stage.put(TWO, ("u_1", 1.5, "Tuesday"), ("u_2", 2.0, "Tuesday"))

    assert {"u_1": {"a": 1.5, "at": "Tuesday"}} == stage.plan().fields

    stage.put(TWO, ("u_1", 1.5, "Monday"), ("u_2", 2.5, None))

    assert {"u_1": {"a": 1.5, "at": "Monday"}, "u_2": {"a": 2.5, "at": None}} == stage.plan().fields


def test_an_added_field_goes_alone(stage: Stage) -> None:
    """Adding a field sends that field where it is not null, and nothing else."""
    stage.map(field("a"))
    stage.put(TWO, ("u_1", 1.0, "x"), ("u_2", 2.0, None))
    stage.run()
    stage.map(field("a"), field("b"))

    assert {"u_1": {"b": "x"}} == stage.plan().fields

    stage.run()

    assert {} == stage.plan().fields


def test_a_removed_field_sends_nothing_and_is_remembered(stage: Stage) -> None:
    """Removing a field sends nothing; back in the mapping, only what differs from what was last written goes."""
    stage.map(field("a"), field("b"))
    stage.put(TWO, ("u_1", 1.0, "x"), ("u_2", 2.0, "y"))
    stage.run()
    stage.map(field("a"))
    stage.put(TWO, ("u_1", 1.5, "z"), ("u_2", 2.5, "y"))

    assert {"u_1": {"a": 1.5}, "u_2": {"a": 2.5}} == stage.plan().fields

    stage.run()
    stage.map(field("a"), field("b"))

    assert {"u_1": {"b": "z"}} == stage.plan().fields


def test_changed_options_send_only_what_differs(stage: Stage) -> None:
    """After a change of options a field goes where its value became another one."""
    stage.map(field("a"))
    stage.put(TWO, ("u_1", 1.0, "x"), ("u_2", 2.4, "y"))
    stage.run()
    stage.map(field("a", digits=0))

    assert {"u_2": {"a": 2.0}} == stage.plan().fields


def test_a_renamed_field_is_a_new_one(stage: Stage) -> None:
    """Renaming a field is a removal, which sends nothing, and an addition."""
    stage.map(field("a"))
    stage.put(TWO, ("u_1", 1.0, "x"))
    stage.run()
    stage.map(field("A", "a"))
    stage.run()

    assert {"u_1": {"a": 1.0, "A": 1.0}} == stage.records


@pytest.mark.parametrize("option", [{"match": {"email": "user_id"}}, {"object": "account"}, {"key": "b"}])
def test_another_match_or_object_is_refused(stage: Stage, option: dict[str, object]) -> None:
    """A new match, object or key is a new sync: nothing is sent before adopt or forget."""
    stage.map(field("a"))
    stage.put(TWO, ("u_1", 1.0, "x"))
    stage.run()
    stage.map(**option)

    with pytest.raises(UserError) as raised:
        stage.run()

    assert ["sync memory.people, match"] == [problem.place for problem in raised.value.problems]
    assert "`syncer adopt memory.people`" in str(raised.value)
    assert "`syncer forget memory.people`" in str(raised.value)


def test_drift_below_min_change_adds_up(stage: Stage) -> None:
    """`min_change` compares with the last accepted value, so slow drift is sent once it has passed it."""
    stage.map(field("x", min_change=5.0))
    sent = []
    for score in (50.0, 52.0, 54.0, 55.0, 59.9, 50.0, 45.5, 45.0):
        stage.put(ONE, ("u_1", score))
        stage.run()
        sent += [arrival.fields["x"] for arrival in stage.arrived]

    assert [50.0, 55.0, 50.0, 45.0] == sent


def test_min_change_is_met_by_its_own_amount(stage: Stage) -> None:
    """From 0.2 to 0.3 is a change of 0.1, although it is a little less in binary."""
    stage.map(field("x", min_change=0.1))
    stage.put(ONE, ("u_1", 0.2))
    stage.run()
    stage.put(ONE, ("u_1", 0.3))

    assert {"u_1": {"x": 0.3}} == stage.plan().fields


def test_min_change_of_far_integers(stage: Stage) -> None:
    """The distance of two integers may be larger than an integer can be."""
    stage.map(field("x", min_change=1.0))
    stage.put("user_id VARCHAR, x BIGINT", ("u_1", -(2**62)))
    stage.run()
    stage.put("user_id VARCHAR, x BIGINT", ("u_1", 2**62 + 2**61))

    assert {"u_1": {"x": 2**62 + 2**61}} == stage.plan().fields


def test_null_passes_min_change(stage: Stage) -> None:
    """Null to value and value to null go, however small the value is."""
    stage.map(field("x", min_change=5.0))
    for before, after in ((0.1, None), (None, 0.1)):
        stage.put(ONE, ("u_1", before))
        stage.run()
        stage.put(ONE, ("u_1", after))

        assert {"u_1": {"x": after}} == stage.plan().fields


def test_what_is_under_its_threshold_rides_along(stage: Stage) -> None:
    """A part under its threshold goes when its record goes for another field, so both stay of one night."""
    stage.map(field("a"), field("part", "b", min_change=5.0))
    columns = "user_id VARCHAR, a DOUBLE, b DOUBLE"
    stage.put(columns, ("u_1", 1.0, 50.0), ("u_2", 2.0, 50.0), ("u_3", 3.0, 50.0))
    stage.run()
    stage.put(columns, ("u_1", 1.5, 51.0), ("u_2", 2.0, 51.0), ("u_3", 3.5, 50.0))

    assert {"u_1": {"a": 1.5, "part": 51.0}, "u_3": {"a": 3.5}} == stage.plan().fields


BANDS = {"cold": 0, "warm": 40, "hot": 75}


@pytest.mark.parametrize(
    ("first", "then"),
    [
        # Up: the border counts once it is passed by 2.
        (39.0, [(40.0, "cold"), (41.9, "cold"), (42.0, "warm")]),
        # Down again.
        (42.0, [(40.0, "warm"), (39.9, "warm"), (38.1, "warm"), (38.0, "cold")]),
        # Over two borders at once, in both directions.
        (10.0, [(80.0, "hot"), (74.0, "hot"), (10.0, "cold")]),
        # Over one border, and less than the hysteresis over the next.
        (10.0, [(76.0, "hot")]),
        (80.0, [(39.0, "cold"), (41.0, "cold")]),
        # Below the lowest floor there is no band, and it takes the hysteresis to get there.
        (1.0, [(-1.9, "cold"), (-2.0, None), (-0.1, None), (0.0, "cold")]),
        # Null is no number; after it, a border is a border.
        (42.0, [(None, None), (39.0, "cold")]),
        (42.0, [(None, None), (40.0, "warm")]),
    ],
)
def test_a_band_is_left_by_the_hysteresis(stage: Stage, first: float, then: list[tuple[float, str | None]]) -> None:
    """A value leaves its band only when it passes the border by `hysteresis`; then it is where it is."""
    stage.map(field("x", bands=BANDS, hysteresis=2.0), missing="create")
    stage.put(ONE, ("u_1", first))
    stage.run()
    for score, band in then:
        stage.put(ONE, ("u_1", score))
        stage.run()

        assert (score, band) == (score, stage.records["u_1"].get("x"))


def test_borders_without_hysteresis(stage: Stage) -> None:
    """A floor belongs to its band."""
    stage.map(field("x", bands=BANDS))
    stage.put(ONE, *((str(score), score) for score in (-0.1, 0.0, 39.9, 40.0, 74.9, 75.0, 1000.0)))
    stage.run()

    assert [None, "cold", "cold", "warm", "warm", "hot", "hot"] == [
        stage.records.get(str(score), {}).get("x") for score in (-0.1, 0.0, 39.9, 40.0, 74.9, 75.0, 1000.0)
    ]


def test_hysteresis_holds_bands_under_their_other_names(stage: Stage) -> None:
    """A band is held under the name that `map`, or the default, gives it."""
    stage.map(field("x", bands=BANDS, hysteresis=2.0, map={"hot": "A", "warm": "B"}, default="C"))
    stage.put(ONE, ("u_1", 39.0), ("u_2", 75.0), ("u_3", 41.0))
    stage.run()

    assert ["C", "A", "B"] == [stage.records[key]["x"] for key in ("u_1", "u_2", "u_3")]

    stage.put(ONE, ("u_1", 41.0), ("u_2", 74.0), ("u_3", 39.0))

    assert {} == stage.plan().fields


def test_hysteresis_is_met_by_its_own_amount(stage: Stage) -> None:
    """0.3 is 0.1 above 0.2, although it is a little less in binary."""
    stage.map(field("x", bands={"low": 0, "high": 0.2}, hysteresis=0.1))
    stage.put(ONE, ("u_1", 0.1))
    stage.run()
    stage.put(ONE, ("u_1", 0.3))

    assert {"u_1": {"x": "high"}} == stage.plan().fields


def test_a_score_and_its_band_go_each_for_itself(stage: Stage) -> None:
    """The score goes every night, its band only when it is left."""
    stage.map(field("score", "x"), field("band", "x", bands=BANDS, hysteresis=2.0))
    stage.put(ONE, ("u_1", 39.0))
    stage.run()
    stage.put(ONE, ("u_1", 41.0))

    assert {"u_1": {"score": 41.0}} == stage.plan().fields
