"""A real PostgreSQL server for the tests: made in a folder of its own, on a free loopback port, and gone afterwards.

Without the disk's sync, since it is the clients that are killed here; the server itself is only stopped and started.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.workplace import until

USER, PASSWORD = "syncer", "pg%secret-word"
MISSING = "PostgreSQL's server is not installed: apt-get install postgresql"


def binaries() -> Path | None:
    """The folder of the newest server that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda file: int(file.parts[-3]))
    if found:
        return found[-1].parent
    here = shutil.which("postgres")
    return Path(here).resolve().parent if here else None


class PostgresServer:
    """One cluster. It listens on 127.0.0.1 only, and asks for the password there."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="syncer-postgres-"))
        # The server refuses to run as root.
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._data = self._folder / "data"
        words = ["--pgdata", str(self._data), "--username", USER, "--pwfile", str(secret), "--auth", "scram-sha-256"]
        self._run("initdb", *words, "--encoding", "UTF8", "--locale", "C", "--no-sync")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *words], cwd="/", capture_output=True, text=True, check=False, **self._as
        )
        assert 0 == done.returncode, done.stderr

    def start(self) -> None:
        """Start, and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_connections": 60,
            "autovacuum": "off",
            "log_min_messages": "fatal",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [str(self._programs / "postgres"), "-D", str(self._data), *words],
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._as,
        )
        until(self._answers, "PostgreSQL answers")

    def _answers(self) -> bool:
        try:
            self.connected().close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Stop at once: every connection is cut."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """As if it were the copy of another server, which it waits for."""
        mark = self._data / "standby.signal"
        self.stop()
        mark.touch(0o644)
        self.start()
        try:
            yield
        finally:
            self.stop()
            mark.unlink()
            self.start()

    def remove(self) -> None:
        """Stop, and leave nothing behind."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, *, port: int | None = None, user: str = USER, password: str = PASSWORD) -> str:
        """Where it is."""
        secret = password.replace("%", "%25")
        return f"postgresql://{user}:{secret}@127.0.0.1:{port or self.port}/postgres"

    def connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection of its own, for looking and for arranging."""
        return psycopg.connect(self.url(), autocommit=True, connect_timeout=5)

    def query(self, text: str) -> list[tuple[Any, ...]]:
        """What the server answers; an empty list when it returns no rows."""
        with contextlib.closing(self.connected()) as db:
            found = db.execute(text.encode())
            return found.fetchall() if found.description else []

    def emptied(self, schema: str = "syncer") -> None:
        """No row is left in any table of a store, if there is one; its numbers begin anew."""
        with contextlib.closing(self.connected()) as db:
            query = "SELECT tablename FROM pg_tables WHERE schemaname = %s AND tablename <> 'format'"
            tables = [name for (name,) in db.execute(query, [schema]).fetchall()]
            if tables:
                listed = ", ".join(f'"{schema}"."{name}"' for name in tables)
                db.execute(f"TRUNCATE {listed} RESTART IDENTITY".encode())


@contextlib.contextmanager
def running() -> Iterator[PostgresServer]:
    """A server for as long as the block lasts; skips where none is installed."""
    programs = binaries()
    if programs is None:
        pytest.skip(MISSING)
    server = PostgresServer(programs)
    try:
        yield server
    finally:
        server.remove()
