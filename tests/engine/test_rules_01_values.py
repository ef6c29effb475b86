"""Rule 1: compared is what would be sent."""

from __future__ import annotations

import datetime
import math
from typing import Any

import pytest

from syncer.destination import Limits
from syncer.errors import UserError
from tests.engine.stage import Stage, field

UTC = datetime.UTC


def nights(stage: Stage, first: tuple[str, Any], second: tuple[str, Any], **options: Any) -> dict[str, Any]:
    """What leaves on a second night, of one value whose SQL type and value were others on the first."""
    stage.map(field("x", "x", **options))
    stage.put(f"user_id VARCHAR, x {first[0]}", ("u_1", first[1]))
    stage.run()
    stage.put(f"user_id VARCHAR, x {second[0]}", ("u_1", second[1]))
    return stage.plan().fields


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("INTEGER", 72), ("DOUBLE", 72.0)),
        (("DOUBLE", 72.0), ("INTEGER", 72)),
        (("INTEGER", 72), ("DECIMAL(9, 2)", 72)),
        (("TINYINT", 7), ("BIGINT", 7)),
        (("FLOAT", 41.1), ("DOUBLE", 41.1)),
        (("DOUBLE", 0.0), ("DOUBLE", -0.0)),
        (("DOUBLE", None), ("VARCHAR", None)),
        (("VARCHAR", "a"), ("ENUM('a', 'b')", "a")),
        (("TIMESTAMP", "2026-03-01 06:00:00"), ("TIMESTAMPTZ", "2026-03-01 07:00:00+01")),
        (("TIMESTAMPTZ", "2026-03-01 01:30:00-04:30"), ("TIMESTAMPTZ", "2026-03-01 11:30:00+05:30")),
        (("TIMESTAMP_S", "2026-03-01 06:00:00"), ("TIMESTAMP_NS", "2026-03-01 06:00:00")),
    ],
)
def test_equal_values_of_different_types_are_equal(stage: Stage, first: Any, second: Any) -> None:
    """Two source values that map to the same canonical value are no difference, whatever type the column has."""

    assert {} == nights(stage, first, second)


def test_digits_are_cut_before_comparing(stage: Stage) -> None:
    """At one digit 41.04 is 41.0, and 41.06 is 41.1."""

    assert {} == nights(stage, ("DOUBLE", 41.0), ("DOUBLE", 41.04), digits=1)

    stage.put("user_id VARCHAR, x DOUBLE", ("u_1", 41.06))

    assert {"u_1": {"x": 41.1}} == stage.plan().fields


def test_digits_leave_no_negative_zero(stage: Stage) -> None:
    """-0.04 at one digit is sent as 0.0, and not as -0.0."""
    stage.map(field("x", digits=1))
    stage.put("user_id VARCHAR, x DOUBLE", ("u_1", -0.04))
    stage.run()

    assert "0.0" == str(stage.records["u_1"]["x"])


@pytest.mark.parametrize(
    ("first", "second", "after"),
    [
        (("INTEGER", 1), ("BOOLEAN", True), True),
        (("BOOLEAN", True), ("INTEGER", 1), 1),
        (("BOOLEAN", True), ("VARCHAR", "true"), "true"),
        (("INTEGER", 1), ("VARCHAR", "1"), "1"),
        (("DATE", "2026-03-01"), ("TIMESTAMP", "2026-03-01"), datetime.datetime(2026, 3, 1, tzinfo=UTC)),
    ],
)
def test_values_of_different_families_differ(stage: Stage, first: Any, second: Any, after: Any) -> None:
    """True is not 1, and a column that changes its type is sent again as what it is now."""
    leaving = nights(stage, first, second)

    assert {"u_1": {"x": after}} == leaving
    assert type(after) is type(leaving["u_1"]["x"])

    stage.run()

    assert {} == stage.plan().fields


def test_a_type_that_comes_back_is_sent_again(stage: Stage) -> None:
    """A column that is a number, then a text, then a number again ends as a number at the destination."""
    stage.map(field("x"))
    for kind, value in (("INTEGER", 1), ("VARCHAR", "1"), ("INTEGER", 1)):
        stage.put(f"user_id VARCHAR, x {kind}", ("u_1", value))
        stage.run()

        assert {"u_1": {"x": 1 if kind == "INTEGER" else "1"}} == stage.records


