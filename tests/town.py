"""A small town for tests of the command line: people in a warehouse, and two services that take their scores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Server
from tests.crash.standins import SlowCustomerio
from tests.workplace import Result, Workplace, in_process

PEOPLE = """
[[sync]]
name = "people"
source = "people"
key = "user_id"
object = "person"
match = { id = "user_id" }
missing = "create"

[sync.fields]
user = "user_id"
score = "score"
plan = { column = "plan", sensitive = true }
"""
CONTACTS = """
[[sync]]
name = "contacts"
source = "people"
key = "user_id"
object = "Contact"
match = { Email = "email" }

[sync.fields]
Activation_Score__c = "score"
"""
SECRETS = ("standin-track-key", "standin-app-key", "stand-in-secret")
ROWS = 6


class Town(Workplace):
    """People in a warehouse, customer.io that takes everybody, and Salesforce that knows some of them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.customerio = SlowCustomerio()
        self.salesforce = SalesforceStandIn()
        self.mappings = {"customerio": PEOPLE, "salesforce": CONTACTS}
        self.more = ""
        self.sql(
            "CREATE TABLE people AS SELECT 'u' || i AS user_id, 'u' || i || '@example.com' AS email, "
            f"i::DOUBLE AS score, 'plan-' || i AS plan FROM range({ROWS}) t(i)"
        )
        for number in range(3):
            self.salesforce.put("Contact", LastName=f"Person {number}", Email=f"u{number}@example.com")

    def settle(self) -> None:
        """Write the files anew."""
        self.write(
            {"customerio": self.customerio.settings(), "salesforce": self.salesforce.settings()},
            self.mappings,
            self.more,
        )

    def __call__(self, *words: str) -> Result:
        """Run a command in this process."""
        result = self.here(*words)

        assert [] == [secret for secret in SECRETS if secret in result.out + result.err]
        return result

    @property
    def sent(self) -> int:
        """Writes that the services received."""
        writes = ("/api/v2/batch", "/composite/")
        log = [*self.customerio.log, *self.salesforce.log]
        return sum(any(path in one.request.path for path in writes) for one in log)


@contextmanager
def a_town(folder: Path) -> Iterator[Town]:
    """A town whose services answer, and whose commands leave no signal handlers and no logging behind."""
    made = Town(folder)
    with in_process(), Server({"/customerio": made.customerio, "/salesforce": made.salesforce}):
        made.settle()
        yield made


def told(result: Result) -> str:
    """What people read, without line breaks."""
    return " ".join((result.out + " " + result.err).split())
