"""A daemon with something to show: runs of many nights, a plan that is held, and records that are refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import requests

import destinations
from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.server import Answer, Request
from syncer.account import Options
from syncer.config import load
from syncer.run import Engine
from syncer.sources import source_of
from tests.standins.webhook import REFUSED, WebhookStandIn
from tests.workplace import Process, Workplace, until

PEOPLE = 3_000
CHANGED = 2_400
"""People whose score the last of the nights changed."""
NIGHTS = 4
SECRET = "canary-of-a-sensitive-field"
HOSTILE = '<img src=x onerror="window.hacked=1">'
SCRIPT = "<script>window.hacked=2</script>"
NEVER = 'schedule = "0 4 1 1 * UTC"'
"""Runs are for the tests to ask for."""

SCORES = f"""
[[sync]]
name = "people"
source = "people"
key = "user_id"
object = "person"
match = {{ id = "user_id" }}
missing = "create"
{NEVER}
brakes = {{ changed_max = 1.0, removed_max = 1.0, cleared_max = 1.0 }}

[sync.fields]
score = {{ column = "score", digits = 1 }}
logins = "logins"
band = {{ column = "score", bands = {{ cold = 0, warm = 40, hot = 75 }} }}
nickname = {{ column = "nickname", sensitive = true }}
salary = {{ column = "salary", sensitive = true }}
"""


def _small(name: str, fields: str = 'score = "score"\nnote = "note"') -> str:
    return (
        f'[[sync]]\nname = "{name}"\nsource = "{name}"\nkey = "user_id"\nobject = "{name}"\n'
        f'match = {{ id = "user_id" }}\nmissing = "create"\n{NEVER}\n\n[sync.fields]\n{fields}\n'
    )


class Receiver(WebhookStandIn):
    """Says why it refuses a record in words that no page may take for anything but words."""

    def handle(self, request: Request) -> Answer:
        answer = super().handle(request)
        if isinstance(answer.content, dict):
            for outcome in answer.content.get("outcomes", ()):
                if "message" in outcome:
                    outcome["message"] = f"It says {SCRIPT} and {HOSTILE}"
        return answer


class Town(Workplace):
    """Two services, five syncs, and what they did so far. `serve` starts the daemon."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.customerio = CustomerioStandIn()
        self.receiver = Receiver()
        self.url = ""
        self.process: Process | None = None

    def settle(self, more: str = "") -> None:
        """Write the files."""
        syncs = "\n".join(_small(name) for name in ("held", "parked", "calm", "keyboard"))
        self.write(
            {"customerio": self.customerio.settings(), "webhook": self.receiver.settings()},
            {"customerio": SCORES, "webhook": syncs},
            f'\n[service]\nlisten = "127.0.0.1:0"\n{more}',
        )

    def live(self) -> None:
        """Nights of scores, all of them really sent; and one more that a brake holds."""
        self.sql(
            "SELECT setseed(0.42)",
            f"CREATE TABLE people AS SELECT 'u_' || lpad(i::VARCHAR, 5, '0') AS user_id, "
            f"least(99, greatest(1, 40 + 18 * (random() + random() + random() - 1.5)))::DOUBLE AS score, "
            f"(i % 40)::BIGINT AS logins, '{SECRET}-' || i AS nickname, 50000.0 + i AS salary "
            f"FROM range({PEOPLE}) t(i)",
            *(
                f"CREATE TABLE {name} AS SELECT '{name}-' || i AS user_id, i::DOUBLE AS score, 'x' AS note "
                "FROM range(200) t(i)"
                for name in ("held", "calm", "keyboard")
            ),
            f"CREATE TABLE parked AS SELECT 'parked-' || i AS user_id, i::DOUBLE AS score, "
            f"CASE WHEN i < 3 THEN '{REFUSED}' ELSE 'x' END AS note FROM range(6) t(i)",
            f"UPDATE parked SET user_id = '{HOSTILE}' WHERE user_id = 'parked-0'",
        )
        self.run_all()
        for night in range(NIGHTS):
            self.sql(
                f"UPDATE people SET score = score + 0.5, logins = logins + 1 WHERE hash(user_id, {night}) % 80 = 0"
            )
            self.run_all("customerio.people")
        self.sql(
            f"UPDATE people SET score = least(100, score + 15) WHERE user_id < 'u_{CHANGED:05}'",
            "UPDATE held SET score = score + 100 WHERE score >= 100",
        )
        self.run_all("customerio.people", "webhook.held")

    def run_all(self, *names: str) -> None:
        """A run of each sync, in this process."""
        config = load(self.folder / "config.toml", destinations.adapter, destinations.kinds)
        engine = Engine(config, source_of(config.source), destinations.adapter)
        for sync in config.choose(names):
            engine.run(engine.prepare(sync), Options(trigger="schedule"))
        engine.close()

    def serve(self) -> None:
        """Start the daemon."""
        self.process = process = self.start("serve")
        until(lambda: '"serving"' in process.err or not process.is_running, "the daemon listens")
        found = re.search(r'"address": "(.*?)"', process.err)
        assert found, process.err

        self.url = found[1]

    def ask(self, path: str) -> Any:
        """What the service answers."""
        return requests.get(self.url + path, timeout=10).json()

    def acts(self, sync: str) -> list[tuple[str, str]]:
        """(who, what) of what was done to a sync, the oldest first."""
        return [(one["by"], one["what"]) for one in reversed(self.ask(f"/api/journal?sync={sync}")["acts"])]
