"""What is shipped is listed: each package that runs beside the daemon, with its version, in a form that tools read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tests.workplace import PROJECT

NAME = re.compile(r"[A-Za-z0-9._-]+")


def direct() -> dict[str, str]:
    """Name → requirement of every package that Syncer itself needs."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return {_normal(NAME.match(one)[0]): one for one in project["dependencies"]}  # type: ignore[index]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_has_a_lowest_version() -> None:
    """No package is taken in whatever version there is, and none from an address."""
    assert [] == [one for one in direct().values() if ">=" not in one or "@" in one]


def test_every_dependency_is_used_and_installed() -> None:
    """What is named is there; a name that somebody else could register by its misspelling would not be."""
    for name in direct():
        assert metadata.version(name)


def test_the_bill_of_materials_names_what_is_shipped(tmp_path: Path) -> None:
    """`make sbom`'s tool writes a valid CycloneDX document that has each of our dependencies with its version."""
    pytest.importorskip("cyclonedx_py", reason="it comes with the group `supply`: pip install --group supply")
    file = tmp_path / "sbom.json"
    words = ["environment", "--pyproject", str(PROJECT / "pyproject.toml"), "--mc-type", "application"]
    words += ["--output-reproducible", "--validate", "-o", str(file), sys.executable]
    subprocess.run([sys.executable, "-m", "cyclonedx_py", *words], check=True, capture_output=True)
    document = json.loads(file.read_text())
    listed = {_normal(one["name"]): one["version"] for one in document["components"]}

    assert ("CycloneDX", "syncer") == (document["bomFormat"], document["metadata"]["component"]["name"])
    assert {name: metadata.version(name) for name in direct()} == {name: listed.get(name) for name in direct()}
