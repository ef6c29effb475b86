"""The command line as a user meets it: exit codes, documents, sentences, and two processes at once.

Commands run in this process, which is quicker; where processes matter they are real ones.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.town import CONTACTS, PEOPLE, ROWS, Town, a_town, told
from tests.workplace import until


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with a_town(tmp_path) as made:
        yield made


# diff.


def test_diff(town: Town) -> None:
    """The plan in the promised form; nothing is sent, no state is made, and only --exit-code makes it exit 2."""
    result = town("diff", "customerio", "--json")

    assert 0 == result.code
    assert 2 == town("diff", "customerio", "--exit-code").code
    one = result.sync
    assert ("customerio.people", ROWS, 0, 1) == (one["sync"], one["rows"], one["known"], one["requests"])
    assert re.fullmatch("sha256:[0-9a-f]{64}", one["plan"])
    empty = {"changed": 0, "removed": 0, "unchanged": 0, "parked": 0, "invalid": 0, "rescored": 0}
    assert {"new": ROWS} | empty == one["counts"]
    assert ([], []) == (one["holds"], one["invalid"])
    fields = {
        "user": {"before": None, "after": "u0"},
        "score": {"before": None, "after": 0.0},
        "plan": {"before": None, "after": "•••"},
    }
    assert {"key": "u0", "kind": "new", "fields": fields} == one["changes"][0]
    assert 0 == town.sent
    assert not town.state.exists()
    assert one["plan"] == town("diff", "customerio", "--json").sync["plan"]


def test_diff_after_a_sync(town: Town) -> None:
    """Old and new values of what differs, and nothing when nothing does."""
    town("sync", "customerio")
    assert 0 == town("diff", "customerio", "--exit-code").code

    town.sql("UPDATE people SET score = 41.5 WHERE user_id = 'u3'", "INSERT INTO people VALUES (NULL, 'x', 1, 'x')")
    one = town("diff", "customerio", "--json").sync
    change = {"key": "u3", "kind": "changed", "fields": {"score": {"before": 3.0, "after": 41.5}}}
    assert [change] == one["changes"]
    assert [{"key": None, "reason": "null_key"}] == [
        {name: row[name] for name in ("key", "reason")} for row in one["invalid"]
    ]
    assert (ROWS, 1, ROWS - 1) == (one["known"], one["counts"]["changed"], one["counts"]["unchanged"])
    text = told(town("diff", "customerio"))
    assert "41.5" in text
    assert "plan-3" not in text


def test_diff_shows_part_of_a_plan(town: Town) -> None:
    """--key and --limit choose what is shown, and neither changes the plan."""
    whole = town("diff", "customerio", "--json").sync
    by_key = town("diff", "customerio", "--json", "--key", "u2", "--key", "u4", "--key", "nobody").sync
    limited = town("diff", "customerio", "--json", "--limit", "2").sync

    assert ["u2", "u4"] == [change["key"] for change in by_key["changes"]]
    assert whole["changes"][:2] == limited["changes"]
    assert 1 == len({one["plan"] for one in (whole, by_key, limited)})
    assert [] == town("diff", "customerio", "--json", "--limit", "0").sync["changes"]


# sync: exit codes.


def test_sync_accepts(town: Town) -> None:
    """Exit 0 when all is accepted, and when there is nothing to do; the document is the promised one."""
    result = town("sync", "customerio", "--json")

    assert 0 == result.code
    one = result.sync
    wanted = {"sync": "customerio.people", "result": "done", "planned": ROWS, "accepted": ROWS, "rejected": 0}
    wanted |= {"deferred": 0, "unsent": 0, "requests": 1, "error": None, "holds": []}
    assert wanted == {name: one[name] for name in wanted}
    assert isinstance(one["run"], str)
    assert isinstance(one["seconds"], float)
    again = town("sync", "customerio", "--json")
    assert (0, 0, 0) == (again.code, again.sync["planned"], again.sync["requests"])


def test_sync_with_rejected_records(town: Town) -> None:
    """Exit 2 when some records were rejected, with one line for a reason and not for a record."""
    result = town("sync", "salesforce", "--json")

    assert 2 == result.code
    assert (3, 3) == (result.sync["accepted"], result.sync["rejected"])
    assert [("rejected", "missing", 3)] == [
        (one["result"], one["code"], one["count"]) for one in result.sync["reasons"]
    ]


def test_sync_fails(town: Town) -> None:
    """Exit 1 when a destination refuses the credentials; the other destination's sync is done all the same."""
    town.customerio.api_key = "changed"
    result = town("sync", "--json")
    by_name = {one["sync"]: one for one in result.json["syncs"]}

    assert 1 == result.code
    assert "failed" == by_name["customerio.people"]["result"]
    assert "refused the Track API credentials" in by_name["customerio.people"]["error"]
    assert (ROWS, ROWS) == (by_name["customerio.people"]["planned"], by_name["customerio.people"]["unsent"])
    assert "done" == by_name["salesforce.contacts"]["result"]
    assert 1 == town("status").code
    assert "refused the Track API credentials" in told(town("sync", "customerio"))


