"""What is measured: gateways with their workers, and the peers that they are compared with."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from bench.load.processes import Child, RigError

BACKLOG = 4096
NO_LOG = '[pools.record]\ndelivery = "newest"\n'
#: Every packet is read as it comes.
AT_ONCE = "[gateway]\ncoalesce_ms_max = 0\n"
#: Without the compiled part.
PURE = (("ACS_INGEST_KERNEL", "off"),)


NODE_FOLDER = Path(__file__).parent / "node_ws"


class Kind(NamedTuple):
    """How a server is made."""

    worker: str | None = None  # None: the server is a peer
    config: str | None = None
    module: str = ""  # of a peer in Python
    environment: tuple[tuple[str, str], ...] = ()


KINDS = {
    "do-nothing": Kind(module="do_nothing"),
    "quickstart": Kind(module="quickstart"),
    "aiohttp": Kind(module="aiohttp_server"),
    "picows": Kind(module="picows_server"),
    "node-ws": Kind(),
    "gateway": Kind(worker="taker"),
    "gateway-at-once": Kind(worker="taker", config=AT_ONCE),
    "gateway-python": Kind(worker="taker", environment=PURE),
    "gateway-python-at-once": Kind(worker="taker", config=AT_ONCE, environment=PURE),
    "gateway-no-log": Kind(worker="taker", config=NO_LOG),
    "gateway-recorder": Kind(worker="recorder"),
}


def missing(name: str) -> str:
    """What a server needs and is not here; empty where all is."""
    if name == "picows" and find_spec("picows") is None:
        return "picows is not installed; it comes with `pip install 'acs-ingest[bench]'`"
    if name == "node-ws" and shutil.which("node") is None:
        return "there is no `node`"
    if name == "node-ws" and not (NODE_FOLDER / "node_modules" / "ws").is_dir():
        return f"ws is not installed; it comes with `npm install --prefix {NODE_FOLDER}`"
    return ""


class Counts(NamedTuple):
    """What a server has published last."""

    at_us: int = 0
    messages: int = 0
    workers: int = 0
    in_flight: int = 0  # batches not made safe
    dropped: int = 0
    replayed: int = 0
    log_cpu_s: float = 0.0


class Server:
    """A server that takes calls on `port`, with its worker if it has one."""

    def __init__(
        self, name: str, folder: Path, server_cpus: set[int], worker_cpus: set[int]
    ) -> None:
        self.name = name
        self.kind = KINDS[name]
        folder.mkdir()
        is_peer = self.kind.worker is None
        self._counts_path = folder / "counts.json"
        self._metrics = folder / "data" / "run" / "metrics"
        self.worker: Child | None = None
        with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
            self.port: int = listener.getsockname()[1]
            argv = self._peer_argv(listener) if is_peer else self._gateway_argv(folder, listener)
            self.process = Child(
                name,
                argv,
                folder,
                cpus=server_cpus,
                listener=listener,
                announces=True,
                environment=self.kind.environment,
            )
        if self.kind.worker is not None:
            argv = _worker_argv(self.kind.worker, folder / "data")
            self.worker = Child(self.kind.worker, argv, folder, cpus=worker_cpus)

    def _peer_argv(self, listener: socket.socket) -> list[str]:
        if self.kind.module:
            program = [sys.executable, "-m", f"bench.peers.{self.kind.module}"]
        else:
            program = ["node", str(NODE_FOLDER / "server.mjs")]
        options = ("--listen-fd", str(listener.fileno()), "--counts", str(self._counts_path))
        return [*program, *options]

    def _gateway_argv(self, folder: Path, listener: socket.socket) -> list[str]:
        argv = [
            *(sys.executable, "-m", "gateway", "gateway", "--data", str(folder / "data")),
            *("--listen", f"fd:{listener.fileno()}", "--drain-s", "5"),
        ]
        if self.kind.config is not None:
            (folder / "config.toml").write_text(self.kind.config)
            argv += ["--config", str(folder / "config.toml")]
        return argv

    @property
    def is_ready(self) -> bool:
        """Whether the worker, if there is one, has been heard."""
        return self.worker is None or self.counts().workers > 0

    @property
    def counts_messages(self) -> bool:
        """Whether the server says how many packets came; one that does nothing does not."""
        return self.name != "do-nothing"

    def counts(self) -> Counts:
        """What the server has published last; zeros before it has."""
        try:
            path = next(self._metrics.glob("gateway-0.*.json"), self._counts_path)
            return read_counts(path.read_text())
        except FileNotFoundError:
            return Counts()

    def stop(self) -> None:
        """Ask the server to leave; `end` waits for it."""
        self.process.stop()

    def end(self) -> None:
        """End both processes, the worker last: the gateway waits for its acknowledgements."""
        self.process.end()
        if self.worker is not None:
            self.worker.end()


def _worker_argv(kind: str, data: Path) -> list[str]:
    if kind == "taker":
        return [sys.executable, "-m", "bench.load.taker", "--data", str(data)]
    if kind == "recorder":
        argv = [sys.executable, "-m", "gateway", "worker", "--pool", "record"]
        return [*argv, "--data", str(data)]
    raise RigError(f"no such worker: {kind}")


def read_counts(text: str) -> Counts:
    """The figures of a process's published snapshot that the bench needs."""
    snapshot = json.loads(text)
    sums: dict[str, float] = {}
    for series in snapshot["series"]:
        sums[series["name"]] = sums.get(series["name"], 0) + series["value"]
    return Counts(
        at_us=snapshot["at_us"],
        messages=int(sums.get("messages", 0)),
        workers=int(sums.get("workers", 0)),
        in_flight=int(sums.get("batches_in_flight", 0)),
        dropped=int(sums.get("dropped_frames", 0)),
        replayed=int(sums.get("replayed_frames", 0)),
        log_cpu_s=sums.get("log_cpu_seconds", 0.0),
    )
