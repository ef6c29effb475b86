"""The sandbox: its page, its records as JSON, and a demo's sandbox that opens again."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Answer, Request, Server, StandIn, Table
from syncer import report, sandbox
from syncer.demo import story, warehouse
from syncer.errors import UserError
from syncer.sandbox import replay
from syncer.sandbox.page import ROWS_MAX, Page

SECRET = "do-not-show-me"


class Shop(StandIn):
    """A service with one table: a JSON object that is posted is a record, whatever its keys."""

    kind = "shop"
    title = "The Shop"
    server: Server

    def __init__(self) -> None:
        super().__init__()
        self.records: list[dict[str, str]] = []
        self.tokens = 0

    def handle(self, request: Request) -> Answer:
        if request.path == "/login":
            self.tokens += 1
            return Answer(200, {"access_token": f"{SECRET}-{id(self)}-{self.tokens}", "token_type": "Bearer"})
        if request.method == "POST" and request.path == "/records":
            if request.headers.get("authorization") != f"Bearer {SECRET}-{id(self)}-{self.tokens}":
                return Answer(401, {"error": "no such token"})
            self.records.insert(0, request.json())
            return Answer(201, {"number": len(self.records)})
        return Answer(404, {"error": "no such thing"})

    def settings(self) -> str:
        return f'base_url = "{self.url}"\n'

    def tables(self) -> list[Table]:
        columns = list(dict.fromkeys(name for record in self.records for name in record))
        return [Table("Things", columns, self.records, [set(record) - {"id"} for record in self.records])]

    def seed(
        self,
        people: Iterable[Mapping[str, Any]],
        workspaces: Iterable[Mapping[str, Any]],
        accounts: Iterable[Mapping[str, Any]],
    ) -> None:
        self.records = [{"id": person["user_id"], "name": person["name"]} for person in people]


@pytest.fixture
def shop() -> Iterator[Shop]:
    """An open sandbox with one service, below `/shop`."""
    standin = Shop()
    with Server({"/shop": standin}, page=Page({"/shop": standin})) as standin.server:
        yield standin


def write(shop: Shop, record: Mapping[str, str]) -> None:
    """Log in and post a record, as a client would."""
    token = requests.post(f"{shop.url}/login", data={"client_secret": SECRET}, timeout=10).json()["access_token"]
    done = requests.post(f"{shop.url}/records", json=record, headers={"Authorization": f"Bearer {token}"}, timeout=10)
    assert 201 == done.status_code


def told(shop: Shop, **query: str) -> dict[str, Any]:
    """What `/api/records` says."""
    answer = requests.get(f"{shop.url.removesuffix('/shop')}/api/records", params=query, timeout=10)
    assert 200 == answer.status_code
    document: dict[str, Any] = answer.json()
    return document


def page_of(shop: Shop) -> requests.Response:
    return requests.get(f"{shop.url.removesuffix('/shop')}/", timeout=10)


def test_the_page_needs_nothing_from_elsewhere(shop: Shop) -> None:
    """The page is one file without any address of another host, and its policy forbids to load from one."""
    answer = page_of(shop)

    assert [] == re.findall(r"https?://|//\w+\.\w", answer.text)
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "text/html; charset=utf-8" == answer.headers["Content-Type"]


def test_the_page_never_parses_text_as_html(shop: Shop) -> None:
    """No way of the browser to turn text into elements is used in the page."""
    text = page_of(shop).text

    assert "textContent" in text
    assert [] == re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|DOMParser", text)


def test_the_page_suits_the_dark_and_a_phone(shop: Shop) -> None:
    """The page follows the system's dark mode and has a layout for narrow screens."""
    text = page_of(shop).text

    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text


def test_records_are_told_with_what_changed(shop: Shop) -> None:
    """A table has its columns, how many rows there are, and for each cell whether the last write changed it."""
    write(shop, {"id": "u_1", "score": "41"})

    service = told(shop)["services"][0]
    table = service["tables"][0]

    assert ("shop", "The Shop") == (service["kind"], service["title"])
    assert ("Things", ["id", "score"], 1) == (table["title"], table["columns"], table["total"])
    assert [{"cells": ["u_1", "41"], "changed": [False, True]}] == table["rows"]


def test_only_the_newest_rows_travel(shop: Shop) -> None:
    """Of a long table only the first hundred rows are told, with the number of all."""
    shop.records = [{"id": f"u_{number}"} for number in range(ROWS_MAX + 50)]

    table = told(shop)["services"][0]["tables"][0]

    assert (ROWS_MAX, 150, "u_0") == (len(table["rows"]), table["total"], table["rows"][0]["cells"][0])


