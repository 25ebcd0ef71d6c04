"""ACS's end of one media socket: dials, sends texts, answers pings, closes.

The protocol is `websockets`' sans-I/O client over a plain asyncio transport. Texts are framed here
and go out with one write an instant: the library draws every mask from the system's randomness,
which is a fifth of the cost of a packet and guards against proxies that no test has.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Iterable, Mapping
from typing import cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidURI
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import OPEN
from websockets.uri import WebSocketURI, parse_uri

try:
    from websockets.speedups import apply_mask
except ImportError:  # built without its C extension
    from websockets.utils import apply_mask

DIAL_S_MAX = 10.0
CLOSE_S_MAX = 10.0
#: A server may speak a whole answer at once; more than this in one message is a fault of its.
TEXT_BYTES_MAX = 1 << 24


class Unreachable(Exception):
    """There is no server at the address, or none that TLS accepts."""


class Refused(Exception):
    """A server is there and did not accept the socket; the text is its status or what it did."""


def parse_url(url: str) -> WebSocketURI:
    """Raises ValueError if `url` is not a ws:// or wss:// URL."""
    try:
        return parse_uri(url)
    except InvalidURI as error:
        raise ValueError(str(error)) from None


def origin_of(uri: WebSocketURI) -> str:
    """The part of a URL that may be shown: its path and query may hold a secret."""
    host = f"[{uri.host}]" if ":" in uri.host else uri.host
    return f"{'wss' if uri.secure else 'ws'}://{host}:{uri.port}"


class Peer(asyncio.Protocol):
    """One socket. `opened` and `lost` are futures of its handshake and of its end."""

    def __init__(self, uri: WebSocketURI, headers: Mapping[str, str]) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        #: The server does not read: what is sent now stays in this process.
        self.is_full = False
        #: Texts that the server sent, and their bytes: audio spoken into the call.
        self.texts_heard = 0
        self.bytes_heard = 0
        self._protocol = ClientProtocol(uri, max_size=TEXT_BYTES_MAX)
        self._headers = headers
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        """Whether packets may be sent: accepted, and neither side has begun to close."""
        return self._protocol.state is OPEN and not self.lost.done()

    @property
    def end(self) -> tuple[int, bool]:
        """Close code (1006 without one), and whether it was we who closed and the server agreed."""
        received = self._protocol.close_rcvd
        ours = received is not None and self._protocol.close_rcvd_then_sent is False
        return (received.code if received else 1006), ours

    def send(self, texts: Iterable[bytes]) -> None:
        """Send each as a text message of its own, all in one write. The peer must be open."""
        assert self._transport is not None
        self._transport.write(b"".join([_frame(text) for text in texts]))

    async def close(self) -> tuple[int, bool]:
        """Close with 1000 if still open, and wait for the server's end of it; returns `end`."""
        if self.is_open:
            self._protocol.send_close(1000)
            self._flush()
        done, _ = await asyncio.wait([self.lost], timeout=CLOSE_S_MAX)
        if not done:
            self.abort()
            await self.lost
        return self.end

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        request = self._protocol.connect()
        request.headers.update(self._headers)
        self._protocol.send_request(request)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                # The server may have closed in the same bytes, so the state says nothing here.
                self._answered(event)
            elif isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.CONT):
                self.texts_heard += event.fin
                self.bytes_heard += len(event.data)
        self._flush()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.receive_eof()
        self._answered(None)
        if not self.lost.done():
            self.lost.set_result(None)

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False

    def _answered(self, response: Response | None) -> None:
        """The handshake has an outcome; None: the connection ended before it had one."""
        if self.opened.done():
            return
        if response is not None and self._protocol.handshake_exc is None:
            self.opened.set_result(None)
        elif response is not None and response.status_code != 101:
            self.opened.set_exception(Refused(f"HTTP {response.status_code}"))
        else:
            self.opened.set_exception(Refused("no valid answer to the upgrade"))

    def _flush(self) -> None:
        transport = self._transport
        data = self._protocol.data_to_send()
        if transport is None or transport.is_closing():
            return
        if data:
            transport.write(b"".join(data))
        if data[-1:] == [b""]:  # the library's sign for the end of our side
            transport.close()


def _frame(text: bytes) -> bytes:
    """`text` as one whole, masked text frame."""
    size = len(text)
    mask = random.randbytes(4)
    if size < 126:
        head = bytes((0x81, 0x80 | size))
    elif size < 1 << 16:
        head = b"\x81\xfe" + size.to_bytes(2, "big")
    else:
        head = b"\x81\xff" + size.to_bytes(8, "big")
    return head + mask + apply_mask(text, mask)


async def dial(uri: WebSocketURI, headers: Mapping[str, str], tls: ssl.SSLContext | None) -> Peer:
    """Connect and upgrade. Raises Unreachable or Refused; waits at most 10 s for each of both."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(DIAL_S_MAX):
            _, peer = await loop.create_connection(
                lambda: Peer(uri, headers), uri.host, uri.port, ssl=tls
            )
    except TimeoutError:
        raise Unreachable(f"no connection within {DIAL_S_MAX:.0f} s") from None
    except ssl.SSLCertVerificationError as error:
        raise Unreachable(f"its certificate is not trusted ({error.verify_message})") from None
    except ConnectionRefusedError:
        raise Unreachable("connection refused") from None
    except (OSError, EOFError) as error:
        why = error.strerror if isinstance(error, OSError) else ""
        told = why or str(error) or ("it does not speak TLS" if tls else type(error).__name__)
        raise Unreachable(told) from None
    try:
        async with asyncio.timeout(DIAL_S_MAX):
            await peer.opened
    except TimeoutError:
        peer.abort()
        raise Refused(f"no answer to the upgrade within {DIAL_S_MAX:.0f} s") from None
    except Refused:
        peer.abort()
        raise
    return peer
