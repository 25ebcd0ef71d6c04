"""`aiohttp`: its WebSocket server on uvloop, with `json` and `base64` of the standard library.

As https://docs.aiohttp.org/en/stable/web_quickstart.html#websockets and
https://docs.aiohttp.org/en/stable/web_reference.html#websocketresponse say.
"""

from __future__ import annotations

import base64
import contextlib
import socket
from collections.abc import AsyncIterator

import uvloop
from aiohttp import WSMsgType, web

from bench.peers.serving import Tally, command


@contextlib.asynccontextmanager
async def serve(listener: socket.socket, tally: Tally) -> AsyncIterator[None]:
    """Until it is left."""

    async def talk(request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse(timeout=1)
        await connection.prepare(request)
        async for message in connection:
            if message.type is WSMsgType.TEXT:
                packet = message.json()
                if packet["kind"] == "AudioData":
                    base64.b64decode(packet["audioData"]["data"])
                tally.messages += 1
        return connection

    app = web.Application()
    app.router.add_get("/media", talk)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    yield
    await runner.cleanup()


if __name__ == "__main__":
    command(serve, uvloop.run)()
