"""What a job of Bulk API 2.0 says of its rows, how it ends, and troubles on the way."""

from __future__ import annotations

import threading

import pytest

from destinations.salesforce_parts.bulk import UPLOADS_MAX, fault_of
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.salesforce_parts.bulk import HARD_ERROR
from destinations.standins.server import HTML, Answer, Request
from syncer.errors import DestinationUnusable, ServiceUnavailable, Stopping
from syncer.mapping import Field
from tests.destinations.salesforce.bulk.rig import (
    BOTH,
    CREATING,
    RESULTS,
    STEPS,
    Pushed,
    accepted,
    is_step,
    people,
    steps,
)
from tests.destinations.salesforce.rig import (
    BY_EMAIL,
    BY_USER_ID,
    Open,
    a_change,
    a_sync,
    for_user,
    put_contacts,
)

# Rows


def test_rows_are_told_by_their_key(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Whatever the order of the results, each record gets its own outcome, in the service's words."""
    put_contacts(standin, 40)
    changes = [
        for_user(number, Title="x" * 129 if number % 3 == 0 else f"T {number}", LastName="N") for number in range(40)
    ]
    found = Pushed(open_destination().push(a_sync(**CREATING), changes))
    refused = next(outcome for outcome in found.outcomes if outcome.key == "u_0")

    assert {
        f"u_{number}": "rejected STRING_TOO_LONG" if number % 3 == 0 else "accepted" for number in range(40)
    } == found.results
    assert refused.message.startswith("Title: data value too large: xxx")


def test_keys_are_folded(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A result row whose key is spelled otherwise is still that record's."""
    put_contacts(standin, 1)
    answer = Answer(
        200, b'"sf__Id","sf__Created","Product_User_Id__c"\n"003","false"," U_0 "\n', {"Content-Type": "text/csv"}
    )
    standin.trouble("after", when=is_step("successfulResults"), answer=answer)

    assert {"u_0": "accepted"} == Pushed(
        open_destination().push(a_sync(**CREATING), [for_user(0, LastName="N")])
    ).results


def test_locked_rows_are_tried_again_in_this_run(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A row whose record is locked is put off for a smaller batch of the same run, without doubt."""
    ids = put_contacts(standin, 2)
    standin.org.locked[ids[0]] = 1
    found = Pushed(open_destination().push(a_sync(), [for_user(0), for_user(1)]))
    locked = next(outcome for outcome in found.outcomes if outcome.key == "u_0")

    assert {"u_0": "deferred UNABLE_TO_LOCK_ROW", "u_1": "accepted"} == found.results
    assert ("", False) == (locked.again, locked.doubt)


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("INVALID_FIELD_FOR_INSERT_UPDATE", "does not let Title of Contact be written"),
        ("API_DISABLED_FOR_ORG", "has no API"),
    ],
)
def test_rows_that_stop_the_destination(
    standin: SalesforceStandIn, open_destination: Open, code: str, result: str
) -> None:
    """An error that no record is to blame for ends the destination, after the outcomes of all rows."""
    put_contacts(standin, 2)
    body = f'"sf__Id","sf__Error","Product_User_Id__c","Title"\n"","{code}:Title: no:Title --","u_1","x"\n'
    answer = Answer(200, body.encode(), {"Content-Type": "text/csv"})
    standin.trouble("after", when=is_step("failedResults"), answer=answer)
    standin.ingest.fails_after = 1
    found = Pushed(open_destination().push(a_sync(**CREATING), [for_user(0, Title="a"), for_user(1, Title="b")]))

    assert {"u_0": "accepted", "u_1": f"deferred {code}"} == found.results
    assert isinstance(found.error, DestinationUnusable)
    assert result in str(found.error)


def test_errors_of_rows_are_taken_apart() -> None:
    """The code ends at the first colon and the fields stand at the end; what is in between is the message."""
    whole = fault_of("STRING_TOO_LONG:Title: too large: a:b\nc (max length=2):Title, Name__c --")
    bare = fault_of("UNABLE_TO_LOCK_ROW:unable to obtain: 003: --")
    odd = fault_of("something else")

    assert ("STRING_TOO_LONG", "Title: too large: a:b\nc (max length=2)", ("Title", "Name__c")) == (
        whole.code,
        whole.message,
        whole.fields,
    )
    assert ("UNABLE_TO_LOCK_ROW", "unable to obtain: 003", ()) == (bare.code, bare.message, bare.fields)
    assert ("UNKNOWN", "something else") == (odd.code, odd.message)


def test_results_may_come_in_pieces(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A result file that comes in pieces is read to its end."""
    put_contacts(standin, 7)
    standin.ingest.piece_rows = 2
    changes = [for_user(number, Title="x" * 129 if number > 3 else "hot") for number in range(7)]
    found = Pushed(open_destination().push(a_sync(fields=BOTH), changes))

    assert {f"u_{n}": "rejected STRING_TOO_LONG" if n > 3 else "accepted" for n in range(7)} == found.results
    assert (2, 2) == (steps(standin).count("successfulResults"), steps(standin).count("failedResults"))


def test_strangers_in_the_results_are_ignored(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Rows that were not sent, second ones, and halves of rows accept nothing."""
    put_contacts(standin, 2)
    lines = [
        '"sf__Id","sf__Created","Product_User_Id__c","LastName"',
        *['"003","false","u_0","N"'] * 2,
        '"003","false","u_99","N"',
        '"003","false","u_1"',
    ]
    body = "\n".join(lines) + "\n"
    answer = Answer(200, body.encode(), {"Content-Type": "text/csv"})
    standin.trouble("after", when=is_step("successfulResults"), answer=answer)
    found = Pushed(open_destination().push(a_sync(**CREATING), [for_user(0, LastName="N"), for_user(1, LastName="N")]))

    assert {"u_0": "accepted", "u_1": "deferred unanswered"} == found.results
    assert {"u_0": False, "u_1": True} == found.doubts


# Ends


def test_unknown_field_is_named(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A job that failed for a column tells which, and every row waits, without doubt."""
    put_contacts(standin, 2)
    changes = [for_user(number, Nothing__c="x") for number in range(2)]
    found = Pushed(open_destination().push(a_sync(fields=(Field(name="Nothing__c", column="n"),)), changes))

    assert dict.fromkeys(("u_0", "u_1"), "deferred unprocessed") == found.results
    assert not any(found.doubts.values())
    assert isinstance(found.error, DestinationUnusable)
    assert "no field Nothing__c" in str(found.error)


def test_failed_job_has_rows_of_all_kinds(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Of a job that failed on its way, what was done is told as it is, and the rest is deferred without doubt."""
    put_contacts(standin, 4)
    standin.ingest.fails_after = 3
    changes = [for_user(number, Title="x" * 129 if number == 1 else "hot") for number in range(4)]
    found = Pushed(open_destination().push(a_sync(fields=BOTH), changes))

    assert {
        "u_0": "accepted",
        "u_1": "rejected STRING_TOO_LONG",
        "u_2": "accepted",
        "u_3": "deferred unprocessed",
    } == found.results
    assert not any(found.doubts.values())
    assert found.error is None
    assert HARD_ERROR in {outcome.message for outcome in found.outcomes if outcome.key == "u_3"}


def test_short_results_leave_doubt(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A row that no file mentions is in doubt, and is never taken for accepted."""
    put_contacts(standin, 3)
    standin.ingest.results_cut = 1
    found = Pushed(open_destination().push(a_sync(**CREATING), [for_user(n, LastName="N") for n in range(3)]))

    assert ["accepted", "accepted", "deferred unanswered"] == sorted(found.results.values())
    assert ["unanswered"] == [outcome.code for outcome in found.outcomes if outcome.doubt]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, HTML),
        Answer(200, b"\xff\xfe", {"Content-Type": "text/csv"}),
        Answer(200, b'"sf__Id","Other"\n"1","u_0"\n', {"Content-Type": "text/csv"}),
        Answer(404, [{"errorCode": "NOT_FOUND", "message": "gone"}]),
    ],
    ids=["page", "bytes", "other columns", "gone"],
)
def test_results_that_cannot_be_read_leave_doubt(
    standin: SalesforceStandIn, open_destination: Open, answer: Answer
) -> None:
    """Results that are none, or not there any more, leave their records in doubt, and do not end the destination."""
    put_contacts(standin, 1)
    standin.trouble("status", when=is_step("successfulResults"), answer=answer)
    found = Pushed(open_destination().push(a_sync(**CREATING), [for_user(0, LastName="N")]))

    assert ({"u_0": "deferred unanswered"}, {"u_0": True}, None) == (found.results, found.doubts, found.error)


def test_job_that_is_gone_leaves_doubt(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A job that vanishes while it is waited for leaves its records in doubt."""
    put_contacts(standin, 1)
    answer = Answer(404, [{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}])
    standin.trouble("status", when=is_step("look"), answer=answer)
    found = Pushed(open_destination().push(a_sync(**CREATING), [for_user(0, LastName="N")]))

    assert ({"u_0": "deferred unanswered"}, {"u_0": True}, None) == (found.results, found.doubts, found.error)


# Troubles on the way


@pytest.mark.parametrize("match", [BY_USER_ID, BY_EMAIL], ids=["upsert", "insert"])
@pytest.mark.parametrize(
    ("kind", "answer"),
    [("close", None), ("lost", None), ("cut", None), ("status", 503), ("after", 503), ("status", 429)],
    ids=["closed before", "closed after", "cut", "503", "503 after", "429"],
)
def test_passing_trouble_is_overcome(
    standin: SalesforceStandIn, open_destination: Open, match: dict[str, str], kind: str, answer: int | None
) -> None:
    """One bad answer at any step is overcome: all is accepted, nothing is there twice, and no job at work is ended."""
    name = next(iter(match))
    names = []
    for step in STEPS:
        names += [f"{step} {number}" for number in range(3)]
        changes = [
            a_change(text, {name: text.replace(" ", "@") + ".example.com"}, "new", LastName=text) for text in names[-3:]
        ]
        trouble = standin.trouble(kind, when=is_step(step), answer=Answer(answer or 503, HTML))
        found = Pushed(open_destination().push(a_sync(match=match, **CREATING), changes))

        assert 0 == trouble.times
        assert (accepted(changes), None) == (found.results, found.error)
    assert names == [record["LastName"] for record in standin.records("Contact")]
    assert {"JobComplete"} == {job.state for job in standin.ingest.jobs.values() if job.looks}


@pytest.mark.parametrize("requests_per_token", range(1, 10))
def test_tokens_may_end_between_any_two_steps(
    standin: SalesforceStandIn, open_destination: Open, requests_per_token: int
) -> None:
    """A token that ends before an upload, a close, a look or a result is renewed, and the step is done once."""
    standin.tokens.requests_per_token = requests_per_token
    changes = people(3)
    found = Pushed(open_destination().push(a_sync(match=BY_EMAIL, **CREATING), changes))

    assert (accepted(changes), None) == (found.results, found.error)
    assert 3 == len(standin.records("Contact"))
    assert 1 == len(standin.ingest.jobs)
    assert standin.tokens.logins > 1


def test_lost_close_with_nobody_to_ask_is_in_doubt(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A close whose answer was lost, whose repeat is refused, and after which no look is answered, may have begun."""
    standin.trouble("lost", when=is_step("close"))
    standin.trouble("status", when=is_step("look"), times=None)
    sync, changes = a_sync(**CREATING), [for_user(0, LastName="N")]
    found = Pushed(open_destination().push(sync, changes))

    assert ["UploadComplete", "UploadComplete"] == steps(standin)[2:4]
    assert isinstance(found.error, ServiceUnavailable)
    assert found.error.doubt
    standin.troubles.clear()
    assert accepted(changes) == Pushed(open_destination().resume(sync, found.jobs[-1], changes)).results


@pytest.mark.parametrize("step", ["look", *RESULTS])
@pytest.mark.parametrize(
    "answer",
    [
        Answer(503, HTML),
        Answer(403, [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]),
        Answer(401, HTML),
        Answer(302, None, {"Location": "https://elsewhere.example/"}),
    ],
    ids=["503", "quota", "401", "redirect"],
)
def test_lasting_trouble_after_the_close_is_in_doubt(
    standin: SalesforceStandIn, open_destination: Open, step: str, answer: Answer
) -> None:
    """Whatever ends our questions about a closed job, the job is not aborted, and its records are no unsent ones."""
    put_contacts(standin, 1)
    standin.trouble("status", when=is_step(step), times=None, answer=answer)
    destination, sync, changes = open_destination(), a_sync(**CREATING), [for_user(0, LastName="N")]
    found = Pushed(destination.push(sync, changes))
    told = {key for key, result in found.results.items() if result == "accepted"}

    assert isinstance(found.error, ServiceUnavailable)
    assert found.error.doubt
    assert "Aborted" not in steps(standin)
    assert (set() if step in ("look", "successfulResults") else {"u_0"}) == told
    standin.troubles.clear()
    assert accepted(changes) == Pushed(open_destination().resume(sync, found.jobs[-1], changes)).results


def test_looks_that_tell_nothing_are_passed_over(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A page instead of a look, under a 200 or a 404, says nothing of the job; the next look does."""
    put_contacts(standin, 1)
    standin.trouble("status", when=is_step("look"), answer=Answer(200, HTML))
    standin.trouble("status", when=is_step("look"), answer=Answer(404, HTML))
    found = Pushed(open_destination().push(a_sync(**CREATING), [for_user(0, LastName="N")]))

    assert {"u_0": "accepted"} == found.results


def test_patience_ends_and_the_job_goes_on(standin: SalesforceStandIn, open_destination: Open) -> None:
    """When the patience is over the records are in doubt and the job is left alone; a later run reads its results."""
    standin.ingest.delay = 10**6
    sync, changes = a_sync(match=BY_EMAIL, **CREATING), people(2)
    found = Pushed(open_destination(bulk_patience="1m").push(sync, changes))

    # 2 + 4 + 8 + 16 + 30 s pass the minute.
    assert 5 == steps(standin).count("look")
    assert isinstance(found.error, ServiceUnavailable)
    assert found.error.doubt
    assert "Aborted" not in steps(standin)
    standin.ingest.run()
    assert accepted(changes) == Pushed(open_destination().resume(sync, found.jobs[-1], changes)).results
    assert 2 == len(standin.records("Contact"))


def test_stop_while_waiting_leaves_the_job(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A process that is to stop does not wait for the job; the next one takes it up again."""
    stop = threading.Event()

    def at_look(request: Request) -> bool:
        if is_step("look")(request):
            stop.set()
        return False

    standin.trouble("close", when=at_look)
    sync, changes = a_sync(match=BY_EMAIL, **CREATING), people(2)
    found = Pushed(open_destination(stop=stop).push(sync, changes))

    assert isinstance(found.error, Stopping)
    assert found.error.doubt
    assert ["create insert", "upload", "UploadComplete", "look"] == steps(standin)
    assert accepted(changes) == Pushed(open_destination().resume(sync, found.jobs[-1], changes)).results
    assert 2 == len(standin.records("Contact"))


@pytest.mark.parametrize("answer", [Answer(503, HTML), Answer(200, HTML), Answer(400, [])], ids=["503", "page", "400"])
def test_upload_is_begun_anew_a_few_times(standin: SalesforceStandIn, open_destination: Open, answer: Answer) -> None:
    """An upload that never has a good answer is tried with another job, then given up, and nothing is in doubt."""
    standin.trouble("after", when=is_step("upload"), times=None, answer=answer)
    found = Pushed(open_destination(attempts=1).push(a_sync(**CREATING), [for_user(0, LastName="N")]))

    assert [] == found.outcomes
    assert not getattr(found.error, "doubt", False)
    assert UPLOADS_MAX == len(found.jobs) == len(set(found.jobs)) == len(standin.ingest.jobs)
    assert {"Aborted"} == {job.state for job in standin.ingest.jobs.values()}
    assert [] == standin.records("Contact")


@pytest.mark.parametrize("limit", [50, 90])
def test_upload_that_is_too_large_is_halved(standin: SalesforceStandIn, open_destination: Open, limit: int) -> None:
    """A file over the service's limit goes in smaller ones; a record that alone is too large is refused."""
    put_contacts(standin, 4)
    standin.ingest.upload_bytes_max = limit
    changes = [for_user(number, Title="x" * (number + 10)) for number in range(3)] + [for_user(3, Title="x" * 100)]
    found = Pushed(open_destination().push(a_sync(fields=BOTH, missing="create"), changes))

    assert {"u_0": "accepted", "u_1": "accepted", "u_2": "accepted", "u_3": "rejected too_long"} == found.results
    assert {"Aborted", "JobComplete"} == {job.state for job in standin.ingest.jobs.values()}


@pytest.mark.parametrize("step", ["create", "upload", "close"])
@pytest.mark.parametrize("code", ["REQUEST_LIMIT_EXCEEDED", "API_DISABLED_FOR_ORG"])
def test_refusal_before_the_job_began_stops_the_destination(
    standin: SalesforceStandIn, open_destination: Open, step: str, code: str
) -> None:
    """A refusal that no record is to blame for, before anything was applied, leaves the records unsent."""
    standin.trouble("status", when=is_step(step), answer=Answer(403, [{"errorCode": code, "message": "no"}]))
    found = Pushed(open_destination().push(a_sync(**CREATING), [for_user(0, LastName="N")]))

    assert [] == found.outcomes
    assert isinstance(found.error, DestinationUnusable)
    assert code in str(found.error)


def test_busy_service_is_no_end_of_the_destination(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A job that is not taken at this moment is for the next run, without doubt."""
    answer = Answer(400, [{"errorCode": "SERVER_UNAVAILABLE", "message": "later"}])
    standin.trouble("status", when=is_step("create"), answer=answer)
    found = Pushed(open_destination().push(a_sync(**CREATING), [for_user(0, LastName="N")]))

    assert isinstance(found.error, ServiceUnavailable)
    assert not found.error.doubt