def test_finding_looks_at_all_rows(shop: Shop) -> None:
    """A search reaches rows beyond the first hundred, in any column, without regard to case."""
    shop.records = [{"id": f"u_{number}", "name": "Zoë"} for number in range(500)]
    shop.records[450]["name"] = "ÉMILE"

    table = told(shop, find="émile")["services"][0]["tables"][0]

    assert ([["u_450", "ÉMILE"]], 1, 500) == ([row["cells"] for row in table["rows"]], table["found"], table["total"])


def test_nothing_is_told_twice(shop: Shop) -> None:
    """Who has seen the present version gets only its name, until another request arrives."""
    version = told(shop)["version"]
    unchanged = told(shop, seen=version)
    write(shop, {"id": "u_1"})

    assert {"version": version} == unchanged
    assert "services" in told(shop, seen=version)


def test_requests_are_told_newest_first(shop: Shop) -> None:
    """The writes are listed with method, path, status and indented bodies; reads only when asked for."""
    write(shop, {"id": "u_1"})
    requests.get(f"{shop.url}/somewhere", params={"a": "b c"}, timeout=10)

    writes = told(shop)["services"][0]["requests"]
    everything = told(shop, reads="1")["services"][0]["requests"]

    assert [("POST", "/shop/records", 201), ("POST", "/shop/login", 200)] == [
        (one["method"], one["path"], one["status"]) for one in writes
    ]
    assert ('{\n  "id": "u_1"\n}', '{\n  "number": 1\n}') == (writes[0]["sent"], writes[0]["answered"])
    assert ("/shop/somewhere?a=b%20c", 404) == (everything[0]["path"], everything[0]["status"])


def test_credentials_are_told_to_nobody(shop: Shop) -> None:
    """Neither the Authorization header nor secrets in forms, queries, JSON and XML are on the page."""
    write(shop, {"id": "u_1", "api_key": SECRET, "password": SECRET})
    requests.post(f"{shop.url}/login?token={SECRET}", timeout=10)
    requests.post(f"{shop.url}/login", data=f"<password>{SECRET}</password>", timeout=10)
    shop.records.clear()

    text = json.dumps(told(shop, reads="1"))

    assert 4 == len(told(shop)["services"][0]["requests"])
    assert SECRET not in text
    assert "authorization" not in text.casefold()


def test_long_bodies_are_cut(shop: Shop) -> None:
    """A body of a megabyte does not travel to the page whole."""
    write(shop, {"id": "x" * 1_000_000})

    sent = told(shop)["services"][0]["requests"][0]["sent"]

    assert len(sent) < 10_000
    assert sent.endswith("more characters")


def test_the_page_is_only_read(shop: Shop) -> None:
    """Another method than GET, or another path, is refused."""
    root = shop.url.removesuffix("/shop")

    assert 405 == requests.post(f"{root}/api/records", timeout=10).status_code
    assert 404 == requests.get(f"{root}/elsewhere", timeout=10).status_code


def test_saved_requests_give_the_same_records(shop: Shop, tmp_path: Path) -> None:
    """Replaying what was saved restores the records, although every login gives out another token."""
    write(shop, {"id": "u_1", "score": "41"})
    write(shop, {"id": "u_2", "score": "7"})
    again = Shop()
    with Server({"/shop": again}) as reopened:
        replay.save(tmp_path, shop.server)
        replay.restore(tmp_path, reopened)

    assert [{"id": "u_2", "score": "7"}, {"id": "u_1", "score": "41"}] == again.records
    assert [200, 201, 200, 201] == [exchange.status for exchange in again.log]


def test_what_a_job_wrote_is_restored(tmp_path: Path) -> None:
    """A bulk job of Salesforce goes on when somebody looks at it, so the looks are done once more, too."""
    held, again = SalesforceStandIn(), SalesforceStandIn()
    with Server({"/salesforce": held}) as server, Server({"/salesforce": again}) as reopened:
        for standin in (held, again):
            standin.put("Contact", LastName="Lovelace", Product_User_Id__c="u_1")
        login = {"grant_type": "client_credentials", "client_id": "stand-in-client"}
        secret = {"client_secret": held.tokens.client_secret}
        token = requests.post(f"{held.url}/services/oauth2/token", data=login | secret, timeout=10).json()
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {token['access_token']}"
            jobs = f"{held.url}/services/data/v66.0/jobs/ingest"
            job = {"object": "Contact", "operation": "upsert", "externalIdFieldName": "Product_User_Id__c"}
            address = f"{jobs}/{session.post(jobs, json=job | {'lineEnding': 'LF'}, timeout=10).json()['id']}"
            rows = "Product_User_Id__c,Activation_Score__c\nu_1,41\n"
            session.put(f"{address}/batches", data=rows, headers={"Content-Type": "text/csv"}, timeout=10)
            session.patch(address, json={"state": "UploadComplete"}, timeout=10)
            while session.get(address, timeout=10).json()["state"] != "JobComplete":
                pass
        replay.save(tmp_path, server)
        replay.restore(tmp_path, reopened)

    assert [41.0] == [record["Activation_Score__c"] for record in held.records("Contact")]
    assert [41.0] == [record["Activation_Score__c"] for record in again.records("Contact")]


