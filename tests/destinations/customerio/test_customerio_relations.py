"""Relationships at customer.io: which operations a change becomes, and that nobody is made or lost by them."""

from __future__ import annotations

from typing import Any

import pytest

from destinations.customerio import Customerio
from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.server import Answer
from syncer.change import Change, Outcome, Relation
from syncer.destination import Limits, ValueLimit
from syncer.errors import DestinationUnusable
from syncer.mapping import Sync
from tests.destinations.customerio.world import (
    LONG,
    PEOPLE,
    WORKSPACES,
    Open,
    bodies,
    change_of,
    people_known,
    push,
    results,
    sync_of,
)

OWNED = WORKSPACES.model_copy(update={"relate": {"person": "owner_id"}})
MEMBERS = sync_of(relate={"account": "account_id"})
MEMBERS_MADE = sync_of(relate={"account": "account_id"}, missing="create")


def workspace(key: str, kind: Any = "changed", *, name: str = "person", add: Any = (), remove: Any = (), **fields: Any):
    """A change of a workspace whose related people differ."""
    return change_of(key, kind, {"object_id": key}, {name: Relation(tuple(add), tuple(remove))}, **fields)


def person(key: str, kind: Any = "changed", *, name: str = "account", add: Any = (), remove: Any = (), **fields: Any):
    """A change of a person whose related objects differ."""
    return change_of(key, kind, None, {name: Relation(tuple(add), tuple(remove))}, **fields)


def actions(standin: CustomerioStandIn) -> list[list[str]]:
    """The actions of each batch that arrived."""
    return [[operation["action"] for operation in batch] for batch in bodies(standin)]


def test_the_adapter_says_that_it_relates() -> None:
    """The engine reads `relate` only for destinations that can do it."""
    assert Customerio.relates


# What leaves.


def test_a_relationship_rides_on_what_is_written(standin: CustomerioStandIn, destination: Customerio) -> None:
    """A record that has attributes to send takes its relationship along, in one operation."""
    people_known(standin, "u_1")

    outcomes = push(destination, OWNED, workspace("w_1", "new", add=["u_1"], activation_score=61))

    assert {"w_1": Outcome("w_1", "accepted")} == outcomes
    assert [
        {
            "type": "object",
            "identifiers": {"object_type_id": "1", "object_id": "w_1"},
            "action": "identify",
            "attributes": {"activation_score": 61},
            "cio_relationships": [{"identifiers": {"id": "u_1"}}],
        }
    ] == bodies(standin)[0]
    assert {"u_1"} == standin.related("1", "w_1")


def test_a_relationship_that_moves_is_two_operations(standin: CustomerioStandIn, destination: Customerio) -> None:
    """The new one rides on the identify, and the old one is taken away by an operation of its own, after it."""
    people_known(standin, "u_1", "u_2")
    push(destination, OWNED, workspace("w_1", "new", add=["u_1"], activation_score=61))

    push(destination, OWNED, workspace("w_1", add=["u_2"], remove=["u_1"], activation_score=62))

    assert {
        "type": "object",
        "identifiers": {"object_type_id": "1", "object_id": "w_1"},
        "action": "delete_relationships",
        "cio_relationships": [{"identifiers": {"id": "u_1"}}],
    } == bodies(standin)[-1][1]
    assert {"u_2"} == standin.related("1", "w_1")


@pytest.mark.parametrize(
    ("relation", "expected"),
    [
        ({"add": ["u_1"]}, ["add_relationships"]),
        ({"remove": ["u_2"]}, ["delete_relationships"]),
        ({"add": ["u_1"], "remove": ["u_2"]}, ["add_relationships", "delete_relationships"]),
    ],
)
def test_relationships_alone(
    standin: CustomerioStandIn, destination: Customerio, relation: dict[str, Any], expected: list[str]
) -> None:
    """Where no attribute differs, nothing is identified: relationships are added and taken away by themselves."""
    people_known(standin, "u_1", "u_2")
    push(destination, OWNED, workspace("w_1", "new", add=["u_2"], plan="pro"))

    push(destination, OWNED, workspace("w_1", **relation))

    assert expected == actions(standin)[-1]
    assert {"plan": "pro"} == standin.object("1", "w_1")
    before = {"u_2"} - set(relation.get("remove", ()))
    assert before | set(relation.get("add", ())) == standin.related("1", "w_1")