def test_sync_is_held_and_released(town: Town) -> None:
    """Exit 3 when a brake holds, nothing is sent, and it stays so; --release sends it, and the journal tells."""
    town("sync", "customerio")
    town.sql("DELETE FROM people")
    sent = town.sent
    held = town("sync", "customerio", "--json")

    assert (3, "held", "empty_source") == (held.code, held.sync["result"], held.sync["holds"][0]["brake"])
    assert 3 == town("sync", "customerio").code
    assert sent == town.sent
    status = town("status", "customerio", "--json")
    assert (0, "held", "empty_source") == (status.code, status.sync["state"], status.sync["holds"][0]["brake"])
    assert "--release" in held.sync["holds"][0]["sentence"]
    assert 0 == town("sync", "customerio", "--release").code
    run = town("status", "customerio", "--json").sync["last_run"]
    assert (["empty_source"], "done") == (run["released"], run["result"])


def test_sync_of_some_keys(town: Town) -> None:
    """--only sends these keys and no others, and the next run the rest."""
    result = town("sync", "customerio", "--only", "u1", "--only", "u4", "--json")

    assert (0, 2) == (result.code, result.sync["accepted"])
    assert {"u1", "u4"} == set(town.customerio.held("user"))
    assert ROWS - 2 == town("sync", "customerio", "--json").sync["accepted"]


def test_sync_as_a_canary(town: Town) -> None:
    """--max sends so many records and counts the rest as unsent."""
    result = town("sync", "customerio", "--max", "2", "--json")

    assert (0, ROWS, 2, ROWS - 2) == (result.code, *(result.sync[name] for name in ("planned", "accepted", "unsent")))
    assert {"u0", "u1"} == set(town.customerio.held("user"))


# sync --plan.


def test_a_saved_plan_is_applied_exactly(town: Town) -> None:
    """A plan that was saved and still holds is sent; only its syncs run; the file is for its owner only."""
    file = town.folder / "plan.json"
    assert 0 == town("diff", "customerio", "--out", str(file), "--limit", "1").code
    assert 0o600 == file.stat().st_mode & 0o777
    saved = json.loads(file.read_text())["syncs"][0]
    assert ROWS == len(saved["changes"])
    result = town("sync", "--plan", str(file), "--json")

    assert 0 == result.code
    assert ("customerio.people", ROWS) == (result.sync["sync"], result.sync["accepted"])
    assert saved["plan"] == town("status", "customerio", "--json").sync["last_run"]["plan"]


def source_moves(town: Town) -> None:
    town.sql("UPDATE people SET score = score + 0.25 WHERE user_id = 'u5'")


def mapping_moves(town: Town) -> None:
    town.mappings["customerio"] = PEOPLE.replace('score = "score"', 'score = { column = "score", digits = 3 }')
    town.settle()


def state_moves(town: Town) -> None:
    assert 0 == town("sync", "customerio", "--only", "u1").code


@pytest.mark.parametrize("move", [source_moves, mapping_moves, state_moves])
def test_a_saved_plan_is_refused_when_the_world_has_moved(town: Town, move: Any) -> None:
    """Another source, mapping or state makes another plan, and what nobody has seen is not sent."""
    file = town.folder / "plan.json"
    town("diff", "customerio", "--out", str(file))
    move(town)
    sent = town.sent
    result = town("sync", "--plan", str(file), "--json")

    assert 1 == result.code
    assert "the plan is not the one that was saved; source, mapping or state have moved" in result.sync["error"]
    assert sent == town.sent
    run = town("status", "customerio", "--json").sync["last_run"]
    assert ("failed", 0) == (run["result"], run["planned"])


@pytest.mark.parametrize("content", [None, "", "[1]", "{}", '{"syncs": [{"sync": "a"}]}', "not JSON"])
def test_a_file_that_is_no_plan(town: Town, content: str | None) -> None:
    """A missing file, or one that holds something else, is told with how to make one, and nothing is sent."""
    file = town.folder / "plan.json"
    if content is not None:
        file.write_text(content)
    result = town("sync", "--plan", str(file))

    assert 1 == result.code
    assert "syncer diff --out" in told(result)
    assert 0 == town.sent


