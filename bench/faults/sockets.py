"""One socket of a call: dialled, spoken on, treated badly. It never waits."""

from __future__ import annotations

import socket
import struct
from bisect import bisect_right

from bench.faults.sent import SentSocket
from bench.load.frames import CLOSE, PING, PONG, closing, masked, opening, short_frames
from bench.load.rig import upgrade_request

_KEY = b"\x11\x22\x33\x44"
_RESET = struct.pack("ii", 1, 0)
#: A slow peer sends so many pieces in 20 ms, of so many bytes.
_PIECES = 6
_PIECE_BYTES = (80, 160, 700, 240, 1100, 480)


class CallSocket:
    """States: `dialling`, `open`, `closing`, `over`. `sent.end` says how it ended."""

    def __init__(self, call_id: str, gateway: int, port: int, now_s: float) -> None:
        self.sent = SentSocket(gateway, 0)
        self.dialled_s = now_s
        self.state = "dialling"
        #: What the server said of a call that it did not take.
        self.refusal = ""
        self.stalled_until_s = 0.0
        self.is_slow = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect_ex(("127.0.0.1", port))
        self._out = bytearray(upgrade_request(call_id, call_id))
        self._queued = len(self._out)
        #: Where each packet ends in all that was ever queued.
        self._ends: list[int] = []
        self._is_told = False

    def begin(self, number: int) -> None:
        """It is open: the next packet has this number."""
        self.sent.first = number
        self._queue(opening())

    def say(self, frames: list[bytes]) -> None:
        """One packet of each participant."""
        for frame in frames:
            self._queue(frame)
            self._ends.append(self._queued)
        self.sent.packets += 1

    def hang_up(self) -> None:
        """A close frame, behind everything else."""
        self._queue(closing())
        self.state = "closing"

    def half_close(self) -> None:
        """No more comes, and no close frame has."""
        self._finish("half-closed")
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._close()
        self.state = "closing"

    def vanish(self) -> None:
        """Be silent for good; the server has to find out."""
        self._finish("vanished")
        self.state = "closing"

    def cut(self) -> None:
        """A reset."""
        self._finish("cut")
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._close()

    def lose(self, end: str) -> None:
        """The other side has gone."""
        if self.sent.end == "open":
            self._finish(end)
        self._close()

    def turn(self, now_s: float) -> bool:
        """Send and listen; False once the connection is gone."""
        if self.state == "over":
            return False
        try:
            if self.sent.end == "open":
                self._send(now_s)
            return self._listen()
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _queue(self, data: bytes) -> None:
        self._out += data
        self._queued += len(data)

    def _send(self, now_s: float) -> None:
        if now_s < self.stalled_until_s:
            return
        try:
            if self.is_slow:
                for size in _PIECE_BYTES:
                    del self._out[: self._socket.send(self._out[:size])]
                self.is_slow = bool(self._out)
            while self._out:
                del self._out[: self._socket.send(self._out)]
        except BlockingIOError:
            pass

    def _listen(self) -> bool:
        if self.sent.end == "vanished":
            # Read nothing, so that no pong is owed; a peek tells that the server has closed.
            return bool(self._socket.recv(1 << 16, socket.MSG_PEEK)) and not self._is_closed()
        data = self._socket.recv(1 << 16)
        if not data:
            return False
        if self.state == "dialling":
            head, _, data = data.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 101"):
                self.refusal = head[9:12].decode("ascii", "replace") or "?"
                return False
            self.state = "open"
        for opcode, payload in short_frames(data):
            if opcode == PING:
                self._queue(masked(PONG, payload, _KEY))
            elif opcode == CLOSE:
                self._be_told(payload)
        return True

    def _is_closed(self) -> bool:
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return info[0] != 1  # no longer established

    def _be_told(self, payload: bytes) -> None:
        """A close frame: the answer to ours, or the server's own wish."""
        if self.sent.end != "open":
            return
        if self.state == "closing":
            self._finish("closed")
        else:
            self._finish(f"closed by the server, {int.from_bytes(payload[:2])}")
            self._close()

    def _finish(self, end: str) -> None:
        self.sent.end = end
        self.sent.handed = bisect_right(self._ends, self._queued - len(self._out))
        self._ends = []

    def _close(self) -> None:
        self.state = "over"
        self._socket.close()
