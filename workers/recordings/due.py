"""Notes to `finish`, one small file each in `recordings/.due/`, named after the folder.

NAME           a session of the recording has ended: look at it
NAME.taken     `finish` is looking at it, or was killed over it
NAME.retire    from `not_before_us` on its stream files and the call's link can go

The recorder only makes the first kind, so a note that comes while `finish` works is never lost.
"""

import os
from pathlib import Path
from typing import NamedTuple

import msgspec

from workers.recordings import durable
from workers.recordings.names import DUE, FOLDER

_TAKEN = ".taken"
_RETIRE = ".retire"


class _Note(msgspec.Struct):
    folder: str
    not_before_us: int = 0


class Due(NamedTuple):
    """A note: at `not_before_us` (Unix µs) something is to be done with `folder`."""

    path: Path
    folder: Path
    retires: bool
    not_before_us: int


def mark_due(recordings: Path, folder: Path, *, sync: bool) -> None:
    """Make `finish` look at a recording. Raises OSError."""
    _write(recordings, folder, "", 0, sync=sync)


def mark_retirement(recordings: Path, folder: Path, not_before_us: int, *, sync: bool) -> None:
    """Make `finish` close a recording for good at that time, if nothing happens to it before."""
    _write(recordings, folder, _RETIRE, not_before_us, sync=sync)


def take(due: Due) -> Due:
    """Own a note: one that comes from now on is another. To be called with the folder locked."""
    if due.path.name.endswith(_TAKEN):
        return due
    taken = due.path.with_name(due.path.name + _TAKEN)
    os.rename(due.path, taken)
    return due._replace(path=taken)


def put_away(due: Due) -> None:
    """The note has been followed."""
    due.path.unlink(missing_ok=True)


def scan(recordings: Path) -> tuple[list[Due], int]:
    """Every note, and how many files there are none that can be understood."""
    found: list[Due] = []
    bad = 0
    try:
        names = sorted(os.listdir(recordings / DUE))
    except FileNotFoundError:
        return [], 0
    for name in names:
        if name.startswith("."):
            continue  # about to become one
        due = _read(recordings, recordings / DUE / name)
        if due is None:
            bad += 1
        else:
            found.append(due)
    return found, bad


def _read(recordings: Path, path: Path) -> Due | None:
    try:
        note = msgspec.json.decode(path.read_bytes(), type=_Note)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not FOLDER.fullmatch(note.folder):
        return None
    return Due(path, recordings / note.folder, path.name.endswith(_RETIRE), note.not_before_us)


def _write(recordings: Path, folder: Path, suffix: str, not_before_us: int, *, sync: bool) -> None:
    parent = durable.make_folders(recordings, DUE, sync=sync)
    note = _Note(folder.relative_to(recordings).as_posix(), not_before_us)
    path = parent / f"{folder.name}{suffix}"
    durable.replace_file(path, msgspec.json.encode(note), sync=sync)
