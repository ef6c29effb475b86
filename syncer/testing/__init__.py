"""For authors of adapters: the conformance kit, and a destination in memory to compare with.

    from syncer.testing import AdapterTests, HttpBench

    class MyBench(HttpBench): ...

    class TestMine(AdapterTests):
        @pytest.fixture
        def bench(self):
            with a_stand_in_of_my_service() as service:
                yield MyBench(service)

Needs pytest, which Syncer itself does not; so nothing outside of tests imports this package.
"""

import pytest

# The tests live outside of files that pytest takes for tests, and their asserts should be as telling.
pytest.register_assert_rewrite("syncer.testing.records", "syncer.testing.kit")

from syncer.testing.bench import Bench, DelayKind, HttpBench  # noqa: E402 - the line above has to come first
from syncer.testing.kit import AdapterTests  # noqa: E402 - as above
from syncer.testing.memory import Arrival, Decision, Memory, MemorySettings  # noqa: E402 - as above
from syncer.testing.records import RecordTests  # noqa: E402 - as above

__all__ = [
    "AdapterTests",
    "Arrival",
    "Bench",
    "Decision",
    "DelayKind",
    "HttpBench",
    "Memory",
    "MemorySettings",
    "RecordTests",
]
