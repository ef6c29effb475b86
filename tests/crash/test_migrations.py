"""A store on a server that an older version made, and accidents while it is brought to this one.

The real command line, a real PostgreSQL, and a wire between them: whatever happens, happens at a chosen statement.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import pytest

from destinations.standins.server import Server
from syncer.control.schema import STEPS
from tests.crash.older import make_older_there
from tests.crash.proxy import Moment, Wire
from tests.crash.standins import SlowCustomerio
from tests.crash.test_kill import PEOPLE
from tests.postgres import PASSWORD, PostgresServer
from tests.workplace import NO_BRAKES, Process, Workplace, in_process, until

SYNC = "customerio.people"
ROWS, CHANGED = 40, 3
OLDER = range(1, len(STEPS))
"""Every version that made a store before this one."""
BEGINS = b"pg_advisory_xact_lock"
"""What a migration says first."""
SAID = 10
"""How much a migration says besides its steps."""

Accident = Literal["killed", "cut off", "ended", "stopped"]
"""The process is killed; the wire is cut; the server ends its connections; the server is stopped at once."""
Rows = Mapping[str, list[tuple[Any, ...]]]


class Store:
    """People whom customer.io has, and the store that knows so, which is put back as any older version had left it."""

    def __init__(self, folder: Path, server: PostgresServer) -> None:
        self.server = server
        self.standin = SlowCustomerio()
        self.workplace = Workplace(folder / "work", server.url())
        self._kept = folder / "state"

    def fill(self) -> None:
        """Two runs, the second of which changed what the first had sent."""
        self.workplace.write({"customerio": self.standin.settings()}, {"customerio": PEOPLE}, NO_BRAKES)
        self._score(0)
        assert 0 == self.workplace.here("sync").code
        self._score(1)
        assert CHANGED == self.workplace.here("sync", "--json").sync["accepted"]
        self._score(2)
        self.server.query("DROP SCHEMA IF EXISTS newer CASCADE; ALTER SCHEMA syncer RENAME TO newer")
        shutil.copytree(self.workplace.state, self._kept)

    def _score(self, number: int) -> None:
        self.workplace.sql(
            "CREATE OR REPLACE TABLE people AS SELECT 'u' || i AS user_id, 'x' AS label, 'y' AS pad, "
            f"CASE WHEN i < {CHANGED} THEN {number} ELSE 7 END AS score FROM range({ROWS}) t(i)"
        )

    def put_back(self, version: int) -> Rows:
        """Store and folder as they were, and what is in the store."""
        make_older_there(self.server, self.workplace.kept, "newer", version)
        shutil.rmtree(self.workplace.state)
        shutil.copytree(self._kept, self.workplace.state)
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'syncer' ORDER BY tablename"
        columns = "SELECT string_agg(column_name, ', ' ORDER BY column_name) FROM information_schema.columns"
        found = {}
        for (table,) in self.server.query(tables):
            if table not in ("format", "lease"):
                where = f"WHERE table_schema = 'syncer' AND table_name = '{table}'"
                ((listed,),) = self.server.query(f"{columns} {where}")
                query = f"SELECT {listed} FROM syncer.{table}"
                found[query] = self.rows(query)
        return found

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows in an order that is always the same."""
        return sorted(self.server.query(query), key=repr)

    @property
    def version(self) -> int:
        """That of the store."""
        ((steps,),) = self.server.query("SELECT steps FROM syncer.format")
        return int(steps)

    def start(self, command: str, wire: Wire | None = None) -> Process:
        """A command that reaches the server over a wire, or directly."""
        url = self.server.url(port=wire.port if wire else None)
        return self.workplace.start(command, env={"SYNCER_CONTROL_URL": url})

    def is_waited_for(self) -> bool:
        """Whether some process waits for another one."""
        query = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'syncer' AND wait_event_type = 'Lock'"
        return self.server.query(query) != []

    def is_whole(self, before: Rows, *, version: int) -> None:
        """The store is of this version or the newest, has every row that it had, and the next run goes on from it."""
        assert self.version in (version, len(STEPS))
        assert before == {query: self.rows(query) for query in before}
        self.workplace.outlast(SYNC)
        done = self.workplace.here("sync", "--json")
        assert (0, CHANGED, CHANGED) == (done.code, done.sync["planned"], done.sync["accepted"])
        assert len(STEPS) == self.version
        assert 3 == len(self.workplace.journal(SYNC))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[Store]:
    made = Store(tmp_path_factory.mktemp("migrations"), postgres_server)
    with pytest.MonkeyPatch.context() as patch, in_process(), Server({"": made.standin}):
        patch.setenv("SYNCER_CONTROL_URL", postgres_server.url())
        postgres_server.query("DROP SCHEMA IF EXISTS syncer CASCADE")
        made.fill()
        yield made
    postgres_server.query("DROP SCHEMA newer CASCADE; DROP SCHEMA syncer CASCADE")


