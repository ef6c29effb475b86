"""Stand-ins that answer slowly, before and after applying, and know what is on its way."""

from __future__ import annotations

import json
import threading
import time
from abc import abstractmethod
from collections import Counter
from typing import Any

from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Answer, Request, StandIn
from tests.workplace import until


class Slow(StandIn):
    """Writes take `before_seconds` to be applied, and `after_seconds` to be answered."""

    before_seconds = 0.0
    after_seconds = 0.0
    received = 0
    """Writes that arrived."""
    applied = 0
    held_back: threading.Event | None = None
    """While it is not set, writes are applied and not answered."""

    @abstractmethod
    def is_write(self, request: Request) -> bool:
        """Whether this request may change a record."""

    def slow_down(self, before_seconds: float, after_seconds: float) -> None:
        """From now on."""
        self.before_seconds, self.after_seconds = before_seconds, after_seconds
        self.troubles.clear()

        def when(request: Request) -> bool:
            if not self.is_write(request):
                return False
            self.received += 1
            return True

        self.trouble("slow", when=when, times=None, seconds=before_seconds)

    def handle(self, request: Request) -> Answer:
        """Apply, wait, answer."""
        answer = super().handle(request)  # type: ignore[safe-super]  # The other base handles it.
        if self.is_write(request):
            self.applied += 1
            time.sleep(self.after_seconds)
            if held := self.held_back:
                # It answers others meanwhile.
                self.lock.release()
                try:
                    held.wait(60)
                finally:
                    self.lock.acquire()
        return answer

    def drained(self) -> None:
        """Wait until every request that arrived was applied: a dead client's last words, too."""
        until(lambda: self.count == len(self.log), "a request is never handled")


class SlowCustomerio(Slow, CustomerioStandIn):
    """People; knows how many records came again exactly as they had come before."""

    def __init__(self) -> None:
        super().__init__()
        self.last: dict[str, str] = {}
        self.repeats = 0
        self.batch_records = 0

    def is_write(self, request: Request) -> bool:
        """Batches."""
        return request.path == "/api/v2/batch"

    def handle(self, request: Request) -> Answer:
        """Count the records, then as always."""
        if self.is_write(request):
            items = request.json()["batch"]
            self.batch_records = max(self.batch_records, len(items))
            for item in items:
                person = item["identifiers"]["id"]
                told = json.dumps([item["action"], item.get("attributes")], sort_keys=True)
                self.repeats += self.last.get(person) == told
                self.last[person] = told
        return super().handle(request)

    def held(self, *names: str) -> dict[str, tuple[Any, ...]]:
        """Person → these attributes."""
        people = [dict(record.attributes) for record in self.people.values()]
        return {one.get("user", "?"): tuple(one.get(name, "") for name in names) for one in people}


class SlowSalesforce(Slow, SalesforceStandIn):
    """Contacts; its writes are Collections."""

    def is_write(self, request: Request) -> bool:
        """Collections."""
        return "/composite/" in request.path

    def held(self, *names: str) -> dict[str, tuple[Any, ...]]:
        """Email → these fields of its contact."""
        return {one["Email"]: tuple(one[name] for name in names) for one in self.records("Contact")}

    def doubled(self) -> list[str]:
        """Emails of which there is more than one contact."""
        counted = Counter(one["Email"] for one in self.records("Contact"))
        return [email for email, number in counted.items() if number > 1]
