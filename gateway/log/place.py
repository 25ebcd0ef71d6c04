"""One folder that a log may lie in: whether it takes anything, and what is reserved in it."""

import ctypes
import logging
import os
from contextlib import suppress
from pathlib import Path

from gateway.log.folder import RESERVE_NAME, make_folder

RETRY_S_MIN = 0.5
RETRY_S_MAX = 5.0
_KEEP_SIZE = 1

logger = logging.getLogger(__name__)

_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = getattr(_libc, "fallocate64", None) or getattr(_libc, "fallocate", None)
if _fallocate is not None:
    _fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class Place:
    """For the writer's thread, but for what says otherwise."""

    def __init__(self, parent: Path, boot_id: str, reserve_bytes: int) -> None:
        self._parent = parent
        self._boot_id = boot_id
        self._reserve_bytes = reserve_bytes
        #: None until it could be made. Any thread may read it.
        self.folder: Path | None = None
        self.lock = -1
        #: Bytes that are taken from the disk beforehand and not used.
        self.reserved_bytes = 0
        self._refused_until_s = 0.0
        self._delay_s = RETRY_S_MIN
        #: Why it takes nothing just now.
        self.fault: OSError | None = None

    def prepare(self) -> Path:
        """Make the folder, where that has not been done. Raises OSError."""
        if self.folder is None:
            self.folder, self.lock = make_folder(self._parent, self._boot_id)
        return self.folder

    def may_try(self, now_s: float) -> bool:
        """Whether it has not refused something just now. Any thread may ask."""
        return now_s >= self._refused_until_s

    def refused(self, fault: OSError, now_s: float) -> None:
        """It has failed: leave it alone for a while, and for longer each time. Of any thread."""
        self.fault = fault
        self._refused_until_s = now_s + self._delay_s
        self._delay_s = min(2 * self._delay_s, RETRY_S_MAX)

    def works(self) -> None:
        """It has made something safe. Of any thread."""
        self.fault = None
        self._delay_s = RETRY_S_MIN

    def room_bytes(self) -> int:
        """What it would take. Waits for the disk. Of any thread."""
        if self.fault is not None or self.folder is None:
            return 0
        try:
            found = os.statvfs(self.folder)
        except OSError:
            return 0
        return found.f_bavail * found.f_frsize

    def device(self) -> int:
        """Which file system it is on; -1 where that cannot be told."""
        try:
            return os.stat(self.folder or self._parent).st_dev
        except OSError:
            return -1

    def reserve(self) -> None:
        """Take the reserve from the disk, unless it is there or would leave too little room."""
        if self.reserved_bytes or not self._reserve_bytes or self.folder is None:
            return
        if _fallocate is None or self.room_bytes() < 2 * self._reserve_bytes:
            return
        path = self.folder / RESERVE_NAME
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                # Blocks behind the end of the file: what is written there finds its room, and
                # readers see what was written and no more.
                if _fallocate(descriptor, _KEEP_SIZE, 0, self._reserve_bytes):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            finally:
                os.close(descriptor)
        except OSError as fault:
            logger.warning("log: nothing can be reserved in %s: %s", self._parent, fault.strerror)
            self._reserve_bytes = 0
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return
        self.reserved_bytes = self._reserve_bytes

    def spend_reserve(self, path: Path) -> bool:
        """Make the reserve a file of that name. False where there is none. Raises OSError."""
        if not self.reserved_bytes or self.folder is None:
            return False
        os.rename(self.folder / RESERVE_NAME, path)
        self.reserved_bytes = 0
        return True
