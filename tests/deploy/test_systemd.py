"""The systemd unit: what systemd itself says of it, and whether its times fit the daemon's."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from syncer.delivery import STOP_SECONDS
from syncer.spans import seconds_of
from tests.workplace import PROJECT

UNIT = PROJECT / "examples" / "deploy" / "syncer.service"
EXPOSURE_MAX = 15
"""Of 100, by `systemd-analyze security`; a unit without any hardening is at 96."""
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that exists."""
    made = tmp_path / "syncer.service"
    made.write_text(UNIT.read_text().replace("/opt/syncer/bin/syncer", sys.executable))
    return made


def settings() -> configparser.SectionProxy:
    """The section [Service]; of a name that is there twice, the last."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # The documented way to keep capitals.
    parser.read(UNIT)
    return parser["Service"]


def analysed(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=60, check=False)


@needs_systemd
def test_systemd_knows_every_setting(unit: Path) -> None:
    """`systemd-analyze verify` has nothing to say."""
    done = analysed("verify", str(unit))

    assert (0, "") == (done.returncode, done.stderr)


@needs_systemd
def test_the_unit_is_hardened(unit: Path) -> None:
    """Hardly anything of the machine is left within reach, by systemd's own measure."""
    done = analysed("security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager", str(unit))

    assert 0 == done.returncode, done.stdout


def test_the_unit_waits_for_what_is_in_flight() -> None:
    """A stop takes at most what the daemon takes for it, and the watchdog is more patient than a stop."""
    unit = settings()

    assert "notify" == unit["Type"]
    assert seconds_of(unit["TimeoutStopSec"]) > STOP_SECONDS
    assert seconds_of(unit["WatchdogSec"].replace("min", "m")) > STOP_SECONDS * 2
    assert "/bin/kill -HUP $MAINPID" == unit["ExecReload"]


def test_secrets_are_credentials() -> None:
    """No variable is set in the unit, and each credential is named in the page by the path that a config refers to."""
    text = UNIT.read_text()
    page = (PROJECT / "docs" / "deploy.md").read_text()

    assert not re.search(r"^#?Environment", text, re.MULTILINE)
    for name in re.findall(r"^#?LoadCredential=(\w+):", text, re.MULTILINE):
        assert f"file:/run/credentials/syncer.service/{name}" in page
