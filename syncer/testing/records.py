"""The part of the conformance kit that is about records: what must be true of every destination.

Read the docstrings alone and you have the contract of `syncer.destination` as seen from outside.
"""

# Tests assert, and by the habit of this house the expected value comes first.
# ruff: noqa: S101, SIM300

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from syncer.change import Change, Job, Outcome, Value
from syncer.destination import Destination
from syncer.errors import SyncerError
from syncer.mapping import FieldType, Sync
from syncer.testing.bench import Bench

TYPED: list[tuple[FieldType, Value]] = [
    ("integer", 41),
    ("integer", 0),
    ("integer", -7),
    ("number", 41.5),
    ("number", 0.1),
    ("boolean", True),
    ("boolean", False),
    ("date", datetime.date(2026, 2, 28)),
    ("timestamp", datetime.datetime(2026, 2, 28, 23, 59, 58, tzinfo=datetime.UTC)),
]


@dataclass(slots=True)
class Pushed:
    """What became of a batch: its outcomes, and the error that ended it, if any."""

    outcomes: list[Outcome] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    error: SyncerError | None = None

    @property
    def results(self) -> dict[str, str]:
        """Key → result."""
        return {outcome.key: outcome.result for outcome in self.outcomes}

    @property
    def has_doubt(self) -> bool:
        """Whether the engine is told that a write may have arrived."""
        return any(outcome.doubt for outcome in self.outcomes) or bool(getattr(self.error, "doubt", False))


def attempted(adapter: Destination, sync: Sync, changes: Sequence[Change]) -> Pushed:
    """Push a batch that may be ended by an error. No change may have two outcomes, and no stranger one.

    Only what is deferred may be in doubt, or be tried again.
    """
    pushed = Pushed()
    try:
        for outcome in adapter.push(sync, changes):
            if isinstance(outcome, Job):
                pushed.jobs.append(outcome)
            else:
                assert isinstance(outcome, Outcome), "An `Alike` tells of places, which only a `Stretch` has."
                pushed.outcomes.append(outcome)
    except SyncerError as error:
        pushed.error = error
    keys = [outcome.key for outcome in pushed.outcomes]

    assert sorted(set(keys)) == sorted(keys)
    assert set(keys) <= {change.key for change in changes}
    settled = [outcome for outcome in pushed.outcomes if outcome.result != "deferred"]
    assert [] == [outcome.key for outcome in settled if outcome.doubt or outcome.again is not None]
    return pushed


def pushed(adapter: Destination, sync: Sync, changes: Sequence[Change]) -> dict[str, str]:
    """Push a batch that nothing ends; key → result, with exactly one for each change."""
    found = attempted(adapter, sync, changes)
    if found.error is not None:
        raise found.error

    assert {change.key for change in changes} == set(found.results)
    return found.results


def readable(bench: Bench) -> Destination:
    """A new adapter, if it reads back at all; else the test is skipped with what people would be told."""
    adapter = bench.adapter(bench.transport())
    if type(adapter).read is Destination.read:
        pytest.skip(f"{adapter.title} cannot be read back, so adopt and verify say so.")
    return adapter


def all_accepted(changes: Sequence[Change]) -> dict[str, str]:
    """What `pushed` returns when every change is accepted."""
    return {change.key: "accepted" for change in changes}


