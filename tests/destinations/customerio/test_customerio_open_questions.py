"""What no document of customer.io settles, in each way that it may go: the adapter ends well in all of them.

Where customer.io answers 200 and does something else, only reading back finds out; these tests do so.
"""

from __future__ import annotations

import math
import random
import time
from typing import Any

import pytest

from destinations.customerio import Customerio
from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.server import Answer
from syncer.change import Change, Outcome, Relation, Wanted
from syncer.errors import DestinationUnusable
from syncer.mapping import Sync
from tests.destinations.customerio.world import (
    CREATING,
    LONG,
    PEOPLE,
    WORKSPACES,
    Open,
    bodies,
    change_of,
    opener,
    people_known,
    push,
    results,
    served,
    sync_of,
)


def is_held(destination: Customerio, sync: Sync, change: Change) -> bool:
    """Whether reading back finds everything that this change says."""
    [held] = destination.read(sync, [Wanted(change.key, change.match)])
    return held.fields is not None and all(
        destination.holds(sync, name, value, held.fields[name]) for name, value in change.fields.items()
    )


# Taken, and something else done.


@pytest.mark.parametrize("removes", [True, False])
def test_nulls_of_people(standin: CustomerioStandIn, destination: Customerio, removes: bool) -> None:
    """Whether a null in v2 removes a person's attribute is not said; when it does not, reading back tells."""
    standin.null_removes_from_people = removes
    push(destination, CREATING, change_of("u_1", plan="pro"))
    cleared = change_of("u_1", plan=None)

    assert {"u_1": "accepted"} == results(push(destination, CREATING, cleared))
    assert removes == is_held(destination, CREATING, cleared)
    assert ({} if removes else {"plan": "pro"}) == standin.person("u_1")


@pytest.mark.parametrize("drops", [False, True])
def test_writes_that_are_dropped(standin: CustomerioStandIn, destination: Customerio, drops: bool) -> None:
    """A customer.io that takes everything and applies nothing is found out by reading back, and by nothing else."""
    standin.applies_nothing = drops
    change = change_of("u_1", plan="pro")

    assert {"u_1": "accepted"} == results(push(destination, CREATING, change))
    assert drops != is_held(destination, CREATING, change)


def test_writes_that_are_applied_later(standin: CustomerioStandIn, destination: Customerio) -> None:
    """A reading right after a write sees what was, and a later one what is."""
    push(destination, CREATING, change_of("u_1", plan="free"))
    now = time.time()
    standin.clock = lambda: now
    standin.applies_after_seconds = 10
    change = change_of("u_1", plan="pro")
    push(destination, CREATING, change)

    assert not is_held(destination, CREATING, change)
    now += 10
    assert is_held(destination, CREATING, change)


def test_people_who_are_suppressed(standin: CustomerioStandIn, destination: Customerio) -> None:
    """Somebody suppressed is passed over behind a 200, and is not there when read."""
    standin.suppress("id", "u_1")
    change = change_of("u_1", plan="pro")

    assert {"u_1": "accepted"} == results(push(destination, CREATING, change))
    assert not is_held(destination, CREATING, change)


@pytest.mark.parametrize("kind", ["ignored", "refused"])
def test_object_types_that_are_not_there(standin: CustomerioStandIn, open_destination: Open, kind: Any) -> None:
    """An unknown object type rejects its records, or is found out by reading back; `check` names it before."""
    standin.unknown_object_types = kind
    destination = open_destination(object_types={"workspace": "9"})
    change = change_of("w", "new", {"object_id": "w_1"}, plan="pro")

    assert {"ignored": "accepted", "refused": "rejected"}[kind] == results(push(destination, WORKSPACES, change))["w"]
    assert not is_held(destination, WORKSPACES, change)
    assert ["object"] == [problem.place for problem in destination.check(WORKSPACES)]


@pytest.mark.parametrize("kind", ["ignored", "refused"])
def test_limits_of_objects(standin: CustomerioStandIn, destination: Customerio, kind: Any) -> None:
    """Too much in an object is refused, or found out by reading back; the other objects are written."""
    standin.object_limits = kind
    changes = [
        change_of(key, "new", {"object_id": key}, plan=LONG if key == "w_2" else "pro") for key in ("w_1", "w_2")
    ]

    outcomes = push(destination, WORKSPACES, *changes)

    assert ["accepted", {"ignored": "accepted", "refused": "rejected"}[kind]] == list(results(outcomes).values())
    assert [True, False] == [is_held(destination, WORKSPACES, change) for change in changes]


