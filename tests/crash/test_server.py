"""The control store on a server that is lost, stopped, or taken over in the middle of a run.

The real command line, a real PostgreSQL, and a wire between them that can be cut.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from destinations.standins.server import Server
from tests.crash.proxy import Moment, Wire
from tests.crash.standins import SlowCustomerio
from tests.crash.test_kill import PEOPLE, night
from tests.postgres import PASSWORD, PostgresServer
from tests.workplace import LEASE_SECONDS, NO_BRAKES, Process, Result, Workplace, until

SYNC = "customerio.people"


class Place:
    """A workplace whose control store is behind a wire, and customer.io, which takes one batch after the other."""

    def __init__(self, folder: Path, server: PostgresServer) -> None:
        self.server = server
        self.wire = Wire(server.port)
        self.standin = SlowCustomerio()
        self.mine = Workplace(folder, server.url(port=self.wire.port))
        self.other = Workplace(folder, server.url())
        """The same from another place, from which the server is reached directly."""
        self.mine.sql(night(0, is_growing=False))

    def settle(self) -> None:
        settings = self.standin.settings() + "in_flight = 1\nattempts = 1\n"
        self.mine.write({"customerio": settings}, {"customerio": PEOPLE}, NO_BRAKES)

    def start_and_hold(self) -> Process:
        """A run whose first batch is applied, and not answered."""
        self.standin.held_back = threading.Event()
        process = self.mine.start("sync")
        until(lambda: self.standin.applied or not process.is_running, "a batch is applied", seconds=90)
        assert process.is_running, process.err
        return process

    def answer(self) -> None:
        """Answer what was held back, and what comes after."""
        assert self.standin.held_back is not None
        self.standin.held_back.set()

    def is_whole(self) -> bool:
        wanted = self.mine.rows("SELECT user_id, score, coalesce(label, '') AS label FROM people")
        return {row["user_id"]: (str(row["score"]), row["label"]) for row in wanted} == self.standin.held(
            "score", "label"
        )

    def is_free(self) -> bool:
        return self.other.holder(SYNC) is None


@pytest.fixture
def place(tmp_path: Path, postgres: PostgresServer) -> Iterator[Place]:
    made = Place(tmp_path, postgres)
    with Server({"": made.standin}):
        made.settle()
        yield made
    made.wire.close()


def assert_told(result: Result, words: str) -> None:
    """One sentence, without traceback, URL or password."""
    told = " ".join((result.out + result.err).split())

    assert 1 == result.code
    assert words in told
    assert [] == [secret for secret in ("Traceback", "postgresql://", PASSWORD, "%25") if secret in told]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_commit_whose_connection_is_cut(place: Place, moment: Moment) -> None:
    """A commit without an answer counts as failed: the batch that it announced does not leave. The next run sends what
    is in doubt and the rest, whether the commit had arrived or not, and the journal and the history agree."""
    place.wire.cut_commit(moment, b"INSERT INTO batch", 3)
    result = place.mine.run("sync", "--json")
    batch, sync = place.standin.batch_records, result.sync

    assert place.wire.has_cut
    assert_told(result, "The control store cannot be reached")
    assert 2 == place.standin.applied
    counts = ("accepted", "deferred", "unsent")
    assert ("failed", batch, batch, sync["planned"] - 2 * batch) == (sync["result"], *(sync[one] for one in counts))
    (run,) = place.other.journal(SYNC)
    known = batch if moment == "before" else 2 * batch
    assert ("failed", known, 2 * batch - known) == (run.result, run.accepted, run.deferred)

    again = place.mine.run("sync", "--json")
    assert (0, sync["planned"] - known) == (again.code, again.sync["accepted"])
    assert place.is_whole()


def test_a_server_that_is_stopped_in_a_run(place: Place) -> None:
    """The run ends with a sentence and sends nothing more; when the server is there again the next one goes on."""
    process = place.start_and_hold()
    place.server.stop()
    try:
        place.answer()
        assert_told(process.end(), "The control store cannot be reached")
        assert 1 == place.standin.applied
        assert_told(place.mine.run("sync"), "The control store cannot be reached")
        assert_told(place.mine.run("check"), "config.toml:")
        assert 0 == place.mine.run("check", "--offline").code
    finally:
        place.server.start()
    until(place.is_free, "the lease runs out")

    assert 0 == place.mine.run("sync").code
    assert place.is_whole()
    assert ["done", "failed"] == [run.result for run in place.mine.journal(SYNC)]


def test_a_killed_holder(place: Place) -> None:
    """Until the lease of a killed process has run out the next one is told who holds the sync; then it takes over, and
    what was in flight is sent again."""
    process = place.start_and_hold()
    process.kill()
    place.answer()
    place.server.query("UPDATE syncer.lease SET expires_at = expires_at + interval '60 seconds'")
    assert_told(place.other.run("sync"), f"{SYNC} is being run by process {process.popen.pid} on ")
    place.server.query("UPDATE syncer.lease SET expires_at = expires_at - interval '60 seconds'")
    until(place.is_free, "the lease runs out")

    result = place.other.run("sync", "--json")
    assert (0, result.sync["planned"]) == (result.code, result.sync["accepted"])
    assert place.is_whole()
    done, killed = place.other.journal(SYNC)
    assert ("done", "failed", place.standin.batch_records) == (done.result, killed.result, killed.deferred)


@pytest.mark.parametrize("way", ["stopped", "cut off"])
def test_a_holder_that_wakes_up_too_late(place: Place, way: str) -> None:
    """A process that was stopped, or cut off, for longer than its lease may not write any more when it comes back: it
    ends with a sentence and sends nothing, and what the new holder sent stays."""
    process = place.start_and_hold()
    if way == "stopped":
        process.signal(signal.SIGSTOP)
    else:
        place.wire.cut()
    until(place.is_free, "the lease runs out")
    place.mine.sql(night(1, is_growing=False))
    held, place.standin.held_back = place.standin.held_back, None
    assert 0 == place.other.run("sync").code
    assert place.is_whole()
    applied = place.standin.applied

    assert held is not None
    held.set()
    if way == "stopped":
        process.signal(signal.SIGCONT)
    words = {"stopped": f"no sign of life for {LEASE_SECONDS:g} s", "cut off": "The control store cannot be reached"}
    assert_told(process.end(), words[way])
    assert applied == place.standin.applied
    assert place.is_whole()
    assert ["done", "failed"] == [run.result for run in place.other.journal(SYNC)]
    assert 0 == place.other.run("sync", "--json").sync["planned"]
