"""Folders of the state and files in them: their owner's alone, and durable together."""

from __future__ import annotations

import os
from pathlib import Path


def make(folder: Path) -> None:
    """Make a folder, with those above it, if it is not there; once this returns, a power cut does not take it away.

    A file that is synced in a folder that is not is lost with it. Raises OSError.
    """
    above = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for made in reversed(above):
        sync(made.parent)


def sync(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def keep(made: Path, path: Path) -> None:
    """Give a finished file its name, perhaps in place of another one; once this returns, both are durable.

    Raises OSError.
    """
    made.chmod(0o600)
    with made.open("rb+") as handle:
        os.fsync(handle.fileno())
    made.replace(path)
    sync(path.parent)
