"""The door for adapters of others: the example of docs/adapters.md installs, proves itself, and runs."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from destinations.standins.server import Server, StandIn

HOUSE = Path(__file__).parents[1]
EXAMPLE = HOUSE / "examples" / "adapter_members"
PAGE = (HOUSE / "docs" / "adapters.md").read_text()
KEY = "the-key-of-the-example"

BLOCKS = re.findall(r"<!-- (\S+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
"""File of the example, and the code of it that the page shows."""


def without_blank_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the example as an installer would leave it there.

    No wheel is built: that would need the build backend, and fetch it where it is not.
    """
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    folder = tmp_path / "site"
    name, version = project["project"]["name"].replace("-", "_"), project["project"]["version"]
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    for file in project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]:
        shutil.copy(EXAMPLE / file, folder)
    (info / "METADATA").write_text(f"Metadata-Version: 2.3\nName: {project['project']['name']}\nVersion: {version}\n")
    points = [f"[{group}]\n" + "".join(f"{kind} = {target}\n" for kind, target in found.items())
              for group, found in project["project"]["entry-points"].items()]  # fmt: skip
    (info / "entry_points.txt").write_text("\n".join(points))
    return folder


@pytest.fixture
def service() -> Iterator[Any]:
    """The example's own stand-in, with two members."""
    spec = importlib.util.spec_from_file_location("members_service", EXAMPLE / "tests" / "members_service.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    standin: Any = module.MembersService(KEY)
    standin.members = {"ada@example.com": {"plan": "team"}, "bob@example.com": {}}
    with Server({"": standin}):
        yield standin


@pytest.fixture
def folder(tmp_path: Path, service: Any) -> Path:
    """The example's config and mapping, pointed at the stand-in, and a table with three users."""
    config = (EXAMPLE / "config.toml").read_text()
    (tmp_path / "config.toml").write_text(config.replace("https://members.example.com/api", service.url))
    shutil.copytree(EXAMPLE / "mappings", tmp_path / "mappings")
    with duckdb.connect(tmp_path / "warehouse.duckdb") as warehouse:
        warehouse.execute("create table users (user_id varchar, email varchar, score double)")
        people = [("u_1", "ada@example.com", 80.04), ("u_2", "Bob@Example.com", 12.5), ("u_3", "eve@example.com", 50)]
        warehouse.executemany("insert into users values (?, ?, ?)", people)
    return tmp_path


def run(*arguments: str, site: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python with the example installed, and nothing else of this process's surroundings."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": os.pathsep.join([str(site), str(HOUSE)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MEMBERS_API_KEY": KEY,
    }
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def synced(site: Path, folder: Path) -> tuple[int, dict[str, Any]]:
    """One run: its exit code, and what it says of the one sync."""
    done = run("syncer", "sync", "--json", site=site, folder=folder)
    assert done.stdout, done.stderr
    [document] = json.loads(done.stdout)["syncs"]
    return done.returncode, document


def test_files_that_name_the_example_are_fine(site: Path, folder: Path, service: StandIn) -> None:
    """With the package beside Syncer, `check --offline` knows its kind and its settings, and asks nothing."""
    done = run("syncer", "check", "--offline", "--json", site=site, folder=folder)

    assert (0, True) == (done.returncode, json.loads(done.stdout)["ok"])
    assert 0 == service.count


def test_check_asks_the_service(site: Path, folder: Path, service: StandIn) -> None:
    """A field that the service does not have is told with the mapping's file and line."""
    mapping = folder / "mappings" / "members.toml"
    mapping.write_text(mapping.read_text().replace("score = {", "scroe = {"))
    done = run("syncer", "check", "--json", site=site, folder=folder)
    [problem] = json.loads(done.stdout)["problems"]

    assert 1 == done.returncode
    assert "members.toml:13" in problem["place"]
    assert "no such field" in problem["sentence"]


def test_what_the_adapter_refuses_is_told_by_file_and_line(site: Path, folder: Path) -> None:
    """A mapping to an object that the adapter does not know is refused before anything is asked."""
    mapping = folder / "mappings" / "members.toml"
    mapping.write_text(mapping.read_text().replace('"member"', '"group"'))
    done = run("syncer", "check", "--offline", "--json", site=site, folder=folder)
    [problem] = json.loads(done.stdout)["problems"]

    assert 1 == done.returncode
    assert "members.toml:7" in problem["place"]


def test_without_the_package_its_kind_is_unknown(tmp_path: Path, folder: Path) -> None:
    """Where the package is not installed, the section is told to be of no known kind."""
    done = run("syncer", "check", "--offline", "--json", site=tmp_path / "nowhere", folder=folder)

    assert 1 == done.returncode
    assert "'members' is not a kind of destination" in json.loads(done.stdout)["problems"][0]["sentence"]


def test_scores_arrive_through_the_example(site: Path, folder: Path, service: Any) -> None:
    """A run writes known members and reports the unknown one; the next one has nothing to say until a score moves."""
    code, first = synced(site, folder)

    assert (2, "done", 3, 2, 1) == (code, first["result"], first["planned"], first["accepted"], first["rejected"])
    assert {
        "ada@example.com": {"plan": "team", "score": 80.0, "band": "hot"},
        "bob@example.com": {"score": 12.5, "band": "cold"},
    } == service.members

    _, second = synced(site, folder)
    assert (0, 0) == (second["planned"], second["requests"])

    with duckdb.connect(folder / "warehouse.duckdb") as warehouse:
        warehouse.execute("update users set score = 81 where user_id = 'u_1'")
    _, third = synced(site, folder)
    assert (1, 1) == (third["planned"], third["accepted"])
    assert {"score": 81.0} == json.loads(service.log[-1].request.body)


def test_the_example_passes_the_kit(site: Path) -> None:
    """The tests of the example pass as its author runs them, against the installed package."""
    done = run("pytest", "-q", "-rs", "-p", "no:cacheprovider", str(EXAMPLE), site=site, folder=site)
    skipped = re.findall(r"^SKIPPED \[1\] \S+: (.*)", done.stdout, re.MULTILINE)

    assert 0 == done.returncode, done.stdout[-3_000:]
    assert re.search(r"\d{2} passed", done.stdout)
    # It answers for one record at a time, does nothing by itself, and knows changes as objects only.
    reasons = [
        "This service does not answer for each record",
        "This adapter starts no job",
        "This adapter makes nothing by columns",
    ]
    assert reasons == [re.split(r", or| for a|\.", reason)[0] for reason in skipped]
    assert "3 skipped" in done.stdout


@pytest.mark.parametrize(("file", "code"), BLOCKS, ids=[f"{file} {n}" for n, (file, _) in enumerate(BLOCKS)])
def test_the_page_shows_the_example(file: str, code: str) -> None:
    """Every block of the page that names a file is in that file, line by line."""
    lines, whole = without_blank_lines(code), without_blank_lines((EXAMPLE / file).read_text())
    starts = [start for start in range(len(whole)) if whole[start : start + len(lines)] == lines]

    assert lines
    assert 1 == len(starts)


@pytest.mark.parametrize("file", ["syncer_members.py", "config.toml", "mappings/members.toml"])
def test_the_page_leaves_nothing_out(file: str) -> None:
    """Of the adapter and of the files that use it, the page shows every line, in order."""
    shown = [line for name, code in BLOCKS if name == file for line in without_blank_lines(code)]

    assert without_blank_lines((EXAMPLE / file).read_text()) == shown


def test_every_block_of_python_names_its_file() -> None:
    """The page has no code in Python or TOML that is not the example's."""
    fences = re.findall(r"^```(?:python|toml)$", PAGE, re.MULTILINE)

    assert len(BLOCKS) == len(fences)


def test_the_pages_links_lead_somewhere() -> None:
    """Every file that the page points to is there."""
    links = re.findall(r"\]\(([^)#:]+)\)", PAGE)

    assert links
    assert [] == [link for link in links if not (HOUSE / "docs" / link).exists()]
