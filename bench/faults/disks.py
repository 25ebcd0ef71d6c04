"""Disks that can be full: small file systems in memory, or a limit of the files of a process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import subprocess
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_PAGE = 4096


def enter_mounts() -> str:
    """Let this process and its children have mounts of their own; says why that is not allowed."""
    if os.geteuid() != 0:
        return "only root may mount"
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare"):
        return "there are no mount namespaces"
    if libc.unshare(_CLONE_NEWNS):
        return f"no mount namespace: {os.strerror(ctypes.get_errno())}"
    made = _run("mount", "--make-rprivate", "/")
    return made.stderr.strip() if made.returncode else ""


def _run(*line: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, line)], capture_output=True, text=True, check=False)


class Disk:
    """A file system in memory, mounted at `path`, whose size is what it holds while it is full."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        """Raises OSError."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self._size = size_bytes
        made = _run("mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=0700", "tmpfs", path)
        if made.returncode:
            raise OSError(f"mount {path}: {made.stderr.strip()}")

    def fill(self) -> bool:
        """Leave no room; False where that did not come about."""
        for spare_pages in (0, 8, 64, 256):
            found = os.statvfs(self.path)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize + spare_pages * _PAGE
            if self._resize(max(used, _PAGE)):
                return True
        return False

    def mend(self) -> None:
        """Have room again."""
        self._resize(self._size)

    def close(self) -> None:
        """Take it away."""
        _run("umount", "-l", self.path)

    def _resize(self, size_bytes: int) -> bool:
        return _run("mount", "-o", f"remount,size={size_bytes}", self.path).returncode == 0


def limit_files(pid: int, *, is_full: bool) -> bool:
    """Let no file of a process grow any more, or let them again; False if there is no process."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0 if is_full else hard, hard))
        return True
    return False
