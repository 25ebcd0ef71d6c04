"""`do-nothing`: a uvloop protocol that ignores what it is given. What receiving costs here."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import socket
from collections.abc import AsyncIterator
from typing import cast

import uvloop

from bench.peers.serving import Tally, command

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


class DoNothing(asyncio.Protocol):
    """Takes whatever comes."""

    def data_received(self, data: bytes) -> None:
        """Nothing."""


class Upgrade(asyncio.Protocol):
    """Answers an upgrade by hand, and hands the socket on."""

    _nothing = DoNothing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A call."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has no common base
        self._request = b""

    def data_received(self, data: bytes) -> None:
        """A part of the request."""
        self._request += data
        if b"\r\n\r\n" not in self._request:
            return
        headers = [line.partition(b":") for line in self._request.split(b"\r\n")]
        key = next(value for name, _, value in headers if name.lower() == b"sec-websocket-key")
        accept = base64.b64encode(hashlib.sha1(key.strip() + GUID).digest())
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self._transport.set_protocol(self._nothing)


@contextlib.asynccontextmanager
async def serve(listener: socket.socket, _: Tally) -> AsyncIterator[None]:
    """Until it is left."""
    server = await asyncio.get_running_loop().create_server(Upgrade, sock=listener)
    yield
    server.close()


if __name__ == "__main__":
    command(serve, uvloop.run)()
