"""From plan to outcome: batches, intents, counts that add up in every way a run can end, and what is kept of it."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import destinations
from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.server import Answer, Request, Server
from syncer import batches, delivery
from syncer.account import Report
from syncer.batches import held
from syncer.change import Change, Job, Outcome, accepted, deferred, rejected
from syncer.config import load
from syncer.delivery import REJECTED_AFTER
from syncer.destination import Limits
from syncer.errors import DestinationUnusable, ServiceUnavailable, Stopping, UserError
from syncer.mapping import Sync
from syncer.run import Engine
from syncer.source import Reading
from syncer.sources import source_of
from syncer.testing import Memory
from tests.engine.moody import BATCH, PEOPLE, ROWS, SECRET, Moody, Push, Stage, well
from tests.workplace import NO_BRAKES, Workplace


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.engine.close()


# Batches.


@pytest.mark.parametrize(("records", "utf8_bytes"), [(7, None), (7, 1_000), (100, 300)])
def test_batches_are_as_full_as_the_limits_allow(records: int, utf8_bytes: int | None) -> None:
    """Every batch keeps both limits, and the first record of the next one would have broken one of them."""
    dice = random.Random(5)
    weights = {f"u{number}": dice.randint(1, 290) for number in range(200)}
    changes = [Change(key, "new", {"id": key}, {"score": 1}, {}) for key in weights]

    class Weighing(Memory):
        def weigh(self, sync: Sync, change: Change) -> int:
            return weights[change.key]

    limits = Limits(records=records, utf8_bytes=utf8_bytes)
    rows = iter([("payload", change) for change in changes])
    made = list(held(rows, Weighing(), None, limits))  # type: ignore[arg-type]  # The sync is the adapter's only.

    assert changes == [change for batch in made for change in batch.changes]
    assert [0, *(batch.hi for batch in made[:-1])] == [batch.lo for batch in made]
    for batch, after in itertools.pairwise(made):
        weight = sum(weights[change.key] for change in batch.changes)
        assert len(batch.changes) <= records
        assert utf8_bytes is None or weight <= utf8_bytes
        is_heavy = utf8_bytes is not None and weight + weights[after.changes[0].key] > utf8_bytes
        assert is_heavy or len(batch.changes) == records


def test_a_record_heavier_than_the_limit_goes_alone() -> None:
    """It cannot be cut, so the destination has its say about it."""

    class Weighing(Memory):
        def weigh(self, sync: Sync, change: Change) -> int:
            return 1_000

    changes = [Change(key, "new", {"id": key}, {}, {}) for key in "abc"]
    rows = iter([("payload", change) for change in changes])
    made = list(held(rows, Weighing(), None, Limits(records=10, utf8_bytes=500)))  # type: ignore[arg-type]  # As above.

    assert [1, 1, 1] == [len(batch.changes) for batch in made]


# Over HTTP: overlap, and intents.


class Watched(CustomerioStandIn):
    """Runs `watch` for each batch, several at once, before it is applied."""

    def __init__(self, watch: Callable[[list[str]], None]) -> None:
        super().__init__()
        self.watch = watch
        self.failures: list[BaseException] = []
        self._own = threading.Lock()
        self.lock = contextlib.nullcontext()  # type: ignore[assignment]  # Its own lock is around the applying only.

    def handle(self, request: Request) -> Answer:
        if request.path == "/api/v2/batch":
            try:
                self.watch([item["identifiers"]["id"] for item in request.json()["batch"]])
            except BaseException as error:
                self.failures.append(error)
        with self._own:
            return super().handle(request)


def over_http(folder: Path, standin: Watched, in_flight: int, more: str = "", records: int = 600) -> Report:
    """Batches of about a hundred, six of them unless there are more records."""
    workplace = Workplace(folder)
    pads = "\n".join(f'pad{number} = {{ column = "pad", compare = false }}' for number in range(5))
    with Server({"": standin}):
        settings = standin.settings() + f"in_flight = {in_flight}\n{more}"
        workplace.write({"customerio": settings}, {"customerio": PEOPLE + pads}, NO_BRAKES)
        workplace.sql(
            "CREATE TABLE people AS SELECT 'u' || i AS user_id, i AS score, 'x' AS note, repeat('x', 900) AS pad "
            f"FROM range({records}) t(i)"
        )
        config = load(folder / "config.toml", destinations.adapter, destinations.kinds)
        engine = Engine(config, source_of(config.source), destinations.adapter)
        with contextlib.closing(engine):
            report = engine.run(engine.prepare(config.syncs[0]))
    assert [] == standin.failures
    return report


def test_several_batches_are_in_flight_at_once(tmp_path: Path) -> None:
    """Three requests stand in the service together, for none goes on before three are there; a fourth never comes."""
    barrier = threading.Barrier(3)
    inside: list[int] = []
    most: list[int] = []

    def watch(ids: list[str]) -> None:
        inside.append(1)
        barrier.wait(30)
        most.append(len(inside))
        barrier.wait(30)
        inside.pop()

    report = over_http(tmp_path, Watched(watch), in_flight=3)

    assert (600, 600) == (report.delivered.planned, report.delivered.accepted)
    assert [3] * 6 == most


def test_more_batches_are_in_flight_when_answers_take_their_time(tmp_path: Path) -> None:
    """A service that keeps all requests waiting but the last that there is room for sees four at first, one more after
    each answer, and never more than the user allows."""
    lock, all_there = threading.Lock(), threading.Event()
    inside, goal, most = 0, 4, 0

    def watch(ids: list[str]) -> None:
        nonlocal inside, goal, most
        with lock:
            inside += 1
            most = max(most, inside)
            is_last = inside == goal
            goal += is_last
            if inside == 8:
                all_there.set()
        assert is_last or all_there.wait(30)
        with lock:
            inside -= 1

    report = over_http(tmp_path, Watched(watch), in_flight=8, records=2_000)

    assert (2_000, 2_000) == (report.delivered.planned, report.delivered.accepted)
    assert 8 == most


def test_intent_is_durable_before_each_request_leaves(tmp_path: Path) -> None:
    """Whoever looks into the store from within the service finds each record that arrives in a batch in flight."""
    state = tmp_path / "state"
    seen: list[int] = []

    def watch(ids: list[str]) -> None:
        connection = apsw.Connection(str(state / "control.db"), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            flying = connection.execute(
                "SELECT file, lo, hi FROM batch JOIN plan ON plan.id = plan_id WHERE codes IS NULL"
            ).fetchall()
        finally:
            connection.close()
        batches = []
        for file, lo, hi in flying:
            keys = pq.read_table(state / "customerio.people" / str(file)).column("key").to_pylist()
            batches.append(keys[lo:hi])
        assert ids in batches
        seen.extend(len(batch) for batch in batches)

    report = over_http(tmp_path, Watched(watch), in_flight=2)

    assert 600 == report.delivered.accepted
    assert len(seen) >= 6


def test_a_service_that_is_down(tmp_path: Path) -> None:
    """After three requests in a row that nobody answered, nothing more is asked, and the run has one sentence."""
    standin = Watched(lambda ids: None)
    standin.trouble("status", times=None)
    report = over_http(tmp_path, standin, in_flight=1, more="attempts = 1\n")
    delivered = report.delivered

    assert 3 == standin.count
    assert "customer.io answered 503. It failed 3 times in a row, so nothing more is asked of it." == report.error
    assert (0, 0, 600) == (delivered.accepted, delivered.rejected, delivered.deferred + delivered.unsent)
    assert 250 < delivered.deferred < 350
    assert {("deferred", "unknown"): delivered.deferred} == dict(delivered.reasons)


# Every way in which a run can end.


def unusable(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
    raise DestinationUnusable("The key was refused.")
    yield


def unusable_in_the_middle(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
    yield from well(moody, number, changes[:4] if number == 2 else changes)
    if number == 2:
        raise DestinationUnusable("The key was refused.")


def unavailable(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
    if number % 2:
        raise ServiceUnavailable("Memory answered 429.", doubt=False)
    yield from well(moody, number, changes)


def unanswered(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
    list(well(moody, number, changes))
    raise ServiceUnavailable("Memory closed the connection without an answer.", doubt=True)
    yield


def refusing(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
    for change in changes:
        yield rejected(change, "refused", "no") if int(change.key[1:]) % 3 == 0 else accepted(change)
        moody.held[change.key] = dict(change.fields)


def busy(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
    yield from (deferred(change, "locked", "Somebody else writes.") for change in changes)


def twice(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
    yield from well(moody, number, changes[:3])
    yield accepted(changes[0])


def a_stranger(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
    yield Outcome("nobody", "accepted")


def silent(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
    yield from well(moody, number, changes[:-1])


def buggy(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
    yield from well(moody, number, changes[:2])
    raise KeyError(f"{SECRET} is in an exception")


END_OF_UNUSABLE = "The key was refused."
NOBODY_WAITS = "Syncer's fault: the adapter memory gave an outcome that nobody waits for."


@pytest.mark.parametrize("held_max", [ROWS, BATCH - 1], ids=["held", "stretch"])
@pytest.mark.parametrize(
    ("mood", "counts", "result", "sentence"),
    [
        # accepted, rejected, deferred, unsent
        (well, (50, 0, 0, 0), "done", None),
        (unusable, (0, 0, 0, 50), "failed", END_OF_UNUSABLE),
        (unusable_in_the_middle, (24, 0, 0, 26), "failed", END_OF_UNUSABLE),
        (unavailable, (30, 0, 20, 0), "failed", "Memory answered 429."),
        (unanswered, (0, 0, 50, 0), "failed", "Memory closed the connection without an answer."),
        (refusing, (33, 17, 0, 0), "done", None),
        (busy, (0, 0, 50, 0), "done", None),
        (twice, (3, 0, 7, 40), "failed", NOBODY_WAITS),
        (a_stranger, (0, 0, 10, 40), "failed", NOBODY_WAITS),
        (silent, (9, 0, 1, 40), "failed", "Syncer's fault: the adapter memory gave no outcome for some records."),
        (buggy, (2, 0, 8, 40), "failed", "Syncer's fault: sending to memory failed with KeyError (test_delivery.py:"),
    ],
)  # fmt: skip
def test_counts_add_up_however_a_run_ends(
    stage: Stage,
    mood: Push,
    counts: tuple[int, int, int, int],
    result: str,
    sentence: str | None,
    held_max: int,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Report and journal say the same, the error is one sentence, and the next good run mends everything; also where a
    batch is too large to be held."""
    monkeypatch.setattr(batches, "HELD_MAX", held_max)
    report = stage.run(mood)
    delivered = report.delivered

    assert counts == (delivered.accepted, delivered.rejected, delivered.deferred, delivered.unsent)
    assert ROWS == delivered.planned == sum(counts)
    assert result == report.result
    assert (report.error or "").startswith(sentence or "")
    assert (sentence is None) == (report.error is None)
    assert "\n" not in (report.error or "")
    (run,) = stage.engine.control().runs("memory.people")
    assert (ROWS, *counts) == (run.planned, run.accepted, run.rejected, run.deferred, run.unsent)
    assert (result, report.error) == (run.result, run.error)
    assert SECRET not in "".join(capfd.readouterr()) + str(report.error)

    stage.engine.control().retry("memory.people", None)
    healed = stage.run()
    assert (ROWS - counts[0], 0) == (healed.delivered.accepted, healed.delivered.unsent)
    assert ROWS == len(stage.adapter.held)
    assert 0 == stage.run().delivered.planned