def strike(store: Store, version: int, accident: Accident, moment: Moment, number: int) -> None:
    """An accident at the `number`th statement of a migration, and what must be true afterwards."""
    before = store.put_back(version)
    wire = Wire(store.server.port)
    started: list[Process] = []
    ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'syncer'"
    happens: Mapping[Accident, Callable[[], object]] = {
        "killed": lambda: started[0].signal(signal.SIGKILL),
        "cut off": wire.cut,
        "ended": lambda: store.server.query(ends),
        "stopped": store.server.stop,
    }
    wire.meet(moment, BEGINS, number, happens[accident])
    started.append(store.start("status", wire))
    result = started[0].end()
    wire.close()
    assert wire.has_met
    if accident == "stopped":
        store.server.start()

    told = result.out + result.err
    assert result.code in ((-9,) if accident == "killed" else (0, 1)), told
    assert [] == [word for word in ("Traceback", "Syncer's fault", "postgresql://", PASSWORD) if word in told]
    assert result.code != 1 or "control store" in " ".join(told.split())
    store.is_whole(before, version=version)


def statements(version: int) -> range:
    """The statements of a migration from a version, numbered."""
    return range(1, 1 + len(STEPS) - version + SAID)


@pytest.mark.parametrize("version", OLDER)
def test_an_accident_to_a_migration(store: Store, version: int) -> None:
    """Whatever happens at some statement: the store is the old one or the new one, nothing is lost, a run goes on."""
    chance = random.Random(version)
    moment = chance.choice(get_args(Moment))

    strike(store, version, get_args(Accident)[version % 4], moment, chance.choice(statements(version)))


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("accident", get_args(Accident))
@pytest.mark.parametrize("version", OLDER)
def test_accidents_to_every_statement_of_a_migration(store: Store, version: int, accident: Accident) -> None:
    """The same before and after each statement."""
    for moment in get_args(Moment):
        for number in statements(version):
            strike(store, version, accident, moment, number)


def meet_another(store: Store, version: int, number: int, *, is_killed: bool) -> None:
    """A second process opens the store while the first one is at the `number`th statement of its migration. The first
    one goes on then, or is killed."""
    before = store.put_back(version)
    wire = Wire(store.server.port)
    started: list[Process] = []

    def another_comes() -> None:
        started.append(store.start("status"))
        until(lambda: store.is_waited_for() or not started[1].is_running, "the second one comes")
        if is_killed:
            started[0].signal(signal.SIGKILL)

    wire.meet("before", BEGINS, number, another_comes)
    started.append(store.start("status", wire))
    codes = [started[0].end().code]
    assert wire.has_met
    codes.append(started[1].end().code)
    wire.close()

    assert [-9 if is_killed else 0, 0] == codes, started[0].err + started[1].err
    store.is_whole(before, version=version)


@pytest.mark.parametrize(("version", "is_killed"), [(OLDER[0], False), (OLDER[-1], True)])
def test_two_that_open_an_older_store_at_once(store: Store, version: int, is_killed: bool) -> None:
    """One brings it to this version and the other waits; when the first is killed, the second one does it."""
    meet_another(store, version, random.Random(version).choice(statements(version)), is_killed=is_killed)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("is_killed", [False, True])
@pytest.mark.parametrize("version", OLDER)
def test_two_that_open_an_older_store_at_every_statement(store: Store, version: int, is_killed: bool) -> None:
    """The same, wherever the first one is when the second one comes."""
    for number in statements(version):
        meet_another(store, version, number, is_killed=is_killed)


def test_a_reader_in_the_way_of_a_migration(store: Store) -> None:
    """A program that reads one table after the other is let go on, and the store is brought to this version then."""
    before = store.put_back(1)
    wire, is_looking = Wire(store.server.port), threading.Event()
    with contextlib.closing(store.server.connected()) as reader:
        reader.execute("SET lock_timeout = '1s'; SET search_path = syncer")
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        reader.execute("SELECT 1 FROM batch")
        # Its first look, the way back from it, and its next look.
        wire.meet("before", b"LOCK TABLE", 4, is_looking.set)
        process = store.start("status", wire)
        until(lambda: is_looking.is_set() or not process.is_running, "the migration looks again")
        for table in ("run", "sync", "plan"):
            reader.execute(f"SELECT 1 FROM {table}")
        reader.execute("COMMIT")
    result = process.end()
    wire.close()

    assert 0 == result.code, result.err
    assert is_looking.is_set()
    assert len(STEPS) == store.version
    store.is_whole(before, version=1)
