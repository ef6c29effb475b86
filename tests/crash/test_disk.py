"""A full disk, a folder without rights, damaged and foreign files: one sentence, nothing sent, nothing lost."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from destinations.standins.server import Server
from syncer.config_file import LocalState
from syncer.control import Control
from syncer.control.schema import STEPS
from tests.crash.disk import Disk
from tests.crash.older import make_older
from tests.crash.standins import SlowCustomerio
from tests.workplace import NO_BRAKES, Result, Workplace

ROWS = 300
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
text = "text"
"""
WITHOUT_RIGHTS: Sequence[str] = (
    # The superuser may write anywhere; without these two capabilities, file rights hold for root as for others.
    ["setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner"] if os.geteuid() == 0 else []
)


@pytest.fixture
def standin() -> SlowCustomerio:
    return SlowCustomerio()


@pytest.fixture
def workplace(tmp_path: Path, standin: SlowCustomerio) -> Iterator[Workplace]:
    """Three hundred people, all of whom customer.io holds, and then a new score for each."""
    workplace = Workplace(tmp_path)
    with Server({"": standin}):
        workplace.write({"customerio": standin.settings()}, {"customerio": PEOPLE}, NO_BRAKES)
        score(workplace, 1)
        assert ROWS == workplace.run("sync", "--json").sync["accepted"]
        score(workplace, 2)
        yield workplace


def score(workplace: Workplace, version: int) -> None:
    workplace.sql(
        "CREATE OR REPLACE TABLE people AS "
        # Texts that no codec can make small: a plan has to be larger than what a nearly full disk takes.
        f"SELECT 'u' || i AS user_id, i + {version} AS score, md5(i || '-{version}') || md5(i || '+{version}') AS text "
        f"FROM range({ROWS}) t(i)"
    )


def assert_refused(result: Result, words: str) -> None:
    """A sentence on stderr with these words, exit 1, and no traceback."""
    assert 1 == result.code, result.out + result.err
    told = " ".join((result.err + result.out).split())
    assert words in told
    assert "Traceback" not in told


def assert_whole(workplace: Workplace, standin: SlowCustomerio) -> None:
    """The next run finds everything as it should be: all that differs goes, and nothing else."""
    done = workplace.run("sync", "--json")

    assert (0, ROWS, ROWS) == (done.code, done.sync["planned"], done.sync["accepted"])
    assert {f"u{number}": (str(number + 2),) for number in range(ROWS)} == standin.held("score")


def limited(bytes_max: int) -> list[str]:
    """Words before a command in which no file may grow beyond a size: the next write fails, as on a full disk."""
    code = (
        "import os, resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({bytes_max}, {bytes_max})); os.execv(sys.argv[1], sys.argv[1:])"
    )
    return [sys.executable, "-c", code]


@pytest.mark.parametrize("bytes_max", [0, 4_096, 16_384])
def test_full_disk(workplace: Workplace, standin: SlowCustomerio, bytes_max: int) -> None:
    """No intent, no send: a disk that takes no journal, no spool or no plan stops the run before anything leaves."""
    assert resource.RLIM_INFINITY == resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    count = standin.count
    result = workplace.run("sync", prefix=limited(bytes_max))

    assert_refused(result, "disk")
    assert count == standin.count
    assert_whole(workplace, standin)


MANY = 3_000
"""Rows whose spool (of keys alone, where there is a state), plan and base are each larger than all that a run writes
into the control store."""
FULL_AT = {"spool": 150_000, "plan": 450_000, "fold": 300_000}
"""Bytes that a file may have: in the first two runs more is needed before the plan is whole, in the third after."""


def many(workplace: Workplace, version: int, changed: str = "TRUE") -> None:
    workplace.sql(
        "CREATE OR REPLACE TABLE people AS SELECT 'u' || i || md5(i || 'a') || md5(i || 'b') AS user_id, "
        f"CASE WHEN {changed} THEN {version} ELSE 1 END AS score, "
        f"md5(i || '-{version}') || md5(i || '+{version}') AS text FROM range({MANY}) t(i)"
    )


@pytest.fixture
def crowd(tmp_path: Path, standin: SlowCustomerio) -> Iterator[Workplace]:
    """Three thousand people, all of whom customer.io holds."""
    workplace = Workplace(tmp_path)
    with Server({"": standin}):
        workplace.write({"customerio": standin.settings()}, {"customerio": PEOPLE}, NO_BRAKES)
        many(workplace, 1)
        assert MANY == workplace.run("sync", "--json").sync["accepted"]
        yield workplace


