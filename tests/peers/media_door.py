"""The front's sockets on a port of loopback, and a client that speaks to them byte by byte."""

import asyncio
import functools
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from typing import Any

import uvloop

from gateway.admission import Refusal, UpgradeRequest
from gateway.capacity import Slot
from gateway.front import Front, SocketLimits
from gateway.listener import Listener, TlsContext
from gateway.pace import Pace, Step
from gateway.sweep import Sweeper
from gateway.websocket import MediaSocket

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x5a\x00\xff\x21"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the one of RFC 6455, and what must be answered to it
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
WAIT_S = 10.0


def on_uvloop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on the loop that we ship with; what the loop was told to report fails it."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        reported: list[dict[str, Any]] = []

        async def bounded() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: reported.append(context))
            async with asyncio.timeout(WAIT_S):
                await test(*arguments, **named)

        uvloop.run(bounded())
        assert [] == reported

    return run


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what tells nobody that it has come."""
    while not is_so():  # noqa: ASYNC110  # there is no event to wait for
        await asyncio.sleep(0.001)


def frame(
    payload: bytes = b"",
    opcode: int = TEXT,
    *,
    fin: bool = True,
    reserved: int = 0,
    mask: bytes | None = MASK,
    wide: int = 0,
) -> bytes:
    """A frame of a client; `wide` asks for a longer form of the length than is needed: 2 or 8."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    length, masked = len(payload), 0x80 if mask is not None else 0
    if length > 65_535 or wide == 8:
        head = struct.pack("!BBQ", first, masked | 127, length)
    elif length > 125 or wide == 2:
        head = struct.pack("!BBH", first, masked | 126, length)
    else:
        head = struct.pack("!BB", first, masked | length)
    return head + (payload if mask is None else mask + masked_with(mask, payload))


def masked_with(mask: bytes, payload: bytes) -> bytes:
    """XOR, by way of large integers."""
    pad = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload) ^ int.from_bytes(pad)).to_bytes(len(payload))


def close_frame(code: int | None = 1000, reason: bytes = b"") -> bytes:
    """A client's close frame; without a code it is empty."""
    return frame(b"" if code is None else struct.pack("!H", code) + reason, CLOSE)


def request(
    path: str = "/media",
    *lines: str,
    method: str = "GET",
    version: str = "HTTP/1.1",
    without: tuple[str, ...] = (),
) -> bytes:
    """An upgrade, with header lines more, or `without` some of the usual ones."""
    usual = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    }
    headers = [f"{name}: {value}" for name, value in usual.items() if name not in without]
    return "\r\n".join([f"{method} {path} {version}", *headers, *lines, "", ""]).encode("latin-1")


class Heard:
    """A handler: what it was handed, and what it answers."""

    def __init__(self, answer: Callable[[bytes], int] = lambda _: 0) -> None:
        self.messages: list[tuple[bytes, bool]] = []
        self.closes: list[tuple[int | None, bool]] = []
        self.answer = answer
        self._changed = asyncio.Event()

    def receive(self, message: bytes, text: bool) -> int:
        assert [] == self.closes
        self.messages.append((message, text))
        self._changed.set()
        return self.answer(message)

    def closed(self, code: int | None, proper: bool) -> None:
        self.closes.append((code, proper))
        self._changed.set()

    @property
    def texts(self) -> list[bytes]:
        return [message for message, text in self.messages if text]

    async def until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._changed.clear()
            await self._changed.wait()

    async def heard(self, count: int) -> list[bytes]:
        """Its messages, once there are so many."""
        await self.until(lambda: len(self.messages) >= count)
        return [message for message, _ in self.messages]

    async def over(self) -> tuple[int | None, bool]:
        """How it was closed, once it is."""
        await self.until(lambda: bool(self.closes))
        return self.closes[0]


