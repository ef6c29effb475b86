"""The daemon over a long time: a storm of triggers, and a simulated month of runs."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path

import pytest
import structlog

from syncer.service import Daemon
from tests.service.town import LISTEN, NEVER, Town, face_of
from tests.workplace import NO_BRAKES, until

DAY = 86_400.0
NAME = "customerio.people"


def resident() -> float:
    """Megabytes that this process has in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


@pytest.mark.slow
def test_a_thousand_triggers_in_ten_seconds(town: Town) -> None:
    """They are a few runs, one after the other; every trigger is answered and leads to one of them."""
    town.settle(more=LISTEN + NEVER)
    numbers = iter(range(1_000))
    answers: list[int] = []
    began = time.monotonic()
    with face_of(town) as face:

        def trigger() -> None:
            for number in numbers:
                time.sleep(max(0.0, began + number / 100 - time.monotonic()))
                answers.append(face.ask(f"/api/syncs/{NAME}/runs", {"by": "storm"})["request"])

        threads = [threading.Thread(target=trigger) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - began
        ended = {one: face.ended(one)["state"] for one in set(answers)}
    runs = town.results(NAME)
    print(f"\n1,000 triggers in {seconds:.1f} s were {len(runs)} runs")

    assert (1_000, {"done"}) == (len(answers), set(ended.values()))
    assert len(ended) == len(runs) < 100


@pytest.mark.slow
def test_memory_is_flat_over_a_month(town: Town) -> None:
    """A month of a run every 40 minutes, in which a score changes each time, leaves as much in memory as its first days
    did, and the journal and the folders of the state as small as the config says."""
    schedule = '[schedule]\nevery = "40m"\n[history]\nkeep = "7d"\n'
    town.settle(more=f'{LISTEN}keep_runs = 100\nkeep = "7d"\n{schedule}{NO_BRAKES}max_age = "400d"\n')
    mapping = town.folder / "mappings" / "customerio.toml"
    mapping.write_text(mapping.read_text().partition('[[sync]]\nname = "people2"')[0])
    (town.folder / "mappings" / "orbit.toml").unlink()
    now = [time.time()]
    engine = town.engine(clock=lambda: now[0])
    daemon = Daemon(engine, town.config)
    daemon.watch()
    daemon.desk.open(engine)
    objects: list[int] = []
    resided: list[float] = []
    began = now[0]
    while now[0] < began + 30 * DAY:
        town.sql(f"UPDATE people SET score = {now[0] - began} WHERE user_id = 'u1'")
        daemon.tick()
        until(daemon.desk.is_idle, "a run is never over")
        town.customerio.log.clear()
        now[0] += 2400.0
        if (now[0] - began) % DAY < 2400:
            gc.collect()
            resided.append(resident())
            objects.append(len(gc.get_objects()))
    control = engine.control()
    kept = len(control.runs(NAME, 10_000))
    # What is garbage is kept for a while by the machine's own clock, which has not moved by a month.
    engine.state(NAME).clean(control, 0.0)
    files = len(list((town.state / NAME).iterdir()))
    last = control.runs(NAME)[0].id
    engine.stop.set()
    daemon.desk.close()
    engine.close()
    structlog.reset_defaults()
    sizes = [f"{megabytes:.1f} MB, {number:,} objects" for megabytes, number in zip(resided, objects, strict=True)]
    print(f"\n{last} runs: {sizes[3]} after 4 days, {sizes[-1]} after 30; {files} files")

    assert last >= 1_000
    assert kept == 100
    assert files < 120
    assert objects[-1] < objects[3] + 2_000
    assert resided[-1] < resided[3] * 1.1
