"""The conformance kit finds what is wrong with records: each of these destinations in memory breaks one duty."""

from __future__ import annotations

import datetime
import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from syncer.change import Change, Held, Outcome, Value, Wanted, accepted
from syncer.destination import Destination
from syncer.errors import DestinationUnusable, Problem, SyncerError
from syncer.mapping import Sync
from syncer.testing import Memory, RecordTests
from tests.destinations.benches import MemoryBench


def with_fields(change: Change, **fields: Any) -> Change:
    return Change(change.key, change.kind, change.match, fields, {})


class IgnoresNull(Memory):
    def _apply(self, sync: Sync, change: Change) -> Outcome:
        return super()._apply(sync, with_fields(change, **{k: v for k, v in change.fields.items() if v is not None}))


class WritesNullAsAWord(Memory):
    def _apply(self, sync: Sync, change: Change) -> Outcome:
        return super()._apply(sync, with_fields(change, **{k: str(v) for k, v in change.fields.items()}))


class ReplacesTheRecord(Memory):
    def _apply(self, sync: Sync, change: Change) -> Outcome:
        self.records.get(next(iter(change.match.values())), {}).clear()
        return super()._apply(sync, change)


class MakesEverybody(Memory):
    def _apply(self, sync: Sync, change: Change) -> Outcome:
        self.records.setdefault(next(iter(change.match.values())), {})
        return super()._apply(sync, change)


class AppendsText(Memory):
    def _apply(self, sync: Sync, change: Change) -> Outcome:
        held = self.records.get(next(iter(change.match.values())), {})
        longer = {name: f"{held.get(name, '')}{value}" for name, value in change.fields.items() if value}
        return super()._apply(sync, with_fields(change, **{**change.fields, **longer}))


class StripsLineBreaks(Memory):
    def _apply(self, sync: Sync, change: Change) -> Outcome:
        fields = {k: v.replace("\n", " ") if isinstance(v, str) else v for k, v in change.fields.items()}
        return super()._apply(sync, with_fields(change, **fields))


class CutsText(Memory):
    def _apply(self, sync: Sync, change: Change) -> Outcome:
        fields = {name: value[:255] if isinstance(value, str) else value for name, value in change.fields.items()}
        return super()._apply(sync, with_fields(change, **fields))


class TakesFalseForNothing(Memory):
    def _apply(self, sync: Sync, change: Change) -> Outcome:
        return super()._apply(sync, with_fields(change, **{k: v or None for k, v in change.fields.items()}))


class AnswersTwice(Memory):
    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        yield from super().push(sync, changes)
        yield accepted(changes[0])


class ForgetsTheLast(Memory):
    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        yield from super().push(sync, changes[:-1])


class StopsAtARefusal(Memory):
    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        for outcome in super().push(sync, changes):
            if outcome.result == "rejected":
                raise DestinationUnusable("One was refused.")
            yield outcome


class RefusesEveryMapping(Memory):
    def refuse(self, sync: Sync) -> Iterable[Problem]:
        yield Problem("match", "Not like this.")


class NeverMakesAnybody(Memory):
    def _apply(self, sync: Sync, change: Change) -> Outcome:
        return super()._apply(sync.model_copy(update={"missing": "skip"}), change)


class TakesOneBatchAtATime(Memory):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.inside = 0
        self.turn = threading.Condition()

    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        with self.turn:
            self.inside += 1
            self.turn.notify_all()
            if self.turn.wait_for(lambda: self.inside > 1, timeout=10):
                raise DestinationUnusable("One at a time, please.")
        yield from super().push(sync, changes)


class DoubtsWhatItAccepted(Memory):
    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        for outcome in super().push(sync, changes):
            yield outcome._replace(doubt=True)


class TriesAgainWhatWasRefused(Memory):
    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        for outcome in super().push(sync, changes):
            yield outcome._replace(again="" if outcome.result == "rejected" else None)


class ReadsNothing(Memory):
    def read(self, sync: Sync, records: Iterable[Wanted]) -> Iterator[Held]:
        yield from (Held(wanted.key, None) for wanted in records)


class ReadsStrangersAsEmpty(Memory):
    def read(self, sync: Sync, records: Iterable[Wanted]) -> Iterator[Held]:
        yield from (Held(held.key, held.fields or {}) for held in super().read(sync, records))


class ReadsEverythingAsText(Memory):
    def read(self, sync: Sync, records: Iterable[Wanted]) -> Iterator[Held]:
        for held in super().read(sync, records):
            yield Held(held.key, held.fields and {name: str(value) for name, value in held.fields.items()})