def test_a_column_that_becomes_whole_is_sent_whole(stage: Stage) -> None:
    """Once fractions are stored, a column of whole numbers still arrives as whole numbers."""
    leaving = nights(stage, ("DOUBLE", 72.5), ("INTEGER", 73))

    assert "73" == str(leaving["u_1"]["x"])


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", [None, "number", "integer", "text"])
def test_what_is_not_finite_becomes_null(stage: Stage, odd: float, kind: str | None) -> None:
    """NaN and infinities become null for numbers, and the plan counts them."""
    stage.map(field("x", type=kind))
    stage.put("user_id VARCHAR, x DOUBLE", ("u_1", 3.0), ("u_2", 4.0))
    stage.run()
    stage.put("user_id VARCHAR, x DOUBLE", ("u_1", odd), ("u_2", 4.0))
    seen = stage.plan()

    assert {"u_1": {"x": None}} == seen.fields
    assert (1, 0) == (seen.plan.not_finite, seen.plan.invalid)
    assert 1 == seen.document["nonfinite"]


def test_text_that_is_no_finite_number_is_null_too(stage: Stage) -> None:
    """The text NaN in a field of numbers is null and counted, as a number would be."""
    stage.map(field("x", type="number"))
    stage.put("user_id VARCHAR, x VARCHAR", ("u_1", "NaN"), ("u_2", "4.5"))
    seen = stage.plan()

    assert 1 == seen.plan.not_finite
    assert {"u_2": {"x": 4.5}} == seen.fields


@pytest.mark.parametrize(
    ("unit", "after"),
    [("second", 0), ("millisecond", 123_000), ("microsecond", 123_456)],
)
def test_timestamps_are_cut_to_what_is_kept(stage: Stage, unit: Any, after: int) -> None:
    """What the destination does not keep of an instant is cut off before comparing and sending."""
    stage.limits = Limits(records=10, timestamp_unit=unit)
    stage.map(field("x"), field("y", value=datetime.datetime(2026, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC)))
    stage.put("user_id VARCHAR, x TIMESTAMP", ("u_1", "2026-03-01 06:00:00.123456"))
    stage.run()

    assert datetime.datetime(2026, 3, 1, 6, 0, 0, after, tzinfo=UTC) == stage.records["u_1"]["x"]

    stage.put("user_id VARCHAR, x TIMESTAMP", ("u_1", f"2026-03-01 06:00:00.{after + 0:06d}"))

    assert {} == stage.plan().fields


@pytest.mark.parametrize(
    ("source", "value", "kind", "after"),
    [
        ("INTEGER", 72, "text", "72"),
        ("DOUBLE", 72.0, "text", "72"),
        ("DOUBLE", 72.5, "text", "72.5"),
        ("DECIMAL(9, 3)", 72.5, "text", "72.5"),
        ("DECIMAL(9, 3)", 100, "text", "100"),
        ("HUGEINT", 12345678901234567891, "text", "12345678901234567891"),
        ("UBIGINT", 12345678901234567891, "text", "12345678901234567891"),
        ("BOOLEAN", True, "text", "true"),
        ("TIMESTAMP", "2026-03-01 06:00:00", "text", "2026-03-01T06:00:00Z"),
        ("VARCHAR", " 72 ", "integer", 72),
        ("VARCHAR", "72.0", "integer", 72),
        ("DOUBLE", 72.0, "integer", 72),
        ("VARCHAR", "72.5", "number", 72.5),
        ("INTEGER", 72, "number", 72.0),
        ("VARCHAR", "True", "boolean", True),
        ("INTEGER", 0, "boolean", False),
        ("VARCHAR", "2026-03-01", "date", datetime.date(2026, 3, 1)),
        ("TIMESTAMP", "2026-03-01 23:59:59", "date", datetime.date(2026, 3, 1)),
        ("DATE", "2026-03-01", "timestamp", datetime.datetime(2026, 3, 1, tzinfo=UTC)),
        ("VARCHAR", "2026-03-01T07:00:00+01:00", "timestamp", datetime.datetime(2026, 3, 1, 6, tzinfo=UTC)),
        ("INTEGER[]", [1, 2], None, "[1,2]"),
        ("STRUCT(b INTEGER, a VARCHAR)", {"b": 1, "a": "x"}, None, '{"b":1,"a":"x"}'),
        ("UUID", "0f3c4b1e-0000-4000-8000-000000000001", None, "0f3c4b1e-0000-4000-8000-000000000001"),
        ("TIME", "06:30:00", None, "06:30:00"),
    ],
)
def test_a_type_brings_the_value_to_it(stage: Stage, source: str, value: Any, kind: str | None, after: Any) -> None:
    """`type` says what arrives at the destination."""
    stage.map(field("x", type=kind))
    stage.put(f"user_id VARCHAR, x {source}", ("u_1", value))
    stage.run()

    assert [after, type(after)] == [stage.records["u_1"]["x"], type(stage.records["u_1"]["x"])]


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("BOOLEAN", {"type": "integer"}),
        ("BOOLEAN", {"type": "number"}),
        ("DOUBLE", {"type": "boolean"}),
        ("DOUBLE", {"type": "date"}),
        ("INTEGER", {"type": "timestamp"}),
        ("BLOB", {}),
        ("VARCHAR", {"digits": 1}),
        ("VARCHAR", {"min_change": 1.0}),
        ("BOOLEAN", {"bands": {"cold": 0}}),
        ("VARCHAR", {"type": "number", "default": "none"}),
        ("VARCHAR", {"map": {"a": "x", "b": 1}}),
    ],
)
def test_types_that_cannot_fit_are_told_before_anything_is_read(stage: Stage, source: str, options: Any) -> None:
    """A column that cannot become its field is a mistake of the mapping, told with the field's place."""
    stage.map(field("x", **options))
    stage.put(f"user_id VARCHAR, x {source}")

    with pytest.raises(UserError) as raised:
        stage.prepare()

    assert ["sync memory.people, fields.x"] == [problem.place for problem in raised.value.problems]


