"""The webhook adapter against a strict receiver, and against the one that its documentation shows."""

from __future__ import annotations

import datetime
import hashlib
import http.client
import json
import re
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import destinations
from destinations.standins.server import HTML, Answer, Server
from destinations.webhook import Webhook, WebhookSettings
from syncer import config
from syncer.change import Change, Kind, Outcome, Value
from syncer.destination import Pace
from syncer.errors import DestinationUnusable, UserError
from syncer.mapping import Brakes, Field, Sync
from syncer.signing import signature
from syncer.transport import AGAIN, Gate, Transport
from tests.standins.webhook import REFUSED, WebhookStandIn

PAGE = Path(__file__).parents[2] / "docs" / "webhook.md"
SECRET = "0123456789abcdef"


@pytest.fixture
def receiver() -> Iterator[WebhookStandIn]:
    service = WebhookStandIn()
    with Server({"": service}):
        yield service


Open = Callable[..., Webhook]


@pytest.fixture
def open_destination(receiver: WebhookStandIn) -> Iterator[Open]:
    """Opens the adapter on the receiver; keyword arguments are settings."""
    opened: list[Transport] = []

    def make(**settings: Any) -> Webhook:
        parsed = WebhookSettings.model_validate(tomllib.loads(receiver.settings()) | settings)
        transport = transport_in_a_hurry()
        opened.append(transport)
        return Webhook("hook", parsed, transport)

    yield make
    for transport in opened:
        transport.close()


@pytest.fixture
def destination(open_destination: Open) -> Webhook:
    return open_destination()


def transport_in_a_hurry() -> Transport:
    return Transport(
        Gate(Pace(100_000, 1.0)),
        title="The webhook",
        stop=threading.Event(),
        timeout=5,
        attempts=3,
        retry_after_max=0.02,
        wait_first=0.01,
        wait_max=0.02,
    )


def sync_of(**changed: Any) -> Sync:
    return Sync.model_validate(
        {
            "name": "hook.users",
            "destination": "hook",
            "source": "activation.users",
            "key": "user_id",
            "object": "user",
            "match": {"email": "email"},
            "missing": "create",
            "fields": (Field(name="score", column="score"), Field(name="band", column="band")),
            "brakes": Brakes(),
            "file": Path("hook.toml"),
        }
        | changed
    )


USERS = sync_of()


def change_of(key: str, kind: Kind = "changed", **fields: Value) -> Change:
    return Change(key=key, kind=kind, match={"email": f"{key}@example.com"}, fields=fields, before={})


def changes_of(count: int) -> list[Change]:
    return [change_of(f"u_{number}", score=number) for number in range(count)]


def bodies(receiver: WebhookStandIn) -> list[dict[str, Any]]:
    return [json.loads(exchange.request.body) for exchange in receiver.log]


def results(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.key: outcome.result for outcome in outcomes}


def pushed_until_unusable(destination: Webhook, changes: list[Change]) -> tuple[list[Outcome], str]:
    """The outcomes before the destination turned out to be unusable, and why it is."""
    outcomes: list[Outcome] = []
    with pytest.raises(DestinationUnusable) as raised:
        outcomes.extend(destination.push(USERS, changes))
    return outcomes, str(raised.value)


def test_the_registry_finds_the_adapter() -> None:
    """The kind in the config leads to the class."""

    assert Webhook is destinations.adapter("webhook")


# What is sent.


