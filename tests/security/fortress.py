"""One small workplace with all four destinations, whose services can be made to answer anything at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.orbit import OrbitStandIn
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Answer, Request, Server, StandIn
from tests.standins.webhook import WebhookStandIn
from tests.workplace import NO_BRAKES, Result, Workplace, in_process

Twist = Callable[[Request, Answer], Answer]

QUICK = "\n[delivery]\nwait_first = 0.001\nwait_max = 0.001\nrest_seconds = 0.001\n"
ONCE = "attempts = 1\ntimeout = 2.0\n"
SYNC = """
[[sync]]
name = "people"
source = "people"
key = "user_id"
object = "{object}"
match = {{ {match} }}
missing = "create"

[sync.fields]
{fields}
"""
MAPPINGS = {
    "customerio": SYNC.format(object="person", match='id = "user_id"', fields='user = "user_id"\nscore = "score"'),
    "salesforce": SYNC.format(
        object="Contact", match='Email = "email"', fields='LastName = "user_id"\nActivation_Score__c = "score"'
    ),
    "orbit": SYNC.format(
        object="member",
        match='email = "email"',
        fields='"tag:activation" = { column = "score", bands = { cold = 0, hot = 75 } }\nbio = "text"',
    ),
    "webhook": SYNC.format(object="person", match='id = "user_id"', fields='score = "score"\nnote = "text"'),
}
SECRETS = ("standin-track-key", "standin-app-key", "stand-in-secret", "the-secret-of-the-receiver", "a-token-besides")
ROWS = 3


class Twisted:
    """A stand-in whose answers pass through a twist before they leave."""

    twist: Twist | None = None

    def handle(self, request: Request) -> Answer:
        answer: Answer = super().handle(request)  # type: ignore[misc]
        return self.twist(request, answer) if self.twist else answer


class TwistedCustomerio(Twisted, CustomerioStandIn):
    """customer.io."""


class TwistedSalesforce(Twisted, SalesforceStandIn):
    """Salesforce."""


class TwistedOrbit(Twisted, OrbitStandIn):
    """Orbit."""


class TwistedWebhook(Twisted, WebhookStandIn):
    """A receiver."""


class Fortress(Workplace):
    """Three people, and four services that take them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.services: dict[str, Any] = {
            "customerio": TwistedCustomerio(),
            "salesforce": TwistedSalesforce(),
            "orbit": TwistedOrbit(),
            "webhook": TwistedWebhook(),
        }
        self.services["salesforce"].hurry()
        self.mappings = dict(MAPPINGS)
        self.people()

    def people(self, text: str = "plain", user_id: str | None = None) -> None:
        """The source: everybody has this text, and one of them this id."""
        quoted = text.replace("'", "''")
        first = "'u0'" if user_id is None else "'" + user_id.replace("'", "''") + "'"
        self.sql(
            "CREATE OR REPLACE TABLE people AS SELECT CASE i WHEN 0 THEN "
            f"{first} ELSE 'u' || i END AS user_id, 'u' || i || '@example.com' AS email, 50.0 + 20 * i AS score, "
            f"'{quoted}' AS text FROM range({ROWS}) t(i)"
        )

    def settle(self, more: str = "", settings: str = ONCE, **extra: str) -> None:
        """Write the files. `extra` are more settings by destination."""
        bodies = {}
        for name, service in self.services.items():
            told = settings + extra.get(name, "")
            replaced = {line.partition("=")[0].strip() for line in told.splitlines()}
            lines = service.settings().splitlines(keepends=True)
            bodies[name] = told + "".join(line for line in lines if line.partition("=")[0].strip() not in replaced)
        self.write(bodies, self.mappings, NO_BRAKES + QUICK + more)

    def twist(self, twist: Twist | None) -> None:
        """From now on all services answer so."""
        for service in self.services.values():
            service.twist = twist

    def __call__(self, *words: str) -> Result:
        """Run a command in this process."""
        result = self.here(*words)

        told = result.out + result.err
        assert [] == [secret for secret in SECRETS if secret in told]
        assert "Traceback" not in told
        assert "Syncer's fault" not in told, told
        return result


@contextmanager
def a_fortress(folder: Path) -> Iterator[Fortress]:
    """A fortress whose services answer, and whose commands leave neither signal handlers nor logging behind."""
    made = Fortress(folder)
    standins: dict[str, StandIn] = {f"/{name}": service for name, service in made.services.items()}
    with in_process(), Server(standins):
        made.settle()
        yield made


def adds_up(result: Result) -> bool:
    """Whether every run of `sync --json` accounts for all that it planned."""
    return all(
        one["planned"] == one["accepted"] + one["rejected"] + one["deferred"] + one["unsent"]
        for one in result.json["syncs"]
    )


UNPRINTABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What must never reach a terminal from outside: everything that is not seen, but for the line feed."""