def test_a_demo_that_saved_nothing_restores_nothing(tmp_path: Path) -> None:
    """A demo that was cut short has saved no requests, and its sandbox opens all the same."""
    shop = Shop()
    with Server({"/shop": shop}) as server:
        replay.restore(tmp_path, server)

    assert [] == shop.records


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A company small enough for tests."""
    for name, size in (("USERS", 240), ("WORKSPACES", 40), ("ACCOUNTS", 20)):
        monkeypatch.setattr(warehouse, name, size)


@pytest.mark.usefixtures("small")
def test_a_sandbox_of_its_own_prints_sections_to_paste() -> None:
    """Without a demo the stand-ins are open until the stop, and the config that reaches them is printed."""
    stop, paper = threading.Event(), io.StringIO()
    serving = threading.Thread(target=sandbox.serve, args=(0, None, stop, report.console(paper)))
    serving.start()
    try:
        address = _address(paper, serving)
        document = requests.get(f"{address}/api/records", timeout=10).json()
    finally:
        stop.set()
        serving.join(30)

    kinds = [service["kind"] for service in document["services"]]
    assert sorted(kinds) == kinds != []
    assert kinds == re.findall(r"^\[destinations\.(\w+)\]$", paper.getvalue(), re.MULTILINE)
    assert all(any(table["total"] for table in service["tables"]) for service in document["services"])
    assert f"{address}/{kinds[0]}" in paper.getvalue()


@pytest.mark.usefixtures("small")
def test_a_port_that_is_taken_is_a_sentence(shop: Shop) -> None:
    """When the port is in use, the user reads which one and what to do."""
    port = int(shop.url.split(":")[2].split("/")[0])

    with pytest.raises(UserError, match=f"Port {port} of this machine cannot be opened.*--port"):
        sandbox.opened(port)


def test_a_damaged_memo_is_a_sentence(tmp_path: Path) -> None:
    """A demo's folder whose memo cannot be read asks for a new demo."""
    (tmp_path / sandbox.MEMO).write_text('{"port": "many"}')

    with pytest.raises(UserError, match="syncer demo"):
        sandbox.remembered(tmp_path)


def test_a_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    """The demo refuses a folder with files that no demo made, and touches none of them."""
    (tmp_path / "config.toml").write_text("mine")

    with pytest.raises(UserError, match="left alone"):
        story.tell(tmp_path, report.console(io.StringIO()))
    assert ["config.toml"] == [path.name for path in tmp_path.iterdir()]
    assert "mine" == (tmp_path / "config.toml").read_text()


@pytest.mark.usefixtures("small")
def test_the_story_is_told_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo runs its two nights with the real commands, and its sandbox then holds what was sent.

    An earlier demo in the folder is replaced, and a file of the user's next to it stays.
    """
    folder, paper = tmp_path / "demo", io.StringIO()
    (folder / "mappings").mkdir(parents=True)
    (folder / sandbox.MEMO).write_text('{"port": 1}')
    (folder / "mappings" / "old.toml").write_text("not even TOML")
    (folder / "notes.txt").write_text("mine")
    held: list[list[str]] = []
    save = replay.save
    monkeypatch.setattr(replay, "save", lambda place, server: (held.append(holdings(server)), save(place, server)))

    code = story.tell(folder, report.console(paper))

    text = paper.getvalue()
    assert 0 == code, text
    assert "mine" == (folder / "notes.txt").read_text()
    assert not (folder / "mappings" / "old.toml").exists()
    shown = re.findall(r"^\$ syncer --config \S+ (\w+)", text, re.MULTILINE)
    assert ["diff", "sync", "diff", "diff", "sync", "status"] == [
        command for before, command in zip(["", *shown], shown, strict=False) if (before, command) != ("sync", "sync")
    ]
    assert "(not known) → " in text or "null → " in text
    assert [] == [line for line in text.splitlines() if len(line) > story.WIDTH_MAX and str(folder) not in line]

    with sandbox.opened(0) as server:
        replay.restore(folder, server)
        again = holdings(server)
    assert [again] == held
    assert any("hot" in row for row in again)


def holdings(server: Server) -> list[str]:
    """Every record of every service as text, without times, which a replay cannot repeat."""
    return sorted(
        re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:?\d\d)", "TIME", f"{standin.kind} {table.title} {row}")
        for standin in server.standins.values()
        for table in standin.tables()
        for row in table.rows
    )


def _address(paper: io.StringIO, serving: threading.Thread) -> str:
    """The address that the sandbox prints when it is open."""
    while serving.is_alive():
        found = re.search(r"http://127\.0\.0\.1:\d+(?= until)", paper.getvalue())
        if found:
            return found[0]
        serving.join(0.02)
    raise AssertionError(paper.getvalue())
