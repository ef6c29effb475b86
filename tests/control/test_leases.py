"""Leases: one process runs a sync at a time, on any number of machines, and who lost it cannot write any more."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncer.config_file import LocalState
from syncer.control import Control, Settled
from syncer.errors import LeaseLost, SyncBusy
from tests.postgres import PostgresServer
from tests.workplace import until

SYNC = "memory.people"
EXPIRED = "UPDATE syncer.lease SET expires_at = clock_timestamp() - interval '1 second'"
"""What time would do, when nobody renews."""


@pytest.fixture
def other(where: LocalState, control: Control) -> Iterator[Control]:
    """Another process's store, whose leases nobody renews before they have run out by force."""
    made = Control.open(where.model_copy(update={"lease_seconds": 600}))
    yield made
    made.close()


def token(postgres: PostgresServer) -> int:
    ((found,),) = postgres.query("SELECT token FROM syncer.lease")
    return int(found)


def test_the_second_is_told_who_holds_it(control: Control, other: Control) -> None:
    """Who comes second is told which process on which machine runs the sync, and since when; then it is free again."""
    with control.exclusively(SYNC):
        with pytest.raises(SyncBusy) as told, other.exclusively(SYNC):
            pass
        holder = other.holder(SYNC)
        with other.exclusively("memory.others"):
            assert holder == other.holder(SYNC)

    pattern = rf"process {os.getpid()} on {re.escape(socket.gethostname())} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    assert re.fullmatch(pattern, holder or "")
    assert f"{SYNC} is being run by {holder}. Run it again when that has finished." == str(told.value)
    assert other.holder(SYNC) is None
    with other.exclusively(SYNC):
        assert other.holder(SYNC)


def test_a_lease_is_kept_as_long_as_its_holder_lives(control: Control, other: Control) -> None:
    """A holder that works for longer than the lease lasts keeps the sync."""
    with control.exclusively(SYNC) as held:
        over = threading.Event()
        over.wait(1.6)  # The lease is one of a second.
        held.confirm()

        with pytest.raises(SyncBusy), other.exclusively(SYNC):
            pass
        assert held.begin_run(SYNC, "{}")


def test_who_lost_a_lease_cannot_write(postgres: PostgresServer, control: Control, other: Control) -> None:
    """When a lease has run out another process takes it; what the first one would write is refused, all of it."""
    with other.exclusively(SYNC) as first:
        run = first.begin_run(SYNC, "{}")
        sync_id = first.register(SYNC, "{}", ["x"]).sync_id
        assert sync_id is not None
        plan = first.begin_plan(run, sync_id, "plan", 2, 2, "digest", [])
        first.commit(sync_id, [], (plan, 0, 1))
        before = token(postgres)
        postgres.query(EXPIRED)
        with control.exclusively(SYNC) as second:
            assert before < token(postgres)
            settled = Settled(plan, 0, b"\1")
            counts = {"planned": 2, "accepted": 1, "rejected": 0, "deferred": 1, "unsent": 0}
            for write in (
                lambda: first.commit(sync_id, [settled], (plan, 1, 2)),
                lambda: first.note_job(plan, 0, "job"),
                lambda: first.finish_run(run, result="done", counts=counts),
                lambda: first.recover(SYNC),
                lambda: first.begin_run(SYNC, "{}"),
                lambda: first.referenced(SYNC),
            ):
                with pytest.raises(LeaseLost, match=rf"^{SYNC}: this process gave no sign of life for 600 s, and proc"):
                    write()
            assert [b"\0\xff"] == [one.codes for one in second.standing(SYNC).plans]
            second.recover(SYNC)
            (found,) = second.runs(SYNC)
            assert ("failed", 0, 1, 1) == (found.result, found.accepted, found.deferred, found.unsent)
        # Nobody holds it now, and still it is not the first one's.
        with pytest.raises(LeaseLost, match="another process held it since"):
            first.begin_run(SYNC, "{}")

    assert before + 1 == token(postgres)


def test_a_lease_that_ran_out_and_that_nobody_took(postgres: PostgresServer, control: Control, other: Control) -> None:
    """Its holder goes on: nobody else has written anything."""
    with other.exclusively(SYNC) as held:
        postgres.query(EXPIRED)

        assert 1 == held.begin_run(SYNC, "{}")


def test_a_holder_that_cannot_renew_stops_sending(postgres: PostgresServer, control: Control) -> None:
    """Once a lease may have run out its holder is not to send any more, although it could not ask anybody."""

    def is_unsure() -> bool:
        try:
            held.confirm()
        except LeaseLost as error:
            return "another process may hold it now" in str(error)
        return False

    with control.exclusively(SYNC) as held:
        held.confirm()
        postgres.stop()
        try:
            until(is_unsure, "the holder is unsure")
        finally:
            postgres.start()


def test_a_lease_that_was_taken_is_noticed_by_its_holder(
    postgres: PostgresServer, control: Control, other: Control
) -> None:
    """The thread that renews notices that another process has the sync, before anything is written."""

    def is_lost() -> bool:
        try:
            held.confirm()
        except LeaseLost:
            return True
        return False

    with control.exclusively(SYNC) as held:
        postgres.query(f"{EXPIRED}, token = token + 1, holder = 'process 1 on another'")
        until(is_lost, "the holder notices", seconds=0.9)

    assert [("process 1 on another",)] == postgres.query("SELECT holder FROM syncer.lease")


def test_takers_of_one_lease(postgres: PostgresServer, where: LocalState, control: Control) -> None:
    """Of several that take a lease at the same instant one gets it."""
    with control.exclusively(SYNC):
        pass
    barrier, taken, refused = threading.Barrier(4), [], []

    def take() -> None:
        mine = Control.open(where)
        barrier.wait(30)
        try:
            with mine.exclusively(SYNC):
                taken.append(token(postgres))
                done.wait(30)
        except SyncBusy as error:
            refused.append(error)
        mine.close()

    done = threading.Event()
    threads = [threading.Thread(target=take) for _ in range(4)]
    for one in threads:
        one.start()
    until(lambda: len(taken) + len(refused) == 4, "all have tried")
    done.set()
    for one in threads:
        one.join()

    assert ([2], 3) == (taken, len(refused))


def test_locked_files_need_no_fence(tmp_path: Path) -> None:
    """In a file's store the kernel keeps a sync for its process; the second is told who and since when."""
    where = LocalState(path=str(tmp_path / "state"))
    control, second = Control.open(where), Control.open(where)
    with control.exclusively(SYNC) as held:
        held.confirm()
        with (
            pytest.raises(SyncBusy, match=rf"is being run by process {os.getpid()} since \d{{4}}-"),
            second.exclusively(SYNC),
        ):
            pass
        assert f"process {os.getpid()} since" in (second.holder(SYNC) or "")

    assert second.holder(SYNC) is None
    control.close()
    second.close()
