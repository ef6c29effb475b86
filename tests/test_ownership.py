"""Whose a field is: told for each two syncs that would fight, and for no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncer.mapping import Brakes
from syncer.mapping_files import read_all
from syncer.ownership import refuse_shared_fields
from syncer.schedule import Schedule

SYNC = """
[[sync]]
name = "{name}"
source = "users"
key = "user_id"
object = {object}
match = {{ id = "user_id" }}
{more}
[sync.fields]
{fields}
"""


def told(folder: Path, **files: list[tuple[str, str, str]]) -> list[str]:
    """The places and what is shared, of mapping files of (name, object, fields) per destination."""
    for destination, syncs in files.items():
        text = f'destination = "{destination}"\n'
        for name, record, fields in syncs:
            more, _, listed = fields.rpartition("|")
            text += SYNC.format(name=name, object=record, more=more, fields=listed.replace(";", "\n"))
        (folder / f"{destination}.toml").write_text(text)
    mappings = read_all(folder, Brakes(), Schedule())
    assert () == mappings.problems
    problems = refuse_shared_fields(mappings.written)
    return [
        f"{problem.place.removeprefix(str(folder))}: {problem.sentence.split(' and ')[0].replace(str(folder), '')}"
        for problem in problems
    ]


@pytest.mark.parametrize(
    "files",
    [
        {"a": [("x", '"person"', 'score = "s"'), ("y", '"person"', 'band = "b"')]},
        {"a": [("x", '"person"', 'score = "s"'), ("y", '"account"', 'score = "s"')]},
        {"a": [("x", '"person"', 'score = "s"')], "b": [("x", '"person"', 'score = "s"')]},
        {"a": [("x", '"person"', '"tag:a" = "s"'), ("y", '"person"', '"tag:b" = "s"')]},
        {"a": [("x", '["Contact", "Lead"]', 's = "s"'), ("y", '"Account"', 's = "s"')]},
    ],
)
def test_syncs_that_share_nothing_are_right(tmp_path: Path, files: dict[str, list[tuple[str, str, str]]]) -> None:
    """Other fields, other objects and other destinations are no fight."""
    assert [] == told(tmp_path, **files)


@pytest.mark.parametrize(
    ("record", "fields", "shared"),
    [
        ('"person"', 'score = "other"', "score of person"),
        ('"Person"', 'SCORE = { value = "fixed" }', "SCORE of Person"),
        ('["account", "person"]', 'score = "s"', "score of person"),
        ('"person"', '"tag:plan" = "s"', "tag:plan of person"),
        ('"person"', 'relate = { account = "a" }|other = "s"', "relate:account of person"),
    ],
)
def test_syncs_that_share_a_field_are_refused(tmp_path: Path, record: str, fields: str, shared: str) -> None:
    """Whatever it is made of, in any case, under one of several objects, as a family of tags, and as a relation."""
    first = ("x", '"person"', 'relate = { account = "a" }|score = "s";"tag:plan" = "plan"')
    found = told(tmp_path, a=[first, ("y", record, fields)])

    assert 1 == len(found)
    assert f"The sync a.x writes {shared} too (/a.toml:" in found[0]
    assert found[0].startswith("/a.toml:")


def test_each_two_syncs_are_told_once(tmp_path: Path) -> None:
    """Many shared fields are one mistake, told at the first of them; a third sync is told as well."""
    many = ";".join(f'f{number} = "f"' for number in range(7))
    found = told(tmp_path, a=[("x", '"person"', many), ("y", '"person"', many), ("z", '"person"', 'f6 = "f"')])

    listed = "f0, f1, f2, f3, f4, …"
    assert [
        f"/a.toml:27 sync y, fields.f0: The sync a.x writes {listed} of person too (/a.toml:11 sync x, fields.f0),",
        "/a.toml:43 sync z, fields.f6: The sync a.x writes f6 of person too (/a.toml:17 sync x, fields.f6),",
    ] == found
