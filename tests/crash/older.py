"""Control stores as older versions of the program left them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from unittest import mock

import apsw

from syncer.config_file import LocalState
from syncer.control import postgres
from syncer.control.schema import STEPS
from tests.postgres import PostgresServer

HISTORY_SINCE = 7
"""The first version that keeps a history."""


def make_older(file: Path, version: int) -> None:
    """Make of a control store one of an older version: what had no table and no column then is gone."""
    newer = file.with_name("newer.db")
    connection = apsw.Connection(str(file))
    connection.execute("VACUUM INTO ?", (str(newer),))
    connection.close()
    for left in file.parent.glob(f"{file.name}*"):
        left.unlink()
    old = apsw.Connection(str(file))
    old.pragma("journal_mode", "wal")
    for step in STEPS[:version]:
        old.execute(step)
    old.pragma("user_version", version)
    old.execute("ATTACH ? AS newer", (str(newer),))
    for (table,) in old.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall():
        columns = ", ".join(name for (name,) in old.execute("SELECT name FROM pragma_table_info(?, 'main')", (table,)))
        old.execute(f"INSERT INTO main.{table}({columns}) SELECT {columns} FROM newer.{table}")
    old.close()
    file.chmod(0o600)
    newer.unlink()


def make_older_there(server: PostgresServer, where: LocalState, newer: str, version: int) -> None:
    """The same on a server, in the place of a store that may be there, from one in the schema `newer`."""
    server.query(f"DROP SCHEMA IF EXISTS {where.control_schema} CASCADE")
    with mock.patch.object(postgres, "STEPS", STEPS[:version]), contextlib.closing(postgres.Postgres(where)) as old:
        old.migrate()
        with old.writing() as db:
            for table in db.tables():
                if table == "format":
                    continue
                columns = ", ".join(db.columns(table))
                db.execute(f"INSERT INTO {table}({columns}) SELECT {columns} FROM {newer}.{table}")
                if "id" in db.columns(table):
                    db.go_on_after(table)
