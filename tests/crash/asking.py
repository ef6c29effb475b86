"""What people ask of the daemon over HTTP, accidents while they ask, and what must be true when a daemon is back."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import requests

from destinations.standins.orbit import OrbitStandIn
from syncer.control import KILLED
from tests.crash.disk import Disk
from tests.crash.standins import SlowCustomerio
from tests.workplace import NO_BRAKES, Process, Workplace, until

PLAIN, GUARDED, PARKING = "customerio.people", "customerio.guarded", "orbit.members"
"""A sync that just runs; one whose plans wait for approval; one that has a record which its service refuses."""
PEOPLE = """
[[sync]]
name = "{name}"
source = "people"
key = "user_id"
object = "person"
match = {{ id = "user_id" }}
missing = "create"
{more}

[sync.fields]
{name} = "score"
"""
MEMBERS = """
[[sync]]
name = "members"
source = "people"
key = "user_id"
object = "member"
match = { email = "email" }

[sync.fields]
company = { column = "score", type = "text" }
"""
ROWS = 3
TOKEN = "open-sesame"
FEW_CHANGES, MANY_CHANGES = 6, 60
"""A request makes few changes of the state folder; with the run that it leads to they are not more than many."""
KILLED_WITHIN = 0.05
"""Seconds after a request has left within which the clock kills."""
STRUCK_WITHIN = 0.5
"""Seconds after an answer within which what the request has led to may be struck."""

Accident = Literal["kill", "die", "power"]
"""Killed at some instant; before some change of the state folder; so, and without what was not synced."""
Address = tuple[str, str]
"""Method and path, as the description of the API has them."""


class Asking:
    """Three people, a daemon, and somebody who asks it for all that can be asked; a seed chooses the accidents."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.workplace = Workplace(folder / "work")
        self.chance = random.Random(seed)
        self.customerio, self.orbit = SlowCustomerio(), OrbitStandIn()
        for number in range(ROWS - 1):
            self.orbit.add(email=f"u{number}@example.com")
        self.happened: Counter[tuple[Address, Accident, str]] = Counter()
        """(address, accident, what was answered) → how often."""
        self.addresses: Mapping[Address, Callable[[Address, Accident], None]] = {
            ("POST", "/api/syncs/{name}/runs"): self._trigger,
            ("POST", "/api/syncs/{name}/parked/retry"): self._retry,
            ("POST", "/api/syncs/{name}/pause"): self._pause,
            ("POST", "/api/syncs/{name}/resume"): self._resume,
            ("POST", "/api/runs/{run}/approval"): self._approve,
            ("POST", "/api/runs/{run}/refusal"): self._refuse,
            ("POST", "/api/session"): self._begin_session,
            ("DELETE", "/api/session"): self._end_session,
        }
        """Every address that changes anything → an accident to a request of it, and what must be true afterwards."""
        self._disk = Disk(self.workplace.state, folder / "disk.log")
        self._before = folder / "before"
        self._nights = 0
        self._names = 0
        self._over: set[int] = set()
        """Requests that have ended."""

    # --- the world ---------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Write the files, and have a daemon."""
        guarded = PEOPLE.format(name="guarded", more="approve = true")
        self.workplace.write(
            {"customerio": self.customerio.settings(), "orbit": self.orbit.settings()},
            {"customerio": PEOPLE.format(name="people", more="") + guarded, "orbit": MEMBERS},
            f'{NO_BRAKES}\n[service]\nlisten = "127.0.0.1:0"\ntoken = "{TOKEN}"\n[schedule]\ncron = "0 0 1 1 *"\n',
        )
        self._begin()

    def _begin(self) -> None:
        """A daemon over what the one before has left."""
        shutil.rmtree(self._before, ignore_errors=True)
        if self.workplace.state.exists():
            shutil.copytree(self.workplace.state, self._before)
        self._process: Process = self.workplace.start("serve", env=self._disk.env())
        until(lambda: "\n" in self._process.err or not self._process.is_running, "it never serves", 60)
        assert self._process.is_running, self._process.err
        self._url = json.loads(self._process.err.splitlines()[0])["address"]

    def _night(self) -> None:
        """Another version of the source, once nobody reads it."""
        for sync in (PLAIN, GUARDED, PARKING):
            self._runs(sync)
        self._nights += 1
        self.workplace.sql(
            "CREATE OR REPLACE TABLE people AS SELECT 'u' || i AS user_id, 'u' || i || '@example.com' AS email, "
            f"{self._nights} * 10 + i AS score FROM range({ROWS}) t(i)"
        )

    def _name(self) -> str:
        """Somebody who asks for nothing else."""
        self._names += 1
        return f"p{self._names}"

    # --- asking, to which nothing happens ----------------------------------------------------------------------

    def _send(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> requests.Response:
        return requests.request(method, self._url + path, json=body, headers=dict(headers), timeout=30)

    def _ask(self, path: str, body: Any = None, **headers: str) -> Any:
        """What a good answer says: to a GET, or to a POST where there is a body."""
        method = "GET" if body is None else "POST"
        answer = self._send(method, path, body, {"Authorization": f"Bearer {TOKEN}", **headers})
        assert answer.ok, answer.text
        return answer.json()

    def _acts(self, by: str) -> list[str]:
        """What somebody did, as the journal has it."""
        return sorted(one["what"] for one in self._ask("/api/journal?limit=1000")["acts"] if one["by"] == by)

    def _runs(self, sync: str) -> list[dict[str, Any]]:
        """Its runs, newest first, once nothing of it waits or runs."""

        def is_quiet() -> bool:
            acts = self._ask(f"/api/journal?limit=1000&sync={sync}")["acts"]
            for request in {one["facts"]["request"] for one in acts if one["what"] == "run"} - self._over:
                found = self._ask(f"/api/requests/{request}")
                if found["ended"]:
                    self._over.add(request)
                elif found["state"] == "running" or not self._ask(f"/api/syncs/{sync}")["paused"]:
                    return False
            return True

        until(is_quiet, f"{sync} is never quiet")
        found: list[dict[str, Any]] = self._ask(f"/api/syncs/{sync}/runs?limit=1000")["runs"]
        return found

    def _run(self, sync: str) -> dict[str, Any]:
        """A whole run."""
        self._ended(self._ask(f"/api/syncs/{sync}/runs", {"by": self._name()})["request"])
        return self._runs(sync)[0]

    def _ended(self, request: int) -> dict[str, Any]:
        """What became of a request, once it is over."""
        until(lambda: self._ask(f"/api/requests/{request}")["ended"], "a request is never over")
        found: dict[str, Any] = self._ask(f"/api/requests/{request}")
        return found

    def _is_known(self, cookie: str) -> bool:
        """Whether a session is worth anything."""
        return self._send("GET", "/api/syncs", None, {"Cookie": cookie}).ok

    # --- accidents ---------------------------------------------------------------------------------------------

    def meet(self, address: Address, accident: Accident) -> None:
        """An accident to a request, and what must be true afterwards."""
        self.addresses[address](address, accident)

    def _strike(
        self, address: Address, accident: Accident, path: str, body: Any = None, **headers: str
    ) -> requests.Response | None:
        """Ask while something happens to the daemon, and have another one. The answer, if there was one: a good one."""
        process = self._process
        if accident != "kill":
            self._disk.die_in(self.chance.randint(1, self.chance.choice([FEW_CHANGES, MANY_CHANGES])))
        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(self._send, address[0], path, body, {"Authorization": f"Bearer {TOKEN}", **headers})
            if accident == "kill":
                time.sleep(self.chance.uniform(0, KILLED_WITHIN))
                process.kill()
            try:
                answer = sent.result()
            except requests.RequestException:
                answer = None
        late = time.monotonic() + STRUCK_WITHIN
        while process.is_running and time.monotonic() < late:
            time.sleep(0.002)
        process.kill()
        assert "Traceback" not in process.err, process.err
        assert answer is None or answer.ok, answer.text
        self.customerio.drained()
        if accident == "power":
            self._disk.cut_power(self._before, self.chance)
        told = "nothing" if answer is None else str(answer.status_code)
        print(*address, json.dumps(body), "|", accident, "|", told, flush=True)
        self.happened[address, accident, told] += 1
        self._begin()
        return answer

    def _trigger(self, address: Address, accident: Accident) -> None:
        """It is asked for once, however often it was sent, and runs to its end once."""
        self._night()
        by = self._name()
        body = {"by": by, **self.chance.choice([{}, {"only": ["u1"]}, {"release": True}])}
        path, key = f"/api/syncs/{PLAIN}/runs", {"Idempotency-Key": f"key of {by}"}
        answer = self._strike(address, accident, path, body, **key)

        assert self._acts(by) in ([["run"]] if answer else [[], ["run"]])
        again = self._ask(path, body, **key)
        assert answer is None or answer.json() == again
        assert ["run"] == self._acts(by)
        assert "done" == self._ended(again["request"])["state"]
        whole = [run for run in self._runs(PLAIN) if run["by"] == by and run["error"] != KILLED]
        assert ["done"] == [run["result"] for run in whole]

    def _retry(self, address: Address, accident: Accident) -> None:
        """The record goes with the next run exactly when the journal says who let it."""
        parked = f"/api/syncs/{PARKING}/parked"

        def is_due() -> bool:
            return any(one["next_try"] == one["last_try"] for one in self._ask(parked)["parked"])

        if is_due() or not self._ask(parked)["total"]:
            self._run(PARKING)
        by = self._name()
        keys = self.chance.choice([None, [f"u{ROWS - 1}"]])
        answer = self._strike(address, accident, f"{parked}/retry", {"by": by, "keys": keys})

        assert (["retry"] if is_due() else []) == self._acts(by)
        assert answer is None or (is_due() and {"retried": 1} == answer.json())

    def _pause(self, address: Address, accident: Accident) -> None:
        """The sync is paused exactly when the journal says by whom."""
        self._ask(f"/api/syncs/{PLAIN}/resume", {"by": self._name()})
        by = self._name()
        answer = self._strike(address, accident, f"/api/syncs/{PLAIN}/pause", {"by": by, "reason": "an accident"})
        paused = self._ask(f"/api/syncs/{PLAIN}")["paused"]

        assert (["pause"] if paused else []) == self._acts(by)
        assert answer is None or answer.json()["paused"] == paused
        self._ask(f"/api/syncs/{PLAIN}/resume", {"by": self._name()})

    def _resume(self, address: Address, accident: Accident) -> None:
        """The sync is paused no longer exactly when the journal says who ended it; what had waited runs then."""
        waits = self._ask(f"/api/syncs/{PLAIN}/runs", {"by": self._name()})["request"]
        self._ask(f"/api/syncs/{PLAIN}/pause", {"by": self._name()})
        by = self._name()
        answer = self._strike(address, accident, f"/api/syncs/{PLAIN}/resume", {"by": by})
        paused = self._ask(f"/api/syncs/{PLAIN}")["paused"]

        assert ([] if paused else ["resume"]) == self._acts(by)
        assert answer is None or (not paused and answer.json()["resumed"])
        self._ask(f"/api/syncs/{PLAIN}/resume", {"by": self._name()})
        assert "done" == self._ended(waits)["state"]

    def _held(self) -> str:
        """A plan that waits for a word: the run that holds it."""
        self._night()
        held = self._run(GUARDED)
        assert "held" == held["result"]
        return str(held["run"])

    def _approve(self, address: Address, accident: Accident) -> None:
        """Word and run are given together or not at all; the plan goes without another word, unless some of it had left
        when the daemon died: the rest of it is another plan."""
        held, by = self._held(), self._name()
        answer = self._strike(address, accident, f"/api/runs/{held}/approval", {"by": by})
        acts = self._acts(by)
        newest, *others = [run for run in self._runs(GUARDED) if int(run["run"]) >= int(held)]
        left = [run for run in (newest, *others) if run["accepted"] + run["deferred"]]

        assert acts in ([["approve", "run"]] if answer else [[], ["approve", "run"]])
        if acts:
            assert "done" == newest["result"] or ("held" == newest["result"] and left), (newest, *others)
            assert [["approval"]] == [run["released"] for run in left]
        else:
            assert ("held", []) == (newest["result"], left)
        if answer:
            assert self._ended(answer.json()["request"])["state"] in ("done", "held")

    def _refuse(self, address: Address, accident: Accident) -> None:
        """The hold says who refused the plan exactly when the journal does."""
        held, by = self._held(), self._name()
        answer = self._strike(address, accident, f"/api/runs/{held}/refusal", {"by": by, "reason": "an accident"})
        (refused,) = [one["refused"] for one in self._ask("/api/holds")["holds"] if one["sync"] == GUARDED]

        assert (["refuse"] if refused else []) == self._acts(by)
        assert refused is None or by == refused["by"]
        assert answer is None or answer.json()["refused"] == refused

    def _begin_session(self, address: Address, accident: Accident) -> None:
        """A session lives as long as the process."""
        answer = self._strike(address, accident, "/api/session", {"token": TOKEN})

        assert answer is None or not self._is_known(_cookie(answer))

    def _end_session(self, address: Address, accident: Accident) -> None:
        """A session that was to be ended is worth nothing, whether it was or not."""
        cookie = _cookie(self._send("POST", "/api/session", {"token": TOKEN}, {}))
        assert self._is_known(cookie)
        self._strike(address, accident, "/api/session", Cookie=cookie)

        assert not self._is_known(cookie)

    # --- what must be true -------------------------------------------------------------------------------------

    def end_well(self) -> None:
        """After a last night everything is where it belongs, nothing waits, and every book agrees."""
        self._night()
        for sync in (PLAIN, GUARDED, PARKING):
            newest = self._run(sync)
            if newest["result"] == "held":
                self._ended(self._ask(f"/api/runs/{newest['run']}/approval", {"by": self._name()})["request"])
        runs = [run for sync in (PLAIN, GUARDED, PARKING) for run in self._runs(sync)]
        acts = Counter(one["what"] for one in self._ask("/api/journal?limit=1000")["acts"])
        self._process.signal(signal.SIGTERM)
        result = self._process.end()

        assert 0 == result.code, result.err
        for run in runs:
            assert run["planned"] == run["accepted"] + run["rejected"] + run["deferred"] + run["unsent"], run
            assert run["finished"]
        used = [run for run in runs if "approval" in run["released"] and run["accepted"] + run["deferred"]]
        assert len(used) <= acts["approve"]
        held = [(one.attributes["people"], one.attributes["guarded"]) for one in self.customerio.people.values()]
        scores = [str(self._nights * 10 + number) for number in range(ROWS)]
        assert [(score, score) for score in scores] == sorted(held)

    def end(self) -> None:
        """No daemon is left."""
        self._process.kill()


def _cookie(answer: requests.Response) -> str:
    return answer.headers["Set-Cookie"].partition(";")[0]
