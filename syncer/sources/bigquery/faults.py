"""What BigQuery refuses, as sentences: one table from its reasons to what a person does next.

The reason decides and never the exception's class, which the library takes from a table of its own: a reason
that it does not know arrives as a 500. Reasons: docs.cloud.google.com/bigquery/docs/error-messages.
"""

# Google's libraries are typed in part only, and grpc not at all.
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

import concurrent.futures
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from syncer.errors import Problem, ServiceUnavailable, SyncerError, UserError
from syncer.sources.bigquery.columns import Statement

TRANSIENT = frozenset(
    {
        "backendError",
        "badGateway",
        "internalError",
        "jobBackendError",
        "jobInternalError",
        "jobRateLimitExceeded",
        "rateLimitExceeded",
    }
)
"""Reasons after which the same work is worth repeating, under a new job id when there had been a job."""

_INVALID = "BigQuery does not understand this: {message}{position} Mend `source`, `query` or `where`."
_SENTENCES: dict[str, str] = {
    "accessDenied": "BigQuery refuses access: {message} {right}",
    "billingNotEnabled": "The project {project} has no billing account, which BigQuery needs for this. Enable billing.",
    "billingTierLimitExceeded": "This query needs more computing than BigQuery allows for its bytes. Make it simpler.",
    "bytesBilledLimitExceeded": (
        "This query would bill more than `source.max_bytes_billed` allows: the cap is {cap} and {need}. "
        "Raise the cap, or read fewer columns."
    ),
    "invalid": _INVALID,
    "invalidQuery": _INVALID,
    "notFound": (
        "{message} Look at the name, or at `source.location`: a dataset that lies elsewhere than in {location} "
        "is not found either."
    ),
    "quotaExceeded": "A quota of BigQuery is used up: {message} Wait until it is renewed, or ask Google for more.",
    "resourcesExceeded": "BigQuery ran out of resources for this query: {message} Make it simpler.",
    "responseTooLarge": "The result is too large for BigQuery to keep: {message} Read fewer columns or rows.",
    "stopped": "Somebody cancelled the query in BigQuery. Run this again.",
    "timeout": "The query took longer than BigQuery was given for it. Make it simpler, or a table of its result.",
}

_ROLES = {
    "bigquery.jobs.create": "BigQuery Job User (roles/bigquery.jobUser) on the project {project}",
    "bigquery.readsessions": "BigQuery Read Session User (roles/bigquery.readSessionUser) on the project {project}",
    "bigquery.tables": "BigQuery Data Viewer (roles/bigquery.dataViewer) on the dataset",
}
"""Part of the missing permission's name → the role that has it: docs.cloud.google.com/bigquery/docs/access-control."""

_REASONS: dict[Any, str] = {
    grpc.StatusCode.INVALID_ARGUMENT: "invalid",
    grpc.StatusCode.NOT_FOUND: "notFound",
    grpc.StatusCode.PERMISSION_DENIED: "accessDenied",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "quotaExceeded",
    400: "invalid",
    403: "accessDenied",
    404: "notFound",
}
"""For answers without a reason, which are those of gRPC and of proxies."""


class JobFailed(Exception):
    """A job that BigQuery accepted and could not finish; formed like the exceptions of the library."""

    def __init__(self, result: dict[str, str]) -> None:
        self.message = result.get("message", "")
        self.errors = [result]
        super().__init__(result.get("reason", ""))


FAULTS = (
    api.GoogleAPIError,
    auth.GoogleAuthError,
    concurrent.futures.TimeoutError,
    grpc.RpcError,
    JobFailed,
    requests.RequestException,
)
"""Everything that the libraries raise because of the world."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What the sentences speak of: what of the sync they are about, and under which settings it was read."""

    place: str
    project: str
    location: str
    bytes_billed_max: int
    impersonated: str | None


@contextmanager
def in_sentences(scene: Scene, statement: Statement | None = None) -> Iterator[None]:
    """Turns what the libraries raise within into UserError, or ServiceUnavailable when trying again may help.

    With `statement`, positions in a message are told as lines of the mapping's own query. Only then the message
    is shown whole: analysis speaks of the query's text, a running query may quote values of rows.
    """
    try:
        yield
    except FAULTS as error:
        raise translated(error, scene, statement) from None
    except Exception as error:
        # The library takes an answer for well formed, and falls over one that is not.
        if not _is_within(error, "google."):
            raise
        raise ServiceUnavailable(
            "BigQuery gave an answer that Google's own library cannot read. The next run tries again.", doubt=False
        ) from None


