"""`picows`: its listener on uvloop, with `orjson` and `pybase64`: what is fast in Python.

As https://picows.readthedocs.io/en/stable/introduction.html says: frames are handled in the
callback, where they are valid, as a memoryview.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator

import orjson
import pybase64
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from bench.peers.serving import Tally, command


class Listener(WSListener):
    """One call."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Decodes each packet."""
        if frame.msg_type is WSMsgType.TEXT:
            packet = orjson.loads(frame.get_payload_as_memoryview())
            if packet["kind"] == "AudioData":
                pybase64.b64decode(packet["audioData"]["data"], validate=True)
            self._tally.messages += 1
        elif frame.msg_type is WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()


@contextlib.asynccontextmanager
async def serve(listener: socket.socket, tally: Tally) -> AsyncIterator[None]:
    """Until it is left."""
    server = await ws_create_server(lambda _: Listener(tally), sock=listener)
    yield
    server.close()


if __name__ == "__main__":
    command(serve, uvloop.run)()