def test_a_body_holds_what_differs(receiver: WebhookStandIn, destination: Webhook) -> None:
    """A batch names sync, object and what to do about missing records, and of each change exactly its fields."""
    moment = datetime.datetime(2026, 3, 1, 4, 0, 0, 250_000, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    changes = [
        change_of("u_1", "new", score=44.5, at=moment, day=moment.date()),
        change_of("u_2", score=None, active=False, note="Zoë 🚀"),
    ]

    assert {"u_1": "accepted", "u_2": "accepted"} == results(list(destination.push(USERS, changes)))
    [body] = bodies(receiver)
    assert "Zoë 🚀".encode() in receiver.log[0].request.body
    assert abs(datetime.datetime.fromisoformat(body.pop("run_started_at")).timestamp() - time.time()) < 60
    assert {
        "sync": "hook.users",
        "object": "user",
        "missing": "create",
        "changes": [
            {
                "key": "u_1",
                "kind": "new",
                "match": {"email": "u_1@example.com"},
                "fields": {"score": 44.5, "at": "2026-03-01T02:00:00.250000Z", "day": "2026-03-01"},
            },
            {
                "key": "u_2",
                "kind": "changed",
                "match": {"email": "u_2@example.com"},
                "fields": {"score": None, "active": False, "note": "Zoë 🚀"},
            },
        ],
    } == body


@pytest.mark.parametrize(("removed", "fields", "kind"), [("clear", {"score": None}, "clear"), ("delete", {}, "delete")])
def test_a_row_that_is_gone_says_what_is_wanted(
    receiver: WebhookStandIn, destination: Webhook, removed: str, fields: dict[str, Value], kind: str
) -> None:
    """A removed change leaves as `clear` with nulls, or as `delete` without fields, and the receiver obeys."""
    receiver.put({"score": 1}, email="u_1@example.com")

    list(destination.push(sync_of(removed=removed), [change_of("u_1", "removed", **fields)]))

    assert [(kind, fields)] == [(one["kind"], one["fields"]) for one in bodies(receiver)[0]["changes"]]
    assert (None if removed == "delete" else fields) == receiver.held(email="u_1@example.com")


def test_several_identifiers_find_a_record(receiver: WebhookStandIn, destination: Webhook) -> None:
    """A match of two identifiers travels as both of them."""
    change = Change("a", "new", {"tenant": "acme", "user": "7"}, {"score": 1}, {})

    list(destination.push(sync_of(match={"tenant": "tenant", "user": "user"}), [change]))

    assert {"score": 1} == receiver.held(tenant="acme", user="7")


def test_a_mapping_is_never_refused(destination: Webhook) -> None:
    """Objects, identifiers, fields and kinds of removal are the receiver's own words."""
    sync = sync_of(object="Whatever it is", match={"a b": "x", "c": "y"}, missing="skip", removed="delete")

    assert [] == list(destination.refuse(sync))


def test_a_batch_is_signed(receiver: WebhookStandIn, destination: Webhook) -> None:
    """Signature, timestamp of now, digest and the headers of the settings are on every request."""
    list(destination.push(USERS, changes_of(1)))
    [request] = [exchange.request for exchange in receiver.log]
    timestamp = request.headers["syncer-timestamp"]

    assert abs(int(timestamp) - time.time()) < 60
    assert signature(receiver.secret, timestamp, request.body) == request.headers["syncer-signature"]
    assert hashlib.sha256(request.body).hexdigest() == request.headers["syncer-batch"]
    assert receiver.token == request.headers["x-api-key"]


def test_the_signature_is_what_openssl_makes_of_it() -> None:
    """The signature of a known text is the one that `openssl dgst -sha256 -hmac` prints."""

    assert "sha256=58963170be8a3c82452992e6b0aaed14a44b2614cc705163285b6dc58d92ea28" == signature(
        SECRET, "1772346600", b'{"changes":[]}'
    )


def test_a_repeat_is_recognisable(receiver: WebhookStandIn, open_destination: Open) -> None:
    """A repeated request has the digest of the first; the same values in another run have another one."""
    receiver.trouble("lost")
    list(open_destination().push(USERS, changes_of(1)))
    list(open_destination().push(USERS, changes_of(1)))
    first, repeat, later = [exchange.request.headers["syncer-batch"] for exchange in receiver.log]

    assert first == repeat
    assert repeat != later


def test_another_secret_is_refused(receiver: WebhookStandIn, open_destination: Open) -> None:
    """A receiver with another secret ends the destination, and `check` names the setting."""
    destination = open_destination(secret="a-secret-of-somebody-else")
    outcomes, sentence = pushed_until_unusable(destination, changes_of(2))

    assert [] == outcomes
    assert "refused the signature (401)" in sentence
    assert ["destinations.hook.secret"] == [problem.place for problem in destination.check(USERS)]


# Sizes.


def test_limits_are_the_settings(open_destination: Open) -> None:
    """A batch as heavy as the limits allow is as large as the setting says, to the byte; no time is cut off."""
    destination = open_destination(records=7, bytes=2_000)
    limits = destination.limits(USERS)
    weight = destination.weigh(USERS, change_of("u_1", band=""))
    change = change_of("u_1", band="x" * ((limits.utf8_bytes or 0) - weight))

    assert (7, "microsecond") == (limits.records, limits.timestamp_unit)
    assert limits.utf8_bytes == destination.weigh(USERS, change)
    # One comma is counted that a single change does not need.
    assert 2_000 == len(destination._body(USERS, [change])) + 1


def test_a_change_that_is_too_large_is_refused_here(receiver: WebhookStandIn, open_destination: Open) -> None:
    """A change that no batch can hold is rejected without a request; the others go."""
    destination = open_destination(bytes=2_000)
    changes = [change_of("u_1", band="x" * 2_000), change_of("u_2", band="hot")]
    outcomes = list(destination.push(USERS, changes))

    assert {"u_1": "rejected", "u_2": "accepted"} == results(outcomes)
    assert ["too_large"] == [outcome.code for outcome in outcomes if outcome.result == "rejected"]
    assert [["u_2"]] == [[change["key"] for change in body["changes"]] for body in bodies(receiver)]


def test_a_batch_that_is_too_large_there_is_split(receiver: WebhookStandIn, destination: Webhook) -> None:
    """After a 413 the halves are sent, and a change that is still too large alone is rejected."""
    receiver.bytes_max = 500
    changes = [change_of(f"u_{number}", band="x" * (600 if number == 2 else 50)) for number in range(4)]
    outcomes = list(destination.push(USERS, changes))

    assert {"u_0": "accepted", "u_1": "accepted", "u_2": "rejected", "u_3": "accepted"} == results(outcomes)
    assert ["http_413"] == [outcome.code for outcome in outcomes if outcome.result == "rejected"]


# Answers.


@pytest.mark.parametrize("status", [400, 422])
def test_the_culprit_stands_alone(receiver: WebhookStandIn, destination: Webhook, status: int) -> None:
    """A batch that is refused as a whole is halved: one is rejected with the receiver's words, the rest accepted."""
    answer = Answer(status, {"code": "no_such_band", "message": "There is no such band."})
    receiver.trouble("status", when=lambda request: REFUSED.encode() in request.body, times=None, answer=answer)
    changes = [change_of(f"u_{number}", band=REFUSED if number == 5 else "hot") for number in range(8)]
    outcomes = list(destination.push(USERS, changes))

    assert {f"u_{number}": "rejected" if number == 5 else "accepted" for number in range(8)} == results(outcomes)
    [refusal] = [outcome for outcome in outcomes if outcome.result == "rejected"]
    assert ("no_such_band", "There is no such band.") == (refusal.code, refusal.message)
    assert 7 == receiver.count


def test_outcomes_are_taken_one_by_one(receiver: WebhookStandIn, destination: Webhook) -> None:
    """An answer for each record is what becomes of it; one that is not named is in doubt."""
    told = [
        {"key": "u_0", "result": "accepted"},
        {"key": "u_1", "result": "rejected", "code": "missing", "message": "Nobody has that address."},
        {"key": "u_2", "result": "deferred", "code": "busy", "message": "Not now."},
        {"key": "u_3", "result": "rejected", "code": "has ada@example.com in it"},
    ]
    receiver.trouble("after", answer=Answer(207, {"outcomes": told, "more": "than needed"}))

    assert [
        Outcome("u_0", "accepted"),
        Outcome("u_1", "rejected", "missing", "Nobody has that address."),
        Outcome("u_2", "deferred", "busy", "Not now."),
        Outcome("u_3", "rejected", "refused"),
        Outcome("u_4", "deferred", "unanswered", "The receiver did not say what became of it.", doubt=True),
    ] == list(destination.push(USERS, changes_of(5)))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(204),
        Answer(200),
        Answer(202, {"status": "queued"}),
        Answer(200, b"ok"),
        Answer(201, True),
        Answer(200, b"  \n", {"Content-Type": "text/html"}),
    ],
    ids=["204", "empty", "object", "text", "true", "blank"],
)
def test_a_bare_yes_is_for_all(receiver: WebhookStandIn, destination: Webhook, answer: Answer) -> None:
    """A 2xx that says nothing of single records accepts them all."""
    receiver.trouble("after", answer=answer)

    assert {"u_0": "accepted", "u_1": "accepted"} == results(list(destination.push(USERS, changes_of(2))))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, HTML),
        Answer(200, "Please log in."),
        Answer(200, b"<!DOCTYPE html>", {"Content-Type": "text/plain"}),
        Answer(200, b'{"outcomes": ['),
        Answer(200, b"ok", {"Content-Type": "application/json"}),
        Answer(200, [{"key": "u_0", "result": "rejected"}]),
        Answer(200, {"outcomes": {"u_0": "accepted"}}),
        Answer(200, {"outcomes": ["accepted"]}),
        Answer(200, {"outcomes": [{"result": "accepted"}]}),
        Answer(200, {"outcomes": [{"key": ["u_0"], "result": "accepted"}]}),
        Answer(200, {"outcomes": [{"key": "u_0", "result": "accepted"}] * 2}),
        Answer(200, {"outcomes": [{"key": "u_0", "result": "accepted"}, {"key": "u_9", "result": "accepted"}]}),
        Answer(200, {"outcomes": [{"key": "u_0", "result": "accepted"}, {"key": "u_1", "result": "ok"}]}),
        Answer(501, HTML),
    ],
    ids=[
        "page", "page without a tag", "page by another name", "half of JSON", "no JSON", "list",
        "no list of outcomes", "no objects", "no key", "key that is a list", "key twice", "unknown key",
        "unknown result", "501",
    ],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_accepts_nothing(
    receiver: WebhookStandIn, destination: Webhook, answer: Answer
) -> None:
    """Such an answer ends the destination, and all of the batch is in doubt, as it may have been taken."""
    receiver.trouble("after", answer=answer)
    outcomes, sentence = pushed_until_unusable(destination, changes_of(2))

    assert [("u_0", "deferred", True), ("u_1", "deferred", True)] == [
        (outcome.key, outcome.result, outcome.doubt) for outcome in outcomes
    ]
    assert "127.0.0.1" in sentence


