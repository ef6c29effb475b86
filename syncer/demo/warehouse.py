"""An invented company's scores of two nights, in a DuckDB file with the tables that a nightly job leaves there.

It is as untidy as real ones, on purpose: keys that are null or twice there, addresses in mixed case and with
plus signs, names in many scripts, missing scores, and one that is not a number. The same seed gives the same
rows; only the times follow the clock, because a table that looks old would be held by the brake on age.
"""

from __future__ import annotations

import datetime
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from syncer.demo import names

SCHEMA = "activation"
SEED = 7
USERS, WORKSPACES, ACCOUNTS = 5_000, 1_500, 400
METRIC_VERSION = "w-22f48e36"
"""Of the weights in examples/activation, whose marts have these tables too; its tests hold the two together."""
NEW_METRIC = "invites_30d"
"""A column of users that the second night has and the first had not."""
MILESTONES = 8
"""Features that a milestone score counts: each one reached is worth an eighth of 100."""

Row = dict[str, Any]

_TEXT, _NUMBER = pa.string(), pa.float64()
_NIGHTLY: dict[str, pa.DataType] = {
    "score": _NUMBER,
    "usage_score": _NUMBER,
    "milestone_score": _NUMBER,
    "computed_at": pa.timestamp("us", tz="UTC"),
    "metric_version": _TEXT,
}
TABLES: dict[str, dict[str, pa.DataType]] = {
    "users": {
        "user_id": _TEXT,
        "email": _TEXT,
        "name": _TEXT,
        "github": _TEXT,
        "workspace_id": _TEXT,
        "account_id": _TEXT,
        "plan": _TEXT,
        "country": _TEXT,
        **_NIGHTLY,
        "logins_7d": pa.int32(),
        "is_active": pa.bool_(),
        "signed_up_on": pa.date32(),
    },
    "workspaces": {"workspace_id": _TEXT, "name": _TEXT, "account_id": _TEXT, "members": pa.int32(), **_NIGHTLY},
    "accounts": {"account_id": _TEXT, "name": _TEXT, "domain": _TEXT, "seats": pa.int32(), "plan": _TEXT, **_NIGHTLY},
}
KEYS = {"users": "user_id", "workspaces": "workspace_id", "accounts": "account_id"}


class Night(NamedTuple):
    """How many rows of a table a night changes, takes and brings."""

    changed: int
    gone: int
    new: int


SECOND_NIGHT = {"accounts": Night(2, 1, 1), "workspaces": Night(6, 2, 3), "users": Night(50, 8, 12)}


def last_night(nights_ago: int = 0) -> datetime.datetime:
    """Four in the morning UTC, the last one or one before it: when such tables are usually ready."""
    moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=4, days=nights_ago)
    return moment.replace(hour=4, minute=0, second=0, microsecond=0)


def first_night(path: Path, *, seed: int = SEED, at: datetime.datetime | None = None) -> None:
    """Write a new warehouse file; one that lies there is replaced. `at` is when the scores were computed."""
    at = at or last_night(1)
    chance = random.Random(seed)  # noqa: S311 - invented people need no secrets.
    accounts = [_account(number, chance, at) for number in range(1, ACCOUNTS + 1)]
    workspaces = [_workspace(number, accounts, chance, at) for number in range(1, WORKSPACES + 1)]
    users = [_user(number, workspaces, accounts, chance, at) for number in range(1, USERS + 1)]
    _untidy(users, workspaces, accounts, chance)
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE SCHEMA {SCHEMA}")
        for table, rows in (("users", users), ("workspaces", workspaces), ("accounts", accounts)):
            connection.register("nothing", pa.schema(TABLES[table]).empty_table())
            connection.execute(f"CREATE TABLE {SCHEMA}.{table} AS SELECT * FROM nothing")
            connection.unregister("nothing")
            _insert(connection, table, rows)