@pytest.mark.parametrize("floats", ["shortest", "fixed", "exponent"])
@pytest.mark.parametrize("value", [0.5, 0.1, 1e-05, 41.0, -7.25, 1e15, 123456.789])
def test_how_fractions_are_printed(
    standin: CustomerioStandIn, destination: Customerio, floats: Any, value: float
) -> None:
    """A fraction is ours in whatever form it comes back, and its neighbour is not."""
    standin.floats = floats
    change = change_of("u_1", activation_score=value)
    push(destination, CREATING, change)

    assert is_held(destination, CREATING, change)
    assert not is_held(destination, CREATING, change_of("u_1", activation_score=math.nextafter(value, math.inf)))


@pytest.mark.parametrize("is_text", [True, False])
@pytest.mark.parametrize("are_numbers", [True, False])
def test_forms_of_the_app_api(
    standin: CustomerioStandIn, destination: Customerio, is_text: bool, are_numbers: bool
) -> None:
    """The status in a 404, and the ids of object types, are texts or numbers."""
    standin.not_found_status_is_text, standin.type_ids_are_numbers = is_text, are_numbers

    assert [] == list(destination.check(WORKSPACES))
    assert [None] == [held.fields for held in destination.read(WORKSPACES, [Wanted("w", {"object_id": "w"})])]


# Sizes and whole refusals.


@pytest.mark.parametrize("kilobyte", [1_000, 1_024])
@pytest.mark.parametrize("form", ["item", "request"])
def test_the_largest_item(standin: CustomerioStandIn, destination: Customerio, kilobyte: int, form: Any) -> None:
    """The largest record that is sent is below the limit in either reading of kb, however an item is refused."""
    standin.item_bytes_max, standin.large_items = 32 * kilobyte, form
    names = [f"field_{n}" for n in range(30)]

    def change(size: int) -> Change:
        return change_of("u_1", **dict.fromkeys(names, "x" * 950), last="x" * size)

    fits = 30_000 - (destination.weigh(CREATING, change(0)) - 1)

    assert {"u_1": "accepted"} == results(push(destination, CREATING, change(fits)))
    assert "too_large" == push(destination, CREATING, change(fits + 1))["u_1"].code
    assert 1 == standin.count


@pytest.mark.parametrize("form", ["item", "request"])
@pytest.mark.parametrize("bad", ["item", "request"])
def test_items_that_are_refused(standin: CustomerioStandIn, destination: Customerio, form: Any, bad: Any) -> None:
    """Should the limit be lower than documented, the item is named or the request refused; it ends the same."""
    standin.item_bytes_max, standin.large_items, standin.bad_items = 900, form, bad
    changes = [change_of(f"u_{n}", plan={3: "x" * 900, 5: LONG}.get(n, "pro")) for n in range(8)]

    outcomes = push(destination, CREATING, *changes)

    assert {"u_3", "u_5"} == {key for key, result in results(outcomes).items() if result == "rejected"}
    assert 6 == len(standin.people)


@pytest.mark.parametrize("status", [400, 413])
@pytest.mark.parametrize("limit", ["batch_bytes_max", "records_max"])
def test_batches_that_are_too_large(
    standin: CustomerioStandIn, destination: Customerio, status: Any, limit: str
) -> None:
    """Should a batch be less than documented, or its items be counted, it is halved until it fits."""
    standin.too_large_status = status
    setattr(standin, limit, {"batch_bytes_max": 1_000, "records_max": 5}[limit])

    outcomes = push(destination, CREATING, *[change_of(f"u_{n}", plan="pro") for n in range(40)])

    assert {"accepted"} == set(results(outcomes).values())
    assert 40 == len(standin.people)


@pytest.mark.parametrize("takes", [False, True])
def test_empty_batches(standin: CustomerioStandIn, destination: Customerio, takes: bool) -> None:
    """Whether an empty batch is refused is never found out, also when nothing of a batch may be sent."""
    standin.takes_empty_batches = takes
    names = [f"field_{n}" for n in range(31)]

    outcomes = push(destination, CREATING, change_of("u_1", **dict.fromkeys(names, "x" * 1000)))

    assert "too_large" == outcomes["u_1"].code
    assert 0 == standin.count