class ReadsWhatNobodyMapped(Memory):
    def read(self, sync: Sync, records: Iterable[Wanted]) -> Iterator[Held]:
        for held in super().read(sync, records):
            yield Held(held.key, held.fields and {**held.fields, "shoe_size": 41})


class ReadsTwice(Memory):
    def read(self, sync: Sync, records: Iterable[Wanted]) -> Iterator[Held]:
        for held in super().read(sync, records):
            yield from (held, held)


class ReadsOnePage(Memory):
    def read(self, sync: Sync, records: Iterable[Wanted]) -> Iterator[Held]:
        return itertools.islice(super().read(sync, records), 10)


class MixesRecordsUp(Memory):
    def read(self, sync: Sync, records: Iterable[Wanted]) -> Iterator[Held]:
        found = list(super().read(sync, records))
        return (Held(one.key, other.fields) for one, other in zip(found, found[2:] + found[:2], strict=True))


class HoldsEverything(Memory):
    def holds(self, sync: Sync, name: str, value: Value, held: object) -> bool:
        return True


class HoldsByTruth(Memory):
    def holds(self, sync: Sync, name: str, value: Value, held: object) -> bool:
        return bool(value) == bool(held)


WITH_RECORDS: list[tuple[type[Memory], str, dict[str, Any]]] = [
    (IgnoresNull, "null_clears", {}),
    (WritesNullAsAWord, "null_clears", {}),
    (WritesNullAsAWord, "typed_value_arrives", {"kind": "number", "value": 41.5}),
    (ReplacesTheRecord, "absent_fields_stay", {}),
    (ReplacesTheRecord, "removed_and_clear", {}),
    (MakesEverybody, "unknown_record_is_never_made", {}),
    (MakesEverybody, "unknown_record_is_reported", {}),
    (MakesEverybody, "removed_and_clear", {}),
    (AppendsText, "same_batch_twice", {}),
    (StripsLineBreaks, "strange_texts_arrive_unchanged", {}),
    (CutsText, "long_text_arrives_whole", {}),
    (TakesFalseForNothing, "typed_value_arrives", {"kind": "boolean", "value": False}),
    (AnswersTwice, "batch_of_mixed_kinds", {}),
    (ForgetsTheLast, "batch_of_one", {}),
    (ForgetsTheLast, "batch_of_the_limit", {}),
    (StopsAtARefusal, "refused_record_does_not_delay_the_others", {}),
    (RefusesEveryMapping, "mapping_of_the_kit_is_fine", {}),
    (NeverMakesAnybody, "unknown_record_is_made_on_request", {}),
    (TakesOneBatchAtATime, "batches_of_several_threads", {}),
    (DoubtsWhatItAccepted, "record_arrives", {}),
    (TriesAgainWhatWasRefused, "refused_record_does_not_delay_the_others", {}),
    (ReadsNothing, "record_is_read_back", {}),
    (ReadsStrangersAsEmpty, "unknown_record_is_read_as_none", {}),
    (ReadsEverythingAsText, "typed_value_is_read_back", {"kind": "number", "value": 41.5}),
    (ReadsWhatNobodyMapped, "record_is_read_back", {}),
    (ReadsTwice, "many_records_are_read_back", {}),
    (ReadsOnePage, "many_records_are_read_back", {}),
    (MixesRecordsUp, "many_records_are_read_back", {}),
    (HoldsEverything, "record_is_read_back", {}),
    (HoldsEverything, "typed_value_is_read_back", {"kind": "date", "value": datetime.date(2026, 2, 28)}),
    (HoldsByTruth, "typed_value_is_read_back", {"kind": "integer", "value": 41}),
]


@pytest.mark.parametrize(("broken", "test", "options"), WITH_RECORDS)
def test_fault_with_records_is_found(broken: type[Memory], test: str, options: dict[str, Any]) -> None:
    """A destination that mishandles records fails the test whose sentence it breaks."""

    class Bench(MemoryBench):
        memory_type = broken

    with pytest.raises((AssertionError, SyncerError)):
        getattr(RecordTests(), f"test_{test}")(Bench(), **options)


class CannotBeRead(Memory):
    read = Destination.read


@pytest.mark.parametrize(
    "test", ["record_is_read_back", "unknown_record_is_read_as_none", "many_records_are_read_back"]
)
def test_adapter_that_does_not_read_is_skipped(test: str) -> None:
    """A destination that cannot be read back has said so, and is not asked for it."""

    class Bench(MemoryBench):
        memory_type = CannotBeRead

    with pytest.raises(pytest.skip.Exception, match="Memory cannot be read back"):
        getattr(RecordTests(), f"test_{test}")(Bench())
