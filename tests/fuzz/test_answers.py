"""Answers that were right until somebody changed one thing in them: every parser of every adapter copes."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from destinations.standins.server import Answer, Request
from tests.security.fortress import Fortress, a_fortress, adds_up

QUICK = settings(
    max_examples=8, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
SOAK = settings(QUICK, max_examples=int(os.environ.get("SYNCER_FUZZ_EXAMPLES", "2000")), derandomize=False)

JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 10**400, 1.5, float("nan"), float("inf"), "", "x", "..", "\x00", "\ud800", "é" * 300),
    *([], {}, [[]], [None], {"a": None}, ["x"] * 50, "2026-13-45T99:99:99Z", "9999-12-31T23:59:59+23:59", "1e999"),
)
COMMANDS = ("sync", "sync", "check", "adopt", "verify")
NAMES = ("customerio", "orbit", "salesforce", "webhook")


def changed(document: Any, chance: random.Random) -> Any:
    """The document with one part of it replaced, gone or doubled."""
    if isinstance(document, dict) and document and chance.random() < 0.85:
        name = chance.choice(sorted(document))
        if chance.random() < 0.15:
            return {key: value for key, value in document.items() if key != name}
        return document | {name: changed(document[name], chance)}
    if isinstance(document, list) and document and chance.random() < 0.85:
        place = chance.randrange(len(document))
        if chance.random() < 0.15:
            return document + document[:1]
        return [*document[:place], changed(document[place], chance), *document[place + 1 :]]
    return chance.choice(JUNK)


class Meddler:
    """Changes one thing in some of the answers; the seed decides."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def __call__(self, _: Request, answer: Answer) -> Answer:
        chance = self._chance
        if chance.random() < 0.5:
            return answer
        body = answer.encoded()[0]
        status = chance.choice((answer.status, answer.status, answer.status, 200, 201, 207, 400, 404, 409))
        try:
            body = json.dumps(changed(json.loads(body), chance)).encode()
        except ValueError:
            cut = chance.randint(0, len(body))
            body = body[:cut] + bytes(chance.randrange(256) for _ in range(4)) + body[cut:]
        headers = {name: chance.choice(("", "x", "\xff", value)) for name, value in answer.headers.items()}
        return Answer(status, body, {"Content-Type": "application/json"} | headers)


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
    fortress.services[name].twist = Meddler(seed)
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
