"""What `check` says of a control store on a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from destinations.standins.server import Server
from syncer.cli import cli
from tests.crash.standins import SlowCustomerio
from tests.crash.test_kill import PEOPLE, night
from tests.postgres import PASSWORD, PostgresServer
from tests.workplace import Result, Workplace

Check = Callable[..., Result]


@pytest.fixture
def check(tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Check]:
    """Run `check` in this process, with the URL that is given."""
    workplace, standin = Workplace(tmp_path, postgres.url()), SlowCustomerio()

    def run(url: str, *words: str) -> Result:
        monkeypatch.setenv("SYNCER_CONTROL_URL", url)
        done = CliRunner().invoke(cli, ["--config", str(tmp_path / "config.toml"), "check", *words])
        result = Result(done.exit_code, done.stdout, done.stderr)

        told = result.out + result.err + repr(done.exception)
        assert [] == [secret for secret in (url, PASSWORD, "reader-secret") if secret in told]
        return result

    with Server({"": standin}):
        workplace.write({"customerio": standin.settings()}, {"customerio": PEOPLE})
        workplace.sql(night(0, is_growing=False))
        yield run


def test_a_store_that_is_fit(check: Check, postgres: PostgresServer) -> None:
    """A store that can be written is among what was looked at, and nothing of it is made by looking."""
    postgres.query("DROP SCHEMA IF EXISTS syncer CASCADE")
    result = check(postgres.url(), "--json")

    assert (0, True) == (result.code, result.json["ok"])
    assert "the control store" in result.json["checked"]
    assert [] == postgres.query("SELECT 1 FROM pg_namespace WHERE nspname = 'syncer'")


def test_a_store_out_of_reach(check: Check, postgres: PostgresServer) -> None:
    """What is wrong with it stands beside everything else that is wrong, once; offline nobody asks."""
    url = postgres.url(port=1)
    result = check(url, "--json")

    (problem,) = result.json["problems"]
    assert 1 == result.code
    assert problem["place"].endswith("state.control")
    assert problem["sentence"].startswith("The control store cannot be reached (")
    assert "customerio.people: customer.io person" in result.json["checked"]
    assert 0 == check(url, "--offline").code


def test_a_role_without_rights(check: Check, postgres: PostgresServer) -> None:
    """Whoever may not make the schema is told by `check`, and not by the first run in the night."""
    postgres.query("DROP SCHEMA IF EXISTS syncer CASCADE; CREATE ROLE reader LOGIN PASSWORD 'reader-secret'")
    try:
        result = check(postgres.url(user="reader", password="reader-secret"), "--json")
    finally:
        postgres.query("DROP ROLE reader")

    (problem,) = result.json["problems"]
    assert "may not write to the schema syncer" in problem["sentence"]
