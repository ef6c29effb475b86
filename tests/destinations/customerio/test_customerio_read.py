"""Reading customer.io back: what it holds of people and objects, and whether that is ours."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest

from destinations.customerio import Customerio
from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.server import HTML, Answer
from syncer.change import Held, Relation, Value, Wanted
from syncer.errors import DestinationUnusable, ServiceUnavailable
from syncer.mapping import Sync
from tests.destinations.customerio.world import (
    API_KEY,
    APP_KEY,
    CREATING,
    PEOPLE,
    WORKSPACES,
    Open,
    change_of,
    people_known,
    push,
    sync_of,
)

STRANGE_IDS = ["a+b@example.com", "a/b", "a b", "ä?x#y&z", "%2B", "..%2F", "🚀"]


def read(destination: Customerio, sync: Sync, *identifiers: str) -> dict[str, Held]:
    """Reads records by the sync's identifier; key → what is held."""
    [kind] = sync.match
    helds = list(destination.read(sync, [Wanted(f"key {one}", {kind: one}) for one in identifiers]))

    assert sorted(f"key {one}" for one in identifiers) == sorted(held.key for held in helds)
    return {held.key.removeprefix("key "): held for held in helds}


def paths(standin: CustomerioStandIn) -> list[str]:
    """Paths below /v1 that were asked, in their order, still encoded."""
    return [one.request.path for one in standin.log if one.request.path.startswith("/v1/")]


# People.


@pytest.mark.parametrize("is_wrapped", [True, False])
def test_people(standin: CustomerioStandIn, destination: Customerio, is_wrapped: bool) -> None:
    """Attributes of the mapping come back as text, absent ones as null, in both forms of the answer."""
    standin.bulk_is_wrapped = is_wrapped
    push(destination, CREATING, change_of("u_1", activation_score=87.5, country="AT"), change_of("u_2", plan="pro"))

    assert {
        "u_1": Held("key u_1", {"activation_score": "87.5", "plan": None}),
        "nobody": Held("key nobody", None),
        "u_2": Held("key u_2", {"activation_score": None, "plan": "pro"}),
    } == read(destination, PEOPLE, "u_1", "nobody", "u_2")


def test_people_come_by_the_hundred(standin: CustomerioStandIn, destination: Customerio) -> None:
    """So many as the service takes in one request, and no record is lost at the seams; many are never held at once."""
    people = [f"u_{n}" for n in range(250)]
    push(destination, CREATING, *[change_of(one, plan=one) for one in people])
    asked: list[int] = []

    def wanted() -> Iterator[Wanted]:
        for number, one in enumerate(people):
            asked.append(number)
            yield Wanted(one, {"id": one})

    helds = destination.read(CREATING, wanted())
    first = next(helds)

    assert Held("u_0", {"activation_score": None, "plan": "u_0"}) == first
    assert 100 == len(asked)
    assert people[1:] == [held.fields["plan"] for held in helds if held.fields]
    sizes = [len(json.loads(one.request.body)["ids"]) for one in standin.log if one.request.path.startswith("/v1/")]
    assert [100, 100, 50] == sizes


def test_nothing_wanted_is_nothing_asked(standin: CustomerioStandIn, destination: Customerio) -> None:
    """No record is no request, because an empty list is refused."""
    assert {} == read(destination, PEOPLE)
    assert 0 == standin.count


def test_people_by_email(standin: CustomerioStandIn, destination: Customerio) -> None:
    """Addresses are paired with their people without regard to case and surrounding blanks, pluses and all."""
    sync = sync_of(match={"email": "email"}, missing="create")
    push(destination, sync, change_of("k", match={"email": "Ada+1@Example.com"}, plan="pro"))

    found = read(destination, sync, "ada+1@example.COM", "ADA+1@example.com", "eve@example.com")

    assert ["pro", "pro", None] == [held.fields and held.fields["plan"] for held in found.values()]


def test_people_by_the_id_that_customerio_gives(standin: CustomerioStandIn, destination: Customerio) -> None:
    """By cio_id a person is found whatever else identifies them."""
    people_known(standin, "u_1")
    [cio_id] = standin.people

    found = read(destination, sync_of(match={"cio_id": "c"}), cio_id, "none")

    assert [{"activation_score": None, "plan": None}, None] == [held.fields for held in found.values()]


def test_two_rows_of_one_person(standin: CustomerioStandIn, destination: Customerio) -> None:
    """An identifier that two rows have is asked for once, and each row gets its answer."""
    people_known(standin, "u_1")
    wanted = [Wanted("a", {"id": "u_1"}), Wanted("b", {"id": "u_1"})]

    assert ["a", "b"] == [held.key for held in destination.read(PEOPLE, wanted) if held.fields is not None]
    assert ["u_1"] == json.loads(standin.log[-1].request.body)["ids"]


