"""Raw tables of an invented product, into a DuckDB file or Parquet files: `python -m activation.generate`.

Arrays of numbers come from `activation.world`, chunk by chunk; DuckDB turns them into rows with names and keys.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from activation import world
from syncer.demo import names

SEED, USERS = 7, 5_000
WAREHOUSE = Path("warehouse.duckdb")
SCHEMA = "raw"

WORDS = {
    "company": names.COMPANY,
    "trade": names.TRADE,
    "site": ("alder", "beacon", "delta", "ember", "fjord", "granite", "harbor", "iris", "juniper", "kestrel"),
    "team": names.TEAM,
    "first": [shown for shown, _ in names.FIRST],
    "first_letters": [letters for _, letters in names.FIRST],
    "last": [shown for shown, _ in names.LAST],
    "last_letters": [letters for _, letters in names.LAST],
    "country": names.COUNTRY,
    "event": world.EVENTS,
    "plan": world.PLANS,
    "arm": world.ARMS,
}
"""Each becomes a macro that turns a number into a word: `team_word(7)`."""

_AT = f"TIMESTAMPTZ '{world.START} 00:00:00+00' + to_microseconds(CAST(moment * 86400e6 AS BIGINT))"
_USER = "format('u_{:07d}', user_no)"
_WORKSPACE = "format('w_{:06d}', workspace_no)"
_ACCOUNT = "format('a_{:06d}', account_no)"
_DOMAIN = "site_word(account_no) || account_no || '.example'"
_LETTERS = "first_letters_word(first) || '.' || last_letters_word(last) || user_no"

ROWS = {
    "accounts": f"""
        {_ACCOUNT} AS account_id,
        company_word(company) || ' ' || trade_word(company // {len(names.COMPANY)}) AS name,
        {_DOMAIN} AS domain, seats, {_AT} AS created_at""",
    "workspaces": f"""
        {_WORKSPACE} AS workspace_id, {_ACCOUNT} AS account_id, team_word(team) AS name, {_AT} AS created_at""",
    "users": f"""
        {_USER} AS user_id,
        CASE WHEN spelling < 0.07 THEN upper({_LETTERS}) WHEN spelling < 0.12 THEN {_LETTERS} || '+trial'
             ELSE {_LETTERS} END || '@' || {_DOMAIN} AS email,
        first_word(first) || ' ' || last_word(last) AS name,
        CASE WHEN spelling > 0.8
             THEN first_letters_word(first) || '-' || last_letters_word(last) || user_no END AS github,
        country_word(country) AS country, {_AT} AS created_at""",
    "memberships": f"""
        {_WORKSPACE} AS workspace_id, {_USER} AS user_id,
        CASE WHEN is_owner THEN 'owner' ELSE 'member' END AS role, {_AT} AS joined_at""",
    "events": f"""
        event_no AS event_id, {_AT} AS occurred_at, event_word(kind) AS event, {_USER} AS user_id,
        CASE WHEN workspace_no > 0 THEN {_WORKSPACE} END AS workspace_id,
        CASE WHEN thing > 0 THEN format('{{}}-{{}}', user_no, thing) END AS object_id, nullif(tasks, 0) AS task_runs""",
    "payments": f"""
        format('p_{{}}_{{}}', workspace_no, month_no) AS payment_id, {_WORKSPACE} AS workspace_id,
        {_ACCOUNT} AS account_id, plan_word(plan) AS plan, CAST(amount AS DECIMAL(12, 2)) AS amount_usd,
        {_AT} AS paid_at""",
    "experiments": f"""
        '{world.EXPERIMENT}' AS experiment, {_USER} AS user_id, arm_word(arm) AS arm, {_AT} AS assigned_at""",
}
"""Raw table → its columns, made of the columns of `world.Chunk`."""


def into_warehouse(path: Path, seed: int = SEED, users: int = USERS, until: datetime.date = world.END) -> None:
    """Replace the schema `raw` of a DuckDB file; its other schemas are left as they are."""
    with duckdb.connect(str(path)) as connection:
        _prepare(connection)
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        connection.execute(f"CREATE SCHEMA {SCHEMA}")
        for made in _chunks(seed, users, until):
            for name, numbers in made.items():
                connection.register("numbers", numbers)
                rows = f"SELECT {ROWS[name]} FROM numbers"
                connection.execute(f"CREATE TABLE IF NOT EXISTS {SCHEMA}.{name} AS {rows} LIMIT 0")
                connection.execute(f"INSERT INTO {SCHEMA}.{name} {rows}")
                connection.unregister("numbers")
        connection.execute(f"CREATE TABLE {SCHEMA}.loads AS {_loads(until)}")


def into_parquet(folder: Path, seed: int = SEED, users: int = USERS, until: datetime.date = world.END) -> None:
    """The same rows as `FOLDER/TABLE/NUMBER.parquet`, for a warehouse that is not a file."""
    with duckdb.connect() as connection:
        _prepare(connection)

        def write(name: str, number: int, rows: str) -> None:
            (folder / name).mkdir(parents=True, exist_ok=True)
            file = str(folder / name / f"{number:05}.parquet").replace("'", "''")
            connection.execute(f"COPY ({rows}) TO '{file}' (FORMAT parquet)")

        for number, made in enumerate(_chunks(seed, users, until)):
            for name, numbers in made.items():
                connection.register("numbers", numbers)
                write(name, number, f"SELECT {ROWS[name]} FROM numbers")
                connection.unregister("numbers")
        write("loads", 0, _loads(until))


def _prepare(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("SET TimeZone = 'UTC'")
    # What is written needs no place in memory afterwards, however many people there are.
    connection.execute("SET memory_limit = '1GB'")
    for name, words in WORDS.items():
        listed = ", ".join("'" + word.replace("'", "''") + "'" for word in words)
        connection.execute(f"CREATE TEMP MACRO {name}_word(number) AS [{listed}][1 + number % {len(words)}]")


def _chunks(seed: int, users: int, until: datetime.date) -> Iterator[dict[str, pa.Table]]:
    """The numbers of each chunk, by raw table."""
    days = (until - world.START).days
    for first, size in world.chunks_of(users):
        chunk = world.chunk(seed, first, size, days)
        yield {name: pa.table(getattr(chunk, name)) for name in ROWS}


def _loads(until: datetime.date) -> str:
    """What a loader notes: up to when each table is complete, and when it was loaded."""
    listed = ", ".join(f"'{name}'" for name in ROWS)
    return (
        f"SELECT unnest([{listed}]) AS table_name, TIMESTAMPTZ '{until} 00:00:00+00' AS complete_until, "
        "date_trunc('second', now()) AS loaded_at"
    )


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m activation.generate", description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=USERS, help=f"how many sign up in half a year ({USERS})")
    parser.add_argument("--seed", type=int, default=SEED, help=f"the same seed gives the same rows ({SEED})")
    parser.add_argument(
        "--until", type=datetime.date.fromisoformat, default=world.END, help=f"up to this day ({world.END})"
    )
    parser.add_argument("--warehouse", type=Path, default=WAREHOUSE, help=f"a DuckDB file ({WAREHOUSE})")
    parser.add_argument("--parquet", type=Path, metavar="FOLDER", help="Parquet files instead of the DuckDB file")
    asked = parser.parse_args(arguments)
    if asked.users < 1:
        parser.error("--users needs at least one user.")
    if not world.START < asked.until <= world.END:
        parser.error(
            f"--until is a day after {world.START} and not after {world.END}: the invented world is that long."
        )
    started = time.monotonic()
    if asked.parquet:
        into_parquet(asked.parquet, asked.seed, asked.users, asked.until)
    else:
        into_warehouse(asked.warehouse, asked.seed, asked.users, asked.until)
    for name, count in _counts(asked.warehouse, asked.parquet).items():
        print(f"{count:>12,} {name}")
    print(f"From {world.START} until {asked.until}, seed {asked.seed}. ({time.monotonic() - started:.0f} s)")
    return 0


def _counts(warehouse: Path, folder: Path | None) -> dict[str, int]:
    """Rows of each raw table, from the files in `folder` if there is one."""
    with duckdb.connect() if folder else duckdb.connect(str(warehouse), read_only=True) as connection:
        found = {}
        for name in ROWS:
            table = (
                connection.read_parquet(f"{folder / name}/*.parquet")
                if folder
                else connection.table(f"{SCHEMA}.{name}")
            )
            found[name] = int(table.aggregate("count(*)").fetchall()[0][0])
        return found


if __name__ == "__main__":
    sys.exit(main())
