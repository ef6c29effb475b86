"""Canaries: no secret comes out anywhere, and no key and no value where only numbers and sentences should.

Every secret of every adapter, the token of the service, the addresses and passwords of alerts, keys, sensitive values
and ordinary ones are words that occur nowhere else. A daemon and commands then go through success, refusals, holds,
outages and answers that quote everything that was sent, with every library logging all it can and a fault of ours,
and each word is looked for in everything that came out.
"""

from __future__ import annotations

import base64
import json
import signal
from collections.abc import Callable
from pathlib import Path

import apsw
import requests

from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.orbit import OrbitStandIn
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Answer, Request, Server, StandIn
from tests.standins.hearing import Mailbox, ReceiverStandIn, SlackStandIn
from tests.standins.webhook import WebhookStandIn
from tests.workplace import Process, Workplace, until

SECRETS = {
    name: f"canary-{name}-secret-word"
    for name in ("track", "app", "orbit", "client", "hook", "header", "token", "wrongtoken")
} | {
    "slack": SlackStandIn.PATH.rpartition("/")[2],
    "receiver": ReceiverStandIn.secret,
    "smtp": Mailbox.PASSWORD,
}
SENSITIVE, ORDINARY, KEY = "canary-sensitive", "canary-ordinary", "canary-key"
SYNC = """
[[sync]]
name = "people"
source = "people"
key = "user_id"
object = "OBJECT"
match = { MATCH }
missing = "create"

[sync.fields]
FIELDS
"""
MAPPINGS = {
    "customerio": ("person", 'id = "user_id"', 'note = "note"\ndiary = { column = "diary", sensitive = true }'),
    "orbit": ("member", 'email = "email"', 'name = "note"\nbio = { column = "diary", sensitive = true }'),
    "salesforce": (
        "Lead",
        'Email = "email"',
        'LastName = "note"\nCompany = { column = "diary", sensitive = true }',
    ),
    "webhook": ("anything", 'id = "user_id"', 'note = "note"\ndiary = { column = "diary", sensitive = true }'),
}
LOUD = """
import logging, os
for name in "urllib3 requests uvicorn uvicorn.error fastapi customerio simple_salesforce asyncio".split():
    logging.getLogger(name).setLevel(logging.DEBUG)
if os.environ.get("CANARY_FAULT"):
    import destinations.webhook as module
    def limits(self, sync):
        raise RuntimeError(f"{self.settings.secret.get_secret_value()} {os.environ['CANARY_FAULT']}")
    module.Webhook.limits = limits
"""
"""What Python runs first: every library says all that it can, and an adapter may be broken."""