def test_several_people_of_one_address(standin: CustomerioStandIn, destination: Customerio) -> None:
    """Where addresses identify nobody, two people may have one; whose values they are is then not told."""
    twins = [
        {"identifiers": {"email": "a@example.com", "cio_id": cio_id}, "attributes": {"plan": cio_id}}
        for cio_id in ("a3", "a4")
    ]
    standin.trouble("dropped", answer=Answer(200, {"customers": twins}))

    assert {"A@example.com": Held("key A@example.com", None, "ambiguous")} == (
        read(destination, sync_of(match={"email": "email"}), "A@example.com")
    )


# Objects.


def test_objects(standin: CustomerioStandIn, destination: Customerio) -> None:
    """Objects are read one by one, of the mapping's type; unknown ones are told as such."""
    push(destination, WORKSPACES, change_of("w", "new", {"object_id": "w_1"}, plan="pro", country="AT"))
    push(destination, WORKSPACES.model_copy(update={"object": "2"}), change_of("a", "new", {"object_id": "a_1"}))

    assert {
        "w_1": Held("key w_1", {"activation_score": None, "plan": "pro"}),
        "a_1": Held("key a_1", None),
    } == read(destination, WORKSPACES, "w_1", "a_1")
    assert "id_type=object_id" == standin.log[-1].request.query_text


def test_an_object_by_the_id_that_customerio_gives(standin: CustomerioStandIn, destination: Customerio) -> None:
    """By cio_object_id an object is found as well."""
    push(destination, WORKSPACES, change_of("w", "new", {"object_id": "w_1"}, plan="pro"))
    [thing] = standin.objects.values()
    sync = sync_of(object="workspace", match={"cio_object_id": "c"})

    assert "pro" == (read(destination, sync, thing.cio_id)[thing.cio_id].fields or {})["plan"]


@pytest.mark.parametrize("identifier", STRANGE_IDS)
def test_identifiers_in_addresses(standin: CustomerioStandIn, destination: Customerio, identifier: str) -> None:
    """Whatever an identifier is made of, it is encoded whole, and finds its record."""
    people = sync_of(relate={"workspace": "w"}, missing="create")
    push(destination, WORKSPACES, change_of("w", "new", {"object_id": identifier}, plan="pro"))
    push(destination, people, change_of(identifier, "new", None, {"workspace": Relation(add=(identifier,))}, plan="x"))

    assert "pro" == (read(destination, WORKSPACES, identifier)[identifier].fields or {})["plan"]
    assert {"workspace": frozenset({identifier})} == read(destination, people, identifier)[identifier].relations
    assert f"/v1/customers/{identifier}/relationships" == unquote(paths(standin)[-1])
    assert not {"+", " ", "?"} & set(paths(standin)[-1])


@pytest.mark.parametrize("status", ["404", 404])
def test_forms_of_nothing(standin: CustomerioStandIn, destination: Customerio, status: Any) -> None:
    """What is not there is a 404 whose own status is text or a number."""
    standin.trouble("status", answer=Answer(404, {"errors": [{"detail": "not found", "status": status}]}))

    assert {"w_1": Held("key w_1", None)} == read(destination, WORKSPACES, "w_1")


# Relationships.


def test_relationships_of_people(standin: CustomerioStandIn, destination: Customerio) -> None:
    """What a person is related to is told by the names in the mapping, over as many pages as there are."""
    sync = sync_of(relate={"workspace": "w", "object:2": "a"}, missing="create")
    standin.object_types |= {"course": "3"}
    for type_id, count in (("1", 150), ("2", 1), ("3", 2)):
        things = [change_of(f"o_{n}", "new", {"object_id": f"o_{n}"}) for n in range(count)]
        push(destination, WORKSPACES.model_copy(update={"object": type_id}), *things)
        related = sync_of(relate={type_id: "x"}, missing="create")
        add = Relation(add=tuple(one.key for one in things))
        push(destination, related, change_of("u_1", "new", None, {type_id: add}), change_of("u_2", "new"))

    found = read(destination, sync, "u_1", "u_2", "nobody")

    assert {"workspace": frozenset(f"o_{n}" for n in range(150)), "object:2": {"o_0"}} == found["u_1"].relations
    assert {"workspace": frozenset(), "object:2": frozenset()} == found["u_2"].relations
    assert Held("key nobody", None) == found["nobody"]
    assert ["attributes", *["relationships"] * 3] == [path.rpartition("/")[2] for path in paths(standin)]


