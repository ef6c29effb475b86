"""As few rights as will do: whoever lacks one is told which, and the daemon gives none to strangers."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Answer
from tests.security.fortress import Fortress, a_fortress
from tests.workplace import Result, until


@pytest.fixture(scope="module")
def fortress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    with a_fortress(tmp_path_factory.mktemp("fortress")) as made:
        yield made


def told(result: Result) -> str:
    return " ".join((result.out + " " + result.err).split())


def no_object(org: SalesforceStandIn) -> None:
    del org.org.objects["Contact"]


def no_create(org: SalesforceStandIn) -> None:
    org.org.objects["Contact"].is_createable = False


def no_field(org: SalesforceStandIn) -> None:
    del org.org.objects["Contact"].fields["Activation_Score__c"]


def no_edit(org: SalesforceStandIn) -> None:
    org.org.objects["Contact"].fields["Activation_Score__c"]["updateable"] = False


@pytest.mark.parametrize(
    ("take", "words"),
    [
        (no_object, "Salesforce has no object Contact, or this user may not see it."),
        (no_create, "This user may not update or create Contact records; give the user the right."),
        (no_field, "Contact has no field Activation_Score__c, or this user may not see it."),
        (no_edit, "Activation_Score__c is read-only for this user; leave it out, or give the edit right."),
    ],
)
def test_a_right_that_salesforce_does_not_give(
    tmp_path: Path, take: Callable[[SalesforceStandIn], None], words: str
) -> None:
    """`check` names the right on the object or field that the integration's user lacks, and writes nothing."""
    with a_fortress(tmp_path) as fortress:
        take(fortress.services["salesforce"])
        checked = fortress("check", "salesforce")
        written = [one for one in fortress.services["salesforce"].log if "/composite" in one.request.path]

    assert 1 == checked.code
    assert words in told(checked)
    assert [] == written


@pytest.mark.parametrize(
    ("name", "path", "status", "words"),
    [
        ("customerio", "/api/v", 401, "api_key"),
        ("customerio", "/v1/", 401, "app_key"),
        ("orbit", "/", 401, "Put a valid one into api_key."),
        ("orbit", "/", 403, "gives this API key no right to the workspace"),
        ("webhook", "/", 401, "refused the signature"),
        ("webhook", "/", 403, "what the receiver allows"),
        ("salesforce", "/services/oauth2/token", 401, "client_id"),
    ],
)
def test_a_key_that_may_not_is_named(fortress: Fortress, name: str, path: str, status: int, words: str) -> None:
    """A key without the right ends its own destination with the setting to correct, and not with the key."""
    answer = Answer(status, {"error": "invalid_client", "meta": {"error": "unauthorized"}})
    service = fortress.services[name]
    service.twist = lambda request, real: answer if path in request.path else real
    checked = fortress("check", name)
    service.twist = None

    assert 1 == checked.code
    assert words in told(checked)


def test_reading_needs_the_reading_key_only(fortress: Fortress) -> None:
    """customer.io without an `app_key` is written to as ever; only what reads says that it needs one."""
    body = fortress.services["customerio"].settings()
    config = fortress.folder / "config.toml"
    text = config.read_text()
    line = next(line for line in body.splitlines() if line.startswith("app_key"))
    config.write_text(text.replace(line + "\n", ""))
    sent, read = fortress("sync", "customerio"), fortress("verify", "customerio.people")
    config.write_text(text)

    assert 0 == sent.code
    assert (1, True) == (read.code, "app_key" in told(read))


# --- the daemon ------------------------------------------------------------------------------------------------------


def test_the_daemon_gives_nothing_to_strangers(tmp_path: Path) -> None:
    """Without the token nothing but its health is told; with it no page of another site can approve a plan, a huge
    body is no way in, and no answer holds a value."""
    with a_fortress(tmp_path) as fortress:
        (tmp_path / "token").write_text("the-token-of-the-daemon")
        fortress.settle('\n[service]\nlisten = "127.0.0.1:0"\ntoken = "file:token"\n')
        process = fortress.start("serve")
        until(lambda: '"serving"' in process.err, "the daemon never serves", 60)
        line = next(line for line in process.err.splitlines() if '"serving"' in line)
        address = json.loads(line)["address"]
        bearer = {"Authorization": "Bearer the-token-of-the-daemon"}
        form = bearer | {"Content-Type": "text/plain"}

        assert 200 == requests.get(f"{address}/healthz", timeout=10).status_code
        assert 401 == requests.get(f"{address}/api/syncs", timeout=10).status_code
        assert (
            401 == requests.get(f"{address}/api/syncs", headers={"Authorization": "Bearer x"}, timeout=10).status_code
        )
        known = requests.get(f"{address}/api/syncs", headers=bearer, timeout=10)
        assert (200, False) == (known.status_code, "the-token" in known.text or "@example.com" in known.text)
        assert 401 == requests.post(f"{address}/api/runs/1/approval", json={"by": "x"}, timeout=10).status_code
        simple = requests.post(f"{address}/api/runs/1/approval", data='{"by": "x"}', headers=form, timeout=10)
        assert simple.status_code in (403, 415)
        huge = requests.post(f"{address}/api/runs/1/approval", data=b"x" * 5_000_000, headers=form, timeout=10)
        assert huge.status_code in (400, 403, 413, 415)
        process.signal(signal.SIGTERM)
        result = process.end(60)

    assert "the-token" not in result.err + result.out
    assert 0 == result.code
