"""Rules 6 to 8: nulls, rows that are gone, and rows that never go out."""

from __future__ import annotations

from typing import Any

import pytest

from syncer.destination import Limits, ValueLimit
from tests.engine.stage import Stage, deciding, field

TWO = "user_id VARCHAR, a DOUBLE, b VARCHAR"


def test_null_clears(stage: Stage) -> None:
    """A value that becomes null is sent as null, once."""
    stage.map(field("a"), field("b"))
    stage.put(TWO, ("u_1", 1.0, "x"))
    stage.run()
    stage.put(TWO, ("u_1", None, "x"))

    assert {"u_1": {"a": None}} == stage.plan().fields

    stage.run()

    assert {"u_1": {"b": "x"}} == stage.records
    assert {} == stage.plan().fields


def test_null_skip_keeps_what_is_there(stage: Stage) -> None:
    """`skip` never sends a null, and compares with what is still there when a value returns."""
    stage.map(field("a", null="skip"), field("b"))
    stage.put(TWO, ("u_1", 1.0, "x"))
    stage.run()
    stage.put(TWO, ("u_1", None, "y"))

    assert {"u_1": {"b": "y"}} == stage.plan().fields

    stage.run()
    stage.put(TWO, ("u_1", 1.0, "y"))

    assert {} == stage.plan().fields


def test_a_new_record_sends_no_nulls(stage: Stage) -> None:
    """Null and never sent differ: nothing is cleared that was never written, also when it is null for long."""
    stage.map(field("a"), field("b"))
    stage.put(TWO, ("u_1", None, "x"), ("u_2", None, None))
    stage.run()

    assert {"u_1": {"b": "x"}} == stage.sent

    stage.put(TWO, ("u_1", None, "y"), ("u_2", None, None))

    assert {"u_1": {"b": "y"}} == stage.plan().fields


def test_gone_rows_are_kept_by_default(stage: Stage) -> None:
    """With `removed = "keep"` a row that is gone changes nothing, and equal again it is no change."""
    stage.map(field("a"))
    rows = [("u_1", 1.0, "x"), ("u_2", 2.0, "y")]
    stage.put(TWO, *rows)
    stage.run()
    stage.put(TWO, rows[0])

    assert {} == stage.plan().kinds

    stage.run()
    stage.put(TWO, *rows)

    assert {} == stage.plan().kinds


def test_clear_nulls_our_fields_once(stage: Stage) -> None:
    """With `removed = "clear"` the fields that are not null there become null, once; back again it is new."""
    stage.map(
        field("a"),
        field("b"),
        field("kept", "b", null="skip"),
        field("at", "b", compare=False),
        field("old", "b"),
        removed="clear",
    )
    rows = [("u_1", 1.0, "x"), ("u_2", None, "y")]
    stage.put(TWO, *rows)
    stage.run()
    stage.map(*(one for one in stage.sync.fields if one.name != "old"))
    stage.put(TWO, rows[0])
    seen = stage.plan()

    assert {"u_2": "removed"} == seen.kinds
    assert {"u_2": {"b": None, "at": None}} == seen.fields
    assert [{"b": "y", "at": "y"}] == [change.before for change in seen.changes]
    assert 1 == seen.plan.removed

    stage.run(release=True)

    assert {"kept": "y", "old": "y"} == stage.records["u_2"]
    assert ({}, 1) == (stage.plan().kinds, stage.plan().plan.known)

    stage.put(TWO, *rows)

    assert {"u_2": "new"} == stage.plan().kinds


@pytest.mark.parametrize("removed", ["clear", "delete"])
def test_a_record_that_has_another_key_now_is_not_removed(stage: Stage, removed: str) -> None:
    """A key that is gone takes nothing from a record that another row's match finds, whichever of them sorts first."""
    stage.map(field("a"), match={"email": "b"}, removed=removed)
    stage.put(TWO, ("u_5", 1.0, "x@x.io"), ("u_6", 1.0, "y@x.io"))
    stage.run()
    stage.put(TWO, ("u_1", 2.0, "x@x.io"), ("u_9", 2.0, "y@x.io"))
    stage.run()

    assert {"x@x.io": {"a": 2.0}, "y@x.io": {"a": 2.0}} == stage.records
    assert {} == stage.plan().kinds