@pytest.mark.parametrize("status", [302, 304, 401, 402, 403, 404, 405, 410, 415, 418])
def test_other_refusals_end_the_destination(receiver: WebhookStandIn, destination: Webhook, status: int) -> None:
    """What says that nothing was taken ends the destination without an outcome, and `check` tells it as well."""
    receiver.trouble("status", times=None, answer=Answer(status, {}))
    outcomes, sentence = pushed_until_unusable(destination, changes_of(2))

    assert [] == outcomes
    assert str(status) in sentence
    assert 1 == len(list(destination.check(USERS)))


def test_pieces_that_were_not_sent_have_no_outcome(receiver: WebhookStandIn, destination: Webhook) -> None:
    """When the destination ends between two halves, the first keeps its outcomes and the second has none."""
    receiver.trouble("status", answer=Answer(413))
    receiver.trouble("status", skip=1, answer=Answer(403))
    outcomes, _ = pushed_until_unusable(destination, changes_of(4))

    assert {"u_0": "accepted", "u_1": "accepted"} == results(outcomes)


# Check.


def test_check_posts_an_empty_batch(receiver: WebhookStandIn, destination: Webhook) -> None:
    """The batch of a check has no changes, says that it is one, and is signed like any other."""
    problems = list(destination.check(USERS))
    [body] = bodies(receiver)

    assert [] == problems
    assert (True, []) == (body["check"], body["changes"])


