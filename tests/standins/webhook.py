"""A strict receiver of webhook batches: it believes nothing, and keeps records by whatever they are matched by."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from destinations.standins.server import Answer, Request, StandIn, Table

AGE_SECONDS_MAX = 300
REFUSED = "refuse me"
"""A value that it does not take, in whatever field it is."""
KINDS = frozenset({"new", "changed", "clear", "delete"})
BODY_KEYS = frozenset({"sync", "object", "missing", "run_started_at", "changes"})

Who = tuple[tuple[str, str], ...]
Fields = dict[str, Any]


class WebhookStandIn(StandIn):
    """One receiver with one secret.

    `answers`: each: an outcome for every change · whole: 204, or 422 when anything in the batch is refused.
    """

    kind: ClassVar[str] = "webhook"
    title: ClassVar[str] = "The webhook"

    def __init__(self, *, secret: str = "the-secret-of-the-receiver", token: str = "a-token-besides") -> None:
        super().__init__()
        self.secret = secret
        self.token = token
        self.answers: Literal["each", "whole"] = "each"
        self.bytes_max = 1_000_000
        self.records: dict[Who, Fields] = {}
        self.relations: dict[Who, dict[str, set[str]]] = {}
        """Who each record is related to, by the name of the relation."""

    def settings(self) -> str:
        return (
            f'url = "{self.url}/scores"\nsecret = "{self.secret}"\n'
            f'headers = {{ X-Api-Key = "{self.token}" }}\npace = 10000\n'
        )

    def tables(self) -> list[Table]:
        return []

    def seed(
        self,
        people: Iterable[Mapping[str, Any]],
        workspaces: Iterable[Mapping[str, Any]],
        accounts: Iterable[Mapping[str, Any]],
    ) -> None:
        """A receiver takes what it is sent."""

    def put(self, fields: Mapping[str, Any], **match: str) -> None:
        """Let it hold a record."""
        with self.lock:
            self.records[_who(match)] = dict(fields)

    def held(self, **match: str) -> Fields | None:
        """What it holds of a record; None when there is none."""
        with self.lock:
            return self.records.get(_who(match))

    def handle(self, request: Request) -> Answer:
        if request.path != "/scores":
            return Answer(404, {"message": "nothing here"})
        if request.method != "POST":
            return Answer(405, {"message": "POST"})
        if (reason := self._distrust(request)) is not None:
            return Answer(401, {"message": reason})
        if len(request.body) > self.bytes_max:
            return Answer(413, {"message": "too large"})
        try:
            body = _checked(request)
        except (ValueError, KeyError, TypeError) as error:
            return Answer(400, {"code": "malformed", "message": str(error)})
        if body.get("check") is True:
            return Answer(204)
        return self._each(body) if self.answers == "each" else self._whole(body)

    def _distrust(self, request: Request) -> str | None:
        timestamp = request.headers.get("syncer-timestamp", "")
        if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > AGE_SECONDS_MAX:
            return "no timestamp of these minutes"
        signed = timestamp.encode() + b"." + request.body
        expected = "sha256=" + hmac.new(self.secret.encode(), signed, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, request.headers.get("syncer-signature", "")):
            return "another signature"
        if hashlib.sha256(request.body).hexdigest() != request.headers.get("syncer-batch"):
            return "another digest"
        return None if request.headers.get("x-api-key") == self.token else "another token"

    def _each(self, body: dict[str, Any]) -> Answer:
        outcomes = []
        for change in body["changes"]:
            code = self._applied(body, change)
            outcome = {"key": change["key"], "result": "rejected" if code else "accepted"}
            outcomes.append(outcome | ({"code": code, "message": f"No: {code}."} if code else {}))
        return Answer(200, {"outcomes": outcomes})

    def _whole(self, body: dict[str, Any]) -> Answer:
        if any(REFUSED in change["fields"].values() for change in body["changes"]):
            return Answer(422, {"code": "refused", "message": "Something in it is not taken."})
        for change in body["changes"]:
            self._applied(body, change)
        return Answer(204)

    def _applied(self, body: dict[str, Any], change: dict[str, Any]) -> str:
        """Apply a change; the code of the refusal, or nothing."""
        who, fields = _who(change["match"]), change["fields"]
        if REFUSED in fields.values():
            return "refused"
        if change["kind"] == "delete":
            self.records.pop(who, None)
            return ""
        if who not in self.records:
            if change["kind"] == "clear":
                return ""
            if body["missing"] == "skip":
                return "missing"
        self.records.setdefault(who, {}).update(fields)
        for name, relation in change.get("relations", {}).items():
            related = self.relations.setdefault(who, {}).setdefault(name, set())
            related |= set(relation["add"])
            related -= set(relation["remove"])
        return ""


def _who(match: Mapping[str, str]) -> Who:
    return tuple(sorted(match.items()))


def _checked(request: Request) -> dict[str, Any]:
    """The body. Raises ValueError, KeyError or TypeError when it is not as docs/webhook.md says."""
    if request.headers.get("content-type") != "application/json":
        raise ValueError("not application/json")
    body: dict[str, Any] = request.json()
    if body.keys() - {"check"} != BODY_KEYS:
        raise ValueError(f"the body has {sorted(body)}")
    if body["missing"] not in ("skip", "create"):
        raise ValueError("`missing` is neither skip nor create")
    if body.get("check") is True and body["changes"]:
        raise ValueError("a check has changes")
    keys = [change["key"] for change in body["changes"]]
    if len(keys) != len(set(keys)):
        raise ValueError("a key is in it twice")
    for change in body["changes"]:
        if change.keys() - {"relations"} != {"key", "kind", "match", "fields"} or change["kind"] not in KINDS:
            raise ValueError("a change of another shape")
        if not _are_relations(change.get("relations", {"one": {"add": [], "remove": []}})):
            raise ValueError("relations of another shape")
        if not change["match"] or not all(isinstance(value, str) for value in change["match"].values()):
            raise ValueError("a match that finds nothing")
        if not all(value is None or isinstance(value, str | int | float) for value in change["fields"].values()):
            raise ValueError("a field that is not plain")
    return body


def _are_relations(relations: Any) -> bool:
    """Whether these are lists of identifiers to add and to remove, under at least one name."""
    return bool(relations) and all(
        relation.keys() == {"add", "remove"}
        and all(isinstance(one, str) for one in (*relation["add"], *relation["remove"]))
        for relation in relations.values()
    )