def test_delete_happens_once(stage: Stage) -> None:
    """With `removed = "delete"` the record is deleted, with no fields in the change; back again it is new."""
    stage.map(field("a"), field("b"), removed="delete")
    rows = [("u_1", 1.0, "x"), ("u_2", None, "y")]
    stage.put(TWO, *rows)
    stage.run()
    stage.put(TWO, rows[0])
    seen = stage.plan()

    assert ({"u_2": "removed"}, {"u_2": {}}) == (seen.kinds, seen.fields)

    stage.run()

    assert ["u_1"] == list(stage.records)
    assert {} == stage.plan().kinds

    stage.put(TWO, *rows)

    assert ({"u_2": "new"}, {"u_2": {"b": "y"}}) == (stage.plan().kinds, stage.plan().fields)


def test_a_removal_that_was_refused_is_parked(stage: Stage) -> None:
    """A removal is a change like any other: refused, it waits; and the row's return goes at once."""
    stage.map(field("a"), removed="delete")
    stage.put(TWO, ("u_1", 1.0, "x"), ("u_2", 2.0, "y"))
    stage.run()
    stage.put(TWO, ("u_1", 1.0, "x"))
    stage.decide = deciding({"u_2": "rejected"})
    stage.run()

    assert (["u_2"], {}) == (stage.parked(), stage.plan().kinds)
    assert {"parked": 1, "removed": 0, "unchanged": 1} == {
        name: stage.plan().plan.counts[name] for name in ("parked", "removed", "unchanged")
    }

    stage.put(TWO, ("u_1", 1.0, "x"), ("u_2", 3.0, "y"))

    assert {"u_2": {"a": 3.0}} == stage.plan().fields


def test_a_moved_match_is_a_new_record(stage: Stage) -> None:
    """When the value of the match moves, all fields go to the other record, which may hold anything."""
    stage.map(field("a"), field("c", "a"), match={"email": "b"})
    stage.put(TWO, ("u_1", 1.0, "x@x.io"), ("u_2", 2.0, "y@x.io"))
    stage.run()
    stage.put(TWO, ("u_1", 1.0, "z@x.io"), ("u_2", 2.0, "y@x.io"))
    seen = stage.plan()

    assert ({"u_1": "new"}, {"u_1": {"a": 1.0, "c": 1.0}}) == (seen.kinds, seen.fields)
    assert {"email": "z@x.io"} == seen.changes[0].match
    assert ({}, 1) == (seen.changes[0].before, seen.plan.moved)

    stage.run()

    assert {} == stage.plan().kinds


def test_case_of_a_caseless_match_is_no_difference(stage: Stage) -> None:
    """Where the destination folds case, another spelling of the match is the same record."""
    stage.limits = Limits(records=10, caseless=frozenset({"email"}))
    stage.map(field("a"), match={"email": "b"})
    stage.put(TWO, ("u_1", 1.0, "X@x.io "))
    stage.run()
    stage.put(TWO, ("u_1", 1.0, "x@x.io"))

    assert {} == stage.plan().kinds

    stage.put(TWO, ("u_1", 1.5, "x@X.io"))

    assert {"u_1": "changed"} == stage.plan().kinds


def test_a_caseless_match_leaves_without_the_spaces_around_it(stage: Stage) -> None:
    """Spaces that the destination does not compare would find no record; the case stays as the source writes it."""
    stage.limits = Limits(records=10, caseless=frozenset({"email"}))
    stage.map(field("a"), match={"email": "b"})
    stage.put(TWO, ("u_1", 1.0, "  Space@x.co "), ("u_2", 2.0, "   "))
    seen = stage.plan()
    stage.run()

    assert [("u_2", "no_match")] == seen.invalid
    assert {"Space@x.co": {"a": 1.0}} == stage.sent

    stage.put(TWO, ("u_1", 1.0, "Space@x.co"))

    assert {} == stage.plan().kinds


