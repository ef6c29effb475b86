"""What is asked before the first run: credentials, region, and whether the object type exists."""

from __future__ import annotations

from collections.abc import Iterator

from destinations.customerio_parts.account import Account
from destinations.customerio_parts.app import AppClient
from destinations.customerio_parts.client import TrackClient
from destinations.customerio_parts.settings import PERSON
from syncer.errors import DestinationUnusable, Problem, Redirected
from syncer.mapping import Sync
from syncer.transport import Transport


def check(sync: Sync, account: Account, transport: Transport) -> Iterator[Problem]:
    """Track credentials and region; with an `app_key` also that key, and that the object type exists."""
    try:
        yield from _check_track(account, transport)
    except Redirected as redirected:
        yield account.problem("region", account.redirected(redirected))
    except DestinationUnusable as unusable:
        yield account.problem("track_url", str(unusable))
    if account.settings.app_key is not None:
        try:
            yield from _check_app(sync, account, transport, account.settings.app_key.get_secret_value())
        except DestinationUnusable as unusable:
            yield account.problem("app_url", str(unusable))


def _check_track(account: Account, transport: Transport) -> Iterator[Problem]:
    answer = TrackClient(account.settings, transport).region()
    if answer.status in (401, 403):
        yield account.problem("api_key", account.refused_credentials(answer.status))
    elif answer.region is None:
        yield account.problem(
            "track_url",
            f"{account.settings.track} answered {answer.status} ({answer.content_type}) when asked for the account's "
            "region, and not as the Track API does. Check `track_url`, and whether a proxy is in between.",
        )
    elif answer.region != account.settings.region:
        yield account.problem("region", account.lives_in(answer.region))


def _check_app(sync: Sync, account: Account, transport: Transport, app_key: str) -> Iterator[Problem]:
    answer = AppClient(account, transport, app_key).get("object_types")
    types = answer.body.get("types") if isinstance(answer.body, dict) else None
    if answer.status in (401, 403):
        yield account.problem("app_key", account.refused_app_key(answer.status))
    elif answer.status != 200 or not isinstance(types, list):
        yield account.problem(
            "app_url",
            f"{account.settings.app} answered {answer.status} ({answer.content_type}) when asked for the object "
            "types, and not as the App API does. Check `app_url`, and whether a proxy is in between.",
        )
    else:
        known = {str(entry.get("id")): str(entry.get("name")) for entry in types if isinstance(entry, dict)}
        there = ", ".join(f"{known_id} ({name})" for known_id, name in sorted(known.items())) or "none"
        for place, type_id in _object_types(sync, account):
            if type_id not in known:
                yield Problem(
                    place,
                    f"customer.io has no object type {type_id}; there are: {there}. Make it in the interface "
                    "(Settings, Custom Objects) or correct `object_types`.",
                )


def _object_types(sync: Sync, account: Account) -> Iterator[tuple[str, str | None]]:
    """Places in the mapping that name an object type, with its id."""
    if sync.object != PERSON:
        yield "object", account.settings.object_type_id(sync.object)
    else:
        for name in sync.relate:
            yield f"relate.{name}", account.settings.object_type_id(name)
