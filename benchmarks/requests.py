"""Requests used for many changes, beside the least that the service's own limits allow.

Each case is a first run through the whole engine into a strict stand-in, which counts what arrives. The least is what
a sender would need that fills every request to the limit that the service documents, and looks nothing up twice.
"""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

import destinations
from benchmarks import children
from destinations.standins import standins
from destinations.standins.server import Server
from syncer.config import load
from syncer.run import Engine
from syncer.sources.duckdb import DuckDB

SIX_FIELDS = ("score", "usage", "milestones", "logins", "band", "plan")
MAPPING = """
[[sync]]
name = "people"
source = "people"
key = "user_id"
object = "{object}"
match = {{ {match} }}
missing = "{missing}"

[sync.fields]
{fields}
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One way of writing. `least` gives the fewest requests for a number of records and the bytes that were sent."""

    kind: str
    title: str
    object: str
    match: str
    missing: str
    fields: str
    least: Callable[[int, int], int]
    told: str
    """How the least comes about."""
    is_known: bool = False
    """Whether the stand-in holds the records before."""


_PLAIN = "\n".join(f'{name} = "{name}"' for name in SIX_FIELDS)
_CUSTOM = "\n".join(f'{name.title()}__c = "{name}"' for name in SIX_FIELDS)
JOB = 7
"""Create, upload, close, one look, and three files of results."""

CASES = {
    "customerio": Case(
        "customerio", "customer.io, people by id", "person", 'id = "user_id"', "create", _PLAIN,
        lambda records, sent: math.ceil(sent / 480_000), "bytes sent / 480,000",
    ),
    "salesforce-upsert": Case(
        "salesforce", "Salesforce, upsert by an external id", "Contact", 'Product_User_Id__c = "user_id"', "create",
        f'LastName = "user_id"\n{_CUSTOM}',
        lambda records, sent: 2 + JOB * math.ceil(sent / 100_000_000), "login, description, one job for each 100 MB",
    ),
    "salesforce-look-up": Case(
        "salesforce", "Salesforce, looked up by email, never created", "Contact", 'Email = "email"', "skip", _CUSTOM,
        lambda records, sent: 2 + 3 + math.ceil(records / 50_000) + JOB * math.ceil(sent / 100_000_000),
        "as above, and one query job: count, create, look, a page for each 50,000", is_known=True,
    ),
    "webhook": Case(
        "webhook", "A webhook of 1,000 records and 1 MB", "person", 'id = "user_id"', "create", _PLAIN,
        lambda records, sent: max(math.ceil(records / 1_000), math.ceil(sent / 1_000_000)), "records / 1,000",
    ),
}  # fmt: skip


def measure(folder: Path, options: Namespace) -> dict[str, Any]:
    """Every case."""
    return {name: children.run("requests", name, folder, options.changes) for name in CASES}


def child(words: list[str]) -> dict[str, Any]:
    """One case."""
    return used(words[0], Path(words[1]), int(words[2]))


def used(name: str, folder: Path, records: int) -> dict[str, Any]:
    """Requests that arrived for so many new records, and the least."""
    case = CASES[name]
    home = folder / f"requests-{name}"
    (home / "mappings").mkdir(parents=True)
    warehouse = home / "warehouse.duckdb"
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute(
            "CREATE TABLE people AS SELECT 'u_' || i AS user_id, 'u' || i || '@example.com' AS email, "
            "i % 1000 / 10 AS score, i % 977 / 10 AS usage, i % 9 * 12.5 AS milestones, i % 40 AS logins, "
            "['cold', 'warm', 'hot'][1 + i % 3] AS band, 'plan ' || i % 5 AS plan "
            f"FROM range({records}) t(i)"
        )
    standin = _receiver() if case.kind == "webhook" else standins()[case.kind]()
    with Server({"": standin}):
        _prepare(standin, case, records)
        (home / "config.toml").write_text(
            f'[source]\ntype = "duckdb"\npath = "warehouse.duckdb"\n\n[brakes]\nknown_min = 1000000000\n\n'
            f"[delivery]\nwait_first = 0.01\nwait_max = 0.01\n\n[destinations.{case.kind}]\n{standin.settings()}\n"
        )
        values = {name: getattr(case, name) for name in ("object", "match", "missing", "fields")}
        (home / "mappings" / "one.toml").write_text(f'destination = "{case.kind}"\n{MAPPING.format(**values)}')
        config = load(home / "config.toml", destinations.adapter, destinations.kinds)
        engine = Engine(config, DuckDB(warehouse), destinations.adapter)
        before = standin.count
        report = engine.run(engine.prepare(config.syncs[0]))
        engine.close()
        assert report.delivered.accepted == records, (report.error, report.delivered.counts)
        sent = sum(len(one.request.body) for one in standin.log if one.request.method in ("POST", "PUT", "PATCH"))
        return {"records": records, "requests": standin.count - before, "least": case.least(records, sent)}


def _prepare(standin: Any, case: Case, records: int) -> None:
    if case.kind != "salesforce":
        return
    standin.hurry()
    for name in SIX_FIELDS:
        is_text = name in ("band", "plan")
        standin.add_field(
            "Contact", f"{name.title()}__c", "string" if is_text else "double", **({"length": 80} if is_text else {})
        )
    if case.is_known:
        for number in range(records):
            standin.put("Contact", LastName=f"Person {number}", Email=f"u{number}@example.com")


def _receiver() -> Any:
    from destinations.standins.server import Answer, Request, StandIn, Table

    class Receiver(StandIn):
        """Takes every batch."""

        kind, title = "webhook", "A receiver"

        def handle(self, request: Request) -> Answer:
            return Answer(200, {})

        def settings(self) -> str:
            return f'url = "{self.url}/"\nsecret = "0123456789abcdef"\nrecords = 1000\nbytes = 1000000\n'

        def tables(self) -> list[Table]:
            return []

        def seed(self, people: Any, workspaces: Any, accounts: Any) -> None:
            """Nothing is there beforehand."""

    return Receiver()


def table(figures: dict[str, dict[str, Any]]) -> list[str]:
    """The figures as lines of Markdown."""
    lines = [
        "Requests of a first run, counted by the stand-in:",
        "",
        "| | changes | requests | least | ratio | how the least comes about |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, one in figures.items():
        ratio = one["requests"] / one["least"]
        lines.append(
            f"| {CASES[name].title} | {one['records']:,} | {one['requests']} | {one['least']} | {ratio:.2f} "
            f"| {CASES[name].told} |"
        )
    return lines