@pytest.mark.parametrize("step", ["spool", "plan"])
def test_disk_that_is_full_before_the_plan_is_whole(crowd: Workplace, standin: SlowCustomerio, step: str) -> None:
    """The sentence is told once, by the command and by the journal, whatever else breaks on the way out."""
    many(crowd, 2)
    count = standin.count
    result = crowd.run("sync", prefix=limited(FULL_AT[step]))
    status = crowd.run("status", "--json")

    assert_refused(result, "The rows could not be written" if step == "spool" else "cannot be written (")
    assert "disk full?" in " ".join((result.out + result.err).split())
    assert count == standin.count
    assert (1, "failed") == (status.code, status.sync["state"])
    assert "disk full?" in status.sync["last_run"]["error"]
    assert (0, MANY) == ((done := crowd.run("sync", "--json")).code, done.sync["accepted"])


def test_disk_that_is_full_for_diff(crowd: Workplace) -> None:
    """A plan that is only looked at ends with the same sentence."""
    many(crowd, 2)

    assert_refused(crowd.run("diff", prefix=limited(FULL_AT["spool"])), "The rows could not be written")


def test_disk_that_is_full_for_the_fold(crowd: Workplace, standin: SlowCustomerio) -> None:
    """What was accepted is remembered although no new base could be written, and the next run folds."""
    # The base keeps what was written to a field that is not mapped any more, so it is larger than the source's rows.
    mapping = crowd.folder / "mappings" / "customerio.toml"
    mapping.write_text(mapping.read_text().replace('text = "text"\n', ""))
    many(crowd, 2, "i < 400")
    result = crowd.run("sync", "--json", prefix=limited(FULL_AT["fold"]))

    assert (0, 400, "done") == (result.code, result.sync["accepted"], result.sync["result"]), result.err
    assert "fold_postponed" in result.err
    assert "Traceback" not in result.err
    assert 1 == len(bases(crowd))
    before = bases(crowd)
    again = crowd.run("sync", "--json")

    assert (0, 0) == (again.code, again.sync["planned"])
    assert before != bases(crowd)


def bases(workplace: Workplace) -> list[str]:
    return sorted(file.name for file in (workplace.state / "customerio.people").glob("base-*.parquet"))


def test_state_folder_that_may_only_be_read(workplace: Workplace, standin: SlowCustomerio) -> None:
    """`sync` says that it cannot write, and sends nothing; `diff` and `status` need no right to write."""
    folders = [workplace.state, workplace.state / "customerio.people"]
    for folder in folders:
        folder.chmod(0o500)
    for file in workplace.state.glob("control.db*"):
        file.chmod(0o400)
    count = standin.count
    try:
        refused = workplace.run("sync", prefix=WITHOUT_RIGHTS)
        plan = workplace.run("diff", "--json", prefix=WITHOUT_RIGHTS)
        status = workplace.run("status", "--json", prefix=WITHOUT_RIGHTS)
    finally:
        for folder in folders:
            folder.chmod(0o700)
        for file in workplace.state.glob("control.db*"):
            file.chmod(0o600)

    assert_refused(refused, "right to read and write")
    assert (0, ROWS) == (plan.code, plan.sync["counts"]["changed"]), plan.err
    assert (0, ROWS) == (status.code, status.sync["known"]), status.err
    assert count == standin.count
    assert_whole(workplace, standin)


def test_state_folder_that_cannot_be_made(workplace: Workplace, standin: SlowCustomerio) -> None:
    """A file that is in the way of the folder is told of, and nothing is sent."""
    workplace.write(
        {"customerio": standin.settings()}, {"customerio": PEOPLE}, '\n[state]\npath = "warehouse.duckdb/state"\n'
    )
    count = standin.count

    assert_refused(workplace.run("sync"), "cannot be made")
    assert count == standin.count


def garbage(file: Path) -> None:
    file.write_bytes(b"this is no database at all, and never was one. " * 200)


def half_overwritten(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    file.write_bytes(content)


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def gone(file: Path) -> None:
    file.unlink()


def of_the_future(file: Path) -> None:
    with apsw.Connection(str(file)) as connection:
        connection.pragma("user_version", 99)
    connection.close()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (garbage, "is not a control store. Restore it from a backup"),
        (half_overwritten, "is damaged. Restore it from a backup"),
        (emptied, "is empty, and the values that it tells about are there. Restore it from a backup"),
        (gone, "is missing, and the values that it tells about are there. Restore it from a backup"),
        (of_the_future, "was written by a newer Syncer (format 99"),
    ],
)
def test_damaged_control_store(
    workplace: Workplace, standin: SlowCustomerio, damage: Callable[[Path], None], words: str
) -> None:
    """Whatever happened to the store, `sync` and `diff` say so, nothing is sent, and nothing is thrown away."""
    file, backup = workplace.state / "control.db", workplace.folder / "backup.db"
    shutil.copy(file, backup)
    damage(file)
    count = standin.count

    assert_refused(workplace.run("sync"), words)
    assert_refused(workplace.run("diff"), words)
    assert count == standin.count
    for left in workplace.state.glob("control.db*"):
        left.unlink()
    shutil.copy(backup, file)
    assert_whole(workplace, standin)


