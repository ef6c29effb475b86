"""After dbt Core: a sync runs only if what dbt made of its source succeeded, with its tests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from syncer import dbt
from syncer.errors import UserError
from syncer.mapping import Brakes, Field, Sync
from tests.service.town import LISTEN, NEVER, Face, face_of
from tests.service.town import Town as DaemonTown
from tests.town import Town, a_town, told

SCHEMAS = "https://schemas.getdbt.com/dbt"


def node(name: str, *parents: str, kind: str = "model", schema: str = "main") -> dict[str, Any]:
    """A node of a manifest, as far as it matters, and with more that does not."""
    return {
        "name": name, "resource_type": kind, "database": "warehouse", "schema": schema, "alias": name,
        "depends_on": {"macros": [], "nodes": list(parents)}, "relation_name": f'"warehouse"."{schema}"."{name}"',
    }  # fmt: skip


NODES = {
    "seed.acme.plans": node("plans", kind="seed"),
    "model.acme.events": node("events"),
    "model.acme.people": node("people", "model.acme.events", "seed.acme.plans"),
    "model.acme.accounts": node("accounts", "model.acme.events"),
    "model.acme.twins": node("twins"),
    "model.acme.twins_too": node("twins", schema="other"),
    "test.acme.unique_people": node("unique_people", "model.acme.people", kind="test"),
    "test.acme.events_not_null": node("events_not_null", "model.acme.events", kind="test"),
    "test.acme.people_have_accounts": node(
        "people_have_accounts", "model.acme.people", "model.acme.accounts", kind="test"
    ),
    "analysis.acme.people": node("people", kind="analysis"),
}
UNIT_TESTS = {"unit_test.acme.people.scores": node("scores", "model.acme.people", kind="unit_test")}
GOOD = {
    "seed.acme.plans": "success",
    "model.acme.events": "success",
    "model.acme.people": "success",
    "test.acme.unique_people": "pass",
    "test.acme.events_not_null": "warn",
}


def manifest(version: int = 12) -> dict[str, Any]:
    """A manifest.json."""
    metadata = {"dbt_schema_version": f"{SCHEMAS}/manifest/v{version}.json", "dbt_version": "1.10.0"}
    return {"metadata": metadata, "nodes": NODES, "unit_tests": UNIT_TESTS, "sources": {}, "macros": {}}


def results(statuses: Mapping[str, str], version: int = 6, **args: Any) -> dict[str, Any]:
    """A run_results.json."""
    metadata = {"dbt_schema_version": f"{SCHEMAS}/run-results/v{version}.json", "invocation_id": "7"}
    found = [{"unique_id": name, "status": status, "message": None} for name, status in statuses.items()]
    return {"metadata": metadata, "results": found, "elapsed_time": 1.0, "args": {"which": "build"} | args}


def sync(source: str | None = "people", query: str | None = None) -> Sync:
    """A sync of people."""
    fields = (Field(name="score", column="score"),)
    return Sync(
        name="customerio.people", destination="customerio", source=source, query=query, key="user_id",
        object="person", match={"id": "user_id"}, fields=fields, brakes=Brakes(), file=Path("people.toml"),
    )  # fmt: skip


def refusal(statuses: Mapping[str, str], made: Sync | None = None, dialect: str = "duckdb") -> list[str]:
    """What is told of results, without the last sentence; nothing when the sync may run."""
    try:
        dbt.refuse_failed(made or sync(), [dbt.run_results(results(statuses))], dbt.manifest(manifest()), dialect)
    except UserError as error:
        return [problem.sentence for problem in error.problems if not problem.sentence.startswith("Nothing was sent")]
    return []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, []),
        ({"model.acme.people": "no-op"}, []),
        ({"model.acme.people": "reused", "unit_test.acme.people.scores": "pass"}, []),
        ({"model.acme.people": "error"}, ["dbt model people: error."]),
        ({"model.acme.people": "partial success"}, ["dbt model people: partial success."]),
        (
            {"model.acme.events": "error", "model.acme.people": "skipped", "test.acme.unique_people": "skipped"},
            ["dbt model events: error.", "dbt model people: skipped.", "dbt test unique_people: skipped."],
        ),
        ({"seed.acme.plans": "error"}, ["dbt seed plans: error."]),
        ({"test.acme.unique_people": "fail"}, ["dbt test unique_people: fail."]),
        ({"test.acme.events_not_null": "runtime error"}, ["dbt test events_not_null: runtime error."]),
        ({"unit_test.acme.people.scores": "fail"}, ["dbt unit test scores: fail."]),
        # Neither what others are made of, nor a test that looks at what was left out.
        ({"model.acme.accounts": "error", "test.acme.people_have_accounts": "skipped"},
         ["dbt test people_have_accounts: skipped."]),
        ({"model.acme.twins": "error"}, []),
        ({"model.acme.people": None}, ["dbt model people: it was not part of the dbt run."]),
        (
            {"test.acme.unique_people": None},
            ["dbt test unique_people: it was not run; use `dbt build`, or hand over what `dbt test` found as well."],
        ),
        ({"model.acme.events": None, "test.acme.events_not_null": None, "seed.acme.plans": None}, []),
    ],
)  # fmt: skip
def test_what_dbt_made_of_the_source(changed: dict[str, str | None], expected: list[str]) -> None:
    """A sync may run if the models that feed it, and their tests, succeeded; else each that did not is named."""
    statuses = {name: status for name, status in {**GOOD, **changed}.items() if status is not None}

    assert expected == refusal(statuses)


def test_many_skipped_tests_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside what failed, tests that dbt skipped for it are told as a number when they are many."""
    monkeypatch.setattr(dbt, "SKIPPED_LISTED_MAX", 1)
    failed = {"model.acme.events": "error", "model.acme.people": "skipped"}
    skipped = {"test.acme.unique_people": "skipped", "test.acme.events_not_null": "skipped"}

    told = refusal({**GOOD, **failed, **skipped})

    assert ["dbt model events: error.", "dbt model people: skipped."] == told[:2]
    assert ["dbt skipped 2 tests because of that."] == told[2:]


