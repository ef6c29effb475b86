"""Work that outlives a process, records that somebody holds locked, and requests that are counted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from syncer import documents
from syncer.change import Change, Job, Outcome, accepted, deferred, rejected
from syncer.destination import Allowance, Limits
from syncer.errors import ServiceUnavailable, Stopping, UserError
from syncer.forgetting import forget
from syncer.mapping import Sync
from tests.engine.moody import ROWS, Moody, Stage, well

SYNC = "memory.people"


class Died(BaseException):
    """What a kill is to the code around it: nothing catches it."""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path, "[delivery]\nwait_first = 0.001\nwait_max = 0.002\n")
    yield made
    made.engine.close()


def resuming(stage: Stage, resume: Any) -> list[str]:
    """Let the stage's destination take up jobs in this way; returns the texts of the jobs that it is asked for."""
    asked: list[str] = []

    def taken_up(self: Moody, sync: Sync, job: str, changes: Sequence[Change]) -> Iterator[Outcome | Job]:
        asked.append(job)
        yield from resume(self, changes)

    stage.adapter.resume = taken_up
    return asked


def dying(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome | Job]:
    """Gets the second batch into a job, and is never heard of again."""
    if number == 1:
        yield Job("job-7")
        moody.held |= {change.key: dict(change.fields) for change in changes}
        raise Stopping(doubt=True)
    yield from well(moody, number, changes)


def done(moody: Moody, changes: Sequence[Change]) -> Iterator[Outcome]:
    """The job has done it all."""
    yield from (accepted(change) for change in changes)


def parked_and_unknown(moody: Moody, changes: Sequence[Change]) -> Iterator[Outcome]:
    """The job refused the first record, did the others, and has lost the last."""
    yield rejected(changes[0], "TOO_LONG", "Refused by the job.")
    yield from (accepted(change) for change in changes[1:-1])


# Jobs.


