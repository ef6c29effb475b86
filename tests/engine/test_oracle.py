"""Whatever happens in between, after the last good run the destination holds what the rules say."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncer.change import Change
from syncer.mapping import Field
from syncer.testing import Decision
from tests.engine.oracle import HOUR, Expected, Oracle, Row, band, canonical, usable_rows
from tests.engine.stage import Stage, field

KEYS = ("u1", "u2", "u3", "u4", "u5")
NUMBERS = (None, 0, -3, 1.4, 1.6, 38, 39, 40, 41.4, 44, 46, 70, 74, 75, 80.4, 83)
TEXTS = (None, "", "a", "b", "Ä'\"\x1f")
BANDS = {"cold": 0, "warm": 40, "hot": 75}

PLAIN = field("plain", "number")
FIELDS = {
    "plain": [PLAIN],
    "rounded": [field("rounded", "number", digits=0)],
    "near": [field("near", "number", min_change=2.0), field("near", "number", min_change=5.0, null="skip")],
    "band": [field("band", "number", bands=BANDS), field("band", "number", bands=BANDS, hysteresis=5.0)],
    "whole": [field("whole", "number", type="integer")],
    "Text": [field("Text", "word"), field("Text", "word", null="skip"), field("Text", "word", default="none")],
    "text": [field("text", "word", map={"a": "A", "b": "B"}, default="other")],
    "stamp": [field("stamp", "night", compare=False), field("stamp", "night", compare=False, null="skip")],
    "fixed": [field("fixed", value="warehouse"), field("fixed", value="mart")],
}

Mishap = Literal["crash", "stop", "unusable"]


class Killed(BaseException):
    """The process is gone in the middle of a request."""


@dataclass(frozen=True)
class Night:
    """What happens until the end of one run."""

    rows: tuple[tuple[str, str, float | None, str | None], ...]
    """(key, match, number, word): what these keys have from now on."""
    gone: frozenset[str]
    twice: str | None
    nameless: bool
    is_float: bool
    """The column of numbers is a column of floats tonight, even if all of them are whole."""
    fields: tuple[Field, ...] | None
    """The mapping from now on, when it is edited."""
    removed: str | None
    grace: int | None
    decisions: Mapping[str, Decision]
    mishap: tuple[Mishap, str] | None
    """Something that ends the run, and the key at which it does."""
    hours: float
    """Since the night before; a clock that is set right, or wrong, jumps, also backwards."""
    is_released: bool


def mappings() -> st.SearchStrategy[tuple[Field, ...]]:
    chosen = st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, unique=True)
    return chosen.flatmap(lambda names: st.tuples(*(st.sampled_from(FIELDS[name]) for name in names)))


def seldom(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 4).flatmap(lambda number: strategy if number == 4 else st.none())


MATCHES = st.sampled_from(("",) * 12 + ("moved", *KEYS[:2]))
"""How a key's match differs from the key itself: mostly not at all, sometimes it is another key's."""
ROWS = st.tuples(st.sampled_from(KEYS), MATCHES, st.sampled_from(NUMBERS), st.sampled_from(TEXTS))
DECISIONS: tuple[Decision, ...] = ("accepted", "rejected", "deferred", "doubt-applied", "doubt-lost")
MISHAPS: tuple[Mishap, ...] = ("crash", "stop", "unusable")
NIGHTS = st.builds(
    Night,
    rows=st.lists(ROWS, max_size=5).map(lambda rows: tuple((key, match or key, *rest) for key, match, *rest in rows)),
    gone=st.frozensets(st.sampled_from(KEYS), max_size=2),
    twice=seldom(st.sampled_from(KEYS)),
    nameless=st.integers(0, 4).map(lambda number: number == 4),
    is_float=st.booleans(),
    fields=st.none() | mappings(),
    removed=seldom(st.sampled_from(("keep", "clear", "delete"))),
    grace=seldom(st.integers(1, 3)),
    decisions=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(DECISIONS)),
    mishap=seldom(st.tuples(st.sampled_from(MISHAPS), st.sampled_from(KEYS))),
    hours=st.sampled_from((0.0, 0.5, 2.0, 30.0, -2.0, 24.0 * 900, -24.0 * 900)),
    is_released=st.booleans(),
)


class World:
    """The engine and the oracle, side by side through the same nights."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        stage.limits = replace(stage.limits, records=2)
        self.oracle = Oracle()
        self.rows: dict[str, dict[str, Any]] = {}
        self.fields: tuple[Field, ...] = (PLAIN,)
        self.removed = "keep"
        self.grace = 1
        self.nights = 0
        self.seen: list[Change] = []
        self.strangers: set[str] = set()
        """Records that more than one key may have written: what they held before is not ours to know."""

    def live(self, night: Night) -> None:
        """One night: the source and the mapping change, the run goes as well as it goes, the oracle is asked."""
        self.nights += 1
        rows = self._change(night)
        self._put(rows, night.is_float)
        self.stage.now += night.hours * HOUR
        self.stage.map(*self.fields, removed=self.removed, grace=self.grace, match={"id": "who"})
        expected = self.oracle.plan(rows, self.fields, self.removed, self.grace, self.stage.now)
        usable = usable_rows(rows, self.fields)
        is_held = bool(self.oracle.known) and not usable and not night.is_released

        self.seen = []
        self.stage.decide = lambda change: self._decide(change, night)
        try:
            report = self.stage.run(release=night.is_released)
        except Killed:
            report = None
        if report is None or self.stage.stop.is_set():
            self.stage.restart()

        left, counts = ([], None) if is_held else self._became(expected, night)
        if not is_held:
            self.oracle.ran(self.grace)

        assert [one.change for one in left] == [replace(change, position=0) for change in self.seen]
        if report is not None:
            counts = counts or {"accepted": 0, "rejected": 0, "deferred": 0, "unsent": len(expected)}
            result = "held" if is_held else "failed" if _is_broken_off(left, expected, night) else "done"

            assert {"planned": len(expected), **counts} == report.delivered.counts
            assert result == report.result

        assert sorted(self.oracle.parked) == self.stage.parked()
        assert self.oracle.gone == self.stage.engine.control().gone(self.stage.sync.name)

    def end_well(self) -> None:
        """Everything that was refused is asked for again, nothing goes wrong, and then there is nothing to do."""
        good = Night((), frozenset(), None, False, True, None, None, 1, {}, None, 0.0, True)
        self.oracle.retry()
        self.stage.engine.control().retry(self.stage.sync.name, None)
        self.live(good)
        self._destination_is_right()
        self.live(good)

        assert [] == self.seen

    # --- the source --------------------------------------------------------------------------------------------

    def _change(self, night: Night) -> list[Row]:
        for key, match, number, word in night.rows:
            if match != key:
                self.strangers |= {match, key}
            self.rows[key] = {"user_id": key, "who": match, "number": number, "word": word}
        for key in night.gone:
            self.rows.pop(key, None)
        self.fields = night.fields or self.fields
        self.removed = night.removed or self.removed
        self.grace = night.grace or self.grace
        rows: list[dict[str, Any]] = [row | {"night": self.nights} for row in self.rows.values()]
        if night.twice in self.rows:
            rows.append(self.rows[night.twice] | {"who": "another", "number": 50, "night": self.nights})
        if night.nameless:
            rows.append({"user_id": None, "who": "x", "number": 1, "word": "a", "night": 1})
            rows.append({"user_id": "", "who": "y", "number": 1, "word": "a", "night": 1})
        return rows[self.nights % 3 :] + rows[: self.nights % 3]

    def _put(self, rows: list[Row], is_float: bool) -> None:
        is_whole = all(row["number"] is None or row["number"] == int(row["number"]) for row in rows)
        number = "INTEGER" if is_whole and not is_float else "DOUBLE"
        columns = f"user_id VARCHAR, who VARCHAR, number {number}, word VARCHAR, night INTEGER"
        self.stage.put(columns, *(tuple(row.values()) for row in rows))

    # --- the destination ---------------------------------------------------------------------------------------

    def _decide(self, change: Change, night: Night) -> Decision:
        mishap, key = night.mishap or (None, None)
        if key == change.key:
            if mishap == "crash":
                raise Killed
            if mishap == "unusable":
                self.seen.append(change)
                return "unusable"
            if mishap == "stop":
                self.stage.stop.set()
        self.seen.append(change)
        return night.decisions.get(change.key, "accepted")

    def _became(self, expected: list[Expected], night: Night) -> tuple[list[Expected], dict[str, int]]:
        """Tell the oracle what became of each; gives what was seen at the destination, and the counts."""
        mishap, where = night.mishap or (None, None)
        left: list[Expected] = []
        counts = {"accepted": 0, "rejected": 0, "deferred": 0, "unsent": 0}
        batches = [expected[place : place + 2] for place in range(0, len(expected), 2)]
        for number, batch in enumerate(batches):
            keys = [one.change.key for one in batch]
            if mishap == "crash" and where in keys:
                # The answers to the whole batch are lost with the process.
                left += batch[: keys.index(where)]
                for one in batch:
                    self.oracle.in_doubt(one)
                break
            for place, one in enumerate(batch):
                left.append(one)
                if mishap == "unusable" and where == one.change.key:
                    counts["unsent"] += len(batch) - place + sum(len(later) for later in batches[number + 1 :])
                    return left, counts
                counts[self._tell(one, night.decisions.get(one.change.key, "accepted"))] += 1
            if mishap == "stop" and where in keys:
                counts["unsent"] += sum(len(later) for later in batches[number + 1 :])
                break
        return left, counts

    def _tell(self, one: Expected, decision: Decision) -> str:
        if decision == "accepted":
            self.oracle.accepted(one)
        elif decision == "rejected":
            self.oracle.rejected(one, self.stage.now)
        elif decision.startswith("doubt"):
            self.oracle.in_doubt(one)
        return decision if decision in ("accepted", "rejected") else "deferred"

    # --- the end -----------------------------------------------------------------------------------------------

    def _destination_is_right(self) -> None:
        """By the oracle's memory, and, without it, by the source alone."""
        records = self.stage.records
        for key, known in self.oracle.known.items():
            for name, value in known.held.items():
                if name not in known.doubtful and known.match not in self.strangers:
                    assert (key, name, value) == (key, name, records.get(known.match, {}).get(name))
        for row in usable_rows([one | {"night": self.nights} for one in self.rows.values()], self.fields).values():
            if row["who"] not in self.strangers:
                for one in self.fields:
                    self._field_is_right(one, row, records.get(row["who"], {}).get(one.name))

    def _field_is_right(self, one: Field, row: Row, held: Any) -> None:
        value = canonical(one, row, held)
        if not one.compare or (value is None and one.null == "skip"):
            return
        if one.min_change is not None and value is not None and held is not None:
            assert abs(value - held) < one.min_change
        elif one.bands is not None:
            assert band(one, row["number"], held) == held
        else:
            assert (row["user_id"], one.name, value) == (row["user_id"], one.name, held)


