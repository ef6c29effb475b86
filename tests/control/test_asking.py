"""What people ask of the daemon, as the control store keeps it: in a file, and on a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from syncer.config_file import LocalState
from syncer.control import Control, Settled
from syncer.control.asking import QUEUED_MAX, KeyUsed, QueueFull

SYNC = "memory.people"
NOW = 1_700_000_000.0
PLANNED = {"planned": 2, "accepted": 0, "rejected": 0, "deferred": 0, "unsent": 2}


@pytest.fixture(params=["in a file", "on a server"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Control]:
    """A store whose clock stands still."""
    if request.param == "in a file":
        where = LocalState.model_validate({"path": str(tmp_path / "state")})
    else:
        where = request.getfixturevalue("where")
    made = Control.open(where, clock=lambda: NOW)
    yield made
    made.close()


def test_requests_wait_are_taken_and_end(store: Control) -> None:
    """Requests that ask for the same are one while they wait; each kind of request is taken once, the oldest first."""
    first, second, same = store.ask(SYNC, "Ada", {}), store.ask(SYNC, "Bo", {"only": ["a"]}), store.ask(SYNC, "Cy", {})
    assert [False, False, True] == [one["coalesced"] for one in (first, second, same)]
    assert first["request"] == same["request"]
    taken = [store.take_request(SYNC) for _ in range(3)]
    assert [first["request"], second["request"], None] == [one.id if one else None for one in taken]
    assert ["running", "running"] == [one.state for one in store.waiting()]
    store.end_request(first["request"], "done", 7, None)
    store.end_request(second["request"], "queued", None, None)
    ended = store.request(first["request"])

    assert ended
    assert ("done", 7, NOW) == (ended.state, ended.run, ended.ended)
    assert [("queued", {"only": ["a"]})] == [(one.state, one.options) for one in store.waiting()]
    assert store.request(77) is None


def test_keys_and_queues_have_limits(store: Control) -> None:
    """A key answers the same request again, and no other; a queue takes so many different requests."""
    answer = store.ask(SYNC, "Ada", {}, ("key", "body"))
    assert answer == store.ask(SYNC, "Ada", {}, ("key", "body"))
    with pytest.raises(KeyUsed):
        store.ask(SYNC, "Ada", {}, ("key", "another body"))
    for number in range(1, QUEUED_MAX):
        store.ask(SYNC, "Ada", {"only": [str(number)]})
    with pytest.raises(QueueFull):
        store.ask(SYNC, "Ada", {"only": ["too many"]})


def test_pauses_words_and_acts(store: Control) -> None:
    """Who paused and resumed, refused and approved a plan is kept, and the last word about a plan counts."""
    assert store.pause(SYNC, "Ada", "why") == store.pause(SYNC, "Bo") == store.pauses()[SYNC]
    assert [True, False] == [store.resume(SYNC, "Ada"), store.resume(SYNC, "Ada")]
    store.register(SYNC, "{}", [])
    run = store.begin_run(SYNC, "{}")
    store.finish_run(run, result="held", counts=PLANNED, digest="sha256:1")
    refused = store.refuse(run, "Bo", "too many")
    assert refused == store.refusal(SYNC, "sha256:1")
    assert store.approve(run, "Cy")
    assert store.refusal(SYNC, "sha256:1") is None
    assert store.refuse(run, "Bo", "no, really")
    assert store.approval(SYNC, "sha256:1", 60.0) is None
    assert store.refuse(run + 1, "Bo", "what?") is None

    acts = store.acts(10)
    assert ["refuse", "approve", "refuse", "resume", "resume", "pause", "pause"] == [one.what for one in acts]
    assert [acts[2]] == store.acts(1, before=acts[1].id, sync=SYNC)


def held(store: Control, digest: str = "sha256:1") -> int:
    """A run that holds a plan."""
    run = store.begin_run(SYNC, "{}")
    store.finish_run(run, result="held", counts=PLANNED, digest=digest)
    return run


def test_an_approval_asks_for_its_run_in_the_same_commit(store: Control) -> None:
    """Both are there or neither: where no request fits in, nothing is approved. None is asked for of a paused sync."""
    store.pause(SYNC, "Ada")
    paused = store.approve(held(store), "Ada", asks=True)
    store.resume(SYNC, "Ada")
    asked = store.approve(held(store), "Ada", asks=True)
    for number in range(1, QUEUED_MAX):
        store.ask(SYNC, "Bo", {"only": [str(number)]})
    assert asked
    assert store.take_request(SYNC)
    store.ask(SYNC, "Bo", {"only": ["one more"]})
    with pytest.raises(QueueFull, match="100 different requests of memory"):
        store.approve(held(store, "sha256:2"), "Cy", asks=True)

    assert paused
    assert paused.request is None
    assert asked.request
    assert store.approval(SYNC, "sha256:2", 60.0) is None
    assert [] == [one for one in store.acts(1_000) if one.by == "Cy"]


def test_a_plan_that_was_approved_twice_passes_once(store: Control) -> None:
    """Who asks once more, since no answer came, does not let the same plan pass another time."""
    for _ in range(2):
        given = store.approve(held(store), "Ada")
    assert given
    assert given == store.approval(SYNC, "sha256:1", 60.0)
    sync_id = store.standing(SYNC).sync_id
    assert sync_id
    plan = store.begin_plan(store.begin_run(SYNC, "{}"), sync_id, "f", 2, 2, "sha256:1", [], approval=given.id)
    store.commit(sync_id, [], (plan, 0, 1))
    store.recover(SYNC)

    assert store.approval(SYNC, "sha256:1", 60.0) is None


def test_an_approval_is_used_when_something_leaves(store: Control) -> None:
    """A process that was killed before the first record left has used up nobody's word."""
    given = store.approve(held(store), "Ada")
    sync_id = store.standing(SYNC).sync_id
    assert given
    assert sync_id
    store.begin_plan(store.begin_run(SYNC, "{}"), sync_id, "f", 2, 2, "sha256:1", [], approval=given.id)
    assert store.approval(SYNC, "sha256:1", 60.0) is None
    store.recover(SYNC)

    assert given == store.approval(SYNC, "sha256:1", 60.0)


