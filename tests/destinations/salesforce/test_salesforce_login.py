"""Tokens at Salesforce: asked for, renewed once, sent to one address only, and never shown."""

from __future__ import annotations

import threading
import tomllib
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from destinations.salesforce import Salesforce
from destinations.salesforce_parts.settings import SalesforceSettings
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import HTML, Answer, Server
from syncer.errors import DestinationUnusable, ServiceUnavailable
from syncer.transport import Gate, Transport
from tests.destinations.salesforce.rig import (
    BY_EMAIL,
    BY_ID,
    SECRET,
    Open,
    a_change,
    a_sync,
    for_user,
    put_contacts,
    results,
    scores,
    sent,
    writes,
)

# Tokens


def test_an_expired_token_is_renewed_once(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A token that ends in the middle of a run is renewed, and the request repeated with all its headers."""
    put_contacts(standin, 1)
    destination = open_destination(duplicate_rule_header="allowSave=true")
    list(destination.push(a_sync(), [for_user(0)]))
    standin.tokens.revoke()

    assert {"u_0": "accepted"} == results(
        destination.push(a_sync(match=BY_ID), [a_change("u_0", {"Id": standin.records("Contact")[0]["Id"]})])
    )

    refused, repeated = sent(standin, "PATCH", "/composite/")[1:]
    drop = {"authorization"}

    assert 2 == standin.tokens.logins
    assert {name: text for name, text in refused.headers.items() if name not in drop} == {
        name: text for name, text in repeated.headers.items() if name not in drop
    }
    assert refused.body == repeated.body


def test_tokens_that_last_two_requests_are_enough(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Renewal works again and again, as long as each token is good at all."""
    put_contacts(standin, 1)
    standin.tokens.requests_per_token = 2
    destination = open_destination()
    outcomes = [results(destination.push(a_sync(), [for_user(0)])) for _ in range(4)]

    assert [{"u_0": "accepted"}] * 4 == outcomes


def test_an_expired_token_at_a_create_creates_once(standin: SalesforceStandIn, open_destination: Open) -> None:
    """401 says that nothing was applied, so a create is repeated after it, and its own marker with it."""
    sync = a_sync(match=BY_EMAIL, missing="create")
    expired = Answer(401, [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}])
    standin.trouble("status", when=writes, answer=expired)
    standin.trouble("lost", when=writes)
    (outcome,) = open_destination().push(sync, [a_change("a", {"Email": "new@example.com"}, "new", LastName="New")])

    assert ("deferred", True) == (outcome.result, outcome.doubt)
    assert 1 == len(standin.records("Contact"))


