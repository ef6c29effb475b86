"""A disk with accidents: full at any write, gone at any instruction, and without what nobody had synced.

`disk.c` is preloaded into the real command. It counts every change of the state folder, writes each into a log, and
fails or kills where it is told to. From the log a folder can be built as a power cut may leave it: of everything
that was not synced when the power went, chance decides what reached the platter.
"""

from __future__ import annotations

import atexit
import functools
import random
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("disk.c")
HEAD = struct.Struct("<c3xiqIIII")
NUMBER = struct.Struct("<q")
SECTOR = 512
"""Bytes that a disk writes whole or not at all."""


@functools.cache
def library() -> Path | None:
    """The shim, compiled once for each process; None on a machine without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    made = Path(tempfile.mkdtemp(prefix="syncer-disk-")) / "disk.so"
    atexit.register(shutil.rmtree, made.parent, ignore_errors=True)
    words = [compiler, "-O2", "-shared", "-fPIC", str(SOURCE), "-o", str(made), "-ldl", "-lpthread"]
    subprocess.run(words, check=True, capture_output=True)
    return made


@dataclass
class Disk:
    """What goes wrong with one folder, as environment of the command that writes to it."""

    folder: Path
    log: Path

    def __post_init__(self) -> None:
        if library() is None:
            pytest.skip("there is no C compiler for the disk with accidents (Debian: apt-get install gcc libc6-dev)")

    def env(self, *, die_at: int = 0, full_at: int = 0, full_for: int = 0) -> dict[str, str]:
        """Environment for a command: die before a change, or have no room from one on (for so many, 0: for good)."""
        self.log.unlink(missing_ok=True)
        self._orders.unlink(missing_ok=True)
        self._orders.write_bytes(bytes(2 * NUMBER.size))
        told = {"DISK_DIE_AT": die_at, "DISK_FULL_AT": full_at, "DISK_FULL_FOR": full_for}
        return {
            "LD_PRELOAD": str(library()),
            "DISK_FOLDER": str(self.folder),
            "DISK_LOG": str(self.log),
            "DISK_ORDERS": str(self._orders),
            **{name: str(number) for name, number in told.items() if number},
        }

    def die_in(self, changes: int) -> None:
        """Let the command that runs die before the change that is so many further on."""
        with self._orders.open("r+b", buffering=0) as orders:
            (done,) = NUMBER.unpack(orders.read(NUMBER.size))
            orders.write(NUMBER.pack(done + changes))

    @property
    def _orders(self) -> Path:
        return self.log.with_name(f"{self.log.name}.orders")

    def changes(self) -> int:
        """How many changes and syncs the last command made."""
        return sum(
            change.what not in ("O", "X") or (change.what == "O" and change.offset) for change in self._changes()
        )

    def platter(self, before: Path) -> Platter:
        """What the last command did. `before`: a copy of the folder from before it, if it was there."""
        platter = Platter()
        platter.load(before, self.folder)
        for change in self._changes():
            platter.apply(change)
        return platter

    def cut_power(self, before: Path, chance: random.Random) -> None:
        """Make of the folder what a power cut at the end of the log may leave, `before` being as in `platter`."""
        platter = self.platter(before)
        shutil.rmtree(self.folder, ignore_errors=True)
        platter.leave(chance)

    def _changes(self) -> Iterator[Logged]:
        if not self.log.exists():
            return
        with self.log.open("rb") as log:
            while len(head := log.read(HEAD.size)) == HEAD.size:
                what, fd, offset, path, other, data, _ = HEAD.unpack(head)
                texts = [log.read(length) for length in (path, other)]
                yield Logged(what.decode(), fd, offset, texts[0].decode(), texts[1].decode(), log.read(data))


@dataclass(frozen=True)
class Logged:
    """One line of the shim's log: Created, Opened, Written, Truncated, Synced, closed (X), Renamed, Unlinked, Dir."""

    what: str
    fd: int
    offset: int
    path: str
    other: str
    data: bytes


