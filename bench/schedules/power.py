"""What a loss of power leaves: what was synced for certain, and anything of what was not."""

from __future__ import annotations

import os
import random
import shutil
import stat
from typing import NamedTuple

_BLOCK_BYTES = 512
_read, _write, _truncate = os.pread, os.pwrite, os.ftruncate
_open, _close, _link, _mkdir, _symlink = os.open, os.close, os.link, os.mkdir, os.symlink


class Entry(NamedTuple):
    """A name in a folder: of a file, a folder or (`target`) a link."""

    inode: int
    is_folder: bool
    target: str | None


Folder = dict[str, Entry]


class Power:
    """Notes what is synced below `root`: the bytes of files, and the names in folders."""

    def __init__(self, root: str, chooser: random.Random) -> None:
        self._root = root
        self._random = chooser
        self._bytes: dict[int, bytes] = {}
        self._names: dict[int, Folder] = {}

    def settle(self) -> None:
        """All that is there now is safe."""
        for at, folders, files in os.walk(self._root):
            self._names[os.stat(at).st_ino] = _names_in(at)
            for name in (*files, *folders):
                path = os.path.join(at, name)
                if stat.S_ISREG(os.lstat(path).st_mode):
                    self._bytes[os.stat(path).st_ino] = _content(path)

    def synced(self, descriptor: int, path: str) -> None:
        """A file or a folder was made safe."""
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            self._names[found.st_ino] = _names_in(path)
        else:
            self._bytes[found.st_ino] = _read_all(descriptor, found.st_size)

    def lose(self, descriptor: int) -> None:
        """What was written to a file since its last sync cannot be read back any more."""
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            return
        again = _open(f"/proc/self/fd/{descriptor}", os.O_RDWR)
        try:
            safe = self._bytes.get(found.st_ino, b"")[: found.st_size]
            _write(again, safe + bytes(found.st_size - len(safe)), 0)
        finally:
            _close(again)

    def cut(self) -> None:
        """Make of the root what is found when the power is back."""
        found = self._folder(os.stat(self._root).st_ino, self._root)
        shutil.rmtree(self._root)
        self._bytes.clear()
        self._names.clear()
        _make(self._root, found, {})
        self.settle()

    def _folder(self, inode: int, path: str | None) -> Found:
        """One folder as it is found; `path` where it is just now, if it still is."""
        safe = self._names.get(inode, {})
        now = {} if path is None else _names_in(path)
        chosen = safe if self._random.random() < 0.5 else now
        found: Found = {}
        for name in sorted(chosen):
            entry = chosen[name]
            there = f"{path}/{name}" if path is not None and now.get(name) == entry else None
            if entry.target is not None:
                found[name] = entry.target
            elif entry.is_folder:
                found[name] = self._folder(entry.inode, there)
            else:
                found[name] = entry.inode, self._file(entry.inode, there)
        return found

    def _file(self, inode: int, path: str | None) -> bytes:
        safe = self._bytes.get(inode, b"")
        now = safe if path is None else _content(path)
        chance = self._random.random()
        if now == safe or chance < 0.4:
            return safe
        if chance < 0.7:
            return now
        old = safe[: len(now)] + bytes(max(0, len(now) - len(safe)))
        blocks = range(0, len(now), _BLOCK_BYTES)
        return b"".join(
            (now if self._random.random() < 0.5 else old)[at : at + _BLOCK_BYTES] for at in blocks
        )


Found = dict[str, "str | tuple[int, bytes] | Found"]


def _make(path: str, found: Found, made: dict[int, str]) -> None:
    _mkdir(path, 0o700)
    for name, what in found.items():
        here = f"{path}/{name}"
        if isinstance(what, str):
            _symlink(what, here)
        elif isinstance(what, dict):
            _make(here, what, made)
        elif what[0] in made:
            _link(made[what[0]], here)
        else:
            made[what[0]] = here
            with open(here, "xb") as file:
                file.write(what[1])


def _names_in(path: str) -> Folder:
    with os.scandir(path) as entries:
        return {
            entry.name: Entry(
                entry.inode(),
                entry.is_dir(follow_symlinks=False),
                os.readlink(entry.path) if entry.is_symlink() else None,
            )
            for entry in entries
        }


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _read_all(descriptor: int, size: int) -> bytes:
    """Whatever the descriptor may do."""
    try:
        return _read(descriptor, size, 0)
    except OSError:  # it may only write
        return _content(f"/proc/self/fd/{descriptor}")
