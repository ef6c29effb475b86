"""A workspace and its owner at customer.io, through files, engine and adapter; also when the process is killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.server import Server
from tests.workplace import NO_BRAKES, Workplace, until

MAPPING = """
[[sync]]
name = "workspaces"
source = "workspaces"
key = "workspace_id"
object = "workspace"
match = { object_id = "workspace_id" }
missing = "create"
removed = "clear"
relate = { person = "owner_id" }

[sync.fields]
activation_score = "score"
"""


class Firm:
    """customer.io with two people, and a warehouse with one workspace that the first of them owns."""

    def __init__(self, folder: Path) -> None:
        self.service = CustomerioStandIn()
        self.workplace = Workplace(folder)
        self.workplace.sql("CREATE TABLE workspaces AS SELECT 'w_1' AS workspace_id, 41.5 AS score, 'u_1' AS owner_id")

    def sync(self, statement: str | None = None) -> list[dict[str, Any]]:
        """The operations of one run, after a change of the source."""
        if statement:
            self.workplace.sql(statement)
        self.service.log.clear()
        assert 0 == self.workplace.run("sync", "--json").code
        return self.operations()

    def operations(self) -> list[dict[str, Any]]:
        bodies = [json.loads(one.request.body) for one in self.service.log if one.request.path == "/api/v2/batch"]
        return [operation for body in bodies for operation in body["batch"]]

    def owners(self) -> set[str]:
        people = {cio_id for cio_id, (_, object_id) in self.service.relationships if object_id == "w_1"}
        return {self.service.people[cio_id].identifiers["id"] for cio_id in people}


@pytest.fixture
def firm(tmp_path: Path) -> Iterator[Firm]:
    made = Firm(tmp_path)
    made.service.seed([{"user_id": f"u_{number}", "email": f"u{number}@example.com"} for number in (1, 2, 3)], [], [])
    with Server({"": made.service}):
        made.workplace.write({"customerio": made.service.settings()}, {"customerio": MAPPING}, NO_BRAKES)
        yield made


def test_an_owner_is_related_and_replaced_by_difference(firm: Firm) -> None:
    """The first run relates; a change of score leaves the owner alone; a new owner takes the old one's place."""
    firm.sync()
    assert {"u_1"} == firm.owners()
    (scored,) = firm.sync("UPDATE workspaces SET score = 50")
    assert ("identify", False) == (scored["action"], "cio_relationships" in scored)
    moved = firm.sync("UPDATE workspaces SET owner_id = 'u_2'")

    assert {"add_relationships", "delete_relationships"} == {operation["action"] for operation in moved}
    assert [] == [operation for operation in moved if "activation_score" in json.dumps(operation)]
    assert {"u_2"} == firm.owners()
    assert [] == firm.sync()


def test_a_row_that_is_gone_is_owned_by_nobody(firm: Firm) -> None:
    """With removed = "clear" the relationship goes with the values."""
    firm.sync()
    firm.sync("DELETE FROM workspaces; INSERT INTO workspaces VALUES ('w_2', 1, NULL)")

    assert set() == firm.owners()


def test_owners_after_a_kill(firm: Firm) -> None:
    """A, B when the process is killed before it has heard, then C: nobody but C is the owner in the end."""
    firm.sync()
    firm.workplace.sql("UPDATE workspaces SET owner_id = 'u_2'")
    firm.service.trouble("slow", when=lambda request: request.path == "/api/v2/batch", seconds=1.0)
    before = firm.service.count
    process = firm.workplace.start("sync")
    until(lambda: firm.service.count > before, "a request never arrives")
    process.kill()
    until(
        lambda: firm.service.count == before + 1 and firm.owners() == {"u_2"}, "the dead process's write is not applied"
    )
    firm.sync("UPDATE workspaces SET owner_id = 'u_3'")

    assert {"u_3"} == firm.owners()
    assert [] == firm.sync()
