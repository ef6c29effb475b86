"""The conformance kit on the webhook, whose receiver answers for each record or for the batch as a whole."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from destinations.standins.server import Request, Server
from destinations.webhook import Webhook, WebhookSettings
from syncer.change import Value
from syncer.destination import Destination
from syncer.mapping import FieldType
from syncer.testing import AdapterTests, Bench
from syncer.transport import Transport
from tests.destinations.benches import StandInBench
from tests.standins.webhook import REFUSED, WebhookStandIn


class WebhookBench(StandInBench):
    """A receiver that answers for each record."""

    object: ClassVar[str] = "user"
    text: ClassVar[str] = "band"
    other: ClassVar[str] = "plan"
    typed: ClassVar[Mapping[FieldType, str]] = {
        name: f"kit_{name}" for name in ("integer", "number", "boolean", "date", "timestamp")
    }
    secrets: ClassVar[Sequence[str]] = ("signing-secret-of-the-kit", "token-of-the-kit")

    adapter_type: ClassVar[type[Webhook]] = Webhook

    def __init__(self, standin: WebhookStandIn) -> None:
        self.standin: WebhookStandIn = standin

    def adapter(self, transport: Transport) -> Destination:
        settings = WebhookSettings.model_validate(tomllib.loads(self.standin.settings()))
        return self.adapter_type("webhook", settings, transport)

    def put(self, number: int, fields: Mapping[str, Value]) -> None:
        self.standin.put(fields, email=self.who(number))

    def held(self, number: int) -> Mapping[str, Any] | None:
        return self.standin.held(email=self.who(number))

    def refused(self) -> tuple[str, Value]:
        return self.text, REFUSED

    def answer_short(self) -> bool:
        self.trouble("after", status=200, content={"outcomes": [{"key": "key-0", "result": "accepted"}]})
        return True

    def is_write(self, request: Request) -> bool:
        return "check" not in json.loads(request.body)


class WholeBatchBench(WebhookBench):
    """A receiver that takes a batch or refuses it, and says no more."""

    cannot: ClassVar[Mapping[str, str]] = {
        "unknown_record_is_reported": "A receiver that answers for a batch as a whole reports no single record."
    }

    def __init__(self, standin: WebhookStandIn) -> None:
        super().__init__(standin)
        standin.answers = "whole"

    def answer_short(self) -> bool:
        return False


class TestWebhook(AdapterTests):
    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        secret, token = WebhookBench.secrets
        standin = WebhookStandIn(secret=secret, token=token)
        with Server({"": standin}):
            yield WebhookBench(standin)


class TestWebhookThatAnswersForTheBatch(AdapterTests):
    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        secret, token = WebhookBench.secrets
        standin = WebhookStandIn(secret=secret, token=token)
        with Server({"": standin}):
            yield WholeBatchBench(standin)
