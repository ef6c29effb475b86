"""The digest of a plan's rows: what it says of them, and of nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from syncer import digest
from syncer.digest import digest_of
from syncer.plan import Slot

SLOTS = [Slot(0, "score", "DOUBLE"), Slot(1, "tier", "VARCHAR")]
ROW: dict[str, Any] = {
    "key": "u1", "m0": "a@x.io", "_op": 2, "_rescored": False, "_mask": 3,
    "b0": 1.5, "f0_score": 2.0, "b1": "warm", "f1_tier": "hot",
}  # fmt: skip
TYPES = {"_op": pa.int8(), "_mask": pa.int64(), "b0": pa.float64(), "f0_score": pa.float64(), "b1": pa.string()}

Digested = Callable[..., str]


@pytest.fixture
def digested(tmp_path: Path) -> Digested:
    """The digest of rows, each the usual one but for what is said."""

    def make(*rows: dict[str, Any], lo: int = 0, hi: int = 1_000_000, group: int = 1_000_000, **types: Any) -> str:
        whole = [ROW | row for row in rows]
        known = TYPES | types
        columns = {name: pa.array([row[name] for row in whole], known.get(name)) for name in ROW}
        pq.write_table(pa.table(columns), tmp_path / "plan.parquet", row_group_size=group)
        return digest_of("head", tmp_path / "plan.parquet", SLOTS, 1, lo, min(hi, len(rows)))

    return make


@pytest.mark.parametrize(
    "other",
    [
        {"key": "u2"}, {"m0": "b@x.io"}, {"_op": 1}, {"_rescored": True}, {"_mask": 1}, {"b0": None}, {"b0": 1.6},
        {"f0_score": None}, {"f0_score": 2.1}, {"b1": None}, {"b1": ""}, {"f1_tier": "ho"},
        {"b1": "war", "f1_tier": "mhot"},
    ],
    ids=str,
)  # fmt: skip
def test_whatever_leaves_is_in_it(digested: Digested, other: dict[str, Any]) -> None:
    """Another key, match, kind, value or value before gives another digest."""
    assert digested({}, {"key": "u3"}) != digested(other, {"key": "u3"})


def test_null_is_no_text(digested: Digested) -> None:
    """A null and an empty text are told apart, and so is whose of two values it is."""
    seen = {digested({"f1_tier": a}, {"f1_tier": b}) for a in (None, "", "x") for b in (None, "", "x")}

    assert 9 == len(seen)


def test_what_stays_here_is_not_in_it(digested: Digested) -> None:
    """The value of a field that does not leave counts as little as whether its column has values at all."""
    assert 1 == len({digested({"_mask": 1, "b1": before, "f1_tier": "x"}) for before in (None, "", "y")})


def test_the_groups_of_the_file_are_not_in_it(digested: Digested, monkeypatch: pytest.MonkeyPatch) -> None:
    """However a file is cut, and wherever the rows that are meant begin in it, equal rows have one digest."""
    monkeypatch.setattr(digest, "PIECE_ROWS", 7)
    rows = [{"key": f"u{number}", "f0_score": number / 3 if number % 5 else None} for number in range(40)]

    assert 1 == len({digested(*rows, group=group) for group in (1, 3, 40)})
    assert 1 == len({digested(*rows, lo=10, group=group) for group in (4, 40)} | {digested(*rows[10:])})
    assert digested(*rows, hi=30) == digested(*rows[:30]) != digested(*rows)


def test_whole_numbers_are_numbers(digested: Digested) -> None:
    """72 and 72.0 are one value, and of two that no double can tell apart each has its own digest."""
    assert digested({"f0_score": 72}) == digested({"f0_score": 72}, f0_score=pa.int64())
    assert digested({"f0_score": 2**60}, f0_score=pa.int64()) != digested({"f0_score": 2**60 + 1}, f0_score=pa.int64())


def test_the_order_of_fields_is_not_in_it(digested: Digested, tmp_path: Path) -> None:
    """Fields count by name."""
    assert digested({}) == digest_of("head", tmp_path / "plan.parquet", SLOTS[::-1], 1, 0, 1)