class City(Workplace):
    """Every adapter, every alert."""

    def __init__(self, folder: Path, box: Mailbox) -> None:
        super().__init__(folder)
        self.customerio = CustomerioStandIn(api_key=SECRETS["track"], app_key=SECRETS["app"])
        self.orbit = OrbitStandIn(api_key=SECRETS["orbit"])
        self.salesforce = SalesforceStandIn()
        self.salesforce.tokens.client_secret = SECRETS["client"]
        self.hook = WebhookStandIn(secret=SECRETS["hook"], token=SECRETS["header"])
        self.slack, self.receiver, self.box = SlackStandIn(), ReceiverStandIn(), box
        self.services: list[StandIn] = [self.customerio, self.orbit, self.salesforce, self.hook]
        loud = folder / "loud"
        loud.mkdir()
        (loud / "sitecustomize.py").write_text(LOUD)
        self.is_new = True  # A process that has everything imported does not look for this any more.
        self._env["PYTHONPATH"] = f"{loud}:{self._env['PYTHONPATH']}"
        self.sql(
            f"CREATE TABLE people AS SELECT '{KEY}-' || i AS user_id, '{KEY}-' || i || '@example.com' AS email, "
            f"'{ORDINARY}-' || i AS note, '{SENSITIVE}-' || i AS diary FROM range(3) t(i)"
        )

    def settle(self) -> None:
        """Write the files; secrets are references where a person would write one."""
        sections = {
            "customerio": self.customerio.settings(),
            "orbit": self.orbit.settings(),
            "salesforce": self.salesforce.settings(),
            "webhook": self.hook.settings(),
        }
        mappings = {
            name: SYNC.replace("OBJECT", record).replace("MATCH", match).replace("FIELDS", fields)
            for name, (record, match, fields) in MAPPINGS.items()
        }
        self._env["SERVICE_TOKEN"] = SECRETS["token"]
        self.write(
            sections,
            mappings,
            '\n[service]\nlisten = "127.0.0.1:0"\ntoken = "env:SERVICE_TOKEN"\n[schedule]\ncron = "0 0 1 1 *"\n'
            "[brakes]\nknown_min = 1\n[delivery]\nwait_first = 0.01\nwait_max = 0.02\nfailures_max = 100\n"
            f'[[alerts]]\ntype = "slack"\nurl = "{self.slack.address}"\nwait = "0s"\n'
            f'[[alerts]]\ntype = "webhook"\nurl = "{self.receiver.url}"\nsecret = "{self.receiver.secret}"\n'
            'wait = "0s"\n'
            f'[[alerts]]\ntype = "email"\nhost = "127.0.0.1"\nport = {self.box.port}\nca_file = "mail.pem"\n'
            f'user = "{self.box.USER}"\npassword = "{self.box.PASSWORD}"\nsender = "a@example.com"\n'
            'to = ["b@example.com"]\nwait = "0s"\n',
        )

    def change(self, word: str) -> None:
        """Let every row differ."""
        self.sql(f"UPDATE people SET note = note || '{word}', diary = diary || '{word}'")

    def echo(self, status: int) -> Callable[[], None]:
        """Let every service answer with everything that it was sent; gives what ends that."""
        before = [service.handle for service in self.services]

        def quoted(request: Request) -> Answer:
            told = {name: text for name, text in request.headers.items() if name in ("authorization", "x-api-key")}
            text = f"{told} {request.body.decode()} {dict(request.headers)} {request.path} {request.query_text}"
            words = {"message": text, "errors": [{"reason": text, "field": text, "message": text, "batch_index": 0}]}
            return Answer(
                status, [{"errorCode": "ECHO", "message": text}] if "services/data" in request.path else words
            )

        for service in self.services:
            service.handle = quoted  # type: ignore[method-assign]

        def end() -> None:
            for service, handle in zip(self.services, before, strict=True):
                service.handle = handle  # type: ignore[method-assign]

        return end


