"""A wall clock that jumps, by libfaketime; what counts time spans is left alone."""

from __future__ import annotations

from pathlib import Path

LIBRARIES = (
    "/usr/lib/*/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
    "/usr/local/lib/faketime/libfaketime.so.1",
)
SHARED_MEMORY = Path("/dev/shm")
#: libfaketime breaks `clock_nanosleep` until an instant, which is Python's `time.sleep`.
_SITE = """\
import select
import time

time.sleep = lambda seconds: select.select((), (), (), seconds) and None
"""
JUMPS_S = (-3600.0, -30.0, -0.7, 0.7, 30.0, 3600.0)


def library() -> Path | None:
    """Where libfaketime is; None without it."""
    for pattern in LIBRARIES:
        for found in sorted(Path("/").glob(pattern.lstrip("/"))):
            return found
    return None


def forget(pid: int) -> None:
    """Remove what libfaketime keeps of a process, which has ended without doing it."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        (SHARED_MEMORY / name).unlink(missing_ok=True)


class Clock:
    """The clock of all processes that are started with `environment`."""

    def __init__(self, file: Path, preload: Path) -> None:
        self._file = file
        self.jump(0)
        site = file.with_name("site")
        site.mkdir()
        (site / "sitecustomize.py").write_text(_SITE)
        self.environment = {
            "PYTHONPATH": str(site),
            "LD_PRELOAD": str(preload),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_CACHE_DURATION": "1",
            "NO_FAKE_STAT": "1",
        }

    def jump(self, seconds: float) -> None:
        """How far it is off from now on, within a second."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds:+.1f}\n")
        fresh.rename(self._file)
