"""customer.io's two regions: which one is to be set, told from refusals and redirects, which are never followed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from destinations.customerio import Customerio
from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.server import HTML, Answer, Request, Server
from syncer.change import Wanted
from syncer.errors import DestinationUnusable
from tests.destinations.customerio.world import (
    API_KEY,
    APP_KEY,
    CREATING,
    PEOPLE,
    Open,
    change_of,
    push,
)

LOOK_UP = "/api/v1/accounts/region"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_writes_follow_no_redirect(standin: CustomerioStandIn, destination: Customerio, status: int) -> None:
    """An EU account on the US host is told so in words, and nothing is written anywhere."""
    standin.region, standin.redirect_status = "eu", status

    with pytest.raises(DestinationUnusable, match=r'lives in the EU region; set region = "eu"'):
        push(destination, CREATING, change_of("u_1", plan="pro"))

    assert 1 == standin.count
    assert {} == standin.people


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_to_somewhere_else(standin: CustomerioStandIn, destination: Customerio, status: int) -> None:
    """A redirect that is not customer.io's own is named and not followed, when nobody knows the region."""
    standin.region_look_up_redirects = True
    other = CustomerioStandIn(api_key=API_KEY, app_key=APP_KEY)
    with Server({"": other}):
        standin.region, standin.redirect_status, standin.redirect_to = "eu", status, other.url

        with pytest.raises(DestinationUnusable, match="redirects are not followed"):
            push(destination, CREATING, change_of("u_1", plan="pro"))

    assert 0 == other.count


@pytest.mark.parametrize(
    ("lives_in", "configured", "sentences"),
    [
        ("us", "us", []),
        ("eu", "eu", []),
        ("eu", "us", ['lives in the EU region; set region = "eu" in [destinations.customerio].']),
        ("us", "eu", ['lives in the US region; set region = "us" in [destinations.customerio].']),
    ],
)
def test_check_compares_the_region(
    standin: CustomerioStandIn, open_destination: Open, lives_in: Any, configured: Any, sentences: list[str]
) -> None:
    """The account's region is asked for, and a wrong setting is told with the right one."""
    standin.region, standin.host_region = lives_in, configured

    problems = list(open_destination(region=configured).check(PEOPLE))

    assert [f"destinations.customerio.region: This customer.io account {one}" for one in sentences] == [
        str(problem) for problem in problems
    ]


def test_check_understands_a_redirect(standin: CustomerioStandIn, destination: Customerio) -> None:
    """When even the question for the region is redirected to the other region, that is the answer."""
    standin.region, standin.region_look_up_redirects = "eu", True

    [problem] = destination.check(PEOPLE)

    assert 'set region = "eu"' in problem.sentence


def test_check_names_a_redirect_that_it_does_not_understand(
    standin: CustomerioStandIn, destination: Customerio
) -> None:
    """Any other redirect is told with its target's host."""
    standin.region, standin.region_look_up_redirects, standin.redirect_to = "eu", True, "https://login.example.com"

    [problem] = destination.check(PEOPLE)

    assert "a redirect to login.example.com" in problem.sentence


# Writes and readings of an account that lives elsewhere.


def look_ups(standin: CustomerioStandIn) -> int:
    return sum(one.request.path == LOOK_UP for one in standin.log)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_that_says_nothing(standin: CustomerioStandIn, destination: Customerio, status: int) -> None:
    """A redirect to another port is explained by the account's region, and gets neither a body nor credentials."""
    other = CustomerioStandIn(api_key=API_KEY, app_key=APP_KEY)
    with Server({"": other}):
        standin.region, standin.redirect_status, standin.redirect_to = "eu", status, other.url

        with pytest.raises(DestinationUnusable, match=r'lives in the EU region; set region = "eu"'):
            push(destination, CREATING, change_of("u_1", plan="pro"))

    assert 0 == other.count
    assert ["/api/v2/batch", LOOK_UP] == [one.request.path for one in standin.log]


def test_a_us_account_in_the_eu(standin: CustomerioStandIn, open_destination: Open) -> None:
    """A US account is refused on the EU host as if its key were wrong; the look-up tells the two apart."""
    standin.host_region = "eu"

    with pytest.raises(DestinationUnusable, match=r'lives in the US region; set region = "us"'):
        push(open_destination(region="eu"), CREATING, change_of("u_1", plan="pro"))

    assert {} == standin.people


def test_wrong_keys_are_not_taken_for_a_wrong_region(standin: CustomerioStandIn, open_destination: Open) -> None:
    """A key that the look-up refuses as well is a wrong key, and so is one of an account that lives here."""
    with pytest.raises(DestinationUnusable, match="refused the Track API credentials"):
        push(open_destination(api_key=APP_KEY), CREATING, change_of("u_1", plan="pro"))
    standin.trouble("status", answer=Answer(401, {}), when=lambda request: request.path == "/api/v2/batch")
    with pytest.raises(DestinationUnusable, match="refused the Track API credentials"):
        push(open_destination(), CREATING, change_of("u_1", plan="pro"))

    assert 2 == look_ups(standin)


@pytest.mark.parametrize("answer", [Answer(200, HTML), Answer(200, {"region": "mars"}), Answer(503, HTML)])
def test_a_look_up_that_fails(standin: CustomerioStandIn, destination: Customerio, answer: Answer) -> None:
    """When the region cannot be had, the refusal is told as it was."""
    standin.trouble("status", answer=Answer(401, {}), when=lambda request: request.path == "/api/v2/batch")
    standin.trouble("status", answer=answer, times=None, when=lambda request: request.path == LOOK_UP)

    with pytest.raises(DestinationUnusable, match="refused the Track API credentials"):
        push(destination, CREATING, change_of("u_1", plan="pro"))


def test_the_region_is_asked_once(standin: CustomerioStandIn, open_destination: Open) -> None:
    """All batches in flight are refused alike, and one of them asks for all."""
    standin.host_region = "eu"
    destination = open_destination(region="eu")

    def attempt(number: int) -> str:
        with pytest.raises(DestinationUnusable) as caught:
            push(destination, CREATING, change_of(f"u_{number}", plan="pro"))
        return str(caught.value)

    with ThreadPoolExecutor(4) as pool:
        [sentence] = set(pool.map(attempt, range(4)))

    assert 'set region = "us"' in sentence
    assert 1 == look_ups(standin)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401])
def test_readings_of_an_account_that_lives_elsewhere(
    standin: CustomerioStandIn, destination: Customerio, status: int
) -> None:
    """A reading that is refused or redirected is explained by the region as well."""
    standin.region = "eu"

    def is_reading(request: Request) -> bool:
        return request.path.startswith("/v1/")

    elsewhere = {"Location": "https://api-eu.customer.io/v1/customers/attributes"}
    standin.trouble("status", when=is_reading, answer=Answer(status, {}, elsewhere if status < 400 else {}))

    with pytest.raises(DestinationUnusable, match=r'lives in the EU region; set region = "eu"'):
        list(destination.read(PEOPLE, [Wanted("u_1", {"id": "u_1"})]))
