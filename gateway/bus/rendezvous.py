"""How workers find the gateways of their node: one endpoint and one held lock per gateway process.

A second bind on an ipc path would steal it without an error, so every process start has a name of
its own (its boot id). An endpoint whose lock is free belonged to a process that is dead.
"""

import fcntl
import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from gateway.wire.counters import replace_file
from gateway.wire.layout import Layout
from gateway.wire.shortage import is_shortage

#: Longest path that fits a socket address on every platform that we run on.
SOCKET_PATH_BYTES_MAX = 100
_BOOT_ID_CHARS = 16


def bus_folder(layout: Layout, *, create: bool = False) -> Path:
    """The folder of the endpoints: `DATA/run/bus`, or a short one named in `DATA/run/bus.path`.

    `create` makes it (mode 0700). Raises OSError, also where a short folder is not ours.
    """
    folder = layout.bus
    if len(os.fsencode(folder.absolute())) + _BOOT_ID_CHARS + 8 > SOCKET_PATH_BYTES_MAX:
        digest = hashlib.blake2b(os.fsencode(layout.data.absolute()), digest_size=8).hexdigest()
        folder = Path(tempfile.gettempdir()) / f"acs-ingest-{os.getuid()}-{digest}"
        if create:
            layout.run.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(layout.bus_path, f"{folder}\n".encode())
    if create:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise PermissionError(f"{folder} belongs to another user")
    return folder.absolute()


def leave_bus_folder(layout: Layout) -> None:
    """Take a short folder away with what dead processes have left, unless somebody is in it."""
    folder = bus_folder(layout)
    if folder != layout.bus.absolute():
        with suppress(OSError):
            remove_dead_endpoints(layout)
            folder.rmdir()


class Endpoint:
    """A gateway's place on the bus: `address` to bind at, and the lock that says it lives."""

    def __init__(self, layout: Layout, boot_id: str) -> None:
        """Take the lock. Raises OSError."""
        folder = bus_folder(layout, create=True)
        self._path = folder / f"{boot_id}.ipc"
        self._lock_path = folder / f"{boot_id}.lock"
        self._lock = _take(self._lock_path)
        self.address = f"ipc://{self._path}"

    def close(self) -> None:
        """Leave the bus: workers forget the endpoint at their next look."""
        self._path.unlink(missing_ok=True)
        self._lock_path.unlink(missing_ok=True)
        os.close(self._lock)


def _take(path: Path) -> int:
    """Create and lock `path`, though somebody may take it for a dead one's in between."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)


def live_endpoints(layout: Layout) -> dict[str, str]:
    """Boot id -> address of every gateway process that lives.

    Raises OSError where that cannot be told just now: nobody may be taken for dead for that.
    """
    found = {}
    for lock in _locks(bus_folder(layout)):
        endpoint = lock.with_suffix(".ipc")
        if endpoint.exists() and _is_held(lock):
            found[lock.stem] = f"ipc://{endpoint}"
    return found


def remove_dead_endpoints(layout: Layout) -> None:
    """Take away what processes that were killed have left. Raises OSError."""
    for lock in _locks(bus_folder(layout)):
        if not _is_held(lock):
            lock.with_suffix(".ipc").unlink(missing_ok=True)
            lock.unlink(missing_ok=True)


def _locks(folder: Path) -> list[Path]:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(names) if name.endswith(".lock")]


def _is_held(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError as fault:
        if is_shortage(fault):
            raise
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