def test_a_stop_in_the_middle(stage: Stage) -> None:
    """The batch in flight is finished and remembered, and the rest is unsent."""

    def mood(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
        if number == 1:
            stage.stop.set()
        yield from well(moody, number, changes)

    report = stage.run(mood)

    assert (20, 30, "failed") == (report.delivered.accepted, report.delivered.unsent, report.result)
    assert "The process was asked to stop; the next run goes on where this one ended." == report.error


def test_a_stop_while_the_service_hangs(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not come back in time is given up: it counts as deferred, is in doubt, and goes again."""
    monkeypatch.setattr(delivery, "STOP_SECONDS", 0.1)
    answered = threading.Event()

    def mood(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
        if number == 2:
            stage.stop.set()
            answered.wait(30)
        yield from well(moody, number, changes)

    report = stage.run(mood)
    answered.set()
    stage.stop.clear()

    delivered = report.delivered
    assert (20, 0, 10, 20) == (delivered.accepted, delivered.rejected, delivered.deferred, delivered.unsent)
    assert "The process was asked to stop; the next run goes on where this one ended." == report.error
    assert 30 == stage.run().delivered.accepted


def test_a_stop_while_the_source_is_read(stage: Stage) -> None:
    """A long read does not keep a process that is to stop; the run is told as failed, and nothing was planned."""
    read = stage.engine.source.read

    def slow(sync: Sync, columns: Sequence[str]) -> Reading:
        stage.stop.set()
        return read(sync, columns)

    stage.engine.source.read = slow  # type: ignore[method-assign]
    report = stage.run()

    assert ("failed", "The process was asked to stop.", 0) == (report.result, report.error, report.delivered.planned)
    assert [("failed", report.error)] == stage.query("SELECT result, error FROM run")
    with pytest.raises(Stopping):
        stage.run()
    assert [(1,)] == stage.query("SELECT count(*) FROM run")
    assert [] == stage.adapter.batches


def test_a_source_that_breaks_while_it_is_read(stage: Stage) -> None:
    """The source's own sentence is the run's, and the next run goes on."""
    read = stage.engine.source.read

    def broken(sync: Sync, columns: Sequence[str]) -> Reading:
        reading = read(sync, columns)

        def batches() -> Iterator[Any]:
            yield from reading.batches
            raise UserError("The cable was pulled. Plug it in.")

        return Reading(pa.RecordBatchReader.from_batches(reading.batches.schema, batches()))

    stage.engine.source.read = broken  # type: ignore[method-assign]
    report = stage.run()
    stage.engine.source.read = read  # type: ignore[method-assign]

    assert ("failed", "The cable was pulled. Plug it in.") == (report.result, report.error)
    assert [] == stage.adapter.batches
    assert ROWS == stage.run().delivered.accepted


def test_a_fault_of_ours_is_in_the_journal(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault keeps its traceback, and the journal says that the run failed, where, and nothing of its text."""
    plain = Engine._judge

    def broken(self: Engine, plan: Any) -> Any:
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr(Engine, "_judge", broken)
    with pytest.raises(ZeroDivisionError):
        stage.run()
    monkeypatch.setattr(Engine, "_judge", plain)

    ((result, error),) = stage.query("SELECT result, error FROM run")
    assert ("failed", True) == (result, str(error).startswith("Syncer's fault: ZeroDivisionError in test_delivery.py:"))
    assert SECRET not in str(error)
    assert ROWS == stage.run().delivered.accepted


def test_a_store_that_is_full(stage: Stage) -> None:
    """When the store takes no more, nothing more leaves; what it could not take counts as deferred and goes again."""

    def mood(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
        if number == 2:
            db = stage.engine.control()._connection.db
            db.pragma("max_page_count", db.pragma("page_count"))
        # Words fill the pages.
        for change in changes:
            yield rejected(change, "refused", "long " * 100) if number == 2 else accepted(change)

    report = stage.run(mood)
    stage.engine.close()
    delivered = report.delivered

    assert (20, 0, 10, 20) == (delivered.accepted, delivered.rejected, delivered.deferred, delivered.unsent)
    assert "failed" == report.result
    assert "is the disk full? Nothing leaves before it can." in (report.error or "")
    assert 3 == len(stage.adapter.batches)
    assert 30 == stage.run().delivered.accepted
    assert [("failed", 50), ("done", 30)] == stage.query("SELECT result, planned FROM run ORDER BY id")


def test_a_fault_in_cutting_batches(stage: Stage) -> None:
    """What is in flight is waited for and remembered, and the fault is told without its text."""

    def weigh(self: Moody, sync: Sync, change: Change) -> int:
        if change.key == "u35":
            raise ValueError(SECRET)
        return 1

    plain = stage.adapter.limits
    stage.adapter.weigh = weigh
    stage.adapter.limits = lambda self, sync: Limits(records=BATCH, utf8_bytes=1_000)
    report = stage.run()
    del stage.adapter.weigh
    stage.adapter.limits = plain

    assert "failed" == report.result
    assert (report.error or "").startswith(
        "Syncer's fault: sending to memory failed with ValueError (test_delivery.py:"
    )
    assert 0 < report.delivered.accepted == len(stage.adapter.held)
    assert ROWS == report.delivered.accepted + report.delivered.unsent
    assert ROWS - report.delivered.accepted == stage.run().delivered.accepted


def test_a_canary(stage: Stage) -> None:
    """No more records leave than were asked for, the first in the plan's order, and the next run sends the rest."""
    report = stage.run(records_max=15)

    assert (15, 35, "done") == (report.delivered.accepted, report.delivered.unsent, report.result)
    assert [10, 5] == stage.adapter.batches
    assert sorted(f"u{number}" for number in range(ROWS))[:15] == sorted(stage.adapter.held)
    assert 35 == stage.run().delivered.accepted


def test_a_run_that_is_mostly_refused_stops(stage: Stage) -> None:
    """After a thousand outcomes, more than half of them refused, the run stops and says how to look at them."""
    stage.workplace.sql("INSERT INTO people SELECT 'v' || i, 1, 'x' FROM range(3000) t(i)")

    def mood(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
        yield from (rejected(change, "INVALID_FIELD", "no such field") for change in changes)

    report = stage.run(mood)

    assert "failed" == report.result
    assert REJECTED_AFTER <= report.delivered.rejected <= REJECTED_AFTER + 2 * BATCH
    assert ROWS + 3000 == report.delivered.rejected + report.delivered.unsent
    assert (report.error or "").endswith("Look at them with `syncer rejected memory.people`.")
    assert {("rejected", "INVALID_FIELD"): report.delivered.rejected} == dict(report.delivered.reasons)


def test_records_that_are_not_there_do_not_stop_a_run(stage: Stage) -> None:
    """A destination that knows few of the source's people is no fault."""
    stage.workplace.sql("INSERT INTO people SELECT 'v' || i, 1, 'x' FROM range(1500) t(i)")

    def mood(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
        yield from (rejected(change, "missing", "not there") for change in changes)

    report = stage.run(mood)

    assert ("done", ROWS + 1500) == (report.result, report.delivered.rejected)


# What is kept.


def test_sensitive_values_are_scrubbed_from_messages(stage: Stage) -> None:
    """A destination may quote what it refuses; a sensitive value is neither kept nor shown."""

    def mood(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
        for change in changes:
            yield rejected(change, "refused", f"{change.fields['note']} is not what {change.fields['user']} may have")

    report = stage.run(mood)
    parked = stage.engine.control().parked("memory.people")

    assert ROWS == len(parked)
    assert "••• is not what u0 may have" == parked[0].message
    assert SECRET not in json.dumps([one.message for one in parked] + list(report.delivered.samples.values()))


def test_refused_records_wait_as_long_as_the_config_says(tmp_path: Path) -> None:
    """The delays of `[delivery]` are the ones that count, and after the last one only a request helps."""
    stage = Stage(tmp_path, '\n[delivery]\nretry_delays = ["2m", "90m"]\n')
    delays = []
    for _ in range(3):
        stage.run(refusing)
        one = stage.engine.control().parked("memory.people")[0]
        delays.append(None if one.next_at is None else round(one.next_at - one.last_at))
        stage.engine.control().retry("memory.people", None)
    stage.engine.close()

    assert [120, 5400, None] == delays


def test_runs_that_change_nothing_leave_nothing_behind(stage: Stage) -> None:
    """Neither a quiet run, nor a failed one, nor a folded one leaves a plan in the store."""
    for mood in (well, well, unusable, busy):
        stage.run(mood)
    stage.workplace.sql("UPDATE people SET score = score + 1")
    for mood in (unusable, busy, well, well):
        stage.run(mood)

    assert [] == stage.query("SELECT * FROM plan")
    assert [] == stage.query("SELECT * FROM batch")
    files = {file.name for file in (stage.workplace.state / "memory.people").glob("*.parquet")}
    named = {
        row[0]
        for row in stage.query(
            "SELECT base_file FROM sync UNION ALL SELECT file FROM garbage UNION ALL SELECT file FROM history"
        )
    }
    assert files <= named


def test_the_journal_keeps_the_newest_runs(stage: Stage) -> None:
    """The oldest runs make room, of this sync alone."""
    control = stage.engine.control()
    control.begin_run("another.sync", "{}")
    numbers = [control.begin_run("memory.people", "{}", kept=3) for _ in range(5)]

    assert numbers[:1:-1] == [run.id for run in control.runs("memory.people", 100)]
    assert 1 == len(control.runs("another.sync", 100))


def test_changes_carry_what_does_not_leave_where_it_is_asked_for(stage: Stage) -> None:
    """A destination that wants whole records is told the fields that stay, with the values it accepted last."""
    seen: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def noting(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome | Job]:
        seen.extend((dict(change.fields), dict(change.held)) for change in changes)
        yield from well(moody, number, changes)

    stage.adapter.limits = lambda self, sync: Limits(records=BATCH, whole=True)
    stage.run()
    stage.workplace.sql("UPDATE people SET score = 99 WHERE user_id = 'u7'")
    stage.run(noting)
    stage.adapter.limits = lambda self, sync: Limits(records=BATCH)
    stage.workplace.sql("UPDATE people SET score = 98 WHERE user_id = 'u7'")
    stage.run(noting)

    assert [({"score": 99}, {"user": "u7", "note": f"{SECRET}-7"}), ({"score": 98}, {})] == seen
