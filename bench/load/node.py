"""A node under load: `acs-ingest up` in a folder of its own, its figures and its CPU time.

What it says of itself is read from its files, without its code.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from bench.load.processes import (
    END_S,
    READY_S,
    TICKS_A_SECOND,
    Child,
    RigError,
    preferred,
    running_on,
)

ROOT = Path(__file__).parents[2]
DRAIN_S = 15
SLOW_QUEUE_MS = 200
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_prctl = ctypes.CDLL(None).prctl
#: Plug-ins of the bench, installed for this node alone.
PLUGINS = {"bench-age": "bench.load.ages:Age"}
RECORDING = "[recording]\nredial_wait_s = 1\n"


class Pools(NamedTuple):
    """The pools besides `record` and `finish`."""

    ages: str  # `live`: a processor in a pool of its own; `recording`: a worker that can wait
    live_workers: int = 1
    slow_hold_ms: float | None = None  # for each frame, of a pool that cannot keep up

    def names(self) -> set[str]:
        """Of all pools that frames go to."""
        return {"record", "ages"} | ({"slow"} if self.slow_hold_ms is not None else set())

    def config(self) -> str:
        """As tables of the configuration."""
        text = RECORDING
        if self.ages == "live":
            text += f'[pools.ages]\nprocessors = ["bench-age"]\nprocesses = {self.live_workers}\n'
        if self.slow_hold_ms is not None:
            text += f"[pools.slow]\nprocesses = 0\nqueue_ms_max = {SLOW_QUEUE_MS}\n"
        return text


class Process(NamedTuple):
    """A process of the node."""

    name: str
    pid: int


class Figures(NamedTuple):
    """What a node's processes have counted, dead ones included."""

    messages: int
    dropped: dict[str, int]  # by pool
    frames: dict[str, int]  # that workers of a pool with processors have taken, by pool
    workers: dict[str, int]  # by pool
    in_flight: int  # batches not made safe


class Node:
    """A node that runs; `end` it."""

    def __init__(self, folder: Path, pools: Pools, *, gateways: int, cpus: set[int]) -> None:
        """Raises `RigError` when it does not get ready."""
        self.data = folder / "data"
        self._log = folder / "up.log"
        self._own: list[Child] = []
        (folder / "node.toml").write_text(pools.config())
        line = [sys.executable, "-P", "-m", "gateway", "up", "--data", str(self.data)]
        line += ["--config", str(folder / "node.toml"), "--gateways", str(gateways)]
        line += ["--listen", "127.0.0.1:0", "--admin", "off", "--drain-s", str(DRAIN_S)]
        path = os.pathsep.join((str(_installed(folder)), str(ROOT)))
        with self._log.open("wb") as log, running_on(cpus), preferred():
            self._up = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path},
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - it makes one call of C
            )
        try:
            self.port = self._await_port()
            if pools.ages == "recording":
                self._start("ages", folder, cpus)
            if pools.slow_hold_ms is not None:
                self._start("slow", folder, cpus, "--hold-ms", str(pools.slow_hold_ms))
            self._await_workers(pools.names())
        except BaseException:
            self.end()
            raise

    def processes(self) -> list[Process]:
        """All that live now."""
        rows = json.loads((self.data / "run" / "processes.json").read_text())
        found = []
        for row in rows:
            name = "up" if row["role"] == "up" else f"{row['pool'] or 'gateway'}-{row['index']}"
            found.append(Process(name, row["pid"]))
        return found + [Process(child.name, child.pid) for child in self._own]

    def kill(self, name: str) -> bool:
        """SIGKILL to a process, by its name; whether there was one."""
        for process in self.processes():
            if process.name == name:
                os.kill(process.pid, signal.SIGKILL)
                return True
        return False

    def figures(self) -> Figures:
        """What they have published last."""
        paths = sorted((self.data / "run" / "metrics").glob("*.json"))
        texts = []
        for path in paths:
            try:
                texts.append(path.read_text())
            except FileNotFoundError:  # replaced meanwhile
                continue
        return read_figures(texts)

    @property
    def is_up(self) -> bool:
        """Whether it runs."""
        return self._up.poll() is None

    def end(self) -> int:
        """Drain it; returns its exit status."""
        if self.is_up:
            self._up.terminate()
        try:
            status = self._up.wait(DRAIN_S + END_S)
        except subprocess.TimeoutExpired:
            self._up.kill()  # its children end with its pipe
            status = self._up.wait()
        if self._up.stdout is not None:
            self._up.stdout.close()
        while self._own:
            self._own.pop().end()
        return status

    def fault(self, what: str) -> RigError:
        """What to raise when it has not done as it should."""
        said = self._log.read_text(errors="replace").splitlines()[-3:]
        return RigError(f"the node {what}; it said: {' | '.join(said) or 'nothing'}")

    def _start(self, pool: str, folder: Path, cpus: set[int], *options: str) -> None:
        """A worker of the bench, beside those of the node."""
        line = [sys.executable, "-m", f"bench.load.{pool}", "--data", str(self.data), *options]
        self._own.append(Child(f"{pool}-0", line, folder, cpus=cpus))

    def _await_port(self) -> int:
        assert self._up.stdout is not None
        readable, _, _ = select.select([self._up.stdout], [], [], READY_S)
        line = self._up.stdout.readline().decode() if readable else ""
        ready = re.fullmatch(r"ready ws://127\.0\.0\.1:(\d+)/\S*\n", line)
        if ready is None:
            raise self.fault("did not start")
        return int(ready[1])

    def _await_workers(self, pools: set[str]) -> None:
        until_s = time.monotonic() + READY_S
        while not pools <= {pool for pool, count in self.figures().workers.items() if count}:
            if time.monotonic() > until_s:
                raise self.fault("has not all its workers")
            time.sleep(0.05)


def _end_with_parent() -> None:
    """In the child: drain when the bench is killed."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _installed(folder: Path) -> Path:
    """A folder of packages in which the bench's plug-ins are installed."""
    info = folder / "plugins" / "acs_ingest_bench-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acs-ingest-bench\nVersion: 1\n")
    lines = "".join(f"{name} = {target}\n" for name, target in PLUGINS.items())
    (info / "entry_points.txt").write_text(f"[acs_ingest.processors]\n{lines}")
    return info.parent


def read_figures(texts: list[str]) -> Figures:
    """The figures of all snapshots that the bench needs."""
    messages = in_flight = 0
    by_pool: dict[str, defaultdict[str, int]] = {
        name: defaultdict(int) for name in ("dropped_frames", "calls_frames", "workers")
    }
    for text in texts:
        try:
            snapshot = json.loads(text)
        except ValueError:  # just being written over
            continue
        for series in snapshot["series"]:
            name, value = series["name"], int(series["value"])
            if name == "messages":
                messages += value
            elif name == "batches_in_flight":
                in_flight += value
            elif name in by_pool:
                pool = series["labels"].get("pool") or snapshot["pool"]
                by_pool[name][pool] += value
    return Figures(
        messages,
        dict(by_pool["dropped_frames"]),
        dict(by_pool["calls_frames"]),
        dict(by_pool["workers"]),
        in_flight,
    )


def cpu_s(pid: int) -> float | None:
    """User and system time of a process so far; None when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND
