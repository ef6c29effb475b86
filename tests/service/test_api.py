"""What the daemon answers over HTTP. Every request and answer in here is held to the API's own description."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import pytest
import requests

from syncer.control.asking import QUEUED_MAX
from tests.service.town import JSON, LISTEN, NEVER, ROWS, VALUE, Face, Town, face_of
from tests.workplace import PROJECT, until

PEOPLE = "/api/syncs/customerio.people"
MEMBERS = "/api/syncs/orbit.members"
ADA = {"by": "Ada"}
APPROVE = "[plans]\napprove = true\n"


def test_syncs_are_the_document_of_status(town: Town, face: Face) -> None:
    """What `/api/syncs` says of a sync is what `status --json` says, and the config has no fault."""
    found = face.ask("/api/syncs")

    assert json.loads(town.command("status", "--json").out)["syncs"] == found["syncs"]
    assert (None, []) == (found["config"]["error"], found["config"]["restart"])
    assert found["syncs"][0] == face.ask(PEOPLE)
    assert ("never run", "0 0 1 1 *") == (found["syncs"][0]["state"], found["syncs"][0]["schedule"])


def test_a_trigger_runs_once_and_says_so(town: Town, face: Face) -> None:
    """A request is answered before it runs, tells what became of it, and is in the journal with who asked."""
    answer = face(f"{PEOPLE}/runs", "POST", ADA)
    ended = face.ended(answer.json()["request"])
    run = face.ask(f"/api/runs/{ended['run']}")

    assert (202, "queued", False) == (answer.status_code, answer.json()["state"], answer.json()["coalesced"])
    assert ("done", "Ada", None) == (ended["state"], ended["by"], ended["error"])
    assert ("done", ROWS, "request", "Ada") == (run["result"], run["accepted"], run["trigger"], run["by"])
    assert [("run", "Ada", "customerio.people")] == [
        (one["what"], one["by"], one["sync"]) for one in face.ask("/api/journal")["acts"]
    ]
    assert [run] == face.ask(f"{PEOPLE}/runs")["runs"]


def test_triggers_of_a_running_sync_become_one_run(town: Town, face: Face) -> None:
    """However often a sync is asked for while it runs, one run follows; what asks for something else has its own."""
    town.customerio.held_back = threading.Event()
    first = face.ask(f"{PEOPLE}/runs", ADA)["request"]
    until(lambda: town.customerio.applied == 1, "the first run never asks")
    running = face.ask(PEOPLE)["running"]
    others = [face.ask(f"{PEOPLE}/runs", {"by": f"p{number}"}) for number in range(5)]
    special = face.ask(f"{PEOPLE}/runs", {"only": ["u1"]})
    assert 2 == face.ask(PEOPLE)["queued"]
    assert running["run"] == face.ask(f"/api/requests/{first}")["run"]
    town.customerio.held_back.set()
    ended = [face.ended(number) for number in (first, others[0]["request"], special["request"])]

    assert [False, *[True] * 4] == [one["coalesced"] for one in others]
    assert 1 == len({one["request"] for one in others})
    assert not special["coalesced"]
    assert ["done"] * 3 == [one["state"] for one in ended] == town.results("customerio.people")
    assert ("request", "Ada") == (running["trigger"], running["by"])
    assert ["p0", ["u1"]] == [ended[1]["by"], ended[2]["only"]]


def test_an_idempotency_key_asks_once(town: Town, face: Face) -> None:
    """The same key has the same answer, also after the run and while the sync is paused; another body is refused."""
    answers = [face(f"{PEOPLE}/runs", "POST", ADA, **{"Idempotency-Key": "night-7"})]
    face.ended(answers[0].json()["request"])
    answers.append(face(f"{PEOPLE}/runs", "POST", ADA, **{"Idempotency-Key": "night-7"}))
    other = face(f"{PEOPLE}/runs", "POST", {"by": "Bo"}, **{"Idempotency-Key": "night-7"})
    elsewhere = face("/api/syncs/customerio.people2/runs", "POST", ADA, **{"Idempotency-Key": "night-7"})
    face.ask(f"{PEOPLE}/pause", ADA)
    answers.append(face(f"{PEOPLE}/runs", "POST", ADA, **{"Idempotency-Key": "night-7"}))

    assert [202, 202, 202, 422, 422] == [one.status_code for one in (*answers, other, elsewhere)]
    assert answers[0].json() == answers[1].json() == answers[2].json()
    assert ["done"] == town.results("customerio.people")


def test_changes_of_a_run(town: Town, face: Face) -> None:
    """Old → new with the outcome, by kind, field, outcome and key, page by page; a sensitive value is not shown."""
    face.ended(face.ask(f"{MEMBERS}/runs", ADA)["request"])
    town.sql("UPDATE people SET score = 50 WHERE user_id = 'u0'")
    run = face.ended(face.ask(f"{MEMBERS}/runs", ADA)["request"])["run"]
    first = face.ask(f"{MEMBERS}/runs?before={run}")["runs"][0]["run"]
    whole = face.ask(f"/api/runs/{first}/changes")
    (changed,) = face.ask(f"/api/runs/{run}/changes")["changes"]

    assert (3, ["u0", "u1", "u2"]) == (whole["total"], [one["key"] for one in whole["changes"]])
    assert ["accepted", "accepted", "rejected"] == [one["outcome"] for one in whole["changes"]]
    assert ("changed", {"company": {"before": "0", "after": "50"}}) == (changed["kind"], changed["fields"])
    assert {"before": None, "after": "•••"} == whole["changes"][0]["fields"]["bio"]
    assert VALUE not in json.dumps(whole)
    assert "missing" == whole["changes"][2]["code"]
    for query, keys in (
        ("kind=changed", []),
        ("outcome=rejected", ["u2"]),
        ("field=company&key=u1", ["u1"]),
        ("field=nothing", []),
        ("offset=1&limit=1", ["u1"]),
    ):
        assert keys == [one["key"] for one in face.ask(f"/api/runs/{first}/changes?{query}")["changes"]]
    assert 3 == face.ask(f"/api/runs/{first}/changes?offset=1&limit=1")["total"]


def test_changes_that_were_left(town: Town, face: Face) -> None:
    """What a run did not send is told from its plan, also while the run is under way."""
    town.customerio.held_back = threading.Event()
    request = face.ask(f"{PEOPLE}/runs", ADA)["request"]
    until(lambda: town.customerio.applied == 1, "the run never asks")
    run = face.ask(PEOPLE)["running"]["run"]
    found = face.ask(f"/api/runs/{run}/changes?limit=1")
    town.customerio.held_back.set()

    assert (3, "deferred") == (found["total"], found["changes"][0]["outcome"])
    assert {"before": None, "after": "•••"} == found["changes"][0]["fields"]["plan"]
    assert "done" == face.ended(request)["state"]


def test_a_plan_is_made_now(town: Town, face: Face) -> None:
    """The document of `diff --json`, with as many changes as are asked for; nothing is sent."""
    (found,) = face.ask(f"{PEOPLE}/plan?limit=1")["syncs"]
    whole = json.loads(town.command("diff", "customerio.people", "--json").out)["syncs"][0]

    assert (ROWS, 1, whole["plan"]) == (found["counts"]["new"], len(found["changes"]), found["plan"])
    assert whole["changes"][:1] == found["changes"]
    town.warehouse.unlink()
    assert 409 == face(f"{PEOPLE}/plan").status_code
    assert 0 == town.customerio.applied


def test_parked_records_are_tried_again(town: Town, face: Face) -> None:
    """They are listed page by page, and go with the next run on request; the journal has no key of them."""
    face.ended(face.ask(f"{MEMBERS}/runs", ADA)["request"])
    listed = face.ask(f"{MEMBERS}/parked")
    beyond = face.ask(f"{MEMBERS}/parked?offset=1&limit=5")
    wrong = face(f"{MEMBERS}/parked/retry", "POST", {"by": "Ada", "keys": ["u0"]})
    retried = face.ask(f"{MEMBERS}/parked/retry", {"by": "Ada", "keys": ["u2"]})
    town.orbit.add(email="u2@example.com")
    face.ended(face.ask(f"{MEMBERS}/runs", ADA)["request"])

    assert (1, ["u2"]) == (listed["total"], [one["key"] for one in listed["parked"]])
    assert (1, []) == (beyond["total"], beyond["parked"])
    assert (409, 1, 0) == (wrong.status_code, retried["retried"], face.ask(f"{MEMBERS}/parked")["total"])
    acts = [one for one in face.ask("/api/journal")["acts"] if one["what"] == "retry"]
    assert [("Ada", {"records": 1, "all": False})] == [(one["by"], one["facts"]) for one in acts]


@pytest.fixture
def held(town: Town) -> tuple[Town, str]:
    """A town with a plan that waits for approval, and the run that holds it."""
    town.settle(more=LISTEN + NEVER + APPROVE)
    engine = town.engine()
    report = engine.run(engine.prepare(engine.config.choose(["customerio.people"])[0]))
    engine.close()

    assert "held" == report.result
    return town, str(report.run)


def test_an_approved_plan_is_sent_at_once(held: tuple[Town, str]) -> None:
    """Exactly the plan that was held goes out without further words, with who let it pass, and only once."""
    town, run = held
    with face_of(town) as face:
        (waits,) = face.ask("/api/holds")["holds"]
        word = face.ask(f"/api/runs/{run}/approval", ADA)
        ended = face.ended(word["request"])
        sent = face.ask(f"/api/runs/{ended['run']}")
        again = face(f"/api/runs/{run}/approval", "POST", ADA)
        acts = face.ask("/api/journal?sync=customerio.people")["acts"]
        assert [] == face.ask("/api/holds")["holds"]

    assert (run, ROWS, ["approval"]) == (waits["run"], waits["planned"], [one["brake"] for one in waits["holds"]])
    assert {"run": run, "plan": waits["plan"], "sync": "customerio.people"} | ADA == {
        name: value for name, value in word["approved"].items() if name != "at"
    }
    assert ("done", ROWS, ["approval"]) == (sent["result"], sent["accepted"], sent["released"])
    assert 409 == again.status_code
    assert "holds no plan that waits" in again.json()["error"]
    assert [("run", "Ada"), ("approve", "Ada")] == [(one["what"], one["by"]) for one in acts]


def test_an_approval_that_no_run_can_follow(held: tuple[Town, str]) -> None:
    """Where a hundred other requests wait, a plan is not approved either, and stays held."""
    town, run = held
    with face_of(town, runs=False) as face:
        for number in range(QUEUED_MAX):
            face.daemon.engine.control().ask("customerio.people", "Bo", {"only": [str(number)]})
        answers = [face(f"/api/runs/{run}/approval", "POST", ADA), face(f"{PEOPLE}/runs", "POST", ADA)]
        acts = face.ask("/api/journal?limit=1000")["acts"]

    assert [429, 429] == [one.status_code for one in answers]
    assert {"100 different requests of customerio.people wait already. Ask later."} == {
        one.json()["error"] for one in answers
    }
    assert {"Bo"} == {one["by"] for one in acts}


def test_a_refused_plan_stays_held(held: tuple[Town, str]) -> None:
    """The hold says by whom and why, also after the next run of the same plan, until somebody approves it."""
    town, run = held
    with face_of(town) as face:
        word = face.ask(f"/api/runs/{run}/refusal", {"by": "Bo", "reason": "too many"})
        again = face.ended(face.ask(f"{PEOPLE}/runs", ADA)["request"])
        (waits,) = face.ask("/api/holds")["holds"]
        standing = face.ask(PEOPLE)["refused"]
        ended = face.ended(face.ask(f"/api/runs/{again['run']}/approval", ADA)["request"])
        facts = [one["facts"] for one in face.ask("/api/journal")["acts"] if one["what"] == "refuse"]

    assert ("Bo", "too many") == (word["refused"]["by"], word["refused"]["reason"])
    assert "held" == again["state"]
    assert "approve" in again["error"]
    assert word["refused"] == waits["refused"] == standing
    assert ("done", ["too many"]) == (ended["state"], [one["reason"] for one in facts])


def test_a_paused_sync_is_left_alone(town: Town, face: Face) -> None:
    """No trigger runs it until it is resumed, and the first word stands."""
    paused = face.ask(f"{PEOPLE}/pause", {"by": "Ada", "reason": "moving house"})["paused"]
    again = face.ask(f"{PEOPLE}/pause", {"by": "Bo"})["paused"]
    refused = face(f"{PEOPLE}/runs", "POST", ADA)
    resumed = [face.ask(f"{PEOPLE}/resume", ADA)["resumed"] for _ in range(2)]
    ended = face.ended(face.ask(f"{PEOPLE}/runs", ADA)["request"])

    assert paused == again
    assert ("Ada", "moving house") == (paused["by"], paused["reason"])
    assert (409, [True, False], "done") == (refused.status_code, resumed, ended["state"])
    assert "paused by Ada" in refused.json()["error"]
    assert ["run", "resume", "resume", "pause", "pause"] == [one["what"] for one in face.ask("/api/journal")["acts"]]


def test_what_is_not_there(face: Face) -> None:
    """An unknown name is a 404 with a guess, and every error is one sentence in one shape."""
    answers = [
        face("/api/syncs/customerio.peple"),
        face("/api/syncs/customerio"),
        face("/api/syncs/customerio.peple/runs", "POST", ADA),
        face("/api/runs/77"),
        face("/api/runs/77/changes"),
        face("/api/requests/77"),
        face("/api"),
        face("/api/syncs", "POST", ADA),
        face("/api/runs/7x"),
        face(f"{PEOPLE}/runs?limit=0"),
    ]

    assert [404] * 7 + [405, 400, 400] == [one.status_code for one in answers]
    assert all(re.fullmatch(r"\S.*[.?]", one.json()["error"]) for one in answers)
    assert "Did you mean `customerio.people`?" in answers[0].json()["error"]


GOOD = '{"by": "Ada"}'
FOREIGN = [
    (GOOD, {"Content-Type": "text/plain"}, 415),
    (GOOD, {"Content-Type": "application/x-www-form-urlencoded"}, 415),
    (GOOD, {}, 415),
    (GOOD, JSON | {"Host": "rebound.example"}, 403),
    (GOOD, JSON | {"Origin": "https://evil.example"}, 403),
    (GOOD, JSON | {"Origin": "null"}, 403),
    (GOOD, JSON | {"Sec-Fetch-Site": "cross-site"}, 403),
    (GOOD, JSON | {"Sec-Fetch-Site": "same-site"}, 403),
    ("", JSON, 400),
    ("[]", JSON, 400),
    ('{"by": "  "}', JSON, 400),
    ('{"by": 7}', JSON, 400),
    ('{"by": "Ada", "release": true}', JSON, 400),
]


def test_a_word_that_nobody_gave(held: tuple[Town, str]) -> None:
    """What a page of another site could make a browser send does nothing, nor does a body without a name."""
    town, run = held
    with face_of(town, runs=False) as face:
        for body, headers, status in FOREIGN:
            for path in (f"/api/runs/{run}/approval", f"{PEOPLE}/resume"):
                answer = face(path, "POST", body, **headers)
                assert (status, True) == (answer.status_code, bool(answer.json()["error"])), (path, body, headers)
        assert 403 == face("/api/syncs", Host="rebound.example").status_code
        acts = face.ask("/api/journal")["acts"]

    assert [] == acts
    assert ["held"] == town.results("customerio.people")


def test_a_page_of_ones_own_may_ask(face: Face) -> None:
    """The browser's marks of a page that the daemon served itself are welcome."""
    origin = {"Origin": face.url, "Sec-Fetch-Site": "same-origin"}

    assert 200 == face(f"{PEOPLE}/pause", "POST", ADA, **origin).status_code


