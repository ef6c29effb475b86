"""Whether the files that a config was made of have changed: the config, mappings, queries, and secrets in files.

They are looked at and not watched: that works on every file system, also where a container's secrets are changed by
moving a link.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from syncer import files
from syncer.config import Config

Fingerprint = dict[Path, str | None]
"""File → digest of what is in it; None for one that cannot be read."""


class Watched:
    """The files of a config, as they were when it was read."""

    def __init__(self, read: Callable[[], Config]) -> None:
        self._read = read
        self._stats: dict[Path, tuple[int, ...] | None] = {}
        self._digests: Fingerprint = {}
        self._files: set[Path] = set()
        self._folders: set[Path] = set()

    def load(self) -> Config:
        """Read the config, and remember the files that it took. Raises UserError, and remembers them too."""
        with files.noting() as read:
            is_whole = False
            try:
                config = self._read()
                is_whole = True
                return config
            finally:
                # A broken config does not lead to all of its files, and the one that mends it may be any of them.
                self._files = read if is_whole else self._files | read
                self._folders |= {file.parent for file in read if file.suffix == ".toml"}
                self.has_changed()

    def has_changed(self) -> bool:
        """Whether anything is other than at the last look. What only has a new date has not."""
        before = self._digests
        everything = self._files | {one for folder in self._folders for one in _toml_in(folder)}
        now: Fingerprint = {}
        for file in everything:
            stat = _stat(file)
            if file in self._stats and self._stats[file] == stat:
                now[file] = before[file]
            else:
                now[file] = _digest(file)
            self._stats[file] = stat
        self._digests = now
        return now != before


def _toml_in(folder: Path) -> Iterable[Path]:
    try:
        return [file for file in folder.glob("*.toml") if not file.name.startswith(".")]
    except OSError:
        return []


def _stat(file: Path) -> tuple[int, ...] | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_dev)


def _digest(file: Path) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None
