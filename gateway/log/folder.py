"""Where logs lie, and whose they are: `ROOT/GATEWAY/BOOT/`, with a lock that its process holds.

A root is `DATA/log` or one of `[log] dirs`; a log that has filled one folder goes on in the next
root's. A log whose lock is free belonged to a process that is dead: whoever takes it adopts it.
"""

import fcntl
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from gateway.wire.layout import make_private

LOCK_NAME = "lock"
RESERVE_NAME = "reserve"
SEGMENT_SUFFIX = ".seg"


def segment_path(folder: Path, number: int) -> Path:
    """Where segment `number` lies. Numbers are unique in a log, whatever folder they are in."""
    return folder / f"{number:08d}{SEGMENT_SUFFIX}"


def segments(*folders: Path) -> list[Path]:
    """The segments of a log, by number; a folder that is not there has none. Raises OSError."""
    found = [folder / name for folder in folders for name in _names(folder) if _is_segment(name)]
    return sorted(found, key=lambda path: path.name)


def _names(folder: Path) -> list[str]:
    # Not `Path.glob`, which takes a folder that cannot be read for an empty one.
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _is_segment(name: str) -> bool:
    return name.endswith(SEGMENT_SUFFIX) and not name.startswith(".")


def make_folder(parent: Path, boot_id: str) -> tuple[Path, int]:
    """The folder of a new log under `parent`, and its lock, held from before the folder is seen.

    Raises OSError.
    """
    make_private(parent)
    hidden = parent / f".{boot_id}"
    hidden.mkdir(mode=0o700, exist_ok=True)
    try:
        lock = os.open(hidden / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        with suppress(OSError):
            hidden.rmdir()
        raise
    fcntl.flock(lock, fcntl.LOCK_EX)
    folder = parent / boot_id
    try:
        _sync(hidden)  # a folder without its lock would be nobody's
        hidden.rename(folder)
        for each in (parent, parent.parent, parent.parent.parent):
            _sync(each)
    except OSError:
        os.close(lock)
        raise
    return folder, lock


def _sync(folder: Path) -> None:
    """Make the names in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_log(folders: Iterable[Path]) -> None:
    """Take a log away, its locks last, so that nobody adopts what is being removed.

    Raises OSError.
    """
    for folder in folders:
        for path in segments(folder):
            path.unlink(missing_ok=True)
        (folder / RESERVE_NAME).unlink(missing_ok=True)
        (folder / LOCK_NAME).unlink(missing_ok=True)
        folder.rmdir()


def dead_logs(*roots: Path) -> list[Path]:
    """Logs that no process holds, oldest first: of each the folder in the first root that has it.

    A root that cannot be read has none.
    """
    found: dict[tuple[str, str], Path] = {}
    for root in roots:
        with suppress(OSError):
            for lock in root.glob(f"*/*/{LOCK_NAME}"):
                folder = lock.parent
                if not folder.name.startswith(".") and not is_held(lock):
                    found.setdefault((folder.parent.name, folder.name), folder)
    return sorted(found.values(), key=_age)


def parts_of(folder: Path, roots: Sequence[Path]) -> list[Path]:
    """The folders of one log, `folder` being one of them, in the order of the roots."""
    there = [root / folder.parent.name / folder.name for root in roots]
    parts = [part for part in there if (part / LOCK_NAME).exists()]
    return parts if folder in parts else [folder, *parts]


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
