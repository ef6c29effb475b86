"""What alerts have told and have still to send, as the control store keeps it: in a file, and on a server."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from syncer.config_file import LocalState
from syncer.control import Control, Message, Told

Opened = Callable[[], Control]


@pytest.fixture(params=["in a file", "on a server"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """Opens a store, as each process does."""
    if request.param == "in a file":
        where = LocalState.model_validate({"path": str(tmp_path / "state")})
    else:
        where = request.getfixturevalue("where")
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(contextlib.closing(Control.open(where)))


def told(cause: str) -> Told:
    return Told(cause, 1.5, f"{cause} is so", (("run", "a.b"),))


def saying(*names: str) -> Callable[[set[str]], list[Message]]:
    """A message for each cause that is ours."""
    return lambda causes: [Message(name, "slack", 7.0, "{}") for name in names if name.partition("-")[0] in causes]


def test_what_was_told_is_known_to_others(opened: Opened) -> None:
    """It is remembered with who has it, until it is over; each alert knows its own."""
    one, other = opened(), opened()
    queued = one.tell("slack", [told("x"), told("y")], [], [], saying("x-1", "y-1"))
    before = other.told("slack")
    other.tell("slack", [], ["x"], [Told("y", 9.9, "", (("run", "c.d"),))], saying("x-2"))

    assert 2 == queued
    assert [told("x"), told("y")] == sorted(before, key=lambda found: found.cause)
    assert [Told("y", 1.5, "y is so", (("run", "c.d"),))] == one.told("slack")
    assert [] == one.told("another")
    assert ["x-1", "y-1", "x-2"] == [message.id for message in one.undelivered()]


def test_of_two_who_tell_at_once_one_has_told_it(opened: Opened) -> None:
    """Whoever comes second queues nothing, neither of a beginning nor of an end."""
    stores = [opened() for _ in range(2)]
    begun: list[int] = []
    barrier = threading.Barrier(2)

    def tell(number: int) -> None:
        barrier.wait()
        begun.append(stores[number].tell("slack", [told("x")], [], [], saying(f"x-{number}")))
        barrier.wait()
        begun.append(stores[number].tell("slack", [], ["x"], [], saying(f"x-{number}-over")))

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [0, 0, 1, 1] == sorted(begun)
    assert 2 == len(stores[0].undelivered())


def test_a_message_is_taken_once(opened: Opened) -> None:
    """Of two who would send it one has it until then, and it is there until it is sent."""
    one, other = opened(), opened()
    one.tell("slack", [told("x")], [], [], saying("x-1"))
    (message,) = one.undelivered()
    taken = [one.claim(message, 100.0), other.claim(message, 100.0)]
    (after,) = other.undelivered()
    one.put_off("x-1", 250.0)
    (later,) = other.undelivered()
    one.sent("x-1")

    assert [True, False] == taken
    assert (1, 100.0, 250.0) == (after.attempts, after.next_at, later.next_at)
    assert [] == other.undelivered()


def test_counts_for_those_who_watch(opened: Opened) -> None:
    """A sync that nobody knows has nothing parked and no success; one that was done has."""
    store = opened()
    run = store.begin_run("a.b", "{}")
    counts = dict.fromkeys(("planned", "accepted", "rejected", "deferred", "unsent"), 0)
    before = store.last_success("a.b")
    store.finish_run(run, result="done", counts=counts)

    assert (0, None, None) == (store.parked_count("nobody"), store.last_success("nobody"), before)
    assert 0 == store.parked_count("a.b")
    assert isinstance(store.last_success("a.b"), float)


def test_a_run_that_is_broken_off_keeps_what_is_known_of_it(opened: Opened) -> None:
    """`recover` writes facts where it is given some, and leaves those that are there otherwise."""
    store = opened()
    first = store.begin_run("a.b", "{}", "request")
    store.recover("a.b", "It broke.", {"trigger": "request", "cause": "state"})
    second = store.begin_run("a.b", "{}", "request")
    store.recover("a.b")
    runs = {run.id: run for run in store.runs("a.b", 2)}

    assert {"trigger": "request", "cause": "state"} == runs[first].facts
    assert "request" == runs[second].facts["trigger"]
    assert "cause" not in runs[second].facts
