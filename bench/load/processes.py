"""Child processes of a load bench: on a CPU of their own, ended by pid, their CPU time read."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

READY_S = 30.0
END_S = 20.0
NICE = -10
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class RigError(Exception):
    """The bench cannot run: says what is not to be had."""


class Child:
    """One process, started by us. It ends when we do: its `--parent-fd` is our pipe."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        folder: Path,
        *,
        cpus: set[int],
        listener: socket.socket | None = None,
        announces: bool = False,
        environment: Iterable[tuple[str, str]] = (),
    ) -> None:
        """`announces`: it takes `--ready-fd` and writes there; `listener` is passed on as it is.

        `environment` is added to ours.
        """
        self.name = name
        self._log = folder / f"{name}.log"
        lives_read, self._lives = os.pipe()
        self._ready, ready_write = os.pipe()
        passed = [lives_read, *([ready_write] if announces else [])]
        options = ["--parent-fd", str(lives_read)]
        options += ["--ready-fd", str(ready_write)] if announces else []
        if listener is not None:
            passed.append(listener.fileno())
        with self._log.open("wb") as log, running_on(cpus):
            self._process = subprocess.Popen(
                [*argv, *options],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                pass_fds=passed,
                env=os.environ | dict(environment),
            )
        os.close(lives_read)
        os.close(ready_write)
        self.pid = self._process.pid
        self._is_stopping = False

    def wait_until_ready(self) -> None:
        """Wait for what it announces. Raises `RigError`."""
        readable, _, _ = select.select([self._ready], [], [], READY_S)
        if not readable or not os.read(self._ready, 16):
            raise self.fault("did not start")

    def fault(self, what: str) -> RigError:
        """What to raise when it has not done as it should."""
        said = self._log.read_text(errors="replace").splitlines()[-3:]
        return RigError(f"{self.name} {what}; it said: {' | '.join(said) or 'nothing'}")

    def cpu_s(self) -> float:
        """User and system time so far, of all its threads; not of its children."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND

    def stop(self) -> None:
        """Ask it to leave, once."""
        if not self._is_stopping:
            self._is_stopping = True
            self._process.terminate()

    def end(self) -> None:
        """Wait until it has left; SIGKILL where it does not."""
        self.stop()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._lives)
        os.close(self._ready)


@contextlib.contextmanager
def running_on(cpus: set[int]) -> Iterator[None]:
    """What is started meanwhile runs on `cpus`, and so does this process. Empty: anywhere."""
    before = os.sched_getaffinity(0)
    if cpus:
        os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def preferred() -> Iterator[None]:
    """This process, and what it starts meanwhile, come before others, where that is allowed."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, before)


@contextlib.contextmanager
def punctual() -> Iterator[None]:
    """This process runs as soon as it is due, and its naps end in time, where that is allowed."""
    policy, before = os.sched_getscheduler(0), os.sched_getparam(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/timerslack_ns").write_text("1000")
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, policy, before)


def two_cpus() -> tuple[set[int], set[int]]:
    """One CPU for servers, one for the rig and all workers; both empty where there is one only."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        return set(), set()
    return {cpus[0]}, {cpus[1]}


def machine_busy_s() -> float:
    """CPU time that the machine has spent on anything since it was started."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _, _, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq + steal) / TICKS_A_SECOND