def test_a_new_object_without_attributes(standin: CustomerioStandIn, destination: Customerio) -> None:
    """A new record is identified also when it has nothing but a relationship, because that is what makes it."""
    people_known(standin, "u_1")

    push(destination, OWNED, workspace("w_1", "new", add=["u_1"]))

    assert [["identify"]] == actions(standin)
    assert {"u_1"} == standin.related("1", "w_1")


@pytest.mark.parametrize(
    ("name", "identifier"),
    [("person", "id"), ("person:id", "id"), ("person:email", "email"), ("person:cio_id", "cio_id")],
)
def test_people_are_meant_by_any_identifier(
    standin: CustomerioStandIn, destination: Customerio, name: str, identifier: str
) -> None:
    """The name in `relate` says by what the people in the column are known."""
    people_known(standin, "u_1")
    [found] = standin.people.values()
    value = {"id": "u_1", "email": "U_1@example.com", "cio_id": found.cio_id}[identifier]
    sync = OWNED.model_copy(update={"relate": {name: "owner"}})

    push(destination, sync, workspace("w_1", "new", name=name, add=[value]))

    assert [{"identifiers": {identifier: value}}] == bodies(standin)[0][0]["cio_relationships"]
    assert {"u_1"} == standin.related("1", "w_1")
    push(destination, sync, workspace("w_1", name=name, remove=[value]))
    assert set() == standin.related("1", "w_1")


@pytest.mark.parametrize("name", ["account", "2", "object:2"])
def test_objects_are_meant_by_type(standin: CustomerioStandIn, destination: Customerio, name: str) -> None:
    """A person is related to objects of a type, which is named as the object of a sync is."""
    people_known(standin, "u_1")
    push(destination, WORKSPACES.model_copy(update={"object": "account"}), change_of("a", "new", {"object_id": "a/1"}))
    sync = sync_of(relate={name: "account_id"})

    push(destination, sync, person("u_1", name=name, add=["a/1"], plan="pro"))

    [operation] = bodies(standin)[-1]
    assert [{"identifiers": {"object_type_id": "2", "object_id": "a/1"}}] == operation["cio_relationships"]
    assert isinstance(operation["timestamp"], int)
    assert {"u_1"} == standin.related("2", "a/1")


def test_an_object_by_the_id_that_customerio_gives(standin: CustomerioStandIn, destination: Customerio) -> None:
    """An object that is found by cio_object_id is related by it, too."""
    people_known(standin, "u_1")
    push(destination, WORKSPACES, change_of("w_1", "new", {"object_id": "w_1"}))
    [thing] = standin.objects.values()
    sync = sync_of(object="workspace", match={"cio_object_id": "c"}, relate={"person": "owner_id"})
    change = change_of("w", "changed", {"cio_object_id": thing.cio_id}, {"person": Relation(add=("u_1",))})

    push(destination, sync, change)

    assert {"cio_object_id": thing.cio_id} == bodies(standin)[-1][0]["identifiers"]
    assert {"u_1"} == standin.related("1", "w_1")


def test_an_address_in_another_case_is_the_same_person(standin: CustomerioStandIn, destination: Customerio) -> None:
    """Who is added and removed under two spellings of one address is only added, and so is still there."""
    people_known(standin, "u_1", "u_2")
    sync = OWNED.model_copy(update={"relate": {"person:email": "owner"}})
    relation = {"add": ["u_1@example.com"], "remove": ["U_1@Example.com", "u_2@example.com"]}

    push(destination, sync, workspace("w_1", name="person:email", **relation))

    assert [{"identifiers": {"email": "u_2@example.com"}}] == bodies(standin)[0][1]["cio_relationships"]


def test_a_deleted_record_needs_no_relations(standin: CustomerioStandIn, destination: Customerio) -> None:
    """Deleting an object is one operation, whatever it was related to."""
    people_known(standin, "u_1")
    push(destination, OWNED, workspace("w_1", "new", add=["u_1"]))

    push(destination, OWNED.model_copy(update={"removed": "delete"}), workspace("w_1", "removed", remove=["u_1"]))

    assert ["delete"] == actions(standin)[-1]
    assert {} == standin.relationships


def test_a_cleared_record_loses_its_relationships(standin: CustomerioStandIn, destination: Customerio) -> None:
    """A removed row with removed = "clear" empties our fields and ends our relationships, and no more."""
    people_known(standin, "u_1", "u_2")
    push(destination, OWNED, workspace("w_1", "new", add=["u_1", "u_2"], plan="pro", country="AT"))

    push(
        destination,
        OWNED.model_copy(update={"removed": "clear"}),
        workspace("w_1", "removed", remove=["u_1"], plan=None),
    )

    assert {"country": "AT"} == standin.object("1", "w_1")
    assert {"u_2"} == standin.related("1", "w_1")


