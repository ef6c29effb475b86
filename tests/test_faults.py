"""Every mistake that people make in the files is told as a sentence with its place, one folder per mistake.

A folder holds what differs from `base` and the whole text that the user is to see; `absent.txt` names what of
`base` is not there.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from syncer.config import load
from syncer.errors import UserError
from tests.standins import paper

FAULTS = Path(__file__).parent / "faults"
CASES = sorted(folder.name for folder in FAULTS.iterdir() if folder.name != "base")

SECRETS = {"PAPER_API_KEY": "hush-this-is-the-key", "PAPER_TIMEOUT": "hush-15", "PAPER_EMPTY": ""}
WRITTEN_SECRETS = ("hush", "7788994455")
"""Secrets that stand in the files themselves."""
JARGON = ("Traceback", "pydantic", "Input should", "validation error", "tomllib", "None", "[type=", "dict", "str ")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    shutil.copytree(FAULTS / "base", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(case: str, folder: Path) -> None:
    absent = FAULTS / case / "absent.txt"
    for name in absent.read_text().split() if absent.exists() else []:
        (folder / name).unlink()
    shutil.copytree(FAULTS / case, folder, dirs_exist_ok=True)


def test_the_base_of_all_faults_is_without_fault(folder: Path) -> None:
    """What each faulty folder is laid over loads, so its mistake is the only one."""
    config = load(folder / "config.toml", paper.adapter, paper.kinds)

    assert ["paper.people"] == [sync.name for sync in config.syncs]


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_told_with_its_place_and_without_secrets(case: str, folder: Path) -> None:
    """The user sees exactly the sentences that stand beside the fault, and neither jargon nor a secret."""
    put(case, folder)

    with pytest.raises(UserError) as raised:
        load(folder / "config.toml", paper.adapter, paper.kinds)

    told = str(raised.value)
    assert (FAULTS / case / "expected.txt").read_text() == told + "\n"
    assert [] == [word for word in (*JARGON, *WRITTEN_SECRETS) if word in told]
    assert raised.value.__cause__ is None


def test_there_are_enough_mistakes_here_to_trust_the_rest() -> None:
    """Mistakes are told apart: a hundred different texts at least."""

    assert 100 <= len({(FAULTS / case / "expected.txt").read_text() for case in CASES})
