"""A control store on a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from syncer.config_file import LocalState
from syncer.control import Control
from tests.postgres import PostgresServer


@pytest.fixture
def where(tmp_path: Path, postgres: PostgresServer) -> LocalState:
    """The section `[state]` for an empty store."""
    return LocalState.model_validate({"path": str(tmp_path / "state"), "control": postgres.url(), "lease_seconds": 1})


@pytest.fixture
def control(where: LocalState) -> Iterator[Control]:
    """The store, open for writing."""
    made = Control.open(where)
    yield made
    made.close()