@dataclass(eq=False)
class Node:
    """A file or folder: what of it is on the platter, and the writes since it was synced last."""

    is_folder: bool = False
    durable: bytearray = field(default_factory=bytearray)
    waiting: list[tuple[int, bytes | None]] = field(default_factory=list)
    """(offset, data); without data it is a new length."""

    def sync(self) -> None:
        for offset, data in self.waiting:
            _write(self.durable, offset, data)
        self.waiting.clear()

    def after_a_cut(self, chance: random.Random) -> bytes:
        """Its content when some of what was waiting has arrived, in any order, the last write torn perhaps."""
        content = bytearray(self.durable)
        mood = chance.choice(("none", "all", "first", "some"))
        count = {"none": 0, "all": len(self.waiting)}.get(mood, chance.randint(0, len(self.waiting)))
        for place, (offset, data) in enumerate(self.waiting):
            if place >= count and mood != "some":
                break
            if mood == "some" and chance.random() < 0.5:
                continue
            if data is not None and place == count - 1 and chance.random() < 0.5:
                data = data[: chance.randint(0, len(data)) // SECTOR * SECTOR]
            _write(content, offset, data)
        return bytes(content)


def _write(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


class Platter:
    """Files and folders by path, as programs see them and as they lie on the disk."""

    def __init__(self) -> None:
        self.seen: dict[str, Node] = {}
        self.durable: dict[str, Node] = {}
        """Entries whose folder was synced since."""
        self.waiting: list[tuple[str, str, Node | None]] = []
        """(folder, path, node or None for an entry that goes), in the order in which they happened."""
        self.open: dict[int, Node] = {}
        self.top = ""

    def load(self, copy: Path, folder: Path) -> None:
        """All that is in a copy of the folder is on the platter, and so is the folder's parent."""
        self.top = str(folder)
        for path in [copy, *sorted(copy.rglob("*"))] if copy.exists() else []:
            name = str(folder / path.relative_to(copy)) if path != copy else str(folder)
            node = Node(path.is_dir(), bytearray() if path.is_dir() else bytearray(path.read_bytes()))
            self.seen[name] = self.durable[name] = node

    def apply(self, change: Logged) -> None:
        """One change, as the log has it."""
        match change.what:
            case "C":
                self._enter(change.path, Node())
                self.open[change.fd] = self.seen[change.path]
            case "O":
                node = self.seen.get(change.path)
                if node is None:  # The folder of all, or one that was there without being copied.
                    node = self.seen[change.path] = Node(is_folder=True)
                self.open[change.fd] = node
                if change.offset:
                    node.waiting.append((0, None))
            case "W":
                self.open[change.fd].waiting.append((change.offset, change.data))
            case "T":
                self.open[change.fd].waiting.append((change.offset, None))
            case "S":
                self._sync(self.open[change.fd])
            case "X":
                self.open.pop(change.fd, None)
            case "D":
                self._enter(change.path, Node(is_folder=True))
            case "U":
                self._leave(change.path)
            case "R":
                node = self.seen[change.path]
                self._leave(change.path)
                self._enter(change.other, node)

    def leave(self, chance: random.Random) -> None:
        """Write to the real folder what a cut leaves: entries keep their order, file contents need not."""
        entries = dict(self.durable)
        for _, path, node in self.waiting[: chance.randint(0, len(self.waiting))]:
            if node is None:
                entries.pop(path, None)
            else:
                entries[path] = node
        for path, node in sorted(entries.items()):
            if not self._is_reachable(path, entries):
                continue
            if node.is_folder:
                Path(path).mkdir(mode=0o700, exist_ok=True)
            elif not path.endswith("-shm"):  # Shared memory, of which nothing survives.
                Path(path).write_bytes(node.after_a_cut(chance))
                Path(path).chmod(0o600)

    def _is_reachable(self, path: str, entries: dict[str, Node]) -> bool:
        parent = str(Path(path).parent)
        return path == self.top or (parent in entries and self._is_reachable(parent, entries))

    def _enter(self, path: str, node: Node) -> None:
        self.seen[path] = node
        self.waiting.append((str(Path(path).parent), path, node))

    def _leave(self, path: str) -> None:
        self.seen.pop(path, None)
        self.waiting.append((str(Path(path).parent), path, None))

    def _sync(self, node: Node) -> None:
        if not node.is_folder:
            node.sync()
            return
        name = next((path for path, one in self.seen.items() if one is node), "")
        for folder, path, entry in self.waiting:
            if folder != name:
                continue
            if entry is None:
                self.durable.pop(path, None)
            else:
                self.durable[path] = entry
        self.waiting = [one for one in self.waiting if one[0] != name]