def test_bad_keys_never_go_out(stage: Stage) -> None:
    """Null, empty and doubled keys are listed with the reason, all rows of a doubled key, and the rest go on."""
    stage.map(field("a"), match={"email": "b"}, removed="delete")
    good = ("u_1", 1.0, "x")
    stage.put(TWO, good, ("u_2", 2.0, "y"), ("u_3", 3.0, "z"))
    stage.run()
    rows: list[tuple[Any, ...]] = [(None, 1.0, "n"), ("", 1.0, "e"), ("u_2", 9.0, "y"), ("u_2", 9.0, "y")]
    stage.put(TWO, good, *rows, ("u_3", 3.5, "z"), ("u_4", 4.0, "v"), ("u_5", 5.0, "d"), ("u_5", 5.0, "dd"))
    seen = stage.plan()

    assert {"u_3": {"a": 3.5}, "u_4": {"a": 4.0}} == seen.fields
    assert 6 == seen.plan.invalid
    assert [
        (None, "null_key"),
        ("", "empty_key"),
        ("u_2", "duplicate_key"),
        ("u_2", "duplicate_key"),
        ("u_5", "duplicate_key"),
        ("u_5", "duplicate_key"),
    ] == seen.invalid
    assert "The key u_2 is in the source 2 times, so none of its rows goes out." == seen.plan.invalid_rows[2].sentence
    assert {"new": 1, "changed": 1, "removed": 0, "unchanged": 1, "parked": 0, "invalid": 6, "rescored": 0} == (
        seen.plan.counts
    )


def test_doubled_keys_are_seen_among_unchanged_rows(stage: Stage) -> None:
    """A key that is there twice with the accepted values is no change, and invalid all the same."""
    stage.map(field("a"))
    stage.put(TWO, ("u_1", 1.0, "x"), ("u_2", 2.0, "y"))
    stage.run()
    stage.put(TWO, ("u_1", 1.0, "x"), ("u_1", 1.0, "x"), ("u_2", 2.0, "y"))
    seen = stage.plan()

    assert ({}, 2, 1) == (seen.fields, seen.plan.invalid, seen.plan.unchanged)


def test_rows_that_share_a_match_would_fight(stage: Stage) -> None:
    """Two keys with one match, by the destination's own idea of equality, are both invalid; the others go."""
    stage.limits = Limits(records=10, caseless=frozenset({"email"}))
    stage.map(field("a"), match={"email": "b"})
    stage.put(TWO, ("u_1", 1.0, "X@x.io"), ("u_2", 2.0, " x@x.io"), ("u_3", 3.0, "y@x.io"), ("u_4", 4.0, None))
    seen = stage.plan()

    assert ["u_3"] == list(seen.fields)
    assert [("u_4", "no_match"), ("u_1", "duplicate_match"), ("u_2", "duplicate_match")] == seen.invalid


def test_a_match_of_two_parts_is_compared_as_a_whole(stage: Stage) -> None:
    """Two identifiers together find a record: only rows that share both would fight."""
    stage.map(field("x"), match={"team": "t", "id": "i"})
    columns = "user_id VARCHAR, t VARCHAR, i VARCHAR, x INTEGER"
    stage.put(columns, ("1", "a", "b", 1), ("2", "a", "c", 2), ("3", "d", "b", 3), ("4", "a", "b", 4))
    seen = stage.plan()

    assert ["2", "3"] == list(seen.fields)
    assert [("1", "duplicate_match"), ("4", "duplicate_match")] == seen.invalid