def test_older_control_store(tmp_path: Path) -> None:
    """A store of the first version is brought to this one with all that it holds; a copy from before stays."""
    file = tmp_path / "control.db"
    old = apsw.Connection(str(file))
    old.execute(STEPS[0])
    old.execute(
        "PRAGMA user_version = 1; INSERT INTO sync(name, identity) VALUES ('a.b', '{}'); "
        "INSERT INTO run(sync_id, started, finished, result, planned, accepted) VALUES (1, 1.0, 2.0, 'done', 3, 3); "
        "INSERT INTO plan(sync_id, run_id, file, rows, sendable, state) VALUES (1, 1, 'plan-1', 3, 3, 'folded'); "
        "INSERT INTO parked VALUES (1, 'u1', 'payload', 2, 1.0, 2.0, NULL, 'refused', 'too long')"
    )
    old.close()
    control = Control.look(LocalState(path=str(tmp_path)))
    assert control is not None
    (run,) = control.runs("a.b")
    (parked,) = control.parked("a.b")
    control.close()

    assert ("done", 3, [], None) == (run.result, run.accepted, run.released, run.error)
    assert ("u1", 2, "too long") == (parked.key, parked.attempts, parked.message)
    copy = apsw.Connection(str(file.with_name("control.db.version-1")), flags=apsw.SQLITE_OPEN_READONLY)
    assert 1 == copy.pragma("user_version")
    copy.close()
    new = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    assert (len(STEPS), 0o600) == (new.pragma("user_version"), file.stat().st_mode & 0o777)
    new.close()


def test_copy_of_an_older_store_is_on_the_platter(workplace: Workplace) -> None:
    """When a store is migrated, the copy from before it is durable, name and content: a power cut leaves it whole."""
    make_older(workplace.state / "control.db", 9)
    shutil.copytree(workplace.state, before := workplace.folder / "before")
    disk = Disk(workplace.state, workplace.folder / "disk.log")

    assert 0 == workplace.run("status", env=disk.env()).code
    platter = disk.platter(before)
    copy = str(workplace.state / "control.db.version-9")
    assert copy in platter.durable
    assert [] == platter.durable[copy].waiting


def test_two_processes_migrate_a_store_once(tmp_path: Path) -> None:
    """When several open an older store at one instant, the copy that stays is the one from before the migration."""
    folders = [tmp_path / str(number) for number in range(5)]
    for folder in folders:
        folder.mkdir()
        Control.open(LocalState(path=str(folder))).close()
        make_older(folder / "control.db", 1)
        together = threading.Barrier(4)

        def look(folder: Path = folder, together: threading.Barrier = together) -> None:
            together.wait()
            control = Control.look(LocalState(path=str(folder)))
            assert control is not None
            control.close()

        with ThreadPoolExecutor(4) as pool:
            for future in [pool.submit(look) for _ in range(4)]:
                future.result()
    copies = [apsw.Connection(str(folder / "control.db.version-1")) for folder in folders]

    assert [1] * len(folders) == [copy.pragma("user_version") for copy in copies]
    for copy in copies:
        copy.close()


def test_damaged_or_missing_base(workplace: Workplace, standin: SlowCustomerio) -> None:
    """A base that cannot be read stops the sync with the file's name and two ways out; `forget` is one of them."""
    (base,) = (workplace.state / "customerio.people").glob("base-*.parquet")
    content = base.read_bytes()
    count = standin.count
    base.write_bytes(content[: len(content) // 2])
    status = workplace.run("status", "--json")

    assert (1, "failed", "done") == (status.code, status.sync["state"], status.sync["last_run"]["result"])
    assert "is damaged. Restore it from a backup" in status.sync["error"]
    assert_refused(workplace.run("status"), "is damaged. Restore it from a backup")
    assert_refused(
        workplace.run("sync"), "is damaged. Restore it from a backup; or run `syncer forget customerio.people`"
    )
    base.unlink()
    assert_refused(workplace.run("sync"), "is missing. Restore it from a backup")
    assert_refused(workplace.run("diff"), "is missing. Restore it from a backup")
    assert_refused(workplace.run("status"), "is missing. Restore it from a backup")
    assert count == standin.count
    assert 0 == workplace.run("forget", "customerio.people").code
    assert_whole(workplace, standin)
