"""Operations that are made by columns are those that are made of one change alone."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import pytest

from destinations.customerio import Customerio
from destinations.customerio_parts import columns
from destinations.customerio_parts.operations import ITEM_BYTES_MAX
from destinations.standins.customerio import CustomerioStandIn
from syncer.change import Alike, Change, Value
from syncer.mapping import Sync
from syncer.testing.stretches import stretch
from tests.destinations.customerio.world import (
    CREATING,
    PEOPLE,
    WORKSPACES,
    ByColumns,
    change_of,
    opener,
    push,
    sync_of,
)

NOON = datetime.datetime(2026, 2, 28, 12, tzinfo=datetime.UTC)
VALUES: dict[str, Sequence[Value]] = {
    "text": ["", "plain", 'say "no"', "back\\slash", "one\ntwo", "\x00\x1f\x7f", "Zoë, 東京 \U0001f600", "\u2028", "/"],
    "number": [0.0, -0.0, 41.0, 0.1, 1e-7, 1e15, 1e16, 1e17, 123456789.125, -2.5e20, 5e-324, 1.7e308],
    "whole": [0, -1, 2**53 + 1],
    "flag": [True, False],
    "moment": [
        NOON,
        datetime.datetime(1, 1, 1, tzinfo=datetime.UTC),
        datetime.datetime(1969, 12, 31, tzinfo=datetime.UTC),
    ],
    "day": [datetime.date(2026, 2, 28), datetime.date(33, 1, 1)],
}
"""Attribute → values of its type."""
SYNCS = {
    "people": PEOPLE,
    "people that are made": CREATING,
    "people that are deleted": sync_of(removed="delete"),
    "people by two identifiers": sync_of(match={"email": "email", "id": "user_id"}),
    "objects": WORKSPACES,
    "objects that are deleted": sync_of(object="workspace", match={"object_id": "workspace_id"}, removed="delete"),
    "objects by an id of the service": sync_of(object="workspace", match={"cio_object_id": "workspace_id"}),
}


def strange(sync: Sync) -> list[Change]:
    """Changes of every value in one attribute, beside others, beside a null, and of nothing at all."""
    # Attributes stand in the mapping's order, as in a plan.
    changes = [
        change_of("all", "new", dict.fromkeys(sync.match, "all"), **{name: ones[0] for name, ones in VALUES.items()})
    ]
    for name, values in VALUES.items():
        for number, value in enumerate(values):
            for fields in ({name: value}, {"text": "t", name: value, "flag": True}, {name: value, "whole": None}, {}):
                key = f"{len(changes)} {number}"
                kind = ("new", "changed", "removed")[len(changes) % 3]
                match = {identifier: f'{key} "{identifier}"' for identifier in sync.match}
                changes.append(change_of(key, kind, match, **{one: fields[one] for one in VALUES if one in fields}))
    return changes


@pytest.mark.parametrize("sync", SYNCS.values(), ids=SYNCS)
def test_columns_make_the_operations_that_objects_make(destination: Customerio, sync: Sync) -> None:
    """Whatever the values are, whichever of them leave, and whoever they are for, the bytes are the same."""
    changes = strange(sync)
    if sync.removed == "delete":
        changes = [change_of(one.key, one.kind, dict(one.match)) if one.kind == "removed" else one for one in changes]
    expected = [b"".join(destination._operations.of(sync, change)).decode() for change in changes]
    with stretch(sync, changes, destination) as large:
        made = [text.as_py() for texts in large.texts for text in texts]
        body = columns.body(large.texts).decode()

    assert expected == made
    assert '{"batch":[' + "".join(expected)[:-1] + "]}" == body


def test_a_batch_that_was_taken_is_told_at_once(standin: CustomerioStandIn, destination: Customerio) -> None:
    """A clean answer accepts all by their places, with one request, and what arrives is what was to be sent."""
    changes = [change_of(f"u_{number}", "new", plan="pro", activation_score=number / 2) for number in range(100)]
    with stretch(CREATING, changes, destination) as large:
        (told,) = destination.push(CREATING, large)

    assert isinstance(told, Alike)
    assert ("accepted", list(range(100))) == (told.outcome.result, list(told.places))
    assert 1 == standin.count
    assert {f"u_{number}": str(number / 2) for number in range(100)} == {
        person.identifiers["id"]: person.attributes["activation_score"] for person in standin.people.values()
    }


def test_a_record_that_is_too_large_goes_alone(standin: CustomerioStandIn) -> None:
    """One operation over the limit of the service is refused by us, and the others of its batch go."""
    for open_destination in opener(standin, ByColumns):
        large = change_of("u_2", plan="x" * ITEM_BYTES_MAX)
        outcomes = push(open_destination(), CREATING, change_of("u_1", plan="pro"), large, change_of("u_3", plan="pro"))

    assert ["accepted", "rejected too_large", "accepted"] == [
        f"{outcomes[key].result} {outcomes[key].code}".strip() for key in ("u_1", "u_2", "u_3")
    ]


def test_relations_are_made_of_objects(destination: Customerio) -> None:
    """What may take a second operation is weighed and sent change by change."""
    related = sync_of(missing="create", relate={"workspace": "workspaces"})
    with stretch(PEOPLE, [change_of("u_1", plan="pro")]) as large:
        (piece,) = large.pieces()

        assert destination.texts(related, piece) is None
        assert destination.texts(PEOPLE, piece) is not None
