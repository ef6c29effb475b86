"""Every command that writes what is remembered, and what has to be there before it: accidents happen to each."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import duckdb

from syncer.config_file import LocalState
from syncer.control import Control
from syncer.control.schema import STEPS
from tests.crash.older import HISTORY_SINCE, make_older
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
BULK_FROM = 1_500
"""Changes that go by a bulk job: so many that it needs fewer requests than 200 records each."""
PLACES = ("one", "two")
"""Where the state lies in the folder that meets the accidents; `state move` takes it to the other one."""

Words = tuple[str, ...]


class Commands:
    """People whom two services know, and commands about them."""

    def __init__(self, folder: Path, state: Path, seed: int, rows: int) -> None:
        """`state` is the folder that meets the accidents."""
        self.workplace = Workplace(folder)
        self.rows = rows
        self.chance = random.Random(seed)
        self.customerio, self.salesforce = SlowCustomerio(), SlowSalesforce()
        self.salesforce.ingest.delay = 0
        self.nights = 0
        self.untold: dict[str, int] = dict.fromkeys(SYNCS, 0)
        """Sync → the last run of which the history need not have everything, as it was erased or not kept yet."""
        self._states = state
        self._saved = folder / "plan.json"
        self._lies_in(PLACES[0])
        self.commands: dict[str, Callable[[], Words | None]] = {
            "sync": lambda: ("sync",),
            "sync --plan": self._plan,
            "sync --only": lambda: ("sync", self._sync(), "--only", self._keys(1)[0]),
            "sync --max": lambda: ("sync", self._sync(), "--max", str(self.chance.randint(1, 30))),
            "sync --continue": self._canary,
            "sync --release": self._released,
            "sync --dbt-run-results": self._after_dbt,
            "sync, by a bulk job": self._bulk,
            "diff --out": lambda: ("diff", "--out", str(self._saved)),
            "adopt": lambda: ("adopt", self._sync()),
            "verify --sample": lambda: ("verify", self._sync(), "--sample", "20"),
            "verify --repair": self._verify,
            "undo": self._undo,
            "undo --release": self._undo_released,
            "forget": lambda: ("forget", self._sync(), *self._keys(20)),
            "forget --erase": self._erase,
            "rejected --retry": lambda: ("rejected", SYNCS[1], "--retry"),
            "approve": self._approve,
            "pause": lambda: ("pause", self._sync(), "--reason", "an accident"),
            "resume": self._resume,
            "serve": self._serve,
            "state move": self._move,
            "status, of an older store": lambda: self._older("status"),
            "sync, of an older store": lambda: self._older("sync"),
        }
        """Name → what prepares it and says its words; None when there is nothing that it could do."""
        if rows < BULK_FROM:
            del self.commands["sync, by a bulk job"]

    # --- the world ---------------------------------------------------------------------------------------------

    def settle(self, more: str = "", state: Path | None = None) -> None:
        """Write the files."""
        self._write("config.toml", state or self.workplace.state, more)

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

    def whole(self, *words: str) -> Result:
        """A command to which nothing happens; it may refuse."""
        result = self.workplace.here(*words)
        speaks(result.err)
        return result

    def entries(self, sync: str) -> list[tuple[int, str, str]]:
        """Run, key and result of each entry of its history."""
        control = Control.look(self.workplace.kept)
        assert control is not None
        with closing(control):
            files = [str(self.workplace.state / sync / part.file) for part in control.history(sync)]
        if not files:
            return []
        with duckdb.connect(":memory:") as connection:
            query = "SELECT run, key, result FROM read_parquet(?, union_by_name = true)"
            return connection.execute(query, [files]).fetchall()

    def look_after(self, name: str, words: Words) -> None:
        """What somebody does after an accident to a command that is not simply given once more by the next run."""
        match name:
            case "diff --out":
                self.whole("sync", "--plan", str(self._saved))
            case "forget --erase":
                self._is_erased(words)
            case "state move":
                self._look_where_it_lies()

    # --- what prepares a command -------------------------------------------------------------------------------

    def _sync(self) -> str:
        return self.chance.choice(SYNCS)

    def _keys(self, count: int) -> list[str]:
        return [f"u{number}" for number in self.chance.sample(range(self.rows), count)]

    def _plan(self) -> Words:
        self.whole("diff", "--out", str(self._saved))
        return ("sync", "--plan", str(self._saved))

    def _canary(self) -> Words:
        sync = self._sync()
        self.whole("sync", sync, "--max", "5")
        return ("sync", sync, "--continue")

    def _released(self) -> Words:
        self.settle(APPROVED)
        return ("sync", "--release")

    def _after_dbt(self) -> Words:
        """dbt made the table, or failed to."""
        schemas, status = "https://schemas.getdbt.com/dbt", self.chance.choice(("success", "error"))
        results, manifest = (self.workplace.folder / name for name in ("run_results.json", "manifest.json"))
        model = {
            "name": "people", "resource_type": "model", "database": "warehouse", "schema": "main", "alias": "people",
            "depends_on": {"nodes": []}, "relation_name": '"warehouse"."main"."people"',
        }  # fmt: skip
        metadata = {"dbt_schema_version": f"{schemas}/manifest/v12.json"}
        manifest.write_text(json.dumps({"metadata": metadata, "nodes": {"model.acme.people": model}}))
        found = {"unique_id": "model.acme.people", "status": status, "message": None}
        metadata = {"dbt_schema_version": f"{schemas}/run-results/v6.json", "invocation_id": "7"}
        results.write_text(json.dumps({"metadata": metadata, "results": [found], "args": {"which": "build"}}))
        return ("sync", "--dbt-run-results", str(results), "--dbt-manifest", str(manifest))

    def _bulk(self) -> Words:
        """Everybody's score moved, for contacts that are there; or all are gone, and nothing is known of them."""
        if self.chance.random() < 0.5 and self.whole("forget", SYNCS[1]).code == 0:
            for contact in self.salesforce.records("Contact"):
                self.salesforce.org.delete("Contact", contact["Id"])
        self.night()
        self.night()
        return ("sync", SYNCS[1])

    def _verify(self) -> Words:
        """Somebody has changed a few records over there."""
        for record in [*self.customerio.people.values()][:: max(1, self.rows // 5)]:
            record.attributes["score"] = "-7"
        return ("verify", SYNCS[0], "--repair")

    def _undo(self) -> Words | None:
        runs = [run for run in self.workplace.journal(self._sync()) if run.accepted and not run.facts.get("undoes")]
        return ("undo", str(runs[0].id)) if runs else None

    def _undo_released(self) -> Words | None:
        self.settle(APPROVED)
        words = self._undo()
        return words and (*words, "--release")

    def _erase(self) -> Words:
        sync = self._sync()
        self.untold[sync] = max((run.id for run in self.workplace.journal(sync)), default=0)
        return ("forget", sync, *self._keys(20), "--erase")

    def _approve(self) -> Words | None:
        self.settle(APPROVED)
        self.whole("sync")
        held = [run for sync in SYNCS for run in self.workplace.journal(sync)[:1] if run.result == "held"]
        return ("approve", str(held[0].id), "--by", "somebody") if held else None

    def _resume(self) -> Words:
        sync = self._sync()
        self.whole("pause", sync)
        return ("resume", sync)

    def _serve(self) -> Words:
        """Somebody has asked for a run of each sync."""
        with closing(Control.open(self.workplace.kept)) as control:
            for sync in SYNCS:
                control.resume(sync, "somebody")
                control.ask(sync, "somebody", {})
        return ("serve",)

    def _move(self) -> Words:
        self._write("other.toml", self._states / self._other_place())
        return ("state", "move", "--to", str(self.workplace.folder / "other.toml"))

    def _older(self, command: str) -> Words | None:
        """The store is one of an older version; of what that did not keep, nothing can be asked."""
        file = self.workplace.state / "control.db"
        if not file.exists():
            return None
        version = self.chance.randint(1, len(STEPS) - 1)
        if version < HISTORY_SINCE:
            self.untold |= {sync: max((run.id for run in self.workplace.journal(sync)), default=0) for sync in SYNCS}
        make_older(file, version)
        return (command,)

    # --- what somebody looks after -----------------------------------------------------------------------------

    def _is_erased(self, words: Words) -> None:
        """Erasing can be repeated, and then nothing has the keys any more."""
        _, sync, *keys, _ = words
        self.whole(*words)

        assert [] == [entry for entry in self.entries(sync) if entry[1] in keys]

    def _other_place(self) -> str:
        return PLACES[1 - PLACES.index(self.workplace.state.name)]

    def _look_where_it_lies(self) -> None:
        """The state lies in the other place as soon as the store there knows syncs; the old place is of no use then."""
        there = LocalState(path=str(self._states / self._other_place()))
        control = Control.look(there)
        if control is None:
            return
        with closing(control):
            is_moved = bool(control.syncs())
        if is_moved:
            old = self.workplace.state
            self._lies_in(self._other_place())
            shutil.rmtree(old)

    def _lies_in(self, place: str) -> None:
        self.workplace.state = self._states / place
        self.workplace.kept = LocalState(path=str(self.workplace.state))

    def _write(self, name: str, state: Path, more: str = "") -> None:
        self.workplace.write(
            {
                "customerio": self.customerio.settings() + "in_flight = 2\n",
                "salesforce": self.salesforce.settings() + f"in_flight = 2\nbulk_from = {BULK_FROM}\n",
            },
            {"customerio": PEOPLE, "salesforce": CONTACTS},
            f'\n[state]\npath = "{state}"\n'
            + NO_BRAKES
            + '\n[service]\nlisten = "127.0.0.1:0"\n'
            + "[delivery]\nwait_first = 0.01\nwait_max = 0.05\n"
            + more,
            name,
        )


def speaks(err: str) -> None:
    """A command says what is wrong in sentences."""
    assert "Traceback" not in err, err
    assert "Syncer's fault" not in err, err
