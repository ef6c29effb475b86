"""What can be said of customer.io without sending: check, what a mapping may say, settings and secrets."""

from __future__ import annotations

import tomllib
import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import mappings
from destinations.customerio import Customerio
from destinations.customerio_parts.settings import CustomerioSettings
from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.server import HTML, Answer
from syncer.errors import DestinationUnusable, ServiceUnavailable
from syncer.mapping import Field, FieldType
from tests.destinations.customerio.world import (
    API_KEY,
    APP_KEY,
    CREATING,
    PEOPLE,
    WORKSPACES,
    Open,
    change_of,
    push,
    sync_of,
)

PRIVATE_ID = "ada-lovelace"
PRIVATE_VALUE = "a-private-value"


# What check finds.


def test_check_of_a_good_configuration(standin: CustomerioStandIn, open_destination: Open) -> None:
    """Right keys and known object types are no problem, with and without an App API key, and nothing is written."""
    assert [] == list(open_destination().check(WORKSPACES))
    assert [] == list(open_destination(app_key=None).check(WORKSPACES))
    assert {"GET"} == {one.request.method for one in standin.log}
    assert 3 == standin.count


def test_check_is_indifferent_to_the_types_of_columns(destination: Customerio) -> None:
    """Attributes take every type, so types that were filled in change nothing."""
    types: tuple[FieldType, ...] = ("text", "integer", "number", "boolean", "date", "timestamp")
    fields = [Field(name=f"attribute_{name}", column="c", type=name) for name in types]
    fields.append(Field(name="band", column="c", type="number", bands=(("cold", 0.0),), map={"cold": "low"}))

    assert [] == list(destination.check(PEOPLE.model_copy(update={"fields": tuple(fields)})))


def test_check_tells_every_problem_at_once(standin: CustomerioStandIn, open_destination: Open) -> None:
    """Two wrong keys are two problems, each with its setting."""
    problems = list(open_destination(api_key=APP_KEY, app_key=API_KEY).check(PEOPLE))

    assert ["destinations.customerio.api_key", "destinations.customerio.app_key"] == [one.place for one in problems]
    assert all("401" in problem.sentence for problem in problems)


def test_check_of_an_object_type(standin: CustomerioStandIn, open_destination: Open) -> None:
    """An object type that customer.io does not have is told with those that it has."""
    destination = open_destination(object_types={"workspace": "7"})

    [problem] = destination.check(WORKSPACES)

    assert "object" == problem.place
    assert "no object type 7; there are: 1 (Workspaces), 2 (Accounts)" in problem.sentence


@pytest.mark.parametrize(
    ("path", "setting", "answer"),
    [
        ("/api/v1/accounts/region", "track_url", Answer(404, HTML)),
        ("/api/v1/accounts/region", "track_url", Answer(200, HTML)),
        ("/api/v1/accounts/region", "track_url", Answer(200, {"region": "mars"})),
        ("/api/v1/accounts/region", "track_url", Answer(200, {"region": ["us"]})),
        ("/v1/object_types", "app_url", Answer(404, HTML)),
        ("/v1/object_types", "app_url", Answer(200, HTML)),
        ("/v1/object_types", "app_url", Answer(200, {"types": "none"})),
    ],
)
def test_check_of_answers_that_customerio_does_not_give(
    standin: CustomerioStandIn, destination: Customerio, path: str, setting: str, answer: Answer
) -> None:
    """An address where something else answers is a problem of the address."""
    standin.trouble("status", answer=answer, when=lambda request: request.path == path)

    [problem] = destination.check(PEOPLE)

    assert f"destinations.customerio.{setting}" == problem.place
    assert f"answered {answer.status}" in problem.sentence


def test_check_lets_an_outage_pass(standin: CustomerioStandIn, destination: Customerio) -> None:
    """An outage is nobody's mistake in a file, so it is raised and no problem."""
    standin.trouble("status", answer=Answer(503, HTML), times=None)

    with pytest.raises(ServiceUnavailable):
        list(destination.check(PEOPLE))


