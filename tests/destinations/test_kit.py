"""The conformance kit finds what it is there to find: each of these destinations breaks one duty."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest
import requests

from destinations.orbit import Orbit
from destinations.standins.orbit import OrbitStandIn
from destinations.standins.server import Server
from syncer.change import Change, Outcome, accepted, deferred
from syncer.errors import DestinationUnusable, Problem, SyncerError
from syncer.mapping import Sync
from syncer.testing import AdapterTests, Memory, RecordTests
from syncer.testing.kit import FATAL, LASTING, PASSING
from syncer.transport import Transport
from tests.destinations.benches import MemoryBench, OrbitBench


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


@pytest.mark.parametrize(
    ("broken", "test", "options"),
    [
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
    ],
)
def test_fault_with_records_is_found(broken: type[Memory], test: str, options: dict[str, Any]) -> None:
    """A destination that mishandles records fails the test whose sentence it breaks."""

    class Bench(MemoryBench):
        memory_type = broken

    with pytest.raises((AssertionError, SyncerError)):
        getattr(RecordTests(), f"test_{test}")(Bench(), **options)


class GoesAroundTheTransport(Orbit):
    def _session(self) -> requests.Session:
        session = requests.Session()
        session.headers.update(super()._session().headers)
        return session


class FollowsRedirects(GoesAroundTheTransport):
    def _ask(self, session: requests.Session, method: str, path: str, **options: Any) -> tuple[int, Any]:
        response = session.request(method, self.settings.base_url + path, allow_redirects=True)
        return response.status_code, None


class TellsTheKey(Orbit):
    def _ask(self, session: requests.Session, method: str, path: str, **options: Any) -> tuple[int, Any]:
        try:
            return super()._ask(session, method, path, **options)
        except DestinationUnusable as error:
            raise DestinationUnusable(f"{error} {self.settings.api_key.get_secret_value()}") from None


class HidesDoubt(Orbit):
    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        for change, outcome in zip(changes, super().push(sync, changes), strict=True):
            yield deferred(change, outcome.code, "") if outcome.doubt else outcome


class CallsEveryAnswerAccepted(Orbit):
    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        for change, _ in zip(changes, super().push(sync, changes), strict=True):
            yield accepted(change)


class SendsWhatDidNotChange(Orbit):
    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        return super().push(sync, [with_fields(change, **{"company": "x", **change.fields}) for change in changes])


class Miscounts(Orbit):
    def requests(self, sync: Sync, changes: Sequence[Change]) -> int:
        return 1


class WritesInCheck(Orbit):
    def check(self, sync: Sync) -> Iterable[Problem]:
        self._ask(self._session(), "POST", self._members, body={"member": {"name": "Probe"}})
        return super().check(sync)


class AsksWhenMade(Orbit):
    def __init__(self, name: str, settings: Any, transport: Transport) -> None:
        super().__init__(name, settings, transport)
        self._ask(self._session(), "GET", "/user")


class LooksAway(Orbit):
    def check(self, sync: Sync) -> Iterable[Problem]:
        return ()


@pytest.mark.parametrize(
    ("broken", "test", "options"),
    [
        (GoesAroundTheTransport, "passing_trouble_is_overcome", {"trouble": PASSING["429"]}),
        (GoesAroundTheTransport, "nothing_starts_after_a_stop", {}),
        (GoesAroundTheTransport, "stop_in_the_middle_of_a_batch", {}),
        (FollowsRedirects, "redirect_is_not_followed", {"status": 308}),
        (HidesDoubt, "lasting_trouble_is_told_with_its_doubt", {"trouble": LASTING["closed after applying"]}),
        (CallsEveryAnswerAccepted, "lasting_trouble_is_told_with_its_doubt", {"trouble": LASTING["503 with a page"]}),
        (SendsWhatDidNotChange, "only_changed_fields_leave", {}),
        (Miscounts, "requests_are_foretold", {}),
        (WritesInCheck, "check_changes_nothing", {}),
        (AsksWhenMade, "nothing_is_asked_before_a_push_or_check", {}),
        (LooksAway, "refused_credentials_end_the_destination", {}),
    ],
)
def test_fault_on_the_wire_is_found(broken: type[Orbit], test: str, options: dict[str, Any]) -> None:
    """An adapter that misbehaves on the wire fails the test whose sentence it breaks."""

    class Bench(OrbitBench):
        adapter_type = broken

    standin = OrbitStandIn(api_key=OrbitBench.secrets[0])
    with Server({"": standin}), pytest.raises((AssertionError, SyncerError, requests.exceptions.RequestException)):
        getattr(AdapterTests(), f"test_{test}")(Bench(standin), **options)


def test_told_secret_is_found(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """An adapter that puts its key into an error fails the test about secrets."""

    class Bench(OrbitBench):
        adapter_type = TellsTheKey

    standin = OrbitStandIn(api_key=OrbitBench.secrets[0])
    with Server({"": standin}), pytest.raises(AssertionError):
        AdapterTests().test_nothing_secret_is_told(
            Bench(standin), trouble=FATAL["401"], only_writes=False, caplog=caplog, capfd=capfd
        )
