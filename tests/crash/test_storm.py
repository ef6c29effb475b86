"""Faults at every destination at once: whatever each service does, counts add up, and after the storm all is right."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from destinations.standins.server import Answer, Request
from tests.security.fortress import SYNC, Fortress, a_fortress, adds_up

ROWS = 60
SYNCS = ("customerio.people", "orbit.people", "salesforce.people", "webhook.people")
GARBAGE = (
    b"<html>Sorry</html>",
    b"",
    b"{}",
    b"[]",
    b"null",
    b'{"errors": [{"batch_index": 10000}]}',
    b"{",
    b"\xff\x00",
)
STATUSES = (200, 207, 400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504, 520)
RUNS_MAX = 10


def weather(fortress: Fortress, chance: random.Random) -> Counter[str]:
    """A few faults for each service, one of them lasting perhaps; how many of which kind."""
    ordered: Counter[str] = Counter()
    for service in fortress.services.values():
        service.troubles.clear()
        for _ in range(chance.randint(0, 4)):
            kind = chance.choice(("status", "after", "close", "lost", "cut", "slow", "stall"))
            headers = {"Retry-After": chance.choice(("0", "1", "soon"))} if chance.random() < 0.3 else {}
            share = chance.choice((0.3, 0.7, 1.0))

            def when(request: Request, share: float = share) -> bool:
                return chance.random() < share

            service.trouble(
                kind,
                when=when,
                times=chance.choice((1, 2, 5, None)),
                answer=Answer(chance.choice(STATUSES), chance.choice(GARBAGE), headers),
                seconds=0.05 if kind == "slow" else 0.4,
            )
            ordered[kind] += 1
    return ordered


def night(fortress: Fortress, number: int) -> None:
    fortress.sql(
        "CREATE OR REPLACE TABLE people AS SELECT 'u' || i AS user_id, 'u' || i || '@example.com' AS email, "
        f"((i * 7 + {number} * (1 + i % 3)) % 100)::DOUBLE AS score, 'text ' || (i + {number}) % 5 AS text "
        f"FROM range({ROWS}) t(i)"
    )


def storm(folder: Path, nights: int, seed: int) -> Counter[str]:
    """So many nights of bad weather, and then a good one."""
    chance = random.Random(seed)
    happened: Counter[str] = Counter()
    with a_fortress(folder) as fortress:
        fortress.mappings["orbit"] = SYNC.format(
            object="member",
            match='email = "email"',
            fields='"tag:step" = { column = "text", type = "text" }\nbio = "text"',
        )
        more = "\n[delivery]\nfailures_max = 2\nretry_after_max = 0.05\nwait_first = 0.001\nwait_max = 0.002\n"
        settings = "attempts = 2\ntimeout = 0.3\nin_flight = 2\n"

        def settle(settings: str) -> None:
            fortress.settle(settings=settings, webhook="records = 7\n")
            config = fortress.folder / "config.toml"
            config.write_text(config.read_text().partition("\n[delivery]")[0] + more)

        settle(settings)
        for number in range(nights):
            night(fortress, number)
            happened += weather(fortress, chance)
            result = fortress("sync", "--json")

            assert adds_up(result)
            assert list(SYNCS) == [one["sync"] for one in result.json["syncs"]]
            happened += Counter(one["result"] for one in result.json["syncs"])
        for service in fortress.services.values():
            service.troubles.clear()
        settle("attempts = 5\ntimeout = 20.0\n")
        for _ in range(RUNS_MAX):
            fortress("rejected", "--retry")
            result = fortress("sync", "--json")
            if 0 == result.code and all(one["planned"] == 0 for one in result.json["syncs"]):
                break
        else:
            raise AssertionError(f"there is always something left to send: {result.out}")
        all_is_right(fortress)
    return happened


def all_is_right(fortress: Fortress) -> None:
    rows = fortress.rows("SELECT * FROM people")
    held = {each.attributes.get("user"): each.attributes for each in fortress.services["customerio"].people.values()}
    contacts = fortress.services["salesforce"].records("Contact")
    receiver = {who[0][1]: fields for who, fields in fortress.services["webhook"].records.items()}

    assert {row["user_id"]: row["score"] for row in rows} == {who: float(one["score"]) for who, one in held.items()}
    assert sorted((row["email"], row["score"]) for row in rows) == sorted(
        (one["Email"], one["Activation_Score__c"]) for one in contacts
    )
    assert {row["user_id"]: (row["score"], row["text"]) for row in rows} == {
        who: (one["score"], one["note"]) for who, one in receiver.items()
    }
    for sync in ("customerio.people", "salesforce.people", "orbit.people"):
        verified = fortress("verify", sync)

        assert 0 == verified.code, verified.out


def test_a_storm_at_every_destination(tmp_path: Path) -> None:
    """After six nights in which every service breaks in its own way, all four hold what the source says."""
    happened = storm(tmp_path, nights=6, seed=3)

    assert happened["failed"] > 0


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(10))
def test_long_storms(tmp_path: Path, seed: int) -> None:
    """The same after forty nights, ten times."""
    print(storm(tmp_path, nights=40, seed=100 + seed))
