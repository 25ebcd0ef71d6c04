"""Servers to compare the gateway with, each a program of its own.

`do-nothing` shows what receiving costs on this machine; `quickstart` is the way of the service's
Python quickstart: a `websockets` server that decodes each packet with the standard library.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import cast

import click
import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.utils import accept_key

PUBLISH_S = 0.25


class DoNothing(asyncio.Protocol):
    """Takes whatever comes."""

    def data_received(self, data: bytes) -> None:
        pass


class Upgrade(asyncio.Protocol):
    """Answers an upgrade by hand, and hands the socket on."""

    _nothing = DoNothing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has no common base
        self._request = b""

    def data_received(self, data: bytes) -> None:
        self._request += data
        if b"\r\n\r\n" not in self._request:
            return
        headers = [line.partition(b":") for line in self._request.split(b"\r\n")]
        key = next(value for name, _, value in headers if name.lower() == b"sec-websocket-key")
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_key(key.strip().decode()).encode() + b"\r\n\r\n"
        )
        self._transport.set_protocol(self._nothing)


class Quickstart:
    """Decodes each packet, and counts."""

    def __init__(self) -> None:
        self.messages = 0

    async def talk(self, connection: ServerConnection) -> None:
        """One call."""
        async for message in connection:
            packet = json.loads(message)
            if packet["kind"] == "AudioData":
                base64.b64decode(packet["audioData"]["data"])
            self.messages += 1

    async def publish(self, path: Path) -> None:
        """Say how many messages came, again and again."""
        while True:
            figures = [{"name": "messages", "value": self.messages}]
            partial = path.with_suffix(".tmp")
            partial.write_text(json.dumps({"at_us": time.time_ns() // 1000, "series": figures}))
            partial.replace(path)
            await asyncio.sleep(PUBLISH_S)


async def _until_ended(parent_fd: int, ready_fd: int) -> None:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    loop.add_reader(parent_fd, over.set)
    os.write(ready_fd, b"READY\n")
    await over.wait()
    loop.remove_reader(parent_fd)


async def _do_nothing(listener: socket.socket, _: Path, parent_fd: int, ready_fd: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upgrade, sock=listener)
    await _until_ended(parent_fd, ready_fd)
    server.close()


async def _quickstart(listener: socket.socket, counts: Path, parent_fd: int, ready_fd: int) -> None:
    quickstart = Quickstart()
    async with serve(quickstart.talk, sock=listener, close_timeout=1):
        publishing = asyncio.get_running_loop().create_task(quickstart.publish(counts))
        await _until_ended(parent_fd, ready_fd)
        publishing.cancel()


@click.command()
@click.argument("name", type=click.Choice(["do-nothing", "quickstart"]))
@click.option("--listen-fd", type=int, required=True)
@click.option("--counts", type=click.Path(path_type=Path), required=True)
@click.option("--parent-fd", type=int, required=True)
@click.option("--ready-fd", type=int, required=True)
def main(*, name: str, listen_fd: int, counts: Path, parent_fd: int, ready_fd: int) -> None:
    """Serve until SIGTERM, or until the parent has ended."""
    listener = socket.socket(fileno=listen_fd)
    if name == "do-nothing":
        uvloop.run(_do_nothing(listener, counts, parent_fd, ready_fd))
    else:
        asyncio.run(_quickstart(listener, counts, parent_fd, ready_fd))


if __name__ == "__main__":
    main()
