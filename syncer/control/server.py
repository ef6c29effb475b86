"""The server that has the control store: how it is reached, and how what it says is told.

What it says goes to people as sentences of ours: its URL has a password in it, and its texts may quote values.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import psycopg
from psycopg import conninfo
from psycopg.types.string import StrDumper, TextLoader

from syncer.control.connection import BUSY_SECONDS, Row, Where
from syncer.control.schema import refuse_newer, refuse_orphans
from syncer.errors import StateDamaged, StateUnreachable

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 30
"""How long one statement may take; locks are waited for half as long, see `BUSY_SECONDS`."""
SILENT_SECONDS = 10.0
"""How long a process may be silent in the middle of a transaction until the server ends it: others wait for it."""
REACHED_SECONDS = 20
"""How long what was sent may stay without the network's receipt until the connection counts as lost."""


class Server:
    """How to reach the server, and how what it says is told: without the URL, and without any value."""

    def __init__(self, where: Where) -> None:
        assert where.control is not None  # noqa: S101 - a store without a URL is a file
        self._folder = where.path
        self._url = conninfo.conninfo_to_dict(where.control.get_secret_value())
        self._silent_seconds = min(SILENT_SECONDS, where.lease_seconds)
        self.schema = where.control_schema

    def connected(self, seconds: float = STATEMENT_SECONDS) -> psycopg.Connection[Row]:
        """A new connection, whose statements may take so many seconds.

        Raises psycopg.Error, and StateDamaged for a server that cannot keep a store.
        """
        # What the URL says itself goes before what is written here.
        known: dict[str, Any] = {
            "connect_timeout": max(2, min(CONNECT_SECONDS, round(seconds))),
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": REACHED_SECONDS * 1000,
            "fallback_application_name": "syncer",
            **self._url,
            "client_encoding": "utf8",
        }
        db = psycopg.connect(**known, autocommit=True, prepare_threshold=None, cursor_factory=psycopg.RawCursor)
        try:
            db.adapters.register_dumper(str, _TextDumper)
            db.adapters.register_loader("text", _TextLoader)
            self._prepare(db, seconds)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: psycopg.Connection[Row], seconds: float) -> None:
        settings = {
            "search_path": f'"{self.schema}"',
            "statement_timeout": f"{seconds * 1000:.0f}",
            "lock_timeout": f"{BUSY_SECONDS * 1000}",
            "idle_in_transaction_session_timeout": f"{self._silent_seconds * 1000:.0f}",
        }
        names = ", ".join(f"set_config('{name}', ${place}, false)" for place, name in enumerate(settings, start=1))
        # Commits are durable before they are answered, whatever the server's default; a stronger one stays.
        durable = (
            "set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'remote_apply' "
            "THEN 'remote_apply' ELSE 'on' END, false)"
        )
        query = f"SELECT current_setting('server_encoding'), pg_is_in_recovery(), {durable}, {names}"
        encoding, is_copy, commits, *_ = db.execute(query.encode(), list(settings.values())).fetchall()[0]
        if encoding != "UTF8":
            raise StateDamaged(
                f"The database of the control store is encoded as {encoding}, and has to be UTF8. "
                "Make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
            )
        if is_copy:
            raise StateDamaged(
                "The server of the control store is a copy that may only be read. Write the URL of the server that it "
                "copies into `state.control`."
            )
        assert commits in ("on", "remote_apply")  # noqa: S101 - the server has just said so

    def refuse_newer(self, steps: int) -> None:
        """Raises StateDamaged for tables that only a later version of this program understands."""
        refuse_newer(f"The control store in the schema {self.schema}", steps, "or another `state.control_schema`")

    def refuse_loss(self) -> None:
        """Raises StateDamaged when values lie in the folder that this store knows nothing of."""
        refuse_orphans(
            self._folder,
            f"The control store in the schema {self.schema} is empty, and values of another one lie in {self._folder}. "
            "Restore it from a backup, or take `control` out of [state] when they belong to the file there",
        )

    def without_rights(self) -> str:
        """The sentence for rights that are missing."""
        return (
            f"The user of `state.control` may not write to the schema {self.schema}. Somebody who may should run "
            f"CREATE SCHEMA {self.schema} AUTHORIZATION that user, or make it the owner of the schema and its tables."
        )

    @contextlib.contextmanager
    def sentences(self) -> Iterator[None]:
        """Turn what PostgreSQL says into sentences with a next step."""
        try:
            yield
        except psycopg.Error as error:
            self._tell(error)

    def _tell(self, error: psycopg.Error) -> NoReturn:
        if error.sqlstate is None and not isinstance(error, psycopg.OperationalError):
            raise StateDamaged(f"The control store refused a value ({type(error).__name__}).") from None
        if error.sqlstate is None:
            raise StateUnreachable(
                f"The control store cannot be reached ({self._without_secrets(str(error))}). Check the server, and "
                "`state.control`. Nothing leaves before it answers; the next run tries again."
            ) from None
        sentence = _SENTENCES.get(error.sqlstate) or _SENTENCES.get(error.sqlstate[:2])
        if error.sqlstate == "42501":
            sentence = self.without_rights()
        if sentence is None:
            # The server's text may quote a value, so only its kind is told.
            sentence = f"The control store failed with {type(error).__name__} ({error.sqlstate})."
        is_away = error.sqlstate[:2] in ("08", "57", "25") or error.sqlstate == "53300"
        raise (StateUnreachable if is_away else StateDamaged)(sentence) from None

    def _without_secrets(self, text: str) -> str:
        """The library's own words about a connection, in one line."""
        text = " ".join(text.split())
        if password := self._url.get("password"):
            text = text.replace(str(password), "***")
        return text[:400].removesuffix(".")


_SENTENCES: Mapping[str, str] = {
    "08": "The connection to the control store was lost. What was to be written counts as not written; the next run "
    "goes on from what is known.",
    "57": "The server of the control store ended the connection (it is stopping, or starting). Nothing leaves before "
    "it answers again; the next run tries again.",
    "57014": f"The control store did not answer within {STATEMENT_SECONDS} s. Nothing was sent after that; the next "
    "run tries again.",
    "25": "The server of the control store takes no writes just now. Nothing leaves before it does.",
    "25P03": "This process was silent in the middle of a commit for so long that the server gave it up. Nothing was "
    "sent after that; the next run goes on from what is known.",
    "53100": "The disk of the control store's server is full. Nothing leaves before it can be written.",
    "53300": "The server of the control store has too many connections. Raise its max_connections, or end some.",
    "55P03": f"The control store has been busy for {BUSY_SECONDS} s: another process writes to it. Try again.",
    "42P01": "The tables of the control store are gone. Restore them from a backup; nothing was sent.",
    "3F000": "The schema of the control store is gone. Restore it from a backup; nothing was sent.",
}
"""The server's code for what went wrong, or the first two signs of it → a sentence.
https://www.postgresql.org/docs/current/errcodes-appendix.html"""


class _TextDumper(StrDumper):
    """PostgreSQL's texts hold any sign but NUL, and a key may hold that too: `\\x01` stands before what replaces it."""

    def dump(self, obj: str) -> Any:
        if "\0" in obj or "\1" in obj:
            obj = obj.replace("\1", "\1b").replace("\0", "\1a")
        return super().dump(obj)


class _TextLoader(TextLoader):
    def load(self, data: Any) -> Any:
        text = super().load(data)
        return text.replace("\1a", "\0").replace("\1b", "\1") if isinstance(text, str) and "\1" in text else text
