"""Log lines: JSON or for people, as the config or the command line wants them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.alerts.town import Town


def test_lines_are_as_they_are_asked_for(tmp_path: Path) -> None:
    """`[log] format` says how lines look, `--log-format` overrules it, and so does the environment."""
    with Town(tmp_path).served() as town:
        town.settle('[log]\nformat = "pretty"\n')
        town.customerio.api_key = "another"
        pretty = town.run("sync", "customerio.people")
        flag = town.run("--log-format", "json", "sync", "customerio.people")
        variable = town.run("sync", "customerio.people", env={"SYNCER_LOG_FORMAT": "json"})

    assert [1, 1, 1] == [pretty.code, flag.code, variable.code]
    assert "result=failed" in pretty.err
    assert "\x1b[" not in pretty.err
    for result in (flag, variable):
        (line,) = [json.loads(line) for line in result.err.splitlines()]
        assert ("run", "customerio.people", "failed", "warning") == tuple(
            line[name] for name in ("event", "sync", "result", "level")
        )
