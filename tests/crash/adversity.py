"""A workplace whose every writing command meets accidents, and what must be true when they are over."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import duckdb

from syncer.control import Control
from tests.crash.disk import Disk
from tests.crash.standins import SlowCustomerio, SlowSalesforce
from tests.workplace import NO_BRAKES, Result, Workplace

PEOPLE = """
[[sync]]
name = "people"
source = "people"
key = "user_id"
object = "person"
match = { id = "user_id" }
missing = "create"

[sync.fields]
user = "user_id"
score = "score"
label = "label"
# Padding makes several batches of few records; it goes along and is never the reason to go.
pad1 = { column = "pad", compare = false }
pad2 = { column = "pad", compare = false }
pad3 = { column = "pad", compare = false }
"""
CONTACTS = """
[[sync]]
name = "contacts"
source = "people"
key = "user_id"
object = "Contact"
match = { Email = "email" }
missing = "create"

[sync.fields]
LastName = "user_id"
Activation_Score__c = "score"
Title = "title"
"""
SYNCS = ("customerio.people", "salesforce.contacts")
APPROVED = "\n[plans]\napprove = true\n"
RUNS_MAX = 8
"""Runs after the last accident until everything is where it belongs."""

Accident = Literal["kill", "die", "power", "full", "full for good"]
"""Killed at some instant; before some change of the state folder; so, and without what was not synced; one change for
which there is no room; none for any from some change on."""
Words = tuple[str, ...]


class Adversity:
    """People whom two services know, commands about them, and accidents that a seed chooses."""

    def __init__(self, folder: Path, disk: Disk, seed: int, rows: int) -> None:
        self.workplace = Workplace(folder)
        self.disk = disk
        self.rows = rows
        self.chance = random.Random(seed)
        self.customerio, self.salesforce = SlowCustomerio(), SlowSalesforce()
        self.salesforce.ingest.delay = 0
        self.nights = 0
        self.happened: Counter[tuple[str, Accident]] = Counter()
        """(command, accident) → how often it struck."""
        self.told: Counter[str] = Counter()
        """Sentences of commands that found no room, without their paths and numbers."""
        self._changes: dict[str, int] = {}
        """Command → the most changes that it was seen to make."""
        self._commands: dict[str, Callable[[], Words | None]] = {
            "sync": lambda: ("sync",),
            "sync --plan": self._plan,
            "sync --max": lambda: ("sync", self._sync(), "--max", str(self.chance.randint(1, 30))),
            "sync --continue": self._canary,
            "adopt": lambda: ("adopt", self._sync()),
            "verify --repair": self._verify,
            "undo": self._undo,
            "forget": self._forget,
            "rejected --retry": lambda: ("rejected", SYNCS[1], "--retry"),
            "approve": self._approve,
            "serve": lambda: ("serve",),
        }

    # --- the world ---------------------------------------------------------------------------------------------

    def settle(self, more: str = "") -> None:
        """Write the files."""
        self.workplace.write(
            {
                "customerio": self.customerio.settings() + "in_flight = 2\n",
                "salesforce": self.salesforce.settings() + "in_flight = 2\nbulk_from = 1000\n",
            },
            {"customerio": PEOPLE, "salesforce": CONTACTS},
            NO_BRAKES + '\n[service]\nlisten = "127.0.0.1:0"\n[delivery]\nwait_first = 0.01\nwait_max = 0.05\n' + more,
        )

    def night(self, *, is_good: bool = False) -> None:
        """Another version of the source. Some titles are too long for a contact, unless it is a good night."""
        self.nights += 1
        number, bad = self.nights, "FALSE" if is_good else f"i % 40 = {self.nights} % 40"
        self.workplace.sql(
            f"""
            CREATE OR REPLACE TABLE people AS
            SELECT 'u' || i AS user_id, 'u' || i || '@example.com' AS email,
              CASE WHEN i % 10 = {number} % 10 THEN 1000 + {number} ELSE (i * 7 + ({number} + i % 2) // 2) % 100 END
                AS score,
              CASE WHEN i % 20 = {number} % 20 THEN NULL ELSE 'label ' || (i + {number} // 3) % 3 END AS label,
              CASE WHEN {bad} THEN repeat('long ', 40) ELSE 'title ' || (i + {number} // 4) % 5 END AS title,
              repeat('x', 900) AS pad
            FROM range({self.rows}) t(i)
            """
        )

    # --- accidents ---------------------------------------------------------------------------------------------

    def harry(self, accidents: Sequence[Accident], times: int) -> None:
        """So many accidents, each to a command that would write."""
        names = list(self._commands)
        number = 0
        while self.happened.total() < times and number < times * 4:
            name, accident = names[number % len(names)], self.chance.choice(accidents)
            if number % 2 == 0:
                self.night()
            if accident.startswith("full") and name == "serve":
                accident = "die"
            self._meet(name, accident)
            number += 1
        assert self.happened.total() >= times, "commands are over before anything can happen to them"

    def _meet(self, name: str, accident: Accident) -> None:
        self.customerio.slow_down(*(self.chance.uniform(0, 0.01) for _ in range(2)))
        self.salesforce.slow_down(*(self.chance.uniform(0, 0.01) for _ in range(2)))
        if name != "approve":
            self.settle()
        words = self._commands[name]()
        if words is None:
            return
        before = self.disk.folder.with_name("before")
        shutil.rmtree(before, ignore_errors=True)
        if accident == "power" and self.disk.folder.exists():
            shutil.copytree(self.disk.folder, before)
        if accident == "kill":
            struck = self._killed(words, self.chance.uniform(0.3, 2.5))
        else:
            struck = self._broken(name, words, accident)
        for standin in (self.customerio, self.salesforce):
            standin.drained()
        if accident == "power" and struck:
            self.disk.cut_power(before, self.chance)
        self.happened[name, accident] += struck
        if (self.disk.folder / "control.db").exists():
            self._journal_is_right(is_over=False)

    def _killed(self, words: Words, seconds: float) -> bool:
        process = self.workplace.start(*words)
        late = time.monotonic() + seconds
        while process.is_running and time.monotonic() < late:
            time.sleep(0.002)
        was_running = process.is_running
        process.kill()
        _speaks(process.err)
        return was_running

    def _broken(self, name: str, words: Words, accident: Accident) -> bool:
        place = self.chance.randint(1, max(self._changes.get(name, 60), 10))
        if accident.startswith("full"):
            env = self.disk.env(full_at=place, full_for=1 if accident == "full" else 0)
            result = self.workplace.run(*words, env=env)
            self._note_changes(name)
            _speaks(result.err)
            assert result.code in (0, 1, 2, 3), (words, place, result.err)
            self.told[_without_places(result.err + result.out) if result.code == 1 else f"exit {result.code}"] += 1
            return self._changes[name] >= place
        process = self.workplace.start(*words, env=self.disk.env(die_at=place))
        late = time.monotonic() + (6 if name == "serve" else 60)
        while process.is_running and time.monotonic() < late:
            time.sleep(0.002)
        is_served = process.is_running
        process.kill()
        self._note_changes(name)
        _speaks(process.err)
        return is_served or process.popen.returncode == -9

    def _note_changes(self, name: str) -> None:
        self._changes[name] = max(self._changes.get(name, 0), self.disk.changes())

    # --- commands ----------------------------------------------------------------------------------------------

    def _sync(self) -> str:
        return self.chance.choice(SYNCS)

    def _whole(self, *words: str) -> Result:
        """A command to which nothing happens; it may refuse."""
        result = self.workplace.run(*words)
        _speaks(result.err)
        return result

    def _plan(self) -> Words:
        self._whole("diff", "--out", "plan.json")
        return ("sync", "--plan", "plan.json")

    def _canary(self) -> Words:
        sync = self._sync()
        self._whole("sync", sync, "--max", "5")
        return ("sync", sync, "--continue")

    def _verify(self) -> Words:
        """Somebody has changed a few records over there."""
        for record in [*self.customerio.people.values()][:: max(1, self.rows // 5)]:
            record.attributes["score"] = "-7"
        return ("verify", SYNCS[0], "--repair")

    def _undo(self) -> Words | None:
        runs = [run for run in self.workplace.journal(self._sync()) if run.accepted and not run.facts.get("undoes")]
        return ("undo", str(runs[0].id)) if runs else None

    def _forget(self) -> Words:
        some = self.chance.sample(range(self.rows), 20)
        return ("forget", self._sync(), *(f"u{number}" for number in some))

    def _approve(self) -> Words | None:
        self.settle(APPROVED)
        self._whole("sync")
        held = [run for sync in SYNCS for run in self.workplace.journal(sync)[:1] if run.result == "held"]
        return ("approve", str(held[0].id), "--by", "somebody") if held else None

    # --- what must be true -------------------------------------------------------------------------------------

    def end_well(self) -> None:
        """After a good night, and repairs, both services hold what the source says, and every book agrees."""
        self.customerio.slow_down(0, 0)
        self.salesforce.slow_down(0, 0)
        self.settle()
        self.night(is_good=True)
        self._whole("rejected", "--retry")
        self._sync_until_quiet()
        for sync in SYNCS:
            assert self._whole("verify", sync, "--repair").code in (0, 2)
        self._sync_until_quiet()
        for sync in SYNCS:
            verified = self._whole("verify", sync)
            assert 0 == verified.code, verified.out + verified.err

        people = self.workplace.rows("SELECT user_id, email, score, coalesce(label, '') AS label, title FROM people")
        assert {row["user_id"]: (str(row["score"]), row["label"]) for row in people} == self.customerio.held(
            "score", "label"
        )
        assert [] == self.salesforce.doubled()
        held = self.salesforce.held("Activation_Score__c", "Title")
        assert {row["email"]: (row["score"], row["title"]) for row in people} == held
        self._journal_is_right(is_over=True)
        self._history_is_right()
        self._folder_is_right()

    def _sync_until_quiet(self) -> None:
        for _ in range(RUNS_MAX):
            result = self._whole("sync", "--json")
            assert result.code in (0, 2), result.out + result.err
            if all(one["planned"] == 0 for one in result.json["syncs"]):
                return
        raise AssertionError("there is always something left to send")

    def _journal_is_right(self, *, is_over: bool) -> None:
        for sync in SYNCS:
            for run in self.workplace.journal(sync):
                if run.result == "running":
                    assert not is_over
                    continue
                assert run.planned == run.accepted + run.rejected + run.deferred + run.unsent, run
                assert run.finished is not None

    def _history_is_right(self) -> None:
        for sync in SYNCS:
            control = Control.look(self.workplace.kept)
            assert control is not None
            files = [str(self.workplace.state / sync / part.file) for part in control.history(sync)]
            control.close()
            with duckdb.connect(":memory:") as connection:
                query = "SELECT run, key, result FROM read_parquet(?, union_by_name = true)"
                entries = connection.execute(query, [files]).fetchall()
            told = Counter((run, result) for run, _, result in entries)

            assert len(entries) == len(set(entries))
            for run in self.workplace.journal(sync):
                assert (run.accepted, run.rejected) == (told[run.id, "accepted"], told[run.id, "rejected"]), run

    def _folder_is_right(self) -> None:
        """Nothing half written is left, all that the store names is there, and nobody else may read any of it."""
        for sync in SYNCS:
            control = Control.look(self.workplace.kept)
            assert control is not None
            named = control.referenced(sync) - set(control.garbage(-1e9))
            control.close()
            there = {file.name for file in (self.workplace.state / sync).iterdir()}

            assert named <= there
            assert [] == [name for name in there if name.endswith(".tmp") or name.startswith("spool-")]
        modes = {path.stat().st_mode & 0o077 for path in [self.workplace.state, *self.workplace.state.rglob("*")]}
        assert {0} == modes


def _speaks(err: str) -> None:
    """A command says what is wrong in sentences."""
    assert "Traceback" not in err, err
    assert "Syncer's fault" not in err, err


def _without_places(text: str) -> str:
    """What was said, as far as it is the same everywhere."""
    line = next((line for line in reversed(text.splitlines()) if line.strip() and not line.startswith("{")), "")
    return " ".join(word for word in line.split() if "/" not in word and not any(sign.isdigit() for sign in word))[:100]


def report(adversity: Adversity) -> str:
    """What happened, for whoever runs the long form."""
    by_accident: Counter[str] = Counter()
    by_command: Counter[str] = Counter()
    for (name, accident), count in adversity.happened.items():
        by_accident[accident] += count
        by_command[name] += count
    return json.dumps({"accidents": by_accident, "commands": by_command, "told": adversity.told}, indent=1)
