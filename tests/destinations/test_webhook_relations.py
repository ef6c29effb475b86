"""Relations through the webhook, and the receiver of its documentation as somebody who copies it runs it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from destinations.standins.server import Server
from destinations.webhook import Webhook, WebhookSettings
from syncer.change import Change, Kind, Relation, Value
from syncer.destination import Pace
from syncer.mapping import Brakes, Field, Sync
from syncer.transport import Gate, Transport
from tests.standins.webhook import WebhookStandIn

PAGE = (Path(__file__).parents[2] / "docs" / "webhook.md").read_text()
RECEIVER = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SECRET = "0123456789abcdef"

WORKSPACES = Sync(
    name="hook.workspaces",
    destination="hook",
    source="activation.workspaces",
    key="workspace_id",
    object="workspace",
    match={"workspace_id": "workspace_id"},
    missing="create",
    removed="clear",
    relate={"person": "members"},
    fields=(Field(name="score", column="score"),),
    brakes=Brakes(),
    file=Path("hook.toml"),
)


def transport_in_a_hurry(attempts: int = 3) -> Transport:
    return Transport(
        Gate(Pace(100_000, 1.0)), title="The webhook", stop=threading.Event(), timeout=5, attempts=attempts,
        wait_first=0.01, wait_max=0.1,
    )  # fmt: skip


@pytest.fixture
def receiver() -> Iterator[WebhookStandIn]:
    service = WebhookStandIn()
    with Server({"": service}):
        yield service


@pytest.fixture
def destination(receiver: WebhookStandIn) -> Webhook:
    settings = WebhookSettings.model_validate(tomllib.loads(receiver.settings()))
    return Webhook("hook", settings, transport_in_a_hurry())


def change_of(
    key: str, kind: Kind = "changed", relations: Mapping[str, Relation] | None = None, **fields: Value
) -> Change:
    return Change(key, kind, {"workspace_id": key}, fields, {}, relations=relations or {})


def sent(receiver: WebhookStandIn) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(receiver.log[-1].request.body)["changes"]
    return found


# Relations.


def test_relations_leave_with_their_change(receiver: WebhookStandIn, destination: Webhook) -> None:
    """A change says whom to add and whom to remove under each name; without relations there is no such key."""
    both = {"person": Relation(("u_1", "u_2"), ("u_3",)), "team": Relation(remove=("t_1",))}
    outcomes = list(
        destination.push(
            WORKSPACES,
            [
                change_of("w_1", "new", both, score=41),
                change_of("w_2", "changed", {"person": Relation(add=("Zoë 🚀",))}),
                change_of("w_3", score=7),
            ],
        )
    )

    assert ["accepted"] * 3 == [outcome.result for outcome in outcomes]
    assert [
        {"person": {"add": ["u_1", "u_2"], "remove": ["u_3"]}, "team": {"add": [], "remove": ["t_1"]}},
        {"person": {"add": ["Zoë 🚀"], "remove": []}},
        None,
    ] == [change.get("relations") for change in sent(receiver)]
    assert {"person": {"u_1", "u_2"}, "team": set()} == receiver.relations[(("workspace_id", "w_1"),)]


def test_relations_that_arrive_twice_are_harmless(receiver: WebhookStandIn, destination: Webhook) -> None:
    """What is added again is there once, and what is removed again is gone."""
    for _ in range(2):
        list(destination.push(WORKSPACES, [change_of("w_1", "new", {"person": Relation(("u_1",), ("u_2",))})]))

    assert [{"person": {"u_1"}}] == list(receiver.relations.values())


def test_relations_weigh(receiver: WebhookStandIn) -> None:
    """A body stays within its bytes when it is relations that make it large, and one that cannot is refused here."""
    settings = WebhookSettings.model_validate(tomllib.loads(receiver.settings()) | {"bytes": 2_000})
    destination = Webhook("hook", settings, transport_in_a_hurry())
    many = {"person": Relation(tuple(f"u_{number}" for number in range(1_000)))}
    outcomes = list(destination.push(WORKSPACES, [change_of("w_1", "new", many), change_of("w_2", score=1)]))

    assert [("w_1", "too_large"), ("w_2", "")] == sorted((outcome.key, outcome.code) for outcome in outcomes)
    few = change_of("w_1", "new", {"person": Relation(("u_1",))})
    assert destination.weigh(WORKSPACES, few) > destination.weigh(WORKSPACES, change_of("w_1", "new"))


def test_adapter_says_that_it_relates(destination: Webhook) -> None:
    """A mapping with `relate` is one that this destination can do; several objects in one are not."""

    assert (True, False) == (Webhook.relates, Webhook.takes_several_objects)
    assert [] == list(destination.refuse(WORKSPACES))


def test_page_tells_of_relations() -> None:
    """The page's example of relations is what leaves."""
    shown = re.findall(r"as `(\{\"person\".*?\})`;", PAGE)
    change = change_of("w_1", "new", {"person": Relation(("u_7",))})
    with Server({"": WebhookStandIn()}) as server:
        service = server.standins[""]
        assert isinstance(service, WebhookStandIn)
        settings = WebhookSettings.model_validate(tomllib.loads(service.settings()))
        list(Webhook("hook", settings, transport_in_a_hurry()).push(WORKSPACES, [change]))

        assert [json.loads(text) for text in shown] == [one["relations"] for one in sent(service)]


# The receiver of the documentation.


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def test_receiver_of_the_page_has_twenty_lines() -> None:
    """What somebody has to write is at most 20 lines, blank ones among them, and none of them is long."""
    [code] = RECEIVER

    assert len(code.splitlines()) <= 20
    assert max(map(len, code.splitlines())) <= 120


def test_receiver_of_the_page_runs_as_a_file(tmp_path: Path) -> None:
    """Copied into a file and started as the page says, with only a free port put in, it takes what Syncer sends."""
    [code] = RECEIVER
    port = free_port()
    assert "8000" in code
    (tmp_path / "receiver.py").write_text(code.replace("8000", str(port)))
    environment = {"PATH": os.environ["PATH"], "SYNCER_WEBHOOK_SECRET": SECRET}
    process = subprocess.Popen(
        [sys.executable, "-I", "receiver.py"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        settings = WebhookSettings.model_validate({"url": f"http://127.0.0.1:{port}", "secret": SECRET, "pace": 1000})
        # It may take a moment until somebody listens; connections that are refused before are repeated.
        destination = Webhook("hook", settings, transport_in_a_hurry(attempts=100))
        assert [] == list(destination.check(WORKSPACES))
        outcomes = list(destination.push(WORKSPACES, [change_of("w_1", score=41), change_of("w_2", score=None)]))
    finally:
        process.terminate()
        printed, _ = process.communicate(timeout=10)

    assert ["accepted", "accepted"] == [outcome.result for outcome in outcomes]
    assert [
        "changed {'workspace_id': 'w_1'} {'score': 41}",
        "changed {'workspace_id': 'w_2'} {'score': None}",
    ] == printed.splitlines()
