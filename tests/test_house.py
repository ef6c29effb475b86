"""The house: imports point one way, the engine names no vendor, tests and commands speak in sentences."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
VENDORS = re.compile(r"customer\.?io|salesforce|orbit", re.IGNORECASE)


def modules(package: str) -> dict[str, Path]:
    """Dotted name → file, for every module of a package."""
    found = {}
    for file in sorted((TOP / package).rglob("*.py")):
        parts = list(file.relative_to(TOP).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(file: Path) -> Iterator[str]:
    """Every module that a file imports, also inside functions; what only type checkers import makes no arrow."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layers() -> dict[str, int]:
    """Dotted name of a module or package → its height in the picture of docs/architecture.md."""
    picture = (TOP / "docs" / "architecture.md").read_text().split("```layers\n")[1].split("```")[0]
    lines = picture.strip().splitlines()
    return {name: height for height, line in enumerate(reversed(lines)) for name in line.split()}


def height(name: str, known: dict[str, int]) -> int | None:
    """The height of the picture's entry that a module belongs to; the longest name wins."""
    fitting = [entry for entry in known if name == entry or (entry != "syncer" and name.startswith(f"{entry}."))]
    return known[max(fitting, key=len)] if fitting else None


def test_every_module_is_in_the_picture() -> None:
    """Every module of both packages has its place in the picture of the documentation."""
    known = layers()

    lost = [name for package in ("syncer", "destinations") for name in modules(package) if height(name, known) is None]

    assert [] == lost


def test_the_picture_names_nothing_that_is_gone() -> None:
    """Every name in the picture is a module that exists."""
    existing = modules("syncer") | modules("destinations")

    assert [] == [name for name in layers() if name not in existing]


def test_imports_point_one_way() -> None:
    """A module imports from its own line of the picture or from lines below it."""
    known = layers()
    upwards = []
    for package in ("syncer", "destinations"):
        for name, file in modules(package).items():
            own = height(name, known)
            for target in imports(file):
                if target.split(".")[0] not in ("syncer", "destinations"):
                    continue
                other = height(target, known)
                if own is not None and other is not None and other > own:
                    upwards.append(f"{name} imports {target}")

    assert [] == sorted(set(upwards))


def test_the_engine_names_no_vendor() -> None:
    """No name or import in the code of the engine is a vendor's."""
    found = []
    for name, file in modules("syncer").items():
        for node in ast.walk(ast.parse(file.read_text())):
            words = [getattr(node, part, "") for part in ("id", "attr", "arg", "name", "module")]
            found += [f"{name}: {word}" for word in words if isinstance(word, str) and VENDORS.search(word)]

    assert [] == found


def test_every_test_says_what_is_true() -> None:
    """Every test has a docstring that is a sentence."""
    silent = []
    for file in sorted((TOP / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                text = ast.get_docstring(node) or ""
                if not text.rstrip().endswith((".", "?", "!")):
                    silent.append(f"{file.relative_to(TOP)}:{node.lineno} {node.name}")

    assert [] == silent


def test_every_module_says_what_it_is_for() -> None:
    """Every module of both packages opens with a docstring."""
    silent = [
        name
        for package in ("syncer", "destinations")
        for name, file in modules(package).items()
        if not ast.get_docstring(ast.parse(file.read_text()))
    ]

    assert [] == silent


@pytest.mark.parametrize("word", ["utils", "common", "helpers", "misc"])
def test_no_module_is_a_drawer(word: str) -> None:
    """No module is called by a name that says nothing."""
    assert [] == [name for name in modules("syncer") | modules("destinations") if word in name.split(".")]
