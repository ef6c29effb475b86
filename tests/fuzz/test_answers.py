"""Answers in which somebody changed one thing: every parser of every adapter copes."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.fuzz.meddling import Meddler
from tests.security.fortress import Fortress, a_fortress, adds_up

QUICK = settings(
    max_examples=8, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
SOAK = settings(QUICK, max_examples=int(os.environ.get("SYNCER_FUZZ_EXAMPLES", "2000")), derandomize=False)

COMMANDS = ("sync", "sync", "check", "adopt", "verify")
NAMES = ("customerio", "orbit", "salesforce", "webhook")


@pytest.fixture(scope="module")
def fortress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    with a_fortress(tmp_path_factory.mktemp("fortress")) as made:
        made.people("a text")
        assert 0 == made("sync").code
        yield made


def meet(fortress: Fortress, command: str, name: str, seed: int) -> None:
    """One command whose answers somebody meddles with."""
    fortress.twist(None)
    fortress.sql(f"UPDATE people SET score = ({seed} + length(user_id) * 7) % 101, text = 'text {seed % 13}'")
    fortress.services[name].twist = Meddler(random.Random(seed))
    result = fortress(command, *([name] if command in ("sync", "check") else [f"{name}.people"]), *["--json"])

    assert result.code in (0, 1, 2)
    if command == "sync":
        assert "problems" in result.json or adds_up(result)


@QUICK
@given(st.sampled_from(COMMANDS), st.sampled_from(NAMES), st.integers(0, 2**32))
@example("sync", "orbit", 16540)  # A member whose id is no text.
@example("sync", "salesforce", 3353483334)  # A field whose length is no number.
def test_an_answer_with_one_thing_changed(fortress: Fortress, command: str, name: str, seed: int) -> None:
    """Every command ends with an exit code of its own, its sentences and counts that add up."""
    meet(fortress, command, name, seed)


@pytest.mark.slow
@pytest.mark.timeout(0)
@SOAK
@given(st.sampled_from(COMMANDS), st.sampled_from(NAMES), st.integers(0, 2**32))
def test_many_answers_with_one_thing_changed(fortress: Fortress, command: str, name: str, seed: int) -> None:
    """The same two thousand times."""
    meet(fortress, command, name, seed)