@pytest.mark.parametrize("answer", [Answer(400, {}), Answer(422, {}), Answer(200, HTML), Answer(404)])
def test_check_wants_a_receiver(receiver: WebhookStandIn, destination: Webhook, answer: Answer) -> None:
    """Everything but a good answer is a problem of the address."""
    receiver.trouble("status", answer=answer)

    assert ["destinations.hook.url"] == [problem.place for problem in destination.check(USERS)]


@pytest.mark.parametrize("status", [400, 422])
def test_check_says_that_the_empty_batch_was_refused(
    receiver: WebhookStandIn, destination: Webhook, status: int
) -> None:
    """A receiver that stumbles over the empty batch is told apart from one that is none."""
    receiver.trouble("status", answer=Answer(status, {}))
    [problem] = destination.check(USERS)

    assert f"refused the empty batch of a check ({status})" in problem.sentence


# Settings.


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"url": "http://hooks.example.com/"}, "https://"),
        ({"url": "hooks.example.com"}, "whole address"),
        ({"url": "ftp://hooks.example.com"}, "whole address"),
        ({"url": "https://ada:pw@hooks.example.com"}, "`headers`"),
        ({"url": "https://hooks.example.com#x"}, "`headers`"),
        ({"secret": "0123456789abcde"}, "16 characters"),
        ({"headers": {"X Key": "v"}}, "no name of a header"),
        ({"headers": {"Syncer-Batch": "v"}}, "sets it itself"),
        ({"headers": {"content-TYPE": "v"}}, "sets it itself"),
        ({"headers": {"X-Key": "v", "x-key": "w"}}, "twice"),
        ({"headers": {"X-Key": "top-secret\r\nEvil: 1"}}, "visible ASCII"),
        ({"headers": {"X-Key": " top-secret"}}, "visible ASCII"),
        ({"headers": {"X-Key": "geheim\u00e4"}}, "visible ASCII"),
        ({"records": 0}, "greater than"),
        ({"bytes": 10}, "greater than"),
    ],
)
def test_wrong_settings_are_told(settings: dict[str, Any], told: str) -> None:
    """Addresses that are not safe, short secrets and headers that cannot be sent are refused with a reason."""
    with pytest.raises(ValidationError) as raised:
        WebhookSettings.model_validate({"url": "https://hooks.example.com", "secret": SECRET} | settings)

    assert told in raised.value.errors()[0]["msg"]


