"""The data folder as the parent sees it: made, tried, locked; and the list of what it has started.

Two locks: one on the folder `run`, which the parent alone holds, so that a second `up` knows at
once; and `run/lock`, which every child inherits, so that the folder is free when the last is gone.
"""

import fcntl
import logging
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from gateway.errors import Unavailable
from gateway.wire.counters import replace_file
from gateway.wire.layout import Layout

#: How long children of a parent that was killed are waited for.
ORPHANS_S = 10.0
_POLL_S = 0.1
_PROBE = bytes(65_536)

logger = logging.getLogger(__name__)


class Claim:
    """A data folder that belongs to this process. `lock` is what children inherit."""

    def __init__(self, parent: int, lock: int) -> None:
        self._parent = parent
        self.lock = lock

    def close(self) -> None:
        """Let go; children that still live keep `run/lock`."""
        os.close(self._parent)
        os.close(self.lock)


def claim(layout: Layout, *, orphans_s: float = ORPHANS_S) -> Claim:
    """Make the data folder, try to write to it, and lock it.

    Waits `orphans_s` for what a parent that was killed has left. Raises `Unavailable`.
    """
    with ExitStack() as opened:
        try:
            for folder in (layout.data, layout.run, layout.metrics):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            parent = os.open(layout.run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, parent)
            if not _lock(parent):
                raise Unavailable(_in_use(layout))
            lock = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            opened.callback(os.close, lock)
            _wait(layout, lock, orphans_s)
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            _probe(layout.run / "probe")
            for stale in layout.metrics.iterdir():
                stale.unlink()
        except OSError as fault:
            raise _unusable(layout, fault) from fault
        opened.pop_all()
    return Claim(parent, lock)


class Running(msgspec.Struct, frozen=True):
    """A line of `processes.json`. `started_at`: ISO 8601, UTC.

    Each upgrade begins another generation; processes of an older one leave, or did not have to.
    """

    role: str
    pool: str | None
    index: int
    pid: int
    started_at: str
    generation: int = 1


def write_processes(layout: Layout, running: Sequence[Running]) -> None:
    """Replace `processes.json`. A disk that is full costs the list, never the node."""
    try:
        replace_file(layout.processes, msgspec.json.encode(running) + b"\n")
    except OSError as fault:
        logger.warning("cannot write %s: %s", layout.processes, fault.strerror)


def iso_now() -> str:
    """The wall clock as `2030-01-31T12:00:00.000Z`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _wait(layout: Layout, lock: int, orphans_s: float) -> None:
    until_s = time.monotonic() + orphans_s
    if not _lock(lock):
        logger.warning("waiting for processes that still use the data folder %s", layout.data)
        while not _lock(lock):
            if time.monotonic() > until_s:
                raise Unavailable(
                    f"the data folder {layout.data} is still used by processes of an earlier run "
                    "or without `up`; stop them, try again when their calls are over, or choose "
                    "another folder with --data"
                )
            time.sleep(_POLL_S)


def _lock(descriptor: int) -> bool:
    """Whether nobody else holds it. Raises OSError where locks are not to be had at all."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _probe(path: Path) -> None:
    try:
        with path.open("wb") as file:
            file.write(_PROBE)
            file.flush()
            os.fsync(file.fileno())
    finally:
        path.unlink(missing_ok=True)


def _in_use(layout: Layout) -> str:
    try:
        pid = layout.lock.read_text().strip()
    except OSError:
        pid = ""
    owner = f" (process {pid})" if pid else ""
    return (
        f"`acs-ingest up` already runs on the data folder {layout.data}{owner}; stop it or choose "
        "another folder with --data"
    )


def _unusable(layout: Layout, fault: OSError) -> Unavailable:
    if isinstance(fault, FileExistsError):
        reason = f"{fault.filename} is not a folder"
    else:
        reason = f"{fault.strerror}{f' ({fault.filename})' if fault.filename else ''}"
    return Unavailable(
        f"the data folder {layout.data} cannot be used: {reason}; mend that or choose another "
        "folder with --data"
    )