@pytest.mark.parametrize(
    ("made", "dialect", "expected"),
    [
        (sync("main.people"), "duckdb", ["dbt model people: error."]),
        (sync("Warehouse.Main.People"), "duckdb", ["dbt model people: error."]),
        (sync("`warehouse.main.people`"), "bigquery", ["dbt model people: error."]),
        (sync(None, "WITH people AS (SELECT * FROM main.people) SELECT * FROM people"), "duckdb",
         ["dbt model people: error."]),
        (sync(None, "SELECT * FROM `warehouse.main.people` p LEFT JOIN elsewhere.x USING (id)"), "bigquery",
         ["dbt model people: error."]),
        (sync("main.accounts"), "duckdb", ["dbt model accounts: it was not part of the dbt run."]),
        (sync("other.people"), "duckdb",
         ["No dbt model of the manifest makes other.people, so nobody knows whether it is whole. Nothing was sent."]),
        (sync(None, "SELECT 1 AS user_id"), "duckdb",
         ["No dbt model of the manifest makes its query, so nobody knows whether it is whole. Nothing was sent."]),
        (sync("twins"), "duckdb",
         ["Several dbt models make a table twins (twins, twins). Write it with its schema."]),
        (sync(None, "SELECT FROM FROM"), "duckdb",
         ["Its query cannot be read well enough to say which tables it is made of. Make it a model of dbt."]),
    ],
)  # fmt: skip
def test_which_models_feed_a_sync(made: Sync, dialect: str, expected: list[str]) -> None:
    """They are found by the table that is read, however it is written, or by those in the query."""

    assert expected == refusal(GOOD | {"model.acme.people": "error"}, made, dialect)


