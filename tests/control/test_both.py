"""One store over two databases: whatever is done to it, both answer the same."""

from __future__ import annotations

import inspect
import itertools
import random
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from syncer.config_file import LocalState
from syncer.control import Control, HistoryPart, Settled, answers_text, noting, store
from syncer.control.telling import Message, Telling, Told

SYNC, OTHER = "memory.people", "memory.others"
OPENING = {"open", "look", "wrong", "close", "exclusively", "confirm", "holder", "scrub", "copy_to", "retry_after"}
"""What is about the store as a whole; other tests are about that."""


class Noticing:
    """A store that notices which of its methods were called, and what they answered."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self.called: set[str] = set()
        self.answers: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*values: Any, **options: Any) -> Any:
            answer = getattr(self._control, name)(*values, **options)
            self.called.add(name)
            self.answers.append((name, None if name == "begin_plan" else plain(answer)))
            return answer

        return call


def plain(answer: Any) -> Any:
    """An answer as it can be compared; ids that are made up are hidden, and numbers that only a file uses again."""
    if isinstance(answer, list):
        return [plain(one) for one in answer]
    if hasattr(answer, "__dataclass_fields__"):
        return re.sub(r"[0-9a-f]{32}|'(sync_|plan_)?id': \d+", "id", repr(asdict(answer)))
    return sorted(answer) if isinstance(answer, set) else answer


def story(control: Noticing, seed: int) -> None:
    """Runs of two syncs, with everything that can become of them, by chance and the same for each store."""
    chance = random.Random(seed)
    files = (f"file-{number}" for number in itertools.count())
    for number in range(12):
        sync = chance.choice([SYNC, OTHER])
        control.recover(sync)
        run = control.begin_run(sync, "{}", chance.choice(["command", "schedule"]), chance.choice([None, 3]))
        standing = control.register(sync, "{}", ["user", f"f{chance.randrange(4)}"])
        if chance.random() < 0.2:
            counts = {"planned": 4, "accepted": 0, "rejected": 0, "deferred": 0, "unsent": 4}
            control.finish_run(run, result="held", counts=counts, digest=f"digest-{number}")
            given = control.approve(run, "Ada")
            control.approval(sync, f"digest-{number}", 60.0)
            control.begin_plan(
                run, standing.sync_id, next(files), 4, 4, "digest", ["x"], approval=given.id if given else None
            )
            continue
        size = chance.randint(2, 6)
        plan = control.begin_plan(run, standing.sync_id, next(files), size, size, "digest", [], saved=f"saved-{number}")
        control.use_of(f"saved-{number}")
        codes = bytes(chance.choice([0, 1, 1, 2, 3]) for _ in range(size))
        control.commit(standing.sync_id, [], (plan, 0, size))
        if chance.random() < 0.5:
            control.note_job(plan, 0, "job")
            control.left_behind(sync)
        if chance.random() < 0.2:
            continue  # It is killed here.
        refused = [(row, "refused", "too long ä\0") for row, code in enumerate(codes) if code == 2]
        settled = Settled(plan, 0, codes, answers=answers_text(refused, [(0, "request")]))
        settled.is_over = chance.random() < 0.7
        settled.parked = [(f"k{row}", f"payload-{chance.randrange(2)}", code, text) for row, code, text in refused]
        settled.cleared = [f"k{row}" for row, code in enumerate(codes) if code == 1]
        control.commit(standing.sync_id, [settled], None)
        control.parked(sync)
        control.note_gone(standing.sync_id, {f"g{row}": row for row in range(chance.randrange(3))})
        control.gone(sync)
        tally = {name: codes.count(code) for code, name in ((1, "accepted"), (2, "rejected"))}
        counts = {"planned": size, **tally, "deferred": size - sum(tally.values()), "unsent": 0}
        error = chance.choice([None, "no"])
        control.finish_run(
            run, result="failed" if error else "done", counts=counts, error=error, plan_id=plan, versions=["v", "w"]
        )
        control.taken_up(run, plan, accepted=1, rejected=0)
        for part in control.unnoted(sync):
            note = control.next_note(sync)
            file = next(files)
            control.noted(sync, part, HistoryPart(file, 3, float(note), float(note) + 1, "layout"))
        parts = control.history(sync)
        if len(parts) > 2:
            control.rewrite_history(sync, [one.file for one in parts[:2]], HistoryPart(next(files), 6, 0.0, 1.0, "l"))
        if append := control.next_append(sync):
            control.next_append(sync)
            control.withdraw_append(sync) if chance.random() < 0.3 else control.appended(sync, append)
        if control.closed_plans(sync) > 2:
            control.fold(standing.sync_id, next(files), 9, control.standing(sync).base_file)
        control.retry(sync, chance.choice([None, ["k0", "k1"]]))
        control.unpark(sync, ["k1"])
        control.drop(sync, ["k2", "g0"])
        control.take_over(run, standing.sync_id, next(files), 3)
        control.standing(sync)
        control.referenced(sync)
        control.collected(control.garbage(0.0)[:1])
        control.run(run)
        control.plan_of_run(run)
        ask(control, chance, sync, run, number)
    for sync in (SYNC, OTHER, "nobody"):
        control.recover(sync)
        control.runs(sync, 100)
        control.standing(sync)
        control.unnoted(sync)
        control.forget(sync)
        control.standing(sync)
    for number in range(4):
        watch(control, chance, SYNC, number)
    control.syncs()
    control.prune_asked(5.0)
    control.acts(100)


def ask(control: Noticing, chance: random.Random, sync: str, run: int, number: int) -> None:
    """What people and programs ask of the daemon meanwhile."""
    options = {"only": [f"k{chance.randrange(2)}"]}
    control.ask(sync, "Ada", options, (f"key-{number}", "body"))
    control.ask(sync, "Bo", options)
    control.answered(f"key-{number}", "body")
    control.ask_in_vain(sync, "Ada", options, "it is not there")
    control.waiting()
    if (taken := control.take_request(sync)) and chance.random() < 0.8:
        control.end_request(taken.id, "done", run, None)
        control.request(taken.id)
    control.pause(sync, "Ada", "a holiday")
    control.pauses()
    control.resume(sync, "Bo")
    control.retry(sync, None, "Ada")
    control.acts(5)
    control.latest()
    control.parked_count(sync)
    held = control.begin_run(sync, "{}", "request", None)
    counts = {"planned": 1, "accepted": 0, "rejected": 0, "deferred": 0, "unsent": 1}
    control.finish_run(held, result="held", counts=counts, digest=f"held-{number}")
    control.refuse(held, "Ada", "not tonight")
    control.refusal(sync, f"held-{number}")


def watch(control: Noticing, chance: random.Random, sync: str, number: int) -> None:
    """What alerts tell of it, and send."""
    control.last_success(sync)
    told = control.told("ops")
    begun = [Told(f"cause-{number}", float(number), "ä title", (("slot", sync),))]
    over = [one.cause for one in told if chance.random() < 0.5]
    control.tell("ops", begun, over, told, lambda ours: [Message(f"m{number}{one}", "ops", 1.0, "{}") for one in ours])
    for message in control.undelivered():
        if control.claim(message, number + 1.0):
            control.claim(message, number + 2.0)
            control.sent(message.id) if chance.random() < 0.5 else control.put_off(message.id, number + 3.0)


@pytest.mark.parametrize("seed", [0, 1])
def test_both_stores_answer_the_same(
    tmp_path: Path, control: Control, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the same story a file and a server have answered the same, to every question that a store can be asked."""
    told = []
    monkeypatch.setattr(store, "RUNS_KEPT", 4)
    for one in (Control.open(LocalState(path=str(tmp_path / "file")), (60.0, 600.0)), control):
        ticks = itertools.count(1_700_000_000.0)
        one._clock, one._retry_seconds = ticks.__next__, (60.0, 600.0)
        for module in (store, noting):
            monkeypatch.setattr(module.time, "time", ticks.__next__)
        noticing = Noticing(one)
        story(noticing, seed)
        told.append(noticing)
    told[0]._control.close()
    public = {name for name, _ in inspect.getmembers(Control, inspect.isfunction) if not name.startswith("_")}
    # What alerts have told is test_telling's, on both stores too.
    public -= set(vars(Telling))

    assert told[0].answers == told[1].answers
    assert public - OPENING <= told[0].called