# What a mapping may say.


def test_good_mappings_are_not_refused(destination: Customerio) -> None:
    """People by each identifier, and objects by name, by id and by customer.io's own id."""
    syncs = [
        PEOPLE,
        CREATING,
        sync_of(match={"email": "email"}, missing="create"),
        sync_of(match={"cio_id": "cio_id"}),
        WORKSPACES,
        WORKSPACES.model_copy(update={"object": "object:12"}),
        WORKSPACES.model_copy(
            update={"fields": (Field(name="name", column="name"), Field(name="created_at", column="x"))}
        ),
        sync_of(object="2", match={"cio_object_id": "id"}),
        sync_of(fields=["é" * 75]),
    ]

    assert [] == [problem for sync in syncs for problem in destination.refuse(sync)]


@pytest.mark.parametrize(
    ("changed", "place", "sentence"),
    [
        ({"object": "Person"}, "object", "did you mean `person`?"),
        ({"object": "workspaces"}, "object", "did you mean `workspace`?"),
        ({"object": "0"}, "object", "Possible are `person`, `workspace`, `account`"),
        ({"match": {}}, "match", "exactly one identifier"),
        ({"match": {"id": "user_id", "email": "email"}}, "match", "exactly one identifier"),
        ({"match": {"e-mail": "email"}}, "match.e-mail", "did you mean `email`?"),
        ({"match": {"object_id": "id"}}, "match.object_id", "cannot find a person by 'object_id'"),
        ({"match": {"phone": "phone"}}, "match.phone", "Use one of `id`, `email`, `cio_id`"),
        ({"match": {"cio_id": "c"}, "missing": "create"}, "missing", 'write missing = "skip"'),
        ({"object": "account", "missing": "create"}, "match.id", "cannot find an object by 'id'"),
        ({"object": "account", "match": {"object_id": "id"}}, "missing", '"create"'),
        (
            {"object": "account", "match": {"cio_object_id": "id"}, "missing": "create"},
            "missing",
            'write missing = "skip"',
        ),
        ({"fields": ["email"]}, "fields.email", "meaning of its own"),
        ({"fields": ["unsubscribed"]}, "fields.unsubscribed", "meaning of its own"),
        ({"fields": ["_update"]}, "fields._update", "begin with _"),
        ({"fields": ["é" * 75 + "x"]}, "fields." + "é" * 75 + "x", "at most 150 bytes"),
        ({"fields": [f"field_{n}" for n in range(301)]}, "fields", "takes 300 attributes"),
        (
            {"object": "1", "match": {"object_id": "id"}, "missing": "create", "fields": ["object_id"]},
            "fields.object_id",
            "meaning of its own",
        ),
    ],
)
def test_mappings_that_are_refused(destination: Customerio, changed: dict[str, Any], place: str, sentence: str) -> None:
    """What customer.io cannot do is refused at its place, with what is possible."""
    [problem] = destination.refuse(sync_of(**changed))

    assert place == problem.place
    assert sentence in problem.sentence


def test_every_problem_of_a_mapping_at_once(destination: Customerio) -> None:
    """A mapping with three mistakes gets three sentences."""
    problems = destination.refuse(sync_of(match={"mail": "m"}, fields=["id", "plan", "_x"]))

    assert ["match.mail", "fields.id", "fields._x"] == [problem.place for problem in problems]


def test_the_shipped_mapping(destination: Customerio) -> None:
    """The three syncs that ship are ones that customer.io can do."""
    shipped = tomllib.loads((Path(mappings.__path__[0]) / "customerio.toml").read_text())
    syncs = [
        sync_of(
            **{name: one[name] for name in ("object", "match", "missing", "removed")},
            fields=one["fields"],
        )
        for one in shipped["sync"]
    ]

    assert "customerio" == shipped["destination"]
    assert ["people", "workspaces", "accounts"] == [one["name"] for one in shipped["sync"]]
    assert [] == [problem for sync in syncs for problem in destination.refuse(sync)]