def test_job_is_durable_before_the_work_starts(stage: Stage) -> None:
    """What comes after a yielded job happens only when another process could read the job's text."""
    seen: list[tuple[Any, ...]] = []

    def noting(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome | Job]:
        yield Job(f"job-{number}")
        seen.append(stage.query("SELECT job, codes FROM batch ORDER BY lo DESC LIMIT 1")[0])
        yield from well(moody, number, changes)

    stage.run(noting)

    assert [(f"job-{number}", None) for number in range(ROWS // 10)] == seen
    assert [] == stage.query("SELECT * FROM batch WHERE job IS NOT NULL")


def test_job_of_another_process_is_taken_up_and_nothing_goes_twice(stage: Stage) -> None:
    """The next run asks for the job first; what it did is accepted, in the journal too, and does not leave again."""
    first = stage.run(dying)
    asked = resuming(stage, done)
    second = stage.run()

    assert ("failed", 10) == (first.result, first.delivered.deferred)
    assert ["job-7"] == asked
    assert ("done", ROWS - 20) == (second.result, second.delivered.planned)
    assert [(20, 0, 30), (30, 0, 0)] == stage.query("SELECT accepted, deferred, unsent FROM run ORDER BY id")
    assert 0 == stage.run().delivered.planned
    assert ["job-7"] == asked


def test_what_a_job_refused_is_parked_and_what_it_lost_goes_again(stage: Stage) -> None:
    """A refused record of a job taken up is parked; one that it says nothing of is in doubt, and sent again."""
    stage.run(dying)
    resuming(stage, parked_and_unknown)
    report = stage.run()
    (parked,) = stage.engine.control().parked(SYNC)

    assert ("TOO_LONG", "Refused by the job.") == (parked.code, parked.message)
    assert ROWS - 10 - 10 + 1 == report.delivered.accepted
    assert (18, 1, 1, 30) == stage.query("SELECT accepted, rejected, deferred, unsent FROM run ORDER BY id")[0]


def test_nothing_is_sent_while_a_job_cannot_be_asked(stage: Stage) -> None:
    """When the service does not answer for the job, the run fails before anything leaves, and the job stays known."""
    stage.run(dying)

    def silent(moody: Moody, changes: Sequence[Change]) -> Iterator[Outcome]:
        raise ServiceUnavailable("The service answered 503.", doubt=False)
        yield

    resuming(stage, silent)
    report = stage.run()

    assert ("failed", "The service answered 503.", 0) == (report.result, report.error, report.delivered.planned)
    assert [] == list(stage.adapter.batches)
    asked = resuming(stage, done)
    assert "done" == stage.run().result
    assert ["job-7"] == asked


def test_job_of_a_killed_process_is_taken_up(stage: Stage) -> None:
    """A kill in the middle of a job leaves its text, and the next process asks for it."""

    def killed(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome | Job]:
        yield Job("job-9")
        raise Died

    with pytest.raises(Died):
        stage.run(killed)
    stage.engine.close()
    asked = resuming(stage, done)
    report = stage.run()

    assert ["job-9"] == asked
    assert ROWS - 10 == report.delivered.accepted
    assert (10, 0) == stage.query("SELECT accepted, deferred FROM run ORDER BY id")[0]


def test_keys_are_not_forgotten_under_a_job(stage: Stage) -> None:
    """Forgetting keys would lose the job, so it is refused with the next step; a whole sync can be forgotten."""
    stage.run(dying)

    with pytest.raises(UserError, match=r"syncer sync memory\.people"):
        forget(stage.engine, SYNC, ["u1"])
    assert 20 == forget(stage.engine, SYNC, [])


def test_many_plans_are_not_folded_over_a_job(stage: Stage) -> None:
    """As long as a job's records are of unknown fate, no fold takes their plan away."""
    stage.run(dying)
    resuming(stage, lambda moody, changes: iter(()))

    assert 1 == len(stage.query("SELECT * FROM batch WHERE job IS NOT NULL"))
    assert [] == list(stage.workplace.state.rglob("base-*.parquet"))


# Tried again in the same run.

LOCKED = {f"u1{number}" for number in range(8)}


def test_locked_records_are_tried_again_in_smaller_batches(stage: Stage) -> None:
    """Records that are locked come again in this run, those of one parent together, in ever smaller batches."""
    tries: list[list[str]] = []

    def locked(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
        tries.append([change.key for change in changes])
        for change in changes:
            if change.key in LOCKED and sum(change.key in one for one in tries) < 3:
                yield deferred(change, "LOCKED", "Somebody has it.", again=f"parent {int(change.key[1:]) % 2}")
            else:
                yield from well(moody, number, [change])

    report = stage.run(locked)
    again = [one for one in tries if set(one) <= LOCKED]

    assert ("done", ROWS, 0) == (report.result, report.delivered.accepted, report.delivered.deferred)
    assert [["u10", "u12"], ["u14", "u16"], ["u11", "u13"], ["u15", "u17"]] == again[:4]
    assert [[f"u1{number}"] for number in (0, 2, 4, 6, 1, 3, 5, 7)] == again[4:]


def test_records_that_stay_locked_are_deferred_at_last(stage: Stage) -> None:
    """After three rounds a locked record waits for the next run, without doubt; the others were accepted."""
    times: list[str] = []

    def locked(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
        for change in changes:
            if change.key == "u1":
                times.append(change.key)
                yield deferred(change, "LOCKED", "Somebody has it.", again="")
            else:
                yield from well(moody, number, [change])

    report = stage.run(locked)

    assert (ROWS - 1, 1, 4) == (report.delivered.accepted, report.delivered.deferred, len(times))
    assert ["u1"] == [change.key for change in _planned(stage)]
    assert "done" == stage.run().result


def test_lost_answer_of_a_second_try_is_doubt(stage: Stage) -> None:
    """When the second try ends without an answer, the record is in doubt, whatever the first one said."""
    tries: list[str] = []

    def locked(moody: Moody, number: int, changes: Sequence[Change]) -> Iterator[Outcome]:
        for change in changes:
            if change.key != "u1":
                yield from well(moody, number, [change])
            elif tries:
                raise ServiceUnavailable("The service closed the connection.", doubt=True)
            else:
                tries.append(change.key)
                yield deferred(change, "LOCKED", "Somebody has it.", again="")

    stage.run(locked)

    # A record of which nothing had left would be new.
    assert [("u1", "changed")] == [(change.key, change.kind) for change in _planned(stage)]


def _planned(stage: Stage) -> list[Change]:
    with stage.engine.diff(stage.engine.prepare(stage.engine.config.syncs[0])) as plan:
        return list(plan.changes())


# What is counted, and the way it goes.


class Counted(Moody):
    """A service that counts requests, and takes large plans another way."""

    left: ClassVar[Allowance | None] = None
    asked: ClassVar[list[int]] = []

    def allowance(self, sync: Sync) -> Allowance | None:
        self.asked.append(1)
        return self.left

    def cut(self, sync: Sync, planned: int) -> Limits:
        return Limits(records=100, way="freight") if planned >= 20 else Limits(records=10, way="post")

    def requests(self, sync: Sync, changes: Sequence[Change]) -> int:
        return 7 if len(changes) > 10 else 1


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path, adapter=Counted)
    yield made
    made.engine.close()


def test_plan_says_which_way_it_goes(counted: Stage) -> None:
    """A plan's cost and way are those of its size, and a canary's those of the canary."""
    sync = counted.engine.prepare(counted.engine.config.syncs[0])
    with counted.engine.diff(sync) as plan:
        document = documents.diff(plan, "Memory")

    assert ("freight", 7) == (document["way"], document["requests"])
    counted.run(records_max=12)
    assert [10, 2] == counted.adapter.batches
    counted.run()
    assert [ROWS - 12] == counted.adapter.batches


def test_plan_that_does_not_fit_the_quota_is_held(counted: Stage) -> None:
    """A plan that needs more requests than are left is held with the numbers, and nothing leaves until released."""
    counted.adapter.left = Allowance(used=75, allowed=100, reserve=0.2)
    held = counted.run()
    (hold,) = held.holds

    assert ("held", "quota", 5, 7) == (held.result, hold.brake, hold.limit, hold.found)
    assert "--max" in hold.sentence
    assert [] == counted.adapter.batches
    assert "quota" in json.dumps(documents.sync(held))
    assert (5, ["quota"]) == ((released := counted.run(release=True)).delivered.accepted // 10, released.released)


def test_canary_fits_where_the_plan_does_not(counted: Stage) -> None:
    """What is judged by the quota is what would be sent."""
    counted.adapter.left = Allowance(used=79, allowed=100, reserve=0.2)

    assert "done" == counted.run(records_max=10).result


def test_quota_is_not_asked_for_nothing(counted: Stage) -> None:
    """A run without changes asks the service for nothing."""
    counted.run()
    counted.adapter.asked.clear()
    counted.run()

    assert [] == counted.adapter.asked


def test_allowance_keeps_the_reserve() -> None:
    """What is left is what is allowed without the reserve, less what was used, and never below nothing."""
    found: Iterable[int] = [Allowance(used, 100, 0.2).left for used in (0, 79, 80, 99, 120)]

    assert [80, 1, 0, 0, 0] == list(found)
