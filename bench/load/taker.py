"""A worker of the pool `record` that takes every batch and acknowledges it at once."""

from __future__ import annotations

import secrets
import signal
from pathlib import Path

import click

from gateway.bus.zmq import ZmqSpokes
from gateway.wire.layout import Layout
from workers.links import LinkKey, WorkerIdentity
from workers.worker import Worker


class Taker:
    """A consumer that does nothing: what it has taken is safe."""

    def __init__(self) -> None:
        self._taken: dict[LinkKey, int] = {}

    def receive(self, link: LinkKey, number: int, message: bytes, now_us: int) -> None:
        """Take a batch."""
        self._taken[link] = number

    def advance(self, now_us: int) -> None:
        """Nothing waits."""

    def has_room(self) -> bool:
        """Always."""
        return True

    def safe(self) -> dict[LinkKey, int]:
        """All that was taken."""
        return self._taken

    def unsynced_us(self, now_us: int) -> int:
        """Nothing waits."""
        return 0

    def forget(self, link: LinkKey) -> None:
        """The link is over."""
        self._taken.pop(link, None)

    def close(self, now_us: int) -> None:
        """Nothing is kept."""


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--parent-fd", type=int, required=True)
def main(*, data: Path, parent_fd: int) -> None:
    """Take batches until SIGTERM, or until the parent has ended."""
    identity = WorkerIdentity("record", "taker-0", secrets.token_hex(8))
    worker = Worker(Layout(data), identity, Taker(), ZmqSpokes(), parent_fd=parent_fd)
    signal.signal(signal.SIGTERM, lambda *_: worker.drain())
    worker.run()


if __name__ == "__main__":
    main()
