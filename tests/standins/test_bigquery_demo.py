"""`make demo-bigquery`: the demo's story with its tables in the stand-in of BigQuery."""

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
    """The story runs to its end with `[source] type = "bigquery"`: read by streams, without a job."""
    for name, size in (("USERS", 120), ("WORKSPACES", 20), ("ACCOUNTS", 10)):
        monkeypatch.setattr(warehouse, name, size)
    folder, paper = tmp_path / "demo", io.StringIO()

    with opened() as place:
        code = story.tell(folder, report.console(paper), place=place)

        text = paper.getvalue()
        assert 0 == code, text
        read = {session.read_session.table.rsplit("/", 1)[1] for session in place.storage.sessions}
        assert set(warehouse.TABLES) == read
        assert {} == place.standin.jobs
        assert not [one for one in place.standin.log if one.request.path.endswith("/data")]
    assert "bigquery" == tomllib.loads((folder / "config.toml").read_text())["source"]["type"]
    assert "The dataset activation of a stand-in of BigQuery holds the activation scores" in text
    shown = re.findall(r"^\$ syncer --config \S+ (\w+)", text, re.MULTILINE)
    assert ["diff", "sync", "diff", "diff", "sync", "status"] == [
        command for before, command in zip(["", *shown], shown, strict=False) if (before, command) != ("sync", "sync")
    ]
    # What is gone with the stand-in is not offered.
    assert ["sandbox", "rejected"] == re.findall(r"^  syncer --config \S+ (\w+)$", text, re.MULTILINE)
