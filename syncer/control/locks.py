"""Which process runs which sync, on one machine: a locked file for each, in the folder of its state."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from syncer import folders
from syncer.errors import StateDamaged, SyncBusy


def folder_name(sync: str) -> str:
    """What the folder of a sync is called: a sync's name may hold anything; a folder's name may not."""
    return urllib.parse.quote(sync, safe="")


def busy(sync: str, holder: str) -> SyncBusy:
    """The refusal of a sync that somebody else runs."""
    return SyncBusy(f"{sync} is being run by {holder}. Run it again when that has finished.")


class FileLocks:
    """Locks of the kernel, which lets go of them when their process dies, however it dies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def exclusively(self, sync: str) -> Iterator[None]:
        """Hold a sync for this process.

        Raises SyncBusy, with who holds it since when, and StateDamaged when the folder cannot be written.
        """
        folder = self._folder / folder_name(sync)
        try:
            folders.make(folder)
            # Its first bytes are overwritten, so a link that somebody put there must not choose whose these are.
            handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StateDamaged(f"The state folder {folder} cannot be written: {error.strerror}.") from None
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise busy(sync, _signature(handle)) from None
            _sign(handle, folder)
            yield
        finally:
            os.close(handle)

    def holder(self, sync: str) -> str | None:
        """Who runs a sync just now; None when nobody does."""
        try:
            handle = os.open(self._folder / folder_name(sync) / "lock", os.O_RDONLY)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _signature(handle)
        else:
            return None
        finally:
            os.close(handle)


def _signature(handle: int) -> str:
    return os.pread(handle, 200, 0).decode(errors="replace").strip() or "another process"


def _sign(handle: int, folder: Path) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    text = f"process {os.getpid()} since {since}".encode()
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, text, 0)
    except OSError as error:
        raise StateDamaged(
            f"The state folder {folder} cannot be written ({error.strerror}); is the disk full? Nothing was sent."
        ) from None
