"""Who reads: Google's own default, a key file, or a service account that one of these may act as."""

# Google's libraries are typed in part only.
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

import threading
from pathlib import Path

import google.auth
from google.auth import impersonated_credentials
from google.auth.credentials import AnonymousCredentials, Credentials
from google.oauth2 import service_account

from syncer.config_file import BigQuerySource
from syncer.errors import Problem, UserError

SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
TOKEN_SECONDS = 3600
"""How long a token of an impersonated account is good for; the library fetches the next one in time."""


class Login:
    """The credentials of a source. Safe to use from several threads; nothing is looked for before it is needed."""

    def __init__(self, settings: BigQuerySource) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._found: Credentials | None = None

    def credentials(self) -> Credentials:
        """The credentials, found once. Raises google.auth's errors, and UserError for a key file that is none."""
        if self._settings.endpoint:
            return AnonymousCredentials()
        with self._lock:
            if self._found is None:
                self._found = self._find()
            return self._found

    def _find(self) -> Credentials:
        settings = self._settings
        if settings.credentials is not None:
            credentials = _from_key_file(settings.credentials)
        else:
            credentials, _ = google.auth.default(scopes=SCOPES)
        if settings.impersonate is None:
            return credentials
        return impersonated_credentials.Credentials(
            source_credentials=credentials,
            target_principal=settings.impersonate,
            target_scopes=SCOPES,
            lifetime=TOKEN_SECONDS,
        )


def _from_key_file(path: Path) -> Credentials:
    try:
        credentials: Credentials = service_account.Credentials.from_service_account_file(str(path), scopes=SCOPES)
    except (OSError, ValueError):
        # The error's own text may quote the file.
        sentence = f"{path} is not a readable key file of a service account. Look at the path."
        raise UserError([Problem("source.credentials", sentence)]) from None
    return credentials