@pytest.mark.parametrize("sync", [OWNED, MEMBERS, MEMBERS_MADE])
def test_the_same_twice(standin: CustomerioStandIn, destination: Customerio, sync: Sync) -> None:
    """A batch that is sent again, as after a crash, leaves what one would have left."""
    people_known(standin, "u_1", "u_2")
    if sync is OWNED:
        change = workspace("w_1", "new", add=["u_2"], remove=["u_1"], plan="pro")
    else:
        push(destination, WORKSPACES.model_copy(update={"object": "2"}), change_of("a_1", "new", {"object_id": "a_1"}))
        change = person("u_1", add=["a_1"], remove=["a_0"], plan="pro")
    ends = []
    for _ in range(2):
        assert {change.key: "accepted"} == results(push(destination, sync, change))
        ends.append((dict(standin.relationships), standin.person("u_1"), standin.object("1", "w_1")))

    assert ends[0] == ends[1]
    assert 1 == len(ends[0][0])


@pytest.mark.parametrize("kind", ["close", "lost", "cut", "after", "status"])
def test_trouble_that_passes(standin: CustomerioStandIn, destination: Customerio, kind: str) -> None:
    """What was applied and not answered is sent once more, and relationships end as they should, each of them once."""
    people_known(standin, "u_1", "u_2")
    push(destination, OWNED, workspace("w_1", "new", add=["u_1"], plan="free"))
    standin.trouble(kind, answer=Answer(502, "<html></html>"))

    outcomes = push(destination, OWNED, workspace("w_1", add=["u_2"], remove=["u_1"], plan="pro"))

    assert {"w_1": "accepted"} == results(outcomes)
    assert ({"u_2"}, {"plan": "pro"}) == (standin.related("1", "w_1"), standin.object("1", "w_1"))
    assert 3 == standin.count


# Nobody is made.


@pytest.mark.parametrize("makes", [False, True])
@pytest.mark.parametrize("fields", [{}, {"plan": "pro"}])
@pytest.mark.parametrize("relation", [{"add": ["a_1"]}, {"add": ["a_1"], "remove": ["a_2"]}, {"remove": ["a_2"]}])
def test_missing_skip_makes_nobody(
    standin: CustomerioStandIn, destination: Customerio, makes: bool, fields: Any, relation: Any
) -> None:
    """An unknown person stays unknown whether or not `add_relationships` would make one: everything that is added
    rides on an identify with `_update`."""
    standin.relating_makes_record = standin.relating_makes_related = makes

    outcomes = push(destination, MEMBERS, person("u_1", **relation, **fields))

    assert {"u_1": "accepted"} == results(outcomes)
    assert {} == standin.people
    assert {} == standin.objects
    assert all(one["attributes"]["_update"] for one in bodies(standin)[0] if one["action"] == "identify")


@pytest.mark.parametrize("makes", [False, True])
def test_missing_create_with_relationships_alone(
    standin: CustomerioStandIn, destination: Customerio, makes: bool
) -> None:
    """A known person who only gains an object is identified no more; a new one is, and so is made in any case."""
    standin.relating_makes_record = makes
    push(destination, WORKSPACES.model_copy(update={"object": "2"}), change_of("a_1", "new", {"object_id": "a_1"}))

    push(destination, MEMBERS_MADE, person("u_1", "new", add=["a_1"]))
    push(destination, MEMBERS_MADE, person("u_1", add=["a_1"]))

    assert [["identify"], ["add_relationships"]] == actions(standin)[-2:]
    assert {"u_1"} == standin.related("2", "a_1")


@pytest.mark.parametrize("makes", [False, True])
def test_an_owner_who_is_not_there(standin: CustomerioStandIn, destination: Customerio, makes: bool) -> None:
    """Nothing keeps customer.io from making a person to whom an object is related, if that is what it does; the
    object itself is written either way."""
    standin.relating_makes_related = makes

    outcomes = push(destination, OWNED, workspace("w_1", "new", add=["u_1"], plan="pro"))

    assert {"w_1": "accepted"} == results(outcomes)
    assert {"plan": "pro"} == standin.object("1", "w_1")
    assert makes == (standin.person("u_1") is not None)
    assert (0 if makes else 1) == len(standin.activity)


