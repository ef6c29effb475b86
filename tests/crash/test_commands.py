"""Accidents meet every command that writes: none is left out, and those that are said to read change nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import apsw
import click

from syncer.cli import cli
from tests.crash.commands import Commands
from tests.town import a_town

READING = {"alert-test", "check", "diff", "explain", "schema", "status"}
"""They change nothing that is remembered."""
APART = {"demo", "init", "sandbox"}
"""They make folders of their own, before anything is remembered."""
TELLING = {"--by", "--dbt-manifest", "--dry-run", "--help", "--json", "--reason", "--to"}
"""Options that choose what is told or named, not what is done."""
WORDS = (
    ("check",),
    ("diff",),
    ("diff", "--format", "markdown"),
    ("explain", "customerio.people", "u1"),
    ("rejected",),
    ("schema",),
    ("status",),
    ("undo", "1", "--dry-run"),
)


def leaves(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command of the command line, as it is spoken."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def test_every_command_that_writes_meets_accidents(tmp_path: Path) -> None:
    """A command, or an option of one that writes, is among the accidents unless it is said that it only reads."""
    known = {name.partition(",")[0] for name in Commands(tmp_path, tmp_path, seed=1, rows=1).commands}
    spoken = dict(leaves(cli))
    writing = {name: command for name, command in spoken.items() if name not in READING | APART}
    options = {
        f"{name} {option.opts[-1]}"
        for name, command in writing.items()
        for option in command.params
        if isinstance(option, click.Option) and option.opts[-1] not in TELLING
    }
    met = {name for name in writing if any(one == name or one.startswith(f"{name} ") for one in known)}

    assert set() == writing.keys() - met, "add it to tests/crash/commands.py"
    assert set() == options - known, "add it to tests/crash/commands.py"
    assert set() == (READING | APART) - spoken.keys()


def remembered(state: Path) -> dict[str, object]:
    """Every file of the state with a digest of what is in it, and of the control store every row."""
    found: dict[str, object] = {
        str(file.relative_to(state)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in state.rglob("*")
        if file.is_file() and not file.name.startswith("control.db")
    }
    store = apsw.Connection(str(state / "control.db"), flags=apsw.SQLITE_OPEN_READONLY)
    for (table,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        found[table] = store.execute(f"SELECT * FROM {table}").fetchall()
    store.close()
    return found


def test_commands_that_read_change_nothing(tmp_path: Path) -> None:
    """After any of them, all that is remembered is as it was, to the last row."""
    with a_town(tmp_path) as town:
        assert 2 == town("sync").code
        town.sql("UPDATE people SET score = 41.5 WHERE user_id = 'u3'")
        before = remembered(town.state)
        codes = {words: town(*words).code for words in WORDS}

        assert {0} == set(codes.values()), codes
        assert before == remembered(town.state)
