"""The stage on which the engine is tested, over each kind of store that the rules have to hold on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from syncer.config_file import LocalState
from tests.engine.stage import Stage
from tests.postgres import PostgresServer

CONTROLS = ("sqlite", "postgres")
"""Where the control store may lie."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of a rule runs over every control store; the other tests of the engine over the plain one."""
    if "control" in metafunc.fixturenames and ".test_rules_" in metafunc.module.__name__:
        metafunc.parametrize("control", CONTROLS, indirect=True)


@pytest.fixture
def control(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings of `[state]` for the control store."""
    if getattr(request, "param", CONTROLS[0]) != "postgres":
        return {}
    server: PostgresServer = request.getfixturevalue("postgres")
    return {"control": server.url()}


@pytest.fixture
def stage(tmp_path: Path, control: dict[str, str]) -> Iterator[Stage]:
    with Stage(tmp_path, state=LocalState.model_validate({"path": str(tmp_path / "state"), **control})) as made:
        yield made