@pytest.mark.parametrize(
    ("source", "value", "options", "reason"),
    [
        ("VARCHAR", "seventy", {"type": "number"}, "bad_value"),
        ("VARCHAR", "", {"type": "number"}, "bad_value"),
        ("VARCHAR", "72.5", {"type": "integer"}, "bad_value"),
        ("VARCHAR", "9" * 30, {"type": "integer"}, "bad_value"),
        ("DOUBLE", 72.5, {"type": "integer"}, "bad_value"),
        ("DOUBLE", 1e19, {"type": "integer"}, "bad_value"),
        ("INTEGER", 2, {"type": "boolean"}, "bad_value"),
        ("VARCHAR", "yes", {"type": "boolean"}, "bad_value"),
        ("VARCHAR", "tomorrow", {"type": "timestamp"}, "bad_value"),
        ("VARCHAR", "2026-02-30", {"type": "date"}, "bad_value"),
        ("TIMESTAMP", "infinity", {}, "bad_value"),
        ("TIMESTAMP", "20000-01-01", {}, "bad_value"),
        ("DATE", "-infinity", {}, "bad_value"),
        ("DATE", "0044-03-15 (BC)", {}, "bad_value"),
        ("INTEGER", 3, {"map": {"1": "one"}}, "unmapped_value"),
        ("VARCHAR", "Ä" * 6, {}, "too_long"),
        ("VARCHAR", "abcdefghi", {}, "too_long"),
        ("VARCHAR", "a\tb", {}, "forbidden_character"),
    ],
)
def test_values_that_cannot_go_out(stage: Stage, source: str, value: Any, options: Any, reason: str) -> None:
    """A value that cannot be brought to its field's type, or that the destination forbids, keeps its row at home."""
    stage.limits = Limits(records=10, values={"x": ValueLimit(utf8_bytes=10, characters=8, without="\t\x00")})
    stage.map(field("x", **options))
    stage.put(f"user_id VARCHAR, x {source}", ("u_1", value), ("u_2", None))
    seen = stage.plan()

    assert ({}, [("u_1", reason)]) == (seen.fields, seen.invalid)
    assert not value or str(value) not in seen.plan.invalid_rows[0].sentence


def test_identifiers_have_limits_too(stage: Stage) -> None:
    """An identifier that the destination forbids makes its row invalid, as an empty one does."""
    stage.limits = Limits(records=10, identifiers={"id": ValueLimit(utf8_bytes=4, without="/")})
    stage.map(field("x"), match={"id": "who"})
    columns = "user_id VARCHAR, who VARCHAR, x INTEGER"
    stage.put(columns, ("1", "abcde", 1), ("2", "a/b", 2), ("3", " ", 3), ("4", None, 4), ("5", "good", 5))
    seen = stage.plan()

    assert ["5"] == list(seen.fields)
    assert [("1", "too_long"), ("2", "forbidden_character"), ("3", "no_match"), ("4", "no_match")] == seen.invalid


def test_an_invalid_row_is_not_gone(stage: Stage) -> None:
    """A known record whose row is invalid tonight is neither removed nor touched."""
    stage.map(field("x", type="number"), removed="delete")
    stage.put("user_id VARCHAR, x VARCHAR", ("u_1", "1"), ("u_2", "2"))
    stage.run()
    stage.put("user_id VARCHAR, x VARCHAR", ("u_1", "one"), ("u_2", "2"))

    assert {} == stage.plan().kinds


def test_only_the_first_invalid_rows_are_listed(stage: Stage) -> None:
    """All invalid rows are counted, and the first thousand are listed."""
    stage.map(field("x", type="integer"))
    stage.put("user_id VARCHAR, x VARCHAR")
    stage.sql("INSERT INTO people SELECT format('u_{:05d}', i), 'x' FROM range(1500) t(i)")
    seen = stage.plan()

    assert (1500, 1000, "u_00000") == (seen.plan.invalid, len(seen.plan.invalid_rows), seen.plan.invalid_rows[0].key)