def test_who_let_parked_records_go_is_kept(store: Control) -> None:
    """With how many, in the same commit; nothing is kept of who asked for records that are not parked."""
    sync_id = store.register(SYNC, "{}", []).sync_id
    assert sync_id
    plan = store.begin_plan(store.begin_run(SYNC, "{}"), sync_id, "f", 2, 2, "sha256:1", [])
    store.commit(sync_id, [], (plan, 0, 2))
    parked = [(key, "payload", "code", "message") for key in ("a", "b")]
    store.commit(sync_id, [Settled(plan, 0, bytes([2, 2]), parked=parked)], None)

    assert [0, 1, 2] == [store.retry(SYNC, ["c"], "Ada"), store.retry(SYNC, ["a"], "Bo"), store.retry(SYNC, None, "Cy")]
    assert [("Cy", {"records": 2, "all": True}), ("Bo", {"records": 1, "all": False})] == [
        (one.by, one.facts) for one in store.acts(10) if one.what == "retry"
    ]


def test_the_latest_runs(store: Control) -> None:
    """A start is that of the newest whole run, whatever became of it; done is the newest that was done."""
    for result, is_partial in (("done", False), ("failed", False), ("done", True)):
        run = store.begin_run(SYNC, "{}", is_partial=is_partial)
        counts = PLANNED | {"accepted": 2, "unsent": 0}
        store.finish_run(run, result=result, counts=counts)
    store.register("memory.others", "{}", [])
    latest = store.latest()

    assert {SYNC} == latest.keys()
    assert (NOW, NOW) == (latest[SYNC].started, latest[SYNC].done)
    assert [run - 2] == [one.id for one in store.runs(SYNC, 1, before=run - 1)]
