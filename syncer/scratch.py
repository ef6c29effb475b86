"""Files without a name, for what is too large to be held: closed, or with their process, they are gone."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from syncer.errors import DestinationUnusable


class FullDisk(DestinationUnusable):
    """What is to be sent, or was answered, can be put down nowhere."""

    cause = "state"


class Scratch:
    """Makes such files in one folder, or in the system's own place; they are their owner's alone."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def file(self, content: Iterable[bytes] = ()) -> BinaryIO:
        """A new one that holds this, to be read from its start. Raises FullDisk."""
        with self._told():
            # The system takes it back whatever becomes of us, so no run has to clear up after another one.
            file = cast("BinaryIO", tempfile.TemporaryFile(dir=self._folder))  # noqa: SIM115 - closed by who asked
        try:
            for piece in content:
                self.put(file, piece)
            self.rewind(file)
        except BaseException:
            file.close()
            raise
        return file

    def put(self, file: BinaryIO, piece: bytes) -> None:
        """Write a piece at the end. Raises FullDisk."""
        with self._told():
            file.write(piece)

    def rewind(self, file: BinaryIO) -> None:
        """Let it be read from its start. Raises FullDisk, as what was written last may not have been on disk yet."""
        with self._told():
            file.seek(0)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = self._folder or tempfile.gettempdir()
            raise FullDisk(
                f"No temporary file can be written in {place} ({error.strerror}). Is the disk full?"
            ) from None
