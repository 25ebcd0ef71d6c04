"""Where logs lie, and whose they are: `DATA/log/GATEWAY/BOOT/`, with a lock that its process holds.

A log whose lock is free belonged to a process that is dead: whoever takes the lock adopts it.
"""

import fcntl
import os
from pathlib import Path

LOCK_NAME = "lock"
SEGMENT_SUFFIX = ".seg"


def segment_path(folder: Path, number: int) -> Path:
    """Where segment `number` lies."""
    return folder / f"{number:08d}{SEGMENT_SUFFIX}"


def segments(folder: Path) -> list[Path]:
    """The segments of a log, oldest first."""
    return sorted(folder.glob(f"*{SEGMENT_SUFFIX}"))


def make_folder(parent: Path, boot_id: str) -> tuple[Path, int]:
    """The folder of a new log under `parent`, and its lock, held from before the folder is seen.

    Raises OSError.
    """
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    hidden = parent / f".{boot_id}"
    hidden.mkdir(mode=0o700)
    lock = os.open(hidden / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    folder = parent / boot_id
    hidden.rename(folder)
    return folder, lock


def remove_log(folder: Path) -> None:
    """Take a log away, its lock last, so that nobody adopts what is being removed."""
    for path in segments(folder):
        path.unlink(missing_ok=True)
    (folder / LOCK_NAME).unlink(missing_ok=True)
    folder.rmdir()


def dead_logs(root: Path) -> list[Path]:
    """Logs under `root` (`DATA/log`), oldest first, that no process holds."""
    found = [lock.parent for lock in root.glob(f"*/*/{LOCK_NAME}") if not is_held(lock)]
    return sorted((path for path in found if not path.name.startswith(".")), key=_age)


def take(folder: Path) -> int | None:
    """The lock of a dead log, for whoever adopts it; None where somebody else was faster."""
    try:
        lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def is_held(lock: Path) -> bool:
    """Whether a live process holds a log's lock."""
    descriptor = take(lock.parent)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