def test_results_of_run_and_of_test_go_together() -> None:
    """What `dbt run` made, and `dbt test` tested afterwards, counts as what `dbt build` does at once."""
    parts = [
        dbt.run_results(results({name: GOOD[name] for name in GOOD if name.startswith("test") == is_test}, which=which))
        for which, is_test in (("run", False), ("test", True))
    ]

    dbt.refuse_failed(sync(), parts, dbt.manifest(manifest()), "duckdb")


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ([], "It is no run_results.json of dbt Core"),
        ({}, "It is no run_results.json of dbt Core"),
        (manifest(), "It is no run_results.json of dbt Core"),
        (results(GOOD, version=3), "It is of schema 3, and this Syncer reads 4 to 6."),
        (results(GOOD, version=7), "It is of schema 7"),
        (results(GOOD, which="compile"), "It is of `dbt compile`, which makes and tests nothing"),
        (results(GOOD, empty=True), "--empty, whose tables hold no rows"),
    ],
)
def test_files_that_say_nothing(document: Any, sentence: str) -> None:
    """A file of another kind or version is refused in words, and so are results of what makes no table."""
    with pytest.raises(UserError, match=sentence):
        dbt.run_results(document)
    with pytest.raises(UserError, match=r"It is no manifest\.json of dbt Core"):
        dbt.manifest(results(GOOD))


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """A town whose warehouse dbt has made, with its files."""
    with a_town(tmp_path) as town:
        (tmp_path / "target").mkdir()
        (tmp_path / "target" / "manifest.json").write_text(json.dumps(manifest()))
        yield town


def test_sync_after_dbt(town: Town) -> None:
    """`sync --dbt-run-results` sends when dbt succeeded; else it says what did not, exits 1, and the journal has it."""
    file = town.folder / "target" / "run_results.json"
    words = ("sync", "customerio.people", "--dbt-run-results", str(file))
    file.write_text(json.dumps(results(GOOD | {"model.acme.people": "error"})))
    failed = town(*words)
    before = town.sent
    file.write_text(json.dumps(results(GOOD)))
    good = town(*words, "--json")

    assert (1, 0, 0) == (failed.code, before, good.code)
    assert "dbt model people: error." in told(failed)
    assert 6 == good.sync["accepted"]
    assert [("done", "dbt"), ("failed", "dbt")] == [
        (run.result, run.facts["trigger"]) for run in town.journal("customerio.people")
    ]
    assert "dbt model people: error." in (town.journal("customerio.people")[1].error or "")


def test_dbt_files_that_cannot_be_read(town: Town) -> None:
    """Each is told with its path and what to do, and nothing is sent."""
    file = town.folder / "target" / "run_results.json"
    words = ("sync", "--dbt-run-results", str(file))
    missing = town(*words)
    file.write_text("{")
    broken = town(*words)
    file.write_text(json.dumps(results(GOOD)))
    elsewhere = town(*words, "--dbt-manifest", str(town.folder / "manifest.json"))
    alone = town("sync", "--dbt-manifest", str(file))

    assert [1] * 4 == [one.code for one in (missing, broken, elsewhere, alone)]
    assert "target/run_results.json" in told(missing)
    assert "It is not JSON. Let dbt write it again." in told(broken)
    assert "There is no such file. dbt writes it into its target folder" in told(elsewhere)
    assert "--dbt-manifest goes with --dbt-run-results" in told(alone)
    assert 0 == town.sent


def test_a_trigger_after_dbt(tmp_path: Path) -> None:
    """The same over HTTP: a 409 that says what failed, noted with who asked; else a run."""
    from destinations.standins.server import Server

    town = DaemonTown(tmp_path)
    path = "/api/syncs/customerio.people/runs"
    body = {"by": "dbt", "dbt_run_results": results(GOOD), "dbt_manifest": manifest()}
    with Server({"/customerio": town.customerio, "/orbit": town.orbit}):
        town.settle(more=LISTEN + NEVER)
        with face_of(town) as face:
            bad = face(path, "POST", body | {"dbt_run_results": results(GOOD | {"model.acme.people": "error"})})
            alone = face(path, "POST", {"dbt_run_results": results(GOOD)})
            good = _ended(face, path, body)
            several = _ended(face, path, body | {"dbt_run_results": [results(GOOD)]})
            acts = face.ask("/api/journal")["acts"]

    assert (409, 400, "done", "done") == (bad.status_code, alone.status_code, good, several)
    assert "dbt model people: error." in bad.json()["error"]
    assert "dbt model people: error." in acts[-1]["facts"]["refused"]
    assert ["failed", "done", "done"] == town.results("customerio.people")


def _ended(face: Face, path: str, body: Any) -> str:
    return str(face.ended(face.ask(path, body)["request"])["state"])
