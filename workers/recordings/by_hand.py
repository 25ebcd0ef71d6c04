"""Finishing recordings without an `up`: after a crash, or on a copy of the folders."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.wire.layout import Layout
from workers.recordings import due, durable
from workers.recordings.finish import finish_folder
from workers.recordings.folder import lock_folder, recording_folders
from workers.recordings.manifest import Manifest, read_manifest
from workers.recordings.names import FOLDER, MANIFEST, STREAMS
from workers.recordings.settings import RecordingSettings


def finish_by_hand(folder: Path) -> Iterator[tuple[Path, Manifest | str]]:
    """Finish a recording, or all of a data folder that are open or due, one by one.

    Yields each with its manifest, or with the reason for there being no new one. Recordings that
    are in use by other processes keep the sessions that are open.
    """
    folder = folder.absolute()
    recordings = _recordings_of(folder)
    with _is_unused(recordings.parent if recordings else None) as force:
        if (folder / MANIFEST).exists() or (folder / STREAMS).is_dir():
            yield folder, _finish(recordings, folder, [], force=force)
        elif recordings is not None:
            notes = [note for note in due.Notes(recordings).scan() if not note.retires]
            for each in recording_folders(recordings):
                mine = [note for note in notes if note.folder == each]
                manifest = read_manifest(each)
                if mine or manifest is None or manifest.state == "open":
                    yield each, _finish(recordings, each, mine, force=force)
        else:
            yield folder, "neither a data folder nor a recording's"


def _finish(
    recordings: Path | None, folder: Path, notes: list[due.Due], *, force: bool
) -> Manifest | str:
    try:
        with lock_folder(folder, wait=True):
            manifest = finish_folder(folder, force=force)
            if manifest is None:
                return "left as it is: a session is open, or its stream files are gone"
            if recordings is not None:
                reopen_us = round(RecordingSettings().reopen_s * 1e6)
                now_us = time.time_ns() // 1000
                due.mark_retirement(recordings, folder, now_us + reopen_us, sync=True)
            for note in notes:
                due.put_away(note)
            return manifest
    except (OSError, ValueError) as fault:
        return f"cannot be finished: {fault}"


def _recordings_of(folder: Path) -> Path | None:
    """The folder of all recordings that DIR has, or is part of."""
    inside = Layout(folder).recordings
    if inside.is_dir():
        return inside
    root = folder.parents[3] if len(folder.parents) > 3 else folder
    if root.name == inside.name and FOLDER.fullmatch(folder.relative_to(root).as_posix()):
        return root
    return None


@contextmanager
def _is_unused(data: Path | None) -> Iterator[bool]:
    """Hold the data folder's lock. Yields False when other processes run on it."""
    path = None if data is None else Layout(data).lock
    if path is None or not path.exists():
        yield True
        return
    descriptor = durable.open_file(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_unused = True
    except BlockingIOError:
        is_unused = False
    try:
        yield is_unused
    finally:
        os.close(descriptor)
