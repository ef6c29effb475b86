"""A job of Bulk API 2.0 that a process left behind is taken up by the next one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from destinations.salesforce import Salesforce
from destinations.salesforce_parts.bulk import STRETCH_MAX
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Answer, Request
from syncer.change import Change, Job, Outcome
from syncer.errors import ServiceUnavailable
from syncer.mapping import Sync
from tests.destinations.salesforce.bulk.rig import (
    CREATING,
    WHOLE_JOB,
    Bulky,
    Pushed,
    Stretched,
    accepted,
    is_step,
    people,
    steps,
)
from tests.destinations.salesforce.rig import (
    BY_EMAIL,
    BY_ID,
    BY_USER_ID,
    Open,
    a_change,
    a_sync,
    for_user,
    put_contacts,
    scores,
    sent,
)


@pytest.mark.parametrize(
    ("open_destination", "match"),
    [(Bulky, BY_USER_ID), (Stretched, BY_USER_ID), (Bulky, BY_EMAIL)],
    indirect=["open_destination"],
    ids=["upsert", "upsert of a stretch", "insert and update"],
)
@pytest.mark.parametrize("kind", ["close", "lost"])
@pytest.mark.parametrize("goes_on", [False, True], ids=["as it was", "gone on"])
def test_process_may_die_at_any_request(
    standin: SalesforceStandIn, open_destination: Open, match: dict[str, str], kind: str, goes_on: bool
) -> None:
    """Cut off before or after any request is applied, a batch is taken up by another process: nothing is doubled."""
    name = next(iter(match))
    sync = a_sync(match=match, **CREATING)
    names: list[str] = []
    deaths = 0
    while True:
        texts = [f"{deaths} of {number}" for number in range(4)]
        names += texts
        changes = [
            a_change(text, {name: text.replace(" of ", "@") + ".example.com"}, "new", LastName=text) for text in texts
        ]
        standin.put("Contact", LastName="Old", **changes[0].match)
        if kind == "lost":
            standin.trouble("lost", when=is_data, skip=deaths)
        standin.trouble("close", when=is_data, times=None, skip=deaths)
        first = Pushed(open_destination(attempts=1).push(sync, changes))
        standin.troubles.clear()
        if goes_on:
            standin.ingest.run()
        left = [change for change in changes if first.doubts.get(change.key, True)]
        begun = len(sent(standin, "POST", "/jobs/ingest"))
        again = first.results
        if first.jobs and left:
            found = Pushed(open_destination().resume(sync, first.jobs[-1], left))
            again |= found.results

            assert found.error is None
            assert begun == len(sent(standin, "POST", "/jobs/ingest"))
        rest = [change for change in changes if again.get(change.key) != "accepted"]

        assert accepted(rest) == Pushed(open_destination().push(sync, rest)).results
        assert sorted(names) == sorted(record["LastName"] for record in standin.records("Contact"))
        if first.error is None:
            break
        deaths += 1
    assert deaths >= (9 if match is BY_USER_ID else 18)


def is_data(request: Request) -> bool:
    return "/oauth2/" not in request.path


def test_process_may_die_where_a_job_is_told(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A process that dies as soon as a job's Id is kept leaves an empty job, which the next one ends."""
    standin.put("Contact", LastName="Old", Email="p0@example.com")
    sync, changes = a_sync(match=BY_EMAIL, **CREATING), people(3)
    for _ in range(2):
        found = open_destination().push(sync, changes)
        job = next(one for one in found if isinstance(one, Job))
        found.close()  # type: ignore[attr-defined]
        again = Pushed(open_destination().resume(sync, job.text, changes))

        assert dict.fromkeys(("u_0", "u_1", "u_2"), "deferred unsent") == again.results
        assert not any(again.doubts.values())
    assert {"Aborted"} == {job.state for job in standin.ingest.jobs.values()}
    assert "upload" not in steps(standin)


def closed_job(standin: SalesforceStandIn, destination: Salesforce, sync: Sync, changes: Sequence[Change]) -> str:
    """The text of a job that was closed before its process died."""
    standin.trouble("close", when=is_step("look"), times=None)
    found = Pushed(destination.push(sync, changes))
    standin.troubles.clear()

    assert isinstance(found.error, ServiceUnavailable)
    assert found.error.doubt
    return found.jobs[-1]