# Answers.


def moving(bad: set[int]) -> list[Change]:
    """Five workspaces, each two operations; the first operation of the bad ones is refused."""
    return [workspace(f"w_{n}", add=["u_2"], remove=["u_1"], plan=LONG if n in bad else "pro") for n in range(5)]


@pytest.mark.parametrize(
    ("errors", "requests"), [("named", 1), ("in_200", 1), ("twice", 1), ("nameless", 7), ("out_of_range", 7)]
)
def test_one_of_two_operations_is_refused(
    standin: CustomerioStandIn, destination: Customerio, errors: Any, requests: int
) -> None:
    """An index is that of an operation. A change of which one half was taken is neither accepted nor rejected but in
    doubt, so that it is sent again also when the source goes back to the old values."""
    people_known(standin, "u_1", "u_2")
    standin.errors = errors

    outcomes = push(destination, OWNED, *moving({3}))

    assert ["accepted", "accepted", "accepted", "deferred", "accepted"] == [outcomes[f"w_{n}"].result for n in range(5)]
    assert ("partly_refused", True) == (outcomes["w_3"].code, outcomes["w_3"].doubt)
    assert "cannot be longer than 1000 bytes" in outcomes["w_3"].message
    assert {"u_2"} == standin.related("1", "w_4")
    assert requests == standin.count


def test_both_operations_are_refused(standin: CustomerioStandIn, destination: Customerio) -> None:
    """A change of which nothing was taken is rejected, once, with the words for both."""
    answer = Answer(207, {"errors": [{"batch_index": n, "reason": "invalid", "message": f"no {n}"} for n in (2, 3)]})
    standin.trouble("status", answer=answer)

    outcomes = push(destination, OWNED, *moving(set())[:3])

    assert {"w_0": "accepted", "w_1": "rejected", "w_2": "accepted"} == results(outcomes)
    assert ("invalid", "no 2; no 3") == (outcomes["w_1"].code, outcomes["w_1"].message)


def test_operations_of_a_change_may_be_sent_apart(standin: CustomerioStandIn, destination: Customerio) -> None:
    """A batch that is refused as a whole is halved by operations, through the middle of a change if need be."""
    people_known(standin, "u_1", "u_2")
    standin.bad_items = "request"

    outcomes = push(destination, OWNED, *moving({2}))

    assert ["w_2"] == [key for key, outcome in outcomes.items() if outcome.result != "accepted"]
    assert "partly_refused" == outcomes["w_2"].code
    assert ["identify"] in actions(standin)
    assert ["delete_relationships"] in actions(standin)
    assert 4 == len(standin.objects)


def test_what_is_half_sent_when_the_key_is_taken_away(standin: CustomerioStandIn, destination: Customerio) -> None:
    """A change whose first operation was taken before the destination ended is in doubt, and not unsent."""
    people_known(standin, "u_1", "u_2")
    standin.trouble("status", answer=Answer(400, {"errors": []}))
    standin.trouble("status", answer=Answer(401, {}), times=None, skip=1)
    outcomes: list[Outcome] = []

    with pytest.raises(DestinationUnusable):
        outcomes.extend(destination.push(OWNED, moving(set())[:3]))

    # Six operations in halves of three: the first change is whole, the second one is cut through.
    assert [("w_0", "accepted", False), ("w_1", "deferred", True)] == [
        (one.key, one.result, one.doubt) for one in outcomes
    ]


def test_an_unknown_object_type(standin: CustomerioStandIn, open_destination: Open) -> None:
    """A type of related objects that customer.io does not have is a refusal of the person's change."""
    people_known(standin, "u_1")
    destination = open_destination(object_types={"account": "7"})

    outcomes = push(destination, MEMBERS, person("u_1", add=["a_1"], plan="pro"))

    assert {"u_1": "rejected"} == results(outcomes)
    assert "object_type_id: there is no such object type" == outcomes["u_1"].message


# Sizes.


def test_weights_count_every_operation(standin: CustomerioStandIn, destination: Customerio) -> None:
    """The weights of a batch and what `limits` keeps for the envelope are the body's length, to the byte."""
    changes = [workspace(f"ü{n}", add=["é", "u"], remove=["ö"], plan="Zoë" * n) for n in range(7)]
    limit = destination.limits(OWNED).utf8_bytes
    push(destination, OWNED, *changes)

    assert limit is not None
    assert 14 == len(bodies(standin)[0])
    weighed = sum(destination.weigh(OWNED, change) for change in changes)
    assert len(standin.log[-1].request.body) == weighed - 1 + (480_000 - limit)


