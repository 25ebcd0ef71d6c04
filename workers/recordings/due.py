"""Notes to `finish`, one small file each in `recordings/.due/`, named after the folder.

NAME           a session of the recording has ended: look at it
NAME.taken     `finish` is looking at it, or was killed over it
NAME.retire    from `not_before_us` on its stream files and the call's link can go

The recorder only makes the first kind, so a note that comes while `finish` works is never lost.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from workers.recordings.names import DUE, FOLDER
from workers.recordings.touched import Touched

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
    #: The same as long as it is the same note, taken or not.
    key: tuple[str, int]


def mark_due(recordings: Path, folder: Path, *, sync: bool) -> None:
    """Make `finish` look at a recording. Raises OSError."""
    with Touched(sync=sync) as touched:
        mark_all_due(recordings, [folder], touched)


def mark_all_due(recordings: Path, folders: Iterable[Path], touched: Touched) -> None:
    """Make `finish` look at recordings, once all of `touched` is safe, which it is made by this.

    Raises OSError.
    """
    for folder in folders:
        _write(recordings, folder, "", 0, touched)
    touched.make_safe()


def mark_retirement(recordings: Path, folder: Path, not_before_us: int, *, sync: bool) -> None:
    """Make `finish` close a recording for good at that time, if nothing happens to it before."""
    with Touched(sync=sync) as touched:
        _write(recordings, folder, _RETIRE, not_before_us, touched)
        touched.make_safe()


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


class Notes:
    """The notes of a data folder. Each is read once, so looking again costs little."""

    def __init__(self, recordings: Path) -> None:
        self._recordings = recordings
        self._known: dict[tuple[str, int], Due | None] = {}
        #: Files seen that are no notes.
        self.bad = 0

    def scan(self) -> list[Due]:
        """Every note there is."""
        known = self._known
        self._known = {}
        try:
            with os.scandir(self._recordings / DUE) as entries:
                found = sorted((entry.name, entry.inode()) for entry in entries)
        except FileNotFoundError:
            found = []
        for seen in found:
            if seen in known:
                self._known[seen] = known[seen]
            elif not seen[0].startswith("."):  # about to become one
                self._read(seen)
        return [due for due in self._known.values() if due is not None]

    def _read(self, seen: tuple[str, int]) -> None:
        name, inode = seen
        path = self._recordings / DUE / name
        try:
            note = msgspec.json.decode(path.read_bytes(), type=_Note)
        except FileNotFoundError:
            return  # another process was faster
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            note = _Note("")
        if not FOLDER.fullmatch(note.folder):
            self.bad += 1
            self._known[seen] = None
            return
        folder = self._recordings / note.folder
        key = name.removesuffix(_TAKEN), inode
        self._known[seen] = Due(path, folder, name.endswith(_RETIRE), note.not_before_us, key)


def _write(
    recordings: Path, folder: Path, suffix: str, not_before_us: int, touched: Touched
) -> None:
    parent = touched.make_folders(recordings, DUE)
    note = _Note(folder.relative_to(recordings).as_posix(), not_before_us)
    path = parent / f"{folder.name}{suffix}"
    touched.replace(path, msgspec.json.encode(note))
