"""Where a call's recording lies, and how several recorders agree on it without talking.

recordings/YYYY/MM/DD/<call>/       the recording (UTC date of its first session)
recordings/.calls/<call>            a link to it, as long as a session can follow
recordings/.due/                    what `finish` has to look at (see `due`)

The link is made first and by one alone; whoever finds it without its folder completes it.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from gateway.wire.descriptor import SessionOpen
from workers.recordings import durable
from workers.recordings.manifest import read_manifest
from workers.recordings.names import CALLS, FOLDER, LOCK, STREAMS, date_of, safe_name
from workers.recordings.touched import Touched

_TRIES_MAX = 100


def find_folder(recordings: Path, call_id: str) -> Path | None:
    """The folder that a further session of this call belongs to, if there is one."""
    return _target(recordings, _link(recordings, call_id))


def make_links(recordings: Path, opened: Iterable[SessionOpen], touched: Touched) -> None:
    """The links of these sessions' calls, where they are missing, made safe together.

    For `claim_folder`, which would make each of them safe by itself. Raises OSError.
    """
    for each in opened:
        if find_folder(recordings, each.call_id) is None:
            _claim_link(recordings, each.call_id, each.session, each.opened_at_us, touched)
        else:  # whoever made it may have died before it was safe
            touched.add_folder(recordings / CALLS)
    touched.sync_folders()


def claim_folder(
    recordings: Path, call_id: str, session: str, opened_at_us: int, touched: Touched
) -> Path | None:
    """The folder of a session's recording, made where it is missing; safe with all of `touched`.

    None when the session is part of a recording that is closed for good: then all of it is there.
    Raises OSError.
    """
    for _ in range(_TRIES_MAX):
        folder = find_folder(recordings, call_id)
        if folder is None:
            if not _claim_link(recordings, call_id, session, opened_at_us, touched):
                return None
            # Before the folder: that would not be found again without its link.
            touched.sync_folders()
            continue
        if _is_sealed(recordings, call_id, session, opened_at_us, folder):
            return None
        if _is_closed_for_good(folder):
            # Closed while we made the link; or a loss of power has brought the link back.
            release_folder(recordings, call_id, folder)
            continue
        touched.make_folders(recordings, *folder.relative_to(recordings).parts, STREAMS)
        touched.add_folder(recordings / CALLS)  # the link may be another's, made since ours were
        return folder
    raise OSError(f"no folder could be claimed for {safe_name(call_id)}")


def release_folder(recordings: Path, call_id: str, folder: Path) -> None:
    """Take the call's link away, if it leads to this folder: no session follows any more."""
    if find_folder(recordings, call_id) == folder:
        _link(recordings, call_id).unlink(missing_ok=True)


def restore_folder(recordings: Path, call_id: str, folder: Path) -> None:
    """Put back what `release_folder` took, unless another folder was claimed meanwhile."""
    touched = Touched(sync=True)
    _make_link(recordings, call_id, folder.relative_to(recordings).as_posix(), touched)
    touched.sync_folders()


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


def _claim_link(
    recordings: Path, call_id: str, session: str, opened_at_us: int, touched: Touched
) -> bool:
    """False when an older recording of the call, closed for good, holds the session."""
    relative = _free_name(recordings, call_id, session, opened_at_us)
    if relative is not None:
        _make_link(recordings, call_id, relative, touched)
    return relative is not None


def _make_link(recordings: Path, call_id: str, relative: str, touched: Touched) -> None:
    """A call's link, unless there is one."""
    folder = touched.make_folders(recordings.parent, recordings.name, CALLS)
    with suppress(FileExistsError):
        os.symlink(f"../{relative}", _link(recordings, call_id))
    touched.add_folder(folder)


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