def test_endless_401_ends(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A new token that is refused as well ends it: two logins, also over several threads and batches."""
    standin.tokens.requests_per_token = 0
    destination = open_destination()

    def push(_: int) -> str:
        with pytest.raises(DestinationUnusable) as caught:
            list(destination.push(a_sync(), [for_user(0)]))
        return str(caught.value)

    with ThreadPoolExecutor(4) as threads:
        sentences = set(threads.map(push, range(12)))

    assert 1 == len(sentences)
    assert standin.tokens.logins <= 5

    logins = standin.tokens.logins
    push(0)

    assert logins == standin.tokens.logins


@pytest.mark.parametrize("content", [HTML, {"error": "x"}, [], "", [42]])
def test_401_in_any_form_is_401(content: Any, standin: SalesforceStandIn, open_destination: Open) -> None:
    """401 renews the token whatever its body looks like."""
    put_contacts(standin, 1)
    standin.trouble("status", when=lambda request: "/query" in request.path, answer=Answer(401, content))

    assert {"u_0": "accepted"} == results(open_destination().push(a_sync(), [for_user(0)]))
    assert 2 == standin.tokens.logins


def test_threads_share_one_token(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Several batches at once log in once, and renew once."""
    put_contacts(standin, 8)
    destination = open_destination()

    def push(number: int) -> dict[str, str]:
        return results(destination.push(a_sync(), [for_user(number)]))

    with ThreadPoolExecutor(4) as threads:
        assert {"accepted"} == {result for one in threads.map(push, range(8)) for result in one.values()}
        assert 1 == standin.tokens.logins

        standin.tokens.revoke()

        assert {"accepted"} == {result for one in threads.map(push, range(8)) for result in one.values()}
        assert 2 == standin.tokens.logins

    assert 1 == len(sent(standin, "GET", "/describe"))


@pytest.mark.parametrize(
    ("status", "error", "sentence"),
    [
        (400, {"error": "invalid_grant", "error_description": SECRET}, r"\(400, invalid_grant\)"),
        (401, {"error": "invalid_client"}, "client_secret"),
        (403, HTML, "no reason given"),
        (200, HTML, "not a token"),
        (200, {"access_token": SECRET, "instance_url": "http://evil.example"}, "no https address"),
        (200, {"access_token": SECRET, "instance_url": f"https://{SECRET}@evil.example"}, "no https address"),
    ],
)
def test_a_refused_login_is_a_sentence_without_secrets(
    status: int, error: Any, sentence: str, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """A login that cannot work stops the destination at once, says why, and is not tried again."""
    standin.trouble("status", times=None, answer=Answer(status, error))
    destination = open_destination()
    for _ in range(2):
        with pytest.raises(DestinationUnusable, match=sentence) as caught:
            list(destination.push(a_sync(), [for_user(0)]))

        assert SECRET not in "".join(traceback.format_exception(caught.value))

    assert 1 == standin.count


def test_wrong_secret(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A wrong secret says which setting to look at."""
    with pytest.raises(DestinationUnusable, match="client_secret"):
        list(open_destination(client_secret="wrong").push(a_sync(), [for_user(0)]))


@pytest.mark.parametrize("login", ["refresh_token", "password"])
def test_other_logins(login: str, standin: SalesforceStandIn, open_destination: Open) -> None:
    """A refresh token, and user name and password with the security token, log in as well."""
    door = standin.tokens
    settings = {
        "refresh_token": {"refresh_token": door.refresh_token},
        "password": {
            "username": door.username,
            "password": door.password,
            "security_token": door.security_token,
        },
    }

    assert [] == list(open_destination(login=login, **settings[login]).check(a_sync()))


def test_jwt_login(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A signed assertion logs in without any secret of the app; a key that is none is a sentence."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    standin.tokens.public_key = public.decode()

    assert [] == list(
        open_destination(login="jwt", username=standin.tokens.username, private_key=private).check(a_sync())
    )
    with pytest.raises(DestinationUnusable, match="private_key") as caught:
        list(open_destination(login="jwt", username="x", private_key=SECRET).check(a_sync()))

    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_the_token_goes_to_the_instance_that_it_names(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Data requests go to `instance_url`, also when a new token names another one; the old one hears no more."""
    other = SalesforceStandIn()
    other.org, other.tokens = standin.org, standin.tokens
    put_contacts(standin, 1)
    destination = open_destination()
    with Server({"/na2": other}):
        list(destination.push(a_sync(), [for_user(0, Activation_Score__c=1.0)]))
        standin.tokens.revoke()
        standin.instance_url = other.url

        before = standin.count
        list(destination.push(a_sync(), [for_user(0, Activation_Score__c=2.0)]))

    assert [2.0] == scores(standin)
    assert 2 == standin.count - before
    assert 2 == other.count


def test_a_redirect_does_not_take_the_token_along(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A redirect to another host stops the destination, and that host hears nothing."""
    put_contacts(standin, 1)
    evil = SalesforceStandIn()
    with Server({"": evil}):
        answer = Answer(307, None, {"Location": f"{evil.url}/services/data/v66.0/query"})
        for part in ("/query", "/composite/"):
            standin.trouble("status", when=lambda request, part=part: part in request.path, answer=answer)
            with pytest.raises(DestinationUnusable, match="redirect"):
                list(open_destination().push(a_sync(), [for_user(0)]))

    assert 0 == evil.count


def test_a_next_page_elsewhere_does_not_take_the_token_along(
    standin: SalesforceStandIn, open_destination: Open
) -> None:
    """Of the address of a next page only the locator is believed."""
    evil = SalesforceStandIn()
    with Server({"": evil}):
        page = {"totalSize": 2, "done": False, "records": [], "nextRecordsUrl": f"{evil.url}/x/query/01g"}
        standin.trouble("status", when=lambda request: "/query" in request.path, answer=Answer(200, page))

        assert {"u_0": "deferred INVALID_QUERY_LOCATOR"} == results(open_destination().push(a_sync(), [for_user(0)]))

    assert 0 == evil.count


def test_no_secret_and_no_value_in_any_exception(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Whatever fails, the whole traceback shows neither token nor secret nor value."""
    private = "private@example.com"
    put_contacts(standin, 1)
    sync, change = a_sync(match=BY_EMAIL), a_change("a", {"Email": private}, Source__c=private)
    texts = []
    for part in ("/oauth2/", "/describe", "/query"):
        for status in (400, 403, 404, 500):
            echo = [{"errorCode": private, "message": f"{private} {SECRET}"}]
            made = standin.trouble(
                "status", when=lambda request, part=part: part in request.path, times=None, answer=Answer(status, echo)
            )
            with pytest.raises((DestinationUnusable, ServiceUnavailable)) as caught:
                list(open_destination(attempts=1).push(sync, [change]))
            texts.append("".join(traceback.format_exception(caught.value)))
            made.times = 0

    assert 12 == len(texts)
    assert not any(secret in text for text in texts for secret in (SECRET, private, "00D000000000001"))


# Under a prefix


def test_works_below_a_path_prefix() -> None:
    """Login and instance may both lie below a path, as in the sandbox."""
    standin = SalesforceStandIn()
    with Server({"/salesforce": standin}) as server:
        settings = SalesforceSettings.model_validate(tomllib.loads(standin.settings()))
        transport = Transport(Gate(Salesforce.pace(settings)), title="Salesforce", stop=threading.Event())
        put_contacts(standin, 30)
        standin.page_size = 10
        destination = Salesforce("salesforce", settings, transport)

        outcomes = results(destination.push(a_sync(), [for_user(number) for number in range(30)]))
        transport.close()

    assert f"{server.url}/salesforce" == settings.login_url
    assert {"accepted"} == set(outcomes.values())
