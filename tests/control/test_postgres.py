"""The control store on a PostgreSQL server: made, brought up to date, refused, lost and found again."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg
import pytest

from syncer.config_file import LocalState
from syncer.control import Control, Settled, server
from syncer.control import postgres as module
from syncer.control.schema import STEPS
from syncer.errors import StateDamaged, StateUnreachable
from tests.postgres import PASSWORD, PostgresServer

SYNC = "memory.people"


def kept(tmp_path: Path, url: str, schema: str = "syncer") -> LocalState:
    return LocalState.model_validate({"path": str(tmp_path / "state"), "control": url, "control_schema": schema})


@pytest.fixture
def fresh(postgres: PostgresServer, where: LocalState) -> LocalState:
    """A place where no store was ever made."""
    postgres.query("DROP SCHEMA IF EXISTS fresh CASCADE")
    return where.model_copy(update={"control_schema": "fresh"})


def test_looking_makes_nothing(postgres: PostgresServer, fresh: LocalState) -> None:
    """Reading commands find nothing and leave nothing behind; so does the check."""
    assert Control.look(fresh) is None
    assert Control.wrong(fresh) is None
    assert [] == postgres.query("SELECT 1 FROM pg_namespace WHERE nspname = 'fresh'")


def test_two_that_make_the_store_at_once(postgres: PostgresServer, fresh: LocalState) -> None:
    """Both find it made, once."""
    barrier, opened = threading.Barrier(2), []

    def make() -> None:
        barrier.wait(30)
        opened.append(Control.open(fresh))

    threads = [threading.Thread(target=make) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    for control in opened:
        control.close()

    assert 2 == len(opened)
    assert [(len(STEPS),)] == postgres.query("SELECT steps FROM fresh.format")


def test_older_store(postgres: PostgresServer, fresh: LocalState, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of an older version is brought to this one with what it holds, also by a command that only reads."""
    monkeypatch.setattr(module, "STEPS", STEPS[:2])
    Control.open(fresh).close()
    postgres.query("INSERT INTO fresh.sync(name, identity) VALUES ('a.b', '{}')")
    postgres.query("INSERT INTO fresh.run(sync_id, started, result, accepted) VALUES (1, 1.5, 'done', 3)")
    monkeypatch.undo()

    control = Control.look(fresh)
    assert control is not None
    (run,) = control.runs("a.b")
    control.close()

    assert ("done", 1.5, 3, []) == (run.result, run.started, run.accepted, run.released)
    assert [(len(STEPS),)] == postgres.query("SELECT steps FROM fresh.format")


