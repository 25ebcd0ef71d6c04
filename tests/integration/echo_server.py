"""An echo server on the product's own sockets, for suites that test WebSocket servers.

    echo_server.py [sweeps]

It listens on a free port of loopback, prints the number of it, and serves until SIGTERM. `sweeps`:
sockets are read by sweeps, whatever the load.
"""

import asyncio
import signal
import socket
import sys

import uvloop
from websockets.protocol import OPEN

from gateway.front import Front, SocketLimits
from gateway.listener import Listener
from gateway.pace import Pace, Step
from gateway.sweep import Sweeper
from gateway.websocket import MediaSocket

#: More than a gateway would bear, so that the suites' largest messages fit.
LIMITS = SocketLimits(message_bytes_max=1024 * 1024)
TEND_S = 0.25
INTERVAL_MS = 20
INVALID_UTF8 = 1007


class Echo:
    """The handler of one socket: whatever comes goes back."""

    def __init__(self, sweeper: Sweeper) -> None:
        # One of its own, so that it knows its socket.
        self.front = Front(lambda _: self, LIMITS, sweeper)
        self.socket = MediaSocket(self.front)

    def receive(self, message: bytes, text: bool) -> int:
        if not text:
            self._send_binary(message)
            return 0
        try:
            message.decode()
        except UnicodeDecodeError:
            return INVALID_UTF8
        self.socket.send_text(message)
        return 0

    def closed(self, code: int | None, proper: bool) -> None:
        """Nothing is left to do."""

    def _send_binary(self, message: bytes) -> None:
        """What the product never sends, and a suite wants to see."""
        protocol = self.socket._protocol
        if protocol.state is OPEN:
            protocol.send_binary(message)
            self.socket._send(protocol.data_to_send())


async def serve() -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    echoes: set[Echo] = set()
    sweeper = Sweeper(Pace(INTERVAL_MS if "sweeps" in sys.argv else 0, (Step(0, 1.0),)))
    for now_s in range(2):
        sweeper.tend(0, now_s)

    def accept() -> MediaSocket:
        echo = Echo(sweeper)
        echoes.add(echo)
        return echo.socket

    def tend() -> None:
        for echo in tuple(echoes):
            echo.front.tend(loop.time())
            if not echo.front.sockets:
                echoes.discard(echo)
        loop.call_later(TEND_S, tend)

    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    listening.setblocking(False)
    print(listening.getsockname()[1], flush=True)
    listener = Listener(listening, lambda _: accept(), None, LIMITS.handshake_s)
    listener.start()
    tend()
    await stopping.wait()
    listener.close()


if __name__ == "__main__":
    uvloop.run(serve())
