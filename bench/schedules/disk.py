"""The disk of a world: real files, and in front of them what disks do to those who trust them.

While it is installed the calls of `os` that change a disk pass through it. Between any two of them
the process that made them can be killed, paused or overtaken; a write can be torn, refused for want
of room, or lost by a sync that fails; a power cut leaves what was synced and anything of the rest.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from bench.schedules.power import Power
from bench.schedules.schedule import Killed, Process, Schedule

#: The calls that pass through it, and those whose answers would differ between two runs.
_CHANGING = ("open", "close", "write", "writev", "pwrite", "ftruncate", "fdatasync", "fsync")
_NAMING = ("rename", "link", "symlink", "mkdir", "rmdir", "unlink")
_TELLING = ("stat", "statvfs", "urandom", "getpid")
_NAMES = (*_CHANGING, *_NAMING, *_TELLING)
_REAL: dict[str, Any] = {name: getattr(os, name) for name in _NAMES}


class Descriptor:
    """An open file of a process."""

    __slots__ = ("fails", "inode", "path", "process")

    def __init__(self, process: Process | None, path: str, inode: int) -> None:
        self.process = process
        self.path = path
        self.inode = inode
        #: A sync of the file has failed while it was open, and this one does not know yet.
        self.fails = False


class Room(dict[str, bool]):
    """By the first folder below the root: whether something is so there."""

    def __missing__(self, key: str) -> bool:
        return False


class Disk:
    """Everything below `root`. Use as a context; it is for one world at a time."""

    def __init__(self, root: str, schedule: Schedule, *, keeps_power: bool) -> None:
        """`keeps_power`: note what is synced, so that the power can be cut."""
        self.root = root
        self.power = Power(root, schedule.random) if keeps_power else None
        #: What goes wrong just now.
        self.is_full = Room()
        self.syncs_fail = Room()
        #: How likely it is that a step takes a while, and a sync, and how long at most.
        self.slow_share = 0.0
        self.slow_us_max = 0
        self._schedule = schedule
        self._files: dict[int, Descriptor] = {}
        #: When each file was written to, by the world's clock: us.
        self._written_us: dict[int, int] = {}

    def __enter__(self) -> Disk:
        for name in _NAMES:
            setattr(os, name, getattr(self, f"_on_{name}"))
        return self

    def __exit__(self, *_: object) -> None:
        for name in _NAMES:
            setattr(os, name, _REAL[name])
        for descriptor in tuple(self._files):
            self._give_up(descriptor)

    def dies(self, process: Process) -> None:
        """Close what a process had open: its locks are free."""
        for descriptor, known in tuple(self._files.items()):
            if known.process is process:
                self._give_up(descriptor)

    def _give_up(self, descriptor: int) -> None:
        known = self._files.pop(descriptor)
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{descriptor}").startswith(known.path[: len(self.root)]):
                _REAL["close"](descriptor)

    def cut_power(self) -> None:
        """All processes must be dead. What was not synced is there, or not, or in part."""
        if self.power is None:
            raise AssertionError("this disk does not know what is synced")
        self.power.cut()
        for at, _, files in os.walk(self.root):
            for name in files:
                inode = _REAL["stat"](f"{at}/{name}", follow_symlinks=False).st_ino
                self._written_us[inode] = self._schedule.now_us

    # One step

    def _step(self, *, share: float = 1.0) -> bool:
        """Before each call. Returns whether the process dies in the midst of it."""
        process, schedule = self._schedule.current, self._schedule
        if process is None:
            return False
        if process.is_dead:
            raise Killed
        if schedule.random.random() < self.slow_share * share:
            schedule.pass_time(schedule.between(0, self.slow_us_max))
            if process.is_dead:
                raise Killed
        if process.ops_left is not None:
            process.ops_left -= 1
            return process.ops_left <= 0
        return False

    def _die(self) -> None:
        process = self._schedule.current
        if process is not None:
            self._schedule.kill(process)
        raise Killed

    def _simple(self, name: str, *arguments: Any, **named: Any) -> Any:
        if self._step():
            self._die()
        return _REAL[name](*arguments, **named)

    def _creating(self, name: str, target: Any, *arguments: Any, **named: Any) -> Any:
        if self._step():
            self._die()
        if self.is_full[self._area(os.fspath(target))]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return _REAL[name](*arguments, **named)

    def _area(self, path: str) -> str:
        return path[len(self.root) + 1 :].split("/", 1)[0]

    # The calls

    def _on_open(
        self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> int:
        text = os.fspath(path)
        if dir_fd is not None:
            base = self._files.get(dir_fd)
            text = f"{base.path if base else ''}/{text}"
        if not text.startswith(self.root):
            return int(_REAL["open"](path, flags, mode, dir_fd=dir_fd))
        if self._step():
            self._die()
        is_new = bool(flags & os.O_CREAT) and not os.path.lexists(text)
        if is_new and self.is_full[self._area(text)]:
            raise OSError(errno.ENOSPC, "No space left on device")
        descriptor = int(_REAL["open"](path, flags, mode, dir_fd=dir_fd))
        inode = os.fstat(descriptor).st_ino
        if is_new:
            self._written_us[inode] = self._schedule.now_us
        self._files[descriptor] = Descriptor(self._schedule.current, text, inode)
        return descriptor

    def _on_close(self, descriptor: int) -> None:
        process = self._schedule.current
        if process is not None and process.is_dead:
            return  # the kernel has closed it
        self._files.pop(descriptor, None)
        _REAL["close"](descriptor)

    def _writing(self, name: str, descriptor: int, data: bytes, *place: int) -> int:
        known = self._files.get(descriptor)
        if known is None:
            return int(_REAL[name](descriptor, data, *place))
        is_last = self._step()
        self._written_us[known.inode] = self._schedule.now_us
        is_full = self.is_full[self._area(known.path)]
        if data and (is_last or is_full):
            data = bytes(data)[: self._schedule.random.randrange(len(data) + (not is_full))]
        written = int(_REAL[name](descriptor, data, *place)) if data or not is_full else 0
        if is_last:
            self._die()
        if is_full and not written:
            raise OSError(errno.ENOSPC, "No space left on device")
        return written

    def _on_write(self, descriptor: int, data: bytes) -> int:
        return self._writing("write", descriptor, data)

    def _on_pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        return self._writing("pwrite", descriptor, data, offset)

    def _on_writev(self, descriptor: int, parts: Sequence[bytes]) -> int:
        return self._writing("write", descriptor, b"".join(parts))

    def _sync(self, descriptor: int) -> None:
        known = self._files.get(descriptor)
        if known is None:
            return
        if self._step(share=4.0):
            self._die()
        if known.fails or self.syncs_fail[self._area(known.path)]:
            if not known.fails:
                self._fail(descriptor, known.inode)
            known.fails = False
            raise OSError(errno.EIO, "Input/output error")
        if self.power is not None:
            self.power.synced(descriptor, known.path)

    def _fail(self, descriptor: int, inode: int) -> None:
        """A sync fails: who else has the file open is told once, too; what was new may be gone."""
        for other in self._files.values():
            other.fails |= other.inode == inode
        if self.power is not None and self._schedule.chance(0.5):
            self.power.lose(descriptor)

    _on_fsync = _on_fdatasync = _sync

    def _on_ftruncate(self, descriptor: int, length: int) -> None:
        self._simple("ftruncate", descriptor, length)

    def _on_rename(self, source: Any, target: Any, **named: Any) -> None:
        self._simple("rename", source, target, **named)

    def _on_link(self, source: Any, target: Any, **named: Any) -> None:
        self._creating("link", target, source, target, **named)

    def _on_symlink(self, source: Any, target: Any, *_: bool, **named: Any) -> None:
        self._creating("symlink", target, source, target, **named)

    def _on_mkdir(self, path: Any, mode: int = 0o777, **named: Any) -> None:
        self._creating("mkdir", path, path, mode, **named)

    def _on_rmdir(self, path: Any, **named: Any) -> None:
        self._simple("rmdir", path, **named)

    def _on_unlink(self, path: Any, **named: Any) -> None:
        self._simple("unlink", path, **named)

    # What must not differ between two runs

    def _on_stat(self, path: Any, **named: Any) -> os.stat_result:
        found: os.stat_result = _REAL["stat"](path, **named)
        written_us = self._written_us.get(found.st_ino)
        if written_us is None:
            return found
        return os.stat_result(tuple(found), {"st_mtime_ns": written_us * 1000})

    def _on_urandom(self, size: int) -> bytes:
        return self._schedule.random.randbytes(size)

    def _on_getpid(self) -> int:
        return 1

    def _on_statvfs(self, path: Any) -> os.statvfs_result:
        blocks = 0 if self.is_full[self._area(os.fspath(path))] else 2**30
        return os.statvfs_result((4096, 4096, 2**31, blocks, blocks, 2**20, 2**20, 2**20, 0, 255))
