"""Who reads from BigQuery: Google's own default, a key file, or an account that these may act as."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import iam

from destinations.standins.server import Answer, Request, Server, StandIn, Table
from syncer.errors import ServiceUnavailable
from syncer.sources.bigquery import BigQuery, Patience
from tests.sources.bigquery_here import PATIENCE, BigQueryHere, settings
from tests.sources.test_bigquery import refused, sync

ACCOUNT = "sync@acme.test"


class Logins(StandIn):
    """Google's login: tokens for signed assertions, and for accounts that their bearer may act as."""

    kind = "google"
    title = "Google"

    def handle(self, request: Request) -> Answer:
        if request.path == "/token":
            assertion = request.body.decode().split("assertion=")[1].split("&")[0].split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(assertion + "=="))
            return Answer(200, {"access_token": f"of {claims['iss']}", "expires_in": 3600, "token_type": "Bearer"})
        if request.parts[-1] == f"{ACCOUNT}:generateAccessToken":
            bearer = request.headers["authorization"].removeprefix("Bearer ")
            return Answer(200, {"accessToken": f"of {ACCOUNT} by {bearer}", "expireTime": "2999-01-01T00:00:00Z"})
        return Answer(404)

    def settings(self) -> str:
        return ""

    def tables(self) -> list[Table]:
        return []

    def seed(
        self,
        people: Iterable[Mapping[str, Any]],
        workspaces: Iterable[Mapping[str, Any]],
        accounts: Iterable[Mapping[str, Any]],
    ) -> None:
        """Nobody is to be put here."""


@pytest.fixture
def bearers(here: BigQueryHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., set[str]]]:
    """As whom BigQuery was asked by a source of these settings. `key` stands for the path of a key file.

    The config's own `endpoint` would mean a stand-in, which is spoken to without credentials.
    """
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", here.rest.url)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    logins = Logins()
    with Server({"": logins}):
        monkeypatch.setattr(iam, "_IAM_ENDPOINT", logins.url + "/v1/accounts/{}:generateAccessToken")
        key = key_file(tmp_path, logins.url)

        def asked(default: bool, **options: Any) -> set[str]:
            monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key) if default else "")
            source = BigQuery(settings(**options | ({} if default else {"credentials": key})), patience=PATIENCE)
            source.schema(sync())
            source.schema(sync())
            return {exchange.request.headers["authorization"] for exchange in here.rest.log}

        yield asked


@pytest.mark.parametrize("default", [True, False])
def test_a_key_is_used_by_default_or_by_setting(
    here: BigQueryHere, bearers: Callable[..., set[str]], default: bool
) -> None:
    """A key file that the environment names is Google's own default; one that `credentials` names is used instead."""
    here.users(3)

    assert {"Bearer of reader@acme.test"} == bearers(default)


def test_another_account_is_acted_as(here: BigQueryHere, bearers: Callable[..., set[str]]) -> None:
    """With `impersonate` requests carry a token of that account, which the reader's own token was exchanged for."""
    here.users(3)

    assert {f"Bearer of {ACCOUNT} by of reader@acme.test"} == bearers(True, impersonate=ACCOUNT)


def test_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without credentials the sentence names the three ways to give some."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")

    sentence = refused(BigQuery(settings(), patience=PATIENCE), sync())

    assert sentence.startswith("source.credentials: No credentials of Google were found. Run `gcloud auth")


def test_a_key_file_that_is_none(tmp_path: Path) -> None:
    """A key file that is missing or damaged is told by its path, and never quoted."""
    damaged = tmp_path / "key.json"
    damaged.write_text('{"private_key": "secret"}')

    for path in (damaged, tmp_path / "nothing.json"):
        sentence = refused(BigQuery(settings(credentials=path), patience=PATIENCE), sync())

        assert f"source.credentials: {path} is not a readable key file" in sentence
        assert "secret" not in sentence


@pytest.mark.parametrize(
    ("impersonate", "said"),
    [(None, "Google refuses these credentials."), ("sync@acme.test", "Service Account Token Creator")],
)
def test_credentials_that_google_refuses(
    here: BigQueryHere, tmp_path: Path, impersonate: str | None, said: str
) -> None:
    """A key that Google's login refuses is told with what to do, and so is one that may not impersonate."""
    here.rest.trouble("status", times=None, answer=Answer(400, {"error": "invalid_grant"}))
    chosen = settings(credentials=key_file(tmp_path, here.rest.url), impersonate=impersonate)

    assert said in refused(BigQuery(chosen, patience=PATIENCE), sync())


def test_a_login_service_that_is_out_of_reach(here: BigQueryHere, tmp_path: Path) -> None:
    """When the login cannot be reached, nothing is wrong with the settings."""
    here.rest.trouble("close", times=None)
    hurried = Patience(repeat_seconds=0.2, wait_first_seconds=0.01, wait_max_seconds=0.02)
    chosen = settings(credentials=key_file(tmp_path, here.rest.url))

    with pytest.raises(ServiceUnavailable, match="login service cannot be reached"):
        BigQuery(chosen, patience=hurried).schema(sync())


def key_file(folder: Path, url: str) -> Path:
    """A service account's key that logs in at the stand-in."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    path = folder / "key.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "client_email": "reader@acme.test",
                "private_key": text,
                "private_key_id": "1",
                "token_uri": f"{url}/token",
            }
        )
    )
    return path