def test_limits_of_relationships(destination: Customerio) -> None:
    """Related identifiers have 150 bytes; bytes decide how many changes a batch has, below 4,000."""
    limits: Limits = destination.limits(OWNED)

    assert {"person": ValueLimit(utf8_bytes=150)} == limits.relations
    assert 4_000 == limits.records
    assert {} == destination.limits(PEOPLE).relations
    assert 4_000 == destination.limits(PEOPLE).records


def test_more_operations_than_a_request_may_have(standin: CustomerioStandIn, destination: Customerio) -> None:
    """4,000 operations are a request, also when a batch of fewer changes has more; the cost says so before."""
    people_known(standin, "u_1", "u_2")
    # So many of them in one batch need far shorter ones than these.
    standin.batch_bytes_max = 2_000_000
    changes = [workspace(f"w_{n}", add=["u_2"], remove=["u_1"], plan=LONG if n == 1_999 else "x") for n in range(2_010)]

    outcomes = push(destination, OWNED, *changes)

    assert [4_000, 20] == [len(batch) for batch in bodies(standin)]
    assert 2 == destination.requests(OWNED, changes) == standin.count
    assert ["w_1999"] == [key for key, outcome in outcomes.items() if outcome.result != "accepted"]
    assert 1 == destination.requests(OWNED, changes[:2_000])
    assert 0 == destination.requests(OWNED, [])


def test_an_operation_that_is_too_large(standin: CustomerioStandIn, destination: Customerio) -> None:
    """More relationships than 30,000 bytes hold are rejected here, whichever operation they are in."""
    many = [f"user-{n:05}" for n in range(1_000)]

    outcomes = push(
        destination,
        OWNED,
        workspace("w_1", add=many),
        workspace("w_2", remove=many),
        workspace("w_3", "new", plan="pro"),
    )

    assert ["too_large", "too_large", ""] == [outcomes[key].code for key in ("w_1", "w_2", "w_3")]
    assert 1 == len(bodies(standin)[0])


# What a mapping may say.


@pytest.mark.parametrize(
    "sync",
    [
        OWNED,
        OWNED.model_copy(update={"relate": {"person:email": "owner"}}),
        MEMBERS,
        sync_of(relate={"account": "a", "workspace": "w"}),
        sync_of(relate={"1": "a", "object:2": "w"}),
    ],
)
def test_good_relations_are_not_refused(destination: Customerio, sync: Sync) -> None:
    """People by each identifier, and objects by name and by id."""
    assert [] == list(destination.refuse(sync))
    assert [] == list(destination.check(sync))


@pytest.mark.parametrize(
    ("sync", "relate", "place", "sentence"),
    [
        (OWNED, {"persons": "x"}, "relate.persons", "did you mean `person`?"),
        (OWNED, {"person:mail": "x"}, "relate.person:mail", "did you mean `person:email`?"),
        (OWNED, {"account": "x"}, "relate.account", "relates objects to people only, and not to 'account'"),
        (PEOPLE, {"acount": "x"}, "relate.acount", "did you mean `account`?"),
        (PEOPLE, {"person": "x"}, "relate.person", 'an object type by its id, as "1"'),
        (PEOPLE, {"object:0": "x"}, "relate.object:0", "Possible are `workspace`, `account`, an object type"),
        (OWNED, {"person": "x", "person:email": "y"}, "relate.person:email", "`person` means the same ones"),
        (PEOPLE, {"account": "x", "object:2": "y"}, "relate.object:2", "`account` means the same ones"),
    ],
)
def test_relations_that_are_refused(
    destination: Customerio, sync: Sync, relate: dict[str, str], place: str, sentence: str
) -> None:
    """A name that leads nowhere, or where another one leads already, is refused at its place."""
    [problem] = destination.refuse(sync.model_copy(update={"relate": relate}))

    assert place == problem.place
    assert sentence in problem.sentence


def test_check_asks_for_related_object_types(standin: CustomerioStandIn, open_destination: Open) -> None:
    """An object type in `relate` that customer.io does not have is told with those that it has."""
    destination = open_destination(object_types={"account": "7"})

    [problem] = destination.check(MEMBERS)

    assert "relate.account" == problem.place
    assert "no object type 7; there are: 1 (Workspaces), 2 (Accounts)" in problem.sentence
