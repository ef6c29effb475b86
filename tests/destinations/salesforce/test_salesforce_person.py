"""A person who is a Contact or a Lead: found, followed through a conversion, and never guessed at."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Answer, Request
from syncer.change import Change, Value
from syncer.errors import DestinationUnusable
from syncer.mapping import Field, Sync
from tests.destinations.salesforce.rig import (
    BAND,
    BY_EMAIL,
    BY_ID,
    BY_USER_ID,
    SCORE,
    Open,
    a_change,
    a_sync,
    data_requests,
    messages,
    problems_of,
    results,
    scores,
    sent,
    written,
)


def a_person_sync(*objects: str, match: dict[str, str] | None = None, **options: Any) -> Sync:
    first, *others = objects or ("Contact", "Lead")
    return a_sync(first, match or BY_EMAIL, **{"fields": (SCORE, BAND), "also": tuple(others), **options})


def ada(kind: Any = "changed", held: dict[str, Value] | None = None, **fields: Value) -> Change:
    change = a_change("ada", {"Email": "ada@example.com"}, kind, **fields)
    return dataclasses.replace(change, held=held or {})


def put(standin: SalesforceStandIn, object_name: str, name: str = "ada", **fields: Any) -> str:
    company = {"Company": "Unknown"} if object_name == "Lead" else {}
    return standin.put(object_name, LastName=name, Email=f"{name}@example.com", **company, **fields)


def held_by(standin: SalesforceStandIn, object_name: str, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(record[name] for name in names) for record in standin.records(object_name)]


# The mapping


@pytest.mark.parametrize(
    ("objects", "options", "place", "sentence"),
    [
        (("Contact", "Account"), {}, "object", 'Write object = ["Contact", "Lead"]'),
        (("Contact", "Lead", "Lead"), {}, "object", 'Write object = ["Contact", "Lead"]'),
        (("Contact", "Contact"), {}, "object", 'Write object = ["Contact", "Lead"]'),
        (("Contact", "Lead"), {"missing": "create"}, "create_as", 'set create_as = "Contact" or "Lead"'),
        (
            ("Lead", "Contact"),
            {"missing": "create", "create_as": "Account"},
            "create_as",
            'set create_as = "Lead" or "Contact"',
        ),
        (("Contact", "Lead"), {"create_as": "Lead"}, "create_as", 'set missing = "create" too'),
        (("Contact",), {"missing": "create", "create_as": "Contact"}, "create_as", "leave `create_as` out"),
    ],
)
def test_refuses_objects_that_cannot_be_one(
    objects: tuple[str, ...], options: dict[str, Any], place: str, sentence: str, open_destination: Open
) -> None:
    """Only Contact and Lead combine, and what is made when there is none has to be said."""
    (problem,) = open_destination().refuse(a_person_sync(*objects, **options))

    assert place == problem.place
    assert sentence in problem.sentence


@pytest.mark.parametrize("options", [{}, {"missing": "create", "create_as": "Lead"}], ids=["skip", "create"])
def test_accepts_two_objects_and_asks_for_whole_records(options: dict[str, Any], open_destination: Open) -> None:
    """A Contact and a Lead are one person target, and its changes come with what does not leave."""
    destination, sync = open_destination(), a_person_sync(**options)

    assert destination.takes_several_objects
    assert [] == list(destination.refuse(sync))
    assert destination.limits(sync).whole
    assert not destination.limits(a_sync()).whole


def test_check_looks_at_every_object(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A field has to be in each object, and the sentence says which one lacks it."""
    standin.add_field("Contact", "Plan__c", "string", length=10)
    standin.add_field("Lead", "Tier__c", "double")
    standin.add_field("Contact", "Tier__c", "string")
    fields = (
        SCORE,
        Field(name="Plan__c", column="plan"),
        Field(name="Tier__c", column="tier", type="text"),
        Field(name="Nothing__c", column="nothing"),
    )
    found = problems_of(open_destination(), a_person_sync(fields=fields))

    assert {"fields.Plan__c", "fields.Tier__c", "fields.Nothing__c"} == found.keys()
    assert found["fields.Plan__c"].startswith("Lead has no field Plan__c")
    assert "Lead.Tier__c (double) takes" in found["fields.Tier__c"]
    assert "Contact has no field Nothing__c" in found["fields.Nothing__c"]
    assert "Lead has no field Nothing__c" in found["fields.Nothing__c"]