def test_a_step_that_fails(postgres: PostgresServer, fresh: LocalState, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store is brought to a new version whole, or not at all."""
    Control.open(fresh).close()
    monkeypatch.setattr(module, "STEPS", (*STEPS, "CREATE TABLE extra(id INTEGER)", "ALTER TABLE nowhere ADD x TEXT"))
    with pytest.raises(StateDamaged):
        Control.open(fresh)
    monkeypatch.undo()

    assert [(len(STEPS),)] == postgres.query("SELECT steps FROM fresh.format")
    assert [] == postgres.query("SELECT 1 FROM pg_tables WHERE tablename = 'extra'")
    Control.open(fresh).close()


def test_newer_store(postgres: PostgresServer, fresh: LocalState) -> None:
    """A store of a newer version is refused, also when it becomes one while this process has it open."""
    control = Control.open(fresh)
    postgres.query("UPDATE fresh.format SET steps = 99")

    for use in (lambda: Control.open(fresh), lambda: Control.look(fresh), lambda: control.begin_run(SYNC, "{}")):
        with pytest.raises(StateDamaged, match=r"schema fresh was written by a newer Syncer \(format 99"):
            use()
    control.close()


def test_values_of_another_store(where: LocalState) -> None:
    """An empty store beside values that another one told about is refused: going on would throw them away."""
    (where.path / SYNC).mkdir(parents=True)
    (where.path / SYNC / "base-1.parquet").write_bytes(b"")

    for use in (Control.open, Control.look):
        with pytest.raises(StateDamaged, match=r"is empty, and values of another one lie in .*take `control` out"):
            use(where)


def test_commits_are_durable(postgres: PostgresServer, where: LocalState) -> None:
    """Each commit is synced before it is answered, whatever the server does by default."""
    postgres.query("ALTER ROLE syncer SET synchronous_commit = off")
    try:
        control = Control.open(where)
        with control._writing() as db:
            ((setting,),) = db.execute("SELECT current_setting('synchronous_commit')")
        control.close()
    finally:
        postgres.query("ALTER ROLE syncer RESET synchronous_commit")

    assert "on" == setting


def test_texts_of_any_sign(control: Control) -> None:
    """Keys and messages come back as they were, also with a NUL, and sort by their bytes."""
    keys = ["a\0b", "a\1b", "a\1ab", "B", "a", "ä", "z", "😀", "'; DROP TABLE sync; --", "?1 $1 %s"]
    run = control.begin_run(SYNC, "{}")
    sync_id = control.register(SYNC, "{}", ["x"]).sync_id
    assert sync_id is not None
    plan = control.begin_plan(run, sync_id, "plan", len(keys), len(keys), "digest", [])
    control.commit(sync_id, [], (plan, 0, len(keys)))
    settled = Settled(plan, 0, bytes([2] * len(keys)), parked=[(key, key, "code", key) for key in keys])
    control.commit(sync_id, [settled], None)

    parked = control.parked(SYNC)
    assert {key: (key, key) for key in keys} == {one.key: (one.payload, one.message) for one in parked}
    plain = [key for key in keys if "\0" not in key and "\1" not in key]
    assert sorted(plain, key=str.encode) == [one.key for one in parked if one.key in plain]
    control.unpark(SYNC, keys)
    assert [] == control.parked(SYNC)


@pytest.mark.parametrize(
    ("words", "url"),
    [
        ("Connection refused", "postgresql://syncer:{secret}@127.0.0.1:1/postgres"),
        ("password authentication failed", "postgresql://nobody:{secret}@127.0.0.1:{port}/postgres"),
        ("does not exist", "postgresql://syncer:{secret}@127.0.0.1:{port}/nowhere"),
    ],
)
def test_a_server_out_of_reach(tmp_path: Path, postgres_server: PostgresServer, words: str, url: str) -> None:
    """Why the store cannot be reached is one sentence, without the URL and without its password."""
    url = url.format(secret=PASSWORD.replace("%", "%25"), port=postgres_server.port)
    where = kept(tmp_path, url)
    for use in (Control.open, Control.look):
        with pytest.raises(StateUnreachable) as told:
            use(where)

        assert words in str(told.value)
        assert str(told.value).startswith("The control store cannot be reached (")
        assert [] == [secret for secret in (url, PASSWORD, PASSWORD.replace("%", "%25")) if secret in str(told.value)]
    assert str(told.value) == Control.wrong(where)


def test_rights_that_are_missing(tmp_path: Path, postgres: PostgresServer, where: LocalState) -> None:
    """Who may not make the schema, or not write to its tables, is told which right is missing."""
    Control.open(where).close()
    postgres.query("CREATE ROLE reader LOGIN PASSWORD 'reader-secret'")
    postgres.query("GRANT USAGE ON SCHEMA syncer TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA syncer TO reader")
    url = postgres.url(user="reader", password="reader-secret")
    try:
        for schema in ("syncer", "elsewhere"):
            sentence = Control.wrong(kept(tmp_path, url, schema))

            assert f"may not write to the schema {schema}." in (sentence or "")
        looked = Control.look(kept(tmp_path, url))
        assert looked is not None
        assert [] == looked.runs(SYNC)
        with pytest.raises(StateDamaged, match="may not write to the schema syncer"):
            looked.begin_run(SYNC, "{}")
        looked.close()
    finally:
        postgres.query("DROP OWNED BY reader; DROP ROLE reader")


def test_a_database_of_another_encoding(tmp_path: Path, postgres: PostgresServer) -> None:
    """A database that cannot hold every text is refused."""
    postgres.query("DROP DATABASE IF EXISTS latin")
    postgres.query("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")

    with pytest.raises(StateDamaged, match="is encoded as LATIN1, and has to be UTF8"):
        Control.open(kept(tmp_path, postgres.url().replace("/postgres", "/latin")))


def test_a_copy_of_a_server(postgres: PostgresServer, where: LocalState) -> None:
    """A server that only follows another one keeps no store, and says so at once."""
    Control.open(where).close()
    with postgres.following():
        for use in (Control.open, Control.look):
            with pytest.raises(StateDamaged, match="is a copy that may only be read"):
                use(where)

    Control.open(where).close()


def test_a_server_that_is_started_anew(postgres: PostgresServer, control: Control) -> None:
    """What was cut between two uses is connected again by the next one; while the server is away, it is a sentence."""
    first = control.begin_run(SYNC, "{}")
    postgres.stop()
    try:
        with pytest.raises(StateUnreachable, match="cannot be reached"):
            control.runs(SYNC)
    finally:
        postgres.start()

    second = control.begin_run(SYNC, "{}")
    postgres.stop()
    postgres.start()
    assert [second, first] == [run.id for run in control.runs(SYNC, 10)]


def test_a_connection_that_is_ended_inside_a_transaction(postgres: PostgresServer, control: Control) -> None:
    """Nothing of the transaction stays, and the next one connects anew."""
    ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'syncer'"

    def cut_in_the_middle() -> None:
        with control._writing() as db:
            db.execute("INSERT INTO sync(name, identity) VALUES (?, '{}')", [SYNC])
            postgres.query(ends)
            db.execute("SELECT 1")

    with pytest.raises(StateUnreachable, match="the next run"):
        cut_in_the_middle()

    assert control.standing(SYNC).sync_id is None
    assert 1 == control.begin_run(SYNC, "{}")


def test_writers_take_turns(postgres: PostgresServer, control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer waits for another one's commit, and not for ever."""
    monkeypatch.setattr(server, "BUSY_SECONDS", 0.2)
    control._connection._drop()  # type: ignore[attr-defined]
    with psycopg.connect(postgres.url()) as other:
        other.execute("SELECT steps FROM syncer.format FOR UPDATE")
        with pytest.raises(StateDamaged, match="has been busy for"):
            control.begin_run(SYNC, "{}")

    assert 1 == control.begin_run(SYNC, "{}")


def test_a_writer_that_stands_still(where: LocalState, control: Control) -> None:
    """The server gives up a process that says nothing in the middle of a commit; others wait no longer for it."""

    def stand_still() -> int:
        with control._writing() as db:
            db.execute("INSERT INTO sync(name, identity) VALUES (?, '{}')", [SYNC])
            other = Control.open(where)
            try:
                return other.begin_run("memory.others", "{}")
            finally:
                other.close()

    with pytest.raises(StateUnreachable, match="silent in the middle of a commit"):
        stand_still()

    assert control.standing(SYNC).sync_id is None
    assert 1 == len(control.runs("memory.others"))


def test_scrubbing(postgres: PostgresServer, control: Control) -> None:
    """After a scrub no file of a table holds what was in deleted rows."""
    run = control.begin_run(SYNC, "{}")
    sync_id = control.register(SYNC, "{}", []).sync_id
    assert sync_id is not None
    control.note_gone(sync_id, {f"a-key-that-nobody-may-find-{number}": 1 for number in range(100)})
    control.note_gone(sync_id, {})
    size = "SELECT pg_relation_size('syncer.gone')"
    assert [(0,)] != postgres.query(size)
    control.scrub()

    assert [(0,)] == postgres.query(size)
    assert [run] == [one.id for one in control.runs(SYNC)]