def test_relationships_are_not_asked_for_in_vain(standin: CustomerioStandIn, destination: Customerio) -> None:
    """A mapping without `relate` costs no request for relationships, and objects have none that can be read."""
    people_known(standin, "u_1")
    owned = WORKSPACES.model_copy(update={"relate": {"person": "owner"}})
    push(destination, owned, change_of("w", "new", {"object_id": "w_1"}, {"person": Relation(add=("u_1",))}))

    assert {} == read(destination, PEOPLE, "u_1")["u_1"].relations
    assert {} == read(destination, owned, "w_1")["w_1"].relations
    assert ["attributes", "attributes"] == [path.rpartition("/")[2] for path in paths(standin)]


def test_relationships_by_the_id_that_customerio_gives(standin: CustomerioStandIn, destination: Customerio) -> None:
    """In an address a cio_id has its prefix."""
    people_known(standin, "u_1")
    [cio_id] = standin.people

    found = read(destination, sync_of(match={"cio_id": "c"}, relate={"1": "x"}), cio_id)

    assert {"1": frozenset()} == found[cio_id].relations
    assert f"/v1/customers/cio_{cio_id}/relationships" == paths(standin)[-1]


def test_a_person_who_goes_while_being_read(standin: CustomerioStandIn, destination: Customerio) -> None:
    """Somebody deleted between the two requests is not there."""
    people_known(standin, "u_1")
    gone = Answer(404, {"errors": [{"detail": "not found", "status": "404"}]})
    standin.trouble("status", answer=gone, when=lambda request: request.path.endswith("relationships"))

    assert Held("key u_1", None) == read(destination, sync_of(relate={"1": "x"}), "u_1")["u_1"]


@pytest.mark.parametrize(
    "body",
    [
        {"cio_relationships": [{"object_type_id": 1, "identifiers": {"object_id": "w_1"}}, "text", {}], "next": None},
        {"cio_relationships": [{"identifiers": {"object_type_id": 1, "object_id": "w_1"}}]},
    ],
)
def test_forms_of_relationships(standin: CustomerioStandIn, destination: Customerio, body: Any) -> None:
    """The type may be beside the identifiers or among them, and be a number."""
    people_known(standin, "u_1")
    standin.trouble("dropped", answer=Answer(200, body), when=lambda request: request.path.endswith("relationships"))

    assert {"1": {"w_1"}} == read(destination, sync_of(relate={"1": "x"}), "u_1")["u_1"].relations


@pytest.mark.parametrize("body", [{"cio_relationships": [], "next": "same"}, {"next": ""}])
def test_relationships_that_cannot_be_read(standin: CustomerioStandIn, destination: Customerio, body: Any) -> None:
    """Pages that never end, and an answer without a list, end the reading instead of being taken for nothing."""
    people_known(standin, "u_1")
    answer = Answer(200, body)
    standin.trouble("dropped", answer=answer, times=None, when=lambda request: request.path.endswith("relationships"))

    with pytest.raises(DestinationUnusable, match="cannot be read"):
        read(destination, sync_of(relate={"1": "x"}), "u_1")


# What stops a reading.


def test_without_a_key_nothing_is_read(standin: CustomerioStandIn, open_destination: Open) -> None:
    """The Track API cannot be read, and the sentence names the setting that is absent."""
    with pytest.raises(DestinationUnusable, match=r"\[destinations.customerio\] has no `app_key`"):
        open_destination(app_key=None).read(PEOPLE, [])

    assert 0 == standin.count


def test_a_wrong_key(open_destination: Open) -> None:
    """A Track key does not read, and the sentence names the setting and no key."""
    with pytest.raises(DestinationUnusable, match="refused the App API key") as caught:
        read(open_destination(app_key=API_KEY), PEOPLE, "u_1")

    assert [] == [one for one in (API_KEY, APP_KEY, "u_1") if one in str(caught.value)]


@pytest.mark.parametrize("sync", [PEOPLE, WORKSPACES])
@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, HTML),
        Answer(200, []),
        Answer(200, {"customers": {}}),
        Answer(200, {"customers": ["text"], "object": "text"}),
        Answer(204),
        Answer(400, {"errors": [{"detail": "this kind of identifier is not enabled", "status": 400}]}),
        Answer(404, HTML),
        Answer(404, {"errors": "nothing here"}),
        Answer(422, {"errors": []}),
    ],
)
def test_answers_that_the_app_api_does_not_give(
    standin: CustomerioStandIn, destination: Customerio, sync: Sync, answer: Answer
) -> None:
    """A proxy's page, or a workspace that does not identify people this way, is never taken for an absent record."""
    standin.trouble("dropped", answer=answer)

    with pytest.raises(DestinationUnusable, match=rf"answered {answer.status} .*Check `app_url`"):
        read(destination, sync, "w_1")