def test_settings_hide_what_is_secret() -> None:
    """Neither the secret, nor a header's value, nor the address with its tokens is in the settings' text."""
    settings = WebhookSettings.model_validate(
        {"url": "https://h.example.com/hook/t0ken", "secret": SECRET, "headers": {"X-Key": "hidden-value"}}
    )

    assert [] == [text for text in (SECRET, "hidden-value", "t0ken") if text in f"{settings} {settings!r}"]


def test_a_receiver_is_its_address() -> None:
    """Two destinations with one address share the pace, two addresses do not, and neither is readable in it."""
    first, same, other = (
        WebhookSettings.model_validate({"url": f"https://h.example.com/{path}", "secret": secret * 16})
        for path, secret in (("t0ken", "a"), ("t0ken", "b"), ("other", "a"))
    )

    assert Webhook.account(first) == Webhook.account(same)
    assert Webhook.account(first) != Webhook.account(other)
    assert "t0ken" not in Webhook.account(first)


# The documentation.


def block(language: str, position: int = 0) -> str:
    """A block of code of the documentation."""
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return blocks[position]


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> config.Config:
    """The config and the mapping of the documentation, loaded."""
    monkeypatch.setenv("SYNCER_WEBHOOK_SECRET", SECRET)
    (tmp_path / "mappings").mkdir()
    (tmp_path / "config.toml").write_text('[source]\ntype = "duckdb"\npath = "w.duckdb"\n' + block("toml"))
    (tmp_path / "mappings" / "community.toml").write_text(block("toml", 1))
    return config.load(tmp_path / "config.toml", destinations.adapter, destinations.kinds)


def documented_changes() -> list[Change]:
    """The changes that the documented body tells of."""
    at = datetime.datetime(2026, 3, 1, 4, 0, tzinfo=datetime.UTC)
    return [
        Change("u_7", "changed", {"email": "ada@example.com"}, {"score": 44.5, "band": "warm", "computed_at": at}, {}),
        Change(
            "u_8",
            "removed",
            {"email": "bob@example.com"},
            dict.fromkeys(("score", "band", "computed_at")),
            {},
        ),
    ]


def test_documented_body_is_what_arrives(
    receiver: WebhookStandIn, open_destination: Open, documented: config.Config
) -> None:
    """The body that the page shows is what the page's mapping makes of two changes."""
    [sync] = documented.syncs
    list(open_destination().push(sync, documented_changes()))
    shown, [arrived] = json.loads(block("json")), bodies(receiver)

    assert re.sub(r"\d", "0", shown.pop("run_started_at")) == re.sub(r"\d", "0", arrived.pop("run_started_at"))
    assert shown == arrived


def test_documented_outcomes_are_understood(
    receiver: WebhookStandIn, destination: Webhook, documented: config.Config
) -> None:
    """The answer that the page shows accepts one change and rejects the other."""
    [sync] = documented.syncs
    receiver.trouble("after", answer=Answer(200, json.loads(block("json", 1))))
    outcomes = list(destination.push(sync, documented_changes()))

    assert [("accepted", ""), ("rejected", "missing")] == [(outcome.result, outcome.code) for outcome in outcomes]


def test_documented_settings_have_their_defaults(documented: config.Config) -> None:
    """The settings that the page shows commented out stand there with their defaults."""
    settings = documented.destinations["community"].settings
    shown = dict(re.findall(r"^# (records|bytes|pace) = (\d+)", block("toml"), re.MULTILINE))

    assert isinstance(settings, WebhookSettings)
    assert Webhook.pace(settings) == Pace(int(shown["pace"]), 1.0)
    assert (settings.records, settings.bytes) == (int(shown["records"]), int(shown["bytes"]))