def second_night(path: Path, *, at: datetime.datetime | None = None) -> None:
    """Compute the scores again: `SECOND_NIGHT` says how many rows move, and every row gets a new `computed_at`.

    Users get one column more, `NEW_METRIC`: how many people they invited.
    """
    at = at or last_night()
    chance = random.Random("second night")  # noqa: S311 - invented people need no secrets.
    with duckdb.connect(str(path)) as connection:
        accounts, workspaces, users = (_rows(connection, table) for table in ("accounts", "workspaces", "users"))
        connection.execute("BEGIN")
        _night(connection, "accounts", accounts, lambda number: _account(number, chance, at), chance)
        _night(connection, "workspaces", workspaces, lambda number: _workspace(number, accounts, chance, at), chance)
        _night(connection, "users", users, lambda number: _user(number, workspaces, accounts, chance, at), chance)
        for table in TABLES:
            connection.execute(f"UPDATE {SCHEMA}.{table} SET computed_at = $at", {"at": at})
        connection.execute(f"ALTER TABLE {SCHEMA}.users ADD COLUMN {NEW_METRIC} INTEGER")
        # A long tail out of what is there: the last digits of the key stand in for chance.
        invites = "floor(usage_score * CAST(right(user_id, 2) AS INTEGER) / 800)"
        connection.execute(
            f"UPDATE {SCHEMA}.users SET {NEW_METRIC} = TRY_CAST({invites} AS INTEGER) WHERE user_id <> ''"
        )
        connection.execute("COMMIT")


def records(path: Path) -> tuple[list[Row], list[Row], list[Row]]:
    """People, workspaces and accounts as the services know them before any score: one of each good key."""
    with duckdb.connect(str(path), read_only=True) as connection:
        people = _known(connection, "users", ("email", "name", "github"))
        workspaces = _known(connection, "workspaces", ("name",))
        accounts = _known(connection, "accounts", ("name", "domain"))
    return people, workspaces, accounts


def _account(number: int, chance: random.Random, at: datetime.datetime) -> Row:
    name = f"{chance.choice(names.COMPANY)} {chance.choice(names.TRADE)}"
    seats = max(3, min(5_000, int(chance.paretovariate(0.9) * 4)))
    letters = "".join(letter for letter in name.lower().replace("ö", "oe").replace("é", "e") if letter.isascii())
    domain = "".join(letter for letter in letters if letter.isalnum()) + f"{number}.example"
    return {
        "account_id": f"a_{number:04}",
        "name": name,
        "domain": domain,
        "seats": seats,
        "plan": chance.choice(names.PLAN),
        **_scores(chance),
        "computed_at": at,
        "metric_version": METRIC_VERSION,
    }


def _workspace(number: int, accounts: Sequence[Row], chance: random.Random, at: datetime.datetime) -> Row:
    # The square puts many workspaces into few accounts, as it is with customers.
    account = accounts[int(len(accounts) * chance.random() ** 2)]
    return {
        "workspace_id": f"w_{number:04}",
        "name": f"{account['name']} {chance.choice(names.TEAM)}",
        "account_id": account["account_id"],
        "members": max(1, min(400, int(chance.paretovariate(1.1) * 2))),
        **_scores(chance),
        "computed_at": at,
        "metric_version": METRIC_VERSION,
    }


def _user(
    number: int, workspaces: Sequence[Row], accounts: Sequence[Row], chance: random.Random, at: datetime.datetime
) -> Row:
    first, first_letters = chance.choice(names.FIRST)
    last, last_letters = chance.choice(names.LAST)
    workspace = workspaces[int(len(workspaces) * chance.random() ** 1.5)]
    account = next((one for one in accounts if one["account_id"] == workspace["account_id"]), accounts[0])
    scores = _scores(chance)
    return {
        "user_id": f"u_{number:05}",
        "email": _email(first_letters, last_letters, number, account["domain"], chance),
        "name": f"{first} {last}",
        "github": f"{first_letters}-{last_letters}{number}" if chance.random() < 0.2 else None,
        "workspace_id": workspace["workspace_id"],
        "account_id": account["account_id"],
        "plan": account["plan"],
        "country": chance.choice(names.COUNTRY),
        **scores,
        "logins_7d": int(chance.expovariate(1.0) * scores["usage_score"] / 5),
        "is_active": scores["usage_score"] > 5,
        "signed_up_on": at.date() - datetime.timedelta(days=int(chance.expovariate(1 / 300)) + 1),
        "computed_at": at,
        "metric_version": METRIC_VERSION,
    }


def _email(first: str, last: str, number: int, domain: str, chance: random.Random) -> str:
    """An address of its own for each number, now and then with a tag or in mixed case."""
    kind = chance.random()
    if kind < 0.05:
        return f"{first}.{last}{number}+trial@{domain}"
    if kind < 0.12:
        return f"{first.title()}.{last.title()}{number}@{domain}"
    return f"{first}.{last}{number}@{domain}"


