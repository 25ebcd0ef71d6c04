"""The WebSocket front: bytes of a socket in, messages to its handler out. HOT.

`websockets` does the protocol, without I/O: handshake, control frames, fragments, closes, every odd
case. One lane of our own finds the border of every frame and takes the one shape that is nearly all
of the traffic, a whole masked text frame, from the bytes straight to the handler. The lane is off
while a fragmented message or a close is under way. Nothing else imports `websockets`.
"""

import asyncio
import logging
from http import HTTPStatus

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.speedups import apply_mask

from gateway.admission import Refusal, UpgradeRequest
from gateway.front import Front, Handler

logger = logging.getLogger(__name__)
#: The protocol's own words hold paths and headers; nobody hears them.
_silent = logging.getLogger("gateway.websocket.protocol")
_silent.setLevel(logging.CRITICAL + 1)

TEXT_HEAD = 0x81  # FIN, opcode text
MASKED = 0x80
#: Longest head of a request: what its line and headers may have together.
REQUEST_BYTES_MAX = 32 * 1024
UNSENT_BYTES_MAX = 1024 * 1024

GO_ON = 0
NO_CODE = 1005
INTERNAL_ERROR = 1011
TOO_BIG = 1009


class MediaSocket(asyncio.Protocol):
    """One accepted connection."""

    __slots__ = (
        "_begun_s",
        "_closing",
        "_fragment_is_text",
        "_fragments",
        "_fragments_bytes",
        "_front",
        "_handler",
        "_head",
        "_need",
        "_ping_due_s",
        "_pong_due_s",
        "_protocol",
        "_skip",
        "_tail",
        "_transport",
    )

    def __init__(self, front: Front) -> None:
        self._front = front
        self._handler: Handler | None = None
        self._transport: asyncio.Transport | None = None
        self._protocol = ServerProtocol(extensions=None, max_size=None, logger=_silent)
        #: Bytes of a request whose head is not complete.
        self._head = bytearray()
        #: A frame whose end has not come yet, and how many bytes it takes.
        self._tail = bytearray()
        self._need = 0
        #: Bytes of a frame that is too long, still to be passed over.
        self._skip = 0
        #: What there is of a fragmented message; None: no such message is under way.
        self._fragments: list[bytes] | None = None
        self._fragments_bytes = 0
        self._fragment_is_text = False
        #: A close is under way, from either side.
        self._closing = False
        self._begun_s = 0.0
        self._ping_due_s = 0.0
        self._pong_due_s = 0.0

    # -- the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's has no common base
        self._begun_s = asyncio.get_running_loop().time()
        self._front.sockets.add(self)

    def data_received(self, data: bytes) -> None:
        if self._handler is None:
            self._shake_hands(data)
        else:
            self.feed(data)

    def eof_received(self) -> bool:
        """The peer sends no more: without a close frame that is an improper close."""
        return False  # the transport closes itself

    def connection_lost(self, exc: Exception | None) -> None:
        self._front.sockets.discard(self)
        self._end(None, proper=False)

    # -- the usual lane

    def feed(self, data: bytes | bytearray) -> None:  # noqa: PLR0912  # one loop, for speed
        """Take bytes of the open socket, wherever they were read.

        Longer than a function should be: a call for each step would cost more than the steps do.
        """
        if self._tail:
            self._tail += data
            if len(self._tail) < self._need:
                return
            data, self._tail = self._tail, bytearray()
        handler = self._handler
        size = len(data)
        at = 0
        while size - at >= 2 and handler is not None:
            if self._skip:
                at = self._pass_over(at, size)
                continue
            second = data[at + 1]
            length = second & 0x7F
            begin = at + 6
            if length == 126:
                begin = at + 8
                length = data[at + 2] << 8 | data[at + 3] if size - at >= 4 else -1
            elif length == 127:
                begin = at + 14
                length = int.from_bytes(data[at + 2 : at + 10]) if size - at >= 10 else -1
            if length < 0:
                break
            if length > self._front.limits.message_bytes_max:
                at = self._refuse(begin, length, at)
                continue
            end = begin + length if second & MASKED else at + 2
            if end > size:
                break
            if data[at] == TEXT_HEAD and second & MASKED and self._is_plain():
                self._front.counters.messages += 1
                message = apply_mask(data[begin:end], data[begin - 4 : begin])
                code = self._hand_over(handler, message, True)
                if code:
                    self.close(code)
            else:
                self._take_odd(bytes(data[at:end]))
            at = end
            handler = self._handler
        if at < size and handler is not None:
            self._keep(data, at, size)

    def _is_plain(self) -> bool:
        return self._fragments is None and not self._closing

    def _keep(self, data: bytes | bytearray, at: int, size: int) -> None:
        """Keep the begin of a frame until `_need` bytes of it are here."""
        self._tail = bytearray(data[at:])
        self._need = 2
        left = size - at
        if left < 2:
            return
        length = data[at + 1] & 0x7F
        self._need = 2 if length < 126 else 4 if length == 126 else 10
        if left < self._need:
            return
        if length == 126:
            length = data[at + 2] << 8 | data[at + 3]
        elif length == 127:
            length = int.from_bytes(data[at + 2 : at + 10])
        self._need += 4 + length

    def _pass_over(self, at: int, size: int) -> int:
        passed = min(self._skip, size - at)
        self._skip -= passed
        return at + passed

    def _refuse(self, begin: int, length: int, at: int) -> int:
        """A frame that is too long: close, and pass over it until the peer's close frame."""
        self.close(TOO_BIG, "message too big")
        self._skip = begin - at + length
        return at

    def _hand_over(self, handler: Handler, message: bytes, text: bool) -> int:
        try:
            return handler.receive(message, text)
        except Exception:
            self._front.counters.handler_faults += 1
            logger.exception("a session failed on a message; its socket is closed")
            return INTERNAL_ERROR

    # -- everything else

    def _take_odd(self, frame: bytes) -> None:
        """One whole frame that is not of the usual shape."""
        self._protocol.receive_data(frame)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take_event(event)
        if self._protocol.state is not OPEN:
            self._begin_closing()
        self._send_protocol()
        close = self._protocol.close_rcvd
        if close is not None:
            self._end(NO_CODE if close.code is None else int(close.code), proper=True)

    def _take_event(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._fragments, self._fragments_bytes = [], 0
            self._fragment_is_text = frame.opcode is Opcode.TEXT
        if frame.opcode is Opcode.PONG:
            self._pong_due_s = 0.0
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        if self._fragments is None or self._handler is None or self._closing:
            return
        self._fragments.append(bytes(frame.data))
        self._fragments_bytes += len(frame.data)
        code = GO_ON
        if self._fragments_bytes > self._front.limits.message_bytes_max:
            self._fragments, code = None, TOO_BIG
        elif frame.fin:
            message, self._fragments = b"".join(self._fragments), None
            code = self._hand_over(self._handler, message, self._fragment_is_text)
        if code:
            self.close(code)

    def _send_protocol(self) -> None:
        """Write what the protocol has to say; an empty piece is the end."""
        transport = self._transport
        for piece in self._protocol.data_to_send():
            if transport is None or transport.is_closing():
                return
            if not piece:
                transport.close()
            elif transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
                self._front.counters.unsent_dropped += 1
            else:
                transport.write(piece)

    # -- the handshake

    def _shake_hands(self, data: bytes) -> None:
        """Feed the request's head to the protocol, and not a byte more."""
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            if len(self._head) > REQUEST_BYTES_MAX:
                self._answer(Refusal(431, "the request's head is too long"))
            elif b"\n" in data and not self._is_http(self._head):
                self._answer(Refusal(400, "not an HTTP request"))
            return
        rest = bytes(self._head[end + 4 :])
        head = bytes(self._head[: end + 4])
        self._head = bytearray()
        self._protocol.receive_data(head)
        requests = self._protocol.events_received()
        if not requests or not isinstance(requests[0], Request):
            self._answer(Refusal(400, "not an HTTP request that can be read"))
            return
        self._decide(requests[0])
        if rest and self._handler is not None:
            self.feed(rest)

    @staticmethod
    def _is_http(head: bytearray) -> bool:
        line = head.partition(b"\n")[0].split()
        return len(line) == 3 and line[2].startswith(b"HTTP/1.")

    def _decide(self, request: Request) -> None:
        headers: dict[str, list[str]] = {}
        for name, value in request.headers.raw_items():
            headers.setdefault(name.lower(), []).append(value)
        upgrade = UpgradeRequest(request.method, request.path, headers)
        response = self._protocol.accept(request)
        is_sound = response.status_code == HTTPStatus.SWITCHING_PROTOCOLS
        if not is_sound and "upgrade" in headers and request.method == "GET":
            self._answer(Refusal(response.status_code, "not a WebSocket upgrade of version 13"))
            return
        decided = self._front.admit(upgrade)
        if isinstance(decided, Refusal):
            self._answer(decided)
            return
        self._protocol.send_response(response)
        self._send_protocol()
        self._front.counters.accepted += 1
        self._handler = decided
        self._ping_due_s = asyncio.get_running_loop().time() + self._front.limits.ping_s

    def _answer(self, refusal: Refusal) -> None:
        """A short HTTP answer, and the end."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._front.counters.refused[str(refusal.status)] += 1
        body = f"{refusal.reason}\n".encode()
        lines = [
            f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}",
            "Connection: close",
            "Content-Type: text/plain; charset=utf-8",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in refusal.headers),
        ]
        transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        transport.close()

    # -- the end

    def close(self, code: int, reason: str = "") -> None:
        """Close in order: send a close frame and wait for the peer's, `close_s` at most."""
        if self._handler is None:
            self.abort()
        elif not self._closing:
            self._protocol.send_close(code, reason)
            self._begin_closing()
            self._send_protocol()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def send_text(self, message: bytes) -> bool:
        """Send one text message; False where the peer does not read, or a close is under way."""
        transport = self._transport
        if transport is None or self._handler is None or self._closing:
            return False
        if transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            self._front.counters.unsent_dropped += 1
            return False
        self._protocol.send_text(message)
        self._send_protocol()
        return True

    def _begin_closing(self) -> None:
        if not self._closing:
            self._closing = True
            self._begun_s = asyncio.get_running_loop().time()

    def _end(self, code: int | None, *, proper: bool) -> None:
        """Tell the handler, once."""
        handler, self._handler = self._handler, None
        self._closing = True
        if handler is None:
            return
        self._front.counters.closed["none" if code is None else str(code)] += 1
        try:
            handler.closed(code, proper)
        except Exception:
            self._front.counters.handler_faults += 1
            logger.exception("a session failed at its end")

    def sweep(self, now_s: float) -> None:
        """Look after the deadlines of this socket."""
        limits = self._front.limits
        if self._closing:
            if now_s - self._begun_s >= limits.close_s:
                self.abort()
        elif self._handler is None:
            if now_s - self._begun_s >= limits.handshake_s:
                self._front.counters.handshake_timeouts += 1
                self.abort()
        elif self._pong_due_s and now_s >= self._pong_due_s:
            self.abort()
        elif now_s >= self._ping_due_s:
            self._ping_due_s = now_s + limits.ping_s
            if not self._pong_due_s:
                self._pong_due_s = now_s + limits.pong_s
            self._protocol.send_ping(b"")
            self._send_protocol()
