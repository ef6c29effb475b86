"""The benchmarks: they run, and the page of figures is what they told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import MARK, PARTS, RESULTS, page

TOP = Path(__file__).resolve().parents[1]
TINY = (
    *("--rows", "2000", "--read", "2000", "--records", "200", "--changes", "200", "--planned", "1000"),
    *(
        "--noted",
        "2000",
        "--entries",
        "20000",
        "--commits",
        "2",
        "--users",
        "2000",
        "--nights",
        "1",
        "--starts",
        "1",
        "--idle",
        "1",
    ),
)


def measured(folder: Path, *words: str) -> dict[str, dict[str, object]]:
    """The results of a run at sizes that say nothing, whose page is what was printed."""
    (folder / "page.md").write_text(f"Text.\n\n{MARK}\n\nFigures of before.\n")
    command = [sys.executable, "-m", "benchmarks", *TINY, "--folder", folder, "--out", folder / "results.json"]
    done = subprocess.run(
        [*command, "--page", folder / "page.md", *words], check=True, stdout=subprocess.PIPE, text=True, cwd=TOP
    )

    assert f"Text.\n\n{MARK}\n\n{done.stdout}" == (folder / "page.md").read_text()
    return dict(json.loads((folder / "results.json").read_text()))


def test_the_page_is_what_was_measured() -> None:
    """No figure of docs/performance.md is another one than was measured: `--redraw --page` writes them."""
    results = json.loads((RESULTS / "latest.json").read_text())

    assert f"\n\n{page(results)}\n" == (TOP / "docs" / "performance.md").read_text().partition(MARK)[2]


def test_a_part_is_measured_again(tmp_path: Path) -> None:
    """`--only` measures one part, and the figures of the others stay as they were, with their own moment and commit."""
    kept = json.loads((RESULTS / "latest.json").read_text())
    (tmp_path / "results.json").write_text(json.dumps(kept))
    results = measured(tmp_path, "--only", "commit")

    assert kept | {"commit": results["commit"]} == results
    assert {"measured", "commit", "sync_ms", "machine", "figures"} == results["commit"].keys()


@pytest.mark.slow
def test_every_part_is_measured(tmp_path: Path) -> None:
    """Every part runs, and tells its table."""
    assert list(PARTS) == list(measured(tmp_path))
