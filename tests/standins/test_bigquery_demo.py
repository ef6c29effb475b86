"""`make demo-bigquery`: the demo's story with tables and state in the stand-in of BigQuery."""

from __future__ import annotations

import io
import re
import tomllib
from pathlib import Path

import pytest

from syncer import report
from syncer.demo import story, warehouse
from tests.standins.bigquery.demo import opened


def test_the_story_is_told_from_bigquery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The story runs to its end with source and state in BigQuery, which compares the two in queries of its own."""
    for name, size in (("USERS", 120), ("WORKSPACES", 20), ("ACCOUNTS", 10)):
        monkeypatch.setattr(warehouse, name, size)
    folder, paper = tmp_path / "demo", io.StringIO()

    with opened() as place:
        code = story.tell(folder, report.console(paper), place=place)
        jobs = [(job.kind, job.failure) for job in place.standin.jobs.values()]
        datasets = {stored.dataset for stored in place.standin.warehouse.tables.values()}

    text = paper.getvalue()
    said = " ".join(text.split())
    config = tomllib.loads((folder / "config.toml").read_text())
    assert 0 == code, text
    assert ("bigquery", "bigquery") == (config["source"]["type"], config["state"]["type"])
    assert {warehouse.SCHEMA, config["state"]["dataset"]} <= datasets
    assert [] == [failure for _, failure in jobs if failure]
    assert f"BigQuery compared the two: in {[kind for kind, _ in jobs].count('query')} queries" in said
    assert "The dataset activation of a stand-in of BigQuery holds the activation scores" in said
    shown = re.findall(r"^\$ syncer --config \S+ (\w+)", text, re.MULTILINE)
    assert ["diff", "sync", "diff", "diff", "sync", "status"] == [
        command for before, command in zip(["", *shown], shown, strict=False) if (before, command) != ("sync", "sync")
    ]
    # What is gone with the stand-in is not offered.
    assert ["sandbox", "rejected"] == re.findall(r"^  syncer --config \S+ (\w+)$", text, re.MULTILINE)
