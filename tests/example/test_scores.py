"""The marts: the columns that the shipped mappings read, scores that are the formula, and a version that follows it."""

from __future__ import annotations

import csv
import hashlib
import math
from pathlib import Path

import pytest

pytest.importorskip("dbt.cli.main", reason="dbt is not installed here: `make test-example`.")

from syncer.demo import warehouse as demo
from tests.example.conftest import NIGHT
from tests.example.site import HOUSE, Site

KINDS = {
    "VARCHAR": "text",
    "DOUBLE": "number",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
    "INTEGER": "integer",
    "BIGINT": "integer",
}
ARROW = {
    "string": "text",
    "double": "number",
    "bool": "boolean",
    "date32[day]": "date",
    "timestamp[us, tz=UTC]": "timestamp",
    "int32": "integer",
}


def weights(file: Path = HOUSE / "examples" / "activation" / "dbt" / "seeds" / "weights.csv") -> list[dict[str, str]]:
    with file.open() as lines:
        return list(csv.DictReader(lines))


def version(rows: list[dict[str, str]]) -> str:
    """The version of a formula, as the project says that it is made."""
    names = ("component", "weight", "full_user", "full_workspace", "full_account")
    text = ";".join(" ".join(row[name] for name in names) for row in sorted(rows, key=lambda row: row["component"]))
    return "w-" + hashlib.md5(text.encode()).hexdigest()[:8]


@pytest.mark.parametrize("table", demo.TABLES)
def test_the_demo_has_the_tables_of_the_marts(made: Site, table: str) -> None:
    """Columns and kinds of type of the demo's warehouse are those of the mart, which has the subcomponents besides."""
    found = made.asked(
        "SELECT column_name, data_type FROM information_schema.columns "
        f"WHERE table_schema = 'activation' AND table_name = '{table}'"
    )
    mart = {name: KINDS[kind] for name, kind in found}
    components = {row["component"] for row in weights()}

    assert {name: ARROW[str(kind)] for name, kind in demo.TABLES[table].items()} == {
        name: kind for name, kind in mart.items() if name not in components
    }
    assert components <= set(mart)


def test_the_demo_is_scored_by_the_formula_that_ships(made: Site) -> None:
    """The demo's version is that of seeds/weights.csv, and so is every mart's."""
    found = {
        row[0] for table in demo.TABLES for row in made.asked(f"SELECT DISTINCT metric_version FROM activation.{table}")
    }

    assert {version(weights())} == found == {demo.METRIC_VERSION}


@pytest.mark.parametrize("table", demo.TABLES)
def test_the_composite_is_the_weighted_mean(made: Site, table: str) -> None:
    """Every score is the mean of the row's subcomponents by the weights of the file, each between 0 and 100."""
    rows = weights()
    points = [int(row["weight"]) for row in rows]
    listed = ", ".join(row["component"] for row in rows)
    found = made.asked(f"SELECT score, usage_score, milestone_score, {listed} FROM activation.{table}")

    assert found
    for score, usage, milestones, *parts in found:
        assert all(0 <= part <= 100 for part in parts)
        assert math.isclose(score, sum(p * w for p, w in zip(parts, points, strict=True)) / 100, abs_tol=0.001)
        assert math.isclose(score, (usage + milestones) / 2, abs_tol=0.001)


def test_half_of_the_points_are_usage() -> None:
    """The file that ships has 50 points of usage and 50 of milestones."""
    halves = {
        half: sum(int(row["weight"]) for row in weights() if row["half"] == half) for half in ("usage", "milestone")
    }

    assert {"usage": 50, "milestone": 50} == halves


def test_scores_are_of_the_night_that_was_asked_for(made: Site) -> None:
    """`computed_at` is the moment asked for, and nobody has a score who came later."""
    ((moments, latest),) = made.asked(
        "SELECT list(DISTINCT computed_at::VARCHAR), max(signed_up_on)::VARCHAR FROM activation.users"
    )

    assert [f"{NIGHT} 00:00:00+00"] == moments
    assert latest < NIGHT


def test_another_weight_is_a_rescore(site: Site) -> None:
    """A weight that is changed gives another version, and the next plan counts people as re-scored, held by nothing."""
    seed = site.home / "dbt" / "seeds" / "weights.csv"
    with site.services():
        site.syncer("sync", "customerio.people")
        text = seed.read_text()
        seed.write_text(
            text.replace("usage_days,usage,15", "usage_days,usage,22").replace(
                "usage_weeks,usage,10", "usage_weeks,usage,3"
            )
        )
        site.build(NIGHT, "--exclude-resource-type", "test")
        (plan,) = site.syncer("diff", "customerio.people")["syncs"]
        counts = plan["counts"]

        assert site.asked("SELECT DISTINCT metric_version FROM activation.users") == [(version(weights(seed)),)]
        assert version(weights(seed)) != version(weights())
        assert [] == plan["holds"]
        assert 0 == counts["changed"] == counts["new"]
        assert counts["rescored"] > 0.3 * plan["known"]

        (run,) = site.syncer("sync", "customerio.people")["syncs"]

        assert ("done", counts["rescored"]) == (run["result"], run["accepted"])
    versions = site.asked(
        "SELECT metric_version, count(*), count(dbt_valid_to) FROM activation_history.users_history GROUP BY 1"
    )
    ((users,),) = site.asked("SELECT count(*) FROM activation.users")

    # The history has both scores of everybody, the old ones closed.
    assert {(version(weights()), users, users), (version(weights(seed)), users, 0)} == set(versions)


def test_weights_that_do_not_add_up_fail_the_build(site: Site) -> None:
    """More points than 50 in one half are found by a test of the project, and the marts are not made."""
    seed = site.home / "dbt" / "seeds" / "weights.csv"
    seed.write_text(seed.read_text().replace("usage_days,usage,15", "usage_days,usage,16"))

    output = site.dbt("build", "--select", "weights+", "--vars", '{as_of: "2026-05-19 00:00:00+00"}', known=(1,))

    assert "weights_are_half_and_half" in output
    assert [(f"{NIGHT} 00:00:00+00",)] == site.asked("SELECT DISTINCT computed_at::VARCHAR FROM activation.users")


def test_sources_are_fresh_when_they_were_just_loaded(made: Site) -> None:
    """`dbt source freshness` asks the loader's note of every raw table."""
    output = made.dbt("source", "freshness")

    assert 7 == output.count("PASS freshness")


def test_the_mappings_are_those_that_ship() -> None:
    """The example's mappings are the shipped files and no copies of them."""
    for file in (HOUSE / "examples" / "activation" / "mappings").iterdir():
        assert file.resolve() == HOUSE / "mappings" / file.name