# status, rejected, forget, check, schema.


def test_status(town: Town) -> None:
    """Before a run, after a good one and after a failed one; exit 1 only then."""
    before = town("status", "--json")
    assert (0, ["never run"] * 2) == (before.code, [one["state"] for one in before.json["syncs"]])

    town("sync", "customerio")
    good = town("status", "customerio", "--json")
    one = good.sync
    assert (0, "ok", ROWS, 0) == (good.code, one["state"], one["known"], one["parked"])
    assert ("done", "command", ROWS) == tuple(one["last_run"][name] for name in ("result", "trigger", "accepted"))
    for moment in (one["last_run"]["started"], one["last_run"]["finished"], one["next_run"], one["source_modified"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", moment)

    town.customerio.api_key = "changed"
    town.sql("UPDATE people SET score = 9 WHERE user_id = 'u1'")
    town("sync", "customerio")
    failed = town("status", "customerio", "--json")
    assert (1, "failed") == (failed.code, failed.sync["state"])
    assert 2 == len(failed.sync["runs"])


def test_rejected(town: Town) -> None:
    """Parked records wait; --retry of some lets those go with the next run, and of none lets all go."""
    town("sync", "salesforce")
    parked = town("rejected", "--json").json["parked"]
    assert ["u3", "u4", "u5"] == [one["key"] for one in parked]
    assert {"salesforce.contacts", "missing", 1} == {parked[0][name] for name in ("sync", "code", "attempts")}
    assert (0, 0) == (town("sync", "salesforce", "--json").sync["planned"], town("rejected").code)

    assert "1 record will be tried again" in told(town("rejected", "salesforce.contacts", "--retry", "u4"))
    again = town("sync", "salesforce", "--json").sync
    assert (1, 1) == (again["planned"], again["rejected"])
    town.salesforce.put("Contact", LastName="New", Email="u5@example.com")
    assert "3 records will be tried again" in told(town("rejected", "--retry"))
    assert 1 == town("sync", "salesforce", "--json").sync["accepted"]
    assert ["u3", "u4"] == [one["key"] for one in town("rejected", "--json").json["parked"]]


def test_explain(town: Town) -> None:
    """A record's life in both forms, over all syncs of a destination; a key that nobody knows is a sentence, exit 1."""
    town("sync", "salesforce")
    town("sync", "customerio")
    town.sql("UPDATE people SET score = 41.5 WHERE user_id = 'u3'")
    one = town("explain", "customerio", "u3", "--json").sync
    text = told(town("explain", "customerio.people", "u3"))
    parked = told(town("explain", "salesforce.contacts", "u3", "--offline"))
    unknown = town("explain", "customerio.people", "u99")

    assert ("u3", 3.0, 41.5) == (
        one["key"],
        one["fields"][1]["value"],
        one["next"]["change"]["fields"]["score"]["after"],
    )
    assert 'run 2, command accepted user "u3", score 3.0, plan •••' in text
    assert "next score 3.0 → 41.5" in text
    assert "plan-3" not in text + json.dumps(one)
    assert "parked, missing" in parked
    assert "The source was not asked." in parked
    assert (1, True) == (unknown.code, "Nothing is known of u99 in customerio.people" in told(unknown))


def test_forget(town: Town) -> None:
    """Forgotten keys are sent again, and after forgetting a sync all are; a key that nobody knows is none."""
    town("sync", "customerio")
    assert {"forgotten": {"customerio.people": 1}} == town("forget", "customerio.people", "u2", "nobody", "--json").json
    assert 1 == town("sync", "customerio", "--json").sync["accepted"]
    assert f"{ROWS} records forgotten" in told(town("forget", "customerio.people"))
    assert ROWS == town("sync", "customerio", "--json").sync["accepted"]


def test_erase(town: Town) -> None:
    """An erased record is in neither state nor history, and the numbers say how much it was."""
    town("sync", "customerio")
    erased = town("forget", "customerio.people", "u2", "--erase", "--json").json

    assert {"forgotten": {"customerio.people": 1}, "erased": {"customerio.people": 1}} == erased
    assert 1 == town("forget", "customerio.people", "u2", "--erase").code
    assert "1 record and 1 entry of the history erased" in told(town("forget", "customerio.people", "u3", "--erase"))
    assert [] == town("explain", "customerio.people", "u2", "--json").sync["history"]


def test_check(town: Town) -> None:
    """All is well, nothing is sent; a wrong key is told at its place, and --offline does not ask."""
    good = town("check", "--json")
    assert (0, True, []) == (good.code, good.json["ok"], good.json["problems"]), good.out
    assert 0 == town.sent

    town.customerio.api_key = "changed"
    bad = town("check", "--json")
    assert (1, False) == (bad.code, bad.json["ok"])
    assert ["customer.io"] == sorted(
        {"customer.io" for one in bad.json["problems"] if "customer.io" in one["sentence"]}
    )
    count = town.customerio.count + town.salesforce.count
    assert 0 == town("check", "--offline").code
    assert count == town.customerio.count + town.salesforce.count


def test_two_syncs_of_one_field(town: Town) -> None:
    """check refuses two syncs that write the same field, with both places; a run goes on, and warns."""
    town.mappings["customerio"] = PEOPLE + PEOPLE.replace('"people"\nsource', '"again"\nsource')
    town.settle()
    bad = town("check", "--offline")
    run = town("sync", "customerio.people")

    assert 1 == bad.code
    assert "The sync customerio.people writes user, score, plan of person too" in told(bad)
    assert 0 == run.code
    assert "fields_shared" in run.err


def test_schema(town: Town) -> None:
    """The schemas of both kinds of file are schemas."""
    document = town("schema").json

    for schema in document.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    assert {"config", "mapping"} == set(document)


# Mistakes.


def test_problems_of_all_syncs_are_told_at_once(town: Town) -> None:
    """A column that is not there is told with file, line and a guess, beside the other sync's; nothing is sent."""
    town.mappings = {
        "customerio": PEOPLE.replace('score = "score"', 'score = "scroe"'),
        "salesforce": CONTACTS.replace('source = "people"', 'source = "poeple"'),
    }
    town.settle()
    for words in (["sync"], ["diff"], ["check"]):
        result = town(*words, "--json")
        problems = result.json["problems"]

        assert 1 == result.code
        line = next(
            number
            for number, text in enumerate((town.folder / "mappings" / "customerio.toml").read_text().splitlines(), 1)
            if "scroe" in text
        )
        (column,) = [one for one in problems if "scroe" in one["sentence"]]
        assert f"customerio.toml:{line}" in column["place"]
        assert "score" in column["sentence"]
        assert [one for one in problems if "poeple" in one["sentence"]]
    assert 0 == town.sent
    assert not list(town.state.glob("*/*.parquet"))


def test_unknown_sync(town: Town) -> None:
    """A name that fits nothing is told with the one that was meant."""
    result = town("diff", "customerio.poeple")

    assert 1 == result.code
    assert "customerio.people" in told(result)


@pytest.mark.parametrize(
    ("content", "sentence"), [(None, "There is no file"), (b"no database at all" * 100, "is not a DuckDB file")]
)
def test_unreadable_warehouse(town: Town, content: bytes | None, sentence: str) -> None:
    """A warehouse that is missing or no warehouse is one problem, however many syncs read from it."""
    town.warehouse.unlink()
    if content:
        town.warehouse.write_bytes(content)
    result = town("sync", "--json")

    assert 1 == result.code
    assert [True] == [sentence in one["sentence"] for one in result.json["problems"]]
    assert 0 == town.sent


def test_locked_warehouse(town: Town) -> None:
    """While another process writes the warehouse, a run says which one, and what to do."""
    code = "import duckdb, sys; kept = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code, str(town.warehouse)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline()
        result = town("sync", "--json")
        writer.communicate()

    assert 1 == result.code
    (problem,) = result.json["problems"]
    assert f"is locked: process {writer.pid} has it open for writing. Run this again" in problem["sentence"]


# Streams and processes.


def test_results_and_logs_go_their_own_ways(town: Town) -> None:
    """In a process of its own: the document alone on stdout, log lines as JSON on stderr, no value in them."""
    town.customerio.api_key = "changed"
    result = town.run("sync", "customerio", "--json")

    assert 1 == result.code
    assert "failed" == result.sync["result"]
    (line,) = result.err.splitlines()
    assert ("run", "failed", ROWS) == tuple(json.loads(line)[name] for name in ("event", "result", "unsent"))
    assert "u0" not in result.err


def test_two_at_once(town: Town) -> None:
    """The second sync says who holds it since when, and reading commands work meanwhile."""
    town.customerio.held_back = threading.Event()
    process = town.start("sync", "customerio", "--json")
    until(lambda: town.customerio.applied, "nothing is sent")
    second = town("sync", "customerio", "--json")
    status = town("status", "customerio", "--json")
    diff = town("diff", "customerio", "--json")
    parked = town("rejected", "--json")
    forgetting = town("forget", "customerio.people")
    town.customerio.held_back.set()
    first = process.end()

    assert (0, ROWS) == (first.code, first.sync["accepted"])
    assert 1 == second.code
    pattern = (
        rf"customerio\.people is being run by process {process.popen.pid} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC\."
    )
    assert re.match(pattern, second.sync["error"])
    assert re.search(pattern, told(forgetting))
    assert (0, "running", "running") == (status.code, status.sync["state"], status.sync["last_run"]["result"])
    assert (0, {"parked": []}, 0) == (diff.code, parked.json, parked.code)
    assert 1 == len(town.journal("customerio.people"))


def test_help_is_there_at_once() -> None:
    """`syncer --help` and `--version` import none of the large libraries."""
    code = (
        "import sys\n"
        "from syncer.cli import cli\n"
        "for word in ('--help', '--version'):\n"
        "    try: cli([word], prog_name='syncer')\n"
        "    except SystemExit as end: assert not end.code\n"
        "heavy = ('duckdb', 'pyarrow', 'pydantic', 'requests', 'rich', 'uvicorn', 'apsw')\n"
        "print('HEAVY', [name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "HEAVY []" == done.stdout.splitlines()[-1]
    for command in ("check", "diff", "sync", "serve", "status", "rejected", "explain", "undo", "forget"):
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize(
    ("command", "spared"),
    [
        ("status", ("pyarrow.compute", "pyarrow.dataset", "syncer.run", "syncer.delivery", "syncer.compare")),
        ("diff", ("pyarrow.dataset", "syncer.undo", "syncer.readback", "syncer.changes", "syncer.service")),
    ],
)
def test_a_command_loads_what_it_needs(town: Town, command: str, spared: tuple[str, ...]) -> None:
    """What only looks does not load what sends, and neither loads another source's library, a server or a daemon."""
    town("sync")
    spared += ("google", "grpc", "psycopg", "starlette", "uvicorn", "apscheduler", "opentelemetry")
    code = (
        "import sys\n"
        "from syncer.cli import cli\n"
        f"try: cli(['--config', {str(town.folder / 'config.toml')!r}, {command!r}, '--json'], prog_name='syncer')\n"
        "except SystemExit as end: assert not end.code\n"
        f"print([name for name in {spared!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]" == done.stdout.splitlines()[-1]


def test_a_saved_plan_of_two_syncs_is_sent_whole_or_not_at_all(town: Town) -> None:
    """When the plan of one sync has moved, those of the others in the file stay at home too, and say why."""
    file = town.folder / "plan.json"
    town("diff", "--out", str(file), "--limit", "1", "--key", "u1")
    mapping_moves(town)
    sent = town.sent
    result = town("sync", "--plan", str(file), "--json")
    errors = {one["sync"]: one["error"] for one in result.json["syncs"]}

    assert 1 == result.code
    assert "is not the one that was saved" in errors["customerio.people"]
    assert "because the plan of customerio.people is not" in errors["salesforce.contacts"]
    assert sent == town.sent


def test_a_saved_plan_holds_everything(town: Town) -> None:
    """What is saved is what will be sent, however little of it was asked to be shown."""
    file = town.folder / "plan.json"
    town("diff", "customerio", "--out", str(file), "--limit", "1", "--key", "u1")
    (saved,) = json.loads(file.read_text())["syncs"]

    assert [f"u{number}" for number in range(ROWS)] == [change["key"] for change in saved["changes"]]


@pytest.mark.parametrize("words", [("--only", "u1"), ("salesforce",)])
def test_a_saved_plan_takes_no_other_wishes(town: Town, words: tuple[str, ...]) -> None:
    """A saved plan cannot be cut down, nor be that of another sync; the sentence names the reason."""
    file = town.folder / "plan.json"
    town("diff", "customerio", "--out", str(file))
    sent = town.sent
    result = town("sync", *words, "--plan", str(file))

    assert 1 == result.code
    told = " ".join(result.err.split())
    assert "leave --only out" in told or "holds no plan of salesforce.contacts" in told
    assert sent == town.sent


@pytest.mark.parametrize("words", [("sync", "--max", "0"), ("sync", "--bogus"), ("forget",), ("nothing",)])
def test_a_word_that_is_not_known_is_a_failure(town: Town, words: tuple[str, ...]) -> None:
    """A mistake in the words of a command exits 1, since 2 says something else here."""
    assert 1 == town(*words).code


@pytest.mark.parametrize(
    "words", [("rejected", "customerio.people", "--retry", "u99"), ("forget", "customerio.people", "u99")]
)
def test_an_unknown_key_is_told(town: Town, words: tuple[str, ...]) -> None:
    """A key that is not parked, or not remembered, is a mistake and no silent success."""
    result = town(*words)

    assert 1 == result.code
    assert "u99" in result.err
