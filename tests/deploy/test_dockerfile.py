"""The container: what its file says, its steps without an engine, and its health check."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from syncer import __version__
from tests.deploy.dockerfile import Stage, stages
from tests.service.town import Town
from tests.workplace import PROJECT, Process, until


def address(daemon: Process) -> str:
    """Where a daemon listens, as it says itself."""
    until(lambda: "serving" in daemon.err, "a daemon that serves")
    found = re.search(r'"address": "([^"]+)"', daemon.err)
    assert found is not None
    return found[1]


def is_healthy(stage: Stage, url: str, path: str = os.path.dirname(sys.executable)) -> bool:  # noqa: PTH120 - a link.
    """What the image's health check says of the daemon there."""
    environment = stage.environment | {"PATH": path, "SYNCER_HEALTH": f"{url}/healthz"}
    done = subprocess.run(stage.healthcheck, env=environment, capture_output=True, timeout=30, check=False)
    return done.returncode == 0


def test_the_image_is_small_in_rights() -> None:
    """Two stages from pinned bases; the last one runs as a number that is not root, and is checked and stopped well."""
    build, image = stages()

    assert all(re.fullmatch(r"python:3\.\d+-slim-[a-z]+", stage.base) for stage in (build, image))
    assert "build" == build.name
    assert ["10001:10001"] == image.all("USER")
    assert ["SIGTERM"] == image.all("STOPSIGNAL")
    assert ['["syncer"]'] == image.all("ENTRYPOINT")
    assert ["/etc/syncer/config.toml"] == [image.environment["SYNCER_CONFIG"]]
    assert ["--from=build /opt/syncer /opt/syncer"] == image.all("COPY")
    assert [] == [step for step in [*build.steps, *image.steps] if step[0] in ("ADD", "ARG")]


def test_the_image_holds_no_secret() -> None:
    """No variable of the image is one, and what is copied are the packages alone."""
    build, image = stages()
    ignored = (PROJECT / ".dockerignore").read_text().splitlines()

    assert {"PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "SYNCER_CONFIG", "SYNCER_HEALTH"} == set(
        image.environment
    )
    assert {} == build.environment
    assert "*" in ignored
    assert {source.rstrip("/") for source in build.sources} == {
        line[1:].rstrip("/") for line in ignored if line.startswith("!")
    }
    assert [] == [source for source in build.sources if not (PROJECT / source).exists()]


def test_what_the_wheel_needs_is_copied() -> None:
    """Each file that the build reads, by pyproject.toml, is among those that the image copies."""
    build, _ = stages()
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]

    needed = {"pyproject.toml", project["project"]["readme"], *wheel["packages"], *wheel["force-include"]}
    assert needed == set(build.sources)


def test_the_version_that_is_shown_is_this_one() -> None:
    """Who copies a command or a manifest gets the version that the files are of."""
    files = [PROJECT / "Dockerfile", PROJECT / "docs" / "deploy.md", *(PROJECT / "examples" / "deploy").rglob("*.yaml")]
    told = {tag for file in files for tag in re.findall(r"syncer:(\d[\w.]*)", file.read_text())}
    told |= set(re.findall(r"newTag: (\S+)", (PROJECT / "examples/deploy/kubernetes/kustomization.yaml").read_text()))

    assert {__version__} == told


def test_the_health_check_tells_a_daemon_that_lives(town: Town) -> None:
    """The image's own command succeeds while a daemon answers, and fails when there is none."""
    image = stages()[-1]
    daemon = town.start("serve")
    try:
        url = address(daemon)
        alive = is_healthy(image, url)
    finally:
        daemon.kill()

    assert (True, False) == (alive, is_healthy(image, url))


@pytest.mark.slow
def test_the_steps_build_a_daemon(town: Town, tmp_path: Path) -> None:
    """The build stage's steps, below a folder in place of /, make a `syncer` that serves and is found healthy."""
    build, image = stages()
    (source,) = build.all("WORKDIR")
    root = tmp_path / "root"
    work = root / source.lstrip("/")
    work.mkdir(parents=True)
    for name in build.sources:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, work / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(PROJECT / name, work / name)
    for step in build.all("RUN"):
        below = step.replace("/opt/syncer", str(root / "opt/syncer"))
        with_ours = below.replace("python -m venv", f"{sys.executable} -m venv")
        subprocess.run(["/bin/sh", "-ec", with_ours], cwd=work, check=True, timeout=900)
    shutil.rmtree(work)

    installed = Installed(town, root / "opt/syncer/bin")
    version = subprocess.run([installed.syncer, "--version"], capture_output=True, text=True, check=True).stdout
    daemon = installed.serve({"PATH": str(installed.programs)})
    try:
        healthy = is_healthy(image, address(daemon), str(installed.programs))
    finally:
        daemon.kill()

    assert __version__ in version
    assert healthy
    assert not (installed.programs / "pip").exists()


class Installed:
    """A town whose daemon is the program that was built."""

    def __init__(self, town: Town, programs: Path) -> None:
        self.programs = programs
        self.syncer = str(programs / "syncer")
        self._town = town

    def serve(self, environment: Mapping[str, str]) -> Process:
        """Start it in the town's folder."""
        words = [self.syncer, "--config", str(self._town.folder / "config.toml"), "serve"]
        return Process(words, self._town.folder, environment | {"HOME": str(self._town.folder)}, 99)
