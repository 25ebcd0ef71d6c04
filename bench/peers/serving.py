"""What all peers in Python share: how they are started, how they count, when they end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import click

PUBLISH_S = 0.25


class Tally:
    """How many messages came."""

    def __init__(self) -> None:
        self.messages = 0


Serve = Callable[[socket.socket, Tally], AbstractAsyncContextManager[Any]]
Runner = Callable[[Any], Any]


def command(serve: Serve, run: Runner = asyncio.run) -> click.Command:
    """The program of a peer: `serve` calls on the socket that it inherits, on the loop of `run`."""

    @click.command()
    @click.option("--listen-fd", type=int, required=True)
    @click.option("--counts", type=click.Path(path_type=Path), required=True)
    @click.option("--parent-fd", type=int, required=True)
    @click.option("--ready-fd", type=int, required=True)
    def main(*, listen_fd: int, counts: Path, parent_fd: int, ready_fd: int) -> None:
        """Serve until SIGTERM, or until the parent has ended."""
        run(_main(serve, socket.socket(fileno=listen_fd), counts, parent_fd, ready_fd))

    return main


async def _main(
    serve: Serve, listener: socket.socket, counts: Path, parent_fd: int, ready_fd: int
) -> None:
    tally = Tally()
    async with serve(listener, tally), _published(tally, counts):
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, over.set)
        loop.add_reader(parent_fd, over.set)
        os.write(ready_fd, b"READY\n")
        await over.wait()
        loop.remove_reader(parent_fd)


@contextlib.asynccontextmanager
async def _published(tally: Tally, path: Path) -> AsyncIterator[None]:
    publishing = asyncio.get_running_loop().create_task(_publish(tally, path))
    try:
        yield
    finally:
        publishing.cancel()


async def _publish(tally: Tally, path: Path) -> None:
    """Say how many messages came, again and again."""
    while True:
        figures = [{"name": "messages", "value": tally.messages}]
        partial = path.with_suffix(".tmp")
        partial.write_text(json.dumps({"at_us": time.time_ns() // 1000, "series": figures}))
        partial.replace(path)
        await asyncio.sleep(PUBLISH_S)
