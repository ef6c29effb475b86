"""Mapping files as syncs: every option arrives, and what is left out means what it says."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from syncer.mapping import Brakes, Sync
from syncer.mapping_files import read_all
from syncer.schedule import Schedule

BRAKES = Brakes(changed_max=0.2, known_min=7)

SHORT = """
destination = "paper"

[[sync]]
name = "people"
source = "activation.users"
key = "user_id"
object = "letter"
match = { id = "user_id" }
fields = { score = "score" }
"""


def read(folder: Path, **mappings: str) -> tuple[Sync, ...]:
    """The syncs of mapping files that have no mistake."""
    for name, text in mappings.items():
        (folder / f"{name}.toml").write_text(text)
    found = read_all(folder, BRAKES, Schedule(timezone="Europe/Berlin"))

    assert () == found.problems
    return tuple(written.sync for written in found.written)


def test_a_short_sync_has_the_published_defaults(tmp_path: Path) -> None:
    """Nobody is created, nobody is removed, and limits are the config's unless the mapping says so."""
    (sync,) = read(tmp_path, paper=SHORT)

    assert "paper.people" == sync.name
    assert "paper" == sync.destination
    assert ("activation.users", None) == (sync.source, sync.query)
    assert ("skip", "keep", None, None, None) == (sync.missing, sync.removed, sync.version, sync.where, sync.schedule)
    assert BRAKES == sync.brakes
    assert tmp_path / "paper.toml" == sync.file
    assert ("user_id", "score") == sync.columns


def test_every_option_of_a_sync_arrives(tmp_path: Path) -> None:
    """The example of the documentation, with all that it shows."""
    (sync,) = read(
        tmp_path,
        salesforce="""
destination = "salesforce"

[[sync]]
name = "contacts"
source = "activation.users"
key = "user_id"
object = "Contact"
match = { Product_User_Id__c = "user_id" }
missing = "create"
removed = "clear"
version = "metric_version"
where = "is_active"
schedule = "30 6 * * *"
brakes = { changed_max = 0.5, max_age = "2d" }

[sync.fields]
Activation_Score__c  = "score"
Usage_Score__c       = { column = "usage_score", digits = 1, min_change = 0.5 }
Milestone_Score__c   = { column = "milestone_score", digits = 1, null = "skip", sensitive = true }
Activation_Band__c   = { column = "score", bands = { cold = 0, warm = 40, hot = 75 }, hysteresis = 2 }
Score_Computed_At__c = { column = "computed_at", type = "timestamp", compare = false }
Source__c            = { value = "warehouse" }
Since__c             = { value = 2024-07-11 }
Plan__c              = { column = "plan", map = { free = 0, team = "Team" }, default = "other" }
""",
    )

    assert ("create", "clear", "metric_version", "is_active") == (
        sync.missing,
        sync.removed,
        sync.version,
        sync.where,
    )
    assert Brakes(changed_max=0.5, known_min=7, max_age="2d") == sync.brakes
    assert {"Product_User_Id__c": "user_id"} == sync.match
    assert (
        "Activation_Score__c",
        "Usage_Score__c",
        "Milestone_Score__c",
        "Activation_Band__c",
        "Score_Computed_At__c",
        "Source__c",
        "Since__c",
        "Plan__c",
    ) == tuple(field.name for field in sync.fields)
    assert "score" == sync.field("Activation_Score__c").column
    assert (1, 0.5) == (sync.field("Usage_Score__c").digits, sync.field("Usage_Score__c").min_change)
    assert ("skip", True) == (sync.field("Milestone_Score__c").null, sync.field("Milestone_Score__c").sensitive)
    assert (("cold", 0.0), ("warm", 40.0), ("hot", 75.0)) == sync.field("Activation_Band__c").bands
    assert ("timestamp", False) == (sync.field("Score_Computed_At__c").type, sync.field("Score_Computed_At__c").compare)
    assert "warehouse" == sync.field("Source__c").value
    assert datetime.date(2024, 7, 11) == sync.field("Since__c").value
    assert {"free": 0, "team": "Team"} == sync.field("Plan__c").map
    assert "other" == sync.field("Plan__c").default
    assert (
        "user_id",
        "score",
        "usage_score",
        "milestone_score",
        "computed_at",
        "plan",
        "metric_version",
    ) == sync.columns


