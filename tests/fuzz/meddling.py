"""Answers that were right until somebody changed one thing in them."""

from __future__ import annotations

import json
import random
from typing import Any

from destinations.standins.server import Answer, Request

JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 10**400, 1.5, float("nan"), float("inf"), "", "x", "..", "\x00", "\ud800", "é" * 300),
    *([], {}, [[]], [None], {"a": None}, ["x"] * 50, "2026-13-45T99:99:99Z", "9999-12-31T23:59:59+23:59", "1e999"),
)


def changed(document: Any, chance: random.Random) -> Any:
    """The document with one part of it replaced, gone or doubled."""
    if isinstance(document, dict) and document and chance.random() < 0.85:
        name = chance.choice(sorted(document))
        if chance.random() < 0.15:
            return {key: value for key, value in document.items() if key != name}
        return document | {name: changed(document[name], chance)}
    if isinstance(document, list) and document and chance.random() < 0.85:
        place = chance.randrange(len(document))
        if chance.random() < 0.15:
            return document + document[:1]
        return [*document[:place], changed(document[place], chance), *document[place + 1 :]]
    return chance.choice(JUNK)


class Meddler:
    """Changes one thing in some of the answers; chance decides."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def __call__(self, _: Request, answer: Answer) -> Answer:
        chance = self._chance
        if chance.random() < 0.5:
            return answer
        body = answer.encoded()[0]
        status = chance.choice((answer.status, answer.status, answer.status, 200, 201, 207, 400, 404, 409))
        try:
            body = json.dumps(changed(json.loads(body), chance)).encode()
        except ValueError:
            cut = chance.randint(0, len(body))
            body = body[:cut] + bytes(chance.randrange(256) for _ in range(4)) + body[cut:]
        headers = {name: chance.choice(("", "x", "\xff", value)) for name, value in answer.headers.items()}
        return Answer(status, body, {"Content-Type": "application/json"} | headers)