def test_more_attributes_than_a_person_may_have(standin: CustomerioStandIn, destination: Customerio) -> None:
    """A person who has 300 attributes already is refused one more, and their neighbour is not."""
    push(destination, CREATING, change_of("u_1", **{f"a_{n}": n for n in range(300)}))

    outcomes = push(destination, CREATING, change_of("u_1", plan="pro"), change_of("u_2", plan="pro"))

    assert {"u_1": "rejected", "u_2": "accepted"} == results(outcomes)


# Keys and rates in the middle of a run.


def test_a_key_that_is_back(standin: CustomerioStandIn, open_destination: Open) -> None:
    """A key that was taken away for a while ends one run, and the next one goes on as if nothing had been."""
    people_known(standin, "u_1", "u_2")
    standin.trouble("status", answer=Answer(401, {}), skip=1, times=2)
    first = open_destination()
    push(first, PEOPLE, change_of("u_1", plan="pro"))

    with pytest.raises(DestinationUnusable, match="refused the Track API credentials"):
        push(first, PEOPLE, change_of("u_2", plan="pro"))

    assert {"u_2": "accepted"} == results(push(open_destination(), PEOPLE, change_of("u_2", plan="pro")))
    assert ({"plan": "pro"}, {"plan": "pro"}) == (standin.person("u_1"), standin.person("u_2"))


@pytest.mark.parametrize("retry_after", [None, "1", "86400", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_rates(standin: CustomerioStandIn, destination: Customerio, retry_after: str | None) -> None:
    """A rate that was passed is waited for, as told but never for long, and nothing is lost or doubled."""
    now = time.time()
    # A second goes by with each look at the clock, so the rate of one is passed by the first request only.
    ticks = iter([now, now, *(now + n for n in range(1, 1000))])
    standin.track_requests_max, standin.retry_after = 1, retry_after
    push(destination, CREATING, change_of("u_1", plan="free"))
    standin.clock = lambda: next(ticks)

    assert {"u_1": "accepted"} == results(push(destination, CREATING, change_of("u_1", plan="pro")))
    assert {"plan": "pro"} == standin.person("u_1")


# A batch ends as its operations would, each sent alone.


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("errors", ["named", "nameless", "in_200", "twice", "out_of_range", "request"])
def test_a_batch_ends_as_its_records_alone(
    standin: CustomerioStandIn, open_destination: Open, errors: Any, seed: int
) -> None:
    """However customer.io reports what it refuses, outcomes and end state are those of records sent singly."""
    dice = random.Random(seed)
    sync = WORKSPACES.model_copy(update={"relate": {"person": "owner"}})
    changes = []
    for number in range(dice.randint(1, 40)):
        relation = Relation(tuple(dice.sample(["u_1", "u_2"], dice.randint(0, 2))), tuple(dice.choice([[], ["u_0"]])))
        plan = LONG if dice.random() < 0.2 else "pro"
        fields: dict[str, Any] = {"plan": plan} if dice.random() < 0.8 else {}
        changes.append(
            change_of(f"w_{number}", "changed", {"object_id": f"w_{number}"}, {"person": relation}, **fields)
        )

    def end(singly: bool) -> tuple[dict[str, Outcome], Any, Any]:
        for service in served():
            service.bad_items = "request" if errors == "request" else "item"
            service.errors = "named" if errors == "request" else errors
            people_known(service, "u_0", "u_1", "u_2")
            for adapters in opener(service):
                adapter = adapters()
                pieces = [[change] for change in changes] if singly else [changes]
                outcomes = {key: one for piece in pieces for key, one in push(adapter, sync, *piece).items()}
                held = {key: record.attributes for key, record in service.objects.items()}
                return outcomes, held, {key: service.related(*key) for key in service.objects}
        raise AssertionError

    assert end(singly=True) == end(singly=False)


def test_people_who_are_deleted_by_somebody_else(standin: CustomerioStandIn, destination: Customerio) -> None:
    """A cio_id that is no more is dropped behind a 200, and reading back says that nobody is there."""
    people_known(standin, "u_1")
    [cio_id] = standin.people
    standin.delete_person("id", "u_1")
    sync = sync_of(match={"cio_id": "c"})
    change = change_of("u_1", match={"cio_id": cio_id}, plan="pro")

    assert {"u_1": "accepted"} == results(push(destination, sync, change))
    assert not is_held(destination, sync, change)
    assert [1] == [len(batch) for batch in bodies(standin)]
