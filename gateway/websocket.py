"""The WebSocket front: bytes of a socket in, messages to its handler out. HOT.

`websockets` does the protocol, without I/O: handshake, control frames, fragments, closes, every odd
case. One lane of our own takes the one shape that is nearly all of the traffic, a whole masked text
frame, from the bytes straight to the handler; it is off while a fragmented message or a close is
under way. Nothing else imports `websockets`.
"""

import asyncio
import logging
import time
from http import HTTPStatus
from math import inf
from struct import Struct
from typing import cast

from websockets.exceptions import HeaderLineTooLong, RequestLineTooLong, TooManyHeaders
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.speedups import apply_mask

from gateway import admission, kernel
from gateway.admission import Refusal, UpgradeRequest
from gateway.capacity import UNLIMITED, Slot
from gateway.front import Front, Handler, Take
from gateway.lane import piece_end

logger = logging.getLogger(__name__)
#: The protocol's own words hold paths and headers; nobody hears them.
_silent = logging.getLogger("gateway.websocket.protocol")
_silent.setLevel(logging.CRITICAL + 1)

#: The lane's shape: FIN and opcode text; a mask, and a length of 16 bits: 126 to 65,535 bytes.
LANE = 0x81FE
_lane_head = Struct("!HH4s").unpack_from
#: The bit of an opcode that makes it a control frame's, and the first byte of our close frames.
CONTROL = 0x08
CLOSE_FIRST = 0x88

HEAD_END = b"\r\n\r\n"
#: Longest head of a request: what its line and headers may have together.
REQUEST_BYTES_MAX = 32 * 1024
UNSENT_BYTES_MAX = 1024 * 1024

INTERNAL_ERROR = 1011
#: Why a session closes its socket, for whoever reads the close frame.
REASONS = {
    1007: "text that is not UTF-8",
    1008: "too many packets that cannot be read",
    INTERNAL_ERROR: "the server failed",
}