def test_http_with_a_token(town: Town) -> None:
    """With a token, what is remembered is for those who bring it; that the process lives is for everybody."""
    town.settle(more=LISTEN + 'token = "open-sesame"\n' + NEVER)
    with face_of(town, runs=False) as face:
        for header in (None, "Bearer wrong", "Bearer ", "Basic open-sesame", "Bearer open-sesame"):
            given = {"Authorization": header} if header else {}
            answers = [
                face("/api/syncs", Host="syncer.example", **given),
                face(f"{PEOPLE}/pause", "POST", ADA, **given),
            ]
            status = 200 if header == "Bearer open-sesame" else 401
            assert [status] * 2 == [one.status_code for one in answers], header
            assert (status == 401) == ("www-authenticate" in answers[0].headers)
        assert 200 == face("/healthz", Host="syncer.example").status_code


def test_a_session_stands_for_the_token(town: Town) -> None:
    """A browser brings the token once, and a cookie that no script reads stands for it until the session is ended."""
    town.settle(more=LISTEN + 'token = "open-sesame"\n' + NEVER)
    with face_of(town, runs=False) as face:
        wrong = face("/api/session", "POST", {"token": "open"})
        begun = face("/api/session", "POST", {"token": "open-sesame"})
        cookie = begun.headers["Set-Cookie"]
        given = {"Cookie": cookie.partition(";")[0]}
        while_open = face("/api/syncs", **given)
        from_elsewhere = face(f"{PEOPLE}/pause", "POST", ADA, **given, Origin="https://evil.example")
        ended = face("/api/session", "DELETE", **given)
        after = face("/api/syncs", **given)

    assert [401, 204, 200, 403, 204, 401] == [
        one.status_code for one in (wrong, begun, while_open, from_elsewhere, ended, after)
    ]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Path=/"))
    assert "open-sesame" not in cookie


