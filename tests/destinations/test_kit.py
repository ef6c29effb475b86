"""The conformance kit finds what is wrong on the wire: each of these adapters breaks one duty."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pytest
import requests

from destinations.orbit import Orbit, OrbitSettings
from destinations.orbit_parts.client import Client, Closed
from destinations.standins.orbit import OrbitStandIn
from destinations.standins.server import Server
from destinations.webhook import Webhook
from syncer.change import Change, Held, Job, Outcome, Wanted, accepted, deferred, rejected
from syncer.errors import DestinationUnusable, Problem, ServiceUnavailable, SyncerError
from syncer.mapping import Sync
from syncer.stretch import Columnar, Piece, Stretch
from syncer.testing import AdapterTests, HttpBench
from syncer.testing.kit import FATAL, LASTING, PASSING, UNREADABLE
from syncer.transport import Transport
from tests.destinations.benches import OrbitBench
from tests.destinations.test_conformance_webhook import WebhookBench
from tests.destinations.test_kit_records import WITH_RECORDS, with_fields
from tests.standins.webhook import WebhookStandIn

FOUND = (AssertionError, SyncerError, requests.exceptions.RequestException, pytest.fail.Exception)
"""How a test of the kit ends that has found something."""


class AroundTheTransport(Client):
    def __init__(self, settings: OrbitSettings, transport: Transport) -> None:
        super().__init__(settings, transport)
        around = requests.Session()
        around.headers.update(self._session.headers)
        self._session = around


class GoesAroundTheTransport(Orbit):
    def _client(self) -> Client:
        return AroundTheTransport(self.settings, self.transport)


class RedirectedClient(AroundTheTransport):
    def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        response = self._session.request(method, self._base_url + path, allow_redirects=True)
        return response.status_code, None


class FollowsRedirects(Orbit):
    def _client(self) -> Client:
        return RedirectedClient(self.settings, self.transport)


class TellingClient(Client):
    def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        try:
            return super().ask(method, path, **options)
        except DestinationUnusable as error:
            raise DestinationUnusable(f"{error} {OrbitBench.secrets[0]}") from None


class TellsTheKey(Orbit):
    def _client(self) -> Client:
        return TellingClient(self.settings, self.transport)


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
        self._client().make({"name": "Probe"}, {})
        return super().check(sync)


class AsksWhenMade(Orbit):
    def __init__(self, name: str, settings: Any, transport: Transport) -> None:
        super().__init__(name, settings, transport)
        self._client().ask("GET", "/user")


class LooksAway(Orbit):
    def check(self, sync: Sync) -> Iterable[Problem]:
        return ()


class BelievingClient(Client):
    def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        try:
            return super().ask(method, path, **options)
        except Closed as page:
            return (404 if "404" in str(page) else 204), None


class BelievesPages(Orbit):
    def _client(self) -> Client:
        return BelievingClient(self.settings, self.transport)


class AlwaysDoubts(Orbit):
    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        try:
            yield from super().push(sync, changes)
        except ServiceUnavailable:
            yield deferred(changes[0], "unanswered", "", doubt=True)


class ForgetsWhatWasAnswered(Orbit):
    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        yield from list(super().push(sync, changes))


class BlamesTheRecord(Orbit):
    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        try:
            yield from super().push(sync, changes)
        except DestinationUnusable:
            yield rejected(changes[-1], "unauthorized", "")


class WritesWhileReading(Orbit):
    def read(self, sync: Sync, records: Iterable[Wanted]) -> Iterator[Held]:
        for wanted in records:
            self._client().make({"bio": "read"}, {"source": "email", "email": wanted.match["email"]})
            yield Held(wanted.key, {})


class TakesOutagesForStrangers(Orbit):
    def read(self, sync: Sync, records: Iterable[Wanted]) -> Iterator[Held]:
        known = list(records)
        try:
            yield from super().read(sync, known)
        except SyncerError:
            yield from (Held(wanted.key, None) for wanted in known)


class WithJobs(Orbit):
    """A good one: it tells its job, then starts it; what it takes up again it leaves in doubt."""

    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Any]:
        yield Job("7")
        yield from super().push(sync, changes)


class StartsBeforeItTells(WithJobs):
    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Any]:
        outcomes = list(Orbit.push(self, sync, changes))
        yield Job("7")
        yield from outcomes


class TellsInTheMiddle(WithJobs):
    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Any]:
        yield from Orbit.push(self, sync, changes)
        yield Job("7")


class StartsAgain(WithJobs):
    def resume(self, sync: Sync, job: str, changes: Sequence[Change]) -> Iterator[Outcome | Job]:
        return self.push(sync, changes)


class BelievesItWent(WithJobs):
    def resume(self, sync: Sync, job: str, changes: Sequence[Change]) -> Iterator[Outcome | Job]:
        yield from (accepted(change) for change in changes)


class PutsTheKeyIntoTheJob(WithJobs):
    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Any]:
        yield Job(self.settings.api_key.get_secret_value())
        yield from super().push(sync, changes)


class ByColumns(Orbit):
    """A good one: its texts are as heavy as it says, and nothing that it sends is made of them."""

    def texts(self, sync: Sync, piece: Piece) -> Columnar:
        return pa.array([" "] * len(piece))

    def weigh(self, sync: Sync, change: Change) -> int:
        return 1


class WeighsTooLittle(ByColumns):
    def weigh(self, sync: Sync, change: Change) -> int:
        return 0


class SendsColumnsWithoutNulls(ByColumns):
    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        if isinstance(changes, Stretch):
            changes = [with_fields(one, **{name: value or "" for name, value in one.fields.items()}) for one in changes]
        return super().push(sync, changes)


ON_THE_WIRE: list[tuple[type[Orbit], str, dict[str, Any]]] = [
    (GoesAroundTheTransport, "passing_trouble_is_overcome", {"trouble": PASSING["429"]}),
    (GoesAroundTheTransport, "passing_trouble_is_overcome", {"trouble": PASSING["429 with a date"]}),
    (GoesAroundTheTransport, "passing_trouble_is_overcome", {"trouble": PASSING["429 for absurdly long"]}),
    (GoesAroundTheTransport, "passing_trouble_is_overcome", {"trouble": PASSING["500 with a page"]}),
    (GoesAroundTheTransport, "answer_beyond_the_timeout_is_not_waited_for", {"kind": "slow"}),
    (GoesAroundTheTransport, "answer_beyond_the_timeout_is_not_waited_for", {"kind": "stall"}),
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
    (BelievesPages, "page_is_no_yes", {}),
    (BelievesPages, "page_is_no_refusal", {}),
    (AlwaysDoubts, "dead_service_leaves_no_doubt_about_readings", {}),
    (HidesDoubt, "lasting_trouble_is_told_with_its_doubt", {"trouble": LASTING["answer cut short"]}),
    (HidesDoubt, "answer_that_never_comes_leaves_doubt", {"kind": "slow"}),
    (HidesDoubt, "answer_that_never_comes_leaves_doubt", {"kind": "stall"}),
    (ForgetsWhatWasAnswered, "credentials_that_expire_in_mid_run", {"after": 2}),
    (BlamesTheRecord, "credentials_that_expire_in_mid_run", {"after": 4}),
    (WritesWhileReading, "reading_changes_nothing", {}),
    (TakesOutagesForStrangers, "what_cannot_be_read_is_nobody_missing", {"trouble": UNREADABLE["503"]}),
    (TellsTheKey, "what_cannot_be_read_is_nobody_missing", {"trouble": UNREADABLE["401"]}),
    (StartsBeforeItTells, "job_is_told_before_it_starts", {}),
    (TellsInTheMiddle, "job_is_told_before_it_starts", {}),
    (StartsAgain, "job_is_told_before_it_starts", {}),
    (BelievesItWent, "job_is_told_before_it_starts", {}),
    (PutsTheKeyIntoTheJob, "job_is_told_before_it_starts", {}),
    (WeighsTooLittle, "a_batch_by_columns_is_taken_as_one_of_objects", {}),
    (SendsColumnsWithoutNulls, "a_batch_by_columns_is_taken_as_one_of_objects", {}),
]


@pytest.mark.parametrize(("broken", "test", "options"), ON_THE_WIRE)
def test_fault_on_the_wire_is_found(broken: type[Orbit], test: str, options: dict[str, Any]) -> None:
    """An adapter that misbehaves on the wire fails the test whose sentence it breaks."""

    class Bench(OrbitBench):
        adapter_type = broken

    standin = OrbitStandIn(api_key=OrbitBench.secrets[0])
    with Server({"": standin}), pytest.raises(FOUND):
        getattr(AdapterTests(), f"test_{test}")(Bench(standin), **options)


def test_adapter_with_jobs_passes() -> None:
    """The test about jobs finds no fault with an adapter that tells its job first and starts nothing again."""

    class Bench(OrbitBench):
        adapter_type = WithJobs

    standin = OrbitStandIn(api_key=OrbitBench.secrets[0])
    with Server({"": standin}):
        AdapterTests().test_job_is_told_before_it_starts(Bench(standin))

        assert standin.count == 0


def test_adapter_by_columns_passes() -> None:
    """The test about columns finds no fault with an adapter that sends the same, whatever its batch is."""

    class Bench(OrbitBench):
        adapter_type = ByColumns

    standin = OrbitStandIn(api_key=OrbitBench.secrets[0])
    with Server({"": standin}):
        AdapterTests().test_a_batch_by_columns_is_taken_as_one_of_objects(Bench(standin))

        assert standin.count > 0


class TakesSilenceForYes(Webhook):
    def push(self, sync: Sync, changes: Sequence[Change]) -> Iterator[Outcome]:
        for change, outcome in zip(changes, super().push(sync, changes), strict=True):
            yield accepted(change) if outcome.doubt else outcome


def test_silence_that_is_taken_for_yes_is_found() -> None:
    """An adapter that accepts what an answer leaves out fails the test about short answers."""

    class Bench(WebhookBench):
        adapter_type = TakesSilenceForYes

    secret, token = WebhookBench.secrets
    standin = WebhookStandIn(secret=secret, token=token)
    with Server({"": standin}), pytest.raises(AssertionError):
        AdapterTests().test_short_answer_is_no_yes_for_the_rest(Bench(standin))


class BareBench(OrbitBench):
    """What a bench was before services could be slow, expire and answer short."""

    delay = HttpBench.delay
    expire = HttpBench.expire


@pytest.mark.parametrize(
    ("test", "options"),
    [
        ("answer_beyond_the_timeout_is_not_waited_for", {"kind": "slow"}),
        ("answer_that_never_comes_leaves_doubt", {"kind": "stall"}),
        ("credentials_that_expire_in_mid_run", {"after": 1}),
        ("short_answer_is_no_yes_for_the_rest", {}),
    ],
)
def test_bench_that_cannot_make_a_trouble_is_skipped(test: str, options: dict[str, Any]) -> None:
    """A bench without the newer methods still works: what it cannot order is skipped, and the reason said."""
    standin = OrbitStandIn(api_key=OrbitBench.secrets[0])
    with Server({"": standin}), pytest.raises(pytest.skip.Exception, match=r"bench can"):
        getattr(AdapterTests(), f"test_{test}")(BareBench(standin), **options)


def test_told_secret_is_found(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """An adapter that puts its key into an error fails the test about secrets."""

    class Bench(OrbitBench):
        adapter_type = TellsTheKey

    standin = OrbitStandIn(api_key=OrbitBench.secrets[0])
    with Server({"": standin}), pytest.raises(AssertionError):
        AdapterTests().test_nothing_secret_is_told(
            Bench(standin), trouble=FATAL["401"], only_writes=False, caplog=caplog, capfd=capfd
        )


def test_every_test_of_the_kit_finds_something() -> None:
    """For each test of the kit there is a destination above that fails it, so none of them passes for nothing."""
    apart = {"short_answer_is_no_yes_for_the_rest", "nothing_secret_is_told"}
    proven = {test for _, test, _ in (*WITH_RECORDS, *ON_THE_WIRE)} | apart
    tests = {name.removeprefix("test_") for name in dir(AdapterTests) if name.startswith("test_")}

    assert tests == proven
