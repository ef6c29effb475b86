"""docs/security.md and the tests agree: no line without a test, no test without a line."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.workplace import PROJECT

TESTS = PROJECT / "tests"
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def page() -> str:
    return (PROJECT / "docs" / "security.md").read_text()


def names_in(file: Path) -> set[str]:
    """Names of all test functions of a file, also of those in classes."""
    tree = ast.parse(file.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def shown_lines() -> list[str]:
    """The lines of all tables that have a column for tests."""
    found, is_inside = [], False
    for line in page().splitlines():
        if not line.startswith("|"):
            is_inside = False
        elif line.rstrip().endswith("Shown by |"):
            is_inside = True
        elif is_inside and not line.startswith("| ---"):
            found.append(line)
    return found


def test_every_line_names_a_test_that_exists() -> None:
    """Each threat that the page says is held names at least one test, and each named test is there."""
    lines = shown_lines()

    assert len(lines) > 30
    assert [] == [line for line in lines if not NAMED.search(line)]
    gone = [
        f"{file}::{name}"
        for file, name in NAMED.findall(page())
        if not (TESTS / file).exists() or name not in names_in(TESTS / file)
    ]
    assert [] == gone


def test_every_test_is_in_the_threat_model() -> None:
    """Each test of this folder stands in the page beside what it shows."""
    named = set(NAMED.findall(page()))
    here = {
        (f"security/{file.name}", name) for file in (TESTS / "security").glob("test_*.py") for name in names_in(file)
    }

    assert set() == here - named
