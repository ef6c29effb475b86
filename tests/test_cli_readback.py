"""adopt and verify on the command line, with the real adapters reading the stand-ins back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.town import ROWS, Town, a_town, told

REP = "005000000000007AAA"
"""Somebody who works in Salesforce."""


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with a_town(tmp_path) as made:
        made.more = "[brakes]\nchanged_max = 1.0\nknown_min = 1\n"
        made.settle()
        yield made


def test_first_contact_without_a_flood(town: Town) -> None:
    """On a destination that holds most of it, adopting sends nothing, and the first sync only the real differences."""
    town("sync", "customerio")
    town("forget", "customerio.people")
    town.sql("UPDATE people SET score = 77 WHERE user_id = 'u2'")
    sent = town.sent
    adopted = town("adopt", "customerio.people", "--json")
    planned = town("diff", "customerio", "--json").sync["changes"]

    assert (0, sent) == (adopted.code, town.sent)
    assert (ROWS, ROWS, 0) == tuple(adopted.sync[name] for name in ("read", "found", "absent"))
    assert {"equal": ROWS * 3 - 1, "other": 1} == adopted.sync["fields"]
    assert [("u2", {"score": {"before": 2.0, "after": 77.0}})] == [(one["key"], one["fields"]) for one in planned]
    assert 1 == town("sync", "customerio", "--json").sync["accepted"]


def test_adopting_what_is_not_there(town: Town) -> None:
    """Records that the destination does not have stay new, and people are told how many."""
    adopted = town("adopt", "salesforce")

    assert 0 == adopted.code
    assert f"3 of {ROWS} records found, 3 absent" in told(adopted)
    assert "syncer diff salesforce.contacts shows what differs" in told(adopted)


def test_drift_is_told_and_repaired(town: Town) -> None:
    """What somebody typed in Salesforce is told with exit 2, and put right by the next sync after a repair."""
    town("sync", "salesforce")
    with town.salesforce.lock:
        record = town.salesforce.records("Contact")[1]
        town.salesforce.org.update("Contact", record["Id"], {"Activation_Score__c": 99}, by=REP)
    found = town("verify", "salesforce.contacts")
    seen = town("verify", "salesforce.contacts", "--json")
    repaired = town("verify", "salesforce.contacts", "--repair", "--json")
    town("sync", "salesforce")

    assert (2, 2, 2) == (found.code, seen.code, repaired.code)
    assert f"u1 Activation_Score__c 1.0 is now 99.0 the record was last written by {REP}, 20" in told(found)
    assert (REP, "record") == tuple(seen.sync["drifts"][0]["last_write"][name] for name in ("by", "of"))
    assert ({"Activation_Score__c": 1}, 0, 1) == (seen.sync["fields"], seen.sync["repaired"], repaired.sync["repaired"])
    assert 1.0 == town.salesforce.records("Contact")[1]["Activation_Score__c"]
    assert (0, True) == ((last := town("verify", "salesforce.contacts")).code, "No drift." in told(last))


def test_nothing_is_shown_of_sensitive_fields(town: Town) -> None:
    """A sensitive field that drifted is named, and neither value is shown."""
    town("sync", "customerio")
    with town.customerio.lock:
        person = next(one for one in town.customerio.people.values() if one.identifiers.get("id") == "u2")
        person.attributes["plan"] = "typed-by-hand"
    result = town("verify", "customerio.people", "--json")

    assert {"plan": 1} == result.sync["fields"]
    assert "typed-by-hand" not in result.out
    assert "plan-2" not in result.out


def test_a_destination_that_cannot_be_read_is_a_sentence(town: Town) -> None:
    """Without the key for reading, the sentence names the setting, and the exit code is 1."""
    settings = "\n".join(line for line in town.customerio.settings().splitlines() if not line.startswith("app_key"))
    town.write({"customerio": settings}, {"customerio": town.mappings["customerio"]}, town.more)
    (town.folder / "mappings" / "salesforce.toml").unlink()
    town("sync", "customerio")
    result = town("verify", "customerio")

    assert 1 == result.code
    assert "app_key" in told(result)