def test_http_with_a_damaged_store(town: Town) -> None:
    """What cannot be read is a sentence and a 503."""
    with face_of(town, runs=False) as face:
        for file in town.state.glob("control.db*"):
            file.write_bytes(b"no database at all. " * 300)
        answer = face("/api/syncs")

    assert 503 == answer.status_code
    assert "is not a control store" in answer.json()["error"]


def test_the_description_of_the_api_needs_no_network(face: Face) -> None:
    """`/docs` and all that it loads come from the daemon itself."""
    page = requests.get(f"{face.url}/docs", timeout=10).text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)

    assert 2 <= len(loaded)
    assert [] == [one for one in loaded if not one.startswith("/")]
    assert [200] * len(loaded) == [requests.get(face.url + one, timeout=10).status_code for one in loaded]
    assert "openapi.json" in page


def test_a_body_that_is_too_large(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is turned away before it is in memory."""
    monkeypatch.setattr("syncer.service.api.guard.BODY_BYTES_MAX", 1_000)
    big: Any = {"by": "Ada", "reason": "x" * 2_000}

    assert 413 == face(f"{PEOPLE}/pause", "POST", big).status_code


def test_the_page_of_the_service_names_every_address(face: Face) -> None:
    """What docs/service.md lists, and what the API describes, is the same."""
    page = (PROJECT / "docs" / "service.md").read_text()
    told = {(method, path) for method, path in re.findall(r"`(GET|POST|DELETE) (/api/[^`]+)`", page)}
    described = requests.get(f"{face.url}/openapi.json", timeout=10).json()["paths"]
    there = {(method.upper(), path) for path, methods in described.items() for method in methods if "/api/" in path}

    assert there == told
