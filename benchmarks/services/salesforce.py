"""Salesforce: Contacts by an external id, created as they come, 200 a call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import requests

BATCH = 200


def prepare(standin: Any) -> None:
    """The fields of the benchmark, on Contact."""
    kinds = {"score": ("double", {}), "count": ("double", {}), "flag": ("boolean", {}), "at": ("datetime", {})}
    from benchmarks import nights

    standin.hurry()
    for name in nights.columns():
        kind, more = kinds.get(name.split("_")[0], ("string", {"length": 80}))
        standin.add_field("Contact", f"{name}__c", kind, **more)


def know(standin: Any, keys: Iterable[str]) -> None:
    """Let these be there."""
    for key in keys:
        standin.put("Contact", LastName="Benchmark", Product_User_Id__c=key)


def mapping(columns: Sequence[str]) -> str:
    """The mapping file."""
    fields = "\n".join(f'{name}__c = "{name}"' for name in columns)
    return (
        'destination = "salesforce"\n\n[[sync]]\nname = "contacts"\nsource = "first"\nkey = "user_id"\n'
        'object = "Contact"\nmatch = { Product_User_Id__c = "user_id" }\nmissing = "create"\n\n'
        f'[sync.fields]\nLastName = {{ value = "Benchmark" }}\n{fields}\n'
    )


def sender(
    session: requests.Session, url: str, settings: dict[str, str], columns: Sequence[str]
) -> Callable[[list[tuple[Any, ...]]], int]:
    """Upserts one batch; returns the number of requests."""
    import datetime

    form = {"grant_type": "client_credentials"} | {name: settings[name] for name in ("client_id", "client_secret")}
    token = session.post(f"{url}/services/oauth2/token", data=form, timeout=60).json()["access_token"]
    session.headers["Authorization"] = f"Bearer {token}"
    moments = {place for place, name in enumerate(columns) if name.startswith("at_")}

    def shown(place: int, value: Any) -> Any:
        if place in moments:
            return datetime.datetime.fromtimestamp(value, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        return value

    def send(rows: list[tuple[Any, ...]]) -> int:
        records = [
            {"attributes": {"type": "Contact"}, "Product_User_Id__c": row[0], "LastName": "Benchmark"}
            | {f"{name}__c": shown(place, row[place + 1]) for place, name in enumerate(columns)}
            for row in rows
        ]
        answer = session.patch(
            f"{url}/services/data/v66.0/composite/sobjects/Contact/Product_User_Id__c",
            json={"allOrNone": False, "records": records},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text[:300]
        assert all(one["success"] for one in answer.json()), answer.text[:300]
        return 1

    return send
