"""The example of docs/activation.md. `make test-example` runs these tests; without dbt they say so and are skipped."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.example.site import HOUSE, Site, copied

sys.path.insert(0, str(HOUSE / "examples" / "activation"))

USERS, NIGHT = 1_000, "2026-05-18"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Raw tables of a thousand users, built and tested by dbt as of a night; not to be changed."""
    site = copied(tmp_path_factory.mktemp("example"))
    site.python("-m", "activation.generate", "--users", str(USERS))
    site.build(NIGHT)
    return site


@pytest.fixture
def site(made: Site, tmp_path: Path) -> Site:
    """The same, to be changed."""
    found = copied(tmp_path)
    found.warehouse.write_bytes(made.warehouse.read_bytes())
    return found