def test_check_wants_required_fields_of_what_is_made_only(open_destination: Open) -> None:
    """A Lead needs a company and a Contact does not; only the object that is made counts."""
    destination = open_destination()

    def places(create_as: str) -> set[str]:
        return set(problems_of(destination, a_person_sync(missing="create", create_as=create_as)))

    assert {"fields.LastName"} == places("Contact")
    assert {"fields.LastName", "fields.Company"} == places("Lead")
    assert {} == problems_of(destination, a_person_sync())


def test_check_wants_conversions_to_be_seen(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A user who cannot see what a lead became cannot follow it."""
    del standin.org.objects["Lead"].fields["ConvertedContactId"]

    assert "Lead.ConvertedContactId" in problems_of(open_destination(), a_person_sync())["object"]
    assert {} == problems_of(open_destination(), a_sync("Lead", BY_EMAIL))


def test_check_names_the_object_that_is_not_there(standin: SalesforceStandIn, open_destination: Open) -> None:
    """One object that the user may not see does not hide the problems of the other."""
    del standin.org.objects["Lead"]
    found = problems_of(open_destination(), a_person_sync(fields=(Field(name="Nothing__c", column="x"),)))

    assert {"object", "fields.Nothing__c"} == found.keys()
    assert "no object Lead" in found["object"]


# Finding


@pytest.mark.parametrize("object_name", ["Contact", "Lead"])
@pytest.mark.parametrize("objects", [("Contact", "Lead"), ("Lead", "Contact")], ids=["contacts first", "leads first"])
def test_finds_a_person_as_either(
    object_name: str, objects: tuple[str, str], standin: SalesforceStandIn, open_destination: Open
) -> None:
    """Whoever is a Contact or a Lead is found as that, and nothing is created."""
    put(standin, object_name)

    assert {"ada": "accepted"} == results(open_destination().push(a_person_sync(*objects), [ada()]))
    assert [41.5] == scores(standin, object_name)
    assert 1 == len(standin.records("Contact")) + len(standin.records("Lead"))


@pytest.mark.parametrize(
    ("objects", "expected"), [(("Contact", "Lead"), ([41.5], [None])), (("Lead", "Contact"), ([None], [41.5]))]
)
def test_the_order_of_the_objects_decides(
    objects: tuple[str, str],
    expected: tuple[list[Any], list[Any]],
    standin: SalesforceStandIn,
    open_destination: Open,
) -> None:
    """Whoever is both is written as the object that is named first, and as that alone."""
    put(standin, "Contact")
    put(standin, "Lead")

    assert {"ada": "accepted"} == results(open_destination().push(a_person_sync(*objects), [ada()]))
    assert expected == (scores(standin), scores(standin, "Lead"))


@pytest.mark.parametrize("object_name", ["Contact", "Lead"])
def test_several_candidates_are_never_guessed_at(
    object_name: str, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """Two records of the chosen object park the change with both Ids."""
    ids = [put(standin, object_name) for _ in range(2)]
    outcomes = list(open_destination().push(a_person_sync(), [ada()]))

    assert {"ada": "rejected ambiguous"} == results(outcomes)
    assert f"2 {object_name} records have Email = ada@example.com: {', '.join(ids)}." in messages(outcomes)["ada"]
    assert [] == written(standin)


def test_several_leads_do_not_matter_to_a_contact(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Only the object that is chosen has to be unambiguous."""
    put(standin, "Contact")
    for _ in range(2):
        put(standin, "Lead")

    assert {"ada": "accepted"} == results(open_destination().push(a_person_sync(), [ada()]))
    assert [41.5] == scores(standin)


def test_nobody_is_refused_and_not_created(standin: SalesforceStandIn, open_destination: Open) -> None:
    """With missing = "skip" somebody who is neither is parked; a removed row of theirs has nothing left to clear."""
    sync = a_person_sync(removed="clear")
    outcomes = list(open_destination().push(sync, [ada("new")]))

    assert {"ada": "rejected missing"} == results(outcomes)
    assert (
        'No Contact or Lead with Email = ada@example.com; missing = "skip" never creates one.'
        == (messages(outcomes)["ada"])
    )
    assert {"ada": "accepted"} == results(open_destination().push(sync, [ada("removed", Activation_Score__c=None)]))


@pytest.mark.parametrize("create_as", ["Contact", "Lead"])
def test_creates_as_the_object_that_is_named(
    create_as: str, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """Somebody who is neither is made as `create_as`; whoever is there is updated and never made again."""
    company = {"Company": "Unknown"} if create_as == "Lead" else {}
    bob = a_change("bob", {"Email": "bob@example.com"}, "new", LastName="Bob", Activation_Score__c=1.0, **company)
    put(standin, "Lead")
    sync = a_person_sync(missing="create", create_as=create_as)

    assert {"ada": "accepted", "bob": "accepted"} == results(open_destination().push(sync, [ada(), bob]))
    assert ("bob@example.com", 1.0) in held_by(standin, create_as, "Email", "Activation_Score__c")
    assert 2 == len(standin.records("Contact")) + len(standin.records("Lead"))


def test_an_external_id_is_looked_up_and_not_upserted(standin: SalesforceStandIn, open_destination: Open) -> None:
    """An upsert would make a second person, so two objects never go with one."""
    standin.put("Lead", LastName="Ada", Company="Unknown", Product_User_Id__c="u_1")
    sync = a_person_sync(match=BY_USER_ID, missing="create", create_as="Contact")
    change = a_change("ada", {"Product_User_Id__c": "u_1"}, LastName="Ada", Activation_Score__c=2.0)

    assert {"ada": "accepted"} == results(open_destination().push(sync, [change]))
    assert [2.0] == scores(standin, "Lead")
    assert [] == standin.records("Contact")


def test_whoever_is_made_again_is_made_whole(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A person who is gone is made anew with what was accepted before, and not with the changed field alone."""
    sync = a_person_sync(missing="create", create_as="Contact")
    change = ada(held={"Activation_Band__c": "hot", "LastName": "Ada"}, Activation_Score__c=3.0)

    assert {"ada": "accepted"} == results(open_destination().push(sync, [change]))
    assert [(3.0, "hot")] == held_by(standin, "Contact", "Activation_Score__c", "Activation_Band__c")


def test_finds_by_id(standin: SalesforceStandIn, open_destination: Open) -> None:
    """An Id may be a Contact's or a Lead's, in both spellings; what is none asks nothing and is missing."""
    contact, lead = put(standin, "Contact"), put(standin, "Lead")
    changes = [a_change("a", {"Id": contact[:15]}), a_change("b", {"Id": lead}), a_change("c", {"Id": "nonsense"})]

    assert {"a": "accepted", "b": "accepted", "c": "rejected missing"} == results(
        open_destination().push(a_person_sync(match=BY_ID), changes)
    )
    assert ([41.5], [41.5]) == (scores(standin), scores(standin, "Lead"))


# Conversions


def test_a_converted_lead_is_followed(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A converted lead is written as the Contact that it became, although that has the match no more."""
    lead = put(standin, "Lead")
    contact = standin.org.convert(lead)
    standin.org.update("Contact", contact, {"Email": "lovelace@example.com"})

    assert {"ada": "accepted"} == results(open_destination().push(a_person_sync(), [ada()]))
    assert [41.5] == scores(standin)


@pytest.mark.parametrize("objects", [("Contact", "Lead"), ("Lead", "Contact")], ids=["contacts first", "leads first"])
@pytest.mark.parametrize("keeps_match", [True, False], ids=["found by its match", "found by its lead"])
def test_the_state_is_taken_along(
    keeps_match: bool, objects: tuple[str, str], standin: SalesforceStandIn, open_destination: Open
) -> None:
    """What only the lead had of us goes to its Contact with the next change, and what is there already does not."""
    standin.add_field("Contact", "Plan__c", "string")
    standin.add_field("Lead", "Plan__c", "string")
    contact = standin.org.convert(put(standin, "Lead"))
    standin.org.update("Contact", contact, {"Plan__c": "team"})
    if not keeps_match:
        standin.org.update("Contact", contact, {"Email": None})
    sync = a_person_sync(*objects, fields=(SCORE, BAND, Field(name="Plan__c", column="plan")))
    change = ada(held={"Activation_Band__c": "hot", "Plan__c": "team"}, Activation_Score__c=9.0)

    assert {"ada": "accepted"} == results(open_destination().push(sync, [change]))
    assert [{"Activation_Score__c": 9.0, "Activation_Band__c": "hot"}] == written(standin)
    assert [(9.0, "hot", "team")] == held_by(standin, "Contact", "Activation_Score__c", "Activation_Band__c", "Plan__c")


def test_nothing_else_leaves_without_a_conversion(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Whoever has no converted lead gets the changed fields and no others."""
    put(standin, "Contact")
    put(standin, "Lead", "bob")
    bob = dataclasses.replace(a_change("bob", {"Email": "bob@example.com"}), held={"Activation_Band__c": "hot"})

    assert {"ada": "accepted", "bob": "accepted"} == results(
        open_destination().push(a_person_sync(), [ada(held={"Activation_Band__c": "hot"}), bob])
    )
    assert [{"Activation_Score__c": 41.5}] * 2 == written(standin)


def test_an_account_that_is_read_anyway_does_not_leave(standin: SalesforceStandIn, open_destination: Open) -> None:
    """The account is asked for with every Contact, and a mapped one goes along after a conversion only."""
    account = standin.put("Account", Name="Acme")
    put(standin, "Contact")
    sync = a_person_sync(fields=(SCORE, Field(name="AccountId", column="account")))

    assert {"ada": "accepted"} == results(open_destination().push(sync, [ada(held={"AccountId": account})]))
    assert [{"Activation_Score__c": 41.5}] == written(standin)


def test_a_lead_converted_between_two_look_ups_is_seen(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Converted after the first query of two: the second tells that the state has to be taken along."""
    lead = put(standin, "Lead")
    queries = []

    def convert(request: Request) -> bool:
        if "/query" in request.path:
            queries.append(request)
            if len(queries) == 2:
                standin.org.convert(lead)
        return False

    standin.trouble("status", when=convert)

    assert {"ada": "accepted"} == results(
        open_destination().push(a_person_sync(), [ada(held={"Activation_Band__c": "hot"})])
    )
    assert [(41.5, "hot")] == held_by(standin, "Contact", "Activation_Score__c", "Activation_Band__c")


def test_one_query_reads_all_converted(standin: SalesforceStandIn, open_destination: Open) -> None:
    """The Contacts of a whole batch are read at once, and only those whose lead was converted."""
    changes = []
    for number in range(20):
        record_id = put(standin, "Lead", f"p{number}")
        if number % 2:
            standin.org.convert(record_id)
        changes.append(a_change(f"p{number}", {"Email": f"p{number}@example.com"}))

    assert {"accepted"} == set(results(open_destination().push(a_person_sync(), changes)).values())

    queries = [request.query["q"][0] for request in sent(standin, "GET", "/query")]

    assert ["Email IN", "Email IN", "Id IN"] == [query.partition(" WHERE ")[2].partition(" (")[0] for query in queries]
    assert 10 == queries[2].count("'003")
    assert 1 == len(sent(standin, "PATCH", "/composite/sobjects"))


def test_a_removed_row_clears_the_contact_and_brings_nothing_along(
    standin: SalesforceStandIn, open_destination: Open
) -> None:
    """A removed row empties our fields on the Contact that a lead became, and writes nothing that was held."""
    contact = standin.org.convert(put(standin, "Lead"))
    standin.org.update("Contact", contact, {"Activation_Score__c": 5})
    change = ada("removed", {"Activation_Band__c": "hot"}, Activation_Score__c=None)

    assert {"ada": "accepted"} == results(open_destination().push(a_person_sync(removed="clear"), [change]))
    assert [{"Activation_Score__c": None}] == written(standin)


@pytest.mark.parametrize("object_name", ["Contact", "Lead"])
def test_a_removed_row_clears_whatever_is_found(
    object_name: str, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """A removed row clears a Contact or a Lead, and never makes one, also with missing = "create"."""
    put(standin, object_name, Activation_Score__c=5)
    sync = a_person_sync(removed="clear", missing="create", create_as="Lead")
    bob = a_change("bob", {"Email": "bob@example.com"}, "removed", Activation_Score__c=None)

    assert {"ada": "accepted", "bob": "accepted"} == results(
        open_destination().push(sync, [ada("removed", Activation_Score__c=None), bob])
    )
    assert [None] == scores(standin, object_name)
    assert 1 == len(standin.records("Contact")) + len(standin.records("Lead"))


def test_a_live_lead_beats_a_converted_one(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Somebody who came back as a lead is written as that, and not as the Contact of long ago."""
    contact = standin.org.convert(put(standin, "Lead"))
    standin.org.update("Contact", contact, {"Email": "old@example.com"})
    put(standin, "Lead")

    assert {"ada": "accepted"} == results(open_destination().push(a_person_sync(), [ada()]))
    assert ([None], [None, 41.5]) == (scores(standin), scores(standin, "Lead"))


def test_a_converted_lead_whose_contact_is_deleted_is_missing(
    standin: SalesforceStandIn, open_destination: Open
) -> None:
    """A lead whose Contact is gone leads nowhere: missing with "skip", made anew with "create"."""
    standin.org.delete("Contact", standin.org.convert(put(standin, "Lead")))
    destination = open_destination()

    assert {"ada": "rejected missing"} == results(destination.push(a_person_sync(), [ada()]))

    sync = a_person_sync(missing="create", create_as="Contact")

    assert {"ada": "accepted"} == results(destination.push(sync, [ada(LastName="Ada", Activation_Score__c=1.0)]))
    assert [1.0] == scores(standin)


def test_leads_that_became_several_contacts_are_ambiguous(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Two leads of one person that became two Contacts are not guessed at; if they became one, it is that."""
    leads = [put(standin, "Lead") for _ in range(2)]
    contacts = [standin.org.convert(lead) for lead in leads]
    for contact in contacts:
        standin.org.update("Contact", contact, {"Email": None})
    destination = open_destination()
    outcomes = list(destination.push(a_person_sync(), [ada()]))

    assert {"ada": "rejected ambiguous"} == results(outcomes)
    assert ", ".join(contacts) in messages(outcomes)["ada"]

    standin.org.delete("Contact", contacts[0])

    assert {"ada": "accepted"} == results(destination.push(a_person_sync(), [ada()]))


def test_two_rows_that_lead_to_one_contact_are_refused(standin: SalesforceStandIn, open_destination: Open) -> None:
    """One row finds the Contact by its match, another by its lead's: they would overwrite each other."""
    contact = standin.org.convert(put(standin, "Lead"))
    standin.org.update("Contact", contact, {"Email": "lovelace@example.com"})
    changes = [ada(), a_change("lovelace", {"Email": "lovelace@example.com"})]

    assert {"ada": "rejected ambiguous", "lovelace": "rejected ambiguous"} == results(
        open_destination().push(a_person_sync(), changes)
    )
    assert [] == written(standin)


def test_a_lead_converted_under_our_hands_is_followed(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Converted between look-up and write: looked up once more, and written to the Contact with all that it lacks."""
    lead = put(standin, "Lead")
    put(standin, "Contact", "bob")
    standin.meanwhile = lambda: standin.org.convert(lead)
    changes = [ada(held={"Activation_Band__c": "hot"}), a_change("bob", {"Email": "bob@example.com"})]

    assert {"ada": "accepted", "bob": "accepted"} == results(open_destination().push(a_person_sync(), changes))
    assert [(41.5, None), (41.5, "hot")] == held_by(standin, "Contact", "Activation_Score__c", "Activation_Band__c")


def test_a_contact_deleted_under_our_hands_is_looked_up_again(
    standin: SalesforceStandIn, open_destination: Open
) -> None:
    """Deleted between look-up and write: the person's lead is found instead, or nobody."""
    contact = put(standin, "Contact")
    put(standin, "Lead")
    standin.meanwhile = lambda: standin.org.delete("Contact", contact)

    assert {"ada": "accepted"} == results(open_destination().push(a_person_sync(), [ada()]))
    assert [41.5] == scores(standin, "Lead")

    lead = standin.records("Lead")[0]["Id"]
    standin.meanwhile = lambda: standin.org.delete("Lead", lead)

    assert {"ada": "rejected missing"} == results(open_destination().push(a_person_sync(), [ada()]))


def test_looks_up_again_once_only(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A lead that is always refused as converted ends as refused; nothing is asked for ever."""
    put(standin, "Lead")
    fault = {"statusCode": "CANNOT_UPDATE_CONVERTED_LEAD", "message": "cannot reference converted lead", "fields": []}
    standin.trouble(
        "status",
        when=lambda request: "/composite/" in request.path,
        answer=Answer(200, [{"success": False, "errors": [fault]}]),
        times=None,
    )

    assert {"ada": "rejected CANNOT_UPDATE_CONVERTED_LEAD"} == results(
        open_destination().push(a_person_sync(), [ada()])
    )
    assert 2 == len(sent(standin, "PATCH", "/composite/"))


# On the wire


@pytest.mark.parametrize("missing", [{}, {"missing": "create", "create_as": "Contact"}], ids=["skip", "create"])
def test_counts_its_requests(missing: dict[str, Any], standin: SalesforceStandIn, open_destination: Open) -> None:
    """Both look-ups are foretold, and one request writes Contacts and Leads together."""
    changes = []
    for number in range(90):
        put(standin, "Lead" if number % 2 else "Contact", f"p{number}")
        changes.append(a_change(f"p{number}", {"Email": f"p{number}@example.com"}))
    if missing:
        changes.append(a_change("new", {"Email": "new@example.com"}, "new", LastName="New"))
    destination, sync = open_destination(), a_person_sync(**missing)
    before = destination.requests(sync, changes)

    assert {"accepted"} == set(results(destination.push(sync, changes)).values())
    assert before == data_requests(standin)
    assert before == destination.requests(sync, changes)
    assert 3 + bool(missing) == before


def test_a_locator_that_is_gone_leaves_the_person_alone(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Whoever's lead could not be looked up is deferred, although a Contact was found."""
    put(standin, "Contact")
    for number in range(3):
        put(standin, "Lead", f"p{number}")
    standin.page_size, standin.locators_expire = 2, True
    changes = [ada(), *(a_change(f"p{number}", {"Email": f"p{number}@example.com"}) for number in range(3))]

    assert {"deferred INVALID_QUERY_LOCATOR"} == set(
        results(open_destination().push(a_person_sync(), changes)).values()
    )


def test_a_field_that_a_contact_hides_is_named(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Where the Contact cannot be read, what it lacks cannot be known, and the sentence says why."""
    standin.org.convert(put(standin, "Lead"))
    fields = (SCORE, Field(name="Nothing__c", column="nothing"))

    with pytest.raises(DestinationUnusable, match=r"Contact by Id.*a mapped field"):
        list(open_destination().push(a_person_sync(fields=fields), [ada()]))


def test_a_refused_field_is_named_with_its_object(standin: SalesforceStandIn, open_destination: Open) -> None:
    """In a request with Contacts and Leads the sentence names the object whose field is unknown."""
    put(standin, "Contact")
    put(standin, "Lead", "bob")
    del standin.org.objects["Lead"].fields["Activation_Score__c"]

    with pytest.raises(DestinationUnusable, match="Activation_Score__c of Lead"):
        list(open_destination().push(a_person_sync(), [ada(), a_change("bob", {"Email": "bob@example.com"})]))
