"""Requests under `/services/data/vNN.N/`, through the vendor's library on a session of our transport.

The library is given a ready token and never logs in itself: its own renewal loses the headers of the repeated
request and may recurse without end. Its exceptions hold addresses and bodies, so they end here.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar, cast

import requests
from requests.adapters import BaseAdapter
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceError, SalesforceExpiredSession

from destinations.salesforce_parts.login import TITLE, Login, Token
from destinations.salesforce_parts.settings import SalesforceSettings
from syncer.errors import DestinationUnusable, QuotaUsedUp, ServiceUnavailable
from syncer.transport import Transport

T = TypeVar("T")

NOWHERE = "instance.invalid"
"""The host that the library believes in; a name that can never resolve, should a request miss the door."""


USAGE = re.compile(r"(?:^|;)\s*api-usage=(\d{1,12})/(\d{1,12})(?=\s*(?:;|$))")
"""In the header of every answer; other parts may stand beside it.

https://developer.salesforce.com/docs/platform/api-rest/guide/headers-api-usage.html
"""

DATA = ("query", "composite/")
"""Beginnings of the paths that are not asked for any more near the daily limit. What costs one request a run, as a
description or the limits themselves, is."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The org's requests of the last 24 hours, ours and everybody's."""

    used: int
    allowed: int

    def __str__(self) -> str:
        return f"{self.used:,} of {self.allowed:,}"


@dataclass(frozen=True, slots=True)
class Fault:
    """One error of an answer. `code` is free of data; `message` may hold people's data and is never logged."""

    code: str
    message: str
    fields: tuple[str, ...]


class Refusal(Exception):
    """An answer that is no success, or (status 200) one that cannot be read."""

    def __init__(self, status: int, faults: tuple[Fault, ...]) -> None:
        super().__init__(f"{status} {', '.join(fault.code for fault in faults)}")
        self.status = status
        self.faults = faults

    @property
    def code(self) -> str:
        """The first error's code, or the status when the body names none (a page of HTML)."""
        return self.faults[0].code if self.faults else str(self.status)

    @property
    def message(self) -> str:
        """The first error's words."""
        return self.faults[0].message if self.faults else ""


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file, or a piece of one, with the locator of the next piece."""

    content: BinaryIO
    locator: str


class _ExpiredError(Exception):
    """401, whatever its body looks like."""


class _Door(BaseAdapter):
    """Leads the library, which knows `https://HOST/` only, to the whole address that the token named."""

    def __init__(self, transport: Transport, base_url: str) -> None:
        super().__init__()
        self._transport = transport
        self._base_url = base_url

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        address = request.url or ""
        if not address.startswith(f"https://{NOWHERE}/"):
            raise DestinationUnusable(f"{TITLE}: a request to another host than the instance's was prevented.")
        request.url = self._base_url + address.removeprefix(f"https://{NOWHERE}")
        return self._transport.send(request, *args, **options)

    def close(self) -> None:
        """The transport is shared and outlives this door."""


class Client:
    """One destination's requests. Thread-safe: the library's objects are kept one per thread."""

    def __init__(self, settings: SalesforceSettings, transport: Transport) -> None:
        self.version = settings.api_version
        self._reserve = settings.quota_reserve
        self._transport = transport
        self._login = Login(settings, transport)
        self._local = threading.local()
        self.usage: Usage | None = None
        """As the newest answer said it; None before the first, and where none says it."""

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The answer's JSON; None when it is empty. `path` is below the version and percent-encoded.

        An expired token is renewed once, and the request repeated once with all its headers. Raises Refusal,
        DestinationUnusable for a second 401 in a row or too near to the daily limit, and whatever the transport raises.
        """
        # A job that is made will be looked at to its end; what begins nothing new is always asked for.
        if path.startswith(DATA) or method == "POST":
            self._spare()
        return self._renewing(lambda token: self._ask(token, method, path, params, json, headers))

    def upload(self, path: str, file: BinaryIO) -> None:
        """PUT of a CSV file. Raises as `call` does, and Refusal (status 200) when the answer is to no upload."""
        headers = {"Content-Type": "text/csv; charset=UTF-8"}

        def put(token: Token) -> requests.Response:
            file.seek(0)
            return self._send(token, "PUT", path, headers, data=file)

        if self._renewing(put).status_code != requests.codes.created:
            raise Refusal(200, ())

    def table(self, path: str, **params: str) -> Table:
        """GET of a CSV file, whose content is the caller's to close.

        Raises as `call` does, and Refusal (status 200) when it is none.
        """
        answer = self._renewing(
            lambda token: self._send(token, "GET", path, {"Accept": "text/csv"}, params=params, stream=True)
        )
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if answer.status_code != requests.codes.ok or kind != "text/csv":
            answer.close()
            raise Refusal(200, ())
        locator = answer.headers.get("Sforce-Locator", "")
        return Table(cast("BinaryIO", answer.raw), "" if locator == "null" else locator)

    def read(self, call: str, path: str, **params: str) -> dict[str, Any]:
        """GET of something that is an object. Raises Refusal, ServiceUnavailable when it is something else.

        `call` is what people call it, as "a query".
        """
        answer = self.call("GET", path, params=params)
        if not isinstance(answer, dict):
            raise unreadable(call)
        return answer

    def versions(self) -> list[str]:
        """The API versions that the instance knows, oldest first; none when it does not say. Needs no token.

        https://developer.salesforce.com/docs/platform/api-rest/guide/resources-versions.html
        """
        try:
            answer = self._transport.session().get(f"{self._login.token().base_url}/services/data/").json()
            return [str(one["version"]) for one in answer]
        except (ServiceUnavailable, ValueError, KeyError, TypeError):
            # It is asked for a sentence's sake, which is as true without it.
            return []

    def unusable(self, refusal: Refusal) -> DestinationUnusable:
        """The error for a refusal that no record is to blame for."""
        code, status = refusal.code, refusal.status
        if code == SPENT and self.usage is not None and self.usage.used < self.usage.allowed:
            sentence = SENTENCES[CONCURRENT]
        elif code in SENTENCES:
            sentence = SENTENCES[code].format(usage=f" ({self.usage})" if self.usage is not None else "")
        else:
            sentence = SENTENCES.get(status, "Run `syncer check` to see what it dislikes.")
        kind = QuotaUsedUp if code == SPENT and sentence is not SENTENCES[CONCURRENT] else DestinationUnusable
        return kind(f"{TITLE} refused a request ({status}, {code}). {sentence}")

    def _renewing(self, ask: Callable[[Token], T]) -> T:
        token = self._login.token()
        try:
            return ask(token)
        except _ExpiredError:
            token = self._login.renewed(token)
        try:
            return ask(token)
        except _ExpiredError:
            raise self._login.give_up() from None

    def _ask(
        self,
        token: Token,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        json: Any,
        headers: Mapping[str, str] | None,
    ) -> Any:
        library = self._library(token)
        try:
            return library.restful(path, dict(params or {}), method, json=json, headers=dict(headers or {}))
        except SalesforceExpiredSession:
            raise _ExpiredError from None
        except SalesforceError as error:
            raise Refusal(error.status, faults(error.content)) from None
        except (ValueError, TypeError):
            # Success by its status, but the body is no JSON, or JSON without a length.
            raise Refusal(200, ()) from None

    def _send(
        self, token: Token, method: str, path: str, headers: Mapping[str, str], **options: Any
    ) -> requests.Response:
        """A request whose body or answer is no JSON, which the library's own call cannot make."""
        library = self._library(token)
        whole = {**library.headers, **headers}
        answer: requests.Response = library.session.request(method, library.base_url + path, headers=whole, **options)
        if answer.status_code == requests.codes.unauthorized:
            raise _ExpiredError
        if not answer.ok:
            try:
                found = faults(answer.json())
            except ValueError:
                found = ()
            raise Refusal(answer.status_code, found)
        return answer

    def _library(self, token: Token) -> Salesforce:
        if getattr(self._local, "token", None) is not token:
            session = self._transport.session()
            session.mount("https://", _Door(self._transport, token.base_url))
            session.hooks["response"].append(self._note_usage)
            self._local.library = Salesforce(
                session_id=token.text, instance=NOWHERE, version=self.version, session=session
            )
            self._local.token = token
        library: Salesforce = self._local.library
        return library

    def _note_usage(self, answer: requests.Response, *_: Any, **__: Any) -> None:
        found = USAGE.search(answer.headers.get("Sforce-Limit-Info", ""))
        if found:
            self.usage = Usage(int(found[1]), int(found[2]))

    def _spare(self) -> None:
        """Raise DestinationUnusable when what is left of the day's requests is reserved for others."""
        usage = self.usage
        if usage is not None and usage.used >= usage.allowed * (1 - self._reserve):
            raise QuotaUsedUp(
                f"{TITLE}: {usage} requests of the last 24 hours are used, and `quota_reserve` leaves "
                f"{self._reserve:.0%} of them to others. Wait until some are free again, lower `quota_reserve`, "
                "or send less at a time with `--max`."
            )