@pytest.mark.parametrize("state", ["UploadComplete", "InProgress", "JobComplete", "Failed", "Aborted"])
def test_resume_reads_what_a_job_did(standin: SalesforceStandIn, open_destination: Open, state: str) -> None:
    """A job that was closed is waited for, in whatever state it is, and its results are what became of the batch."""
    put_contacts(standin, 4)
    sync, changes = a_sync(**CREATING), [for_user(n, Title="hot") for n in range(4)]
    text = closed_job(standin, open_destination(attempts=1), sync, changes)
    (job,) = standin.ingest.jobs.values()
    standin.ingest.delay = {"UploadComplete": 4}.get(state, 1)
    if state == "InProgress":
        standin.ingest._look(job)
    if state == "JobComplete":
        standin.ingest.run()
    if state == "Failed":
        standin.ingest.fails_after = 2
        standin.ingest.run()
    if state == "Aborted":
        standin.ingest._look(job)
        job.state = state
    assert state == job.state
    found = Pushed(open_destination().resume(sync, text, changes))
    is_half = state in ("Failed", "Aborted")

    expected = accepted(changes[:2]) | (
        {"u_2": "deferred unprocessed", "u_3": "deferred unprocessed"} if is_half else accepted(changes)
    )
    assert expected == accepted(changes) | found.results
    assert sorted(expected) == sorted(found.results)
    assert not any(found.doubts.values())
    assert ["hot", "hot", *([None, None] if is_half else ["hot", "hot"])] == [
        one["Title"] for one in standin.records("Contact")
    ]


def test_resume_of_a_job_that_cannot_be_aborted_knows_nothing(
    standin: SalesforceStandIn, open_destination: Open
) -> None:
    """An open job that the service does not let us end is not waited for, and its records stay in doubt."""
    sync, changes = a_sync(**CREATING), [for_user(0, LastName="N")]
    job = next(one for one in open_destination().push(sync, changes) if isinstance(one, Job))
    answer = Answer(403, [{"errorCode": "INSUFFICIENT_ACCESS", "message": "no"}])
    standin.trouble("status", when=lambda request: request.method == "PATCH", times=None, answer=answer)

    assert [] == list(open_destination().resume(sync, job.text, changes))


def test_resume_that_is_not_answered_is_in_doubt(standin: SalesforceStandIn, open_destination: Open) -> None:
    """When nobody can be asked about a job, its records are not said to be unsent."""
    sync, changes = a_sync(**CREATING), [for_user(0, LastName="N")]
    text = closed_job(standin, open_destination(attempts=1), sync, changes)
    standin.trouble("status", when=is_step("look"), times=None)
    found = Pushed(open_destination().resume(sync, text, changes))

    assert [] == found.outcomes
    assert isinstance(found.error, ServiceUnavailable)
    assert found.error.doubt


def test_resume_of_a_job_that_is_gone_knows_nothing(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A job that the service has forgotten says nothing: its records stay in doubt."""
    sync, changes = a_sync(match=BY_EMAIL, **CREATING), people(2)
    text = closed_job(standin, open_destination(attempts=1), sync, changes)
    standin.ingest.expire()

    assert [] == list(open_destination().resume(sync, text, changes))
    assert accepted(changes) == Pushed(open_destination().push(sync, changes)).results
    assert 2 == len(standin.records("Contact"))


def test_resume_does_not_trust_short_results(standin: SalesforceStandIn, open_destination: Open) -> None:
    """What the results of a first job lack stays in doubt, although the second job never began."""
    standin.put("Contact", LastName="Old", Email="p0@example.com")
    sync, changes = a_sync(match=BY_EMAIL, **CREATING), people(3)
    jobs = list(until_second_job(open_destination().push(sync, changes)))
    standin.ingest.results_cut = 1

    assert [] == list(open_destination().resume(sync, jobs[-1], changes))
    standin.ingest.results_cut = 0
    assert ["JobComplete", "Aborted"] == [job.state for job in standin.ingest.jobs.values()]


def until_second_job(found: Iterator[Outcome | Job]) -> Iterator[str]:
    count = 0
    for one in found:
        if isinstance(one, Job):
            yield one.text
            count += 1
            if count == 2:
                return


def test_resume_matches_by_id(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A batch that was matched by Id is found again by it, without a look-up."""
    ids = put_contacts(standin, 2)
    sync = a_sync(match=BY_ID)
    changes = [a_change("a", {"Id": ids[0][:15]}), a_change("b", {"Id": ids[1]})]
    text = closed_job(standin, open_destination(attempts=1), sync, changes)

    assert accepted(changes) == Pushed(open_destination().resume(sync, text, changes)).results
    assert [] == sent(standin, "GET", "/query")


def test_whole_batch(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Thousands of changes go with one job, and each has its outcome."""
    put_contacts(standin, 3_000)
    changes = [for_user(number, Activation_Score__c=number) for number in range(3_000)]
    destination, sync = open_destination(kind=Salesforce), a_sync(missing="create")
    found = Pushed(destination.push(sync, changes))

    assert STRETCH_MAX == destination.cut(sync, len(changes)).records
    assert accepted(changes) == found.results
    assert list(range(3_000)) == scores(standin)
    assert ["create upsert", *WHOLE_JOB] == steps(standin)