# Settings and secrets.


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"track_url": "http://track.example.com"}, "allowed for loopback hosts only"),
        ({"app_url": "http://10.0.0.1"}, "allowed for loopback hosts only"),
        ({"track_url": "track.customer.io"}, "whole address"),
        ({"track_url": "ftp://localhost"}, "whole address"),
        ({"track_url": "https://me:secret@example.com"}, "keys belong in"),
        ({"track_url": "https://example.com/?key=1"}, "keys belong in"),
        ({"region": "asia"}, "'us' or 'eu'"),
        ({"site_id": ""}, "at least 1 character"),
        ({"object_types": {"person": "1"}}, "people are not objects"),
        ({"object_types": {"workspace": "one"}}, 'as "1"'),
        ({"api_token": "x"}, "Extra inputs"),
    ],
)
def test_settings_that_are_refused(changed: dict[str, Any], sentence: str) -> None:
    """A wrong setting is a sentence before anything is asked."""
    with pytest.raises(ValidationError, match=sentence):
        CustomerioSettings.model_validate({"site_id": "s", "api_key": "k"} | changed)


@pytest.mark.parametrize(
    ("region", "track", "app"),
    [
        ("us", "https://track.customer.io", "https://api.customer.io"),
        ("eu", "https://track-eu.customer.io", "https://api-eu.customer.io"),
    ],
)
def test_the_hosts_of_the_regions(region: Any, track: str, app: str) -> None:
    """Without an address of one's own the region's hosts are used."""
    settings = CustomerioSettings.model_validate({"site_id": "s", "api_key": "k", "region": region})

    assert (track, app) == (settings.track, settings.app)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(400, HTML),
        Answer(401, {}),
        Answer(403, {}),
        Answer(404, HTML),
        Answer(301, {}, {"Location": "https://elsewhere.example.com/"}),
        Answer(429, {}),
        Answer(503, HTML),
        None,
    ],
)
def test_no_exception_shows_a_secret_or_a_value(
    standin: CustomerioStandIn, destination: Customerio, answer: Answer | None
) -> None:
    """Neither keys nor people's data are in any exception, nor in what it came from."""
    standin.trouble("status" if answer else "close", answer=answer or Answer(200), times=None)

    with pytest.raises((DestinationUnusable, ServiceUnavailable)) as caught:
        push(destination, CREATING, change_of(PRIVATE_ID, plan=PRIVATE_VALUE))

    assert_nothing_private(caught.value)


def test_a_value_that_no_json_can_hold_is_in_no_exception(standin: CustomerioStandIn, destination: Customerio) -> None:
    """What cannot be encoded is an error whose text quotes nothing, and nothing is sent."""
    with pytest.raises(TypeError, match="64-bit") as caught:
        push(destination, CREATING, change_of(PRIVATE_ID, plan=PRIVATE_VALUE, activation_score=2**70))

    assert_nothing_private(caught.value)
    assert 0 == standin.count


def assert_nothing_private(error: BaseException) -> None:
    text = "".join(traceback.format_exception(error)) + repr(error)
    seen: list[BaseException] = [error]
    while (next_one := seen[-1].__cause__ or seen[-1].__context__) is not None:
        seen.append(next_one)
        text += str(next_one) + repr(next_one)

    assert [] == [one for one in (API_KEY, APP_KEY, PRIVATE_ID, PRIVATE_VALUE) if one in text]


def test_settings_do_not_show_their_secrets(destination: Customerio) -> None:
    """Settings may end up in a log by accident, and their keys do not."""
    text = f"{destination.settings!r} {destination.settings}"

    assert API_KEY not in text
    assert APP_KEY not in text
