"""A node of real processes, each started, killed, stopped and started again by us, by its pid."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from bench.faults import clock, recorder
from bench.load.processes import READY_S, RigError

ROOT = Path(__file__).parents[2]
GATEWAYS = ("gateway-0", "gateway-1")
RECORDERS = ("record-0", "record-1")
#: It notes when batches come out of a log.
NOTING = "record-1"
CONFIG = """\
[gateway]
ping_s = 5
[log]
segment_s = 2
reserve_bytes = 1048576
[recording]
gather_s = 0.5
redial_wait_s = 3
reopen_s = 86400
"""


class Actor:
    """One process, by the name under which it counts and logs."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.process = process
        self.is_stopped = False
        self.is_traced = False
        #: It is not to be started again.
        self.is_held = False

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid


class Node:
    """Two gateways, two recorders and `finish` on one data folder."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.data = folder / "data"
        self.notes = folder / "replays"
        self.log_path = folder / "node.log"
        self.actors: dict[str, Actor] = {}
        self._pids: list[int] = []
        #: Processes that have ended by themselves, and how.
        self.ended: list[str] = []
        self._config = folder / "node.toml"
        self._config.write_text(CONFIG)
        self._log = self.log_path.open("ab")
        paths = (environment.get("PYTHONPATH"), str(ROOT), os.environ.get("PYTHONPATH"))
        path = os.pathsep.join(filter(None, paths))
        self._environment = {**os.environ, **environment, "PYTHONPATH": path}
        self._environment[recorder.NOTES] = str(self.notes)
        self.notes.touch()
        #: Its other end is the processes': they leave when we have.
        self._parent, self._lives = os.pipe()
        self._listeners = [socket.create_server(("127.0.0.1", 0), backlog=512) for _ in GATEWAYS]
        self.ports = [listener.getsockname()[1] for listener in self._listeners]
        for name in (*GATEWAYS, *RECORDERS, "finish-0"):
            self.start(name)

    def start(self, name: str) -> None:
        """Start a process again, or for the first time."""
        role, _, index = name.rpartition("-")
        module = "bench.faults.recorder" if name == NOTING else "gateway"
        line = [sys.executable, "-P", "-m", module]
        descriptors = [self._parent]
        if role == "gateway":
            listener = self._listeners[int(index)].fileno()
            descriptors.append(listener)
            line += ["gateway", "--listen", f"fd:{listener}"]
        else:
            line += ["worker", "--pool", role]
        line += [
            "--parent-fd",
            str(self._parent),
            "--index",
            index,
            "--data",
            str(self.data),
            "--config",
            str(self._config),
        ]
        process = subprocess.Popen(
            line,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            pass_fds=descriptors,
            env=self._environment,
        )
        self.actors[name] = Actor(name, process)
        self._pids.append(process.pid)

    def kill(self, name: str) -> None:
        """SIGKILL, and gone."""
        actor = self.actors[name]
        actor.process.kill()
        actor.process.wait(10)

    def stop(self, name: str) -> None:
        """SIGSTOP."""
        self.actors[name].is_stopped = True
        self.actors[name].process.send_signal(signal.SIGSTOP)

    def wake(self, actor: Actor) -> None:
        """SIGCONT."""
        actor.is_stopped = False
        actor.process.send_signal(signal.SIGCONT)

    def watch(self) -> None:
        """Note who has ended by itself, and start it again."""
        for name, actor in list(self.actors.items()):
            status = actor.process.poll()
            if status is not None and not actor.is_held:
                self.ended.append(f"{name} ended by itself with status {status}")
                self.start(name)

    def await_ready(self) -> None:
        """Until every process says so. Raises `RigError`."""
        until_s = time.monotonic() + READY_S
        while missing := self._not_ready():
            if time.monotonic() > until_s or any(
                actor.process.poll() is not None for actor in self.actors.values()
            ):
                said = self.log_path.read_text(errors="replace").splitlines()[-3:]
                raise RigError(f"{missing} not ready; it said: {' | '.join(said) or 'nothing'}")
            time.sleep(0.05)

    def _not_ready(self) -> set[str]:
        ready = set()
        for path in (self.data / "run" / "metrics").glob("[!.]*.json"):
            with contextlib.suppress(OSError, ValueError):
                found = json.loads(path.read_text())
                if found["ready"]:
                    ready.add(found["pid"])
        return {name for name, actor in self.actors.items() if actor.pid not in ready}

    def rss_bytes(self, name: str) -> int:
        """Memory of a process; 0 if it has gone."""
        try:
            fields = Path(f"/proc/{self.actors[name].pid}/statm").read_text().split()
        except OSError:
            return 0
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def log_bytes(self) -> int:
        """Of all gateways' logs."""
        total = 0
        for path in (self.data / "log").glob("*/*/*.seg"):
            with contextlib.suppress(OSError):
                total += path.stat().st_size
        return total

    def close(self) -> None:
        """End everything, at once."""
        for actor in self.actors.values():
            if actor.process.poll() is None:
                actor.process.kill()
        for actor in self.actors.values():
            actor.process.wait(10)
        for pid in self._pids:
            clock.forget(pid)
        for listener in self._listeners:
            listener.close()
        os.close(self._parent)
        os.close(self._lives)
        self._log.close()
