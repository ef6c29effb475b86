"""The adapter of the members' service: the conformance kit, and what is particular to the service."""

# Tests assert.
# ruff: noqa: S101

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pytest
from members_service import MembersService
from syncer_members import Members, MembersSettings

from destinations.standins.server import Answer, Request, Server
from syncer.change import Change, Held, Value, Wanted
from syncer.destination import Destination
from syncer.errors import DestinationUnusable
from syncer.mapping import FieldType
from syncer.testing import AdapterTests, DelayKind, HttpBench
from syncer.transport import Transport


class MembersBench(HttpBench):
    """What the kit has to be told about the members' service."""

    object: ClassVar[str] = "member"
    text: ClassVar[str] = "band"
    other: ClassVar[str] = "plan"
    typed: ClassVar[Mapping[FieldType, str]] = {
        "integer": "logins",
        "number": "score",
        "boolean": "is_admin",
        "date": "birthday",
        "timestamp": "seen_at",
    }
    secrets: ClassVar[Sequence[str]] = ("key-of-the-kit",)

    def __init__(self, service: MembersService) -> None:
        self.service = service

    def adapter(self, transport: Transport) -> Destination:
        """A new one, as the engine would make it from the config."""
        settings = MembersSettings.model_validate(tomllib.loads(self.service.settings()))
        return Members("members", settings, transport)

    def put(self, number: int, fields: Mapping[str, Value]) -> None:
        """Past the adapter, into the service."""
        self.service.members[self.who(number)] = dict(fields)

    def held(self, number: int) -> Mapping[str, Any] | None:
        """Past the adapter, from the service."""
        return self.service.members.get(self.who(number))

    def refused(self) -> tuple[str, Value]:
        """A text that is too long."""
        return "band", "x" * 1_001

    def requests(self) -> int:
        """All that have arrived."""
        return self.service.count

    def writes(self) -> Sequence[bytes]:
        """The bodies of those that write."""
        return [exchange.request.body for exchange in self.service.log if is_write(exchange.request)]

    def trouble(
        self,
        kind: str,
        *,
        status: int = 503,
        content: Any = None,
        headers: Mapping[str, str] | None = None,
        times: int | None = 1,
        only_writes: bool = True,
    ) -> None:
        """The stand-in makes all the troubles that the kit knows."""
        self.service.trouble(
            kind,
            when=is_write if only_writes else lambda _: True,
            times=times,
            answer=Answer(status, content, headers or {}),
        )

    def delay(self, kind: DelayKind, seconds: float, *, times: int | None = 1) -> bool:
        """And these two."""
        self.service.trouble(kind, when=is_write, times=times, seconds=seconds)
        return True

    def expire(self, after: int) -> bool:
        """A key that is taken back in the middle of a run."""
        self.service.trouble("status", skip=after, times=None, answer=Answer(401, {"error": "unauthorized"}))
        return True


def is_write(request: Request) -> bool:
    """Whether a request is one that may change a member."""
    return request.method != "GET"


class TestMembers(AdapterTests):
    """The kit, and then what it cannot know."""

    @pytest.fixture
    def bench(self) -> Iterator[MembersBench]:
        """A service of its own for each test."""
        service = MembersService(MembersBench.secrets[0])
        with Server({"": service}):
            yield MembersBench(service)

    def test_a_member_is_deleted(self, bench: MembersBench) -> None:
        """With removed = "delete" the member goes, and one that is gone already is no trouble."""
        bench.put(1, {"band": "hot"})
        sync = bench.sync().model_copy(update={"removed": "delete"})
        changes = [bench.change(1, {}, "removed"), bench.change(2, {}, "removed")]
        results = [outcome.result for outcome in bench.adapter(bench.transport()).push(sync, changes)]

        assert results == ["accepted", "accepted"]
        assert bench.held(1) is None

    def test_a_page_is_not_a_missing_member(self, bench: MembersBench) -> None:
        """A 404 that is somebody else's says that the address is wrong, and not that thousands of members are gone."""
        bench.trouble("status", status=404, content="<html>Not found</html>")

        with pytest.raises(DestinationUnusable):
            list(bench.adapter(bench.transport()).push(bench.sync(), [bench.change(1, {"band": "hot"})]))

    def test_a_page_is_not_a_yes(self, bench: MembersBench) -> None:
        """A 200 with a page, as a login shows, may hide anything: the change is in doubt, and sent again."""
        bench.trouble("dropped", status=200, content="<html>Please log in</html>")
        [outcome] = bench.adapter(bench.transport()).push(bench.sync(), [bench.change(1, {"band": "hot"})])

        assert (outcome.result, outcome.doubt) == ("deferred", True)

    def test_an_identifier_is_no_path(self, bench: MembersBench) -> None:
        """A text that would lead elsewhere in an address is refused, and nothing is asked."""
        change = Change("k", "changed", {"email": ".."}, {"band": "hot"}, {})
        [outcome] = bench.adapter(bench.transport()).push(bench.sync(), [change])

        assert outcome.code == "no_address"
        assert bench.requests() == 0

    def test_check_names_a_field_that_is_not_there(self, bench: MembersBench) -> None:
        """A field with a typo is found before anything is sent."""
        sync = bench.sync()
        odd = sync.fields[0].model_copy(update={"name": "bandd"})
        problems = list(bench.adapter(bench.transport()).check(sync.model_copy(update={"fields": (odd,)})))

        assert [problem.place for problem in problems] == ["fields.bandd"]

    def test_what_is_no_address_is_read_as_nobody(self, bench: MembersBench) -> None:
        """A text that would lead elsewhere in an address is nobody's, and nothing is asked."""
        [held] = bench.adapter(bench.transport()).read(bench.sync(), [Wanted("k", {"email": ".."})])

        assert held == Held("k", None)
        assert bench.requests() == 0

    def test_an_answer_that_is_no_member_is_not_read(self, bench: MembersBench) -> None:
        """A 200 of something else says nothing about the member, and ends the reading."""
        bench.trouble("status", status=200, content={"status": "ok"}, only_writes=False)

        with pytest.raises(DestinationUnusable):
            list(bench.adapter(bench.transport()).read(bench.sync(), [bench.wanted(1)]))
