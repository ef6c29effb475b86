"""What tests of alerts share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.alerts.town import Town


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """A town whose services listen, with Slack being told of everything."""
    with Town(tmp_path).served() as town:
        town.settle()
        yield town
    structlog.reset_defaults()