def test_all_misfits_are_told_at_once(stage: Stage) -> None:
    """Missing columns come together, each with the nearest name that there is."""
    stage.map(field("a", "scor"), field("b", "zzz"), key="user", match={"id": "user_id"})
    stage.put("user_id VARCHAR, score DOUBLE")

    with pytest.raises(UserError) as raised:
        stage.prepare()

    table = stage.sync.source
    assert [
        f"sync memory.people, key: There is no column user in {table}. Did you mean user_id?",
        f"sync memory.people, fields.a: There is no column scor in {table}. Did you mean score?",
        f"sync memory.people, fields.b: There is no column zzz in {table}. It has user_id, score.",
    ] == [str(problem) for problem in raised.value.problems]


def test_steps_run_in_their_order(stage: Stage) -> None:
    """Type, then digits, then bands, then map, then default."""
    stage.map(
        field(
            "x",
            type="number",
            digits=0,
            bands={"cold": 0, "warm": 40},
            map={"cold": "Cold", "warm": "Warm"},
            default="None",
        )
    )
    stage.put("user_id VARCHAR, x VARCHAR", ("u_1", "39.6"), ("u_2", "39.4"), ("u_3", "-1"), ("u_4", None))
    stage.run()

    assert {"u_1": "Warm", "u_2": "Cold", "u_3": "None", "u_4": "None"} == {
        key: record["x"] for key, record in stage.records.items()
    }


def test_map_replaces_and_default_stands_for_the_rest(stage: Stage) -> None:
    """`map` knows values by their text; what it does not know, and null, is the default."""
    stage.map(field("x", map={"1": "one", "2": "two"}, default="many"), field("y", "x", default=0))
    stage.put("user_id VARCHAR, x DOUBLE", ("u_1", 1.0), ("u_2", 2.0), ("u_3", 3.5), ("u_4", None))
    stage.run()

    assert {"u_1": "one", "u_2": "two", "u_3": "many", "u_4": "many"} == {
        key: record["x"] for key, record in stage.records.items()
    }
    assert 0.0 == stage.records["u_4"]["y"]


def test_identifiers_are_exact_text(stage: Stage) -> None:
    """A whole number that arrives as a float or a decimal is that number, and 20 digits stay 20 digits."""
    stage.map(field("x"), key="user_id", match={"id": "who"})
    stage.put(
        "user_id HUGEINT, who DECIMAL(38, 9), x INTEGER",
        (12345678901234567891, "12345678901234567891", 1),
        (12345678901234567892, "12345678901234567892", 2),
    )
    stage.run()

    assert {"12345678901234567891": {"x": 1}, "12345678901234567892": {"x": 2}} == stage.records

    stage.put("user_id HUGEINT, who DOUBLE, x INTEGER", (1, 72.0, 3))
    stage.run()

    assert ["72"] == list(stage.sent)


def test_an_identifier_that_changes_its_type_is_the_same(stage: Stage) -> None:
    """Key 7 as an integer, a float, a decimal or a text is one record."""
    stage.map(field("x"))
    for kind, value in (("INTEGER", 7), ("DOUBLE", 7.0), ("DECIMAL(9, 2)", 7), ("VARCHAR", "7")):
        stage.put(f"user_id {kind}, x INTEGER", (value, 1))

        assert {"7": {"x": 1}} == (stage.run() and stage.records)

    assert {} == stage.sent