def test_documented_repeats_are_those_of_the_transport() -> None:
    """The page names every status after which a batch is repeated, and no other."""
    [row] = [line for line in PAGE.read_text().splitlines() if line.startswith("| 429")]

    assert set(AGAIN) == {int(status) for status in re.findall(r"\d{3}", row.split("|")[1])}


def test_documented_header_may_be_a_reference(documented: config.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's line about headers works when its sign is taken away: the value is the variable's."""
    monkeypatch.setenv("GATEWAY_TOKEN", "Bearer abc")
    file = documented.file
    file.write_text(file.read_text().replace("# headers", "headers"))
    settings = config.load(file, destinations.adapter, destinations.kinds).destinations["community"].settings

    assert isinstance(settings, WebhookSettings)
    assert {"Authorization": "Bearer abc"} == {
        name: value.get_secret_value() for name, value in settings.headers.items()
    }


def test_config_tells_a_short_secret_without_showing_it(documented: config.Config) -> None:
    """A secret that is too short is named by file and line, and what it is stays hidden."""
    file = documented.file
    file.write_text(file.read_text().replace("env:SYNCER_WEBHOOK_SECRET", "hunter2"))
    with pytest.raises(UserError) as raised:
        config.load(file, destinations.adapter, destinations.kinds)

    assert "config.toml:7" in str(raised.value)
    assert "16 characters" in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.fixture
def documented_receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The receiver of the documentation, its code unchanged, on a free port; its address."""
    monkeypatch.setenv("SYNCER_WEBHOOK_SECRET", SECRET)
    code: dict[str, Any] = {"__name__": "receiver"}
    exec(block("python"), code)
    code["Receiver"].log_message = lambda *_: None
    server = HTTPServer(("127.0.0.1", 0), code["Receiver"])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_documented_receiver_takes_what_is_ours(documented_receiver: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The page's receiver accepts a signed batch and a check, and prints each change."""
    settings = WebhookSettings.model_validate({"url": documented_receiver, "secret": SECRET})
    destination = Webhook("hook", settings, transport_in_a_hurry())

    assert [] == list(destination.check(USERS))
    assert {"u_0": "accepted", "u_1": "accepted"} == results(list(destination.push(USERS, changes_of(2))))
    assert [f"changed {{'email': 'u_{n}@example.com'}} {{'score': {n}}}" for n in range(2)] == (
        capsys.readouterr().out.splitlines()
    )


@pytest.mark.parametrize(
    ("secret", "age_seconds", "changed", "status"),
    [
        (SECRET, 0, b"", 204),
        (SECRET, 800, b"", 204),
        (SECRET, 1_000, b"", 401),
        (SECRET, -1_000, b"", 401),
        ("another-secret-of-16", 0, b"", 401),
        (SECRET, 0, b" ", 401),
    ],
    ids=["good", "not yet old", "old", "of tomorrow", "another secret", "another body"],
)
def test_documented_receiver_takes_nothing_else(
    documented_receiver: str, secret: str, age_seconds: int, changed: bytes, status: int
) -> None:
    """The page's receiver refuses old batches, batches of the future, other signatures and other bodies."""
    body = b'{"changes":[]}'
    timestamp = str(int(time.time()) - age_seconds)
    connection = http.client.HTTPConnection(documented_receiver.removeprefix("http://"), timeout=5)
    headers = {"Syncer-Timestamp": timestamp, "Syncer-Signature": signature(secret, timestamp, body)}
    connection.request("POST", "/", body + changed, headers)
    found = connection.getresponse().status
    connection.close()

    assert status == found


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Syncer-Timestamp": "1", "Syncer-Signature": "sha256="},
        {"Syncer-Timestamp": "now", "Syncer-Signature": "\xfc"},
    ],
    ids=["nothing", "no signature", "nonsense"],
)
def test_documented_receiver_stands_strangers(documented_receiver: str, headers: dict[str, str]) -> None:
    """The page's receiver answers 401 to a request that is not signed at all."""
    connection = http.client.HTTPConnection(documented_receiver.removeprefix("http://"), timeout=5)
    connection.request("POST", "/", b"{}", headers)
    found = connection.getresponse().status
    connection.close()

    assert 401 == found