class RecordTests:
    """Inherit, name the class `Test…`, and give it a fixture `bench`."""

    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        """The bench of the destination under test; each inheriting class brings its own."""
        pytest.fail("A class that inherits from the kit has a fixture `bench`.")

    @pytest.fixture(autouse=True)
    def _left_out(self, request: pytest.FixtureRequest, bench: Bench) -> None:
        """Skips what the destination cannot do, with the reason that the bench gives."""
        name = request.function.__name__.removeprefix("test_")
        if name in bench.cannot:
            pytest.skip(bench.cannot[name])

    # One record.

    def test_mapping_of_the_kit_is_fine(self, bench: Bench) -> None:
        """A mapping of fields that exist is refused neither from the file nor by the service."""
        adapter = bench.adapter(bench.transport())
        problems = [*adapter.refuse(bench.sync()), *adapter.refuse(bench.sync(missing="create"))]

        assert [] == [str(problem) for problem in problems]
        assert [] == [str(problem) for problem in adapter.check(bench.sync())]

    def test_record_arrives(self, bench: Bench) -> None:
        """A value that is pushed is what the destination holds."""
        bench.put(1, {})
        changes = [bench.change(1, {bench.text: "warm", bench.other: "team"}, "new")]

        assert all_accepted(changes) == pushed(bench.adapter(bench.transport()), bench.sync(), changes)
        assert ("warm", "team") == self._texts(bench, 1)

    def test_null_clears(self, bench: Bench) -> None:
        """None empties the field at the destination; it is not left, and not written as a word."""
        bench.put(1, {bench.text: "warm", bench.other: "team"})
        changes = [bench.change(1, {bench.text: None})]

        assert all_accepted(changes) == pushed(bench.adapter(bench.transport()), bench.sync(), changes)
        assert (None, "team") == self._texts(bench, 1)

    def test_absent_fields_stay(self, bench: Bench) -> None:
        """A field that is not in the change is as it was."""
        bench.put(1, {bench.text: "warm", bench.other: "team"})
        changes = [bench.change(1, {bench.text: "hot"})]
        pushed(bench.adapter(bench.transport()), bench.sync(), changes)

        assert ("hot", "team") == self._texts(bench, 1)

    def test_same_batch_twice(self, bench: Bench) -> None:
        """A batch that arrives twice, as after a crash, leaves what one would have left."""
        for number in range(3):
            bench.put(number, {bench.text: "cold", bench.other: "solo"})
        changes = [
            bench.change(0, {bench.text: "hot"}),
            bench.change(1, {bench.text: None, bench.other: "team"}),
            bench.change(2, {bench.text: None, bench.other: None}, "removed"),
        ]
        for _ in range(2):
            assert all_accepted(changes) == pushed(bench.adapter(bench.transport()), bench.sync(), changes)

        assert [("hot", "solo"), (None, "team"), (None, None)] == [self._texts(bench, number) for number in range(3)]

    def test_unknown_record_is_never_made(self, bench: Bench) -> None:
        """With missing = "skip" a record that the destination does not have stays unknown; the others are written."""
        bench.put(1, {})
        changes = [bench.change(1, {bench.text: "hot"}), bench.change(2, {bench.text: "hot"}, "new")]
        results = pushed(bench.adapter(bench.transport()), bench.sync(), changes)

        assert "accepted" == results["key-1"]
        assert "hot" == self._texts(bench, 1)[0]
        assert bench.held(2) is None

    def test_unknown_record_is_reported(self, bench: Bench) -> None:
        """With missing = "skip" a record that the destination does not have is refused with the code `missing`."""
        found = attempted(bench.adapter(bench.transport()), bench.sync(), [bench.change(1, {bench.text: "hot"}, "new")])

        assert [("rejected", "missing")] == [(outcome.result, outcome.code) for outcome in found.outcomes]

    def test_unknown_record_is_made_on_request(self, bench: Bench) -> None:
        """With missing = "create" the record is made, with its values, and found again the next time."""
        adapter, sync = bench.adapter(bench.transport()), bench.sync(missing="create")
        first = [bench.change(1, {**bench.needed, bench.text: "warm", bench.other: "team"}, "new")]
        second = [bench.change(1, {bench.text: "hot"})]

        assert bench.held(1) is None
        assert all_accepted(first) == pushed(adapter, sync, first)
        assert ("warm", "team") == self._texts(bench, 1)
        assert all_accepted(second) == pushed(adapter, sync, second)
        assert ("hot", "team") == self._texts(bench, 1)

    def test_removed_and_clear(self, bench: Bench) -> None:
        """A record whose row is gone loses our values and nothing else; one that is unknown is not made for it."""
        bench.put(1, {bench.text: "hot", bench.other: "team"})
        changes = [bench.change(number, {bench.text: None}, "removed") for number in (1, 2)]
        results = pushed(bench.adapter(bench.transport()), bench.sync(missing="create"), changes)

        assert "accepted" == results["key-1"]
        assert (None, "team") == self._texts(bench, 1)
        assert bench.held(2) is None

    # Values.

    def test_strange_texts_arrive_unchanged(self, bench: Bench) -> None:
        """Letters of all scripts, quotes, line breaks, and texts that look like code or numbers stay as they are."""
        changes = [bench.change(number, {bench.text: text}) for number, text in enumerate(bench.texts)]
        for number in range(len(changes)):
            bench.put(number, {})

        assert all_accepted(changes) == pushed(bench.adapter(bench.transport()), bench.sync(), changes)
        assert list(bench.texts) == [self._texts(bench, number)[0] for number in range(len(changes))]

    def test_long_text_arrives_whole(self, bench: Bench) -> None:
        """A text as long as the destination allows is not cut."""
        text = "äb1 " * (bench.characters_max // 4 - 1) + "end."
        bench.put(1, {})
        changes = [bench.change(1, {bench.text: text})]

        assert all_accepted(changes) == pushed(bench.adapter(bench.transport()), bench.sync(), changes)
        assert text == self._texts(bench, 1)[0]

    @pytest.mark.parametrize(("kind", "value"), TYPED, ids=[f"{kind} {value}" for kind, value in TYPED])
    def test_typed_value_arrives(self, bench: Bench, kind: FieldType, value: Value) -> None:
        """Numbers, booleans, dates and timestamps are at the destination what they were here, falsy ones too."""
        if kind not in bench.typed:
            assert kind in bench.cannot, f"The bench has neither a field of type {kind} nor a reason why not."
            pytest.skip(bench.cannot[kind])
        name = bench.typed[kind]
        bench.put(1, {})
        changes = [bench.change(1, {name: value})]

        assert all_accepted(changes) == pushed(bench.adapter(bench.transport()), bench.sync(), changes)
        held = bench.held(1)
        assert held is not None
        assert bench.shown(value) == held.get(name)
        assert type(bench.shown(value)) is type(held.get(name))

    # Reading back.

    def test_record_is_read_back(self, bench: Bench) -> None:
        """What was pushed is read back as held: each text, what was cleared, and nothing else than that."""
        bench.put(1, {bench.text: "cold", bench.other: "team"})
        adapter, sync = readable(bench), bench.sync()
        pushed(adapter, sync, [bench.change(1, {bench.text: "hot", bench.other: None})])
        [held] = adapter.read(sync, [bench.wanted(1)])

        assert "key-1" == held.key
        assert held.fields is not None
        assert {field.name for field in sync.fields} >= set(held.fields)
        values = [
            (bench.text, "hot"),
            (bench.text, "cold"),
            (bench.text, None),
            (bench.other, None),
            (bench.other, "team"),
        ]
        assert [True, False, False, True, False] == [
            adapter.holds(sync, name, value, held.fields.get(name)) for name, value in values
        ]

    @pytest.mark.parametrize(("kind", "value"), TYPED, ids=[f"{kind} {value}" for kind, value in TYPED])
    def test_typed_value_is_read_back(self, bench: Bench, kind: FieldType, value: Value) -> None:
        """A number, boolean, date or timestamp that was pushed is held, and no other value is."""
        adapter, sync = readable(bench), bench.sync()
        if kind not in bench.typed:
            assert kind in bench.cannot, f"The bench has neither a field of type {kind} nor a reason why not."
            pytest.skip(bench.cannot[kind])
        name = bench.typed[kind]
        bench.put(1, {})
        pushed(adapter, sync, [bench.change(1, {name: value})])
        [held] = adapter.read(sync, [bench.wanted(1)])
        others = [other for other_kind, other in TYPED if other_kind == kind and other != value]
        others += [value + datetime.timedelta(days=1)] if isinstance(value, datetime.date) else []

        assert held.fields is not None
        assert adapter.holds(sync, name, value, held.fields.get(name))
        assert [] == [other for other in others if adapter.holds(sync, name, other, held.fields.get(name))]

    def test_unknown_record_is_read_as_none(self, bench: Bench) -> None:
        """Of a record that the destination does not have None is read, and an empty one is not None."""
        bench.put(1, {})
        adapter, sync = readable(bench), bench.sync()
        found = {held.key: held.fields for held in adapter.read(sync, [bench.wanted(1), bench.wanted(2)])}

        assert {"key-1", "key-2"} == set(found)
        assert found["key-2"] is None
        empty = found["key-1"]
        assert empty is not None
        assert adapter.holds(sync, bench.text, None, empty.get(bench.text))

    def test_many_records_are_read_back(self, bench: Bench) -> None:
        """Of many records each one is given back once, with its own value, and those that are not there as None."""
        for number in range(0, 30, 2):
            bench.put(number, {bench.text: f"step {number}"})
        adapter, sync = readable(bench), bench.sync()
        found = list(adapter.read(sync, (bench.wanted(number) for number in range(30))))

        assert sorted(f"key-{number}" for number in range(30)) == sorted(held.key for held in found)
        fields = {held.key: held.fields for held in found}
        assert [f"key-{number}" for number in range(1, 30, 2)] == [
            key for key in (f"key-{number}" for number in range(30)) if fields[key] is None
        ]
        assert [] == [
            number
            for number in range(0, 30, 2)
            if not adapter.holds(sync, bench.text, f"step {number}", (fields[f"key-{number}"] or {}).get(bench.text))
        ]

    # Batches.

    def test_batch_of_one(self, bench: Bench) -> None:
        """A batch may hold a single change."""
        bench.put(1, {})
        changes = [bench.change(1, {bench.text: "hot"})]

        assert all_accepted(changes) == pushed(bench.adapter(bench.transport()), bench.sync(), changes)

    def test_batch_of_the_limit(self, bench: Bench) -> None:
        """A batch as large as the adapter itself allows goes through, each record with its own value."""
        adapter, sync = bench.adapter(bench.transport()), bench.sync()
        changes = [
            bench.change(number, {bench.text: f"step {number}"}) for number in range(adapter.limits(sync).records)
        ]
        for number in range(len(changes)):
            bench.put(number, {})

        assert all_accepted(changes) == pushed(adapter, sync, changes)
        assert [f"step {number}" for number in range(len(changes))] == [
            self._texts(bench, number)[0] for number in range(len(changes))
        ]

    def test_batch_of_mixed_kinds(self, bench: Bench) -> None:
        """New, changed and removed records with different fields share a batch without touching each other."""
        for number in range(4):
            bench.put(number, {bench.text: "cold", bench.other: "solo"})
        changes = [
            bench.change(0, {bench.text: "hot"}, "new"),
            bench.change(1, {bench.other: "team"}),
            bench.change(2, {bench.text: None, bench.other: None}, "removed"),
            bench.change(3, {bench.text: None, bench.other: "team"}),
        ]

        assert all_accepted(changes) == pushed(bench.adapter(bench.transport()), bench.sync(), changes)
        assert [("hot", "solo"), ("cold", "team"), (None, None), (None, "team")] == [
            self._texts(bench, number) for number in range(4)
        ]

    def test_refused_record_does_not_delay_the_others(self, bench: Bench) -> None:
        """A record that the destination refuses is an outcome; those before and after it are accepted."""
        for number in range(3):
            bench.put(number, {})
        name, value = bench.refused()
        changes = [
            bench.change(0, {bench.text: "hot"}),
            bench.change(1, {name: value}),
            bench.change(2, {bench.text: "hot"}),
        ]
        found = attempted(bench.adapter(bench.transport()), bench.sync(), changes)

        assert found.error is None
        assert {"key-0": "accepted", "key-1": "rejected", "key-2": "accepted"} == found.results
        assert ["hot", "hot"] == [self._texts(bench, number)[0] for number in (0, 2)]
        (refusal,) = [outcome for outcome in found.outcomes if outcome.result == "rejected"]
        assert refusal.code
        assert bench.who(1) not in refusal.code

    def test_batches_of_several_threads(self, bench: Bench) -> None:
        """One adapter takes a batch from each of several threads at once, and mixes nothing up."""
        adapter, sync = bench.adapter(bench.transport()), bench.sync()
        batches = [
            [bench.change(number, {bench.text: f"step {number}"}) for number in range(start, start + 3)]
            for start in (0, 3, 6, 9)
        ]
        for number in range(12):
            bench.put(number, {})
        with ThreadPoolExecutor(len(batches)) as pool:
            results = list(pool.map(lambda changes: pushed(adapter, sync, changes), batches))

        assert [all_accepted(changes) for changes in batches] == results
        assert [f"step {number}" for number in range(12)] == [self._texts(bench, number)[0] for number in range(12)]

    def _texts(self, bench: Bench, number: int) -> tuple[Any, Any]:
        held = bench.held(number)

        assert held is not None, f"The destination has no record {number}."
        return held.get(bench.text), held.get(bench.other)
