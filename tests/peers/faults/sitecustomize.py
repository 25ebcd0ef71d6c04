"""Read by every Python that has this folder on its path: disks that sync slowly, or not at all.

The file that ACS_TEST_SYNC_FAULTS names says what is wrong now, a line each: `PART SECONDS` (a sync
of a file with PART in its path takes so long) or `PART fail NUMBER` (so many syncs of each process
fail, and lose what nobody has synced before). What is synced is noted beside it, for all processes.
"""

import errno
import os
import time

_NAMES = ("fdatasync", "fsync")
_failed: dict[str, int] = {}


def _faults(control: str) -> list[list[str]]:
    try:
        with open(control) as file:
            return [line.split() for line in file]
    except OSError:
        return []


def _with_faults(name: str, control: str) -> None:
    sync = getattr(os, name)

    def wrapped(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        found = os.fstat(descriptor)
        for part, *how in _faults(control):
            if part not in path:
                continue
            if how[0] != "fail":
                time.sleep(float(how[0]))
            elif _failed.get(part, 0) < int(how[1]):
                _failed[part] = _failed.get(part, 0) + 1
                if os.path.isfile(path):
                    _lose(path, _safe(control, found.st_ino))
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(descriptor)
        with open(f"{control}.safe", "a") as notes:
            notes.write(f"{found.st_ino} {found.st_size}\n")

    setattr(os, name, wrapped)


def _safe(control: str, inode: int) -> int:
    """How long the file was when somebody last synced it."""
    try:
        with open(f"{control}.safe") as notes:
            rows = [line.split() for line in notes]
    except OSError:
        return 0
    return max((int(size) for number, size in rows if int(number) == inode), default=0)


def _lose(path: str, safe: int) -> None:
    """What a kernel may do with pages that it could not write: they are as the disk has them."""
    size = os.path.getsize(path)
    if size > safe:
        with open(path, "r+b") as file:
            file.seek(safe)
            file.write(bytes(size - safe))


if "ACS_TEST_SYNC_FAULTS" in os.environ:
    for _name in _NAMES:
        _with_faults(_name, os.environ["ACS_TEST_SYNC_FAULTS"])
