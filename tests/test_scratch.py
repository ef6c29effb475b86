"""Files for what is too large to be held."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from pathlib import Path

import pytest
import requests

from destinations.standins.server import Answer, Server
from syncer.answer import Answer as Taken
from syncer.answer import TooLarge
from syncer.destination import Pace
from syncer.errors import DestinationUnusable, cause_of
from syncer.scratch import FullDisk, Scratch
from syncer.transport import Gate, Transport


def test_a_file_has_no_name_and_is_its_owners_alone(tmp_path: Path) -> None:
    """What was written is read from its start, nobody else may read it, and nothing of it is left in the folder."""
    with Scratch(tmp_path).file([b"one, ", b"two"]) as file:
        rights = stat.S_IMODE(os.fstat(file.fileno()).st_mode)

        assert ([], 0, b"one, two") == (list(tmp_path.iterdir()), rights & 0o077, file.read())


def test_a_disk_that_takes_no_more_is_told_in_a_sentence(tmp_path: Path) -> None:
    """Neither a missing folder nor a full disk is a traceback: the destination cannot be used now, for the state's
    sake."""
    gone = tmp_path / "gone"
    with pytest.raises(FullDisk) as missing:
        Scratch(gone).file()
    with pytest.raises(FullDisk) as full, Path("/dev/full").open("wb", buffering=0) as file:
        Scratch(tmp_path).put(file, b"x")

    assert isinstance(full.value, DestinationUnusable)
    assert "state" == cause_of(full.value)
    assert f"No temporary file can be written in {gone} (No such file or directory). Is the disk full?" == str(
        missing.value
    )
    assert f"No temporary file can be written in {tmp_path} (No space left on device). Is the disk full?" == str(
        full.value
    )


def test_a_large_answer_is_put_down_up_to_a_limit(tmp_path: Path) -> None:
    """An answer that is asked for as a file is read out of one that has no name; beyond the limit it is no answer."""
    body = b"0123456789" * 100_000
    with Server({}, page=lambda request: Answer(200, body, {"Content-Type": "text/csv"})) as server:
        transport = Transport(Gate(Pace(1_000, 1.0)), title="It", stop=threading.Event(), scratch=Scratch(tmp_path))
        with contextlib.closing(transport):
            answer = transport.session().get(server.url, stream=True)
            with answer.raw as file:
                assert ([], body) == (list(tmp_path.iterdir()), file.read())
            response = requests.get(server.url, stream=True, timeout=5)
            with pytest.raises(TooLarge) as large:
                Taken.of(response).put_down(Scratch(tmp_path), 5.0, bytes_max=len(body) - 1)

    assert len(body) - 1 == large.value.bytes_max