class MediaSocket(asyncio.Protocol):
    """One accepted connection."""

    __slots__ = (
        "_deadline_s",
        "_fragments",
        "_fragments_are_text",
        "_front",
        "_handler",
        "_head_bytes",
        "_head_last",
        "_is_deaf",
        "_is_failed",
        "_lane",
        "_need",
        "_payload_bytes_max",
        "_ping_due_s",
        "_pong_due_s",
        "_protocol",
        "_slot",
        "_tail",
        "_take_usual",
        "_transport",
    )

    def __init__(self, front: Front, slot: Slot = UNLIMITED) -> None:
        """`slot` is released with the connection."""
        limits = front.limits
        self._front = front
        self._slot = slot
        self._payload_bytes_max = limits.message_bytes_max
        self._protocol = ServerProtocol(
            extensions=None, max_size=limits.message_bytes_max, logger=_silent
        )
        self._transport: asyncio.Transport | None = None
        #: None before the upgrade, and again once it was told that nothing more comes.
        self._handler: Handler | None = None
        #: The handler's own way for usual messages, if it has one.
        self._take_usual: Take | None = None
        #: Nothing that is still read is looked at: refused, failed, or closed by the peer.
        self._is_deaf = False
        #: The handler wants no more messages.
        self._is_failed = False
        #: The lane is open: no fragmented message is under way, and no close.
        self._lane = True
        #: What there is of a frame that is not whole, and how many bytes of it are needed next.
        self._tail = bytearray()
        self._need = 0
        self._fragments = bytearray()
        self._fragments_are_text = False
        #: The head of the request as far as it was read: how long, and its last three bytes.
        self._head_bytes, self._head_last = 0, b""
        #: Times of the loop, which is the monotonic clock. Here and not in `connection_made`,
        #: because that comes only after a TLS handshake, which counts, too.
        self._deadline_s = time.monotonic() + limits.handshake_s
        self._ping_due_s = inf
        self._pong_due_s = inf

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there, with its TLS."""
        self._transport = cast(asyncio.Transport, transport)
        self._front.sockets.add(self)

    def eof_received(self) -> None:
        """The peer sends no more; the transport then closes itself, once everything is written.

        A peer that does not read either would make that never: hence the deadline.
        """
        self._deadline_s = min(self._deadline_s, time.monotonic() + self._front.limits.close_s)
        self._end(None, proper=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it. Its descriptor is closed next."""
        self._front.sockets.discard(self)
        self._front.sweeper.leave(self)
        self._slot.release()
        self._transport = None
        self._end(None, proper=False)

    def feed(self, data: bytes | bytearray) -> None:  # one loop, for speed
        """Take bytes of the socket, wherever they were read.

        Longer than a function should be: a call for each step would cost more than the steps do.
        """
        handler = self._handler
        if handler is None:
            self._shake_hands(data)
            return
        if self._tail:
            self._tail += data
            if len(self._tail) < self._need:
                return
            data, self._tail = self._tail, bytearray()
        counters = self._front.counters
        take = self._take_usual
        size, at = len(data), 0
        while at < size:
            if take is not None and self._lane:
                at, taken = take(data, at, self._payload_bytes_max)
                counters.messages += taken
                if at == size:
                    return
            if self._lane and size - at > 8:
                head, length, mask = _lane_head(data, at)
                begin = at + 8
                end = begin + length
                if head == LANE and end <= size and length <= self._payload_bytes_max:
                    counters.messages += 1
                    try:
                        message = apply_mask(data[begin:end], mask)
                        code = handler.receive(message, True)
                    except Exception:
                        code = self._fault("a session failed on a message; its socket is closed")
                    if code:
                        self._fail(code)
                    at = end
                    continue
            end = piece_end(data, at, self._payload_bytes_max)
            if end > size:
                self._tail = bytearray(data[at:])
                self._need = end - at
                return
            self._take(data[at:end])
            if self._is_deaf:
                return
            at = end

    data_received = feed  # what the loop read; a call costs

    def _take(self, piece: bytes | bytearray) -> None:
        """Hand over one frame, or the head of one that fails."""
        protocol = self._protocol
        # It would hold a control frame, too, against what a fragmented message may still bring.
        spare = (protocol.current_size or 0) if piece[0] & CONTROL else 0
        protocol.max_message_size = self._payload_bytes_max + spare
        protocol.receive_data(piece)
        for event in protocol.events_received():
            if isinstance(event, Frame):
                self._take_frame(event)
        self._follow_protocol()

    def _take_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PONG:
            self._pong_due_s = inf
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        if frame.opcode is not Opcode.CONT:
            self._fragments_are_text = frame.opcode is Opcode.TEXT
        self._fragments += frame.data
        if frame.fin:
            message = bytes(self._fragments)
            self._fragments = bytearray()
            self._deliver(message, self._fragments_are_text)

    def _deliver(self, message: bytes, text: bool) -> None:
        if self._handler is None or self._is_failed:
            return
        try:
            code = self._handler.receive(message, text)
        except Exception:
            code = self._fault("a session failed on a message; its socket is closed")
        if code:
            self._fail(code)

    def _follow_protocol(self) -> None:
        """Send what the protocol has to say, and be where it is."""
        protocol = self._protocol
        is_open = protocol.state is OPEN
        self._lane = is_open and protocol.current_size is None
        self._send(protocol.data_to_send())
        if not is_open and self._deadline_s == inf:
            self._deadline_s = time.monotonic() + self._front.limits.close_s
            self._front.sweeper.leave(self)
        if protocol.eof_sent:
            received = protocol.close_rcvd
            self._end(int(received.code) if received else None, proper=received is not None)

    def _send(self, pieces: list[bytes]) -> None:
        """Write; an empty piece is the end of what we send. Too much unsent: a close frame only."""
        transport = self._transport
        if transport is None:
            return
        for piece in pieces:
            if transport.is_closing():
                return
            if not piece:
                self._finish(transport)
            elif self._is_failed and piece[0] != CLOSE_FIRST:
                pass  # a close frame is the last word
            elif piece[0] != CLOSE_FIRST and transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
                self._front.counters.unsent_dropped += 1
            else:
                transport.write(piece)

    @staticmethod
    def _finish(transport: asyncio.Transport) -> None:
        """End our side, and leave it to the peer to end its own until the deadline.

        Closing while bytes of the peer are unread would reset the connection, and our last words
        with it. TLS has no such half; there the transport reads on while it closes.
        """
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def _shake_hands(self, data: bytes | bytearray) -> None:
        """Feed the request's head to the protocol, and not a byte more."""
        if self._is_deaf:
            return
        window = self._head_last + data
        found = window.find(HEAD_END)
        split = len(data) if found < 0 else found + len(HEAD_END) - len(self._head_last)
        self._head_last = bytes(window[-3:])
        self._head_bytes += split
        self._protocol.receive_data(data[:split])
        requests = self._protocol.events_received()
        if self._protocol.handshake_exc is not None:
            self._answer(_unreadable(self._protocol.handshake_exc))
        elif self._head_bytes > REQUEST_BYTES_MAX:
            self._answer(Refusal(431, "the request's head is too long"))
        elif requests and isinstance(requests[0], Request):
            self._decide(requests[0])
            if split < len(data):
                self.feed(data[split:])

    def _decide(self, request: Request) -> None:
        headers: dict[str, list[str]] = {}
        for name, value in request.headers.raw_items():
            headers.setdefault(name.lower(), []).append(value)
        upgrade = UpgradeRequest(
            request.method, request.path, headers, self._peer(), self._slot.shortage
        )
        response = self._protocol.accept(request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._answer(admission.unsound(upgrade, response.status_code))
            return
        try:
            decided = self._front.admit(upgrade)
        except Exception:
            self._fault("a request could not be decided on")
            decided = Refusal(500, "the server failed")
        if isinstance(decided, Refusal):
            self._answer(decided)
            return
        self._front.counters.accepted += 1
        self._handler = decided
        self._take_usual = None if kernel.take is None else getattr(decided, "take", None)
        self._deadline_s = inf
        self._ping_due_s = time.monotonic() + self._front.limits.ping_s
        self._protocol.send_response(response)
        self._send(self._protocol.data_to_send())
        self._front.sweeper.join(self, self._transport, decided)

    def _peer(self) -> str | None:
        address = self._transport.get_extra_info("peername") if self._transport else None
        return str(address[0]) if isinstance(address, tuple) else None

    def _answer(self, refusal: Refusal) -> None:
        """A short HTTP answer, and the end."""
        self._front.counters.refused[str(refusal.status)] += 1
        self._slot.give_up()
        self._is_deaf = True
        self._deadline_s = time.monotonic() + self._front.limits.close_s
        self._send([refusal.answer(), b""])

    def close(self, code: int, reason: str = "") -> None:
        """Close in order: send a close frame and wait for the peer's, `close_s` at most.

        Messages that come before the peer's close frame are still delivered.
        """
        if self._handler is None:
            if not self._is_deaf:
                self.abort()
        elif self._protocol.state is OPEN:
            self._protocol.send_close(code, reason)
            self._follow_protocol()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def send_text(self, message: bytes) -> bool:
        """Send one text message; False where the peer does not read, or a close is under way."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._handler is None:
            return False
        if self._protocol.state is not OPEN:
            return False
        if transport.get_write_buffer_size() + len(message) > UNSENT_BYTES_MAX:
            self._front.counters.unsent_dropped += 1
            return False
        self._protocol.send_text(message)
        self._send(self._protocol.data_to_send())
        return True

    def _fault(self, what: str) -> int:
        """An exception of ours, which must not end more than this socket."""
        self._front.counters.handler_faults += 1
        logger.exception(what)
        return INTERNAL_ERROR

    def _fail(self, code: int) -> None:
        """Close for a fault: nothing that the peer says is heard any more but its close frame."""
        self._is_failed = True
        self.close(code, REASONS.get(code, ""))

    def _end(self, code: int | None, *, proper: bool) -> None:
        """Tell the handler, once."""
        handler, self._handler = self._handler, None
        self._is_deaf = True
        self._lane = False
        if handler is None:
            return
        self._front.counters.closed["none" if code is None else str(code)] += 1
        try:
            handler.closed(code, proper)
        except Exception:
            self._fault("a session failed at its end")

    def tend(self, now_s: float) -> None:
        """Look after the deadlines of this socket."""
        if now_s >= self._deadline_s:
            if self._handler is None and not self._is_deaf:
                self._front.counters.handshake_timeouts += 1
                self._is_deaf = True
            self.abort()
        elif now_s >= self._pong_due_s:
            self.abort()
        elif now_s >= self._ping_due_s and self._protocol.state is OPEN:
            limits = self._front.limits
            self._ping_due_s = now_s + limits.ping_s
            self._pong_due_s = min(self._pong_due_s, now_s + limits.pong_s)
            self._protocol.send_ping(b"")
            self._send(self._protocol.data_to_send())


def _unreadable(fault: Exception) -> Refusal:
    """The answer to what is no request, or one that is too long."""
    if isinstance(fault, RequestLineTooLong):
        return Refusal(414, "the request's line is too long")
    if isinstance(fault, HeaderLineTooLong | TooManyHeaders):
        return Refusal(431, "the request's head is too long")
    return Refusal(400, "not a request for a WebSocket that can be read")
