"""What the App API of customer.io gives to read, in its own forms, and the one thing that it takes."""

from __future__ import annotations

from typing import Any

from destinations.standins.customerio_parts.answers import app_refused, json_object, not_found
from destinations.standins.customerio_parts.records import Record
from destinations.standins.customerio_parts.workspace import Workspace
from destinations.standins.server import Answer, Request

IDS_MAX = 100
"""People that one reading request may name."""
FOUND_MAX = 1_000
"""People in one page of those that a filter finds."""
RELATED_MAX = 100
"""Relationships in one page."""
DESCRIBED_MAX = 100
"""Attributes that one request may describe."""
DESCRIPTION_CHARACTERS_MAX = 255
KINDS = ("id", "email", "cio_id")


def object_types(workspace: Workspace) -> Answer:
    """GET /v1/object_types."""
    return Answer(
        200,
        {
            "types": [
                {
                    "id": int(type_id) if workspace.type_ids_are_numbers else type_id,
                    "name": f"{name.capitalize()}s",
                    "slug": f"{name}s",
                    "singular_name": name,
                }
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
    if kind not in KINDS:
        return app_refused(400, "this kind of identifier is not enabled")
    found = _by_id(workspace, kind, identifier)
    return Answer(200, {"customer": _customer(found)}) if found else _nobody(workspace)


def many_customer_attributes(workspace: Workspace, request: Request) -> Answer:
    """POST /v1/customers/attributes; unknown ids are left out."""
    kind = request.query.get("id_type", ["id"])[0]
    body = json_object(request)
    ids = body.get("ids") if body else None
    if kind not in KINDS:
        return app_refused(400, "this kind of identifier is not enabled")
    if not isinstance(ids, list) or not 1 <= len(ids) <= IDS_MAX or not all(isinstance(one, str) for one in ids):
        return app_refused(400, f"ids has to be a list of 1 to {IDS_MAX} texts")
    found = [person for one in ids if (person := _by_id(workspace, kind, one))]
    customers = [_customer(person) for person in found]
    return Answer(
        200, {"customers": [{"customer": one} for one in customers] if workspace.bulk_is_wrapped else customers}
    )


def customers_by_filter(workspace: Workspace, request: Request) -> Answer:
    """POST /v1/customers?start=&limit=: people whom a filter picks, a page at a time."""
    body = json_object(request)
    page = _page(request, FOUND_MAX)
    if page is None or body is None or set(body) != {"filter"}:
        return app_refused(400, "a filter is needed, and a start and a limit that were given here")
    try:
        found = [person for person in workspace.people.values() if _fits(workspace, person, body["filter"])]
    except (AttributeError, KeyError, TypeError, ValueError):
        return app_refused(400, "this is not a filter")
    start, stop = page
    identifiers = [_identifiers(person) for person in found[start:stop]]
    following = str(stop) if stop < len(found) else ""
    ids = [one["id"] for one in identifiers if one["id"]]
    return Answer(200, {"identifiers": identifiers, "ids": ids, "next": following})


def _fits(workspace: Workspace, person: Record, condition: Any) -> bool:
    """Whether a person is picked. Raises what reading something else raises for what is no filter."""
    [(kind, about)] = condition.items()
    if kind in ("and", "or"):
        if not isinstance(about, list) or not about:
            raise ValueError
        fitting = [_fits(workspace, person, one) for one in about]
        return all(fitting) if kind == "and" else any(fitting)
    if kind == "not":
        return not _fits(workspace, person, about)
    if kind == "segment":
        return person.cio_id in workspace.segments[about["id"]]
    if kind != "attribute" or about["operator"] not in ("exists", "eq"):
        raise ValueError
    held = (person.identifiers | person.attributes).get(about["field"])
    return held is not None if about["operator"] == "exists" else held == str(about["value"])


def customer_relationships(workspace: Workspace, request: Request, identifier: str) -> Answer:
    """GET /v1/customers/{id}/relationships: what a person is related to, a page at a time."""
    kind = request.query.get("id_type", ["id"])[0]
    page = _page(request, RELATED_MAX)
    if kind not in KINDS or page is None:
        return app_refused(400, "this kind of identifier, or this start or limit, is not taken")
    person = _by_id(workspace, kind, identifier)
    if person is None:
        return _nobody(workspace)
    start, stop = page
    related = [(thing, held) for (cio_id, thing), held in workspace.relationships.items() if cio_id == person.cio_id]
    entries = [
        {
            "object_type_id": thing[0],
            "identifiers": {**workspace.objects[thing].identifiers, "cio_object_id": workspace.objects[thing].cio_id},
            "relationship_attributes": held,
        }
        for thing, held in related[start:stop]
    ]
    return Answer(200, {"cio_relationships": entries, "next": str(stop) if stop < len(related) else ""})


def _page(request: Request, limit_max: int) -> tuple[int, int] | None:
    """First and last (exclusive) place that `start` and `limit` ask for; None when they are not to be had."""
    start, limit = (request.query.get(name, [""])[0] for name in ("start", "limit"))
    if not (start or "0").isdecimal() or not (limit or "1").isdecimal():
        return None
    count = int(limit or limit_max)
    return (int(start or 0), int(start or 0) + count) if 1 <= count <= limit_max else None


def describe_attributes(workspace: Workspace, request: Request) -> Answer:
    """POST /v1/data_index/attributes: what people of the workspace read about attributes; 204."""
    body = json_object(request)
    entries = body.get("attributes") if body and set(body) == {"attributes"} else None
    if not isinstance(entries, list) or not 1 <= len(entries) <= DESCRIBED_MAX:
        return app_refused(400, f"attributes has to be a list of 1 to {DESCRIBED_MAX}")
    described = {}
    for number, entry in enumerate(entries):
        text = entry.get("description", "") if isinstance(entry, dict) else None
        if not isinstance(text, str) or len(text) > DESCRIPTION_CHARACTERS_MAX or not entry.get("name"):
            pointer = {"pointer": f"/attributes/{number}"}
            return Answer(422, {"errors": [{"detail": "is not taken", "status": 422, "source": pointer}]})
        described[str(entry["name"])] = text
    workspace.described |= described
    return Answer(204)


def object_attributes(workspace: Workspace, request: Request, type_id: str, identifier: str) -> Answer:
    """GET /v1/objects/{type}/{id}/attributes."""
    if request.query.get("id_type", ["object_id"])[0] == "cio_object_id":
        found = workspace.find("object", {"cio_object_id": identifier})
    else:
        found = workspace.objects.get((type_id, identifier))
    if found is None:
        return _nobody(workspace)
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


def _by_id(workspace: Workspace, kind: str, identifier: str) -> Record | None:
    # The document asks for the prefix in one place and not in another; both are taken.
    return workspace.find_person(kind, identifier.removeprefix("cio_") if kind == "cio_id" else identifier)


def _nobody(workspace: Workspace) -> Answer:
    return not_found(status_is_text=workspace.not_found_status_is_text)


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
