"""The models on BigQuery: compiled by dbt's adapter, analysed by GoogleSQL, computed by the stand-in; never live."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

pytest.importorskip("dbt.cli.main", reason="dbt is not installed here: `make test-example`.")
pytest.importorskip("dbt.adapters.bigquery", reason="dbt-bigquery is not installed here: `make test-example`.")

import pyarrow.csv

from tests.example.conftest import NIGHT
from tests.example.site import Site
from tests.standins.bigquery import Warehouse

PROFILE = """
activation:
  target: bigquery
  outputs:
    bigquery:
      type: bigquery
      method: oauth-secrets
      token: none
      project: acme
      dataset: activation
      location: EU
      threads: 2
"""
RAW = ("users", "workspaces", "accounts", "memberships", "events", "payments", "experiments", "loads")
MARTS = {"users": "user_id", "workspaces": "workspace_id", "accounts": "account_id"}


@pytest.fixture(scope="module")
def computed(made: Site, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """The stand-in with the raw tables and every model, each as its compiled SQL makes it."""
    folder = tmp_path_factory.mktemp("bigquery")
    (folder / "profiles.yml").write_text(PROFILE)
    made.dbt(
        "--quiet", "compile", "--no-introspect", "--no-populate-cache", "--profiles-dir", str(folder),
        "--target-path", str(folder / "target"), "--vars", json.dumps({"as_of": f"{NIGHT} 00:00:00+00"}),
    )  # fmt: skip
    manifest = json.loads((folder / "target" / "manifest.json").read_text())
    warehouse = Warehouse()
    with duckdb.connect(str(made.warehouse), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for table in RAW:
            warehouse.put(f"raw.{table}", connection.sql(f"SELECT * FROM raw.{table}").to_arrow_table())
    seed = pyarrow.csv.read_csv(made.home / "dbt" / "seeds" / "weights.csv")
    warehouse.put("activation_intermediate.weights", seed)
    for node in in_order(manifest):
        name = f"{node['schema']}.{node['alias']}"
        if node["config"]["materialized"] == "view":
            warehouse.view(name, node["compiled_code"])
        else:
            rows = warehouse.run(node["compiled_code"]).rows
            assert rows is not None
            warehouse.put(name, rows)
    return warehouse


def in_order(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The models, each after those that it reads."""
    models = {name: node for name, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    done: dict[str, dict[str, Any]] = {}
    while len(done) < len(models):
        for name, node in models.items():
            if name not in done and all(one in done or one not in models for one in node["depends_on"]["nodes"]):
                done[name] = node
    return list(done.values())


@pytest.mark.parametrize("mart", MARTS)
def test_the_scores_are_the_same_on_bigquery(made: Site, computed: Warehouse, mart: str) -> None:
    """GoogleSQL accepts what is compiled for BigQuery, and it makes the rows that DuckDB has, with the same version."""
    rows = computed.run(f"SELECT * FROM activation.{mart} ORDER BY {MARTS[mart]}").rows
    assert rows is not None
    with duckdb.connect(str(made.warehouse), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        expected = connection.sql(f"SELECT * FROM activation.{mart} ORDER BY {MARTS[mart]}").to_arrow_table()

    assert expected.column_names == rows.column_names
    assert [plain(row) for row in expected.to_pylist()] == [plain(row) for row in rows.to_pylist()]


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """Numbers to the digits that both engines agree on, and instants as such."""

    def one(value: Any) -> Any:
        if isinstance(value, float):
            return round(value, 3)
        return value.timestamp() if isinstance(value, datetime) else value

    return {name: one(value) for name, value in row.items()}


def test_the_profile_that_ships_names_both(made: Site) -> None:
    """The project's own profile has DuckDB as its default and BigQuery beside it."""
    text = (made.home / "dbt" / "profiles.yml").read_text()

    assert "target: duckdb" in text
    assert "type: bigquery" in text
    assert Path(made.home / "dbt" / "dbt_project.yml").exists()
