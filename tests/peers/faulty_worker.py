"""A recorder with a fault, as a process: `faulty_worker.py KIND INDEX DATA CONFIG`.

raises       an exception on the twentieth batch
sleeps       its loop hangs for three seconds at the twentieth batch; it acknowledges then
hungry       keeps 16 MiB more with each batch
mute         takes and writes everything, and never says so
slow_disk    each sync takes so long that all of a gather take seconds
deaf         a worker of the pool `ears`, that reads a little once a second
"""

import os
import secrets
import sys
import time
from pathlib import Path
from typing import ClassVar

from gateway.bus.base import Spoke
from gateway.bus.zmq import ZmqSpokes
from gateway.wire import logs
from gateway.wire.layout import Layout
from gateway.wire.messages import Hello
from workers.config import load, workers_config
from workers.links import LinkKey, WorkerIdentity
from workers.pools import Reporter
from workers.recorder import Recorder
from workers.worker import Worker

BATCHES = 20
SYNC_S = 0.05
HANG_S = 3.0
HUNGER_BYTES = 16 * 1024 * 1024
CREDIT_BYTES = 4000


class Raises(Recorder):
    def receive(self, link: LinkKey, number: int, message: bytes, now_us: int) -> None:
        if self.counters.batches >= BATCHES:
            raise RuntimeError("a fault of the recorder's own")
        super().receive(link, number, message, now_us)


class Sleeps(Recorder):
    def receive(self, link: LinkKey, number: int, message: bytes, now_us: int) -> None:
        if self.counters.batches == BATCHES:
            time.sleep(HANG_S)
        super().receive(link, number, message, now_us)


class Hungry(Recorder):
    kept: ClassVar[list[bytes]] = []

    def receive(self, link: LinkKey, number: int, message: bytes, now_us: int) -> None:
        self.kept.append(bytes(HUNGER_BYTES))
        super().receive(link, number, message, now_us)


class MuteSpoke:
    def __init__(self, spoke: Spoke) -> None:
        self._spoke = spoke
        self.receive = spoke.receive
        self.close = spoke.close

    def send(self, message: bytes) -> bool:
        return b'"ACK"' in message or self._spoke.send(message)


class MuteSpokes(ZmqSpokes):
    def connect(self, address: str) -> Spoke:
        return MuteSpoke(super().connect(address))


class Ears:
    """Takes what comes; has room for it for a moment in each second."""

    def __init__(self) -> None:
        self.numbers: dict[LinkKey, int] = {}

    def receive(self, link: LinkKey, number: int, message: bytes, now_us: int) -> None:
        self.numbers[link] = number

    def advance(self, now_us: int) -> None: ...

    def has_room(self) -> bool:
        return time.monotonic() % 1 < 0.05

    def safe(self) -> dict[LinkKey, int]:
        return self.numbers

    def unsynced_us(self, now_us: int) -> int:
        return 0

    def forget(self, link: LinkKey) -> None: ...

    def close(self, now_us: int) -> None: ...


class LittleCredit(WorkerIdentity):
    def hello(self, link: int) -> Hello:
        return Hello(
            pool=self.pool,
            name=self.name,
            boot_id=self.boot_id,
            link=link,
            credit_bytes=CREDIT_BYTES,
        )


def slow_sync(sync=os.fdatasync):
    def slow(descriptor: int) -> None:
        time.sleep(SYNC_S)
        sync(descriptor)

    os.fdatasync = slow


def main(kind: str, index: int, data: Path, config: Path) -> None:
    pool = "ears" if kind == "deaf" else "record"
    logs.start(f"{pool}-{index}")
    layout = Layout(data)
    settings = workers_config(load(config)).recording
    if kind == "slow_disk":
        slow_sync()
    if kind == "deaf":
        consumer = Ears()
        identity = LittleCredit(pool, f"{pool}-{index}", secrets.token_hex(8))
    else:
        kinds = {"raises": Raises, "sleeps": Sleeps, "hungry": Hungry}
        consumer = kinds.get(kind, Recorder)(layout.recordings, settings)
        identity = WorkerIdentity(pool, f"{pool}-{index}", secrets.token_hex(8))
    spokes = MuteSpokes() if kind == "mute" else ZmqSpokes()
    Worker(layout, identity, consumer, spokes, report=Reporter(pool, index, layout)).run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
