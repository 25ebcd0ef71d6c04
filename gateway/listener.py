"""Accepting connections on a socket that several processes share, and TLS in the process.

Each process accepts for itself, one connection a wake-up: libuv's own server would empty the whole
backlog into whichever process wakes first.
"""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

#: How long nothing is accepted when descriptors have run out.
PAUSE_S = 0.1
_OUT_OF_DESCRIPTORS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class TlsContext:
    """A certificate with its key, read again when asked to."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises `ValueError` with what is wrong with the files."""
        self._certificate = certificate
        self._key = key
        self.current = self._read()

    def reload(self) -> None:
        """Read both files again; new connections use them. Raises ValueError, and keeps the old."""
        self.current = self._read()

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_passphrase)
        except (OSError, ValueError) as fault:  # ssl.SSLError is an OSError
            reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else fault
            raise ValueError(
                f"certificate {self._certificate} and key {self._key} cannot be used: {reason}"
            ) from fault
        return context


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")


class Listener:
    """Hands every connection of a listening socket to a protocol of its own."""

    def __init__(
        self,
        listener: socket.socket,
        factory: Callable[[], asyncio.Protocol],
        tls: TlsContext | None,
        handshake_s: float,
    ) -> None:
        """`handshake_s`: limit of the TLS handshake."""
        self.accepted = 0
        self.failed = 0
        self.pauses = 0
        self._listener = listener
        self._factory = factory
        self._tls = tls
        self._handshake_s = handshake_s
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[None]] = set()
        self._is_open = False

    def start(self) -> None:
        """Begin to accept."""
        self._is_open = True
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more; the socket itself may be another process's, too."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._listener.fileno())
        self._listener.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another process was faster, or the peer has gone
        except OSError as fault:
            if fault.errno not in _OUT_OF_DESCRIPTORS:
                self.failed += 1
                return
            self.pauses += 1
            self._loop.remove_reader(self._listener.fileno())
            self._loop.call_later(PAUSE_S, self._resume)
            return
        self.accepted += 1
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._connect(connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def _resume(self) -> None:
        if self._is_open:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            if self._tls is None:
                await self._loop.connect_accepted_socket(self._factory, connection)
            else:
                await self._loop.connect_accepted_socket(
                    self._factory,
                    connection,
                    ssl=self._tls.current,
                    ssl_handshake_timeout=self._handshake_s,
                )
        except (OSError, TimeoutError, ValueError):
            self.failed += 1
            connection.close()
