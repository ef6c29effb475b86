"""Salesforce: Contacts by an external id, created as they come; many of them through jobs of Bulk API 2.0."""

from __future__ import annotations

import csv
import datetime
import io
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import requests

REQUESTS = 7
"""Of a job: create, upload, close, one look, and three files of results."""


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


def batches(calls: int) -> int:
    """How many jobs so many requests were for; two are a login and a description."""
    return (calls - 2) // REQUESTS


def sender(
    session: requests.Session, url: str, settings: dict[str, str], columns: Sequence[str]
) -> Callable[[list[tuple[Any, ...]]], int]:
    """Upserts one batch with a job, and reads what became of each row; returns the number of requests."""
    form = {"grant_type": "client_credentials"} | {name: settings[name] for name in ("client_id", "client_secret")}
    token = session.post(f"{url}/services/oauth2/token", data=form, timeout=60).json()["access_token"]
    session.headers["Authorization"] = f"Bearer {token}"
    moments = {place for place, name in enumerate(columns) if name.startswith("at_")}
    flags = {place for place, name in enumerate(columns) if name.startswith("flag_")}
    jobs = f"{url}/services/data/v66.0/jobs/ingest"

    def shown(place: int, value: Any) -> Any:
        if place in moments:
            return datetime.datetime.fromtimestamp(value, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        return str(value).lower() if place in flags else value

    def send(rows: list[tuple[Any, ...]]) -> int:
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(["Product_User_Id__c", "LastName", *(f"{name}__c" for name in columns)])
        for row in rows:
            lines.writerow([row[0], "Benchmark", *(shown(place, value) for place, value in enumerate(row[1:]))])
        body = {"object": "Contact", "operation": "upsert", "externalIdFieldName": "Product_User_Id__c"}
        job = f"{jobs}/{session.post(jobs, json=body, timeout=60).json()['id']}"
        csv_type = {"Content-Type": "text/csv"}
        assert session.put(f"{job}/batches", data=text.getvalue().encode(), headers=csv_type, timeout=60).ok
        assert session.patch(job, json={"state": "UploadComplete"}, timeout=60).ok
        time.sleep(0.05)
        assert session.get(job, timeout=60).json()["state"] == "JobComplete"
        taken = _keys(session.get(f"{job}/successfulResults", timeout=60).text)
        refused = [
            _keys(session.get(f"{job}/{name}", timeout=60).text) for name in ("failedResults", "unprocessedrecords")
        ]
        assert taken == {row[0] for row in rows}
        assert not any(refused)
        return REQUESTS

    return send


def _keys(text: str) -> set[str]:
    return {row["Product_User_Id__c"] for row in csv.DictReader(io.StringIO(text))}
