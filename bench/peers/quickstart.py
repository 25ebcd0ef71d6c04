"""`quickstart`: `websockets` and the standard library's `json` and `base64`.

The way of the service's own quickstart in Python
(https://learn.microsoft.com/azure/communication-services/how-tos/call-automation/audio-streaming-quickstart),
served as https://websockets.readthedocs.io/en/stable/reference/asyncio/server.html says.
"""

from __future__ import annotations

import base64
import json
import socket
from contextlib import AbstractAsyncContextManager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

from bench.peers.serving import Tally, command


def quickstart(listener: socket.socket, tally: Tally) -> AbstractAsyncContextManager[Any]:
    """Decodes each packet."""

    async def talk(connection: ServerConnection) -> None:
        async for message in connection:
            packet = json.loads(message)
            if packet["kind"] == "AudioData":
                base64.b64decode(packet["audioData"]["data"])
            tally.messages += 1

    return serve(talk, sock=listener, close_timeout=1)


if __name__ == "__main__":
    command(quickstart)()