def _is_within(error: BaseException, package: str) -> bool:
    """Whether an error came up through code of a package."""
    return any(
        frame.f_globals.get("__name__", "").startswith(package) for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def reason_of(error: BaseException) -> str:
    """BigQuery's word for what went wrong; empty when nothing was said, as by a cut connection."""
    try:
        return str(error.errors[0]["reason"])  # type: ignore[attr-defined] # Of a GoogleAPICallError or JobFailed.
    except (AttributeError, IndexError, KeyError, TypeError):
        pass
    if isinstance(error, grpc.RpcError):
        return _REASONS.get(error.code(), "")
    if isinstance(error, api.GoogleAPICallError):
        return _REASONS.get(error.grpc_status_code or error.code, "")
    return ""


def translated(error: BaseException, scene: Scene, statement: Statement | None = None) -> SyncerError:
    """The sentence for one error of the libraries, as the exception that says what happens next."""
    if isinstance(error, api.RetryError) and error.cause is not None:
        return translated(error.cause, scene, statement)
    if isinstance(error, auth.GoogleAuthError):
        return _without_credentials(error, scene)
    reason = reason_of(error)
    form = _SENTENCES.get(reason)
    if form is None:
        return ServiceUnavailable(
            f"BigQuery gave no useful answer ({reason or type(error).__name__}), however often it was asked. "
            "The next run tries again.",
            doubt=False,
        )
    message = message_of(error)
    sentence = form.format(
        message=_first(message, whole=statement is not None or reason not in ("invalid", "invalidQuery")),
        position=_position(message, statement),
        project=scene.project,
        location=scene.location,
        right=_right(message, scene),
        cap=f"{scene.bytes_billed_max:,} bytes",
        need=_need(message),
    )
    return UserError([Problem(scene.place, sentence)])


def message_of(error: BaseException) -> str:
    """BigQuery's own words, without the method and address that the library puts before them."""
    if isinstance(error, grpc.Call):
        return str(error.details() or "")
    try:
        return str(error.errors[0]["message"])  # type: ignore[attr-defined] # Of a GoogleAPICallError or JobFailed.
    except (AttributeError, IndexError, KeyError, TypeError):
        return str(getattr(error, "message", ""))


def _first(message: str, *, whole: bool) -> str:
    """The message's first line as a sentence of its own, without position and, unless whole, without quotations."""
    line = re.sub(r"\s*at \[\d+:\d+\]", "", message.splitlines()[0] if message else "")
    if not whole:
        line = line.split(":")[0]
    return line if not line or line.endswith((".", "?", "!")) else f"{line}."


def _position(message: str, statement: Statement | None) -> str:
    found = re.search(r"at \[(\d+):(\d+)\]", message)
    if found is None or statement is None:
        return ""
    setting, line = statement.place(int(found[1]))
    return f" It is at line {line}, column {found[2]} of `{setting}`." if setting else ""


def _right(message: str, scene: Scene) -> str:
    for part, role in _ROLES.items():
        if part in message:
            return f"Grant the role {role.format(project=scene.project)}."
    return (
        f"Reading needs the roles {_ROLES['bigquery.tables']}, "
        f"and {_ROLES['bigquery.jobs.create'].format(project=scene.project)}."
    )


def _need(message: str) -> str:
    found = re.search(r"(\d+) or higher required", message)
    return f"the query needs at least {int(found[1]):,} bytes" if found else "BigQuery does not say what it needs"


def _without_credentials(error: auth.GoogleAuthError, scene: Scene) -> SyncerError:
    if isinstance(error, auth.TransportError):
        return ServiceUnavailable("Google's login service cannot be reached. The next run tries again.", doubt=False)
    if isinstance(error, auth.DefaultCredentialsError):
        sentence = (
            "No credentials of Google were found. Run `gcloud auth application-default login`, set "
            "GOOGLE_APPLICATION_CREDENTIALS, or write the path of a key file at `source.credentials`."
        )
    elif scene.impersonated:
        sentence = (
            f"Google does not let these credentials act as {scene.impersonated}. Grant them the role "
            "Service Account Token Creator (roles/iam.serviceAccountTokenCreator) on it."
        )
    else:
        sentence = "Google refuses these credentials. Log in again, or write another key file at `source.credentials`."
    return UserError([Problem("source.credentials", sentence)])