def test_a_query_file_is_read_beside_its_mapping(tmp_path: Path) -> None:
    """A file that the config's folder does not have is read beside the mapping, and its text becomes the query."""
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "users.sql").write_text("select * from activation.users -- ümläüts\n", "utf-8")

    (sync,) = read(tmp_path, paper=SHORT.replace('source = "activation.users"', 'query_file = "sql/users.sql"'))

    assert (None, "select * from activation.users -- ümläüts") == (sync.source, sync.query)


def test_a_query_may_stand_in_the_mapping(tmp_path: Path) -> None:
    """Instead of a table, SQL, also on several lines."""
    (sync,) = read(tmp_path, paper=SHORT.replace('source = "activation.users"', 'query = """\nselect 1\n"""'))

    assert (None, "select 1") == (sync.source, sync.query)


def test_a_query_file_is_relative_to_the_config(tmp_path: Path) -> None:
    """The config's folder comes first, as for every path, and a last semicolon does no harm."""
    mappings = tmp_path / "mappings"
    mappings.mkdir()
    (tmp_path / "users.sql").write_text("select 1 as user_id;\n", "utf-8")
    (mappings / "users.sql").write_text("select 2 as user_id", "utf-8")

    (sync,) = read(mappings, paper=SHORT.replace('source = "activation.users"', 'query_file = "users.sql"'))

    assert "select 1 as user_id" == sync.query


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ('"15m"', "15m"),
        ('{ every = "15m" }', "15m"),
        ('"30 6 * * *"', "30 6 * * * Europe/Berlin"),
        ('"30 6 * * * UTC"', "30 6 * * *"),
        ('{ cron = "30 6 * * *" }', "30 6 * * * Europe/Berlin"),
        ('{ cron = "30 6 * * *", timezone = "Asia/Tokyo" }', "30 6 * * * Asia/Tokyo"),
        ('{ when = "source changed" }', "source changed, every 5m"),
        ('{ when = "source changed", every = "1m" }', "source changed, every 1m"),
        ('"source changed"', "source changed, every 5m"),
    ],
)
def test_a_schedule_of_its_own_is_kept(tmp_path: Path, written: str, kept: str) -> None:
    """A cron that names no time zone is meant in that of the config."""
    (sync,) = read(tmp_path, paper=SHORT.replace("fields =", f"schedule = {written}\nfields ="))

    assert sync.schedule
    assert kept == sync.schedule.text


def test_names_of_fields_may_be_odd(tmp_path: Path) -> None:
    """Quoted keys carry colons and dots, and names that differ in case only are two fields."""
    (sync,) = read(
        tmp_path, paper=SHORT.replace('{ score = "score" }', '{ "tag:a" = "x", "a.b" = "y", Score = "z", score = "z" }')
    )

    assert ("tag:a", "a.b", "Score", "score") == tuple(field.name for field in sync.fields)


def test_the_key_may_be_sent_and_matched_too(tmp_path: Path) -> None:
    """One column in several places is read once."""
    (sync,) = read(tmp_path, paper=SHORT.replace('{ score = "score" }', '{ id = "user_id", twice = "user_id" }'))

    assert ("user_id",) == sync.columns


def test_sixty_two_fields_are_not_too_many(tmp_path: Path) -> None:
    """The most that a sync may have, it may have."""
    fields = ", ".join(f'f{number} = "c{number}"' for number in range(62))

    (sync,) = read(tmp_path, paper=SHORT.replace('score = "score"', fields))

    assert 62 == len(sync.fields)


def test_syncs_come_by_file_and_then_as_written(tmp_path: Path) -> None:
    """Files are sorted by name; other files in the folder are no business of ours."""
    (tmp_path / "notes.md").write_text("# Not a mapping\n")
    (tmp_path / ".#a.toml").write_text("An editor's note about a.toml\n")
    second = SHORT.split("\n\n", 1)[1].replace('"people"', '"authors"')

    syncs = read(tmp_path, b=SHORT + "\n" + second, a=SHORT.replace('"paper"', '"stone"'))

    assert ["stone.people", "paper.people", "paper.authors"] == [sync.name for sync in syncs]


def test_two_files_may_share_a_destination(tmp_path: Path) -> None:
    """The name of a file means nothing; what it says does."""
    syncs = read(tmp_path, a=SHORT, b=SHORT.replace('"people"', '"authors"'))

    assert ["paper.people", "paper.authors"] == [sync.name for sync in syncs]
