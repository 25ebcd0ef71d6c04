"""System calls that fail, or take long, by `strace` on a running process."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

_END_S = 5.0


class Injection(NamedTuple):
    """What is done to which calls; `is_log`: only to the file of the log that is written."""

    calls: str
    how: str
    is_log: bool = False


#: By who suffers, then by class of fault.
INJECTIONS = {
    ("gateway", "syscall-error"): (
        Injection("fdatasync", "error=EIO:when=1"),
        Injection("fdatasync", "error=ENOSPC:when=1..2"),
        Injection("writev,write", "error=ENOSPC:when=1..2", is_log=True),
        Injection("writev,write", "error=EIO:when=1", is_log=True),
        Injection("openat", "error=EMFILE:when=1"),
    ),
    ("gateway", "syscall-delay"): (
        Injection("fdatasync", "delay_enter=400000:when=1..3"),
        Injection("writev,write", "delay_enter=300000:when=1..2", is_log=True),
    ),
    ("record", "syscall-error"): (
        Injection("fdatasync", "error=EIO:when=1..2"),
        Injection("pwrite64", "error=EIO:when=1"),
        Injection("pwrite64", "error=ENOSPC:when=2..4"),
        Injection("openat", "error=EMFILE:when=1"),
    ),
    ("record", "syscall-delay"): (
        Injection("fdatasync", "delay_enter=200000:when=1..4"),
        Injection("pwrite64", "delay_enter=100000:when=1..4"),
    ),
}


def why_not() -> str:
    """Why nothing can be traced here; empty if it can."""
    strace = shutil.which("strace")
    if strace is None:
        return "there is no strace"
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        line = [strace, "-qq", "-e", "trace=fsync", "-p", str(child.pid)]
        tracer = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
        try:
            _, said = tracer.communicate(timeout=0.5)
        except subprocess.TimeoutExpired:  # it traces
            tracer.terminate()
            tracer.communicate(timeout=_END_S)
            return ""
        return f"strace: {said.strip() or 'it does not stay'}"
    finally:
        child.kill()
        child.communicate()


class Tracer:
    """`strace` on one process, which has the fault until `end`."""

    def __init__(self, pid: int, injection: Injection, notes: Path) -> None:
        """What was done is written to `notes`. Raises `LookupError` where no log is to be found."""
        self._notes = notes
        notes.unlink(missing_ok=True)
        line = ["strace", "-f", "-qq", "-o", str(notes)]
        if injection.is_log:
            line += ["-P", str(_segment(pid))]
        line += [
            "-e",
            f"trace={injection.calls}",
            "-e",
            f"inject={injection.calls}:{injection.how}",
        ]
        self._process = subprocess.Popen(
            [*line, "-p", str(pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def end(self) -> bool:
        """Let the process go; whether it has met the fault."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_END_S)
        said = self._notes.read_text(errors="replace") if self._notes.exists() else ""
        return "(INJECTED)" in said or "(DELAYED)" in said


def _segment(pid: int) -> Path:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = link.readlink()
            if target.suffix == ".seg":
                return target
    raise LookupError(f"process {pid} has no log open")
