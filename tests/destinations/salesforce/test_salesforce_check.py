"""What a check says of objects, fields, values and versions: every problem at once."""

from __future__ import annotations

import datetime
import tomllib
from pathlib import Path
from typing import Any

import pytest

from destinations.salesforce import Salesforce
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import HTML, Answer
from syncer.errors import DestinationUnusable
from syncer.mapping import Field
from tests.destinations.salesforce.rig import (
    BY_EMAIL,
    BY_ID,
    SCORE,
    Open,
    a_sync,
    problems_of,
    sent,
)

# Objects and fields


def test_check_finds_nothing_wrong_with_the_shipped_mapping(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Every sync that ships fits the objects as they are after the described preparation."""
    text = (Path(__file__).parents[3] / "mappings" / "salesforce.toml").read_text(encoding="utf-8")
    shipped = tomllib.loads(text)
    destination = open_destination()
    found = {}
    for one in shipped["sync"]:
        fields = tuple(
            Field(name=name, **({"column": option} if isinstance(option, str) else option))
            for name, option in one["fields"].items()
        )
        sync = a_sync(one["object"], one["match"], fields, missing=one["missing"], removed=one["removed"])
        found[one["name"]] = [*destination.refuse(sync), *destination.check(sync)]

    assert {"contacts": [], "leads": [], "accounts": []} == found


def test_check_asks_and_changes_nothing(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A check is a login and a description."""
    list(open_destination().check(a_sync()))

    assert ["/services/oauth2/token", "/services/data/v66.0/sobjects/Contact/describe"] == [
        exchange.request.path for exchange in standin.log
    ]


def test_check_guesses_an_object(standin: SalesforceStandIn, open_destination: Open) -> None:
    """An object that is not there is told with the one that was meant."""
    found = problems_of(open_destination(), a_sync("Contct"))

    assert ["object"] == list(found)
    assert "Did you mean Contact?" in found["object"]


def test_check_tells_everything_about_fields_at_once(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Unknown, read-only and unfit fields are all found in one check."""
    standin.add_field("Contact", "Address__c", "address")
    sync = a_sync(
        fields=(
            Field(name="Activation_Scor__c", column="score"),
            Field(name="IsEmailBounced", column="bounced", type="boolean"),
            Field(name="Usage_Score__c", column="usage", type="text"),
            Field(name="Milestone_Score__c", column="milestone", digits=4),
            Field(name="Activation_Band__c", column="score", bands=(("cold", 0.0), ("Boiling", 40.0))),
            Field(name="Source__c", value="x" * 81),
            Field(name="Score_Computed_At__c", column="at", type="date"),
            Field(name="Title", column="title", map={"a": "b" * 129}),
            Field(name="Birthdate", column="born", type="date"),
            Field(name="Address__c", column="address"),
            Field(name="Department", value=7),
        )
    )

    found = problems_of(open_destination(), sync)

    assert {
        "fields.Activation_Scor__c": "Did you mean Activation_Score__c?",
        "fields.IsEmailBounced": "read-only",
        "fields.Usage_Score__c": "takes integer or number",
        "fields.Milestone_Score__c": "set digits = 2",
        "fields.Activation_Band__c": "'Boiling'; it has 'cold', 'warm', 'hot'",
        "fields.Source__c": "81 characters",
        "fields.Score_Computed_At__c": "takes timestamp",
        "fields.Title": "129 characters",
        "fields.Address__c": "cannot be written",
        "fields.Department": "takes text",
    }.keys() == found.keys()
    assert "Did you mean Activation_Score__c?" in found["fields.Activation_Scor__c"]
    assert "read-only" in found["fields.IsEmailBounced"]
    assert "takes integer or number" in found["fields.Usage_Score__c"]
    assert "set digits = 2" in found["fields.Milestone_Score__c"]
    assert "'Boiling'; it has 'cold', 'warm', 'hot'" in found["fields.Activation_Band__c"]
    assert "81 characters" in found["fields.Source__c"]
    assert "129 characters" in found["fields.Title"]


HOLDERS = {
    "string": "Text__c",
    "picklist": "Picklist__c",
    "double": "Double__c",
    "currency": "Currency__c",
    "percent": "Percent__c",
    "int": "Int__c",
    "boolean": "Boolean__c",
    "date": "Date__c",
    "datetime": "Datetime__c",
}
"""Type of a field at Salesforce → a field of that type."""


def problem_of(standin: SalesforceStandIn, destination: Salesforce, kind: str, **options: Any) -> str:
    """The sentence on one field of that type, without its place; empty when there is none."""
    name = HOLDERS[kind]
    standin.add_field("Contact", name, kind)
    found = problems_of(destination, a_sync(fields=(Field(name=name, **options),)))

    assert {f"fields.{name}"} >= found.keys()
    return found.get(f"fields.{name}", "")


@pytest.mark.parametrize(
    ("ours", "takers"),
    [
        ("text", {"string", "picklist"}),
        ("integer", {"int", "double", "currency", "percent"}),
        ("number", {"double", "currency", "percent"}),
        ("boolean", {"boolean"}),
        ("date", {"date"}),
        ("timestamp", {"datetime"}),
    ],
)
def test_check_holds_types_of_columns_against_fields(
    ours: Any, takers: set[str], standin: SalesforceStandIn, open_destination: Open
) -> None:
    """A column goes into fields of its own type; for each other type both types and a way out are told."""
    destination = open_destination()
    for kind in HOLDERS:
        standin.add_field("Contact", HOLDERS[kind], kind)
    sync = a_sync(fields=tuple(Field(name=name, column="c", type=ours) for name in HOLDERS.values()))
    found = problems_of(destination, sync)

    assert {f"fields.{name}" for kind, name in HOLDERS.items() if kind not in takers} == found.keys()
    for kind in HOLDERS.keys() - takers:
        sentence = found[f"fields.{HOLDERS[kind]}"]

        assert f"sends {ours}, and {HOLDERS[kind]} ({kind}) takes" in sentence
        assert any(way in sentence for way in ("set `type = ", "set `digits = 0`", "cast the column in SQL"))


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        (
            "datetime",
            {"type": "date"},
            'sends date, and Datetime__c (datetime) takes timestamp; set `type = "timestamp"`',
        ),
        ("date", {"type": "timestamp"}, 'sends timestamp, and Date__c (date) takes date; set `type = "date"`'),
        ("double", {"type": "text"}, 'takes integer or number; set `type = "number"`'),
        ("int", {"type": "text"}, 'takes integer; set `type = "integer"`'),
        ("string", {"type": "number"}, 'takes text; set `type = "text"`'),
        ("string", {"type": "number", "digits": 1}, 'take `digits` out and set `type = "text"`'),
        ("string", {"type": "number", "digits": 1, "min_change": 2.0}, "take `digits` and `min_change` out"),
        ("double", {"type": "boolean"}, "cast the column in SQL"),
        ("boolean", {"type": "number"}, "cast the column in SQL"),
        ("int", {"type": "number"}, "sends number, and Int__c (int) takes integer; set `digits = 0`"),
        ("int", {"type": "number", "digits": 1}, "set `digits = 0`"),
        ("int", {"type": "number", "digits": 0}, ""),
        ("int", {"type": "number", "digits": 0, "default": 2.5}, "write `default` as integer"),
        ("int", {"type": "number", "digits": 0, "default": 2}, ""),
        ("int", {"type": "text", "map": {"a": 1, "b": 2.5}}, "write the replacements in `map`"),
        ("int", {"type": "text", "map": {"a": 1, "b": 2.0}}, ""),
        ("double", {"type": "text", "map": {"a": 1, "b": 2.5}}, ""),
        ("double", {"type": "number", "digits": 4, "map": {"1.5": 2}}, ""),
        ("double", {"type": "text", "map": {"a": "1"}}, "sends text, and Double__c (double) takes integer or number"),
        ("string", {"type": "number", "map": {"1": "one"}}, ""),
        ("boolean", {"type": "text", "map": {"a": True}}, ""),
        ("string", {"type": "number", "bands": (("cold", 0.0),)}, ""),
        ("double", {"type": "number", "bands": (("cold", 0.0),)}, "give the bands a `map` to number"),
        ("double", {"type": "number", "bands": (("cold", 0.0),), "map": {"cold": 1}}, ""),
    ],
)
def test_check_judges_what_is_sent(
    kind: str, options: dict[str, Any], sentence: str, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """Not the column's type counts but that of what leaves, after rounding, bands, map and default."""
    found = problem_of(standin, open_destination(), kind, column="c", **options)

    assert sentence in found
    assert bool(sentence) is bool(found)


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        ("int", 2.5, "write `value` as integer"),
        ("int", 2.0, ""),
        ("double", "2", "write `value` as number"),
        ("boolean", 1, "write `value` as boolean"),
        ("date", datetime.date(2026, 1, 2), ""),
        ("datetime", datetime.date(2026, 1, 2), "write `value` as timestamp"),
        ("date", datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), "write `value` as date"),
    ],
)
def test_check_judges_constants(
    kind: str, value: Any, sentence: str, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """A constant is judged by its own type."""
    found = problem_of(standin, open_destination(), kind, value=value)

    assert sentence in found
    assert bool(sentence) is bool(found)


@pytest.mark.parametrize(
    ("options", "strangers"),
    [
        ({"value": "lukewarm"}, "'lukewarm'"),
        ({"column": "c", "type": "text", "default": "none"}, "'none'"),
        ({"column": "c", "type": "text", "map": {"a": "hot", "b": "tepid"}, "default": "cold"}, "'tepid'"),
        ({"column": "c", "type": "number", "bands": (("icy", 0.0), ("hot", 9.0))}, "'icy'"),
        ({"column": "c", "type": "number", "bands": (("icy", 0.0), ("hot", 9.0)), "map": {"icy": "cold"}}, ""),
        ({"column": "c", "type": "text", "default": ""}, ""),
    ],
)
def test_check_of_restricted_picklists(
    options: dict[str, Any], strangers: str, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """Every text that the mapping names has to be a value of the picklist; an empty one is null."""
    sync = a_sync(fields=(Field(name="Activation_Band__c", **options),))
    found = problems_of(open_destination(), sync)

    assert ({"fields.Activation_Band__c"} if strangers else set()) == found.keys()
    assert all(f"does not have {strangers}; it has" in sentence for sentence in found.values())


def test_check_of_a_picklist_with_several_values(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A text for a field that takes several values names them between semicolons."""
    standin.add_field("Contact", "Topics__c", "multipicklist", restrictedPicklist=True, choices=("api", "cli", "sdk"))
    destination = open_destination()

    def problems(text: str) -> dict[str, str]:
        return problems_of(destination, a_sync(fields=(Field(name="Topics__c", value=text),)))

    assert {} == problems("api;sdk")

    destination = open_destination()

    assert ["fields.Topics__c"] == list(problems("api;gui"))


@pytest.mark.parametrize(
    "options",
    [
        {"value": "x" * 81},
        {"column": "c", "type": "text", "default": "x" * 81},
        {"column": "c", "type": "number", "map": {"1": "x" * 81}},
        {"column": "c", "type": "number", "bands": (("x" * 81, 0.0),)},
    ],
    ids=["value", "default", "map", "bands"],
)
def test_check_of_lengths(options: dict[str, Any], standin: SalesforceStandIn, open_destination: Open) -> None:
    """Every text that the mapping names has to fit into the field; one that just fits is none too long."""
    found = problems_of(open_destination(), a_sync(fields=(Field(name="Source__c", **options),)))

    assert ["fields.Source__c"] == list(found)
    assert "81 characters and Source__c holds 80" in found["fields.Source__c"]
    assert {} == problems_of(open_destination(), a_sync(fields=(Field(name="Source__c", value="x" * 80),)))


def test_check_of_the_match(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A match by a field that is not there, or cannot be searched, is a problem; by Id and by Email it is none."""
    destination = open_destination()

    assert "Did you mean Email?" in problems_of(destination, a_sync(match={"Emial": "email"}))["match"]
    assert "cannot be looked up" in problems_of(destination, a_sync(match={"Description": "d"}))["match"]
    assert "type boolean" in problems_of(destination, a_sync(match={"IsEmailBounced": "d"}))["match"]
    assert {} == problems_of(destination, a_sync(match=BY_ID)) | problems_of(destination, a_sync(match=BY_EMAIL))


def test_check_of_creating(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Records that are to be created need what the object requires, and the right to create."""
    destination = open_destination()

    assert ["fields.LastName", "fields.Company"] == list(problems_of(destination, a_sync("Lead", missing="create")))

    standin.org.objects["Contact"].is_createable = False
    found = problems_of(destination, a_sync(fields=(SCORE, Field(name="LastName", column="n")), missing="create"))

    assert ["object"] == list(found)


def test_check_of_clearing(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A field that may not be empty cannot be cleared."""
    sync = a_sync(fields=(SCORE, Field(name="LastName", column="name", type="text")), removed="clear")

    assert ["fields.LastName"] == list(problems_of(open_destination(), sync))


def test_check_says_that_the_login_fails(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A check with a wrong client id stops with the setting's name."""
    with pytest.raises(DestinationUnusable, match="client_id"):
        list(open_destination(client_id="wrong").check(a_sync()))


# Values of the mapping, and versions


@pytest.mark.parametrize(
    ("kind", "properties", "options", "sentence"),
    [
        ("double", {"precision": 5, "scale": 2}, {"value": 1000}, "1000 has 4 digits before the point"),
        ("double", {"precision": 5, "scale": 2}, {"value": -999.99}, ""),
        ("double", {"precision": 5, "scale": 2}, {"value": 0.5}, ""),
        ("double", {"precision": 5, "scale": 2}, {"value": 1.234}, "keeps, 2"),
        (
            "double",
            {"precision": 5, "scale": 2},
            {"column": "a", "map": {"a": 1, "b": 12345.5}},
            "12345.5 has 5 digits",
        ),
        ("double", {"precision": 5, "scale": 2}, {"column": "a", "type": "number", "default": 1e6}, "7 digits"),
        ("percent", {"precision": 3, "scale": 0}, {"value": 1000}, "holds 3; write a smaller one, or widen the field"),
        ("currency", {"precision": 3, "scale": 0}, {"value": 100}, ""),
        ("int", {"digits": 3}, {"value": 1000}, "1000 has 4 digits"),
        ("int", {"digits": 3}, {"value": 999}, ""),
        ("int", {}, {"value": 10**9}, ""),
        ("string", {"length": 3}, {"value": "1000"}, "4 characters"),
        ("picklist", {"length": 3}, {"column": "a", "bands": (("cold", 0.0), ("hot", 5.0))}, "'cold' has 4 characters"),
        ("string", {"length": 3}, {"column": "a", "map": {"a": "long"}, "default": "longer"}, "6 characters"),
        ("reference", {}, {"value": "Acme"}, "'Acme' is no Id; write one of 15 or 18 characters"),
        ("reference", {}, {"value": "001D000000IRFma"}, ""),
        ("reference", {}, {"column": "a", "type": "text"}, ""),
        ("reference", {}, {"column": "a", "map": {"a": "001D000000IRFmaIAH", "b": "Acme"}}, "'Acme' is no Id"),
        ("reference", {}, {"value": 5}, "takes text"),
        ("picklist", {"restrictedPicklist": True, "choices": ("cold", "hot")}, {"value": "colt"}, "Did you mean cold?"),
        ("picklist", {"restrictedPicklist": False, "choices": ("cold", "hot")}, {"value": "colt"}, ""),
    ],
)
def test_values_of_the_mapping_have_to_fit(
    kind: str,
    properties: dict[str, Any],
    options: dict[str, Any],
    sentence: str,
    standin: SalesforceStandIn,
    open_destination: Open,
) -> None:
    """Digits, characters, Ids and picklist values that the mapping names are held against the field."""
    standin.add_field("Contact", "Field__c", kind, **properties)
    found = problems_of(open_destination(), a_sync(fields=(Field(name="Field__c", **options),)))

    assert {"fields.Field__c"} >= found.keys()
    assert bool(sentence) == bool(found)
    assert sentence in found.get("fields.Field__c", "")


@pytest.mark.parametrize(("version", "status"), [("99.0", 404), ("30.0", 410)], ids=["not known yet", "retired"])
def test_a_version_that_the_instance_does_not_know(version: str, status: int, open_destination: Open) -> None:
    """The sentence names the setting, and the versions that are known."""
    with pytest.raises(DestinationUnusable) as caught:
        list(open_destination(api_version=version).check(a_sync()))

    assert (
        f"Salesforce does not know version {version} of its API at this instance ({status}). "
        "Set `api_version` to one that it knows: 64.0, 65.0, 66.0, 67.0."
    ) == str(caught.value)


@pytest.mark.parametrize("answer", [Answer(200, HTML), Answer(503, HTML), Answer(200, {}), Answer(200, [5])], ids=str)
def test_a_version_without_a_list_of_versions(
    answer: Answer, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """Where the instance does not say what it knows, the setting is named all the same."""
    standin.trouble("status", when=lambda request: request.path == "/services/data/", answer=answer, times=None)

    with pytest.raises(DestinationUnusable, match=r"Set `api_version` to one that it knows\.$"):
        list(open_destination(api_version="99.0").check(a_sync()))


def test_the_list_of_versions_is_asked_for_without_the_token(
    standin: SalesforceStandIn, open_destination: Open
) -> None:
    """What needs no token gets none."""
    with pytest.raises(DestinationUnusable):
        list(open_destination(api_version="99.0").check(a_sync()))

    (request,) = [request for request in sent(standin, "GET", "/services/data/") if request.path == "/services/data/"]

    assert "authorization" not in request.headers
