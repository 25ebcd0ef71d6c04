"""How old frames are where they arrive: a plug-in of the bench, and a worker of its own.

A packet's stamp says its tick, its call's correlation id how long after the tick's begin its
stream speaks (`bench.load.lines.Place`): together, when it was due to be sent. So a rig that is
late makes frames old as well.
"""

from __future__ import annotations

import atexit
import json
import os
import secrets
import signal
import threading
import time
from pathlib import Path

import click
import numpy as np

from bench.load.histogram import Histogram, Pairs
from bench.load.lines import offsets_of
from bench.load.taker import Taker
from gateway.bus.zmq import ZmqSpokes
from gateway.wire.descriptor import SessionOpen, StreamOpen, unpack
from gateway.wire.frame import FrameKind, iterate, unpack_batch
from gateway.wire.layout import Layout
from workers import Block, Call, Emit, Processor, Stream
from workers.links import LinkKey, WorkerIdentity
from workers.runs import read_heads
from workers.worker import Worker

POOL = "ages"
PUBLISH_S = 0.25
PACKET_US = 20_000
LATENCY_MS = 200


class Ages:
    """The ages that this process has seen, in a file that is written again and again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{os.getpid()}.json"
        self._seen = Histogram()
        self._new_ms: list[float] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._run, daemon=True).start()
        atexit.register(self._publish)

    def add_us(self, age_us: float) -> None:
        """One frame."""
        self._new_ms.append(age_us / 1000)

    def extend_us(self, ages_us: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        """Many frames."""
        self._new_ms.extend((ages_us / 1000).tolist())

    def _run(self) -> None:
        while True:
            time.sleep(PUBLISH_S)
            self._publish()

    def _publish(self) -> None:
        with self._lock:
            new_ms = self._new_ms[:]
            del self._new_ms[: len(new_ms)]  # the other thread may have added to it meanwhile
            self._seen.add_ms(new_ms)
            partial = self._path.with_suffix(".tmp")
            partial.write_text(json.dumps(self._seen.pairs()))
            partial.replace(self._path)


def read(data: Path) -> Histogram:
    """All that the workers of a node have seen so far."""
    found = Histogram()
    for path in (data / POOL).glob("*.json"):
        pairs: Pairs = json.loads(path.read_text())
        found += Histogram(pairs)
    return found


class Age(Processor):
    """Takes the age of every frame."""

    _ages: Ages | None = None  # one for all calls of the process

    def open(self, call: Call) -> None:
        """A call of the bench."""
        if Age._ages is None:
            Age._ages = Ages(self.place.data / POOL)
        self._into = Age._ages
        self._call_offsets_us = offsets_of(call.correlation_id or "")
        self._offsets_us: dict[Stream, int] = {}

    def stream_opened(self, stream: Stream) -> None:
        """Its number stands at the end of its participant's id."""
        self._offsets_us[stream] = self._call_offsets_us[_number(stream.participant)]

    def process(self, block: Block, emit: Emit) -> None:
        """The age of each packet in a block."""
        if block.filled == len(block.pcm):
            return
        due_us = block.time_us + self._offsets_us[block.stream]
        now_us = time.time_ns() // 1000
        length_us = len(block.pcm) * 1_000_000 // block.stream.sample_rate
        for at_us in range(0, length_us, PACKET_US):
            self._into.add_us(now_us - due_us - at_us)

    def stream_closed(self, stream: Stream, emit: Emit) -> None:
        """It may come again."""
        self._offsets_us.pop(stream, None)


class AgesTaker(Taker):
    """A consumer that can bear to wait, and takes the age of what it is given."""

    def __init__(self, data: Path) -> None:
        super().__init__()
        self._ages = Ages(data / POOL)
        self._calls: dict[int, list[int]] = {}  # offsets of a session's streams
        self._offsets_us: dict[tuple[int, int], int] = {}  # by session and stream

    def receive(self, link: LinkKey, number: int, message: bytes, now_us: int) -> None:
        """Take a batch."""
        super().receive(link, number, message, now_us)
        heads, _ = read_heads(message, unpack_batch(message))
        if (heads["kind"] == FrameKind.OPEN).any():
            self._learn(message)
        audio = heads[heads["kind"] == FrameKind.AUDIO]
        keys = zip(audio["session"].tolist(), audio["stream"].tolist(), strict=True)
        offsets_us = np.fromiter((self._offsets_us[key] for key in keys), np.int64, len(audio))
        self._ages.extend_us(time.time_ns() // 1000 - audio["stamp_us"] - offsets_us)

    def _learn(self, message: bytes) -> None:
        for frame in iterate(message):
            if frame.kind != FrameKind.OPEN:
                continue
            if frame.stream == 0:
                session = unpack(frame.payload, SessionOpen)
                self._calls[frame.session] = offsets_of(session.correlation_id or "")
            else:
                number = _number(unpack(frame.payload, StreamOpen).participant)
                self._offsets_us[frame.session, frame.stream] = self._calls[frame.session][number]


def _number(participant: str | None) -> int:
    return 0 if participant is None else int(participant.rpartition("-")[2])


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--parent-fd", type=int, required=True)
def main(*, data: Path, parent_fd: int) -> None:
    """Take batches until SIGTERM, or until the parent has ended."""
    identity = WorkerIdentity(
        POOL, "ages-0", secrets.token_hex(8), latency_ms=LATENCY_MS, delivery="replay"
    )
    worker = Worker(Layout(data), identity, AgesTaker(data), ZmqSpokes(), parent_fd=parent_fd)
    signal.signal(signal.SIGTERM, lambda *_: worker.drain())
    worker.run()


if __name__ == "__main__":
    main()
