"""Files, saved plans and answers out of bytes: a value, an outcome or a sentence, whatever the bytes are."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS
from tests.workplace import PROJECT

TIMES = 30
SECONDS = 600
"""Of the long form, for all targets together."""


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_the_bytes_are(name: str) -> None:
    """A target copes with bytes of any kind, and with none."""
    chance = random.Random(name)
    with TARGETS[name]() as target:
        target(b"")
        for _ in range(TIMES):
            target(chance.randbytes(64))


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", TARGETS)
def test_bytes_that_reach_new_code(tmp_path: Path, name: str) -> None:
    """So it is when Atheris chooses the bytes by the code that they reach."""
    pytest.importorskip(
        "atheris", reason="Atheris is not here: `make soak` installs it where it has a wheel, Linux on x86-64"
    )
    words = [f"-max_total_time={SECONDS // len(TARGETS)}", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", name, *words], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert 0 == done.returncode, done.stderr[-5000:]