def live_through(nights: list[Night]) -> None:
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder)) as stage:
        world = World(stage)
        for night in nights:
            world.live(night)
        world.end_well()


def _is_broken_off(left: list[Expected], expected: list[Expected], night: Night) -> bool:
    if night.mishap is None or night.mishap[1] not in [one.change.key for one in left]:
        return False
    return night.mishap[0] == "unusable" or (night.mishap[0] == "stop" and len(left) < len(expected))


QUICK = settings(
    max_examples=9, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
SHARDS = 20
SOAK = settings(QUICK, max_examples=int(os.environ.get("SYNCER_SOAK_EXAMPLES", "10000")) // SHARDS, derandomize=False)
"""All together ten thousand histories, in parts that can be lived side by side."""


@QUICK
@given(st.lists(NIGHTS, min_size=4, max_size=10))
def test_the_destination_ends_as_the_rules_say(nights: list[Night]) -> None:
    """Each run of a random history sends what the oracle expects, no more, and the last good one mends everything."""
    live_through(nights)


@QUICK
@given(st.lists(NIGHTS.map(lambda night: replace(night, fields=None)), min_size=6, max_size=12), mappings())
def test_one_mapping_through_many_nights(nights: list[Night], fields: tuple[Field, ...]) -> None:
    """With a mapping that stays as it is, every refusal, doubt and kill is mended by the nights that follow."""
    live_through([replace(nights[0], fields=fields), *nights[1:]])


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_long_histories(shard: int) -> None:
    """The same as above, longer and more often, with other histories each time."""

    @SOAK
    @given(st.lists(NIGHTS, min_size=4, max_size=25))
    def lived(nights: list[Night]) -> None:
        live_through(nights)

    lived()
