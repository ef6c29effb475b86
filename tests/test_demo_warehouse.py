"""The invented warehouse: what it holds, and what a night does to it."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from syncer.demo import warehouse

AT = datetime.datetime(2026, 3, 1, 4, 0, tzinfo=datetime.UTC)
NEXT = datetime.datetime(2026, 3, 2, 4, 0, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse of the first night; only to be read."""
    path = tmp_path_factory.mktemp("first") / "warehouse.duckdb"
    warehouse.first_night(path, at=AT)
    return path


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after the second night; only to be read."""
    path = tmp_path_factory.mktemp("second") / "warehouse.duckdb"
    warehouse.first_night(path, at=AT)
    warehouse.second_night(path, at=NEXT)
    return path


def asked(path: Path, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(query).fetchall()


def rows(path: Path, table: str) -> dict[str, tuple[Any, ...]]:
    """Key → scores, of the rows whose key is good."""
    key = warehouse.KEYS[table]
    found = asked(
        path,
        f"SELECT {key}, score, usage_score, milestone_score FROM activation.{table} WHERE {key} <> '' "
        f"QUALIFY count(*) OVER (PARTITION BY {key}) = 1",
    )
    return {row[0]: tuple(None if value != value else value for value in row[1:]) for row in found}


def test_the_sizes_are_those_of_a_small_company(first: Path) -> None:
    """About 5,000 users, 1,500 workspaces and 400 accounts."""
    sizes = [asked(first, f"SELECT count(*) FROM activation.{table}")[0][0] for table in warehouse.TABLES]

    assert [5_005, 1_501, 400] == sizes


@pytest.mark.parametrize("table", warehouse.TABLES)
def test_a_few_keys_are_null_or_doubled(first: Path, table: str) -> None:
    """In each table some rows have a key that cannot be used, and they are few."""
    total = asked(first, f"SELECT count(*) FROM activation.{table}")[0][0]
    bad = total - len(rows(first, table))

    assert 1 <= bad <= 0.004 * total


def test_users_are_as_untidy_as_people_are(first: Path) -> None:
    """There are missing addresses and scores, one NaN, tags and mixed case in addresses, and names beyond ASCII."""
    found = asked(
        first,
        """SELECT count(*) FILTER (email IS NULL), count(*) FILTER (score IS NULL),
        count(*) FILTER (isnan(usage_score)),
        count(*) FILTER (email LIKE '%+%') > 50, count(*) FILTER (email <> lower(email)) > 50,
        count(*) FILTER (NOT regexp_full_match(name, '[ -~]*')) > 500 FROM activation.users""",
    )

    assert (8, 22, 1, True, True, True) == found[0]


def test_a_score_is_the_mean_of_its_halves(first: Path) -> None:
    """Usage and milestones, each 0 to 100, weigh the same in the score."""
    wrong = asked(
        first,
        """SELECT count(*) FROM activation.users WHERE NOT isnan(usage_score)
        AND NOT (abs(score - (usage_score + milestone_score) / 2) < 0.001
        AND usage_score BETWEEN 0 AND 100 AND milestone_score BETWEEN 0 AND 100)""",
    )

    assert [(0,)] == wrong


def test_usage_has_a_long_tail(first: Path) -> None:
    """Most users are cold, some are warm, and a few are hot."""
    cold, warm, hot = asked(
        first,
        """SELECT count(*) FILTER (score < 40), count(*) FILTER (score BETWEEN 40 AND 75),
        count(*) FILTER (score > 75) FROM activation.users""",
    )[0]

    assert cold > warm > hot > 100


def test_users_belong_to_workspaces_and_accounts_that_exist(first: Path) -> None:
    """Every user's workspace and account is there, but for those whose own key was made unusable."""
    orphans = asked(
        first,
        """SELECT count(DISTINCT u.account_id) FROM activation.users u
        ANTI JOIN activation.accounts a ON a.account_id = u.account_id""",
    )

    assert orphans[0][0] <= 1


