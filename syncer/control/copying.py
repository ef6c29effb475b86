"""A whole store into another one, which holds nothing yet: for who moves the state from a file to a server, or back."""

from __future__ import annotations

from collections.abc import Mapping

from syncer.control.connection import Database

LEFT_OUT = ("batch", "format", "garbage", "lease", "plan")
"""What a base has in it when the state is moved, what is deleted anyhow, and what is the database's own business."""


def copy(old: Database, new: Database, bases: Mapping[str, tuple[str | None, int]]) -> None:
    """Everything of one store into the other: journal, parked records, history, requests. `bases` says of each sync
    which base holds its values now, and how many records that are."""
    for table in old.tables():
        if table not in LEFT_OUT:
            _copy_table(old, new, table)
    for sync, (base, rows) in bases.items():
        new.execute(
            "UPDATE sync SET base_file = ?, base_rows = ?, generation = generation + 1 WHERE name = ?",
            (base, rows, sync),
        )


def _copy_table(old: Database, new: Database, table: str) -> None:
    columns = old.columns(table)
    listed = ", ".join(f'"{column}"' for column in columns)
    rows = old.execute(f'SELECT {listed} FROM "{table}"')
    marks = ", ".join("?" for _ in columns)
    new.executemany(f'INSERT INTO "{table}"({listed}) VALUES ({marks})', rows)
    if rows and "id" in columns:
        new.go_on_after(table)