SPENT = "REQUEST_LIMIT_EXCEEDED"
CONCURRENT = "REQUEST_LIMIT_EXCEEDED while requests are left"
"""The same code stands for the limit of long requests at the same time."""
SENTENCES: Mapping[str | int, str] = {
    CONCURRENT: "Too many long requests run at the org at the same time; later runs go on by themselves.",
    SPENT: "The org's requests of 24 hours are used up{usage}; later runs go on by themselves.",
    "API_DISABLED_FOR_ORG": "This edition of Salesforce has no API; it can be bought.",
    "API_CURRENTLY_DISABLED": "The org's API is switched off; ask its administrator.",
    "TXN_SECURITY_METERING_ERROR": "A transaction security policy of the org forbids it; ask its administrator.",
    "INSUFFICIENT_ACCESS": "The user lacks a right; give it a permission set with the API, the object and the fields.",
    403: "The user lacks a right; give it a permission set with the API, the object and the fields.",
    404: "The object, the field in the address, or the API version does not exist, or the user may not see it.",
    410: "This API version is retired; set `api_version` to a newer one.",
}
"""Code of an error, or else the status → the next step.

https://developer.salesforce.com/docs/platform/api-rest/guide/errorcodes.html
"""


def faults(content: Any) -> tuple[Fault, ...]:
    """The errors of an answer: `errorCode` in single calls, `statusCode` in Collections; none in HTML."""
    found = content if isinstance(content, list) else []
    return tuple(_fault(one) for one in found if isinstance(one, dict))


def _fault(error: Mapping[str, Any]) -> Fault:
    code = str(error.get("errorCode") or error.get("statusCode") or "")
    named = error.get("fields")
    fields = tuple(str(name) for name in named) if isinstance(named, list) else ()
    return Fault(code if re.fullmatch(r"\w{1,80}", code) else "UNKNOWN", str(error.get("message") or ""), fields)


def unreadable(call: str) -> ServiceUnavailable:
    """The error for an answer that is no JSON, or lacks what it must have. `call` says to what, as "a query"."""
    return ServiceUnavailable(f"{TITLE} gave an answer to {call} that cannot be read.", doubt=False)