def test_the_same_seed_gives_the_same_rows(first: Path, tmp_path: Path) -> None:
    """Twice the same seed and time is twice the same warehouse, and another seed is another one."""
    same, other = tmp_path / "same.duckdb", tmp_path / "other.duckdb"
    warehouse.first_night(same, at=AT)
    warehouse.first_night(other, at=AT, seed=8)
    query = "SELECT * EXCLUDE (computed_at) FROM activation.users ORDER BY ALL"

    # As text, because NaN is not equal to itself.
    assert str(asked(first, query)) == str(asked(same, query))
    assert str(asked(first, query)) != str(asked(other, query))


def test_a_warehouse_that_is_there_is_replaced(tmp_path: Path) -> None:
    """The first night begins anew over an old file."""
    path = tmp_path / "warehouse.duckdb"
    warehouse.first_night(path, at=AT)
    warehouse.second_night(path, at=NEXT)
    warehouse.first_night(path, at=AT)

    assert [(5_005,)] == asked(path, "SELECT count(*) FROM activation.users")


@pytest.mark.parametrize("table", warehouse.TABLES)
def test_the_second_night_moves_exactly_the_rows_it_says(first: Path, second: Path, table: str) -> None:
    """Among the good rows as many changed, went and came as `SECOND_NIGHT` says."""
    before, after = rows(first, table), rows(second, table)
    moved = [key for key in before.keys() & after.keys() if before[key] != after[key]]

    assert warehouse.SECOND_NIGHT[table] == (len(moved), len(before.keys() - after), len(after.keys() - before))


def test_a_move_is_one_that_anybody_would_notice(first: Path, second: Path) -> None:
    """A score that changed did so by three points or more, and stayed between 0 and 100."""
    before, after = rows(first, "users"), rows(second, "users")
    moves = [after[key][0] - before[key][0] for key in before.keys() & after if before[key] != after[key]]

    assert min(abs(move) for move in moves) >= 2.9
    assert all(0 <= scores[0] <= 100 for scores in after.values() if scores[0] is not None)


@pytest.mark.parametrize("table", warehouse.TABLES)
def test_every_row_is_computed_anew_each_night(first: Path, second: Path, table: str) -> None:
    """All rows of a night have its time, also those that did not change."""
    query = f"SELECT DISTINCT epoch(computed_at) FROM activation.{table}"

    assert [(AT.timestamp(),)] == asked(first, query)
    assert [(NEXT.timestamp(),)] == asked(second, query)


def test_the_second_night_has_a_metric_more(first: Path, second: Path) -> None:
    """The new column is there after the second night, with small whole numbers for nearly everybody."""
    query = "SELECT count(*) FROM duckdb_columns() WHERE column_name = 'invites_30d'"
    known, least, most = asked(
        second, "SELECT count(invites_30d), min(invites_30d), max(invites_30d) FROM activation.users"
    )[0]

    assert [(0,)] == asked(first, query)
    assert [(1,)] == asked(second, query)
    assert known > 4_900
    assert (0, True) == (least, most < 20)


def test_last_night_is_the_last_four_in_the_morning() -> None:
    """Scores are dated at four o'clock UTC, less than a day ago, or as many days before that as asked."""
    now = datetime.datetime.now(datetime.UTC)

    assert datetime.timedelta(0) <= now - warehouse.last_night() < datetime.timedelta(days=1, minutes=1)
    assert datetime.timedelta(days=2) == warehouse.last_night() - warehouse.last_night(2)
    assert 4 == warehouse.last_night().hour


def test_records_are_one_for_each_good_key(first: Path) -> None:
    """The services know each person, workspace and account once, also those whose rows are doubled."""
    people, workspaces, accounts = warehouse.records(first)

    assert len(people) == len({person["user_id"] for person in people}) == 4_995
    assert {"user_id", "email", "name", "github"} == set(people[0])
    assert {"workspace_id", "name"} == set(workspaces[0])
    assert {"account_id", "name", "domain"} == set(accounts[0])