@pytest.mark.parametrize(
    "answer", [Answer(429, {}), Answer(429, {}, {"Retry-After": "1"}), Answer(502, HTML), Answer(503, HTML)]
)
def test_trouble_that_passes(standin: CustomerioStandIn, destination: Customerio, answer: Answer) -> None:
    """A reading is repeated by the transport, as everything is."""
    people_known(standin, "u_1")
    standin.trouble("status", answer=answer)

    assert read(destination, PEOPLE, "u_1")["u_1"].fields is not None
    assert 2 == standin.count


def test_trouble_that_stays(standin: CustomerioStandIn, destination: Customerio) -> None:
    """After the allowed attempts the transport's own error comes out."""
    standin.trouble("status", answer=Answer(429, {}), times=None)

    with pytest.raises(ServiceUnavailable):
        read(destination, PEOPLE, "u_1")


def test_readings_have_a_pace_of_their_own(standin: CustomerioStandIn, open_destination: Open) -> None:
    """Ten readings stay below the limit of ten in a second, whatever pace the writes were given."""
    standin.app_requests_max = 10
    destination = open_destination(pace=1_000)
    things = [f"w_{n}" for n in range(12)]

    assert dict.fromkeys(things) == {key: held.fields for key, held in read(destination, WORKSPACES, *things).items()}
    moments = [one.at for one in standin.log]
    assert [] == [one.status for one in standin.log if one.status == 429]
    assert moments[8] - moments[0] > 0.9


# Whether it is ours.

SECOND = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
OURS: list[tuple[Value, object, bool]] = [
    (None, None, True),
    (None, "", True),
    ("", None, True),
    ("", "", True),
    (None, "x", False),
    ("x", None, False),
    (0, None, False),
    (False, None, False),
    ("pro", "pro", True),
    ("pro", "Pro", False),
    ("1.0", "1", False),
    (" x", "x", False),
    (30, "30", True),
    (30, "30.0", True),
    (30, "3e1", True),
    (30, "31", False),
    (30, 30, True),
    (-7, "-7", True),
    (2**53 + 1, str(2**53 + 1), True),
    (2**53 + 1, str(2**53), False),
    (0.5, "0.5", True),
    (0.5, "0.50", True),
    (0.5, "5e-1", True),
    (0.5, ".5", True),
    (0.5, "0,5", False),
    (0.5, "half", False),
    (0.5, "0_5", False),
    (1e-05, "1e-05", True),
    (1e-05, "0.00001", True),
    (0.1, "0.10000000000000001", True),
    (0.1, "0.11", False),
    (41.0, "41", True),
    (41.0, "1e999", False),
    (41.0, "1e99999999999999999999", False),
    (41.0, "NaN", False),
    (0.0, "-0", True),
    (True, "true", True),
    (True, True, True),
    (True, "1", False),
    (1, "true", False),
    (False, "false", True),
    (SECOND, "1767225600", True),
    (SECOND, "1.7672256e+09", True),
    (SECOND, "1767225601", False),
    (SECOND, "2026-01-01T00:00:00Z", False),
    (SECOND.date(), "2026-01-01", True),
    (SECOND.date(), "1767225600", False),
]


@pytest.mark.parametrize(("value", "held", "expected"), OURS)
def test_whether_it_is_ours(destination: Customerio, value: Value, held: object, expected: bool) -> None:
    """Texts are compared to the letter, numbers and instants as numbers, and nothing equals nothing."""
    assert expected == destination.holds(PEOPLE, "plan", value, held)


@pytest.mark.parametrize("sync", [CREATING, WORKSPACES])
@pytest.mark.parametrize("value", [None, "", "Zoë 🚀", "null", 0, -7, 2**53 + 1, 0.1, 1e-05, 41.0, True, False, SECOND])
def test_what_was_written_is_held(
    standin: CustomerioStandIn, destination: Customerio, sync: Sync, value: Value
) -> None:
    """Whatever was accepted is ours when it is read back, and no other value is."""
    [kind] = sync.match
    push(destination, sync, change_of("k", "new", {kind: "k"}, plan=value, activation_score=1))
    fields = read(destination, sync, "k")["k"].fields

    assert fields is not None
    assert destination.holds(sync, "plan", value, fields["plan"])
    assert not destination.holds(sync, "plan", "another", fields["plan"])


def test_when_an_attribute_was_written_is_read(standin: CustomerioStandIn, destination: Customerio) -> None:
    """Each attribute comes with the second of its last write, in UTC, and no name, which the service never tells."""
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    push(destination, CREATING, change_of("u_1", plan="team"))
    [held] = read(destination, CREATING, "u_1").values()
    last_write = held.last_writes["plan"]

    assert ("", False) == (last_write.by, last_write.is_of_record)
    assert last_write.at is not None
    assert before <= last_write.at <= datetime.datetime.now(datetime.UTC)
