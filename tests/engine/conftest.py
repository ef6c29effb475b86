"""The stage on which the engine is tested, over each kind of store that the rules have to hold on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from syncer.config_file import DatasetState, LocalState
from tests.engine.stage import Stage
from tests.postgres import PostgresServer, binaries

PLACES = ("on disk", "in bigquery")
"""Where state and control store lie: in files, or in BigQuery and, where there is a server, in PostgreSQL."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of a rule runs in both places; the other tests of the engine in files."""
    if "place" in metafunc.fixturenames and ".test_rules_" in metafunc.module.__name__:
        metafunc.parametrize("place", PLACES, indirect=True)


@pytest.fixture
def place(request: pytest.FixtureRequest) -> str:
    """One of PLACES."""
    return str(getattr(request, "param", PLACES[0]))


@pytest.fixture
def stage(tmp_path: Path, place: str, request: pytest.FixtureRequest) -> Iterator[Stage]:
    path = str(tmp_path / "state")
    if place == PLACES[0]:
        with Stage(tmp_path, state=LocalState(path=path)) as made:
            yield made
        return
    control: dict[str, str] = {}
    if binaries() is not None:
        server: PostgresServer = request.getfixturevalue("postgres")
        control["control"] = server.url()
    state = DatasetState.model_validate({"type": "bigquery", "dataset": "syncer_state", "path": path, **control})
    with Stage(tmp_path, state=state, there=request.getfixturevalue("bigquery")) as made:
        yield made
