"""What a check says of fields, values and versions, beside the checks of types in `test_salesforce.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import HTML, Answer
from syncer.errors import DestinationUnusable
from syncer.mapping import Field
from tests.destinations.salesforce_rig import Open, a_standin, a_sync, openings, problems_of, sent


@pytest.fixture
def standin() -> Iterator[SalesforceStandIn]:
    yield from a_standin()


@pytest.fixture
def open_destination(standin: SalesforceStandIn) -> Iterator[Open]:
    yield from openings(standin)


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
