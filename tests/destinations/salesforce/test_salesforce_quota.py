"""The org's daily requests: a share of them is left to others, whatever we would still like to send."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from destinations.salesforce_parts.settings import SalesforceSettings
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import HTML, Answer
from syncer.destination import Allowance
from syncer.errors import DestinationUnusable, QuotaUsedUp
from tests.destinations.salesforce.rig import (
    Open,
    a_sync,
    data_requests,
    for_user,
    problems_of,
    put_contacts,
    results,
    scores,
)


@pytest.mark.parametrize(
    ("used", "reserve", "requests"),
    [(780, 0.2, 2), (798, 0.2, 1), (799, 0.2, 0), (900, 0.2, 0), (900, 0.0, 2), (10, 0.99, 0), (5, 0.99, 2)],
)
def test_the_reserve_is_left_to_others(
    used: int, reserve: float, requests: int, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """No look-up and no write begins once the use has reached what is allowed without the reserve."""
    put_contacts(standin, 1)
    standin.requests_used, standin.requests_allowed = used, 1000
    pushing = open_destination(quota_reserve=reserve).push(a_sync(), [for_user(0)])
    if requests == 2:
        assert {"u_0": "accepted"} == results(pushing)
    else:
        with pytest.raises(DestinationUnusable):
            list(pushing)

    assert requests == data_requests(standin)
    assert ([41.5] if requests == 2 else [None]) == scores(standin)


def test_the_sentence_says_what_to_do(standin: SalesforceStandIn, open_destination: Open) -> None:
    """The numbers, the reserve, and the three ways out."""
    put_contacts(standin, 1)
    standin.requests_used, standin.requests_allowed = 4000, 5000

    with pytest.raises(DestinationUnusable) as caught:
        list(open_destination().push(a_sync(), [for_user(0)]))

    assert (
        "Salesforce: 4,001 of 5,000 requests of the last 24 hours are used, and `quota_reserve` leaves 20% of them to "
        "others. Wait until some are free again, lower `quota_reserve`, or send less at a time with `--max`."
    ) == str(caught.value)


def test_what_is_left_is_known_without_asking(standin: SalesforceStandIn, open_destination: Open) -> None:
    """After a push the quota is what the newest answer said of it, and before the first one nobody knows."""
    put_contacts(standin, 1)
    standin.requests_used, standin.requests_allowed = 100, 1000
    destination = open_destination()
    before = destination.quota()
    list(destination.push(a_sync(), [for_user(0)]))
    asked = standin.count

    assert before is None
    assert Allowance(standin.requests_used, 1000, 0.2) == destination.quota()
    assert asked == standin.count


def test_a_quota_that_is_used_up_is_an_error_of_its_own(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Whoever is told of it need not read its sentence."""
    put_contacts(standin, 1)
    standin.requests_used, standin.requests_allowed = 1000, 1000

    with pytest.raises(QuotaUsedUp):
        list(open_destination().push(a_sync(), [for_user(0)]))


def test_a_refusal_tells_the_use_too(standin: SalesforceStandIn, open_destination: Open) -> None:
    """What somebody else used since is learned from an error as well as from a good answer."""
    put_contacts(standin, 1)
    destination = open_destination()

    assert {"u_0": "accepted"} == results(destination.push(a_sync(), [for_user(0)]))

    fault = Answer(409, [{"errorCode": "CONFLICT", "message": "x"}], {"Sforce-Limit-Info": "api-usage=90/100"})
    standin.trouble("status", when=lambda request: "/composite/" in request.path, answer=fault)

    assert {"u_0": "deferred CONFLICT"} == results(destination.push(a_sync(), [for_user(0)]))
    with pytest.raises(DestinationUnusable, match="90 of 100"):
        list(destination.push(a_sync(), [for_user(0)]))


@pytest.mark.parametrize(
    "header",
    [
        "api-usage={used}/{allowed}; per-app-api-usage=17/250(appName=x)",
        "per-app-api-usage=17/20(appName=x);api-usage={used}/{allowed}",
        "per-app-api-usage=19/20;api-usage={used}/{allowed}",
    ],
)
def test_other_parts_of_the_header_do_not_matter(
    header: str, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """The org's own use is read out of a header that says more, and an app's own use is not taken for it."""
    put_contacts(standin, 1)
    standin.limit_info = header

    assert {"u_0": "accepted"} == results(open_destination().push(a_sync(), [for_user(0)]))

    standin.requests_used, standin.requests_allowed = 900, 1000
    with pytest.raises(DestinationUnusable, match="901 of 1,000"):
        list(open_destination().push(a_sync(), [for_user(0)]))


@pytest.mark.parametrize(
    "header",
    [None, "", "api-usage", "api-usage=99", "api-usage=99/x", "api-usage=-1/-1", "api-usage=99/100x", "usage=99/100"],
)
def test_a_header_that_makes_no_sense_is_ignored(
    header: str | None, standin: SalesforceStandIn, open_destination: Open
) -> None:
    """Without a use that can be read nothing is held back."""
    put_contacts(standin, 1)
    standin.limit_info = header

    assert {"u_0": "accepted"} == results(open_destination().push(a_sync(), [for_user(0)]))


def test_a_page_of_html_does_not_matter(standin: SalesforceStandIn, open_destination: Open) -> None:
    """A page without the header changes nothing of what is known."""
    put_contacts(standin, 1)
    standin.requests_used, standin.requests_allowed = 798, 1000
    standin.trouble("status", when=lambda request: "/query" in request.path, answer=Answer(503, HTML))

    with pytest.raises(DestinationUnusable, match="800 of 1,000"):
        list(open_destination().push(a_sync(), [for_user(0)]))


def test_a_check_is_not_held_back(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Somebody who looks for what is wrong is answered near the limit too."""
    standin.requests_used, standin.requests_allowed = 950, 1000
    destination = open_destination()

    assert {} == problems_of(destination, a_sync("Contact"))
    assert {} == problems_of(destination, a_sync("Lead", {"Email": "email"}))


def test_the_allowance_costs_nothing(standin: SalesforceStandIn, open_destination: Open) -> None:
    """What was used is told beside the description that a push needs too, and the reserve is left alone."""
    standin.requests_used, standin.requests_allowed = 699, 1000
    put_contacts(standin, 1)
    one = open_destination()
    allowance = one.allowance(a_sync())
    asked = standin.count

    assert Allowance(700, 1000, 0.2) == allowance
    assert 100 == allowance.left
    assert {"u_0": "accepted"} == results(one.push(a_sync(), [for_user(0)]))
    assert (2, 2) == (asked, standin.count - asked)


def test_the_allowance_of_an_org_that_does_not_say(standin: SalesforceStandIn, open_destination: Open) -> None:
    """Where no answer tells the use, nothing is held back."""
    described = standin.org.objects["Contact"].describe()
    standin.trouble("status", when=lambda request: "/describe" in request.path, answer=Answer(200, described))

    assert open_destination().allowance(a_sync()) is None


@pytest.mark.parametrize("reserve", [-0.1, 1.0])
def test_the_reserve_is_a_share(reserve: float) -> None:
    """A reserve below nothing, or of everything, is refused."""
    with pytest.raises(ValidationError, match="quota_reserve"):
        SalesforceSettings.model_validate(
            {
                "login_url": "https://acme.my.salesforce.com",
                "client_id": "id",
                "client_secret": "secret",
                "quota_reserve": reserve,
            }
        )
