"""The page on scale: its tables are those of the script, whose sizes, paces and statements are the real ones."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

import destinations
from benchmarks import scale
from destinations.customerio_parts.operations import Operations
from destinations.customerio_parts.settings import CustomerioSettings
from destinations.salesforce_parts.collections import RECORDS_MAX as COLLECTION
from syncer.change import Change


def test_the_page_is_what_the_script_works_out() -> None:
    """No figure of docs/scale.md is another one than the script's: `python -m benchmarks.scale` writes them."""
    page = scale.PAGE.read_text()

    assert scale.written(page) == page


@pytest.mark.parametrize(
    ("kind", "settings", "titles"),
    [
        ("customerio", {"pace": None}, ("customer.io",)),
        ("salesforce", {"pace": None}, ("Salesforce, Collections",)),
        ("orbit", {"pace": None}, ("Orbit, fields of a member", "Orbit, a tag that moves")),
    ],
)
def test_paces_are_those_of_the_adapters(kind: str, settings: Mapping[str, Any], titles: tuple[str, ...]) -> None:
    """The rates on the page are what the adapters keep to."""
    pace = destinations.adapter(kind).pace(SimpleNamespace(**settings))  # type: ignore[arg-type] # All that it looks at.

    for way in scale.WAYS:
        if way.title in titles:
            assert pytest.approx(pace.requests / pace.seconds) == way.pace


def test_requests_are_as_full_as_the_adapters_make_them() -> None:
    """20 attributes weigh about what the page says, a Collection is 200 records, and a member of Orbit takes two
    requests, or four for a tag that replaces another."""
    records = {way.title: way.records for way in scale.WAYS}
    names = [f"activation_score_{number:02}" for number in range(scale.NUMBERS + scale.MOMENTS + scale.TEXTS)]
    people: Any = SimpleNamespace(
        object="person", match={"id": "user_id"}, removed="keep", relate={}, fields=(), missing="create"
    )
    operations = Operations(CustomerioSettings(site_id="s", api_key="k", region="us"), written_at=1)
    scored = Change("k", "changed", {"id": "u" * 19}, dict.fromkeys(names, 61.9), {})
    weight = sum(len(one) for one in operations.of(people, scored))
    assert 0.8 < weight / scale.CHANGE_BYTES < 1.2
    orbit: Any = SimpleNamespace(settings=SimpleNamespace(activity=None))
    count = destinations.adapter("orbit")._requests  # type: ignore[attr-defined]

    assert COLLECTION == records["Salesforce, Collections"]
    for title, before, after in (
        ("Orbit, fields of a member", {"company": "A"}, {"company": "B"}),
        ("Orbit, a tag that moves", {"tag:activation": "warm"}, {"tag:activation": "hot"}),
    ):
        change = Change("k", "changed", {"email": "a@example.com"}, after, before)
        assert 1 / count(orbit, change) == records[title]


@pytest.mark.parametrize("rows", scale.ROWS)
def test_the_whole_is_the_sum_of_its_parts(rows: int) -> None:
    """A night is billed for what is compared, summed and folded, and a dearer network makes the border."""
    night = scale.Night(rows)
    gib = (rows * scale.SOURCE - night.travelling) / scale.GIB

    assert pytest.approx(night.billed) == night.compared + night.summed + night.folded
    assert pytest.approx(scale.price(night.billed)) == gib * scale.border_per_gib()


@pytest.mark.parametrize("way", scale.WAYS, ids=lambda way: way.title)
def test_what_does_not_fit_into_a_day_waits_for_the_next(way: scale.Way) -> None:
    """A daily limit is a wall, not a rate."""
    if way.daily_max is None:
        assert pytest.approx(1_000 / way.per_second) == way.seconds(1_000)
    else:
        assert 86_400 + 1 / way.per_second == pytest.approx(way.seconds(way.daily_max + 1))
