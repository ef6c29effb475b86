"""Version 1 of the Track API: one person in a request, with an identifier in the path that may be of three kinds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from destinations.standins.customerio_parts.answers import json_object
from destinations.standins.customerio_parts.validation import (
    IDENTIFIER_BYTES_MAX,
    Validation,
    refuse_attributes,
)
from destinations.standins.customerio_parts.workspace import Workspace
from destinations.standins.server import Answer, Request

SEGMENT_IDS_MAX = 1_000


def customer(workspace: Workspace, request: Request, identifier: str) -> Answer:
    """PUT and DELETE /api/v1/customers/{identifier}."""
    kind, value = who(identifier)
    if request.method == "DELETE":
        return _taken(workspace, partial(workspace.delete_person, kind, value))
    body = json_object(request)
    if body is None:
        return _refused(workspace, "the body has to be a JSON object")
    if not value.strip():
        return _refused(workspace, "id attribute cannot be an empty string")
    if "id" in body and not isinstance(body["id"], str):
        return _refused(workspace, "id attribute must be a string value")
    if len(value.encode()) > IDENTIFIER_BYTES_MAX:
        return _refused(workspace, "id attribute cannot be longer than 150 bytes")
    if not workspace.v1_takes_floats and (floats := [name for name, one in body.items() if isinstance(one, float)]):
        return _refused(workspace, f"value for attribute '{floats[0]}' cannot be a float")
    timestamp = body.pop("_timestamp", None)
    if timestamp is not None and type(timestamp) is not int:
        return _refused(workspace, "_timestamp must be an integer")
    if refusals := refuse_attributes(body, workspace.find_person(kind, value)):
        return _refused(workspace, refusals[0].message)
    return _taken(workspace, partial(workspace.identify_person, kind, value, body, timestamp))


def suppress(workspace: Workspace, identifier: str, deed: str) -> Answer:
    """POST /api/v1/customers/{identifier}/suppress and /unsuppress."""
    kind, value = who(identifier)
    return _taken(workspace, partial(workspace.suppress if deed == "suppress" else workspace.unsuppress, kind, value))


def merge_customers(workspace: Workspace, validation: Validation, request: Request) -> Answer:
    """POST /api/v1/merge_customers."""
    body = json_object(request)
    # Version 2 has the same thing as an operation, and so the same rules.
    if body is None or (refusals := validation.refuse({"type": "person", "action": "merge", **body})):
        return _refused(workspace, refusals[0].message if body else "the body has to be a JSON object")
    return _taken(workspace, partial(workspace.merge, body["primary"], body["secondary"]))


def segment(workspace: Workspace, request: Request, segment_id: str, deed: str) -> Answer:
    """POST /api/v1/segments/{id}/add_customers and /remove_customers. Ids of nobody are passed over."""
    kind = request.query.get("id_type", ["id"])[0]
    body = json_object(request)
    ids = body.get("ids") if body and set(body) == {"ids"} else None
    if kind not in ("id", "email", "cio_id"):
        return _refused(workspace, "id_type has to be id, email or cio_id")
    if (
        not isinstance(ids, list)
        or not 1 <= len(ids) <= SEGMENT_IDS_MAX
        or not all(isinstance(one, str) for one in ids)
    ):
        return _refused(workspace, f"ids has to be a list of 1 to {SEGMENT_IDS_MAX} texts")
    if not segment_id.isdecimal() or int(segment_id) not in workspace.segments:
        return _refused(workspace, "there is no such manual segment")
    return _taken(workspace, partial(_move, workspace, int(segment_id), kind, ids, is_in=deed == "add_customers"))


def _move(workspace: Workspace, segment_id: int, kind: str, ids: list[str], *, is_in: bool) -> None:
    people = {person.cio_id for one in ids if (person := workspace.find_person(kind, one))}
    workspace.segments[segment_id] = (
        workspace.segments[segment_id] | people if is_in else workspace.segments[segment_id] - people
    )


def who(identifier: str) -> tuple[str, str]:
    """What kind of identifier a path holds, and the identifier."""
    if identifier.startswith("cio_"):
        return "cio_id", identifier.removeprefix("cio_")
    return ("email", identifier) if "@" in identifier else ("id", identifier)


def _taken(workspace: Workspace, effect: Callable[[], Any]) -> Answer:
    workspace.take([effect])
    return Answer(200, {})


def _refused(workspace: Workspace, message: str) -> Answer:
    return Answer(400, {"meta": {"errors": [message]} if workspace.v1_errors_are_a_list else {"error": message}})
