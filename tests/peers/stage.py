"""A node taken apart: real gateways and workers, each started and killed by the test."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from node import eventually
from recorded import Recorded, recorded

CONFIG = "[recording]\ngather_s = 0.2\nredial_wait_s = 3\n[log]\nsegment_s = 0.5\n"
FAULTY = Path(__file__).with_name("faulty_worker.py")
START_S = 20.0


class Actor:
    """One process of the node, by the name under which it counts and logs."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        self.name = name
        self.process = process
        self.url = ""

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and gone."""
        self.process.kill()
        self.process.wait(10)


class Stage:
    """Processes on one data folder."""

    def __init__(self, data: Path, config: str = CONFIG) -> None:
        self.data = data
        self._config = data.with_name(f"{data.name}.toml")
        self._config.write_text(config)
        self._log = data.with_name(f"{data.name}.log").open("ab")
        self._actors: list[Actor] = []

    def gateway(self, index: int = 0) -> Actor:
        """A front process with a port of its own, which accepts."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            ready, said = os.pipe()
            arguments = ["--listen", f"fd:{listener.fileno()}", "--ready-fd", str(said)]
            descriptors = (listener.fileno(), said)
            actor = self._start("gateway", ["gateway", *arguments], index, descriptors)
            os.close(said)
            with os.fdopen(ready, "rb") as told:
                assert b"READY\n" == told.readline(), self.log()
        actor.url = f"ws://127.0.0.1:{port}/media"
        return actor

    def worker(self, index: int = 0, pool: str = "record") -> Actor:
        """A worker, linked; one of `finish` as soon as it is there."""
        return self._ready(self._start(pool, ["worker", "--pool", pool], index))

    def workers(self, *indexes: int) -> list[Actor]:
        """Recorders, linked; they start side by side."""
        started = [self._start("record", ["worker", "--pool", "record"], n) for n in indexes]
        return [self._ready(actor) for actor in started]

    def faulty(self, kind: str, index: int) -> Actor:
        """A worker with a fault, a recorder but for `deaf`; see `faulty_worker.py`."""
        name = f"{'ears' if kind == 'deaf' else 'record'}-{index}"
        line = [sys.executable, str(FAULTY), kind, str(index), str(self.data), str(self._config)]
        return self._ready(self._run(name, line, ()))

    def _start(
        self, name: str, command: Sequence[str], index: int, descriptors: tuple[int, ...] = ()
    ) -> Actor:
        line = [sys.executable, "-m", "gateway", *command, "--index", str(index)]
        line += ["--data", str(self.data), "--config", str(self._config)]
        return self._run(f"{name}-{index}", line, descriptors)

    def _run(self, name: str, line: list[str], descriptors: tuple[int, ...]) -> Actor:
        process = subprocess.Popen(line, stderr=self._log, pass_fds=descriptors)
        self._actors.append(Actor(name, process))
        return self._actors[-1]

    def _ready(self, actor: Actor) -> Actor:
        def look() -> bool:
            assert actor.process.poll() is None, self.log()
            found = self._snapshot(actor)
            return bool(found and found["ready"])

        eventually(look, START_S)
        return actor

    def _snapshot(self, actor: Actor) -> dict[str, Any] | None:
        """What the process published last."""
        for path in (self.data / "run" / "metrics").glob("[!.]*.json"):
            with suppress(FileNotFoundError, json.JSONDecodeError):
                found: dict[str, Any] = json.loads(path.read_text())
                if found["pid"] == actor.pid:
                    return found
        return None

    def figure(self, actor: Actor, name: str, **labels: str) -> float:
        """What a process counts, as it published it last: at most half a second old."""
        found = self._snapshot(actor)
        series = found["series"] if found else []
        return sum(
            each["value"]
            for each in series
            if each["name"] == name and labels.items() <= each["labels"].items()
        )

    def log(self) -> str:
        """What its processes have said."""
        return Path(self._log.name).read_text()

    def said(self, words: str) -> list[float]:
        """When something was said that has these words: Unix time of each."""
        entries = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [
            datetime.fromisoformat(entry["at"]).timestamp()
            for entry in entries
            if words in entry["message"]
        ]

    def recording(self, call_id: str, revision: int = 1, seconds: float = 30) -> Recorded:
        """A call's recording once it is finished."""
        return eventually(lambda: recorded(self.data, call_id, revision), seconds)

    def close(self) -> None:
        """End everything, at once."""
        for actor in self._actors:
            if actor.process.poll() is None:
                actor.process.kill()
        for actor in self._actors:
            actor.process.wait(10)
        self._log.close()
