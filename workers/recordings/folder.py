"""Where a call's recording lies, and how several recorders agree on it without talking.

recordings/YYYY/MM/DD/<call>/       the recording (UTC date of its first session)
recordings/.calls/<call>            a link to it, as long as a session can follow
recordings/.due/                    what `finish` has to look at (see `due`)

The link is made first and by one alone; whoever finds it without its folder completes it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from workers.recordings import durable
from workers.recordings.manifest import read_manifest
from workers.recordings.names import CALLS, FOLDER, LOCK, STREAMS, date_of, safe_name

_TRIES_MAX = 100


def find_folder(recordings: Path, call_id: str) -> Path | None:
    """The folder that a further session of this call belongs to, if there is one."""
    return _target(recordings, _link(recordings, call_id))


def claim_folder(
    recordings: Path, call_id: str, session: str, opened_at_us: int, *, sync: bool
) -> Path | None:
    """The folder of a session's recording, made where it is missing.

    None when the session is part of a recording that is closed for good: then all of it is there.
    Raises OSError.
    """
    link = _link(recordings, call_id)
    for _ in range(_TRIES_MAX):
        folder = find_folder(recordings, call_id)
        if folder is None:
            relative = _free_name(recordings, call_id, session, opened_at_us)
            if relative is None:
                return None
            _make_link(link, f"../{relative}", sync=sync)
            continue
        if _is_sealed(recordings, call_id, session, opened_at_us, folder):
            return None
        if _is_closed_for_good(folder):
            # Closed while we made the link; or a loss of power has brought the link back.
            release_folder(recordings, call_id, folder)
            continue
        durable.make_folders(recordings, *folder.relative_to(recordings).parts, STREAMS, sync=sync)
        if sync:  # whoever made the link may have died before it was safe
            durable.sync_folder(link.parent)
        return folder
    raise OSError(f"no folder could be claimed for {link.name}")


def sync_names(recordings: Path, folder: Path) -> None:
    """Make a recording's name and its link safe, though they are there. Raises OSError."""
    for each in (folder, *folder.parents):
        durable.sync_folder(each)
        if each == recordings:
            break
    durable.sync_folder(recordings / CALLS)


def release_folder(recordings: Path, call_id: str, folder: Path) -> None:
    """Take the call's link away, if it leads to this folder: no session follows any more."""
    if find_folder(recordings, call_id) == folder:
        _link(recordings, call_id).unlink(missing_ok=True)


def restore_folder(recordings: Path, call_id: str, folder: Path) -> None:
    """Put back what `release_folder` took, unless another folder was claimed meanwhile."""
    _make_link(
        _link(recordings, call_id), f"../{folder.relative_to(recordings).as_posix()}", sync=True
    )


@contextmanager
def lock_folder(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the recording for `finish`. Yields False when another process holds it."""
    descriptor = durable.open_file(folder / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        yield False
        return
    try:
        yield True
    finally:
        os.close(descriptor)


def recording_folders(recordings: Path) -> Iterator[Path]:
    """Every recording's folder, the oldest date first."""
    for folder in sorted(recordings.glob("[0-9]*/[0-9]*/[0-9]*/*")):
        if FOLDER.fullmatch(folder.relative_to(recordings).as_posix()) and folder.is_dir():
            yield folder


def claimed_folders(recordings: Path) -> Iterator[Path]:
    """The folder of every call of which a session can follow. Raises OSError."""
    try:
        names = sorted(os.listdir(recordings / CALLS))
    except FileNotFoundError:
        return
    for name in names:
        folder = _target(recordings, recordings / CALLS / name)
        if folder is not None and folder.is_dir():
            yield folder


def _link(recordings: Path, call_id: str) -> Path:
    return recordings / CALLS / safe_name(call_id)


def _target(recordings: Path, link: Path) -> Path | None:
    """Where a link leads; None where it does not lead to a recording, or is none."""
    try:
        target = os.readlink(link)
    except OSError:
        return None
    relative = target.removeprefix("../")
    return recordings / relative if FOLDER.fullmatch(relative) else None


def _make_link(link: Path, target: str, *, sync: bool) -> None:
    durable.make_folders(link.parent.parent.parent, link.parent.parent.name, CALLS, sync=sync)
    try:
        os.symlink(target, link)
    except FileExistsError:
        return
    if sync:
        durable.sync_folder(link.parent)


def _free_name(recordings: Path, call_id: str, session: str, opened_at_us: int) -> str | None:
    """A folder name that no older recording of the call has; None if one holds this session."""
    for folder in _names_of(recordings, call_id, opened_at_us):
        if not folder.exists():
            return folder.relative_to(recordings).as_posix()
        if _has_closed(folder, session):
            return None
    raise AssertionError("there is always another name")


def _is_sealed(
    recordings: Path, call_id: str, session: str, opened_at_us: int, present: Path
) -> bool:
    """Whether an older recording than the `present` one holds this session, closed for good."""
    for folder in _names_of(recordings, call_id, opened_at_us):
        if folder == present or not folder.exists():
            return False
        if _has_closed(folder, session):
            return True
    return False


def _is_closed_for_good(folder: Path) -> bool:
    """Whether its stream files are gone: nothing could be added to it any more."""
    if (folder / STREAMS).exists():
        return False
    manifest = read_manifest(folder)
    return manifest is not None and manifest.state != "open"


def _names_of(recordings: Path, call_id: str, opened_at_us: int) -> Iterator[Path]:
    """What the recordings of a call are called that began on that day, the oldest first."""
    first = recordings.joinpath(*date_of(opened_at_us), safe_name(call_id))
    yield first
    for number in count(2):
        yield first.with_name(f"{first.name}~{number}")


def _has_closed(folder: Path, session: str) -> bool:
    """Whether a recording that is finished holds this session."""
    manifest = read_manifest(folder)
    return (
        manifest is not None
        and manifest.state != "open"
        and any(session == known.id for known in manifest.sessions)
    )
