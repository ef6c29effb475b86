"""How a message arrives: repeated, in order, never dropped silently, and no run waits for it."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from destinations.standins.server import Answer
from syncer.alerts.outbox import DELAYS_SECONDS
from syncer.alerts.watch import Watchman, modified_of, try_out
from tests.alerts.town import Process, Town
from tests.standins.hearing import Mailbox
from tests.workplace import PROJECT, until

HELD = "UPDATE people SET score = score + 1000"


def hold(town: Town, process: Process, *names: str) -> None:
    """Let plans be held, and look."""
    process.run_unseen(*names)
    town.sql(HELD)
    process.run(*names)


def test_a_message_that_does_not_arrive_is_repeated(town: Town) -> None:
    """After an error it is tried again with growing waits, also by another process, and arrives once."""
    town.slack.trouble("status", times=2, answer=Answer(500, "rollup_error"))
    with town.open() as process:
        hold(town, process, "customerio.people")
        process.look()
        too_early = town.slack.count
        town.clock += DELAYS_SECONDS[0] + 1
        process.look()
    town.clock += DELAYS_SECONDS[1] + 1
    with town.open() as other:
        other.look()
        town.clock += 1e4
        other.look()

    assert (1, 3, 1) == (too_early, town.slack.count, len(town.slack.texts))
    assert [("slack", "put off"), ("slack", "put off")] == process.results
    assert [("slack", "delivered")] == other.results


def test_an_end_is_not_told_before_its_beginning(town: Town) -> None:
    """While the first message waits, the later ones of its alert do too."""
    town.slack.trouble("status", answer=Answer(503, "later"))
    with town.open() as process:
        hold(town, process, "customerio.people")
        process.run("customerio.people", release=True)
        waiting = len(town.slack.texts)
        town.clock += DELAYS_SECONDS[0] + 1
        process.look()

    assert 0 == waiting
    assert [False, True] == ["Over:" in text for text in town.slack.texts]


def test_a_service_that_wants_a_pause_gets_it(town: Town) -> None:
    """`Retry-After` of a 429 is obeyed where it is longer than our own wait."""
    town.slack.trouble("status", answer=Answer(429, "rate_limited", {"Retry-After": "600"}))
    with town.open() as process:
        hold(town, process, "customerio.people")
        town.clock += 590
        process.look()
        early = len(town.slack.texts)
        town.clock += 20
        process.look()

    assert (0, 1) == (early, len(town.slack.texts))


def test_what_is_given_up_is_told(town: Town) -> None:
    """A message that never arrives is dropped in the end, with an error in the log, and the next ones go on."""
    town.slack.trouble("status", times=len(DELAYS_SECONDS) + 1, answer=Answer(404, "no_service"))
    with town.open() as process:
        hold(town, process, "customerio.people")
        with capture_logs() as logs:
            for delay in DELAYS_SECONDS:
                town.clock += delay + 1
                process.look()
        process.run("customerio.people", release=True)

    assert [("slack", "put off")] * len(DELAYS_SECONDS) + [("slack", "dropped"), ("slack", "delivered")] == (
        process.results
    )
    (dropped,) = [line for line in logs if line["event"] == "alert_dropped"]
    assert ("error", "slack", len(DELAYS_SECONDS) + 1) == tuple(dropped[k] for k in ("log_level", "alert", "attempts"))
    assert "There is nothing (any more) at that address" in dropped["reason"]
    assert "canary" not in str(logs)


@pytest.mark.parametrize(
    ("trouble", "options", "told"),
    [
        ("status", {"answer": Answer(307, "", {"Location": "/slack/elsewhere"})}, "redirect, which is not followed"),
        ("close", {}, "cannot be reached, or closed the connection"),
        ("slow", {"seconds": 1.5}, "did not answer within 1 s"),
    ],
)
def test_what_is_no_answer_is_no_delivery(town: Town, trouble: str, options: dict[str, object], told: str) -> None:
    """A redirect is not followed, a silent or closed connection ends in time, and no sentence has the address."""
    town.settle(f'[[alerts]]\ntype = "slack"\nurl = "{town.slack.address}"\nwait = "0s"\ntimeout = 1.0\n')
    town.slack.trouble(trouble, **options)
    with town.open() as process, capture_logs() as logs:
        hold(town, process, "customerio.people")

    (line,) = [line for line in logs if line["event"] == "alert_put_off"]
    assert told in line["reason"]
    assert "canary" not in str(logs)
    assert 1 == town.slack.count


def test_no_run_waits_for_an_alert(town: Town) -> None:
    """While a message hangs, runs begin and end; what they come to is told when it is over."""
    go_on = threading.Event()

    def hangs(_: object) -> bool:
        return not go_on.wait(20)

    with town.open() as process:
        engine = process.engine
        watchman = Watchman(lambda: engine, modified_of(engine))
        engine.observers.append(watchman)
        watchman.open()
        # The lock of the stand-in is held by whoever hangs in it, so this one is not its `when`.
        town.slack.handle, handle = (lambda request: (hangs(request), handle(request))[1]), town.slack.handle  # type: ignore[method-assign]
        process.run_unseen("customerio.people")
        town.sql(HELD)
        process.run_unseen("customerio.people")
        until(lambda: town.slack.count, "Slack is told")
        started = time.monotonic()
        process.run_unseen("customerio.readers", "customerio.people", "customerio.people", release=True)
        taken = time.monotonic() - started
        told = len(town.slack.texts)
        go_on.set()
        until(lambda: len(town.slack.texts) >= 2, "the rest is told")
        watchman.close()

    assert 0 == told
    assert taken < 15
    assert not watchman.is_alive


def test_a_look_that_fails_is_told_and_tried_again(town: Town) -> None:
    """The thread outlives a fault, tells it once and without its text, and looks again."""
    with town.open() as process:
        engine = process.engine
        faults = [KeyError("canary"), KeyError("canary"), None]

        def modified(sync: object) -> None:
            if faults and (fault := faults.pop(0)):
                raise fault

        with capture_logs() as logs:
            watchman = Watchman(lambda: engine, modified)  # type: ignore[arg-type]
            watchman.open()
            until(lambda: watchman.wake() or not faults, "it looks again")
            watchman.close()

    (line,) = [line for line in logs if line["event"] == "alerts_failed"]
    assert line["error"].startswith("Syncer's fault: KeyError in test_alert_delivery.py:")


# The ways out.


def test_a_webhook_verifies_what_it_gets(town: Town) -> None:
    """The message is signed JSON with everything that a program needs; a wrong secret is a 401, and repeated."""
    hook = f'[[alerts]]\ntype = "webhook"\nurl = "{town.receiver.url}/alerts"\nwait = "0s"\nsecret = '
    town.settle(hook + '"another-secret-of-16"')
    with town.open() as process, capture_logs() as logs:
        hold(town, process, "customerio.people", "customerio.readers")
    town.settle(hook + f'"{town.receiver.secret}"')
    town.clock += DELAYS_SECONDS[0] + 1
    with town.open() as process:
        process.look()
    (body,) = town.receiver.bodies

    # The receiver of the page takes it, and nothing else.
    page = (PROJECT / "docs" / "alerts.md").read_text()
    told: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], told)
    sent = town.receiver.log[-1].request
    headers = {name: sent.headers[name.lower()] for name in ("Syncer-Timestamp", "Syncer-Signature")}
    example = json.loads(page.split("```json\n")[1].split("```")[0])

    assert told["is_from_syncer"](town.receiver.secret, headers, sent.body)
    assert not told["is_from_syncer"]("another-secret-of-16", headers, sent.body)
    assert not told["is_from_syncer"](town.receiver.secret, headers, sent.body + b" ")
    assert (example.keys(), example["troubles"][0].keys()) == (body.keys(), body["troubles"][0].keys())
    assert "answered 401. Put the receiver's own secret into the config." in str(logs)
    assert {"id", "alert", "at", "state", "kind", "title", "troubles"} == body.keys()
    assert ("webhook", "begun", "held") == (body["alert"], body["state"], body["kind"])
    assert [["customerio.people"], ["customerio.readers"]] == [one["syncs"] for one in body["troubles"]]
    assert {"cause", "title", "since", "syncs", "sentence", "url"} == body["troubles"][0].keys()


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("tls", ["starttls", "ssl", "none"])
def test_a_mail_arrives(town: Town, tls: str) -> None:
    """Over STARTTLS, TLS from the start, or plain on this machine; with a login, from and to whom the config says."""
    with Mailbox(town.folder, tls) as box:
        town.settle(mail_to(box, box.PASSWORD))
        with town.open() as process:
            hold(town, process, "customerio.people")
    (mail,) = box.mails

    assert [("email", "delivered")] == process.results
    assert ("Syncer: customerio.people is held", "syncer@example.com", "ada@example.com, bo@example.com") == (
        mail["Subject"],
        mail["From"],
        mail["To"],
    )
    assert "nothing was sent. changed_max: 1, and the limit is 0.3" in mail.get_content()
    assert [b"canary-smtp-password"] == box.tried


def test_a_mail_server_that_refuses(town: Town) -> None:
    """A wrong password, a certificate of nobody, and a refused mail are sentences without a secret."""
    with Mailbox(town.folder) as box:
        found = []
        for text in (
            mail_to(box, "canary-wrong"),
            mail_to(box, box.PASSWORD).replace('ca_file = "mail.pem"\n', ""),
            mail_to(box, box.PASSWORD).replace('"starttls"', '"ssl"'),
            mail_to(box, box.PASSWORD),
        ):
            box.answer = "554 5.7.1 canary-quoted"
            town.settle(text)
            with town.open() as process:
                found.append(try_out(process.engine, process.engine.config.alerts[0]))

    told = ("the login (535)", "cannot be trusted", "does not speak as a mail server does", "refused the mail (554)")
    for (is_there, answer), sentence in zip(found, told, strict=True):
        assert not is_there
        assert sentence in answer
        assert "canary" not in answer
    assert [] == box.mails


def mail_to(box: Mailbox, password: str) -> str:
    """An alert by mail."""
    return (
        f'[[alerts]]\ntype = "email"\nhost = "127.0.0.1"\nport = {box.port}\ntls = "{box.tls}"\nca_file = "mail.pem"\n'
        f'user = "{box.USER}"\npassword = "{password}"\nsender = "syncer@example.com"\nwait = "0s"\n'
        'to = ["ada@example.com", "bo@example.com"]\n'
    )


# Commands.


def test_commands_tell_too(town: Town) -> None:
    """`syncer sync` of a cron tells what it came to, once, and the end; what does not arrive is left to the next."""
    with town.open() as process:
        process.run_unseen("customerio.people")
    town.sql(HELD)
    town.slack.trouble("status", answer=Answer(500, "rollup_error"))
    held = town.run("sync", "customerio.people")
    with town.open() as process:
        town.clock = time.time() + DELAYS_SECONDS[0] + 1
        process.look()
    told = len(town.slack.texts)
    released = town.run("sync", "customerio.people", "--release")

    assert (3, 0) == (held.code, released.code)
    assert "alert_put_off" in held.err
    assert 1 == told
    assert [False, True] == ["Over:" in text for text in town.slack.texts]


def test_a_command_that_cannot_begin_tells_too(town: Town) -> None:
    """A source that is out of reach is told although nothing ran."""
    town.warehouse.rename(town.folder / "elsewhere")
    result = town.run("sync", "customerio")

    assert 1 == result.code
    assert ["There is no file" in text for text in town.slack.texts] == [True]


def test_the_test_command(town: Town) -> None:
    """It sends to each alert, or to those named, says what came back, and exits 1 when any did not arrive."""
    hook = f'[[alerts]]\nname = "hook"\ntype = "webhook"\nurl = "{town.receiver.url}"\nsecret = "wrong-secret-of-16"\n'
    town.settle(f'[[alerts]]\ntype = "slack"\nurl = "{town.slack.address}"\n{hook}')
    both, one, other = town.run("alert-test"), town.run("alert-test", "slack", "--json"), town.run("alert-test", "slak")

    assert (1, 0, 1) == (both.code, one.code, other.code)
    host = town.slack.url.split("/")[2]
    assert [
        f"slack: delivered. {host} answered 200.",
        f"hook: not delivered. {host} answered 401. Put the receiver's own secret into the config.",
    ] == both.out.splitlines()
    assert [("slack", True)] == [(entry["alert"], entry["delivered"]) for entry in one.json["alerts"]]
    assert "Did you mean `slack`?" in other.err
    assert 2 == len(town.slack.texts)
    assert "canary" not in both.out + both.err