class Peer:
    """A client that sends what it is told to, and reads what comes."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._loop = asyncio.get_running_loop()
        self._read = b""

    async def send(self, *pieces: bytes) -> None:
        """Each piece in a segment of its own, if the machine is quick enough."""
        for piece in pieces:
            await self._loop.sock_sendall(self.socket, piece)

    async def _more(self) -> bool:
        with suppress(ConnectionResetError):
            piece = await self._loop.sock_recv(self.socket, 65_536)
            self._read += piece
            return bool(piece)
        return False

    async def read(self, count: int) -> bytes:
        while len(self._read) < count:
            if not await self._more():
                raise EOFError(f"{self._read!r} and no more")
        taken, self._read = self._read[:count], self._read[count:]
        return taken

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the answer."""
        while b"\r\n\r\n" not in self._read:
            if not await self._more():
                raise EOFError(f"{self._read!r} and no more")
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        return int(first.split()[1]), {name.lower(): value for name, value in pairs}

    async def frame(self) -> tuple[int, bytes]:
        """(opcode, payload) of the server's next frame, which is whole and not masked."""
        first, second = await self.read(2)
        assert first & 0xF0 == 0x80
        assert not second & 0x80
        length = second
        if second > 125:
            length = int.from_bytes(await self.read(2 if second == 126 else 8))
        return first & 0x0F, await self.read(length)

    async def close_code(self) -> int:
        """The code of the close frame that comes next."""
        opcode, payload = await self.frame()
        assert CLOSE == opcode
        return int.from_bytes(payload[:2])

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        while await self._more():
            pass
        return self._read

    def reset(self) -> None:
        """Break the connection off with an RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def sweeper_in_force(
    interval_ms: float = 20, latency_ms: Callable[[object], float] = lambda _: inf
) -> Sweeper:
    """Coalesced reads that need no load."""
    pace = Pace(interval_ms, (Step(0, 1.0),))
    pace.measure(0, 0)
    assert interval_ms == pace.measure(0, 10)
    return Sweeper(pace, latency_ms)


class Door:
    """A front that listens; its sockets' handlers come out of `handler()` one by one."""

    #: Whether sockets are swept, where a test does not say how.
    coalesces = False

    def __init__(
        self,
        limits: SocketLimits | None = None,
        *,
        answer: Callable[[bytes], int] = lambda _: 0,
        admit: Callable[[UpgradeRequest], Refusal | None] = lambda _: None,
        tls: TlsContext | None = None,
        sweeper: Sweeper | None = None,
    ) -> None:
        """`admit` says who is refused."""
        self._decide = admit
        self._answer = answer
        self._peers: list[Peer] = []
        self._handlers: asyncio.Queue[Heard] = asyncio.Queue()
        self.sockets: list[MediaSocket] = []
        self.requests: list[UpgradeRequest] = []
        self.sweeper = sweeper or (sweeper_in_force() if self.coalesces else Sweeper(Pace(0)))
        self.front = Front(self._admit, limits or SocketLimits(), self.sweeper)
        self.counters = self.front.counters
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self.listener = Listener(self._listening, self._socket, tls, self.front.limits.handshake_s)

    async def __aenter__(self) -> "Door":
        self.listener.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.listener.close()
        for peer in self._peers:
            peer.socket.close()
        self.front.abort_all()
        await self.empty()

    def _socket(self, slot: Slot) -> MediaSocket:
        self.sockets.append(MediaSocket(self.front, slot))
        return self.sockets[-1]

    def _admit(self, upgrade: UpgradeRequest) -> Heard | Refusal:
        self.requests.append(upgrade)
        refusal = self._decide(upgrade)
        if refusal is not None:
            return refusal
        handler = Heard(self._answer)
        self._handlers.put_nowait(handler)
        return handler

    async def handler(self) -> Heard:
        return await self._handlers.get()

    async def dial(self) -> Peer:
        connection = socket.socket()
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._peers.append(Peer(connection))
        return self._peers[-1]

    async def call(self) -> tuple[Peer, Heard]:
        """A client whose upgrade is done, and its handler."""
        peer = await self.dial()
        await peer.send(request())
        assert 101 == (await peer.head())[0]
        return peer, await self.handler()

    async def connected(self, count: int = 1) -> None:
        """Wait until so many connections are there."""
        await until(lambda: len(self.front.sockets) >= count)

    async def empty(self) -> None:
        """Wait until every connection is gone."""
        await until(lambda: not self.front.sockets)

    def tend(self, after_s: float) -> None:
        """Tend as it will be so many seconds from now."""
        self.front.tend(asyncio.get_running_loop().time() + after_s)
