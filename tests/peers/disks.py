"""Small disks for tests, that can be filled, made read-only and mended; and disks that sync badly.

The mounts are seen by this process and its children alone, and end with them.
"""

import ctypes
import functools
import os
import subprocess
from pathlib import Path

import pytest

_CLONE_NEWNS = 0x00020000
FAULTS = Path(__file__).with_name("faults")


@functools.cache
def _why_not() -> str:
    """Enter a mount namespace of our own, once. Says why that is not allowed; else nothing."""
    if os.geteuid() != 0:
        return "only root may mount"
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare"):
        return "there are no mount namespaces"
    if libc.unshare(_CLONE_NEWNS):
        return f"no mount namespace: {os.strerror(ctypes.get_errno())}"
    made = _run("mount", "--make-rprivate", "/")
    return "" if made.returncode == 0 else f"mounts cannot be private: {made.stderr}"


def _run(*line: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, line)], capture_output=True, text=True, check=False)


def require_mounts() -> None:
    """Skip where nothing may be mounted; but as root on CI that is a failure."""
    if not (reason := _why_not()):
        return
    if os.environ.get("CI") == "true" and os.geteuid() == 0:
        pytest.fail(reason)
    pytest.skip(reason)


class SmallDisk:
    """A file system in memory, mounted at `path`."""

    def __init__(self, path: Path, size: str, inodes: int = 512) -> None:
        require_mounts()
        self.path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._mount("-t", "tmpfs", "-o", f"size={size},nr_inodes={inodes},mode=0700", "tmpfs")
        self._is_read_only = False
        #: Lies outside of what the node looks at.
        self._ballast = path / ".ballast"

    def _mount(self, *arguments: str | Path) -> None:
        made = _run("mount", *arguments, self.path)
        if made.returncode:
            raise OSError(f"mount {arguments}: {made.stderr}")

    def fill(self) -> None:
        """Leave no byte."""
        with self._ballast.open("wb", buffering=0) as ballast:
            for size in (1 << 16, 1 << 12, 1 << 8, 1):
                try:
                    while ballast.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue

    def fill_inodes(self) -> None:
        """Leave no name for another file."""
        self._ballast.mkdir()
        number = 0
        while True:
            try:
                (self._ballast / str(number)).touch()
            except OSError:
                return
            number += 1

    def make_read_only(self) -> None:
        """Let nobody open a file for writing; who has one open goes on."""
        self._mount("--bind", self.path)
        self._is_read_only = True
        self._mount("-o", "remount,bind,ro")

    def mend(self) -> None:
        """Have room again, or take writes."""
        if self._is_read_only:
            self._is_read_only = False
            _run("umount", "-l", self.path)
        elif self._ballast.is_dir():
            for path in self._ballast.iterdir():
                path.unlink()
            self._ballast.rmdir()
        else:
            self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Take it away."""
        self.mend()
        _run("umount", "-l", self.path)


class BadSyncs:
    """What syncs do in the processes that are started with `environment`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.touch()
        self.environment = {"PYTHONPATH": str(FAULTS), "ACS_TEST_SYNC_FAULTS": str(file)}

    def say(self, *lines: str) -> None:
        """What is wrong from now on; nothing without a line."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text("".join(f"{line}\n" for line in lines))
        fresh.rename(self._file)
