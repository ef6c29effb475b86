"""Config and mapping files of any content: they load, or every mistake is a sentence with its place."""

from __future__ import annotations

import contextlib
import os
import random
import string
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import destinations
from syncer import config, files
from syncer.errors import UserError
from tests.workplace import PROJECT

CONFIG = (PROJECT / "config.example.toml").read_text()
MAPPING = (PROJECT / "mappings" / "salesforce.toml").read_text()
JARGON = ("Traceback", "pydantic", "validation error", "tomllib", "[type=")
SECONDS_MAX = 20
"""One file never takes longer, also on a machine with other work; a hang would be far beyond."""

QUICK = settings(
    max_examples=30, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
SOAK = settings(QUICK, max_examples=int(os.environ.get("SYNCER_FUZZ_EXAMPLES", "20000")), derandomize=False)

WORDS = (
    *("[", "]", "[[", "]]", "{", "}", "=", ",", '"', "'", '"""', "'''", "\\", "#", "\n", "\r", "\x00", "\ufeff", "é"),
    *("true", "false", "nan", "inf", "-1", "1e400", "9" * 5_000, "0x", "1979-05-27", '""', '"env:"', '"file:/"', "{}"),
    *(
        "destination",
        "sync",
        "fields",
        "key",
        "match",
        "brakes",
        "state",
        "source",
        "type",
        "[[sync]]",
        "[sync.fields]",
    ),
    *('"env:PATH"', '"file:.."', "[" * 3_000, "a." * 2_000 + "a = 1", '"\\ud800"', "=1", '"\u202e"'),
)


def spoiled(text: str, chance: random.Random, words: list[str]) -> str:
    """A file in which some lines are gone, doubled or swapped, and some characters are others."""
    lines = text.splitlines(keepends=True)
    for _ in range(chance.randint(0, 4)):
        place = chance.randrange(len(lines))
        match chance.randrange(4):
            case 0:
                del lines[place]
            case 1:
                lines.insert(place, chance.choice(lines))
            case 2:
                other = chance.randrange(len(lines))
                lines[place], lines[other] = lines[other], lines[place]
            case 3:
                lines[place] = lines[place].removeprefix("# ")
    made = "".join(lines)
    for word in words:
        place = chance.randrange(len(made) + 1)
        made = made[:place] + word + made[place + chance.choice((0, 0, 1, 5)) :]
    return made


SPOILT = st.builds(
    spoiled,
    st.sampled_from((CONFIG, MAPPING)),
    st.integers().map(random.Random),
    st.lists(st.one_of(st.sampled_from(WORDS), st.text(string.printable, max_size=3)), max_size=4),
)


def look(text: str) -> None:
    """Load a folder with this text as config, and one with it as a mapping."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "mappings").mkdir()
        for name, other in (("config.toml", "mappings/salesforce.toml"), ("mappings/salesforce.toml", "config.toml")):
            (place / name).write_bytes(text.encode("utf-8", "surrogatepass"))
            (place / other).write_text(MAPPING if other.startswith("mappings") else CONFIG)
            told = ""
            try:
                config.load(place / "config.toml", destinations.adapter, destinations.kinds)
            except UserError as error:
                told = str(error)
            assert [] == [word for word in JARGON if word in told], told
    assert time.monotonic() - began < SECONDS_MAX


@QUICK
@given(SPOILT)
def test_a_file_of_any_content_is_read_or_told(text: str) -> None:
    """A spoiled config or mapping file is loaded, or refused in sentences without jargon."""
    look(text)


@QUICK
@given(st.binary(max_size=200))
def test_bytes_are_read_or_told(content: bytes) -> None:
    """Bytes of no meaning are refused in one sentence, or are TOML."""
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(UserError):
        file = Path(folder) / "config.toml"
        file.write_bytes(content)

        assert files.read(file, "Write it.").data is not None


@pytest.mark.slow
@pytest.mark.timeout(0)
@SOAK
@given(SPOILT)
def test_many_files_of_any_content(text: str) -> None:
    """The same, twenty thousand times."""
    look(text)
