"""customer.io: people by id, created as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import requests


def batches(calls: int) -> int:
    """How many batches so many requests were for."""
    return calls


def prepare(standin: Any) -> None:
    """Nothing is there beforehand."""


def know(standin: Any, keys: Iterable[str]) -> None:
    """Who is not there is made when written to."""


def mapping(columns: Sequence[str]) -> str:
    """The mapping file."""
    fields = "\n".join(f'{name} = "{name}"' for name in columns)
    return (
        'destination = "customerio"\n\n[[sync]]\nname = "people"\nsource = "first"\nkey = "user_id"\n'
        'object = "person"\n'
        f'match = {{ id = "user_id" }}\nmissing = "create"\n\n[sync.fields]\n{fields}\n'
    )


def sender(
    session: requests.Session, url: str, settings: dict[str, str], columns: Sequence[str]
) -> Callable[[list[tuple[Any, ...]]], int]:
    """Posts one batch; returns the number of requests."""
    session.auth = (settings["site_id"], settings["api_key"])

    def send(rows: list[tuple[Any, ...]]) -> int:
        items = [
            {
                "type": "person",
                "action": "identify",
                "identifiers": {"id": row[0]},
                "attributes": dict(zip(columns, row[1:], strict=True)),
            }
            for row in rows
        ]
        answer = session.post(f"{url}/api/v2/batch", json={"batch": items}, timeout=60)
        assert answer.status_code == 200, answer.text[:300]
        return 1

    return send
