"""Accidents to every command that writes, and what must be true when they are over."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from syncer.control import Control
from tests.crash.commands import SYNCS, Commands, Words, speaks
from tests.crash.disk import Disk

TRIES = 4
"""Accidents to a command, one of which has to find it at work."""
FEW_CHANGES = 8
"""Every command that writes makes so many changes of the state folder at least."""
FEW_SECONDS = 0.5
"""A command is killed within so long as it was seen to take; before it was seen to end, within these."""
RUNS_MAX = 8
"""Runs after the last accident until everything is where it belongs."""

Accident = Literal["kill", "die", "power", "full", "full for good"]
"""Killed at some instant; before some change of the state folder; so, and without what was not synced; one change for
which there is no room; none for any from some change on."""
KILLS: Sequence[Accident] = ("kill", "die", "power")


class Adversity(Commands):
    """Accidents that a seed chooses."""

    def __init__(self, folder: Path, disk: Disk, seed: int, rows: int) -> None:
        super().__init__(folder, disk.folder, seed, rows)
        self.disk = disk
        self.happened: Counter[tuple[str, Accident]] = Counter()
        """(command, accident) → how often it struck."""
        self.told: Counter[str] = Counter()
        """Sentences of commands that found no room, without their paths and numbers."""
        self._changes: dict[str, int] = {}
        """Command → the most changes that it was seen to make."""
        self._requests: dict[str, int] = {}
        """Command → the most requests that it was seen to make."""
        self._seconds: dict[str, float] = {}
        """Command → the longest that it was seen to run."""

    # --- accidents ---------------------------------------------------------------------------------------------

    def harry(self, accidents: Sequence[Accident], kills: int) -> None:
        """Accidents to one command after the other, until so many processes were killed and none was spared."""
        names = list(self.commands)
        number = 0
        while self.kills < kills or number < len(names):
            name = names[number % len(names)]
            if number % 2 == 0:
                self.night()
            for _ in range(TRIES):
                if self._meet(name, self.chance.choice(accidents)):
                    break
            number += 1
            assert number < kills * TRIES + len(names), "commands are over before anything can happen to them"
        met = {name for name, _ in self.happened}

        assert [] == [name for name in names if name not in met]

    @property
    def kills(self) -> int:
        """Processes that were killed."""
        return sum(count for (_, accident), count in self.happened.items() if accident in KILLS)

    @property
    def jobs(self) -> int:
        """Bulk jobs that were made, among the requests that are still in the log."""
        return sum(one.request.method == "POST" and "/jobs/ingest" in one.request.path for one in self.salesforce.log)

    def _meet(self, name: str, accident: Accident) -> bool:
        """An accident to a command; whether it was still at work, and had anything to do."""
        if (accident.startswith("full") and name == "serve") or (accident == "kill" and name.endswith("older store")):
            # A daemon does not end for want of room; and by the clock, a migration is hardly ever met.
            accident = "die"
        for standin in (self.customerio, self.salesforce):
            standin.slow_down(*(self.chance.uniform(0, 0.01) for _ in range(2)))
        self.settle()
        words = self.commands[name]()
        if words is None:
            return False
        before = self.disk.folder.with_name("before")
        shutil.rmtree(before, ignore_errors=True)
        if accident == "power" and self.disk.folder.exists():
            shutil.copytree(self.disk.folder, before)
        struck = self._killed(name, words) if accident == "kill" else self._broken(name, words, accident)
        print(*words, "|", accident, "|", "struck" if struck else "over before", flush=True)
        for standin in (self.customerio, self.salesforce):
            standin.drained()
        if accident == "power" and struck:
            self.disk.cut_power(before, self.chance)
        if struck:
            self.happened[name, accident] += 1
        self.settle()
        self.look_after(name, words)
        self._journal_is_right(is_over=False)
        return struck

    def _killed(self, name: str, words: Words) -> bool:
        """Killed at some moment, or when some request of its has arrived."""
        began, count = time.monotonic(), self._count()
        seconds = self.chance.uniform(0, self._seconds.get(name, FEW_SECONDS))
        requests = self.chance.randint(1, max(1, self._requests.get(name, 0)))
        is_timed = self.chance.random() < 0.5 or name not in self._requests
        process = self.workplace.start(*words)
        while process.is_running:
            if time.monotonic() - began > (seconds if is_timed else 20) or (
                not is_timed and self._count() >= count + requests
            ):
                break
            time.sleep(0.001)
        was_running = process.is_running
        process.kill()
        speaks(process.err)
        # Who was killed would have gone on for a while.
        took = (time.monotonic() - began) * (1.5 if was_running else 1)
        self._seconds[name] = max(self._seconds.get(name, 0), took)
        if made := self._count() - count:
            self._requests[name] = max(self._requests.get(name, 0), made)
        return was_running

    def _count(self) -> int:
        """Requests that have arrived so far."""
        return self.customerio.count + self.salesforce.count

    def _broken(self, name: str, words: Words, accident: Accident) -> bool:
        place = self.chance.randint(1, max(1, self._changes.get(name, FEW_CHANGES)))
        count = self._count()
        if accident.startswith("full"):
            env = self.disk.env(full_at=place, full_for=1 if accident == "full" else 0)
            result = self.workplace.run(*words, env=env)
            self._note(name, count)
            speaks(result.err)
            assert result.code in (0, 1, 2, 3), (words, place, result.err)
            self.told[_without_places(result.err + result.out) if result.code == 1 else f"exit {result.code}"] += 1
            return self._changes[name] >= place
        process = self.workplace.start(*words, env=self.disk.env(die_at=place))
        late = time.monotonic() + (6 if name == "serve" else 60)
        while process.is_running and time.monotonic() < late:
            time.sleep(0.002)
        is_served = process.is_running
        process.kill()
        self._note(name, count)
        speaks(process.err)
        return is_served or process.popen.returncode == -9

    def _note(self, name: str, count: int) -> None:
        """How much the command did before it ended."""
        self._changes[name] = max(self._changes.get(name, 0), self.disk.changes())
        self._requests[name] = max(self._requests.get(name, 0), self._count() - count)

    # --- what must be true -------------------------------------------------------------------------------------

    def end_well(self) -> None:
        """After a good night, and repairs, both services hold what the source says, and every book agrees."""
        self.customerio.slow_down(0, 0)
        self.salesforce.slow_down(0, 0)
        self.settle()
        self.night(is_good=True)
        self.whole("rejected", "--retry")
        self._sync_until_quiet()
        for sync in SYNCS:
            assert self.whole("verify", sync, "--repair").code in (0, 2)
        self._sync_until_quiet()
        for sync in SYNCS:
            verified = self.whole("verify", sync)
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
            result = self.whole("sync", "--json")
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
            entries = self.entries(sync)
            told = Counter((run, result) for run, _, result in entries)

            assert len(entries) == len(set(entries))
            for run in self.workplace.journal(sync):
                found = told[run.id, "accepted"], told[run.id, "rejected"]
                if run.id > self.untold[sync]:
                    assert (run.accepted, run.rejected) == found, run

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
    found = {"killed": adversity.kills, "accidents": by_accident, "commands": by_command, "told": adversity.told}
    doubled = {"doubled": len(adversity.salesforce.doubled()), "sent again": adversity.customerio.repeats}
    return json.dumps(found | doubled | {"bulk jobs": adversity.jobs}, indent=1)
