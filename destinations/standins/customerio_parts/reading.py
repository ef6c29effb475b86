"""What the App API of customer.io gives to read, in its own forms."""

from __future__ import annotations

from typing import Any

from destinations.standins.customerio_parts.answers import app_refused, json_object, not_found
from destinations.standins.customerio_parts.records import Record
from destinations.standins.customerio_parts.workspace import Workspace
from destinations.standins.server import Answer, Request

IDS_MAX = 100
"""People that one reading request may name."""


def object_types(workspace: Workspace) -> Answer:
    """GET /v1/object_types."""
    return Answer(
        200,
        {
            "types": [
                {"id": type_id, "name": f"{name.capitalize()}s", "slug": f"{name}s", "singular_name": name}
                for name, type_id in workspace.object_types.items()
            ]
        },
    )


def customers_by_email(workspace: Workspace, request: Request) -> Answer:
    """GET /v1/customers?email=."""
    # A plus that is not encoded arrives as a blank, and so finds nobody, as in life.
    emails = request.query.get("email", [])
    if len(emails) != 1:
        return app_refused(400, "email is needed once")
    found = workspace.find_person("email", emails[0])
    return Answer(200, {"results": [_identifiers(found)] if found else []})


def customer_attributes(workspace: Workspace, request: Request, identifier: str) -> Answer:
    """GET /v1/customers/{id}/attributes."""
    kind = request.query.get("id_type", ["id"])[0]
    if kind not in ("id", "email", "cio_id"):
        return app_refused(400, "this kind of identifier is not enabled")
    found = workspace.find_person(kind, identifier.removeprefix("cio_") if kind == "cio_id" else identifier)
    return Answer(200, {"customer": _customer(found)}) if found else not_found()


def many_customer_attributes(workspace: Workspace, request: Request) -> Answer:
    """POST /v1/customers/attributes; unknown ids are left out."""
    kind = request.query.get("id_type", ["id"])[0]
    body = json_object(request)
    ids = body.get("ids") if body else None
    if kind not in ("id", "email", "cio_id"):
        return app_refused(400, "this kind of identifier is not enabled")
    if not isinstance(ids, list) or not 1 <= len(ids) <= IDS_MAX or not all(isinstance(one, str) for one in ids):
        return app_refused(400, f"ids has to be a list of 1 to {IDS_MAX} texts")
    found = [person for one in ids if (person := workspace.find_person(kind, one))]
    customers = [_customer(person) for person in found]
    return Answer(
        200, {"customers": [{"customer": one} for one in customers] if workspace.bulk_is_wrapped else customers}
    )


def object_attributes(workspace: Workspace, request: Request, type_id: str, identifier: str) -> Answer:
    """GET /v1/objects/{type}/{id}/attributes."""
    if request.query.get("id_type", ["object_id"])[0] == "cio_object_id":
        found = workspace.find("object", {"cio_object_id": identifier})
    else:
        found = workspace.objects.get((type_id, identifier))
    if found is None:
        return not_found()
    return Answer(
        200,
        {
            "object": {
                "attributes": found.attributes,
                "timestamps": _held_timestamps(found),
                "identifiers": {**found.identifiers, "cio_object_id": found.cio_id},
                "object_type_id": type_id,
            }
        },
    )


def _identifiers(person: Record) -> dict[str, str | None]:
    held = person.identifiers
    return {"email": held.get("email"), "id": held.get("id"), "cio_id": person.cio_id}


def _customer(person: Record) -> dict[str, Any]:
    return {
        "id": person.identifiers.get("id", ""),
        "identifiers": _identifiers(person),
        "attributes": person.attributes,
        "timestamps": _held_timestamps(person),
        "unsubscribed": person.attributes.get("unsubscribed") == "true",
        "devices": [],
    }


def _held_timestamps(record: Record) -> dict[str, int]:
    return {name: second for name, second in record.timestamps.items() if name in record.attributes}
