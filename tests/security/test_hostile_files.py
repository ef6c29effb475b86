"""Files that others may read, or have written: the state folder, saved plans, references, and addresses in a config."""

from __future__ import annotations

import contextlib
import json
import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import destinations
from syncer import config, saved
from syncer.errors import UserError
from tests.security.fortress import Fortress, a_fortress
from tests.workplace import Workplace

QUICK = settings(max_examples=40, deadline=None, derandomize=True, database=None)


@pytest.fixture
def fortress(tmp_path: Path) -> Iterator[Fortress]:
    with a_fortress(tmp_path) as made:
        yield made


# --- who may read ----------------------------------------------------------------------------------------------------


def test_nobody_else_reads_the_state_or_a_plan(fortress: Fortress) -> None:
    """State, history, journal and saved plans are their owner's alone, whatever the umask of whoever starts us."""
    before = os.umask(0)
    try:
        assert 0 == fortress("sync", "webhook").code
        fortress.people("other")
        assert 0 == fortress("diff", "webhook", "--out", str(fortress.folder / "plan.json")).code
        assert 0 == fortress("sync", "webhook").code
    finally:
        os.umask(before)
    files = [fortress.state, *fortress.state.rglob("*"), fortress.folder / "plan.json"]
    modes = {str(file.relative_to(fortress.folder)): stat.S_IMODE(file.stat().st_mode) for file in files}

    assert len(modes) > 5
    assert {} == {name: oct(mode) for name, mode in modes.items() if mode & 0o077}


def test_a_plan_file_that_was_open_to_all_is_closed_before_it_is_written(fortress: Fortress) -> None:
    """A plan that is saved over a file which others may read is theirs no more."""
    file = fortress.folder / "plan.json"
    file.write_text("old")
    file.chmod(0o666)
    fortress("diff", "webhook", "--out", str(file))

    assert 0o600 == stat.S_IMODE(file.stat().st_mode)


# --- who may have written --------------------------------------------------------------------------------------------


def test_links_in_the_state_folder_lead_nowhere(fortress: Fortress) -> None:
    """A link that somebody put in the place of a file of ours is not written through, and what it leads to stays."""
    assert 0 == fortress("sync", "webhook").code
    elsewhere = fortress.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious.txt").write_text("precious")
    folder = fortress.state / "webhook.people"
    (folder / "spool-1").symlink_to(elsewhere)
    (folder / "duckdb_temp_storage").symlink_to(elsewhere)
    (folder / "plan-1.parquet.tmp").symlink_to(elsewhere / "precious.txt")
    fortress.people("other")
    assert 0 == fortress("sync", "webhook").code
    (folder / "lock").unlink()
    (folder / "lock").symlink_to(elsewhere / "precious.txt")
    refused = fortress("sync", "webhook", "--json")

    assert (1, True) == (refused.code, "cannot be written" in refused.out)
    assert ["precious"] == [file.read_text() for file in elsewhere.iterdir()]


def test_a_plan_that_was_tampered_with_sends_nothing_of_its_own(fortress: Fortress) -> None:
    """What leaves is what the source says; a saved plan only says which plan that has to be."""
    file = fortress.folder / "plan.json"
    fortress("diff", "webhook", "--out", str(file))
    plan = json.loads(file.read_text())
    plan["syncs"][0]["changes"][0]["fields"]["score"]["after"] = 666.0
    file.write_text(json.dumps(plan))
    assert 0 == fortress("sync", "--plan", str(file)).code
    scores = {fields["score"] for fields in fortress.services["webhook"].records.values()}
    assert scores == {50.0, 70.0, 90.0}

    fortress.people("other")
    fortress("diff", "webhook", "--out", str(file))
    plan = json.loads(file.read_text())
    plan["syncs"][0]["plan"] = "sha256:" + "0" * 64
    file.write_text(json.dumps(plan))
    count = fortress.services["webhook"].count
    refused = fortress("sync", "--plan", str(file))

    assert (1, count) == (refused.code, fortress.services["webhook"].count)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PLAN = {
    "format": 2,
    "id": "abc",
    "made": "2026-11-26T00:00:00Z",
    "syncs": [
        {"sync": "a.b", "plan": "sha256:x", "changes": [{"key": "u", "kind": "new", "fields": {"f": {"after": 1}}}]}
    ],
}


def mutated(document: Any, chance: random.Random, junk: Any) -> Any:
    """The document with one of its parts replaced, or gone."""
    if isinstance(document, dict) and document and chance.random() < 0.8:
        name = chance.choice(sorted(document))
        if chance.random() < 0.2:
            return {key: value for key, value in document.items() if key != name}
        return document | {name: mutated(document[name], chance, junk)}
    if isinstance(document, list) and document and chance.random() < 0.8:
        place = chance.randrange(len(document))
        return [*document[:place], mutated(document[place], chance, junk), *document[place + 1 :]]
    return junk


