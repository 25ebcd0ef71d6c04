"""A front's socket whose transport is of paper: what it writes is kept, and nothing is sent."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from media_door import Heard, request

from gateway.front import Front, SocketLimits
from gateway.websocket import MediaSocket


class PaperTransport(asyncio.Transport):
    """Takes everything at once, unless `unsent_bytes` says that there is something left."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.has_ended = False
        self.is_cut = False
        self.unsent_bytes = 0

    def write(self, data: Any) -> None:
        assert not self.has_ended
        assert not self.is_cut
        self.written += data

    def write_eof(self) -> None:
        self.has_ended = True

    def can_write_eof(self) -> bool:
        return True

    def abort(self) -> None:
        self.is_cut = True

    def is_closing(self) -> bool:
        return self.is_cut

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes


class PaperSocket:
    """A socket whose upgrade is done, its handler, and what it has written since."""

    def __init__(
        self,
        limits: SocketLimits | None = None,
        answer: Callable[[bytes], int] = lambda _: 0,
        upgrade: Iterable[bytes] = (request(),),
    ) -> None:
        """`upgrade`: the request in pieces, and what comes behind it."""
        self.handler = Heard(answer)
        self.front = Front(lambda _: self.handler, limits or SocketLimits())
        self.transport = PaperTransport()
        self.socket = MediaSocket(self.front)
        self.socket.connection_made(self.transport)
        self.feed(upgrade)
        head, _, rest = self.transport.written.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        self.transport.written = rest

    def feed(self, pieces: Iterable[bytes]) -> None:
        """Feed piece by piece."""
        for piece in pieces:
            self.socket.feed(piece)

    def frames(self) -> list[tuple[int, bytes]]:
        """(opcode, payload) of each frame that was written; they are whole and not masked."""
        frames, data = [], self.transport.written
        while data:
            length, at = data[1], 2
            if length > 125:
                at = 4 if length == 126 else 10
                length = int.from_bytes(data[2:at])
            frames.append((data[0] & 0x0F, data[at : at + length]))
            data = data[at + length :]
        return frames