class Heard:
    """Everything that came out, by where."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def note(self, where: str, text: str) -> None:
        self.texts[where] = self.texts.get(where, "") + text

    def with_word(self, word: str, *but: str) -> list[str]:
        """Where a word came out, also encoded as headers and addresses encode it."""
        forms = {word, base64.b64encode(word.encode()).decode().rstrip("=")}
        return [where for where, text in self.texts.items() if where not in but and any(form in text for form in forms)]


def whole_life(folder: Path) -> Heard:
    """What came out of a daemon and of some commands."""
    heard = Heard()
    with Mailbox(folder) as box:
        city = City(folder, box)
        served = {
            "/customerio": city.customerio, "/orbit": city.orbit, "/salesforce": city.salesforce, "/hook": city.hook,
            "/slack": city.slack, "/receiver": city.receiver,
        }  # fmt: skip
        with Server(served):
            city.settle()
            live(city, heard)
            command(city, heard, "diff", but_shown=True)
            end = city.echo(422)
            command(city, heard, "sync", "--release", but_shown=True)
            end()
            command(city, heard, "rejected", but_shown=True)
            city._env["CANARY_FAULT"] = f"{KEY} {SENSITIVE} {ORDINARY}"
            command(city, heard, "sync", "webhook", "--release")
        heard.note("alerts", "\n".join(city.slack.texts) + json.dumps(city.receiver.bodies))
        heard.note("alerts", "\n".join(str(mail) + mail.get_content() for mail in box.mails))
        with apsw.Connection(str(city.state / "control.db")) as store:
            for table in ("run", "message", "told", "request", "act"):
                heard.note("journal", json.dumps(store.execute(f"SELECT * FROM {table}").fetchall(), default=str))
            heard.note("parked", str(store.execute("SELECT code, message FROM parked").fetchall()))
    return heard


def live(city: City, heard: Heard) -> None:
    """A daemon through good and bad days."""
    daemon = city.start("serve")
    until(lambda: "serving" in daemon.err or not daemon.is_running, "the daemon serves")
    assert daemon.is_running, daemon.err
    address = json.loads(next(line for line in daemon.err.splitlines() if '"serving"' in line))["address"]
    everything = [f"{name}.people" for name in MAPPINGS]

    def ask(path: str, body: dict[str, object] | None = None, token: str = SECRETS["token"]) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        method = "GET" if body is None else "POST"
        text = None if body is None else json.dumps(body)
        return requests.request(method, address + path, data=text, headers=headers, timeout=30)

    def run_all() -> None:
        asked = [
            ask(f"/api/syncs/{name}/runs", {"by": "Ada", "release": True}).json()["request"] for name in everything
        ]
        for number in asked:
            until(lambda number=number: ask(f"/api/requests/{number}").json()["ended"], "a run ends")  # type: ignore[misc]

    run_all()
    for status in (400, 401, 422, 500):
        city.change(f"-{status}")
        end = city.echo(status)
        run_all()
        end()
    city.change("-held")
    for name in everything:
        ask(f"/api/syncs/{name}/runs", {"by": "Ada"})
    until(lambda: '"held"' in daemon.err, "a plan is held")
    heard.note("answers", ask("/metrics", token=SECRETS["wrongtoken"]).text)
    heard.note("metrics", ask("/metrics").text + ask("/healthz").text + ask("/readyz").text)
    heard.note("pages", ask("/api/syncs").text + ask("/openapi.json").text)
    until(lambda: city.box.mails and city.slack.texts and city.receiver.bodies, "alerts are told")
    ended(daemon, heard)


def ended(daemon: Process, heard: Heard) -> None:
    """What a daemon wrote, once it has ended."""
    daemon.signal(signal.SIGTERM)
    result = daemon.end(60)
    assert 0 == result.code, result.err
    heard.note("log", result.err + result.out)


def command(city: City, heard: Heard, *words: str, but_shown: bool = False) -> None:
    """A command; with `but_shown` its result shows keys and values on purpose."""
    result = city.run(*words)
    heard.note("stderr", result.err)
    heard.note("shown" if but_shown else "stdout", result.out)


def test_no_canary_comes_out(tmp_path: Path) -> None:
    """Secrets and sensitive values are in nothing that came out. Keys and ordinary values are in what commands show on
    purpose and in the reasons of parked records, and in no log, number, alert, trace or journal. The daemon wrote one
    line for each run, with counts that add up."""
    heard = whole_life(tmp_path)
    log = [json.loads(line) for line in heard.texts["log"].splitlines()]
    runs = [one for one in log if one["event"] == "run"]

    assert {} == {name: where for name, word in SECRETS.items() if (where := heard.with_word(word))}
    assert [] == heard.with_word(SENSITIVE)
    assert [] == heard.with_word(ORDINARY, "shown", "parked") == heard.with_word(KEY, "shown", "parked")

    # What was searched is not empty: each kind of end, quoted errors and a fault were there.
    assert {(name, result) for name in MAPPINGS for result in ("done", "held", "failed")} <= {
        (one["sync"].partition(".")[0], one["result"]) for one in runs
    }
    assert ORDINARY in heard.texts["shown"]
    assert "•••" in heard.texts["parked"]
    assert "RuntimeError" in heard.texts["stderr"]
    assert "syncer_runs_total" in heard.texts["metrics"]
    assert "customerio" in heard.texts["alerts"]

    assert len(runs) == len({one["run"] for one in runs})
    for one in runs:
        assert one["planned"] == one["accepted"] + one["rejected"] + one["deferred"] + one["unsent"]