@QUICK
@given(st.integers(), JSON)
def test_a_saved_plan_of_any_shape_is_read_or_refused(seed: int, junk: Any) -> None:
    """Whatever became of a plan's file, it is a plan, or a sentence says that it is none."""
    file = Path(os.environ["PYTEST_PLAN"])
    text = json.dumps(mutated(PLAN, random.Random(seed), junk))
    if seed % 5 == 0:
        text = text[: len(text) // 2]
    file.write_text(text)
    with contextlib.suppress(UserError):
        plan = saved.read(file)

        assert all(isinstance(plan.digest(name), str) for name in plan.syncs)


@pytest.fixture(autouse=True)
def _plan_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file for all examples of a test."""
    monkeypatch.setenv("PYTEST_PLAN", str(tmp_path / "any.json"))


HEAD = '{"format": 2, "id": "1", "made": "2026-11-26T00:00:00Z", "syncs": '


@pytest.mark.parametrize(
    "content",
    [
        *(b"[" * 100_000, b"\xff\xfe\x00", b"", b"null", b'{"syncs":' * 5_000, b"1" * 9_999),
        HEAD.replace('"1"', '"\\ud800"').encode() + b"[]}",
        HEAD.replace("2026-11-26T00:00:00Z", "0001-01-01T00:00:00+23:59").encode() + b"[]}",
        f'{HEAD}[{{"sync": "customerio.people", "plan": "x", "changes": [{{"key": "u1", "fields": []}}]}}]}}'.encode(),
    ],
)
def test_a_saved_plan_that_is_no_plan_is_a_sentence(fortress: Fortress, content: bytes) -> None:
    """A file of anything else is refused by name."""
    file = fortress.folder / "plan.json"
    file.write_bytes(content)
    refused = fortress("sync", "--plan", str(file))

    assert (1, True) == (refused.code, "is not a saved plan" in refused.err)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """A few bytes of a file changed, or its end cut off."""
    made = bytearray(content)
    for _ in range(chance.randint(1, 30)):
        made[chance.randrange(len(made))] = chance.randrange(256)
    return bytes(made[: chance.randint(8, len(made))] if chance.random() < 0.3 else made)


def hostile_parquet(folder: Path, times: int, seed: int) -> None:
    """Bases that somebody changed: a run says so, or goes on; no process dies of it or takes more than it may."""
    with a_fortress(folder) as fortress:
        assert 0 == fortress("sync", "webhook").code
        fortress.people("other")
        (base,) = (fortress.state / "webhook.people").glob("base-*.parquet")
        content, chance = base.read_bytes(), random.Random(seed)
        workplace = Workplace(folder)
        for _ in range(times):
            base.write_bytes(damaged(content, chance))
            result = workplace.run("diff", "webhook")

            assert result.code in (0, 1), (result.code, result.err[-2000:])
            assert "Traceback" not in result.err, result.err[-3000:]


def test_a_base_that_was_tampered_with_kills_no_process(tmp_path: Path) -> None:
    """A Parquet file of the state with other bytes in it is a sentence about a damaged file, or is read."""
    hostile_parquet(tmp_path, times=3, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_many_bases_that_were_tampered_with_kill_no_process(tmp_path: Path) -> None:
    """The same three hundred times."""
    hostile_parquet(tmp_path, times=300, seed=2)


# --- what a config may say -------------------------------------------------------------------------------------------

ELSEWHERE = (
    "http://evil.example",
    "http://127.0.0.1@evil.example",
    "http://127.0.0.1:80@evil.example",
    "http://127.0.0.1.evil.example",
    "http://localhost.evil.example",
    "http://evil.example#127.0.0.1",
    "http://evil.example/?localhost",
    "http://[::ffff:8.8.8.8]",
    "http://169.254.169.254",
    "http://0.0.0.0",
    "http://127.0.0.1\\@evil.example",
    "file:///etc/passwd",
    "ftp://127.0.0.1",
    "//evil.example",
    "javascript:alert(1)",
)
ADDRESSES = {
    "customerio": ("track_url", "app_url"),
    "salesforce": ("login_url",),
    "orbit": ("base_url",),
    "webhook": ("url",),
}


@pytest.mark.parametrize("address", ELSEWHERE)
def test_no_address_leaves_this_machine_without_encryption(fortress: Fortress, address: str) -> None:
    """An address by plain http, or by no http at all, to anywhere but this machine is refused in the config."""
    for name, settings_of in ADDRESSES.items():
        for setting in settings_of:
            # A reference, because these addresses are no TOML; a file's text is taken as it is.
            (fortress.folder / "address").write_text(address)
            fortress.settle(**{name: f'{setting} = "file:address"\n'})
            with pytest.raises(UserError) as raised:
                config.load(fortress.folder / "config.toml", destinations.adapter, destinations.kinds)

            assert f"destinations.{name}.{setting}" in str(raised.value)


KEYS = {
    "customerio": ("site_id", "api_key", "app_key"),
    "salesforce": ("client_id", "client_secret"),
    "orbit": ("api_key",),
    "webhook": ("secret",),
}


@pytest.mark.parametrize(
    "key", ["first\nsecond-line-of-a-secret", "schlüssel-☃-of-a-secret", "with\x00nul-of-a-secret"]
)
def test_a_key_that_no_header_takes_is_a_sentence_without_it(fortress: Fortress, key: str) -> None:
    """A key with a line break or letters beyond ASCII ends in a sentence of check and sync, and is nowhere in it."""
    (fortress.folder / "key").write_bytes(key.encode())
    for name, settings_of in KEYS.items():
        for setting in settings_of:
            fortress.settle(**{name: f'{setting} = "file:key"\n'})
            for words in (("sync", name), ("verify", name)):
                told = fortress(*words)

                assert [] == [part for part in key.splitlines() if part in told.out + told.err]
                assert "of-a-secret" not in told.out + told.err
        fortress.settle()