def _scores(chance: random.Random) -> Row:
    """Most people try a little, few use a lot: usage has a long tail, milestones come in whole steps."""
    usage = round(100 * chance.betavariate(0.8, 2.2), 4)
    reached = min(MILESTONES, int((usage / 100) ** 0.7 * MILESTONES + chance.random() * 2))
    return _scored(usage, 100 * reached / MILESTONES)


def _scored(usage: float, milestones: float) -> Row:
    return {"score": round((usage + milestones) / 2, 4), "usage_score": usage, "milestone_score": milestones}


def _untidy(users: list[Row], workspaces: list[Row], accounts: list[Row], chance: random.Random) -> None:
    """What every warehouse has somewhere; the first users stay tidy, because people look at them first."""
    odd = chance.sample(users[len(users) // 50 :], 50)
    for user in odd[:4]:
        user["user_id"] = None
    odd[4]["user_id"] = ""
    users += [{**user, **_scores(chance)} for user in odd[5:10]]  # Keys that are there twice.
    for user in odd[10:18]:
        user["email"] = None
    for user in odd[18:40]:
        user.update(score=None, usage_score=None, milestone_score=None)
    odd[40]["usage_score"] = float("nan")
    workspaces.append({**workspaces[len(workspaces) // 2], "name": "A copy"})
    workspaces[-2]["workspace_id"] = None
    accounts[len(accounts) // 2]["account_id"] = None
    chance.shuffle(users)


def _rows(connection: duckdb.DuckDBPyConnection, table: str) -> list[Row]:
    """The rows whose key is good, by key."""
    key = KEYS[table]
    once = f"QUALIFY count(*) OVER (PARTITION BY {key}) = 1"
    return _fetched(connection, f"SELECT * FROM {SCHEMA}.{table} WHERE {key} <> '' {once} ORDER BY {key}")


def _fetched(connection: duckdb.DuckDBPyConnection, query: str) -> list[Row]:
    # By way of Arrow, because DuckDB wants one more package for making Python's own aware times.
    found = connection.sql(query).to_arrow_table()
    rows: list[Row] = found.to_pylist()
    return rows


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[Row]) -> None:
    connection.register("arriving", pa.Table.from_pylist(rows, schema=pa.schema(TABLES[table])))
    connection.execute(f"INSERT INTO {SCHEMA}.{table} BY NAME SELECT * FROM arriving")
    connection.unregister("arriving")


def _night(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    rows: Sequence[Row],
    make: Callable[[int], Row],
    chance: random.Random,
) -> None:
    """One table's second night; the rows that move and go are picked among the good ones."""
    key, night = KEYS[table], SECOND_NIGHT[table]
    scored = [row for row in rows if row["usage_score"] is not None and math.isfinite(row["usage_score"])]
    picked = chance.sample(scored, night.gone + night.changed)
    moved = [{**row, **_moved(row, chance)} for row in picked[night.gone :]]
    highest = max(int(row[key].split("_")[1]) for row in rows)
    came = [make(highest + number) for number in range(1, night.new + 1)]
    keys = [row[key] for row in picked]
    connection.execute(f"DELETE FROM {SCHEMA}.{table} WHERE list_contains($keys, {key})", {"keys": keys})
    _insert(connection, table, moved + came)


def _moved(row: Row, chance: random.Random) -> Row:
    """Scores that anybody would call different: usage moves by 6 to 30 points, sometimes a milestone with it."""
    step = chance.uniform(6, 30)
    up = row["usage_score"] < 50
    usage = round(row["usage_score"] + (step if up else -step), 4)
    milestones = row["milestone_score"]
    if up and milestones < 100 and chance.random() < 0.5:
        milestones += 100 / MILESTONES
    moved = _scored(usage, milestones)
    if "logins_7d" in row:
        moved["logins_7d"] = row["logins_7d"] + (chance.randint(1, 6) if up else -min(row["logins_7d"], 3))
    return moved


def _known(connection: duckdb.DuckDBPyConnection, table: str, columns: Sequence[str]) -> list[Row]:
    key = KEYS[table]
    listed = ", ".join(f"first({column} ORDER BY name) AS {column}" for column in columns)
    return _fetched(
        connection, f"SELECT {key}, {listed} FROM {SCHEMA}.{table} WHERE {key} <> '' GROUP BY {key} ORDER BY {key}"
    )
