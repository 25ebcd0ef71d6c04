"""A worker of the pool `slow` that cannot keep up: it holds the bus for every frame.

It takes little in advance, so that what it does not take soon waits at the gateways.
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from pathlib import Path

import click
import msgspec

from bench.load.taker import Taker
from gateway.bus.zmq import ZmqSpokes
from gateway.wire.counters import Series, Snapshot, publish
from gateway.wire.frame import FrameKind, unpack_batch
from gateway.wire.layout import Layout
from gateway.wire.messages import Hello
from workers.links import LinkKey, WorkerIdentity
from workers.runs import read_heads
from workers.worker import RoundsWorker, Worker, unix_us

POOL = "slow"
NAME = "slow-0"
CREDIT_BYTES = 64 * 1024


class Identity(WorkerIdentity):
    """Of a worker that is given little in advance."""

    def hello(self, link: int) -> Hello:
        """With less credit than others."""
        return msgspec.structs.replace(super().hello(link), credit_bytes=CREDIT_BYTES)


class SlowTaker(Taker):
    """Takes every frame, each in its time."""

    def __init__(self, hold_s: float) -> None:
        super().__init__()
        self._hold_s = hold_s
        self.frames = 0

    def receive(self, link: LinkKey, number: int, message: bytes, now_us: int) -> None:
        """Take a batch."""
        heads, _ = read_heads(message, unpack_batch(message))
        frames = int((heads["kind"] == FrameKind.AUDIO).sum())
        time.sleep(self._hold_s * frames)
        self.frames += frames
        super().receive(link, number, message, now_us)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--hold-ms", type=float, required=True, help="For each frame.")
@click.option("--parent-fd", type=int, required=True)
def main(*, data: Path, hold_ms: float, parent_fd: int) -> None:
    """Take batches until SIGTERM, or until the parent has ended."""
    taker = SlowTaker(hold_ms / 1000)
    layout = Layout(data)

    def report(_: Worker | RoundsWorker) -> None:
        frames = Series(
            name="calls_frames", kind="counter", help="Audio frames read.", value=taker.frames
        )
        publish(
            layout.metrics,
            Snapshot(
                process=NAME,
                role="worker",
                pool=POOL,
                index=0,
                pid=os.getpid(),
                at_us=unix_us(),
                ready=True,
                series=[frames],
            ),
        )

    identity = Identity(POOL, NAME, secrets.token_hex(8), latency_ms=20)
    worker = Worker(layout, identity, taker, ZmqSpokes(), report=report, parent_fd=parent_fd)
    signal.signal(signal.SIGTERM, lambda *_: worker.drain())
    worker.run()


if __name__ == "__main__":
    main()
