"""docs/activation.md: its commands run in their order, and print what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("dbt.cli.main", reason="dbt is not installed here: `make test-example`.")

from activation import walk
from tests.example.site import HOUSE, copied

PAGE = HOUSE / "docs" / "activation.md"


def test_the_page_prints_what_it_says(tmp_path: Path) -> None:
    """Every command of the page, run in order in a fresh copy, ends well with the output that stands below it."""
    site = copied(tmp_path)

    output = site.python("-m", "activation.walk")

    assert output.count("\n$ ") + 1 == len(list(walk.steps(PAGE.read_text())))
    # The walk has tried other weights, and has put these back.
    seed = Path("dbt", "seeds", "weights.csv")
    assert (HOUSE / "examples" / "activation" / seed).read_bytes() == (site.home / seed).read_bytes()
    assert {"cohorts.png", "weights.png"} == {file.name for file in (site.home / "pictures").iterdir()}


def test_a_page_that_lies_is_found_out(tmp_path: Path) -> None:
    """An output that is not the one in the page fails the walk, and is named."""
    site = copied(tmp_path)
    page = site.home.parents[1] / "docs" / "activation.md"
    page.write_text("```console\n$ echo one 12:00:00\none 13:00:00\n$ echo two\nthree\n```\n")

    site.python("-m", "activation.walk", known=(1,))
    site.python("-m", "activation.walk", "--write")

    assert "```console\n$ echo one 12:00:00\none 12:00:00\n$ echo two\ntwo\n```\n" == page.read_text()


def test_the_code_of_the_page_is_python() -> None:
    """The Airflow example can be compiled; Airflow itself is not installed here."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)

    assert blocks
    for block in blocks:
        compile(block, "docs/activation.md", "exec")


def test_the_pictures_of_the_page_are_there_and_small() -> None:
    """Each picture that the page shows has a description, is there, and is smaller than 200 kB."""
    shown = re.findall(r"!\[(.+?)\]\((.+?)\)", PAGE.read_text())

    assert 2 == len(shown)
    for about, name in shown:
        assert len(about) > 20
        assert 10_000 < (PAGE.parent / name).stat().st_size < 200_000
